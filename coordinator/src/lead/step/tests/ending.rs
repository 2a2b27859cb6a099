//! Aborts, what is left of a job that is over, and W1 at its end.

use proptest::prelude::*;

use super::*;

/// The leader takes the step of saying until when it waits at most.
fn says_until_when(scene: &Scene, surroundings: &Surroundings<'_>) {
    let (_, job) = takes(scene, surroundings);
    let bound = certainly_over(surroundings.timing);
    let over_by_ms = 1000 + u64::try_from(bound.as_millis()).unwrap();
    assert_eq!(phase(&job), Phase::Aborting);
    assert_eq!(job.life.value.over_by_ms, Some(over_by_ms));
}

#[test]
fn each_leader_says_anew_until_when_an_abort_waits_and_nothing_of_that_is_left_once_it_is_over() {
    let members = fleet(&["w1"]);
    let scene = running(10, 0);
    own(&scene, &[("w1", tally(3, 0))]);
    scene.enter(Phase::Aborting);
    says_until_when(&scene, &aborting(Some(NOW), &members));
    let mut next_leaders = aborting(Some(NOW), &members);
    next_leaders.aborting_since = Some(Since {
        at: NOW,
        wall_ms: 5000,
    });
    let (_, job) = takes(&scene, &next_leaders);
    let over_by_ms = job.life.value.over_by_ms.unwrap();
    let bound = certainly_over(next_leaders.timing);
    assert_eq!(u128::from(over_by_ms), 5000 + bound.as_millis());
    assert!(waits(&scene, &next_leaders));
    checkpoint(&scene, "w1", tally(3, 0), true);
    let (_, job) = takes(&scene, &next_leaders);
    assert_eq!(
        (phase(&job), job.life.value.over_by_ms),
        (Phase::Aborted, None)
    );
}

#[test]
fn a_worker_that_took_its_leave_before_is_not_waited_for() {
    let members = fleet(&["w1"]);
    let scene = running(10, 0);
    own(&scene, &[("w1", tally(3, 0))]);
    checkpoint(&scene, "w1", tally(4, 0), true);
    scene.enter(Phase::Aborting);
    let (_, job) = takes(&scene, &aborting(Some(NOW), &members));
    assert_eq!(job.record.value.result.unwrap().tally.cancelled, 6);
}

#[test]
fn an_abort_waits_until_every_owner_has_confirmed() {
    let members = fleet(&["w1", "w2"]);
    let scene = running(10, 0);
    own(
        &scene,
        &[("w1", Tally::default()), ("w2", Tally::default())],
    );
    scene.enter(Phase::Aborting);
    checkpoint(&scene, "w1", tally(3, 0), true);
    checkpoint(&scene, "w2", tally(1, 0), false);
    says_until_when(&scene, &aborting(Some(NOW), &members));
    assert!(waits(&scene, &aborting(Some(NOW), &members)));
    checkpoint(&scene, "w2", tally(2, 1), true);
    let (_, job) = takes(&scene, &aborting(Some(NOW), &members));
    assert_eq!(phase(&job), Phase::Aborted);
    let cancelled = Tally {
        cancelled: 4,
        ..tally(5, 1)
    };
    assert_eq!(job.record.value.result.unwrap().tally, cancelled);
}

#[test]
fn an_abort_waits_until_nobody_is_at_a_task_of_planning_any_more() {
    let members = fleet(&["w1"]);
    let scene = planning_by(&members, vec![named()]);
    scene.enter(Phase::Aborting);
    says_until_when(&scene, &aborting(Some(NOW), &members));
    for task in [PlanningTask::Source(0), PlanningTask::Prepare] {
        assert!(waits(&scene, &aborting(Some(NOW), &members)));
        let confirmed = Txn {
            compares: Vec::new(),
            ops: vec![Op::Delete(keys::read(scene.job(), task))],
        };
        scene.txn(confirmed);
    }
    let (_, job) = takes(&scene, &aborting(Some(NOW), &members));
    assert_eq!(phase(&job), Phase::Aborted);
}

#[test]
fn an_abort_that_nobody_confirms_ends_once_every_permit_and_statement_is_certainly_over() {
    let members = fleet(&["w1"]);
    let scene = running(10, 0);
    own(&scene, &[("w1", tally(3, 0))]);
    scene.enter(Phase::Aborting);
    let timing = Timing::default();
    let over = timing.quarantine + timing.statement_timeout;
    let mut surroundings = aborting(Some(NOW), &members);
    says_until_when(&scene, &surroundings);
    surroundings.now = NOW + (over - Duration::from_nanos(1));
    assert!(waits(&scene, &surroundings));
    surroundings.now = NOW + over;
    let (_, job) = takes(&scene, &surroundings);
    assert_eq!(job.record.value.result.unwrap().tally.cancelled, 7);
}

#[test]
fn a_leader_that_has_not_seen_the_abort_begin_does_not_say_that_it_is_over() {
    let members = fleet(&["w1"]);
    let scene = running(10, 0);
    own(&scene, &[("w1", tally(3, 0))]);
    scene.enter(Phase::Aborting);
    assert!(waits(&scene, &aborting(None, &members)));
}

