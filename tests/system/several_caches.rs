//! One job for two caches: a Redis Cluster, and a Redis of its own, as in two regions.
//!
//! Each value has the time in it at which its row was read: what was loaded once for both caches is the same in both, and what was
//! loaded twice is not.

use std::collections::BTreeMap;

use stoke_harness::Redis;
use stoke_proto::v1::{self, JobState};

use crate::scene::{Scene, assert_w1, done, is_over, watch_until};
use crate::shop::{self, Nodes};

/// What three workers may have under way, with a chunk of entries each that is just taken.
const UNDER_WAY_MAX: u64 = 3 * (20_000 + 2_000);

/// Two caches, and a table of so many rows.
struct Regions {
    scene: Scene,
    redis: Redis,
    rows: u64,
}

impl Regions {
    /// The second cache has a budget of so many writes a second, or none.
    fn start(rows: u64, writes: Option<u32>) -> Self {
        let redis = Redis::start().unwrap();
        let budget = |writes| format!("[budgets.\"cache/beside\"]\nqps = {writes}");
        let workers = format!(
            "[caches.beside]\nurls = [{:?}]\n{}",
            redis.url(),
            shop::WHOLE
        );
        let budget = writes.map_or(String::new(), budget);
        let scene = Scene::start_configured(500, &budget, &workers);
        let sql = format!(
            "CREATE TABLE stock (id bigint PRIMARY KEY, name text);
             INSERT INTO stock SELECT id, 'item ' || id FROM generate_series(1, {rows}) AS id;
             CREATE VIEW items AS SELECT id, name, clock_timestamp() AS read FROM stock;
             ANALYZE;"
        );
        scene.postgres.psql("postgres", &sql).unwrap();
        Self { scene, redis, rows }
    }

    /// What the application wrote to both caches: these ids to the cluster, and these to the other.
    fn application_writes(&self, main: std::ops::Range<u64>, beside: std::ops::Range<u64>) {
        let nodes = Nodes::connect(&self.scene);
        for id in main {
            let key = key(id);
            let mut node = nodes.connection(nodes.owner(&key));
            redis::cmd("SET")
                .arg(key)
                .arg("the application's")
                .exec(&mut node)
                .unwrap();
        }
        let mut pipeline = redis::pipe();
        for id in beside {
            pipeline.set(key(id), "the application's").ignore();
        }
        pipeline.exec(&mut self.beside()).unwrap();
    }

    fn beside(&self) -> redis::Connection {
        let client = redis::Client::open(self.redis.url()).unwrap();
        client.get_connection().unwrap()
    }

    fn in_main(&self) -> BTreeMap<u64, String> {
        let nodes = Nodes::connect(&self.scene);
        let mut by_node: BTreeMap<u16, Vec<u64>> = BTreeMap::new();
        for id in 1..=self.rows {
            by_node.entry(nodes.owner(&key(id))).or_default().push(id);
        }
        let mut found = BTreeMap::new();
        for (port, ids) in by_node {
            found.extend(values(&mut nodes.connection(port), &ids));
        }
        found
    }

    fn in_beside(&self) -> BTreeMap<u64, String> {
        values(&mut self.beside(), &(1..=self.rows).collect::<Vec<_>>())
    }

    async fn run(&self, spec: v1::JobSpec) -> v1::Job {
        let job = self.scene.create(spec).await;
        let job = watch_until(&mut self.scene.jobs().await, &job.name, is_over).await;
        assert_w1(&job);
        job
    }
}

fn values(connection: &mut redis::Connection, ids: &[u64]) -> BTreeMap<u64, String> {
    let mut found = BTreeMap::new();
    for ids in ids.chunks(1000) {
        let mut pipeline = redis::pipe();
        for id in ids {
            pipeline.get(key(*id));
        }
        let got: Vec<Option<String>> = pipeline.query(connection).unwrap();
        let there = ids.iter().zip(got);
        found.extend(there.filter_map(|(id, value)| Some((*id, value?))));
    }
    found
}

fn key(id: u64) -> String {
    format!("item:{id}")
}

fn job() -> v1::JobSpec {
    let sql = v1::SqlSource {
        origin: "shop".into(),
        query: "SELECT id AS key FROM stock".into(),
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
        also: vec!["beside".into()],
        ..v1::BatchWork::default()
    };
    v1::JobSpec {
        work: Some(v1::job_spec::Work::Batch(batch)),
        ..v1::JobSpec::default()
    }
}

