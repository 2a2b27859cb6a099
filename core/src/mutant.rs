//! The mistakes that the proofs must find: each breaks a protocol at one place, the budget's (DESIGN §5) or that of work
//! (DESIGN §6).
//!
//! They are compiled in with the feature `mutants` only; without it [`Mutant::is_on`] is a constant, and the branches
//! that ask it are not there. With it, one mutant at most is on: what [`Mutant::on_this_thread`] says, else the one that
//! the environment variable `STOKE_MUTANT` names.

use std::fmt;
use std::str::FromStr;

/// One mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mutant {
    /// Q < T: a grant is taken back while it may be in force.
    QuarantineTooShort,
    /// The deadline counts from the renewal's answer, not from before it was sent.
    DeadlineFromResponse,
    /// A worker uses what it had until it is told that its lower share is confirmed.
    SlowDownAfterCommit,
    /// What a lowered cap frees is given away before its worker confirmed it.
    FreeBeforeAck,
    /// A grant is taken back though its worker renewed it meanwhile.
    ReclaimWithoutAck,
    /// A grant ends with its worker's membership, as it would if its records were on that etcd lease.
    CapsOnLeases,
    /// A worker confirms a cap that is not its cap any more.
    RenewWithoutCap,
    /// The ceiling is said to be the target while workers hold more.
    DropCeilingAtOnce,
    /// What one snapshot showed as free is given twice.
    ReuseSnapshot,
    /// A coordinator's transactions compare neither the leader nor the ledger.
    NothingCompared,
    /// A checkpoint is written though the assignment is another's, or another one.
    CheckpointOfAnother,
    /// A checkpoint is written over whatever checkpoint is there.
    CheckpointOverNewer,
    /// An assignment is followed whatever it says of partitions that are worked on.
    FollowAnything,
    /// A position moves past an entry that is not done.
    PositionPastOpen,
    /// Entries to try again are not in checkpoints.
    RetriesForgotten,
    /// Failed entries are listed after the checkpoint that counts them.
    FailuresListedLate,
    /// A stop is confirmed while something is in flight.
    StopConfirmedEarly,
    /// A worker begins anew under the assignment under which it has confirmed its stop.
    StopTakenBack,
    /// Partitions are taken over as they were assigned, not as they were checkpointed.
    CheckpointIgnored,
    /// Partitions are taken over though their owner has written another checkpoint meanwhile.
    CheckpointNotCompared,
    /// Partitions are given out though others have been since the records were read.
    JobNotCompared,
    /// A job's life is put though it has changed since it was read.
    LifeNotCompared,
    /// A job counts as aborted before its last statements have certainly ended.
    AbortedAtOnce,
    /// A value is written whatever is there, also where only what is missing shall be.
    WriteOver,
}

/// A text that names no mutant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no mutant {0:?}; choose from {names}", names = Mutant::all().map(Mutant::name).collect::<Vec<_>>().join(", "))]
pub struct NoSuchMutant(String);

impl Mutant {
    /// Those of the budget's protocol, as DESIGN §5 lists them.
    pub const OF_BUDGET: [Self; 10] = [
        Self::QuarantineTooShort,
        Self::DeadlineFromResponse,
        Self::SlowDownAfterCommit,
        Self::FreeBeforeAck,
        Self::ReclaimWithoutAck,
        Self::CapsOnLeases,
        Self::RenewWithoutCap,
        Self::DropCeilingAtOnce,
        Self::ReuseSnapshot,
        Self::NothingCompared,
    ];

