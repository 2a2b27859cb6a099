//! What was asked for later, by which a plan is tried.
//!
//! Its keys are held by their hashes alone. Of too many, a sample is kept in which those that were asked for most certainly are: each key has
//! a number u from 0 to 1, by its hash, and stays where its requests ÷ u are above a threshold; then it stands for as many requests as
//! the threshold, at least. So every sum is right on average, and sums of what matters are nearly exact (priority sampling: Duffield,
//! Lund and Thorup, "Priority sampling for estimation of arbitrary subset sums", Journal of the ACM 54, 2007).

use std::collections::HashMap;

use super::float;

/// How many keys are kept: a hash table of some fifty megabytes.
const KEYS_MAX: usize = 1 << 20;

/// Requests of a later time, by key.
#[derive(Clone, Debug)]
pub struct Later {
    /// In thousandths.
    keys: HashMap<u64, u64>,
    keys_max: usize,
    /// Of requests ÷ u, in thousandths; 0: all keys are here.
    threshold: f64,
}

impl Default for Later {
    fn default() -> Self {
        Self::of_at_most(KEYS_MAX)
    }
}

impl Later {
    /// Of nothing yet; it keeps so many keys at most, and a quarter more for a while.
    #[must_use]
    pub fn of_at_most(keys_max: usize) -> Self {
        Self {
            keys: HashMap::new(),
            keys_max: keys_max.max(1),
            threshold: 0.0,
        }
    }

    /// So many thousandths of a request for the key with this hash. Of a sample, keys should not come twice.
    pub fn add(&mut self, key_hash: u64, requests_milli: u64) {
        if let Some(requests) = self.keys.get_mut(&key_hash) {
            *requests = requests.saturating_add(requests_milli);
            return;
        }
        if self.is_sample() && worth(key_hash, requests_milli) <= self.threshold {
            return;
        }
        self.keys.insert(key_hash, requests_milli);
        if self.keys.len() > self.keys_max + self.keys_max / 4 {
            self.sample();
        }
    }

    /// Takes what was asked for of a key, in thousandths: the rest is what no plan had yet.
    pub fn take(&mut self, key_hash: u64) -> u64 {
        let requests = self.keys.remove(&key_hash);
        requests.map_or(0, |requests| self.stands_for(requests))
    }

    /// What is left, in requests.
    #[must_use]
    pub fn left(&self) -> f64 {
        let left = self
            .keys
            .values()
            .map(|requests| self.stands_for(*requests));
        left.map(|requests| float(requests) / 1000.0).sum()
    }

    /// Whether some keys stand for others, too.
    #[must_use]
    pub const fn is_sample(&self) -> bool {
        self.threshold > 0.0
    }

    /// Keeps those above the threshold that leaves as many as may be.
    fn sample(&mut self) {
        let mut worths: Vec<f64> = self
            .keys
            .iter()
            .map(|(hash, requests)| worth(*hash, *requests))
            .collect();
        let dropped = worths.len() - self.keys_max;
        let (_, highest, _) = worths.select_nth_unstable_by(dropped - 1, f64::total_cmp);
        let threshold = self.threshold.max(*highest);
        self.threshold = threshold;
        self.keys
            .retain(|hash, requests| worth(*hash, *requests) > threshold);
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, and is not negative"
    )]
    const fn stands_for(&self, requests_milli: u64) -> u64 {
        let least = self.threshold.round() as u64;
        if requests_milli < least {
            least
        } else {
            requests_milli
        }
    }
}

/// Requests ÷ u.
fn worth(key_hash: u64, requests_milli: u64) -> f64 {
    // From a 2⁻⁶⁴th to 1.
    let u = (float(key_hash) + 1.0) / float(u64::MAX);
    float(requests_milli) / u
}

#[cfg(test)]
mod tests {
    use super::super::key_hash;
    use super::*;

    #[test]
    fn a_key_is_taken_once_and_the_rest_is_left() {
        let mut later = Later::default();
        for (key, requests) in [(1, 2000), (2, 500), (1, 1000)] {
            later.add(key, requests);
        }
        assert_eq!([later.take(1), later.take(1), later.take(3)], [3000, 0, 0]);
        assert!((later.left() - 0.5).abs() < 1e-9 && !later.is_sample());
        later.add(4, u64::MAX);
        later.add(4, u64::MAX);
        assert_eq!(later.take(4), u64::MAX);
    }

    #[test]
    fn of_too_many_keys_a_sample_stands_for_all_and_the_most_requested_are_in_it() {
        for keys_max in [1000, 4000] {
            let mut later = Later::of_at_most(keys_max);
            let hash = |rank: u64| key_hash(&rank.to_be_bytes());
            let requests = |rank: u64| 50_000_000 / rank;
            // The least first, as a list in no order may have it.
            (1..=50_000)
                .rev()
                .for_each(|rank| later.add(hash(rank), requests(rank)));
            assert!(later.is_sample() && later.keys.len() <= keys_max + keys_max / 4);
            let all: u64 = (1..=50_000).map(requests).sum();
            assert!(
                (later.left() * 1000.0 / float(all) - 1.0).abs() < 0.02,
                "{}",
                later.left()
            );
            for rank in 1..100 {
                assert_eq!(later.take(hash(rank)), requests(rank), "{rank}");
            }
            let rest: u64 = (100..=50_000).map(requests).sum();
            assert!(
                (later.left() * 1000.0 / float(rest) - 1.0).abs() < 0.04,
                "{}",
                later.left()
            );
        }
    }

    #[test]
    fn zeros_and_one_place_are_no_trouble() {
        let mut later = Later::of_at_most(0);
        for n in 0..100 {
            later.add(n, 0);
        }
        assert!(later.left().is_finite());
        later.add(7, 1000);
        assert!(later.left() >= 1.0);
    }
}
