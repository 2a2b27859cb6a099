//! etcd restored from a backup in mid-run: its revision goes back, so it knows nothing of what was granted since.

use stoke_harness::{Etcd, ServerDir, peak_in_a_second};
use stoke_proto::v1::JobState;

use crate::scene::{PATIENCE, Scene, assert_w1, done, is_over, watch_until};
use crate::shop;

const QPS: u32 = 5;
/// Less than the quarantine of 5.35 s by how much later than another a worker may see that etcd was restored.
const STANDSTILL_MS: u64 = 3_000;

/// Restores etcd, with another cluster id where `token` is not etcd's own default.
async fn all_stop_say_why_and_go_on_within_the_budget(token: &str, why: &str) {
    let scene = Scene::start_on(Etcd::start().unwrap(), QPS);
    shop::fill(&scene);
    let job = scene.create(shop::lasting_job()).await;
    let mut jobs = scene.jobs().await;
    watch_until(&mut jobs, &job.name, |job| done(job) > 1_000).await;
    let dir = ServerDir::new("backup").unwrap();
    let backup = dir.path().join("backup.db");
    scene.etcd.save_to(&backup).unwrap();
    watch_until(&mut jobs, &job.name, |job| done(job) > 8_000).await;

    scene.etcd.restore_from(&backup, token).unwrap();
    let (_, coordinator) = &scene.coordinators[0];
    let said = "the store was restored from a backup";
    for process in scene.workers.iter().chain([coordinator]) {
        process.wait_for_output(said, PATIENCE).unwrap();
        let log = process.log().unwrap();
        let line = log.lines().find(|line| line.contains(said)).unwrap();
        assert!(line.contains(why) && line.contains("quarantine="), "{line}");
    }
    let mut jobs = scene.jobs().await;
    let told = |job: &stoke_proto::v1::Job| {
        let mut troubles = job.troubles.iter();
        troubles.any(|trouble| trouble.what.contains("restored from a backup"))
    };
    let troubled = watch_until(&mut jobs, &job.name, told).await;
    assert!(
        !is_over(&troubled),
        "it is told while it lasts: {troubled:?}"
    );

    let job = watch_until(&mut jobs, &job.name, is_over).await;
    assert_eq!(job.state(), JobState::Succeeded, "{}", job.reason);
    assert!(job.troubles.is_empty(), "{:?}", job.troubles);
    assert_w1(&job);
    shop::assert_cache_is_as_seeded(&scene);
    let statements = scene.postgres.statements("stoke").unwrap();
    let peak = peak_in_a_second(&statements);
    assert!(peak <= QPS, "{peak} statements in one second");
    let times: Vec<u64> = statements.iter().map(|statement| statement.at_ms).collect();
    let longest = times.windows(2).map(|two| two[1].saturating_sub(two[0]));
    assert!(
        longest.max() >= Some(STANDSTILL_MS),
        "all queries stop: {times:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn when_the_revision_went_back_all_stop_say_why_and_go_on_within_the_budget() {
    all_stop_say_why_and_go_on_within_the_budget("etcd-cluster", "its revision was").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn when_the_cluster_has_another_id_all_stop_say_why_and_go_on_within_the_budget() {
    all_stop_say_why_and_go_on_within_the_budget("another", "its cluster id was").await;
}
