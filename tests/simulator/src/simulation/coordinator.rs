//! A coordinator: it campaigns, and while it leads, it looks, decides on the budget, and commits. What it does about jobs is in
//! `work/lead.rs`.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use stoke_coordinator::doors::{Jobs, View};
use stoke_core::ledger::{Allocator, Change, Claim, Division, Ledger, LedgerTxn, Observed};
use stoke_core::names::JobName;
use stoke_core::records::keys;
use stoke_core::units::{Epoch, Moment};
use stoke_store::election::leads;
use stoke_store::{Keys, LeaseId, Snapshot, TxnOutcome};

use super::machine::{MS, Machine};
use super::network::{Line, Process};
use super::store::{Answer, Request};
use super::work::Plannings;
use super::world::{Event, World};

/// How long at most between two looks, as in `coordinator::lead`.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long at least.
const LOOK_APART: Duration = Duration::from_millis(50);
/// How often one that does not lead tries to.
const CAMPAIGN_EVERY: Duration = Duration::from_millis(200);

/// What it is at.
#[derive(Debug)]
pub(super) enum Doing {
    Resting,
    Looking,
    Committing {
        /// What the look showed: jobs come after budgets.
        view: Option<Box<View>>,
        observed: Box<Observed>,
        changes: VecDeque<Change>,
        /// Which part of the division at the front is under way.
        part: usize,
    },
    Stepping {
        view: Box<View>,
        /// The jobs whose turn has not come.
        todo: VecDeque<JobName>,
    },
}

/// The time of one that leads, or thinks so.
#[derive(Debug)]
pub(super) struct Tenure {
    pub(super) epoch: Epoch,
    lease: LeaseId,
    /// When it knows by itself that its lease may be over.
    until: Moment,
    allocator: Allocator,
    pub(super) jobs: Jobs,
    pub(super) plannings: Plannings,
    pub(super) doing: Doing,
    looked: Moment,
    woken: bool,
}

/// One coordinator.
#[derive(Debug)]
pub(super) struct Coordinator {
    pub(super) machine: Machine,
    pub(super) tenure: Option<Tenure>,
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
        let of_budget = || {
            prefixes
                .map(|prefix| Keys::Prefix(prefix.to_owned()))
                .to_vec()
        };
        let request = Request::Read(if self.works {
            View::keys()
        } else {
            of_budget()
        });
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
                    view,
                    mut observed,
                    mut changes,
                    part,
                },
                Answer::Txn(outcome),
            ) => {
                let next = part + 1;
                let mut again = None;
                match (changes.front(), outcome) {
                    (Some(Change::Divide(division)), TxnOutcome::Committed(revision)) => {
                        again = self.part(division, next, Some(revision.0));
                    }
                    // Of several grants that are taken back after one look, each finds the ledger that the one before made.
                    (Some(Change::Reclaim(_)), TxnOutcome::Committed(revision)) => {
                        let ledger = observed.ledger.map(|(ledger, _)| ledger);
                        observed.ledger = ledger.map(|ledger| (ledger, revision.0));
                    }
                    (Some(Change::Reclaim(_)), TxnOutcome::Refused) => changes.clear(),
                    _ => {}
                }
                let part = if again.is_some() {
                    next
                } else {
                    changes.pop_front();
                    0
                };
                self.commit_next(nth, view, observed, changes, part, again);
            }
            (Doing::Stepping { view, todo }, Answer::Txn(outcome)) => {
                if matches!(outcome, TxnOutcome::Committed(_)) {
                    // There may be a next step at once.
                    tenure.woken = true;
                }
                self.next_step(nth, view, todo);
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
        let view = self.works.then(|| Box::new(view(snapshot)));
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
        self.commit_next(nth, view, observed, changes.into(), 0, None);
    }

    /// Sends `txn`, or the first of what is left to commit; after that, jobs are next.
    fn commit_next(
        &mut self,
        nth: usize,
        view: Option<Box<View>>,
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
            if let Some(view) = view {
                self.take_steps(nth, view);
            }
            return;
        };
        let Some(tenure) = &mut self.coordinators[nth].tenure else {
            return;
        };
        let leader = leads(keys::LEADER, tenure.epoch);
        let txn = stoke_store::ledger::txn(&self.resource, &txn, Some(&leader));
        tenure.doing = Doing::Committing {
            view,
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
                    value: bytes::Bytes::new(),
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
                    epoch: Epoch(epoch.0),
                    lease: *lease,
                    until,
                    allocator: Allocator::new(self.timing),
                    jobs: Jobs::default(),
                    plannings: Plannings::new(),
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

fn view(snapshot: &Snapshot) -> View {
    #[expect(clippy::expect_used, reason = "the shipped code wrote it")]
    stoke_coordinator::doors::view(snapshot).expect("records that this program wrote")
}
