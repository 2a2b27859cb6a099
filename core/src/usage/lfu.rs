//! What the access counters of a Redis with an LFU policy stand for.
//!
//! A key has 8 bits. `LFULogIncr` (in Redis' `evict.c`) counts an access with the probability `1 / ((c - 5)·f + 1)`, `f` being
//! `lfu-log-factor` and `c` the counter, below 5 always: new keys begin at 5, so that they are not evicted at once. One step from
//! `c` is thus expected to take `(c - 5)·f + 1` accesses, and those from 5 to `c`, with `n = c - 5`, take
//!
//! ```text
//! Σ (i·f + 1) for i from 0 to n - 1  =  n + f·n·(n - 1)/2
//! ```
//!
//! Every `lfu-decay-time` minutes that a key is not used its counter falls by one, whatever it stands at: so the estimate is of
//! recent accesses, in what the counter has not forgotten yet, and no rate. It ranks keys; and compares them, where they are used
//! steadily.

use crate::units::Priority;

/// Where the counter of a new key begins (`LFU_INIT_VAL`).
pub const INITIAL: u8 = 5;
/// `lfu-log-factor` where nobody sets it.
pub const LOG_FACTOR_DEFAULT: u32 = 10;

/// How many accesses a counter stands for, from a new key on. One that is not above a new key's stands for none that are known: it
/// is the thousandths, so that those that were forgotten longest ago come last.
#[must_use]
pub fn accesses(counter: u8, log_factor: u32) -> Priority {
    let Some(steps @ 1..) = counter.checked_sub(INITIAL) else {
        return Priority::from_milli(counter.into());
    };
    let (steps, factor) = (u64::from(steps), u64::from(log_factor));
    let accesses = steps + factor * (steps * (steps - 1) / 2);
    Priority::from_milli(accesses.saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn requests(counter: u8, log_factor: u32) -> u64 {
        accesses(counter, log_factor).as_milli() / 1000
    }

    #[test]
    fn the_estimate_is_what_redis_says_of_its_counters_itself() {
        // The table in redis.conf: hits, and the counter that they lead to, by factor.
        for (factor, hits, counter) in [
            (0, 100, 104),
            (1, 100, 18),
            (10, 100, 10),
            (100, 100, 8),
            (1, 1000, 49),
            (10, 1000, 18),
            (100, 1000, 11),
            (10, 100_000, 142),
            (100, 100_000, 49),
            (100, 1_000_000, 143),
        ] {
            // It shows one run, of counters that are guesses.
            let spread = 2 + counter / 20;
            let below = requests(counter - spread, factor);
            let above = requests(counter.saturating_add(spread), factor);
            assert!(
                (below..=above).contains(&hits),
                "{factor}: {hits} in {below} to {above}"
            );
        }
        assert_eq!(requests(255, 10), 311_500);
    }

    #[test]
    fn what_no_access_is_known_of_comes_last_in_its_order() {
        let of = |counter| accesses(counter, 10);
        assert_eq!(of(5), Priority::from_milli(5));
        assert_eq!(of(0), Priority::default());
        assert_eq!(of(6), Priority::ONE);
    }

    /// As many accesses as take a counter of Redis from a new key's value to this one.
    fn simulated(counter: u8, factor: u32, random: &mut impl FnMut() -> f64) -> u64 {
        let (mut now, mut accesses) = (INITIAL, 0);
        while now < counter {
            accesses += 1;
            let above = f64::from(now.saturating_sub(INITIAL));
            if random() < 1.0 / (above * f64::from(factor) + 1.0) {
                now += 1;
            }
        }
        accesses
    }

    #[test]
    fn the_estimate_is_the_mean_of_simulated_counters() {
        let mut state = 88_172_645_463_325_252_u64;
        let mut random = || {
            // Xorshift.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            #[expect(clippy::cast_precision_loss, reason = "53 bits")]
            let unit = (state >> 11) as f64 / (1_u64 << 53) as f64;
            unit
        };
        for (counter, factor) in [
            (6, 10),
            (10, 10),
            (18, 10),
            (40, 10),
            (30, 1),
            (104, 0),
            (12, 100),
        ] {
            const RUNS: u64 = 2000;
            let all: u64 = (0..RUNS)
                .map(|_| simulated(counter, factor, &mut random))
                .sum();
            let (mean, expected) = (all / RUNS, requests(counter, factor));
            let tolerance = 1 + expected / 20;
            assert!(
                mean.abs_diff(expected) <= tolerance,
                "{counter}, {factor}: {mean}, not {expected}"
            );
        }
    }

    proptest! {
        #[test]
        fn a_higher_counter_stands_for_more(counter in 0_u8..255, factor in 0_u32..10_000_000, any in 0_u32..) {
            prop_assert!(accesses(counter, factor) < accesses(counter + 1, factor));
            // Beyond, it is the most that can be said.
            let factor = any;
            prop_assert!(accesses(counter, factor) <= accesses(counter + 1, factor));
        }
    }
}
