//! One name for what makes no difference: states that differ only in how far clocks and revisions have come are the same.
//!
//! A revision is 1 where it is its record's, 0 where it is not (and never will be again); what is committed next takes 2. A
//! moment that is so long ago that everything that counts from it is over is the oldest there is.

use std::hash::{DefaultHasher, Hash, Hasher};

use stoke_core::ledger::{Expect, LedgerTxn, Observed, Put, Renewal};
use stoke_core::names::WorkerName;
use stoke_core::units::Moment;

use super::scope::{Scope, TICK};
use super::state::{Message, NOW, State};

/// The revision of whatever is committed in a step.
pub(super) const FRESH: u64 = 2;
/// The revision of a record that stood before.
const CURRENT: u64 = 1;
/// A revision that no record has any more.
const GONE: u64 = 0;

/// From here on back it makes no difference: nothing is counted for longer than the quarantine.
fn oldest() -> Moment {
    back(NOW, Scope::TIMING.quarantine.as_nanos())
}

fn back(moment: Moment, nanos: u128) -> Moment {
    let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
    Moment::from_nanos(moment.as_nanos().saturating_sub(nanos))
}

/// A moment one tick later.
fn aged(moment: Moment) -> Moment {
    back(moment, TICK.as_nanos()).max(oldest())
}

impl State {
    /// Lets a tick go by on all clocks but one worker's.
    pub(super) fn age(&mut self, slow: Option<&WorkerName>) {
        let records = &self.records;
        for coordinator in self.coordinators.iter_mut().flatten() {
            coordinator.allocator = coordinator.allocator.clone().renamed(aged, records);
        }
        for worker in &mut self.workers {
            if slow != Some(&worker.name) {
                let sequence = worker.holder.sequence();
                worker.holder = worker.holder.clone().renamed(aged, sequence);
            }
        }
        for message in &mut self.messages {
            if let Message::Renewal { worker, renewal } | Message::Answer { worker, renewal } =
                message
                && slow != Some(worker)
                && let Renewal::Renew { noted, .. } = renewal
            {
                *noted = aged(*noted);
            }
        }
    }

    /// Gives everything the name that it has in all states that are the same.
    pub(super) fn canonicalise(&mut self) {
        let Self {
            records,
            coordinators,
            workers,
            messages,
            ..
        } = self;
        for message in &mut *messages {
            match message {
                Message::Change { txn, .. } => rename(txn, records),
                Message::Renewal { worker, renewal } => {
                    let latest = workers.iter().find(|alive| alive.name == *worker);
                    rename_renewal(renewal, latest.map(|latest| latest.holder.sequence()));
                    rename_expected(renewal, worker, records);
                }
                Message::Answer { worker, renewal } => {
                    let latest = workers.iter().find(|alive| alive.name == *worker);
                    rename_renewal(renewal, latest.map(|latest| latest.holder.sequence()));
                    rename_expected(renewal, worker, &Observed::default());
                }
            }
        }
        for worker in workers {
            let expired = |deadline: Moment| {
                if deadline <= NOW { oldest() } else { deadline }
            };
            worker.holder = worker.holder.clone().renamed(expired, CURRENT);
        }
        for coordinator in coordinators.iter_mut().flatten() {
            coordinator.allocator = coordinator.allocator.clone().renamed(|at| at, records);
        }
        coordinators.sort_by_key(|coordinator| {
            let leads = coordinator.as_ref().map(|coordinator| coordinator.leads);
            (std::cmp::Reverse(leads), hash(coordinator))
        });
        for (_, revision) in records.caps.values_mut() {
            *revision = CURRENT;
        }
        for (ack, revision) in records.acks.values_mut() {
            *revision = CURRENT;
            ack.sequence = 0;
        }
        if let Some((_, revision)) = &mut records.ledger {
            *revision = CURRENT;
        }
        self.orphans.sort_unstable();
        messages.sort_by_key(hash);
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn named(expected: u64, now: Option<u64>) -> u64 {
    if now == Some(expected) { CURRENT } else { GONE }
}

fn rename(txn: &mut LedgerTxn, records: &Observed) {
    for expect in &mut txn.expects {
        match expect {
            Expect::Ledger(Some(expected)) => {
                *expected = named(*expected, records.ledger.map(|(_, at)| at));
            }
            Expect::Cap(worker, Some(expected)) => {
                *expected = named(*expected, records.caps.get(worker).map(|(_, at)| *at));
            }
            Expect::Ack(worker, Some(expected)) => {
                *expected = named(*expected, records.acks.get(worker).map(|(_, at)| *at));
            }
            Expect::Leader
            | Expect::Ledger(None)
            | Expect::Cap(_, None)
            | Expect::Ack(_, None)
            | Expect::Run(..) => {}
        }
    }
    for put in &mut txn.puts {
        if let Put::Ack(_, Some(ack)) = put {
            ack.sequence = 0;
        }
    }
}

/// Only whether it is the latest of its worker makes a difference.
fn rename_renewal(renewal: &mut Renewal, latest: Option<u64>) {
    match renewal {
        Renewal::Renew { ack, .. } => ack.sequence = named(ack.sequence, latest),
        Renewal::Release { left, .. } => {
            if let Some(ack) = left {
                ack.sequence = 0;
            }
        }
    }
}

fn rename_expected(renewal: &mut Renewal, worker: &WorkerName, records: &Observed) {
    let cap_now = records.caps.get(worker).map(|(_, at)| *at);
    let ack_now = records.acks.get(worker).map(|(_, at)| *at);
    match renewal {
        Renewal::Renew {
            expected_cap,
            expected_ack,
            ..
        } => {
            *expected_cap = named(*expected_cap, cap_now);
            *expected_ack = expected_ack.map(|expected| named(expected, ack_now));
        }
        Renewal::Release { expected_ack, .. } => *expected_ack = named(*expected_ack, ack_now),
    }
}
