//! Planning on real servers: what is wrong is found before anything is loaded, and a dry run says what a job would do.

use std::time::Duration;

use stoke_harness::{ServerDir, wait_for};
use stoke_proto::v1::{self, JobState, key_source::From};

use crate::scene::{PATIENCE, Scene, assert_w1, is_over, watch_until};
use crate::shop;

const QPS: u32 = 20;

/// Creates a job and follows it to its end.
async fn run(scene: &Scene, spec: v1::JobSpec) -> v1::Job {
    let job = scene.create(spec).await;
    let ended = watch_until(&mut scene.jobs().await, &job.name, is_over).await;
    assert_w1(&ended);
    ended
}

fn work(spec: &mut v1::JobSpec) -> &mut v1::BatchWork {
    match spec.work.as_mut() {
        Some(v1::job_spec::Work::Batch(work)) => work,
        _ => panic!("no batch"),
    }
}

/// The shop's job, with this query and template in place of its loader's.
fn with_loader(query: &str, key_template: &str) -> v1::JobSpec {
    let mut spec = shop::job();
    let recipe = v1::SqlLoader {
        origin: "shop".into(),
        query: query.into(),
        key_template: key_template.into(),
        ttl: prost_types::Duration::try_from(Duration::from_secs(3600)).ok(),
        ..v1::SqlLoader::default()
    };
    work(&mut spec).loaders[0].sql = Some(recipe);
    spec
}

/// The shop's job, with keys from here.
fn with_source(mut spec: v1::JobSpec, from: From, on_bad_line: v1::OnBadLine) -> v1::JobSpec {
    let source = &mut work(&mut spec).sources[0];
    source.from = Some(from);
    source.on_bad_line = on_bad_line.into();
    spec
}

fn sql(query: &str) -> From {
    From::Sql(v1::SqlSource {
        origin: "shop".into(),
        query: query.into(),
    })
}

/// How many statements with this text the database has executed for Stoke.
fn executed(scene: &Scene, text: &str) -> usize {
    let statements = scene.postgres.statements("stoke").unwrap();
    statements.iter().filter(|s| s.text.contains(text)).count()
}

