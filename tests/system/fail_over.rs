//! Processes that die in mid-run.

use stoke_harness::{Program, peak_in_a_second, wait_for};
use stoke_proto::v1::{self, JobState};

use crate::scene::{PATIENCE, Scene, assert_w1, connect, done, is_over, watch_until};
use crate::shop;

const QPS: u32 = 10;

/// Counts are exact although work was repeated: what an earlier attempt wrote is present for the later one.
fn assert_exact(scene: &Scene, job: &v1::Job) {
    assert_eq!(job.state(), JobState::Succeeded, "{}", job.reason);
    assert_w1(job);
    let outcomes = job.progress.unwrap().outcomes.unwrap();
    assert_eq!(outcomes.absent, shop::count(shop::is_absent));
    assert_eq!(outcomes.failed, shop::count(shop::is_poison));
    assert_eq!(
        outcomes.warmed + outcomes.present,
        shop::count(|id| shop::is_warmable(id) || shop::is_present(id)),
        "{outcomes:?}"
    );
    shop::assert_cache_is_as_seeded(scene);
    let peak = peak_in_a_second(&scene.postgres.statements("stoke").unwrap());
    assert!(peak <= QPS, "{peak} statements in one second");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_replaced_and_the_job_ends_with_exact_counts() {
    let scene = Scene::start(2, QPS);
    shop::fill(&scene);
    let job = scene.create(shop::lasting_job()).await;
    let first = scene.leader();
    watch_until(&mut connect(&first).await, &job.name, |job| {
        done(job) > 5_000
    })
    .await;
    scene.coordinator(&first).kill9().unwrap();

    let second = wait_for("another leader", PATIENCE, || {
        let leader = scene.leader();
        anyhow::ensure!(leader != first, "{leader} still");
        Ok(leader)
    })
    .unwrap();
    let job = watch_until(&mut connect(&second).await, &job.name, is_over).await;
    assert_exact(&scene, &job);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_workers_partitions_go_to_the_others_and_the_job_ends_with_exact_counts() {
    let scene = Scene::start(1, QPS);
    shop::fill(&scene);
    let job = scene.create(shop::lasting_job()).await;
    let mut jobs = scene.jobs().await;
    watch_until(&mut jobs, &job.name, |job| done(job) > 5_000).await;
    scene.workers[1].kill9().unwrap();
    let job = watch_until(&mut jobs, &job.name, is_over).await;
    assert_exact(&scene, &job);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_says_where_the_leader_is_and_the_client_follows() {
    let scene = Scene::start(2, QPS);
    scene.wait_for_members(3);
    let leader = scene.leader();
    let (standby, _) = scene
        .coordinators
        .iter()
        .find(|(address, _)| *address != leader)
        .unwrap();
    let request = v1::CreateJobRequest {
        request_id: String::new(),
        spec: Some(shop::job()),
    };
    let refused = connect(standby)
        .await
        .create_job(request)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), tonic::Code::FailedPrecondition);
    assert_eq!(
        refused
            .metadata()
            .get(stoke_proto::LEADER_METADATA)
            .unwrap(),
        leader.as_str()
    );

    // The command line follows.
    shop::fill(&scene);
    let job = scene.create(shop::job()).await;
    let aborted = Program::new(env!("CARGO_BIN_EXE_stoke")).unwrap();
    let args = [
        "abort",
        &job.name,
        "--coordinator",
        standby,
        "--output",
        "json",
    ];
    let aborted = aborted.args(args).start().unwrap();
    assert!(
        aborted.wait(PATIENCE).unwrap().success(),
        "{}",
        aborted.log().unwrap()
    );
    assert!(aborted.stdout().unwrap().contains(&job.name));
    let job = watch_until(&mut connect(standby).await, &job.name, is_over).await;
    assert_eq!(
        job.state(),
        JobState::Aborted,
        "a standby shows how jobs stand"
    );
}
