//! What tells how much keys are used: a live cluster's own counters, and those that the application keeps there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use stoke_core::slot::Slot;
use stoke_harness::{Postgres, Prometheus, Redis, RedisCluster, ServerDir};

use crate::command_line::stoke;
use crate::scene::Scene;
use crate::shop;
use crate::warm_command::warm;

/// The node of a cluster of three that owns a key.
fn owner(key: &str) -> usize {
    let slot = usize::from(Slot::of(key.as_bytes()).0);
    (0..3).find(|node| slot < (node + 1) * 16_384 / 3).unwrap()
}

/// A cluster that evicts what is used least, whose items 1 to 100 were used, the first of them most, and 101 to 200 were not; and
/// a sorted set of what was sold.
fn live() -> RedisCluster {
    let lfu = [("maxmemory-policy", "allkeys-lfu"), ("lfu-decay-time", "0")];
    let live = RedisCluster::start_with(3, &lfu).unwrap();
    let mut pipes = BTreeMap::<usize, redis::Pipeline>::new();
    for id in 1..=200_u64 {
        let key = format!("item:{id}");
        let pipe = pipes.entry(owner(&key)).or_default();
        pipe.cmd("SET").arg(&key).arg("warm");
        for _ in 0..100_u64.saturating_sub(id) / 2 * 10 {
            pipe.cmd("GET").arg(&key);
        }
    }
    let sold = pipes.entry(owner("sold")).or_default();
    for id in 301..=400 {
        sold.cmd("ZADD")
            .arg("sold")
            .arg(500 - id)
            .arg(format!("item:{id}"));
    }
    sold.cmd("ZADD").arg("sold").arg("-1").arg("item:401");
    for (node, pipe) in &pipes {
        let client = redis::Client::open(live.urls()[*node].clone()).unwrap();
        pipe.exec(&mut client.get_connection().unwrap()).unwrap();
    }
    live
}

#[test]
fn a_job_warms_what_a_live_cluster_and_its_applications_counters_say_is_used() {
    let live = live();
    let urls: Vec<String> = live.urls().iter().map(|url| format!("{url:?}")).collect();
    let workers = format!(
        "[origins.live]\nurls = [{}]\n[sources.sold]\norigin = \"live\"\ncounter = \"sold\"\nmatch = \"item:{{id}}\"\n\
         on-bad-line = \"skip\"\n",
        urls.join(", ")
    );
    let scene = Scene::start_configured(20, "[budgets.\"origin/live\"]\nqps = 5000", &workers);
    shop::fill(&scene);
    scene.wait_for_members(3);
    let at = scene.leader();
    let folder = ServerDir::new("job-files").unwrap();
    let file = folder.path().join("usage.toml");
    let job = r#"
        cache = "main"
        allowed-failures = 5
        [[sources]]
        origin = "live"
        hot-keys = true
        match = "item:{id}"
        frequency-min = 6
        [[sources]]
        named = "sold"
        [[loaders]]
        name = "item"
    "#;
    std::fs::write(&file, job).unwrap();
    let submit = [
        "submit",
        file.to_str().unwrap(),
        "--watch",
        "--output",
        "json",
    ];
    let ran = stoke(&at, &submit);
    assert_eq!(ran.code, 0, "{ran:?}");
    let told = ran.lines();
    let last = told.last().unwrap();
    let sources = last["sources"].as_array().unwrap();
    assert_eq!(sources[1]["entries"], 100, "{last}");
    assert_eq!(sources[1]["bad_lines"], 1, "{last}");
    let shown = sources[1]["bad_line_examples"][0].as_str().unwrap();
    assert!(
        shown.contains("\"-1\"") && shown.contains("item:401"),
        "{shown}"
    );
    let plan = stoke(&at, &["plan", "export", last["job"].as_str().unwrap()]);
    let plan: Vec<&str> = plan.out.lines().skip(1).collect();
    // What was used less than twenty times may not have been noticed, nor what was not used at all.
    let has = |id: u64| {
        plan.iter()
            .any(|line| line.contains(&format!("item:{id},")))
    };
    assert!((1..=90).all(has) && !(101..=300).any(has), "{plan:?}");
    assert!((301..=400).all(has) && !has(401), "{plan:?}");
    for id in (1..=90)
        .chain(301..=400)
        .filter(|id| shop::is_warmable(*id))
    {
        let port = scene.cache.ports()[owner(&shop::key(id))];
        let there = scene.cache.cli(port, &["EXISTS", &shop::key(id)]).unwrap();
        assert_eq!(there, "1", "{id}");
    }
}

/// The flags of a line that loads items which are found in a Redis.
fn found<'a>(origin: &'a str, cache: &'a str, from: &'a str) -> [&'a str; 16] {
    [
        "--origin",
        origin,
        "--cache",
        cache,
        "--load",
        "SELECT * FROM items WHERE id IN (:keys)",
        "--key",
        "item:{id}",
        "--ttl",
        "5m",
        "--qps",
        "100",
        "--keys-from",
        from,
        "--match",
        "item:{id}",
    ]
}

