//! The forms of values, from the database through jobs into a cluster: what is written, what a verification says of it, and
//! what becomes of what stands for absent rows.

use stoke_harness::wait_for;
use stoke_proto::v1::{self, JobState};

use crate::command_line::stoke;
use crate::scene::{PATIENCE, Scene, assert_w1, is_over, watch_until};
use crate::shop::{self, Nodes};

const QPS: u32 = 100;
/// Keys in each plan; of every twenty, one has no row.
const PLANNED: u64 = 400;
const ABSENT: u64 = PLANNED / 20;
/// Lines of an order.
const LINES: u64 = 3;

const HOUR_S: i64 = 3600;
const NEGATIVE_TTL_S: i64 = 600;

fn fill(scene: &Scene) {
    let sql = format!(
        "CREATE TABLE orders (id bigint PRIMARY KEY, name text, note text, body bytea);
         INSERT INTO orders SELECT id, 'order ' || id, NULL, decode('00ff', 'hex') || id::text::bytea
           FROM generate_series(1, {PLANNED}) AS id WHERE id % 20 <> 0;
         CREATE TABLE lines (order_id bigint, line int);
         INSERT INTO lines SELECT id, line FROM orders, generate_series(1, {LINES}) AS line;
         ANALYZE;"
    );
    scene.postgres.psql("postgres", &sql).unwrap();
}

