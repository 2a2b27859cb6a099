//! Each step of a write, and what is done where it does not end as it should.

use stoke_core::progress::{Outcome, Tally};
use stoke_core::units::Priority;
use stoke_store::KeyValue;

use super::*;

const ASSIGNMENT: &str = "assign/j/w1.ab";
const CHECKPOINT: &str = "ckpt/j/w1.ab";

fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

/// A keeper for an assignment of mod revision 5.
fn keeper(checkpoint: Option<(Checkpoint, u64)>) -> Keeper {
    let assigned = Assigned {
        assignment: given(0),
        revision: 5,
        checkpoint,
    };
    Keeper::new(name("w1.ab"), name("j"), assigned)
}

fn states(done: u64) -> BTreeMap<PartitionId, PartitionState> {
    let mut tally = Tally::default();
    (0..done).for_each(|_| tally.count(Outcome::Warmed, Priority::ONE));
    let state = PartitionState {
        position: (0, done).into(),
        tally,
        ..PartitionState::default()
    };
    [(PartitionId(3), state)].into()
}

fn given(done: u64) -> Assignment {
    Assignment {
        partitions: states(done),
        ..Assignment::default()
    }
}

/// A checkpoint that says that so many entries are done.
fn done(done: u64) -> Checkpoint {
    Checkpoint {
        partitions: states(done),
        ..Checkpoint::default()
    }
}

fn failure(rank: u64) -> FailedEntry {
    FailedEntry {
        key: format!("k{rank}").into(),
        rank,
        reason: "the value is too large".into(),
        ..FailedEntry::default()
    }
}

/// An entry fails, and a checkpoint is made that counts it.
fn fails(k: &mut Keeper, rank: u64) {
    k.note_failure(PartitionId(3), failure(rank));
    k.count_failures();
}

/// The store as it is looked up: each key with its mod revision.
fn store(keys: &[(&str, u64)]) -> Snapshot {
    let entry = |(key, revision): &(&str, u64)| KeyValue {
        key: (*key).into(),
        value: bytes::Bytes::new(),
        create_revision: Revision(*revision),
        mod_revision: Revision(*revision),
        lease: None,
    };
    Snapshot {
        revision: Revision(99),
        cluster_id: 1,
        entries: keys.iter().map(entry).collect(),
    }
}

fn assigned_at(revision: u64) -> Compare {
    Compare::ModRevision(ASSIGNMENT.into(), Revision(revision))
}

fn checkpoint_at(revision: u64) -> Compare {
    Compare::ModRevision(CHECKPOINT.into(), Revision(revision))
}

fn no_checkpoint() -> Compare {
    Compare::Absent(CHECKPOINT.into())
}

/// What a commit compares, and what it puts.
fn commit(writing: Writing) -> (Vec<Compare>, Checkpoint) {
    let Writing::Commit(mut txn) = writing else {
        panic!("no commit: {writing:?}")
    };
    let Some(Op::Put { key, value, .. }) = txn.ops.pop() else {
        panic!("no put: {txn:?}")
    };
    assert_eq!((key.as_str(), txn.ops.len()), (CHECKPOINT, 0));
    let mut entry = store(&[(CHECKPOINT, 1)]).entries.remove(0);
    entry.value = value;
    (txn.compares, record::decode(&entry).unwrap())
}

/// The log, the chunk and the ranks that are to be listed.
fn list(writing: Writing) -> (String, u64, Vec<u64>) {
    let Writing::List {
        log,
        chunk,
        failures,
    } = writing
    else {
        panic!("no list: {writing:?}")
    };
    (log, chunk, failures.iter().map(|f| f.rank).collect())
}

fn chunks(checkpoint: &Checkpoint) -> Option<(&str, u64)> {
    let log = checkpoint.failures.as_ref()?;
    Some((&log.log, log.chunks))
}

fn looks_up(writing: &Writing) -> bool {
    *writing
        == Writing::LookUp(vec![
            Keys::One(CHECKPOINT.into()),
            Keys::One(ASSIGNMENT.into()),
        ])
}