#[test]
fn one_line_warms_what_a_counter_says_is_used_most() {
    let (live, cache, postgres) = (live(), Redis::start().unwrap(), Postgres::start().unwrap());
    let fill = "CREATE TABLE items (id bigint PRIMARY KEY, name text);
        INSERT INTO items SELECT id, 'item ' || id FROM generate_series(1, 1000) AS id; ANALYZE";
    postgres.psql("postgres", fill).unwrap();
    let (origin, url, from) = (postgres.url("postgres"), cache.url(), live.urls().join(","));
    let load = found(&origin, &url, &from);
    let counted = [&load[..], &["--counter", "sold", "--counter-limit", "10"]].concat();
    let ran = warm(&counted, "");
    assert_eq!(ran.code, 0, "{}", ran.errors);
    assert_eq!(ran.report["outcomes"]["warmed"], 10, "{}", ran.report);
    for id in 301..=310 {
        assert_eq!(
            cache.cli(&["EXISTS", &format!("item:{id}")]).unwrap(),
            "1",
            "{id}"
        );
    }
    let hot = warm(
        &[&load[..], &["--hot-keys", "--frequency-min", "10"]].concat(),
        "",
    );
    assert_eq!(hot.code, 0, "{}", hot.errors);
    let warmed = hot.report["outcomes"]["warmed"].as_u64().unwrap();
    assert!((40..=90).contains(&warmed), "{warmed}");
    let scanned = warm(&load, "");
    assert_eq!(scanned.code, 0, "{}", scanned.errors);
    assert_eq!(scanned.report["planned"], 200, "{}", scanned.report);

    let alone = warm(&[&load[..12], &["--counter", "sold"]].concat(), "");
    assert_eq!(alone.code, 2, "{}", alone.errors);
    assert!(
        alone.errors.contains("say which, as --keys-from"),
        "{}",
        alone.errors
    );
    let nothing = warm(&[&load[..14], &["--keys", "-"]].concat(), "key\n1\n");
    assert!(
        nothing.errors.contains("nothing says what is read there"),
        "{}",
        nothing.errors
    );
}

#[test]
fn one_line_warms_what_a_prometheus_says_is_asked_for_most() {
    let (cache, postgres) = (Redis::start().unwrap(), Postgres::start().unwrap());
    let prometheus = Prometheus::start("global: {}\n").unwrap();
    let fill = "CREATE TABLE items (id bigint PRIMARY KEY, name text);
        INSERT INTO items SELECT id, 'item ' || id FROM generate_series(1, 1000) AS id; ANALYZE";
    postgres.psql("postgres", fill).unwrap();
    let views = (1..=20).map(|id| {
        let number = 100 - id;
        format!(r#"label_replace(vector({number}), "item", "{id}", "", "")"#)
    });
    let query = format!("topk(10, {})", views.collect::<Vec<_>>().join(" or "));
    let (origin, url, at) = (postgres.url("postgres"), cache.url(), prometheus.url());
    let load = "SELECT * FROM items WHERE id IN (:keys)";
    let ran = warm(
        &[
            "--origin",
            &origin,
            "--cache",
            &url,
            "--load",
            load,
            "--key",
            "item:{item}",
            "--ttl",
            "5m",
            "--qps",
            "100",
            "--prometheus",
            &at,
            "--promql",
            &query,
        ],
        "",
    );
    assert_eq!(ran.code, 0, "{}", ran.errors);
    assert_eq!(ran.report["outcomes"]["warmed"], 10, "{}", ran.report);
    for id in 1..=10 {
        assert_eq!(
            cache.cli(&["EXISTS", &format!("item:{id}")]).unwrap(),
            "1",
            "{id}"
        );
    }
}

#[test]
fn one_line_warms_what_a_redis_is_asked_for_while_it_is_watched() {
    let (live, cache, postgres) = (
        Redis::start().unwrap(),
        Redis::start().unwrap(),
        Postgres::start().unwrap(),
    );
    let fill = "CREATE TABLE items (id bigint PRIMARY KEY, name text);
        INSERT INTO items SELECT id, 'item ' || id FROM generate_series(1, 1000) AS id; ANALYZE";
    postgres.psql("postgres", fill).unwrap();
    let (origin, url, from) = (postgres.url("postgres"), cache.url(), live.url());
    let is_over = Arc::new(AtomicBool::new(false));
    let asking = std::thread::spawn({
        let (from, is_over) = (from.clone(), Arc::clone(&is_over));
        move || {
            let mut connection = redis::Client::open(from).unwrap().get_connection().unwrap();
            while !is_over.load(Ordering::Relaxed) {
                for id in 1..=20 {
                    redis::cmd("GET")
                        .arg(format!("item:{id}"))
                        .exec(&mut connection)
                        .unwrap();
                }
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
        }
    });
    let load = found(&origin, &url, &from);
    let ran = warm(&[&load[..], &["--monitor", "2s"]].concat(), "");
    is_over.store(true, Ordering::Relaxed);
    asking.join().unwrap();
    assert_eq!(ran.code, 0, "{}", ran.errors);
    assert_eq!(ran.report["outcomes"]["warmed"], 20, "{}", ran.report);
    let seen = &ran.report["sources"][0]["monitor"];
    assert_eq!(
        (&seen["nodes"], &seen["masters"]),
        (&1.into(), &1.into()),
        "{seen}"
    );
    assert!(
        seen["accesses"].as_u64().unwrap() >= 20 && seen["bytes"].as_u64().unwrap() > 1000,
        "{seen}"
    );
    for id in 1..=20 {
        assert_eq!(
            cache.cli(&["EXISTS", &format!("item:{id}")]).unwrap(),
            "1",
            "{id}"
        );
    }
}
