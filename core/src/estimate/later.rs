//! What was asked for later, by which a plan is tried.
//!
//! Its keys are held by their hashes alone. Of too many, those of low hashes are kept, as in a [`History`](super::History): the hit rate
//! is that of the sample then.

use std::collections::HashMap;

use super::float;

/// How many keys are kept: a hash table of some fifty megabytes.
const KEYS_MAX: usize = 1 << 20;

/// Requests of a later time, by key.
#[derive(Clone, Debug)]
pub struct Later {
    keys: HashMap<u64, u64>,
    keys_max: usize,
    hash_max: u64,
}

impl Default for Later {
    fn default() -> Self {
        Self::of_at_most(KEYS_MAX)
    }
}

impl Later {
    /// Of nothing yet; it keeps so many keys at most.
    #[must_use]
    pub fn of_at_most(keys_max: usize) -> Self {
        Self {
            keys: HashMap::new(),
            keys_max,
            hash_max: u64::MAX,
        }
    }

    /// So many thousandths of a request for the key with this hash.
    pub fn add(&mut self, key_hash: u64, requests_milli: u64) {
        if key_hash > self.hash_max {
            return;
        }
        let requests = self.keys.entry(key_hash).or_default();
        *requests = requests.saturating_add(requests_milli);
        while self.keys.len() > self.keys_max && self.hash_max > 0 {
            self.hash_max /= 2;
            let hash_max = self.hash_max;
            self.keys.retain(|hash, _| *hash <= hash_max);
        }
    }

    /// Takes what was asked for of a key: the rest is what no plan had yet.
    pub fn take(&mut self, key_hash: u64) -> u64 {
        self.keys.remove(&key_hash).unwrap_or(0)
    }

    /// What is left, in requests.
    #[must_use]
    pub fn left(&self) -> f64 {
        self.keys
            .values()
            .map(|requests| float(*requests) / 1000.0)
            .sum()
    }

    /// What part of all keys is kept.
    #[must_use]
    pub fn sampled(&self) -> f64 {
        float(self.hash_max) / float(u64::MAX)
    }
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
        assert_eq!((later.left(), later.sampled()), (0.5, 1.0));
        later.add(4, u64::MAX);
        later.add(4, u64::MAX);
        assert_eq!(later.take(4), u64::MAX);
    }

    #[test]
    fn of_too_many_keys_a_sample_is_kept() {
        let mut later = Later::of_at_most(1000);
        let hashes: Vec<u64> = (0..50_000_u64)
            .map(|n| key_hash(&n.to_be_bytes()))
            .collect();
        hashes.iter().for_each(|hash| later.add(*hash, 1000));
        let kept = later.left();
        assert!(kept <= 1000.0, "{kept}");
        assert!(
            (kept / 50_000.0 / later.sampled() - 1.0).abs() < 0.2,
            "{kept}"
        );
        let found: u64 = hashes.iter().map(|hash| later.take(*hash)).sum();
        assert!((float(found) / 1000.0 - kept).abs() < 1e-6);
    }
}
