//! Doors for tests, fuzzing, the simulator and micro-benchmarks: to what parses bytes from outside (`tests/parsing`), to what
//! decides about a worker's part of a job (`tests/simulator`), and to what each key passes through (`benches/benches`). Nothing
//! else goes through them.

use std::io::BufRead;
use std::path::Path;
use std::time::Duration;

use redis::Value;
use sqlx::postgres::PgTypeInfo;
use stoke_core::access_log::AccessLog;
use stoke_core::job::Mode;
use stoke_core::slot::Slot;
use stoke_core::units::{BandId, PartitionId, Rank};
use stoke_proto::v1::Segment;
use tokio::sync::mpsc;

use crate::cache::sentinels::master_addr;
use crate::cache::slot_map::SlotMap;
use crate::cache::{NodeAddr, WriteMode, packed_sets};
use crate::job::Entries;
use crate::origin::Objects;
use crate::source::file::{FileError, Format, read_from};
use crate::source::log::{LogError, Read};
use crate::source::{Gathered, Rules, SourceRow};

pub use crate::job::{
    Assigned, AssignedTask, Brought, Keeper, Known, Lacking, Part, RowFailure, Settled, Superseded,
    Task, Verdict, Writing, after,
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

/// Reads an access log, as [`read`](crate::source::log::read) does, and holds so many bytes of counts. It blocks while `sink` is
/// full.
///
/// # Errors
/// See [`LogError`].
pub fn access_log(
    reader: impl BufRead,
    log: &AccessLog,
    rules: &[Rules],
    sink: &mpsc::Sender<Vec<SourceRow>>,
    counts_bytes_max: usize,
) -> Result<Read, LogError> {
    crate::source::log::read_from(reader, log, rules, sink, counts_bytes_max)
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
    let chunks = Entries::of(segments, BandId(0)).ok()?;
    let tasks = chunks.flatten();
    let entry =
        |task: crate::job::Task| (task.rank, task.partition, task.key.to_vec(), task.argument);
    Some(tasks.map(entry).collect())
}

/// The columns of a PostgreSQL query, whose rows are written as JSON.
#[derive(Debug)]
pub struct PostgresColumns(Objects);

impl PostgresColumns {
    /// Columns of these names and types. `None`: one of the types has no form in JSON.
    #[must_use]
    pub fn new(columns: &[(&str, PgTypeInfo)]) -> Option<Self> {
        Objects::new(columns).ok().map(Self)
    }

    /// Writes a row's values, which are in PostgreSQL's binary form (`None` is NULL), as a JSON object into `out`; whether that
    /// could be done.
    pub fn write(&self, values: &[Option<&[u8]>], out: &mut Vec<u8>) -> bool {
        self.0.write(values, out)
    }
}

/// A flush as it is sent to a node: keys and values, written where there is none and with a time to live.
#[must_use]
pub fn flush(entries: &[(&[u8], &[u8])], ttl: Duration) -> Vec<u8> {
    packed_sets(entries, ttl)
}
