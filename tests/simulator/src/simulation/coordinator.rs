//! A coordinator, as far as the budget goes: it campaigns, and while it leads, it looks, decides and commits.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use stoke_core::ledger::{Allocator, Change, Claim, Division, Ledger, LedgerTxn, Observed};
use stoke_core::records::keys;
use stoke_core::units::Moment;
use stoke_store::{Compare, Keys, LeaseId, Revision, Snapshot, TxnOutcome};

use super::machine::{MS, Machine};
use super::network::{Line, Process};
use super::store::{Answer, Request};
use super::world::{Event, World};

/// How long at most between two looks, as in `coordinator::lead`.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long at least.
const LOOK_APART: Duration = Duration::from_millis(50);
/// How often one that does not lead tries to.
const CAMPAIGN_EVERY: Duration = Duration::from_millis(200);

/// What it is at.
#[derive(Clone, Debug)]
enum Doing {
    Resting,
    Looking,
    Committing {
        observed: Box<Observed>,
        changes: VecDeque<Change>,
        /// Which part of the division at the front is under way.
        part: usize,
    },
}

/// The time of one that leads, or thinks so.
#[derive(Clone, Debug)]
struct Tenure {
    epoch: Revision,
    lease: LeaseId,
    /// When it knows by itself that its lease may be over.
    until: Moment,
    allocator: Allocator,
    doing: Doing,
    looked: Moment,
    woken: bool,
}

/// One coordinator.
#[derive(Clone, Debug)]
pub(super) struct Coordinator {
    pub(super) machine: Machine,
    tenure: Option<Tenure>,
    /// When it asked for its lease, or to keep it alive.
    asked: Moment,
}

impl Coordinator {
    pub(super) fn new(machine: Machine) -> Self {
        Self {
            machine,
            tenure: None,
            asked: Moment::default(),
        }
    }
}

impl World {
    pub(super) fn start_coordinator(&mut self, nth: usize) {
        let life = self.coordinators[nth].machine.life;
        self.after(0, Event::Timer(Process::Coordinator(nth), life));
        self.after(0, Event::Lease(Process::Coordinator(nth), life));
    }

    pub(super) fn restart_coordinator(&mut self, nth: usize) {
        let coordinator = &mut self.coordinators[nth];
        coordinator.machine.restart();
        *coordinator = Coordinator::new(coordinator.machine.clone());
        self.start_coordinator(nth);
    }

    pub(super) fn coordinator_timer(&mut self, nth: usize) {
        let machine = &self.coordinators[nth].machine;
        let (life, every) = (machine.life, machine.lasts(LOOK_EVERY));
        self.after(every, Event::Timer(Process::Coordinator(nth), life));
        self.look(nth);
    }

    /// Looks at the store, unless it is at something, or has just looked.
    pub(super) fn look(&mut self, nth: usize) {
        let now = self.now;
        let coordinator = &mut self.coordinators[nth];
        let (clock, life) = (coordinator.machine.clock(now), coordinator.machine.life);
        let Some(tenure) = &mut coordinator.tenure else {
            return;
        };
        if !matches!(tenure.doing, Doing::Resting) {
            tenure.woken = true;
            return;
        }
        if clock.since(tenure.looked) < LOOK_APART {
            let wait = coordinator.machine.lasts(LOOK_APART);
            self.after(wait, Event::Woken(Process::Coordinator(nth), life));
            return;
        }
        tenure.looked = clock;
        tenure.doing = Doing::Looking;
        let prefixes = [keys::MEMBERS, keys::LEDGERS, keys::CAPS, keys::ACKS];
        let ranges = prefixes.map(|prefix| Keys::Prefix(prefix.to_owned()));
        let request = Request::Read(ranges.to_vec());
        self.call(Process::Coordinator(nth), Line::Work, request);
    }

    pub(super) fn coordinator_answered(&mut self, nth: usize, answer: Answer) {
        let Some(tenure) = &mut self.coordinators[nth].tenure else {
            return;
        };
        let doing = std::mem::replace(&mut tenure.doing, Doing::Resting);
        match (doing, answer) {
            (Doing::Looking, Answer::Read(snapshot)) => self.decide(nth, &snapshot),
            (
                Doing::Committing {
                    observed,
                    mut changes,
                    part,
                },
                Answer::Txn(outcome),
            ) => {
                let next = part + 1;
                let again = match (changes.front(), outcome) {
                    (Some(Change::Divide(division)), TxnOutcome::Committed(revision)) => {
                        self.part(division, next, Some(revision.0))
                    }
                    _ => None,
                };
                let part = if again.is_some() {
                    next
                } else {
                    changes.pop_front();
                    0
                };
                self.commit_next(nth, observed, changes, part, again);
            }
            // Nothing is known of it: what is left of the changes is for the next look.
            _ => {}
        }
        let Some(tenure) = &mut self.coordinators[nth].tenure else {
            return;
        };
        if matches!(tenure.doing, Doing::Resting) && std::mem::take(&mut tenure.woken) {
            self.look(nth);
        }
    }

