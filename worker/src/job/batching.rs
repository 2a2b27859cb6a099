//! How many keys a loader's next queries ask for, where that is left to it.
//!
//! Pure. Two things speak for other sizes than usual. Where a grant lets out few queries, each had better bring many rows: the
//! batches grow, as long as a worker's queries keep a connection busy for a small part of the time only, so that a budget of
//! queries a second that was meant to spare the origin does. And where queries are slow, or values large, smaller batches keep
//! statements short and memory small. Sizes are doubled and halved: statements with lists (MySQL's) stay few.

use std::time::Duration;

use stoke_core::batch_keys::BatchKeys;

/// Queries that take longer are too slow: a twentieth of what sessions let a statement take where nobody says otherwise.
const SLOW: Duration = Duration::from_millis(250);
/// A single query that takes so long makes batches smaller at once.
const FAR_TOO_SLOW: Duration = Duration::from_secs(1);
/// The most bytes of values that a batch should bring.
const BYTES_MAX: u64 = 16 << 20;
/// Batches grow while queries, with twice the keys, keep a connection busy for less than this part of the time (in thousandths) …
const BUSY_GROW_PERMILLE: u64 = 200;
/// … and shrink again, to the usual size, where they keep it busy for more than this.
const BUSY_SHRINK_PERMILLE: u64 = 400;
/// How many loads are looked at between one change and the next.
const LOADS_A_LOOK: u32 = 4;

/// What a load showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Load {
    /// How many keys were asked for.
    pub(super) keys: usize,
    /// How long the query took, without what was waited for before it was sent.
    pub(super) took: Duration,
    /// The bytes of the values that it brought.
    pub(super) bytes: u64,
    /// Whether it had to wait for its token.
    pub(super) waited: bool,
    /// How many queries a second it is one of at most, in thousandths; `None`: nothing limits them.
    pub(super) rate_milli: Option<u64>,
}

/// How many keys the queries of one loader ask for.
#[derive(Clone, Debug)]
pub(super) struct Batching {
    keys: BatchKeys,
    size: u32,
    seen: Seen,
}

/// What the loads since the last look came to.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    loads: u32,
    waited: u32,
    took: Duration,
    bytes: u64,
}

impl Batching {
    pub(super) const fn new(keys: BatchKeys) -> Self {
        Self {
            keys,
            size: keys.expected(),
            seen: Seen {
                loads: 0,
                waited: 0,
                took: Duration::ZERO,
                bytes: 0,
            },
        }
    }

    /// How many keys the next query asks for; at least 1.
    pub(super) fn size(&self) -> usize {
        usize::try_from(self.size).unwrap_or(usize::MAX).max(1)
    }

    /// Takes note of a load.
    pub(super) fn saw(&mut self, load: &Load) {
        // What a batch that is not full takes says little of a full one.
        if self.keys != BatchKeys::Auto || load.keys < self.size() {
            return;
        }
        let seen = &mut self.seen;
        seen.loads += 1;
        seen.waited += u32::from(load.waited);
        seen.took += load.took;
        seen.bytes += load.bytes;
        if seen.loads >= LOADS_A_LOOK || load.took >= FAR_TOO_SLOW {
            let seen = std::mem::take(&mut self.seen);
            self.look(&seen, load.rate_milli);
        }
    }

