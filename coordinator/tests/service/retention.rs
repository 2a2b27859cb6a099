//! What nobody needs any more is removed, and nothing else: by itself after a while, or at an operator's word.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use stoke_coordinator::plan_store::PlanStore;
use stoke_coordinator::{Retention, Settings, StartError};
use stoke_core::job::{Life, Phase};
use stoke_core::records::{Assignment, Checkpoint, FailureLog, Job, Past, Request, keys};
use stoke_proto::v1::upload_entries_request::Part;
use stoke_proto::v1::{self, JobState};
use stoke_store::memory::MemoryStore;
use stoke_store::{Compare, Keys, Op, Store, Txn};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::cluster::{
    Cluster, PREPARED_BY_HAND, Served, batch, fault, header, job_name, reason, request_of,
    settings, spec, until, uploaded, warmed,
};
use super::past::done;
use super::spy::Spy;

/// So short that a test sees it end: turns follow each other as fast as they may.
fn impatient(jobs: Option<Duration>) -> Settings {
    let retention = Retention {
        jobs,
        orphans: Duration::from_millis(1),
    };
    Settings {
        retention,
        ..settings("c1")
    }
}

/// A leader whose plans are in a directory.
async fn in_directory(settings: Settings) -> (TempDir, Cluster, Served) {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster {
        store: MemoryStore::new(),
        plans: PlanStore::in_directory(folder.path()).unwrap(),
    };
    cluster.join("w1").await;
    let leader = cluster.start(settings).await.unwrap();
    leader.until_it_leads().await;
    (folder, cluster, leader)
}

/// All files of jobs, below the directory.
fn files(folder: &Path) -> BTreeSet<String> {
    let mut files = BTreeSet::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder_open) = open.pop() {
        // A turn may remove it at this very moment.
        for entry in std::fs::read_dir(folder_open)
            .into_iter()
            .flatten()
            .flatten()
        {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.parent() != Some(folder) {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap();
                files.insert(name.to_owned());
            }
        }
    }
    files
}

fn files_of(folder: &Path, job: &str) -> BTreeSet<String> {
    let mut files = files(folder);
    files.retain(|file| file.contains(job));
    files
}

fn plant(folder: &Path, file: &str) {
    let path = folder.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, b"of nobody").unwrap();
}

/// Waits until two turns have certainly passed: what the second one meets was there before the first had ended.
async fn until_turns_have_passed(folder: &Path) {
    for n in 0..2 {
        let mark = format!("plans/nobody-{n}/2-1/band-000000");
        plant(folder, &mark);
        until("a turn removes what nobody names", async || {
            (!folder.join(&mark).exists()).then_some(())
        })
        .await;
    }
}

/// A list of one failed entry, stored as its owner does, before the checkpoint that names it.
async fn fail_one(cluster: &Cluster, leader: &Served, job: &str) -> FailureLog {
    let (_, revision) = cluster.assignment(job, "w1").await.unwrap();
    let log = FailureLog {
        log: format!("w1-{}", revision.0),
        chunks: 1,
    };
    let failed = v1::FailedEntry {
        key: "product:0".into(),
        reason: "too heavy".into(),
        ..v1::FailedEntry::default()
    };
    let request = v1::RecordFailuresRequest {
        job: job.into(),
        log: log.log.clone(),
        chunk: 0,
        failures: vec![failed],
    };
    leader
        .workers
        .clone()
        .record_failures(request)
        .await
        .unwrap();
    log
}

async fn prune(
    leader: &Served,
    request: v1::PruneJobsRequest,
) -> Result<v1::PruneJobsResponse, tonic::Status> {
    let pruned = leader.jobs.clone().prune_jobs(request).await;
    pruned.map(tonic::Response::into_inner)
}

fn names(page: &v1::PruneJobsResponse) -> Vec<&str> {
    page.jobs.iter().map(|job| job.name.as_str()).collect()
}

const AT_ONCE: Option<prost_types::Duration> = Some(prost_types::Duration {
    seconds: 0,
    nanos: 0,
});

