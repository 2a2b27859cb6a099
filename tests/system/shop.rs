//! The shop: 50,000 keys to warm, of which some are in the cache already, some not in the database, and some cannot be
//! encoded. Which is which is known from here, not from what Stoke says.

use std::collections::{BTreeMap, BTreeSet};

use stoke_core::slot::Slot;
use stoke_harness::wait_for;
use stoke_proto::v1;

use crate::scene::{PATIENCE, Scene};

/// Keys in the plan.
pub const PLANNED: u64 = 50_000;
/// Entries live for at most so long, in milliseconds.
pub const TTL_MS: i64 = 3_600_000;

/// A loader of the workers' configuration that scans the shop's items, a few hundred in a query.
pub const WHOLE: &str = r#"
    [loaders.whole]
    origin = "shop"
    query = "SELECT * FROM items"
    scan-by = "id"
    scan-rows = 500
    key = "item:{id}"
    ttl = "1h"
"#;

/// In the cache before, with a value of the application's.
pub fn is_present(id: u64) -> bool {
    id % 50 == 7
}

/// Not in the database.
pub fn is_absent(id: u64) -> bool {
    id % 40 == 3 && !is_present(id)
}

/// In the database, but its row has no form in JSON.
pub fn is_poison(id: u64) -> bool {
    id % 500 == 11
}

/// To be loaded and written.
pub fn is_warmable(id: u64) -> bool {
    !is_present(id) && !is_absent(id) && !is_poison(id)
}

/// All ids of the plan.
pub fn ids() -> impl Iterator<Item = u64> {
    1..=PLANNED
}

/// The cache key of an id.
pub fn key(id: u64) -> String {
    format!("item:{id}")
}

/// The application's value of a key that was there before.
pub fn applications_value(id: u64) -> String {
    format!("the application wrote {id}")
}

/// Fills the database and, with what was there before, the cache.
pub fn fill(scene: &Scene) {
    let sql = format!(
        "CREATE TABLE items (id bigint PRIMARY KEY, name text, price numeric(10,2), weight float8, tags text[], sold timestamptz);
         INSERT INTO items
           SELECT id, 'item ' || id, id * 1.25, CASE WHEN id % 500 = 11 THEN 'NaN' ELSE id / 8.0 END,
                  ARRAY['a', 'b' || id], CASE WHEN id % 3 = 0 THEN NULL ELSE '2026-01-01T00:00:00Z'::timestamptz + id * interval '1 second' END
           FROM generate_series(1, {PLANNED}) AS id WHERE NOT (id % 40 = 3 AND id % 50 <> 7);
         CREATE TABLE views (item_id bigint, count bigint);
         INSERT INTO views SELECT id, 1000000 / id FROM generate_series(1, {PLANNED}) AS id;
         ANALYZE;"
    );
    scene.postgres.psql("postgres", &sql).unwrap();
    let nodes = Nodes::connect(scene);
    let mut sets: BTreeMap<u16, redis::Pipeline> = BTreeMap::new();
    for id in ids().filter(|id| is_present(*id)) {
        let pipeline = sets.entry(nodes.owner(&key(id))).or_default();
        pipeline
            .cmd("SET")
            .arg(key(id))
            .arg(applications_value(id))
            .ignore();
    }
    for (port, pipeline) in sets {
        pipeline.exec(&mut nodes.connection(port)).unwrap();
    }
}

/// The job: the 50,000 most viewed items.
pub fn job() -> v1::JobSpec {
    job_over("views")
}

/// The same in a hundred loads, however few of them are granted: it lasts, so that something can happen in the middle of it.
pub fn lasting_job() -> v1::JobSpec {
    let mut spec = job();
    if let Some(v1::job_spec::Work::Batch(batch)) = &mut spec.work {
        batch.loaders[0].sql = Some(v1::SqlLoader {
            origin: "shop".into(),
            query: "SELECT * FROM items WHERE id IN (:keys)".into(),
            key_template: "item:{key}".into(),
            ttl: Some(prost_types::Duration {
                seconds: TTL_MS / 1000,
                nanos: 0,
            }),
            batch_keys: 500,
            ..v1::SqlLoader::default()
        });
    }
    spec
}

/// The same, but for those that cannot be encoded.
pub fn job_without_poison() -> v1::JobSpec {
    job_over("views WHERE item_id % 500 <> 11")
}

fn job_over(views: &str) -> v1::JobSpec {
    let query = format!(
        "SELECT item_id AS key, count AS priority FROM {views} ORDER BY count DESC, item_id LIMIT {PLANNED}"
    );
    let sql = v1::SqlSource {
        origin: "shop".into(),
        query,
    };
    let source = v1::KeySource {
        from: Some(v1::key_source::From::Sql(sql)),
        ..v1::KeySource::default()
    };
    let batch = v1::BatchWork {
        sources: vec![source],
        loaders: vec![v1::Loader {
            name: "item".into(),
            ..v1::Loader::default()
        }],
        cache: "main".into(),
        allowed_failures: 1000,
        ..v1::BatchWork::default()
    };
    v1::JobSpec {
        labels: [("team".to_owned(), "shop".to_owned())].into(),
        trigger: "test".into(),
        work: Some(v1::job_spec::Work::Batch(batch)),
        ..v1::JobSpec::default()
    }
}

/// What a node has for a key.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    pub value: String,
    pub ttl_ms: i64,
}

/// The cluster's nodes, asked one by one: a key that is not on the node that owns its slot is not found.
pub struct Nodes {
    owners: Vec<(u16, u16, u16)>,
}

