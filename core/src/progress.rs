//! Accounting: what has become of a plan's entries.
//!
//! Invariants: an entry is counted once (W1: planned = Σ outcomes + pending); a partition's position only moves
//! forward (W2), and only past entries that are counted or on the list of those to retry (W3).

mod ranges;
mod tracker;

pub use ranges::RangeRows;
pub use tracker::{Followed, RETRIES_MAX, RETRIES_TOTAL_MAX, Tracker, Uptake, retries_max};

use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

use crate::units::{BandId, Priority, Rank};

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// We wrote it.
    Warmed,
    /// It was there when we came, be it by an earlier attempt of this job.
    Present,
    /// Not in the origin.
    Absent,
    /// Left out by a rule.
    Skipped,
    /// It could not be done, for a reason that the list of failures has.
    Failed,
    /// Not done when the job was aborted.
    Cancelled,
}

/// Counts of entries by outcome, and what of the plan's priority they are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u64>", into = "Vec<u64>")]
pub struct Tally {
    /// Written by this job.
    pub warmed: u64,
    /// There already.
    pub present: u64,
    /// Not in the origin.
    pub absent: u64,
    /// Left out by a rule.
    pub skipped: u64,
    /// Not done, with a reason.
    pub failed: u64,
    /// Not done when the job was aborted.
    pub cancelled: u64,
    /// Σ priority of those warmed and present, in thousandths of a request.
    pub covered_milli: u64,
    /// Σ priority of those absent, in thousandths of a request.
    pub absent_milli: u64,
    /// How many entries were ranges of a scan that have been read to their end: each is replaced by its rows.
    pub ranges: u64,
    /// Those rows: they are among the outcomes above, and the ranges are not.
    pub rows: u64,
}

impl From<[u64; 10]> for Tally {
    fn from(n: [u64; 10]) -> Self {
        Self {
            warmed: n[0],
            present: n[1],
            absent: n[2],
            skipped: n[3],
            failed: n[4],
            cancelled: n[5],
            covered_milli: n[6],
            absent_milli: n[7],
            ranges: n[8],
            rows: n[9],
        }
    }
}

impl From<Tally> for [u64; 10] {
    fn from(t: Tally) -> Self {
        [
            t.warmed,
            t.present,
            t.absent,
            t.skipped,
            t.failed,
            t.cancelled,
            t.covered_milli,
            t.absent_milli,
            t.ranges,
            t.rows,
        ]
    }
}

impl Tally {
    /// Counts one entry.
    pub const fn count(&mut self, outcome: Outcome, priority: Priority) {
        match outcome {
            Outcome::Warmed => self.warmed += 1,
            Outcome::Present => self.present += 1,
            Outcome::Absent => self.absent += 1,
            Outcome::Skipped => self.skipped += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Cancelled => self.cancelled += 1,
        }
        match outcome {
            Outcome::Warmed | Outcome::Present => self.covered_milli += priority.as_milli(),
            Outcome::Absent => self.absent_milli += priority.as_milli(),
            Outcome::Skipped | Outcome::Failed | Outcome::Cancelled => {}
        }
    }

    /// How many entries have an outcome.
    #[must_use]
    pub const fn settled(&self) -> u64 {
        self.warmed + self.present + self.absent + self.skipped + self.failed + self.cancelled
    }

    /// The hit rate to expect, of a plan whose priorities sum up to `plan_milli`: covered ÷ (plan less absent), from
    /// 0 to 1. A plan of which nothing is left to cover is covered.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio for display")]
    pub fn coverage(&self, plan_milli: u64) -> f64 {
        match plan_milli.saturating_sub(self.absent_milli) {
            0 => 1.0,
            rest => (self.covered_milli as f64 / rest as f64).min(1.0),
        }
    }
}

impl Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let (mut sum, other): ([u64; 10], [u64; 10]) = (self.into(), other.into());
        for (to, from) in sum.iter_mut().zip(other) {
            *to += from;
        }
        sum.into()
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl std::iter::Sum for Tally {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// What work has cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effort {
    /// Statements sent to origins.
    pub origin_queries: u64,
    /// Rows that they gave.
    pub origin_rows: u64,
    /// Bytes of the values written.
    pub cache_bytes: u64,
}

