//! Counters that an application keeps.

use stoke_core::job::OnBadLine::{Fail, Skip};
use stoke_core::usage::Counter;
use stoke_worker::source::Gathered;

use super::scanned::{rules, taken};
use super::*;

fn counter(key: &str, pattern: &str, limit: Option<u64>) -> Counter {
    Counter {
        origin: "old".parse().unwrap(),
        key: key.into(),
        pattern: pattern.parse().unwrap(),
        limit,
    }
}

type Rows = Vec<(String, String, u64)>;

async fn read(
    origin: &Origin,
    counter: &Counter,
    template: &str,
    skip: bool,
) -> Result<(Rows, Gathered), String> {
    let rules = rules(template, if skip { Skip } else { Fail });
    taken(async |sink| origin.counter(&Unlimited, counter, &rules, sink).await).await
}

fn row(key: &str, argument: &str, milli: u64) -> (String, String, u64) {
    (key.into(), argument.into(), milli)
}

#[tokio::test]
async fn members_are_keys_and_scores_their_priorities() {
    let redis = Redis::start().unwrap();
    cli(&redis, "ZADD views 5 7 2.5 8 1000000000000 9");
    cli(&redis, "HSET counts 7 5 8 0.25");
    for url in [redis.url(), format!("{}/?protocol=resp3", redis.url())] {
        let from = origin_at(&[url]);
        let (rows, gathered) = read(&from, &counter("views", "*", None), "product:{key}", false)
            .await
            .unwrap();
        let expected = [("7", 5000), ("8", 2500), ("9", 1_000_000_000_000_000)];
        assert_eq!(
            rows,
            expected.map(|(id, milli)| row(&format!("product:{id}"), id, milli))
        );
        assert_eq!(gathered.rows, 3);
        let (rows, _) = read(&from, &counter("views", "*", Some(2)), "p:{key}", false)
            .await
            .unwrap();
        assert_eq!(
            rows,
            [
                row("p:7", "7", 5000),
                row("p:9", "9", 1_000_000_000_000_000)
            ]
        );
        let (rows, _) = read(&from, &counter("counts", "*", None), "p:{key}", false)
            .await
            .unwrap();
        assert_eq!(rows, [row("p:7", "7", 5000), row("p:8", "8", 250)]);
    }
}

#[tokio::test]
async fn members_that_are_cache_keys_are_taken_apart_by_a_pattern() {
    let redis = Redis::start().unwrap();
    cli(&redis, "ZADD views 5 product:7 9 cart:8 3 product:9");
    let from = origin(&redis);
    let of_products = counter("views", "product:{id}", None);
    let (rows, gathered) = read(&from, &of_products, "product:{id}", false)
        .await
        .unwrap();
    assert_eq!(
        rows,
        [row("product:7", "7", 5000), row("product:9", "9", 3000)]
    );
    assert_eq!((gathered.rows, gathered.bad_lines), (2, 0));
    let by_glob = counter("views", "*:[78]", None);
    let (rows, _) = read(&from, &by_glob, "{key}", false).await.unwrap();
    assert_eq!(
        rows,
        [
            row("cart:8", "cart:8", 9000),
            row("product:7", "product:7", 5000)
        ]
    );
}

#[tokio::test]
async fn large_ones_are_read_whole_and_of_the_highest_as_many_as_are_asked_for() {
    let cluster = RedisCluster::start(3).unwrap();
    let mut pipe = redis::pipe();
    for n in 0..5000_u32 {
        pipe.cmd("ZADD").arg("views").arg(n).arg(n);
        pipe.cmd("HSET").arg("{views}counts").arg(n).arg(n);
    }
    let slot = usize::from(stoke_core::slot::Slot::of(b"views").0);
    let node = (0..3).find(|node| slot < (node + 1) * 16_384 / 3).unwrap();
    let client = redis::Client::open(cluster.urls()[node].clone()).unwrap();
    pipe.exec(&mut client.get_connection().unwrap()).unwrap();
    let from = origin_at(&cluster.urls()[..1]);
    let expected = |from: u64| {
        let row = |n: u64| row(&n.to_string(), &n.to_string(), n * 1000);
        let mut rows: Rows = (from..5000).map(row).collect();
        rows.sort();
        rows
    };
    for key in ["views", "{views}counts"] {
        let (mut rows, _) = read(&from, &counter(key, "*", None), "{key}", false)
            .await
            .unwrap();
        rows.dedup();
        assert_eq!(rows, expected(0), "{key}");
    }
    let (rows, gathered) = read(&from, &counter("views", "*", Some(2500)), "{key}", false)
        .await
        .unwrap();
    assert_eq!((rows, gathered.rows), (expected(2500), 2500));
    let (rows, _) = read(&from, &counter("views", "*", Some(6000)), "{key}", false)
        .await
        .unwrap();
    assert_eq!(rows, expected(0));
}

