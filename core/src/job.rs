//! Jobs: what is asked for, where a job is in its life, and which moves are legal.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::batch_keys::BatchKeys;
use crate::names::{CacheName, LoaderName, OriginName};
use crate::scan::Scan;
use crate::slot::Slots;
use crate::value::ValueSpec;

mod key_columns;
mod merge;
mod source;

pub use key_columns::KeyColumns;
pub use merge::{Merge, NotAWeight, Priorities, Weight};
pub use source::{FileFormat, From, KeySource, OnBadLine, Reported, Which};

/// The highest priority of a job.
pub const PRIORITY_MAX: u32 = 1000;
/// How much one SCAN looks through where nobody says: about that many keys.
pub const SCAN_COUNT_DEFAULT: u32 = 1000;
/// The most that one SCAN may look through: Redis answers nobody else meanwhile.
pub const SCAN_COUNT_MAX: u32 = 100_000;
/// How many ranges of slots a section of a cache may name, and how many nodes.
pub const SECTION_ITEMS_MAX: usize = 1000;
/// How many caches a job may write to: what is loaded waits for the slowest of them, and a word of each is held for it.
pub const CACHES_MAX: usize = 8;
/// The largest sample of another job's plan, in entries: it is chosen in memory.
pub const SAMPLE_MAX: u32 = 1_000_000;

/// What a caller asks for; it never changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// For filters and dashboards.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What set the job off.
    #[serde(default)]
    pub trigger: String,
    /// Who asked.
    #[serde(default)]
    pub requester: String,
    /// Of jobs that want the same resource, those of the highest priority go first; at most [`PRIORITY_MAX`].
    #[serde(default)]
    pub priority: u32,
    /// Nothing is written: the loaders are only tried on a sample of the plan.
    #[serde(default)]
    pub dry_run: bool,
    /// What to do.
    pub work: Work,
}

/// The kinds of work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// A plan that is made once and sealed.
    Batch(Batch),
}

/// A batch job's work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Where the ranked keys come from.
    pub sources: Vec<KeySource>,
    /// How their values are loaded; entries name them by index.
    pub loaders: Vec<Loader>,
    /// The cache to write to.
    pub cache: CacheName,
    /// Further caches that each entry is written to; with `cache` no two of one name, and at most [`CACHES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<CacheName>,
    /// What is done with keys that are there already.
    pub mode: Mode,
    /// How many entries may fail before the job itself counts as failed.
    pub allowed_failures: u64,
    /// How often an entry is tried where the error may pass; at least 1.
    pub attempts_max: u32,
    /// What of the cache is warmed.
    #[serde(default, skip_serializing_if = "Section::is_whole")]
    pub section: Section,
    /// What is done where the cache has no room for all of it.
    #[serde(default, skip_serializing_if = "Fit::is_default")]
    pub fit: Fit,
}

impl Batch {
    /// All caches that are written to, in the order in which they were named.
    pub fn caches(&self) -> impl Iterator<Item = &CacheName> + Clone {
        std::iter::once(&self.cache).chain(&self.also)
    }
}

/// What is done with a plan that is larger than what the cache has room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// It is cut: the entries of lowest priority are skipped.
    #[default]
    Cut,
    /// It is warmed as it is, and what would be cut is told.
    Warn,
}

impl Fit {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What of a cache is warmed: the slots that are named, and those that the named nodes own when the job is planned; all of it
/// where neither is. Entries elsewhere are left out of the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Slots.
    #[serde(default, skip_serializing_if = "Slots::is_empty")]
    pub slots: Slots,
    /// Nodes, as HOST:PORT.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub nodes: BTreeSet<String>,
}

/// No node of a cache.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no node: write HOST:PORT, as the cluster calls it")]
pub struct NotANode(String);

