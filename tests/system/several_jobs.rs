//! Several jobs at once: on one origin by priority, on another beside it.

use stoke_harness::{Postgres, Redis, peak_in_a_second};
use stoke_proto::v1::budget_service_client::BudgetServiceClient;
use stoke_proto::v1::{self, JobState};

use crate::scene::{Scene, assert_w1, done, is_over, watch_until};
use crate::shop;

const QPS: u32 = 5;

/// The shop's job over some of its items, which none of the others has.
fn part(first: u64, last: u64, priority: u32) -> v1::JobSpec {
    let mut spec = shop::lasting_job();
    spec.priority = priority;
    let Some(v1::job_spec::Work::Batch(batch)) = &mut spec.work else {
        panic!("a batch");
    };
    batch.sources[0].from = Some(v1::key_source::From::Sql(v1::SqlSource {
        origin: "shop".into(),
        query: format!(
            "SELECT item_id AS key, count AS priority FROM views WHERE item_id BETWEEN {first} AND {last}"
        ),
    }));
    spec
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_later_job_of_higher_priority_overtakes_within_the_budget_and_one_elsewhere_is_not_slowed()
 {
    let (other, redis) = (Postgres::start().unwrap(), Redis::start().unwrap());
    let fill = "CREATE TABLE things (id bigint PRIMARY KEY); INSERT INTO things SELECT generate_series(1, 40000)";
    other.psql("postgres", fill).unwrap();
    let beside = (other.url("postgres"), redis.url());
    let scene = Scene::start_beside(QPS, &beside.0, &beside.1);
    shop::fill(&scene);
    let mut jobs = scene.jobs().await;

    let low = scene.create(part(1, 26_000, 10)).await;
    let elsewhere = scene.create(things()).await;
    for job in [&low, &elsewhere] {
        watch_until(&mut jobs, &job.name, |job| done(job) > 1_000).await;
    }
    let high = scene.create(part(26_001, 50_000, 20)).await;
    // While it has work for all workers. (What each of them may send follows demand, not priority.)
    let begun = watch_until(&mut jobs, &high.name, |job| done(job) > 2_000).await;
    let (low_before, elsewhere_before) = (get(&scene, &low).await, get(&scene, &elsewhere).await);
    let far = watch_until(&mut jobs, &high.name, |job| done(job) > 14_000).await;
    let (low_then, elsewhere_then) = (get(&scene, &low).await, get(&scene, &elsewhere).await);
    let of_high = queries(&far) - queries(&begun);
    // Taking turns, it would have as many. (Counts are told once a second: some of these are older.)
    let of_low = queries(&low_then) - queries(&low_before);
    assert!(of_low * 2 <= of_high, "{of_low} queries beside {of_high}");
    // It has a budget of the same rate, for itself.
    let of_elsewhere = queries(&elsewhere_then) - queries(&elsewhere_before);
    assert!(
        is_over(&elsewhere_then) || of_elsewhere * 2 >= of_high,
        "{of_elsewhere} queries elsewhere, {of_high} here"
    );

    let high = watch_until(&mut jobs, &high.name, is_over).await;
    assert_eq!(high.state(), JobState::Succeeded, "{}", high.reason);
    assert_w1(&high);
    let low_then = get(&scene, &low).await;
    assert!(!is_over(&low_then), "the later one overtook it");

    for (job, planned) in [(&low, 26_000), (&elsewhere, 40_000)] {
        let job = watch_until(&mut jobs, &job.name, is_over).await;
        assert_eq!(job.state(), JobState::Succeeded, "{}", job.reason);
        assert_eq!(job.progress.unwrap().planned, planned);
        assert_w1(&job);
    }
    assert_eq!(redis.cli(&["DBSIZE"]).unwrap(), "40000");
    for server in [&scene.postgres, &other] {
        let peak = peak_in_a_second(&server.statements("stoke").unwrap());
        assert!(peak <= QPS, "{peak} in a second");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_job_is_planned_beside_another_though_only_one_query_may_be_in_flight() {
    let scene = Scene::start(1, QPS);
    shop::fill(&scene);
    let mut budgets = BudgetServiceClient::connect(scene.leader()).await.unwrap();
    let one_in_flight = v1::SetBudgetRequest {
        resource: "origin/shop".into(),
        target: Some(v1::Allowance {
            qps_milli: u64::from(QPS) * 1000,
            burst: 1,
            in_flight: 1,
            rows: None,
        }),
        ..v1::SetBudgetRequest::default()
    };
    budgets.set_budget(one_in_flight).await.unwrap();
    let mut jobs = scene.jobs().await;
    let first = scene.create(part(1, 40_000, 0)).await;
    watch_until(&mut jobs, &first.name, |job| done(job) > 1_000).await;
    let second = scene.create(part(40_001, 42_000, 500)).await;
    let second = watch_until(&mut jobs, &second.name, is_over).await;
    assert_eq!(second.state(), JobState::Succeeded, "{}", second.reason);
    assert!(
        !is_over(&get(&scene, &first).await),
        "it did not wait for the first"
    );
}

async fn get(scene: &Scene, job: &v1::Job) -> v1::Job {
    let name = job.name.clone();
    let got = scene.jobs().await.get_job(v1::GetJobRequest { name }).await;
    got.unwrap().into_inner().job.unwrap()
}

fn queries(job: &v1::Job) -> u64 {
    job.progress.unwrap().effort.unwrap().origin_queries
}

/// The job that has an origin and a cache for itself.
fn things() -> v1::JobSpec {
    let from = v1::key_source::From::Sql(v1::SqlSource {
        origin: "beside".into(),
        query: "SELECT id AS key FROM things".into(),
    });
    let batch = v1::BatchWork {
        sources: vec![v1::KeySource {
            from: Some(from),
            ..v1::KeySource::default()
        }],
        loaders: vec![v1::Loader {
            name: "thing".into(),
            ..v1::Loader::default()
        }],
        cache: "beside".into(),
        ..v1::BatchWork::default()
    };
    v1::JobSpec {
        work: Some(v1::job_spec::Work::Batch(batch)),
        ..v1::JobSpec::default()
    }
}
