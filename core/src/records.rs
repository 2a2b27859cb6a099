//! The records that all processes share: their keys in the coordination store, and what they say.
//!
//! | key | written by | content |
//! |---|---|---|
//! | `leader` | coordinator, on a lease | [`Leader`]; its create revision is the epoch that fences every coordinator write |
//! | `peer/C` | coordinator, on a lease | [`Peer`] |
//! | `member/W` | worker, on a lease | [`Member`]: a hint, never the proof that a grant is dead |
//! | `planstore` | coordinator | [`PlanStoreId`] |
//! | `ledger/R`, `cap/R/W` | coordinator | [`Ledger`](crate::ledger::Ledger), [`Cap`](crate::ledger::Cap) |
//! | `ack/R/W` | worker | [`Ack`](crate::ledger::Ack) |
//! | `vigil/R` | coordinator | [`Vigil`]: who looks after R's health, and what all workers watch for |
//! | `guards/R` | coordinator | [`Guards`]: what R's guards do, so that the next leader goes on from there |
//! | `request/ID` | coordinator | [`Request`] |
//! | `job/J` | coordinator | [`Job`] |
//! | `past/J'` | coordinator | [`Past`]: all that is left of a job that is over, instead of its other records; J' is J turned round so that the newest comes first |
//! | `run/J` | coordinator | [`Life`]: may job J query |
//! | `read/J/TASK` | coordinator | [`SourceTask`]: who does this [`PlanningTask`] for J |
//! | `assign/J/W` | coordinator | [`Assignment`] |
//! | `ckpt/J/W` | worker | [`Checkpoint`] |

mod packed;
mod planning;

pub use planning::{NotATask, PlanningTask};

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::batch_keys::BatchKeys;
use crate::copy::COMMANDS_A_KEY;
use crate::estimate::DriftRecord;
use crate::job::{Life, Loader, Priorities, Spec};
use crate::names::{
    CacheName, GuardName, JobName, LoaderName, OriginName, Resource, SourceName, WorkerName,
};
use crate::plan::PlanSummary;
use crate::progress::{Effort, PartitionState, Tally};
use crate::ring::Weight;
use crate::units::PartitionId;

/// The keys, below the store's prefix.
pub mod keys {
    use super::{JobName, PlanningTask, Resource, WorkerName};

    /// Who leads.
    pub const LEADER: &str = "leader";
    /// Which plan store the cluster uses.
    pub const PLAN_STORE: &str = "planstore";
    /// All coordinators.
    pub const PEERS: &str = "peer/";
    /// All workers.
    pub const MEMBERS: &str = "member/";
    /// All ledgers.
    pub const LEDGERS: &str = "ledger/";
    /// All caps.
    pub const CAPS: &str = "cap/";
    /// All acks.
    pub const ACKS: &str = "ack/";
    /// All vigils.
    pub const VIGILS: &str = "vigil/";
    /// What all guards do.
    pub const GUARDS: &str = "guards/";
    /// All jobs.
    pub const JOBS: &str = "job/";
    /// All jobs' lives.
    pub const RUNS: &str = "run/";
    /// All tasks of planning that workers are at.
    pub const READS: &str = "read/";
    /// All assignments.
    pub const ASSIGNMENTS: &str = "assign/";
    /// All checkpoints.
    pub const CHECKPOINTS: &str = "ckpt/";
    /// All jobs that are over: thousands, so they are read in pages, and never by those who decide.
    pub const PAST: &str = "past/";
    /// All requests that were accepted: one for each job that was created with an id, so they are read in pages.
    pub const REQUESTS: &str = "request/";

    /// A coordinator's.
    #[must_use]
    pub fn peer(name: &str) -> String {
        format!("{PEERS}{name}")
    }

    /// A worker's.
    #[must_use]
    pub fn member(worker: &WorkerName) -> String {
        format!("{MEMBERS}{worker}")
    }

    /// A resource's.
    #[must_use]
    pub fn ledger(resource: &Resource) -> String {
        format!("{LEDGERS}{resource}")
    }

    /// A worker's of a resource.
    #[must_use]
    pub fn cap(resource: &Resource, worker: &WorkerName) -> String {
        format!("{CAPS}{resource}/{worker}")
    }

