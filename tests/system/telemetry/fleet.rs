//! Two coordinators and two workers that tell of themselves, with an etcd, a PostgreSQL and a Redis with a password.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::MutexGuard;
use std::time::Duration;

use stoke_harness::{
    Etcd, Postgres, Program, Prometheus, Redis, ServerDir, free_port, http_get, wait_for,
};
use stoke_proto::v1;

use super::collector::Addresses;
use crate::scene::{PATIENCE, alone};

/// What must not be told.
pub const CACHE_PASSWORD: &str = "s3cr3t-of-the-cache";
/// Nor this. (The server asks nobody for it, but the worker has it.)
pub const ORIGIN_PASSWORD: &str = "s3cr3t-of-the-origin";
/// Nor what of a variable cannot be used.
pub const COLLECTOR_PASSWORD: &str = "s3cr3t of the collector";
/// Keys in the plan: at 10 queries a second of 100 keys, some seconds of work.
pub const PLANNED: u64 = 8_000;
const QPS: u32 = 10;
const BATCH_KEYS: u32 = 100;

/// A process that tells of itself.
pub struct Process {
    pub role: &'static str,
    pub program: Program,
    /// Its HTTP port.
    pub http: u16,
    /// Where it serves gRPC, if it does.
    pub address: String,
}

pub struct Fleet {
    pub etcd: Etcd,
    postgres: Postgres,
    redis: Redis,
    plans: ServerDir,
    pub processes: Vec<Process>,
    _alone: MutexGuard<'static, ()>,
}

impl Fleet {
    /// Starts all of it. What the standby tells goes to a collector that is not there; what the second worker tells, over
    /// TLS.
    pub fn start(collector: &Addresses) -> Self {
        let alone = alone();
        let mut fleet = Self {
            etcd: Etcd::start().unwrap(),
            postgres: Postgres::start().unwrap(),
            redis: Redis::start_with(&[("requirepass", CACHE_PASSWORD)]).unwrap(),
            plans: ServerDir::new("plans").unwrap(),
            processes: Vec::new(),
            _alone: alone,
        };
        fleet.fill();
        fleet.coordinator("c1", &collector.plain);
        wait_for("a leader", PATIENCE, || {
            fleet.etcd.ctl(&["get", "/stoke/v1/leader"]).and_then(|l| {
                anyhow::ensure!(l.contains("c1"), "nobody leads");
                Ok(())
            })
        })
        .unwrap();
        let nobody = format!("http://127.0.0.1:{}", free_port().unwrap());
        fleet.coordinator("c2", &nobody);
        fleet.worker("w1", &collector.plain, None);
        let trusted = collector.authority.certificate();
        fleet.worker("w2", &collector.tls, Some(&trusted));
        fleet
    }

    /// Some items: each tenth is in the cache already, some are not in the database, and some have no form in JSON.
    fn fill(&self) {
        let sql = format!(
            "CREATE TABLE items (id bigint PRIMARY KEY, weight float8);
             INSERT INTO items SELECT id, CASE WHEN id % 100 = 1 THEN 'NaN' ELSE id::float8 END
               FROM generate_series(1, {PLANNED}) AS id WHERE id % 50 <> 3;"
        );
        self.postgres.psql("postgres", &sql).unwrap();
        let script =
            format!("for id = 10, {PLANNED}, 10 do redis.call('SET', 'item:' .. id, 'there') end");
        self.redis.cli(&["EVAL", &script, "0"]).unwrap();
    }

    fn coordinator(&mut self, name: &str, collector: &str) {
        let (port, http) = (free_port().unwrap(), free_port().unwrap());
        let config = format!(
            r#"
            name = "{name}"
            listen = "127.0.0.1:{port}"
            http-listen = "127.0.0.1:{http}"
            plan-store = "{plans}"
            leader-ttl = "2s"
            [telemetry]
            log-format = "json"
            otlp-endpoint = "{collector}"
            [etcd]
            endpoints = ["{etcd}"]
            [budgets."origin/shop"]
            qps = {QPS}
            [budgets."origin/shop".guards.latency]
            latency = "p99"
            above = "1h"
            stale-after = "1h"
            action = "slow"
            [budgets."cache/main"]
            qps = 50000
            "#,
            plans = self.plans.path().display(),
            etcd = self.etcd.endpoint(),
        );
        let address = format!("http://127.0.0.1:{port}");
        self.run("coordinator", &config, http, address, &[]);
    }

