//! `[origins.NAME]`: a database.

use std::collections::BTreeMap;
use std::time::Duration;

use stoke_core::names::{OriginName, ProbeName};
use stoke_worker::catalog::{
    CANARY_DEFAULT, OriginConfig, OriginVigil, PROBE_INTERVAL_DEFAULT, PROBE_INTERVAL_MAX,
    PROBE_INTERVAL_MIN, ProbeConfig, SOURCE_TIMEOUT_DEFAULT, STATEMENT_TIMEOUT_DEFAULT, SecretUrl,
    TlsFiles,
};
use stoke_worker::origin::Origin;
use stoke_worker::origin::rewrite::Dialect;

use super::{by, url};
use crate::config::reader::{Entry, Item, Table};
use crate::config::shared::{TIMEOUT_MAX, TIMEOUT_MIN, tls};

pub(super) fn origin(entry: &Entry<'_>, table: &Table<'_>) -> Option<OriginConfig> {
    let name = entry.parsed(table);
    let url = origin_url(table);
    let in_file = matches!(&url, Some((_, Dialect::Sqlite)));
    let tls = tls(
        table,
        in_file.then_some("an SQLite file is reached without TLS"),
    );
    let statement_timeout = timeout(table, "statement-timeout", STATEMENT_TIMEOUT_DEFAULT);
    let source_timeout = timeout(table, "source-timeout", SOURCE_TIMEOUT_DEFAULT);
    let vigil = vigil(table);
    let (url, dialect) = url?;
    let (ca, identity) = tls?;
    Some(OriginConfig {
        name: name?,
        url,
        dialect,
        statement_timeout: statement_timeout?,
        source_timeout: source_timeout?,
        tls: TlsFiles { ca, identity },
        vigil: vigil?,
    })
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
    let begin = "begin the URL with postgres://, mysql:// or sqlite:";
    let url = url(&item, &text, begin)?;
    let dialect = match url.scheme() {
        "postgres" | "postgresql" => Dialect::Postgres,
        "mysql" | "mariadb" => Dialect::MySql,
        "sqlite" => Dialect::Sqlite,
        _ => {
            item.fault(format!("no database is reached {}", by(&url)), begin);
            return None;
        }
    };
    usable(&item, &url, dialect)?;
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
    };
    let opened = Origin::open(&alone);
    let refused = |_| {
        let remedy = match dialect {
            Dialect::Postgres => {
                "write postgres://USER:PASSWORD@HOST:PORT/DATABASE, with %XX for special characters and \
                 parameters that PostgreSQL has"
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
