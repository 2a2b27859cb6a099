//! What a worker does with its part, one thing after the other.

use std::time::Duration;

use stoke_core::progress::Followed;
use stoke_core::records::{Assignment, Checkpoint};
use stoke_core::units::{Priority, Rank};
use stoke_store::Revision;

use super::*;
use crate::job::joint::Lacking;
use crate::job::keeper::Writing;

const STAYS: PartitionId = PartitionId(3);
const GOES: PartitionId = PartitionId(7);
const ATTEMPTS_MAX: u32 = 3;

type States = BTreeMap<PartitionId, PartitionState>;

fn fresh(partitions: &[PartitionId]) -> States {
    let state = |id: &PartitionId| (*id, PartitionState::default());
    partitions.iter().map(state).collect()
}

fn assigned(revision: u64, partitions: States, leaving: &[PartitionId]) -> Assigned {
    Assigned {
        assignment: Assignment {
            partitions,
            leaving: leaving.iter().copied().collect(),
            ..Assignment::default()
        },
        revision,
        checkpoint: None,
    }
}

fn part(partitions: &[PartitionId]) -> Part {
    let (worker, job) = ("w1.ab".parse().unwrap(), "j".parse().unwrap());
    let assigned = assigned(5, fresh(partitions), &[]);
    let (batch_keys, names) = (
        vec![2.into(), 1.into()],
        vec!["first".into(), "second".into()],
    );
    Part::new(worker, job, assigned, 256, batch_keys, names, ATTEMPTS_MAX)
}

fn task(partition: PartitionId, rank: u64) -> Task {
    Task {
        partition,
        band: BandId(0),
        rank: Rank(rank),
        key: format!("k{rank}").into(),
        loader: 1,
        argument: String::new(),
        priority: Priority::ONE,
        attempts: 0,
        lacking: Lacking::EVERYWHERE,
    }
}

/// Takes entries, and gives them to a go.
fn go(part: &mut Part, tasks: &[(PartitionId, u64)]) -> Vec<Task> {
    let tasks = tasks.iter().map(|(id, rank)| task(*id, *rank)).collect();
    let taken = part.take(Some(Brought::Entries(tasks)));
    part.begin(&taken);
    taken
}

fn done() -> Verdict {
    Verdict::Done(Outcome::Warmed)
}

fn failed() -> Verdict {
    Verdict::Failed("the value is too large".into())
}

fn again() -> Verdict {
    Verdict::Again("no answer".into())
}

fn settle(part: &mut Part, task: Task, verdict: Verdict) -> Settled {
    part.settle(task, verdict, Instant::now(), 0.0)
}

/// Writes a checkpoint, and says what it was.
fn write(part: &mut Part, revision: u64) -> Checkpoint {
    let checkpoint = part.checkpoint();
    loop {
        match part.keeper().next(&checkpoint) {
            Writing::Nothing => return checkpoint,
            Writing::List { .. } => part.keeper().listed(),
            Writing::Commit(_) => part.keeper().committed(Revision(revision)),
            Writing::LookUp(_) => panic!("nothing is uncertain"),
        }
    }
}

fn ranks(tasks: Option<Vec<Task>>) -> Vec<u64> {
    let tasks = tasks.unwrap_or_default();
    tasks.iter().map(|task| task.rank.0).collect()
}

#[test]
fn an_entry_is_tried_again_so_often_and_fails_then() {
    let mut p = part(&[STAYS]);
    let mut task = go(&mut p, &[(STAYS, 0)]).remove(0);
    let mut now = Instant::now();
    for attempts in 1..ATTEMPTS_MAX {
        let settled = p.settle(task, again(), now, 0.0);
        assert_eq!(settled, Settled::Again("no answer".into()));
        assert_eq!(
            (p.retrying(), p.states()[&STAYS].retries[0].attempts),
            (1, attempts)
        );
        let due = p.next_due().unwrap();
        assert_eq!(due, now + after(attempts, 0.0));
        assert!(p.due(due - Duration::from_millis(1), 9).is_empty());
        now = due;
        let mut again = p.due(now, 9);
        assert_eq!(again[0].attempts, attempts);
        assert_eq!(p.next_due(), None);
        p.begin(&again);
        task = again.remove(0);
    }
    assert_eq!(p.settle(task, again(), now, 0.0), Settled::Failed);
    assert_eq!(
        (p.retrying(), p.failures_waiting(), p.next_due()),
        (0, 1, None)
    );
    assert_eq!(
        (
            p.states()[&STAYS].tally.failed,
            p.states()[&STAYS].retries.len()
        ),
        (1, 0)
    );
    let checkpoint = p.checkpoint();
    let Writing::List { failures, .. } = p.keeper().next(&checkpoint) else {
        panic!("it is not listed")
    };
    let listed = (
        failures[0].rank,
        &*failures[0].loader,
        &*failures[0].reason,
        failures[0].attempts,
    );
    assert_eq!(listed, (0, "second", "no answer", ATTEMPTS_MAX));
}

