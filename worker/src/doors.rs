//! Doors for tests, fuzzing and the simulator: to what parses bytes from outside (`tests/parsing`), and to what decides about
//! a worker's part of a job (`tests/simulator`). Nothing else goes through them.

use std::io::BufRead;
use std::path::Path;

use redis::Value;
use stoke_core::job::Mode;
use stoke_core::slot::Slot;
use stoke_core::units::{BandId, PartitionId, Rank};
use stoke_proto::v1::Segment;
use tokio::sync::mpsc;

use crate::cache::sentinels::master_addr;
use crate::cache::slot_map::SlotMap;
use crate::cache::{NodeAddr, WriteMode};
use crate::job::merged;
use crate::source::file::{FileError, Format, read_from};
use crate::source::{Gathered, Rules, SourceRow};

pub use crate::job::{
    Assigned, AssignedTask, Brought, Keeper, Known, Part, Settled, Superseded, Task, Verdict,
    Writing, after,
};

/// Whether a job of this mode writes a value only where the cache has none, as [`Cache::write`](crate::cache::Cache::write)
/// does it. A job that only looks writes none at all.
#[must_use]
pub fn write_is_only_absent(mode: Mode) -> bool {
    WriteMode::of(mode).is_none_or(WriteMode::is_only_absent)
}

/// Reads a key file, as [`read`](crate::source::file::read) does. It blocks while `sink` is full.
///
/// # Errors
/// See [`FileError`].
pub fn key_file(
    reader: impl BufRead,
    format: Option<Format>,
    rules: &Rules,
    sink: &mpsc::Sender<Vec<SourceRow>>,
) -> Result<Gathered, FileError> {
    read_from(reader, Path::new("keys"), format, rules, sink)
}

/// A cluster's answer to `CLUSTER SLOTS`, as its bytes come from the wire: each slot's owner, all owners, and how many
/// slots have none, with the first and the last of the first such range. `None`: it is no such answer.
#[must_use]
pub fn cluster_slots(answer: &[u8], asked: &NodeAddr) -> Option<ClusterSlots> {
    let answer: Value = redis::parse_redis_value(answer).ok()?;
    let map = SlotMap::parse(&answer, asked).ok()?;
    let owner = |slot| map.owner(Slot(slot)).cloned();
    let uncovered = map.uncovered();
    Some(ClusterSlots {
        owners: (0..Slot::COUNT).map(owner).collect(),
        nodes: map.nodes().to_vec(),
        uncovered: uncovered.map(|gap| (gap.count, gap.first, gap.last)),
    })
}

/// Whom a sentinel's answer to `SENTINEL GET-MASTER-ADDR-BY-NAME` names, as its bytes come from the wire. `None`: it is no such
/// answer, or names nobody.
#[must_use]
pub fn sentinel_master(answer: &[u8]) -> Option<NodeAddr> {
    let answer: Value = redis::parse_redis_value(answer).ok()?;
    master_addr(&answer).ok()?
}

/// See [`cluster_slots`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterSlots {
    /// Each slot's owner.
    pub owners: Vec<Option<NodeAddr>>,
    /// All owners.
    pub nodes: Vec<NodeAddr>,
    /// How many slots have no owner, and the first and last of their first range.
    pub uncovered: Option<(usize, u16, u16)>,
}

/// One entry of a band: its rank, partition, key, and argument.
pub type BandEntry = (Rank, PartitionId, Vec<u8>, String);

/// A band's segments as a worker reads them from a stream. `None`: they cannot be read.
#[must_use]
pub fn segments(segments: Vec<Segment>) -> Option<Vec<BandEntry>> {
    let chunks = merged(segments, BandId(0)).ok()?;
    let tasks = chunks.into_iter().flatten();
    let entry =
        |task: crate::job::Task| (task.rank, task.partition, task.key.to_vec(), task.argument);
    Some(tasks.map(entry).collect())
}