    /// Those of the protocol of work.
    pub const OF_WORK: [Self; 14] = [
        Self::CheckpointOfAnother,
        Self::CheckpointOverNewer,
        Self::FollowAnything,
        Self::PositionPastOpen,
        Self::RetriesForgotten,
        Self::FailuresListedLate,
        Self::StopConfirmedEarly,
        Self::StopTakenBack,
        Self::CheckpointIgnored,
        Self::CheckpointNotCompared,
        Self::JobNotCompared,
        Self::LifeNotCompared,
        Self::AbortedAtOnce,
        Self::WriteOver,
    ];

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::OF_BUDGET.into_iter().chain(Self::OF_WORK)
    }

    /// What `STOKE_MUTANT` calls it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::QuarantineTooShort => "quarantine-too-short",
            Self::DeadlineFromResponse => "deadline-from-response",
            Self::SlowDownAfterCommit => "slow-down-after-commit",
            Self::FreeBeforeAck => "free-before-ack",
            Self::ReclaimWithoutAck => "reclaim-without-ack",
            Self::CapsOnLeases => "caps-on-leases",
            Self::RenewWithoutCap => "renew-without-cap",
            Self::DropCeilingAtOnce => "drop-ceiling-at-once",
            Self::ReuseSnapshot => "reuse-snapshot",
            Self::NothingCompared => "nothing-compared",
            Self::CheckpointOfAnother => "checkpoint-of-another",
            Self::CheckpointOverNewer => "checkpoint-over-newer",
            Self::FollowAnything => "follow-anything",
            Self::PositionPastOpen => "position-past-open",
            Self::RetriesForgotten => "retries-forgotten",
            Self::FailuresListedLate => "failures-listed-late",
            Self::StopConfirmedEarly => "stop-confirmed-early",
            Self::StopTakenBack => "stop-taken-back",
            Self::CheckpointIgnored => "checkpoint-ignored",
            Self::CheckpointNotCompared => "checkpoint-not-compared",
            Self::JobNotCompared => "job-not-compared",
            Self::LifeNotCompared => "life-not-compared",
            Self::AbortedAtOnce => "aborted-at-once",
            Self::WriteOver => "write-over",
        }
    }

    /// Whether this mistake shall be made; never, without the feature `mutants`.
    #[cfg(not(feature = "mutants"))]
    #[must_use]
    pub const fn is_on(self) -> bool {
        false
    }

    /// Whether this mistake shall be made.
    #[cfg(feature = "mutants")]
    #[must_use]
    pub fn is_on(self) -> bool {
        chosen::now() == Some(self)
    }

    /// From here on, this thread makes the one mistake, or none, whatever the environment says.
    #[cfg(feature = "mutants")]
    pub fn on_this_thread(mutant: Option<Self>) {
        chosen::on_this_thread(mutant);
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Mutant {
    type Err = NoSuchMutant;

    fn from_str(text: &str) -> Result<Self, NoSuchMutant> {
        Self::all()
            .find(|mutant| mutant.name() == text)
            .ok_or_else(|| NoSuchMutant(text.to_owned()))
    }
}

/// Which one is on.
#[cfg(feature = "mutants")]
mod chosen {
    use std::cell::Cell;
    use std::sync::OnceLock;

    use super::Mutant;

    const VARIABLE: &str = "STOKE_MUTANT";

    thread_local! {
        static OF_THREAD: Cell<Option<Option<Mutant>>> = const { Cell::new(None) };
    }

    pub(super) fn now() -> Option<Mutant> {
        OF_THREAD.get().unwrap_or_else(of_process)
    }

    pub(super) fn on_this_thread(mutant: Option<Mutant>) {
        OF_THREAD.set(Some(mutant));
    }

    /// What the environment says. A name that is none ends the process: a proof that fails to break what it means to
    /// break proves nothing.
    fn of_process() -> Option<Mutant> {
        static OF_PROCESS: OnceLock<Option<Mutant>> = OnceLock::new();
        *OF_PROCESS.get_or_init(|| {
            let name = std::env::var_os(VARIABLE)?;
            match name.to_string_lossy().parse() {
                Ok(mutant) => Some(mutant),
                Err(error) => {
                    eprintln!("{VARIABLE}: {error}");
                    std::process::exit(2)
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_name_of_its_own() {
        for mutant in Mutant::all() {
            assert_eq!(mutant.name().parse(), Ok(mutant));
        }
        let error = "none".parse::<Mutant>().unwrap_err().to_string();
        assert!(
            error.starts_with("there is no mutant \"none\"; choose from quarantine-too-short, ")
        );
    }
}
