//! How much memory nodes have, and how much entries take of it: what `core::capacity` says beside what Redis says.

use bytes::Bytes;
use stoke_core::capacity::{hash_bytes, string_bytes};
use stoke_core::slot::Slot;
use stoke_harness::{Redis, RedisCluster};
use stoke_worker::cache::{Cache, Item, WriteMode, WriteOutcome};
use stoke_worker::permit::Unlimited;
use stoke_worker::value::Value;

use crate::{HOUR, all, connect};

/// Keys of each kind: just more than what doubles Redis' tables, when each key takes most.
const KEYS: usize = 17_000;

fn string(bytes: usize) -> Value {
    Value::String(Bytes::from(vec![b'x'; bytes]))
}

fn hash(fields: usize, bytes: usize) -> Value {
    let field = |n| {
        (
            Bytes::from(format!("field{n}")),
            Bytes::from(vec![b'x'; bytes]),
        )
    };
    Value::Hash((0..fields).map(field).collect())
}

fn told(key: &[u8], value: &Value) -> u64 {
    match value {
        Value::String(bytes) => string_bytes(key.len(), bytes.len()),
        Value::Hash(fields) => {
            let sizes = fields
                .iter()
                .map(|(field, value)| (field.len(), value.len()));
            hash_bytes(key.len(), sizes)
        }
        Value::Copied(copied) => panic!("a copy: {copied:?}"),
    }
}

async fn used(cache: &Cache) -> u64 {
    let nodes = cache.info(&Unlimited).await.unwrap();
    nodes
        .into_iter()
        .map(|node| node.unwrap().used_memory_bytes)
        .sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_take_at_most_what_is_told_and_not_much_less() {
    let redis = Redis::start().unwrap();
    for (name, value, keys) in [
        ("10", string(10), KEYS),
        ("45", string(45), KEYS),
        ("400", string(400), KEYS),
        ("3000", string(3000), KEYS),
        ("short hash", hash(8, 20), KEYS),
        ("long hash", hash(20, 100), KEYS / 4),
    ] {
        redis.cli(&["FLUSHALL", "SYNC"]).unwrap();
        let cache = connect(&[redis.url()]).await;
        let items: Vec<Item> = (0..keys)
            .map(|n| Item {
                key: Bytes::from(format!("product:{n:012}")),
                value: value.clone(),
                ttl: HOUR,
            })
            .collect();
        let before = used(&cache).await;
        let outcomes = cache.write(&Unlimited, WriteMode::Add, &items).await;
        assert!(all(&outcomes.unwrap(), &WriteOutcome::Written));
        let took = used(&cache).await - before;
        let told: u64 = items.iter().map(|item| told(&item.key, &item.value)).sum();
        let each = took / keys as u64;
        assert!(
            told >= took && told < took * 3 / 2,
            "{name}: {each} bytes a key, told {told} of {took}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_owner_says_which_slots_it_owns_and_what_memory_it_has() {
    let cluster = RedisCluster::start(3).unwrap();
    let port = cluster.ports()[1];
    cluster
        .cli(port, &["CONFIG", "SET", "maxmemory", "50mb"])
        .unwrap();
    let cache = connect(&cluster.urls()).await;
    let owners = cache.owners().await;
    let mut nodes = Vec::new();
    for info in cache.info(&Unlimited).await.unwrap() {
        let info = info.unwrap();
        assert!(owners.iter().any(|(address, _)| *address == info.address));
        nodes.push((info.address, info.maxmemory_bytes));
    }
    nodes.sort_unstable_by_key(|(_, limit)| *limit);
    let limited = (format!("127.0.0.1:{port}"), 50 << 20);
    assert_eq!((nodes[1].1, &nodes[2]), (0, &limited));
    let slots = owners.iter().map(|(_, slots)| u32::from(slots.count()));
    assert_eq!(
        (owners.len(), slots.sum::<u32>()),
        (3, u32::from(Slot::COUNT))
    );
}
