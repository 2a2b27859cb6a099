//! Origins against real databases: what is loaded is what PostgreSQL itself would write, and nothing is sent without a
//! token, as the server's own log tells.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use async_trait::async_trait;
use stoke_core::value::ValueSpec;
use stoke_harness::Postgres;
use stoke_worker::catalog::{LoaderSpec, OriginConfig, SOURCE_TIMEOUT_DEFAULT, SecretUrl};
use stoke_worker::origin::rewrite::Dialect;
use stoke_worker::origin::{Answer, Origin};
use stoke_worker::permit::{InFlight, Permit, Stopped};
use stoke_worker::value::Value;

#[path = "origins/composite.rs"]
mod composite;
#[path = "origins/connections.rs"]
mod connections;
#[path = "origins/cost.rs"]
mod cost;
#[path = "origins/failures.rs"]
mod failures;
#[path = "origins/forms.rs"]
mod forms;
#[path = "origins/json.rs"]
mod json;
#[path = "origins/keys.rs"]
mod keys;
#[path = "origins/mysql.rs"]
mod mysql;
#[path = "origins/pgbouncer.rs"]
mod pgbouncer;
#[path = "origins/prepare.rs"]
mod prepare;
#[path = "origins/probes.rs"]
mod probes;
#[path = "origins/prometheus.rs"]
mod prometheus;
#[path = "origins/redis.rs"]
mod redis_origins;
#[path = "origins/replicas.rs"]
mod replicas;
#[path = "origins/rows.rs"]
mod rows;
#[path = "origins/scans.rs"]
mod scans;
#[path = "origins/sources.rs"]
mod sources;
#[path = "origins/sqlite.rs"]
mod sqlite;
#[path = "origins/tls.rs"]
mod tls;

/// A database of its own on the server that the tests of this file share.
struct Database {
    name: String,
    server: &'static Postgres,
}

impl Database {
    fn new() -> Self {
        static SERVER: OnceLock<Postgres> = OnceLock::new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = SERVER.get_or_init(|| Postgres::start().unwrap());
        let name = format!("test_{}", COUNT.fetch_add(1, Relaxed));
        server
            .psql("postgres", &format!("CREATE DATABASE {name}"))
            .unwrap();
        Self { name, server }
    }

    fn sql(&self, sql: &str) -> String {
        self.server.psql(&self.name, sql).unwrap()
    }

    fn origin(&self) -> Origin {
        postgres_origin(&self.server.url(&self.name), Duration::from_secs(30))
    }
}

fn postgres_origin(url: &str, statement_timeout: Duration) -> Origin {
    Origin::open(&OriginConfig {
        name: "shop".parse().unwrap(),
        url: SecretUrl::new(url).unwrap(),
        dialect: Dialect::Postgres,
        statement_timeout,
        source_timeout: SOURCE_TIMEOUT_DEFAULT,
        tls: stoke_worker::catalog::TlsFiles::default(),
        vigil: stoke_worker::catalog::OriginVigil::default(),
        replicas: None,
    })
    .unwrap()
}

fn loader(query: &str) -> LoaderSpec {
    LoaderSpec {
        name: "items".parse().unwrap(),
        origin: "shop".parse().unwrap(),
        query: query.to_owned(),
        key: stoke_core::template::Template::parse("item:{key}").unwrap(),
        key_column: Default::default(),
        ttl: Duration::from_secs(60),
        ttl_jitter_permille: 0,
        batch_keys: 500.into(),
        max_value_bytes: 1 << 20,
        value: ValueSpec::default(),
        scan: None,
    }
}

fn keys(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|&key| key.to_owned()).collect()
}

fn row(json: &str) -> Answer {
    Answer::Row(Value::String(json.to_owned().into()).into())
}

/// The string that an answer is.
fn string(answer: &Answer) -> &[u8] {
    match answer {
        Answer::Row(made) => made.value.string().expect("a string"),
        other => panic!("no row: {other:?}"),
    }
}

fn reason(answer: &Answer) -> &str {
    match answer {
        Answer::Failed { reason } => reason,
        other => panic!("not failed: {other:?}"),
    }
}

/// Counts tokens, and can stop.
#[derive(Debug, Default)]
struct Tokens {
    taken: AtomicU64,
    stopped: AtomicBool,
}

impl Tokens {
    fn taken(&self) -> u64 {
        self.taken.load(Relaxed)
    }
}

#[async_trait]
impl Permit for Tokens {
    async fn enter(&self) -> Result<InFlight, Stopped> {
        Ok(InFlight(None))
    }

    async fn pass(&self, tokens: u32) -> Result<(), Stopped> {
        if self.stopped.load(Relaxed) {
            return Err(Stopped);
        }
        self.taken.fetch_add(tokens.into(), Relaxed);
        Ok(())
    }
}
