//! W1 and W3 over planned moves, in which nothing is done twice either.

use proptest::prelude::*;

use super::*;
use crate::progress::{Effort, Outcome, Position, RETRIES_MAX, Uptake};
use crate::units::{BandId, Priority, Rank};

const STAYS: PartitionId = PartitionId(3);
const GOES: PartitionId = PartitionId(7);
const B: BandId = BandId(0);

type States = BTreeMap<PartitionId, PartitionState>;

fn fresh(partitions: &[PartitionId]) -> States {
    partitions
        .iter()
        .map(|id| (*id, PartitionState::default()))
        .collect()
}

fn owner(states: &States) -> Tracker {
    Tracker::new(states.clone(), Effort::default(), 256)
}

fn take(tracker: &mut Tracker, partition: PartitionId, ranks: impl IntoIterator<Item = u64>) {
    for rank in ranks {
        let uptake = tracker.take(partition, B, Rank(rank), Priority::ONE);
        assert_eq!(uptake, Uptake::Do { attempts: 0 }, "{rank}");
    }
}

fn given(partitions: &States, leaving: &[PartitionId]) -> Assignment {
    Assignment {
        partitions: partitions.clone(),
        leaving: leaving.iter().copied().collect(),
        ..Assignment::default()
    }
}

fn released(tracker: &Tracker) -> Vec<PartitionId> {
    tracker.released().collect()
}

/// An owner of both that was asked for one, with what the store knows.
fn asked() -> (Tracker, States) {
    let known = fresh(&[STAYS, GOES]);
    let mut tracker = owner(&known);
    take(&mut tracker, GOES, 0..6);
    take(&mut tracker, STAYS, 6..9);
    assert_eq!(
        tracker.follow(&known, &given(&known, &[GOES])),
        Followed::On
    );
    (tracker, known)
}

#[test]
fn of_a_partition_that_leaves_nothing_more_is_taken_while_others_go_on() {
    let (mut tracker, _) = asked();
    assert!(tracker.has_left(GOES) && !tracker.has_left(STAYS));
    assert_eq!(
        tracker.take(GOES, B, Rank(10), Priority::ONE),
        Uptake::Leave
    );
    take(&mut tracker, STAYS, [11]);
    // The band is over for the one, but entries of the other were not taken.
    tracker.band_complete(B);
    (0..6).for_each(|rank| assert!(tracker.settle(GOES, Rank(rank), Outcome::Warmed)));
    for rank in [6, 7, 8, 11] {
        tracker.settle(STAYS, Rank(rank), Outcome::Warmed);
    }
    let states = tracker.states();
    assert_eq!(states[&GOES].position, Position::from((0, 6)));
    assert_eq!(states[&STAYS].position, Position::from((1, 12)));
}

#[test]
fn what_was_taken_and_not_done_is_put_back_when_a_partition_is_released() {
    let (mut tracker, _) = asked();
    tracker.settle(GOES, Rank(0), Outcome::Warmed);
    tracker.retry(GOES, Rank(2), 3);
    tracker.settle(GOES, Rank(3), Outcome::Present);
    assert_eq!(tracker.leaving().collect::<Vec<_>>(), [GOES]);
    tracker.release(GOES);
    assert_eq!(
        (released(&tracker), tracker.leaving().count()),
        (vec![GOES], 0)
    );
    let state = tracker.states()[&GOES].clone();
    assert_eq!(state.position, Position::from((0, 4)));
    assert_eq!(state.retries, [(0, 1, 0).into(), (0, 2, 3).into()]);
    assert_eq!((state.tally.warmed, state.tally.present), (1, 1));
}

#[test]
fn what_is_put_back_is_streamed_again_though_the_stream_had_brought_all_of_its_band() {
    let known = fresh(&[GOES]);
    let mut tracker = owner(&known);
    take(&mut tracker, GOES, 0..6);
    tracker.band_complete(B);
    tracker.settle(GOES, Rank(0), Outcome::Warmed);
    assert_eq!(
        tracker.follow(&known, &given(&known, &[GOES])),
        Followed::On
    );
    tracker.release(GOES);
    assert_eq!(tracker.states()[&GOES].position, Position::from((0, 1)));
}

#[test]
fn more_put_back_than_may_travel_stops_the_position_and_is_done_again() {
    let many = RETRIES_MAX as u64 + 5;
    let mut tracker = owner(&fresh(&[GOES]));
    take(&mut tracker, GOES, 0..2 * many);
    (0..many).for_each(|n| assert!(tracker.settle(GOES, Rank(2 * n + 1), Outcome::Present)));
    tracker.release(GOES);
    let state = tracker.states()[&GOES].clone();
    assert_eq!(state.retries.len(), RETRIES_MAX);
    assert_eq!(
        state.tally.settled() + RETRIES_MAX as u64,
        state.position.rank.0
    );
    assert!(state.position.rank.0 < 2 * many);
}

