//! A job that takes longer than what it loads first lives.

use stoke_proto::v1::{self, JobState};

use crate::scene::{Scene, assert_w1, is_over, watch_until};

/// Keys in the plan: 40 queries, at 10 a second.
const PLANNED: u64 = 20_000;

fn job(loader: &str, dry_run: bool) -> v1::JobSpec {
    let sql = v1::SqlSource {
        origin: "shop".into(),
        query: "SELECT id AS key FROM items".into(),
    };
    let batch = v1::BatchWork {
        sources: vec![v1::KeySource {
            from: Some(v1::key_source::From::Sql(sql)),
            ..v1::KeySource::default()
        }],
        loaders: vec![v1::Loader {
            name: loader.into(),
            ..v1::Loader::default()
        }],
        cache: "main".into(),
        ..v1::BatchWork::default()
    };
    v1::JobSpec {
        dry_run,
        work: Some(v1::job_spec::Work::Batch(batch)),
        ..v1::JobSpec::default()
    }
}

fn told(job: &v1::Job) -> Option<&str> {
    let mut warnings = job.warnings.iter();
    let of_expiry = warnings.find(|warning| warning.kind == "expiry")?;
    Some(&of_expiry.what)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_says_so_in_its_dry_run_while_it_runs_and_when_it_is_over() {
    let brief = "[loaders.brief]\norigin = \"shop\"\nquery = \"SELECT * FROM items WHERE id IN (:keys)\"\n\
                 key = \"brief:{key}\"\nttl = \"1s\"";
    let scene = Scene::start_configured(10, "", brief);
    let sql = format!(
        "CREATE TABLE items (id bigint PRIMARY KEY);
         INSERT INTO items SELECT generate_series(1, {PLANNED}); ANALYZE;"
    );
    scene.postgres.psql("postgres", &sql).unwrap();
    let mut jobs = scene.jobs().await;

    let dry = scene.create(job("brief", true)).await;
    let dry = watch_until(&mut jobs, &dry.name, is_over).await;
    assert_eq!(dry.state(), JobState::Succeeded, "{}", dry.reason);
    assert_eq!(
        told(&dry).unwrap(),
        "it takes about 4s at the present budgets, and the entries of loader brief live for 900ms (their time to live less its \
         jitter): the first expire before the last are loaded; raise the budget or the time to live, or warm fewer keys"
    );

    let created = scene.create(job("brief", false)).await;
    let running = |job: &v1::Job| job.state() == JobState::Running;
    let begun = watch_until(&mut jobs, &created.name, running).await;
    assert!(told(&begun).unwrap().contains("at the present budgets"));
    let over = watch_until(&mut jobs, &created.name, is_over).await;
    assert_eq!(over.state(), JobState::Succeeded, "{}", over.reason);
    assert_w1(&over);
    assert!(told(&over).unwrap().starts_with("it took "), "{over:?}");
    let (_, coordinator) = &scene.coordinators[0];
    let logged = coordinator.log().unwrap();
    let lines = logged
        .lines()
        .filter(|line| line.contains("a job should be looked at"));
    let of_job = lines.filter(|line| line.contains(&created.name));
    assert_eq!(of_job.count(), 1, "{logged}");

    let hour = scene.create(job("item", false)).await;
    let hour = watch_until(&mut jobs, &hour.name, is_over).await;
    assert_eq!((hour.state(), told(&hour)), (JobState::Succeeded, None));
}
