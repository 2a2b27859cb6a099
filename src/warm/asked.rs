//! What the command line asks for, for telling whether a run goes on with another one's work.

use std::time::Duration;

use stoke_core::value::Form;
use stoke_worker::catalog::{Catalog, RedisOrigin, SecretUrl};

use super::catalog::shown;
use super::{KEYS, ORIGIN, log};
use crate::args::{CompressArg, FitArg, WarmArgs};
use crate::state::Asked;

/// What the command line asks for, flag by flag, as far as it says what is warmed: how fast, and with what password, may
/// differ from run to run.
pub(super) fn asked(args: &WarmArgs, catalog: &Catalog) -> Asked {
    // In the order of their names, which is that of the flags.
    let mut caches = catalog.caches.values().map(shown);
    let cache = caches.next();
    let also: Vec<String> = caches.collect();
    let databases = catalog.origins.values().map(|origin| &origin.url);
    let of_redis = |name: &'static str| {
        let is_it = move |origin: &&RedisOrigin| origin.name.as_str() == name;
        let redis = catalog.redis_origins.values().filter(is_it);
        redis.flat_map(|origin| &origin.redis.urls)
    };
    let redis = of_redis(ORIGIN);
    let origins = databases.chain(redis);
    let origins: Vec<String> = origins.map(SecretUrl::without_secrets).collect();
    let keys_from: Vec<String> = of_redis(KEYS).map(SecretUrl::without_secrets).collect();
    let seconds = |time: Duration| humantime::format_duration(time).to_string();
    let labels = args
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    let labels: Vec<String> = labels.collect();
    let flags = [
        ("origin", Some(origins.join(","))),
        ("cache", cache),
        ("also-cache", (!also.is_empty()).then(|| also.join(" "))),
        ("rank", args.rank.clone()),
        (
            "keys",
            args.keys.as_ref().map(|path| path.display().to_string()),
        ),
        ("match", args.pattern.as_ref().map(ToString::to_string)),
        (
            "keys-from",
            (!keys_from.is_empty()).then(|| keys_from.join(",")),
        ),
        ("counter", args.counter.clone()),
        (
            "counter-limit",
            args.counter_limit.map(|limit| limit.to_string()),
        ),
        (
            "hot-keys",
            args.hot_keys.then(|| args.frequency_min.to_string()),
        ),
        ("monitor", args.monitor.map(seconds)),
        ("promql", args.promql.clone()),
        ("key-label", args.key_label.clone()),
        ("load", args.load.clone()),
        (
            "copy",
            args.copy.map(|how| format!("{how:?}").to_lowercase()),
        ),
        ("from", args.from.as_ref().map(ToString::to_string)),
        ("query", args.query.clone()),
        ("scan-by", args.scan_by.as_ref().map(ToString::to_string)),
        (
            "scan-rows",
            args.scan_by.as_ref().map(|_| args.scan_rows.to_string()),
        ),
        ("key", args.key.clone()),
        (
            "key-column",
            (!args.key_column.is_empty()).then(|| args.key_column.join(",")),
        ),
        ("ttl", args.ttl.map(seconds)),
        ("ttl-jitter", Some(args.ttl_jitter.to_string())),
        (
            "value",
            (args.value.form != Form::default()).then(|| args.value.form.to_string()),
        ),
        (
            "compress",
            (args.value.compress == CompressArg::Zstd).then(|| "zstd".to_owned()),
        ),
        ("absent-value", args.value.absent_value.clone()),
        ("absent-ttl", args.value.absent_ttl.map(seconds)),
        ("expiry-column", args.value.expiry_column.clone()),
        ("version-column", args.value.version_column.clone()),
        ("mode", Some(format!("{:?}", args.mode).to_lowercase())),
        ("batch-keys", Some(args.batch_keys.to_string())),
        ("slots", args.section.slots_text()),
        ("nodes", args.section.nodes_text()),
        (
            "fit",
            (args.fit != FitArg::Cut).then(|| format!("{:?}", args.fit).to_lowercase()),
        ),
        ("allowed-failures", Some(args.allowed_failures.to_string())),
        (
            "on-bad-line",
            args.on_bad_line
                .map(|what| format!("{what:?}").to_lowercase()),
        ),
        ("label", (!labels.is_empty()).then(|| labels.join(","))),
        ("dry-run", args.dry_run.then(|| "true".to_owned())),
    ];
    let given = flags.into_iter().chain(log::given(&args.log));
    Asked::new(given.filter_map(|(flag, value)| Some((flag.to_owned(), value?))))
}
