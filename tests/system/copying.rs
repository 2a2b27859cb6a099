//! `stoke warm` from another Redis: a deploy with a new key format, whose keys are there already under their old names.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use stoke_harness::{Redis, RedisCluster};
use stoke_proto::v1;

use crate::command_line::stoke;
use crate::scene::{Scene, assert_w1, is_over, watch_until};
use crate::shop;
use crate::warm_command::warm;

/// Keys of the old format.
const KEYS: usize = 3_000;
/// Commands a second.
const QPS: u64 = 1_000;

fn connection(url: &str) -> redis::Connection {
    redis::Client::open(url).unwrap().get_connection().unwrap()
}

/// Fills the nodes of a cluster with keys of every kind, each with an end of its own or none, and some that are not asked for.
fn fill(cluster: &RedisCluster) {
    let urls = cluster.urls();
    let owner = |key: &str| {
        let slot = usize::from(stoke_core::slot::Slot::of(key.as_bytes()).0);
        let owned = |node: &usize| slot < (node + 1) * 16_384 / urls.len();
        (0..urls.len()).find(owned).unwrap()
    };
    let mut nodes: Vec<_> = urls.iter().map(|url| connection(url)).collect();
    let mut pipes: Vec<_> = nodes.iter().map(|_| redis::pipe()).collect();
    for n in 0..KEYS {
        let key = format!("old:{n}");
        let pipe = &mut pipes[owner(&key)];
        match n % 4 {
            0 => pipe.cmd("SET").arg(&key).arg(format!("value {n}")),
            1 => pipe.cmd("HSET").arg(&key).arg("id").arg(n),
            2 => pipe.cmd("RPUSH").arg(&key).arg(n).arg(n + 1),
            _ => pipe.cmd("ZADD").arg(&key).arg(n).arg("member"),
        };
        if n % 3 > 0 {
            pipe.cmd("PEXPIRE").arg(&key).arg(3_600_000 + n);
        }
    }
    pipes[0].cmd("PING");
    for (pipe, node) in pipes.iter().zip(&mut nodes) {
        pipe.exec(node).unwrap();
    }
    for key in ["other:1", "older:1"] {
        let owner = owner(key);
        redis::cmd("SET")
            .arg(key)
            .arg("x")
            .exec(&mut nodes[owner])
            .unwrap();
    }
}

/// All keys, each with its payload and its end.
fn content(urls: &[String]) -> BTreeMap<String, (Vec<u8>, i64)> {
    let mut content = BTreeMap::new();
    for url in urls {
        let mut node = connection(url);
        let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut node).unwrap();
        for key in keys {
            let asked: (Vec<u8>, i64) = redis::pipe()
                .cmd("DUMP")
                .arg(&key)
                .cmd("PEXPIRETIME")
                .arg(&key)
                .query(&mut node)
                .unwrap();
            content.insert(key, asked);
        }
    }
    content
}

/// How many commands about keys all nodes have counted.
fn commands(urls: &[String]) -> u64 {
    let of_node = |url: &String| {
        let stats: String = redis::cmd("INFO")
            .arg("commandstats")
            .query(&mut connection(url))
            .unwrap();
        let calls = stats.lines().filter_map(|line| {
            let (name, stats) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            let is_counted = ["dump", "pexpiretime", "pttl", "scan"].contains(&name);
            is_counted.then(|| stats.split(',').next()?.parse::<u64>().ok())?
        });
        calls.sum::<u64>()
    };
    urls.iter().map(of_node).sum()
}

/// The most commands that all nodes counted within a second, while something runs; and all of them.
fn watched<T>(urls: &[String], run: impl FnOnce() -> T) -> (T, u64, u64) {
    let before = commands(urls);
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, nodes) = (Arc::clone(&stop), urls.to_vec());
    let watching = std::thread::spawn(move || {
        let mut samples = Vec::new();
        while !stopped.load(Ordering::Relaxed) {
            let from = Instant::now();
            let counted = commands(&nodes);
            samples.push((from, Instant::now(), counted));
            std::thread::sleep(Duration::from_millis(20));
        }
        samples
    });
    let ran = run();
    stop.store(true, Ordering::Relaxed);
    let samples = watching.join().unwrap();
    let within = |first: &(Instant, Instant, u64), last: &(Instant, Instant, u64)| {
        last.1.duration_since(first.0) <= Duration::from_secs(1)
    };
    let windows = samples.iter().enumerate().flat_map(|(n, first)| {
        let lasts = samples[n..].iter().take_while(|last| within(first, last));
        lasts.map(|last| last.2 - first.2)
    });
    (ran, windows.max().unwrap_or(0), commands(urls) - before)
}

