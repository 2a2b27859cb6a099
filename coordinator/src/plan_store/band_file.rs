//! How a band is stored: an index, then the segments in the very form in which they are streamed.
//!
//! `length of the index (4 bytes, little-endian) · BandIndex · Segment · Segment …`. Serving a worker is copying the
//! segments of its partitions.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use object_store::ObjectStoreExt;
use object_store::path::Path;
use prost::Message;
use stoke_core::plan::{Band, Entry, PlanSummary};
use stoke_core::units::{BandId, PartitionId, Priority, Rank};
use stoke_proto::MESSAGE_BYTES_MAX;
use stoke_proto::v1::{BandIndex, Encoding, EntryBatch, Segment, SegmentPlace};

use super::{PlanStore, PlanStoreError, failed, rows_to_batch};

/// The format that this program writes, and the newest that it reads.
const FORMAT: u32 = 1;
/// Bodies shorter than this, in bytes, are not worth compressing.
const PLAIN_BELOW: usize = 256;
/// zstd's level: fast, and good enough for keys that resemble each other.
const ZSTD_LEVEL: i32 = 1;
/// How many bytes of entries one segment holds, unpacked: messages carry whole segments. A partition that has more has
/// several in one band.
const SEGMENT_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 4;
/// How many bytes an entry takes in a segment at most, beside its key and argument.
const ROW_BYTES: usize = 40;
/// How much of the file is read to find the index, in bytes: more than the index of 16,384 partitions.
const HEAD_BYTES: u64 = 512 * 1024;

/// What is wrong with a stored band.
#[derive(Debug, thiserror::Error)]
pub enum BandFileError {
    /// It ends too early.
    #[error("it ends too early")]
    Truncated,
    /// It is not what we write.
    #[error("it is damaged")]
    Decode(#[from] prost::DecodeError),
    /// A newer Stoke wrote it.
    #[error("it has format {0}, and this program reads up to {FORMAT}: upgrade it")]
    Newer(u32),
    /// It cannot be unpacked.
    #[error("a segment cannot be unpacked")]
    Unpack(#[from] std::io::Error),
}

/// The object that a band is stored in.
pub(super) fn name(plan: &str, band: BandId) -> String {
    format!("{plan}/band-{:06}", band.0)
}

/// A band's bytes.
pub(super) fn write(band: &Band) -> Vec<u8> {
    let mut places = Vec::with_capacity(band.segments.len());
    let mut body = Vec::new();
    let segments = band.segments.iter();
    for (partition, rows) in segments.flat_map(|(p, rows)| parts(rows).map(move |rows| (p, rows))) {
        let plain = rows_to_batch(rows).encode_to_vec();
        let packed = if plain.len() < PLAIN_BELOW {
            None
        } else {
            zstd::bulk::compress(&plain, ZSTD_LEVEL).ok()
        };
        let (encoding, bytes) = match packed {
            Some(packed) if packed.len() < plain.len() => (Encoding::Zstd, packed),
            _ => (Encoding::Plain, plain),
        };
        let entries = u32::try_from(rows.len()).unwrap_or(u32::MAX);
        let segment = Segment {
            partition: u32::from(partition.0),
            entries,
            encoding: encoding.into(),
            body: Bytes::from(bytes),
        };
        let offset = body.len() as u64;
        segment
            .encode(&mut body)
            .unwrap_or_else(|_| unreachable!("a vector grows as needed"));
        places.push(SegmentPlace {
            partition: segment.partition,
            offset,
            length: body.len() as u64 - offset,
            entries,
        });
    }
    let index = BandIndex {
        format: FORMAT,
        band: band.id.0,
        places,
    }
    .encode_to_vec();
    let mut file = u32::try_from(index.len())
        .unwrap_or(u32::MAX)
        .to_le_bytes()
        .to_vec();
    file.extend_from_slice(&index);
    file.append(&mut body);
    file
}

/// Cuts a partition's rows into segments of bounded size: keys that share a hash tag may put a whole band into one
/// partition.
fn parts(mut rows: &[(Rank, Entry)]) -> impl Iterator<Item = &[(Rank, Entry)]> {
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fit = rows.iter().take_while(|(_, entry)| {
            bytes += entry.key.len() + entry.argument.len() + ROW_BYTES;
            bytes <= SEGMENT_BYTES_MAX
        });
        let (part, rest) = rows.split_at(fit.count().max(1).min(rows.len()));
        rows = rest;
        (!part.is_empty()).then_some(part)
    })
}

