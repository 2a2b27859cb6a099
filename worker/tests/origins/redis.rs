//! Another Redis as an origin: what is copied is what is there, with its end, and never more commands than tokens.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use stoke_core::copy::{CopySpec, How, TTL_OF_ORIGIN};
use stoke_core::names::CacheName;
use stoke_core::value::ValueSpec;
use stoke_harness::{Redis, RedisCluster};
use stoke_worker::cache::{Cache, CacheConfig, FailureKind, Item, WriteMode, WriteOutcome};
use stoke_worker::catalog::{
    CacheConfig as Entry, LoaderSpec, RedisOrigin, SOURCE_TIMEOUT_DEFAULT, SecretUrl, TlsFiles,
};
use stoke_worker::origin::{Answer, Loaded, Origin};
use stoke_worker::permit::Unlimited;
use stoke_worker::value::Value;

use super::{Tokens, loader, reason};

#[path = "redis/budget.rs"]
mod budget;
#[path = "redis/clusters.rs"]
mod clusters;
#[path = "redis/counters.rs"]
mod counters;
#[path = "redis/ends.rs"]
mod ends;
#[path = "redis/hot_keys.rs"]
mod hot_keys;
#[path = "redis/monitor.rs"]
mod monitor;
#[path = "redis/refused.rs"]
mod refused;
#[path = "redis/scanned.rs"]
pub(super) mod scanned;
#[path = "redis/types.rs"]
mod types;

fn origin_at(urls: &[String]) -> Origin {
    let name: CacheName = "old".parse().unwrap();
    Origin::open_redis(&RedisOrigin {
        name: "old".parse().unwrap(),
        redis: Entry {
            name,
            urls: urls
                .iter()
                .map(|url| SecretUrl::new(url).unwrap())
                .collect(),
            password: None,
            sentinel_login: None,
            tls: TlsFiles::default(),
        },
        statement_timeout: Duration::from_secs(5),
        source_timeout: SOURCE_TIMEOUT_DEFAULT,
    })
    .unwrap()
}

fn origin(redis: &Redis) -> Origin {
    origin_at(&[redis.url()])
}

async fn cache_at(urls: &[String]) -> Cache {
    Cache::connect(CacheConfig::parse(urls, None).unwrap())
        .await
        .unwrap()
}

async fn cache(redis: &Redis) -> Cache {
    cache_at(&[redis.url()]).await
}

fn copying(how: How) -> LoaderSpec {
    LoaderSpec {
        ttl: TTL_OF_ORIGIN,
        value: ValueSpec {
            copy: Some(CopySpec::of_same_name(how)),
            ..ValueSpec::default()
        },
        ..loader("")
    }
}

fn names(names: &[&str]) -> Vec<Bytes> {
    let bytes = |name: &&str| Bytes::copy_from_slice(name.as_bytes());
    names.iter().map(bytes).collect()
}

async fn read(origin: &Origin, how: How, keys: &[&str]) -> Loaded {
    let copied = origin.copy(&Unlimited, &copying(how), &names(keys)).await;
    copied.unwrap()
}

/// An item of each key that was found, under a name made by `renamed`, with the longest life that there is.
fn items(keys: &[&str], loaded: &Loaded, renamed: impl Fn(&str) -> String) -> Vec<Item> {
    let item = |(key, answer): (&&str, &Answer)| match answer {
        Answer::Row(made) => Some(Item {
            key: renamed(key).into(),
            value: made.value.clone(),
            ttl: TTL_OF_ORIGIN,
        }),
        _ => None,
    };
    keys.iter().zip(&loaded.answers).filter_map(item).collect()
}

async fn write(cache: &Cache, mode: WriteMode, items: &[Item]) -> Vec<WriteOutcome> {
    cache.write(&Unlimited, mode, items).await.unwrap()
}

/// Copies keys under the same names.
async fn copy(origin: &Origin, cache: &Cache, how: How, keys: &[&str]) -> Vec<WriteOutcome> {
    let loaded = read(origin, how, keys).await;
    let items = items(keys, &loaded, str::to_owned);
    write(cache, WriteMode::Add, &items).await
}

fn cli(redis: &Redis, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    redis.cli(&words).unwrap()
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_millis().try_into().unwrap()
}
