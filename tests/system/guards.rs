//! Guards on real servers: a database that becomes slow, one that its probe says is in trouble, and what is asked for a
//! while.

use stoke_proto::v1::budget_service_client::BudgetServiceClient;
use stoke_proto::v1::{self, JobState};
use tonic::transport::Channel;

use crate::scene::{PATIENCE, Scene, assert_w1, done, is_over, watch_until};
use crate::shop;

const QPS: u32 = 20;
const SHOP: &str = "origin/shop";

/// Short times, so that a test need not wait.
const GUARDS: &str = r#"
    [budgets."origin/shop".guards.latency]
    latency = "p99"
    above = "400ms"
    window = "3s"
    for = "1s"
    clear-for = "1s"
    action = "slow"
    [budgets."origin/shop".guards.lag]
    probe = "lag"
    above = 10
    for = "1s"
    clear-for = "1s"
    action = "pause"
"#;
const PROBES: &str = r#"
    [origins.shop.probes.lag]
    query = "SELECT lag FROM trouble"
    interval = "500ms"
"#;

/// The shop's job, a query for every twenty items: enough for minutes. Its queries take as long as the table `trouble`
/// says.
fn long_job() -> v1::JobSpec {
    let mut spec = shop::job();
    let Some(v1::job_spec::Work::Batch(batch)) = &mut spec.work else {
        panic!("a batch");
    };
    let query = "SELECT items.* FROM (SELECT pg_sleep(seconds) FROM trouble OFFSET 0) AS waited, items \
                 WHERE id IN (:keys)";
    batch.loaders[0].sql = Some(v1::SqlLoader {
        origin: "shop".into(),
        query: query.into(),
        key_template: "item:{key}".into(),
        key_column: "id".into(),
        ttl: Some(prost_types::Duration {
            seconds: 3600,
            nanos: 0,
        }),
        batch_keys: 20,
        ..v1::SqlLoader::default()
    });
    spec
}

fn trouble(scene: &Scene, change: &str) {
    let sql = format!("UPDATE trouble SET {change}");
    scene.postgres.psql("postgres", &sql).unwrap();
}

/// Watches the budget until it is as wanted.
async fn budget_until(
    budgets: &mut BudgetServiceClient<Channel>,
    what: &str,
    wanted: impl Fn(&v1::Budget) -> bool,
) -> v1::Budget {
    let request = v1::WatchBudgetRequest {
        resource: SHOP.into(),
    };
    let mut watched = budgets.watch_budget(request).await.unwrap().into_inner();
    let mut last = None;
    let watching = async {
        while let Some(message) = watched.message().await.unwrap() {
            let budget = message.budget.unwrap();
            if wanted(&budget) {
                return budget;
            }
            last = Some(budget);
        }
        panic!("the watch ended");
    };
    let found = tokio::time::timeout(2 * PATIENCE, watching).await;
    found.unwrap_or_else(|_| panic!("waited in vain until {what}: {last:?}"))
}

