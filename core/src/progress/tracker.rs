//! The tracker: turns entries that finish in any order into positions that only move forward.
//!
//! A worker owns one for each job. Entries of a partition are taken in the order of their ranks, and settled whenever
//! they are done. The partition's position moves past the settled ones at its front; an entry beyond a gap is not
//! counted before the gap is closed, so a checkpoint never names more than what it would not repeat.
//!
//! How partitions come and go while others are worked on is in `tracker/moves.rs`.

mod moves;

pub use moves::Followed;

use std::collections::{BTreeMap, VecDeque};

use super::{Effort, Outcome, PartitionState, Position, RangeRows, Retry, Tally};
use crate::mutant::Mutant;
use crate::units::{BandId, PartitionId, Priority, Rank};

/// How many entries to retry a partition may carry at most before it stands still until one of them is settled: they travel
/// with each checkpoint.
pub const RETRIES_MAX: usize = 64;
/// How many all partitions of a plan may carry together: one owner may be left, and its records must fit into the store.
pub const RETRIES_TOTAL_MAX: usize = 65_536;

/// How many entries to retry each partition of a plan may carry that has so many.
#[must_use]
pub fn retries_max(partitions: u16) -> usize {
    (RETRIES_TOTAL_MAX / usize::from(partitions).max(1)).clamp(1, RETRIES_MAX)
}

/// What to do with an entry that the stream brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uptake {
    /// Do it; it was tried so often before.
    Do {
        /// Attempts before.
        attempts: u32,
    },
    /// It was done before, or is being done: leave it.
    Leave,
}

/// An entry that was taken and is before no settled frontier yet.
#[derive(Clone, Debug)]
struct Open {
    band: BandId,
    rank: Rank,
    priority: Priority,
    verdict: Option<Verdict>,
}

#[derive(Clone, Copy, Debug)]
enum Verdict {
    Settled(Settlement),
    Retry { attempts: u32 },
}

/// How an entry is counted.
#[derive(Clone, Copy, Debug)]
enum Settlement {
    As(Outcome),
    /// It is a range of a scan, which its rows replace.
    Range(RangeRows),
}

impl Settlement {
    fn count(self, tally: &mut Tally, priority: Priority) {
        match self {
            Self::As(outcome) => tally.count(outcome, priority),
            Self::Range(rows) => tally.count_range(rows, priority),
        }
    }
}

#[derive(Clone, Debug)]
struct Track {
    state: PartitionState,
    open: VecDeque<Open>,
    /// The priorities of the entries to retry that this owner has seen.
    retrying: BTreeMap<Rank, Priority>,
    /// The last band of which the stream has brought everything.
    completed: Option<BandId>,
    standing: Standing,
}

/// Whether a partition is worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Active,
    /// It shall go to another: nothing new is begun, and what is in flight ends.
    Leaving,
    /// It may go.
    Released,
}

/// Follows the entries of the partitions that a worker owns in one job.
#[derive(Clone, Debug)]
pub struct Tracker {
    tracks: BTreeMap<PartitionId, Track>,
    effort: Effort,
    /// How many entries to retry each partition may carry.
    retries_max: usize,
}

impl Tracker {
    /// Takes over partitions, of so many that the plan has, where they stand.
    #[must_use]
    pub fn new(
        states: impl IntoIterator<Item = (PartitionId, PartitionState)>,
        effort: Effort,
        partitions: u16,
    ) -> Self {
        let track = |(id, state)| (id, Track::new(state));
        Self {
            tracks: states.into_iter().map(track).collect(),
            effort,
            retries_max: retries_max(partitions),
        }
    }

    /// Takes an entry that the stream brings. Those of one partition must come in the order of their ranks.
    pub fn take(
        &mut self,
        partition: PartitionId,
        band: BandId,
        rank: Rank,
        priority: Priority,
    ) -> Uptake {
        let track = self.tracks.get_mut(&partition);
        let Some(track) = track.filter(|track| track.standing == Standing::Active) else {
            return Uptake::Leave;
        };
        if rank < track.state.position.rank {
            let retry = track.state.retries.iter().find(|retry| retry.rank == rank);
            return match retry {
                Some(retry) if track.retrying.insert(rank, priority).is_none() => Uptake::Do {
                    attempts: retry.attempts,
                },
                _ => Uptake::Leave,
            };
        }
        if track.open.back().is_some_and(|last| last.rank >= rank) {
            return Uptake::Leave;
        }
        track.open.push_back(Open {
            band,
            rank,
            priority,
            verdict: None,
        });
        Uptake::Do { attempts: 0 }
    }

