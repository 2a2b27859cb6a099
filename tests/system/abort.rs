//! Abort and pause: what is told to stop, stops.

use std::time::Duration;

use stoke_harness::Line;
use stoke_proto::v1::budget_service_client::BudgetServiceClient;
use stoke_proto::v1::{self, JobState};

use crate::scene::{Scene, assert_w1, done, is_over, now_ms, watch_until};
use crate::shop;

const QPS: u32 = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b4_an_abort_in_mid_run_stops_queries_within_a_second_and_every_entry_is_accounted_for() {
    let scene = Scene::start(1, QPS);
    shop::fill(&scene);
    let job = scene.create(shop::lasting_job()).await;
    let mut jobs = scene.jobs().await;
    watch_until(&mut jobs, &job.name, |job| done(job) > 5_000).await;

    let request = v1::AbortJobRequest {
        name: job.name.clone(),
        reason: "enough".into(),
    };
    jobs.abort_job(request.clone()).await.unwrap();
    let told = now_ms();
    let job = watch_until(&mut jobs, &job.name, is_over).await;
    assert_eq!(
        (job.state(), job.reason.as_str()),
        (JobState::Aborted, "enough")
    );
    assert_w1(&job);
    let outcomes = job.progress.unwrap().outcomes.unwrap();
    assert!(
        outcomes.warmed > 4_000 && outcomes.cancelled > 10_000,
        "{outcomes:?}"
    );
    // The same once more is no error.
    jobs.abort_job(request).await.unwrap();

    // Long enough that a worker that went on would have been seen.
    tokio::time::sleep(Duration::from_secs(3)).await;
    let statements = scene.postgres.statements("stoke").unwrap();
    let late = statements
        .iter()
        .filter(|statement| statement.at_ms > told + 1000)
        .count();
    assert_eq!(late, 0, "statements more than a second after the abort");
    assert!(statements.iter().any(|statement| statement.at_ms < told));
    let found = shop::Nodes::connect(&scene).find(shop::ids().filter(|id| shop::is_warmable(*id)));
    assert!(
        found.len() as u64 >= outcomes.warmed,
        "each entry counted as warmed is there"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_job_sends_nothing_and_holds_no_other_up_until_its_hold_is_removed_and_then_ends_exactly()
 {
    let scene = Scene::start(1, 40);
    shop::fill(&scene);
    let job = scene.create(shop::lasting_job()).await;
    let mut jobs = scene.jobs().await;
    watch_until(&mut jobs, &job.name, |job| done(job) > 3_000).await;

    let pause = v1::PauseJobRequest {
        name: job.name.clone(),
        reason: "lunch".into(),
        ..Default::default()
    };
    let paused = jobs
        .pause_job(pause)
        .await
        .unwrap()
        .into_inner()
        .job
        .unwrap();
    let told = now_ms();
    assert_eq!(
        (paused.state(), paused.holds[0].holder.as_str()),
        (JobState::Paused, "operator")
    );
    tokio::time::sleep(Duration::from_secs(4)).await;
    let statements = scene.postgres.statements("stoke").unwrap();
    assert_eq!(
        statements
            .iter()
            .filter(|statement| statement.at_ms > told + 1000)
            .count(),
        0
    );

    // It holds no other up: the same keys once more, all of which the other job has to load or finds.
    let other = scene.create(shop::job()).await;
    let other = watch_until(&mut jobs, &other.name, is_over).await;
    assert_eq!(other.state(), JobState::Succeeded, "{}", other.reason);
    assert_w1(&other);

    let resume = v1::ResumeJobRequest {
        name: job.name.clone(),
        holder: String::new(),
    };
    jobs.resume_job(resume).await.unwrap();
    let job = watch_until(&mut jobs, &job.name, is_over).await;
    assert_eq!(job.state(), JobState::Succeeded, "{}", job.reason);
    assert_w1(&job);
    shop::assert_cache_is_as_seeded(&scene);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_paused_while_it_is_planned_asks_nothing_until_it_is_resumed() {
    // So slow that it is not planned before it is paused.
    let scene = Scene::start(1, 2);
    shop::fill(&scene);
    let name = scene.create(shop::lasting_job()).await.name;
    let mut jobs = scene.jobs().await;
    watch_until(&mut jobs, &name, |job| job.state() == JobState::Planning).await;
    let pause = v1::PauseJobRequest {
        name: name.clone(),
        ..Default::default()
    };
    jobs.pause_job(pause).await.unwrap();
    let told = now_ms();
    // What planning asks first is paid for together: several seconds.
    tokio::time::sleep(Duration::from_secs(8)).await;
    let statements = scene.postgres.statements("stoke").unwrap();
    let mut late = statements.iter().filter(|s| s.at_ms > told + 1000);
    assert_eq!(late.next(), None);

    let mut budgets = BudgetServiceClient::connect(scene.leader()).await.unwrap();
    let more = v1::SetBudgetRequest {
        resource: "origin/shop".into(),
        target: Some(v1::Allowance {
            qps_milli: 40_000,
            burst: 40,
            in_flight: 16,
            ..Default::default()
        }),
        ..Default::default()
    };
    budgets.set_budget(more).await.unwrap();
    let resume = v1::ResumeJobRequest {
        name: name.clone(),
        holder: String::new(),
    };
    jobs.resume_job(resume).await.unwrap();
    let job = watch_until(&mut jobs, &name, is_over).await;
    assert_eq!(job.state(), JobState::Succeeded, "{}", job.reason);
    assert_w1(&job);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b4_an_abort_names_the_dead_and_the_stopped_that_it_waits_for_and_until_when_and_ends_without_them()
 {
    let scene = Scene::start(1, QPS);
    shop::fill(&scene);
    let job = scene.create(shop::lasting_job()).await;
    let mut jobs = scene.jobs().await;
    watch_until(&mut jobs, &job.name, |job| done(job) > 5_000).await;
    let (dead, stopped) = (scene.incarnation("w1"), scene.incarnation("w2"));
    scene.workers[0].kill9().unwrap();
    scene.workers[1].stop().unwrap();
    let request = v1::AbortJobRequest {
        name: job.name.clone(),
        reason: "enough".into(),
    };
    jobs.abort_job(request).await.unwrap();
    let awaited = format!("enough; waiting for {dead}, {stopped}, until 20");
    let told = watch_until(&mut jobs, &job.name, |job| {
        is_over(job) || job.reason.starts_with(&awaited)
    })
    .await;
    assert_eq!(told.state(), JobState::Aborting, "{}", told.reason);
    assert!(told.reason.ends_with("Z at most"), "{}", told.reason);
    let job = watch_until(&mut jobs, &job.name, is_over).await;
    assert_eq!(
        (job.state(), job.reason.as_str()),
        (JobState::Aborted, "enough")
    );
    assert_w1(&job);
    // Whoever comes back finds nothing to do.
    let told = now_ms();
    scene.workers[1].cont().unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let statements = scene.postgres.statements("stoke").unwrap();
    let late = statements
        .iter()
        .filter(|statement| statement.at_ms > told + 1000);
    assert_eq!(late.count(), 0);
}

/// What a worker may go on for that is cut off from etcd: the term of its grants, by default, and a moment for what it had sent.
const AT_MOST_MS: u64 = 5_000 + 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b4_an_abort_waits_for_who_is_cut_off_from_etcd_names_it_and_it_queries_no_longer_than_its_grant_lasts()
 {
    let scene = Scene::start_on_a_road(QPS);
    shop::fill(&scene);
    let job = scene.create(shop::lasting_job()).await;
    let mut jobs = scene.jobs().await;
    watch_until(&mut jobs, &job.name, |job| done(job) > 5_000).await;
    let cut = scene.incarnation("w1");
    scene
        .road()
        .set_for(scene.workers[0].pid(), Line::Swallowed);
    let request = v1::AbortJobRequest {
        name: job.name.clone(),
        reason: "enough".into(),
    };
    jobs.abort_job(request).await.unwrap();
    let told = now_ms();
    let awaited = format!("enough; waiting for {cut}, until 20");
    let aborting = watch_until(&mut jobs, &job.name, |job| {
        is_over(job) || job.reason.starts_with(&awaited)
    })
    .await;
    assert_eq!(aborting.state(), JobState::Aborting, "{}", aborting.reason);
    let job = watch_until(&mut jobs, &job.name, is_over).await;
    assert_eq!(
        (job.state(), job.reason.as_str()),
        (JobState::Aborted, "enough")
    );
    assert_w1(&job);
    // It may go on for its term, and does not beyond; nor once it is back.
    scene.road().set_for(scene.workers[0].pid(), Line::Open);
    scene.wait_for_members(3);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let statements = scene.postgres.statements("stoke").unwrap();
    let late = statements
        .iter()
        .filter(|statement| statement.at_ms > told + AT_MOST_MS);
    assert_eq!(late.count(), 0);
    // And it works on like any other.
    let next = scene.create(shop::job()).await;
    let next = watch_until(&mut jobs, &next.name, is_over).await;
    assert_eq!(next.state(), JobState::Succeeded, "{}", next.reason);
    assert_w1(&next);
    shop::assert_cache_is_as_seeded(&scene);
}