#[tokio::test]
async fn a_job_that_is_over_is_forgotten_with_all_that_it_had_and_one_under_way_loses_nothing() {
    let (folder, cluster, leader) = in_directory(impatient(Some(Duration::from_millis(1)))).await;
    let folder = folder.path();
    let running = leader.running(&cluster, 10).await.name;
    fail_one(&cluster, &leader, &running).await;
    let kept = files_of(folder, &running);
    assert_eq!(kept.len(), 3, "a band, an upload, failures: {kept:?}");

    let over = done(&cluster, &leader, "deploy/1").await.name;
    let past = keys::past(&job_name(&over));
    until("it is forgotten", async || {
        let is_left = cluster.read::<Past>(&past).await.is_some()
            || cluster
                .read::<Job>(&keys::job(&job_name(&over)))
                .await
                .is_some();
        (!is_left && files_of(folder, &over).is_empty()).then_some(())
    })
    .await;
    let request = v1::GetJobRequest { name: over.clone() };
    let gone = leader.jobs.clone().get_job(request).await.unwrap_err();
    assert_eq!(reason(&gone), "JOB_NOT_FOUND");
    until("so is the request", async || {
        let request = cluster.read::<Request>(&keys::request("deploy/1")).await;
        request.is_none().then_some(())
    })
    .await;

    until_turns_have_passed(folder).await;
    assert_eq!(files_of(folder, &running), kept);
    cluster.checkpoint(&running, "w1", warmed(10), |_| ()).await;
    leader.until_it_is(&running, JobState::Succeeded).await;
}

#[tokio::test]
async fn for_ever_is_for_ever_and_what_no_job_names_goes_all_the_same() {
    let (folder, cluster, leader) = in_directory(impatient(None)).await;
    let folder = folder.path();
    let over = done(&cluster, &leader, "deploy/1").await.name;
    let running = leader.running(&cluster, 10).await.name;
    until("it is cleaned up", async || {
        cluster.read::<Past>(&keys::past(&job_name(&over))).await
    })
    .await;
    let kept = files(folder);
    let strangers = [
        format!("backups/{over}/1"),
        "plans/notes.txt".to_owned(),
        format!("plans/{over}/notes.txt"),
    ];
    for stranger in &strangers {
        plant(folder, stranger);
    }
    let orphans = [
        // Of an attempt that failed, of one that was killed while it wrote, and of jobs that nobody knows.
        format!("plans/{running}/1-0/band-000000"),
        format!("plans/{over}/1-0/band-000000"),
        format!("plans/{over}/1-0/band-000001#1"),
        format!("uploads/{running}/0-00000000000000aa"),
        format!("uploads/{over}/0-00000000000000aa"),
        format!("failures/{over}/w1-9/00000000"),
        "plans/1700000000000-00000a/2-1/band-000000".to_owned(),
        "failures/1700000000000-00000a/w1-9/00000000".to_owned(),
    ];
    for orphan in &orphans {
        plant(folder, orphan);
    }
    let gone = job_name("1700000000000-00000a");
    let w1 = "w1".parse().unwrap();
    cluster.put(&keys::run(&gone), &Life::new()).await;
    cluster
        .put(&keys::assignment(&gone, &w1), &Assignment::default())
        .await;
    cluster
        .put(&keys::checkpoint(&gone, &w1), &Checkpoint::default())
        .await;
    let request = request_of(gone.clone());
    cluster.put(&keys::request("deploy/0"), &request).await;

    until("what no job names is gone", async || {
        let files = files(folder);
        let found = cluster
            .store
            .read(&[
                Keys::One(keys::run(&gone)),
                Keys::Prefix(keys::assignments(&gone)),
                Keys::Prefix(keys::checkpoints(&gone)),
                Keys::One(keys::request("deploy/0")),
            ])
            .await
            .unwrap();
        let none = orphans.iter().all(|orphan| !files.contains(orphan));
        (none && found.entries.is_empty()).then_some(())
    })
    .await;
    until_turns_have_passed(folder).await;
    let expected = kept.into_iter().chain(strangers).collect();
    assert_eq!(files(folder), expected);
    assert_eq!(leader.get(&over).await.state(), JobState::Succeeded);
    // A request is known as long as its job is.
    let again = leader.create_as("deploy/1", spec(vec![uploaded()])).await;
    assert_eq!(again.unwrap().name, over);
    assert!(cluster.assignment(&running, "w1").await.is_some());
}

