//! From its creation to the sealed plan.

use stoke_core::records::Upload;

use super::*;

#[test]
fn a_pending_job_waits_for_all_of_its_uploads() {
    let members = fleet(&["w1"]);
    let scene = Scene::new(spec(vec![From::Upload, named(), From::Upload]));
    let upload = Upload {
        object: "uploads/j/0-1".into(),
        entries: 3,
    };
    for source in [0, 2] {
        assert!(waits(&scene, &around(&members, Planning::Unknown)));
        scene.change_job(|job| drop(job.uploads.insert(source, upload.clone())));
    }
    let (_, job) = takes(&scene, &around(&members, Planning::Unknown));
    assert_eq!(phase(&job), Phase::Planning);
    assert_eq!(
        readers(&job),
        [(1, "w1".into(), 1)],
        "uploads are nobody's to read"
    );
}

#[test]
fn a_job_of_uploads_only_is_planned_without_any_worker() {
    let scene = Scene::new(spec(vec![From::Upload]));
    let upload = Upload {
        object: "uploads/j/0-1".into(),
        entries: 3,
    };
    scene.change_job(|job| drop(job.uploads.insert(0, upload)));
    let (step, job) = takes(&scene, &around(&Members::new(), Planning::Unknown));
    assert_eq!(
        (step.begins_attempt, phase(&job)),
        (Some(1), Phase::Planning)
    );
}

#[test]
fn a_pending_job_waits_while_no_worker_is_fit() {
    let scene = Scene::new(spec(vec![named()]));
    let mut unfit = fleet(&["w1"]);
    unfit.values_mut().for_each(|member| member.sources.clear());
    for members in [Members::new(), unfit] {
        assert!(waits(&scene, &around(&members, Planning::Unknown)));
    }
    assert_eq!(phase(&scene.view()), Phase::Pending);
}

#[test]
fn sources_are_given_to_fit_members_only_each_to_another() {
    let mut members = fleet(&["w1", "w2", "w3", "w4"]);
    let cacheless = members.get_mut(&worker("w2")).unwrap();
    cacheless.caches.clear();
    let ignorant = members.get_mut(&worker("w4")).unwrap();
    ignorant.loaders.clear();
    let scene = planning_by(&members, vec![named(), named(), named()]);
    let given: Vec<String> = readers(&scene.view())
        .into_iter()
        .map(|(_, w, _)| w)
        .collect();
    assert_eq!(given, ["w3", "w1", "w3"]);
}

#[test]
fn planning_goes_on_as_long_as_all_readers_are_there() {
    let members = fleet(&["w1", "w2"]);
    let scene = planning_by(&members, vec![named(), named()]);
    assert!(waits(&scene, &around(&members, underway(1))));
}

#[test]
fn another_attempt_begins_where_a_reader_is_gone() {
    let members = fleet(&["w1", "w2"]);
    let scene = planning_by(&members, vec![named(), named()]);
    let left = fleet(&["w2"]);
    let (step, job) = takes(&scene, &around(&left, underway(1)));
    assert_eq!(step.begins_attempt, Some(2));
    assert_eq!(readers(&job), [(0, "w2".into(), 2), (1, "w2".into(), 2)]);
    assert_eq!(phase(&job), Phase::Planning);
}

#[test]
fn where_a_reader_is_gone_and_nobody_else_is_fit_planning_waits() {
    let scene = planning_by(&fleet(&["w1"]), vec![named()]);
    let nobody = Members::new();
    assert!(waits(&scene, &around(&nobody, underway(1))));
}

#[test]
fn a_new_leader_knows_nothing_of_an_attempt_and_begins_another() {
    let members = fleet(&["w1"]);
    let scene = planning_by(&members, vec![named()]);
    for (known, begun) in [(Planning::Unknown, 2), (underway(1), 3)] {
        let (step, job) = takes(&scene, &around(&members, known));
        assert_eq!(
            (step.begins_attempt, job.record.value.attempt),
            (Some(begun), begun)
        );
        assert_eq!(readers(&job), [(0, "w1".into(), begun)]);
    }
}

#[test]
fn an_attempt_that_failed_for_a_passing_reason_is_followed_by_another_workers() {
    let members = fleet(&["w1", "w2"]);
    let scene = planning_by(&members, vec![named()]);
    let first = readers(&scene.view());
    let failed = Planning::Failed {
        reason: "the database is restarting".into(),
        transient: true,
    };
    let (step, job) = takes(&scene, &around(&members, failed));
    assert_eq!(step.begins_attempt, Some(2));
    assert_ne!(readers(&job)[0].1, first[0].1);
}

#[test]
fn after_the_last_attempt_the_job_fails_and_says_why() {
    let failed = Planning::Failed {
        reason: "the database is restarting".into(),
        transient: true,
    };
    let cases = [
        (failed, "the database is restarting"),
        (Planning::Unknown, "planning failed 5 times"),
        (underway(0), "planning failed 5 times"),
    ];
    for (known, reason) in cases {
        let members = fleet(&["w1"]);
        let scene = planning_by(&members, vec![named()]);
        for attempt in 2..=PLANNING_ATTEMPTS_MAX {
            let (step, _) = takes(&scene, &around(&members, known.clone()));
            assert_eq!(step.begins_attempt, Some(attempt));
        }
        let (step, job) = takes(&scene, &around(&members, known));
        assert_eq!((step.begins_attempt, phase(&job)), (None, Phase::Failed));
        assert_eq!(job.life.value.reason, reason);
    }
}

#[test]
fn a_permanent_fault_of_a_source_fails_the_job_at_once() {
    let members = fleet(&["w1"]);
    let scene = planning_by(&members, vec![named()]);
    let failed = Planning::Failed {
        reason: "key source 0: no such column".into(),
        transient: false,
    };
    let (_, job) = takes(&scene, &around(&members, failed));
    assert_eq!(phase(&job), Phase::Failed);
    assert_eq!(job.life.value.reason, "key source 0: no such column");
    let result = job.record.value.result.unwrap();
    assert_eq!(
        (result.tally, job.record.value.ended_ms),
        (Tally::default(), Some(77))
    );
}

#[test]
fn a_plan_without_entries_fails_the_job_and_says_why() {
    let members = fleet(&["w1"]);
    let scene = planning_by(&members, vec![named()]);
    let (_, job) = takes(&scene, &around(&members, stored(0)));
    assert_eq!(phase(&job), Phase::Failed);
    assert_eq!(job.life.value.reason, "the key sources gave no keys");
}

#[test]
fn sealing_makes_the_stored_plan_the_jobs_and_ends_the_reading() {
    let members = fleet(&["w1"]);
    let scene = planning_by(&members, vec![named(), named()]);
    let (step, job) = takes(&scene, &around(&members, stored(10)));
    assert_eq!((step.begins_attempt, phase(&job)), (None, Phase::Running));
    let record = &job.record.value;
    assert_eq!(record.plan, Some(scene::plan(10, coarsest())));
    assert_eq!(
        (record.planning.origin_rows, record.started_ms),
        (10, Some(77))
    );
    assert!(job.reads.is_empty());
}

#[test]
fn a_job_that_was_stopped_meanwhile_is_neither_sealed_nor_tried_again() {
    let members = fleet(&["w1"]);
    let scene = planning_by(&members, vec![named()]);
    let before = scene.view();
    let steps = [stored(10), Planning::Unknown]
        .map(|known| next(&before, &around(&members, known)).unwrap());
    scene.enter(Phase::Aborting);
    for step in steps {
        assert_eq!(scene.commit(step.txn), TxnOutcome::Refused);
    }
}