#[tokio::test]
async fn what_is_no_priority_or_no_text_is_a_bad_line_that_is_shown() {
    let redis = Redis::start().unwrap();
    cli(
        &redis,
        "ZADD views 1 fine inf endless -inf nothing -3 negative 2000000000000 large",
    );
    cli(&redis, "HSET counts fine 1 word many empty 0x10 spaces NaN");
    let mut connection = redis::Client::open(redis.url())
        .unwrap()
        .get_connection()
        .unwrap();
    let mut add = redis::cmd("ZADD");
    add.arg("views")
        .arg(7)
        .arg(&b"p\xff"[..])
        .exec(&mut connection)
        .unwrap();
    redis::cmd("HSET")
        .arg("counts")
        .arg("blank")
        .arg("")
        .exec(&mut connection)
        .unwrap();
    let from = origin(&redis);
    let (rows, gathered) = read(&from, &counter("views", "*", None), "{key}", true)
        .await
        .unwrap();
    assert_eq!(
        (rows, gathered.bad_lines),
        (vec![row("fine", "fine", 1000)], 5)
    );
    let (rows, gathered) = read(&from, &counter("counts", "*", None), "{key}", true)
        .await
        .unwrap();
    assert_eq!(
        (rows, gathered.bad_lines),
        (vec![row("fine", "fine", 1000)], 4)
    );
    let refused = read(&from, &counter("views", "n*g", None), "{key}", false)
        .await
        .unwrap_err();
    assert!(
        refused.contains("\"-inf\" is not a number from 0 to 1000000000000: \"nothing\""),
        "{refused}"
    );
    let refused = read(&from, &counter("views", "p*", None), "{key}", false)
        .await
        .unwrap_err();
    assert!(
        refused.contains("the key is not UTF-8, and so no database is asked for it: \"p\u{fffd}\""),
        "{refused}"
    );
}

#[tokio::test]
async fn a_key_that_has_no_counter_says_what_one_is_and_nothing_is_tried_again() {
    let redis = Redis::start().unwrap();
    cli(&redis, "SET text 7");
    cli(&redis, "HSET counts 7 1");
    let from = origin(&redis);
    for (key, limit, says) in [
        ("text", None, "it is a string: counters are a sorted set"),
        ("none", None, "there is no such key"),
        ("counts", Some(5), "it is a hash, which has no order"),
    ] {
        let rules = rules("{key}", Fail);
        let (sink, _chunks) = tokio::sync::mpsc::channel(4);
        let error = from
            .counter(&Unlimited, &counter(key, "*", limit), &rules, sink)
            .await
            .unwrap_err();
        assert!(error.explain().contains(says), "{}", error.explain());
        assert!(
            error
                .explain()
                .contains(&format!("read the counter {key:?}"))
        );
        assert!(!error.is_transient());
    }
}

#[tokio::test]
async fn each_command_takes_a_token() {
    let redis = Redis::start().unwrap();
    let mut pipe = redis::pipe();
    for n in 0..3000 {
        pipe.cmd("ZADD").arg("views").arg(n).arg(n);
    }
    let client = redis::Client::open(redis.url()).unwrap();
    pipe.exec(&mut client.get_connection().unwrap()).unwrap();
    let (tokens, from) = (Tokens::default(), origin(&redis));
    let rules = rules("{key}", Fail);
    let highest = counter("views", "*", Some(2500));
    let read = taken(async |sink| from.counter(&tokens, &highest, &rules, sink).await).await;
    assert_eq!(read.unwrap().1.rows, 2500);
    // TYPE, three windows, and INFO before and after.
    assert_eq!((tokens.taken(), from.queries()), (6, 6));
}
