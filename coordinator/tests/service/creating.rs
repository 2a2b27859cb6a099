//! `CreateJob`: what is refused, and that the same request makes one job.

use stoke_core::records::Member;
use stoke_proto::v1::{self, key_source::From};
use tonic::Code;
use tonic_types::StatusExt;

use super::cluster::{
    Cluster, assert_precondition, fault, member, named, settings, spec, uploaded, work,
};

/// A recipe that is as it should be.
fn recipe() -> v1::SqlLoader {
    v1::SqlLoader {
        origin: "shop".into(),
        query: "SELECT id, body FROM product WHERE id IN (:keys)".into(),
        key_template: "product:{key}".into(),
        ttl: Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        }),
        value: Some(v1::ValueSpec {
            form: "array".into(),
            compression: v1::Compression::Zstd.into(),
            negative: Some(v1::NegativeValue {
                value: "[]".into(),
                ttl: Some(prost_types::Duration {
                    seconds: 30,
                    nanos: 0,
                }),
            }),
            expiry_column: "until".into(),
            version_column: "at".into(),
            version_origin: "shop".into(),
        }),
        ..v1::SqlLoader::default()
    }
}

fn with(change: impl FnOnce(&mut v1::BatchWork)) -> v1::JobSpec {
    let mut spec = spec(vec![named()]);
    change(work(&mut spec));
    spec
}

fn with_recipe(change: impl FnOnce(&mut v1::SqlLoader)) -> v1::JobSpec {
    let mut sql = recipe();
    change(&mut sql);
    with(|work| work.loaders[0].sql = Some(sql))
}

/// With this form and compression, and this value for absent rows, which lives so many seconds.
fn with_value(
    form: &str,
    compression: v1::Compression,
    negative: Option<(&str, i64)>,
) -> v1::JobSpec {
    let negative = negative.map(|(value, seconds)| v1::NegativeValue {
        value: value.into(),
        ttl: Some(prost_types::Duration { seconds, nanos: 0 }),
    });
    with_recipe(|sql| {
        sql.value = Some(v1::ValueSpec {
            form: form.into(),
            compression: compression.into(),
            negative,
            ..v1::ValueSpec::default()
        });
    })
}

/// A job whose loader copies.
fn with_copy(change: impl FnOnce(&mut v1::CopyLoader)) -> v1::JobSpec {
    let mut copy = v1::CopyLoader {
        origin: "shop".into(),
        key_template: "v2:{id}".into(),
        ..v1::CopyLoader::default()
    };
    change(&mut copy);
    with(|work| work.loaders[0].copy = Some(copy))
}

fn scan(pattern: &str, count: u32) -> v1::JobSpec {
    from(From::Keyspace(v1::KeyspaceSource {
        origin: "shop".into(),
        r#match: pattern.into(),
        count,
    }))
}

fn counter(key: &str, pattern: &str) -> v1::JobSpec {
    from(From::Counter(v1::CounterSource {
        origin: "shop".into(),
        key: key.into(),
        r#match: pattern.into(),
        limit: 0,
    }))
}

fn monitor(seconds: i64, change: impl FnOnce(&mut v1::MonitorSource)) -> v1::JobSpec {
    let mut monitor = v1::MonitorSource {
        origin: "shop".into(),
        duration: Some(prost_types::Duration { seconds, nanos: 0 }),
        ..v1::MonitorSource::default()
    };
    change(&mut monitor);
    from(From::Monitor(monitor))
}

fn series(query: &str) -> v1::JobSpec {
    from(From::Prometheus(v1::PrometheusSource {
        origin: "shop".into(),
        query: query.into(),
        key_label: "product".into(),
    }))
}

fn hot_keys(count: u32, frequency_min: u32) -> v1::JobSpec {
    from(From::HotKeys(v1::HotKeysSource {
        origin: "shop".into(),
        r#match: String::new(),
        count,
        frequency_min,
    }))
}

/// A job that reads a log, which is as it should be but for this.
fn with_log(change: impl FnOnce(&mut v1::AccessLogSource)) -> v1::JobSpec {
    let mut log = v1::AccessLogSource {
        paths: vec!["/var/log/access.log".into()],
        urls: vec![v1::UrlPattern {
            pattern: "/product/{id}".into(),
            loader: String::new(),
        }],
        ..v1::AccessLogSource::default()
    };
    change(&mut log);
    from(From::Log(log))
}

