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
        digest: String::new(),
    };
    for source in [0, 2] {
        assert!(waits(&scene, &around(&members, Planning::Unknown)));
        scene.change_job(|job| drop(job.uploads.insert(source, upload.clone())));
    }
    let (_, job) = takes(&scene, &around(&members, Planning::Unknown));
    assert_eq!(phase(&job), Phase::Planning);
    assert_eq!(
        given(&job),
        [task("prepare", "w1", 1), task("1", "w1", 1)],
        "uploads are nobody's to read"
    );
}

#[test]
fn the_loaders_of_a_job_of_uploads_only_are_prepared_by_a_fit_worker() {
    let scene = Scene::new(spec(vec![From::Upload]));
    let upload = Upload {
        object: "uploads/j/0-1".into(),
        entries: 3,
        digest: String::new(),
    };
    scene.change_job(|job| drop(job.uploads.insert(0, upload)));
    let mut members = fleet(&["w1", "w2"]);
    members.get_mut(&worker("w2")).unwrap().loaders.clear();
    assert!(waits(&scene, &around(&Members::new(), Planning::Unknown)));
    let (step, job) = takes(&scene, &around(&members, Planning::Unknown));
    assert_eq!(
        (step.begins_attempt, phase(&job)),
        (Some(1), Phase::Planning)
    );
    assert_eq!(given(&job), [task("prepare", "w1", 1)]);
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
    assert_eq!(
        given(&scene.view()),
        [
            task("prepare", "w3", 1),
            task("0", "w3", 1),
            task("1", "w1", 1),
            task("2", "w3", 1)
        ]
    );
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
    let all = ["prepare", "0", "1"].map(|name| task(name, "w2", 2));
    assert_eq!(given(&job), all);
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
        let all = ["prepare", "0"].map(|name| task(name, "w1", begun));
        assert_eq!(given(&job), all);
    }
}

#[test]
fn an_attempt_that_failed_for_a_passing_reason_is_followed_by_another_workers() {
    let members = fleet(&["w1", "w2"]);
    let scene = planning_by(&members, vec![named()]);
    let first = given(&scene.view());
    let failed = Planning::Failed {
        reason: "the database is restarting".into(),
        transient: true,
    };
    let (step, job) = takes(&scene, &around(&members, failed));
    assert_eq!(step.begins_attempt, Some(2));
    assert_ne!(given(&job)[0].1, first[0].1);
}

#[test]
fn tasks_go_only_to_workers_that_can_have_a_share() {
    let members = fleet(&["w1", "w2", "w3"]);
    let scene = Scene::new(spec(vec![named(), named()]));
    let few = |planning, sharers| Surroundings {
        sharers,
        ..around(&members, planning)
    };
    let (_, job) = takes(&scene, &few(Planning::Unknown, 1));
    let all = ["prepare", "0", "1"].map(|name| task(name, "w1", 1));
    assert_eq!(given(&job), all, "nobody else would ever get a token");
    let (_, job) = takes(&scene, &few(Planning::Unknown, 3));
    assert!(given(&job).iter().any(|(_, worker, _)| worker != "w1"));
}

#[test]
fn what_attempts_cost_that_failed_is_counted_with_the_job() {
    let members = fleet(&["w1"]);
    let scene = planning_by(&members, vec![named()]);
    let spent = Effort {
        origin_queries: 2,
        origin_rows: 7,
        cache_bytes: 0,
    };
    let failed = |transient| Surroundings {
        spent,
        ..around(
            &members,
            Planning::Failed {
                reason: "no".into(),
                transient,
            },
        )
    };
    let (_, job) = takes(&scene, &failed(true));
    assert_eq!(job.effort(), spent);
    let (_, job) = takes(&scene, &failed(false));
    assert_eq!(phase(&job), Phase::Failed);
    let effort = job.record.value.result.unwrap().effort;
    assert_eq!((effort.origin_queries, effort.origin_rows), (4, 14));
}

