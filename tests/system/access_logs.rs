//! Access logs: the keys that people asked for are warmed, the most requested first.

use std::io::Write as _;
use std::process::{Command, Stdio};

use stoke_harness::{Postgres, Redis, ServerDir};

use crate::command_line::stoke;
use crate::scene::Scene;
use crate::shop;
use crate::warm_command::warm;

/// A line of nginx' combined format.
fn hit(day: u32, method: &str, url: &str, status: u16) -> String {
    format!(
        "203.0.113.9 - - [{day:02}/Nov/2026:12:00:00 +0000] \"{method} {url} HTTP/1.1\" {status} 512 \"-\" \"curl/8.5\"\n"
    )
}

fn products() -> Postgres {
    let postgres = Postgres::start().unwrap();
    let fill = "CREATE TABLE products (id bigint PRIMARY KEY, name text);
        INSERT INTO products SELECT id, 'product ' || id FROM generate_series(1, 1000) AS id; ANALYZE";
    postgres.psql("postgres", fill).unwrap();
    postgres
}

fn gzip(content: &str) -> Vec<u8> {
    let mut gzip = Command::new("gzip")
        .arg("-c")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    gzip.stdin
        .take()
        .unwrap()
        .write_all(content.as_bytes())
        .unwrap();
    gzip.wait_with_output().unwrap().stdout
}

const LOAD: [&str; 8] = [
    "--load",
    "SELECT * FROM products WHERE id IN (:keys)",
    "--key",
    "product:{key}",
    "--ttl",
    "5m",
    "--qps",
    "100",
];

#[test]
fn what_a_log_asks_for_is_warmed_and_what_does_not_count_is_told() {
    let (postgres, cache, logs) = (
        products(),
        Redis::start().unwrap(),
        ServerDir::new("logs").unwrap(),
    );
    let mut today = String::from("a line that was cut off\n");
    for id in 1..=40 {
        // Product 1 was asked for most.
        today += &hit(22, "GET", &format!("/product/{id}?ref=mail"), 200).repeat(41 - id);
    }
    today += &hit(22, "POST", "/product/500", 200);
    today += &hit(22, "GET", "/product/501", 404);
    today += &hit(22, "GET", "/style.css", 200).repeat(3);
    today += &hit(22, "GET", "/product/no%20number", 200);
    std::fs::write(logs.path().join("access.log"), today).unwrap();
    let yesterday = gzip(&hit(21, "GET", "/product/77", 304).repeat(100));
    std::fs::write(logs.path().join("access.log.1.gz"), yesterday).unwrap();
    let glob = format!("{}/access.log*", logs.path().display());
    let (origin, url) = (postgres.url("postgres"), cache.url());
    let log = [
        "--origin",
        &origin,
        "--cache",
        &url,
        "--log",
        &glob,
        "--url",
        "/product/{id}",
    ];
    let ran = warm(
        &[&log[..], &LOAD, &["--allowed-failures", "1"]].concat(),
        "",
    );
    assert_eq!(ran.code, 0, "{}", ran.errors);
    let report = &ran.report;
    assert_eq!(report["planned"], 42, "{report}");
    assert_eq!(report["outcomes"]["warmed"], 41, "{report}");
    let source = &report["sources"][0];
    assert_eq!(source["bad_lines"], 1, "{report}");
    assert!(
        source["bad_line_examples"][0]
            .as_str()
            .unwrap()
            .contains("access.log"),
        "{report}"
    );
    let of_log = serde_json::json!({"lines": 927, "filtered": 2, "unmatched": 3, "unmatched_example": "\"/style.css\""});
    assert_eq!(source["log"], of_log);
    assert_eq!(
        cache.cli(&["GET", "product:77"]).unwrap().trim(),
        r#"{"id":77,"name":"product 77"}"#
    );
    assert_eq!(cache.cli(&["DBSIZE"]).unwrap().trim(), "41");
    // Coverage is that of requests: 100 + 820 of 921.
    assert!(
        (report["coverage"].as_f64().unwrap() - 920.0 / 921.0).abs() < 1e-6,
        "{report}"
    );
}

