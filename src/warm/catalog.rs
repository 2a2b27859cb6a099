//! What the workers of the one-liner know, by its flags, and whether these go together.

use std::collections::BTreeMap;

use anyhow::Context;
use stoke_core::job::CACHES_MAX;
use stoke_core::names::CacheName;
use stoke_core::value::Form;
use stoke_worker::catalog::{
    CacheConfig, Catalog, OriginConfig, OriginVigil, PrometheusOrigin, RedisOrigin,
    SOURCE_TIMEOUT_DEFAULT, STATEMENT_TIMEOUT_DEFAULT, SecretUrl, Server, TlsFiles,
};
use stoke_worker::origin::rewrite::{self, Dialect};

use super::{CACHE, KEYS, ORIGIN};
use crate::args::{CompressArg, WarmArgs};

/// What the workers in this process know: one origin, and the caches.
pub(super) fn catalog(args: &WarmArgs) -> anyhow::Result<Catalog> {
    check_kind(args)?;
    let name = ORIGIN.parse::<stoke_core::names::OriginName>()?;
    let mut catalog = Catalog {
        caches: caches(args)?,
        allow_sql_in_jobs: true,
        allow_files_in_jobs: true,
        ..Catalog::default()
    };
    if let Some(url) = &args.keys_from {
        let keys = redis_origin("--keys-from", KEYS, url)?;
        catalog.redis_origins.insert(keys.name.clone(), keys);
    }
    if let (Some(url), Some(_)) = (&args.prometheus, &args.promql) {
        let keys = PrometheusOrigin {
            name: KEYS.parse()?,
            server: Server::parse(url).context("--prometheus")?,
            statement_timeout: STATEMENT_TIMEOUT_DEFAULT,
            source_timeout: SOURCE_TIMEOUT_DEFAULT,
        };
        catalog.prometheus_origins.insert(keys.name.clone(), keys);
    }
    if copies(args) {
        let origin = redis_origin("--origin", ORIGIN, &args.origin)?;
        catalog.redis_origins.insert(name, origin);
        return Ok(catalog);
    }
    let url = SecretUrl::new(&args.origin).context("--origin")?;
    let dialect = match url.scheme() {
        "postgres" | "postgresql" => Dialect::Postgres,
        "mysql" | "mariadb" => Dialect::MySql,
        "sqlite" => Dialect::Sqlite,
        other => anyhow::bail!(
            "--origin: {other}: is nothing that stoke loads from: use postgres://, mysql://, sqlite: or redis://"
        ),
    };
    // Its faults are found here, with what to do about them, rather than by each worker.
    match (&args.load, &args.query) {
        (_, Some(query)) => drop(rewrite::whole(query, dialect).context("--query")?),
        (load, None) => {
            let load = load.as_deref().unwrap_or_default();
            drop(rewrite::rewrite(load, dialect).context("--load")?);
        }
    }
    let origin = OriginConfig {
        name: name.clone(),
        url,
        dialect,
        statement_timeout: STATEMENT_TIMEOUT_DEFAULT,
        source_timeout: SOURCE_TIMEOUT_DEFAULT,
        tls: TlsFiles::default(),
        vigil: OriginVigil::default(),
        replicas: None,
    };
    catalog.origins.insert(name, origin);
    Ok(catalog)
}

/// A Redis that is read.
fn redis_origin(flag: &'static str, name: &str, url: &String) -> anyhow::Result<RedisOrigin> {
    Ok(RedisOrigin {
        name: name.parse()?,
        redis: redis(flag, name, std::slice::from_ref(url))?,
        statement_timeout: STATEMENT_TIMEOUT_DEFAULT,
        source_timeout: SOURCE_TIMEOUT_DEFAULT,
    })
}

/// Whether keys of another Redis are copied.
pub(super) fn copies(args: &WarmArgs) -> bool {
    let scheme = args.origin.split_once("://");
    scheme.is_some_and(|(scheme, _)| scheme.starts_with("redis"))
}

/// The caches: that of `--cache`, and one for each `--also-cache`.
fn caches(args: &WarmArgs) -> anyhow::Result<BTreeMap<CacheName, CacheConfig>> {
    let first = redis("--cache", &cache_name(0), &args.cache)?;
    let mut caches = BTreeMap::from([(first.name.clone(), first)]);
    anyhow::ensure!(
        args.also_cache.len() < CACHES_MAX,
        "--also-cache: there are too many: a job has at most {CACHES_MAX} caches, with that of --cache"
    );
    for (n, text) in args.also_cache.iter().enumerate() {
        let name = cache_name(n + 1);
        let further = redis("--also-cache", &name, std::slice::from_ref(text))?;
        if let Some(same) = caches
            .values()
            .find(|other| shown(other) == shown(&further))
        {
            anyhow::bail!("--also-cache: {} is named twice", shown(same));
        }
        caches.insert(further.name.clone(), further);
    }
    anyhow::ensure!(
        caches.len() == 1 || args.section.nodes.is_empty(),
        "--nodes: nodes are those of one cache, and several are named: name one cache, or --slots, which are the same in all"
    );
    Ok(caches)
}

