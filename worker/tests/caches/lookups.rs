//! What our own looks add to a node's hits and misses, and how to look without adding any.

use bytes::Bytes;
use stoke_harness::{Redis, RedisCluster};
use stoke_worker::cache::{Cache, HashFields, Item, Lookups, WriteMode};
use stoke_worker::permit::Unlimited;
use stoke_worker::value::Value;

use crate::{HOUR, connect, item};

/// What the server counts, and what we count of it.
async fn counted(cache: &Cache) -> (Lookups, Lookups) {
    let node = cache.info(&Unlimited).await.unwrap().remove(0).unwrap();
    let server = Lookups {
        hits: node.keyspace_hits,
        misses: node.keyspace_misses,
    };
    let [(_, ours)] = <[_; 1]>::try_from(cache.lookups()).unwrap();
    (server, ours)
}

fn hash(key: &str) -> Item {
    let field = |n: u32| (Bytes::from(format!("f{n}")), Bytes::from_static(b"v"));
    Item {
        value: Value::Hash((0..3).map(field).collect()),
        ..item(key, "")
    }
}

#[tokio::test]
async fn all_that_the_server_counts_is_ours_where_nobody_else_asks() {
    let redis = Redis::start().unwrap();
    let cache = connect(&[redis.url()]).await;
    let there = [item("a", "1"), item("b", "2"), hash("h")];
    let write = async |mode, items: &[Item]| cache.write(&Unlimited, mode, items).await.unwrap();
    write(WriteMode::Add, &there).await;
    write(WriteMode::Add, &there).await;
    write(WriteMode::Overwrite, &there[..2]).await;
    let keys: [&[u8]; 4] = [b"a", b"b", b"h", b"missing"];
    cache.probe_as(&Unlimited, &keys).await.unwrap();
    cache.look_as(&Unlimited, &keys).await.unwrap();
    cache
        .peek_as(&Unlimited, &[(b"a", 0), (b"missing", 5)])
        .await
        .unwrap();
    let fields = [(Bytes::from_static(b"f0"), Bytes::new())];
    let hashes = [b"h".as_slice(), b"missing"].map(|key| HashFields {
        key,
        fields: &fields,
    });
    cache.measure_hashes_as(&Unlimited, &hashes).await.unwrap();
    cache.read_hashes_as(&Unlimited, &hashes).await.unwrap();
    let new_ends = [("a".into(), HOUR), ("missing".into(), HOUR)];
    cache.extend(&Unlimited, &new_ends).await.unwrap();
    let settled = there.each_ref().map(|item| (item, true));
    cache.settle(&Unlimited, &settled).await.unwrap();
    let (server, ours) = counted(&cache).await;
    assert_eq!(ours, server);
    assert!(server.hits > 10 && server.misses > 3, "{server:?}");
}

/// How a key is ranked for eviction, by the server's policy.
fn standing(redis: &Redis, what: &str, key: &str) -> u64 {
    redis
        .cli(&["OBJECT", what, key])
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn weighing_keys_leaves_no_trace_in_what_the_server_counts_or_evicts_by() {
    let redis = Redis::start_with(&[("maxmemory-policy", "allkeys-lfu")]).unwrap();
    let cache = connect(&[redis.url()]).await;
    cache
        .write(&Unlimited, WriteMode::Add, &[item("a", "1"), hash("h")])
        .await
        .unwrap();
    let before = (counted(&cache).await, standing(&redis, "FREQ", "a"));
    let keys: [&[u8]; 3] = [b"a", b"h", b"missing"];
    for _ in 0..100 {
        let there = cache.weigh_as(&Unlimited, &keys).await.unwrap();
        assert_eq!(there, [Ok(true), Ok(true), Ok(false)]);
    }
    // OBJECT FREQ itself is counted by the server.
    redis.cli(&["CONFIG", "RESETSTAT"]).unwrap();
    let after = standing(&redis, "FREQ", "a");
    assert_eq!(after, before.1);
    let (server, ours) = counted(&cache).await;
    assert_eq!((server.misses, ours), (0, before.0.1));
}

#[tokio::test]
async fn weighing_is_not_counted_by_the_server() {
    let redis = Redis::start_with(&[("maxmemory-policy", "allkeys-lru")]).unwrap();
    let cache = connect(&[redis.url()]).await;
    cache
        .write(&Unlimited, WriteMode::Add, &[item("a", "1")])
        .await
        .unwrap();
    let (before, _) = counted(&cache).await;
    let keys: [&[u8]; 2] = [b"a", b"missing"];
    cache.weigh_as(&Unlimited, &keys).await.unwrap();
    assert_eq!(counted(&cache).await.0, before);
    // What is asked in its place where it may not be is.
    let rules = "on >pw ~* +@all -memory";
    let rules: Vec<&str> = ["ACL", "SETUSER", "plain"]
        .into_iter()
        .chain(rules.split(' '))
        .collect();
    redis.cli(&rules).unwrap();
    let plain = connect(&[redis.url().replace("redis://", "redis://plain:pw@")]).await;
    let there = plain.weigh_as(&Unlimited, &keys).await.unwrap();
    assert_eq!(there, [Ok(true), Ok(false)]);
    let (server, ours) = counted(&plain).await;
    let one_each = Lookups { hits: 1, misses: 1 };
    assert_eq!(
        (
            server.hits - before.hits,
            server.misses - before.misses,
            ours
        ),
        (1, 1, one_each)
    );
}

#[tokio::test]
async fn replicas_that_a_cluster_names_tell_of_their_own_hits() {
    let mut cluster = RedisCluster::start(2).unwrap();
    let master = cluster.ports()[0];
    let replica = cluster.add_replica(master).unwrap();
    let cache = connect(&cluster.urls()).await;
    let mut reader = redis::Client::open(format!("redis://127.0.0.1:{replica}"))
        .unwrap()
        .get_connection()
        .unwrap();
    redis::cmd("READONLY").exec(&mut reader).unwrap();
    let key = (0..).map(|n| format!("k{n}")).find(|key| {
        redis::cmd("GET")
            .arg(key)
            .query::<Option<String>>(&mut reader)
            .is_ok()
    });
    assert!(key.is_some());
    // Whom the map comes from may hear of the replica a little later than its master.
    let address = format!("127.0.0.1:{replica}");
    let misses = loop {
        let nodes = cache.info_of_all(&Unlimited).await.unwrap();
        let mut nodes = nodes.into_iter().map(Result::unwrap);
        if let Some(of_replica) = nodes.find(|node| node.address == address) {
            break of_replica.keyspace_misses;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(misses, 1);
    assert_eq!(cache.info(&Unlimited).await.unwrap().len(), 2);
}
