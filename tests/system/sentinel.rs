//! A cache behind Sentinel, whose master is another before its warm-up ends.

use std::time::Duration;

use stoke_harness::{Postgres, Program, RedisSentinel};

const PATIENCE: Duration = Duration::from_secs(120);
/// Keys in the plan.
const PLANNED: u64 = 20_000;
/// Of the nodes, and of the sentinels: neither must be seen anywhere.
const PASSWORDS: [&str; 2] = ["pa55word-of-the-nodes", "pa55word-of-the-sentinels"];

struct Scene {
    postgres: Postgres,
    cache: RedisSentinel,
}

impl Scene {
    fn start() -> Self {
        let [nodes, sentinels] = PASSWORDS.map(|password| [("requirepass", password)]);
        let scene = Self {
            postgres: Postgres::start().unwrap(),
            cache: RedisSentinel::start_with(&nodes, &sentinels).unwrap(),
        };
        let sql = format!(
            "CREATE TABLE products (id bigint PRIMARY KEY, name text);
             INSERT INTO products SELECT id, 'product ' || id FROM generate_series(1, {PLANNED}) AS id;
             CREATE TABLE views (product_id bigint, views bigint);
             INSERT INTO views SELECT id, 100000000 / id FROM generate_series(1, {PLANNED}) AS id;
             ANALYZE;"
        );
        scene.postgres.psql("postgres", &sql).unwrap();
        scene
    }

    fn warm(&self) -> Program {
        let cache = format!("{}?sentinel_password={}", self.cache.url(), PASSWORDS[1]);
        let rank = "SELECT product_id AS key, views AS priority FROM views ORDER BY views DESC";
        let load = "SELECT * FROM products WHERE id IN (:keys)";
        let launch = Program::new(env!("CARGO_BIN_EXE_stoke")).unwrap();
        let origin = self.postgres.url("postgres");
        launch
            .args(["warm", "--origin", &origin, "--rank", rank, "--load", load])
            .args(["--key", "product:{key}", "--ttl", "5m", "--output", "json"])
            .args(["--qps", "40", "--batch-keys", "100", "--workers", "2"])
            .env("STOKE_CACHE", cache)
            .start()
            .unwrap()
    }

    fn keys_on(&self, port: u16) -> u64 {
        let keys = self.cache.cli(port, &["DBSIZE"]).unwrap();
        keys.parse().unwrap()
    }

    /// Warms; in the middle of it `change` makes another node the master. Then that one has every key.
    fn warm_over(&self, change: impl FnOnce(&RedisSentinel)) {
        let old = self.cache.master().unwrap();
        let run = self.warm();
        run.wait_for("a quarter of the keys", PATIENCE, || {
            let keys = self.keys_on(old);
            anyhow::ensure!(keys >= PLANNED / 4, "{keys}");
            Ok(())
        })
        .unwrap();
        change(&self.cache);
        assert!(run.ended().unwrap().is_none(), "{}", run.log().unwrap());
        let code = run.wait(PATIENCE).unwrap().code().unwrap();
        let said = run.log().unwrap();
        assert_eq!(code, 0, "{said}");
        for password in PASSWORDS {
            assert!(!said.contains(password), "{said}");
        }
        let report: serde_json::Value = serde_json::from_str(&run.stdout().unwrap()).unwrap();
        assert_eq!(report["state"], "SUCCEEDED");
        // What was written without an answer, and then again, is found present.
        let of = |outcome: &str| report["outcomes"][outcome].as_u64().unwrap();
        assert_eq!(of("warmed") + of("present"), PLANNED, "{report}");
        let new = self.cache.master().unwrap();
        assert_ne!(old, new);
        self.assert_all_is_on(new);
    }

    /// The node has the value of each key, and no other key.
    fn assert_all_is_on(&self, port: u16) {
        assert_eq!(self.keys_on(port), PLANNED);
        let client = redis::Client::open(format!("redis://:{}@127.0.0.1:{port}", PASSWORDS[0]));
        let mut connection = client.unwrap().get_connection().unwrap();
        let mut gets = redis::pipe();
        for id in 1..=PLANNED {
            gets.cmd("GET").arg(format!("product:{id}"));
        }
        let values: Vec<Option<String>> = gets.query(&mut connection).unwrap();
        for (id, value) in (1..=PLANNED).zip(values) {
            let expected = format!(r#"{{"id":{id},"name":"product {id}"}}"#);
            assert_eq!(value, Some(expected), "{id}");
        }
    }
}

#[test]
fn a_master_that_is_replaced_by_an_operator_in_mid_run_costs_no_key() {
    Scene::start().warm_over(|cache| {
        cache.hand_over().unwrap();
    });
}

#[test]
fn a_master_that_is_killed_in_mid_run_costs_no_key_that_its_replica_has() {
    Scene::start().warm_over(|cache| {
        let master = cache.master().unwrap();
        // Redis answers before it has replicated: what its replica lacks at that moment would be lost.
        let held = cache.cli(master, &["CLIENT", "PAUSE", "600000", "WRITE"]);
        assert_eq!(held.unwrap(), "OK");
        cache.wait_until_replicated().unwrap();
        let replica = cache.replica().unwrap();
        cache.kill(master).unwrap();
        cache.wait_until_master(replica).unwrap();
    });
}
