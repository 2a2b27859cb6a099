//! Workers that come, go and come back in mid-run.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use stoke_harness::{Program, wait_for};
use stoke_proto::v1::{self, JobState};
use stoke_store::etcd::{EtcdConfig, EtcdStore};
use stoke_store::{Change, Keys, Revision, Store, WatchEvent};

use crate::scene::{PATIENCE, Scene, assert_w1, done, is_over, watch_until};
use crate::shop;

const QPS: u32 = 10;

/// How often each node was told to SET something, together.
fn sets(scene: &Scene) -> u64 {
    let of = |port: u16| {
        let stats = scene.cache.cli(port, &["INFO", "commandstats"]).unwrap();
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_set:calls="));
        let calls = line.and_then(|line| line.split(',').next());
        calls.map_or(0, |calls| calls.parse::<u64>().unwrap())
    };
    scene.cache.ports().into_iter().map(of).sum()
}

/// Every entry was done exactly once: whatever had been done twice would have been found present, and what was written
/// would have been written more often.
fn assert_nothing_was_repeated(scene: &Scene, job: &v1::Job, sets_before: u64) {
    assert_each_was_done_once(scene, job, sets_before, shop::outcomes());
}

fn assert_each_was_done_once(
    scene: &Scene,
    job: &v1::Job,
    sets_before: u64,
    expected: v1::Outcomes,
) {
    assert_eq!(job.state(), JobState::Succeeded, "{}", job.reason);
    assert_w1(job);
    let progress = job.progress.unwrap();
    assert_eq!(progress.outcomes, Some(expected));
    assert_eq!(sets(scene) - sets_before, expected.warmed, "writes");
    // Each row was loaded once, those of entries included that could not be encoded; planning read each key once.
    let rows = progress.planned + expected.warmed + expected.failed;
    assert_eq!(progress.effort.unwrap().origin_rows, rows, "rows");
    shop::assert_cache_is_as_seeded(scene);
}

