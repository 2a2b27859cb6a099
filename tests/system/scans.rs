//! Scans: a whole table in the cache without a list of keys, exactly counted whatever crashes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stoke_harness::{MariaDb, Postgres, Program, Redis, Statement, wait_for};
use stoke_proto::v1::{self, JobState};

use crate::command_line::stoke;
use crate::scene::{PATIENCE, Scene, assert_w1, done, is_over, now_ms, watch_until};
use crate::shop;
use crate::warm_command::{self, Ran};

/// A job that warms all items, and names no key source.
fn job() -> v1::JobSpec {
    let batch = v1::BatchWork {
        loaders: vec![v1::Loader {
            name: "whole".into(),
            ..v1::Loader::default()
        }],
        cache: "main".into(),
        allowed_failures: 1000,
        ..v1::BatchWork::default()
    };
    v1::JobSpec {
        work: Some(v1::job_spec::Work::Batch(batch)),
        ..v1::JobSpec::default()
    }
}

/// The rows of the shop that a scan finds.
fn rows() -> u64 {
    shop::PLANNED - shop::count(shop::is_absent)
}

async fn failures(scene: &Scene, job: &str) -> Vec<v1::FailedEntry> {
    let request = v1::ListFailuresRequest { name: job.into() };
    let listed = scene.jobs().await.list_failures(request).await.unwrap();
    let mut listed = listed.into_inner();
    let mut all = Vec::new();
    while let Some(message) = listed.message().await.unwrap() {
        all.extend(message.failures);
    }
    all
}

/// The pages that were asked for, in the order of the log: when, and for how many rows each.
fn pages_of(statements: &[Statement]) -> Vec<(u64, u64)> {
    let pages = statements
        .iter()
        .filter(|s| s.text.contains("stoke_rows.*"));
    let limit = |text: &str| {
        let limit = text.rsplit("LIMIT ").next().unwrap();
        limit.trim().parse::<u64>().unwrap()
    };
    pages.map(|s| (s.at_ms, limit(&s.text))).collect()
}