/// Waits until a turn has certainly passed, of a leader that forgets jobs at once: what it met was there before.
async fn until_a_turn_has_passed(cluster: &Cluster, leader: &Served) {
    // The one that forgets the first has ended when the second is forgotten.
    for _ in 0..2 {
        let over = done(cluster, leader, "").await.name;
        until("it is forgotten", async || {
            let request = v1::GetJobRequest { name: over.clone() };
            let found = leader.jobs.clone().get_job(request).await;
            found.is_err().then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn what_no_job_names_stays_until_it_is_old_enough_but_for_what_belongs_to_a_job_that_is_forgotten()
 {
    let retention = Retention {
        jobs: Some(Duration::from_millis(1)),
        orphans: Duration::from_secs(3600),
    };
    let settings = Settings {
        retention,
        ..settings("c1")
    };
    let (folder, cluster, leader) = in_directory(settings).await;
    let folder = folder.path();
    let orphan = "plans/1700000000000-00000a/2-1/band-000000";
    plant(folder, orphan);
    let life = keys::run(&job_name("1700000000000-00000b"));
    cluster.put(&life, &Life::new()).await;
    let request = keys::request("deploy/0");
    let job = job_name("1700000000000-00000c");
    cluster.put(&request, &request_of(job)).await;
    until_a_turn_has_passed(&cluster, &leader).await;
    assert!(cluster.read::<Life>(&life).await.is_some());
    assert!(cluster.read::<Request>(&request).await.is_some());
    assert!(folder.join(orphan).exists());
    until("what the others had is gone", async || {
        (files(folder) == BTreeSet::from([orphan.to_owned()])).then_some(())
    })
    .await;
}

#[tokio::test]
async fn in_a_plan_store_that_has_become_another_clusters_what_no_job_names_stays() {
    let (folder, cluster, leader) = in_directory(impatient(Some(Duration::from_millis(1)))).await;
    let folder = folder.path();
    // It is this cluster's once a turn has looked.
    until_turns_have_passed(folder).await;
    std::fs::write(folder.join("cluster"), "another").unwrap();
    until_a_turn_has_passed(&cluster, &leader).await;
    let orphan = "plans/1700000000000-00000a/2-1/band-000000";
    plant(folder, orphan);
    until_a_turn_has_passed(&cluster, &leader).await;
    assert!(folder.join(orphan).exists());
    std::fs::remove_file(folder.join("cluster")).unwrap();
    until("it is this cluster's again", async || {
        (!folder.join(orphan).exists()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_upload_on_its_way_is_no_orphan_however_long_it_takes() {
    let (folder, _cluster, leader) = in_directory(impatient(None)).await;
    let folder = folder.path();
    let job = leader.create(spec(vec![uploaded()])).await.unwrap().name;
    let (send, parts) = mpsc::channel(1);
    let part = |part| v1::UploadEntriesRequest { part: Some(part) };
    let mut jobs = leader.jobs.clone();
    let uploading = tokio::spawn(async move {
        let stored = jobs.upload_entries(ReceiverStream::new(parts)).await;
        stored.map(|stored| stored.into_inner().entries)
    });
    send.send(part(header(&job, 0))).await.unwrap();
    send.send(part(Part::Entries(batch(0..10)))).await.unwrap();
    until("half of it is there", async || {
        (!files_of(folder, &job).is_empty()).then_some(())
    })
    .await;
    until_turns_have_passed(folder).await;
    send.send(part(Part::Entries(batch(10..20)))).await.unwrap();
    drop(send);
    assert_eq!(uploading.await.unwrap().unwrap(), 20);
    leader.until_it_is(&job, JobState::Running).await;
    assert_eq!(leader.get(&job).await.progress.unwrap().planned, 20);
}

#[tokio::test]
async fn a_cluster_that_would_take_anothers_plans_for_garbage_does_not_start() {
    let (_folder, cluster, _leader) = in_directory(settings("c1")).await;
    let other = Cluster {
        store: MemoryStore::new(),
        plans: cluster.plans.clone(),
    };
    let error = other.start(settings("c2")).await.err().unwrap();
    assert!(matches!(error, StartError::ForeignPlanStore), "{error:?}");
    assert!(error.to_string().contains("of its own"), "{error}");
}

#[tokio::test]
async fn pruning_takes_what_is_asked_for_page_by_page_and_twice_is_no_error() {
    let (folder, cluster, leader) = in_directory(settings("c1")).await;
    let folder = folder.path();
    let mut over = Vec::new();
    for _ in 0..3 {
        over.push(done(&cluster, &leader, "").await.name);
    }
    let aborted = leader.create(spec(vec![uploaded()])).await.unwrap().name;
    let abort = v1::AbortJobRequest {
        name: aborted.clone(),
        reason: String::new(),
    };
    leader.jobs.clone().abort_job(abort).await.unwrap();
    let running = leader.running(&cluster, 10).await.name;
    until("all that is over is cleaned up", async || {
        let past = super::cluster::all::<Past>(&cluster, keys::PAST).await;
        (past.len() == 4).then_some(())
    })
    .await;
    over.reverse();
    let everything = files(folder);

    let request = |states: &[JobState], dry_run| v1::PruneJobsRequest {
        older_than: AT_ONCE,
        states: states.iter().map(|state| i32::from(*state)).collect(),
        dry_run,
        ..v1::PruneJobsRequest::default()
    };
    // Nothing is older than 30 days.
    let none = prune(&leader, v1::PruneJobsRequest::default()).await;
    assert_eq!(none.unwrap(), v1::PruneJobsResponse::default());
    let told = prune(&leader, request(&[JobState::Succeeded], true))
        .await
        .unwrap();
    assert_eq!(names(&told), over);
    assert_eq!(files(folder), everything);
    assert!(told.jobs.iter().all(|job| {
        let size = |file: &String| folder.join(file).metadata().unwrap().len();
        let own = files_of(folder, &job.name);
        (job.objects, job.bytes) == (own.len() as u64, own.iter().map(size).sum())
            && job.state() == JobState::Succeeded
            && job.end_time.is_some()
    }));

    let mut first = request(&[JobState::Succeeded], false);
    first.page_size = 2;
    let pruned = prune(&leader, first.clone()).await.unwrap();
    assert_eq!(names(&pruned), over[..2]);
    assert_eq!(pruned.jobs, told.jobs[..2]);
    // The same page once more, as after a lost answer.
    let again = prune(&leader, first.clone()).await.unwrap();
    assert_eq!(names(&again), over[2..]);
    first.page_token = pruned.next_page_token;
    assert_eq!(
        prune(&leader, first).await.unwrap(),
        v1::PruneJobsResponse::default()
    );
    for job in &over {
        assert!(files_of(folder, job).is_empty());
        let request = v1::GetJobRequest { name: job.clone() };
        let gone = leader.jobs.clone().get_job(request).await.unwrap_err();
        assert_eq!(gone.code(), Code::NotFound);
    }
    assert_eq!(leader.get(&aborted).await.state(), JobState::Aborted);
    let rest = prune(&leader, request(&[], false)).await.unwrap();
    assert_eq!(names(&rest), [aborted]);
    assert_eq!(files(folder), files_of(folder, &running));
    assert_eq!(leader.get(&running).await.state(), JobState::Running);
}

#[tokio::test]
async fn what_cannot_be_pruned_is_refused_with_its_fields() {
    let forever = Settings {
        retention: Retention {
            jobs: None,
            ..Retention::default()
        },
        ..settings("c1")
    };
    let (_cluster, leader) = Cluster::led_with(forever).await;
    let wrong = v1::PruneJobsRequest {
        older_than: Some(prost_types::Duration {
            seconds: -1,
            nanos: 0,
        }),
        states: vec![JobState::Failed.into(), JobState::Running.into(), 0, 99],
        page_token: "../x".into(),
        ..v1::PruneJobsRequest::default()
    };
    let refused = prune(&leader, wrong).await.unwrap_err();
    let fields = "older_than, states[1], states[2], states[3], page_token";
    assert_eq!(fault(&refused), (Code::InvalidArgument, fields.into()));
    let unsaid = prune(&leader, v1::PruneJobsRequest::default()).await;
    let refused = unsaid.unwrap_err();
    assert_eq!(
        fault(&refused),
        (Code::InvalidArgument, "older_than".into())
    );
    assert!(refused.message().contains("for ever"), "{refused}");
}

#[tokio::test]
async fn a_request_whose_job_is_forgotten_makes_another_even_before_it_is_forgotten_itself() {
    let (cluster, leader) = Cluster::with_leader().await;
    let first = done(&cluster, &leader, "deploy/1").await.name;
    let past = keys::past(&job_name(&first));
    until("it is cleaned up", async || {
        cluster.read::<Past>(&past).await
    })
    .await;
    cluster.delete(&past).await;
    let mut other = spec(vec![uploaded()]);
    other.trigger = "other".into();
    let calls = (0..4).map(|_| leader.create_as("deploy/1", other.clone()));
    let made: Vec<String> = futures::future::join_all(calls)
        .await
        .into_iter()
        .map(|made| made.unwrap().name)
        .collect();
    assert!(made.iter().all(|job| *job == made[0]), "{made:?}");
    assert_ne!(made[0], first);
}

#[tokio::test]
async fn a_job_whose_plan_another_is_yet_to_read_is_neither_pruned_nor_forgotten_by_itself() {
    let (folder, cluster, leader) = in_directory(settings("c1")).await;
    let folder = folder.path();
    let over = done(&cluster, &leader, "").await.name;
    let past = keys::past(&job_name(&over));
    until("it is cleaned up", async || {
        cluster.read::<Past>(&past).await
    })
    .await;
    let its_plan = v1::PlanSource {
        job: over.clone(),
        which: Some(v1::plan_source::Which::All(v1::AllEntries {})),
    };
    let mut again = spec(vec![v1::key_source::From::Plan(its_plan)]);
    again.trigger = PREPARED_BY_HAND.into();
    let again = leader.create(again).await.unwrap().name;
    leader.until_it_is(&again, JobState::Planning).await;
    let kept = files_of(folder, &over);
    for dry_run in [true, false] {
        let all = v1::PruneJobsRequest {
            older_than: AT_ONCE,
            dry_run,
            ..v1::PruneJobsRequest::default()
        };
        let pruned = prune(&leader, all).await.unwrap();
        assert!(names(&pruned).is_empty(), "dry run: {dry_run}");
    }
    leader.coordinator.stop().await;
    let leader = cluster
        .start(impatient(Some(Duration::from_millis(1))))
        .await
        .unwrap();
    leader.until_it_leads().await;
    until_turns_have_passed(folder).await;
    assert_eq!(files_of(folder, &over), kept);
    assert!(cluster.read::<Past>(&past).await.is_some());

    until("its loaders are to be prepared again", async || {
        leader.try_prepare(&cluster, &again).await
    })
    .await;
    let running = leader.until_it_is(&again, JobState::Running).await;
    assert_eq!(running.progress.unwrap().planned, 10);
    until("nobody needs it any more", async || {
        files_of(folder, &over).is_empty().then_some(())
    })
    .await;
}

/// Whether a transaction compares who leads.
fn is_fenced(txn: &Txn) -> bool {
    let leader = |compare: &Compare| matches!(compare, Compare::CreateRevision(key, _) if key == keys::LEADER);
    txn.compares.iter().any(leader)
}

/// Whether a transaction compares each record that it deletes with how it was read.
fn is_as_read(txn: &Txn) -> bool {
    let is_compared = |key: &String| {
        let mut compares = txn.compares.iter();
        compares.any(|c| matches!(c, Compare::ModRevision(compared, _) if compared == key))
    };
    txn.ops.iter().all(|op| match op {
        Op::Delete(key) => is_compared(key),
        Op::Put { .. } => true,
    })
}

#[tokio::test]
async fn every_record_that_goes_is_deleted_by_who_leads_and_as_it_was_read() {
    let cluster = Cluster::new();
    let gone = job_name("1700000000000-00000a");
    let like = {
        let (cluster, leader) = Cluster::with_leader().await;
        let job = done(&cluster, &leader, "").await.name;
        let past = keys::past(&job_name(&job));
        until("it is cleaned up", async || {
            cluster.read::<Past>(&past).await
        })
        .await
        .0
    };
    let life = Life {
        phase: Phase::Succeeded,
        ..Life::new()
    };
    let past = Past {
        job: like.job,
        life: life.clone(),
    };
    cluster.put(&keys::past(&gone), &past).await;
    let other = job_name("1700000000000-00000b");
    cluster.put(&keys::run(&other), &life).await;
    cluster
        .put(&keys::request("deploy/0"), &request_of(other.clone()))
        .await;
    let store = Arc::new(Spy::before(cluster.store.clone()));
    let settings = impatient(Some(Duration::from_millis(1)));
    let leader = cluster.start_on(Arc::clone(&store) as _, settings).await;
    let coordinator = leader.unwrap().coordinator;
    let keys = [
        keys::past(&gone),
        keys::run(&other),
        keys::request("deploy/0"),
    ];
    until("all three are gone", async || {
        let ranges = keys.clone().map(Keys::One);
        let left = cluster.store.read(&ranges).await.unwrap().entries;
        left.is_empty().then_some(())
    })
    .await;
    coordinator.stop().await;
    let is_ours = |op: &Op| matches!(op, Op::Delete(key) if keys.contains(key));
    let txns = store.txns();
    let ours = || txns.iter().filter(|txn| txn.ops.iter().any(is_ours));
    assert_ne!(ours().count(), 0, "what is gone was deleted");
    assert!(ours().all(is_fenced), "{:?}", ours().collect::<Vec<_>>());
    assert!(ours().all(is_as_read), "{:?}", ours().collect::<Vec<_>>());
}
