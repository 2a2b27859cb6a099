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

/// What each worker has queued on the origin and on the cache, at the job's priority.
fn queued_of(scene: &Scene, members: BTreeMap<WorkerName, Member>) -> Vec<(String, u64)> {
    let view = View {
        members,
        jobs: [(scene.job().clone(), scene.view())].into(),
        ..View::default()
    };
    let mut queued = Vec::new();
    for (resource, claims) in claims(&view, &Keepers::new()) {
        for (worker, claim) in claims {
            let line = format!("{worker} on {resource}");
            queued.extend(
                claim
                    .queued
                    .values()
                    .map(|queries| (line.clone(), *queries)),
            );
        }
    }
    queued
}

/// A job by a plan of so many full bands, whose 256 partitions these workers own in turns, each having come so far
/// (in bands).
fn under_way(bands: u32, owners: &[(&str, u32)]) -> Scene {
    let plan = PlanSummary {
        bands,
        ..scene::plan(u64::from(bands) * BandId::RANKS, scene::coarsest())
    };
    let scene = Scene::running(scene::spec(vec![named()]), plan);
    for (n, (owner, done)) in owners.iter().enumerate() {
        let state = PartitionState {
            position: (*done, u64::from(*done) * BandId::RANKS).into(),
            tally: stoke_core::progress::Tally {
                warmed: u64::from(*done) * BandId::RANKS / 256,
                ..Default::default()
            },
            ..PartitionState::default()
        };
        let mine = (0..256).filter(|p| p % owners.len() == n);
        let assignment = Assignment {
            partitions: mine
                .map(|p| (PartitionId(u16::try_from(p).unwrap()), state.clone()))
                .collect(),
            ..Assignment::default()
        };
        scene.put(&keys::assignment(scene.job(), &worker(owner)), &assignment);
    }
    scene
}

#[test]
fn what_is_queued_is_what_is_left_in_batches_and_in_writes() {
    let scene = under_way(1, &[("w1", 0), ("w2", 0)]);
    let half = BandId::RANKS / 2;
    let mut workers = fleet(&["w1", "w2"]);
    let of_each_query = [("product".parse().unwrap(), 20)].into();
    workers.get_mut(&worker("w1")).unwrap().batch_keys = of_each_query;
    let expected = [
        ("w1 on origin/shop".to_owned(), half.div_ceil(20)),
        // Of an older version: it does not say.
        ("w2 on origin/shop".to_owned(), half.div_ceil(500)),
        ("w1 on cache/main".to_owned(), half),
        ("w2 on cache/main".to_owned(), half),
    ];
    assert_eq!(queued_of(&scene, workers), expected);
}

#[test]
fn each_of_several_caches_gets_each_entry_and_the_origin_is_asked_once() {
    let scene = under_way(1, &[("w1", 0)]);
    scene.change_job(|job| {
        let Work::Batch(batch) = &mut job.spec.work;
        batch.also = vec!["spare".parse().unwrap()];
    });
    let expected = [
        ("w1 on origin/shop".to_owned(), BandId::RANKS.div_ceil(500)),
        ("w1 on cache/main".to_owned(), BandId::RANKS),
        ("w1 on cache/spare".to_owned(), BandId::RANKS),
    ];
    assert_eq!(queued_of(&scene, fleet(&["w1"])), expected);
}

#[test]
fn reading_versions_again_is_another_load_of_the_origin_that_is_asked() {
    let scene = under_way(1, &[("w1", 0)]);
    let loads = BandId::RANKS.div_ceil(500);
    let queued = |versions: &str| {
        let mut workers = fleet(&["w1"]);
        let asked = [("product".parse().unwrap(), versions.parse().unwrap())];
        workers.get_mut(&worker("w1")).unwrap().version_origins = asked.into();
        queued_of(&scene, workers)
    };
    let writes = ("w1 on cache/main".to_owned(), BandId::RANKS);
    let same = [("w1 on origin/shop".to_owned(), 2 * loads), writes.clone()];
    assert_eq!(queued("shop"), same);
    let primary = ("w1 on origin/primary".to_owned(), loads);
    let other = [primary, ("w1 on origin/shop".to_owned(), loads), writes];
    assert_eq!(queued("primary"), other);
}