    fn look(&mut self, seen: &Seen, rate_milli: Option<u64>) {
        let took = seen.took / seen.loads;
        let bytes = seen.bytes / u64::from(seen.loads);
        // For how many thousandths of the time queries that take so long keep a connection busy.
        let busy = |took: Duration| {
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            rate_milli.map_or(u64::MAX, |rate| rate.saturating_mul(micros) / 1_000_000)
        };
        let waits = 2 * seen.waited > seen.loads;
        let has_grown = self.size > BatchKeys::AUTO;
        if took > SLOW || bytes > BYTES_MAX {
            self.size = (self.size / 2).max(BatchKeys::AUTO_MIN);
        } else if has_grown && busy(took) > BUSY_SHRINK_PERMILLE {
            self.size = (self.size / 2).max(BatchKeys::AUTO);
        } else if 2 * took < SLOW && 2 * bytes < BYTES_MAX {
            // Back to the usual size it grows in any case; beyond, where there are few queries.
            let is_worth_it = waits && busy(2 * took) < BUSY_GROW_PERMILLE;
            if self.size < BatchKeys::AUTO || is_worth_it {
                let most = if is_worth_it {
                    BatchKeys::AUTO_MAX
                } else {
                    BatchKeys::AUTO
                };
                self.size = (2 * self.size).min(most);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Queries that take so long for each thousand keys, and bring values of so many bytes.
    fn load(
        batching: &Batching,
        a_thousand: Duration,
        value_bytes: u64,
        rate: Option<u64>,
    ) -> Load {
        let keys = batching.size();
        Load {
            keys,
            took: a_thousand * u32::try_from(keys).unwrap() / 1000,
            bytes: value_bytes * keys as u64,
            waited: rate.is_some(),
            rate_milli: rate.map(|rate| rate * 1000),
        }
    }

    /// The size after many of them.
    fn settles_at(a_thousand_ms: u64, value_bytes: u64, rate: Option<u64>) -> usize {
        let mut batching = Batching::new(BatchKeys::Auto);
        for _ in 0..100 {
            let a_thousand = Duration::from_millis(a_thousand_ms);
            batching.saw(&load(&batching, a_thousand, value_bytes, rate));
        }
        batching.size()
    }

    #[test]
    fn two_queries_a_second_want_big_batches_and_slow_queries_want_small_ones() {
        for (what, a_thousand_ms, value_bytes, rate, size) in [
            ("as usual", 6, 400, Some(200), 500),
            ("without a limit", 6, 400, None, 500),
            ("two a second", 6, 400, Some(2), 4000),
            ("twenty a second", 2, 400, Some(20), 4000),
            ("two a second, and slower ones", 60, 400, Some(2), 1000),
            ("slow", 1_000, 400, None, 250),
            ("slow, two a second", 1_000, 400, Some(2), 250),
            ("as slow as can be", 100_000, 400, Some(2), 62),
            ("large values", 6, 100_000, Some(2), 125),
        ] {
            assert_eq!(settles_at(a_thousand_ms, value_bytes, rate), size, "{what}");
        }
    }

    #[test]
    fn what_a_size_was_chosen_for_may_pass() {
        let mut batching = Batching::new(BatchKeys::Auto);
        let mut after = |a_thousand_ms, rate: u64| {
            for _ in 0..100 {
                let a_thousand = Duration::from_millis(a_thousand_ms);
                batching.saw(&load(&batching, a_thousand, 400, Some(rate)));
            }
            batching.size()
        };
        assert_eq!(after(6, 2), 4000);
        assert_eq!(after(6, 200), 500, "more queries are granted");
        assert!(after(5_000, 200) < 100, "they become slow");
        assert!(after(6, 200) >= 496, "and quick again");
    }

    #[test]
    fn one_query_that_is_far_too_slow_is_enough() {
        let mut batching = Batching::new(BatchKeys::Auto);
        batching.saw(&load(&batching, Duration::from_secs(4), 1, None));
        assert_eq!(batching.size(), 250);
    }

    #[test]
    fn what_was_said_exactly_stays_and_part_of_a_batch_says_nothing() {
        let mut exactly = Batching::new(BatchKeys::from(700));
        let mut auto = Batching::new(BatchKeys::Auto);
        for _ in 0..100 {
            let load = Load {
                keys: 499,
                took: Duration::from_secs(9),
                bytes: 0,
                waited: true,
                rate_milli: Some(2_000),
            };
            exactly.saw(&Load { keys: 700, ..load });
            auto.saw(&load);
        }
        assert_eq!((exactly.size(), auto.size()), (700, 500));
    }
}
