//! What is asked for most, of a stream that is longer than memory: counts of a bounded number of keys.
//!
//! Space-Saving (Metwally, Agrawal, El Abbadi, "Efficient Computation of Frequent and Top-k Elements in Data Streams", ICDT 2005), with
//! weights: a key that has no counter takes that of the key with the least, and its count with it. So with k counters, of accesses that
//! weigh W in all:
//!
//! - no count is too low, and none is too high by more than W / k ([`HeavyHitters::error_max`]), each by no more than what is
//!   told with it;
//! - each key that weighs more than W / k has a counter.
//!
//! Old accesses fade: an access counts half after a half-life, by forward decay (Cormode, Shkapenyuk, Srivastava, Xu, "Forward Decay",
//! ICDE 2009): what comes later weighs more, so that nothing that was counted has to be touched, and what is said above holds of the
//! faded weights.

use std::cmp::{Ordering, Reverse};
use std::time::Duration;

use priority_queue::PriorityQueue;

/// The longest key that is counted, in bytes: what a counter may take has a bound.
pub const KEY_BYTES_MAX: usize = 1024;

/// After so many half-lives all weights are scaled down: 2 to this is far from the largest number that there is.
const HALF_LIVES_MAX: f64 = 500.0;

/// A key with its count.
#[derive(Clone, Debug, PartialEq)]
pub struct Hitter {
    /// Which.
    pub key: Box<[u8]>,
    /// How often it was asked for, faded; never too low.
    pub count: f64,
    /// By how much it may be too high.
    pub error: f64,
}

/// A counter, by its weights: those of the landmark.
#[derive(Clone, Copy, Debug)]
struct Counter {
    count: f64,
    error: f64,
}

impl PartialEq for Counter {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Counter {}

impl PartialOrd for Counter {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Counter {
    fn cmp(&self, other: &Self) -> Ordering {
        self.count.total_cmp(&other.count)
    }
}

/// Counts what is asked for most.
#[derive(Clone, Debug)]
pub struct HeavyHitters {
    counters_max: usize,
    half_life_ms: Option<f64>,
    /// The one with the least count first.
    counters: PriorityQueue<Box<[u8]>, Reverse<Counter>>,
    /// All weights.
    total: f64,
    /// The moment at which an access weighs what it counts, in milliseconds since 1970.
    landmark_ms: u64,
    /// When the newest access was.
    newest_ms: u64,
}

impl HeavyHitters {
    /// With so many counters (one at least), and this half-life: of whole milliseconds; `None`: nothing fades.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "a time of seconds or days, in milliseconds"
    )]
    pub fn new(counters_max: usize, half_life: Option<Duration>) -> Self {
        Self {
            counters_max: counters_max.max(1),
            half_life_ms: half_life.map(|time| (time.as_millis() as f64).max(1.0)),
            counters: PriorityQueue::new(),
            total: 0.0,
            landmark_ms: 0,
            newest_ms: 0,
        }
    }

    /// Counts accesses to a key at a moment, in milliseconds since 1970; whether they count. They do not where the key is longer than
    /// [`KEY_BYTES_MAX`], or where nothing is left of them: they are more than a thousand half-lives older than the newest.
    pub fn add(&mut self, key: &[u8], accesses: u64, at_ms: u64) -> bool {
        if key.len() > KEY_BYTES_MAX || accesses == 0 {
            return false;
        }
        if self.counters.is_empty() {
            self.landmark_ms = at_ms;
        }
        self.newest_ms = self.newest_ms.max(at_ms);
        self.move_landmark();
        #[expect(clippy::cast_precision_loss, reason = "a count, faded")]
        let weight = accesses as f64 * self.half_lives(at_ms).exp2();
        if weight == 0.0 || !weight.is_finite() {
            return false;
        }
        self.total += weight;
        let more = |counter: &mut Reverse<Counter>| counter.0.count += weight;
        if self.counters.change_priority_by(key, more) {
            return true;
        }
        let taken = match self.counters.len() < self.counters_max {
            true => 0.0,
            false => self.counters.pop().map_or(0.0, |(_, least)| least.0.count),
        };
        let counter = Counter {
            count: taken + weight,
            error: taken,
        };
        self.counters.push(key.into(), Reverse(counter));
        true
    }

    /// When the newest access was, in milliseconds since 1970; 0 where there was none.
    #[must_use]
    pub const fn newest_ms(&self) -> u64 {
        self.newest_ms
    }

