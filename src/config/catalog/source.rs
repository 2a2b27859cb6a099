//! `[sources.NAME]`: a query of an origin, the keys of a Redis, a file, or an access log.

use std::path::PathBuf;

use stoke_coordinator::wire;
use stoke_core::job::{From, OnBadLine};
use stoke_core::names::{LoaderName, OriginName};
use stoke_core::place::ObjectUrl;
use stoke_worker::catalog::{Catalog, SourceConfig, SourceFrom};
use stoke_worker::source::log;

use super::log::{LogLoaders, access_log};
use super::usage::{of_redis, redis_source, series};
use crate::config::reader::{Entry, Item, Table};
use crate::config::shared::all_or_none;

/// What is done with lines that are no entries, as files say it.
pub const ON_BAD_LINE: [(&str, OnBadLine); 2] =
    [("fail", OnBadLine::Fail), ("skip", OnBadLine::Skip)];

/// What a source may read, of which one is to be given.
const ONE_OF: &str = "give origin and query, origin and match, counter, hot-keys or monitor, origin and promql, file, or log";

pub(super) fn source(
    entry: &Entry<'_>,
    table: &Table<'_>,
    origins: &[&str],
    loaders: &[&str],
    catalog: &Catalog,
) -> Option<SourceConfig> {
    let name = entry.parsed(table);
    let loader = table.optional("loader");
    let loader = loader.map(|item| item.name_of("loader", loaders, "[loaders.NAME]"));
    let loader = all_or_none(loader);
    let log = table.optional("log");
    let on_bad_line = match table.optional("on-bad-line") {
        Some(item) => item.one_of(&ON_BAD_LINE),
        // Every log has some, and what is watched.
        None if log.is_some() || table.optional("monitor").is_some() => Some(OnBadLine::Skip),
        None => Some(OnBadLine::default()),
    };
    let read = match &log {
        Some(log) => of_log(table, log, loader, loaders),
        None => source_from(table, origins, catalog)
            .and_then(|from| Some((from, Vec::from_iter(loader?)))),
    };
    let (from, loaders) = read?;
    Some(SourceConfig {
        name: name?,
        from,
        loaders,
        on_bad_line: on_bad_line?,
    })
}