    /// A worker's of a resource.
    #[must_use]
    pub fn ack(resource: &Resource, worker: &WorkerName) -> String {
        format!("{ACKS}{resource}/{worker}")
    }

    /// A resource's.
    #[must_use]
    pub fn vigil(resource: &Resource) -> String {
        format!("{VIGILS}{resource}")
    }

    /// A resource's.
    #[must_use]
    pub fn guards(resource: &Resource) -> String {
        format!("{GUARDS}{resource}")
    }

    /// The resource and the worker that a key below [`CAPS`] or [`ACKS`] names, without that prefix.
    #[must_use]
    pub fn resource_and_worker(rest: &str) -> Option<(Resource, WorkerName)> {
        let (resource, worker) = rest.rsplit_once('/')?;
        Some((resource.parse().ok()?, worker.parse().ok()?))
    }

    /// A request's, by its id: any bytes, so they are written in hexadecimal.
    #[must_use]
    pub fn request(id: &str) -> String {
        use std::fmt::Write;
        id.bytes().fold(String::from(REQUESTS), |mut key, byte| {
            let _ = write!(key, "{byte:02x}");
            key
        })
    }

    /// A job's.
    #[must_use]
    pub fn job(job: &JobName) -> String {
        format!("{JOBS}{job}")
    }

    /// A job's.
    #[must_use]
    pub fn run(job: &JobName) -> String {
        format!("{RUNS}{job}")
    }

    /// That of a job that is over. Stores read a few keys of many in ascending order only, and lists begin with the newest
    /// job: so each digit of its name is turned round (0 becomes f, 9 becomes 6, f becomes 0), which keeps the length and
    /// reverses the order of names that differ in their digits.
    #[must_use]
    pub fn past(job: &JobName) -> String {
        format!("{PAST}{}", turned(job.as_str()))
    }

    /// The key below [`PAST`] behind which all jobs are that were created at this time (milliseconds since 1970) or before:
    /// the names of jobs begin with it.
    #[must_use]
    pub fn past_created_by(created_ms: u64) -> String {
        format!("{PAST}{}", turned(&format!("{created_ms:013}-")))
    }

    /// The job that a key below [`PAST`] names.
    #[must_use]
    pub fn past_job(key: &str) -> Option<JobName> {
        turned(key.strip_prefix(PAST)?).parse().ok()
    }

    /// Its own inverse.
    fn turned(name: &str) -> String {
        let turn = |c: char| {
            let digit = c.to_digit(16).filter(|_| !c.is_ascii_uppercase());
            digit
                .and_then(|digit| char::from_digit(15 - digit, 16))
                .unwrap_or(c)
        };
        name.chars().map(turn).collect()
    }

    /// Those of a job's planning.
    #[must_use]
    pub fn reads(job: &JobName) -> String {
        format!("{READS}{job}/")
    }

    /// That of one task of a job's planning; a number is a key source's.
    #[must_use]
    pub fn read(job: &JobName, task: impl Into<PlanningTask>) -> String {
        format!("{READS}{job}/{}", task.into())
    }

    /// Those of a job's owners.
    #[must_use]
    pub fn assignments(job: &JobName) -> String {
        format!("{ASSIGNMENTS}{job}/")
    }

    /// That of a job's owner.
    #[must_use]
    pub fn assignment(job: &JobName, worker: &WorkerName) -> String {
        format!("{ASSIGNMENTS}{job}/{worker}")
    }

    /// Those of a job's owners.
    #[must_use]
    pub fn checkpoints(job: &JobName) -> String {
        format!("{CHECKPOINTS}{job}/")
    }

    /// That of a job's owner.
    #[must_use]
    pub fn checkpoint(job: &JobName, worker: &WorkerName) -> String {
        format!("{CHECKPOINTS}{job}/{worker}")
    }
}

/// Who leads, and where it can be called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
}

/// A coordinator that can serve streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Its address.
    pub address: String,
}

