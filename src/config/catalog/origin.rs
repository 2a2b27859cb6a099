//! `[origins.NAME]`: a database, or another Redis.

use std::collections::BTreeMap;
use std::time::Duration;

use stoke_core::names::{OriginName, ProbeName};
use stoke_worker::catalog::{
    CANARY_DEFAULT, NotAServer, OriginConfig, OriginVigil, PROBE_INTERVAL_DEFAULT,
    PROBE_INTERVAL_MAX, PROBE_INTERVAL_MIN, ProbeConfig, PrometheusOrigin,
    REPLICA_LAG_INTERVAL_DEFAULT, REPLICA_LAG_MAX_DEFAULT, REPLICA_LAG_MAX_MAX, RedisOrigin,
    ReplicasConfig, SOURCE_TIMEOUT_DEFAULT, STATEMENT_TIMEOUT_DEFAULT, SecretUrl, Server, TlsFiles,
};
use stoke_worker::origin::rewrite::Dialect;
use stoke_worker::origin::say_their_lag;

use super::cache::with_secrets;
use super::{by, url};
use crate::config::reader::{Entry, Item, Table};
use crate::config::shared::{TIMEOUT_MAX, TIMEOUT_MIN, tls};

/// The shortest lag that can be asked for: they are compared in seconds where there are several.
const REPLICA_LAG_MAX_MIN: Duration = Duration::from_millis(100);

/// What values are loaded from.
pub(super) enum Origin {
    Database(OriginConfig),
    Redis(RedisOrigin),
    Prometheus(PrometheusOrigin),
}

impl Origin {
    pub(super) const fn name(&self) -> &OriginName {
        match self {
            Self::Database(origin) => &origin.name,
            Self::Redis(origin) => &origin.name,
            Self::Prometheus(origin) => &origin.name,
        }
    }
}

pub(super) fn origin(entry: &Entry<'_>, table: &Table<'_>) -> Option<Origin> {
    match where_it_is(table) {
        Some(Place::Redis(urls)) => redis(entry, table, urls).map(Origin::Redis),
        Some(Place::Prometheus(item, text)) => {
            prometheus(entry, table, &item, &text).map(Origin::Prometheus)
        }
        Some(Place::Database(item, text)) => {
            database(entry, table, Some((item, text))).map(Origin::Database)
        }
        None => database(entry, table, None).map(Origin::Database),
    }
}

/// Where an origin is, as far as its URLs' beginnings tell what it is.
enum Place<'r> {
    Redis(Vec<(Item<'r>, String)>),
    Prometheus(Item<'r>, String),
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
        // They may be all that is known.
        [None, None, None] if table.optional("replicas").is_some() => return None,
        [None, None, None] => {
            table.lacks("no url is given", "add url, url-file, or, of a Redis, urls");
            return None;
        }
    };
    let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
    Some(if scheme.starts_with("redis") {
        Place::Redis(vec![(item, text)])
    } else if matches!(scheme, "http" | "https") {
        Place::Prometheus(item, text)
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

fn prometheus(
    entry: &Entry<'_>,
    table: &Table<'_>,
    item: &Item<'_>,
    text: &str,
) -> Option<PrometheusOrigin> {
    let name: Option<OriginName> = entry.parsed(table);
    let server = Server::parse(text);
    let server = server
        .map_err(|error| item.fault(error.to_string(), "write http://HOST:PORT of a Prometheus"));
    let given = ["token", "token-file"].map(|key| table.optional(key));
    let (bearer, token) = match &given {
        [Some(plain), Some(file)] => {
            table.contradiction(plain, file, "keep one of them");
            return None;
        }
        [Some(plain), None] => (Some(plain), Some(plain.secret()?)),
        [None, Some(file)] => (Some(file), Some(file.file()?)),
        [None, None] => (None, None),
    };
    let statement_timeout = timeout(table, "statement-timeout", STATEMENT_TIMEOUT_DEFAULT);
    let source_timeout = timeout(table, "source-timeout", SOURCE_TIMEOUT_DEFAULT);
    let mut server = server.ok()?;
    if let (Some(item), Some(token)) = (bearer, token) {
        let with_token = server.with_token(token.trim_end_matches(['\r', '\n']));
        let refused = |error: NotAServer| item.fault(error.to_string(), "give the token alone");
        server = with_token.map_err(refused).ok()?;
    }
    Some(PrometheusOrigin {
        name: name?,
        server,
        statement_timeout: statement_timeout?,
        source_timeout: source_timeout?,
    })
}

fn database(
    entry: &Entry<'_>,
    table: &Table<'_>,
    given: Option<(Item<'_>, String)>,
) -> Option<OriginConfig> {
    let name = entry.parsed(table);
    let replicas = replicas(table);
    let url = match (given, &replicas) {
        (Some((item, text)), _) => Some(read_url(&item, &text)),
        (None, Some(_)) => None,
        (None, None) => Some(None),
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

fn read_url(item: &Item<'_>, text: &str) -> Option<(SecretUrl, Dialect)> {
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
        replicas: None,
    };
    let opened = stoke_worker::origin::Origin::open(&alone);
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
