//! `UploadEntries`: all or nothing, and what becomes of it.

use std::collections::BTreeMap;

use stoke_core::records::{Assignment, Job, keys};
use stoke_proto::v1::upload_entries_request::Part;
use stoke_proto::v1::{self, JobState};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::cluster::{
    Cluster, all, assert_precondition, batch, fault, header, job_name, named, reason, spec, until,
    uploaded,
};

#[tokio::test]
async fn an_uploaded_job_is_planned_from_its_different_keys_and_given_to_the_workers() {
    let (cluster, leader) = Cluster::with_leader().await;
    cluster.join("w2").await;
    let job = leader.create(spec(vec![uploaded()])).await.unwrap();
    let parts = vec![
        header(&job.name, 0),
        Part::Entries(batch(0..700)),
        Part::Entries(batch(300..1000)),
    ];
    assert_eq!(leader.upload(parts).await.unwrap(), 1400);

    let running = leader.until_it_is(&job.name, JobState::Running).await;
    let progress = running.progress.unwrap();
    assert_eq!((progress.planned, progress.pending), (1000, 1000));
    assert!(running.start_time.is_some());

    let (record, _) = cluster
        .read::<Job>(&keys::job(&job_name(&job.name)))
        .await
        .unwrap();
    let partitions = usize::from(record.plan.unwrap().partitioning.count());
    let prefix = keys::assignments(&job_name(&job.name));
    let owners = until("all partitions have owners", async || {
        let owners: BTreeMap<String, Assignment> = all(&cluster, &prefix).await;
        let owned: usize = owners.values().map(|owner| owner.partitions.len()).sum();
        (owned == partitions).then_some(owners)
    })
    .await;
    assert_eq!(owners.keys().collect::<Vec<_>>(), ["w1", "w2"]);
}

#[tokio::test]
async fn an_upload_begins_with_its_header_which_comes_once() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let job = leader.create(spec(vec![uploaded()])).await.unwrap();
    let entries = || Part::Entries(batch(0..3));
    let cases = [
        (vec![], "header"),
        (vec![entries()], "header"),
        (
            vec![header(&job.name, 0), entries(), header(&job.name, 0)],
            "part",
        ),
    ];
    for (parts, field) in cases {
        let refused = leader.upload(parts).await.unwrap_err();
        assert_eq!(fault(&refused), (Code::InvalidArgument, field.into()));
    }
    assert_eq!(leader.get(&job.name).await.state(), JobState::Pending);
}

#[tokio::test]
async fn of_an_upload_with_a_bad_batch_nothing_is_kept() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let job = leader.create(spec(vec![uploaded()])).await.unwrap();
    let bad = |change: fn(&mut v1::EntryBatch)| {
        let mut bad = batch(10..13);
        change(&mut bad);
        bad
    };
    let cases = [
        (bad(|batch| drop(batch.arguments.pop())), "arguments"),
        (bad(|batch| batch.priorities.truncate(1)), "priorities"),
        (bad(|batch| batch.loaders = vec![0, 1, 0]), "loader 1"),
        (bad(|batch| batch.keys[2].clear()), "entry 2"),
    ];
    for (bad, says) in cases {
        let parts = vec![
            header(&job.name, 0),
            Part::Entries(batch(0..3)),
            Part::Entries(bad),
        ];
        let refused = leader.upload(parts).await.unwrap_err();
        assert_eq!(fault(&refused), (Code::InvalidArgument, "entries".into()));
        assert!(refused.message().contains(says), "{refused}");
        assert!(refused.message().contains("after 3 entries"), "{refused}");
    }
    let parts = vec![header(&job.name, 0), Part::Entries(batch(0..2))];
    assert_eq!(leader.upload(parts).await.unwrap(), 2);
    let running = leader.until_it_is(&job.name, JobState::Running).await;
    assert_eq!(running.progress.unwrap().planned, 2);
}

#[tokio::test]
async fn of_an_upload_that_breaks_off_nothing_is_kept() {
    let (cluster, leader) = Cluster::with_leader().await;
    let job = leader.create(spec(vec![uploaded()])).await.unwrap();
    let (send, receive) = mpsc::channel(1);
    let (mut jobs, name) = (leader.jobs.clone(), job.name.clone());
    let uploading =
        tokio::spawn(async move { jobs.upload_entries(ReceiverStream::new(receive)).await });
    for part in [
        header(&name, 0),
        Part::Entries(batch(0..3)),
        Part::Entries(batch(3..6)),
    ] {
        send.send(v1::UploadEntriesRequest { part: Some(part) })
            .await
            .unwrap();
    }
    uploading.abort();
    assert!(uploading.await.unwrap_err().is_cancelled());

    let parts = vec![header(&job.name, 0), Part::Entries(batch(0..2))];
    leader.upload(parts).await.unwrap();
    cluster.until_it_owns_all(&job.name, "w1").await;
    assert_eq!(leader.get(&job.name).await.progress.unwrap().planned, 2);
    // Only now: a stream whose end is sent before the call is cut off has not broken off.
    drop(send);
}