/// Writes a checkpoint of which nothing goes wrong.
fn write(keeper: &mut Keeper, checkpoint: &Checkpoint, revision: u64) {
    while matches!(keeper.next(checkpoint), Writing::List { .. }) {
        keeper.listed();
    }
    commit(keeper.next(checkpoint));
    keeper.committed(Revision(revision));
    assert_eq!(keeper.next(checkpoint), Writing::Nothing);
}

#[test]
fn each_checkpoint_compares_the_assignment_and_the_one_before() {
    let mut k = keeper(None);
    let (compares, put) = commit(k.next(&done(1)));
    assert_eq!(compares, [assigned_at(5), no_checkpoint()]);
    assert_eq!(put, done(1));
    k.committed(Revision(7));
    assert_eq!(k.next(&done(1)), Writing::Nothing);
    assert_eq!(
        commit(k.next(&done(2))).0,
        [assigned_at(5), checkpoint_at(7)]
    );
    k.committed(Revision(9));
    assert_eq!(
        commit(k.next(&done(3))).0,
        [assigned_at(5), checkpoint_at(9)]
    );
}

#[test]
fn what_was_there_before_is_not_written_again() {
    let mut k = keeper(Some((done(4), 8)));
    assert_eq!(k.next(&done(4)), Writing::Nothing);
    assert_eq!(
        commit(k.next(&done(5))).0,
        [assigned_at(5), checkpoint_at(8)]
    );
}

#[test]
fn failures_are_listed_before_the_checkpoint_that_counts_them() {
    let mut k = keeper(None);
    fails(&mut k, 4);
    fails(&mut k, 6);
    assert_eq!(list(k.next(&done(1))), ("ab-5".into(), 0, vec![4, 6]));
    k.listed();
    assert_eq!(chunks(&commit(k.next(&done(1))).1), Some(("ab-5", 1)));
    assert_eq!(k.failures_waiting(), 2, "nothing counts them yet");
    k.committed(Revision(7));
    assert_eq!(k.failures_waiting(), 0);
    assert_eq!(k.next(&done(1)), Writing::Nothing);
    // Each checkpoint counts those before, too.
    assert_eq!(chunks(&commit(k.next(&done(2))).1), Some(("ab-5", 1)));
}

#[test]
fn a_chunk_that_may_be_listed_is_listed_again_as_it_was() {
    let mut k = keeper(None);
    fails(&mut k, 4);
    let first = k.next(&done(1));
    fails(&mut k, 6);
    assert_eq!(k.next(&done(2)), first, "a late list of it changes nothing");
    k.listed();
    assert_eq!(list(k.next(&done(2))), ("ab-5".into(), 1, vec![6]));
    k.listed();
    assert_eq!(chunks(&commit(k.next(&done(2))).1), Some(("ab-5", 2)));
}

#[test]
fn a_failure_during_a_write_waits_for_the_next_one() {
    let mut k = keeper(None);
    fails(&mut k, 4);
    k.next(&done(1));
    k.listed();
    commit(k.next(&done(1)));
    fails(&mut k, 6);
    k.committed(Revision(7));
    assert_eq!(k.failures_waiting(), 1);
    assert_eq!(list(k.next(&done(2))), ("ab-5".into(), 1, vec![6]));
    k.listed();
    let (compares, put) = commit(k.next(&done(2)));
    assert_eq!(compares, [assigned_at(5), checkpoint_at(7)]);
    assert_eq!(chunks(&put), Some(("ab-5", 2)));
}

