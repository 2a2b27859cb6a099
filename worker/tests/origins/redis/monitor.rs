//! Which keys a Redis is asked for, seen by MONITOR, for a while and no longer than it bears.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use stoke_core::job::OnBadLine::{Fail, Skip};
use stoke_core::usage::Monitor;
use stoke_worker::origin::{OriginError, Watched};
use stoke_worker::source::Gathered;

use super::scanned::{rules, taken};
use super::*;

fn monitor(pattern: &str, duration_ms: u64) -> Monitor {
    Monitor {
        origin: "old".parse().unwrap(),
        pattern: pattern.parse().unwrap(),
        duration_ms,
        nodes_permille: 1000,
        // The machine is busy with other tests.
        cpu_max_permille: 10_000,
        commands: Vec::new(),
    }
}

/// What each key was counted.
type Counts = BTreeMap<String, u64>;

async fn watch(origin: &Origin, monitor: &Monitor) -> Result<(Counts, Gathered, Watched), String> {
    let rules = rules("{key}", Skip);
    let mut watched = None;
    let read = async |sink| {
        let (gathered, seen) = origin.monitor(&Unlimited, monitor, &rules, sink).await?;
        watched = Some(seen);
        Ok(gathered)
    };
    let (rows, gathered) = taken(read).await?;
    let mut counts = Counts::new();
    for (_, key, milli) in rows {
        *counts.entry(key).or_default() += milli / 1000;
    }
    Ok((counts, gathered, watched.unwrap()))
}

async fn fails(origin: &Origin) -> OriginError {
    let (sink, _chunks) = tokio::sync::mpsc::channel(4);
    let rules = rules("{key}", Fail);
    origin
        .monitor(&Unlimited, &monitor("*", 1000), &rules, sink)
        .await
        .unwrap_err()
}

/// Whether somebody watches the node.
fn is_watched(redis: &Redis) -> bool {
    let clients = cli(redis, "CLIENT LIST");
    clients.lines().any(|line| line.contains(" flags=O "))
}

/// How often a node has been told to be watched.
fn watches(redis: &Redis) -> u32 {
    let stats = cli(redis, "INFO commandstats");
    let calls = stats
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_monitor:calls="));
    calls.map_or(0, |calls| calls.split(',').next().unwrap().parse().unwrap())
}

/// Waits until a node that was told so `before` times is watched: the first that watches only looks whether it may.
async fn until_watched_after(redis: &Redis, before: u32) {
    until(|| watches(redis) >= before + 2 && is_watched(redis)).await;
}

async fn until(holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(30));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs an application on a thread of its own once the node is watched, and waits for both.
async fn beside<T>(
    redis: &Redis,
    watching: impl Future<Output = T>,
    application: impl FnOnce(redis::Connection) + Send + 'static,
) -> T {
    let (url, before) = (redis.url(), watches(redis));
    let starting = async {
        until_watched_after(redis, before).await;
        tokio::task::spawn_blocking(move || {
            application(redis::Client::open(url).unwrap().get_connection().unwrap());
        })
        .await
        .unwrap();
    };
    tokio::join!(watching, starting).0
}

#[tokio::test]
async fn keys_count_as_often_as_they_are_read_by_whomever_and_in_this_database() {
    let redis = Redis::start().unwrap();
    let from = origin(&redis);
    let all = monitor("*", 3000);
    let watching = watch(&from, &all);
    let (counts, gathered, watched) = beside(&redis, watching, |mut connection| {
        let mut pipe = redis::pipe();
        for _ in 0..5 {
            pipe.cmd("GET").arg("hot");
        }
        pipe.cmd("MGET")
            .arg("hot")
            .arg("with \"quotes\" and \n")
            .arg("ä");
        pipe.cmd("hgetall").arg("h");
        pipe.cmd("EXISTS").arg("hot");
        pipe.cmd("GET").arg(&b"p\xff"[..]);
        pipe.cmd("SET").arg("written").arg("v");
        pipe.cmd("EVAL")
            .arg("return redis.call('GET', KEYS[1])")
            .arg(1)
            .arg("scripted");
        pipe.cmd("SELECT").arg(3).cmd("GET").arg("elsewhere");
        pipe.exec(&mut connection).unwrap();
    })
    .await
    .unwrap();
    let expected = [
        ("hot", 7),
        ("with \"quotes\" and \n", 1),
        ("ä", 1),
        ("h", 1),
        ("scripted", 1),
    ];
    let expected: Counts = expected.map(|(key, count)| (key.to_owned(), count)).into();
    assert_eq!(counts, expected);
    assert_eq!((gathered.rows, gathered.bad_lines), (5, 1), "{gathered:?}");
    let node = &watched.nodes[0];
    assert_eq!(
        (watched.masters, node.accesses, &node.stopped),
        (1, 12, &None)
    );
    assert!(node.lines >= 16 && node.bytes > 400, "{node:?}");
    assert!(!is_watched(&redis));
}