    /// How many half-lives a moment lies behind the landmark.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a time of seconds or days, in milliseconds"
    )]
    fn half_lives(&self, at_ms: u64) -> f64 {
        let Some(half_life_ms) = self.half_life_ms else {
            return 0.0;
        };
        let since = at_ms as f64 - self.landmark_ms as f64;
        since / half_life_ms
    }

    /// Scales all weights down before they become too large.
    fn move_landmark(&mut self) {
        let behind = self.half_lives(self.newest_ms);
        if behind < HALF_LIVES_MAX {
            return;
        }
        let by = (-behind).exp2();
        for (_, counter) in &mut self.counters {
            counter.0.count *= by;
            counter.0.error *= by;
        }
        self.total *= by;
        self.landmark_ms = self.newest_ms;
    }

    /// By how much a count may be too high at most, and what a key may be asked for without having a counter: as of this moment.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a number of counters")]
    pub fn error_max(&self, now_ms: u64) -> f64 {
        self.total / self.counters_max as f64 * self.fading(now_ms)
    }

    /// How much was counted in all: as of this moment.
    #[must_use]
    pub fn total(&self, now_ms: u64) -> f64 {
        self.total * self.fading(now_ms)
    }

    /// What is left of a weight at this moment, or at the newest access, if that is later.
    fn fading(&self, now_ms: u64) -> f64 {
        (-self.half_lives(now_ms.max(self.newest_ms))).exp2()
    }

    /// The keys that have counters, the most requested first (of those that count alike, in the order of their bytes): as of this moment.
    #[must_use]
    pub fn hitters(&self, now_ms: u64) -> Vec<Hitter> {
        let fading = self.fading(now_ms);
        let all = self.counters.iter();
        let mut hitters: Vec<Hitter> = all
            .map(|(key, Reverse(counter))| Hitter {
                key: key.clone(),
                count: counter.count * fading,
                error: counter.error * fading,
            })
            .collect();
        hitters
            .sort_unstable_by(|a, b| b.count.total_cmp(&a.count).then_with(|| a.key.cmp(&b.key)));
        hitters
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const HOUR_MS: u64 = 3_600_000;

    fn keys(hitters: &HeavyHitters, now_ms: u64) -> Vec<(String, f64, f64)> {
        let told = |hitter: Hitter| {
            let key = String::from_utf8(hitter.key.into()).unwrap();
            (key, hitter.count, hitter.error)
        };
        hitters.hitters(now_ms).into_iter().map(told).collect()
    }

    #[test]
    fn a_new_key_takes_the_counter_of_the_least_and_its_count() {
        let mut hitters = HeavyHitters::new(2, None);
        for (key, count) in [("a", 5), ("b", 3), ("a", 1), ("c", 1)] {
            assert!(hitters.add(key.as_bytes(), count, 7));
        }
        let expected = [("a".to_owned(), 6.0, 0.0), ("c".to_owned(), 4.0, 3.0)];
        assert_eq!(keys(&hitters, 7), expected);
        assert_eq!((hitters.total(7), hitters.error_max(7)), (10.0, 5.0));
        assert!(!hitters.add(&[0; KEY_BYTES_MAX + 1], 1, 7));
        assert!(!hitters.add(b"a", 0, 7));
    }

    #[test]
    fn an_access_counts_half_after_its_half_life_whatever_the_order_they_come_in() {
        let mut hitters = HeavyHitters::new(10, Some(HOUR));
        hitters.add(b"new", 8, 5 * HOUR_MS);
        hitters.add(b"old", 8, 4 * HOUR_MS);
        hitters.add(b"old", 16, 2 * HOUR_MS);
        let told = keys(&hitters, 5 * HOUR_MS);
        assert_eq!((told[0].1, told[1].1), (8.0, 6.0));
        assert_eq!(keys(&hitters, 6 * HOUR_MS)[0].1, 4.0);
        // Clocks that are behind: as of the newest access.
        assert_eq!(keys(&hitters, 0)[0].1, 8.0);
    }

    #[test]
    fn years_of_accesses_do_not_grow_without_bound() {
        let mut hitters = HeavyHitters::new(10, Some(Duration::from_secs(1)));
        for second in 0..100_000u64 {
            assert!(hitters.add(b"k", 1, second * 1000));
        }
        let count = keys(&hitters, 99_999_000)[0].1;
        assert!((count - 2.0).abs() < 1e-6, "{count}");
        assert!(!hitters.add(b"old", 1, 0), "nothing is left of it");
        assert!(hitters.add(b"far", u64::MAX, u64::MAX));
        assert!(
            hitters
                .hitters(0)
                .iter()
                .all(|hitter| hitter.count.is_finite())
        );
    }

    proptest! {
        #[test]
        fn no_count_is_too_low_or_too_high_by_more_than_is_told_and_no_heavy_key_is_missing(
            accesses in prop::collection::vec((0u8..40, 1u64..20), 1..600),
            counters in 1usize..30,
        ) {
            let mut hitters = HeavyHitters::new(counters, None);
            let mut truth = BTreeMap::<u8, f64>::new();
            for (key, count) in accesses {
                hitters.add(&[key], count, 0);
                *truth.entry(key).or_default() += count as f64;
            }
            let total: f64 = truth.values().sum();
            let error_max = total / counters as f64;
            prop_assert!((hitters.error_max(0) - error_max).abs() < 1e-9);
            let found = hitters.hitters(0);
            prop_assert!(found.len() <= counters);
            for hitter in &found {
                let is = truth[&hitter.key[0]];
                prop_assert!(hitter.count >= is && hitter.count - hitter.error <= is, "{hitter:?} {is}");
                prop_assert!(hitter.error <= error_max + 1e-9);
            }
            for (key, count) in truth {
                let has = found.iter().any(|hitter| *hitter.key == [key]);
                prop_assert!(has || count <= error_max + 1e-9, "{key} {count}");
            }
        }
    }
}
