//! Values that are hashes.

use bytes::Bytes;
use stoke_harness::{Redis, RedisCluster};
use stoke_worker::cache::{
    FailureKind, HashFields, HashSize, Item, Presence, WriteMode, WriteOutcome,
};
use stoke_worker::permit::Unlimited;
use stoke_worker::value::Value;

use crate::cluster::Migration;
use crate::{HOUR, all, connect, connect_impatiently, failure, item, present, probe};

/// More than a call of a script has room for at once.
const MANY: usize = 9_000;

fn fields(pairs: &[(&str, &str)]) -> Vec<(Bytes, Bytes)> {
    let bytes = |text: &str| Bytes::from(text.to_owned());
    pairs.iter().map(|(f, v)| (bytes(f), bytes(v))).collect()
}

fn hash(key: &str, pairs: &[(&str, &str)]) -> Item {
    Item {
        key: Bytes::from(key.to_owned()),
        value: Value::Hash(fields(pairs)),
        ttl: HOUR,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_is_written_whole_with_its_ttl() {
    let redis = Redis::start().unwrap();
    let cache = connect(&[redis.url()]).await;
    let many: Vec<(String, String)> = (0..MANY)
        .map(|n| (format!("f{n}"), n.to_string()))
        .collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(f, v)| (&f[..], &v[..])).collect();
    let odd = Item {
        value: Value::Hash(vec![
            (
                Bytes::from_static(b"\0\r\n"),
                Bytes::from_static(&[0xff, 0]),
            ),
            ("empty".into(), Bytes::new()),
        ]),
        ..hash("odd", &[])
    };
    let items = [
        hash("few", &[("a", "1"), ("b", "2")]),
        hash("many", &many),
        odd,
    ];
    let outcomes = cache
        .write(&Unlimited, WriteMode::Add, &items)
        .await
        .unwrap();
    assert!(all(&outcomes, &WriteOutcome::Written), "{outcomes:?}");
    for presence in probe(&cache, &items).await {
        let Ok(Presence::Present { ttl: Some(ttl) }) = presence else {
            panic!("{presence:?}");
        };
        assert!(ttl <= HOUR && ttl > HOUR / 2, "{ttl:?}");
    }
    assert_eq!(redis.cli(&["HLEN", "many"]).unwrap(), MANY.to_string());
    assert_eq!(redis.cli(&["HGET", "many", "f8999"]).unwrap(), "8999");
    assert_eq!(redis.cli(&["HGETALL", "few"]).unwrap(), "a\n1\nb\n2");
    let wanted = items.iter().map(|item| match &item.value {
        Value::Hash(fields) => HashFields {
            key: &item.key,
            fields,
        },
        other => panic!("no hash: {other:?}"),
    });
    let wanted: Vec<_> = wanted.collect();
    let read = cache.read_hashes_as(&Unlimited, &wanted).await.unwrap();
    for (wanted, read) in wanted.iter().zip(read) {
        let values = wanted.fields.iter().map(|(_, value)| Some(value.clone()));
        assert_eq!(read.unwrap(), values.collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn w5_only_overwrite_replaces_what_is_there_and_then_all_of_it() {
    let redis = Redis::start().unwrap();
    let cache = connect(&[redis.url()]).await;
    let ours = [hash("hash", &[("a", "1")]), hash("string", &[("a", "1")])];
    redis
        .cli(&["HSET", "hash", "a", "theirs", "b", "theirs"])
        .unwrap();
    redis.cli(&["SET", "string", "theirs"]).unwrap();
    for mode in [WriteMode::Add, WriteMode::Refresh] {
        let outcomes = cache.write(&Unlimited, mode, &ours).await.unwrap();
        assert!(all(&outcomes, &WriteOutcome::Kept), "{mode:?} {outcomes:?}");
        assert_eq!(redis.cli(&["HGET", "hash", "a"]).unwrap(), "theirs");
        assert_eq!(redis.cli(&["GET", "string"]).unwrap(), "theirs");
    }
    let outcomes = cache
        .write(&Unlimited, WriteMode::Overwrite, &ours)
        .await
        .unwrap();
    assert!(all(&outcomes, &WriteOutcome::Written), "{outcomes:?}");
    for key in ["hash", "string"] {
        assert_eq!(redis.cli(&["HGETALL", key]).unwrap(), "a\n1", "{key}");
        assert_ne!(redis.cli(&["PTTL", key]).unwrap(), "-1", "{key}");
    }
    // And a string replaces a hash.
    let string = [item("hash", "a string")];
    let outcomes = cache
        .write(&Unlimited, WriteMode::Overwrite, &string)
        .await
        .unwrap();
    assert_eq!(outcomes, [WriteOutcome::Written]);
    assert_eq!(redis.cli(&["GET", "hash"]).unwrap(), "a string");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_redis_says_against_a_hash_is_understood() {
    let redis = Redis::start().unwrap();
    let cache = connect_impatiently(&[redis.url()]).await;
    let items = [hash("k", &[("a", "1")])];
    for (set, kind, says) in [
        (
            &["CONFIG", "SET", "maxmemory", "1"][..],
            FailureKind::Memory,
            "OOM",
        ),
        (
            &["REPLICAOF", "127.0.0.1", "1"],
            FailureKind::Unavailable,
            "READONLY",
        ),
        // A script is not told as a client is.
        (
            &["ACL", "SETUSER", "default", "-pexpire"],
            FailureKind::Refused,
            "can't run this command",
        ),
    ] {
        redis.cli(set).unwrap();
        let outcomes = cache
            .write(&Unlimited, WriteMode::Overwrite, &items)
            .await
            .unwrap();
        let error = failure(&outcomes[0]).unwrap();
        assert_eq!(error.kind, kind, "{error}");
        assert!(error.reason.contains(says), "{error}");
        assert_eq!(redis.cli(&["EXISTS", "k"]).unwrap(), "0", "{says}");
        redis.cli(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
        redis.cli(&["REPLICAOF", "NO", "ONE"]).unwrap();
    }
    redis.cli(&["ACL", "SETUSER", "default", "+@all"]).unwrap();
    let outcomes = cache
        .write(&Unlimited, WriteMode::Overwrite, &items)
        .await
        .unwrap();
    assert_eq!(outcomes, [WriteOutcome::Written]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_is_compared_without_reading_what_is_longer_than_it() {
    let redis = Redis::start().unwrap();
    let cache = connect(&[redis.url()]).await;
    redis.cli(&["HSET", "k", "a", "12345", "b", ""]).unwrap();
    redis.cli(&["SET", "string", "x"]).unwrap();
    let asked = fields(&[("a", "1"), ("b", ""), ("c", "")]);
    let keys: [&[u8]; 3] = [b"k", b"missing", b"string"];
    let hashes = keys.map(|key| HashFields {
        key,
        fields: &asked,
    });
    let sizes = cache.measure_hashes_as(&Unlimited, &hashes).await.unwrap();
    let size = |fields, values: [u64; 3]| HashSize {
        fields,
        values: values.into(),
    };
    assert_eq!(sizes[0], Ok(size(2, [5, 0, 0])));
    assert_eq!(sizes[1], Ok(size(0, [0, 0, 0])));
    assert_eq!(sizes[2].as_ref().unwrap_err().kind, FailureKind::WrongType);
    let read = cache.read_hashes_as(&Unlimited, &hashes).await.unwrap();
    assert_eq!(
        read[0],
        Ok(vec![Some("12345".into()), Some("".into()), None])
    );
    assert_eq!(read[1], Ok(vec![None; 3]));
    assert!(read[2].is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn hashes_follow_a_slot_that_moves() {
    let cluster = RedisCluster::start(3).unwrap();
    let cache = connect(&cluster.urls()).await;
    let hashes: Vec<Item> = (0..200)
        .map(|n| hash(&format!("{{moving}}:{n}"), &[("n", "1"), ("of", "200")]))
        .collect();
    let write = |items| cache.write(&Unlimited, WriteMode::Add, items);
    let outcomes = write(&hashes[..50]).await.unwrap();
    assert!(all(&outcomes, &WriteOutcome::Written), "{outcomes:?}");
    let migration = Migration::begin(&cluster, "{moving}");
    // ASK for those that are not where the slot still is.
    let outcomes = write(&hashes[..100]).await.unwrap();
    assert!(all(&outcomes[..50], &WriteOutcome::Kept), "{outcomes:?}");
    assert!(all(&outcomes[50..], &WriteOutcome::Written), "{outcomes:?}");
    // What is overwritten where the slot still is goes to where it will be.
    let overwritten = cache.write(&Unlimited, WriteMode::Overwrite, &hashes[..20]);
    let outcomes = overwritten.await.unwrap();
    assert!(all(&outcomes, &WriteOutcome::Written), "{outcomes:?}");
    assert_eq!(present(&cache, &hashes).await, 100);
    migration.finish();
    // MOVED for all.
    let outcomes = write(&hashes[..]).await.unwrap();
    assert!(all(&outcomes[..100], &WriteOutcome::Kept), "{outcomes:?}");
    assert!(
        all(&outcomes[100..], &WriteOutcome::Written),
        "{outcomes:?}"
    );
    assert_eq!(cluster.key_count().unwrap(), 200);
}
