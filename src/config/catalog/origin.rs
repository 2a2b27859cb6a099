//! `[origins.NAME]`: a database.

use std::collections::BTreeMap;
use std::time::Duration;

use stoke_core::names::{OriginName, ProbeName};
use stoke_worker::catalog::{
    CANARY_DEFAULT, OriginConfig, OriginVigil, PROBE_INTERVAL_DEFAULT, PROBE_INTERVAL_MAX,
    PROBE_INTERVAL_MIN, ProbeConfig, REPLICA_LAG_INTERVAL_DEFAULT, REPLICA_LAG_MAX_DEFAULT,
    REPLICA_LAG_MAX_MAX, ReplicasConfig, SOURCE_TIMEOUT_DEFAULT, STATEMENT_TIMEOUT_DEFAULT,
    SecretUrl, TlsFiles,
};
use stoke_worker::origin::rewrite::Dialect;
use stoke_worker::origin::{Origin, say_their_lag};

use super::{by, url};
use crate::config::reader::{Entry, Item, Table};
use crate::config::shared::{TIMEOUT_MAX, TIMEOUT_MIN, tls};

/// The shortest lag that can be asked for: they are compared in seconds where there are several.
const REPLICA_LAG_MAX_MIN: Duration = Duration::from_millis(100);

pub(super) fn origin(entry: &Entry<'_>, table: &Table<'_>) -> Option<OriginConfig> {
    let name = entry.parsed(table);
    let replicas = replicas(table);
    let url = match &replicas {
        // They may be all that is known.
        Some(_) if table.optional("url").is_none() && table.optional("url-file").is_none() => None,
        _ => Some(origin_url(table)),
    };
    let in_file = matches!(&url, Some(Some((_, Dialect::Sqlite))));
    let tls = tls(
        table,
        in_file.then_some("an SQLite file is reached without TLS"),
    );
    let statement_timeout = timeout(table, "statement-timeout", STATEMENT_TIMEOUT_DEFAULT);
    let source_timeout = timeout(table, "source-timeout", SOURCE_TIMEOUT_DEFAULT);
    let vigil = vigil(table);
    let (ca, identity) = tls?;
    let primary = match url {
        Some(url) => Some(url?),
        None => None,
    };
    let (urls, replicas) = match replicas {
        Some(replicas) => {
            let (urls, replicas) = replicas?;
            (urls, Some(replicas))
        }
        None => (Vec::new(), None),
    };
    let mut dialects = primary.iter().chain(&urls).map(|(_, dialect)| *dialect);
    let first = dialects.next();
    if dialects.any(|dialect| Some(dialect) != first) {
        let what = "its url and replicas are not of the same kind of database";
        table.lacks(what, "name replicas of one database");
        return None;
    }
    let (url, dialect) = primary.or_else(|| urls.first().cloned())?;
    Some(OriginConfig {
        name: name?,
        url,
        dialect,
        statement_timeout: statement_timeout?,
        source_timeout: source_timeout?,
        tls: TlsFiles { ca, identity },
        vigil: vigil?,
        replicas,
    })
}

/// `replicas`, and what is said of them. `None` where there are none.
fn replicas(table: &Table<'_>) -> Option<Option<(Vec<Replica>, ReplicasConfig)>> {
    let list = table.optional("replicas");
    let lag_max = table.optional("replica-lag-max");
    let interval = table.optional("replica-lag-interval");
    let fallback = table.optional("replica-fallback");
    let Some(list) = list else {
        let alone = [&lag_max, &interval, &fallback].into_iter().flatten();
        alone.for_each(|item| {
            let remedy = "name them as replicas = [\"postgres://…\", …], or remove it";
            item.fault("there are no replicas that it could be of", remedy);
        });
        return None;
    };
    let urls = list.filled_list("name at least one replica");
    let urls = urls.and_then(|items| items.iter().map(replica).collect::<Option<Vec<_>>>());
    let lag_max = match &lag_max {
        Some(item) => item.duration(REPLICA_LAG_MAX_MIN..=REPLICA_LAG_MAX_MAX),
        None => Some(REPLICA_LAG_MAX_DEFAULT),
    };
    let lag_interval = match &interval {
        Some(item) => item.duration(PROBE_INTERVAL_MIN..=PROBE_INTERVAL_MAX),
        None => Some(REPLICA_LAG_INTERVAL_DEFAULT),
    };
    let falls_back = match &fallback {
        Some(item) => item.one_of(&[("none", false), ("primary", true)]),
        None => Some(false),
    };
    let has_primary = table.optional("url").is_some() || table.optional("url-file").is_some();
    if let (Some(item), Some(true), false) = (&fallback, falls_back, has_primary) {
        item.fault("there is no primary", "add its url, or url-file");
        return Some(None);
    }
    let all = || {
        let urls = urls?;
        let config = ReplicasConfig {
            urls: urls.iter().map(|(url, _)| url.clone()).collect(),
            has_primary,
            lag_max: lag_max?,
            lag_interval: lag_interval?,
            falls_back: falls_back?,
        };
        Some((urls, config))
    };
    Some(all())
}