#[test]
fn the_keys_of_a_cluster_are_in_another_redis_under_new_names_with_their_ends_within_the_budget() {
    let (cluster, cache) = (RedisCluster::start(3).unwrap(), Redis::start().unwrap());
    fill(&cluster);
    cache.cli(&["SET", "v2:7", "the application's"]).unwrap();
    let (urls, to) = (cluster.urls(), cache.url());
    let (origin, qps) = (urls.join(","), QPS.to_string());
    let args = [
        "--origin", &origin, "--cache", &to, "--match", "old:{id}", "--key", "v2:{id}", "--qps",
        &qps,
    ];
    let (ran, peak, counted) = watched(&urls, || warm(&args, ""));
    assert_eq!(ran.code, 0, "{}", ran.errors);
    let outcomes = &ran.report["outcomes"];
    let (warmed, present) = (KEYS as u64 - 1, 1);
    assert_eq!(
        (&outcomes["warmed"], &outcomes["present"]),
        (&warmed.into(), &present.into())
    );
    assert!(counted >= 2 * warmed, "{counted}");
    let tokens = ran.report["origin_queries"].as_u64().unwrap();
    assert!(tokens >= counted, "{tokens} tokens, {counted} commands");
    assert!(
        peak > QPS / 2,
        "the samples are close enough to see anything: {peak}"
    );
    assert!(peak <= QPS, "{peak} commands in one second");

    let there = content(&urls);
    let here = content(std::slice::from_ref(&to));
    assert_eq!(here.len(), KEYS);
    for n in (0..KEYS).filter(|n| *n != 7) {
        let (old, new) = (&there[&format!("old:{n}")], &here[&format!("v2:{n}")]);
        assert_eq!(new, old, "{n}");
    }
    assert_eq!(cache.cli(&["GET", "v2:7"]).unwrap(), "the application's");
    assert_eq!(there.len(), KEYS + 2, "nothing is taken away");

    let again = warm(&args, "");
    assert_eq!(
        again.report["outcomes"]["present"], KEYS as u64,
        "{}",
        again.errors
    );
}

#[test]
fn within_one_cluster_keys_get_their_new_names_and_a_list_says_which() {
    let cluster = RedisCluster::start(3).unwrap();
    fill(&cluster);
    let urls = cluster.urls();
    let folder = stoke_harness::ServerDir::new("keys").unwrap();
    let list = folder.path().join("keys.csv");
    let ids: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    std::fs::write(&list, format!("key\n{}\nnone\n", ids.join("\n"))).unwrap();
    let ran = warm(
        &[
            "--origin",
            &urls[0],
            "--cache",
            &urls[1],
            "--keys",
            list.to_str().unwrap(),
            "--from",
            "old:{key}",
            "--key",
            "v2:{key}",
            "--copy",
            "typed",
            "--qps",
            "20000",
        ],
        "",
    );
    assert_eq!(ran.code, 0, "{}", ran.errors);
    let outcomes = &ran.report["outcomes"];
    assert_eq!(
        (&outcomes["warmed"], &outcomes["absent"]),
        (&100.into(), &1.into())
    );
    let content = content(&urls);
    for id in ids {
        assert_eq!(
            content[&format!("v2:{id}")].1,
            content[&format!("old:{id}")].1,
            "{id}"
        );
    }
}