fn target(budget: &v1::Budget) -> u64 {
    budget.target.unwrap().qps_milli
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn guards_slow_down_before_a_slow_database_pause_for_a_probe_and_let_go_again() {
    let scene = Scene::start_configured(QPS, GUARDS, PROBES);
    shop::fill(&scene);
    let table = "CREATE TABLE trouble (seconds float8, lag int); INSERT INTO trouble VALUES (0, 0)";
    scene.postgres.psql("postgres", table).unwrap();
    let mut budgets = BudgetServiceClient::connect(scene.leader()).await.unwrap();
    let job = scene.create(long_job()).await;
    let mut jobs = scene.jobs().await;
    watch_until(&mut jobs, &job.name, |job| done(job) > 500).await;
    let asked = u64::from(QPS) * 1000;
    let well = budget_until(&mut budgets, "nothing is lowered", |_| true).await;
    assert_eq!((target(&well), well.guards.len()), (asked, 2), "{well:?}");

    trouble(&scene, "seconds = 1");
    let slowed = budget_until(&mut budgets, "the target is lowered", |budget| {
        target(budget) < asked
    })
    .await;
    assert_eq!(slowed.asked.unwrap().qps_milli, asked);
    assert!(
        slowed.reasons.iter().any(|reason| reason.contains("p99")),
        "{slowed:?}"
    );
    // Its workers have noticed sooner: each halves its own rate.
    budget_until(&mut budgets, "a worker brakes", |budget| {
        let mut brakes = budget
            .shares
            .iter()
            .filter_map(|share| share.brake_permille);
        brakes.any(|brake| brake < 1000)
    })
    .await;

    trouble(&scene, "seconds = 0");
    let well = budget_until(&mut budgets, "the target is what is asked", |budget| {
        target(budget) == asked
    })
    .await;
    assert_eq!(well.reasons, [""; 0], "{well:?}");

    trouble(&scene, "lag = 50");
    let held = watch_until(&mut jobs, &job.name, |job| !job.holds.is_empty()).await;
    assert_eq!(held.state(), JobState::Paused);
    assert_eq!(held.holds[0].holder, "guard/origin/shop/lag");
    assert!(
        held.holds[0].reason.contains("lag 50, above 10"),
        "{held:?}"
    );
    trouble(&scene, "lag = 0");
    let on = watch_until(&mut jobs, &job.name, |job| job.holds.is_empty()).await;
    assert_eq!(on.state(), JobState::Running);
    let before = done(&on);
    watch_until(&mut jobs, &job.name, |job| done(job) > before).await;

    let abort = v1::AbortJobRequest {
        name: job.name.clone(),
        ..v1::AbortJobRequest::default()
    };
    jobs.abort_job(abort).await.unwrap();
    let job = watch_until(&mut jobs, &job.name, is_over).await;
    assert_eq!(job.state(), JobState::Aborted);
    assert_w1(&job);
    let peak = stoke_harness::peak_in_a_second(&scene.postgres.statements("stoke").unwrap());
    assert!(
        peak <= QPS,
        "{peak} in a second, probes and canaries among them"
    );
}

/// Enough that a coordinator can die and come back before it ends.
const ABORTS_IN_TIME: &str = r#"
    [budgets."origin/shop".guards.failing]
    errors = true
    above = 0.3
    window = "3s"
    for = "1s"
    clear-for = "1s"
    action = "pause"
    abort-after = "25s"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_guard_pauses_while_the_database_is_down_through_a_change_of_leader_and_aborts_in_the_end_where_it_is_told_to()
 {
    let scene = Scene::start_configured(QPS, ABORTS_IN_TIME, "");
    shop::fill(&scene);
    let table = "CREATE TABLE trouble (seconds float8, lag int); INSERT INTO trouble VALUES (0, 0)";
    scene.postgres.psql("postgres", table).unwrap();
    let job = scene.create(long_job()).await;
    let mut jobs = scene.jobs().await;
    watch_until(&mut jobs, &job.name, |job| done(job) > 500).await;

    scene.postgres.kill().unwrap();
    let held = watch_until(&mut jobs, &job.name, |job| !job.holds.is_empty()).await;
    assert_eq!(held.holds[0].holder, "guard/origin/shop/failing");
    // Whoever leads next knows what the guard does.
    let coordinator = &scene.coordinators[0].1;
    coordinator.kill9().unwrap();
    coordinator.restart().unwrap();
    let held = watch_until(&mut jobs, &job.name, |_| true).await;
    assert_eq!(held.holds[0].holder, "guard/origin/shop/failing");
    // No job asks anything now: that it is well again only canaries can tell.
    scene.postgres.restart().unwrap();
    let on = watch_until(&mut jobs, &job.name, |job| job.holds.is_empty()).await;
    assert_eq!(on.state(), JobState::Running, "{}", on.reason);
    let before = done(&on);
    watch_until(&mut jobs, &job.name, |job| done(job) > before).await;

    scene.postgres.kill().unwrap();
    watch_until(&mut jobs, &job.name, |job| !job.holds.is_empty()).await;
    let over = watch_until(&mut jobs, &job.name, is_over).await;
    assert_eq!(over.state(), JobState::Aborted);
    assert!(
        over.reason.contains("guard/origin/shop/failing"),
        "{}",
        over.reason
    );
    assert_w1(&over);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn what_is_asked_for_a_while_ends_by_itself() {
    let scene = Scene::start(1, QPS);
    let mut budgets = BudgetServiceClient::connect(scene.leader()).await.unwrap();
    let asked = u64::from(QPS) * 1000;
    budget_until(&mut budgets, "there is a budget", |budget| {
        target(budget) == asked
    })
    .await;
    let text = std::process::Command::new(env!("CARGO_BIN_EXE_stoke"))
        .args(["budget", "set", SHOP, "--qps", "5/s", "--for", "2s"])
        .args(["--coordinator", &scene.leader(), "--output", "json"])
        .output()
        .unwrap();
    assert!(text.status.success(), "{text:?}");
    let lowered: serde_json::Value = serde_json::from_slice(&text.stdout).unwrap();
    assert_eq!(lowered["asked"]["qps"], 5.0, "{lowered}");
    let back = budget_until(&mut budgets, "what was asked before is back", |budget| {
        target(budget) == asked
    })
    .await;
    assert!(back.lasts.is_none() && back.then.is_none(), "{back:?}");
}
