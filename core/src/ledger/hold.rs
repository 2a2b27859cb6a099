//! The worker's side of the ledger: what it may use of one resource, for which jobs, and until when.
//!
//! Invariants: it slows down before it confirms that it does; only a confirmed renewal moves a deadline, and moves it
//! to the clock noted *before* the renewal was sent plus the term; a stop is obeyed on hearsay, a go only on commit; places
//! of queries that are still in flight are confirmed as used until those have returned; no renewal raises what is reserved.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Ack, Cap, Share, Timing};
use crate::mutant::Mutant;
use crate::names::JobName;
use crate::units::Moment;

/// What a worker may do with one resource.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Grant {
    /// How much.
    pub share: Share,
    /// From here on nothing.
    pub deadline: Moment,
    /// For which jobs, each until its own deadline.
    pub permits: BTreeMap<JobName, Moment>,
}

impl Grant {
    /// What may be used at `now`: nothing from the deadline on. There is no safe rate that is not reserved.
    #[must_use]
    pub fn at(&self, now: Moment) -> Share {
        if now < self.deadline {
            self.share
        } else {
            Share::NONE
        }
    }

    /// Whether a job may use it at `now`.
    #[must_use]
    pub fn permits(&self, job: &JobName, now: Moment) -> bool {
        now < self.deadline
            && self
                .permits
                .get(job)
                .is_some_and(|deadline| now < *deadline)
    }
}

/// What a read of the store shows of the records that one worker's grant depends on.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// The worker's cap, with its mod revision.
    pub cap: Option<(Cap, u64)>,
    /// The worker's own ack, with its mod revision.
    pub ack: Option<(Ack, u64)>,
    /// How many of its queries are in flight now.
    pub in_flight: u64,
    /// The jobs that the worker holds.
    pub runs: BTreeMap<JobName, RunSeen>,
}

/// What a read shows of a job's `run` record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunSeen {
    /// Its mod revision.
    pub revision: u64,
    /// Whether it lets workers query.
    pub may_query: bool,
}

/// What to commit: where all compares hold, the ack is put.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Renewal {
    /// Confirms the cap, and renews the grant and the permits.
    Renew {
        /// The cap's mod revision.
        expected_cap: u64,
        /// The ack's mod revision; `None`: there must be none. One that was long under way would confirm again what the
        /// worker has given up since.
        expected_ack: Option<u64>,
        /// The mod revisions of the jobs' `run` records.
        expected_runs: BTreeMap<JobName, u64>,
        /// What to put.
        ack: Ack,
        /// What may be used once that is confirmed.
        share: Share,
        /// How long.
        term: Duration,
        /// The clock before sending.
        noted: Moment,
    },
    /// There is no cap any more: nothing is used, so the ack can go. Where there must be no cap.
    Release {
        /// The ack's mod revision.
        expected_ack: u64,
        /// What stays of it: the places of queries that are in flight. The rate need not wait for those.
        left: Option<Ack>,
    },
}

/// Holds one worker's grant of one resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    pub(super) timing: Timing,
    pub(super) grant: Grant,
    pub(super) sequence: u64,
}

impl Holder {
    /// One that has nothing yet.
    #[must_use]
    pub fn new(timing: Timing) -> Self {
        Self {
            timing,
            grant: Grant::default(),
            sequence: 0,
        }
    }

    /// What may be used now.
    #[must_use]
    pub const fn grant(&self) -> &Grant {
        &self.grant
    }

    /// Takes note of a read, slows down where it says so, and says what to commit. `now` must be from before the commit is
    /// sent, and after the caller has seen to it that [`Holder::grant`] as it is afterwards is obeyed.
    pub fn read(&mut self, now: Moment, reading: &Reading) -> Option<Renewal> {
        self.sequence += 1;
        let cap = reading.cap.map_or(Share::NONE, |(cap, _)| cap.share);
        if !Mutant::SlowDownAfterCommit.is_on() {
            self.grant.share = self.grant.share.min(cap);
        }
        let may_query = |job: &JobName| reading.runs.get(job).is_some_and(|run| run.may_query);
        self.grant.permits.retain(|job, _| may_query(job));

        let Some((cap, expected_cap)) = reading.cap else {
            let (ack, expected_ack) = reading.ack?;
            return self.release(ack, expected_ack, reading.in_flight);
        };
        let runs = reading.runs.iter().filter(|(_, run)| run.may_query);
        // What is in flight beyond what is reserved was taken back, and so is certainly over.
        let held = reading.ack.map_or(0, |(ack, _)| ack.share.in_flight);
        let in_flight = cap.share.in_flight.max(reading.in_flight.min(held));
        let confirmed = Share {
            in_flight,
            ..cap.share
        };
        Some(Renewal::Renew {
            expected_cap,
            expected_ack: reading.ack.map(|(_, revision)| revision),
            expected_runs: runs.map(|(job, run)| (job.clone(), run.revision)).collect(),
            ack: Ack {
                share: confirmed,
                sequence: self.sequence,
                lingering: false,
            },
            share: cap.share,
            term: self.timing.term.min(Duration::from_millis(cap.term_ms)),
            noted: now,
        })
    }