fn from(from: From) -> v1::JobSpec {
    with(|work| work.sources[0].from = Some(from))
}

fn two_loaders() -> v1::JobSpec {
    with(|work| work.loaders.push(work.loaders[0].clone()))
}

#[tokio::test]
async fn each_fault_of_a_spec_is_refused_and_its_field_is_named() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let long = "x".repeat(20_000);
    let labels = |key: &str, value: &str| v1::JobSpec {
        labels: [(key.to_owned(), value.to_owned())].into(),
        ..spec(vec![named()])
    };
    let sql_source = |origin: &str, query: &str| {
        from(From::Sql(v1::SqlSource {
            origin: origin.into(),
            query: query.into(),
        }))
    };
    let second_loader = |name: &str| {
        let mut spec = two_loaders();
        work(&mut spec).loaders[1].name = name.into();
        spec
    };
    let section = |section: v1::CacheSection| with(move |work| work.section = Some(section));
    let slots = |first, last| {
        section(v1::CacheSection {
            slots: vec![v1::SlotRange { first, last }],
            ..v1::CacheSection::default()
        })
    };
    let nodes = |count, node: &str| {
        section(v1::CacheSection {
            nodes: vec![node.into(); count],
            ..v1::CacheSection::default()
        })
    };
    let mut twice = two_loaders();
    work(&mut twice).sources[0].loader = "product".into();
    let cases: Vec<(v1::JobSpec, &str)> = vec![
        (v1::JobSpec::default(), "spec.work"),
        (labels(&long, "x"), "spec.labels"),
        (labels("team", &long), "spec.labels[team]"),
        (
            v1::JobSpec {
                trigger: long.clone(),
                ..spec(vec![named()])
            },
            "spec.trigger",
        ),
        (
            v1::JobSpec {
                requester: long.clone(),
                ..spec(vec![named()])
            },
            "spec.requester",
        ),
        (with(|work| work.cache = "ma in".into()), "spec.batch.cache"),
        (with(|work| work.cache.clear()), "spec.batch.cache"),
        (
            with(|work| work.also = vec!["spare".into(), "ma in".into()]),
            "spec.batch.also[1]",
        ),
        (
            with(|work| work.also = vec!["spare".into(), "main".into()]),
            "spec.batch.also[1]",
        ),
        (
            with(|work| work.also = (0..8).map(|n| format!("c{n}")).collect()),
            "spec.batch.also",
        ),
        (
            with(|work| {
                work.also = vec!["spare".into()];
                work.section = Some(v1::CacheSection {
                    nodes: vec!["a:1".into()],
                    ..v1::CacheSection::default()
                });
            }),
            "spec.batch.section.nodes",
        ),
        (
            with(|work| work.attempts_max = 101),
            "spec.batch.attempts_max",
        ),
        (slots(5, 4), "spec.batch.section.slots[0]"),
        (slots(0, 16_384), "spec.batch.section.slots[0]"),
        (nodes(1, "10.0.0.7"), "spec.batch.section.nodes[0]"),
        (nodes(1, "10.0.0.7:0"), "spec.batch.section.nodes[0]"),
        (nodes(1, "a b:6379"), "spec.batch.section.nodes[0]"),
        (nodes(1001, "a:1"), "spec.batch.section.nodes"),
        (with(|work| work.loaders.clear()), "spec.batch.loaders"),
        (with(|work| work.sources.clear()), "spec.batch.sources"),
        (
            with(|work| work.sources = vec![work.sources[0].clone(); 33]),
            "spec.batch.sources",
        ),
        (
            with(|work| work.loaders[0].name = "-".into()),
            "spec.batch.loaders[0].name",
        ),
        (twice, "spec.batch.loaders[1].name"),
        (second_loader("other"), "spec.batch.sources[0].loader"),
        (
            with(|work| work.sources[0].loader = "unknown".into()),
            "spec.batch.sources[0].loader",
        ),
        (
            with(|work| work.sources[0].from = None),
            "spec.batch.sources[0].from",
        ),
        (
            from(From::Named("a/b".into())),
            "spec.batch.sources[0].named",
        ),
        (
            sql_source("", "SELECT 1"),
            "spec.batch.sources[0].sql.origin",
        ),
        (sql_source("shop", " "), "spec.batch.sources[0].sql.query"),
        (
            from(From::File(v1::FileSource::default())),
            "spec.batch.sources[0].file.path",
        ),
        (
            from(From::File(v1::FileSource {
                path: "s3://me:secret@bucket/keys.csv".into(),
                ..v1::FileSource::default()
            })),
            "spec.batch.sources[0].file.path",
        ),
        (
            from(From::Log(v1::AccessLogSource {
                paths: vec!["a.log".into(), "https://host/a.log?sig=secret".into()],
                ..v1::AccessLogSource::default()
            })),
            "spec.batch.sources[0].log.paths[1]",
        ),
        (
            from(From::Inline(v1::InlineSource {
                content: "key".into(),
                format: v1::FileFormat::Parquet.into(),
            })),
            "spec.batch.sources[0].inline.format",
        ),
        (
            with_recipe(|sql| sql.origin = "a b".into()),
            "spec.batch.loaders[0].sql.origin",
        ),
        (
            with_recipe(|sql| sql.query.clear()),
            "spec.batch.loaders[0].sql.query",
        ),
        (
            with_recipe(|sql| sql.query = long.clone()),
            "spec.batch.loaders[0].sql.query",
        ),
        (
            with_recipe(|sql| sql.key_template = "product:{".into()),
            "spec.batch.loaders[0].sql.key_template",
        ),
        (
            with_recipe(|sql| sql.ttl = None),
            "spec.batch.loaders[0].sql.ttl",
        ),
        (
            with_recipe(|sql| sql.ttl = Some(prost_types::Duration::default())),
            "spec.batch.loaders[0].sql.ttl",
        ),
        (
            with_recipe(|sql| sql.ttl.as_mut().unwrap().seconds = -1),
            "spec.batch.loaders[0].sql.ttl",
        ),
        (
            with_recipe(|sql| sql.ttl_jitter_permille = 901),
            "spec.batch.loaders[0].sql.ttl_jitter_permille",
        ),
        (
            with_value("json", v1::Compression::Zstd, None),
            "spec.batch.loaders[0].sql.value.form",
        ),
        (
            with_value("hash", v1::Compression::Zstd, None),
            "spec.batch.loaders[0].sql.value",
        ),
        (
            with_value("hash", v1::Compression::None, Some(("", 1))),
            "spec.batch.loaders[0].sql.value",
        ),
        (
            with_value("", v1::Compression::None, Some(("", 0))),
            "spec.batch.loaders[0].sql.value.negative.ttl",
        ),
        (
            with_recipe(|sql| {
                sql.value = Some(v1::ValueSpec {
                    compression: 9,
                    ..v1::ValueSpec::default()
                });
            }),
            "spec.batch.loaders[0].sql.value.compression",
        ),
        (
            with_recipe(|sql| {
                sql.value = Some(v1::ValueSpec {
                    version_origin: "primary".into(),
                    ..v1::ValueSpec::default()
                });
            }),
            "spec.batch.loaders[0].sql.value.version_origin",
        ),
        (
            with_recipe(|sql| {
                sql.value = Some(v1::ValueSpec {
                    version_column: "at".into(),
                    version_origin: "a b".into(),
                    ..v1::ValueSpec::default()
                });
            }),
            "spec.batch.loaders[0].sql.value.version_origin",
        ),
        (
            with_recipe(|sql| sql.batch_keys = 10_001),
            "spec.batch.loaders[0].sql.batch_keys",
        ),
        (with_recipe(|sql| sql.key_column = long.repeat(10)), "spec"),
        (
            with_copy(|copy| copy.from = "old:{id}".into()),
            "spec.batch.loaders[0].copy.from",
        ),
        (
            with_copy(|copy| copy.how = 9),
            "spec.batch.loaders[0].copy.how",
        ),
        (
            with_copy(|copy| {
                copy.ttl = Some(prost_types::Duration::default());
            }),
            "spec.batch.loaders[0].copy.ttl",
        ),
        (
            with_log(|log| log.paths.clear()),
            "spec.batch.sources[0].log.paths",
        ),
        (
            with_log(|log| log.paths = vec![String::new()]),
            "spec.batch.sources[0].log.paths",
        ),
        (
            with_log(|log| log.paths = vec!["a".into(); 1025]),
            "spec.batch.sources[0].log.paths",
        ),
        (
            with_log(|log| log.lines = 77),
            "spec.batch.sources[0].log.lines",
        ),
        (
            with_log(|log| log.lines = v1::LogLines::Regex.into()),
            "spec.batch.sources[0].log.regex",
        ),
        (
            with_log(|log| log.regex = "x".into()),
            "spec.batch.sources[0].log.regex",
        ),
        (
            with_log(|log| log.urls[0].pattern = "product".into()),
            "spec.batch.sources[0].log.urls[0].pattern",
        ),
        (
            with_log(|log| log.urls[0].loader = "other".into()),
            "spec.batch.sources[0].log.urls[0].loader",
        ),
        (
            with_log(|log| log.urls = vec![log.urls[0].clone(); 65]),
            "spec.batch.sources[0].log.urls",
        ),
        (
            with_log(|log| log.statuses = vec!["200".into(), "ok".into()]),
            "spec.batch.sources[0].log.statuses[1]",
        ),
        (
            with_log(|log| {
                log.since = Some(prost_types::Timestamp::default());
                log.until = log.since;
            }),
            "spec.batch.sources[0].log.until",
        ),
        (
            with_log(|log| log.half_life = Some(prost_types::Duration::default())),
            "spec.batch.sources[0].log.half_life",
        ),
        (
            {
                let mut spec = with_log(|_| {});
                work(&mut spec).sources[0].merge = v1::Merge::Max.into();
                spec
            },
            "spec.batch.sources[0].merge",
        ),
        (counter("", "*"), "spec.batch.sources[0].counter.key"),
        (
            counter(&"x".repeat(2000), "*"),
            "spec.batch.sources[0].counter.key",
        ),
        (
            counter("views", "{a}{b}"),
            "spec.batch.sources[0].counter.match",
        ),
        (monitor(0, |_| {}), "spec.batch.sources[0].monitor.duration"),
        (
            monitor(601, |_| {}),
            "spec.batch.sources[0].monitor.duration",
        ),
        (
            monitor(5, |monitor| monitor.nodes_permille = 1001),
            "spec.batch.sources[0].monitor.nodes_permille",
        ),
        (
            monitor(5, |monitor| monitor.cpu_max_permille = 1_000_000),
            "spec.batch.sources[0].monitor.cpu_max_permille",
        ),
        (
            monitor(5, |monitor| monitor.commands = vec![String::new()]),
            "spec.batch.sources[0].monitor.commands",
        ),
        (
            {
                let mut spec = monitor(5, |_| {});
                work(&mut spec).sources[0].merge = v1::Merge::Max.into();
                spec
            },
            "spec.batch.sources[0].merge",
        ),
        (series(""), "spec.batch.sources[0].prometheus.query"),
        (
            hot_keys(0, 256),
            "spec.batch.sources[0].hot_keys.frequency_min",
        ),
        (
            hot_keys(1_000_000, 0),
            "spec.batch.sources[0].hot_keys.count",
        ),
        (scan("{key}:*", 0), "spec.batch.sources[0].keyspace.match"),
        (
            scan("a*", 1_000_000),
            "spec.batch.sources[0].keyspace.count",
        ),
        (
            with_recipe(|sql| {
                sql.key_column = "id".into();
                sql.key_columns = vec!["tenant_id".into(), "id".into()];
            }),
            "spec.batch.loaders[0].sql.key_columns",
        ),
    ];
    for (spec, field) in cases {
        let refused = leader.create(spec).await.unwrap_err();
        assert_eq!(
            fault(&refused),
            (Code::InvalidArgument, field.into()),
            "{refused}"
        );
    }
    let request = v1::CreateJobRequest::default();
    let refused = leader.jobs.clone().create_job(request).await.unwrap_err();
    assert_eq!(fault(&refused), (Code::InvalidArgument, "spec".into()));
    let refused = leader
        .create_as(&long, spec(vec![named()]))
        .await
        .unwrap_err();
    assert_eq!(
        fault(&refused),
        (Code::InvalidArgument, "request_id".into())
    );
}

