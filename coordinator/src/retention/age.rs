//! How old things certainly are.
//!
//! Two clocks, since neither is enough: the wall clock knows of times before this leader's, and may be set; the clock that
//! nobody sets knows only what this leader has seen itself.

use std::time::Duration;

use stoke_core::records::Job;
use stoke_core::units::Moment;
use stoke_store::Revision;

/// How far the wall clock may run ahead of the one that nobody sets while a leader leads: it is steered, not set.
const AHEAD_MAX: Duration = Duration::from_secs(60);

/// The wall clock, as far as it is believed. Where it jumps forward while this leader leads, nothing becomes older by that
/// at once; where it jumps back, all is younger for as long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wall {
    began: Moment,
    began_ms: u64,
}

impl Wall {
    pub(super) fn new(now: Moment, wall_ms: u64) -> Self {
        Self {
            began: now,
            began_ms: wall_ms,
        }
    }

    /// What time it is at most, in milliseconds since 1970.
    pub(super) fn believed_ms(&self, now: Moment, wall_ms: u64) -> u64 {
        let passed = now.since(self.began) + AHEAD_MAX;
        wall_ms.min(self.began_ms.saturating_add(millis(passed)))
    }
}

/// Since when a job is over: the latest time that its record tells of. A clock that had gone back when it ended must not
/// make it older than it was when it began.
pub(super) fn over_since_ms(job: &Job) -> u64 {
    let times = [job.started_ms, job.ended_ms].into_iter().flatten();
    times.fold(job.created_ms, u64::max)
}

/// Whether something from `since_ms` is at least so old. What comes from later than now is not old at all.
pub(super) fn is_older(since_ms: u64, now_ms: u64, age: Duration) -> bool {
    now_ms.saturating_sub(since_ms) >= millis(age)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Which records have certainly stood as they are for a while, by the clock that nobody sets: those whose last revision this
/// leader saw so long ago.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    apart: Duration,
    older: Option<Revision>,
    newer: Option<(Moment, Revision)>,
}

impl Settled {
    /// For so long.
    pub(super) fn new(apart: Duration) -> Self {
        Self {
            apart,
            older: None,
            newer: None,
        }
    }

    /// Takes note of the store's revision. One that went back is a restored store's: all begins anew.
    pub(super) fn look(&mut self, now: Moment, revision: Revision) {
        match self.newer {
            Some((_, seen)) if revision < seen => *self = Self::new(self.apart),
            Some((at, seen)) if now.since(at) >= self.apart => {
                self.older = Some(seen);
                self.newer = None;
            }
            _ => {}
        }
        self.newer.get_or_insert((now, revision));
    }

    /// What was last put at this revision or before has stood for so long; nothing is known to have before the second look.
    pub(super) fn until(&self) -> Revision {
        self.older.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn at(minutes: u32) -> Moment {
        Moment::default() + MINUTE * minutes
    }

    #[test]
    fn a_wall_clock_that_jumps_makes_nothing_older_than_it_may_be() {
        let wall = Wall::new(at(0), 1_000_000_000);
        let minutes = |n: u64| 1_000_000_000 + n * 60_000;
        for (passed, told, believed) in [
            (0, minutes(0), minutes(0)),
            (10, minutes(10), minutes(10)),
            // Steered a little ahead.
            (10, minutes(10) + 59_000, minutes(10) + 59_000),
            // Set to the year after next.
            (10, minutes(1_000_000), minutes(11)),
            // Set back: all is younger.
            (10, minutes(0) - 500_000_000, minutes(0) - 500_000_000),
        ] {
            assert_eq!(wall.believed_ms(at(passed), told), believed, "{told}");
        }
    }

    #[test]
    fn what_comes_from_the_future_is_not_old() {
        assert!(is_older(1000, 61_000, MINUTE));
        assert!(!is_older(1001, 61_000, MINUTE));
        assert!(!is_older(62_000, 61_000, MINUTE));
        assert!(is_older(62_000, 61_000, Duration::ZERO));
    }

    #[test]
    fn a_record_has_settled_once_this_leader_saw_its_revision_long_enough_ago() {
        let mut settled = Settled::new(MINUTE * 10);
        let mut look = |minutes, revision| {
            settled.look(at(minutes), Revision(revision));
            settled.until().0
        };
        assert_eq!(look(0, 100), 0, "this leader has only come");
        assert_eq!(look(9, 200), 0);
        assert_eq!(look(10, 300), 100);
        // What was put between two notes has, at the latest, when the second is so old.
        assert_eq!(look(19, 400), 100);
        assert_eq!(look(20, 500), 300);
        assert_eq!(look(21, 50), 0, "the store was restored");
        assert_eq!(look(31, 70), 50);
    }
}
