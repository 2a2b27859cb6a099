//! What transactions compare, so that each comparison can be left out: without one that is needed, a violation must be found.

use std::collections::BTreeSet;
use std::fmt;

use stoke_core::records::keys;
use stoke_store::{Compare, Txn};

use super::network::Process;

/// Whose transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whose {
    /// Coordinators'.
    Coordinators,
    /// Workers'.
    Workers,
}

/// All that transactions of the one or the other compare of one kind of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fence {
    /// Whose.
    pub whose: Whose,
    /// The beginning of the records' keys.
    pub of: &'static str,
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whose = match self.whose {
            Whose::Coordinators => "coordinators",
            Whose::Workers => "workers",
        };
        write!(f, "what {whose} compare of {}", self.of)
    }
}

impl Fence {
    /// All that there are.
    pub const ALL: [Self; 13] = [
        Self::coordinators(keys::LEADER),
        Self::coordinators(keys::LEDGERS),
        Self::coordinators(keys::ACKS),
        Self::coordinators(keys::JOBS),
        Self::coordinators(keys::RUNS),
        Self::coordinators(keys::ASSIGNMENTS),
        Self::coordinators(keys::CHECKPOINTS),
        Self::workers(keys::CAPS),
        Self::workers(keys::ACKS),
        Self::workers(keys::RUNS),
        Self::workers(keys::READS),
        Self::workers(keys::ASSIGNMENTS),
        Self::workers(keys::CHECKPOINTS),
    ];

    /// What coordinators compare of such records.
    #[must_use]
    pub const fn coordinators(of: &'static str) -> Self {
        let whose = Whose::Coordinators;
        Self { whose, of }
    }

    /// What workers compare of such records.
    #[must_use]
    pub const fn workers(of: &'static str) -> Self {
        let whose = Whose::Workers;
        Self { whose, of }
    }

    /// What this comparison is a part of; `None` where it is of none that is known.
    fn of(from: Process, compare: &Compare) -> Option<Self> {
        let (Compare::ModRevision(key, _) | Compare::CreateRevision(key, _) | Compare::Absent(key)) =
            compare;
        let whose = match from {
            Process::Coordinator(_) => Whose::Coordinators,
            Process::Worker(_) => Whose::Workers,
        };
        let mut all = Self::ALL.into_iter();
        all.find(|fence| fence.whose == whose && key.starts_with(fence.of))
    }
}

/// Takes note of what is compared, and leaves one fence out.
#[derive(Debug, Default)]
pub(super) struct Fences {
    pub(super) without: Option<Fence>,
    /// What was met; `None`: something that is none of them.
    pub(super) met: BTreeSet<Option<Fence>>,
}

impl Fences {
    pub(super) fn pass(&mut self, from: Process, txn: &mut Txn) {
        let (without, met) = (self.without, &mut self.met);
        txn.compares.retain(|compare| {
            let fence = Fence::of(from, compare);
            met.insert(fence);
            fence.is_none() || fence != without
        });
    }
}
