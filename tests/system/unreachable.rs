//! What cannot be reached, or answers badly: said at once by `stoke warm` and by processes that start, shown as a trouble by
//! jobs that are under way, and nothing is lost.

use std::time::Duration;

use stoke_harness::{Etcd, Postgres, Program, Redis, RedisCluster, free_port, wait_for};
use stoke_proto::v1::{self, JobState};

use crate::scene::{PATIENCE, Scene, assert_w1, done, is_over, watch_until};
use crate::shop;

const SECRET: &str = "s3cret";

/// How a run of the program ended, and what it said.
fn run(args: &[&str]) -> (i32, String) {
    let launch = Program::new(env!("CARGO_BIN_EXE_stoke")).unwrap();
    let program = launch.args(args).start().unwrap();
    let status = program.wait(PATIENCE).unwrap();
    (status.code().unwrap(), program.log().unwrap())
}

fn warm(origin: &str, cache: &str) -> (i32, String) {
    run(&[
        "warm",
        "--origin",
        origin,
        "--cache",
        cache,
        "--rank",
        "SELECT 1 AS key",
        "--load",
        "SELECT 1 AS id WHERE 1 IN (:keys)",
        "--key-column",
        "id",
        "--key",
        "k:{key}",
        "--ttl",
        "5m",
        "--qps",
        "50",
    ])
}

#[test]
fn warm_looks_at_origin_and_cache_before_it_begins_and_ends_with_4_and_a_line_for_each() {
    let postgres =
        Postgres::start_guarded(None, &["host all stoke 127.0.0.1/32 scram-sha-256"]).unwrap();
    postgres
        .psql("postgres", "CREATE USER stoke PASSWORD 'right'")
        .unwrap();
    let redis = Redis::start_with(&[("requirepass", "right")]).unwrap();
    let (origin, cache) = (postgres.url("postgres"), redis.url());
    let (code, said) = warm(&origin, &cache);
    assert_eq!(code, 0, "{said}");

    let nobody = free_port().unwrap();
    let partial = RedisCluster::start_with(1, &[("cluster-require-full-coverage", "no")]).unwrap();
    partial
        .cli(partial.ports()[0], &["CLUSTER", "DELSLOTS", "7"])
        .unwrap();
    let down = RedisCluster::start(1).unwrap();
    down.cli(down.ports()[0], &["CLUSTER", "DELSLOTS", "7"])
        .unwrap();
    let at = |port: u16, database: &str| {
        format!("postgres://stoke:{SECRET}@127.0.0.1:{port}/{database}")
    };
    for (origin, cache, words) in [
        (
            at(nobody, "shop"),
            cache.clone(),
            ["origin", "nobody listens"],
        ),
        (
            at(postgres.port(), "postgres"),
            cache.clone(),
            ["password authentication failed", "check both"],
        ),
        (
            format!("{}_x", postgres.url("none")),
            cache.clone(),
            ["\"none_x\" does not exist", "origin"],
        ),
        (
            format!("postgres://u:{SECRET}@no-such-host.invalid/shop"),
            cache.clone(),
            ["no-such-host.invalid", "DNS"],
        ),
        (
            format!("{origin}?sslmode=require"),
            cache.clone(),
            ["speaks without TLS", "origin"],
        ),
        (
            origin.clone(),
            format!("redis://127.0.0.1:{nobody}"),
            ["cache", "nobody listens"],
        ),
        (
            origin.clone(),
            format!("redis://:{SECRET}@127.0.0.1:{}", redis.port()),
            ["WRONGPASS", "check both"],
        ),
        (
            origin.clone(),
            format!("redis://127.0.0.1:{}", redis.port()),
            ["NOAUTH", "give them"],
        ),
        (
            origin.clone(),
            format!("rediss://:{SECRET}@127.0.0.1:{}", redis.port()),
            ["cache", "without TLS"],
        ),
        (
            origin.clone(),
            format!("redis://127.0.0.1:{}", postgres.port()),
            ["cache", "127.0.0.1"],
        ),
        (
            origin.clone(),
            partial.urls()[0].clone(),
            ["1 of 16384 slots", "ADDSLOTS"],
        ),
        (
            origin.clone(),
            down.urls()[0].clone(),
            ["1 of 16384 slots", "ADDSLOTS"],
        ),
    ] {
        let (code, said) = warm(&origin, &cache);
        assert_eq!(code, 4, "{said}");
        for word in words {
            assert!(said.contains(word), "{word}: {said}");
        }
        assert!(!said.contains(SECRET), "{said}");
        let lines = said
            .lines()
            .filter(|line| line.contains("stoke: ") && !line.contains("at most"))
            .count();
        assert_eq!(lines, 1, "one clear line: {said}");
    }
    // What is wrong without any contact is the command line's fault.
    let (code, said) = warm(&format!("{origin}?sslmode=allow"), &cache);
    assert_eq!(code, 2, "{said}");
    assert_eq!(
        redis.cli(&["DBSIZE"]).unwrap(),
        "1",
        "only the good run wrote"
    );
}

