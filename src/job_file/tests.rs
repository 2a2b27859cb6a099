use super::*;
use crate::config::{Faults, Surroundings, read};

fn parse(text: &str) -> Result<JobFile, Faults> {
    read(text, &Surroundings::of_tests(), |file| {
        take(file, Path::new("/jobs"))
    })
}

const BY_NAME: &str = r#"
cache = "main"
[[loaders]]
name = "product"
[[sources]]
named = "popular"
"#;

fn batch(spec: &v1::JobSpec) -> &v1::BatchWork {
    match &spec.work {
        Some(v1::job_spec::Work::Batch(batch)) => batch,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_job_names_what_the_workers_know() {
    let JobFile { spec, uploads } = parse(BY_NAME).unwrap();
    assert_eq!(uploads, []);
    let batch = batch(&spec);
    assert_eq!(
        (batch.cache.as_str(), batch.mode()),
        ("main", WriteMode::Add)
    );
    assert_eq!(
        (batch.loaders[0].name.as_str(), &batch.loaders[0].sql),
        ("product", &None)
    );
    assert_eq!(
        batch.sources[0].from,
        Some(v1::key_source::From::Named("popular".into()))
    );
    assert_eq!(
        (batch.allowed_failures, batch.attempts_max, spec.priority),
        (0, 0, 0)
    );
}

#[test]
fn a_job_may_say_everything() {
    let text = r#"
        trigger = "deploy"
        requester = "ci"
        priority = 1000
        cache = "main"
        mode = "refresh"
        allowed-failures = 7
        attempts-max = 3
        slots = ["0-5460", "7000"]
        nodes = ["10.0.0.7:6379"]
        labels = { release = "42", empty = "" }
        [[loaders]]
        name = "own"
        origin = "shop"
        query = "SELECT * FROM products WHERE id IN (:keys)"
        key = "product:{key}"
        key-column = "id"
        ttl = "90s"
        ttl-jitter = 0.2
        batch-keys = 50
        value = "hash"
        absent-value = "missing=1"
        absent-ttl = "2s"
        expiry-column = "until"
        version-column = "at"
        version-origin = "primary"
        [[loaders]]
        name = "named"
        [[sources]]
        loader = "own"
        origin = "shop"
        query = "SELECT 1 AS key"
        merge = "sum"
        [[sources]]
        loader = "named"
        file = "keys"
        format = "ndjson"
        on-bad-line = "skip"
        [[sources]]
        loader = "named"
        upload = "more/keys.csv"
    "#;
    let JobFile { spec, uploads } = parse(text).unwrap();
    assert_eq!(
        (
            spec.trigger.as_str(),
            spec.requester.as_str(),
            spec.priority
        ),
        ("deploy", "ci", 1000)
    );
    assert_eq!(
        (
            spec.labels["release"].as_str(),
            spec.labels["empty"].as_str()
        ),
        ("42", "")
    );
    let batch = batch(&spec);
    assert_eq!(batch.mode(), WriteMode::Refresh);
    assert_eq!((batch.allowed_failures, batch.attempts_max), (7, 3));
    let section = batch.section.as_ref().unwrap();
    let slots: Vec<_> = section.slots.iter().map(|r| (r.first, r.last)).collect();
    assert_eq!(slots, [(0, 5460), (7000, 7000)]);
    assert_eq!(section.nodes, ["10.0.0.7:6379"]);
    let own = v1::SqlLoader {
        origin: "shop".into(),
        query: "SELECT * FROM products WHERE id IN (:keys)".into(),
        key_template: "product:{key}".into(),
        key_column: "id".into(),
        key_columns: Vec::new(),
        ttl: Some(prost_types::Duration {
            seconds: 90,
            nanos: 0,
        }),
        ttl_jitter_permille: 200,
        batch_keys: 50,
        value: Some(v1::ValueSpec {
            form: "hash".into(),
            compression: v1::Compression::None.into(),
            negative: Some(v1::NegativeValue {
                value: "missing=1".into(),
                ttl: Some(prost_types::Duration {
                    seconds: 2,
                    nanos: 0,
                }),
            }),
            expiry_column: "until".into(),
            version_column: "at".into(),
            version_origin: "primary".into(),
        }),
        scan: None,
    };
    assert_eq!(batch.loaders[0].sql, Some(own));
    let [sql, file, upload] = &batch.sources[..] else {
        panic!("{:?}", batch.sources)
    };
    assert_eq!((sql.loader.as_str(), sql.merge()), ("own", v1::Merge::Sum));
    assert_eq!(file.on_bad_line(), v1::OnBadLine::Skip);
    let path = v1::FileSource {
        path: "keys".into(),
        format: v1::FileFormat::Ndjson.into(),
    };
    assert_eq!(file.from, Some(v1::key_source::From::File(path)));
    assert_eq!(
        upload.from,
        Some(v1::key_source::From::Upload(v1::UploadSource {}))
    );
    let file = "/jobs/more/keys.csv".into();
    assert_eq!(uploads, [Upload { source: 2, file }]);
}

#[test]
fn all_faults_of_a_job_come_together_with_their_places() {
    let text = r#"priority = 1001
mode = "replace"
attempts-max = 0
password = "s3cret"
requester = ""
[labels]
number = 5
[[loaders]]
name = "a"
[[loaders]]
name = "a"
ttl = "1h"
key = "product"
query = "SELECT 1"
[[loaders]]
name = "c"
[[sources]]
feed = "popular"
[[sources]]
loader = "b"
named = "a b"
upload = "keys.csv"
[[sources]]
loader = "a"
upload = "/missing"
format = "csv"
[[sources]]
loader = "a"
origin = "shop"
merge = "min"
[[sources]]
loader = "a"
"#;
    let expected = [
        "line 1, column 1: cache: it is missing; add cache = \"NAME\", a cache of the workers' configuration, or caches = [\"NAME\", \"NAME\"]",
        "line 1, column 12: priority: it is out of range; choose from 0 to 1000",
        "line 2, column 8: mode: \"replace\" is not possible; choose \"add\" or \"refresh\" or \"overwrite\"",
        "line 3, column 16: attempts-max: it is out of range; choose from 1 to 100",
        "line 4, column 1: password: there is no such setting; There are allowed-failures, attempts-max, cache, caches, fit, labels, loaders, mode, nodes, priority, requester, slots, sources, trigger",
        "line 5, column 13: requester: it is empty; fill it in, or leave it out",
        "line 7, column 1: labels.number: a number without unit or quotes cannot stand here; write a text in quotes",
        "line 10, column 1: loaders[1].origin: it is missing; add origin = \"NAME\", an origin of the workers' configuration",
        "line 11, column 8: loaders[1].name: the name comes twice, see loaders[0].name (line 9); choose another",
        "line 13, column 7: loaders[1].key: no column is named, so all keys would be the same: write at least one {name} of the key source; write it as \"product:{key}\"",
        "line 14, column 9: loaders[1].query: the query has no placeholder: write IN (:keys) where a batch of keys belongs, or :key for one query a key; write IN (:keys) for a batch of keys, or :key for one query a key",
        "line 17, column 1: sources[0]: it does not say which loader loads its keys; add loader, one of a, c",
        "line 20, column 10: sources[1].loader: there is no loader \"b\"; use one of a, c, or define it in [[loaders]]",
        "line 22, column 10: sources[1].upload: it cannot stand beside sources[1].named (line 21); give one of named, origin and query, origin and match, counter, hot-keys or monitor, origin and promql, file, log, upload, inline, feed",
        "line 25, column 10: sources[2].upload: the file cannot be read: entity not found; name a file that this process can read",
        "line 26, column 10: sources[2].format: only a file has a format; remove it",
        "line 29, column 10: sources[3].origin: it stands without query, promql (or, of a Redis, match, counter, hot-keys or monitor); add query, promql (or, of a Redis, match, counter, hot-keys or monitor)",
        "line 30, column 9: sources[3].merge: \"min\" is not possible; choose \"max\" or \"sum\"",
        "line 31, column 1: sources[4]: nothing says what is read; give one of named, origin and query, origin and match, counter, hot-keys or monitor, origin and promql, file, log, upload, inline, feed",
    ];
    assert_eq!(parse(text).unwrap_err().to_string(), expected.join("\n"));
}

#[test]
fn a_job_names_one_cache_or_several() {
    let rest = BY_NAME.replace("cache = \"main\"", "");
    let with = |first: &str| parse(&format!("{first}\n{rest}"));
    let named = |first: &str| {
        let spec = with(first).unwrap().spec;
        let Some(v1::job_spec::Work::Batch(batch)) = spec.work else {
            panic!("no batch");
        };
        (batch.cache, batch.also)
    };
    assert_eq!(named("cache = 'eu'"), ("eu".into(), vec![]));
    assert_eq!(named("caches = ['eu']"), ("eu".into(), vec![]));
    assert_eq!(
        named("caches = ['eu', 'us']"),
        ("eu".into(), vec!["us".into()])
    );
    for (first, fault) in [
        (
            "cache = 'eu'; caches = ['us']",
            "caches: it cannot stand beside cache (line 1); name all of them in caches",
        ),
        ("caches = []", "caches: the list is empty; write names"),
        (
            "caches = ['a b', 'eu', 'us', 'eu']",
            "caches[3]: the cache comes twice, see caches[1] (line 1); name it once",
        ),
        ("caches = ['a b', 'eu']", "caches[0]: \"a b\" is not a name"),
        (
            "caches = ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i']",
            "caches: there are too many; name at most 8",
        ),
        (
            "caches = ['eu', 'us']; nodes = ['10.0.0.7:6379']",
            "nodes: nodes are those of one cache, and several are named; name one cache, or slots",
        ),
    ] {
        let faults = with(&first.replace("; ", "\n")).unwrap_err().to_string();
        assert!(faults.contains(fault), "{first}: {faults}");
    }
}

#[test]
fn a_job_has_sources_and_loaders_and_not_too_many() {
    let faults = parse("cache = 'main'\nsources = []")
        .unwrap_err()
        .to_string();
    assert_eq!(
        faults,
        "line 1, column 1: loaders: it is missing; add [[loaders]] with name = \"NAME\"\n\
         line 2, column 11: sources: the list is empty; add [[sources]] with named = \"NAME\""
    );
    let many = format!("{BY_NAME}{}", "[[sources]]\nnamed = 'x'\n".repeat(32));
    assert_eq!(
        parse(&many).unwrap_err().to_string(),
        "line 69, column 1: sources[32]: there are too many; use at most 32"
    );
}

#[test]
fn an_access_log_says_which_urls_ask_for_which_keys() {
    let with = |source: &str| {
        let job = parse(&format!(
            "cache = \"main\"\n[[loaders]]\nname = \"product\"\n[[loaders]]\nname = \"cart\"\n[[sources]]\n{source}"
        ));
        job.map(|job| batch(&job.spec).sources[0].clone())
    };
    let source = with(
        r#"
        log = ["/var/log/a.log", "/var/log/b.log*"]
        lines = "json"
        url-field = "http.target"
        loader = "product"
        url = ["/product/{id}", "/p/{id}"]
        methods = ["GET"]
        statuses = ["2xx"]
        since = "1970-01-01T00:01:00Z"
        half-life = "12h"
        [[sources.urls]]
        match = "/cart/{user}"
        loader = "cart"
        "#,
    );
    let source = source.unwrap();
    let Some(v1::key_source::From::Log(log)) = source.from else {
        panic!("a log");
    };
    assert_eq!(
        (source.merge, source.on_bad_line),
        (0, 0),
        "as is usual for a log"
    );
    assert_eq!(log.paths, ["/var/log/a.log", "/var/log/b.log*"]);
    assert_eq!(
        (log.lines(), log.fields.unwrap().url.as_str()),
        (v1::LogLines::Json, "http.target")
    );
    let urls: Vec<(&str, &str)> = log
        .urls
        .iter()
        .map(|url| (&*url.pattern, &*url.loader))
        .collect();
    assert_eq!(
        urls,
        [
            ("/product/{id}", ""),
            ("/p/{id}", ""),
            ("/cart/{user}", "cart")
        ]
    );
    assert_eq!(
        (log.methods, log.statuses),
        (vec!["GET".to_owned()], vec!["200-299".to_owned()])
    );
    assert_eq!(
        (
            log.since.unwrap().seconds,
            log.until,
            log.half_life.unwrap().seconds
        ),
        (60, None, 43_200)
    );
    let alone = with("log = \"-\"\nregex = '(?<url>.*)'\n[[sources.urls]]\nmatch = \"/a/{b}\"\nloader = \"cart\"").unwrap();
    assert_eq!(alone.loader, "", "its patterns say which");
    for (source, says) in [
        ("log = \"a\"", "add loader, one of product, cart"),
        ("loader = \"cart\"\nlog = []", "the list is empty"),
        (
            "loader = \"cart\"\nlog = \"a\"\nurl = \"a\"",
            "begin with a slash",
        ),
        (
            "loader = \"cart\"\nlog = \"a\"\nurl = \"/{a}/{a}\"",
            "twice",
        ),
        (
            "loader = \"cart\"\nlog = \"a\"\nstatuses = [\"ok\"]",
            "as 200-299",
        ),
        (
            "loader = \"cart\"\nlog = \"a\"\nsince = \"yesterday\"",
            "write it in UTC",
        ),
        (
            "loader = \"cart\"\nlog = \"a\"\nlines = \"csv\"\nregex = \"x\"",
            "says how lines are written",
        ),
        (
            "loader = \"cart\"\nlog = \"a\"\nnamed = \"popular\"",
            "cannot stand beside",
        ),
        (
            "log = \"a\"\n[[sources.urls]]\nmatch = \"/{a}\"\nloader = \"carts\"",
            "there is no loader \"carts\"",
        ),
        (
            "loader = \"cart\"\nnamed = \"popular\"\nmethods = [\"GET\"]",
            "there is no such setting",
        ),
    ] {
        let faults = with(source).unwrap_err().to_string();
        assert!(faults.contains(says), "{source}: {faults}");
    }
}

#[test]
fn a_job_whose_loaders_scan_needs_no_sources() {
    let named = parse("cache = \"main\"\n[[loaders]]\nname = \"all-products\"").unwrap();
    assert_eq!(batch(&named.spec).sources, []);
    let own = |scan: &str| {
        parse(&format!(
            "cache = \"main\"\n[[loaders]]\nname = \"all\"\norigin = \"shop\"\nquery = \"SELECT * FROM t\"\nkey = \"t:{{id}}\"\n\
             ttl = \"1h\"\n{scan}"
        ))
    };
    let job = own("scan-by = \"id\"\nscan-rows = 10").unwrap();
    let sql = batch(&job.spec).loaders[0].sql.clone().unwrap();
    let scan = v1::Scan {
        by: "id".into(),
        rows: 10,
    };
    assert_eq!((sql.scan, &*sql.query), (Some(scan), "SELECT * FROM t"));
    let keyless = own("").unwrap_err().to_string();
    assert!(
        keyless.contains("the query has no placeholder"),
        "{keyless}"
    );
}

#[test]
fn a_redis_tells_how_much_keys_are_used() {
    let with = |source: &str| {
        let job = parse(&format!(
            "cache = \"main\"\n[[loaders]]\nname = \"product\"\n[[sources]]\norigin = \"live\"\n{source}"
        ));
        job.map(|job| batch(&job.spec).sources[0].from.clone())
    };
    let counter = with("counter = \"sold\"\nmatch = \"product:{id}\"\nlimit = 7").unwrap();
    assert_eq!(
        counter,
        Some(v1::key_source::From::Counter(v1::CounterSource {
            origin: "live".into(),
            key: "sold".into(),
            r#match: "product:{id}".into(),
            limit: 7,
        }))
    );
    let hot = with("hot-keys = true\nfrequency-min = 9").unwrap();
    assert_eq!(
        hot,
        Some(v1::key_source::From::HotKeys(v1::HotKeysSource {
            origin: "live".into(),
            r#match: "*".into(),
            count: 1000,
            frequency_min: 9,
        }))
    );
    let series = with("promql = \"sum by (product) (views)\"\nkey-label = \"product\"").unwrap();
    assert_eq!(
        series,
        Some(v1::key_source::From::Prometheus(v1::PrometheusSource {
            origin: "live".into(),
            query: "sum by (product) (views)".into(),
            key_label: "product".into(),
        }))
    );
    let monitor = with("monitor = \"30s\"\nmonitor-nodes = 0.25\ncommands = [\"get\"]").unwrap();
    assert_eq!(
        monitor,
        Some(v1::key_source::From::Monitor(v1::MonitorSource {
            origin: "live".into(),
            r#match: "*".into(),
            duration: Some(prost_types::Duration {
                seconds: 30,
                nanos: 0
            }),
            nodes_permille: 250,
            cpu_max_permille: 900,
            commands: vec!["GET".into()],
        }))
    );
    for (source, says) in [
        ("monitor = \"11m\"", "from 1s to 10m"),
        ("monitor = true", "duration"),
        ("monitor = \"5s\"\ncpu-max = 0", "out of range"),
        ("monitor = \"5s\"\ncommands = []", "the list is empty"),
        ("monitor = \"5s\"\nhot-keys = true", "cannot stand beside"),
        ("match = \"a\"\ncpu-max = 1.0", "only what is watched"),
        ("promql = \"up\"\nmatch = \"a\"", "cannot stand beside"),
        ("key-label = \"a\"\nmatch = \"a\"", "only series"),
        (
            "counter = \"a\"\nquery = \"SELECT 1\"",
            "cannot stand beside",
        ),
        ("counter = \"\"", "is empty"),
        ("file = \"a\"\ncounter = \"a\"", "cannot stand beside"),
        ("limit = 5\nmatch = \"a\"", "only a counter"),
    ] {
        let faults = with(source).unwrap_err().to_string();
        assert!(faults.contains(says), "{source}: {faults}");
    }
}
