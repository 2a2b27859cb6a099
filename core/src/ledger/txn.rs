//! What both sides of the ledger commit, as data: which records must still be what, and what is put where all are.
//!
//! Every change of a resource's records is one of these, and they are made here, from what the [`Allocator`](super::Allocator)
//! and the [`Holder`](super::Holder) decided: a driver translates them for its store and adds nothing.

use std::collections::BTreeMap;

use super::{Ack, Cap, Division, Ledger, Observed, Reclaim, Renewal, Share};
use crate::mutant::Mutant;
use crate::names::{JobName, WorkerName};

/// What must hold for a transaction to be applied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expect {
    /// Whoever commits this leads: the leader's record is still the one that its campaign made.
    Leader,
    /// The ledger was last put at this revision; `None`: there is none.
    Ledger(Option<u64>),
    /// A worker's cap was last put at this revision; `None`: there is none.
    Cap(WorkerName, Option<u64>),
    /// A worker's ack was last put at this revision; `None`: there is none.
    Ack(WorkerName, Option<u64>),
    /// A job's `run` record was last put at this revision.
    Run(JobName, u64),
}

/// What a transaction puts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Put {
    /// The ledger.
    Ledger(Ledger),
    /// A worker's cap; `None` deletes it.
    Cap(WorkerName, Option<Cap>),
    /// A worker's ack; `None` deletes it.
    Ack(WorkerName, Option<Ack>),
}

/// A transaction on the records of one resource: all of it, or nothing where something is not as expected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LedgerTxn {
    /// All must hold.
    pub expects: Vec<Expect>,
    /// No record twice.
    pub puts: Vec<Put>,
}

impl LedgerTxn {
    /// What a store does with it: commits it at `revision` where all is as expected. `leads`: whether who sent it leads.
    /// Whether it was committed.
    ///
    /// A job's `run` record is no part of `records`: it counts as expected.
    pub fn commit(&self, records: &mut Observed, leads: bool, revision: u64) -> bool {
        let holds = |expect: &Expect| match expect {
            Expect::Leader => leads,
            Expect::Ledger(expected) => records.ledger.map(|(_, at)| at) == *expected,
            Expect::Cap(worker, expected) => {
                records.caps.get(worker).map(|(_, at)| *at) == *expected
            }
            Expect::Ack(worker, expected) => {
                records.acks.get(worker).map(|(_, at)| *at) == *expected
            }
            Expect::Run(..) => true,
        };
        if !self.expects.iter().all(holds) {
            return false;
        }
        for put in &self.puts {
            match put {
                Put::Ledger(ledger) => records.ledger = Some((*ledger, revision)),
                Put::Cap(worker, cap) => put_or_delete(&mut records.caps, worker, *cap, revision),
                Put::Ack(worker, ack) => put_or_delete(&mut records.acks, worker, *ack, revision),
            }
        }
        true
    }
}

fn put_or_delete<T>(
    records: &mut BTreeMap<WorkerName, (T, u64)>,
    worker: &WorkerName,
    record: Option<T>,
    revision: u64,
) {
    match record {
        Some(record) => {
            records.insert(worker.clone(), (record, revision));
        }
        None => {
            records.remove(worker);
        }
    }
}

impl Division {
    /// How many caps one transaction puts at most: etcd takes 128 operations at a time.
    pub const CAPS_MAX: usize = 100;

    /// The caps of each transaction that it takes, in order: at least one, which may put the ledger only.
    pub fn parts(&self) -> impl Iterator<Item = &[(WorkerName, Share)]> {
        self.parts_of(Self::CAPS_MAX)
    }

    /// The same, with at most `caps_max` caps each, which is at least 1.
    pub fn parts_of(&self, caps_max: usize) -> impl Iterator<Item = &[(WorkerName, Share)]> {
        let none = self.caps.is_empty().then_some(&self.caps[..]);
        none.into_iter().chain(self.caps.chunks(caps_max))
    }

    /// The transaction for one of its [`parts`](Self::parts). `expected` is the ledger's revision: [`Division::expected`]
    /// for the first, what the one before made for the others. It puts the ledger, so that of two writers one fails.
    #[must_use]
    pub fn txn(
        &self,
        part: &[(WorkerName, Share)],
        expected: Option<u64>,
        term_ms: u64,
    ) -> LedgerTxn {
        let cap = |(worker, share): &(WorkerName, Share)| {
            let cap = (*share != Share::NONE).then_some(Cap {
                share: *share,
                term_ms,
            });
            Put::Cap(worker.clone(), cap)
        };
        LedgerTxn {
            expects: fence(expected),
            puts: std::iter::once(Put::Ledger(self.ledger))
                .chain(part.iter().map(cap))
                .collect(),
        }
    }
}

/// What shows that nobody else decided since: a deposed leader's transaction fails on the one, an older snapshot's on the
/// other.
fn fence(ledger: Option<u64>) -> Vec<Expect> {
    if Mutant::NothingCompared.is_on() {
        return Vec::new();
    }
    vec![Expect::Leader, Expect::Ledger(ledger)]
}

impl Reclaim {
    /// The transaction that takes the grant back. `ledger` is what was observed, at the revision that it has by now: another
    /// reclaim of the same look may have put it again. So does this one, so that no division of an older snapshot passes.
    #[must_use]
    pub fn txn(&self, ledger: Option<(Ledger, u64)>) -> LedgerTxn {
        let ack = Expect::Ack(self.worker.clone(), self.expected_ack);
        let mut txn = LedgerTxn {
            expects: vec![Expect::Leader, ack],
            puts: vec![
                Put::Cap(self.worker.clone(), None),
                Put::Ack(self.worker.clone(), self.lingering),
            ],
        };
        if let Some((ledger, revision)) = ledger {
            txn.expects.push(Expect::Ledger(Some(revision)));
            txn.puts.push(Put::Ledger(ledger));
        }
        if Mutant::ReclaimWithoutAck.is_on() {
            txn.expects
                .retain(|expect| !matches!(expect, Expect::Ack(..)));
        }
        if Mutant::NothingCompared.is_on() {
            txn.expects
                .retain(|expect| !matches!(expect, Expect::Leader | Expect::Ledger(_)));
        }
        txn
    }
}

impl Renewal {
    /// The transaction by which `worker` confirms what it may use.
    #[must_use]
    pub fn txn(&self, worker: &WorkerName) -> LedgerTxn {
        match self {
            Self::Renew {
                expected_cap,
                expected_ack,
                expected_runs,
                ack,
                ..
            } => {
                let cap = Expect::Cap(worker.clone(), Some(*expected_cap));
                let runs = expected_runs
                    .iter()
                    .map(|(job, revision)| Expect::Run(job.clone(), *revision));
                let cap = (!Mutant::RenewWithoutCap.is_on()).then_some(cap);
                let before = Expect::Ack(worker.clone(), *expected_ack);
                LedgerTxn {
                    expects: cap.into_iter().chain([before]).chain(runs).collect(),
                    puts: vec![Put::Ack(worker.clone(), Some(*ack))],
                }
            }
            Self::Release { expected_ack, left } => LedgerTxn {
                expects: vec![
                    Expect::Cap(worker.clone(), None),
                    Expect::Ack(worker.clone(), Some(*expected_ack)),
                ],
                puts: vec![Put::Ack(worker.clone(), *left)],
            },
        }
    }
}