#[test]
fn a_failure_that_the_checkpoint_does_not_count_is_not_listed_with_it() {
    let mut k = keeper(None);
    k.note_failure(PartitionId(3), failure(4));
    assert!(
        matches!(k.next(&done(1)), Writing::Commit(_)),
        "none is counted"
    );
    k.count_failures();
    k.note_failure(PartitionId(3), failure(6));
    assert_eq!(list(k.next(&done(5))), ("ab-5".into(), 0, vec![4]));
    write(&mut k, &done(5), 7);
    assert_eq!(k.failures_waiting(), 1);
    k.count_failures();
    assert_eq!(list(k.next(&done(7))), ("ab-5".into(), 1, vec![6]));
}

#[test]
fn what_failed_in_a_partition_that_does_not_stand_as_it_did_is_not_listed() {
    for (standing, listed) in [(1, Some(vec![4])), (0, None)] {
        let mut k = keeper(Some((done(1), 8)));
        fails(&mut k, 4);
        k.follow(9, given(standing));
        k.count_failures();
        let next = k.next(&done(5));
        match listed {
            Some(ranks) => assert_eq!(list(next), ("ab-9".into(), 0, ranks)),
            None => assert_eq!((k.failures_waiting(), chunks(&commit(next).1)), (0, None)),
        }
    }
}

#[test]
fn after_a_write_of_which_nothing_is_known_the_store_is_looked_up() {
    let mine = (ASSIGNMENT, 5);
    for (found, compares) in [
        (store(&[mine]), Ok(no_checkpoint())),
        (store(&[mine, (CHECKPOINT, 7)]), Ok(checkpoint_at(7))),
        (store(&[(ASSIGNMENT, 6)]), Err(Superseded)),
        (store(&[(CHECKPOINT, 7)]), Err(Superseded)),
    ] {
        let mut k = keeper(None);
        commit(k.next(&done(1)));
        k.unknown();
        assert!(k.known().is_none(), "the write may have changed it");
        assert!(looks_up(&k.next(&done(1))));
        let told = k.found(&found);
        match compares {
            Ok(own) => {
                assert_eq!(told, Ok(()));
                assert_eq!(commit(k.next(&done(1))).0, [assigned_at(5), own]);
            }
            Err(error) => {
                assert_eq!(told, Err(error));
                assert!(looks_up(&k.next(&done(1))), "nothing is written any more");
            }
        }
    }
}

#[test]
fn what_is_refused_is_looked_up_and_follows_what_is_there() {
    let mut k = keeper(Some((done(1), 6)));
    commit(k.next(&done(2)));
    k.refused();
    assert!(looks_up(&k.next(&done(2))));
    assert_eq!(k.found(&store(&[(ASSIGNMENT, 5), (CHECKPOINT, 8)])), Ok(()));
    // It is not known what that one says: it is written even where it would say what the last one known did.
    assert_eq!(
        commit(k.next(&done(1))).0,
        [assigned_at(5), checkpoint_at(8)]
    );
    k.refused();
    assert!(looks_up(&k.next(&done(2))));
    assert_eq!(k.found(&store(&[])), Err(Superseded));
}

#[test]
fn who_may_list_nothing_looks_up_whether_another_assignment_has_replaced_its_own() {
    let mut k = keeper(None);
    fails(&mut k, 4);
    let list = k.next(&done(1));
    assert!(matches!(list, Writing::List { .. }));
    k.refused();
    assert!(looks_up(&k.next(&done(1))));
    assert_eq!(k.found(&store(&[(ASSIGNMENT, 6)])), Err(Superseded));
    assert_eq!(k.found(&store(&[(ASSIGNMENT, 5)])), Ok(()));
    assert_eq!(k.next(&done(1)), list, "the same chunk as before");
}

#[test]
fn what_is_listed_counts_once_though_its_commit_went_wrong() {
    let mut k = keeper(None);
    fails(&mut k, 4);
    k.next(&done(1));
    k.listed();
    commit(k.next(&done(1)));
    k.unknown();
    fails(&mut k, 6);
    assert!(looks_up(&k.next(&done(2))));
    assert_eq!(k.found(&store(&[(ASSIGNMENT, 5), (CHECKPOINT, 7)])), Ok(()));
    assert_eq!(list(k.next(&done(2))), ("ab-5".into(), 1, vec![6]));
    k.listed();
    assert_eq!(chunks(&commit(k.next(&done(2))).1), Some(("ab-5", 2)));
    k.committed(Revision(8));
    assert_eq!(
        (k.failures_waiting(), k.next(&done(2))),
        (0, Writing::Nothing)
    );
}

