//! What is asked for a while only: whoever leads counts the time, and what was asked before comes back.
//!
//! Clocks of several machines say nothing to each other, so a record says what is left, not when it ends; it says so anew
//! every [`RECORD_EVERY`]. A change of leader lengthens the while by up to that, and by the time in which nobody led.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Ledger, Share};
use crate::units::Moment;

/// How often what is left is recorded.
pub const RECORD_EVERY: Duration = Duration::from_secs(10);

/// The end of what is asked for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Expiry {
    /// What is asked then.
    pub then: Share,
    /// What is left of the while, in milliseconds.
    pub left_ms: u64,
    /// The ledger's revision before it was set: it tells one from another.
    pub set_at: u64,
}

/// Counts one resource's while. A new leader's begins with what is recorded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Countdown {
    counted: Option<Counted>,
}

#[derive(Clone, Copy, Debug)]
struct Counted {
    set_at: u64,
    since: Moment,
    left_ms: u64,
}

impl Countdown {
    /// The ledger as it shall be at `now`.
    pub fn step(&mut self, now: Moment, ledger: Ledger) -> Ledger {
        let Some(expiry) = ledger.expiry else {
            self.counted = None;
            return ledger;
        };
        let known = self
            .counted
            .filter(|counted| counted.set_at == expiry.set_at);
        let counted = known.unwrap_or(Counted {
            set_at: expiry.set_at,
            since: now,
            left_ms: expiry.left_ms,
        });
        self.counted = Some(counted);
        let gone = millis(now.since(counted.since));
        let left_ms = counted.left_ms.saturating_sub(gone);
        if left_ms == 0 {
            return Ledger {
                asked: expiry.then,
                expiry: None,
                ..ledger
            };
        }
        if expiry.left_ms.saturating_sub(left_ms) < millis(RECORD_EVERY) {
            return ledger;
        }
        Ledger {
            expiry: Some(Expiry { left_ms, ..expiry }),
            ..ledger
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(rate_milli: u64) -> Share {
        Share {
            rate_milli,
            burst: 1,
            in_flight: 1,
            rows: Share::ANY_ROWS,
        }
    }

    fn at(millis: u64) -> Moment {
        Moment::from_nanos((5000 + millis) * 1_000_000)
    }

    /// Five a second for so long, then twenty.
    fn ledger(left_ms: u64, set_at: u64) -> Ledger {
        let expiry = Expiry {
            then: share(20),
            left_ms,
            set_at,
        };
        Ledger {
            expiry: Some(expiry),
            ..Ledger::new(share(5))
        }
    }

    #[test]
    fn what_was_asked_before_comes_back_once_the_while_is_over() {
        let mut countdown = Countdown::default();
        let set = ledger(3000, 7);
        for millis in [0, 1000, 2999] {
            assert_eq!(countdown.step(at(millis), set), set);
        }
        let over = countdown.step(at(3000), set);
        assert_eq!((over.asked, over.expiry), (share(20), None));
        // It could not be committed, and is decided again.
        assert_eq!(countdown.step(at(3100), set), over);
        assert_eq!(countdown.step(at(3200), over), over);
    }

    #[test]
    fn what_is_left_is_recorded_now_and_then_and_the_next_leader_goes_on_from_there() {
        let mut countdown = Countdown::default();
        let mut stored = ledger(60_000, 7);
        let mut writes = 0;
        for second in 0..35 {
            let next = countdown.step(at(second * 1000), stored);
            writes += u32::from(next != stored);
            stored = next;
        }
        assert_eq!((writes, stored.expiry.unwrap().left_ms), (3, 30_000));
        let mut other = Countdown::default();
        assert_eq!(other.step(at(900_000), stored), stored);
        assert_eq!(other.step(at(929_999), stored).asked, share(5));
        assert_eq!(other.step(at(930_000), stored).asked, share(20));
    }

    #[test]
    fn one_that_is_set_again_begins_anew() {
        let mut countdown = Countdown::default();
        countdown.step(at(0), ledger(3000, 7));
        let again = ledger(3000, 9);
        assert_eq!(countdown.step(at(2900), again), again);
        assert_eq!(countdown.step(at(5899), again), again);
        assert_eq!(countdown.step(at(5900), again).asked, share(20));
    }
}