/// Who owns partitions of the job.
fn owners(scene: &Scene, job: &str) -> BTreeSet<String> {
    let assignments = scene.records(&format!("assign/{job}/"));
    let owner = |(key, _): &(String, serde_json::Value)| key.rsplit('/').next().unwrap().to_owned();
    assignments.iter().map(owner).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_joins_in_mid_run_takes_its_share_over_and_no_entry_is_done_twice() {
    let mut scene = Scene::start(1, QPS);
    shop::fill(&scene);
    let before = sets(&scene);
    let job = scene.create(shop::lasting_job()).await;
    let mut jobs = scene.jobs().await;
    watch_until(&mut jobs, &job.name, |job| done(job) > 5_000).await;
    scene.add_worker(4);
    scene.wait_for_members(4);
    let fourth = scene.incarnation("w4");
    wait_for(
        "the fourth to own partitions, and nobody to be asked for more",
        PATIENCE,
        || {
            let assignments = scene.records(&format!("assign/{}/", job.name));
            let asked = assignments
                .iter()
                .filter(|(_, record)| record.get("leaving").is_some());
            let settled = owners(&scene, &job.name).contains(&fourth) && asked.count() == 0;
            anyhow::ensure!(settled, "not yet");
            Ok(())
        },
    )
    .unwrap();
    let now = jobs
        .get_job(v1::GetJobRequest {
            name: job.name.clone(),
        })
        .await
        .unwrap();
    let now = now.into_inner().job.unwrap();
    assert!(done(&now) < shop::PLANNED / 2, "it joined in mid-run");
    let job = watch_until(&mut jobs, &job.name, is_over).await;
    assert_nothing_was_repeated(&scene, &job, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_worker_hands_over_all_it_has_and_no_entry_is_done_twice() {
    let scene = Scene::start(1, QPS);
    shop::fill(&scene);
    let before = sets(&scene);
    let job = scene.create(shop::lasting_job()).await;
    let mut jobs = scene.jobs().await;
    watch_until(&mut jobs, &job.name, |job| done(job) > 5_000).await;
    let drained = scene.incarnation("w2");
    scene.workers[1].terminate().unwrap();
    let ended = scene.workers[1].wait(PATIENCE).unwrap();
    assert!(ended.success(), "{}", scene.workers[1].log().unwrap());
    // Nothing of it is left that others would have to wait for.
    for prefix in ["member/", "ack/", "cap/"] {
        let left = scene.records(prefix);
        let mut left = left.iter().filter(|(key, _)| key.ends_with(&drained));
        assert_eq!(left.next(), None);
    }
    wait_for("the others to have its partitions", PATIENCE, || {
        let owners = owners(&scene, &job.name);
        anyhow::ensure!(
            owners.len() == 2 && !owners.contains(&drained),
            "{owners:?}"
        );
        Ok(())
    })
    .unwrap();
    let job = watch_until(&mut jobs, &job.name, is_over).await;
    assert_nothing_was_repeated(&scene, &job, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_drained_while_no_coordinator_is_there_leaves_its_work_to_whoever_comes() {
    let scene = Scene::start(2, QPS);
    shop::fill(&scene);
    let before = sets(&scene);
    // Only coordinators can list what fails: so nothing does.
    let job = scene.create(shop::job_without_poison()).await;
    let mut jobs = scene.jobs().await;
    watch_until(&mut jobs, &job.name, |job| done(job) > 5_000).await;
    let drained = scene.incarnation("w2");
    let coordinators = || scene.coordinators.iter().map(|(_, program)| program);
    coordinators().for_each(|coordinator| coordinator.kill9().unwrap());
    scene.workers[1].terminate().unwrap();
    let ended = scene.workers[1].wait(PATIENCE).unwrap();
    assert!(ended.success(), "{}", scene.workers[1].log().unwrap());
    let left = scene.records("ckpt/");
    let mut left = left.iter().filter(|(key, _)| key.ends_with(&drained));
    let (_, last) = left.next().expect("its last checkpoint");
    assert_eq!(last["stopped"], true, "{last}");
    coordinators().for_each(|coordinator| coordinator.restart().unwrap());
    let mut jobs = scene.jobs().await;
    let job = watch_until(&mut jobs, &job.name, is_over).await;
    assert!(!owners(&scene, &job.name).contains(&drained));
    let expected = v1::Outcomes {
        failed: 0,
        ..shop::outcomes()
    };
    assert_each_was_done_once(&scene, &job, before, expected);
}

/// The code that a worker ends with that was told to stop.
fn code(worker: &Program) -> Option<i32> {
    worker.wait(PATIENCE).unwrap().code()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_cannot_hand_over_says_so_and_one_that_is_told_twice_leaves_at_once() {
    let scene = Scene::start(1, QPS);
    shop::fill(&scene);
    let job = scene.create(shop::lasting_job()).await;
    let mut jobs = scene.jobs().await;
    watch_until(&mut jobs, &job.name, |job| done(job) > 5_000).await;
    scene.etcd.stop().unwrap();
    for worker in &scene.workers[..2] {
        worker.terminate().unwrap();
        worker.wait_for_output("stopping", PATIENCE).unwrap();
    }
    scene.workers[1].interrupt().unwrap();
    assert_eq!(code(&scene.workers[1]), Some(130));
    assert_eq!(code(&scene.workers[0]), Some(4));
    let said = scene.workers[0].log().unwrap();
    assert!(
        said.contains(&format!("job {} has no last checkpoint", job.name))
            && said.contains("the grants could not be given back"),
        "{said}"
    );
    scene.etcd.cont().unwrap();
    let job = watch_until(&mut jobs, &job.name, is_over).await;
    assert_eq!(job.state(), JobState::Succeeded, "{}", job.reason);
    assert_w1(&job);
    shop::assert_cache_is_as_seeded(&scene);
}

/// Which records are there, as etcd's own history has it, and which were put without what permits them.
#[derive(Default)]
struct Replay {
    there: BTreeSet<String>,
    unfounded: Vec<String>,
}

impl Replay {
    fn note(&mut self, change: Change) {
        let put = match change {
            Change::Put(put) => put,
            Change::Delete { key, .. } => {
                self.there.remove(&key);
                return;
            }
        };
        let is_there = |prefix: &str, rest: &str| self.there.contains(&format!("{prefix}/{rest}"));
        let record: serde_json::Value = serde_json::from_slice(&put.value).unwrap();
        let is_founded = match put.key.split_once('/') {
            Some(("ckpt", rest)) => is_there("assign", rest),
            // Places of statements that still run may be held without a cap.
            Some(("ack", rest)) => record["share"]["rate_milli"] == 0 || is_there("cap", rest),
            _ => true,
        };
        if !is_founded {
            self.unfounded.push(put.key.clone());
        }
        self.there.insert(put.key);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_has_in_hand_that_comes_back_beside_its_successor_of_the_same_name_counts_nowhere()
 {
    // So slow that the successor is there long before the end.
    let mut scene = Scene::start(1, QPS / 2);
    shop::fill(&scene);
    let config = EtcdConfig::new(vec![scene.etcd.endpoint()]);
    let store: Arc<dyn Store> = Arc::new(EtcdStore::connect(config).await.unwrap());
    let mut history = store
        .watch(Keys::Prefix(String::new()), Revision(1))
        .await
        .unwrap();
    let job = scene.create(shop::lasting_job()).await;
    let mut jobs = scene.jobs().await;
    watch_until(&mut jobs, &job.name, |job| done(job) > 5_000).await;
    let old = scene.incarnation("w1");
    scene.workers[0].stop().unwrap();
    scene.wait_for_members(2);
    scene.add_worker(1);
    scene.wait_for_members(3);
    let new = scene.incarnation("w1");
    assert_ne!(old, new);
    // Its partitions are others', and its grants are certainly over.
    wait_for("nothing to be left of the old one", PATIENCE, || {
        let left = ["assign/", "ckpt/", "cap/", "ack/"].map(|prefix| scene.records(prefix));
        let left = left
            .iter()
            .flatten()
            .filter(|(key, _)| key.ends_with(&old))
            .count();
        anyhow::ensure!(
            left == 0 && owners(&scene, &job.name).contains(&new),
            "{left} left"
        );
        Ok(())
    })
    .unwrap();
    scene.workers[0].cont().unwrap();
    // It finds itself again as a member like any other.
    scene.wait_for_members(4);
    let job = watch_until(&mut jobs, &job.name, is_over).await;
    assert_eq!(job.state(), JobState::Succeeded, "{}", job.reason);
    assert_w1(&job);
    shop::assert_cache_is_as_seeded(&scene);

    let (mut replay, mut seen) = (Replay::default(), 0);
    while let Ok(Some(WatchEvent::Changes(changes))) =
        tokio::time::timeout(Duration::from_secs(5), history.next()).await
    {
        seen += changes.len();
        changes.into_iter().for_each(|change| replay.note(change));
    }
    assert!(seen > 100, "{seen} changes");
    assert_eq!(replay.unfounded, Vec::<String>::new());
}
