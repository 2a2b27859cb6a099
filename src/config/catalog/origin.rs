//! `[origins.NAME]`: a database, or another Redis.

use std::collections::BTreeMap;
use std::time::Duration;

use stoke_core::names::{OriginName, ProbeName};
use stoke_worker::catalog::{
    CANARY_DEFAULT, OriginConfig, OriginVigil, PROBE_INTERVAL_DEFAULT, PROBE_INTERVAL_MAX,
    PROBE_INTERVAL_MIN, ProbeConfig, RedisOrigin, SOURCE_TIMEOUT_DEFAULT,
    STATEMENT_TIMEOUT_DEFAULT, SecretUrl, TlsFiles,
};
use stoke_worker::origin::rewrite::Dialect;

use super::cache::with_secrets;
use super::{by, url};
use crate::config::reader::{Entry, Item, Table};
use crate::config::shared::{TIMEOUT_MAX, TIMEOUT_MIN, tls};

/// What values are loaded from.
pub(super) enum Origin {
    Database(OriginConfig),
    Redis(RedisOrigin),
}

impl Origin {
    pub(super) const fn name(&self) -> &OriginName {
        match self {
            Self::Database(origin) => &origin.name,
            Self::Redis(origin) => &origin.name,
        }
    }
}

pub(super) fn origin(entry: &Entry<'_>, table: &Table<'_>) -> Option<Origin> {
    match where_it_is(table) {
        Some(Place::Redis(urls)) => redis(entry, table, urls).map(Origin::Redis),
        Some(Place::Database(item, text)) => {
            database(entry, table, Some((item, text))).map(Origin::Database)
        }
        None => database(entry, table, None).map(Origin::Database),
    }
}

/// Where an origin is, as far as its URLs' beginnings tell what it is.
enum Place<'r> {
    Redis(Vec<(Item<'r>, String)>),
    Database(Item<'r>, String),
}

fn where_it_is<'r>(table: &Table<'r>) -> Option<Place<'r>> {
    let given = ["url", "url-file", "urls"].map(|key| table.optional(key));
    let mut all = given.iter().flatten();
    if let (Some(first), Some(second)) = (all.next(), all.next()) {
        table.contradiction(first, second, "keep one of them");
        return None;
    }
    let (item, text) = match given {
        [Some(url), ..] => {
            let text = url.secret()?;
            (url, text)
        }
        [_, Some(file), _] => {
            let text = file.file()?.trim_end_matches(['\r', '\n']).to_owned();
            (file, text)
        }
        [_, _, Some(urls)] => {
            let items = urls.filled_list("name at least one node of a Redis")?;
            return Some(Place::Redis(with_secrets(items)?));
        }
        [None, None, None] => {
            table.lacks("no url is given", "add url, url-file, or, of a Redis, urls");
            return None;
        }
    };
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    Some(if scheme.starts_with("redis") {
        Place::Redis(vec![(item, text)])
    } else {
        Place::Database(item, text)
    })
}

fn redis(
    entry: &Entry<'_>,
    table: &Table<'_>,
    urls: Vec<(Item<'_>, String)>,
) -> Option<RedisOrigin> {
    let name: Option<OriginName> = entry.parsed(table);
    let redis = super::cache::redis(table, Some(urls));
    let statement_timeout = timeout(table, "statement-timeout", STATEMENT_TIMEOUT_DEFAULT);
    let source_timeout = timeout(table, "source-timeout", SOURCE_TIMEOUT_DEFAULT);
    let mut is_fine = true;
    if let Some(item) = table.optional("canary") {
        item.lacks("a Redis is sent a PING to see how it is", "remove it");
        is_fine = false;
    }
    table.named("probes", |entry, table| {
        let why = "probes are queries in SQL, which a Redis does not know: guards can watch its latency and errors, or Prometheus";
        entry.fault(table, why, "remove it");
        let _known = ["query", "interval"].map(|key| table.optional(key));
        is_fine = false;
    });
    let origin = RedisOrigin {
        name: name?,
        redis: redis?,
        statement_timeout: statement_timeout?,
        source_timeout: source_timeout?,
    };
    is_fine.then_some(origin)
}

fn database(
    entry: &Entry<'_>,
    table: &Table<'_>,
    given: Option<(Item<'_>, String)>,
) -> Option<OriginConfig> {
    let name = entry.parsed(table);
    let url = given.and_then(|(item, text)| origin_url(&item, &text));
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

fn origin_url(item: &Item<'_>, text: &str) -> Option<(SecretUrl, Dialect)> {
    let begin = "begin the URL with postgres://, mysql:// or sqlite:, or of a Redis with redis://";
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
    };
    let opened = stoke_worker::origin::Origin::open(&alone);
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