/// Checks that the rows that have no form are listed, once each, by their cache keys.
async fn assert_poison_is_listed(scene: &Scene, job: &str) {
    let listed = failures(scene, job).await;
    let keys: BTreeSet<Vec<u8>> = listed.iter().map(|failed| failed.key.clone()).collect();
    let poison = shop::ids().filter(|id| shop::is_poison(*id));
    let expected: BTreeSet<Vec<u8>> = poison.map(|id| shop::key(id).into_bytes()).collect();
    assert_eq!((keys, listed.len()), (expected.clone(), expected.len()));
    assert!(listed[0].reason.contains("weight"), "{:?}", listed[0]);
    assert_eq!(listed[0].loader, "whole");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn w1_a_worker_killed_in_the_middle_of_a_scan_costs_no_row_and_counts_none_twice() {
    let scene = Scene::start_configured(12, "", shop::WHOLE);
    shop::fill(&scene);
    let created = scene.create(job()).await;
    let mut jobs = scene.jobs().await;
    let reads = |ranges: u64| {
        move |job: &v1::Job| {
            job.progress
                .is_some_and(|progress| progress.ranges_read > ranges)
        }
    };
    let begun = watch_until(&mut jobs, &created.name, reads(1)).await;
    let running = watch_until(&mut jobs, &created.name, reads(15)).await;
    let grew = [&begun, &running].map(|job| job.progress.unwrap().planned);
    assert!(grew[0] < grew[1], "{grew:?}");
    let progress = running.progress.unwrap();
    assert!(
        progress.ranges > 90 && progress.ranges_read < progress.ranges,
        "{progress:?}"
    );
    assert!(
        (40_000..60_000).contains(&progress.rows_estimated),
        "{progress:?}"
    );
    let o = progress.outcomes.unwrap();
    let settled = o.warmed + o.present + o.failed + o.skipped;
    assert_eq!(
        progress.planned,
        settled + progress.pending,
        "while it runs, too"
    );
    assert_eq!(progress.pending, progress.ranges - progress.ranges_read);
    scene.workers[1].kill9().unwrap();
    let job = watch_until(&mut jobs, &created.name, is_over).await;
    assert_eq!(job.state(), JobState::Succeeded, "{}", job.reason);
    assert_w1(&job);
    let progress = job.progress.unwrap();
    assert_eq!(
        (progress.planned, progress.ranges_read),
        (rows(), progress.ranges)
    );
    let o = progress.outcomes.unwrap();
    let poison = shop::count(shop::is_poison);
    assert_eq!(
        (o.warmed + o.present, o.failed, o.absent),
        (rows() - poison, poison, 0)
    );
    // What the dead worker had written of the ranges that it had not read to their end.
    let repeated = o.present - shop::count(shop::is_present);
    assert!(repeated < 4 * 2 * 1000, "{o:?}");
    shop::assert_cache_is_as_seeded(&scene);
    assert_poison_is_listed(&scene, &job.name).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_in_the_middle_of_a_range_stops_and_counts_it_as_one_cancelled_entry() {
    let workers = shop::WHOLE.replace("scan-rows = 500", "scan-rows = 5000");
    // A share of 200 rows a second each: so pages are small, and a range takes many of them.
    let scene = Scene::start_configured(20, "rows = 600", &workers);
    shop::fill(&scene);
    let created = scene.create(job()).await;
    let mut jobs = scene.jobs().await;
    wait_for("a dozen pages", PATIENCE, || {
        let statements = scene.postgres.statements("stoke")?;
        anyhow::ensure!(pages_of(&statements).len() > 12, "{statements:?}");
        Ok(())
    })
    .unwrap();
    let request = v1::AbortJobRequest {
        name: created.name.clone(),
        reason: "enough".into(),
    };
    jobs.abort_job(request).await.unwrap();
    let told = now_ms();
    let job = watch_until(&mut jobs, &created.name, is_over).await;
    assert_eq!(job.state(), JobState::Aborted);
    assert_w1(&job);
    let progress = job.progress.unwrap();
    let o = progress.outcomes.unwrap();
    assert_eq!(
        o.cancelled,
        progress.ranges - progress.ranges_read,
        "{progress:?}"
    );
    assert!(o.cancelled > 5, "{progress:?}");
    let warmed = scene.cache.key_count().unwrap() - shop::count(shop::is_present);
    assert!(warmed > 0 && warmed >= o.warmed, "{warmed} {o:?}");
    // Long enough that a worker that went on would have been seen.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let statements = scene.postgres.statements("stoke").unwrap();
    let late = statements.iter().filter(|s| s.at_ms > told + 1000).count();
    assert_eq!(late, 0, "statements more than a second after the abort");

    // The budget of rows, as the database's log has it: until any moment, no more is asked for than was gained by then, and a page
    // of each worker. (Pages are paid for before they have a connection: so they may be bunched.)
    let pages = pages_of(&statements);
    assert!(pages.len() > 10, "{pages:?}");
    let largest = pages.iter().map(|(_, rows)| *rows).max().unwrap();
    assert!(largest <= 601, "{pages:?}");
    let mut asked = 0;
    for (at, rows) in &pages {
        asked += rows;
        let gained = 600 * (at - statements[0].at_ms) / 1000;
        assert!(
            asked <= gained + 3 * largest,
            "{asked} by {at} of {pages:?}"
        );
    }
}

/// Nothing is told of a plan's ranges that is true of keys alone.
fn assert_ranges_are_no_keys(scene: &Scene, job: &v1::Job) {
    assert_eq!(job.popularity, None);
    for args in [
        &["estimate", "--job", &job.name][..],
        &["gate", &job.name, "--hit-rate", "0.5"],
    ] {
        let ran = stoke(&scene.leader(), args);
        assert_eq!(ran.code, 2, "{args:?} {ran:?}");
        assert!(ran.errors.contains("scans"), "{args:?} {ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scans_can_be_verified_retried_exported_and_forecast() {
    let scene = Scene::start_configured(50, "", shop::WHOLE);
    shop::fill(&scene);
    let mut jobs = scene.jobs().await;
    let dry = v1::JobSpec {
        dry_run: true,
        ..job()
    };
    let dry = scene.create(dry).await;
    let dry = watch_until(&mut jobs, &dry.name, is_over).await;
    assert_eq!(dry.state(), JobState::Succeeded, "{}", dry.reason);
    let forecast = dry.forecast.unwrap();
    let loader = &forecast.loaders[0];
    assert!((40_000..60_000).contains(&loader.entries), "{forecast:?}");
    assert!((90..160).contains(&forecast.origin_queries), "{forecast:?}");
    assert!(
        loader.sample_found > 100 && forecast.cache_bytes > 1_000_000,
        "{forecast:?}"
    );

    let created = scene.create(job()).await;
    let warmed = watch_until(&mut jobs, &created.name, is_over).await;
    assert_eq!(warmed.state(), JobState::Succeeded, "{}", warmed.reason);
    assert_w1(&warmed);
    shop::assert_cache_is_as_seeded(&scene);
    let o = warmed.progress.unwrap().outcomes.unwrap();
    assert_eq!(
        o,
        v1::Outcomes {
            absent: 0,
            ..shop::outcomes()
        }
    );
    assert!(done(&warmed) == rows());
    assert_poison_is_listed(&scene, &warmed.name).await;

    let request = v1::ExportPlanRequest {
        name: warmed.name.clone(),
    };
    let mut exported = jobs.export_plan(request).await.unwrap().into_inner();
    let mut ranges = 0;
    while let Some(message) = exported.message().await.unwrap() {
        let entries = message.entries.unwrap();
        ranges += entries.keys.len() as u64;
        assert!(entries.keys[0].starts_with(b"scan of whole, range "));
    }
    assert_eq!(ranges, warmed.progress.unwrap().ranges);

    assert_ranges_are_no_keys(&scene, &warmed);

    let retry = v1::RetryJobRequest {
        name: warmed.name.clone(),
        ..v1::RetryJobRequest::default()
    };
    let retried = jobs
        .retry_job(retry)
        .await
        .unwrap()
        .into_inner()
        .job
        .unwrap();
    let retried = watch_until(&mut jobs, &retried.name, is_over).await;
    assert_ranges_are_no_keys(&scene, &retried);
    let again = retried.progress.unwrap().outcomes.unwrap();
    assert_w1(&retried);
    assert_eq!((again.failed, again.warmed), (o.failed, 0), "{again:?}");

    // Of the ranges without failures: one value is changed, and one is gone.
    let nodes = shop::Nodes::connect(&scene);
    let spoil = |id: u64, command: &[&str]| {
        let key = shop::key(id);
        let mut command = redis::cmd(command[0])
            .arg(&key)
            .arg(&command[1..])
            .to_owned();
        command.arg::<&[&str]>(&[]);
        command
            .exec(&mut nodes.connection(nodes.owner(&key)))
            .unwrap();
    };
    scene
        .postgres
        .psql("postgres", "DELETE FROM items WHERE id % 500 = 11")
        .unwrap();
    let clean = scene.create(job()).await;
    let clean = watch_until(&mut jobs, &clean.name, is_over).await;
    assert_eq!(clean.progress.unwrap().outcomes.unwrap().failed, 0);
    spoil(1, &["SET", "other", "EX", "60"]);
    spoil(2, &["DEL"]);
    for (values, differ) in [(false, vec![2]), (true, vec![1, 2])] {
        let verify = v1::VerifyJobRequest {
            name: clean.name.clone(),
            values,
            ..v1::VerifyJobRequest::default()
        };
        let verify = jobs
            .verify_job(verify)
            .await
            .unwrap()
            .into_inner()
            .job
            .unwrap();
        let verified = watch_until(&mut jobs, &verify.name, is_over).await;
        assert_w1(&verified);
        let listed = failures(&scene, &verified.name).await;
        let by_key: BTreeMap<Vec<u8>, String> = listed
            .into_iter()
            .map(|failed| (failed.key, failed.reason))
            .collect();
        // What the application wrote has another kind of value or none to live: 1,000 of them, and they are not ours.
        for id in differ {
            let reason = &by_key[shop::key(id).as_bytes()];
            assert!(
                reason.contains("differs") || reason.contains("not in the cache"),
                "{reason}"
            );
        }
        let presents = shop::count(shop::is_present);
        let expected = presents + if values { 2 } else { 1 };
        assert_eq!(by_key.len() as u64, expected, "{values}");
    }
}

/// Warms products by a scan that these arguments describe.
fn warm(args: &[&str]) -> Ran {
    let products = ["--key", "product:{id}", "--ttl", "5m"];
    warm_command::warm(&[args, &products].concat(), "")
}

#[test]
fn one_line_warms_a_table_of_200_000_rows_in_tens_of_queries() {
    let postgres = Postgres::start().unwrap();
    let fill = "CREATE TABLE products (id bigint PRIMARY KEY, name text, active boolean);
        INSERT INTO products SELECT id, 'product ' || id, id % 100 > 0 FROM generate_series(1, 202020) AS id; ANALYZE";
    postgres.psql("postgres", fill).unwrap();
    let cache = Redis::start().unwrap();
    let (origin, url) = (postgres.url("postgres"), cache.url());
    let query = "SELECT id, name FROM products WHERE active";
    let args = [
        "--origin",
        &origin,
        "--cache",
        &url,
        "--scan-by",
        "id",
        "--query",
        query,
        "--qps",
        "40",
    ];
    let first = warm(&args);
    let report = &first.report;
    assert_eq!(
        (first.code, &report["state"]),
        (0, &"SUCCEEDED".into()),
        "{}",
        first.errors
    );
    assert_eq!(report["planned"], 200_000, "{report}");
    assert_eq!(report["outcomes"]["warmed"], 200_000, "{report}");
    assert_eq!(report["ranges"], report["ranges_read"], "{report}");
    assert!(
        (report["coverage"].as_f64().unwrap() - 1.0).abs() < 1e-9,
        "{report}"
    );
    assert_eq!(cache.cli(&["DBSIZE"]).unwrap().trim(), "200000");
    assert_eq!(
        cache.cli(&["GET", "product:77"]).unwrap().trim(),
        r#"{"id":77,"name":"product 77"}"#
    );
    assert!(first.errors.contains("ranges read)"), "{}", first.errors);
    assert!(
        first.errors.contains("+ keys ("),
        "that it grows is said: {}",
        first.errors
    );
    let statements = postgres.statements("stoke").unwrap();
    let pages = pages_of(&statements).len();
    assert!(pages <= 70, "{pages} pages");
    assert!(statements.len() <= 110, "{} statements", statements.len());

    let second = warm(&args);
    assert_eq!(
        second.report["outcomes"]["present"], 200_000,
        "{}",
        second.errors
    );
}

#[test]
fn one_line_warms_the_most_viewed_first_without_a_list_of_them() {
    const ROWS: u64 = 60_000;
    const PAGE: u64 = 1000;
    let postgres = Postgres::start().unwrap();
    // In another order than that of its rows; and most, as of most things, were viewed as rarely as many others.
    let rank = "(id * 7919) % 60001";
    let fill = format!(
        "CREATE TABLE products (id bigint PRIMARY KEY, views int, name text);
         INSERT INTO products SELECT id, 60000 / ({rank}), 'product ' || id FROM generate_series(1, {ROWS}) AS id;
         CREATE INDEX by_views ON products (views, id); ANALYZE"
    );
    postgres.psql("postgres", &fill).unwrap();
    let cache = Redis::start().unwrap();
    let (origin, url, page) = (postgres.url("postgres"), cache.url(), PAGE.to_string());
    let run = Program::new(env!("CARGO_BIN_EXE_stoke")).unwrap().args([
        "warm",
        "--origin",
        &origin,
        "--cache",
        &url,
        "--qps",
        "6",
        "--key",
        "product:{id}",
        "--ttl",
        "5m",
        "--query",
        "SELECT * FROM products",
        "--scan-by",
        "views DESC, id DESC",
        "--scan-rows",
        &page,
    ]);
    let run = run.start().unwrap();
    wait_for("a third to be warm", PATIENCE, || {
        let warm = cache.cli(&["DBSIZE"])?.trim().parse::<u64>()?;
        anyhow::ensure!(warm > ROWS / 3, "{warm} are");
        Ok(())
    })
    .unwrap();
    run.terminate().unwrap();
    let code = run.wait(PATIENCE).unwrap().code();
    let warm = cache.cli(&["KEYS", "*"]).unwrap();
    let warm: BTreeSet<&str> = warm.lines().collect();
    let count = warm.len() as u64;
    assert!((ROWS / 3..ROWS).contains(&count), "{code:?}: {count}");
    let most_viewed = "SELECT 'product:' || id FROM products ORDER BY views DESC, id DESC";
    let most_viewed = postgres.psql("postgres", most_viewed).unwrap();
    // All but what was under way.
    let sure = usize::try_from(count - 8 * PAGE).unwrap();
    let mut lacking = most_viewed
        .lines()
        .take(sure)
        .filter(|key| !warm.contains(key));
    assert_eq!(lacking.next(), None, "of {count}");
    let sent = postgres.statements("stoke").unwrap();
    assert!(
        sent.iter()
            .all(|statement| !statement.text.contains("= ANY"))
    );
}

#[test]
fn one_line_warms_tables_of_mariadb_and_sqlite_too() {
    let shop = MariaDb::start().unwrap();
    let fill = "CREATE TABLE products (id VARCHAR(20) PRIMARY KEY, name TEXT);
        INSERT INTO products SELECT CONCAT('sku-', seq), CONCAT('product ', seq) FROM seq_1_to_20000";
    shop.sql("shop", fill).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("shop.db");
    let python = "import sqlite3, sys; d = sqlite3.connect(sys.argv[1]); d.execute('CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT)'); d.executemany('INSERT INTO products VALUES (?, ?)', [(i * 3, 'p') for i in range(20000)]); d.commit()";
    let made = std::process::Command::new("python3")
        .args(["-c", python])
        .arg(&file)
        .status();
    assert!(made.unwrap().success());
    for origin in [shop.url("shop"), format!("sqlite:{}", file.display())] {
        let cache = Redis::start().unwrap();
        let url = cache.url();
        let ran = warm(&[
            "--origin",
            &origin,
            "--cache",
            &url,
            "--scan-by",
            "id",
            "--scan-rows",
            "2000",
            "--query",
            "SELECT * FROM products",
        ]);
        assert_eq!(ran.code, 0, "{}", ran.errors);
        assert_eq!(ran.report["outcomes"]["warmed"], 20_000, "{}", ran.report);
        assert_eq!(cache.cli(&["DBSIZE"]).unwrap().trim(), "20000");
        assert!(
            ran.report["origin_queries"].as_u64().unwrap() < 80,
            "{}",
            ran.report
        );
    }
}

#[test]
fn what_cannot_be_scanned_is_said_with_what_to_do() {
    let base = [
        "--origin",
        "sqlite:/nowhere",
        "--cache",
        "redis://127.0.0.1:1",
    ];
    let with = |more: &[&str]| warm(&[&base, more].concat());
    let keys = with(&["--scan-by", "id", "--query", "SELECT 1 WHERE id IN (:keys)"]);
    assert_eq!(keys.code, 2);
    assert!(
        keys.errors.contains("--query") && keys.errors.contains("a scan has none"),
        "{}",
        keys.errors
    );
    let array = with(&[
        "--scan-by",
        "id",
        "--query",
        "SELECT 1 AS id",
        "--value",
        "array",
    ]);
    assert_eq!(array.code, 2, "{}", array.errors);
    assert!(
        array.errors.contains("an entry of each row"),
        "{}",
        array.errors
    );
    for incomplete in [
        &["--scan-by", "id"][..],
        &["--query", "SELECT 1"],
        &["--load", "SELECT 1", "--scan-by", "id"],
    ] {
        assert_eq!(with(incomplete).code, 2, "{incomplete:?}");
    }
}