#[tokio::test]
async fn continuous_jobs_are_refused_for_now() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let spec = v1::JobSpec {
        work: Some(v1::job_spec::Work::Continuous(v1::ContinuousWork {})),
        ..v1::JobSpec::default()
    };
    let refused = leader.create(spec).await.unwrap_err();
    assert_eq!(
        fault(&refused),
        (Code::InvalidArgument, "spec.continuous".into())
    );
}

#[tokio::test]
async fn a_created_job_is_shown_as_it_was_asked_for_with_the_defaults_filled_in() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let mut asked = v1::JobSpec {
        labels: [("team".to_owned(), "shop".to_owned())].into(),
        trigger: "deploy".into(),
        requester: "ci".into(),
        ..spec(vec![uploaded(), named()])
    };
    let job = leader.create(asked.clone()).await.unwrap();
    work(&mut asked).mode = v1::WriteMode::Add.into();
    work(&mut asked).attempts_max = 5;
    work(&mut asked).fit = v1::Fit::Cut.into();
    for source in &mut work(&mut asked).sources {
        source.merge = v1::Merge::Max.into();
        source.on_bad_line = v1::OnBadLine::Fail.into();
        source.loader = "product".into();
    }
    assert_eq!(job.spec.as_ref(), Some(&asked));
    assert_eq!(job.state(), v1::JobState::Pending);
    assert!(job.create_time.is_some() && job.start_time.is_none() && job.end_time.is_none());
    assert_eq!(leader.get(&job.name).await, job);
}

