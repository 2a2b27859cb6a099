//! `stoke warm --state DIR`: killed in the middle and started again, it goes on where it was.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use stoke_harness::{Postgres, Program, Redis, peak_in_a_second, wait_for};

const PATIENCE: Duration = Duration::from_secs(120);
/// Keys in the plan.
const PLANNED: u64 = 20_000;
const BATCH_KEYS: u64 = 100;
const QPS: u32 = 40;
/// What must not be found in the folder.
const PASSWORD: &str = "pa55word-of-the-origin";

fn is_present(id: u64) -> bool {
    id % 50 == 7
}

fn is_absent(id: u64) -> bool {
    id % 40 == 3
}

/// Its row has no form in JSON.
fn is_poison(id: u64) -> bool {
    id % 500 == 11
}

fn count(kind: impl Fn(u64) -> bool) -> u64 {
    (1..=PLANNED).filter(|id| kind(*id)).count() as u64
}

struct Scene {
    postgres: Postgres,
    cache: Redis,
}

impl Scene {
    fn start() -> Self {
        let scene = Self {
            postgres: Postgres::start().unwrap(),
            cache: Redis::start().unwrap(),
        };
        let sql = format!(
            "CREATE TABLE products (id bigint PRIMARY KEY, name text, weight float8);
             INSERT INTO products SELECT id, 'product ' || id, CASE WHEN id % 500 = 11 THEN 'NaN' ELSE id / 8.0 END
               FROM generate_series(1, {PLANNED}) AS id WHERE id % 40 <> 3;
             CREATE TABLE views (product_id bigint, views bigint);
             INSERT INTO views SELECT id, 100000000 / id FROM generate_series(1, {PLANNED}) AS id;
             ANALYZE;"
        );
        scene.postgres.psql("postgres", &sql).unwrap();
        let mut sets = redis::pipe();
        for id in (1..=PLANNED).filter(|id| is_present(*id)) {
            sets.cmd("SET")
                .arg(key(id))
                .arg("the application's")
                .ignore();
        }
        sets.exec(&mut scene.connection()).unwrap();
        scene
    }

    fn connection(&self) -> redis::Connection {
        let client = redis::Client::open(self.cache.url()).unwrap();
        client.get_connection().unwrap()
    }

    fn keys(&self) -> u64 {
        redis::cmd("DBSIZE").query(&mut self.connection()).unwrap()
    }

    /// How many queries have loaded products.
    fn loads(&self) -> u64 {
        let statements = self.postgres.statements("stoke").unwrap();
        let loads = statements
            .iter()
            .filter(|s| s.text.contains("FROM products"));
        loads.count() as u64
    }

    fn warm(&self, state: &Path, ttl: &str) -> Program {
        let origin = self.postgres.url("postgres");
        let (before, after) = origin.split_once('@').unwrap();
        let user = before
            .rsplit('/')
            .next()
            .unwrap()
            .split(':')
            .next()
            .unwrap();
        let origin = format!("postgres://{user}:{PASSWORD}@{after}");
        let rank = format!(
            "SELECT product_id AS key, views AS priority FROM views ORDER BY views DESC, product_id LIMIT {PLANNED}"
        );
        let launch = Program::new(env!("CARGO_BIN_EXE_stoke")).unwrap();
        launch
            .args(["warm", "--origin", &origin, "--cache", &self.cache.url()])
            .args([
                "--rank",
                &rank,
                "--load",
                "SELECT * FROM products WHERE id IN (:keys)",
            ])
            .args(["--key", "product:{key}", "--ttl", ttl, "--output", "json"])
            .args([
                "--qps",
                &QPS.to_string(),
                "--batch-keys",
                &BATCH_KEYS.to_string(),
            ])
            .args(["--allowed-failures", "1000"])
            .arg("--state")
            .arg(state)
            .start()
            .unwrap()
    }

    /// Every key has what was seeded for it, and there is none beside them.
    fn assert_cache_is_as_seeded(&self) {
        let mut connection = self.connection();
        let mut gets = redis::pipe();
        for id in 1..=PLANNED {
            gets.cmd("GET").arg(key(id));
        }
        let values: Vec<Option<String>> = gets.query(&mut connection).unwrap();
        let found: BTreeMap<u64, String> = (1..=PLANNED)
            .zip(values)
            .filter_map(|(id, value)| Some((id, value?)))
            .collect();
        for id in 1..=PLANNED {
            let expected = if is_present(id) {
                Some("the application's".to_owned())
            } else if is_absent(id) || is_poison(id) {
                None
            } else {
                let text = &found[&id];
                let value: Product = serde_json::from_str(text).unwrap();
                let (name, weight) = (format!("product {id}"), id as f64 / 8.0);
                assert_eq!(value, Product { id, name, weight });
                continue;
            };
            assert_eq!(found.get(&id), expected.as_ref(), "{id}");
        }
        assert_eq!(self.keys(), found.len() as u64, "no keys beside them");
    }
}

/// A value as it must be: this, and nothing beside.
#[derive(Debug, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Product {
    id: u64,
    name: String,
    weight: f64,
}

fn key(id: u64) -> String {
    format!("product:{id}")
}