impl Nodes {
    pub fn connect(scene: &Scene) -> Self {
        let port = scene.cache.ports()[0];
        let mut connection = connection(port);
        let slots: Vec<redis::Value> = redis::cmd("CLUSTER")
            .arg("SLOTS")
            .query(&mut connection)
            .unwrap();
        let owner = |range: redis::Value| {
            let (first, last, node): (u16, u16, (String, u16, String)) = {
                let redis::Value::Array(parts) = range else {
                    panic!("{range:?}")
                };
                let mut parts = parts.into_iter();
                let mut next = || parts.next().unwrap();
                let (first, last) = (next(), next());
                let redis::Value::Array(node) = next() else {
                    panic!()
                };
                let text = |value: &redis::Value| {
                    redis::from_redis_value::<String>(value.clone()).unwrap()
                };
                let node_port: u16 = redis::from_redis_value(node[1].clone()).unwrap();
                let number = |value| redis::from_redis_value::<u16>(value).unwrap();
                (
                    number(first),
                    number(last),
                    (text(&node[0]), node_port, text(&node[2])),
                )
            };
            (first, last, node.1)
        };
        Self {
            owners: slots.into_iter().map(owner).collect(),
        }
    }

    /// The ports of all nodes that own slots.
    pub fn ports(&self) -> BTreeSet<u16> {
        self.owners.iter().map(|(_, _, port)| *port).collect()
    }

    /// The port of the node that owns a key.
    pub fn owner(&self, key: &str) -> u16 {
        let slot = Slot::of(key.as_bytes()).0;
        let found = self
            .owners
            .iter()
            .find(|(first, last, _)| (*first..=*last).contains(&slot));
        found.unwrap().2
    }

    pub fn connection(&self, port: u16) -> redis::Connection {
        connection(port)
    }

    /// What the right nodes have of these ids.
    pub fn find(&self, ids: impl Iterator<Item = u64>) -> BTreeMap<u64, Found> {
        let mut by_node: BTreeMap<u16, Vec<u64>> = BTreeMap::new();
        for id in ids {
            by_node.entry(self.owner(&key(id))).or_default().push(id);
        }
        let mut found = BTreeMap::new();
        for (port, ids) in by_node {
            let mut connection = connection(port);
            for ids in ids.chunks(1000) {
                let mut pipeline = redis::pipe();
                for id in ids {
                    pipeline.cmd("GET").arg(key(*id)).cmd("PTTL").arg(key(*id));
                }
                // A node that stood still for a while serves again only when it has heard from most of the others.
                let ask = || {
                    let answers = pipeline.query::<Vec<redis::Value>>(&mut connection);
                    // Each of its 2,000 commands has an error of its own: the first will do.
                    answers.map_err(|error| anyhow::anyhow!("{:?}", error.kind()))
                };
                let answers = wait_for("a node to serve", PATIENCE, ask).unwrap();
                for (id, pair) in ids.iter().zip(answers.chunks(2)) {
                    let value: Option<String> = redis::from_redis_value(pair[0].clone()).unwrap();
                    let ttl_ms: i64 = redis::from_redis_value(pair[1].clone()).unwrap();
                    found.extend(value.map(|value| (*id, Found { value, ttl_ms })));
                }
            }
        }
        found
    }
}

fn connection(port: u16) -> redis::Connection {
    redis::Client::open(format!("redis://127.0.0.1:{port}"))
        .unwrap()
        .get_connection()
        .unwrap()
}

/// Checks, key set by key set, that the cache has what it should after a whole run: no more, no less, with the right values, on the
/// right nodes, and each warmed one with a time to live.
pub fn assert_cache_is_as_seeded(scene: &Scene) {
    let found = Nodes::connect(scene).find(ids());
    let keys: BTreeSet<u64> = found.keys().copied().collect();
    let expected: BTreeSet<u64> = ids()
        .filter(|id| is_present(*id) || is_warmable(*id))
        .collect();
    assert_eq!(keys, expected, "keys in the cache");
    assert_eq!(
        scene.cache.key_count().unwrap(),
        expected.len() as u64,
        "no keys beside them"
    );

    let rows = scene
        .postgres
        .psql(
            "postgres",
            "SELECT row_to_json(items)::text FROM items WHERE weight <> 'NaN'",
        )
        .unwrap();
    let rows: BTreeMap<u64, serde_json::Value> = rows
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            (row["id"].as_u64().unwrap(), row)
        })
        .collect();
    for (id, found) in &found {
        if is_present(*id) {
            assert_eq!(
                (&found.value, found.ttl_ms),
                (&applications_value(*id), -1),
                "{id}"
            );
        } else {
            let value: serde_json::Value = serde_json::from_str(&found.value).unwrap();
            assert_eq!(value, rows[id], "{id}");
            assert!(
                (TTL_MS * 8 / 10..=TTL_MS).contains(&found.ttl_ms),
                "{id}: {}",
                found.ttl_ms
            );
        }
    }
}

/// What must come of a job over all ids that is done once.
pub fn outcomes() -> v1::Outcomes {
    v1::Outcomes {
        warmed: count(is_warmable),
        present: count(is_present),
        absent: count(is_absent),
        failed: count(is_poison),
        skipped: 0,
        cancelled: 0,
    }
}

/// How many ids are of a kind.
pub fn count(kind: impl Fn(u64) -> bool) -> u64 {
    ids().filter(|id| kind(*id)).count() as u64
}