#[tokio::test]
async fn a_log_is_shown_with_what_counts_where_nobody_says() {
    let (cluster, leader) = Cluster::with_leader().await;
    let refused = leader.create(with_log(|_| {})).await.unwrap_err();
    assert!(
        refused.message().contains("allows files in jobs"),
        "{refused}"
    );
    cluster
        .join_as(
            "w2",
            Member {
                files_in_jobs: true,
                ..member()
            },
        )
        .await;
    let asked = with_log(|log| {
        log.statuses = vec!["2xx".into()];
        log.half_life = Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        });
    });
    let mut job = leader.create(asked).await.unwrap();
    let spec = job.spec.as_mut().unwrap();
    let source = work(spec).sources[0].clone();
    assert_eq!(
        (source.merge(), source.on_bad_line()),
        (v1::Merge::Sum, v1::OnBadLine::Skip)
    );
    let Some(From::Log(log)) = source.from else {
        panic!("a log");
    };
    assert_eq!(
        (log.methods.join(" "), log.statuses.join(" ")),
        ("GET HEAD".into(), "200-299".into())
    );
    assert_eq!(log.urls[0].loader, "product");
    assert_eq!(log.half_life.unwrap().seconds, 60);
}

#[tokio::test]
async fn the_same_request_makes_one_job_and_its_id_serves_no_other() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let asked = || spec(vec![uploaded()]);
    let job = leader.create_as("deploy/42", asked()).await.unwrap();
    let again = leader.create_as("deploy/42", asked()).await.unwrap();
    assert_eq!(job.name, again.name);
    let mut other = asked();
    other.trigger = "fail-over".into();
    let refused = leader.create_as("deploy/42", other).await.unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists);
    assert!(refused.message().contains(&job.name), "{refused}");

    let another = leader.create_as("deploy/43", asked()).await.unwrap();
    let anonymous = [
        leader.create(asked()).await.unwrap(),
        leader.create(asked()).await.unwrap(),
    ];
    let names = [&job, &another, &anonymous[0], &anonymous[1]].map(|job| job.name.clone());
    assert_eq!(std::collections::BTreeSet::from(names).len(), 4);
}

