//! `stoke warm`: one process, no etcd, no configuration.

use stoke_harness::{Postgres, Redis, RedisCluster};

use crate::warm_command::warm;

const SHOP: &str = "CREATE TABLE products (id bigint PRIMARY KEY, name text);
    INSERT INTO products SELECT id, 'product ' || id FROM generate_series(1, 2000) AS id;
    CREATE TABLE product_views (product_id bigint, views bigint);
    INSERT INTO product_views SELECT id, 100000 / id FROM generate_series(1, 2000) AS id;";

const LOAD: [&str; 6] = [
    "--load",
    "SELECT * FROM products WHERE id IN (:keys)",
    "--key",
    "product:{key}",
    "--ttl",
    "5m",
];

#[test]
fn the_most_viewed_are_warmed_into_a_cluster_and_a_second_run_finds_them_present() {
    let postgres = Postgres::start().unwrap();
    postgres.psql("postgres", SHOP).unwrap();
    let cache = RedisCluster::start(3).unwrap();
    let (origin, urls) = (postgres.url("postgres"), cache.urls());
    let rank = "SELECT product_id AS key, views AS priority FROM product_views ORDER BY views DESC LIMIT 1000";
    let mut args = vec![
        "--origin",
        &origin,
        "--cache",
        &urls[0],
        "--rank",
        rank,
        "--workers",
        "2",
    ];
    args.extend(LOAD);

    let first = warm(&args, "");
    assert_eq!(
        (first.code, &first.report["state"]),
        (0, &"SUCCEEDED".into()),
        "{}",
        first.errors
    );
    assert_eq!(first.report["outcomes"]["warmed"], 1000);
    assert!(
        first.errors.contains("100 queries a second"),
        "the default rate is said: {}",
        first.errors
    );
    assert_eq!(cache.key_count().unwrap(), 1000);

    let second = warm(&args, "");
    assert_eq!(
        (second.code, &second.report["outcomes"]["present"]),
        (0, &1000.into()),
        "{}",
        second.errors
    );
}

#[test]
fn a_cold_cache_is_not_asked_after_each_key_and_what_it_has_stays_and_is_counted() {
    let postgres = Postgres::start().unwrap();
    let fill = "CREATE TABLE products (id bigint PRIMARY KEY, name text);
        INSERT INTO products SELECT id, 'product ' || id FROM generate_series(1, 40000) AS id";
    postgres.psql("postgres", fill).unwrap();
    let cache = Redis::start().unwrap();
    let (origin, url) = (postgres.url("postgres"), cache.url());
    let ours = (1..=40).map(|n| format!("product:{}", n * 1000));
    for key in ours.clone() {
        cache.cli(&["SET", &key, "the application's"]).unwrap();
    }
    let mut args = vec!["--origin", &origin, "--cache", &url, "--qps", "50"];
    args.extend(["--workers", "1"]);
    args.extend(["--rank", "SELECT id AS key FROM products"]);
    args.extend(LOAD);

    let ran = warm(&args, "");
    assert_eq!(ran.code, 0, "{}", ran.errors);
    let outcomes = &ran.report["outcomes"];
    assert_eq!(
        (
            &outcomes["warmed"],
            &outcomes["present"],
            &ran.report["planned"]
        ),
        (&39_960.into(), &40.into(), &40_000.into()),
        "{}",
        ran.report
    );
    for key in ours {
        assert_eq!(
            cache.cli(&["GET", &key]).unwrap().trim(),
            "the application's"
        );
    }
    assert_eq!(cache.cli(&["DBSIZE"]).unwrap().trim(), "40000");
    let asked = calls(&cache, "pttl");
    assert!(
        (8_000..20_000).contains(&asked),
        "{asked} of 40,000 were asked after"
    );

    // A cache that has them all is asked after each, and no row is loaded again.
    let before = postgres.statements("stoke").unwrap().len();
    let again = warm(&args, "");
    assert_eq!(
        again.report["outcomes"]["present"], 40_000,
        "{}",
        again.errors
    );
    // And once at the beginning, whether it may.
    assert_eq!(calls(&cache, "pttl") - asked, 40_001);
    let statements = postgres.statements("stoke").unwrap();
    let loads = statements[before..]
        .iter()
        .filter(|s| s.text.contains("id IN"));
    assert_eq!(loads.count(), 0);
}