    /// Counts an entry that is done: now, or once those before it are. `false`: it was not taken, or is settled, and counts
    /// nowhere.
    pub fn settle(&mut self, partition: PartitionId, rank: Rank, outcome: Outcome) -> bool {
        self.conclude(partition, rank, Verdict::Settled(Settlement::As(outcome)))
    }

    /// The same of a range of a scan that was read to its end: its rows are counted in its place.
    pub fn settle_range(&mut self, partition: PartitionId, rank: Rank, rows: RangeRows) -> bool {
        self.conclude(partition, rank, Verdict::Settled(Settlement::Range(rows)))
    }

    /// Whether an entry was taken, and is not counted yet: it is not done, or one before it is not.
    #[must_use]
    pub fn is_open(&self, partition: PartitionId, rank: Rank) -> bool {
        let track = self.tracks.get(&partition);
        track.is_some_and(|track| track.place(rank).is_some())
    }

    /// Notes that an entry is to be tried again, having been tried `attempts` times.
    pub fn retry(&mut self, partition: PartitionId, rank: Rank, attempts: u32) {
        self.conclude(partition, rank, Verdict::Retry { attempts });
    }

    /// Whether the verdict counts.
    fn conclude(&mut self, partition: PartitionId, rank: Rank, verdict: Verdict) -> bool {
        let Some(track) = self.tracks.get_mut(&partition) else {
            return false;
        };
        if let Some(at) = track.place(rank) {
            let open = &mut track.open[at];
            // An entry to retry may be tried before its position has passed it: its last word counts.
            let counts = !matches!(open.verdict, Some(Verdict::Settled(_)));
            if counts {
                open.verdict = Some(verdict);
            }
            track.advance(self.retries_max);
            counts
        } else if let Some(at) = track
            .state
            .retries
            .iter()
            .position(|retry| retry.rank == rank)
        {
            match verdict {
                Verdict::Retry { attempts } => track.state.retries[at].attempts = attempts,
                Verdict::Settled(settlement) => {
                    let Some(priority) = track.retrying.remove(&rank) else {
                        return false;
                    };
                    track.state.retries.swap_remove(at);
                    settlement.count(&mut track.state.tally, priority);
                    track.advance(self.retries_max);
                }
            }
            true
        } else {
            false
        }
    }

    /// Notes that the stream has brought all that `band` has: partitions go on behind it once nothing is open.
    pub fn band_complete(&mut self, band: BandId) {
        let active = |track: &&mut Track| track.standing == Standing::Active;
        // Of one that is leaving, what the stream brings is not taken: another goes on where it stands.
        for track in self.tracks.values_mut().filter(active) {
            track.completed = track.completed.max(Some(band));
            track.advance(self.retries_max);
        }
    }

    /// Gives every entry that was taken and has no outcome this one: for an abort, once nothing is in flight.
    pub fn settle_open(&mut self, outcome: Outcome) {
        for track in self.tracks.values_mut() {
            for open in &mut track.open {
                if !matches!(open.verdict, Some(Verdict::Settled(_))) {
                    open.verdict = Some(Verdict::Settled(Settlement::As(outcome)));
                }
            }
            track.advance(self.retries_max);
        }
    }

    /// Adds to what the work has cost.
    pub fn spend(&mut self, effort: Effort) {
        self.effort += effort;
    }

    /// What the work has cost, that of earlier owners included where it was handed over.
    #[must_use]
    pub const fn effort(&self) -> Effort {
        self.effort
    }

    /// How each partition stands.
    #[must_use]
    pub fn states(&self) -> BTreeMap<PartitionId, PartitionState> {
        self.tracks
            .iter()
            .map(|(id, track)| (*id, track.state.clone()))
            .collect()
    }

    /// How many entries were taken and wait for something, be it another that is before them: what memory holds.
    #[must_use]
    pub fn held(&self) -> usize {
        let of = |track: &Track| track.open.len() + track.retrying.len();
        self.tracks.values().map(of).sum()
    }

    /// How many entries of partitions that do not leave are not settled: taken ones, and those to retry that were not taken
    /// yet.
    #[must_use]
    pub fn unsettled(&self) -> usize {
        let of = |track: &Track| {
            track.open.iter().filter(|o| o.verdict.is_none()).count() + track.state.retries.len()
        };
        let stays = |track: &&Track| track.standing == Standing::Active;
        self.tracks.values().filter(stays).map(of).sum()
    }
}

impl Track {
    fn new(state: PartitionState) -> Self {
        Self {
            state,
            open: VecDeque::new(),
            retrying: BTreeMap::new(),
            completed: None,
            standing: Standing::Active,
        }
    }

    /// Where an entry that was taken stands. Most come to their end in the order in which they were taken.
    fn place(&self, rank: Rank) -> Option<usize> {
        match self.open.front() {
            Some(first) if first.rank == rank => Some(0),
            Some(first) if first.rank < rank => {
                let found = self.open.binary_search_by_key(&rank, |open| open.rank);
                found.ok()
            }
            _ => None,
        }
    }