#[test]
fn after_the_last_attempt_the_job_fails_and_says_why() {
    let failed = Planning::Failed {
        reason: "the database is restarting".into(),
        transient: true,
    };
    let cases = [
        (failed, "planning was given up: the database is restarting"),
        (
            Planning::Unknown,
            "planning was given up: it failed 5 times",
        ),
        (underway(0), "planning was given up: it failed 5 times"),
    ];
    for (known, reason) in cases {
        let members = fleet(&["w1"]);
        let scene = planning_by(&members, vec![named()]);
        for attempt in 2..=ATTEMPTS_MAX {
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
    assert_eq!(
        job.life.value.reason,
        "the key sources gave no keys, so there is nothing to warm: key source 0 (top) gave 0 lines or rows with a key: check what they read"
    );
}

#[test]
fn an_empty_plan_says_of_each_source_what_it_gave_and_what_was_left_out() {
    let members = fleet(&["w1"]);
    let file = From::File {
        path: "keys.csv".into(),
        format: None,
    };
    let query = From::Sql {
        origin: "shop".parse().unwrap(),
        query: "SELECT 1 AS key WHERE false".into(),
    };
    let scene = Scene::new(spec(vec![file, query, From::Upload]));
    scene.enter(Phase::Planning);
    scene.change_job(|job| job.attempt = 1);
    let left_out = SourceReport {
        entries: 0,
        bad_lines: 7,
        bad_line_examples: vec!["line 2: it is not UTF-8".into(), "line 3".into()],
        rows_estimated: 0,
        log: None,
        monitor: None,
    };
    let sources = vec![left_out, SourceReport::default(), SourceReport::default()];
    let empty = Planning::Stored {
        plan: scene::plan(0, coarsest()),
        sources: sources.clone(),
        room: None,
        effort: Effort::default(),
    };
    let (_, job) = takes(&scene, &around(&members, empty));
    assert_eq!(phase(&job), Phase::Failed);
    for said in [
        "key source 0 (the file keys.csv) gave 0 lines or rows with a key, 7 left out as bad (line 2: it is not UTF-8)",
        "key source 1 (a query of shop) gave 0 ",
        "key source 2 (an upload) gave 0 entries",
    ] {
        assert!(job.life.value.reason.contains(said), "{:?}", job.life.value);
    }
    assert_eq!(job.record.value.sources, sources);
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
    assert_eq!(record.sources[0].entries, 10);
    assert!(job.reads.is_empty());
}

#[test]
fn a_task_that_is_done_is_nobodys_any_more_so_that_its_share_of_a_budget_goes_to_others() {
    let members = fleet(&["w1", "w2"]);
    let scene = planning_by(&members, vec![named(), named()]);
    let only_preparing = Planning::Underway {
        attempt: 1,
        awaited: [PlanningTask::Prepare, PlanningTask::Source(1)].into(),
    };
    let (step, job) = takes(&scene, &around(&members, only_preparing.clone()));
    assert_eq!(step.begins_attempt, None);
    assert_eq!(given(&job), [task("prepare", "w2", 1), task("1", "w1", 1)]);
    assert!(waits(&scene, &around(&members, only_preparing)));
}

#[test]
fn a_dismissal_that_arrives_late_takes_no_task_of_the_next_attempt() {
    let members = fleet(&["w1", "w2"]);
    let scene = planning_by(&members, vec![named()]);
    let prepared = Planning::Underway {
        attempt: 1,
        awaited: [PlanningTask::Source(0)].into(),
    };
    let late = next(&scene.view(), &around(&members, prepared)).unwrap();
    let failed = Planning::Failed {
        reason: "the source is away".into(),
        transient: true,
    };
    let (_, job) = takes(&scene, &around(&members, failed));
    assert_eq!(scene.commit(late.txn), TxnOutcome::Refused);
    assert_eq!((given(&scene.view()), job.reads.len()), (given(&job), 2));
}

/// A dry run whose plan of 10 entries was just sealed, under attempt 1.
fn sealed_dry_run(members: &Members) -> Scene {
    let mut spec = spec(vec![named()]);
    spec.dry_run = true;
    let scene = Scene::new(spec);
    takes(&scene, &around(members, Planning::Unknown));
    let (step, job) = takes(&scene, &around(members, stored(10)));
    assert_eq!((step.begins_attempt, phase(&job)), (None, Phase::Planning));
    let record = &job.record.value;
    assert_eq!(record.plan, Some(scene::plan(10, coarsest())));
    assert_eq!((record.planning.origin_rows, record.started_ms), (10, None));
    assert!(given(&job).is_empty() && job.owners.is_empty());
    scene
}

#[test]
fn a_dry_run_tries_its_loaders_in_place_of_running_and_ends_with_all_entries_skipped() {
    let members = fleet(&["w1", "w2"]);
    let scene = sealed_dry_run(&members);
    let (step, job) = takes(&scene, &around(&members, stored(10)));
    assert_eq!(step.begins_attempt, Some(2));
    assert_eq!(given(&job), [task("sample", "w1", 2)]);
    assert!(waits(&scene, &around(&members, underway(2))));

    let sample = LoaderSample {
        loader: 0,
        origin: "shop".parse().unwrap(),
        batch_keys: 500,
        entries: 10,
        found: 9,
        bytes: 900,
        memory_bytes: 2000,
    };
    let sampled = Planning::Sampled {
        samples: vec![sample.clone()],
        room: None,
        effort: Effort {
            origin_queries: 1,
            origin_rows: 9,
            cache_bytes: 0,
        },
    };
    let (_, job) = takes(&scene, &around(&members, sampled));
    assert_eq!(phase(&job), Phase::Succeeded);
    let record = &job.record.value;
    let result = record.result.as_ref().unwrap();
    let skipped = Tally {
        skipped: 10,
        ..Tally::default()
    };
    assert_eq!((result.tally, &record.samples), (skipped, &vec![sample]));
    let effort = result.effort;
    assert_eq!((effort.origin_queries, effort.origin_rows), (4, 19));
}

#[test]
fn the_sampling_of_a_dry_run_is_begun_anew_where_its_worker_or_the_leader_is_gone() {
    let members = fleet(&["w1", "w2"]);
    let scene = sealed_dry_run(&members);
    takes(&scene, &around(&members, Planning::Unknown));
    let left = fleet(&["w2"]);
    let (_, job) = takes(&scene, &around(&left, underway(2)));
    assert_eq!(given(&job), [task("sample", "w2", 3)]);
    // Another leader knows nothing of it: the plan stays.
    let (step, job) = takes(&scene, &around(&left, Planning::Unknown));
    assert_eq!(step.begins_attempt, Some(4));
    assert_eq!(given(&job), [task("sample", "w2", 4)]);
    assert_eq!(job.planned(), 10);
}

#[test]
fn a_dry_run_whose_loaders_cannot_be_tried_fails_and_its_entries_are_cancelled() {
    let members = fleet(&["w1"]);
    let given_up = "planning was given up: division by zero";
    for (transient, attempts, reason) in [
        (false, 0, "division by zero"),
        (true, ATTEMPTS_MAX * 2 - 2, given_up),
    ] {
        let scene = sealed_dry_run(&members);
        takes(&scene, &around(&members, Planning::Unknown));
        let failed = Planning::Failed {
            reason: "division by zero".into(),
            transient,
        };
        for _ in 0..attempts {
            let (_, job) = takes(&scene, &around(&members, failed.clone()));
            assert_eq!(phase(&job), Phase::Planning);
        }
        let (_, job) = takes(&scene, &around(&members, failed));
        assert_eq!(phase(&job), Phase::Failed);
        assert_eq!(job.life.value.reason, reason);
        assert_eq!(job.record.value.result.unwrap().tally.cancelled, 10);
    }
}

#[test]
fn an_aborted_dry_run_waits_for_who_tries_its_loaders_and_counts_its_entries_as_cancelled() {
    let members = fleet(&["w1"]);
    let scene = sealed_dry_run(&members);
    takes(&scene, &around(&members, Planning::Unknown));
    scene.enter(Phase::Aborting);
    // It says until when it waits at most.
    takes(&scene, &aborting(Some(NOW), &members));
    assert!(waits(&scene, &aborting(Some(NOW), &members)));
    scene.txn(Txn {
        compares: Vec::new(),
        ops: vec![Op::Delete(keys::read(scene.job(), PlanningTask::Sample))],
    });
    let (_, job) = takes(&scene, &aborting(Some(NOW), &members));
    assert_eq!(phase(&job), Phase::Aborted);
    assert_eq!(job.record.value.result.unwrap().tally.cancelled, 10);
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

fn stored_for(room: Room) -> Planning {
    match stored(10) {
        Planning::Stored {
            plan,
            sources,
            effort,
            ..
        } => Planning::Stored {
            plan,
            sources,
            effort,
            room: Some(room),
        },
        other => other,
    }
}

/// What comes of a job with ten entries whose cache was found to be limited, when so much is found out of it.
fn run_in(room: Option<Room>, fit: Fit) -> JobView {
    let members = fleet(&["w1"]);
    let mut spec = spec(vec![named()]);
    let Work::Batch(batch) = &mut spec.work;
    batch.fit = fit;
    let scene = Scene::new(spec);
    takes(&scene, &around(&members, Planning::Unknown));
    let (_, job) = takes(&scene, &around(&members, stored_for(Room::Limited)));
    assert_eq!(phase(&job), Phase::Planning, "it does not run yet");
    let (step, job) = takes(&scene, &around(&members, stored_for(Room::Limited)));
    assert_eq!(step.begins_attempt, Some(2));
    assert_eq!(given(&job), [task("sample", "w1", 2)]);
    let sampled = Planning::Sampled {
        samples: Vec::new(),
        room,
        effort: Effort::default(),
    };
    let (_, job) = takes(&scene, &around(&members, sampled));
    assert!(job.record.value.started_ms.is_some() && job.reads.is_empty());
    job
}

#[test]
fn a_plan_that_the_cache_has_no_room_for_is_cut_before_it_runs_and_the_rest_is_skipped() {
    let fits = || Room::Fits {
        entries: 4,
        full: Some("h:1".into()),
    };
    let job = run_in(Some(fits()), Fit::Cut);
    assert_eq!(phase(&job), Phase::Running);
    assert_eq!((job.planned(), job.cut(), job.tally().skipped), (10, 6, 6));
    assert_eq!(job.record.value.plan.as_ref().unwrap().entries, 4);
    let warned = run_in(Some(fits()), Fit::Warn);
    assert_eq!((warned.planned(), warned.cut()), (10, 0));
    let all = Room::Fits {
        entries: 10,
        full: None,
    };
    assert_eq!(run_in(Some(all), Fit::Cut).cut(), 0);
    let old = run_in(None, Fit::Cut);
    assert!(matches!(old.record.value.room, Some(Room::Unknown(_))));
}

#[test]
fn a_job_of_which_nothing_fits_ends_with_all_its_entries_skipped() {
    let nothing = Room::Fits {
        entries: 0,
        full: Some("h:1".into()),
    };
    let job = run_in(Some(nothing), Fit::Cut);
    let scene = Scene::new(spec(vec![named()]));
    scene.change_job(|record| *record = job.record.value.clone());
    scene.enter(Phase::Running);
    let (_, job) = takes(&scene, &around(&fleet(&["w1"]), Planning::Unknown));
    assert_eq!(phase(&job), Phase::Succeeded);
    let result = job.record.value.result.unwrap();
    assert_eq!((result.tally.skipped, result.tally.settled()), (10, 10));
}

#[test]
fn a_job_whose_cache_could_not_be_asked_runs_at_once() {
    let members = fleet(&["w1"]);
    let scene = planning_by(&members, vec![named()]);
    let (_, job) = takes(
        &scene,
        &around(&members, stored_for(Room::Unknown("down".into()))),
    );
    assert_eq!(phase(&job), Phase::Running);
}
