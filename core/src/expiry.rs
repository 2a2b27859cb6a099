//! Whether what a job loads first is still there when it ends.
//!
//! Entries begin to expire the shortest time to live after the first was written: that of the loader whose entries live
//! shortest, less all of its jitter. A job that takes longer ends with a cache that has begun to be cold again. There is no
//! margin: a job that takes just less is as long as it was asked to be. The short life of what is stored for keys without a row
//! is meant, and not looked at.

use std::time::Duration;

/// A pace is believed once so large a part of the entries (one of so many) has an outcome …
const BELIEVED_PART: u64 = 20;
/// … or the job has run for so long. Before that it is too much chance, and whatever is present goes by at once.
const BELIEVED_AFTER: Duration = Duration::from_secs(60);

/// The shortest time that an entry lives which may lose so many thousandths of its time to live.
#[must_use]
pub fn shortest(ttl: Duration, jitter_permille: u32) -> Duration {
    let part = ttl.checked_mul(1000 - jitter_permille.min(1000));
    part.map_or(Duration::MAX, |part| part / 1000)
}

/// How far a job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// All entries that there is work on.
    pub entries: u64,
    /// Those that have an outcome.
    pub settled: u64,
    /// Since it began to load, standing still included: what it has written expires meanwhile.
    pub elapsed: Duration,
}

/// What a job's whole length is projected from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// What the budgets give.
    Budgets,
    /// The pace so far.
    Pace,
    /// It is over.
    Measured,
}

/// How long the job takes from its first entry to its last; `None` where neither its pace nor its budgets tell.
/// `all_by_budgets`: how long all entries take at the present budgets.
#[must_use]
pub fn projected(pace: Pace, all_by_budgets: Option<Duration>) -> Option<(Duration, Basis)> {
    let Pace {
        entries,
        settled,
        elapsed,
    } = pace;
    let left = entries.saturating_sub(settled);
    if left == 0 {
        return Some((elapsed, Basis::Measured));
    }
    let is_believed = elapsed >= BELIEVED_AFTER || settled.saturating_mul(BELIEVED_PART) >= entries;
    if settled > 0 && is_believed {
        return Some((times(elapsed, entries, settled), Basis::Pace));
    }
    // What has passed has passed, whatever the budgets say.
    let of_rest = all_by_budgets.map(|all| times(all, left, entries));
    match of_rest {
        Some(of_rest) => Some((elapsed.saturating_add(of_rest), Basis::Budgets)),
        None if elapsed >= BELIEVED_AFTER => Some((elapsed, Basis::Pace)),
        None => None,
    }
}

/// How long so many queries take at a rate in thousandths of a query a second; `None` where it is zero.
#[must_use]
pub fn at_rate(queries: u64, rate_milli: u64) -> Option<Duration> {
    let ms = (u128::from(queries) * 1_000_000).checked_div(rate_milli.into())?;
    Some(Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX)))
}

fn times(time: Duration, n: u64, of: u64) -> Duration {
    let ms = time.as_millis().saturating_mul(n.into()) / u128::from(of.max(1));
    Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn pace(settled: u64, elapsed: u64) -> Pace {
        Pace {
            entries: 1000,
            settled,
            elapsed: s(elapsed),
        }
    }

    #[test]
    fn all_jitter_is_taken_off() {
        assert_eq!(shortest(s(3600), 100), s(3240));
        assert_eq!(shortest(s(3600), 0), s(3600));
        assert_eq!(shortest(s(10), 5000), s(0));
    }

    #[test]
    fn the_length_is_what_the_budgets_give_until_the_pace_says_more() {
        use Basis::{Budgets, Measured, Pace};
        for (settled, elapsed, by_budgets, expected, why) in [
            (0, 0, Some(500), Some((500, Budgets)), "nothing done yet"),
            (10, 5, Some(500), Some((500, Budgets)), "1 % is chance"),
            (50, 5, Some(500), Some((100, Pace)), "5 % is a pace"),
            (10, 60, Some(500), Some((6000, Pace)), "slow, but for long"),
            (0, 90, Some(500), Some((590, Budgets)), "stood still so far"),
            (
                0,
                90,
                None,
                Some((90, Pace)),
                "at least what has passed already",
            ),
            (0, 5, None, None, "nobody knows"),
            (1000, 70, Some(500), Some((70, Measured)), "over"),
        ] {
            let found = projected(pace(settled, elapsed), by_budgets.map(s));
            let expected = expected.map(|(seconds, basis)| (s(seconds), basis));
            assert_eq!(found, expected, "{why}");
        }
    }

    #[test]
    fn a_rate_of_zero_takes_for_ever_and_huge_numbers_are_no_overflow() {
        assert_eq!(at_rate(100, 10_000), Some(s(10)));
        assert_eq!(at_rate(100, 0), None);
        let most = Pace {
            entries: u64::MAX,
            settled: 1,
            elapsed: Duration::MAX,
        };
        assert!(projected(most, at_rate(u64::MAX, 1)).is_some());
    }
}
