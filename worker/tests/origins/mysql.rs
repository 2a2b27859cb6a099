//! Origins in MariaDB, as the worker reaches them: what is loaded is what the table in `origin/mysql.rs` says, and nothing is sent
//! without a token, as the server's general log tells.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use stoke_harness::MariaDb;
use stoke_worker::catalog::{
    OriginConfig, OriginVigil, SOURCE_TIMEOUT_DEFAULT, SecretUrl, TlsFiles,
};
use stoke_worker::origin::Origin;
use stoke_worker::origin::rewrite::Dialect;

#[path = "mysql/cost.rs"]
mod cost;
#[path = "mysql/failures.rs"]
mod failures;
#[path = "mysql/keys.rs"]
mod keys;
#[path = "mysql/probes.rs"]
mod probes;
#[path = "mysql/sources.rs"]
mod sources;
#[path = "mysql/tls.rs"]
mod tls;
#[path = "mysql/values.rs"]
mod values;

const LONG: Duration = Duration::from_secs(30);

/// A database of its own on the server that the tests of MariaDB share.
pub(crate) struct Shop {
    name: String,
    server: &'static MariaDb,
}

impl Shop {
    fn new() -> Self {
        static SERVER: OnceLock<MariaDb> = OnceLock::new();
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = SERVER.get_or_init(|| MariaDb::start().unwrap());
        let name = format!("test_{}", COUNT.fetch_add(1, Relaxed));
        server.sql("", &format!("CREATE DATABASE {name}")).unwrap();
        Self { name, server }
    }

    pub(crate) fn with(sql: &str) -> Self {
        let shop = Self::new();
        shop.sql(sql);
        shop
    }

    pub(crate) fn sql(&self, sql: &str) -> String {
        self.server.sql(&self.name, sql).unwrap()
    }

    pub(crate) fn origin(&self) -> Origin {
        origin(&self.server.url(&self.name), LONG, TlsFiles::default())
    }

    /// How many of our sessions are in this database.
    fn sessions(&self) -> String {
        self.server
            .sql(
                "",
                &format!(
                    "SELECT count(*) FROM information_schema.processlist WHERE user = 'stoke' AND db = '{}'",
                    self.name
                ),
            )
            .unwrap()
    }
}

pub(crate) fn origin(url: &str, statement_timeout: Duration, tls: TlsFiles) -> Origin {
    Origin::open(&OriginConfig {
        name: "shop".parse().unwrap(),
        url: SecretUrl::new(url).unwrap(),
        dialect: Dialect::MySql,
        statement_timeout,
        source_timeout: SOURCE_TIMEOUT_DEFAULT,
        tls,
        vigil: OriginVigil::default(),
        replicas: None,
    })
    .unwrap()
}
