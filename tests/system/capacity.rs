//! A plan twice as large as what the cache has room for.

use std::collections::{BTreeMap, BTreeSet};

use stoke_proto::v1::{self, JobState};

use crate::scene::{Scene, assert_w1, is_over, watch_until};
use crate::shop::{Nodes, key};

/// Keys in the plan, the most requested first: 1 to so many.
const PLANNED: u64 = 40_000;
/// What one of them takes, about: a value of 1,000 bytes and more.
const ENTRY_BYTES: u64 = 1_330;

fn job(fit: v1::Fit) -> v1::JobSpec {
    let sql = v1::SqlSource {
        origin: "shop".into(),
        query: format!("SELECT id AS key, {PLANNED} + 1 - id AS priority FROM items"),
    };
    let batch = v1::BatchWork {
        sources: vec![v1::KeySource {
            from: Some(v1::key_source::From::Sql(sql)),
            ..v1::KeySource::default()
        }],
        loaders: vec![v1::Loader {
            name: "item".into(),
            ..v1::Loader::default()
        }],
        cache: "main".into(),
        fit: fit.into(),
        ..v1::BatchWork::default()
    };
    v1::JobSpec {
        work: Some(v1::job_spec::Work::Batch(batch)),
        ..v1::JobSpec::default()
    }
}

async fn run(scene: &Scene, spec: v1::JobSpec) -> v1::Job {
    let job = scene.create(spec).await;
    let job = watch_until(&mut scene.jobs().await, &job.name, is_over).await;
    assert_eq!(job.state(), JobState::Succeeded, "{}", job.reason);
    assert_w1(&job);
    job
}

/// A number that a node's INFO has.
fn info(scene: &Scene, port: u16, field: &str) -> u64 {
    let text = scene.cache.cli(port, &["INFO"]).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap().trim().parse().unwrap()
}

fn evicted(scene: &Scene) -> u64 {
    let ports = scene.cache.ports().into_iter();
    ports.map(|port| info(scene, port, "evicted_keys")).sum()
}

/// The ids whose keys are in the cache. Nothing is read of the values: answers that wait count as used memory, too, and these
/// nodes are small.
fn found(scene: &Scene) -> BTreeSet<u64> {
    let nodes = Nodes::connect(scene);
    let mut by_node: BTreeMap<u16, Vec<u64>> = BTreeMap::new();
    for id in 1..=PLANNED {
        by_node.entry(nodes.owner(&key(id))).or_default().push(id);
    }
    let mut found = BTreeSet::new();
    for (port, ids) in by_node {
        let mut connection = nodes.connection(port);
        for ids in ids.chunks(1000) {
            let mut pipeline = redis::pipe();
            for id in ids {
                pipeline.exists(key(*id));
            }
            let there: Vec<bool> = pipeline.query(&mut connection).unwrap();
            found.extend(
                ids.iter()
                    .zip(there)
                    .filter(|(_, there)| *there)
                    .map(|(id, _)| *id),
            );
        }
    }
    found
}

/// The most requested keys are there, so many, and no others.
fn assert_first(scene: &Scene, count: u64) {
    let (found, expected) = (found(scene), (1..=count).collect::<BTreeSet<u64>>());
    let missing: Vec<_> = expected.difference(&found).take(5).collect();
    let others: Vec<_> = found.difference(&expected).take(5).collect();
    assert!(
        found == expected,
        "{} of {count} are there; missing {missing:?} …, others {others:?} …",
        found.len()
    );
}

fn skipped(job: &v1::Job) -> u64 {
    job.progress.unwrap().outcomes.unwrap().skipped
}

fn told(job: &v1::Job) -> Option<&str> {
    let mut warnings = job.warnings.iter();
    let of_capacity = warnings.find(|warning| warning.kind == "capacity")?;
    Some(&of_capacity.what)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_twice_as_large_as_the_cache_is_cut_by_priority_and_evicts_nothing() {
    let scene = Scene::start(1, 200);
    let sql = format!(
        "CREATE TABLE items (id bigint PRIMARY KEY, name text);
         INSERT INTO items SELECT id, repeat('x', 1000) FROM generate_series(1, {PLANNED}) AS id;
         ANALYZE;"
    );
    scene.postgres.psql("postgres", &sql).unwrap();
    // Each node has room for half of its third, and evicts rather than refuses.
    let half = PLANNED / 3 / 2 * ENTRY_BYTES;
    for port in scene.cache.ports() {
        let limit = (info(&scene, port, "used_memory") + half) * 10 / 9;
        let set = |name: &str, value: &str| {
            scene
                .cache
                .cli(port, &["CONFIG", "SET", name, value])
                .unwrap();
        };
        set("maxmemory-policy", "allkeys-lru");
        set("maxmemory", &limit.to_string());
    }

    let cut = run(&scene, job(v1::Fit::Unspecified)).await;
    assert_eq!(evicted(&scene), 0);
    let outcomes = cut.progress.unwrap().outcomes.unwrap();
    assert_eq!(outcomes.warmed + outcomes.skipped, PLANNED);
    assert_eq!(cut.cut, outcomes.skipped);
    let part = outcomes.warmed * 100 / PLANNED;
    assert!((35..=60).contains(&part), "{part} % fitted: {cut:?}");
    assert_first(&scene, outcomes.warmed);
    assert!(cut.progress.unwrap().coverage < 0.9, "{cut:?}");
    let text = told(&cut).unwrap();
    let says = format!(
        "cut: the cache has room for {} of {PLANNED} keys",
        outcomes.warmed
    );
    assert!(text.starts_with(&says), "{text}");

    // What is there already needs no room: at most a little more fits than was thought.
    let again = run(&scene, job(v1::Fit::Cut)).await;
    assert_eq!(evicted(&scene), 0);
    let kept = PLANNED - skipped(&again);
    assert!(kept >= outcomes.warmed, "{again:?}");
    assert_eq!(
        again.progress.unwrap().outcomes.unwrap().present,
        outcomes.warmed
    );
    assert_first(&scene, kept);

    // Without the guard the first are evicted for the last.
    let all = run(&scene, job(v1::Fit::Warn)).await;
    assert_eq!((all.cut, skipped(&all)), (0, 0));
    assert!(
        told(&all).unwrap().ends_with("or warm fewer keys"),
        "{all:?}"
    );
    assert!(evicted(&scene) > 0);
    assert!((found(&scene).len() as u64) < PLANNED);
}