/// Identifies a plan store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanStoreId {
    /// Random, made with the plan store.
    pub id: String,
    /// Random, made with this record: a plan store that another cluster's records name, too, is told by it. Empty where an
    /// older version made the record.
    #[serde(default)]
    pub cluster: String,
}

/// A worker, and what it can serve: names, never secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// How much work it takes, beside others.
    #[serde(default)]
    pub weight: Weight,
    /// Where it stands.
    #[serde(default)]
    pub zone: String,
    /// The origins it can load from.
    pub origins: BTreeSet<OriginName>,
    /// The caches it can write to.
    pub caches: BTreeSet<CacheName>,
    /// The loaders it knows, with the origin of each.
    pub loaders: BTreeMap<LoaderName, OriginName>,
    /// How many keys one query of each of them is expected to load.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub batch_keys: BTreeMap<LoaderName, u32>,
    /// Those that copy the keys of a Redis: each key takes some commands, which are what counts there.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub copies: BTreeSet<LoaderName>,
    /// The origin that is asked again for the versions of its rows, of each loader that has versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub version_origins: BTreeMap<LoaderName, OriginName>,
    /// How long the entries of each of them live at least, in milliseconds: their time to live less all of its jitter.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub lives_ms: BTreeMap<LoaderName, u64>,
    /// Those of the loaders that scan: they need no keys.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub scans: BTreeSet<LoaderName>,
    /// The key sources it knows, with the origin of each that has one.
    pub sources: BTreeMap<SourceName, Option<OriginName>>,
    /// What there is to know of some of them beside: those of which nothing is said have it as usual.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub source_terms: BTreeMap<SourceName, SourceTerms>,
    /// Whether it knows that a job may write to several caches: an older one would warm the first, and say that it is done.
    #[serde(default)]
    pub several_caches: bool,
    /// Whether it can read what tells how much keys are used: an older one could not even read such a job.
    #[serde(default)]
    pub usage_sources: bool,
    /// Whether it accepts SQL in jobs.
    #[serde(default)]
    pub sql_in_jobs: bool,
    /// Whether it accepts files in jobs.
    #[serde(default)]
    pub files_in_jobs: bool,
}

/// What a job that names a key source of the workers' configuration takes from there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceTerms {
    /// The loader of its keys, where a job does not say; or, where there are several, those that it has keys of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loaders: Vec<LoaderName>,
    /// What its priorities are.
    #[serde(default, skip_serializing_if = "Priorities::are_ranks")]
    pub priorities: Priorities,
}

impl SourceTerms {
    /// Whether this is what is taken of a source of which nothing is said.
    #[must_use]
    pub fn are_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl Member {
    /// The origins that loading by a job's loader takes: the one that gives the rows, and the one that is asked for their versions
    /// afterwards, which may be the same. None where this member does not know the loader.
    pub fn origins_of<'a>(&'a self, loader: &'a Loader) -> impl Iterator<Item = &'a OriginName> {
        let (rows, versions) = match &loader.recipe {
            Some(recipe) => (Some(&recipe.origin), recipe.origin_of_versions()),
            None => (
                self.loaders.get(&loader.name),
                self.version_origins.get(&loader.name),
            ),
        };
        rows.into_iter().chain(versions)
    }
}

/// Who looks after a resource's health while jobs use it, and what all workers watch for there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vigil {
    /// The worker that runs the resource's probes.
    pub keeper: WorkerName,
    /// The keeper also sends canaries, one a second: the jobs are paused by a guard that looks at queries, which else could
    /// not see the resource recover.
    #[serde(default)]
    pub canaries: bool,
    /// A worker that sees a query take longer halves its own rate at once. Microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_max_micros: Option<u64>,
    /// So does one of whose queries, in a second, more than so many thousandths fail for the resource's sake.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors_max_permille: Option<u32>,
}

/// What a resource's guards do: the next leader goes on from here, instead of from what operators ask.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guards {
    /// No more than this, in thousandths of a query a second, whatever operators ask; `None`: as they ask.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adaptive_milli: Option<u64>,
    /// The guards that act, each with its reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub acting: BTreeMap<GuardName, String>,
}

