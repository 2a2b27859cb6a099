//! The stream of a plan's entries: band by band, and inside a band by rank.
//!
//! A stream that breaks is opened again, at whichever coordinator answers, from the band it broke in: whoever takes the
//! entries knows which it has already.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use stoke_core::names::JobName;
use stoke_core::plan::PlanSummary;
use stoke_core::units::{BandId, PartitionId, Priority, Rank};
use stoke_proto::MESSAGE_BYTES_MAX;
use stoke_proto::v1::{Encoding, EntryBatch, PartitionStart, Segment, StreamEntriesRequest};
use tokio::sync::mpsc;

use super::joint::Lacking;
use crate::trouble::Cause;
use crate::worker::Shared;
use stoke_core::explain::explain;

/// How many entries go on at once.
const ENTRIES_PER_CHUNK: usize = 2_000;
/// How long until a stream that broke is opened again.
const OPEN_AGAIN: Duration = Duration::from_millis(500);
/// A segment may not unpack to more than this: coordinators cut segments so that they fit into messages unpacked, too.
const SEGMENT_BYTES_MAX: u64 = MESSAGE_BYTES_MAX as u64;

/// An entry to work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The partition that it belongs to.
    pub partition: PartitionId,
    /// The band that brought it.
    pub band: BandId,
    /// Its place in the plan.
    pub rank: Rank,
    /// The cache's key: any bytes.
    pub key: Bytes,
    /// The number of its loader in the job.
    pub loader: u32,
    /// What the loader's query is asked for.
    pub argument: String,
    /// What having it is worth.
    pub priority: Priority,
    /// How often it was tried before.
    pub attempts: u32,
    /// Which of the job's caches it is still to be written to, as far as they were asked.
    pub lacking: Lacking,
}

/// What the stream brings.
#[derive(Debug)]
pub enum Brought {
    /// Entries of one band, in the order of ranks.
    Entries(Vec<Task>),
    /// Nothing more comes of this band.
    BandComplete(BandId),
}