    /// Gives back all but the places of what is in flight: those are held until it has returned.
    fn release(&self, ack: Ack, expected_ack: u64, in_flight: u64) -> Option<Renewal> {
        let share = Share {
            in_flight: in_flight.min(ack.share.in_flight),
            ..Share::NONE
        };
        let left = (share != Share::NONE).then_some(Ack {
            share,
            sequence: self.sequence,
            lingering: false,
        });
        (ack.share != share).then_some(Renewal::Release { expected_ack, left })
    }

    /// Takes note that a renewal was confirmed, by an answer that came at `now`. (One that was refused, or of which nothing
    /// is known, changes nothing.) An answer that comes after the next read changes nothing either: since then, it may have
    /// slowed down.
    pub fn committed(&mut self, renewal: Renewal, now: Moment) {
        let Renewal::Renew {
            expected_runs,
            ack,
            share,
            term,
            noted,
            ..
        } = renewal
        else {
            if Mutant::SlowDownAfterCommit.is_on() {
                self.grant.share = Share::NONE;
            }
            return;
        };
        debug_assert!(
            noted <= now,
            "B2: the answer to a renewal came before it was sent"
        );
        let from = if Mutant::DeadlineFromResponse.is_on() {
            now
        } else {
            noted
        };
        if ack.sequence != self.sequence {
            return;
        }
        let deadline = from + term;
        self.grant.share = share;
        self.grant.deadline = self.grant.deadline.max(deadline);
        for job in expected_runs.into_keys() {
            self.grant.permits.insert(job, deadline);
        }
    }