#[test]
fn a_coordinator_that_etcd_does_not_let_in_says_so_and_ends_with_4() {
    let etcd = Etcd::start().unwrap();
    for args in [
        "user add root:hunter2",
        "role add root",
        "user grant-role root root",
        "auth enable",
    ] {
        etcd.ctl(&args.split(' ').collect::<Vec<_>>()).unwrap();
    }
    let nobody = free_port().unwrap();
    for (endpoint, said) in [
        (etcd.endpoint(), "give them"),
        (etcd.endpoint().replace("http", "https"), "without TLS"),
        (format!("http://127.0.0.1:{nobody}"), "nobody listens"),
    ] {
        let config = format!(
            "name = \"c1\"\nlisten = \"127.0.0.1:{}\"\nplan-store = \"plans\"\n[etcd]\nendpoints = [{endpoint:?}]\n",
            free_port().unwrap()
        );
        let launch = Program::new(env!("CARGO_BIN_EXE_stoke")).unwrap();
        let launch = launch
            .arg("coordinator")
            .config("--config", "c.toml", &config)
            .unwrap();
        let program = launch.start().unwrap();
        let code = program.wait(PATIENCE).unwrap().code();
        let log = program.log().unwrap();
        assert_eq!(code, Some(4), "{log}");
        assert!(
            log.contains(said) && log.contains(&endpoint),
            "{said}: {log}"
        );
    }
}

async fn get(scene: &Scene, name: &str) -> v1::Job {
    let request = v1::GetJobRequest { name: name.into() };
    let got = scene.jobs().await.get_job(request).await.unwrap();
    got.into_inner().job.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_cache_that_stops_in_mid_run_is_shown_as_a_trouble_until_it_is_back_and_the_job_ends_right()
 {
    let scene = Scene::start(1, 20);
    shop::fill(&scene);
    let job = scene.create(shop::lasting_job()).await;
    let mut jobs = scene.jobs().await;
    watch_until(&mut jobs, &job.name, |job| done(job) > 5_000).await;
    let stopped = scene.cache.ports()[1];
    scene.cache.stop(stopped).unwrap();
    // A watch tells of it, though no record changes for it.
    let troubled = watch_until(&mut jobs, &job.name, |job| !job.troubles.is_empty()).await;
    assert!(!is_over(&troubled), "{troubled:?}");
    let trouble = &troubled.troubles[0];
    assert!(trouble.worker.starts_with('w'), "{trouble:?}");
    assert!(trouble.what.contains("are tried again: "), "{trouble:?}");
    assert!(
        trouble.what.contains("127.0.0.1:") || trouble.what.contains("slot"),
        "{trouble:?}"
    );
    assert!(!get(&scene, &job.name).await.troubles.is_empty());
    scene.cache.cont(stopped).unwrap();
    let well = watch_until(&mut jobs, &job.name, |job| job.troubles.is_empty()).await;
    assert!(well.troubles.is_empty(), "{well:?}");
    let job = watch_until(&mut jobs, &job.name, is_over).await;
    assert_eq!(job.state(), JobState::Succeeded, "{}", job.reason);
    assert!(job.troubles.is_empty());
    assert_w1(&job);
    shop::assert_cache_is_as_seeded(&scene);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_full_etcd_stops_everything_and_once_it_is_freed_the_job_goes_on_and_ends_right() {
    let scene = Scene::start_on(
        Etcd::start_as(None, &["--quota-backend-bytes=4194304"]).unwrap(),
        4,
    );
    shop::fill(&scene);
    let job = scene.create(shop::lasting_job()).await;
    let mut jobs = scene.jobs().await;
    watch_until(&mut jobs, &job.name, |job| done(job) > 1_000).await;
    let filler = "x".repeat(100 * 1024);
    let full = || match scene.etcd.ctl(&["put", "/filler", &filler]) {
        Err(error) if format!("{error:#}").contains("space exceeded") => Ok(()),
        other => anyhow::bail!("not yet: {other:?}"),
    };
    wait_for("etcd to be full", PATIENCE, full).unwrap();
    let said = |program: &Program, words: &str| program.wait_for_output(words, PATIENCE).unwrap();
    said(&scene.workers[0], "etcdctl alarm disarm");
    // Nothing can be renewed: it fails closed, within a term.
    let quiet = || {
        let before = scene.postgres.statements("stoke")?.len();
        std::thread::sleep(Duration::from_secs(2));
        let after = scene.postgres.statements("stoke")?.len();
        anyhow::ensure!(before == after, "{before}, then {after} statements");
        Ok(())
    };
    wait_for("queries to end", PATIENCE, quiet).unwrap();
    let revision = scene
        .etcd
        .ctl(&["get", "/filler", "--write-out=json"])
        .unwrap();
    let revision: serde_json::Value = serde_json::from_str(&revision).unwrap();
    let revision = revision["header"]["revision"].to_string();
    scene
        .etcd
        .ctl(&["compact", "--physical", &revision])
        .unwrap();
    scene.etcd.ctl(&["defrag"]).unwrap();
    scene.etcd.ctl(&["alarm", "disarm"]).unwrap();
    let mut jobs = scene.jobs().await;
    let job = watch_until(&mut jobs, &job.name, is_over).await;
    assert_eq!(job.state(), JobState::Succeeded, "{}", job.reason);
    assert_w1(&job);
    shop::assert_cache_is_as_seeded(&scene);
}