impl Effort {
    /// What this is more than another.
    #[must_use]
    pub const fn beyond(self, other: Self) -> Self {
        Self {
            origin_queries: self.origin_queries.saturating_sub(other.origin_queries),
            origin_rows: self.origin_rows.saturating_sub(other.origin_rows),
            cache_bytes: self.cache_bytes.saturating_sub(other.cache_bytes),
        }
    }
}

impl Add for Effort {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            origin_queries: self.origin_queries.saturating_add(other.origin_queries),
            origin_rows: self.origin_rows.saturating_add(other.origin_rows),
            cache_bytes: self.cache_bytes.saturating_add(other.cache_bytes),
        }
    }
}

impl AddAssign for Effort {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl std::iter::Sum for Effort {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// How far a partition's work has come: every entry before it is counted, or to be retried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "(u32, u64)", into = "(u32, u64)")]
pub struct Position {
    /// The band to go on in.
    pub band: BandId,
    /// The lowest rank that may not be done.
    pub rank: Rank,
}

impl From<(u32, u64)> for Position {
    fn from((band, rank): (u32, u64)) -> Self {
        Self {
            band: BandId(band),
            rank: Rank(rank),
        }
    }
}

impl From<Position> for (u32, u64) {
    fn from(position: Position) -> Self {
        (position.band.0, position.rank.0)
    }
}

/// An entry that failed for a reason that may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u64, u32)", into = "(u32, u64, u32)")]
pub struct Retry {
    /// The band that it is in.
    pub band: BandId,
    /// Its rank.
    pub rank: Rank,
    /// How often it was tried.
    pub attempts: u32,
}

impl From<(u32, u64, u32)> for Retry {
    fn from((band, rank, attempts): (u32, u64, u32)) -> Self {
        Self {
            band: BandId(band),
            rank: Rank(rank),
            attempts,
        }
    }
}

impl From<Retry> for (u32, u64, u32) {
    fn from(retry: Retry) -> Self {
        (retry.band.0, retry.rank.0, retry.attempts)
    }
}

/// How a partition stands: what a checkpoint says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionState {
    /// How far it has come.
    #[serde(rename = "at")]
    pub position: Position,
    /// What became of the entries before, less those to retry.
    #[serde(rename = "n")]
    pub tally: Tally,
    /// Entries before the position that are to be tried again.
    #[serde(rename = "r", default, skip_serializing_if = "Vec::is_empty")]
    pub retries: Vec<Retry>,
}

impl PartitionState {
    /// The band from which the partition's entries must be streamed, so that none is missed.
    #[must_use]
    pub fn first_band(&self) -> BandId {
        self.retries
            .iter()
            .map(|retry| retry.band)
            .fold(self.position.band, Ord::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coverage_is_of_what_can_be_covered() {
        let mut tally = Tally::default();
        tally.count(Outcome::Warmed, Priority::from_milli(30));
        tally.count(Outcome::Present, Priority::from_milli(20));
        tally.count(Outcome::Absent, Priority::from_milli(50));
        tally.count(Outcome::Failed, Priority::from_milli(50));
        assert_eq!(tally.settled(), 4);
        assert!((tally.coverage(150) - 0.5).abs() < 1e-9);
        assert!((Tally::default().coverage(0) - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_partition_is_streamed_from_its_earliest_entry_to_retry() {
        let mut state = PartitionState {
            position: (5, 700_000).into(),
            ..PartitionState::default()
        };
        assert_eq!(state.first_band(), BandId(5));
        state.retries.push((2, 300_000, 1).into());
        assert_eq!(state.first_band(), BandId(2));
    }

    #[test]
    fn states_are_small_as_records() {
        let mut state = PartitionState {
            position: (1, 140_000).into(),
            ..PartitionState::default()
        };
        state.tally.count(Outcome::Warmed, Priority::ONE);
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(text, r#"{"at":[1,140000],"n":[1,0,0,0,0,0,1000,0]}"#);
        assert_eq!(
            serde_json::from_str::<PartitionState>(&text).unwrap(),
            state
        );
    }
}