    fn decide(&mut self, nth: usize, snapshot: &Snapshot) {
        let observed = Box::new(self.store.observed(snapshot));
        let claims: BTreeMap<_, _> = self
            .demanding(snapshot)
            .into_iter()
            .map(|worker| (worker, Claim::unknown()))
            .collect();
        let wanted = Ledger::new(self.target);
        let coordinator = &mut self.coordinators[nth];
        let received = coordinator.machine.clock(self.now);
        let Some(tenure) = &mut coordinator.tenure else {
            return;
        };
        let changes = tenure.allocator.step(received, &observed, &wanted, &claims);
        self.commit_next(nth, observed, changes.into(), 0, None);
    }

    /// Sends `txn`, or the first of what is left to commit.
    fn commit_next(
        &mut self,
        nth: usize,
        observed: Box<Observed>,
        changes: VecDeque<Change>,
        part: usize,
        txn: Option<LedgerTxn>,
    ) {
        let first = || match changes.front()? {
            Change::Divide(division) => self.part(division, 0, division.expected),
            Change::Reclaim(reclaim) => Some(reclaim.txn(observed.ledger)),
        };
        let Some(txn) = txn.or_else(first) else {
            return;
        };
        let Some(tenure) = &mut self.coordinators[nth].tenure else {
            return;
        };
        let leader = Compare::CreateRevision(keys::LEADER.to_owned(), tenure.epoch);
        let txn = stoke_store::ledger::txn(&self.resource, &txn, Some(&leader));
        tenure.doing = Doing::Committing {
            observed,
            changes,
            part,
        };
        self.call(Process::Coordinator(nth), Line::Work, Request::Txn(txn));
    }

    /// The nth transaction of a division, where it takes so many.
    fn part(&self, division: &Division, nth: usize, expected: Option<u64>) -> Option<LedgerTxn> {
        let part = division.parts_of(self.caps_per_txn).nth(nth)?;
        let term_ms = u64::try_from(self.timing.term.as_millis()).unwrap_or(u64::MAX);
        Some(division.txn(part, expected, term_ms))
    }

    /// Campaigns, or keeps its lease alive.
    pub(super) fn coordinator_lease(&mut self, nth: usize) {
        let now = self.now;
        let ttl = self.ttl;
        let coordinator = &mut self.coordinators[nth];
        let clock = coordinator.machine.clock(now);
        if coordinator
            .tenure
            .as_ref()
            .is_some_and(|tenure| clock >= tenure.until)
        {
            coordinator.tenure = None;
        }
        coordinator.asked = clock;
        let (request, every) = match &coordinator.tenure {
            Some(tenure) => (Request::KeepAlive(tenure.lease, None), ttl / 3),
            None => (
                Request::Take {
                    key: keys::LEADER.to_owned(),
                    ttl,
                    vacant: true,
                },
                CAMPAIGN_EVERY,
            ),
        };
        let (life, every) = (
            coordinator.machine.life,
            coordinator.machine.lasts(every) + MS,
        );
        let process = Process::Coordinator(nth);
        self.call(process, Line::Lease, request);
        self.after(every, Event::Lease(process, life));
    }

    pub(super) fn coordinator_lease_answered(&mut self, nth: usize, answer: &Answer) {
        let now = self.now;
        let coordinator = &mut self.coordinators[nth];
        let until = coordinator.asked + self.ttl;
        match (answer, &mut coordinator.tenure) {
            (Answer::Taken(Some((epoch, lease))), None) => {
                coordinator.tenure = Some(Tenure {
                    epoch: *epoch,
                    lease: *lease,
                    until,
                    allocator: Allocator::new(self.timing),
                    doing: Doing::Resting,
                    looked: Moment::default(),
                    woken: false,
                });
                // Without a leader the budget stands as it was: that is over now.
                self.troubled_until = self.troubled_until.max(now);
                self.look(nth);
            }
            (Answer::Kept(true), Some(tenure)) => tenure.until = until,
            (Answer::Kept(false), Some(_)) => coordinator.tenure = None,
            _ => {}
        }
    }
}
