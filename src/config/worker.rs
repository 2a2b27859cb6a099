//! A worker's configuration.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use stoke_core::ring::Weight;
use stoke_store::etcd::EtcdConfig;
use stoke_worker::Settings;
use stoke_worker::catalog::{CatalogFile, Surroundings};

use crate::telemetry;

use super::shared::{EtcdTable, Time, TimingTable};

/// How long a worker that vanished counts as alive where nothing is said.
const MEMBER_TTL: Duration = Duration::from_secs(5);

/// A worker's configuration, checked.
#[derive(Debug)]
pub struct WorkerConfig {
    /// The coordination store.
    pub etcd: EtcdConfig,
    /// Where it serves health and metrics over HTTP, if anywhere.
    pub http_listen: Option<std::net::SocketAddr>,
    /// Logs, metrics and traces.
    pub telemetry: telemetry::Settings,
    /// All else.
    pub settings: Settings,
}

/// The part of the file that concerns the process; the rest is the catalog's.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Process {
    name: String,
    #[serde(default)]
    weight: Weight,
    #[serde(default)]
    zone: String,
    member_ttl: Option<Time>,
    etcd: EtcdTable,
    #[serde(default)]
    timing: TimingTable,
}

/// All that may stand at the top of the file.
const TOP: [&str; 12] = [
    "name",
    "weight",
    "zone",
    "member-ttl",
    "etcd",
    "timing",
    "origins",
    "caches",
    "loaders",
    "sources",
    "allow-sql-in-jobs",
    "allow-files-in-jobs",
];

impl WorkerConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// What is wrong with it; of the catalog, all of it at once.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = super::read(path)?;
        Self::parse(&text)
            .with_context(|| format!("the configuration {} is not valid", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let top: toml::Table = super::parse(text)?;
        if let Some(unknown) = top.keys().find(|key| !TOP.contains(&key.as_str())) {
            anyhow::bail!(
                "there is no setting {unknown:?}: there are {}",
                TOP.join(", ")
            );
        }
        let process: Process = super::parse(text)?;
        let catalog: CatalogFile = super::parse(text)?;
        let catalog = catalog.check(text, &Surroundings::of_process())?;
        let timing = process.timing.timing().context("timing")?;
        for origin in catalog.origins.values() {
            anyhow::ensure!(
                origin.statement_timeout <= timing.statement_timeout,
                "origins.{}.statement-timeout is longer than timing.statement-timeout ({:?}), after which a dead \
                 worker's queries count as ended: shorten the one, or lengthen the other in all processes",
                origin.name,
                timing.statement_timeout
            );
        }
        let settings = Settings {
            name: process.name,
            weight: process.weight,
            zone: process.zone,
            member_ttl: process.member_ttl.map_or(MEMBER_TTL, |Time(ttl)| ttl),
            timing,
            catalog,
        };
        Ok(Self {
            etcd: process.etcd.config()?,
            http_listen: None,
            telemetry: telemetry::Settings::default(),
            settings,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: &str = r#"
        name = "w1"
        allow-sql-in-jobs = true
        [etcd]
        endpoints = ["http://127.0.0.1:2379"]
        [origins.shop]
        url = "postgres://stoke@localhost/shop"
        [caches.main]
        urls = ["redis://localhost:7001"]
        [loaders.product]
        origin = "shop"
        query = "SELECT * FROM products WHERE id IN (:keys)"
        key = "product:{key}"
        ttl = "1h"
    "#;

    #[test]
    fn process_and_catalog_stand_in_one_file() {
        let config = WorkerConfig::parse(FINE).unwrap();
        assert!(config.settings.catalog.allow_sql_in_jobs);
        assert_eq!(config.settings.catalog.loaders.len(), 1);
    }

    #[test]
    fn a_fault_tells_its_line_and_no_password() {
        let text = FINE.replace(
            "url = \"postgres://stoke@",
            "ulr = \"postgres://stoke:hunter2@",
        );
        let error = format!("{:#}", WorkerConfig::parse(&text).unwrap_err());
        assert!(error.contains("line 7") && error.contains("ulr"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn unknown_keys_are_refused_wherever_they_stand() {
        let error = |text: String| format!("{:#}", WorkerConfig::parse(&text).unwrap_err());
        assert!(error(FINE.replace("allow-sql-in-jobs", "allow-sql")).contains("allow-sql"));
        assert!(error(FINE.replace("ttl =", "tlt =")).contains("tlt"));
        assert!(error(FINE.replace("endpoints", "endpoint")).contains("endpoint"));
    }
}