/// A request that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The job it made.
    pub job: JobName,
    /// A digest of what was asked for: what that means may depend on the workers that are there. Empty where it asked for a job like
    /// another, or where an older version took it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub asked: String,
}

/// A job: all that only the coordinators write and that changes rarely.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// What was asked for.
    pub spec: Spec,
    /// For people: wall clocks decide nothing. Milliseconds since 1970.
    pub created_ms: u64,
    /// When the plan was sealed.
    #[serde(default)]
    pub started_ms: Option<u64>,
    /// When the job was over.
    #[serde(default)]
    pub ended_ms: Option<u64>,
    /// The uploads that are complete, by the index of their source.
    #[serde(default)]
    pub uploads: BTreeMap<u32, Upload>,
    /// Counts the attempts at planning.
    #[serde(default)]
    pub attempt: u64,
    /// The sealed plan.
    #[serde(default)]
    pub plan: Option<PlanSummary>,
    /// What planning cost.
    #[serde(default)]
    pub planning: Effort,
    /// How it ended, once it is over.
    #[serde(default)]
    pub result: Option<JobResult>,
    /// What reading its key sources gave, in the order of the spec's sources.
    #[serde(default)]
    pub sources: Vec<SourceReport>,
    /// How its loaders load, in their order, as was known when the plan was sealed. Empty where an older version sealed it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub terms: Vec<LoaderTerms>,
    /// What is known of the room that its cache has for it; `None`: there is no limit, or nobody looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub room: Option<Room>,
    /// What its dry run found.
    #[serde(default)]
    pub samples: Vec<LoaderSample>,
    /// The trace that the job belongs to, as W3C's `traceparent`; empty where nobody traces.
    #[serde(default)]
    pub trace: String,
}

/// A job that is over, and of which nothing else is left: one record, put by the transaction that deletes the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// The job, with its result.
    pub job: Job,
    /// How it ended.
    pub life: Life,
}

/// What reading a key source gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceReport {
    /// Rows that are entries.
    pub entries: u64,
    /// Lines (rows) that were left out.
    pub bad_lines: u64,
    /// What is wrong with the first few; at most [`BAD_LINE_EXAMPLES_MAX`].
    pub bad_line_examples: Vec<String>,
    /// Of a scan, whose entries are ranges: about how many rows they have; 0 where that is not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rows_estimated: u64,
    /// Of an access log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<LogReport>,
    /// Of a Redis that was watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub monitor: Option<MonitorReport>,
}

/// What watching a Redis showed, and what it cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MonitorReport {
    /// How many masters were watched.
    pub nodes: u32,
    /// Of how many.
    pub masters: u32,
    /// Commands that they showed.
    pub lines: u64,
    /// The bytes that they sent for it.
    pub bytes: u64,
    /// Accesses to keys, of which each counts.
    pub accesses: u64,
    /// How busy the busiest was before, in thousandths of a core.
    pub cpu_before_permille: u32,
    /// How busy any of them was at most, in any second.
    pub cpu_permille_max: u32,
    /// How much any of them held at most that it could not send yet.
    pub buffer_bytes_max: u64,
    /// Why nodes were left before the time was over, of the first few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stopped: Vec<String>,
}

/// What there was in an access log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogReport {
    /// Lines, but for empty ones.
    pub lines: u64,
    /// Accesses that do not count by their method, status or time.
    pub filtered: u64,
    /// Accesses whose URL is of no pattern.
    pub unmatched: u64,
    /// The first such URL, as it may be shown; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub unmatched_example: String,
    /// How what it is asked for drifts, where that can be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<DriftRecord>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// How many bad lines of a source are shown.
pub const BAD_LINE_EXAMPLES_MAX: usize = 3;

/// What is known of the room that a cache has for a job's entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Room {
    /// Some node limits its memory: whether the plan fits is to be found out before it is run.
    Limited,
    /// It could not be found out, and why.
    Unknown(String),
    /// So many of the plan's entries fit.
    Fits {
        /// From the first on.
        entries: u64,
        /// The node that has no room for the next; `None`: all fit.
        #[serde(default)]
        full: Option<String>,
    },
}