#[tokio::test]
async fn requests_with_one_id_that_come_at_the_same_time_make_one_job() {
    let (cluster, leader) = Cluster::with_leader().await;
    let calls = (0..8).map(|_| leader.create_as("deploy/42", spec(vec![uploaded()])));
    let made = futures::future::join_all(calls).await;
    let names: std::collections::BTreeSet<String> =
        made.into_iter().map(|job| job.unwrap().name).collect();
    assert_eq!(names.len(), 1);
    let jobs = super::cluster::all::<stoke_core::records::Job>(&cluster, "job/").await;
    assert_eq!(jobs.len(), 1);
}

#[tokio::test]
async fn a_job_that_no_worker_can_do_is_refused_and_says_what_is_missing() {
    let cluster = Cluster::new();
    let leader = cluster.start(settings("c1")).await.unwrap();
    leader.until_it_leads().await;
    assert_precondition(
        leader.create(spec(vec![named()])).await,
        "no worker is there",
    );

    cluster.join("w1").await;
    let cases = [
        (
            with(|work| work.cache = "spare".into()),
            "w1: it does not know the cache spare",
        ),
        (
            with(|work| work.loaders[0].name = "prices".into()),
            "w1: it does not know the loader prices",
        ),
        (
            from(From::Named("reports".into())),
            "w1: it does not know the key source reports",
        ),
    ];
    for (spec, says) in cases {
        assert_precondition(leader.create(spec).await, says);
    }
    leader.create(spec(vec![named()])).await.unwrap();
}

