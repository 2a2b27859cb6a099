use std::time::Duration;

use stoke_core::access_log::{AccessLog, Lines};
use stoke_core::job::Priorities;

use super::super::tests::check;
use super::*;

#[test]
fn counters_and_hot_keys_of_a_redis_are_sources() {
    let catalog = check(
        r#"
        [origins.live]
        url = "redis://a"
        [sources.sold]
        origin = "live"
        counter = "sold"
        match = "product:{id}"
        limit = 1000
        [sources.hot]
        origin = "live"
        hot-keys = true
        frequency-min = 6
        count = 500
        "#,
    )
    .unwrap();
    let from = |name: &str| &catalog.sources[&name.parse().unwrap()].from;
    let SourceFrom::Counter(sold) = from("sold") else {
        panic!("a counter");
    };
    assert_eq!(
        (&*sold.key, sold.pattern.as_str(), sold.limit),
        ("sold", "product:{id}", Some(1000))
    );
    let SourceFrom::HotKeys(hot) = from("hot") else {
        panic!("hot keys");
    };
    assert_eq!(
        (hot.pattern.as_str(), hot.count, hot.frequency_min),
        ("*", 500, 6)
    );
    let watched = "[origins.live]\nurl = \"redis://a\"\n[sources.s]\norigin = \"live\"\nmonitor = \"1m\"\ncpu-max = 0.5";
    let catalog = check(watched).unwrap();
    let SourceFrom::Monitor(monitor) = &catalog.sources[&"s".parse().unwrap()].from else {
        panic!("what is watched");
    };
    assert_eq!(
        (
            monitor.duration_ms,
            monitor.nodes_permille,
            monitor.cpu_max_permille
        ),
        (60_000, 1000, 500)
    );
    for (source, says) in [
        ("counter = \"a\"\nhot-keys = true", "cannot stand beside"),
        (
            "counter = \"a\"\nquery = \"SELECT 1\"",
            "cannot stand beside",
        ),
        ("counter = \"a\"\nlimit = 0", "from 1"),
        ("counter = \"a\"\ncount = 5", "only what is scanned"),
        ("match = \"a*\"\nlimit = 5", "only a counter has a limit"),
        ("match = \"a*\"\nfrequency-min = 5", "only hot keys"),
        ("hot-keys = false", "asks for nothing"),
        ("hot-keys = true\nfrequency-min = 256", "from 0 to 255"),
    ] {
        let text = format!(
            "[origins.live]\nurl = \"redis://a\"\n[sources.s]\norigin = \"live\"\n{source}\n"
        );
        let faults = check(&text).unwrap_err().to_string();
        assert!(faults.contains(says), "{text}\n{faults}");
    }
    let of_database =
        "[origins.shop]\nurl = \"sqlite:shop.db\"\n[sources.s]\norigin = \"shop\"\ncounter = \"a\"";
    let faults = check(of_database).unwrap_err().to_string();
    assert!(faults.contains("it is a database"), "{faults}");
}

#[test]
fn a_prometheus_is_an_origin_whose_series_are_sources() {
    let metrics = "[origins.metrics]\nurl = \"http://me:${PASSWORD}@prom:9090/base\"\n";
    let named = format!(
        "{metrics}[sources.viewed]\norigin = \"metrics\"\npromql = \"sum by (product) (views)\"\nkey-label = \"product\""
    );
    let catalog = check(&named).unwrap();
    let origin = &catalog.prometheus_origins[&"metrics".parse().unwrap()];
    assert_eq!(format!("{:?}", origin.server), "http://prom:9090/base");
    let SourceFrom::Prometheus(series) = &catalog.sources[&"viewed".parse().unwrap()].from else {
        panic!("series");
    };
    assert_eq!(
        (&*series.query, series.key_label.as_deref()),
        ("sum by (product) (views)", Some("product"))
    );
    let token = "[origins.metrics]\nurl = \"http://prom\"\ntoken = \"${PASSWORD}\"\nsource-timeout = \"30s\"";
    let catalog = check(token).unwrap();
    let origin = &catalog.prometheus_origins[&"metrics".parse().unwrap()];
    assert_eq!(origin.source_timeout, Duration::from_secs(30));
    assert!(!format!("{origin:?}").contains("Bearer"), "{origin:?}");
    for (settings, says) in [
        ("[origins.m]\nurl = \"https://prom\"", "without TLS"),
        (
            "[origins.m]\nurl = \"http://prom/?a=b\"",
            "a query of its own",
        ),
        (
            "[origins.m]\nurl = \"http://prom\"\ntoken = \"a\\nb\"",
            "cannot be sent",
        ),
        (
            "[origins.m]\nurl = \"http://prom\"\ncanary = \"up\"",
            "no such setting",
        ),
        (
            "[sources.s]\norigin = \"metrics\"\nquery = \"up\"",
            "asked in PromQL",
        ),
        (
            "[sources.s]\norigin = \"metrics\"\nmatch = \"a*\"",
            "asked in PromQL",
        ),
        ("[sources.s]\npromql = \"up\"", "stands without origin"),
        (
            "[sources.s]\norigin = \"shop\"\npromql = \"up\"",
            "no Prometheus",
        ),
        (
            "[sources.s]\norigin = \"metrics\"\npromql = \"up\"\nmatch = \"a\"",
            "cannot stand beside",
        ),
        (
            "[sources.s]\nfile = \"a\"\nkey-label = \"a\"",
            "only series",
        ),
        (
            "[loaders.l]\norigin = \"metrics\"\nquery = \"SELECT 1 WHERE a IN (:keys)\"\nkey = \"{key}\"\nttl = \"1h\"",
            "a Prometheus",
        ),
    ] {
        let text = format!("{metrics}[origins.shop]\nurl = \"sqlite:shop.db\"\n{settings}\n");
        let faults = check(&text).unwrap_err().to_string();
        assert!(faults.contains(says), "{text}\n{faults}");
        assert!(!faults.contains("s3cret"), "{faults}");
    }
}

