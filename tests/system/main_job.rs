//! The main job, end to end.

use std::collections::BTreeSet;

use stoke_harness::peak_in_a_second;
use stoke_proto::v1::{self, JobState};

use crate::scene::{Scene, assert_w1, done, watch_until};
use crate::shop;

const QPS: u32 = 10;
/// Of a plan for three workers: 256 for each, rounded up to a power of two.
const PARTITIONS: usize = 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_key_gets_what_was_seeded_for_it_and_no_second_sees_more_queries_than_the_budget() {
    let scene = Scene::start(1, QPS);
    shop::fill(&scene);
    let job = scene.create(shop::lasting_job()).await;
    let mut jobs = scene.jobs().await;

    watch_until(&mut jobs, &job.name, |job| done(job) > 5_000).await;
    assert_partitions_are_balanced(&scene, &job.name);

    let job = watch_until(&mut jobs, &job.name, crate::scene::is_over).await;
    assert_eq!(job.state(), JobState::Succeeded, "{}", job.reason);
    assert_w1(&job);
    let progress = job.progress.unwrap();
    let expected = shop::outcomes();
    assert_eq!(
        (progress.planned, progress.outcomes),
        (shop::PLANNED, Some(expected))
    );
    shop::assert_cache_is_as_seeded(&scene);
    assert_eq!(
        failed_ids(&mut jobs, &job.name).await,
        shop::ids().filter(|id| shop::is_poison(*id)).collect()
    );

    let statements = scene.postgres.statements("stoke").unwrap();
    let peak = peak_in_a_second(&statements);
    assert!(peak <= QPS, "{peak} statements in one second");
    // What Stoke says it sent is never less than what arrived.
    assert!(progress.effort.unwrap().origin_queries >= statements.len() as u64);
    // Present keys cost the origin nothing: full batches of the rest, and what setting up takes.
    let missing = shop::PLANNED - expected.present;
    let least = missing.div_ceil(500);
    let loads = statements
        .iter()
        .filter(|statement| statement.text.contains("items"))
        .count() as u64;
    assert!(
        (least..=least + 6).contains(&loads),
        "{loads} loads, {least} would do"
    );
}

/// The ring's promise: no worker owns more than 1.05 of its fair share.
fn assert_partitions_are_balanced(scene: &Scene, job: &str) {
    let assignments = scene.records(&format!("assign/{job}/"));
    let owned: Vec<BTreeSet<&String>> = assignments
        .iter()
        .map(|(_, record)| record["partitions"].as_object().unwrap().keys().collect())
        .collect();
    let all: BTreeSet<&&String> = owned.iter().flatten().collect();
    let total: usize = owned.iter().map(BTreeSet::len).sum();
    assert_eq!(
        (owned.len(), all.len(), total),
        (3, PARTITIONS, PARTITIONS),
        "each partition has one owner"
    );
    let most = (PARTITIONS as f64 / 3.0 * 1.05).ceil();
    assert!(
        owned.iter().all(|owned| owned.len() as f64 <= most),
        "{:?}",
        owned.iter().map(BTreeSet::len).collect::<Vec<_>>()
    );
}

async fn failed_ids(
    jobs: &mut v1::job_service_client::JobServiceClient<tonic::transport::Channel>,
    name: &str,
) -> BTreeSet<u64> {
    let request = v1::ListFailuresRequest { name: name.into() };
    let mut answer = jobs.list_failures(request).await.unwrap().into_inner();
    let mut ids = BTreeSet::new();
    while let Some(message) = answer.message().await.unwrap() {
        for failure in message.failures {
            assert!(failure.reason.contains("weight"), "{}", failure.reason);
            let key = String::from_utf8(failure.key).unwrap();
            assert!(
                ids.insert(key.strip_prefix("item:").unwrap().parse().unwrap()),
                "{key} is listed twice"
            );
        }
    }
    ids
}