#[tokio::test]
async fn of_several_unknown_names_all_are_told_with_their_fields() {
    let (cluster, leader) = Cluster::with_leader().await;
    // It knows even less: what the nearest worker lacks is told.
    cluster.join_as("w0", Member::default()).await;
    let mut asked = spec(vec![named(), From::Named("reports".into())]);
    super::cluster::work(&mut asked).cache = "spare".into();
    super::cluster::work(&mut asked).loaders[0].name = "prices".into();
    let refused = leader.create(asked).await.unwrap_err();
    let says = "w1: it does not know the cache spare, it does not know the loader prices, it does not know the key source reports";
    assert!(refused.message().contains(says), "{refused}");
    let told = refused.get_details_precondition_failure().unwrap();
    let fields: Vec<&str> = told.violations.iter().map(|v| v.subject.as_str()).collect();
    assert_eq!(
        fields,
        [
            "spec.batch.cache",
            "spec.batch.loaders[0].name",
            "spec.batch.sources[1].named"
        ]
    );
    assert_precondition::<()>(Err(refused), "w0: ");
}

#[tokio::test]
async fn a_job_of_several_caches_is_for_workers_that_know_all_of_them() {
    let (cluster, leader) = Cluster::with_leader().await;
    let mut asked = spec(vec![named()]);
    super::cluster::work(&mut asked).also = vec!["spare".into()];
    let refused = leader.create(asked.clone()).await.unwrap_err();
    let told = refused.get_details_precondition_failure().unwrap();
    let told: Vec<(&str, &str)> = told
        .violations
        .iter()
        .map(|v| (v.subject.as_str(), v.description.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("spec.batch.also[0]", "it does not know the cache spare"),
            (
                "spec.batch.also[0]",
                "it is too old to write to several caches in one job"
            ),
        ]
    );
    let able = Member {
        caches: ["main", "spare"].map(|name| name.parse().unwrap()).into(),
        several_caches: true,
        ..super::cluster::member()
    };
    cluster.join_as("w2", able).await;
    let job = leader.create(asked).await.unwrap();
    let batch = super::cluster::work(&mut job.spec.unwrap()).clone();
    assert_eq!(
        (batch.cache, batch.also),
        ("main".into(), vec!["spare".into()])
    );
}