    /// A worker; of those on this machine who are trusted are those in a file, if one is named.
    fn worker(&mut self, name: &str, collector: &str, trusted: Option<&Path>) {
        let http = free_port().unwrap();
        let config = format!(
            r#"
            name = "{name}"
            http-listen = "127.0.0.1:{http}"
            member-ttl = "2s"
            allow-sql-in-jobs = true
            [telemetry]
            log-format = "json"
            log-filter = "info,stoke_worker=debug"
            otlp-endpoint = "{collector}"
            [etcd]
            endpoints = ["{etcd}"]
            [origins.shop]
            url = "{postgres}"
            # The same once more: a server that is no standby counts as a replica without lag.
            replicas = ["{postgres}"]
            [caches.main]
            urls = ["{redis}"]
            [loaders.item]
            origin = "shop"
            query = "SELECT * FROM items WHERE id IN (:keys)"
            key = "item:{{key}}"
            ttl = "1h"
            batch-keys = {BATCH_KEYS}
            "#,
            etcd = self.etcd.endpoint(),
            postgres =
                (self.postgres.url("postgres")).replace("@", &format!(":{ORIGIN_PASSWORD}@")),
            redis = self.redis.url(),
        );
        let trusted = trusted.map(|file| ("SSL_CERT_FILE", file.as_os_str()));
        self.run("worker", &config, http, String::new(), trusted.as_slice());
    }

    /// A worker that is told by a variable only where its collector is; it is ready.
    pub fn another_worker(&self, variable: (&str, &OsStr)) -> Program {
        let http = free_port().unwrap();
        let config = format!(
            "name = \"w3\"\nhttp-listen = \"127.0.0.1:{http}\"\n[etcd]\nendpoints = [\"{}\"]\n\
             [origins.other]\nurl = \"postgres://nobody@127.0.0.1:1/none\"\n",
            self.etcd.endpoint()
        );
        start("worker", &config, http, &[variable])
    }

    fn run(
        &mut self,
        role: &'static str,
        config: &str,
        http: u16,
        address: String,
        environment: &[(&str, &OsStr)],
    ) {
        let program = start(role, config, http, environment);
        self.processes.push(Process {
            role,
            program,
            http,
            address,
        });
    }

    pub fn of_role(&self, role: &str) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(move |p| p.role == role)
    }

    /// A Prometheus that scrapes all of it each second, with the jobs' names of the example.
    pub fn prometheus(&self) -> Prometheus {
        let targets = |role| {
            let targets = self.of_role(role);
            let targets: Vec<String> = targets.map(|p| format!("'127.0.0.1:{}'", p.http)).collect();
            targets.join(", ")
        };
        let config = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n\
             - {{job_name: stoke-coordinator, static_configs: [{{targets: [{}]}}]}}\n\
             - {{job_name: stoke-worker, static_configs: [{{targets: [{}]}}]}}\n",
            targets("coordinator"),
            targets("worker")
        );
        Prometheus::start(&config).unwrap()
    }

    /// A page of each process.
    pub fn pages(&self, path: &str) -> Vec<(&'static str, u16, String)> {
        let page = |process: &Process| {
            let (status, text) = http_get(process.http, path).unwrap();
            (process.role, status, text)
        };
        self.processes.iter().map(page).collect()
    }

    /// Waits until a page of every process has this status; gives the pages.
    pub fn wait_for_status(&self, path: &str, status: u16) -> Vec<String> {
        let all = || {
            let pages = self.pages(path);
            let other = pages.iter().find(|(_, found, _)| *found != status);
            anyhow::ensure!(other.is_none(), "{other:?}");
            Ok(pages.into_iter().map(|(_, _, text)| text).collect())
        };
        wait_for(
            &format!("{path} to be {status}"),
            Duration::from_secs(60),
            all,
        )
        .unwrap()
    }
}

/// Starts a process that serves HTTP there, and waits until it is ready.
fn start(role: &str, config: &str, http: u16, environment: &[(&str, &OsStr)]) -> Program {
    let mut launch = Program::new(env!("CARGO_BIN_EXE_stoke")).unwrap().arg(role);
    for (name, value) in environment {
        launch = launch.env(name, value);
    }
    let program = launch
        .config("--config", "stoke.toml", config)
        .unwrap()
        .env("OTEL_METRIC_EXPORT_INTERVAL", "500")
        .start()
        .unwrap();
    let ready = || {
        let (status, text) = http_get(http, "/readyz")?;
        anyhow::ensure!(status == 200, "{status}: {text}");
        Ok(())
    };
    program.wait_for("it to be ready", PATIENCE, ready).unwrap();
    program
}

/// The items, all of them.
pub fn job() -> v1::JobSpec {
    let sql = v1::SqlSource {
        origin: "shop".into(),
        query: format!(
            "SELECT id AS key, {PLANNED} - id AS priority FROM generate_series(1, {PLANNED}) AS id"
        ),
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
        allowed_failures: 1000,
        ..v1::BatchWork::default()
    };
    v1::JobSpec {
        work: Some(v1::job_spec::Work::Batch(batch)),
        ..v1::JobSpec::default()
    }
}
