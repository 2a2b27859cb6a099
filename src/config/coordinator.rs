//! A coordinator's configuration.

mod accesses;
mod guards;
mod retention;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use stoke_coordinator::ranking::RankingSettings;
use stoke_coordinator::{Guarding, Settings};
use stoke_core::ledger::Share;
use stoke_core::names::{Resource, WorkerName};
use stoke_store::etcd::EtcdConfig;

use crate::telemetry;

use super::fault::FileError;
use super::reader::{Item, Table};
use super::shared;
use super::values::RATE_MIN;

/// How long a leader that vanished keeps its place where nothing is said.
const LEADER_TTL: Duration = Duration::from_secs(5);
/// How many queries may be unanswered at one time where nothing is said.
const IN_FLIGHT: u64 = 16;
/// The fraction of a database's capacity that a budget takes where nothing is said.
const FRACTION: f64 = 0.2;
/// The smallest such fraction.
const FRACTION_MIN: f64 = 0.001;
/// The most queries that may be unanswered at one time: more than any database has connections.
pub const IN_FLIGHT_MAX: u64 = 100_000;
/// The least memory that ranking may have: a few messages' worth of entries.
const RANKING_MEMORY_MIN: u64 = 16 << 20;
/// The most.
const RANKING_MEMORY_MAX: u64 = 1 << 40;
/// The largest burst.
pub const BURST_MAX: u64 = 1_000_000;

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

impl CoordinatorConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        super::read_file(path, Self::take)
    }

    pub(super) fn take(file: &Table<'_>) -> Option<Self> {
        // A name as workers', jobs' and all others' are.
        let name: Option<WorkerName> = file
            .required("name", "name = \"c1\", its name among the coordinators")
            .and_then(|item| item.name());
        let listens = file.required("listen", "listen = \"0.0.0.0:7400\"");
        let listen = listens.as_ref().and_then(Item::address);
        let http_listen = shared::http_listen(file, listens.as_ref().zip(listen));
        let advertise = advertise(file, listens.as_ref().zip(listen));
        let plan_store = file
            .required("plan-store", "plan-store = \"DIRECTORY\"")
            .and_then(|item| item.path());
        let ranking = ranking(file);
        let said_ttl = file.optional("leader-ttl");
        let leader_ttl =
            shared::whole_seconds(said_ttl.as_ref()).map(|ttl| ttl.unwrap_or(LEADER_TTL));
        let etcd = shared::etcd(file);
        let times = shared::timing(file);
        let fitting = etcd.zip(times.as_ref()).zip(leader_ttl);
        let etcd = fitting.and_then(|((etcd, times), time)| {
            let (key, said) = ("leader-ttl", said_ttl.as_ref());
            etcd.fitting(times, &shared::Ttl { key, said, time })
        });
        let telemetry = shared::telemetry(file);
        let retention = retention::retention(file);
        let accesses = accesses::accesses(file);
        let (budgets, guards) = budgets(file).unzip();
        let listen = listen?;
        Some(Self {
            listen,
            plan_store: plan_store?,
            etcd: etcd?,
            http_listen: http_listen?,
            telemetry: telemetry?,
            settings: Settings {
                meter: stoke_coordinator::metrics::none(),
                name: name?.to_string(),
                address: advertise?,
                budgets: budgets?,
                guards: guards?,
                timing: times?.timing,
                retention: retention?,
                accesses: accesses?,
                leader_ttl: leader_ttl?,
                ranking: ranking?,
            },
        })
    }
}

/// `ranking-memory` and `spill-dir`.
fn ranking(file: &Table<'_>) -> Option<RankingSettings> {
    let default = RankingSettings::default();
    let memory = file
        .optional("ranking-memory")
        .map(|item| item.size(RANKING_MEMORY_MIN..=RANKING_MEMORY_MAX));
    let spill_dir = file.optional("spill-dir").map(|item| item.path());
    let memory_bytes = match shared::all_or_none(memory)? {
        Some(bytes) => usize::try_from(bytes).unwrap_or(usize::MAX),
        None => default.memory_bytes,
    };
    Some(RankingSettings {
        memory_bytes,
        spill_dir: shared::all_or_none(spill_dir)?.unwrap_or(default.spill_dir),
    })
}

/// Where others call the coordinator: by default where it listens.
fn advertise(file: &Table<'_>, listens: Option<(&Item<'_>, SocketAddr)>) -> Option<String> {
    if let Some(item) = file.optional("advertise") {
        return address(&item);
    }
    let (item, listen) = listens?;
    if listen.ip().is_unspecified() {
        let what = "that is every address of this machine, and none that others can call";
        item.fault(what, "add advertise = \"http://HOST:PORT\"");
        return None;
    }
    Some(format!("http://{listen}"))
}