#[tokio::test]
async fn what_tells_how_much_keys_are_used_is_for_workers_that_can_read_it() {
    let (cluster, leader) = Cluster::with_leader().await;
    let able = Member {
        sql_in_jobs: true,
        ..super::cluster::member()
    };
    cluster.join_as("w2", able.clone()).await;
    let refused = leader.create(counter("views", "")).await.unwrap_err();
    let told = refused.get_details_precondition_failure().unwrap();
    let told = told.violations.iter().map(|v| v.description.as_str());
    let told: Vec<&str> = told.collect();
    assert!(
        told.contains(&"it is too old to read how much keys are used"),
        "{told:?}"
    );
    let able = Member {
        usage_sources: true,
        ..able
    };
    for name in ["w1", "w2"] {
        cluster.join_as(name, able.clone()).await;
    }
    let job = leader.create(counter("views", "")).await.unwrap();
    let batch = super::cluster::work(&mut job.spec.unwrap()).clone();
    let Some(From::Counter(counter)) = &batch.sources[0].from else {
        panic!("{:?}", batch.sources);
    };
    assert_eq!(
        (&*counter.key, &*counter.r#match, counter.limit),
        ("views", "*", 0)
    );
    let job = leader.create(hot_keys(0, 7)).await.unwrap();
    let batch = super::cluster::work(&mut job.spec.unwrap()).clone();
    let Some(From::HotKeys(hot)) = &batch.sources[0].from else {
        panic!("{:?}", batch.sources);
    };
    assert_eq!(
        (&*hot.r#match, hot.count, hot.frequency_min),
        ("*", 1000, 7)
    );
    let job = leader.create(series("views")).await.unwrap();
    let source = super::cluster::work(&mut job.spec.unwrap()).sources[0].clone();
    assert_eq!(source.merge(), v1::Merge::Sum, "series of one key add up");
    let asked = work(&mut series("views")).sources[0].from.clone();
    assert_eq!(source.from, asked);
    let job = leader.create(monitor(5, |_| {})).await.unwrap();
    let source = super::cluster::work(&mut job.spec.unwrap()).sources[0].clone();
    assert_eq!(
        (source.merge(), source.on_bad_line()),
        (v1::Merge::Sum, v1::OnBadLine::Skip)
    );
    let Some(From::Monitor(told)) = &source.from else {
        panic!("{source:?}");
    };
    assert_eq!(
        (told.nodes_permille, told.cpu_max_permille, &*told.r#match),
        (1000, 900, "*")
    );
    let unknown = from(From::HotKeys(v1::HotKeysSource {
        origin: "nowhere".into(),
        ..v1::HotKeysSource::default()
    }));
    let refused = leader.create(unknown).await.unwrap_err();
    let told = refused.get_details_precondition_failure().unwrap();
    let fields: Vec<&str> = told.violations.iter().map(|v| v.subject.as_str()).collect();
    assert!(
        fields.contains(&"spec.batch.sources[0].hot_keys.origin"),
        "{told:?}"
    );
}

#[tokio::test]
async fn sql_and_files_in_jobs_are_denied_where_no_worker_allows_them() {
    let (cluster, leader) = Cluster::with_leader().await;
    let sql = || {
        from(From::Sql(v1::SqlSource {
            origin: "shop".into(),
            query: "SELECT id AS key FROM product".into(),
        }))
    };
    let file = || {
        from(From::File(v1::FileSource {
            path: "keys.csv".into(),
            ..v1::FileSource::default()
        }))
    };
    for (spec, what) in [
        (with_recipe(|_| ()), "SQL"),
        (sql(), "SQL"),
        (with_copy(|_| ()), "SQL"),
        (scan("a*", 0), "SQL"),
        (file(), "files"),
    ] {
        let denied = leader.create(spec).await.unwrap_err();
        assert_eq!(denied.code(), Code::PermissionDenied, "{denied}");
        assert!(denied.message().contains(what), "{denied}");
    }

    let generous = Member {
        sql_in_jobs: true,
        files_in_jobs: true,
        ..member()
    };
    cluster.join_as("w2", generous).await;
    for spec in [with_recipe(|_| ()), sql(), file(), scan("a*", 0)] {
        leader.create(spec).await.unwrap();
    }
    let created = leader.create(with_copy(|_| ())).await.unwrap();
    let v1::job_spec::Work::Batch(batch) = created.spec.unwrap().work.unwrap() else {
        panic!("a batch");
    };
    // It is told as it was asked for: what is left open is decided as it goes.
    let copy = batch.loaders[0].copy.clone().unwrap();
    assert_eq!(batch.loaders[0].sql, None);
    assert_eq!(
        (copy.from.as_str(), copy.ttl, copy.batch_keys),
        ("{key}", None, 0)
    );
    assert_eq!(copy.how(), v1::CopyHow::Auto);
    let elsewhere = with_recipe(|sql| {
        sql.value.as_mut().unwrap().version_origin = "elsewhere".into();
    });
    assert_precondition(
        leader.create(elsewhere).await,
        "w2: it does not know the origin elsewhere",
    );
    // What the worker that allows SQL does not know is no matter of permission.
    let elsewhere = with_recipe(|sql| sql.origin = "elsewhere".into());
    assert_precondition(
        leader.create(elsewhere).await,
        "w2: it does not know the origin elsewhere",
    );
}

#[tokio::test]
async fn an_origin_without_a_budget_is_refused_and_named() {
    let cluster = Cluster::new();
    cluster.join("w1").await;
    let mut without = settings("c1");
    without.budgets.clear();
    let leader = cluster.start(without).await.unwrap();
    leader.until_it_leads().await;
    assert_precondition(
        leader.create(spec(vec![named()])).await,
        "origin/shop has no budget",
    );
}

#[tokio::test]
async fn a_key_source_needs_a_budget_of_its_own_origin() {
    let (cluster, leader) = Cluster::with_leader().await;
    let elsewhere = Member {
        sources: [("top".parse().unwrap(), Some("stats".parse().unwrap()))].into(),
        ..member()
    };
    cluster.join_as("w1", elsewhere).await;
    assert_precondition(
        leader.create(spec(vec![named()])).await,
        "origin/stats has no budget",
    );
}
