//! Keys by the access counters of an LFU policy, which asking does not move.

use std::collections::BTreeMap;

use stoke_core::job::OnBadLine::Fail;
use stoke_core::usage::{HotKeys, lfu};
use stoke_worker::source::Gathered;

use super::scanned::{rules, taken};
use super::*;

/// Counters that forget nothing while a test runs.
const LFU: [(&str, &str); 2] = [("maxmemory-policy", "allkeys-lfu"), ("lfu-decay-time", "0")];

fn hot(pattern: &str, frequency_min: u8) -> HotKeys {
    HotKeys {
        origin: "old".parse().unwrap(),
        pattern: pattern.parse().unwrap(),
        count: 100,
        frequency_min,
    }
}

type Rows = Vec<(String, String, u64)>;

async fn read(origin: &Origin, hot: &HotKeys) -> Result<(Rows, Gathered), String> {
    let rules = rules("{key}", Fail);
    taken(async |sink| origin.hot_keys(&Unlimited, hot, &rules, sink).await).await
}

fn frequency(redis: &Redis, key: &str) -> u8 {
    cli(redis, &format!("OBJECT FREQ {key}")).parse().unwrap()
}

#[tokio::test]
async fn keys_count_for_the_accesses_that_their_counters_stand_for() {
    let redis = Redis::start_with(&LFU).unwrap();
    cli(&redis, "MSET product:hot a product:new b other:hot c");
    let mut connection = redis::Client::open(redis.url())
        .unwrap()
        .get_connection()
        .unwrap();
    let mut pipe = redis::pipe();
    for _ in 0..5000 {
        pipe.cmd("GET").arg("product:hot");
    }
    pipe.exec(&mut connection).unwrap();
    let counter = frequency(&redis, "product:hot");
    assert!(counter > 15, "{counter}");
    let from = origin(&redis);
    let (rows, _) = read(&from, &hot("product:{id}", 0)).await.unwrap();
    let milli = lfu::accesses(counter, 10).as_milli();
    let row = |id: &str, milli| (id.to_owned(), id.to_owned(), milli);
    assert_eq!(rows, [row("hot", milli), row("new", 5)]);
    // Of the right size: the counter is a guess, whose standard deviation is a tenth at this height.
    assert!((2_500_000..10_000_000).contains(&milli), "{milli}");
    let (rows, _) = read(&from, &hot("product:{id}", 6)).await.unwrap();
    assert_eq!(rows, [row("hot", milli)]);
    cli(&redis, "CONFIG SET lfu-log-factor 0");
    let (rows, _) = read(&from, &hot("product:h{id}", 0)).await.unwrap();
    assert_eq!(rows[0].2, u64::from(counter - 5) * 1000);
}

#[tokio::test]
async fn neither_scan_nor_asking_counts_as_a_use() {
    let redis = Redis::start_with(&LFU).unwrap();
    cli(&redis, "MSET a 1 b 2");
    // Below ten, or so, each second use would be counted.
    assert_eq!(cli(&redis, "GET b"), "2");
    let before = [frequency(&redis, "a"), frequency(&redis, "b")];
    assert_eq!(before, [5, 6]);
    let from = origin(&redis);
    for _ in 0..100 {
        assert_eq!(read(&from, &hot("*", 0)).await.unwrap().0.len(), 2);
    }
    assert_eq!([frequency(&redis, "a"), frequency(&redis, "b")], before);
    // Nor, under a policy that goes by the last use, does SCAN.
    cli(&redis, "CONFIG SET maxmemory-policy allkeys-lru");
    cli(&redis, "SET a 1");
    let idle = || -> u64 { cli(&redis, "OBJECT IDLETIME a").parse().unwrap() };
    while idle() < 2 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let pattern = "*".parse().unwrap();
    let rules = rules("{key}", Fail);
    taken(async |sink| from.scan(&Unlimited, &pattern, 100, &rules, sink).await)
        .await
        .unwrap();
    assert!(idle() >= 2, "{}", idle());
}