#[tokio::test]
async fn each_source_is_uploaded_once_and_the_job_waits_for_all() {
    let (cluster, leader) = Cluster::with_leader().await;
    let job = leader
        .create(spec(vec![uploaded(), uploaded()]))
        .await
        .unwrap();
    let upload = |source, numbers| {
        leader.upload(vec![
            header(&job.name, source),
            Part::Entries(batch(numbers)),
        ])
    };
    upload(0, 0..5).await.unwrap();
    let differs = |answer: Result<u64, Status>| {
        let refused = answer.unwrap_err();
        assert_eq!(refused.code(), Code::AlreadyExists);
        assert_eq!(reason(&refused), "UPLOAD_DIFFERS");
        let says = "source 0 of the job was uploaded before with other entries: create another job";
        assert_eq!(refused.message(), says);
    };
    // As many, and others.
    differs(upload(0, 5..10).await);
    // The same, cut otherwise.
    let again = || {
        leader.upload(vec![
            header(&job.name, 0),
            Part::Entries(batch(0..2)),
            Part::Entries(batch(2..5)),
        ])
    };
    assert_eq!(again().await.unwrap(), 5);
    assert_eq!(leader.get(&job.name).await.state(), JobState::Pending);
    upload(1, 3..8).await.unwrap();
    let running = leader.until_it_is(&job.name, JobState::Running).await;
    assert_eq!(running.progress.unwrap().planned, 8);
    assert_eq!(again().await.unwrap(), 5, "while it runs");
    let request = v1::AbortJobRequest {
        name: job.name.clone(),
        reason: String::new(),
    };
    leader.jobs.clone().abort_job(request).await.unwrap();
    cluster
        .delete(&keys::member(&super::cluster::worker("w1")))
        .await;
    assert_eq!(again().await.unwrap(), 5, "whatever became of it");
    differs(upload(0, 5..9).await);
}

#[tokio::test]
async fn an_upload_that_an_older_version_stored_is_not_taken_for_the_same() {
    let (cluster, leader) = Cluster::with_leader().await;
    let job = leader
        .create(spec(vec![uploaded(), uploaded()]))
        .await
        .unwrap();
    let parts = || vec![header(&job.name, 0), Part::Entries(batch(0..3))];
    leader.upload(parts()).await.unwrap();
    let key = keys::job(&job_name(&job.name));
    let (mut record, _) = cluster.read::<Job>(&key).await.unwrap();
    record.uploads.get_mut(&0).unwrap().digest.clear();
    cluster.put(&key, &record).await;
    let refused = leader.upload(parts()).await.unwrap_err();
    assert_eq!(reason(&refused), "UPLOAD_DIFFERS");
    assert!(refused.message().contains("older version"), "{refused}");
}

#[tokio::test]
async fn a_job_that_is_aborted_before_its_upload_takes_none() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let job = leader.create(spec(vec![uploaded()])).await.unwrap();
    let request = v1::AbortJobRequest {
        name: job.name.clone(),
        reason: "enough".into(),
    };
    let answer = leader.jobs.clone().abort_job(request).await.unwrap();
    let reason = answer.into_inner().job.unwrap().reason;
    assert_eq!(reason, "enough", "there is nobody to wait for");
    let parts = vec![header(&job.name, 0), Part::Entries(batch(0..3))];
    assert_precondition(leader.upload(parts).await, "it cannot take uploads");
}

#[tokio::test]
async fn only_upload_sources_of_jobs_that_there_are_take_uploads() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let job = leader
        .create(spec(vec![named(), uploaded()]))
        .await
        .unwrap();
    for source in [0, 2] {
        let refused = leader
            .upload(vec![header(&job.name, source)])
            .await
            .unwrap_err();
        assert_eq!(
            fault(&refused),
            (Code::InvalidArgument, "header.source".into())
        );
    }
    for name in ["nobody", "no/name", ""] {
        let refused = leader.upload(vec![header(name, 0)]).await.unwrap_err();
        assert_eq!(refused.code(), Code::NotFound);
    }
}

#[tokio::test]
async fn an_upload_without_entries_fails_the_job_and_says_why() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let job = leader.create(spec(vec![uploaded()])).await.unwrap();
    assert_eq!(leader.upload(vec![header(&job.name, 0)]).await.unwrap(), 0);
    let failed = leader.until_it_is(&job.name, JobState::Failed).await;
    assert_eq!(
        failed.reason,
        "the key sources gave no keys, so there is nothing to warm: key source 0 (an upload) gave 0 entries: check what they read"
    );
    assert!(failed.end_time.is_some());
}
