//! The cache's data plane against real Redis servers.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

#[path = "caches/cluster.rs"]
mod cluster;
#[path = "caches/connecting.rs"]
mod connecting;
#[path = "caches/cut.rs"]
mod cut;
#[path = "caches/faults.rs"]
mod faults;
#[path = "caches/hashes.rs"]
mod hashes;
#[path = "caches/looks.rs"]
mod looks;
#[path = "caches/lookups.rs"]
mod lookups;
#[path = "caches/memory.rs"]
mod memory;
#[path = "caches/permits.rs"]
mod permits;
#[path = "caches/resp3.rs"]
mod resp3;
#[path = "caches/sentinel.rs"]
mod sentinel;
#[path = "caches/settle.rs"]
mod settle;
#[path = "caches/standalone.rs"]
mod standalone;
#[path = "caches/standing.rs"]
mod standing;
#[path = "caches/tls.rs"]
mod tls;

use std::time::Duration;

use bytes::Bytes;
use stoke_worker::cache::{
    Cache, CacheConfig, CacheError, CommandError, Item, Presence, WriteOutcome,
};

/// With this option a cluster serves what it can while a node is away.
const PARTIAL: &[(&str, &str)] = &[("cluster-require-full-coverage", "no")];

const HOUR: Duration = Duration::from_secs(3600);

/// Connects to the cache at these URLs, with the default patience.
async fn connect<T: AsRef<str>>(urls: &[T]) -> Cache {
    Cache::connect(CacheConfig::parse(urls, None).unwrap())
        .await
        .unwrap()
}

/// As `connect`, for tests that wait until patience is at its end.
async fn connect_impatiently<T: AsRef<str>>(urls: &[T]) -> Cache {
    let mut config = CacheConfig::parse(urls, None).unwrap();
    config.timeout = Duration::from_millis(500);
    config.patience = Duration::from_secs(1);
    Cache::connect(config).await.unwrap()
}

/// An error with all its causes, and what to do where that is known.
fn explained(error: &CacheError) -> String {
    stoke_core::advice::with_advice(&stoke_core::explain::explain(error))
}

fn item(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Item {
    Item {
        key: Bytes::from(key.into()),
        value: Bytes::from(value.into()).into(),
        ttl: HOUR,
    }
}

/// Items `PREFIX:0` and so on, each with its own key as value.
fn items(prefix: &str, count: usize) -> Vec<Item> {
    let keys = (0..count).map(|number| format!("{prefix}:{number}"));
    keys.map(|key| item(key.clone(), key)).collect()
}

async fn probe(cache: &Cache, items: &[Item]) -> Vec<Result<Presence, CommandError>> {
    let keys: Vec<&[u8]> = items.iter().map(|item| &*item.key).collect();
    cache.probe(&keys).await
}

/// How many of the items are present.
async fn present(cache: &Cache, items: &[Item]) -> usize {
    let presences = probe(cache, items).await.into_iter();
    presences
        .filter(|presence| matches!(presence, Ok(Presence::Present { .. })))
        .count()
}

fn all(outcomes: &[WriteOutcome], wanted: &WriteOutcome) -> bool {
    outcomes.iter().all(|outcome| outcome == wanted)
}

fn failure(outcome: &WriteOutcome) -> Option<&CommandError> {
    match outcome {
        WriteOutcome::Failed(error) => Some(error),
        WriteOutcome::Written | WriteOutcome::Kept => None,
    }
}