/// How a loader loads, as far as the workers said so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoaderTerms {
    /// The origin that it asks.
    #[serde(default)]
    pub origin: Option<OriginName>,
    /// The origin that is asked again for the versions of its rows, where it has versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version_origin: Option<OriginName>,
    /// Keys in one query.
    #[serde(default)]
    pub batch_keys: Option<u32>,
    /// Whether it copies the keys of a Redis.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copies: bool,
    /// How long its entries live at least, in milliseconds.
    #[serde(default)]
    pub lives_ms: Option<u64>,
    /// Where it scans, so that its entries are ranges: about how many rows they have. (What a query takes is rows, too.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan_rows: Option<u64>,
}

impl LoaderTerms {
    /// How many queries so many entries take, of each origin that is asked: reading versions again takes as many as loading.
    pub fn queries(&self, entries: u64) -> impl Iterator<Item = (&OriginName, u64)> {
        let batch_keys = self.batch_keys.unwrap_or(BatchKeys::AUTO).max(1);
        let queries = match self.scan_rows {
            Some(rows) => rows.div_ceil(batch_keys.into()).max(entries),
            None => entries.div_ceil(batch_keys.into()),
        };
        let each = if self.copies { COMMANDS_A_KEY } else { 1 };
        let queries = queries * u64::from(each);
        let origins = self.origin.iter().chain(&self.version_origin);
        origins.map(move |origin| (origin, queries))
    }

    /// How many keys so many entries are, about: ranges have many.
    #[must_use]
    pub fn keys(&self, entries: u64) -> u64 {
        match self.scan_rows {
            Some(rows) if entries > 0 => rows,
            _ => entries,
        }
    }

    /// How many times an entry is written to the cache: once, and once more where it is settled by its version.
    #[must_use]
    pub fn writes_each(&self) -> u64 {
        1 + u64::from(self.version_origin.is_some())
    }
}

/// What a loader gave for a sample of a plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoaderSample {
    /// The index of the loader among the job's.
    pub loader: u32,
    /// The origin that it asks.
    pub origin: OriginName,
    /// Keys in one query.
    pub batch_keys: u32,
    /// Entries that were tried.
    pub entries: u64,
    /// Of those, how many the origin has.
    pub found: u64,
    /// Bytes of the keys and values of those that were found.
    pub bytes: u64,
    /// What they take in Redis, about; 0 where an older version tried it.
    #[serde(default)]
    pub memory_bytes: u64,
}

/// An upload that is complete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upload {
    /// Its name in the plan store.
    pub object: String,
    /// How many entries it has.
    pub entries: u64,
    /// The SHA-256 of its entries, in hexadecimal: the same upload that comes again is told by it from another. Empty where
    /// an older version stored it.
    #[serde(default)]
    pub digest: String,
}

/// How a job ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobResult {
    /// What became of its entries.
    pub tally: Tally,
    /// What it cost, planning included.
    pub effort: Effort,
    /// Where its failed entries are listed.
    #[serde(default)]
    pub failures: Vec<FailureLog>,
}

/// A list of failed entries in the plan store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FailureLog {
    /// Its name: an owner's, under one assignment.
    pub log: String,
    /// How many chunks of it count.
    pub chunks: u64,
}

/// Who does a task of planning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceTask {
    /// Who.
    pub worker: WorkerName,
    /// The job's attempt at planning that this is for.
    pub attempt: u64,
}

/// What a worker owns of a job, and where each partition stood when it was given to it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The partitions.
    #[serde(with = "packed")]
    pub partitions: BTreeMap<PartitionId, PartitionState>,
    /// Those of them that shall go to another worker: the owner stops working on them, and releases them in a checkpoint.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub leaving: BTreeSet<PartitionId>,
    /// What was spent on them before.
    #[serde(default)]
    pub effort: Effort,
    /// Where entries that failed before are listed.
    #[serde(default)]
    pub failures: Vec<FailureLog>,
}

