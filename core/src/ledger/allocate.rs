//! The coordinator's side of the ledger: from one snapshot of a resource's records to the changes to commit.
//!
//! Invariants: a raise is only what Σ reserved of that very snapshot leaves free under the target (B1); a grant is taken back
//! only after its ack has stood unchanged for the quarantine, counted from receiving the read that showed it first;
//! the ceiling sinks only once what is reserved fits under it (B3). Fencing is the driver's: each [`Division`] is
//! committed with compares of the leader and of the ledger's revision, and puts the ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{Ack, Cap, Claim, Ledger, Share, Timing, divide};
use crate::mutant::Mutant;
use crate::names::WorkerName;
use crate::units::Moment;

/// One resource's records, all as they stood at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Observed {
    /// The ledger, with its mod revision; `None` where there is none yet.
    pub ledger: Option<(Ledger, u64)>,
    /// Caps, with their mod revisions.
    pub caps: BTreeMap<WorkerName, (Cap, u64)>,
    /// Acks, with their mod revisions.
    pub acks: BTreeMap<WorkerName, (Ack, u64)>,
}

impl Observed {
    /// What may be in use by a worker: max(cap, ack).
    #[must_use]
    pub fn reserved(&self, worker: &WorkerName) -> Share {
        self.cap(worker).max(
            self.acks
                .get(worker)
                .map_or(Share::NONE, |(ack, _)| ack.share),
        )
    }

    /// Σ reserved.
    #[must_use]
    pub fn reserved_total(&self) -> Share {
        self.workers()
            .iter()
            .map(|worker| self.reserved(worker))
            .sum()
    }

    /// Everyone who has a cap or an ack.
    #[must_use]
    pub fn workers(&self) -> BTreeSet<WorkerName> {
        self.caps.keys().chain(self.acks.keys()).cloned().collect()
    }

    /// What a division counts as taken: all that is reserved.
    fn counted(&self, worker: &WorkerName) -> Share {
        if Mutant::FreeBeforeAck.is_on() {
            return self.cap(worker);
        }
        self.reserved(worker)
    }

    fn counted_total(&self) -> Share {
        self.workers()
            .iter()
            .map(|worker| self.counted(worker))
            .sum()
    }

    fn cap(&self, worker: &WorkerName) -> Share {
        self.caps
            .get(worker)
            .map_or(Share::NONE, |(cap, _)| cap.share)
    }
}

/// New caps and a new ledger, to be committed where the ledger is still the one observed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Division {
    /// The ledger to put.
    pub ledger: Ledger,
    /// The mod revision that it must still have; `None`: there must be none.
    pub expected: Option<u64>,
    /// Caps to put; a cap of nothing is deleted. Lowered ones first: what is committed only in part is safe.
    pub caps: Vec<(WorkerName, Share)>,
}

/// A dead worker's grant, to be taken back where its ack is still the one observed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reclaim {
    /// Whose.
    pub worker: WorkerName,
    /// The ack's mod revision; `None`: there must be none.
    pub expected_ack: Option<u64>,
    /// What its queries may still hold of the queries in flight: an ack marked so stays. `None`: nothing.
    pub lingering: Option<Ack>,
}

/// What to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// New caps.
    Divide(Division),
    /// A grant that is certainly over.
    Reclaim(Reclaim),
}

/// What a worker's records looked like when they last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Silence {
    pub(super) cap: Option<u64>,
    pub(super) ack: Option<u64>,
    pub(super) since: Moment,
}

/// Decides over one resource's budget. A new leader starts with a new one: all quarantine clocks begin anew.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Allocator {
    pub(super) timing: Timing,
    pub(super) silences: BTreeMap<WorkerName, Silence>,
    pub(super) rebalanced: Option<Moment>,
    /// The snapshot of the last division, for [`Mutant::ReuseSnapshot`].
    #[cfg(feature = "mutants")]
    pub(super) divided: Option<Observed>,
}

/// Shares move only for changes of this part of them or more.
const MOVE_AT_LEAST_PERCENT: u64 = 5;