#[tokio::test]
async fn what_our_own_connections_ask_does_not_count_and_commands_may_be_named() {
    let redis = Redis::start().unwrap();
    cli(&redis, "SET ours v");
    cli(&redis, "SET product:ours v");
    let settled = Item {
        key: "product:ours".into(),
        value: Value::String("v".into()),
        ttl: Duration::from_secs(3600),
    };
    let (from, ours) = (origin(&redis), cache(&redis).await);
    // It is there before, as a worker's is.
    ours.probe(&[b"ours"]).await[0].as_ref().unwrap();
    let named = Monitor {
        commands: vec!["GET".into(), "PTTL".into(), "SET".into()],
        ..monitor("product:{id}", 3000)
    };
    let probing = async {
        until_watched_after(&redis, 0).await;
        for _ in 0..50 {
            ours.probe(&[b"product:ours"]).await[0].as_ref().unwrap();
            // By a script, whose commands have no address.
            let settled = ours.settle(&Unlimited, &[(&settled, true)]).await.unwrap();
            assert!(matches!(settled[..], [Ok(true)]), "{settled:?}");
        }
    };
    let watching = async { tokio::join!(watch(&from, &named), probing).0 };
    let (counts, _, _) = beside(&redis, watching, |mut connection| {
        let mut pipe = redis::pipe();
        pipe.cmd("SET")
            .arg("product:7")
            .arg("v")
            .cmd("GET")
            .arg("product:8");
        pipe.cmd("STRLEN")
            .arg("product:9")
            .cmd("GET")
            .arg("cart:7")
            .cmd("PTTL")
            .arg("product:7");
        pipe.cmd("EVAL")
            .arg("return redis.call('GET', KEYS[1])")
            .arg(1)
            .arg("product:8");
        pipe.exec(&mut connection).unwrap();
    })
    .await
    .unwrap();
    let expected: Counts = [("7".to_owned(), 2), ("8".to_owned(), 2)].into();
    assert_eq!(counts, expected);
}

#[tokio::test]
async fn a_share_of_the_masters_is_watched_and_each_key_counts_as_it_is_seen() {
    let cluster = RedisCluster::start(3).unwrap();
    let from = origin_at(&cluster.urls()[..1]);
    let share = Monitor {
        nodes_permille: 400,
        ..monitor("*", 1500)
    };
    let (_, _, watched) = watch(&from, &share).await.unwrap();
    assert_eq!((watched.masters, watched.nodes.len()), (3, 2));
    assert!(watched.nodes.iter().all(|node| node.begun));
    assert_ne!(watched.nodes[0].node, watched.nodes[1].node);
}

#[tokio::test]
async fn a_node_that_is_too_busy_is_left_at_once_and_what_was_seen_counts() {
    let redis = Redis::start().unwrap();
    let from = origin(&redis);
    let strict = Monitor {
        cpu_max_permille: 100,
        ..monitor("*", 60_000)
    };
    let begun = Instant::now();
    let (counts, _, watched) = beside(&redis, watch(&from, &strict), |mut connection| {
        redis::cmd("GET").arg("seen").exec(&mut connection).unwrap();
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(4) {
            let busy = "for i = 1, 3000000 do end";
            redis::cmd("EVAL")
                .arg(busy)
                .arg(0)
                .exec(&mut connection)
                .unwrap();
        }
    })
    .await
    .unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(counts, [("seen".to_owned(), 1)].into());
    let node = &watched.nodes[0];
    let why = node.stopped.as_deref().unwrap();
    assert!(
        why.contains("was busy by") && why.contains("before: 0.0"),
        "{why}"
    );
    assert!(
        node.cpu_permille_max > 100 && node.cpu_before_permille <= 100,
        "{node:?}"
    );
    assert!(!is_watched(&redis));

    // One that is busy before is not watched at all.
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, url) = (Arc::clone(&stop), redis.url());
    let application = std::thread::spawn(move || {
        let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
        while !stopped.load(Ordering::Relaxed) {
            redis::cmd("EVAL")
                .arg("for i = 1, 3000000 do end")
                .arg(0)
                .exec(&mut connection)
                .unwrap();
        }
    });
    let (_, _, watched) = watch(&from, &strict).await.unwrap();
    stop.store(true, Ordering::Relaxed);
    application.join().unwrap();
    let node = &watched.nodes[0];
    let why = node.stopped.as_deref().unwrap();
    assert!(why.contains("busy already") && node.lines == 0, "{why}");
    assert!(!node.begun);
}

