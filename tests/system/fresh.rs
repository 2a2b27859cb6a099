//! Fresh beats warm: an application that changes rows and then deletes their keys, against a warm-up that reads slowly; and a
//! replica that lags behind its primary.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _};
use stoke_harness::{Postgres, Redis};
use stoke_proto::v1;

use crate::scene::{Scene, assert_w1, is_over, watch_until};
use crate::shop::{self, Nodes, key};

const QPS: u32 = 60;
/// Keys in the plan, and rows.
const PLANNED: u64 = 600;
/// Between two of the application's changes, which is its pace: it changes each row once or twice while the job runs.
const CHANGES_PAUSE: Duration = Duration::from_millis(5);

/// A load that sees the rows as they were when it began, and gives them a while later.
const SLOW: &str = "WITH wait AS MATERIALIZED (SELECT pg_sleep(0.4) AS over) \
                    SELECT id, version FROM items, wait WHERE id IN (:keys)";

fn job(query: &str, version_column: &str, version_origin: &str) -> v1::JobSpec {
    let mut spec = shop::job();
    let Some(v1::job_spec::Work::Batch(batch)) = &mut spec.work else {
        panic!("a batch");
    };
    // What changes again and again is not warmed.
    batch.allowed_failures = PLANNED;
    batch.sources[0].from = Some(v1::key_source::From::Sql(v1::SqlSource {
        origin: "shop".into(),
        query: format!("SELECT generate_series(1, {PLANNED}) AS key"),
    }));
    batch.loaders[0].sql = Some(v1::SqlLoader {
        origin: "shop".into(),
        query: query.into(),
        key_template: "item:{key}".into(),
        ttl: Some(prost_types::Duration {
            seconds: 3600,
            nanos: 0,
        }),
        batch_keys: 20,
        value: Some(v1::ValueSpec {
            form: "column:version".into(),
            version_column: version_column.into(),
            version_origin: version_origin.into(),
            ..v1::ValueSpec::default()
        }),
        ..v1::SqlLoader::default()
    });
    spec
}

/// The application: changes a row, and deletes its key, one after another until it is told to stop.
async fn change_rows(url: String, nodes: Nodes, stop: Arc<AtomicBool>) -> u64 {
    let mut database = sqlx::PgConnection::connect(&url).await.unwrap();
    let mut connections = BTreeMap::new();
    let mut changes = 0;
    while !stop.load(Relaxed) {
        // All rows, in an order that is none of the plan's: 7 has no divisor in common with their number.
        let id = changes * 7 % PLANNED + 1;
        let update = format!("UPDATE items SET version = version + 1 WHERE id = {id}");
        database.execute(AssertSqlSafe(update)).await.unwrap();
        let port = nodes.owner(&key(id));
        let node = connections
            .entry(port)
            .or_insert_with(|| nodes.connection(port));
        redis::cmd("DEL").arg(key(id)).exec(node).unwrap();
        changes += 1;
        tokio::time::sleep(CHANGES_PAUSE).await;
    }
    changes
}