impl Allocator {
    /// For a leader that has just begun.
    #[must_use]
    pub const fn new(timing: Timing) -> Self {
        Self {
            timing,
            silences: BTreeMap::new(),
            rebalanced: None,
            #[cfg(feature = "mutants")]
            divided: None,
        }
    }

    /// Decides on what was observed in a read that was received at `now`, given what is wanted (its ceiling does not
    /// count) and who has work. At most one change is a division, and it comes last.
    pub fn step(
        &mut self,
        now: Moment,
        observed: &Observed,
        wanted: &Ledger,
        claims: &BTreeMap<WorkerName, Claim>,
    ) -> Vec<Change> {
        self.note_silences(now, observed);
        let reclaims = self.reclaims(now, observed, claims);
        if !reclaims.is_empty() {
            // What they free is for a later snapshot, which shows that it is free.
            return reclaims.into_iter().map(Change::Reclaim).collect();
        }
        #[cfg(feature = "mutants")]
        let observed = &self.reused(observed);
        self.division(now, observed, wanted, claims)
            .map(Change::Divide)
            .into_iter()
            .collect()
    }

    /// Restarts the clock of everyone whose records changed.
    fn note_silences(&mut self, now: Moment, observed: &Observed) {
        let workers = observed.workers();
        self.silences.retain(|worker, _| workers.contains(worker));
        for worker in workers {
            let cap = observed.caps.get(&worker).map(|(_, revision)| *revision);
            let ack = observed.acks.get(&worker).map(|(_, revision)| *revision);
            let silence = self.silences.entry(worker).or_insert(Silence {
                cap,
                ack,
                since: now,
            });
            // A cap that is put again and again must not keep a dead worker alive; its first one starts the clock, and
            // its end changes nothing: what was confirmed is over as soon as it would have been.
            let first = silence.cap.is_none() && cap.is_some();
            if silence.ack != ack || first {
                silence.since = now;
            }
            (silence.cap, silence.ack) = (cap, ack);
        }
    }

    /// With [`Mutant::ReuseSnapshot`], every second division is made from the snapshot of the one before, on the ledger
    /// that that one made.
    #[cfg(feature = "mutants")]
    fn reused(&mut self, observed: &Observed) -> Observed {
        if !Mutant::ReuseSnapshot.is_on() {
            return observed.clone();
        }
        match self.divided.take() {
            Some(divided) => Observed {
                ledger: observed.ledger,
                ..divided
            },
            None => {
                self.divided = Some(observed.clone());
                observed.clone()
            }
        }
    }

    fn reclaims(
        &self,
        now: Moment,
        observed: &Observed,
        claims: &BTreeMap<WorkerName, Claim>,
    ) -> Vec<Reclaim> {
        let mut reclaims = Vec::new();
        for (worker, silence) in &self.silences {
            let quiet = now.since(silence.since);
            let ack = observed.acks.get(worker).map(|(ack, _)| *ack);
            let lingers = ack.is_some_and(|ack| ack.lingering);
            let needed = if lingers {
                self.timing.drifted(self.timing.statement_timeout)
            } else if Mutant::QuarantineTooShort.is_on() {
                self.timing.term / 2
            } else if Mutant::CapsOnLeases.is_on() && !claims.contains_key(worker) {
                Duration::ZERO
            } else {
                self.timing.quarantine
            };
            if quiet < needed {
                continue;
            }
            let lingering = ack
                .filter(|ack| !ack.lingering && ack.share.in_flight > 0)
                .map(|ack| Ack {
                    share: Share {
                        in_flight: ack.share.in_flight,
                        ..Share::NONE
                    },
                    sequence: ack.sequence,
                    lingering: true,
                });
            reclaims.push(Reclaim {
                worker: worker.clone(),
                expected_ack: silence.ack,
                lingering,
            });
        }
        reclaims
    }