#[test]
fn a_log_and_a_key_file_may_be_named_by_their_urls_and_objects_take_a_feature() {
    let (postgres, cache, files) = (
        products(),
        Redis::start().unwrap(),
        ServerDir::new("urls").unwrap(),
    );
    let asked = hit(22, "GET", "/product/1", 200) + &hit(22, "GET", "/product/2", 200);
    std::fs::write(files.path().join("access.log"), asked).unwrap();
    std::fs::write(files.path().join("keys.csv.gz"), gzip("key\n3\n")).unwrap();
    let (origin, to) = (postgres.url("postgres"), cache.url());
    let of = |more: &[&str]| {
        let base = ["--origin", &origin, "--cache", &to];
        warm(&[&base[..], &LOAD, more].concat(), "")
    };
    let url = |name: &str| format!("file://{}/{name}", files.path().display());
    let ran = of(&["--log", &url("access.log*"), "--url", "/product/{id}"]);
    assert_eq!(ran.code, 0, "{}", ran.errors);
    let ran = of(&["--keys", &url("keys.csv.gz")]);
    assert_eq!(ran.code, 0, "{}", ran.errors);
    for key in ["product:1", "product:2", "product:3"] {
        assert_eq!(cache.cli(&["EXISTS", key]).unwrap().trim(), "1", "{key}");
    }
    let ran = of(&["--keys", "s3://me:SECRET@bucket/keys.csv"]);
    assert_ne!(ran.code, 0);
    assert!(
        ran.errors.contains("is refused") && !ran.errors.contains("SECRET"),
        "{}",
        ran.errors
    );
    if !cfg!(feature = "object-stores") {
        let ran = of(&["--keys", "s3://bucket/keys.csv"]);
        assert_ne!(ran.code, 0);
        let said = ran.errors + &ran.report.to_string();
        assert!(said.contains("feature object-stores"), "{said}");
    }
}

#[test]
fn a_log_can_come_from_standard_input_count_by_age_and_be_of_keys() {
    let (postgres, cache) = (products(), Redis::start().unwrap());
    let (origin, url) = (postgres.url("postgres"), cache.url());
    let of = |more: &[&str], stdin: &str| {
        let base = ["--origin", &origin, "--cache", &url, "--log", "-"];
        warm(&[&base[..], &LOAD, more].concat(), stdin)
    };
    let line = |day: u32, id: u32| {
        format!("{{\"when\":\"2026-11-{day:02}T00:00:00Z\",\"target\":\"/product/{id}\"}}\n")
    };
    let lines = [line(1, 1).repeat(100), line(20, 2), line(21, 3)].concat();
    let by_age = [
        "--url",
        "/product/{id}",
        "--log-url-field",
        "target",
        "--log-time-field",
        "when",
        "--log-since",
        "2026-11-02T00:00:00Z",
        "--log-until",
        "2026-11-22T00:00:00Z",
        "--log-half-life",
        "1day",
    ];
    let ran = of(&by_age, &lines);
    assert_eq!(
        (ran.code, &ran.report["planned"]),
        (0, &2.into()),
        "{}",
        ran.errors
    );
    assert_eq!(
        ran.report["sources"][0]["log"]["filtered"], 100,
        "{}",
        ran.report
    );

    let misses = "12:00 miss key=8\n12:00 hit key=9\n12:01 miss key=8\n";
    let ran = of(&["--log-regex", "miss key=(?<key>\\d+)"], misses);
    assert_eq!(
        (ran.code, &ran.report["planned"]),
        (0, &1.into()),
        "{}",
        ran.errors
    );
    assert_eq!(ran.report["sources"][0]["bad_lines"], 1, "{}", ran.report);
    assert_eq!(
        cache
            .cli(&["EXISTS", "product:8", "product:9"])
            .unwrap()
            .trim(),
        "1"
    );

    for (more, stdin, says) in [
        (
            &["--log-regex", "(?<url>/x/.*)"][..],
            "no\n",
            "has no group key",
        ),
        (
            &["--url", "/p/{id}", "--log-regex", "(?<url>/p/.*)"],
            "no\n",
            "is an access",
        ),
        (
            &["--url", "/p/{id}"],
            "GET /p/1\n",
            "say how lines are written",
        ),
        (
            &["--url", "/p/{id}/{of}"],
            &hit(1, "GET", "/p/1/2", 200),
            "there is no column \"key\"",
        ),
        (
            &["--url", "/p/{id}"],
            &hit(1, "GET", "/q/1", 200),
            "1 ask for no key that is wanted (as \"/q/1\")",
        ),
    ] {
        let ran = of(more, stdin);
        assert_ne!(ran.code, 0, "{more:?}");
        assert!(ran.errors.contains(says), "{more:?}: {}", ran.errors);
    }
}