/// Why a stream broke.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BrokenStream {
    #[error(transparent)]
    Link(#[from] crate::link::LinkError),
    #[error("the coordinator ended the stream: {}", .0.message())]
    Call(#[from] tonic::Status),
    #[error("the stream ended early")]
    Early,
    #[error("a segment cannot be read: {0}")]
    Segment(&'static str),
    #[error("nobody takes the entries any more")]
    NotTaken,
}

/// Brings the entries of these partitions, each from its first band on, until the plan's end. Never gives up: the
/// caller stops it by dropping it.
pub(super) async fn bring(
    shared: &Shared,
    job: &JobName,
    plan: &PlanSummary,
    starts: BTreeMap<PartitionId, BandId>,
    sink: mpsc::Sender<Brought>,
) {
    let Some(mut next) = starts.values().min().copied() else {
        return;
    };
    while next.0 < plan.bands {
        match bring_from(shared, job, plan, &starts, &mut next, &sink).await {
            Ok(()) => {}
            Err(BrokenStream::NotTaken) => return,
            Err(error) => {
                let text = format!("the stream of entries: {}", explain(&error));
                shared.troubles.note(job, Cause::Entries, text);
                tracing::warn!(%job, error = explain(&error), "opening the stream of entries again");
                shared.metrics.stream_reopened();
                tokio::time::sleep(OPEN_AGAIN).await;
            }
        }
    }
}

async fn bring_from(
    shared: &Shared,
    job: &JobName,
    plan: &PlanSummary,
    starts: &BTreeMap<PartitionId, BandId>,
    next: &mut BandId,
    sink: &mpsc::Sender<Brought>,
) -> Result<(), BrokenStream> {
    let from = |(partition, first): (&PartitionId, &BandId)| PartitionStart {
        partition: u32::from(partition.0),
        band: (*first).max(*next).0,
    };
    let request = StreamEntriesRequest {
        job: job.to_string(),
        plan: plan.name.clone(),
        partitions: starts.iter().map(from).collect(),
    };
    let mut stream = shared
        .link
        .any()
        .await?
        .stream_entries(request)
        .await?
        .into_inner();
    let mut segments = Vec::new();
    while next.0 < plan.bands {
        let message = stream.message().await?.ok_or(BrokenStream::Early)?;
        shared.troubles.clear(job, Cause::Entries);
        segments.extend(message.segments);
        if message.band_complete {
            for tasks in Entries::of(std::mem::take(&mut segments), BandId(message.band))? {
                sink.send(Brought::Entries(tasks))
                    .await
                    .map_err(|_| BrokenStream::NotTaken)?;
            }
            sink.send(Brought::BandComplete(BandId(message.band)))
                .await
                .map_err(|_| BrokenStream::NotTaken)?;
            *next = BandId(message.band + 1);
        }
    }
    Ok(())
}

/// The entries of a band, by rank, in chunks. They stay in the columns that they came in until their chunk goes on: a band of
/// them is what a worker holds most of.
#[derive(Debug)]
pub(crate) struct Entries {
    band: BandId,
    segments: Vec<Columns>,
    /// Rank, segment, and place in it.
    order: std::vec::IntoIter<(u64, u32, u32)>,
}

/// A segment's entries.
#[derive(Debug)]
struct Columns {
    partition: PartitionId,
    batch: EntryBatch,
}

impl Entries {
    /// Those of a band's segments.
    pub(crate) fn of(segments: Vec<Segment>, band: BandId) -> Result<Self, BrokenStream> {
        let segments = segments.into_iter().map(Columns::of);
        let segments: Vec<Columns> = segments.collect::<Result<_, _>>()?;
        let mut order = Vec::with_capacity(segments.iter().map(|s| s.batch.ranks.len()).sum());
        for (n, segment) in (0..).zip(&segments) {
            let ranks = segment.batch.ranks.iter();
            order.extend((0..).zip(ranks).map(|(place, rank)| (*rank, n, place)));
        }
        order.sort_unstable();
        Ok(Self {
            band,
            segments,
            order: order.into_iter(),
        })
    }

    /// Takes an entry out of its segment.
    fn take(&mut self, (rank, segment, place): (u64, u32, u32)) -> Task {
        let index = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let (segment, n) = (&mut self.segments[index(segment)], index(place));
        let batch = &mut segment.batch;
        let priority = batch.priorities.get(n).copied();
        Task {
            partition: segment.partition,
            band: self.band,
            rank: Rank(rank),
            key: std::mem::take(&mut batch.keys[n]),
            loader: batch.loaders.get(n).copied().unwrap_or(0),
            argument: std::mem::take(&mut batch.arguments[n]),
            priority: priority.map_or(Priority::ONE, Priority::from_milli),
            attempts: 0,
            lacking: Lacking::EVERYWHERE,
        }
    }
}

impl Iterator for Entries {
    type Item = Vec<Task>;

    fn next(&mut self) -> Option<Vec<Task>> {
        let order: Vec<_> = self.order.by_ref().take(ENTRIES_PER_CHUNK).collect();
        let chunk: Vec<Task> = order.into_iter().map(|at| self.take(at)).collect();
        (!chunk.is_empty()).then_some(chunk)
    }
}

impl Columns {
    /// A segment's, all of one length or left out.
    fn of(segment: Segment) -> Result<Self, BrokenStream> {
        let partition = u16::try_from(segment.partition)
            .map_err(|_| BrokenStream::Segment("no such partition"))?;
        let batch = EntryBatch::decode(unpacked(segment)?)
            .map_err(|_| BrokenStream::Segment("it is damaged"))?;
        let count = batch.keys.len();
        let fits = |column: usize| column == count || column == 0;
        if batch.ranks.len() != count
            || batch.arguments.len() != count
            || !fits(batch.priorities.len())
            || !fits(batch.loaders.len())
        {
            return Err(BrokenStream::Segment("its columns differ in length"));
        }
        Ok(Self {
            partition: PartitionId(partition),
            batch,
        })
    }
}

/// A segment's body, unpacked.
fn unpacked(segment: Segment) -> Result<Bytes, BrokenStream> {
    match segment.encoding() {
        Encoding::Plain => Ok(segment.body),
        Encoding::Zstd => {
            use std::io::Read;
            let mut plain = Vec::new();
            let decoder = zstd::stream::read::Decoder::new(&segment.body[..]);
            let unpacked =
                decoder.and_then(|decoder| decoder.take(SEGMENT_BYTES_MAX).read_to_end(&mut plain));
            unpacked.map_err(|_| BrokenStream::Segment("it does not unpack"))?;
            Ok(Bytes::from(plain))
        }
        Encoding::Unspecified => Err(BrokenStream::Segment(
            "its encoding is unknown: upgrade this worker",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(partition: u32, ranks: &[u64]) -> Segment {
        let batch = EntryBatch {
            ranks: ranks.to_vec(),
            keys: ranks
                .iter()
                .map(|rank| Bytes::from(format!("k{rank}")))
                .collect(),
            arguments: ranks.iter().map(u64::to_string).collect(),
            ..EntryBatch::default()
        };
        let body = zstd::bulk::compress(&batch.encode_to_vec(), 1).unwrap();
        let entries = u32::try_from(ranks.len()).unwrap();
        Segment {
            partition,
            entries,
            encoding: Encoding::Zstd.into(),
            body: body.into(),
        }
    }

    #[test]
    fn the_partitions_of_a_band_are_merged_by_rank() {
        let segments = vec![segment(1, &[0, 3, 9]), segment(2, &[1, 2, 7])];
        let chunks = Entries::of(segments, BandId(0)).unwrap();
        let tasks: Vec<Task> = chunks.flatten().collect();
        let seen = |task: &Task| (task.rank.0, task.partition.0);
        assert_eq!(
            tasks.iter().map(seen).collect::<Vec<_>>(),
            [(0, 1), (1, 2), (2, 2), (3, 1), (7, 2), (9, 1)]
        );
        for task in tasks {
            assert_eq!(task.key, format!("k{}", task.rank.0));
            assert_eq!(task.argument, task.rank.0.to_string());
        }
    }

    #[test]
    fn a_band_goes_on_in_chunks() {
        let ranks: Vec<u64> = (0..=2 * ENTRIES_PER_CHUNK as u64).collect();
        let chunks = Entries::of(vec![segment(1, &ranks)], BandId(0)).unwrap();
        let sizes: Vec<usize> = chunks.map(|chunk| chunk.len()).collect();
        assert_eq!(sizes, [ENTRIES_PER_CHUNK, ENTRIES_PER_CHUNK, 1]);
        assert_eq!(Entries::of(Vec::new(), BandId(0)).unwrap().count(), 0);
    }

    #[test]
    fn damaged_segments_are_errors() {
        let mut damaged = segment(1, &[1]);
        damaged.body = Bytes::from_static(b"nonsense");
        assert!(Entries::of(vec![damaged], BandId(0)).is_err());
        let mut unknown = segment(1, &[1]);
        unknown.encoding = 7;
        assert!(Entries::of(vec![unknown], BandId(0)).is_err());
    }
}