/// Finds the index at the beginning of a file, and where the segments begin.
fn index(head: &[u8]) -> Result<(BandIndex, u64), BandFileError> {
    let (length, rest) = head
        .split_first_chunk::<4>()
        .ok_or(BandFileError::Truncated)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let index = BandIndex::decode(rest.get(..length).ok_or(BandFileError::Truncated)?)?;
    if index.format > FORMAT {
        return Err(BandFileError::Newer(index.format));
    }
    Ok((index, 4 + length as u64))
}

/// Reads the segments of those partitions whose stream begins in this band or before.
///
/// # Errors
/// Where the store fails or the file is damaged.
pub async fn read_segments(
    store: &PlanStore,
    plan: &str,
    band: BandId,
    starts: &BTreeMap<PartitionId, BandId>,
) -> Result<Vec<Segment>, PlanStoreError> {
    let object = name(plan, band);
    let path = Path::from(object.clone());
    let format = |source| PlanStoreError::Format {
        object: object.clone(),
        source,
    };
    let doing = "reading a band";
    let heading = store.objects.get_range(&path, 0..HEAD_BYTES);
    let head = store.timed("get", heading).await.map_err(failed(doing))?;
    let (index, begin) = index(&head).map_err(format)?;
    // A thousand streams would each keep it while they read on.
    drop(head);
    let wanted = index.places.iter().filter(|place| {
        let id = u16::try_from(place.partition).ok().map(PartitionId);
        id.and_then(|id| starts.get(&id))
            .is_some_and(|first| *first <= band)
    });
    let wanted: Option<Vec<Range<u64>>> = wanted.map(|place| range(begin, place)).collect();
    let wanted = wanted.ok_or_else(|| format(BandFileError::Truncated))?;
    let getting = store.objects.get_ranges(&path, &wanted);
    let parts = store.timed("get", getting).await.map_err(failed(doing))?;
    parts
        .into_iter()
        .map(|part| Segment::decode(part).map_err(|source| format(source.into())))
        .collect()
}

/// As [`read_segments`], without what was cut off of the plan: the one band that it goes through is packed anew.
///
/// # Errors
/// Where the store fails or the file is damaged.
pub(crate) async fn served_segments(
    store: &PlanStore,
    plan: &PlanSummary,
    band: BandId,
    starts: &BTreeMap<PartitionId, BandId>,
) -> Result<Vec<Segment>, PlanStoreError> {
    let segments = read_segments(store, &plan.name, band, starts).await?;
    let ends = (u64::from(band.0) + 1).saturating_mul(BandId::RANKS);
    if plan.cut == 0 || ends <= plan.entries {
        return Ok(segments);
    }
    let until = plan.entries;
    let cutting = tokio::task::spawn_blocking(move || {
        let cut = segments.into_iter().map(|segment| cut(segment, until));
        let cut: Result<Vec<Option<Segment>>, BandFileError> = cut.collect();
        Ok(cut?.into_iter().flatten().collect())
    });
    cutting
        .await
        .unwrap_or(Err(BandFileError::Truncated))
        .map_err(|source| PlanStoreError::Format {
            object: name(&plan.name, band),
            source,
        })
}

/// What a segment has of the ranks below `until`; `None`: nothing.
fn cut(segment: Segment, until: u64) -> Result<Option<Segment>, BandFileError> {
    let partition = segment.partition;
    let mut batch = unpack(segment)?;
    // In the order of ranks.
    let kept = batch.ranks.partition_point(|rank| *rank < until);
    batch.keys.truncate(kept);
    batch.ranks.truncate(kept);
    batch.arguments.truncate(kept);
    batch.priorities.truncate(kept);
    batch.loaders.truncate(kept);
    Ok((kept > 0).then(|| Segment {
        partition,
        entries: u32::try_from(kept).unwrap_or(u32::MAX),
        encoding: Encoding::Plain.into(),
        body: Bytes::from(batch.encode_to_vec()),
    }))
}