#[tokio::test]
async fn a_policy_that_counts_nothing_says_what_to_do_and_nothing_is_tried_again() {
    let redis = Redis::start().unwrap();
    cli(&redis, "SET a 1");
    let (sink, _chunks) = tokio::sync::mpsc::channel(4);
    let rules = rules("{key}", Fail);
    let error = origin(&redis)
        .hot_keys(&Unlimited, &hot("*", 0), &rules, sink)
        .await
        .unwrap_err();
    let said = error.explain();
    assert!(
        said.contains("policy noeviction")
            && said.contains("CONFIG SET maxmemory-policy allkeys-lfu"),
        "{said}"
    );
    assert!(!error.is_transient(), "{said}");
}

#[tokio::test]
async fn a_user_without_config_is_taken_to_have_the_usual_factor() {
    let redis = Redis::start_with(&LFU).unwrap();
    cli(&redis, "SET a 1");
    cli(&redis, "CONFIG SET lfu-log-factor 3");
    cli(
        &redis,
        "ACL SETUSER reader on >secret ~* +@all -config -object",
    );
    let url = format!("redis://reader:secret@127.0.0.1:{}", redis.port());
    let denied = read(&origin_at(std::slice::from_ref(&url)), &hot("*", 0))
        .await
        .unwrap_err();
    assert!(
        denied.contains("object") && denied.contains("NOPERM"),
        "{denied}"
    );
    cli(&redis, "ACL SETUSER reader +object");
    let (rows, _) = read(&origin_at(&[url]), &hot("*", 0)).await.unwrap();
    assert_eq!(rows.len(), 1);
}

#[tokio::test]
async fn each_key_takes_a_token_and_no_more_than_a_pipeline_is_under_way() {
    let cluster = RedisCluster::start(3).unwrap();
    let mut of_nodes = BTreeMap::<usize, redis::Pipeline>::new();
    for n in 0..2000 {
        let key = format!("product:{n}");
        let slot = usize::from(stoke_core::slot::Slot::of(key.as_bytes()).0);
        let node = (0..3).find(|node| slot < (node + 1) * 16_384 / 3).unwrap();
        of_nodes
            .entry(node)
            .or_default()
            .cmd("SET")
            .arg(&key)
            .arg("v");
    }
    for (node, pipe) in &of_nodes {
        let client = redis::Client::open(cluster.urls()[*node].clone()).unwrap();
        pipe.exec(&mut client.get_connection().unwrap()).unwrap();
        cluster
            .cli(
                cluster.ports()[*node],
                &["CONFIG", "SET", "maxmemory-policy", "allkeys-lfu"],
            )
            .unwrap();
        cluster
            .cli(cluster.ports()[*node], &["CONFIG", "RESETSTAT"])
            .unwrap();
    }
    let (tokens, from) = (Tokens::default(), origin_at(&cluster.urls()[..1]));
    let rules = rules("{key}", Fail);
    let all = hot("product:{id}", 0);
    let read = taken(async |sink| from.hot_keys(&tokens, &all, &rules, sink).await).await;
    let (mut rows, _) = read.unwrap();
    rows.dedup();
    assert_eq!(rows.len(), 2000);
    let mut calls = BTreeMap::<String, u64>::new();
    for port in cluster.ports() {
        let said = cluster.cli(port, &["INFO", "commandstats"]).unwrap();
        for line in said.lines() {
            let Some((name, stats)) = line
                .strip_prefix("cmdstat_")
                .and_then(|line| line.split_once(":calls="))
            else {
                continue;
            };
            let count = stats.split(',').next().unwrap().parse::<u64>().unwrap();
            *calls.entry(name.into()).or_default() += count;
        }
    }
    let of = |name: &str| calls.get(name).copied().unwrap_or_default();
    assert!(of("object|freq") >= 2000, "{calls:?}");
    // What asks how nodes stand takes one, too; connecting does not.
    let about_nodes = 3 * (2 * 2 + 2);
    assert_eq!(
        tokens.taken(),
        of("object|freq") + of("scan") + about_nodes,
        "{calls:?}"
    );
    assert_eq!(
        from.queries(),
        u64::from(u32::try_from(tokens.taken()).unwrap())
    );
}