/// Warms while the application goes on; how many values the cache has in the end, and how many of them are stale.
async fn warmed_and_stale(version_column: &str) -> (usize, usize) {
    let scene = Scene::start(1, QPS);
    let sql = format!(
        "CREATE TABLE items (id bigint PRIMARY KEY, version bigint NOT NULL);
         INSERT INTO items SELECT id, 1 FROM generate_series(1, {PLANNED}) AS id; ANALYZE;"
    );
    scene.postgres.psql("postgres", &sql).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let application = tokio::spawn(change_rows(
        scene.postgres.url("postgres"),
        Nodes::connect(&scene),
        Arc::clone(&stop),
    ));
    let mut jobs = scene.jobs().await;
    let name = scene.create(job(SLOW, version_column, "")).await.name;
    let ended = watch_until(&mut jobs, &name, is_over).await;
    stop.store(true, Relaxed);
    let changes = application.await.unwrap();
    assert_w1(&ended);
    assert!(
        changes > PLANNED / 4,
        "the application made {changes} changes"
    );

    let rows = "SELECT id || ' ' || version FROM items ORDER BY id";
    let rows = scene.postgres.psql("postgres", rows).unwrap();
    let nodes = Nodes::connect(&scene);
    let (mut warmed, mut stale) = (0, 0);
    for row in rows.lines() {
        let (id, version) = row.split_once(' ').unwrap();
        let key = key(id.parse().unwrap());
        let mut node = nodes.connection(nodes.owner(&key));
        let get: Option<String> = redis::cmd("GET").arg(&key).query(&mut node).unwrap();
        warmed += usize::from(get.is_some());
        stale += usize::from(get.is_some_and(|there| there != version));
    }
    (warmed, stale)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_stale_value_is_left_where_versions_are_read_again_and_some_are_where_they_are_not() {
    let (warmed, stale) = warmed_and_stale("version").await;
    assert_eq!(stale, 0, "of {warmed} values");
    assert!(warmed > 0, "nothing was warmed");
    let (warmed, stale) = warmed_and_stale("").await;
    assert!(
        stale > 0,
        "none of {warmed} values is stale: the race was not made"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_replica_gives_stays_only_where_the_primary_has_the_same() {
    let (primary, other) = (Postgres::start().unwrap(), Redis::start().unwrap());
    let scene = Scene::start_beside(QPS, &primary.url("postgres"), &other.url());
    let table = "CREATE TABLE items (id bigint PRIMARY KEY, version bigint NOT NULL)";
    let rows = format!("INSERT INTO items SELECT id, 1 FROM generate_series(1, {PLANNED}) AS id");
    for server in [&scene.postgres, &primary] {
        server
            .psql("postgres", &format!("{table}; {rows};"))
            .unwrap();
    }
    // What has not reached the replica: changes, a deletion, and a row that is new.
    let ahead =
        "UPDATE items SET version = 2 WHERE id % 3 = 0; DELETE FROM items WHERE id % 10 = 1;";
    primary.psql("postgres", ahead).unwrap();
    let behind = "DELETE FROM items WHERE id % 10 = 2";
    scene.postgres.psql("postgres", behind).unwrap();

    let query = "SELECT id, version FROM items WHERE id IN (:keys)";
    let mut spec = job(query, "version", "beside");
    let Some(v1::job_spec::Work::Batch(batch)) = &mut spec.work else {
        panic!("a batch");
    };
    batch.attempts_max = 2;
    batch.also = vec!["beside".into()];
    let mut jobs = scene.jobs().await;
    let name = scene.create(spec).await.name;
    let ended = watch_until(&mut jobs, &name, is_over).await;
    assert_w1(&ended);
    let is_absent = |id: u64| id % 10 == 2;
    let is_stale = |id: u64| !is_absent(id) && (id.is_multiple_of(3) || id % 10 == 1);
    let count = |of: &dyn Fn(u64) -> bool| (1..=PLANNED).filter(|id| of(*id)).count() as u64;
    let outcomes = ended.progress.unwrap().outcomes.unwrap();
    assert_eq!(outcomes.absent, count(&is_absent));
    assert_eq!(outcomes.failed, count(&is_stale));
    let nodes = Nodes::connect(&scene);
    let client = redis::Client::open(other.url()).unwrap();
    let mut beside = client.get_connection().unwrap();
    for id in 1..=PLANNED {
        let mut node = nodes.connection(nodes.owner(&key(id)));
        // Each of the two caches settles on its own.
        for cache in [&mut node, &mut beside] {
            let ttl: i64 = redis::cmd("TTL").arg(key(id)).query(cache).unwrap();
            if is_absent(id) || is_stale(id) {
                assert_eq!(ttl, -2, "{id} is there");
            } else {
                assert!(ttl > 600, "{id} lives for {ttl} s");
            }
        }
    }
}
