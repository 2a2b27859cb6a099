//! Ranking: entries in any order become a list without duplicates, the most requested first.

use std::collections::HashMap;

use super::Entry;
use crate::job::Merge;

/// The largest plan that is ranked in memory: about 2 GB at 100-byte keys.
pub const ENTRIES_MAX: usize = 10_000_000;

/// A plan would be too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the key sources have more than {ENTRIES_MAX} different keys: lower their number, or split the job"
)]
pub struct TooManyEntries;

/// Collects entries and ranks them.
///
/// Order: falling priority; among equals, the one offered first comes first. So the same sources read in the same
/// order give the same plan.
#[derive(Debug, Default)]
pub struct Ranker {
    entries: Vec<Entry>,
    places: HashMap<Box<[u8]>, usize>,
}

impl Ranker {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry, or merges it with the one that has the same key. With [`Merge::Max`] the loader and argument of
    /// the higher priority stay, with [`Merge::Sum`] those of the first.
    ///
    /// # Errors
    /// Where it would be one too many.
    pub fn offer(&mut self, entry: Entry, merge: Merge) -> Result<(), TooManyEntries> {
        if let Some(&place) = self.places.get(&entry.key) {
            let known = &mut self.entries[place];
            match merge {
                Merge::Max if entry.priority > known.priority => *known = entry,
                Merge::Max => {}
                Merge::Sum => known.priority = known.priority.saturating_add(entry.priority),
            }
            return Ok(());
        }
        if self.entries.len() == ENTRIES_MAX {
            return Err(TooManyEntries);
        }
        self.places.insert(entry.key.clone(), self.entries.len());
        self.entries.push(entry);
        Ok(())
    }

    /// How many different keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The ranked list: an entry's index is its rank.
    #[must_use]
    pub fn finish(self) -> Vec<Entry> {
        let mut entries = self.entries;
        drop(self.places);
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.priority));
        entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::Priority;
    use proptest::prelude::*;

    fn entry(key: &str, priority: u64) -> Entry {
        Entry {
            key: key.as_bytes().into(),
            loader: u32::try_from(priority).unwrap(),
            argument: "".into(),
            priority: Priority::from_milli(priority),
        }
    }

    fn ranked(offers: &[(&str, u64)], merge: Merge) -> Vec<(String, u64, u32)> {
        let mut ranker = Ranker::new();
        for (key, priority) in offers {
            ranker.offer(entry(key, *priority), merge).unwrap();
        }
        let text = |key: &[u8]| String::from_utf8(key.to_vec()).unwrap();
        ranker
            .finish()
            .iter()
            .map(|e| (text(&e.key), e.priority.as_milli(), e.loader))
            .collect()
    }

    #[test]
    fn the_highest_priority_of_a_key_wins_with_its_loader() {
        let got = ranked(&[("a", 1), ("b", 2), ("a", 3), ("a", 2)], Merge::Max);
        assert_eq!(got, [("a".into(), 3, 3), ("b".into(), 2, 2)]);
    }

    #[test]
    fn priorities_add_up_where_the_source_says_so() {
        let got = ranked(&[("a", 1), ("b", 3), ("a", 3)], Merge::Sum);
        assert_eq!(got, [("a".into(), 4, 1), ("b".into(), 3, 3)]);
    }

    proptest! {
        #[test]
        fn ranks_fall_by_priority_and_ties_keep_their_order(priorities in prop::collection::vec(0u64..5, 0..200)) {
            let offers: Vec<(String, u64)> = priorities.iter().enumerate().map(|(n, p)| (n.to_string(), *p)).collect();
            let offers: Vec<(&str, u64)> = offers.iter().map(|(k, p)| (k.as_str(), *p)).collect();
            let got = ranked(&offers, Merge::Max);
            prop_assert_eq!(got.len(), offers.len());
            for pair in got.windows(2) {
                let order = |e: &(String, u64, u32)| (std::cmp::Reverse(e.1), e.0.parse::<usize>().unwrap());
                prop_assert!(order(&pair[0]) < order(&pair[1]));
            }
        }
    }
}