/// How often a command was sent.
fn calls(cache: &Redis, command: &str) -> u64 {
    let stats = cache.cli(&["INFO", "commandstats"]).unwrap();
    let of_command = format!("cmdstat_{command}:calls=");
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix(&of_command));
    line.and_then(|line| line.split(',').next()?.parse().ok())
        .unwrap_or_default()
}

#[test]
fn a_further_cache_gets_what_the_first_gets_and_nonsense_is_refused() {
    let postgres = Postgres::start().unwrap();
    postgres.psql("postgres", SHOP).unwrap();
    let (first, further) = (Redis::start().unwrap(), Redis::start().unwrap());
    first
        .cli(&["SET", "product:7", "the application's"])
        .unwrap();
    let (origin, urls) = (postgres.url("postgres"), [first.url(), further.url()]);
    let with = |more: &[&str]| {
        let mut args = vec!["--origin", &origin, "--cache", &urls[0], "--keys", "-"];
        args.extend(["--qps", "50"]);
        args.extend(LOAD);
        args.extend(more);
        warm(&args, "key\n7\n8\n9999\n")
    };
    let ran = with(&["--also-cache", &urls[1]]);
    assert_eq!(ran.code, 0, "{}", ran.errors);
    assert_eq!(ran.report["also"], serde_json::json!(["cache-2"]));
    assert_eq!(ran.report["outcomes"]["warmed"], 2, "{}", ran.errors);
    let get = |cache: &Redis, key| cache.cli(&["GET", key]).unwrap().trim().to_owned();
    assert_eq!(get(&first, "product:7"), "the application's");
    assert_eq!(get(&further, "product:7"), r#"{"id":7,"name":"product 7"}"#);
    assert_eq!(get(&first, "product:8"), get(&further, "product:8"));

    let nobody = "redis://127.0.0.1:1";
    let many = ["--also-cache", nobody].repeat(8);
    for (more, says) in [
        (vec!["--also-cache", &urls[0]], "is named twice"),
        (
            vec!["--also-cache", "http://a"],
            "cache cache-2: URL number 1",
        ),
        (many, "at most 8 caches"),
        (
            vec!["--also-cache", &urls[1], "--nodes", "a:1"],
            "--nodes: nodes are those of one cache",
        ),
    ] {
        let refused = with(&more);
        assert_eq!(refused.code, 2, "{more:?}: {}", refused.errors);
        assert!(
            refused.errors.contains(says),
            "{more:?}: {}",
            refused.errors
        );
    }
    let unreached = with(&["--also-cache", nobody]);
    assert_eq!(unreached.code, 4, "{}", unreached.errors);
    assert!(
        unreached.errors.contains("cache \"cache-2\""),
        "{}",
        unreached.errors
    );
}

#[test]
fn keys_come_from_standard_input_and_text_finds_numbers() {
    let postgres = Postgres::start().unwrap();
    postgres.psql("postgres", SHOP).unwrap();
    let cache = Redis::start().unwrap();
    let (origin, url) = (postgres.url("postgres"), cache.url());
    let mut args = vec![
        "--origin", &origin, "--cache", &url, "--keys", "-", "--qps", "50",
    ];
    args.extend(LOAD);

    let ran = warm(&args, "key,priority\n7,10\n007,3\n9999,1\nseven,1\n");
    // "007" is a cache key of its own, and the same product; "seven" is no number.
    assert_eq!(ran.report["outcomes"]["warmed"], 2, "{}", ran.errors);
    assert_eq!(ran.report["outcomes"]["absent"], 1);
    assert_eq!(ran.report["outcomes"]["failed"], 1);
    assert_eq!(ran.code, 1);
    assert_eq!(
        cache.cli(&["GET", "product:7"]).unwrap().trim(),
        r#"{"id":7,"name":"product 7"}"#
    );
}

#[test]
fn keys_of_several_parts_come_in_columns_or_as_arrays_and_one_that_lacks_a_part_fails_alone() {
    let postgres = Postgres::start().unwrap();
    let users = "CREATE TABLE users (tenant_id int, id bigint, name text, version int DEFAULT 1, PRIMARY KEY (tenant_id, id));
        INSERT INTO users SELECT id % 7, id, 'user ' || id FROM generate_series(1, 700) AS id";
    postgres.psql("postgres", users).unwrap();
    let cache = Redis::start().unwrap();
    let (origin, url) = (postgres.url("postgres"), cache.url());
    let common = [
        "--origin",
        &origin,
        "--cache",
        &url,
        "--load",
        "SELECT tenant_id, id, name, version FROM users WHERE (tenant_id, id) IN (:keys)",
        "--key",
        "user:{tenant_id}:{id}",
        "--version-column",
        "version",
        "--ttl",
        "5m",
    ];
    let with = |more: &[&'static str], stdin| {
        let args: Vec<&str> = common.iter().chain(more).copied().collect();
        warm(&args, stdin)
    };
    let rank = ["--rank", "SELECT id, tenant_id FROM users"];
    let dry = with(&[rank[0], rank[1], "--dry-run"], "");
    assert_eq!(dry.code, 0, "{}", dry.errors);
    let ran = with(&rank, "");
    assert_eq!(
        (ran.code, &ran.report["outcomes"]["warmed"]),
        (0, &700.into()),
        "{}",
        ran.errors
    );
    assert_eq!(
        cache.cli(&["GET", "user:3:73"]).unwrap().trim(),
        r#"{"tenant_id":3,"id":73,"name":"user 73","version":1}"#
    );

    cache.cli(&["FLUSHALL"]).unwrap();
    let keys = concat!(
        "{\"tenant_id\":1,\"id\":\"008\"}\n",
        "{\"key\":[\"2\",\"9\"],\"tenant_id\":2,\"id\":9,\"x\":1}\n",
        "{\"key\":[\"5\",\"9\"],\"tenant_id\":5,\"id\":9,\"x\":1}\n",
        "{\"key\":[\"3\"],\"tenant_id\":\"a\",\"id\":9}\n",
    );
    let ran = with(&["--keys", "-"], keys);
    let outcomes = &ran.report["outcomes"];
    // The last has columns for its parts, which count: "a" is no number.
    assert_eq!(
        (
            &outcomes["warmed"],
            &outcomes["absent"],
            &outcomes["failed"]
        ),
        (&2.into(), &1.into(), &1.into()),
        "{}",
        ran.errors
    );
    assert_eq!(
        cache.cli(&["KEYS", "user:1:008"]).unwrap().trim(),
        "user:1:008"
    );
}

#[test]
fn what_is_wrong_is_said_with_the_exit_code_of_its_kind() {
    let cache = Redis::start().unwrap();
    let url = cache.url();
    let keys = ["--cache", url.as_str(), "--keys", "-"];
    let mut unknown = vec!["--origin", "oracle://x/y"];
    unknown.extend(keys);
    unknown.extend(LOAD);
    let ran = warm(&unknown, "key\n1\n");
    assert_eq!(ran.code, 2);
    assert!(ran.errors.contains("postgres://"), "{}", ran.errors);

    let mut no_placeholder = vec![
        "--origin",
        "sqlite:/nowhere",
        "--load",
        "SELECT 1",
        "--key",
        "p:{key}",
        "--ttl",
        "5m",
    ];
    no_placeholder.extend(keys);
    let ran = warm(&no_placeholder, "key\n1\n");
    assert_eq!(ran.code, 2);
    assert!(ran.errors.contains(":keys"), "{}", ran.errors);
}
