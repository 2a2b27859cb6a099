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
            for tasks in merged(std::mem::take(&mut segments), BandId(message.band))? {
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

/// A band's segments as one list by rank, in chunks.
pub(crate) fn merged(segments: Vec<Segment>, band: BandId) -> Result<Vec<Vec<Task>>, BrokenStream> {
    let mut tasks = Vec::new();
    for segment in segments {
        unpack(&segment, band, &mut tasks)?;
    }
    tasks.sort_unstable_by_key(|task| task.rank);
    let mut chunks = Vec::with_capacity(tasks.len() / ENTRIES_PER_CHUNK + 1);
    let mut tasks = tasks.into_iter().peekable();
    while tasks.peek().is_some() {
        chunks.push(tasks.by_ref().take(ENTRIES_PER_CHUNK).collect());
    }
    Ok(chunks)
}

fn unpack(segment: &Segment, band: BandId, tasks: &mut Vec<Task>) -> Result<(), BrokenStream> {
    let partition =
        u16::try_from(segment.partition).map_err(|_| BrokenStream::Segment("no such partition"))?;
    let body = match segment.encoding() {
        Encoding::Plain => segment.body.clone(),
        Encoding::Zstd => {
            use std::io::Read;
            let mut plain = Vec::new();
            let decoder = zstd::stream::read::Decoder::new(&segment.body[..]);
            let unpacked =
                decoder.and_then(|decoder| decoder.take(SEGMENT_BYTES_MAX).read_to_end(&mut plain));
            unpacked.map_err(|_| BrokenStream::Segment("it does not unpack"))?;
            Bytes::from(plain)
        }
        Encoding::Unspecified => {
            return Err(BrokenStream::Segment(
                "its encoding is unknown: upgrade this worker",
            ));
        }
    };
    let batch = EntryBatch::decode(body).map_err(|_| BrokenStream::Segment("it is damaged"))?;
    let count = batch.keys.len();
    let fits = |column: usize| column == count || column == 0;
    if batch.ranks.len() != count
        || batch.arguments.len() != count
        || !fits(batch.priorities.len())
        || !fits(batch.loaders.len())
    {
        return Err(BrokenStream::Segment("its columns differ in length"));
    }
    let rows = batch
        .ranks
        .into_iter()
        .zip(batch.keys)
        .zip(batch.arguments)
        .enumerate();
    tasks.extend(rows.map(|(n, ((rank, key), argument))| {
        Task {
            partition: PartitionId(partition),
            band,
            rank: Rank(rank),
            key,
            loader: batch.loaders.get(n).copied().unwrap_or(0),
            argument,
            priority: batch
                .priorities
                .get(n)
                .map_or(Priority::ONE, |milli| Priority::from_milli(*milli)),
            attempts: 0,
            lacking: Lacking::EVERYWHERE,
        }
    }));
    Ok(())
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
        let chunks = merged(
            vec![segment(1, &[0, 3, 9]), segment(2, &[1, 2, 7])],
            BandId(0),
        )
        .unwrap();
        let seen: Vec<(u64, u16)> = chunks
            .concat()
            .iter()
            .map(|t| (t.rank.0, t.partition.0))
            .collect();
        assert_eq!(seen, [(0, 1), (1, 2), (2, 2), (3, 1), (7, 2), (9, 1)]);
    }

    #[test]
    fn damaged_segments_are_errors() {
        let mut damaged = segment(1, &[1]);
        damaged.body = Bytes::from_static(b"nonsense");
        assert!(merged(vec![damaged], BandId(0)).is_err());
        let mut unknown = segment(1, &[1]);
        unknown.encoding = 7;
        assert!(merged(vec![unknown], BandId(0)).is_err());
    }
}