const LOADERS: &str = r#"
[origins.shop]
url = "sqlite:shop.db"
[loaders.product]
origin = "shop"
query = "SELECT * FROM products WHERE id IN (:keys)"
key = "product:{key}"
ttl = "1h"
[loaders.search]
origin = "shop"
query = "SELECT * FROM found WHERE query IN (:keys)"
key = "search:{key}"
ttl = "1h"
"#;

/// The log that is called so, and the source's loaders and what is done with bad lines.
fn log_of(settings: &str) -> (AccessLog, Vec<String>, OnBadLine) {
    let catalog = check(&format!("{LOADERS}\n[sources.asked]\n{settings}\n")).unwrap();
    let source = &catalog.sources[&"asked".parse().unwrap()];
    let SourceFrom::Log(log) = &source.from else {
        panic!("a log");
    };
    assert_eq!(source.terms().priorities, Priorities::Counts);
    let loaders = source.loaders.iter().map(ToString::to_string).collect();
    ((**log).clone(), loaders, source.on_bad_line)
}

fn places(log: &AccessLog) -> Vec<(&str, u32)> {
    let rules = log.urls.iter();
    rules
        .map(|rule| (rule.pattern.as_str(), rule.loader))
        .collect()
}

#[test]
fn an_access_log_is_a_source_whose_patterns_name_loaders() {
    let (log, loaders, on_bad_line) = log_of(
        r#"
        log = ["/var/log/access.log*", "s3://logs/*.gz"]
        half-life = "1day"
        statuses = ["2xx"]
        loader = "product"
        [[sources.asked.urls]]
        match = "/search?q={query}"
        loader = "search"
        [[sources.asked.urls]]
        match = "/product/{id}"
        [[sources.asked.urls]]
        match = "/s/{query}"
        loader = "search"
        "#,
    );
    let expected = [
        ("/search?q={query}", 0),
        ("/product/{id}", 1),
        ("/s/{query}", 0),
    ];
    assert_eq!(places(&log), expected);
    assert_eq!(loaders, ["search", "product"]);
    assert_eq!((log.half_life_s, log.paths.len()), (Some(86_400), 2));
    assert_eq!(on_bad_line, OnBadLine::Skip);

    // The job says which, unless the source does.
    let (log, loaders, on_bad_line) =
        log_of("log = \"-\"\nurl = \"/product/{id}\"\non-bad-line = \"fail\"");
    assert_eq!(
        (places(&log), loaders.len()),
        (vec![("/product/{id}", 0)], 0)
    );
    assert_eq!(on_bad_line, OnBadLine::Fail);
    let (log, loaders, _) = log_of("log = \"-\"\nregex = '(?<key>\\S+)'\nloader = \"search\"");
    assert_eq!(log.lines, Lines::Regex(r"(?<key>\S+)".into()));
    assert_eq!((places(&log), loaders), (Vec::new(), vec!["search".into()]));
}

#[test]
fn what_makes_no_sense_of_a_log_is_refused_with_a_reason() {
    for (settings, says) in [
        ("log = []", "sources.asked.log: the list is empty"),
        ("log = \"a\"\nfile = \"b\"", "cannot stand beside"),
        ("log = \"a\"\norigin = \"shop\"", "cannot stand beside"),
        ("log = \"a\"\nmatch = \"b\"", "cannot stand beside"),
        (
            "file = \"a\"\nurl = \"/p/{id}\"",
            "there is no such setting",
        ),
        (
            "log = \"a\"\nurl = \"p/{id}\"",
            "does not begin with a slash",
        ),
        ("log = \"a\"\nregex = \"(?<url>\"", "unclosed group"),
        (
            "log = \"a\"\nurl = \"/p/{id}\"\nregex = \"a\"",
            "has no group for the URL",
        ),
        ("log = \"s3://me:pw@bucket/a\"", "is refused"),
        (
            "log = \"a\"\nsince = \"2026-11-02T00:00:00Z\"\nuntil = \"2026-11-01T00:00:00Z\"",
            "no access would count",
        ),
        (
            "log = \"a\"\n[[sources.asked.urls]]\nmatch = \"/p/{id}\"\nloader = \"produkt\"",
            "did you mean product?",
        ),
        (
            "log = \"a\"\nurl = \"/q/{id}\"\n[[sources.asked.urls]]\nmatch = \"/p/{id}\"\nloader = \"product\"",
            "its pattern /q/{id} names no loader, where others do; add loader there",
        ),
    ] {
        let text = format!("{LOADERS}[sources.asked]\n{settings}\n");
        let faults = check(&text).unwrap_err().to_string();
        assert!(faults.contains(says), "{text}\n{faults}");
    }
    let text = format!(
        "{LOADERS}[sources.asked]\nlog = \"a\"\nurl = \"/p/{{id}}\"\nloader = \"produkt\"\nfile = \"b\"\n"
    );
    let faults = check(&text).unwrap_err().to_string();
    assert!(faults.contains("cannot stand beside"), "{faults}");
    assert!(!faults.contains("no such setting"), "{faults}");
}
