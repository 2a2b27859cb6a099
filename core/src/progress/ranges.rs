//! Ranges of a scan: how their rows are counted, and how a tally with rows is written.
//!
//! A range is one entry of its plan. When it has been read to its end, its rows take its place, all at once: so what a take-over
//! reads again was not counted before. `planned` grows by as much as the outcomes do, which is why W1 holds at each moment.

use super::Tally;
use crate::units::Priority;

/// What became of the rows of a range that was read to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeRows {
    /// Written by this job.
    pub warmed: u64,
    /// There already.
    pub present: u64,
    /// Left out by a rule.
    pub skipped: u64,
    /// Not done, with a reason.
    pub failed: u64,
}

impl RangeRows {
    /// How many there are.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.warmed + self.present + self.skipped + self.failed
    }
}

impl std::ops::AddAssign for RangeRows {
    fn add_assign(&mut self, other: Self) {
        self.warmed += other.warmed;
        self.present += other.present;
        self.skipped += other.skipped;
        self.failed += other.failed;
    }
}

/// A tally that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tally has 8 numbers, or 10 where ranges were read")]
pub struct NotATally;

impl Tally {
    /// Counts the rows of a range of this priority in its place. Of the priority, as much is covered as of the rows; a range
    /// without rows is absent.
    pub fn count_range(&mut self, rows: RangeRows, priority: Priority) {
        self.warmed += rows.warmed;
        self.present += rows.present;
        self.skipped += rows.skipped;
        self.failed += rows.failed;
        self.ranges += 1;
        self.rows += rows.total();
        if rows.total() == 0 {
            self.absent_milli += priority.as_milli();
        } else {
            let covered = u128::from(priority.as_milli()) * u128::from(rows.warmed + rows.present)
                / u128::from(rows.total());
            self.covered_milli += u64::try_from(covered).unwrap_or(u64::MAX);
        }
    }

    /// How many entries of the plan have an outcome: a range that was read counts as one, whatever its rows.
    #[must_use]
    pub const fn entries_settled(&self) -> u64 {
        (self.settled() + self.ranges).saturating_sub(self.rows)
    }

    /// What is planned of so many entries, now that the rows of some ranges are known.
    #[must_use]
    pub const fn planned_of(&self, entries: u64) -> u64 {
        (entries + self.rows).saturating_sub(self.ranges)
    }
}

/// As it was before there were scans, where no range has been read.
impl From<Tally> for Vec<u64> {
    fn from(tally: Tally) -> Self {
        let numbers: [u64; 10] = tally.into();
        let has_ranges = (tally.ranges, tally.rows) != (0, 0);
        numbers[..if has_ranges { 10 } else { 8 }].to_vec()
    }
}

impl TryFrom<Vec<u64>> for Tally {
    type Error = NotATally;

    fn try_from(numbers: Vec<u64>) -> Result<Self, NotATally> {
        if !matches!(numbers.len(), 8 | 10) {
            return Err(NotATally);
        }
        let mut all = [0; 10];
        all[..numbers.len()].copy_from_slice(&numbers);
        Ok(all.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::progress::Outcome;

    fn rows() -> impl Strategy<Value = RangeRows> {
        let number = || prop_oneof![3 => 0u64..5, 1 => 0u64..1 << 30];
        (number(), number(), number(), number()).prop_map(|(warmed, present, skipped, failed)| {
            RangeRows {
                warmed,
                present,
                skipped,
                failed,
            }
        })
    }

    proptest! {
        /// W1 in rows: of a plan of ranges and keys, what is planned is what has an outcome once each entry has one, and what is
        /// pending before is the number of entries that have none.
        #[test]
        fn w1_planned_grows_by_what_the_outcomes_do(
            ranges in prop::collection::vec(rows(), 0..20), keys in 0u64..20, unread in 0u64..20,
        ) {
            let entries = ranges.len() as u64 + keys + unread;
            let mut tally = Tally::default();
            for rows in &ranges {
                tally.count_range(*rows, Priority::ONE);
            }
            for _ in 0..keys {
                tally.count(Outcome::Absent, Priority::ONE);
            }
            prop_assert_eq!(tally.planned_of(entries), tally.settled() + unread);
            prop_assert_eq!(tally.entries_settled() + unread, entries);
            let total: u64 = ranges.iter().map(RangeRows::total).sum();
            prop_assert_eq!(tally.planned_of(entries), total + keys + unread);
            for _ in 0..unread {
                tally.count(Outcome::Cancelled, Priority::ONE);
            }
            prop_assert_eq!(tally.planned_of(entries), tally.settled());
            prop_assert!(tally.coverage(entries * 1000) <= 1.0);
        }

        #[test]
        fn a_tally_is_read_as_it_was_written(rows in prop::collection::vec(rows(), 0..3)) {
            let mut tally = Tally::default();
            rows.into_iter().for_each(|rows| tally.count_range(rows, Priority::ONE));
            let text = serde_json::to_string(&tally).unwrap();
            prop_assert_eq!(serde_json::from_str::<Tally>(&text).unwrap(), tally);
        }
    }

    #[test]
    fn a_tally_without_ranges_is_as_it_was_before_there_were_any() {
        let mut tally = Tally::default();
        tally.count(Outcome::Warmed, Priority::ONE);
        assert_eq!(
            serde_json::to_string(&tally).unwrap(),
            "[1,0,0,0,0,0,1000,0]"
        );
        assert_eq!(
            serde_json::from_str::<Tally>("[1,0,0,0,0,0,1000,0]").unwrap(),
            tally
        );
        assert!(serde_json::from_str::<Tally>("[1,2,3]").is_err());
    }

    #[test]
    fn ranges_that_are_all_covered_are_a_coverage_of_one() {
        let mut tally = Tally::default();
        let rows = RangeRows {
            warmed: 2,
            present: 1,
            ..RangeRows::default()
        };
        tally.count_range(rows, Priority::ONE);
        tally.count_range(RangeRows::default(), Priority::ONE);
        assert!((tally.coverage(2000) - 1.0).abs() < 1e-9);
        let half = RangeRows { failed: 3, ..rows };
        tally.count_range(half, Priority::ONE);
        assert!((tally.coverage(3000) - 0.75).abs() < 1e-9);
    }
}