#[test]
fn an_assignment_is_followed_only_where_it_goes_on_from_what_is_known() {
    let (worked, elsewhere) = (
        PartitionState {
            position: (0, 9).into(),
            ..PartitionState::default()
        },
        PartitionId(9),
    );
    let known = fresh(&[STAYS, GOES]);
    let mut moved_on = known.clone();
    moved_on.insert(STAYS, worked.clone());
    let mut more = known.clone();
    more.insert(elsewhere, worked);
    let only_stays = fresh(&[STAYS]);
    // What is leaving when the new one comes, and whether that was released.
    let cases = [
        ("the same", false, given(&known, &[GOES]), Followed::On),
        (
            "another is asked for",
            false,
            given(&known, &[STAYS, GOES]),
            Followed::On,
        ),
        ("more comes", false, given(&more, &[GOES]), Followed::Opens),
        (
            "more comes that shall go",
            false,
            given(&more, &[GOES, elsewhere]),
            Followed::On,
        ),
        (
            "taken unreleased",
            false,
            given(&only_stays, &[]),
            Followed::Anew,
        ),
        ("back unreleased", false, given(&known, &[]), Followed::Anew),
        (
            "taken once released",
            true,
            given(&only_stays, &[]),
            Followed::On,
        ),
        (
            "back once released",
            true,
            given(&known, &[]),
            Followed::Opens,
        ),
        (
            "still asked for",
            true,
            given(&known, &[GOES]),
            Followed::On,
        ),
        (
            "somebody had it meanwhile",
            true,
            given(&moved_on, &[]),
            Followed::Anew,
        ),
        (
            "all are gone",
            true,
            given(&States::new(), &[]),
            Followed::Anew,
        ),
    ];
    for (case, is_released, assignment, expected) in cases {
        let (mut tracker, known) = asked();
        if is_released {
            tracker.release(GOES);
        }
        assert_eq!(tracker.follow(&known, &assignment), expected, "{case}");
        if expected != Followed::Anew {
            let owned: Vec<_> = tracker.states().into_keys().collect();
            let expected: Vec<_> = assignment.partitions.into_keys().collect();
            assert_eq!(owned, expected, "{case}");
            let stays = |id: &PartitionId| !assignment.leaving.contains(id);
            assert!(
                owned.iter().all(|id| stays(id) != tracker.has_left(*id)),
                "{case}"
            );
        }
    }
}

#[test]
fn one_that_comes_back_goes_on_from_its_release_or_from_where_somebody_else_brought_it() {
    let (mut tracker, known) = asked();
    (0..3).for_each(|rank| assert!(tracker.settle(GOES, Rank(rank), Outcome::Warmed)));
    tracker.release(GOES);
    let mut same = tracker.clone();
    assert_eq!(same.follow(&known, &given(&known, &[])), Followed::Opens);
    assert_eq!(same.states()[&GOES].position, Position::from((0, 3)));
    take(&mut same, GOES, 3..6);

    let further = PartitionState {
        position: (0, 5).into(),
        ..PartitionState::default()
    };
    let mut moved = known.clone();
    moved.insert(GOES, further.clone());
    assert_eq!(tracker.follow(&known, &given(&moved, &[])), Followed::Opens);
    assert_eq!(tracker.states()[&GOES], further);
}

/// What has become of an entry when its partition is asked for.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Done,
    /// It waits for its turn.
    Waits,
    /// It is in flight, and done before the release.
    InFlight,
    /// It was tried, and is to be tried again.
    Retried,
}

fn fates() -> impl Strategy<Value = Vec<(Fate, u32)>> {
    let fate = prop_oneof![
        4 => Just(Fate::Done),
        2 => Just(Fate::Waits),
        2 => Just(Fate::InFlight),
        1 => Just(Fate::Retried),
    ];
    prop::collection::vec((fate, any::<u32>()), 1..90)
}

proptest! {
    /// W1, W3: whatever had become of a partition's entries when it was asked for, its next owner does exactly what is
    /// left, and every entry counts once. (With up to 90 entries, no more are put back than may travel.)
    #[test]
    fn in_a_planned_move_no_entry_is_skipped_and_none_is_done_twice(
        fates in fates(),
        untaken in 0u64..20,
        all_brought in any::<bool>(),
    ) {
        let untaken = if all_brought { 0 } else { untaken };
        let taken = fates.len() as u64;
        let total = taken + untaken;
        let known = fresh(&[GOES]);
        let mut first = owner(&known);
        take(&mut first, GOES, 0..taken);
        let mut order: Vec<usize> = (0..fates.len()).collect();
        order.sort_by_key(|n| fates[*n].1);
        let mut times = vec![0; usize::try_from(total).unwrap()];
        let mut conclude = |tracker: &mut Tracker, which: fn(Fate) -> bool| {
            for n in order.iter().copied().filter(|n| which(fates[*n].0)) {
                let rank = Rank(n as u64);
                if matches!(fates[n].0, Fate::Retried) {
                    tracker.retry(GOES, rank, 1);
                } else {
                    times[n] += 1;
                    tracker.settle(GOES, rank, Outcome::Warmed);
                }
            }
        };
        conclude(&mut first, |fate| matches!(fate, Fate::Done | Fate::Retried));
        if all_brought {
            first.band_complete(B);
        }
        prop_assert_eq!(first.follow(&known, &given(&known, &[GOES])), Followed::On);
        first.band_complete(B);
        conclude(&mut first, |fate| matches!(fate, Fate::InFlight));
        prop_assume!(fates.iter().filter(|(fate, _)| matches!(fate, Fate::Waits | Fate::Retried)).count() <= RETRIES_MAX);
        first.release(GOES);
        let mut second = Tracker::new(first.states(), first.effort(), 256);
        // The stream begins where the state says.
        let streamed = if second.states()[&GOES].first_band() == B { 0..total } else { 0..0 };
        for rank in streamed {
            if let Uptake::Do { .. } = second.take(GOES, B, Rank(rank), Priority::ONE) {
                times[usize::try_from(rank).unwrap()] += 1;
                second.settle(GOES, Rank(rank), Outcome::Warmed);
            }
        }
        prop_assert!(times.iter().all(|times| *times == 1), "{:?}", times);
        let tally = second.states()[&GOES].tally;
        prop_assert_eq!((tally.warmed, tally.settled()), (total, total));
    }
}