/// How far a worker has come under its present assignment: it replaces what the assignment says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// All partitions of the assignment.
    #[serde(with = "packed")]
    pub partitions: BTreeMap<PartitionId, PartitionState>,
    /// What was spent, the assignment's included.
    #[serde(default)]
    pub effort: Effort,
    /// The entries that failed under this assignment.
    #[serde(default)]
    pub failures: Option<FailureLog>,
    /// Nothing of this worker's is in flight for the job any more, nor will be under this assignment: the job was told to
    /// stop, or the worker leaves.
    #[serde(default)]
    pub stopped: bool,
    /// The same for some of the partitions only: those that shall go to another worker, and may now.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub released: BTreeSet<PartitionId>,
}

impl Checkpoint {
    /// Whether nothing of the worker's is in flight for this partition any more, nor will be under the assignment.
    #[must_use]
    pub fn has_released(&self, partition: PartitionId) -> bool {
        self.stopped || self.released.contains(&partition)
    }
}

impl Assignment {
    /// How things stand under this assignment, given the checkpoint made under it.
    #[must_use]
    pub fn folded(&self, checkpoint: Option<&Checkpoint>) -> Self {
        let Some(checkpoint) = checkpoint else {
            return self.clone();
        };
        let mut failures = self.failures.clone();
        failures.extend(checkpoint.failures.clone());
        Self {
            partitions: checkpoint.partitions.clone(),
            leaving: self.leaving.clone(),
            effort: checkpoint.effort,
            failures,
        }
    }

    /// What became of the entries of all its partitions.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.partitions.values().map(|state| state.tally).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_the_resource_and_the_worker_again() {
        let resource: Resource = "origin/shop".parse().unwrap();
        let worker: WorkerName = "w1.ab".parse().unwrap();
        let key = keys::cap(&resource, &worker);
        assert_eq!(key, "cap/origin/shop/w1.ab");
        assert_eq!(
            keys::resource_and_worker(&key[keys::CAPS.len()..]),
            Some((resource, worker))
        );
        assert_eq!(keys::resource_and_worker("nonsense"), None);
    }

    #[test]
    fn keys_of_jobs_that_are_over_tell_the_job_and_have_the_newest_first() {
        let names = [
            "1795423882384-f53387",
            "1795423882385-000000",
            "1795423882385-00000a",
            "1795423882385-9fffff",
            "1795423882385-a00000",
            "2795423882385-000000",
        ];
        let names = names.map(|name| name.parse::<JobName>().unwrap());
        let mut keys: Vec<String> = names.iter().map(keys::past).collect();
        let told = keys.iter().map(|key| keys::past_job(key).unwrap());
        assert!(told.eq(names.iter().cloned()));
        keys.reverse();
        assert!(keys.is_sorted(), "{keys:?}");
        assert_eq!(keys::past_job("job/j"), None);
        let from = keys::past_created_by(1_795_423_882_385);
        let behind = keys.iter().filter(|key| **key > from).count();
        assert_eq!(behind, 5, "all but the newest: {keys:?}");
    }

    #[test]
    fn records_from_before_partitions_could_leave_or_be_released_are_read() {
        let assignment: Assignment =
            serde_json::from_str(r#"{"partitions":{"3":{"at":[0,7],"n":[7,0,0,0,0,0,0,0]}}}"#)
                .unwrap();
        assert!(assignment.leaving.is_empty());
        let checkpoint: Checkpoint =
            serde_json::from_str(r#"{"partitions":{},"stopped":false}"#).unwrap();
        assert!(!checkpoint.has_released(PartitionId(3)));
        let plain = serde_json::to_string(&checkpoint).unwrap();
        assert!(!plain.contains("released"), "{plain}");
    }

    #[test]
    fn a_checkpoint_releases_what_it_names_and_one_of_a_worker_that_stopped_releases_all() {
        let mut checkpoint = Checkpoint {
            released: [PartitionId(3)].into(),
            ..Checkpoint::default()
        };
        let released =
            |checkpoint: &Checkpoint| [3, 4].map(|p| checkpoint.has_released(PartitionId(p)));
        assert_eq!(released(&checkpoint), [true, false]);
        checkpoint.stopped = true;
        assert_eq!(released(&checkpoint), [true, true]);
    }

    #[test]
    fn request_ids_of_any_text_are_one_key_each() {
        assert_eq!(keys::request("a/b"), "request/612f62");
    }
}