#[test]
fn a_job_that_nobody_had_begun_is_aborted_at_once() {
    let scene = Scene::new(spec(vec![From::Upload]));
    scene.enter(Phase::Aborting);
    let (_, job) = takes(&scene, &aborting(None, &Members::new()));
    assert_eq!((phase(&job), job.planned()), (Phase::Aborted, 0));
    assert_eq!(job.record.value.result.unwrap().tally, Tally::default());
}

#[test]
fn the_reason_of_an_abort_is_kept() {
    let scene = Scene::new(spec(vec![From::Upload]));
    let mut life = scene.view().life.value;
    life.become_phase(Phase::Aborting, "the deploy was rolled back")
        .unwrap();
    scene.put(&keys::run(scene.job()), &life);
    let (_, job) = takes(&scene, &aborting(None, &Members::new()));
    assert_eq!(job.life.value.reason, "the deploy was rolled back");
}

#[test]
fn what_is_left_of_a_job_that_is_over_is_deleted_in_steps_that_fit() {
    let nobody = Members::new();
    for over in [Phase::Succeeded, Phase::Failed, Phase::Aborted] {
        let scene = running(1000, 0);
        let owners: Vec<String> = (0..100).map(|n| format!("w{n:03}")).collect();
        let owners: Vec<(&str, Tally)> = owners.iter().map(|w| (w.as_str(), tally(1, 0))).collect();
        own(&scene, &owners);
        for (owner, tally) in &owners {
            checkpoint(&scene, owner, *tally, false);
        }
        let task = SourceTask {
            worker: worker("w000"),
            attempt: 1,
        };
        scene.put(&keys::read(scene.job(), 0), &task);
        scene.enter(over);
        let mut steps = 0;
        while let Some((step, job)) = take(&scene, &around(&nobody, Planning::Unknown)) {
            steps += 1;
            assert!(step.txn.ops.len() <= TXN_OPS_MAX);
            // Without its assignment, nobody would find a checkpoint any more.
            let checkpoints = job.owners.values().filter(|o| o.checkpoint.is_some());
            assert_eq!(checkpoints.count(), job.owners.len());
            assert_eq!(phase(&job), over);
            assert_eq!(job.is_past, steps == 3);
        }
        let left = scene.view();
        assert!(left.owners.is_empty() && left.reads.is_empty());
        assert_eq!(
            scene.orphans(),
            0,
            "no checkpoint is left without its assignment"
        );
        assert_eq!(steps, 3);
    }
}

#[test]
fn a_step_that_was_decided_before_the_job_ended_finds_another_record_of_it_ever_after() {
    let (members, nobody) = (fleet(&["w1", "w2"]), Members::new());
    let scene = running(10, 0);
    own(&scene, &[("w1", Tally::default())]);
    let late = next(&scene.view(), &around(&members, Planning::Unknown)).unwrap();
    let record = keys::job(scene.job());
    let of_the_record =
        |compare: &Compare| matches!(compare, Compare::ModRevision(key, _) if *key == record);
    let late = Txn {
        compares: late
            .txn
            .compares
            .into_iter()
            .filter(of_the_record)
            .collect(),
        ops: Vec::new(),
    };
    let found = || scene.commit(late.clone()) != TxnOutcome::Refused;
    assert!(found());
    // What is cleaned up then is assignments, too, which compares nothing and does not put the record.
    checkpoint(&scene, "w1", tally(10, 0), false);
    while take(&scene, &around(&nobody, Planning::Unknown)).is_some() {
        assert!(!found());
    }
    assert!(scene.view().is_past);
}

#[test]
fn in_the_end_one_record_is_left_which_those_who_decide_do_not_read() {
    let nobody = Members::new();
    let scene = running(10, 0);
    let mut life = scene.view().life.value;
    life.become_phase(Phase::Failed, "too many failed").unwrap();
    scene.put(&keys::run(scene.job()), &life);
    let before = scene.view();
    let (_, job) = takes(&scene, &around(&nobody, Planning::Unknown));
    assert!(job.is_past);
    assert_eq!(job.record.value, before.record.value);
    assert_eq!(job.life.value, before.life.value);
    assert!(waits(&scene, &around(&nobody, Planning::Unknown)));
    assert!(scene.decided_on().is_empty());
}

#[test]
fn a_job_whose_checkpoint_cannot_be_read_stands_as_it_is() {
    let members = fleet(&["w2"]);
    let scene = running(10, 0);
    own(&scene, &[("w1", Tally::default())]);
    for phase in [Phase::Running, Phase::Aborting, Phase::Succeeded] {
        scene.enter(phase);
        let mut surroundings = aborting(Some(NOW), &members);
        surroundings.now = NOW + Duration::from_secs(3600);
        let mut view = scene.view();
        assert!(next(&view, &surroundings).is_some());
        view.unread.insert(worker("w1"), "it is newer".into());
        assert!(next(&view, &surroundings).is_none(), "{phase}");
    }
}