#[test]
fn whoever_is_more_than_a_band_ahead_of_the_fleet_has_little_queued() {
    let scene = under_way(10, &[("w1", 0), ("w2", 2), ("w3", 1), ("w4", 0)]);
    let queued = queued_of(&scene, fleet(&["w1", "w2", "w3", "w4"]));
    let quarter = BandId::RANKS / 4;
    let on_cache: Vec<u64> = queued[4..].iter().map(|(_, writes)| *writes).collect();
    assert_eq!(on_cache, [2 * quarter, 0, quarter, 2 * quarter]);
}

#[test]
fn what_several_jobs_have_queued_is_told_apart_by_their_priorities() {
    let (low, high) = (under_way(1, &[("w1", 0)]), under_way(1, &[("w1", 0)]));
    high.change_job(|job| job.spec.priority = 7);
    let view = View {
        members: fleet(&["w1"]),
        jobs: [
            ("low".parse().unwrap(), low.view()),
            ("high".parse().unwrap(), high.view()),
        ]
        .into(),
        ..View::default()
    };
    let claims = claims(&view, &Keepers::new());
    let of_cache = &claims[&"cache/main".parse().unwrap()][&worker("w1")];
    let expected = BTreeMap::from([(0, BandId::RANKS), (7, BandId::RANKS)]);
    assert_eq!((of_cache.weight, &of_cache.queued), (100, &expected));
}

#[test]
fn whoever_plans_may_have_any_number_of_queries() {
    let queued = queued_of(&planning(vec![named()], &["w1"]), fleet(&["w1"]));
    assert_eq!(queued, [("w1 on origin/shop".to_owned(), Claim::UNKNOWN)]);
}

#[test]
fn a_query_of_the_jobs_own_loads_as_many_keys_as_it_takes() {
    let recipe = |query: &str| stoke_core::job::Recipe {
        origin: "shop".parse().unwrap(),
        query: query.into(),
        key_template: "product:{key}".parse().unwrap(),
        key_column: Default::default(),
        ttl: std::time::Duration::from_secs(60),
        ttl_jitter_permille: 0,
        value: stoke_core::value::ValueSpec::default(),
        batch_keys: 50.into(),
        scan: None,
    };
    assert_eq!(
        recipe("SELECT * FROM t WHERE id IN (:keys)").keys_a_query(),
        50
    );
    assert_eq!(recipe("SELECT * FROM t WHERE id = :key").keys_a_query(), 1);
}

#[test]
fn ranges_that_were_read_are_no_less_queued_for_the_rows_they_had() {
    let plan = scene::plan(2560, scene::coarsest());
    let scene = Scene::running(scene::spec(vec![From::Scan]), plan);
    let mut tally = stoke_core::progress::Tally::default();
    let rows = stoke_core::progress::RangeRows {
        warmed: 100_000,
        ..Default::default()
    };
    // Four of the ten ranges of each partition.
    (0..4).for_each(|_| tally.count_range(rows, stoke_core::units::Priority::ONE));
    let state = PartitionState {
        position: (0, 1024).into(),
        tally,
        ..PartitionState::default()
    };
    let assignment = Assignment {
        partitions: (0..256).map(|p| (PartitionId(p), state.clone())).collect(),
        ..Assignment::default()
    };
    scene.put(&keys::assignment(scene.job(), &worker("w1")), &assignment);
    let mut workers = fleet(&["w1"]);
    workers.get_mut(&worker("w1")).unwrap().scans = ["product".parse().unwrap()].into();
    let left = 6 * 256;
    let expected = [
        ("w1 on origin/shop".to_owned(), left),
        ("w1 on cache/main".to_owned(), left),
    ];
    assert_eq!(queued_of(&scene, workers), expected);
}

#[test]
fn who_cuts_a_scan_has_demand_on_its_loaders_origin() {
    let demand = demand_of(&planning(vec![From::Scan], &["w1"]), fleet(&["w1"]));
    assert_eq!(demand, ["w1 on origin/shop"]);
}