/// What a machine's log asks for is the workers' to know: a job names it, and brings its loaders.
#[test]
fn a_log_of_the_workers_configuration_warms_keys_of_several_loaders() {
    let logs = ServerDir::new("logs").unwrap();
    let workers = format!(
        r#"
        [loaders.name]
        origin = "shop"
        query = "SELECT id, name FROM items WHERE id IN (:keys)"
        key = "name:{{id}}"
        ttl = "1h"
        [sources.asked-for]
        log = "{}/access.log"
        [[sources.asked-for.urls]]
        match = "/item/{{id}}"
        loader = "item"
        [[sources.asked-for.urls]]
        match = "/name/{{id}}"
        loader = "name"
        "#,
        logs.path().display()
    );
    let lines = [
        hit(22, "GET", "/name/1", 200).repeat(7),
        hit(22, "GET", "/item/1", 200).repeat(5),
        hit(23, "GET", "/name/1", 200).repeat(2),
        hit(23, "GET", "/item/2", 200).repeat(3),
        "no access\n".into(),
        hit(23, "GET", "/style.css", 200),
    ];
    std::fs::write(logs.path().join("access.log"), lines.concat()).unwrap();
    let scene = Scene::start_configured(20, "", &workers);
    shop::fill(&scene);
    scene.wait_for_members(3);
    let at = scene.leader();
    let file = logs.path().join("job.toml");
    let submit = |loaders: &[&str]| {
        let loaders = loaders
            .iter()
            .map(|name| format!("[[loaders]]\nname = \"{name}\"\n"));
        let loaders: String = loaders.collect();
        let job = format!("cache = \"main\"\n[[sources]]\nnamed = \"asked-for\"\n{loaders}");
        std::fs::write(&file, job).unwrap();
        let file = file.to_str().unwrap();
        stoke(&at, &["submit", file, "--watch", "--output", "json"])
    };
    let ran = submit(&["item"]);
    assert_ne!(ran.code, 0, "{ran:?}");
    assert!(
        ran.errors.contains("keys of the loaders name, too"),
        "{ran:?}"
    );

    let ran = submit(&["name", "item"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    let told = ran.lines();
    let last = told.last().unwrap();
    let source = &last["sources"][0];
    assert_eq!(
        (&source["entries"], &source["bad_lines"]),
        (&3.into(), &1.into()),
        "{last}"
    );
    let plan = stoke(&at, &["plan", "export", last["job"].as_str().unwrap()]);
    let plan: Vec<&str> = plan.out.lines().skip(1).collect();
    let expected = [
        "0,name:1,1,name,9",
        "1,item:1,1,item,5",
        "2,item:2,2,item,3",
    ];
    assert_eq!(plan, expected);
    let nodes = shop::Nodes::connect(&scene);
    for key in ["item:1", "item:2", "name:1"] {
        assert_eq!(
            scene.cache.cli(nodes.owner(key), &["EXISTS", key]).unwrap(),
            "1",
            "{key}"
        );
    }
}