/// A segment's entries, in columns.
///
/// # Errors
/// Where it is damaged.
pub(crate) fn unpack(segment: Segment) -> Result<EntryBatch, BandFileError> {
    let batch = match segment.encoding() {
        Encoding::Zstd => {
            let body = zstd::stream::decode_all(&segment.body[..])?;
            EntryBatch::decode(&body[..])?
        }
        Encoding::Plain | Encoding::Unspecified => EntryBatch::decode(segment.body)?,
    };
    let entries = batch.keys.len();
    let whole = batch.ranks.len() == entries
        && batch.arguments.len() == entries
        && batch.priorities.len() == entries
        && (batch.loaders.is_empty() || batch.loaders.len() == entries);
    whole.then_some(batch).ok_or(BandFileError::Truncated)
}

impl PlanStore {
    /// All entries of a band, by rank: at most 131,072.
    ///
    /// # Errors
    /// Where the store fails or the file is damaged.
    pub(crate) async fn read_band(
        &self,
        plan: &PlanSummary,
        band: BandId,
    ) -> Result<Vec<(Rank, Entry)>, PlanStoreError> {
        let all: BTreeMap<PartitionId, BandId> = (0..plan.partitioning.count())
            .map(|partition| (PartitionId(partition), BandId(0)))
            .collect();
        let segments = served_segments(self, plan, band, &all).await?;
        let unpacked = tokio::task::spawn_blocking(move || by_rank(segments)).await;
        unpacked
            .unwrap_or(Err(BandFileError::Truncated))
            .map_err(|source| PlanStoreError::Format {
                object: name(&plan.name, band),
                source,
            })
    }

    /// Whether a plan is there, as far as its first band tells.
    ///
    /// # Errors
    /// Where the store fails.
    pub(crate) async fn has_plan(&self, plan: &PlanSummary) -> Result<bool, PlanStoreError> {
        let path = Path::from(name(&plan.name, BandId(0)));
        let looking = self.objects.head(&path);
        match self.timed("get", looking).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failed("looking for a plan")(error)),
        }
    }
}

fn by_rank(segments: Vec<Segment>) -> Result<Vec<(Rank, Entry)>, BandFileError> {
    let mut all = Vec::new();
    for segment in segments {
        let batch = unpack(segment)?;
        let rows = batch.ranks.into_iter().zip(batch.keys);
        let rows = rows.zip(batch.arguments).zip(batch.priorities);
        all.extend(
            rows.enumerate()
                .map(|(n, (((rank, key), argument), priority))| {
                    let entry = Entry {
                        key: key.to_vec().into(),
                        loader: batch.loaders.get(n).copied().unwrap_or(0),
                        argument: argument.into(),
                        priority: Priority::from_milli(priority),
                    };
                    (Rank(rank), entry)
                }),
        );
    }
    all.sort_unstable_by_key(|(rank, _)| *rank);
    Ok(all)
}

