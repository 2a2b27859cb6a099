//! A worker's configuration.

use std::path::Path;
use std::time::Duration;

use stoke_core::names::{NAME_LENGTH_MAX, WorkerName};
use stoke_core::ring::Weight;
use stoke_store::etcd::EtcdConfig;
use stoke_worker::Settings;

use crate::telemetry;

use super::catalog::{Found, catalog};
use super::fault::FileError;
use super::reader::{Item, Table};
use super::shared;
use super::values::show_duration;

/// The longest name: a dot and eight digits are added.
const NAME_MAX: usize = NAME_LENGTH_MAX - 9;
/// The highest weight.
const WEIGHT_MAX: u32 = 1_000_000;
/// The longest name of a zone, in characters.
const ZONE_MAX: usize = 63;
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

impl WorkerConfig {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// All that is wrong with it.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        super::read_file(path, Self::take)
    }

    pub(super) fn take(file: &Table<'_>) -> Option<Self> {
        let name: Option<WorkerName> = file
            .required("name", "name = \"w1\", what it is called")
            .and_then(|item| name(&item));
        let weight = match file.optional("weight") {
            Some(item) => item.small(1..=WEIGHT_MAX).and_then(Weight::new),
            None => Some(Weight::default()),
        };
        let zone = file.optional("zone").map(|item| item.short(ZONE_MAX));
        let said_ttl = file.optional("member-ttl");
        let member_ttl =
            shared::whole_seconds(said_ttl.as_ref()).map(|ttl| ttl.unwrap_or(MEMBER_TTL));
        let http_listen = shared::http_listen(file, None);
        let etcd = shared::etcd(file);
        let times = shared::timing(file);
        let fitting = etcd.zip(times.as_ref()).zip(member_ttl);
        let etcd = fitting.and_then(|((etcd, times), time)| {
            let (key, said) = ("member-ttl", said_ttl.as_ref());
            etcd.fitting(times, &shared::Ttl { key, said, time })
        });
        let telemetry = shared::telemetry(file);
        let found = catalog(file);
        if let (Some(found), Some(times)) = (&found, &times) {
            statements_end(found, times);
        }
        Some(Self {
            etcd: etcd?,
            http_listen: http_listen?,
            telemetry: telemetry?,
            settings: Settings {
                meter: stoke_worker::metrics::none(),
                name: name?.to_string(),
                weight: weight?,
                zone: shared::all_or_none(zone)?.unwrap_or_default(),
                member_ttl: member_ttl?,
                timing: times?.timing,
                untouched: None,
                catalog: found?.catalog,
            },
        })
    }
}

/// A name that leaves room for the incarnation that is added to it.
fn name(item: &Item<'_>) -> Option<WorkerName> {
    let name: WorkerName = item.name()?;
    if name.as_str().len() > NAME_MAX {
        item.fault(
            "it is too long",
            format!("use at most {NAME_MAX} characters"),
        );
        return None;
    }
    Some(name)
}

/// Notes which origins' statements may run on when a dead worker's count as ended.
fn statements_end(found: &Found<'_>, times: &shared::Times<'_>) {
    let (timing, said) = (&times.timing, times.statement_timeout.as_ref());
    let databases = found.catalog.origins.values();
    let databases = databases.map(|origin| (&origin.name, origin.statement_timeout));
    let redis = found.catalog.redis_origins.values();
    let redis = redis.map(|origin| (&origin.name, origin.statement_timeout));
    for (name, statement_timeout) in databases.chain(redis) {
        if statement_timeout <= timing.statement_timeout {
            continue;
        }
        let longest = show_duration(timing.statement_timeout);
        let limit = match said {
            Some(said) => format!("{}, {longest}", said.named()),
            None => format!("timing.statement-timeout, {longest} by default"),
        };
        let what = format!(
            "it is longer than {limit}, after which a dead worker's queries count as ended"
        );
        let remedy = "shorten the one, or lengthen the other in all processes";
        match (found.statement_timeouts.get(name), said) {
            (Some(item), _) => item.fault(what, remedy),
            // The default of origins is too long.
            (None, Some(said)) => said.fault(
                format!(
                    "it is shorter than origins.{}.statement-timeout, {} by default",
                    name,
                    show_duration(statement_timeout)
                ),
                remedy,
            ),
            (None, None) => {}
        }
    }
}

#[cfg(test)]
mod tests;
