//! A coordinator's configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use serde::Deserialize;
use stoke_coordinator::Settings;
use stoke_core::ledger::Share;
use stoke_core::names::Resource;
use stoke_store::etcd::EtcdConfig;

use crate::telemetry;

use super::shared::{EtcdTable, Time, TimingTable};

/// How long a leader that vanished keeps its place where nothing is said.
const LEADER_TTL: Duration = Duration::from_secs(5);
/// How many queries may be unanswered at one time where nothing is said.
const IN_FLIGHT: u64 = 16;
/// The fraction of a database's capacity that a budget takes where nothing is said.
const FRACTION: f64 = 0.2;

/// A coordinator's configuration, checked.
#[derive(Debug)]
pub struct CoordinatorConfig {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The directory that plans are kept in.
    pub plan_store: PathBuf,
    /// The coordination store.
    pub etcd: EtcdConfig,
    /// Where it serves health and metrics over HTTP, if anywhere.
    pub http_listen: Option<SocketAddr>,
    /// Logs, metrics and traces.
    pub telemetry: telemetry::Settings,
    /// All else.
    pub settings: Settings,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    /// Its name among the coordinators.
    name: String,
    /// Where it listens.
    listen: SocketAddr,
    /// Where others can call it: by default where it listens.
    advertise: Option<String>,
    /// The directory that plans are kept in: all coordinators of a cluster share one.
    plan_store: PathBuf,
    /// How long a leader that vanished keeps its place, in whole seconds.
    leader_ttl: Option<Time>,
    etcd: EtcdTable,
    #[serde(default)]
    timing: TimingTable,
    /// By resource: `[budgets."origin/NAME"]`.
    #[serde(default)]
    budgets: BTreeMap<Resource, BudgetTable>,
}

/// `[budgets."origin/NAME"]`: queries a second, or what the database bears and how much of that may be used.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct BudgetTable {
    qps: Option<f64>,
    capacity: Option<f64>,
    fraction: Option<f64>,
    in_flight: Option<u64>,
    burst: Option<u64>,
}

impl CoordinatorConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// What is wrong with it, with its line where that is known.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = super::read(path)?;
        Self::parse(&text)
            .with_context(|| format!("the configuration {} is not valid", path.display()))
    }

    fn parse(text: &str) -> anyhow::Result<Self> {
        let file: File = super::parse(text)?;
        // A name as workers', jobs' and all others' are.
        let _: stoke_core::names::WorkerName = file.name.parse().context("name")?;
        let budgets = file.budgets.iter().map(|(resource, table)| {
            let share = table
                .share()
                .with_context(|| format!("budgets.\"{resource}\""))?;
            Ok((resource.clone(), share))
        });
        let budgets = budgets.collect::<anyhow::Result<_>>()?;
        let settings = Settings {
            name: file.name,
            address: file
                .advertise
                .unwrap_or_else(|| format!("http://{}", file.listen)),
            budgets,
            timing: file.timing.timing().context("timing")?,
            leader_ttl: file.leader_ttl.map_or(LEADER_TTL, |Time(ttl)| ttl),
        };
        Ok(Self {
            listen: file.listen,
            plan_store: file.plan_store,
            etcd: file.etcd.config()?,
            http_listen: None,
            telemetry: telemetry::Settings::default(),
            settings,
        })
    }
}

impl BudgetTable {
    fn share(&self) -> anyhow::Result<Share> {
        let qps = match (self.qps, self.capacity) {
            (Some(qps), None) if self.fraction.is_none() => qps,
            (None, Some(capacity)) => {
                let fraction = self.fraction.unwrap_or(FRACTION);
                anyhow::ensure!(
                    fraction > 0.0 && fraction <= 1.0,
                    "fraction must be above 0 and at most 1"
                );
                capacity * fraction
            }
            _ => anyhow::bail!("set either qps, or capacity (and fraction)"),
        };
        anyhow::ensure!(
            (0.0..=1e9).contains(&qps),
            "queries a second must be from 0 to 1e9"
        );
        Ok(share(qps, self.in_flight.unwrap_or(IN_FLIGHT), self.burst))
    }
}

/// A budget of so many queries a second. The burst is a bound only: the gate uses a fiftieth of a second's queries.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be from 0 to 1e9"
)]
pub fn share(qps: f64, in_flight: u64, burst: Option<u64>) -> Share {
    let rate_milli = (qps * 1000.0).round() as u64;
    let burst = burst.unwrap_or_else(|| (rate_milli / 1000).clamp(in_flight.max(1), 1_000_000));
    Share {
        rate_milli,
        burst,
        in_flight,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FINE: &str = r#"
        name = "c1"
        listen = "127.0.0.1:7400"
        plan-store = "/var/lib/stoke"
        [etcd]
        endpoints = ["http://127.0.0.1:2379"]
        [budgets."origin/shop"]
        qps = 20
        [budgets."origin/big"]
        capacity = 1000
    "#;

    #[test]
    fn a_budget_is_a_rate_or_a_fifth_of_what_the_database_bears() {
        let config = CoordinatorConfig::parse(FINE).unwrap();
        let rate =
            |name: &str| config.settings.budgets[&name.parse::<Resource>().unwrap()].rate_milli;
        assert_eq!((rate("origin/shop"), rate("origin/big")), (20_000, 200_000));
        assert_eq!(config.settings.address, "http://127.0.0.1:7400");
    }

    #[test]
    fn unknown_keys_and_contradictions_are_refused_and_named() {
        let error = |text: &str| format!("{:#}", CoordinatorConfig::parse(text).unwrap_err());
        assert!(error(&FINE.replace("qps = 20", "qsp = 20")).contains("qsp"));
        assert!(
            error(&FINE.replace("qps = 20", "qps = 20\nfraction = 0.1")).contains("origin/shop")
        );
        assert!(error(&FINE.replace("origin/shop", "shop")).contains("origin/NAME"));
        assert!(error(&format!("{FINE}\n[timing]\nquarantine = '1s'")).contains("quarantine"));
    }
}