/// Looks whether this could be a node of a cache: a host's name or address, as long as names may be, and a port.
///
/// # Errors
/// Where it could not.
pub fn check_node(text: &str) -> Result<(), NotANode> {
    const HOST_BYTES_MAX: usize = 253;
    let is_host = |host: &str| {
        (1..=HOST_BYTES_MAX).contains(&host.len())
            && host.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    match text.rsplit_once(':') {
        Some((host, port)) if is_host(host) && is_port(port) => Ok(()),
        _ => Err(NotANode(text.chars().take(HOST_BYTES_MAX).collect())),
    }
}

impl Section {
    /// Whether it is all of the cache.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.slots.is_empty() && self.nodes.is_empty()
    }
}

/// What is done with entries, above all with keys that the cache has already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// They are left as they are, and cost the origin nothing.
    #[default]
    Add,
    /// As [`Mode::Add`], but they get a new time to live.
    Refresh,
    /// They are loaded and written like all others, over whatever the application wrote.
    Overwrite,
    /// Nothing is written: whether they are there as a loader would have written them is what is asked. Those that are not
    /// there are looked for in the origin.
    Verify,
    /// As [`Mode::Verify`], and their values are compared with the origin's.
    VerifyValues,
}

impl Mode {
    /// Whether it only looks.
    #[must_use]
    pub const fn is_verify(self) -> bool {
        matches!(self, Self::Verify | Self::VerifyValues)
    }
}

/// How values are loaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loader {
    /// The name in the job; of a loader in the workers' configuration where there is no recipe.
    pub name: LoaderName,
    /// The recipe, where the job brings its own.
    pub recipe: Option<Recipe>,
}

/// One batched query, and how its rows become cache entries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recipe {
    /// The origin to ask.
    pub origin: OriginName,
    /// The query, with `:keys` or `:key`; empty where keys are copied.
    pub query: String,
    /// The cache key's template.
    pub key_template: crate::template::Template,
    /// The columns that say which key a row answers; by default those left of `IN`.
    pub key_column: KeyColumns,
    /// Time to live, at least a millisecond.
    pub ttl: Duration,
    /// The time to live is shortened by up to this share, in thousandths, by a hash of the key; at most 900.
    pub ttl_jitter_permille: u32,
    /// Keys in one query.
    pub batch_keys: BatchKeys,
    /// How its values are made.
    #[serde(default, skip_serializing_if = "ValueSpec::is_default")]
    pub value: ValueSpec,
    /// Where it needs no keys: how it reads all rows of its query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scan: Option<Scan>,
}

impl Recipe {
    /// The origin that is asked for the versions of its rows, where it names a column for them.
    #[must_use]
    pub fn origin_of_versions(&self) -> Option<&OriginName> {
        let versions = self.value.versions.as_ref()?;
        Some(versions.origin.as_ref().unwrap_or(&self.origin))
    }

    /// How many keys one query of it is expected to load, as far as can be said without reading SQL as its worker does.
    #[must_use]
    pub fn keys_a_query(&self) -> u32 {
        if let Some(scan) = &self.scan {
            return scan.rows;
        }
        let takes_many = self.query.contains(":keys");
        if takes_many {
            self.batch_keys.expected()
        } else {
            1
        }
    }
}

/// Where a job is in its life. That it is paused shows in its holds: see [`State`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Created; waiting for uploads, or for a worker that can read its sources.
    Pending,
    /// Its sources are being read and ranked.
    Planning,
    /// Its plan is sealed and being worked on, unless holds exist.
    Running,
    /// Told to stop; not every owner has confirmed.
    Aborting,
    /// Every entry has an outcome, and few enough failed.
    Succeeded,
    /// Too many entries failed, or there is no plan.
    Failed,
    /// Stopped before its end.
    Aborted,
}

/// What callers see of a job's life: its phase, and PAUSED where a running job has holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// As the phase says.
    In(Phase),
    /// Running, but held.
    Paused,
}