#[test]
fn a_log_goes_on_after_the_chunks_that_the_checkpoint_counts() {
    let before = Checkpoint {
        failures: Some(FailureLog {
            log: "ab-5".into(),
            chunks: 3,
        }),
        ..done(1)
    };
    let mut k = keeper(Some((before, 8)));
    assert_eq!(k.next(&done(1)), Writing::Nothing);
    fails(&mut k, 4);
    assert_eq!(list(k.next(&done(1))), ("ab-5".into(), 3, vec![4]));
}

#[test]
fn under_an_assignment_that_follows_a_log_begins_with_what_was_not_counted() {
    let mut k = keeper(None);
    fails(&mut k, 4);
    write(&mut k, &done(1), 7);
    fails(&mut k, 6);
    k.next(&done(2));
    k.listed();
    commit(k.next(&done(2)));
    k.follow(9, given(1));
    let known = k.known().map(|known| known.partitions.clone());
    assert_eq!(known, Some(states(1)), "what the assignment says");
    k.committed(Revision(8));
    assert_eq!(
        k.failures_waiting(),
        1,
        "the commit before counts nothing here"
    );
    k.count_failures();
    assert_eq!(list(k.next(&done(2))), ("ab-9".into(), 0, vec![6]));
    k.listed();
    let (compares, put) = commit(k.next(&done(2)));
    assert_eq!(compares, [assigned_at(9), no_checkpoint()]);
    assert_eq!(chunks(&put), Some(("ab-9", 1)));
}

#[test]
fn what_is_known_is_what_was_last_in_the_store() {
    let of = |k: &Keeper| k.known().map(|known| known.partitions.clone());
    let mut k = keeper(None);
    assert_eq!(of(&k), Some(states(0)));
    write(&mut k, &done(1), 7);
    assert_eq!(of(&k), Some(states(1)));
    commit(k.next(&done(2)));
    k.refused();
    assert_eq!(of(&k), Some(states(1)), "what was refused is not there");
    assert_eq!(k.found(&store(&[(ASSIGNMENT, 5), (CHECKPOINT, 7)])), Ok(()));
    assert_eq!(of(&k), Some(states(1)));
    // What is there is not read, so that nothing goes on from it.
    assert_eq!(k.found(&store(&[(ASSIGNMENT, 5), (CHECKPOINT, 8)])), Ok(()));
    assert_eq!(of(&k), None);
    write(&mut k, &done(2), 9);
    commit(k.next(&done(3)));
    k.unknown();
    assert_eq!(of(&k), None);
}

#[test]
fn chunks_and_reasons_are_bounded() {
    let mut k = keeper(None);
    let with_key = |rank, bytes: usize| FailedEntry {
        key: vec![0; bytes],
        ..failure(rank)
    };
    let sizes = [
        FAILURE_BYTES_MAX + 1,
        FAILURE_BYTES_MAX / 2,
        FAILURE_BYTES_MAX / 2,
        9,
    ];
    for (rank, bytes) in (0..).zip(sizes) {
        k.note_failure(PartitionId(3), with_key(rank, bytes));
    }
    k.note_failure(
        PartitionId(3),
        FailedEntry {
            reason: "ü".repeat(REASON_MAX + 1),
            ..failure(4)
        },
    );
    k.count_failures();
    for (chunk, ranks) in [(0, vec![0]), (1, vec![1]), (2, vec![2, 3, 4])] {
        assert_eq!(list(k.next(&done(1))), ("ab-5".into(), chunk, ranks));
        k.listed();
    }
    assert_eq!(k.failures[4].1.reason, "ü".repeat(REASON_MAX));
}