/// An access log, and the loaders of its keys: those that its patterns name, and its own for the others.
fn of_log(
    table: &Table<'_>,
    item: &Item<'_>,
    own: Option<Option<LoaderName>>,
    defined: &[&str],
) -> Option<(SourceFrom, Vec<LoaderName>)> {
    let loaders = LogLoaders {
        loaders: defined,
        table: "[loaders.NAME]",
    };
    // Asked for whatever else is wrong: else its settings were unknown.
    let log = access_log(table, item, loaders);
    let others = ["origin", "query", "promql", "file"].map(|key| table.optional(key));
    let of_redis = of_redis(table).map(|given| given.item);
    if let Some(other) = others.into_iter().flatten().chain(of_redis).next() {
        table.contradiction(item, &other, ONE_OF);
        return None;
    }
    let (mut log, own) = (log?, own?);
    let mut names: Vec<LoaderName> = Vec::new();
    let says = log.urls.iter().any(|url| !url.loader.is_empty());
    for url in &mut log.urls {
        let name = match (url.loader.as_str(), &own) {
            ("", None) if says => {
                table.lacks(
                    format!(
                        "its pattern {} names no loader, where others do",
                        url.pattern
                    ),
                    "add loader there, or to the source for all that name none",
                );
                return None;
            }
            ("", None) => break,
            ("", Some(own)) => own.clone(),
            (name, _) => name.parse().ok()?,
        };
        url.loader = name.to_string();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if log.urls.is_empty() {
        names.extend(own);
    }
    let known: Vec<String> = match names.as_slice() {
        // The job's, whatever it is called.
        [] => vec![String::new()],
        names => names.iter().map(ToString::to_string).collect(),
    };
    let checked = wire::access_log(log, &known).and_then(|log| {
        log::check(&log)?;
        Ok(log)
    });
    match checked {
        Ok(log) => Some((SourceFrom::Log(Box::new(log)), names)),
        Err(what) => {
            item.fault(what, "correct that");
            None
        }
    }
}

fn source_from(table: &Table<'_>, origins: &[&str], catalog: &Catalog) -> Option<SourceFrom> {
    let keys = ["origin", "query", "promql", "file"].map(|key| table.optional(key));
    let [origin, query, promql, file] = &keys;
    let series = series(table, promql.as_ref());
    let of_redis = of_redis(table);
    let kind = of_redis.as_ref().map(|given| given.item.clone());
    if let (Some(origin), Some(file)) = (origin, file) {
        table.contradiction(origin, file, ONE_OF);
        return None;
    }
    let kinds = [query, promql, &kind, file];
    let mut given = kinds.into_iter().flatten();
    if let (Some(first), Some(second)) = (given.next(), given.next()) {
        table.contradiction(first, second, ONE_OF);
        return None;
    }
    let named = |item: &Item<'_>| item.name_of::<OriginName>("origin", origins, "[origins.NAME]");
    if let Some(promql) = promql {
        let Some(origin) = origin else {
            promql.lacks("it stands without origin", "add origin");
            return None;
        };
        let name = named(origin)?;
        if !catalog.prometheus_origins.contains_key(&name) {
            let what = "it is no Prometheus, and only that is asked in PromQL";
            origin.fault(what, "name an origin whose url begins with http://");
            return None;
        }
        return Some(SourceFrom::Prometheus(series?.of(name)));
    }
    if let (Some(origin), Some(other)) = (origin, query.as_ref().or(kind.as_ref()))
        && let Some(name) = named(origin)
        && catalog.prometheus_origins.contains_key(&name)
    {
        let what = "it is a Prometheus, which is asked in PromQL";
        origin.fault(what, format!("give promql in place of {}", other.named()));
        return None;
    }
    match (origin, query, &of_redis, file) {
        (_, _, _, Some(file)) => Some(SourceFrom::File(file_or_object(file)?)),
        (Some(origin), Some(query), ..) => {
            let (name, query) = (named(origin), query.filled());
            let name = name?;
            if catalog.redis_origins.contains_key(&name) {
                origin.fault(
                    "it is a Redis, which knows no SQL",
                    "give match in place of query",
                );
                return None;
            }
            Some(SourceFrom::Sql {
                origin: name,
                query: query?.to_owned(),
            })
        }
        (Some(origin), _, Some(given), _) => {
            let name = named(origin)?;
            let source = redis_source(table, given, name.clone());
            if catalog.origins.contains_key(&name) {
                let what = "it is a database, and only of a Redis are keys looked through, and counters read";
                origin.fault(what, "give query in place of it");
                return None;
            }
            of_catalog(source?)
        }
        (Some(alone), None, None, None) => {
            alone.lacks(
                "it stands without query, promql, match, counter, hot-keys and monitor",
                "add the one that says what is read",
            );
            None
        }
        (None, Some(alone), ..) => {
            alone.lacks("it stands without origin", "add origin");
            None
        }
        (None, None, Some(given), None) => {
            given.item.lacks("it stands without origin", "add origin");
            None
        }
        (None, None, None, None) => {
            table.lacks("nothing says what is read", ONE_OF);
            None
        }
    }
}

/// A path, or the URL of an object.
fn file_or_object(item: &Item<'_>) -> Option<PathBuf> {
    if let Err(error) = ObjectUrl::of(item.filled()?) {
        item.fault(error.to_string(), "as s3://bucket/keys.csv, or a path");
        return None;
    }
    item.path()
}

/// What a job would read, as a source of the configuration.
fn of_catalog(from: From) -> Option<SourceFrom> {
    Some(match from {
        From::Keyspace {
            origin,
            pattern,
            count,
        } => SourceFrom::Keyspace {
            origin,
            pattern,
            count,
        },
        From::Counter(counter) => SourceFrom::Counter(*counter),
        From::HotKeys(hot) => SourceFrom::HotKeys(*hot),
        From::Monitor(monitor) => SourceFrom::Monitor(*monitor),
        _ => return None,
    })
}

#[cfg(test)]
mod tests;
