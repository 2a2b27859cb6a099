//! From the sealed plan to the last outcome.

use stoke_core::records::FailureLog;

use super::*;

#[test]
fn a_running_job_gives_its_partitions_to_the_fit_members() {
    let mut members = fleet(&["w1", "w2"]);
    let unfit = Member {
        caches: Default::default(),
        ..fit()
    };
    members.insert(worker("w3"), unfit);
    let scene = running(10, 0);
    let (_, job) = takes(&scene, &around(&members, Planning::Unknown));
    let owners: Vec<&str> = job.owners.keys().map(WorkerName::as_str).collect();
    assert_eq!(owners, ["w1", "w2"]);
    let owned = |owner: &crate::view::Owner| owner.assignment.value.partitions.len();
    assert_eq!(job.owners.values().map(owned).sum::<usize>(), 256);
    assert!(waits(&scene, &around(&members, Planning::Unknown)));
}

#[test]
fn no_partition_is_handed_over_once_the_job_was_told_to_stop() {
    let members = fleet(&["w1"]);
    let scene = running(10, 0);
    let step = next(&scene.view(), &around(&members, Planning::Unknown)).unwrap();
    scene.enter(Phase::Aborting);
    assert_eq!(scene.commit(step.txn), TxnOutcome::Refused);
}

#[test]
fn a_job_succeeds_where_every_entry_has_an_outcome_and_few_enough_failed() {
    let nobody = Members::new();
    let cases = [
        (tally(9, 0), 0, None),
        (tally(10, 0), 0, Some((Phase::Succeeded, ""))),
        (tally(9, 1), 1, Some((Phase::Succeeded, ""))),
        (
            tally(9, 1),
            0,
            Some((Phase::Failed, "1 entries failed; 0 were allowed")),
        ),
        (
            tally(7, 3),
            2,
            Some((Phase::Failed, "3 entries failed; 2 were allowed")),
        ),
        (tally(7, 2), 0, None),
    ];
    for (tally, allowed, expected) in cases {
        let scene = running(10, allowed);
        own(&scene, &[("w1", Tally::default())]);
        checkpoint(&scene, "w1", tally, false);
        let ended = take(&scene, &around(&nobody, Planning::Unknown));
        let ended = ended.map(|(_, job)| (phase(&job), job.life.value.reason.clone()));
        let expected = expected.map(|(phase, reason)| (phase, reason.to_owned()));
        assert_eq!(ended, expected, "{tally:?} with {allowed} allowed");
    }
}

#[test]
fn an_entry_to_be_retried_keeps_the_job_from_its_end() {
    let scene = running(10, 0);
    own(&scene, &[("w1", tally(9, 0))]);
    let nobody = Members::new();
    assert!(waits(&scene, &around(&nobody, Planning::Unknown)));
}

#[test]
fn the_result_is_what_the_owners_had_done_and_planning_had_cost() {
    let scene = running(10, 5);
    let spent = |origin_queries| Effort {
        origin_queries,
        ..Effort::default()
    };
    let log = |log: &str, chunks| FailureLog {
        log: log.into(),
        chunks,
    };
    scene.change_job(|job| job.planning = spent(1));
    let assignment = Assignment {
        partitions: [(PartitionId(0), standing(tally(2, 1)))].into(),
        effort: spent(20),
        failures: vec![log("w0-5", 2)],
        ..Assignment::default()
    };
    scene.put(&keys::assignment(scene.job(), &worker("w1")), &assignment);
    let checkpoint = Checkpoint {
        partitions: [(PartitionId(0), standing(tally(6, 4)))].into(),
        effort: spent(300),
        failures: Some(log("w1-9", 1)),
        ..Checkpoint::default()
    };
    scene.checkpoint(&worker("w1"), &checkpoint);
    let (_, job) = takes(&scene, &around(&Members::new(), Planning::Unknown));
    let result = job.record.value.result.unwrap();
    assert_eq!((result.tally, result.effort), (tally(6, 4), spent(301)));
    assert_eq!(result.failures, [log("w0-5", 2), log("w1-9", 1)]);
}