/// How a run ended that cannot go on: its exit code, and what it said.
fn refused(run: &Program) -> (i32, String) {
    let code = run.wait(PATIENCE).unwrap().code().unwrap();
    (code, run.log().unwrap())
}

fn report(run: &Program) -> serde_json::Value {
    let code = run.wait(PATIENCE).unwrap().code().unwrap();
    assert_eq!(code, 0, "{}", run.log().unwrap());
    serde_json::from_str(run.stdout().unwrap().lines().last().unwrap()).unwrap()
}

#[test]
fn w1_a_run_that_is_killed_at_half_goes_on_from_there_and_nothing_is_loaded_twice() {
    let scene = Scene::start();
    let around = tempfile::tempdir().unwrap();
    let state = around.path().join("state");
    let to_load = count(|id| !is_present(id));
    let first = scene.warm(&state, "5m");
    first
        .wait_for("half of the keys", PATIENCE, || {
            let keys = scene.keys();
            anyhow::ensure!(keys >= PLANNED / 2, "{keys}");
            Ok(())
        })
        .unwrap();
    first.kill9().unwrap();
    let (at_half, keys) = (scene.loads(), scene.keys());
    assert!(keys < PLANNED * 9 / 10, "killed too late: {keys}");

    // Asked for otherwise, it is refused, and what is there stays.
    let (code, said) = refused(&scene.warm(&state, "6m"));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("--ttl was \"5m\", and is \"6m\""), "{said}");

    let second = scene.warm(&state, "5m");
    second
        .wait_for_output("going on with job", PATIENCE)
        .unwrap();
    // As long as one process uses the folder, no other does.
    let (code, said) = refused(&scene.warm(&state, "5m"));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("another process uses"), "{said}");

    let report = report(&second);
    let outcomes = &report["outcomes"];
    let of = |outcome: &str| outcomes[outcome].as_u64().unwrap();
    assert_eq!(report["planned"], PLANNED);
    assert_eq!(report["pending"], 0);
    assert_eq!(
        (of("absent"), of("failed"), of("skipped"), of("cancelled")),
        (
            count(|id| is_absent(id) && !is_present(id)),
            count(|id| is_poison(id) && !is_absent(id) && !is_present(id)),
            0,
            0
        )
    );
    let sum: u64 = ["warmed", "present", "absent", "failed"]
        .map(of)
        .iter()
        .sum();
    assert_eq!(sum, PLANNED, "{report}");
    assert!(of("present") >= count(is_present));
    scene.assert_cache_is_as_seeded();

    // What had no checkpoint is found in the cache, at no cost for the origin; what was in flight is loaded again.
    let (loads, once) = (scene.loads(), to_load.div_ceil(BATCH_KEYS));
    println!("{at_half} loads before the kill, {loads} in all; {once} are one run's at least");
    assert!(
        at_half * 4 > once,
        "half of the work was done before: {at_half}"
    );
    assert!(
        loads <= once * 115 / 100,
        "{loads} loads where {once} would do"
    );
    // B3, over both: the second began only when what the first had was certainly over.
    let peak = peak_in_a_second(&scene.postgres.statements("stoke").unwrap());
    assert!(peak <= QPS, "{peak} statements in one second");

    assert_no_secret(&state);
    let third = scene.warm(&state, "6m");
    let anew = self::report(&third);
    assert_eq!(
        anew["outcomes"]["warmed"], 0,
        "one that is over begins anew"
    );
    assert_ne!(anew["job"], report["job"]);
}

fn assert_no_secret(folder: &Path) {
    let mut folders = vec![folder.to_owned()];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let bytes = std::fs::read(&path).unwrap();
            let found = bytes
                .windows(PASSWORD.len())
                .any(|part| part == PASSWORD.as_bytes());
            assert!(!found, "{}", path.display());
        }
    }
    assert!(files >= 3, "{files} files");
}

#[test]
fn a_run_that_is_killed_while_it_reads_its_keys_plans_anew() {
    let scene = Scene::start();
    let around = tempfile::tempdir().unwrap();
    let state = around.path().join("state");
    // The key source cannot be read as long as this lasts.
    scene
        .postgres
        .psql("postgres", "ALTER TABLE views RENAME TO later")
        .unwrap();
    let slow = "CREATE VIEW views AS SELECT product_id, views FROM later, pg_sleep(3600)";
    scene.postgres.psql("postgres", slow).unwrap();
    let first = scene.warm(&state, "5m");
    wait_for("the key source to be read", PATIENCE, || {
        let all = scene.postgres.statements("stoke")?;
        let reads = all.iter().filter(|s| s.text.contains("FROM views"));
        anyhow::ensure!(reads.count() > 0);
        Ok(())
    })
    .unwrap();
    first.kill9().unwrap();
    // The server has not noticed yet that nobody waits for the answer.
    let end =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'stoke'";
    scene.postgres.psql("postgres", end).unwrap();
    scene
        .postgres
        .psql(
            "postgres",
            "DROP VIEW views; ALTER TABLE later RENAME TO views",
        )
        .unwrap();
    let second = scene.warm(&state, "5m");
    second
        .wait_for_output("going on with job", PATIENCE)
        .unwrap();
    let report = report(&second);
    assert_eq!(
        (&report["planned"], &report["pending"]),
        (&PLANNED.into(), &0.into())
    );
    scene.assert_cache_is_as_seeded();
}
