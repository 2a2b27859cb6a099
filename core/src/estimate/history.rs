//! Who asked for what, and in what order: read once, kept in bounded memory.
//!
//! Requests are counted by key in up to [`SLOTS`] slots of time, each of equally many requests. How long a history is, is not known
//! before its end: once all slots are full, two by two become one, and slots are twice as long from there on. So at the end more than
//! half of them are in use.
//!
//! Where there are too many keys, only those are kept whose hash is low, with all of their requests, and the bound is halved as
//! often as needed (spatial sampling: Waldspurger, Park, Garthwaite and Ahmad, "Efficient MRC construction with SHARDS", FAST'15). What
//! is learned of a history is a proportion, of the same sample above and below (see [`Drift`]): on a trace with 64,000 keys, half of them
//! changed the hit rates that are expected by 0.4 points at most, an eighth of them by 1.0.

use std::collections::HashMap;

use super::drift::{Drift, PARTS};
use super::float;

/// Slots of time.
const SLOTS: u64 = 64;
/// How many counts are kept, of a key in a slot each: of eight bytes, in lists that may be twice as long, and a hash table of keys
/// beside them: some hundred megabytes at most.
const COUNTS_MAX: usize = 4 << 20;

/// How often a key was asked for in a slot.
#[derive(Clone, Copy, Debug)]
struct Count {
    slot: u8,
    requests: u32,
}

/// What was asked for, so far.
#[derive(Clone, Debug)]
pub struct History {
    keys: HashMap<u64, Vec<Count>>,
    counts: usize,
    counts_max: usize,
    /// Keys of higher hashes are left out.
    hash_max: u64,
    requests: u64,
    /// How many requests a slot has.
    slot_requests: u64,
}

impl Default for History {
    fn default() -> Self {
        Self::of_at_most(COUNTS_MAX)
    }
}

impl History {
    /// Of nothing yet; it keeps so many counts at most.
    #[must_use]
    pub fn of_at_most(counts_max: usize) -> Self {
        Self {
            keys: HashMap::new(),
            counts: 0,
            counts_max,
            hash_max: u64::MAX,
            requests: 0,
            slot_requests: 1,
        }
    }

    /// A request for the key with this hash (see [`key_hash`](super::key_hash)), behind all others.
    pub fn observe(&mut self, key_hash: u64) {
        if self.requests == SLOTS * self.slot_requests {
            self.double_slots();
        }
        let slot = u8::try_from(self.requests / self.slot_requests).unwrap_or(u8::MAX);
        self.requests += 1;
        if key_hash > self.hash_max {
            return;
        }
        let counts = self.keys.entry(key_hash).or_default();
        match counts.last_mut() {
            Some(last) if last.slot == slot => last.requests = last.requests.saturating_add(1),
            _ => {
                counts.push(Count { slot, requests: 1 });
                self.counts += 1;
            }
        }
        while self.counts > self.counts_max && self.hash_max > 0 {
            self.sample_half();
        }
    }

    /// How many requests there were.
    #[must_use]
    pub const fn requests(&self) -> u64 {
        self.requests
    }

    /// What part of all keys is kept.
    #[must_use]
    pub fn sampled(&self) -> f64 {
        (float(self.hash_max) / float(u64::MAX)).min(1.0)
    }

    /// How traffic drifts away from what it was; `None` where there is too little to tell.
    #[must_use]
    pub fn drift(&self) -> Option<Drift> {
        Drift::of(&self.parts(), self.requests, self.sampled())
    }

    fn double_slots(&mut self) {
        self.slot_requests *= 2;
        self.counts = 0;
        for counts in self.keys.values_mut() {
            counts.iter_mut().for_each(|count| count.slot /= 2);
            counts.dedup_by(|later, kept| {
                let same = later.slot == kept.slot;
                if same {
                    kept.requests = kept.requests.saturating_add(later.requests);
                }
                same
            });
            self.counts += counts.len();
        }
    }

    fn sample_half(&mut self) {
        self.hash_max /= 2;
        let hash_max = self.hash_max;
        self.keys.retain(|hash, _| *hash <= hash_max);
        self.keys.shrink_to_fit();
        self.counts = self.keys.values().map(Vec::len).sum();
    }

    /// The requests for each key in equal parts of the history, in no order but always the same.
    fn parts(&self) -> Vec<[u32; PARTS]> {
        let mut keys: Vec<_> = self.keys.iter().collect();
        keys.sort_unstable_by_key(|(hash, _)| **hash);
        let parts = keys.into_iter().map(|(_, counts)| {
            let mut parts = [0_u32; PARTS];
            for count in counts {
                let part = &mut parts[self.part(count.slot)];
                *part = part.saturating_add(count.requests);
            }
            parts
        });
        parts.collect()
    }

    /// The part in which a slot has its middle.
    fn part(&self, slot: u8) -> usize {
        let from = u64::from(slot) * self.slot_requests;
        let to = (from + self.slot_requests).min(self.requests);
        let middle = u128::from(from) + u128::from(to);
        let part = middle * PARTS as u128 / (2 * u128::from(self.requests.max(1)));
        usize::try_from(part).map_or(PARTS - 1, |part| part.min(PARTS - 1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::key_hash;
    use super::*;

    fn parts_of(history: &History) -> [u32; PARTS] {
        let mut sum = [0; PARTS];
        for parts in history.parts() {
            for (sum, part) in sum.iter_mut().zip(parts) {
                *sum += part;
            }
        }
        sum
    }

    #[test]
    fn a_key_is_counted_in_the_part_in_which_it_was_asked_for() {
        let mut history = History::default();
        for n in 0..8000_u64 {
            history.observe(n / 1000);
        }
        let parts = history.parts();
        assert_eq!(parts.len(), 8);
        for (n, parts) in parts.iter().enumerate() {
            let all: u32 = parts.iter().sum();
            assert_eq!(all, 1000);
            assert!(parts[n] > 850, "{n}: {parts:?}");
        }
    }

    #[test]
    fn where_there_are_too_many_keys_some_are_kept_with_all_their_requests() {
        let mut history = History::of_at_most(1000);
        for n in 0..40_000_u64 {
            history.observe(key_hash(&(n % 10_000).to_be_bytes()));
        }
        assert!(history.counts <= 1000);
        assert!(history.sampled() < 0.2, "{}", history.sampled());
        let whole = history
            .keys
            .values()
            .filter(|counts| counts.iter().map(|count| count.requests).sum::<u32>() == 4);
        assert_eq!(whole.count(), history.keys.len());
        assert_eq!(history.requests(), 40_000);
    }

    #[test]
    fn nothing_and_little_say_nothing_of_drift() {
        assert_eq!(History::default().drift(), None);
        let mut history = History::default();
        (0..20).for_each(|n| history.observe(n));
        assert_eq!(history.drift(), None);
    }

    proptest! {
        #[test]
        fn no_request_is_lost_and_parts_are_nearly_equal(requests in 1000u64..20_000, keys in 1u64..500) {
            let mut history = History::default();
            (0..requests).for_each(|n| history.observe(n % keys));
            let parts = parts_of(&history);
            prop_assert_eq!(parts.iter().map(|part| u64::from(*part)).sum::<u64>(), requests);
            let equal = requests / PARTS as u64;
            for part in parts {
                // A slot is a thirty-third of all at most.
                prop_assert!(u64::from(part).abs_diff(equal) <= requests / 32 + 1, "{:?}", parts);
            }
        }
    }
}