    fn division(
        &mut self,
        now: Moment,
        observed: &Observed,
        wanted: &Ledger,
        claims: &BTreeMap<WorkerName, Claim>,
    ) -> Option<Division> {
        let reserved = observed.reserved_total();
        let current = observed.ledger.map(|(ledger, _)| ledger);
        let target = wanted.target;
        let ceiling = match current {
            Some(ledger) if !Mutant::DropCeilingAtOnce.is_on() => {
                target.max(ledger.ceiling.min(reserved))
            }
            _ => target,
        };
        let ledger = Ledger { ceiling, ..*wanted };

        let desired = self.desired_shares(observed, target, claims);
        let caps_total: Share = observed.caps.values().map(|(cap, _)| cap.share).sum();
        let forced = !caps_total.fits(target);
        let may_rebalance = self
            .rebalanced
            .is_none_or(|then| now.since(then) >= self.timing.term);

        let mut lowered = Vec::new();
        let mut raised = Vec::new();
        let mut free = target.minus(observed.counted_total());
        let mut took_from_the_demanding = false;
        for (worker, desired) in &desired {
            let cap = observed.cap(worker);
            let keeps = claims.contains_key(worker) && !forced;
            // What is free can be given at any time; what is taken from one who works must be worth it, and rare.
            let may_lower = !keeps || (is_worth_a_move(cap, *desired) && may_rebalance);
            let lower = if may_lower { cap.min(*desired) } else { cap };
            took_from_the_demanding |= lower != cap && keeps;
            let raise = raise_within(observed.counted(worker), lower, *desired, &mut free);
            if raise == cap {
                continue;
            }
            if raise.fits(cap) {
                &mut lowered
            } else {
                &mut raised
            }
            .push((worker.clone(), raise));
        }
        if took_from_the_demanding {
            self.rebalanced = Some(now);
        }
        lowered.append(&mut raised);
        let unchanged = lowered.is_empty() && current == Some(ledger);
        (!unchanged).then(|| Division {
            ledger,
            expected: observed.ledger.map(|(_, revision)| revision),
            caps: lowered,
        })
    }

    /// What each worker should have: its part where it has work, else nothing.
    fn desired_shares(
        &self,
        observed: &Observed,
        target: Share,
        claims: &BTreeMap<WorkerName, Claim>,
    ) -> BTreeMap<WorkerName, Share> {
        let nothing = observed
            .caps
            .keys()
            .map(|worker| (worker.clone(), Share::NONE));
        let mut desired: BTreeMap<WorkerName, Share> = nothing.collect();
        desired.extend(divide(target, claims, self.timing.term));
        desired
    }
}

/// Whether any dimension differs by enough to be worth a move.
fn is_worth_a_move(cap: Share, desired: Share) -> bool {
    let differs = |cap: u64, desired: u64| {
        cap.abs_diff(desired).saturating_mul(100)
            >= cap.max(1).saturating_mul(MOVE_AT_LEAST_PERCENT)
            && cap != desired
    };
    differs(cap.rate_milli, desired.rate_milli)
        || differs(cap.burst, desired.burst)
        || differs(cap.in_flight, desired.in_flight)
        || differs(cap.rows, desired.rows)
}

/// From `lower` towards `desired`, as far as what is reserved already and what is free allow; takes it from `free`.
fn raise_within(reserved: Share, lower: Share, desired: Share, free: &mut Share) -> Share {
    let dimension = |lower: u64, desired: u64, reserved: u64, free: &mut u64| {
        let reachable = desired.min(reserved.saturating_add(*free));
        let cap = reachable.max(lower);
        // What has no limit is not less where a part of it is taken.
        if *free != Share::ANY_ROWS {
            *free -= cap.saturating_sub(reserved).min(*free);
        }
        cap
    };
    Share {
        rate_milli: dimension(
            lower.rate_milli,
            desired.rate_milli,
            reserved.rate_milli,
            &mut free.rate_milli,
        ),
        burst: dimension(lower.burst, desired.burst, reserved.burst, &mut free.burst),
        in_flight: dimension(
            lower.in_flight,
            desired.in_flight,
            reserved.in_flight,
            &mut free.in_flight,
        ),
        rows: dimension(lower.rows, desired.rows, reserved.rows, &mut free.rows),
    }
}