#[test]
fn a_reason_that_stays_fails_at_once() {
    let mut p = part(&[STAYS]);
    let task = go(&mut p, &[(STAYS, 0)]).remove(0);
    let verdict = Verdict::Failed("the value is too large".into());
    assert_eq!(settle(&mut p, task, verdict), Settled::Failed);
    assert_eq!((p.failures_waiting(), p.next_due()), (1, None));
}

/// The ranks that the next checkpoint would list.
fn lists(part: &mut Part) -> Vec<u64> {
    let checkpoint = part.checkpoint();
    match part.keeper().next(&checkpoint) {
        Writing::List { failures, .. } => failures.iter().map(|failure| failure.rank).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn w1_a_failure_behind_a_gap_is_listed_once_it_is_counted() {
    let mut p = part(&[STAYS]);
    let mut tasks = go(&mut p, &[(STAYS, 0), (STAYS, 1), (STAYS, 2)]);
    let (third, second) = (tasks.remove(2), tasks.remove(1));
    settle(&mut p, third, failed());
    settle(&mut p, second, again());
    assert_eq!((lists(&mut p), p.failures_waiting()), (vec![], 0));
    let first = tasks.remove(0);
    settle(&mut p, first, done());
    assert_eq!(
        (p.states()[&STAYS].tally.failed, lists(&mut p)),
        (1, vec![2])
    );
}

#[test]
fn w1_a_failure_that_counts_nowhere_is_not_listed() {
    let mut p = part(&[STAYS]);
    let task = go(&mut p, &[(STAYS, 0)]).remove(0);
    settle(&mut p, task.clone(), done());
    settle(&mut p, task, failed());
    assert_eq!(
        (p.states()[&STAYS].tally.failed, lists(&mut p)),
        (0, vec![])
    );
}

#[test]
fn w1_a_failure_that_is_not_counted_when_its_partition_goes_is_listed_by_whoever_does_it_again() {
    let mut p = part(&[STAYS, GOES]);
    let mut tasks = go(&mut p, &[(GOES, 0), (GOES, 1)]);
    let (second, first) = (tasks.remove(1), tasks.remove(0));
    settle(&mut p, second, failed());
    let known = write(&mut p, 8).partitions;
    assert_eq!(p.follow(assigned(9, known, &[GOES])), Followed::On);
    p.missing(first);
    // More wait to be tried again than may: the position stops before them.
    let released = p.checkpoint().partitions[&GOES].clone();
    assert_eq!((released.retries.len(), released.tally.failed), (1, 1));
    assert_eq!(p.failures_waiting(), 1, "released, it counts");
    // Not committed, that counts nowhere: somebody else had the partition before it comes back.
    let elsewhere = PartitionState {
        position: (0, 1).into(),
        ..released
    };
    let back = [(STAYS, PartitionState::default()), (GOES, elsewhere)].into();
    assert_eq!(p.follow(assigned(11, back, &[])), Followed::Opens);
    assert_eq!((lists(&mut p), p.failures_waiting()), (vec![], 0));
}

#[test]
fn who_takes_over_counts_the_attempts_before() {
    let mut p = part(&[STAYS]);
    let task = go(&mut p, &[(STAYS, 0)]).remove(0);
    settle(&mut p, task, again());
    let states = p.last_checkpoint(false).partitions;
    let mut next = part(&[]);
    let opens = next.follow(assigned(6, states, &[]));
    assert_eq!(
        (opens, next.open()),
        (Followed::Opens, [(STAYS, BandId(0))].into())
    );
    let taken = go(&mut next, &[(STAYS, 0), (STAYS, 1)]);
    assert_eq!(taken.iter().map(|t| t.attempts).collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn so_many_at_most_are_due_at_once() {
    let mut p = part(&[STAYS]);
    let now = Instant::now();
    for task in go(&mut p, &[(STAYS, 0), (STAYS, 1), (STAYS, 2)]) {
        p.settle(task, again(), now, 0.0);
    }
    let later = now + Duration::from_secs(60);
    assert_eq!(ranks(Some(p.due(later, 2))), [0, 1]);
    assert_eq!(ranks(Some(p.due(later, 2))), [2]);
}

#[test]
fn what_is_missing_is_loaded_in_full_batches() {
    let mut p = part(&[STAYS]);
    let mut tasks = go(&mut p, &[(STAYS, 0), (STAYS, 1), (STAYS, 2)]);
    tasks.iter_mut().for_each(|task| task.loader = 0);
    tasks.into_iter().for_each(|task| p.missing(task));
    assert!(p.may_end(), "no go has them any more");
    assert_eq!(p.next_batch(true, |loader| loader == 1), None);
    assert_eq!(ranks(p.next_batch(false, |_| true)), [0, 1]);
    assert_eq!(ranks(p.next_batch(false, |_| true)), [] as [u64; 0]);
    assert_eq!(ranks(p.next_batch(true, |_| true)), [2]);
}

#[test]
fn a_part_is_done_once() {
    let mut p = part(&[STAYS]);
    let task = go(&mut p, &[(STAYS, 0)]).remove(0);
    p.take(Some(Brought::BandComplete(BandId(0))));
    p.take(None);
    assert!(p.is_exhausted() && !p.just_done(true));
    let settled = settle(&mut p, task, again());
    assert!(
        matches!(settled, Settled::Again(_)) && !p.just_done(false),
        "it is tried again"
    );
    let task = p.due(p.next_due().unwrap(), 9).remove(0);
    settle(&mut p, task, done());
    assert!(!p.just_done(true), "a go is in flight");
    assert!(p.just_done(false));
    assert!(!p.just_done(false), "it was said");
    p.open();
    assert!(!p.just_done(false), "the stream brings more");
    p.take(None);
    assert!(p.just_done(false));
}

#[test]
fn what_was_released_under_another_assignment_is_released_at_once_under_the_one_that_replaces_it() {
    let mut p = part(&[STAYS, GOES]);
    p.follow(assigned(6, fresh(&[STAYS, GOES]), &[GOES]));
    assert_eq!(p.checkpoint().released, [GOES].into());
    write(&mut p, 7);
    assert!(!p.all_may_go(), "it is said");
    // The step that was to move it moved others, and dropped the checkpoint that it folded in.
    let states = p.states();
    assert_eq!(p.follow(assigned(8, states, &[GOES])), Followed::On);
    assert!(p.all_may_go());
    assert_eq!(p.checkpoint().released, [GOES].into());
    assert!(
        go(&mut p, &[(GOES, 0)]).is_empty(),
        "nothing of it is begun"
    );
}

#[test]
fn a_partition_that_leaves_is_released_once_nothing_of_it_is_in_a_go() {
    let mut p = part(&[STAYS, GOES]);
    let mut tasks = go(&mut p, &[(GOES, 0), (GOES, 1), (GOES, 2), (STAYS, 3)]);
    assert!(!p.all_may_go(), "none leaves");
    assert_eq!(
        p.follow(assigned(6, fresh(&[STAYS, GOES]), &[GOES])),
        Followed::On
    );
    assert_eq!(p.open(), [(STAYS, BandId(0))].into());
    assert!(
        go(&mut p, &[(GOES, 4)]).is_empty(),
        "nothing more of it is begun"
    );
    settle(&mut p, tasks.remove(0), done());
    p.missing(tasks.remove(0));
    assert!(!p.all_may_go() && p.checkpoint().released.is_empty());
    settle(&mut p, tasks.remove(0), again());
    assert_eq!(
        (p.next_batch(true, |_| true), p.next_due(), p.retrying()),
        (None, None, 0)
    );
    assert!(p.all_may_go());
    let checkpoint = p.checkpoint();
    assert_eq!(checkpoint.released, [GOES].into());
    assert!(!checkpoint.stopped && !p.all_may_go());
    // Whoever gets it does the one that was given back, and tries the last one again.
    let mut next = part(&[]);
    next.follow(assigned(9, checkpoint.partitions, &[]));
    let taken = go(&mut next, &[(GOES, 0), (GOES, 1), (GOES, 2)]);
    let seen: Vec<_> = taken.iter().map(|t| (t.rank.0, t.attempts)).collect();
    assert_eq!(seen, [(1, 0), (2, 1)]);
}

#[test]
fn what_waits_of_a_partition_that_leaves_is_given_up() {
    let mut p = part(&[STAYS, GOES]);
    let tasks = go(&mut p, &[(GOES, 0), (STAYS, 1), (GOES, 2), (STAYS, 3)]);
    let now = Instant::now();
    for task in tasks {
        match task.rank.0 {
            0 | 1 => p.missing(task),
            _ => assert!(matches!(
                p.settle(task, again(), now, 0.0),
                Settled::Again(_)
            )),
        }
    }
    p.follow(assigned(6, fresh(&[STAYS, GOES]), &[GOES]));
    assert_eq!(p.retrying(), 1);
    assert_eq!(ranks(Some(p.due(now + Duration::from_secs(60), 9))), [3]);
    assert_eq!(ranks(p.next_batch(true, |_| true)), [1]);
    assert_eq!(p.next_batch(true, |_| true), None);
}

#[test]
fn an_assignment_is_followed_from_what_is_known_only() {
    let written = |p: &mut Part| {
        let task = go(p, &[(STAYS, 0)]).remove(0);
        settle(p, task, done());
        write(p, 7).partitions
    };
    let mut p = part(&[STAYS]);
    let states = written(&mut p);
    assert_eq!(
        p.follow(assigned(8, fresh(&[STAYS]), &[])),
        Followed::Anew,
        "another had it"
    );
    let mut checkpointed = assigned(8, states.clone(), &[]);
    checkpointed.checkpoint = Some((Checkpoint::default(), 9));
    assert_eq!(
        p.follow(checkpointed),
        Followed::Anew,
        "another has worked under it"
    );
    p.supersede();
    assert_eq!(p.follow(assigned(8, states, &[])), Followed::On);
    assert!(!p.is_superseded());

    // A write of which nothing is known may be what the new assignment goes on from, or not.
    let mut p = part(&[STAYS]);
    let states = written(&mut p);
    p.keeper().unknown();
    assert_eq!(p.follow(assigned(8, states, &[])), Followed::Anew);
}

#[test]
fn a_step_that_overtakes_a_checkpoint_costs_nothing_of_what_that_one_said() {
    let mut p = part(&[STAYS, GOES]);
    let mut tasks = go(&mut p, &[(STAYS, 0), (STAYS, 1)]);
    settle(&mut p, tasks.remove(0), done());
    let states = write(&mut p, 7).partitions;
    settle(&mut p, tasks.remove(0), done());
    let checkpoint = p.checkpoint();
    assert!(matches!(p.keeper().next(&checkpoint), Writing::Commit(_)));
    p.keeper().refused();
    p.supersede();
    assert_eq!(p.follow(assigned(8, states, &[GOES])), Followed::On);
    let last = write(&mut p, 9).partitions;
    assert_eq!(last[&STAYS].tally.warmed, 2, "done once");
}

#[test]
fn what_others_had_spent_on_partitions_that_come_is_spent() {
    let queries = |origin_queries| Effort {
        origin_queries,
        ..Effort::default()
    };
    let mut p = part(&[STAYS]);
    p.spend(queries(5));
    write(&mut p, 7);
    p.spend(queries(1));
    let mut more = assigned(8, fresh(&[STAYS, GOES]), &[]);
    more.assignment.effort = queries(5 + 30);
    assert_eq!(p.follow(more), Followed::Opens);
    assert_eq!(p.checkpoint().effort, queries(36));
}

#[test]
fn nothing_is_released_while_another_assignment_is_awaited() {
    let mut p = part(&[STAYS, GOES]);
    p.follow(assigned(6, fresh(&[STAYS, GOES]), &[GOES]));
    p.supersede();
    assert!(p.is_superseded() && !p.all_may_go());
}

#[test]
fn the_last_checkpoint_waits_for_what_is_in_a_go() {
    let mut p = part(&[STAYS]);
    let mut tasks = go(&mut p, &[(STAYS, 0), (STAYS, 1)]);
    settle(&mut p, tasks.remove(0), done());
    assert!(!p.may_end());
    p.missing(tasks.remove(0));
    assert!(p.may_end());
    // A go that was stopped may say nothing of what it had.
    go(&mut p, &[(STAYS, 2)]);
    p.all_gone();
    assert!(p.may_end());
}

#[test]
fn an_abort_cancels_what_was_taken_and_a_leave_puts_it_back() {
    for (aborted, retries, cancelled) in [(false, vec![(0, 1, 0).into()], 0), (true, vec![], 2)] {
        let mut p = part(&[STAYS]);
        for task in go(&mut p, &[(STAYS, 0), (STAYS, 1), (STAYS, 2), (STAYS, 3)]) {
            match task.rank.0 {
                0 | 2 => assert_eq!(settle(&mut p, task, done()), Settled::Done(Outcome::Warmed)),
                _ => p.missing(task),
            }
        }
        let last = p.last_checkpoint(aborted);
        assert!(last.stopped && last.released.is_empty());
        let state = &last.partitions[&STAYS];
        let position = if aborted { (0, 4) } else { (0, 3) };
        assert_eq!(
            (state.position, state.tally.cancelled),
            (position.into(), cancelled)
        );
        assert_eq!(state.retries, retries);
        let counted = state.tally.settled() + state.retries.len() as u64;
        assert_eq!(counted, state.position.rank.0, "W1");
        assert_eq!(
            p.last_checkpoint(aborted),
            last,
            "it is written again as it was"
        );
    }
}

/// A range that was read: so many rows were warmed, and these failed.
fn read(warmed: u64, failed: &[&str]) -> Verdict {
    let failure = |key: &&str| RowFailure {
        key: (*key).to_owned().into(),
        reason: "the value is too large".into(),
    };
    Verdict::Read {
        rows: RangeRows {
            warmed,
            failed: failed.len() as u64,
            ..RangeRows::default()
        },
        failures: failed.iter().map(failure).collect(),
    }
}

#[test]
fn w1_the_rows_of_a_range_are_counted_in_its_place_once_and_its_failed_rows_listed_with_that() {
    let mut p = part(&[STAYS]);
    let mut ranges = go(&mut p, &[(STAYS, 0), (STAYS, 4)]);
    let second = ranges.remove(1);
    let settled = settle(&mut p, second.clone(), read(5, &["a", "b"]));
    assert!(matches!(settled, Settled::Read(rows) if rows.total() == 7));
    // The one before it is not done: nothing of it is counted, or listed.
    let checkpoint = write(&mut p, 6);
    assert_eq!(
        (
            checkpoint.partitions[&STAYS].tally.settled(),
            p.failures_waiting()
        ),
        (0, 0)
    );
    settle(&mut p, ranges.remove(0), read(3, &[]));
    // Once more, as by a go that comes too late.
    settle(&mut p, second, read(5, &["a", "b"]));
    assert_eq!(p.failures_waiting(), 2);
    let checkpoint = p.checkpoint();
    let Writing::List { failures, .. } = p.keeper().next(&checkpoint) else {
        panic!("they are not listed")
    };
    let listed = failures.iter().map(|failed| (&failed.key[..], failed.rank));
    assert_eq!(listed.collect::<Vec<_>>(), [(&b"a"[..], 4), (b"b", 4)]);
    let tally = checkpoint.partitions[&STAYS].tally;
    assert_eq!(
        (tally.warmed, tally.failed, tally.ranges, tally.rows),
        (8, 2, 2, 10)
    );
    assert_eq!(tally.planned_of(2), tally.settled());
}

#[test]
fn a_range_that_failed_counts_as_one_and_one_to_try_again_as_none() {
    let mut p = part(&[STAYS]);
    let mut ranges = go(&mut p, &[(STAYS, 0), (STAYS, 1)]);
    settle(&mut p, ranges.remove(1), again());
    settle(&mut p, ranges.remove(0), failed());
    let state = p.states()[&STAYS].clone();
    assert_eq!(
        (state.tally.failed, state.tally.ranges, state.retries.len()),
        (1, 0, 1)
    );
    let mut due = p.due(Instant::now() + Duration::from_secs(60), 9);
    p.begin(&due);
    settle(&mut p, due.remove(0), read(9, &[]));
    let tally = p.states()[&STAYS].tally;
    assert_eq!(
        (
            tally.settled(),
            tally.entries_settled(),
            tally.planned_of(2)
        ),
        (10, 2, 10)
    );
}