#[test]
fn a_cache_that_does_not_take_what_dump_gives_gets_its_keys_by_their_types() {
    let from = Redis::start().unwrap();
    let cache = Redis::start_with(&[("rename-command", "RESTORE \"\"")]).unwrap();
    for n in 0..50 {
        from.cli(&["HSET", &format!("h:{n}"), "id", &n.to_string()])
            .unwrap();
        from.cli(&["PEXPIRE", &format!("h:{n}"), "3600000"])
            .unwrap();
    }
    let (origin, to) = (from.url(), cache.url());
    let args = [
        "--origin", &origin, "--cache", &to, "--match", "h:*", "--qps", "20000",
    ];
    let ran = warm(&[&args[..], &["--copy", "dump"]].concat(), "");
    assert_eq!(
        (ran.code, &ran.report["outcomes"]["failed"]),
        (1, &50.into()),
        "{}",
        ran.errors
    );
    let ran = warm(&args, "");
    assert_eq!(
        (ran.code, &ran.report["outcomes"]["warmed"]),
        (0, &50.into()),
        "{}",
        ran.errors
    );
    for n in 0..50 {
        let key = format!("h:{n}");
        assert_eq!(cache.cli(&["HGET", &key, "id"]).unwrap(), n.to_string());
        let ends = [&from, &cache].map(|redis| redis.cli(&["PEXPIRETIME", &key]).unwrap());
        assert_eq!(ends[0], ends[1]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_copies_by_what_its_workers_know_and_a_verification_finds_what_differs() {
    let from = Redis::start().unwrap();
    for n in 0..300 {
        let command = if n % 2 == 0 { "RPUSH" } else { "SET" };
        from.cli(&[command, &format!("old:{n}"), &n.to_string()])
            .unwrap();
    }
    let budget = "[budgets.\"origin/old\"]\nqps = 2000\n";
    let workers = format!(
        "[origins.old]\nurl = \"{}\"\n[loaders.renamed]\norigin = \"old\"\nkey = \"v2:{{id}}\"\n\
         [sources.olds]\norigin = \"old\"\nmatch = \"old:{{id}}\"\n",
        from.url()
    );
    let scene = Scene::start_configured(100, budget, &workers);
    let mut spec = shop::job();
    let Some(v1::job_spec::Work::Batch(batch)) = &mut spec.work else {
        panic!("a batch");
    };
    batch.loaders[0].name = "renamed".into();
    batch.sources[0].from = Some(v1::key_source::From::Named("olds".into()));
    let created = scene.create(spec).await.name;
    let mut jobs = scene.jobs().await;
    let job = watch_until(&mut jobs, &created, is_over).await;
    assert_eq!(job.state(), v1::JobState::Succeeded, "{}", job.reason);
    assert_w1(&job);
    assert_eq!(job.progress.unwrap().outcomes.unwrap().warmed, 300);

    let at = scene.leader();
    let verify = || {
        stoke(
            &at,
            &["verify", &created, "--full", "--values", "--output", "json"],
        )
    };
    let same = verify();
    assert_eq!(same.code, 0, "{same:?}");
    let port = scene.cache.ports()[0];
    scene
        .cache
        .cli(port, &["-c", "RPUSH", "v2:10", "one more"])
        .unwrap();
    scene.cache.cli(port, &["-c", "DEL", "v2:11"]).unwrap();
    scene
        .cache
        .cli(port, &["-c", "SET", "v2:13", "another"])
        .unwrap();
    let other = verify();
    assert_eq!(other.code, 1, "{other:?}");
    let told: std::collections::BTreeSet<&str> = (other.out.split('"'))
        .filter(|word| word.starts_with("v2:"))
        .collect();
    assert_eq!(told, ["v2:10", "v2:11", "v2:13"].into(), "{other:?}");
}

#[test]
fn flags_that_do_not_go_with_a_redis_are_refused_with_what_to_do() {
    for (args, says) in [
        (
            vec!["--origin", "redis://h", "--keys", "k", "--load", "SELECT 1"],
            "copied as they are",
        ),
        (
            vec!["--origin", "redis://h", "--rank", "SELECT 1"],
            "copied as they are",
        ),
        (
            vec!["--origin", "postgres://h/d", "--match", "a:*"],
            "say which, as --keys-from",
        ),
        (
            vec![
                "--origin",
                "postgres://h/d",
                "--keys",
                "k",
                "--copy",
                "dump",
            ],
            "only keys of a Redis",
        ),
        (
            vec!["--origin", "postgres://h/d", "--keys", "k"],
            "--load: give the SQL",
        ),
        (
            vec!["--origin", "redis://h", "--match", "{a}{b}"],
            "between {a} and {b}",
        ),
    ] {
        let ran = warm(&[&args[..], &["--cache", "redis://h"]].concat(), "");
        assert_eq!(ran.code, 2, "{args:?}: {}", ran.errors);
        assert!(ran.errors.contains(says), "{args:?}: {}", ran.errors);
    }
}