impl Phase {
    /// Whether a job may go from here to `next`.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        use Phase::{Aborted, Aborting, Failed, Pending, Planning, Running, Succeeded};
        matches!(
            (self, next),
            (Pending, Planning)
                // A dry run ends where another job begins to run.
                | (Planning, Running | Pending | Succeeded)
                | (Pending | Planning, Failed)
                | (Running, Succeeded | Failed)
                | (Pending | Planning | Running, Aborting)
                | (Aborting, Aborted)
        )
    }

    /// Whether the job has begun or will, and neither is over nor about to end: it can stand still, and go on.
    #[must_use]
    pub const fn can_be_held(self) -> bool {
        matches!(self, Self::Pending | Self::Planning | Self::Running)
    }

    /// Whether nothing will happen to the job any more.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Aborted)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pending => "PENDING",
            Self::Planning => "PLANNING",
            Self::Running => "RUNNING",
            Self::Aborting => "ABORTING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Aborted => "ABORTED",
        })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::In(phase) => phase.fmt(f),
            Self::Paused => f.write_str("PAUSED"),
        }
    }
}

/// A reason to stand still.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Who holds; each removes only its own.
    pub holder: String,
    /// Why.
    pub reason: String,
}

/// A move that a job's life does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the job is {from}: it cannot {verb}")]
pub struct IllegalMove {
    /// The state it is in.
    pub from: State,
    /// What was asked of it.
    pub verb: &'static str,
}

/// A job's life: its phase, and why it stands still.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// Where it is.
    pub phase: Phase,
    /// At most one a holder.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<Hold>,
    /// What there is to say about the phase.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// While it is being aborted: when that is over at the latest, whoever confirms. For people: wall clocks decide nothing.
    /// Milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_by_ms: Option<u64>,
}

/// How many holders may hold one job at a time: more than there are kinds of guards and hands.
pub const HOLDS_MAX: usize = 32;

impl Life {
    /// A new job's.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            phase: Phase::Pending,
            holds: Vec::new(),
            reason: String::new(),
            over_by_ms: None,
        }
    }

    /// What callers see.
    #[must_use]
    pub fn state(&self) -> State {
        if self.phase.can_be_held() && !self.holds.is_empty() {
            State::Paused
        } else {
            State::In(self.phase)
        }
    }

    /// Whether workers may send queries for the job now.
    #[must_use]
    pub fn may_query(&self) -> bool {
        matches!(self.phase, Phase::Planning | Phase::Running) && self.holds.is_empty()
    }

    /// Goes to another phase.
    ///
    /// # Errors
    /// Where the job's life has no such move.
    pub fn become_phase(
        &mut self,
        next: Phase,
        reason: impl Into<String>,
    ) -> Result<(), IllegalMove> {
        if !self.phase.may_become(next) {
            return Err(IllegalMove {
                from: self.state(),
                verb: verb_towards(next),
            });
        }
        self.phase = next;
        self.reason = reason.into();
        self.over_by_ms = None;
        if !next.can_be_held() {
            self.holds.clear();
        }
        Ok(())
    }

    /// Adds a hold, or renews the reason of the holder's.
    ///
    /// # Errors
    /// Where the job is over or is being aborted, or has [`HOLDS_MAX`] holders.
    pub fn hold(&mut self, hold: Hold) -> Result<(), IllegalMove> {
        if !self.phase.can_be_held() {
            return Err(IllegalMove {
                from: self.state(),
                verb: "be paused",
            });
        }
        if let Some(own) = self.holds.iter_mut().find(|h| h.holder == hold.holder) {
            own.reason = hold.reason;
        } else if self.holds.len() < HOLDS_MAX {
            self.holds.push(hold);
        } else {
            return Err(IllegalMove {
                from: self.state(),
                verb: "have so many holds",
            });
        }
        Ok(())
    }

    /// Removes the holder's hold; the job goes on when none is left. No error where there is none.
    ///
    /// # Errors
    /// Where the job is over or is being aborted.
    pub fn release(&mut self, holder: &str) -> Result<(), IllegalMove> {
        if !self.phase.can_be_held() {
            return Err(IllegalMove {
                from: self.state(),
                verb: "be resumed",
            });
        }
        self.holds.retain(|h| h.holder != holder);
        Ok(())
    }
}

