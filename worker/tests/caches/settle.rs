//! Values that are written for now, and settled later.

use bytes::Bytes;
use stoke_harness::{Redis, RedisCluster};
use stoke_worker::cache::{Cache, Item, PROVISIONAL_TTL, WriteMode, WriteOutcome};
use stoke_worker::permit::Unlimited;
use stoke_worker::value::Value;

use crate::{HOUR, all, connect, item, items};

fn hash(key: &str, value: &'static str) -> Item {
    Item {
        value: Value::Hash(vec![("a".into(), value.into()), ("b".into(), Bytes::new())]),
        ..item(key, "")
    }
}

fn ttl_ms(redis: &Redis, key: &str) -> i64 {
    redis.cli(&["PTTL", key]).unwrap().parse().unwrap()
}

async fn write(cache: &Cache, mode: WriteMode, items: &[Item]) -> Vec<WriteOutcome> {
    cache.write_for_now(&Unlimited, mode, items).await.unwrap()
}

async fn settle(cache: &Cache, items: &[(&Item, bool)]) -> Vec<bool> {
    let settled = cache.settle(&Unlimited, items).await.unwrap();
    settled.into_iter().map(Result::unwrap).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_for_now_lives_for_seconds_until_it_is_settled() {
    let redis = Redis::start().unwrap();
    let cache = connect(&[redis.url()]).await;
    let now = i64::try_from(PROVISIONAL_TTL.as_millis()).unwrap();
    let both = [item("string", "value"), hash("hash", "value")];
    let outcomes = write(&cache, WriteMode::Add, &both).await;
    assert!(all(&outcomes, &WriteOutcome::Written), "{outcomes:?}");
    for key in ["string", "hash"] {
        assert!((1..=now).contains(&ttl_ms(&redis, key)), "{key}");
    }
    let stay = both.each_ref().map(|item| (item, true));
    assert_eq!(settle(&cache, &stay).await, [true, true]);
    for key in ["string", "hash"] {
        assert!(ttl_ms(&redis, key) > now, "{key}");
    }
    let go = both.each_ref().map(|item| (item, false));
    assert_eq!(settle(&cache, &go).await, [true, true]);
    assert_eq!(redis.cli(&["DBSIZE"]).unwrap(), "0");
    assert_eq!(settle(&cache, &stay).await, [false, false]);
    assert_eq!(redis.cli(&["DBSIZE"]).unwrap(), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn w5_what_is_not_ours_any_more_is_neither_lengthened_nor_deleted() {
    let redis = Redis::start().unwrap();
    let cache = connect(&[redis.url()]).await;
    let ours = [item("k", "value"), hash("k", "value")];
    for theirs in [
        &["SET", "k", "valu"][..],
        &["SET", "k", "value2"],
        &["HSET", "k", "a", "value"],
        &["HSET", "k", "a", "value", "b", "", "c", ""],
        &["HSET", "k", "a", "value", "b", "x"],
        &["RPUSH", "k", "value"],
    ] {
        redis.cli(&["DEL", "k"]).unwrap();
        redis.cli(theirs).unwrap();
        redis.cli(&["PEXPIRE", "k", "60000"]).unwrap();
        for item in &ours {
            let settled = settle(&cache, &[(item, true), (item, false)]).await;
            assert_eq!(settled, [false, false], "{theirs:?}");
        }
        assert!((1..=60_000).contains(&ttl_ms(&redis, "k")), "{theirs:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn w5_only_what_would_be_gone_as_soon_is_overwritten() {
    let redis = Redis::start().unwrap();
    let cache = connect(&[redis.url()]).await;
    let written = |theirs: &'static str, ttl: &'static str, mode| {
        redis.cli(&["SET", "k", theirs]).unwrap();
        match ttl {
            "" => redis.cli(&["PERSIST", "k"]).unwrap(),
            ttl => redis.cli(&["PEXPIRE", "k", ttl]).unwrap(),
        };
        let cache = &cache;
        async move {
            let mut outcomes = Vec::new();
            for ours in [item("k", "ours"), hash("k", "ours")] {
                outcomes.extend(write(cache, mode, &[ours]).await);
            }
            outcomes
        }
    };
    use WriteOutcome::{Kept, Written};
    for mode in [WriteMode::Add, WriteMode::Refresh] {
        assert_eq!(written("theirs", "60000", mode).await, [Kept, Kept]);
        assert_eq!(written("theirs", "", mode).await, [Kept, Kept]);
        assert_eq!(written("theirs", "10000", mode).await, [Written, Written]);
    }
    let over = written("theirs", "60000", WriteMode::Overwrite).await;
    assert_eq!(over, [Written, Written]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_value_is_settled_where_its_slot_is() {
    let cluster = RedisCluster::start(3).unwrap();
    let cache = connect(&cluster.urls()).await;
    let many = items("many", 600);
    let outcomes = write(&cache, WriteMode::Add, &many).await;
    assert!(all(&outcomes, &WriteOutcome::Written), "{outcomes:?}");
    let split: Vec<(&Item, bool)> = many
        .iter()
        .enumerate()
        .map(|(n, i)| (i, n % 3 > 0))
        .collect();
    assert_eq!(settle(&cache, &split).await, vec![true; 600]);
    assert_eq!(cluster.key_count().unwrap(), 400);
    let keys: Vec<&[u8]> = many.iter().map(|item| &item.key[..]).collect();
    for (presence, (_, stays)) in cache.probe(&keys).await.into_iter().zip(split) {
        let left = match presence.unwrap() {
            stoke_worker::cache::Presence::Present { ttl } => ttl,
            stoke_worker::cache::Presence::Missing => None,
        };
        assert_eq!(
            left.is_some_and(|left| left > PROVISIONAL_TTL && left <= HOUR),
            stays
        );
    }
}
