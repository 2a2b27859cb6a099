//! The mistakes that the proofs of the ledger must find: each breaks the protocol at one place (DESIGN §5).
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
}

/// A text that names no mutant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no mutant {0:?}; choose from {names}", names = Mutant::ALL.map(Mutant::name).join(", "))]
pub struct NoSuchMutant(String);

impl Mutant {
    /// All of them, as DESIGN §5 lists them.
    pub const ALL: [Self; 10] = [
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
        let mut all = Self::ALL.into_iter();
        all.find(|mutant| mutant.name() == text)
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
        for mutant in Mutant::ALL {
            assert_eq!(mutant.name().parse(), Ok(mutant));
        }
        let error = "none".parse::<Mutant>().unwrap_err().to_string();
        assert!(
            error.starts_with("there is no mutant \"none\"; choose from quarantine-too-short, ")
        );
    }
}