    /// Stops at once: the store is not the one that granted.
    pub fn stop(&mut self) {
        self.grant = Grant::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Share = Share {
        rate_milli: 4000,
        burst: 2,
        in_flight: 4,
        rows: Share::ANY_ROWS,
    };
    const HALF: Share = Share {
        rate_milli: 2000,
        burst: 1,
        in_flight: 2,
        rows: Share::ANY_ROWS,
    };

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    fn job() -> JobName {
        "j".parse().unwrap()
    }

    fn acked(share: Share) -> Ack {
        Ack {
            share,
            sequence: 1,
            lingering: false,
        }
    }

    fn reading(cap: Option<(Share, u64)>, may_query: bool) -> Reading {
        Reading {
            cap: cap.map(|(share, revision)| {
                (
                    Cap {
                        share,
                        term_ms: 60_000,
                    },
                    revision,
                )
            }),
            ack: Some((acked(FULL), 9)),
            in_flight: 0,
            runs: BTreeMap::from([(
                job(),
                RunSeen {
                    revision: 3,
                    may_query,
                },
            )]),
        }
    }

    fn holding(share: Share) -> Holder {
        let mut holder = Holder::new(Timing::default());
        let renewal = holder
            .read(at(1000), &reading(Some((share, 5)), true))
            .unwrap();
        holder.committed(renewal, at(4000));
        holder
    }

    #[test]
    fn nothing_is_granted_before_a_renewal_is_confirmed() {
        let mut holder = Holder::new(Timing::default());
        let renewal = holder
            .read(at(1000), &reading(Some((FULL, 5)), true))
            .unwrap();
        assert_eq!(holder.grant().at(at(1000)), Share::NONE);
        holder.committed(renewal, at(4000));
        assert_eq!(holder.grant().at(at(1001)), FULL);
    }

    #[test]
    fn the_deadline_counts_from_before_the_renewal_was_sent() {
        let holder = holding(FULL);
        assert_eq!(holder.grant().at(at(5999)), FULL);
        assert_eq!(holder.grant().at(at(6000)), Share::NONE);
        assert!(
            holder.grant().permits(&job(), at(5999)) && !holder.grant().permits(&job(), at(6000))
        );
    }

    #[test]
    fn it_slows_down_before_it_confirms() {
        let mut holder = holding(FULL);
        let renewal = holder
            .read(at(2000), &reading(Some((HALF, 6)), true))
            .unwrap();
        assert_eq!(holder.grant().at(at(2000)), HALF);
        let Renewal::Renew {
            ack, expected_cap, ..
        } = renewal
        else {
            panic!()
        };
        assert_eq!((ack.share, ack.sequence, expected_cap), (HALF, 2, 6));
    }

    #[test]
    fn a_renewal_of_which_nothing_is_known_extends_nothing() {
        let mut holder = holding(HALF);
        let _lost = holder.read(at(3000), &reading(Some((FULL, 6)), true));
        assert_eq!(
            (holder.grant().at(at(5999)), holder.grant().at(at(6000))),
            (HALF, Share::NONE)
        );
    }

    #[test]
    fn b4_a_stop_is_obeyed_on_hearsay_and_a_go_only_on_commit() {
        let mut holder = holding(FULL);
        let renewal = holder
            .read(at(2000), &reading(Some((FULL, 5)), false))
            .unwrap();
        assert!(!holder.grant().permits(&job(), at(2000)));
        holder.committed(renewal, at(4000));
        assert!(!holder.grant().permits(&job(), at(2001)));
        let renewal = holder
            .read(at(2002), &reading(Some((FULL, 5)), true))
            .unwrap();
        assert!(!holder.grant().permits(&job(), at(2002)));
        holder.committed(renewal, at(4000));
        assert!(holder.grant().permits(&job(), at(2003)));
    }

    #[test]
    fn an_answer_that_comes_after_the_next_read_does_not_speed_up_again() {
        // The model check found it: the late answer would give back what that read has taken.
        let mut holder = Holder::new(Timing::default());
        let late = holder
            .read(at(1000), &reading(Some((FULL, 5)), true))
            .unwrap();
        let renewal = holder
            .read(at(2000), &reading(Some((HALF, 6)), true))
            .unwrap();
        holder.committed(late, at(2500));
        assert_eq!(holder.grant().at(at(2500)), Share::NONE);
        holder.committed(renewal, at(2600));
        assert_eq!(holder.grant().at(at(2600)), HALF);
    }

    #[test]
    fn without_a_cap_nothing_is_used_and_the_ack_is_released() {
        let mut holder = holding(FULL);
        assert_eq!(
            holder.read(at(2000), &reading(None, true)),
            Some(Renewal::Release {
                expected_ack: 9,
                left: None
            })
        );
        assert_eq!(holder.grant().at(at(2000)), Share::NONE);
    }

    #[test]
    fn a_term_is_what_is_configured() {
        let timing = Timing {
            term: Duration::from_secs(60),
            ..Timing::default()
        };
        let mut holder = Holder::new(timing);
        let renewal = holder.read(at(0), &reading(Some((FULL, 5)), true)).unwrap();
        holder.committed(renewal, at(4000));
        assert_eq!(holder.grant().at(at(59_999)), FULL);
    }

    #[test]
    fn queries_in_flight_keep_their_places_until_they_have_returned() {
        let mut holder = holding(FULL);
        let busy = |cap| Reading {
            in_flight: 3,
            ..reading(cap, true)
        };
        let renewal = holder.read(at(2000), &busy(Some((HALF, 6)))).unwrap();
        let Renewal::Renew { ack, share, .. } = &renewal else {
            panic!()
        };
        assert_eq!((ack.share.in_flight, *share), (3, HALF));
        holder.committed(renewal, at(4000));
        assert_eq!(holder.grant().at(at(2001)), HALF);
        // Without a cap, only they stay: the simulation found that their rate was held as well, for a whole quarantine.
        let Some(Renewal::Release {
            left: Some(left), ..
        }) = holder.read(at(3000), &busy(None))
        else {
            panic!()
        };
        let places = Share {
            in_flight: 3,
            ..Share::NONE
        };
        assert_eq!(left.share, places);
        let confirmed = Reading {
            ack: Some((left, 10)),
            ..busy(None)
        };
        assert_eq!(holder.read(at(4000), &confirmed), None);
    }

    #[test]
    fn b1_what_was_taken_back_is_not_confirmed_again() {
        // The model check found it: a worker stood still until its grant was taken back and its queries were over, woke
        // up with a new cap, and confirmed the places of what it had in flight then, which others had by now.
        let mut holder = holding(FULL);
        let woken = Reading {
            ack: None,
            in_flight: 4,
            ..reading(Some((HALF, 9)), true)
        };
        let Some(Renewal::Renew { ack, .. }) = holder.read(at(30_000), &woken) else {
            panic!()
        };
        assert_eq!(ack.share, HALF);
    }

    #[test]
    fn b1_a_renewal_expects_the_ack_that_it_replaces() {
        // One that confirmed more places, and arrives after one that confirmed fewer, would reserve what was given away.
        let renewal = holding(FULL).read(at(2000), &reading(Some((HALF, 6)), true));
        let Some(Renewal::Renew { expected_ack, .. }) = renewal else {
            panic!()
        };
        assert_eq!(expected_ack, Some(9));
    }

    #[test]
    fn no_grant_lasts_longer_than_the_coordinator_thinks() {
        let mut holder = Holder::new(Timing {
            term: Duration::from_secs(60),
            ..Timing::default()
        });
        let cap = Cap {
            share: FULL,
            term_ms: 5000,
        };
        let short = Reading {
            cap: Some((cap, 5)),
            ..reading(None, true)
        };
        let renewal = holder.read(at(0), &short).unwrap();
        holder.committed(renewal, at(4000));
        assert_eq!(holder.grant().at(at(5000)), Share::NONE);
    }
}