/// Where a segment lies in the file; `None` where no file is so long.
fn range(begin: u64, place: &SegmentPlace) -> Option<Range<u64>> {
    let from = begin.checked_add(place.offset)?;
    Some(from..from.checked_add(place.length)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use stoke_core::slot::Partitioning;

    fn entry(n: u64) -> Entry {
        Entry {
            key: format!("product:{n}").into_bytes().into(),
            loader: 0,
            argument: n.to_string().into(),
            priority: Priority::from_milli(n),
        }
    }

    #[tokio::test]
    async fn a_reader_gets_the_entries_of_its_partitions_and_no_others() {
        let store = PlanStore::in_memory();
        let partitioning = Partitioning::new(256).unwrap();
        let ranked: Vec<Entry> = (0..20_000).map(entry).collect();
        let job = "j".parse().unwrap();
        let epoch = stoke_core::units::Epoch(3);
        let plan = store
            .write_plan(
                &job,
                epoch,
                1,
                ranked.clone().into_iter().map(Ok::<_, ()>),
                partitioning,
                Default::default(),
            )
            .await
            .unwrap();
        assert_eq!(
            (plan.entries, plan.bands, plan.name.as_str()),
            (20_000, 1, "plans/j/3-1")
        );

        let starts = BTreeMap::from([
            (PartitionId(3), BandId(0)),
            (PartitionId(9), BandId(0)),
            (PartitionId(11), BandId(1)),
        ]);
        let segments = read_segments(&store, &plan.name, BandId(0), &starts)
            .await
            .unwrap();
        let band = Band::of(BandId(0), ranked.clone(), partitioning);
        let expected: Vec<_> = band
            .segments
            .iter()
            .filter(|(p, _)| [3, 9].contains(&p.0))
            .map(|(_, rows)| rows_to_batch(rows))
            .collect();
        let unpacked: Vec<_> = segments.into_iter().map(|s| unpack(s).unwrap()).collect();
        assert_eq!(unpacked, expected);

        let all = store.read_band(&plan, BandId(0)).await.unwrap();
        assert!(all.into_iter().eq((0..).map(Rank).zip(ranked)));
        assert!(store.has_plan(&plan).await.unwrap());
    }

    #[tokio::test]
    async fn a_plan_that_is_gone_is_told_from_a_store_that_fails() {
        let store = PlanStore::in_memory();
        let plan = PlanSummary {
            name: "plans/j/3-1".into(),
            entries: 1,
            priority_milli: 1,
            bands: 1,
            partitioning: Partitioning::new(256).unwrap(),
            entries_by_loader: vec![1],
            left_out: 0,
            cut: 0,
            worth: None,
        };
        assert!(!store.has_plan(&plan).await.unwrap());
        assert!(
            store
                .read_band(&plan, BandId(0))
                .await
                .unwrap_err()
                .is_gone()
        );
    }

    #[tokio::test]
    async fn what_was_cut_off_is_served_to_nobody() {
        let store = PlanStore::in_memory();
        let partitioning = Partitioning::new(256).unwrap();
        let ranked = (0..200_000).map(|n| Ok::<_, ()>(entry(n)));
        let (job, epoch) = ("j".parse().unwrap(), stoke_core::units::Epoch(1));
        let storing = store.write_plan(&job, epoch, 1, ranked, partitioning, Default::default());
        let plan = storing.await.unwrap();
        for entries in [1, 131_071, 131_072, 131_073, 199_999, 200_000] {
            let cut = plan.clone().cut_to(entries);
            let mut ranks = Vec::new();
            for band in (0..cut.bands).map(BandId) {
                let read = store.read_band(&cut, band).await.unwrap();
                ranks.extend(read.into_iter().map(|(rank, _)| rank.0));
            }
            assert!(ranks.into_iter().eq(0..entries), "{entries}");
        }
    }

    #[tokio::test]
    async fn a_newer_or_a_damaged_band_is_an_error_that_names_it() {
        let store = PlanStore::in_memory();
        let newer = BandIndex {
            format: FORMAT + 1,
            ..BandIndex::default()
        }
        .encode_to_vec();
        let file = |index: Vec<u8>| {
            let mut file = u32::try_from(index.len()).unwrap().to_le_bytes().to_vec();
            file.extend(index);
            file
        };
        let beyond = |offset, length| {
            let place = SegmentPlace {
                partition: 3,
                offset,
                length,
                entries: 1,
            };
            let index = BandIndex {
                places: vec![place],
                ..BandIndex::default()
            };
            file(index.encode_to_vec())
        };
        for (bytes, expected) in [
            (file(newer), "upgrade"),
            // Their sums are more than a number holds.
            (beyond(u64::MAX - 1, 1), "too early"),
            (beyond(5, u64::MAX - 9), "too early"),
            (vec![1, 2], "too early"),
            (vec![200, 0, 0, 0, 1], "too early"),
        ] {
            store
                .put(Path::from("p/band-000000"), bytes, "testing")
                .await
                .unwrap();
            let starts = BTreeMap::from([(PartitionId(3), BandId(0))]);
            let error = read_segments(&store, "p", BandId(0), &starts)
                .await
                .unwrap_err();
            let PlanStoreError::Format { object, source } = error else {
                panic!("{error}")
            };
            assert_eq!(object, "p/band-000000");
            assert!(source.to_string().contains(expected), "{source}");
        }
    }
}