fn with(change: impl FnOnce(&mut v1::BatchWork)) -> v1::JobSpec {
    let mut spec = job();
    let Some(v1::job_spec::Work::Batch(batch)) = &mut spec.work else {
        panic!("a batch");
    };
    change(batch);
    spec
}

/// How many rows the job has loaded: those of its key source are not counted.
fn loaded(job: &v1::Job) -> u64 {
    let rows = job.progress.unwrap().effort.unwrap().origin_rows;
    rows - job.sources[0].entries
}

fn outcomes(job: &v1::Job) -> v1::Outcomes {
    job.progress.unwrap().outcomes.unwrap()
}

async fn failures(scene: &Scene, job: &v1::Job) -> Vec<v1::FailedEntry> {
    let name = job.name.clone();
    let request = v1::ListFailuresRequest { name };
    let listed = scene.jobs().await.list_failures(request).await.unwrap();
    let mut listed = listed.into_inner();
    let mut failures = Vec::new();
    while let Some(page) = listed.message().await.unwrap() {
        failures.extend(page.failures);
    }
    failures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_row_is_loaded_once_for_two_caches_and_each_gets_what_it_lacks() {
    let regions = Regions::start(20_000, None);
    regions.application_writes(1..1001, 501..1501);
    let first = regions.run(job()).await;
    assert_eq!(first.state(), JobState::Succeeded, "{}", first.reason);
    // Those that both have are left alone.
    assert_eq!(
        (outcomes(&first).warmed, outcomes(&first).present),
        (19_500, 500)
    );
    assert_eq!(loaded(&first), 19_500, "each row once");
    let (main, beside) = (regions.in_main(), regions.in_beside());
    assert_eq!((main.len(), beside.len()), (20_000, 20_000));
    for id in 1..=20_000 {
        let applications = ((1..1001).contains(&id), (501..1501).contains(&id));
        let is_applications = |value: &str| value == "the application's";
        let found = (is_applications(&main[&id]), is_applications(&beside[&id]));
        assert_eq!(found, applications, "{id}");
        if applications == (false, false) {
            assert_eq!(main[&id], beside[&id], "{id} was loaded once for both");
        }
    }

    let second = regions.run(job()).await;
    assert_eq!(second.state(), JobState::Succeeded, "{}", second.reason);
    assert_eq!(outcomes(&second).present, 20_000);
    assert_eq!(loaded(&second), 0);

    // One region is lost: it is filled again, and the other is not written to.
    regions.redis.cli(&["FLUSHALL"]).unwrap();
    let third = regions.run(job()).await;
    assert_eq!(outcomes(&third).warmed, 20_000, "{third:?}");
    assert_eq!(loaded(&third), 20_000);
    assert_eq!(regions.in_main(), main);
    assert_eq!(regions.in_beside().len(), 20_000);

    // Verified, each is compared on its own, and told by its name.
    let mut jobs = regions.scene.jobs().await;
    regions.redis.cli(&["DEL", "item:7000"]).unwrap();
    regions.redis.cli(&["PERSIST", "item:7001"]).unwrap();
    let verify = v1::VerifyJobRequest {
        name: third.name.clone(),
        ..v1::VerifyJobRequest::default()
    };
    let looking = jobs.verify_job(verify).await.unwrap().into_inner();
    let looked = watch_until(&mut jobs, &looking.job.unwrap().name, is_over).await;
    assert_w1(&looked);
    let differ = failures(&regions.scene, &looked).await;
    let differ: BTreeMap<String, String> = differ
        .into_iter()
        .map(|entry| (String::from_utf8(entry.key).unwrap(), entry.reason))
        .collect();
    assert!(
        differ["item:7000"].starts_with("cache \"beside\": it is not in the cache"),
        "{differ:?}"
    );
    assert!(
        differ["item:7001"].starts_with("cache \"beside\": it has no time to live"),
        "{differ:?}"
    );
    // What the application wrote has no time to live either, in one or the other.
    assert!(
        differ["item:1"].starts_with("cache \"main\": it has no time to live"),
        "{differ:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_reads_each_row_once_for_two_caches() {
    let regions = Regions::start(5_000, None);
    regions.application_writes(1..101, 51..151);
    let scan = with(|batch| {
        batch.sources.clear();
        batch.loaders[0].name = "whole".into();
    });
    let job = regions.run(scan).await;
    assert_eq!(job.state(), JobState::Succeeded, "{}", job.reason);
    assert_eq!((outcomes(&job).warmed, outcomes(&job).present), (4_950, 50));
    let (main, beside) = (regions.in_main(), regions.in_beside());
    assert_eq!((main.len(), beside.len()), (5_000, 5_000));
    for id in 1..=5_000 {
        let applications = ((1..101).contains(&id), (51..151).contains(&id));
        let is_applications = |value: &str| value == "the application's";
        let found = (is_applications(&main[&id]), is_applications(&beside[&id]));
        assert_eq!(found, applications, "{id}");
        if applications == (false, false) {
            assert_eq!(main[&id], beside[&id], "{id} was read once for both");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_that_refuses_fails_its_entries_by_its_name_and_the_other_is_warmed() {
    let regions = Regions::start(2_000, None);
    regions
        .redis
        .cli(&["CONFIG", "SET", "maxmemory", "1"])
        .unwrap();
    let refused = with(|batch| {
        batch.fit = v1::Fit::Warn.into();
        batch.attempts_max = 2;
        batch.allowed_failures = 2_000;
    });
    let job = regions.run(refused).await;
    assert_eq!(job.state(), JobState::Succeeded, "{}", job.reason);
    assert_eq!(outcomes(&job).failed, 2_000);
    // A sample is read for the room that there is.
    assert!(loaded(&job) <= 200 + 2 * 2_000, "once an attempt");
    let failed = failures(&regions.scene, &job).await;
    let told = |entry: &v1::FailedEntry| {
        let (cache, why) = entry.reason.split_once(": ").unwrap();
        cache == "cache \"beside\"" && why.contains("OOM")
    };
    assert!(failed.iter().all(told), "{:?}", failed.first());
    assert_eq!(regions.in_main().len(), 2_000);
    assert_eq!(regions.in_beside().len(), 0);
    let warning = job.warnings.iter().find(|w| w.kind == "capacity").unwrap();
    assert!(
        warning.what.contains("of cache beside has no more"),
        "{warning:?}"
    );

    // It has room again: what had failed is retried, and the other's values stay.
    let main = regions.in_main();
    regions
        .redis
        .cli(&["CONFIG", "SET", "maxmemory", "0"])
        .unwrap();
    let mut jobs = regions.scene.jobs().await;
    let retry = v1::RetryJobRequest {
        name: job.name.clone(),
        ..v1::RetryJobRequest::default()
    };
    let retried = jobs.retry_job(retry).await.unwrap().into_inner();
    let retried = watch_until(&mut jobs, &retried.job.unwrap().name, is_over).await;
    assert_w1(&retried);
    assert_eq!(outcomes(&retried).warmed, 2_000, "{retried:?}");
    assert_eq!(regions.in_main(), main);
    assert_eq!(regions.in_beside().len(), 2_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_budget_of_one_cache_binds_its_own_writes_only() {
    // More than are asked after before it is concluded that asking does not pay.
    const ROWS: u64 = 40_000;
    let regions = Regions::start(ROWS, Some(1));
    regions.application_writes(0..0, 1..ROWS + 1);
    // At one write a second it would take half a day.
    let job = regions.run(job()).await;
    assert_eq!(job.state(), JobState::Succeeded, "{}", job.reason);
    assert_eq!(outcomes(&job).warmed, ROWS);
    assert_eq!(loaded(&job), ROWS);
    assert_eq!(regions.in_main().len() as u64, ROWS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_one_cache_is_waited_for_and_then_both_have_all() {
    const ROWS: u64 = 200_000;
    const WRITES: u32 = 10_000;
    let regions = Regions::start(ROWS, Some(WRITES));
    let scene = &regions.scene;
    let mut jobs = scene.jobs().await;
    let job = scene.create(job()).await;
    watch_until(&mut jobs, &job.name, |job| done(job) > 4_000).await;

    regions.redis.stop().unwrap();
    let troubled = |job: &v1::Job| {
        let mut troubles = job.troubles.iter();
        troubles.any(|trouble| trouble.what.contains("cache \"beside\""))
    };
    let stuck = watch_until(&mut jobs, &job.name, |job| is_over(job) || troubled(job)).await;
    assert!(!is_over(&stuck), "{stuck:?}");
    let ahead = regions.in_main().len() as u64;
    // What is told of the job is older than what the caches have, by up to two checkpoints.
    let told_late = 2 * u64::from(WRITES);
    let bound = done(&stuck) + told_late + UNDER_WAY_MAX;
    assert!(ahead <= bound, "{ahead} of {bound}: {stuck:?}");
    regions.redis.cont().unwrap();

    let job = watch_until(&mut jobs, &job.name, is_over).await;
    assert_w1(&job);
    assert_eq!(job.state(), JobState::Succeeded, "{}", job.reason);
    let found = (regions.in_main().len(), regions.in_beside().len());
    assert_eq!(found, (200_000, 200_000));
}
