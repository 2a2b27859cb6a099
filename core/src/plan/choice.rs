//! Choosing some entries of a plan: by the list of those that failed, or as a sample.
//!
//! A sample is those with the lowest hashes of their keys: it does not depend on ranks, the same plan gives the same
//! sample, and two plans that share most of their keys share most of their samples.

use std::collections::BTreeMap;

use super::Entry;
use crate::job::Which;
use crate::key_hash::key_hash;
use crate::units::Rank;

/// Takes a plan's entries in the order of their ranks, and keeps those that are asked for.
#[derive(Debug)]
pub struct Choice {
    which: Which,
    /// The ranks that failed, sorted.
    failed: Vec<u64>,
    /// Of a sample: the best so far, by hash and rank.
    sample: BTreeMap<(u64, u64), Entry>,
}

impl Choice {
    /// Of these, where `failed` are the ranks of the entries that failed, in any order.
    #[must_use]
    pub fn new(which: Which, mut failed: Vec<u64>) -> Self {
        failed.sort_unstable();
        failed.dedup();
        Self {
            which,
            failed,
            sample: BTreeMap::new(),
        }
    }

    /// The next entry: given back where it is one of those that are asked for. Those of a sample are kept until
    /// [`Choice::finish`].
    pub fn offer(&mut self, rank: Rank, entry: Entry) -> Option<Entry> {
        let has_failed = self.failed.binary_search(&rank.0).is_ok();
        match self.which {
            Which::Failed => has_failed.then_some(entry),
            Which::All => (!has_failed).then_some(entry),
            Which::Sample(most) => {
                if !has_failed {
                    self.sample.insert((key_hash(&entry.key), rank.0), entry);
                }
                if self.sample.len() > usize::try_from(most).unwrap_or(usize::MAX) {
                    self.sample.pop_last();
                }
                None
            }
        }
    }

    /// Whether any of these ranks may be asked for: where not, they need not be read.
    #[must_use]
    pub fn wants_any(&self, ranks: std::ops::Range<u64>) -> bool {
        let next = self.failed.partition_point(|rank| *rank < ranks.start);
        let has_failed = self
            .failed
            .get(next)
            .is_some_and(|rank| ranks.contains(rank));
        self.which != Which::Failed || has_failed
    }

    /// The sample, in the order of ranks; nothing where none was asked for.
    #[must_use]
    pub fn finish(self) -> Vec<Entry> {
        let mut chosen: Vec<_> = self.sample.into_iter().collect();
        chosen.sort_unstable_by_key(|((_, rank), _)| *rank);
        chosen.into_iter().map(|(_, entry)| entry).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::units::Priority;

    fn chosen(
        which: Which,
        failed: Vec<u64>,
        keys: impl IntoIterator<Item = String>,
    ) -> Vec<String> {
        let mut choice = Choice::new(which, failed);
        let mut chosen = Vec::new();
        for (rank, key) in (0..).zip(keys) {
            let entry = Entry {
                key: key.into_bytes().into(),
                loader: 0,
                argument: "".into(),
                priority: Priority::ONE,
            };
            chosen.extend(choice.offer(Rank(rank), entry));
        }
        chosen.extend(choice.finish());
        let text = |entry: Entry| String::from_utf8(entry.key.into()).unwrap();
        chosen.into_iter().map(text).collect()
    }

    fn keys(count: u32) -> impl DoubleEndedIterator<Item = String> {
        (0..count).map(|n| format!("product:{n}"))
    }

    #[test]
    fn those_that_failed_are_told_from_the_others_by_their_ranks() {
        let named = |which| chosen(which, vec![3, 1, 3, 9], keys(5));
        assert_eq!(named(Which::Failed), ["product:1", "product:3"]);
        assert_eq!(named(Which::All), ["product:0", "product:2", "product:4"]);
        assert_eq!(named(Which::Sample(9)), named(Which::All));
    }

    #[test]
    fn what_need_not_be_read_is_told_before() {
        let failed = Choice::new(Which::Failed, vec![7, 20]);
        let wanted = [0..7, 0..8, 7..8, 8..20, 8..21, 21..99].map(|ranks| failed.wants_any(ranks));
        assert_eq!(wanted, [false, true, true, false, true, false]);
        for which in [Which::All, Which::Sample(1)] {
            assert!(Choice::new(which, vec![7]).wants_any(7..8));
        }
    }

    #[test]
    fn a_sample_is_of_the_keys_and_not_of_the_ranks() {
        let mut forwards = chosen(Which::Sample(100), Vec::new(), keys(10_000));
        let mut backwards = chosen(Which::Sample(100), Vec::new(), keys(10_000).rev());
        assert_ne!(forwards, backwards, "both are in the order of ranks");
        forwards.sort();
        backwards.sort();
        assert_eq!((forwards.len(), &forwards), (100, &backwards));
    }

    #[test]
    fn a_sample_is_spread_evenly_over_the_ranks() {
        let sample = chosen(Which::Sample(1000), Vec::new(), keys(100_000));
        let number = |key: &String| key["product:".len()..].parse::<usize>().unwrap();
        let mut tenths = [0_usize; 10];
        sample
            .iter()
            .for_each(|key| tenths[number(key) / 10_000] += 1);
        // 100 are expected in each, with a standard deviation of 9.5.
        assert!(tenths.iter().all(|n| n.abs_diff(100) < 50), "{tenths:?}");
    }

    proptest! {
        #[test]
        fn a_sample_is_as_large_as_it_may_be_and_has_nothing_that_failed(
            count in 0u32..300, most in 1u32..200, failed in prop::collection::vec(0u64..300, 0..100),
        ) {
            let sample = chosen(Which::Sample(most), failed.clone(), keys(count));
            let others = chosen(Which::All, failed, keys(count));
            prop_assert_eq!(sample.len(), others.len().min(most as usize));
            prop_assert!(sample.iter().all(|key| others.contains(key)));
        }
    }
}