/// A job of all orders, whose keys begin with a prefix.
fn job(prefix: &str, query: &str, value: v1::ValueSpec, mode: v1::WriteMode) -> v1::JobSpec {
    let mut spec = shop::job();
    let Some(v1::job_spec::Work::Batch(batch)) = &mut spec.work else {
        panic!("a batch");
    };
    batch.allowed_failures = 0;
    batch.mode = mode.into();
    batch.sources[0].from = Some(v1::key_source::From::Sql(v1::SqlSource {
        origin: "shop".into(),
        query: format!("SELECT generate_series(1, {PLANNED}) AS key"),
    }));
    batch.loaders[0].sql = Some(v1::SqlLoader {
        origin: "shop".into(),
        query: query.into(),
        key_template: format!("{prefix}:{{key}}"),
        ttl: seconds(HOUR_S),
        batch_keys: 100,
        value: Some(value),
        ..v1::SqlLoader::default()
    });
    spec
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn form(form: &str) -> v1::ValueSpec {
    v1::ValueSpec {
        form: form.into(),
        ..v1::ValueSpec::default()
    }
}

fn negative(value: &str) -> Option<v1::NegativeValue> {
    Some(v1::NegativeValue {
        value: value.into(),
        ttl: seconds(NEGATIVE_TTL_S),
    })
}

const ROWS: &str = "SELECT id, name, note FROM orders WHERE id IN (:keys)";
const BODIES: &str = "SELECT id, body FROM orders WHERE id IN (:keys)";
const OF_LINES: &str = "SELECT order_id, line FROM lines WHERE order_id IN (:keys) ORDER BY line";

/// Asks the node that owns a key.
fn ask<T: redis::FromRedisValue>(scene: &Scene, key: &str, command: &str, args: &[&str]) -> T {
    let nodes = Nodes::connect(scene);
    let mut node = nodes.connection(nodes.owner(key));
    let mut command = redis::cmd(command);
    command.arg(key).arg(args);
    command.query(&mut node).unwrap()
}

async fn run(scene: &Scene, spec: v1::JobSpec) -> v1::Job {
    let mut jobs = scene.jobs().await;
    let job = scene.create(spec).await.name;
    let ended = watch_until(&mut jobs, &job, is_over).await;
    assert_eq!(ended.state(), JobState::Succeeded, "{ended:?}");
    assert_w1(&ended);
    ended
}

fn outcomes(job: &v1::Job) -> (u64, u64, u64) {
    let outcomes = job.progress.unwrap().outcomes.unwrap();
    (outcomes.warmed, outcomes.present, outcomes.absent)
}

/// Verifies a job with values; how many keys differ, and what is said of the first.
fn verified(scene: &Scene, job: &str) -> (u64, String) {
    let at = scene.leader();
    let ran = stoke(
        &at,
        &["verify", job, "--full", "--values", "--output", "json"],
    );
    let found = ran.json();
    let differ = found["differ"].as_u64().unwrap();
    assert_eq!(ran.code, i32::from(differ > 0), "{ran:?}");
    let first = found["differences"][0]["reason"]
        .as_str()
        .unwrap_or_default();
    (differ, first.to_owned())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_form_is_written_verified_and_told_from_what_it_should_not_be() {
    let scene = Scene::start(1, QPS);
    fill(&scene);
    let zstd = v1::ValueSpec {
        compression: v1::Compression::Zstd.into(),
        negative: negative("none"),
        ..form("object")
    };
    let hash = v1::ValueSpec {
        negative: negative("missing=1"),
        ..form("hash")
    };
    let mut jobs = Vec::new();
    for (prefix, query, value) in [
        ("hash", ROWS, hash),
        ("zstd", ROWS, zstd),
        ("pack", ROWS, form("messagepack")),
        ("body", BODIES, form("column:body")),
        ("text", ROWS, form("template:{id}={name}{note}")),
        ("list", OF_LINES, form("array")),
    ] {
        let asked = job(prefix, query, value, v1::WriteMode::Add);
        let ended = run(&scene, asked).await;
        assert_eq!(outcomes(&ended), (PLANNED - ABSENT, 0, ABSENT), "{prefix}");
        assert_eq!(
            verified(&scene, &ended.name),
            (0, String::new()),
            "{prefix}"
        );
        jobs.push(ended.name);
    }

    let fields: Vec<String> = ask(&scene, "hash:7", "HGETALL", &[]);
    assert_eq!(fields, ["id", "7", "name", "order 7"]);
    let fields: Vec<String> = ask(&scene, "hash:20", "HGETALL", &[]);
    assert_eq!(fields, ["missing", "1"]);
    let packed: Vec<u8> = ask(&scene, "zstd:7", "GET", &[]);
    let plain = zstd::decode_all(&packed[..]).unwrap();
    assert_eq!(plain, br#"{"id":7,"name":"order 7","note":null}"#);
    let none: String = ask(&scene, "zstd:20", "GET", &[]);
    assert_eq!(none, "none");
    let packed: Vec<u8> = ask(&scene, "pack:7", "GET", &[]);
    assert_eq!(packed, b"\x83\xa2id\x07\xa4name\xa7order 7\xa4note\xc0");
    let body: Vec<u8> = ask(&scene, "body:7", "GET", &[]);
    assert_eq!(body, b"\x00\xff7");
    let text: String = ask(&scene, "text:7", "GET", &[]);
    assert_eq!(text, "7=order 7");
    let list: String = ask(&scene, "list:7", "GET", &[]);
    assert_eq!(
        list,
        r#"[{"order_id":7,"line":1},{"order_id":7,"line":2},{"order_id":7,"line":3}]"#
    );
    let absent: bool = ask(&scene, "list:20", "EXISTS", &[]);
    assert!(!absent);

    for (key, command, args, says) in [
        (
            "hash:7",
            "HSET",
            &["name", "order 8"][..],
            "in the field \"name\"",
        ),
        (
            "zstd:7",
            "SET",
            &["plain", "PX", "60000"],
            "compressed with zstd",
        ),
        ("pack:7", "APPEND", &["x"], "more than 24 bytes"),
        ("body:7", "SETRANGE", &["2", "8"], "number 3 is the first"),
        ("text:7", "APPEND", &["x"], "more than 9 bytes"),
        (
            "list:20",
            "SET",
            &["[]", "PX", "60000"],
            "not in the origin",
        ),
    ] {
        let _: redis::Value = ask(&scene, key, command, args);
        let form = jobs.remove(0);
        let (differ, how) = verified(&scene, &form);
        assert_eq!(differ, 1, "{key}");
        assert!(how.contains(says), "{key}: {how}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_for_an_absent_row_lives_as_long_as_it_shall_and_no_longer() {
    let scene = Scene::start(1, QPS);
    fill(&scene);
    for (prefix, value) in [
        (
            "hash",
            v1::ValueSpec {
                negative: negative("missing=1"),
                ..form("hash")
            },
        ),
        (
            "object",
            v1::ValueSpec {
                negative: negative("null"),
                ..form("object")
            },
        ),
    ] {
        let of_mode = |mode| job(prefix, ROWS, value.clone(), mode);
        let ended = run(&scene, of_mode(v1::WriteMode::Add)).await;
        assert_eq!(outcomes(&ended), (PLANNED - ABSENT, 0, ABSENT));
        let (row, none) = (format!("{prefix}:7"), format!("{prefix}:20"));
        let ttl = |key: &str| ask::<i64>(&scene, key, "TTL", &[]);
        assert!(ttl(&row) > NEGATIVE_TTL_S);
        assert!((1..=NEGATIVE_TTL_S).contains(&ttl(&none)), "{}", ttl(&none));

        // A value that has as little left as what stands for none is told from it.
        let _: redis::Value = ask(&scene, &row, "EXPIRE", &["60"]);
        let ended = run(&scene, of_mode(v1::WriteMode::Refresh)).await;
        assert_eq!(outcomes(&ended), (0, PLANNED, 0));
        assert!(ttl(&row) > NEGATIVE_TTL_S, "it was not lengthened");
        assert!(ttl(&none) <= NEGATIVE_TTL_S, "{}", ttl(&none));

        // The row comes into being, and is there once what stood for it has expired.
        let insert = "INSERT INTO orders VALUES (20, 'late', NULL, '') ON CONFLICT DO NOTHING";
        scene.postgres.psql("postgres", insert).unwrap();
        let _: redis::Value = ask(&scene, &none, "PEXPIRE", &["1"]);
        wait_for("the end of what stood for no row", PATIENCE, || {
            let there: bool = ask(&scene, &none, "EXISTS", &[]);
            anyhow::ensure!(!there);
            Ok(())
        })
        .unwrap();
        let ended = run(&scene, of_mode(v1::WriteMode::Add)).await;
        assert_eq!(outcomes(&ended), (1, PLANNED - 1, 0));
        let delete = "DELETE FROM orders WHERE id = 20";
        scene.postgres.psql("postgres", delete).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_its_row_gives_an_end_lives_until_then_and_no_longer_than_its_loader_says() {
    let scene = Scene::start(1, QPS);
    let soon = 60;
    let sql = format!(
        "CREATE TABLE orders (id bigint PRIMARY KEY, until timestamptz);
         INSERT INTO orders SELECT id, CASE id % 4 WHEN 0 THEN now() - interval '1 day'
             WHEN 1 THEN now() + interval '{soon} s' WHEN 2 THEN now() + interval '1 year' END
           FROM generate_series(1, {PLANNED}) AS id;
         ANALYZE;"
    );
    scene.postgres.psql("postgres", &sql).unwrap();
    let value = v1::ValueSpec {
        expiry_column: "until".into(),
        ..form("object")
    };
    let query = "SELECT id, until FROM orders WHERE id IN (:keys)";
    let (written, over) = (PLANNED / 4 * 3, PLANNED / 4);
    let skipped = |job: &v1::Job| job.progress.unwrap().outcomes.unwrap().skipped;

    let ended = run(&scene, job("o", query, value.clone(), v1::WriteMode::Add)).await;
    assert_eq!((outcomes(&ended), skipped(&ended)), ((written, 0, 0), over));
    let ttl = |id: u64| ask::<i64>(&scene, &format!("o:{id}"), "TTL", &[]);
    for id in (1..=PLANNED).step_by(4) {
        assert!((1..=soon).contains(&ttl(id)), "{id}: {}", ttl(id));
        assert!((soon + 1..=HOUR_S).contains(&ttl(id + 1)), "a year away");
        assert!((soon + 1..=HOUR_S).contains(&ttl(id + 2)), "no end");
        assert_eq!(ttl(id + 3), -2, "it is over");
    }
    assert_eq!(verified(&scene, &ended.name), (0, String::new()));

    // Refreshing does not read rows, so it lengthens nothing that a row may end.
    let _: redis::Value = ask(&scene, "o:2", "EXPIRE", &["60"]);
    let ended = run(&scene, job("o", query, value, v1::WriteMode::Refresh)).await;
    assert_eq!((outcomes(&ended), skipped(&ended)), ((0, written, 0), over));
    assert!(ttl(1) <= soon && ttl(2) <= 60, "{} {}", ttl(1), ttl(2));
}
