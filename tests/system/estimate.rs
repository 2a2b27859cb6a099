//! `stoke estimate`: what a list, an access log and a job's plan say of warming, without a cache or a database.

use serde_json::Value;
use stoke_harness::{Program, ServerDir};
use stoke_proto::v1::{self, JobState};

use crate::scene::{PATIENCE, Scene, is_over, watch_until};
use crate::shop;

/// What was printed, and how it ended.
#[derive(Debug)]
struct Ran {
    code: i32,
    out: String,
    errors: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn estimate(args: &[&str], stdin: &str) -> Ran {
    let launch = Program::new(env!("CARGO_BIN_EXE_stoke")).unwrap();
    let launch = launch.args(["estimate"]).args(args);
    let program = launch.stdin(stdin).unwrap().start().unwrap();
    let status = program.wait(PATIENCE).unwrap();
    Ran {
        code: status.code().unwrap_or(-1),
        out: program.stdout().unwrap(),
        errors: program.log().unwrap(),
    }
}

/// An estimate as an object.
fn estimated(args: &[&str], stdin: &str) -> Value {
    let ran = estimate(&[args, &["--output", "json"]].concat(), stdin);
    assert_eq!(ran.code, 0, "{args:?} {ran:?}");
    ran.json()
}

struct Files(ServerDir);

impl Files {
    fn new() -> Self {
        Self(ServerDir::new("estimates").unwrap())
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

#[test]
fn a_list_is_estimated_however_it_is_written() {
    let files = Files::new();
    let lists = [
        ("by-priority.csv", "key,priority\na,70\nb,20\nc,10\n"),
        ("by-count.csv", "key,count\nc,10\na,70\nb,20\n"),
        ("twice.csv", "count,key,note\n10,c,x\n70,a,\n5,b,\n20,b,\n"),
        (
            "lines.ndjson",
            "{\"key\":\"a\",\"count\":70}\n{\"key\":\"b\",\"priority\":20,\"count\":1}\n{\"key\":\"c\",\"priority\":10}\n",
        ),
        (
            "export.csv",
            "rank,key,argument,loader,priority\n0,a,1,item,70\n1,b,2,item,20\n2,c,3,item,10\n",
        ),
        (
            "export.json",
            "{\"rank\":0,\"key\":\"a\",\"argument\":\"1\",\"loader\":\"item\",\"priority\":70}\n{\"rank\":1,\"key\":\"b\",\"argument\":\"2\",\"loader\":\"item\",\"priority\":20.0}\n{\"rank\":2,\"key\":\"c\",\"argument\":\"3\",\"loader\":\"item\",\"priority\":10}\n",
        ),
    ];
    let later = files.write("later.csv", "key,count\nnew,60\nb,30\na,10\n");
    for (name, text) in lists {
        let path = files.write(name, text);
        let url = format!("file://{path}");
        for (plan, stdin) in [(path.as_str(), ""), (url.as_str(), ""), ("-", text)] {
            let report = estimated(&[plan, "--later", &later, "--batch-keys", "2"], stdin);
            assert_eq!(
                (&report["entries"], &report["requests"]),
                (&3.into(), &100.0.into()),
                "{name}"
            );
            let (first, all) = (&report["tops"][0], &report["tops"][5]);
            assert_eq!(
                (&first["as_planned"], &first["replayed"]),
                (&0.7.into(), &0.1.into()),
                "{name}"
            );
            assert_eq!(
                (&all["as_planned"], &all["replayed"]),
                (&1.0.into(), &0.4.into()),
                "{name}"
            );
            assert_eq!(
                (&all["queries"], &all["seconds"]),
                (&2.into(), &0.02.into()),
                "{name}"
            );
            assert_eq!(report["drift"], Value::Null, "{name}");
        }
    }
}

#[test]
fn what_is_wrong_with_a_list_is_said() {
    let files = Files::new();
    for (text, says) in [
        ("", "there is no column \"key\""),
        ("key,priority\n", "the plan has no keys"),
        ("key,priority\na,0\nb,0\n", "all priorities are 0"),
        ("key,priority\na,1\nb,NaN\n", "line 3"),
        ("key,priority\na,-1\n", "line 2"),
        (
            "key,count\na,1\nb,-1\n",
            "line 3: the count \"-1\" is not a number from 0 to",
        ),
        ("key,count\na,many\n", "\"many\""),
        (
            "key,priority\na,1e13\n",
            "is not a number from 0 to 1000000000000",
        ),
        ("name,priority\na,1\n", "there is no column \"key\""),
    ] {
        let path = files.write("wrong.csv", text);
        let ran = estimate(&[&path], "");
        assert_eq!(ran.code, 2, "{text:?} {ran:?}");
        assert!(
            ran.errors.contains(says) && ran.out.is_empty(),
            "{text:?} {ran:?}"
        );
    }
    let path = files.write("some.csv", "key,count\na,1\nb,-1\nc,1\n,5\n");
    let report = estimated(&[&path, "--on-bad-line", "skip"], "");
    assert_eq!(
        (&report["entries"], &report["plan"]["bad_lines"]),
        (&2.into(), &2.into()),
        "{report}"
    );
    // Sums beyond 64 bits.
    let huge: String = (0..30_000)
        .map(|n| format!("k{n},1000000000000\n"))
        .collect();
    let path = files.write("huge.csv", &format!("key,priority\n{huge}"));
    let report = estimated(&[&path], "");
    assert_eq!(report["requests"], 3e16);
    assert_eq!(report["verdict"], "overkill");
    assert_eq!(report["reasons"][0]["reason"], "flat_pattern");
    // As stoke rank writes keys of several columns.
    let path = files.write("parts.csv", "tenant,id,priority\neu,7,3\nus,7,1\n");
    let report = estimated(
        &[
            &path,
            "--key-column",
            "tenant",
            "--key-column",
            "id",
            "--later",
            &path,
        ],
        "",
    );
    assert_eq!(report["entries"], 2, "{report}");
    assert_eq!(report["tops"][5]["replayed"], 1.0, "{report}");
    let path = files.write("alike.csv", "key\na\nb\n");
    let ran = estimate(&[&path], "");
    assert!(
        ran.code == 0 && ran.errors.contains("no column priority or count"),
        "{ran:?}"
    );
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_read() {
    for (args, says) in [
        (&[][..], "required"),
        (&["a.csv", "--log", "b"], "cannot be used with"),
        (&["a.csv", "--qps", "0"], "more than none"),
        (&["a.csv", "--qps", "NaN"], "no rate"),
        (&["a.csv", "--qps", "1e10"], "out of range"),
        (&["a.csv", "--batch-keys", "0"], "1..=10000"),
        (&["a.csv", "--miss-cost", "0s"], "more than 0s"),
        (&["a.csv", "--cache-free", "-1"], "unexpected argument"),
        (
            &["a.csv", "--user-keys", "session:*"],
            "where the user stands",
        ),
        (&["-", "--later", "-"], "not both"),
        (&["no-such-file.csv"], "no-such-file.csv"),
        (&["a.csv", "--key", "{key}"], "name one by --log"),
        (&["a.csv", "--url", "/p/{id}"], "name one by --log"),
    ] {
        let ran = estimate(args, "");
        assert_eq!(ran.code, 2, "{args:?} {ran:?}");
        assert!(ran.errors.contains(says), "{args:?} {ran:?}");
    }
}

/// A log of so many accesses, ten a second; every other one is in a burst of fifty for a product that nobody else asks for.
fn log(accesses: u32) -> String {
    let mut log = String::new();
    let mut state = 1_u64;
    for n in 0..accesses {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let drawn = (state >> 33) as f64 / f64::from(1_u32 << 31);
        // About by Zipf's law, over a thousand products.
        let product = match n % 2 {
            0 => 1000.0_f64.powf(drawn).floor() as u32,
            _ => 1_000_000 + n / 100,
        };
        let (minute, second) = (n / 600, n / 10 % 60);
        let (hour, minute) = (10 + minute / 60, minute % 60);
        log += &format!(
            "203.0.113.9 - - [21/Nov/2026:{hour}:{minute:02}:{second:02} +0000] \"GET /product/{product} HTTP/1.1\" 200 512\n"
        );
    }
    log
}

#[test]
fn a_log_says_how_its_traffic_drifts_and_how_often_it_comes() {
    let files = Files::new();
    let accesses = log(40_000);
    let path = files.write("access.log", &accesses);
    let picture = files.path("picture.svg");
    let args = [
        "--log",
        &path,
        "--url",
        "/product/{id}",
        "--capacity",
        "5/s",
        "--miss-cost",
        "20ms",
        "--qps",
        "1",
        "--svg",
        &picture,
        "--user-keys",
        "1{id}",
        "--value-bytes",
        "1000",
        "--cache-free",
        "100MB",
        "--ttl",
        "1h",
    ];
    let report = estimated(&args, "");
    assert_eq!(
        (&report["requests"], &report["plan"]["log"]["lines"]),
        (&40_000.0.into(), &40_000.into())
    );
    let per_second = report["setting"]["requests_per_second"].as_f64().unwrap();
    assert!((per_second - 10.0).abs() < 0.01, "{per_second}");
    // Half of all is for products that are not asked for again.
    let all = &report["tops"][5];
    assert_eq!(all["as_planned"], 1.0);
    let expected = all["expected"].as_f64().unwrap();
    assert!((expected - 0.5).abs() < 0.07, "{expected}");
    assert!(
        report["timeline"]["waiting_spared_s"].as_f64().unwrap() > 0.0,
        "{report}"
    );
    assert_eq!(report["left_out"], serde_json::json!([]));
    let picture = std::fs::read_to_string(&picture).unwrap();
    assert!(
        picture.starts_with("<svg ") && picture.ends_with("</svg>\n"),
        "{picture}"
    );

    // From standard input, with a template, for people.
    let args = [
        "--log",
        "-",
        "--url",
        "/product/{id}",
        "--key",
        "product:{id}",
    ];
    let ran = estimate(&args, &accesses);
    assert_eq!(ran.code, 0, "{ran:?}");
    for said in [
        "by a history of 40,000 requests: 4",
        "EXPECTED HIT RATE",
        "at 10 requests a second",
    ] {
        assert!(ran.out.contains(said), "{said}: {}", ran.out);
    }
    let ran = estimate(
        &[&args[..], &["--svg", "/no/such/folder/x.svg"]].concat(),
        &accesses,
    );
    assert!(
        ran.code == 2 && ran.errors.contains("cannot write"),
        "{ran:?}"
    );
}

#[test]
fn keys_without_times_are_a_history_too() {
    let keys: String = (0..20_000_u32)
        .map(|n| format!("{}\n", n * n % 1009))
        .collect();
    let args = ["--log", "-", "--log-regex", r"^(?<key>\S+)$"];
    let report = estimated(&args, &keys);
    assert!(
        report["tops"][5]["expected"].as_f64().unwrap() > 0.99,
        "{report}"
    );
    assert_eq!(report["setting"]["requests_per_second"], Value::Null);
    assert_eq!(report["timeline"], Value::Null);
    let report = estimated(&[&args[..], &["--period", "1000s"]].concat(), &keys);
    assert_eq!(report["setting"]["requests_per_second"], 20.0);
    assert!(report["timeline"].is_object());
    let ran = estimate(&[&args[..], &["--svg", "x.svg"]].concat(), &keys);
    assert!(
        ran.code == 2 && ran.errors.contains("--requests-per-second, or --period"),
        "{ran:?}"
    );
}

#[test]
fn a_jobs_plan_is_estimated_by_its_dry_run_and_nothing_is_asked() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let scene = Scene::start(1, 20);
    shop::fill(&scene);
    let spec = v1::JobSpec {
        dry_run: true,
        ..shop::job()
    };
    let job = runtime.block_on(async {
        let job = scene.create(spec).await;
        watch_until(&mut scene.jobs().await, &job.name, is_over).await
    });
    assert_eq!(job.state(), JobState::Succeeded, "{}", job.reason);
    let statements = || scene.postgres.statements("stoke").unwrap().len();
    let before = statements();
    let at = scene.leader();
    let report = estimated(
        &[
            "--job",
            &job.name,
            "--coordinator",
            &at,
            "--qps",
            "20",
            "--cache-free",
            "1GB",
            "--requests-per-second",
            "500",
        ],
        "",
    );
    assert_eq!(statements(), before);
    assert_eq!(report["plan"]["source"], "job");
    assert_eq!(report["entries"], shop::PLANNED);
    let forecast = job.forecast.unwrap();
    assert_eq!(report["tops"][5]["queries"], forecast.origin_queries);
    assert_eq!(
        report["plan_bytes"].as_f64().unwrap(),
        forecast.cache_bytes as f64
    );
    assert!(
        report["zipf"]["exponent"].as_f64().unwrap() > 0.3,
        "{report}"
    );
    assert!(report["timeline"].is_object());
    let ran = estimate(&["--job", "no-such-job", "--coordinator", &at], "");
    assert_eq!(ran.code, 2, "{ran:?}");
}

#[test]
fn a_job_of_a_log_is_shown_and_estimated_with_how_its_traffic_drifts() {
    let files = Files::new();
    let path = files.write("access.log", &log(20_000));
    let by_log = estimated(&["--log", &path, "--url", "/product/{id}"], "");
    let workers = format!("[sources.asked-for]\nlog = {path:?}\nurl = \"/product/{{id}}\"\n");
    let scene = Scene::start_configured(20, "", &workers);
    shop::fill(&scene);
    scene.wait_for_members(3);
    let (at, runtime) = (scene.leader(), tokio::runtime::Runtime::new().unwrap());
    let planned = |more: Vec<v1::KeySource>| {
        let mut spec = v1::JobSpec {
            dry_run: true,
            ..shop::job()
        };
        let Some(v1::job_spec::Work::Batch(batch)) = &mut spec.work else {
            panic!("no batch");
        };
        let named = v1::key_source::From::Named("asked-for".into());
        batch.sources = vec![v1::KeySource {
            from: Some(named),
            ..v1::KeySource::default()
        }];
        batch.sources.extend(more);
        let job = runtime.block_on(async {
            let job = scene.create(spec).await;
            watch_until(&mut scene.jobs().await, &job.name, is_over).await
        });
        assert_eq!(job.state(), JobState::Succeeded, "{}", job.reason);
        job
    };
    let near = |one: &Value, other: f64| (one.as_f64().unwrap() - other).abs() < 1e-3;
    let job = planned(Vec::new());
    let popularity = job.popularity.unwrap();
    let drift = popularity.drift.unwrap();
    assert_eq!(drift.requests, 20_000);
    let args = ["--job", &job.name, "--coordinator", &at];
    let by_job = estimated(&args, "");
    for (n, top) in popularity.tops.iter().enumerate() {
        let expected = top.expected_hit_rate.unwrap();
        let (of_log, of_job) = (&by_log["tops"][n], &by_job["tops"][n]);
        assert!(near(&of_log["expected"], expected), "{of_log} {expected}");
        assert!(near(&of_job["expected"], expected), "{of_job} {expected}");
        assert!(
            near(&of_log["as_planned"], top.hit_rate),
            "{of_log} {top:?}"
        );
    }
    assert!(popularity.tops[5].expected_hit_rate.unwrap() < 0.6);
    let ran = crate::command_line::stoke(&at, &["status", &job.name]);
    assert!(
        ran.out.contains("will be for keys that the plan lacks"),
        "{ran:?}"
    );

    // A list beside it has no history: what comes of the whole is not known.
    let list = v1::KeySource {
        from: Some(v1::key_source::From::Inline(v1::InlineSource {
            content: "key\n7\n".into(),
            ..v1::InlineSource::default()
        })),
        ..v1::KeySource::default()
    };
    let popularity = planned(vec![list]).popularity.unwrap();
    assert_eq!(
        (popularity.drift, popularity.tops[0].expected_hit_rate),
        (None, None)
    );
}