#[tokio::test]
async fn a_node_that_cannot_send_as_fast_as_it_is_asked_is_left_and_one_that_goes_away_too() {
    let redis = Redis::start().unwrap();
    let from = origin(&redis);
    let begun = Instant::now();
    // Whoever takes the rows takes none: so no line is taken after some.
    let rules = rules("{key}", Fail);
    let large = Monitor {
        commands: vec!["GET".into()],
        ..monitor("*", 60_000)
    };
    let (sink, chunks) = tokio::sync::mpsc::channel(1);
    let watching = async {
        let taking = async {
            until_watched_after(&redis, 0).await;
            until(|| !is_watched(&redis)).await;
            drop(chunks);
        };
        tokio::join!(from.monitor(&Unlimited, &large, &rules, sink), taking).0
    };
    let ended = beside(&redis, watching, |mut connection| {
        // More different keys than are counted at once: they are to go out, and do not.
        let key = "x".repeat(60_000);
        for round in 0..40 {
            let mut pipe = redis::pipe();
            for n in 0..50 {
                pipe.cmd("GET").arg(format!("{key}{round}:{n}"));
            }
            pipe.exec(&mut connection).unwrap();
        }
    })
    .await;
    assert!(
        ended.is_err_and(|error| error.is_stopped()),
        "nobody takes the rows any more"
    );
    assert!(begun.elapsed() < Duration::from_secs(30));

    let redis = Arc::new(redis);
    let killed = Arc::clone(&redis);
    let watching = monitor("*", 60_000);
    let (_, _, watched) = beside(&redis, watch(&from, &watching), move |_| {
        killed.kill().unwrap()
    })
    .await
    .unwrap();
    let why = watched.nodes[0].stopped.as_deref().unwrap();
    assert!(
        why.contains("closed the connection") || why.contains("how busy"),
        "{why}"
    );
}

#[tokio::test]
async fn one_who_may_not_watch_is_told_what_to_grant_and_nothing_is_tried_again() {
    let redis = Redis::start().unwrap();
    cli(&redis, "ACL SETUSER reader on >secret ~* +@all -monitor");
    let url = format!("redis://reader:secret@127.0.0.1:{}", redis.port());
    let error = fails(&origin_at(std::slice::from_ref(&url))).await;
    let said = error.explain();
    assert!(!error.is_transient(), "{said}");
    assert!(
        said.contains(&format!("127.0.0.1:{}", redis.port())) && said.contains("+monitor"),
        "{said}"
    );
    assert!(!said.contains("secret"), "{said}");
    cli(&redis, "ACL SETUSER reader +monitor -client|list");
    let error = fails(&origin_at(&[url])).await;
    let said = error.explain();
    assert!(
        !error.is_transient() && said.contains("client|list"),
        "{said}"
    );
    assert!(!is_watched(&redis));
}

#[tokio::test]
async fn of_a_server_without_monitor_it_is_said_what_else_there_is() {
    let redis = Redis::start_with(&[("rename-command", "MONITOR nobody-knows-it")]).unwrap();
    let error = fails(&origin(&redis)).await;
    let said = error.explain();
    assert!(!error.is_transient() && said.contains("hot keys"), "{said}");
}

#[tokio::test]
async fn watching_takes_a_token_and_two_for_each_look() {
    let redis = Redis::start().unwrap();
    let (tokens, from) = (Tokens::default(), origin(&redis));
    let rules = rules("{key}", Fail);
    let (sink, _chunks) = tokio::sync::mpsc::channel(4);
    let short = monitor("*", 2500);
    from.monitor(&tokens, &short, &rules, sink).await.unwrap();
    // Two looks before, one to begin, two looks meanwhile.
    assert_eq!((tokens.taken(), from.queries()), (9, 9));
}