impl Default for Life {
    fn default() -> Self {
        Self::new()
    }
}

/// What is asked of a job that shall go to a phase.
const fn verb_towards(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "wait again",
        Phase::Planning => "be planned",
        Phase::Running => "run",
        Phase::Aborting | Phase::Aborted => "be aborted",
        Phase::Succeeded => "succeed",
        Phase::Failed => "fail",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PHASES: [Phase; 7] = [
        Phase::Pending,
        Phase::Planning,
        Phase::Running,
        Phase::Aborting,
        Phase::Succeeded,
        Phase::Failed,
        Phase::Aborted,
    ];

    fn running() -> Life {
        Life {
            phase: Phase::Running,
            ..Life::new()
        }
    }

    fn hold(holder: &str) -> Hold {
        Hold {
            holder: holder.into(),
            reason: "because".into(),
        }
    }

    #[test]
    fn a_job_of_one_cache_is_recorded_as_it_was_before_there_were_several() {
        let old = r#"{"sources":[],"loaders":[],"cache":"eu","mode":"add","allowed_failures":0,"attempts_max":5}"#;
        let mut batch: Batch = serde_json::from_str(old).unwrap();
        let names = |batch: &Batch| batch.caches().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(names(&batch), ["eu"]);
        assert_eq!(serde_json::to_string(&batch).unwrap(), old);
        batch.also = vec!["us".parse().unwrap()];
        assert_eq!(names(&batch), ["eu", "us"]);
    }

    #[test]
    fn nothing_happens_to_a_job_that_is_over() {
        for over in PHASES.into_iter().filter(|p| p.is_over()) {
            assert!(PHASES.iter().all(|next| !over.may_become(*next)), "{over}");
        }
    }

    #[test]
    fn every_unfinished_job_can_be_aborted_and_every_aborting_one_only_ends() {
        for phase in [Phase::Pending, Phase::Planning, Phase::Running] {
            assert!(phase.may_become(Phase::Aborting));
        }
        for next in PHASES {
            assert_eq!(Phase::Aborting.may_become(next), next == Phase::Aborted);
        }
    }

    #[test]
    fn each_holder_removes_only_its_own_hold() {
        let mut life = running();
        life.hold(hold("operator")).unwrap();
        life.hold(hold("guard/latency")).unwrap();
        life.hold(hold("operator")).unwrap();
        assert_eq!(
            (life.holds.len(), life.state(), life.may_query()),
            (2, State::Paused, false)
        );
        life.release("operator").unwrap();
        assert_eq!(life.state(), State::Paused);
        life.release("guard/latency").unwrap();
        assert_eq!(
            (life.state(), life.may_query()),
            (State::In(Phase::Running), true)
        );
    }

    #[test]
    fn whatever_has_begun_or_will_can_be_held_and_what_is_ending_or_over_cannot() {
        let held = [Phase::Pending, Phase::Planning, Phase::Running];
        for phase in held {
            let mut life = Life {
                phase,
                ..Life::new()
            };
            life.hold(hold("operator")).unwrap();
            assert_eq!((life.state(), life.may_query()), (State::Paused, false));
            for next in held.into_iter().filter(|next| phase.may_become(*next)) {
                let mut moved = life.clone();
                moved.become_phase(next, "").unwrap();
                assert_eq!(moved.state(), State::Paused, "{phase} to {next}");
            }
            life.release("operator").unwrap();
            assert_eq!(life.state(), State::In(phase));
        }
        for phase in PHASES.into_iter().filter(|p| !held.contains(p)) {
            let mut life = Life {
                phase,
                ..Life::new()
            };
            assert!(life.hold(hold("operator")).is_err());
            assert!(life.release("operator").is_err());
        }
    }

    #[test]
    fn an_aborted_job_has_no_holds_left() {
        let mut life = running();
        life.hold(hold("operator")).unwrap();
        life.become_phase(Phase::Aborting, "told to").unwrap();
        assert!(life.holds.is_empty() && !life.may_query());
    }
}