/// A replica's URL, and which SQL it speaks.
type Replica = (SecretUrl, Dialect);

fn replica(item: &Item<'_>) -> Option<Replica> {
    let found = read_url(item, &item.secret()?)?;
    if !say_their_lag(found.1) {
        let remedy = "name databases of PostgreSQL, MySQL or MariaDB";
        item.fault("an SQLite file has no replicas", remedy);
        return None;
    }
    Some(found)
}

/// `canary`, and `[origins.NAME.probes.NAME]`.
fn vigil(table: &Table<'_>) -> Option<OriginVigil> {
    let canary = match table.optional("canary") {
        Some(item) => item.filled().map(str::to_owned),
        None => Some(CANARY_DEFAULT.to_owned()),
    };
    let mut probes = BTreeMap::new();
    let mut all_fine = true;
    table.named("probes", |entry, table| match probe(entry, table) {
        Some((name, probe)) => drop(probes.insert(name, probe)),
        None => all_fine = false,
    });
    let canary = canary?;
    all_fine.then_some(OriginVigil { canary, probes })
}

fn probe(entry: &Entry<'_>, table: &Table<'_>) -> Option<(ProbeName, ProbeConfig)> {
    let name = entry.parsed(table);
    let query = table.required("query", "query = \"SELECT …\", which gives one number");
    let query = query.and_then(|item| item.filled().map(str::to_owned));
    let interval = match table.optional("interval") {
        Some(item) => item.duration(PROBE_INTERVAL_MIN..=PROBE_INTERVAL_MAX),
        None => Some(PROBE_INTERVAL_DEFAULT),
    };
    let (query, interval) = (query?, interval?);
    Some((name?, ProbeConfig { query, interval }))
}

fn origin_url(table: &Table<'_>) -> Option<(SecretUrl, Dialect)> {
    let (item, text) = match (table.optional("url"), table.optional("url-file")) {
        (Some(url), None) => {
            let text = url.secret()?;
            (url, text)
        }
        (None, Some(file)) => {
            let text = file.file()?;
            (file, text)
        }
        (Some(url), Some(file)) => {
            table.contradiction(&url, &file, "keep one of them");
            return None;
        }
        (None, None) => {
            table.lacks("no url is given", "add url or url-file");
            return None;
        }
    };
    read_url(&item, &text)
}

fn read_url(item: &Item<'_>, text: &str) -> Option<(SecretUrl, Dialect)> {
    let begin = "begin the URL with postgres://, mysql:// or sqlite:";
    let url = url(item, text, begin)?;
    let dialect = match url.scheme() {
        "postgres" | "postgresql" => Dialect::Postgres,
        "mysql" | "mariadb" => Dialect::MySql,
        "sqlite" => Dialect::Sqlite,
        _ => {
            item.fault(format!("no database is reached {}", by(&url)), begin);
            return None;
        }
    };
    usable(item, &url, dialect)?;
    Some((url, dialect))
}

/// Whether whoever will connect can use the URL. What it says about it may repeat a part of the URL, and is not shown.
fn usable(item: &Item<'_>, url: &SecretUrl, dialect: Dialect) -> Option<()> {
    let name: OriginName = "checked".parse().ok()?;
    let alone = OriginConfig {
        name,
        url: url.clone(),
        dialect,
        statement_timeout: STATEMENT_TIMEOUT_DEFAULT,
        source_timeout: SOURCE_TIMEOUT_DEFAULT,
        tls: TlsFiles::default(),
        vigil: OriginVigil::default(),
        replicas: None,
    };
    let opened = Origin::open(&alone);
    let refused = |_| {
        let remedy = match dialect {
            Dialect::Postgres => {
                "write postgres://USER:PASSWORD@HOST:PORT/DATABASE, with %XX for special characters and \
                 parameters that PostgreSQL has, or pooler=transaction"
            }
            Dialect::MySql => {
                "write mysql://USER:PASSWORD@HOST:PORT/DATABASE, with %XX for special characters and no \
                 parameters but ssl-mode, ssl-ca, ssl-cert, ssl-key and socket"
            }
            Dialect::Sqlite => "write sqlite:FILE, without parameters",
        };
        item.fault("this URL cannot be used", remedy);
    };
    opened.map(drop).map_err(refused).ok()
}

fn timeout(table: &Table<'_>, key: &'static str, default: Duration) -> Option<Duration> {
    match table.optional(key) {
        Some(item) => item.duration(TIMEOUT_MIN..=TIMEOUT_MAX),
        None => Some(default),
    }
}