/// What the nth cache is called in here.
pub(super) fn cache_name(n: usize) -> String {
    match n {
        0 => CACHE.into(),
        n => format!("{CACHE}-{}", n + 1),
    }
}

/// A cache's URLs, without secrets.
pub(super) fn shown(cache: &CacheConfig) -> String {
    let urls: Vec<String> = cache.urls.iter().map(SecretUrl::without_secrets).collect();
    urls.join(",")
}

/// A Redis, by the URLs that a flag has.
fn redis(flag: &'static str, name: &str, texts: &[String]) -> anyhow::Result<CacheConfig> {
    let urls = texts.iter().flat_map(|text| urls_in(text));
    let urls: Vec<SecretUrl> = urls
        .map(SecretUrl::new)
        .collect::<Result<_, _>>()
        .context(flag)?;
    anyhow::ensure!(!urls.is_empty(), "{flag}: name the Redis");
    Ok(CacheConfig {
        name: name.parse()?,
        urls,
        password: None,
        sentinel_login: None,
        tls: TlsFiles::default(),
    })
}

/// Looks whether the flags go with what is loaded from.
fn check_kind(args: &WarmArgs) -> anyhow::Result<()> {
    let value = &args.value;
    let (copies, of_queries) = (
        copies(args),
        [
            ("--rank", args.rank.is_some()),
            ("--load", args.load.is_some()),
            ("--key-column", !args.key_column.is_empty()),
            ("--scan-by", args.scan_by.is_some()),
            ("--value", value.form != Form::default()),
            ("--compress", value.compress != CompressArg::None),
            ("--absent-value", value.absent_value.is_some()),
            ("--expiry-column", value.expiry_column.is_some()),
            ("--version-column", value.version_column.is_some()),
        ],
    );
    let of_redis = [
        ("--match", args.pattern.is_some()),
        ("--counter", args.counter.is_some()),
        ("--hot-keys", args.hot_keys),
        ("--monitor", args.monitor.is_some()),
    ];
    let of_copies = [
        ("--copy", args.copy.is_some()),
        ("--from", args.from.is_some()),
    ];
    let given = |flags: &[(&'static str, bool)]| {
        flags
            .iter()
            .find(|(_, given)| *given)
            .map(|(flag, _)| *flag)
    };
    let reads_redis = copies || args.keys_from.is_some();
    match given(&of_redis) {
        Some(flag) if !reads_redis => anyhow::bail!(
            "{flag}: it is of a Redis, and the origin is none: say which, as --keys-from redis://…"
        ),
        None if args.keys_from.is_some() => anyhow::bail!(
            "--keys-from: nothing says what is read there: give --match, --counter, --hot-keys or --monitor"
        ),
        _ => {}
    }
    match (copies, given(&of_queries), given(&of_copies)) {
        (true, Some(flag), _) => anyhow::bail!(
            "{flag}: the origin is a Redis, whose keys are copied as they are: leave it out"
        ),
        (false, _, Some(flag)) => anyhow::bail!(
            "{flag}: only keys of a Redis are copied, and the origin is none: leave it out, or give --origin redis://…"
        ),
        (true, None, _) => {}
        (false, ..) => {
            anyhow::ensure!(
                args.load.is_some() || args.query.is_some(),
                "--load: give the SQL that loads a batch of keys, as SELECT … WHERE id IN (:keys)"
            );
            anyhow::ensure!(
                args.key.is_some(),
                "--key: give the cache keys, as product:{{key}}"
            );
            anyhow::ensure!(
                args.ttl.is_some(),
                "--ttl: say how long entries live, as 5m"
            );
        }
    }
    Ok(())
}

/// The URLs in a text with commas between them. A comma within one, between its hosts, is followed by no scheme.
fn urls_in(text: &str) -> Vec<&str> {
    let begins = |(at, _): &(usize, &str)| {
        let scheme = text[at + 1..].trim_start().split_once("://");
        scheme
            .is_some_and(|(scheme, _)| scheme.starts_with("redis") && !scheme.contains([',', '@']))
    };
    let mut urls = Vec::new();
    let mut from = 0;
    for (at, _) in text.match_indices(',').filter(begins) {
        urls.push(&text[from..at]);
        from = at + 1;
    }
    urls.push(&text[from..]);
    urls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_divide_urls_but_not_the_hosts_of_one() {
        let cases: [(&str, &[&str]); 5] = [
            ("redis://a", &["redis://a"]),
            ("redis://a,rediss://b/1", &["redis://a", "rediss://b/1"]),
            (
                "redis+sentinel://a,b:1/main",
                &["redis+sentinel://a,b:1/main"],
            ),
            (
                "redis+sentinel://a,b/main,redis+sentinel://c/main",
                &["redis+sentinel://a,b/main", "redis+sentinel://c/main"],
            ),
            (
                "redis://:pass,word@a, redis://b",
                &["redis://:pass,word@a", " redis://b"],
            ),
        ];
        for (text, urls) in cases {
            assert_eq!(urls_in(text), urls);
        }
    }
}