/// Which commands the nodes of the cache were sent, by anybody.
fn commands(scene: &Scene) -> String {
    let of_node = |port| {
        let stats = scene.cache.cli(port, &["INFO", "commandstats"]);
        stats.unwrap()
    };
    scene.cache.ports().into_iter().map(of_node).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dry_run_reads_prepares_and_samples_and_says_what_the_job_would_do() {
    let scene = Scene::start(1, QPS);
    shop::fill(&scene);
    let keys_before = scene.cache.key_count().unwrap();
    let spec = v1::JobSpec {
        dry_run: true,
        ..shop::job()
    };
    let job = run(&scene, spec).await;
    assert_eq!(job.state(), JobState::Succeeded, "{}", job.reason);
    let progress = job.progress.unwrap();
    assert_eq!(
        (progress.planned, progress.outcomes.unwrap().skipped),
        (shop::PLANNED, shop::PLANNED)
    );

    let forecast = job.forecast.unwrap();
    let [loader] = &forecast.loaders[..] else {
        panic!("{forecast:?}")
    };
    assert_eq!(
        (
            loader.loader.as_str(),
            loader.origin.as_str(),
            loader.entries
        ),
        ("item", "shop", shop::PLANNED)
    );
    // Of every 250 ranks the first, which all have rows.
    assert_eq!((loader.sample_entries, loader.sample_found), (200, 200));
    assert_eq!(forecast.origin_queries, 100);
    assert_eq!(forecast.duration.unwrap().seconds, 5);
    let real = scene
        .postgres
        .psql(
            "postgres",
            "SELECT avg(length(row_to_json(items)::text) + length('item:' || id))::int FROM items WHERE id % 250 = 1",
        )
        .unwrap();
    let expected = real.trim().parse::<u64>().unwrap() * shop::PLANNED;
    let off = forecast.cache_bytes.abs_diff(expected);
    assert!(off < expected / 50, "{} {expected}", forecast.cache_bytes);

    assert_eq!(
        (
            executed(&scene, "FROM views"),
            executed(&scene, "FROM items")
        ),
        (1, 1)
    );
    // What setting up and preparing sends besides is no query of the shop's tables.
    assert!(progress.effort.unwrap().origin_queries >= 2);
    let commands = commands(&scene);
    for asked in [
        "cmdstat_exists",
        "cmdstat_pttl",
        "cmdstat_ttl",
        "cmdstat_get",
    ] {
        assert!(!commands.contains(asked), "{asked}: {commands}");
    }
    assert_eq!(scene.cache.key_count().unwrap(), keys_before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_job_fails_it_before_anything_is_loaded() {
    const ITEMS: &str = "SELECT * FROM items WHERE id IN (:keys)";
    let scene = Scene::start(1, QPS);
    shop::fill(&scene);
    let keys_before = scene.cache.key_count().unwrap();
    // Read to its end this takes minutes: the fault of the loader is found meanwhile.
    let slow = sql("SELECT item_id AS key, pg_sleep(0.05)::text AS z FROM views");
    let fail = v1::OnBadLine::Fail;
    for (spec, said) in [
        (
            with_loader("SELECT * FROM nowhere WHERE id IN (:keys)", "item:{key}"),
            "cannot prepare the query of loader \"item\": error returned from database: relation \"nowhere\" does not exist",
        ),
        (
            with_loader("SELECT * FROM items", "item:{key}"),
            "the query has no placeholder: write IN (:keys)",
        ),
        (
            with_loader("SELECT name FROM items WHERE id IN (:keys)", "item:{key}"),
            "the rows have no column \"id\" to say which key they answer, but name: select it, or set key-column",
        ),
    ] {
        let job = run(&scene, with_source(spec, slow.clone(), fail)).await;
        assert_eq!(job.state(), JobState::Failed);
        assert!(job.reason.contains(said), "{}", job.reason);
        assert_eq!(job.progress.unwrap().planned, 0);
    }
    wait_for("the reading to end", PATIENCE, || {
        let running = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%pg_sleep%' AND application_name = 'stoke'";
        let running = scene.postgres.psql("postgres", running)?;
        anyhow::ensure!(running.trim() == "0", "{running}");
        Ok(())
    })
    .unwrap();

    let unknown = run(&scene, with_loader(ITEMS, "item:{region}:{key}")).await;
    assert_eq!(unknown.state(), JobState::Failed);
    let said = "the key template of loader item names the column \"region\", which is not among key, priority";
    assert!(unknown.reason.contains(said), "{}", unknown.reason);

    let empty = sql("SELECT item_id AS key FROM views WHERE false");
    let empty = run(&scene, with_source(shop::job(), empty, fail)).await;
    assert_eq!(empty.state(), JobState::Failed);
    let said = "the key sources gave no keys, so there is nothing to warm: key source 0 (a query of shop) gave 0 ";
    assert!(empty.reason.starts_with(said), "{}", empty.reason);

    assert_eq!(
        executed(&scene, "FROM items") + executed(&scene, "FROM nowhere"),
        0
    );
    assert_eq!(scene.cache.key_count().unwrap(), keys_before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_lines_of_a_key_file_fail_the_job_or_are_left_out_and_counted() {
    let scene = Scene::start(1, QPS);
    shop::fill(&scene);
    let folder = ServerDir::new("keys").unwrap();
    let path = folder.path().join("keys.csv");
    let mut content = b"key,priority\r\n1,10\r\n2,-3\r\nM\xfcller,1\r\n4\r\n".to_vec();
    content.extend_from_slice(&vec![b'x'; (1 << 20) + 1]);
    content.extend_from_slice(b"\r\n5,NaN\r\n6,7\r\n1,3\r\n,1\r\n8,2");
    std::fs::write(&path, content).unwrap();
    let file = From::File(v1::FileSource {
        path: path.to_str().unwrap().to_owned(),
        format: v1::FileFormat::Unspecified.into(),
    });
    let spec = |on_bad_line| with_source(shop::job(), file.clone(), on_bad_line);

    let failed = run(&scene, spec(v1::OnBadLine::Fail)).await;
    assert_eq!(failed.state(), JobState::Failed);
    for said in [
        path.to_str().unwrap(),
        "line 3: the priority \"-3\" is not a number from 0 to 1000000000000: \"2,-3\"",
        "correct it, or let bad lines be skipped (on_bad_line, --on-bad-line skip)",
    ] {
        assert!(failed.reason.contains(said), "{said}: {}", failed.reason);
    }

    let done = run(&scene, spec(v1::OnBadLine::Skip)).await;
    assert_eq!(done.state(), JobState::Succeeded, "{}", done.reason);
    let progress = done.progress.unwrap();
    assert_eq!(
        (progress.planned, progress.outcomes.unwrap().warmed),
        (3, 3)
    );
    let [source] = &done.sources[..] else {
        panic!("{:?}", done.sources)
    };
    assert_eq!((source.entries, source.bad_lines), (4, 6));
    assert_eq!(
        source.bad_line_examples,
        [
            "line 3: the priority \"-3\" is not a number from 0 to 1000000000000: \"2,-3\"",
            "line 4: it is not UTF-8: \"M\u{fffd}ller,1\"",
            "line 5: it has 1 field where the header has 2: \"4\"",
        ]
    );
    let found = shop::Nodes::connect(&scene).find([1, 6, 8].into_iter());
    assert_eq!(found.len(), 3);

    // With the database out of reach, preparing waits for it; what was read is not read again.
    scene.postgres.kill().unwrap();
    let waiting = scene.create(spec(v1::OnBadLine::Skip)).await;
    wait_for("a worker to try again", PATIENCE, || {
        let logs = scene.workers.iter().map(|worker| worker.log());
        let logs: String = logs.collect::<anyhow::Result<_>>()?;
        anyhow::ensure!(logs.contains("cannot prepare a loader's query, trying again"));
        Ok(())
    })
    .unwrap();
    scene.postgres.restart().unwrap();
    let done = watch_until(&mut scene.jobs().await, &waiting.name, is_over).await;
    assert_eq!(done.state(), JobState::Succeeded, "{}", done.reason);
    assert_eq!(done.progress.unwrap().outcomes.unwrap().present, 3);
}