/// An address that others can call.
fn address(item: &Item<'_>) -> Option<String> {
    let address = item.filled()?;
    if address.starts_with("https://") {
        item.fault("coordinators speak no TLS", "write http://HOST:PORT");
        return None;
    }
    let rest = address.strip_prefix("http://");
    if rest.is_none_or(|rest| rest.is_empty() || rest.contains(['@', ' '])) {
        item.fault("it is no address", "write http://HOST:PORT");
        return None;
    }
    Some(address.to_owned())
}

type Budgets = BTreeMap<Resource, Share>;

fn budgets(file: &Table<'_>) -> Option<(Budgets, BTreeMap<Resource, Guarding>)> {
    let mut budgets = BTreeMap::new();
    let mut guards = BTreeMap::new();
    let mut fine = true;
    file.named("budgets", |entry, table| {
        let resource = entry.text().parse::<Resource>();
        if resource.is_err() {
            let remedy = "write it as [budgets.\"origin/NAME\"] or [budgets.\"cache/NAME\"]";
            entry.fault(table, "it names no resource", remedy);
        }
        let of_cache = matches!(resource, Ok(Resource::Cache(_)));
        let (budget, guarding) = (budget(table), guards::guards(table, of_cache));
        match (resource, budget, guarding) {
            (Ok(resource), Some(share), Some(guarding)) => {
                guards.extend(guarding.map(|guarding| (resource.clone(), guarding)));
                budgets.insert(resource, share);
            }
            _ => fine = false,
        }
    });
    fine.then_some((budgets, guards))
}

/// `[budgets."origin/NAME"]`: queries a second, or what the database bears and how much of that may be used.
fn budget(table: &Table<'_>) -> Option<Share> {
    let in_flight = match table.optional("in-flight") {
        Some(item) => item.integer(1..=IN_FLIGHT_MAX),
        None => Some(IN_FLIGHT),
    };
    let burst = table
        .optional("burst")
        .map(|item| item.integer(1..=BURST_MAX));
    let rows = table.optional("rows").map(|item| rows(&item));
    let qps = qps(table);
    let share = share(qps?, in_flight?, shared::all_or_none(burst)?);
    let rows = shared::all_or_none(rows)?.unwrap_or(Share::ANY_ROWS);
    Some(Share { rows, ..share })
}

/// Rows a second: whole ones, since a share of less lets nothing out.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked to be from 1 to 1e9"
)]
fn rows(item: &Item<'_>) -> Option<u64> {
    let rows = item.rate()?;
    if rows < 1.0 {
        item.fault(
            "it is less than a row a second",
            "choose from 1/s to 1000000000/s",
        );
        return None;
    }
    Some(rows.round() as u64)
}

fn qps(table: &Table<'_>) -> Option<f64> {
    let keys = ["qps", "capacity", "fraction"].map(|key| table.optional(key));
    let [qps, capacity, fraction] = &keys;
    let rates = [qps, capacity].map(|item| item.as_ref().map(Item::rate));
    let share = fraction
        .as_ref()
        .map(|item| item.number(FRACTION_MIN..=1.0));
    match (qps, capacity, fraction) {
        (Some(qps), Some(other), _) | (Some(qps), None, Some(other)) => {
            let remedy = "set either qps, or capacity (and fraction)";
            table.contradiction(qps, other, remedy);
            None
        }
        (Some(_), None, None) => rates[0]?,
        (None, Some(item), _) => {
            let qps = rates[1]?? * share.unwrap_or(Some(FRACTION))?;
            // As for a rate that is written: what is less is none once it is kept in thousandths.
            if qps > 0.0 && qps < RATE_MIN {
                item.fault(
                    "less than 0.001/s of it may be used",
                    "raise capacity or fraction",
                );
                return None;
            }
            Some(qps)
        }
        (None, None, Some(fraction)) => {
            fraction.lacks("it stands without capacity", "add capacity");
            None
        }
        (None, None, None) => {
            table.lacks(
                "it has no rate",
                "set either qps, or capacity (and fraction)",
            );
            None
        }
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
    let burst = burst.unwrap_or_else(|| (rate_milli / 1000).clamp(in_flight.max(1), BURST_MAX));
    Share {
        rate_milli,
        burst,
        in_flight,
        rows: Share::ANY_ROWS,
    }
}

#[cfg(test)]
mod tests;