fn some_tally() -> impl Strategy<Value = Tally> {
    [0u64..200, 0..200, 0..200, 0..200, 0..200].prop_map(
        |[warmed, present, absent, skipped, failed]| Tally {
            warmed,
            present,
            absent,
            skipped,
            failed,
            ..Tally::default()
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// W1: planned = Σ outcomes, exactly, whatever the owners had counted before and after the abort.
    #[test]
    fn at_the_end_of_an_abort_every_entry_has_exactly_one_outcome(
        owners in prop::collection::vec((some_tally(), prop::option::of((some_tally(), 0u64..50))), 0..8),
        unowned in 0u64..100,
    ) {
        let names: Vec<String> = (0..owners.len()).map(|n| format!("w{n}")).collect();
        let mut done = Tally::default();
        let mut cancelled_by_owners = 0;
        for (before, confirmed) in &owners {
            let more = confirmed.map(|(more, _)| more).unwrap_or_default();
            done += *before + more;
            cancelled_by_owners += confirmed.map_or(0, |(_, cancelled)| cancelled);
        }
        let planned = done.settled() + cancelled_by_owners + unowned;
        let scene = running(planned, u64::MAX);
        let given: Vec<(&str, Tally)> =
            names.iter().zip(&owners).map(|(name, (before, _))| (name.as_str(), *before)).collect();
        own(&scene, &given);
        scene.enter(Phase::Aborting);
        for (name, (before, confirmed)) in names.iter().zip(&owners) {
            if let Some((more, cancelled)) = confirmed {
                let mut tally = *before + *more;
                tally.cancelled = *cancelled;
                checkpoint(&scene, name, tally, true);
            }
        }
        let members = Members::new();
        let mut surroundings = aborting(Some(NOW), &members);
        surroundings.now = NOW + certainly_over(surroundings.timing);
        let (_, job) = takes(&scene, &surroundings);
        let result = job.record.value.result.clone().unwrap().tally;
        prop_assert_eq!(result.settled(), planned);
        prop_assert_eq!(result.cancelled, cancelled_by_owners + unowned);
        prop_assert_eq!(Tally { cancelled: 0, ..result }, done);

        // It stays so once the records that it was computed from are gone.
        while take(&scene, &surroundings).is_some() {}
        let view = scene.view();
        prop_assert!(view.owners.is_empty());
        prop_assert_eq!(view.tally(), result);
    }

    /// W1 without an abort: the job ends when Σ outcomes is what was planned, and not an entry earlier.
    #[test]
    fn a_job_ends_when_the_last_entry_has_an_outcome_and_no_earlier(
        tallies in prop::collection::vec(some_tally(), 1..8),
    ) {
        let names: Vec<String> = (0..tallies.len()).map(|n| format!("w{n}")).collect();
        let planned = tallies.iter().copied().sum::<Tally>().settled() + 1;
        let scene = running(planned, u64::MAX);
        let given: Vec<(&str, Tally)> = names.iter().map(|name| (name.as_str(), Tally::default())).collect();
        own(&scene, &given);
        for (name, tally) in names.iter().zip(&tallies) {
            checkpoint(&scene, name, *tally, false);
        }
        let nobody = Members::new();
        prop_assert!(waits(&scene, &around(&nobody, Planning::Unknown)));
        let mut last = tallies[0];
        last.skipped += 1;
        checkpoint(&scene, "w0", last, false);
        let (_, job) = takes(&scene, &around(&nobody, Planning::Unknown));
        prop_assert_eq!(phase(&job), Phase::Succeeded);
        prop_assert_eq!(job.tally().settled(), planned);
        prop_assert_eq!(job.tally().cancelled, 0);
    }
}

#[test]
fn w1_a_job_of_ranges_ends_when_each_has_an_outcome_and_has_planned_their_rows() {
    let members = fleet(&["w1"]);
    let scene = running(3, 1);
    let rows = stoke_core::progress::RangeRows {
        warmed: 5000,
        present: 7,
        skipped: 0,
        failed: 1,
    };
    let mut tally = Tally::default();
    for (read, planned) in [
        (rows, 5010),
        (stoke_core::progress::RangeRows::default(), 5009),
    ] {
        tally.count_range(read, stoke_core::units::Priority::ONE);
        own(&scene, &[("w1", tally)]);
        let job = scene.view();
        assert_eq!(job.planned(), planned);
        assert!(job.tally().settled() < planned);
    }
    tally.count_range(rows, stoke_core::units::Priority::ONE);
    own(&scene, &[("w1", tally)]);
    let (_, job) = takes(&scene, &around(&members, Planning::Unknown));
    assert_eq!(
        phase(&job),
        Phase::Failed,
        "two failed, and one was allowed"
    );
    assert_eq!((job.planned(), job.tally().settled()), (10_016, 10_016));
    assert_eq!(job.record.value.result.unwrap().tally, tally);
}
