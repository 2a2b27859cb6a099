//! Plans: immutable, ranked lists of entries, cut into bands.
//!
//! Invariants: ranks run from 0 without a gap, in the order of falling priority; no key comes twice; inside a band
//! entries lie by partition, then by rank. How bands are stored and streamed is the coordinator's.

mod buffer;
mod choice;
mod merge;
mod rank;
mod row;

pub use choice::Choice;
pub use merge::Blocks;
pub use rank::{ENTRIES_MAX, RankError, Ranked, SourceRows, Spill, TooManyEntries};

use serde::{Deserialize, Serialize};

use crate::estimate::Worth;
use crate::slot::{Partitioning, Slot};
use crate::units::{BandId, PartitionId, Priority, Rank};

/// The longest cache key, and the longest argument, in bytes: far more than is wise, and little enough for a message.
pub const KEY_BYTES_MAX: usize = 65_536;

/// One key to warm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The cache key.
    pub key: Box<[u8]>,
    /// Which of the job's loaders loads it: an index.
    pub loader: u32,
    /// What the loader's query is asked with.
    pub argument: Box<str>,
    /// How many requests it is expected to get.
    pub priority: Priority,
}

/// A sealed plan, as the job's record names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanSummary {
    /// The plan's name in the plan store.
    pub name: String,
    /// How many entries it has.
    pub entries: u64,
    /// Σ priority, in thousandths of a request.
    pub priority_milli: u64,
    /// How many bands.
    pub bands: u32,
    /// How its slots are cut into partitions.
    pub partitioning: Partitioning,
    /// How many entries each of the job's loaders has, by index; loaders after the last that has one are left out.
    #[serde(default)]
    pub entries_by_loader: Vec<u64>,
    /// How many entries it leaves out, for they are not in the section of the cache that is warmed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u64,
    /// How many entries were cut off, for the cache has no room for them: those of lowest priority, behind `entries`. They are
    /// still stored, and count as skipped.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cut: u64,
    /// What its priorities say, with what was cut; none where no requests are expected, or where an older coordinator has ranked it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worth: Option<Worth>,
}

impl PlanSummary {
    /// The plan without what lies behind so many entries. What it is worth stays as it is: what is cut off is not covered.
    #[must_use]
    pub fn cut_to(mut self, entries: u64) -> Self {
        let whole = self.entries;
        let entries = entries.min(whole);
        self.cut += whole - entries;
        self.entries = entries;
        self.bands = u32::try_from(entries.div_ceil(BandId::RANKS)).unwrap_or(u32::MAX);
        for of_loader in &mut self.entries_by_loader {
            // About: loaders are mixed.
            let part = u128::from(*of_loader) * u128::from(entries);
            let part = part.div_ceil(u128::from(whole.max(1)));
            *of_loader = u64::try_from(part).unwrap_or(u64::MAX);
        }
        self
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Up to [`BandId::RANKS`] consecutive entries of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Band {
    /// Its number.
    pub id: BandId,
    /// Entries by partition, in the order of partitions, each in the order of ranks; partitions without entries are
    /// left out.
    pub segments: Vec<(PartitionId, Vec<(Rank, Entry)>)>,
}

impl Band {
    /// The band with this number, of its entries in the order of their ranks: [`BandId::RANKS`] of them, or fewer in a
    /// plan's last.
    #[must_use]
    pub fn of(id: BandId, ranked: Vec<Entry>, partitioning: Partitioning) -> Self {
        let first = u64::from(id.0) * BandId::RANKS;
        let mut placed: Vec<(PartitionId, Rank, Entry)> = (first..)
            .zip(ranked)
            .map(|(rank, entry)| {
                let partition = partitioning.partition(Slot::of(&entry.key));
                (partition, Rank(rank), entry)
            })
            .collect();
        placed.sort_unstable_by_key(|(partition, rank, _)| (*partition, *rank));
        let mut segments: Vec<(PartitionId, Vec<(Rank, Entry)>)> = Vec::new();
        for (partition, rank, entry) in placed {
            match segments.last_mut() {
                Some((last, entries)) if *last == partition => entries.push((rank, entry)),
                _ => segments.push((partition, vec![(rank, entry)])),
            }
        }
        Self { id, segments }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entries(count: u64) -> Vec<Entry> {
        (0..count)
            .map(|n| Entry {
                key: format!("k:{n}").into_bytes().into(),
                loader: 0,
                argument: n.to_string().into(),
                priority: Priority::from_milli(count - n),
            })
            .collect()
    }

    #[test]
    fn a_plan_that_is_cut_keeps_its_worth_and_counts_what_it_lost() {
        let plan = PlanSummary {
            name: "plans/j/1-1".into(),
            entries: 300_000,
            priority_milli: 7,
            bands: 3,
            partitioning: Partitioning::new(256).unwrap(),
            entries_by_loader: vec![200_000, 100_000, 0],
            left_out: 5,
            cut: 0,
            worth: None,
        };
        let cut = plan.clone().cut_to(131_073);
        assert_eq!((cut.entries, cut.cut, cut.bands), (131_073, 168_927, 2));
        assert_eq!(cut.entries_by_loader, [87_382, 43_691, 0]);
        assert_eq!((cut.priority_milli, cut.left_out), (7, 5));
        assert_eq!(plan.clone().cut_to(300_001), plan);
        let none = plan.cut_to(0);
        assert_eq!((none.entries, none.cut, none.bands), (0, 300_000, 0));
    }

    #[test]
    fn ranks_go_on_where_the_band_before_ends() {
        let partitioning = Partitioning::new(256).unwrap();
        let band = Band::of(BandId(2), entries(300), partitioning);
        let mut ranks: Vec<u64> = band
            .segments
            .iter()
            .flat_map(|(_, entries)| entries.iter().map(|(rank, _)| rank.0))
            .collect();
        ranks.sort_unstable();
        assert!(ranks.into_iter().eq(262_144..262_444));
    }

    proptest! {
        #[test]
        fn a_band_holds_every_entry_once_under_its_own_partition_in_rank_order(count in 1u64..2000) {
            let partitioning = Partitioning::new(256).unwrap();
            let all = entries(count);
            let band = Band::of(BandId(0), all.clone(), partitioning);
            let mut seen = vec![false; all.len()];
            let mut last = None;
            for (partition, segment) in band.segments {
                prop_assert!(last < Some(partition));
                last = Some(partition);
                prop_assert!(segment.is_sorted_by_key(|(rank, _)| *rank));
                for (rank, entry) in segment {
                    let at = usize::try_from(rank.0).unwrap();
                    prop_assert_eq!(&entry, &all[at]);
                    prop_assert_eq!(partitioning.partition(Slot::of(&entry.key)), partition);
                    prop_assert!(!std::mem::replace(&mut seen[at], true));
                }
            }
            prop_assert!(seen.into_iter().all(|s| s));
        }
    }
}
