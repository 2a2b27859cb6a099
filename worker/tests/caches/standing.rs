//! Looking at what is in a cache: kinds, times to live and first bytes, of a server and of a cluster, without using keys.

use stoke_harness::{Redis, RedisCluster};
use stoke_worker::cache::Standing;
use stoke_worker::permit::Unlimited;

use crate::connect;

fn is_present(standing: &Standing, wanted: &str, expires: bool) -> bool {
    matches!(standing, Standing::Present { kind, ttl } if kind == wanted && ttl.is_some() == expires)
}

#[tokio::test(flavor = "multi_thread")]
async fn kinds_and_times_to_live_are_told_and_bytes_are_read_no_further_than_asked() {
    let cluster = RedisCluster::start(3).unwrap();
    let cache = connect(&cluster.urls()).await;
    for command in [
        &["SET", "text", "0123456789", "PX", "60000"][..],
        &["SET", "eternal", ""],
        &["RPUSH", "list", "a"],
        &["HSET", "hash", "f", "v"],
    ] {
        let port = cluster.ports()[0];
        cluster.cli(port, &[&["-c"], command].concat()).unwrap();
    }
    let keys: [&[u8]; 5] = [b"text", b"eternal", b"list", b"hash", b"missing"];
    let standings = cache.look_as(&Unlimited, &keys).await.unwrap();
    let standings: Vec<Standing> = standings.into_iter().map(Result::unwrap).collect();
    assert!(is_present(&standings[0], "string", true), "{standings:?}");
    assert!(is_present(&standings[1], "string", false), "{standings:?}");
    assert!(is_present(&standings[2], "list", false), "{standings:?}");
    assert!(is_present(&standings[3], "hash", false), "{standings:?}");
    assert_eq!(standings[4], Standing::Missing);

    let asked: [(&[u8], usize); 4] = [
        (b"text", 3),
        (b"text", 99),
        (b"eternal", 0),
        (b"missing", 5),
    ];
    let read = cache.peek_as(&Unlimited, &asked).await.unwrap();
    let read: Vec<_> = read.into_iter().map(Result::unwrap).collect();
    assert_eq!(read, ["0123", "0123456789", "", ""]);
    let wrong = cache.peek_as(&Unlimited, &[(b"list", 0)]).await.unwrap();
    let error = wrong[0].as_ref().unwrap_err();
    assert!(error.reason.contains("WRONGTYPE"), "{}", error.reason);
}

/// With LFU, each use of a key that is hardly used is counted for certain.
#[tokio::test(flavor = "multi_thread")]
async fn a_look_is_no_use_of_the_key() {
    let redis = Redis::start().unwrap();
    redis
        .cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lfu"])
        .unwrap();
    redis.cli(&["SET", "k", "v"]).unwrap();
    let uses = || redis.cli(&["OBJECT", "FREQ", "k"]).unwrap();
    let before = uses();
    let cache = connect(&[redis.url()]).await;
    for _ in 0..3 {
        let standings = cache.look_as(&Unlimited, &[b"k"]).await.unwrap();
        let standing = standings[0].as_ref().unwrap();
        assert!(is_present(standing, "string", false));
    }
    assert_eq!(uses(), before);
    // What is a use would show.
    redis.cli(&["GET", "k"]).unwrap();
    assert_ne!(uses(), before);
}
