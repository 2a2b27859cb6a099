//! Plans that memory has no room for: what is spilled comes to the same plan, is gone with its attempt, and where it cannot
//! be spilled planning is tried again.

use std::path::Path;

use stoke_coordinator::Settings;
use stoke_coordinator::ranking::RankingSettings;
use stoke_proto::v1::JobState;
use stoke_proto::v1::send_source_request::Part;
use tonic::Code;

use super::cluster::{Cluster, Served, batch, named, settings, spec, until};
use super::sources::{failed, read_to_its_end, send, source, until_given};

/// How much memory the coordinators of these tests have for ranking: half of it is a few batches'.
const MEMORY_BYTES: usize = 400_000;
const ROWS_PER_BATCH: usize = 1000;

pub(crate) fn with_little_memory(folder: &Path) -> Settings {
    let ranking = RankingSettings {
        memory_bytes: MEMORY_BYTES,
        spill_dir: folder.to_owned(),
    };
    Settings {
        ranking,
        ..settings("c1")
    }
}

/// All that a source gives which has so many batches.
fn parts(job: &str, n: u32, attempt: u64, batches: usize) -> Vec<Part> {
    let rows = |n: usize| Part::Entries(batch(n * ROWS_PER_BATCH..(n + 1) * ROWS_PER_BATCH));
    let header = std::iter::once(source(job, n, attempt));
    let parts = header.chain((0..batches).map(rows));
    parts.chain([read_to_its_end()]).collect()
}

/// How many files without a name this process has open in a folder.
fn open_files(folder: &Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let targets = open.filter_map(|file| std::fs::read_link(file.path()).ok());
    targets.filter(|target| target.starts_with(folder)).count()
}

async fn planned(leader: &Served, job: &str) -> u64 {
    let running = leader.until_it_is(job, JobState::Running).await;
    running.progress.unwrap().planned
}

#[tokio::test]
async fn what_is_spilled_is_gone_with_its_attempt_and_the_next_one_plans_anew() {
    let folder = tempfile::tempdir().unwrap();
    let (cluster, leader) = Cluster::led_with(with_little_memory(folder.path())).await;
    let job = leader
        .create(spec(vec![named(), named()]))
        .await
        .unwrap()
        .name;
    until_given(&cluster, &leader, &job, 0, 1).await;
    send(&leader, parts(&job, 0, 1, 20)).await.unwrap();
    assert_eq!(open_files(folder.path()), 1, "it was spilled");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let lost = vec![source(&job, 1, 1), failed("connection lost", true)];
    send(&leader, lost).await.unwrap();
    until_given(&cluster, &leader, &job, 0, 2).await;
    until("what was spilled is gone", async || {
        (open_files(folder.path()) == 0).then_some(())
    })
    .await;
    send(&leader, parts(&job, 0, 2, 20)).await.unwrap();
    send(&leader, parts(&job, 1, 2, 30)).await.unwrap();
    assert_eq!(planned(&leader, &job).await, 30_000);
    until("what was spilled is gone", async || {
        (open_files(folder.path()) == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_source_that_breaks_off_leaves_nothing_spilled() {
    let folder = tempfile::tempdir().unwrap();
    let (cluster, leader) = Cluster::led_with(with_little_memory(folder.path())).await;
    let job = leader.create(spec(vec![named()])).await.unwrap().name;
    until_given(&cluster, &leader, &job, 0, 1).await;
    let mut cut_off = parts(&job, 0, 1, 20);
    cut_off.pop();
    let refused = send(&leader, cut_off).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    until("what was spilled is gone", async || {
        (open_files(folder.path()) == 0).then_some(())
    })
    .await;
    // It counts nowhere: the same source is sent again, under the same attempt.
    send(&leader, parts(&job, 0, 1, 25)).await.unwrap();
    assert_eq!(planned(&leader, &job).await, 25_000);
}

#[tokio::test]
async fn where_nothing_can_be_spilled_planning_is_tried_again_until_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let spill = folder.path().join("spill");
    let (cluster, leader) = Cluster::led_with(with_little_memory(&spill)).await;
    let job = leader.create(spec(vec![named()])).await.unwrap().name;
    until_given(&cluster, &leader, &job, 0, 1).await;
    std::fs::remove_dir(&spill).unwrap();
    let refused = send(&leader, parts(&job, 0, 1, 20)).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    // The whole path, and what to do.
    let told = refused.message();
    assert!(told.contains(&*spill.to_string_lossy()), "{refused}");
    assert!(told.contains("make it writable, or name another"));
    until_given(&cluster, &leader, &job, 0, 2).await;
    std::fs::create_dir(&spill).unwrap();
    send(&leader, parts(&job, 0, 2, 20)).await.unwrap();
    assert_eq!(planned(&leader, &job).await, 20_000);
}

#[tokio::test]
async fn a_coordinator_whose_spill_dir_cannot_be_used_does_not_start() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let cluster = Cluster::new();
    let refused = cluster.start(with_little_memory(file.path())).await;
    let error = refused.map(drop).unwrap_err().to_string();
    assert!(
        error.contains("make it writable, or name another"),
        "{error}"
    );
}
