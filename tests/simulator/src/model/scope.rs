//! What bounds a check.

use std::time::Duration;

use stoke_core::ledger::{Share, Timing};
#[cfg(feature = "mutants")]
use stoke_core::mutant::Mutant;

/// How much may happen in one check; 0 of something: it never happens. Time itself has no bound.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// What it is called.
    pub name: &'static str,
    /// Messages under way at one time, answers included.
    pub messages: usize,
    /// How often another coordinator (or the same, started anew) wins the election. Whoever led before does not notice.
    pub elections: u8,
    /// How often a worker crashes and comes back under another name.
    pub crashes: u8,
    /// How often a message arrives once more.
    pub repeats: u8,
    /// How often the target changes between all and half.
    pub retargets: u8,
    /// How often it changes whether a worker has work as far as the coordinators see: demand, or a membership that ends
    /// early, late, or not at all.
    pub claims: u8,
    /// How often a worker's clock loses a tick on all others: the drift.
    pub slow_ticks: u8,
    /// Queries that a worker has in flight at most.
    pub queries: usize,
    /// Caps that a coordinator puts in one transaction.
    pub caps_per_txn: usize,
    /// Steps from the beginning; `None`: until nothing new is found.
    pub depth: Option<usize>,
    /// The mistake that is made.
    #[cfg(feature = "mutants")]
    pub mutant: Option<Mutant>,
}

/// Nothing happens but what always does: two workers beat, a coordinator looks, messages arrive or are lost.
const QUIET: Scope = Scope {
    name: "quiet",
    messages: 1,
    elections: 0,
    crashes: 0,
    repeats: 0,
    retargets: 0,
    claims: 0,
    slow_ticks: 0,
    queries: 0,
    caps_per_txn: 2,
    depth: None,
    #[cfg(feature = "mutants")]
    mutant: None,
};

/// Everything happens, a few steps deep.
const EVERYTHING: Scope = Scope {
    name: "everything",
    messages: 3,
    elections: 2,
    crashes: 1,
    repeats: 1,
    retargets: 2,
    claims: 2,
    slow_ticks: 1,
    queries: 2,
    caps_per_txn: 1,
    depth: Some(8),
    #[cfg(feature = "mutants")]
    mutant: None,
};

/// What `make test` tries.
pub const SMALL: [Scope; 6] = [
    Scope {
        name: "a target that goes down",
        retargets: 1,
        ..QUIET
    },
    Scope {
        name: "a worker that crashes",
        crashes: 1,
        ..QUIET
    },
    Scope {
        name: "a clock that loses a tick, a message that comes twice",
        slow_ticks: 1,
        repeats: 1,
        ..QUIET
    },
    Scope {
        name: "work that ends, caps put one by one",
        claims: 1,
        caps_per_txn: 1,
        ..QUIET
    },
    Scope {
        name: "two coordinators",
        messages: 2,
        elections: 2,
        retargets: 1,
        depth: Some(12),
        ..QUIET
    },
    EVERYTHING,
];

/// What `make model-check` tries.
pub const LARGE: [Scope; 8] = [
    // It found that places were confirmed again that had been taken back.
    Scope {
        name: "queries in flight while the target goes down",
        queries: 2,
        retargets: 1,
        depth: Some(28),
        ..QUIET
    },
    Scope {
        name: "a target that goes down and up",
        retargets: 2,
        ..QUIET
    },
    Scope {
        name: "a worker that crashes while work moves",
        crashes: 1,
        claims: 1,
        depth: Some(26),
        ..QUIET
    },
    Scope {
        name: "queries in flight",
        queries: 1,
        crashes: 1,
        depth: Some(32),
        ..QUIET
    },
    Scope {
        name: "two coordinators, late messages",
        elections: 1,
        depth: Some(26),
        ..QUIET
    },
    Scope {
        name: "three messages",
        messages: 3,
        repeats: 1,
        claims: 1,
        depth: Some(13),
        ..QUIET
    },
    Scope {
        name: "two coordinators, three messages",
        messages: 3,
        elections: 2,
        retargets: 1,
        depth: Some(12),
        ..QUIET
    },
    Scope {
        depth: Some(10),
        ..EVERYTHING
    },
];

impl Default for Scope {
    fn default() -> Self {
        QUIET
    }
}

/// What clocks count.
pub(super) const TICK: Duration = Duration::from_secs(1);

impl Scope {
    /// T = 2 ticks, Q = 3, so that one lost tick is the drift that Q is to bear; statements end after 1.
    pub(super) const TIMING: Timing = Timing {
        term: Duration::from_secs(2),
        renew_every: TICK,
        renew_deadline: TICK,
        quarantine: Duration::from_secs(3),
        drift_permille: 0,
        statement_timeout: TICK,
    };

    /// All of the budget: enough for two workers.
    pub(super) const ALL: Share = Share {
        rate_milli: 2000,
        burst: 2,
        in_flight: 2,
        rows: Share::ANY_ROWS,
    };

    /// Half of it: one worker must stand by.
    pub(super) const HALF: Share = Share {
        rate_milli: 1000,
        burst: 1,
        in_flight: 1,
        rows: Share::ANY_ROWS,
    };
}
