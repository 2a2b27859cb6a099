//! What the model's world is like at one instant.

use std::collections::{BTreeMap, BTreeSet};

use stoke_core::ledger::{
    Allocator, Claim, Division, Holder, Ledger, LedgerTxn, Observed, Reading, Renewal, Share,
};
use stoke_core::names::WorkerName;
use stoke_core::units::Moment;

use super::Scope;

/// What every clock shows: instead of clocks that go on, moments move into the past.
pub(super) const NOW: Moment = Moment::from_nanos(1_000_000_000_000);

/// A coordinator that has won an election, and may not know that it has lost it since.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Coordinator {
    pub(super) leads: bool,
    pub(super) allocator: Allocator,
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Worker {
    pub(super) name: WorkerName,
    pub(super) holder: Holder,
    /// Queries of which it awaits the answer: how many ticks each may yet run in the database; 0: it has ended there.
    pub(super) queries: Vec<u8>,
}

impl Worker {
    pub(super) fn new(name: WorkerName) -> Self {
        Self {
            name,
            holder: Holder::new(Scope::TIMING),
            queries: Vec::new(),
        }
    }

    /// Its queries that run in the database.
    pub(super) fn running(&self) -> u64 {
        self.queries.iter().filter(|left| **left > 0).count() as u64
    }
}

/// Something under way; it may arrive at any time, or never.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Message {
    /// A coordinator's transaction.
    Change {
        /// Whether the election that its sender won is still the last.
        leads: bool,
        txn: LedgerTxn,
        /// What its sender goes on with once it is answered: a division, and which of its transactions is next.
        more: Option<(Division, usize)>,
    },
    /// A worker's renewal.
    Renewal {
        worker: WorkerName,
        renewal: Renewal,
    },
    /// The store's answer that it was committed.
    Answer {
        worker: WorkerName,
        renewal: Renewal,
    },
}

/// What may still happen.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Left {
    pub(super) elections: u8,
    pub(super) crashes: u8,
    pub(super) repeats: u8,
    pub(super) retargets: u8,
    pub(super) claims: u8,
    pub(super) slow_ticks: u8,
}

/// A state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) records: Observed,
    /// The one that leads comes first.
    pub(super) coordinators: [Option<Coordinator>; 2],
    pub(super) workers: [Worker; 2],
    pub(super) messages: Vec<Message>,
    /// Queries of crashed workers that run in the database: how many ticks each may yet run.
    pub(super) orphans: Vec<u8>,
    pub(super) target: Share,
    /// Who has work as far as the coordinators see.
    pub(super) claims: BTreeSet<WorkerName>,
    pub(super) left: Left,
}

impl State {
    /// Nothing has been given out; a coordinator leads, and two workers have work.
    pub(super) fn new(scope: &Scope) -> Self {
        let leader = Coordinator {
            leads: true,
            allocator: Allocator::new(Scope::TIMING),
        };
        let workers = [worker_name(0), worker_name(1)];
        Self {
            records: Observed::default(),
            coordinators: [Some(leader), None],
            claims: workers.iter().cloned().collect(),
            workers: workers.map(Worker::new),
            messages: Vec::new(),
            orphans: Vec::new(),
            target: Scope::ALL,
            left: Left {
                elections: scope.elections,
                crashes: scope.crashes,
                repeats: scope.repeats,
                retargets: scope.retargets,
                claims: scope.claims,
                slow_ticks: scope.slow_ticks,
            },
        }
    }

    pub(super) fn wanted(&self) -> Ledger {
        Ledger::new(self.target)
    }

    pub(super) fn demand(&self) -> BTreeMap<WorkerName, Claim> {
        let claim = |name: &WorkerName| (name.clone(), Claim::unknown());
        self.claims.iter().map(claim).collect()
    }

    /// What a worker reads.
    pub(super) fn reading(&self, worker: &Worker) -> Reading {
        let name = &worker.name;
        Reading {
            cap: self.records.caps.get(name).copied(),
            ack: self.records.acks.get(name).copied(),
            in_flight: worker.queries.len() as u64,
            runs: BTreeMap::new(),
        }
    }
}

/// The name of the nth worker that was ever started.
pub(super) fn worker_name(nth: usize) -> WorkerName {
    #[expect(clippy::expect_used, reason = "letters and digits")]
    format!("w{nth}").parse().expect("a name")
}