    /// Moves the position past what is concluded at the front, and past the completed band where nothing is open.
    fn advance(&mut self, retries_max: usize) {
        while let Some(first) = self.open.front() {
            match first.verdict {
                None if Mutant::PositionPastOpen.is_on() => {}
                None => break,
                Some(Verdict::Settled(settlement)) => {
                    settlement.count(&mut self.state.tally, first.priority);
                }
                Some(Verdict::Retry { attempts }) => {
                    if self.state.retries.len() >= retries_max {
                        break;
                    }
                    self.state.retries.push(Retry {
                        band: first.band,
                        rank: first.rank,
                        attempts,
                    });
                    self.retrying.insert(first.rank, first.priority);
                }
            }
            self.state.position = Position {
                band: first.band,
                rank: Rank(first.rank.0 + 1),
            };
            self.open.pop_front();
        }
        let behind = self.completed.map_or(BandId(0), |band| BandId(band.0 + 1));
        if self.open.is_empty() && self.state.position.band < behind {
            self.state.position.band = behind;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const P: PartitionId = PartitionId(7);
    const B: BandId = BandId(0);

    fn tracker() -> Tracker {
        Tracker::new([(P, PartitionState::default())], Effort::default(), 256)
    }

    fn take(tracker: &mut Tracker, ranks: impl IntoIterator<Item = u64>) {
        for rank in ranks {
            assert_eq!(
                tracker.take(P, B, Rank(rank), Priority::ONE),
                Uptake::Do { attempts: 0 }
            );
        }
    }

    fn state(tracker: &Tracker) -> PartitionState {
        tracker.states()[&P].clone()
    }

    #[test]
    fn an_entry_beyond_a_gap_is_not_counted_before_the_gap_is_closed() {
        let mut t = tracker();
        take(&mut t, [3, 5, 9]);
        assert!(t.settle(P, Rank(5), Outcome::Warmed));
        assert_eq!(state(&t), PartitionState::default());
        assert_eq!(
            [3, 4, 5].map(|rank| t.is_open(P, Rank(rank))),
            [true, false, true]
        );
        t.settle(P, Rank(3), Outcome::Absent);
        assert_eq!(
            (state(&t).position, state(&t).tally.settled()),
            ((0, 6).into(), 2)
        );
        assert_eq!(
            [3, 5, 9].map(|rank| t.is_open(P, Rank(rank))),
            [false, false, true]
        );
    }

    #[test]
    fn an_entry_to_retry_lets_the_position_pass_and_is_counted_once_settled() {
        let mut t = tracker();
        take(&mut t, [0, 1]);
        t.retry(P, Rank(0), 1);
        t.settle(P, Rank(1), Outcome::Warmed);
        assert_eq!(
            (state(&t).position, state(&t).retries.clone()),
            ((0, 2).into(), vec![(0, 0, 1).into()])
        );
        t.retry(P, Rank(0), 2);
        assert_eq!(state(&t).retries, [(0, 0, 2).into()]);
        assert!(t.settle(P, Rank(0), Outcome::Failed));
        assert!(!t.settle(P, Rank(0), Outcome::Failed), "it counts once");
        assert_eq!(
            (
                state(&t).retries.len(),
                state(&t).tally.failed,
                t.unsettled()
            ),
            (0, 1, 0)
        );
    }

    #[test]
    fn an_entry_tried_again_behind_a_gap_counts_by_its_last_word() {
        let mut t = tracker();
        take(&mut t, [0, 1]);
        t.retry(P, Rank(1), 1);
        t.settle(P, Rank(1), Outcome::Warmed);
        t.settle(P, Rank(0), Outcome::Warmed);
        assert_eq!((state(&t).retries.len(), state(&t).tally.warmed), (0, 2));
    }

    #[test]
    fn who_takes_over_does_what_is_to_retry_and_leaves_what_is_done() {
        let at = PartitionState {
            position: (0, 5).into(),
            retries: vec![(0, 2, 3).into()],
            ..PartitionState::default()
        };
        let mut t = Tracker::new([(P, at)], Effort::default(), 256);
        assert_eq!(t.take(P, B, Rank(1), Priority::ONE), Uptake::Leave);
        assert_eq!(
            t.take(P, B, Rank(2), Priority::ONE),
            Uptake::Do { attempts: 3 }
        );
        assert_eq!(t.take(P, B, Rank(2), Priority::ONE), Uptake::Leave);
        assert_eq!(
            t.take(P, B, Rank(5), Priority::ONE),
            Uptake::Do { attempts: 0 }
        );
        assert_eq!(
            t.take(PartitionId(8), B, Rank(6), Priority::ONE),
            Uptake::Leave
        );
    }

    #[test]
    fn a_finished_band_moves_partitions_once_they_have_nothing_open() {
        let mut t = Tracker::new(
            [
                (P, PartitionState::default()),
                (PartitionId(8), PartitionState::default()),
            ],
            Effort::default(),
            256,
        );
        take(&mut t, [4]);
        t.band_complete(B);
        assert_eq!(t.states()[&PartitionId(8)].position.band, BandId(1));
        assert_eq!(state(&t).position, Position::default());
        t.settle(P, Rank(4), Outcome::Warmed);
        assert_eq!(state(&t).position, (1, 5).into());
    }

    #[test]
    fn a_partition_never_carries_more_retries_than_the_bound() {
        let mut t = tracker();
        let many = RETRIES_MAX as u64 + 10;
        take(&mut t, 0..many);
        (0..many).for_each(|rank| t.retry(P, Rank(rank), 1));
        assert_eq!(state(&t).retries.len(), RETRIES_MAX);
        (0..many).for_each(|rank| assert!(t.settle(P, Rank(rank), Outcome::Warmed)));
        assert_eq!((state(&t).tally.warmed, t.unsettled()), (many, 0));
    }

    #[test]
    fn all_partitions_together_carry_no_more_retries_than_the_bound() {
        for partitions in [256, 1024, 4096, 16_384] {
            assert!(usize::from(partitions) * retries_max(partitions) <= RETRIES_TOTAL_MAX);
        }
        assert_eq!([256, 1024, 16_384].map(retries_max), [64, 64, 4]);
    }

    /// What happens to an entry in a random run.
    #[derive(Clone, Copy, Debug)]
    enum Fate {
        Settle,
        /// A range of so many rows.
        Range(u64),
        RetryThenSettle,
        Never,
    }

    fn warmed(warmed: u64) -> RangeRows {
        RangeRows {
            warmed,
            ..RangeRows::default()
        }
    }

    fn fates() -> impl Strategy<Value = Vec<(Fate, u32)>> {
        let fate = prop_oneof![4 => Just(Fate::Settle), 2 => (0u64..5).prop_map(Fate::Range), 1 => Just(Fate::RetryThenSettle), 1 => Just(Fate::Never)];
        prop::collection::vec((fate, any::<u32>()), 1..120)
    }

    proptest! {
        /// W1, W2, W3 over a crash: whatever was settled in whatever order, the one who takes the last checkpoint
        /// over and does the rest counts every entry exactly once.
        #[test]
        fn w1_w3_a_take_over_at_any_point_counts_every_entry_once(fates in fates()) {
            let total = fates.len() as u64;
            let mut first = tracker();
            take(&mut first, 0..total);
            let mut order: Vec<usize> = (0..fates.len()).collect();
            order.sort_by_key(|n| fates[*n].1);
            let mut last = Position::default();
            for n in order {
                let rank = Rank(n as u64);
                match fates[n].0 {
                    Fate::Settle => assert!(first.settle(P, rank, Outcome::Warmed)),
                    Fate::Range(rows) => assert!(first.settle_range(P, rank, warmed(rows))),
                    Fate::RetryThenSettle => {
                        first.retry(P, rank, 1);
                        if fates[n].1 % 2 == 0 {
                            first.settle(P, rank, Outcome::Warmed);
                        }
                    }
                    Fate::Never => {}
                }
                let now = state(&first).position;
                prop_assert!(now >= last, "W2");
                last = now;
                let at = state(&first);
                prop_assert_eq!(at.tally.entries_settled() + at.retries.len() as u64, at.position.rank.0, "W1");
            }
            let mut second = Tracker::new(first.states(), first.effort(), 256);
            for rank in (0..total).map(Rank) {
                if matches!(second.take(P, B, rank, Priority::ONE), Uptake::Do { .. }) {
                    match fates[usize::try_from(rank.0).unwrap()].0 {
                        Fate::Range(rows) => second.settle_range(P, rank, warmed(rows)),
                        _ => second.settle(P, rank, Outcome::Warmed),
                    };
                }
            }
            let tally: Tally = second.states().values().map(|s| s.tally).sum();
            let rows_of = |(fate, _): &(Fate, u32)| match fate {
                Fate::Range(rows) => *rows,
                _ => 1,
            };
            let rows: u64 = fates.iter().map(rows_of).sum();
            prop_assert_eq!((tally.warmed, tally.settled(), tally.planned_of(total)), (rows, rows, rows), "W1");
            prop_assert_eq!(tally.covered_milli + tally.absent_milli, total * 1000);
        }
    }
}
