//! Who has demand, case by case.

use stoke_core::job::From;
use stoke_core::progress::PartitionState;
use stoke_core::records::{Checkpoint, Member, PlanningTask, SourceTask, keys};
use stoke_core::units::PartitionId;

use super::super::scene::{self, Scene, fit, fleet, named, worker};
use super::*;

/// Everyone's demand, as text.
fn demand_of(scene: &Scene, members: BTreeMap<WorkerName, Member>) -> Vec<String> {
    let view = View {
        members,
        jobs: [(scene.job().clone(), scene.view())].into(),
        ..View::default()
    };
    let claims = claims(&view, &Keepers::new());
    let of = |(resource, workers): (&Resource, &BTreeMap<WorkerName, Claim>)| {
        let line = |worker| format!("{worker} on {resource}");
        workers.keys().map(line).collect::<Vec<_>>()
    };
    claims.iter().flat_map(of).collect()
}

/// A job in planning, whose sources these workers read.
fn planning(sources: Vec<From>, readers: &[&str]) -> Scene {
    let scene = Scene::new(scene::spec(sources));
    scene.enter(Phase::Planning);
    for (n, reader) in (0..).zip(readers) {
        let task = SourceTask {
            worker: worker(reader),
            attempt: 1,
        };
        scene.put(&keys::read(scene.job(), n), &task);
    }
    scene
}

/// A job that runs by a plan of one band, of which each of these workers owns a partition.
fn running(owners: &[&str]) -> Scene {
    let plan = scene::plan(10, scene::coarsest());
    let scene = Scene::running(scene::spec(vec![named()]), plan);
    for (partition, owner) in (0..).map(PartitionId).zip(owners) {
        let assignment = Assignment {
            partitions: [(partition, PartitionState::default())].into(),
            ..Assignment::default()
        };
        scene.put(&keys::assignment(scene.job(), &worker(owner)), &assignment);
    }
    scene
}

#[test]
fn who_reads_a_source_has_demand_on_its_origin() {
    let scene = planning(vec![named()], &["w1"]);
    let demand = demand_of(&scene, fleet(&["w1", "w2"]));
    assert_eq!(demand, ["w1 on origin/shop"]);
}

#[test]
fn who_tries_the_loaders_queries_has_demand_on_their_origins() {
    for task in [PlanningTask::Prepare, PlanningTask::Sample] {
        let scene = planning(vec![From::Upload], &[]);
        let given = SourceTask {
            worker: worker("w2"),
            attempt: 1,
        };
        scene.put(&keys::read(scene.job(), task), &given);
        let demand = demand_of(&scene, fleet(&["w1", "w2"]));
        assert_eq!(demand, ["w2 on origin/shop"], "and none on the cache");
    }
}

#[test]
fn a_source_without_an_origin_is_no_demand() {
    let file = From::File {
        path: "keys.csv".into(),
        format: None,
    };
    assert!(demand_of(&planning(vec![file], &["w1"]), fleet(&["w1"])).is_empty());
    let of_a_file = Member {
        sources: [("top".parse().unwrap(), None)].into(),
        ..fit()
    };
    let members = [(worker("w1"), of_a_file)].into();
    assert!(demand_of(&planning(vec![named()], &["w1"]), members).is_empty());
}

#[test]
fn an_owner_with_entries_left_has_demand_on_its_loaders_origins_and_on_the_cache() {
    let demand = demand_of(&running(&["w1"]), fleet(&["w1", "w2"]));
    assert_eq!(demand, ["w1 on origin/shop", "w1 on cache/main"]);
}

#[test]
fn an_owner_that_has_come_to_the_plans_end_has_demand_only_while_something_is_to_be_retried() {
    let scene = running(&["w1"]);
    let mut state = PartitionState {
        position: (1, 10).into(),
        retries: vec![(0, 3, 1).into()],
        ..PartitionState::default()
    };
    for expected in [2, 0] {
        let checkpoint = Checkpoint {
            partitions: [(PartitionId(0), state.clone())].into(),
            ..Checkpoint::default()
        };
        scene.checkpoint(&worker("w1"), &checkpoint);
        assert_eq!(demand_of(&scene, fleet(&["w1"])).len(), expected);
        state.retries.clear();
    }
}

#[test]
fn who_has_vanished_has_no_demand() {
    let reading = planning(vec![named()], &["w1"]);
    assert!(demand_of(&reading, fleet(&["w2"])).is_empty());
    let owning = running(&["w1", "w2"]);
    let demand = demand_of(&owning, fleet(&["w2"]));
    assert_eq!(demand, ["w2 on origin/shop", "w2 on cache/main"]);
}

#[test]
fn a_job_has_demand_only_while_it_is_planned_or_runs() {
    let reading = planning(vec![named()], &["w1"]);
    let owning = running(&["w1"]);
    let over = [
        Phase::Pending,
        Phase::Aborting,
        Phase::Aborted,
        Phase::Failed,
        Phase::Succeeded,
    ];
    for phase in over {
        for scene in [&reading, &owning] {
            scene.enter(phase);
            assert!(demand_of(scene, fleet(&["w1"])).is_empty(), "{phase}");
        }
    }
    reading.enter(Phase::Running);
    assert!(demand_of(&reading, fleet(&["w1"])).is_empty());
    owning.enter(Phase::Planning);
    assert!(demand_of(&owning, fleet(&["w1"])).is_empty());
}
