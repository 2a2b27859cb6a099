//! What callers may have open, what they leave behind, and what becomes of those who do not read.

use std::path::Path;
use std::time::Duration;

use stoke_coordinator::plan_store::PlanStore;
use stoke_core::records::Member;
use stoke_proto::v1::job_service_client::JobServiceClient;
use stoke_proto::v1::upload_entries_request::Part;
use stoke_proto::v1::{self, JobState};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Status, Streaming};
use tonic_types::StatusExt;

use super::cluster::{
    Cluster, Served, batch, header, member, reason, settings, spec, until, uploaded, warmed, work,
};

type Watch = Streaming<v1::WatchJobResponse>;

async fn watch(served: &Served, name: &str) -> Result<Watch, Status> {
    let request = v1::WatchJobRequest { name: name.into() };
    Ok(served.jobs.clone().watch_job(request).await?.into_inner())
}

#[tokio::test]
async fn watches_that_nobody_reads_hold_nobody_up_and_tell_the_last_state_when_they_are_read() {
    const CHANGES: u64 = 14;
    let cluster = Cluster::new();
    let generous = Member {
        sql_in_jobs: true,
        ..member()
    };
    cluster.join_as("w1", generous).await;
    let leader = cluster.start(settings("c1")).await.unwrap();
    leader.until_it_leads().await;
    // So large that two messages fill what a connection takes of one stream that nobody reads.
    let mut large = spec(vec![uploaded()]);
    work(&mut large).loaders[0].sql = Some(v1::SqlLoader {
        origin: "shop".into(),
        query: "SELECT * FROM product WHERE id IN (:keys)".into(),
        key_template: "{key}".into(),
        key_column: "x".repeat(30_000),
        ttl: Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        }),
        ..v1::SqlLoader::default()
    });
    let job = leader.create(large).await.unwrap().name;
    let parts = vec![header(&job, 0), Part::Entries(batch(0..14))];
    leader.upload(parts).await.unwrap();
    cluster.until_it_owns_all(&job, "w1").await;
    let apart = Channel::from_shared(leader.address.clone())
        .unwrap()
        .initial_stream_window_size(65_535)
        .initial_connection_window_size(64 << 20)
        .connect()
        .await
        .unwrap();
    let mut unread = Vec::new();
    for _ in 0..200 {
        let request = v1::WatchJobRequest { name: job.clone() };
        let watch = JobServiceClient::new(apart.clone())
            .watch_job(request)
            .await;
        unread.push(watch.unwrap().into_inner());
    }
    // Told as it happens to one who reads, however many do not.
    let mut read = watch(&leader, &job).await.unwrap();
    for n in 1..=CHANGES {
        cluster.checkpoint(&job, "w1", warmed(n), |_| ()).await;
        loop {
            let seen = read.message().await.unwrap().unwrap().job.unwrap();
            if seen.progress.unwrap().pending == CHANGES - n {
                break;
            }
        }
    }
    leader.until_it_is(&job, JobState::Succeeded).await;
    for mut watch in unread {
        let (mut messages, mut last) = (0, None);
        while let Some(message) = watch.message().await.unwrap() {
            messages += 1;
            last = message.job;
        }
        assert_eq!(last.unwrap().state(), JobState::Succeeded);
        assert!(messages <= CHANGES / 2, "{messages} piled up");
    }
}

#[tokio::test]
async fn one_watch_too_many_is_refused_and_has_a_place_when_others_are_dropped() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let job = leader.create(spec(vec![uploaded()])).await.unwrap().name;
    let calls = (0..1000).map(|_| watch(&leader, &job));
    let open = futures::future::join_all(calls).await;
    assert!(open.iter().all(Result::is_ok));
    let refused = watch(&leader, &job).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert_eq!(reason(&refused), "TOO_MANY_CALLS");
    assert!(refused.get_details_quota_failure().is_some());
    assert!(refused.get_details_retry_info().is_some());
    // Others than watches go on.
    assert_eq!(leader.get(&job).await.state(), JobState::Pending);
    drop(open);
    until("there is room again", async || {
        watch(&leader, &job).await.ok()
    })
    .await;
}

/// An upload whose first parts are sent, and that then stands.
async fn begin(
    served: &Served,
    parts: Vec<Part>,
    deadline: Option<Duration>,
) -> (
    mpsc::Sender<v1::UploadEntriesRequest>,
    tokio::task::JoinHandle<Result<u64, Status>>,
) {
    let (send, receive) = mpsc::channel(1);
    let mut jobs = served.jobs.clone();
    let mut request = Request::new(ReceiverStream::new(receive));
    if let Some(deadline) = deadline {
        request.set_timeout(deadline);
    }
    let uploading = tokio::spawn(async move {
        let stored = jobs.upload_entries(request).await?;
        Ok(stored.into_inner().entries)
    });
    for part in parts {
        let part = v1::UploadEntriesRequest { part: Some(part) };
        let _ = send.send(part).await;
    }
    (send, uploading)
}

#[tokio::test]
async fn one_upload_too_many_is_refused_while_those_that_are_open_go_on() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let mut open = Vec::new();
    for _ in 0..8 {
        let job = leader.create(spec(vec![uploaded()])).await.unwrap().name;
        // The second part is taken once the first was: then the upload is open.
        let parts = vec![header(&job, 0), Part::Entries(batch(0..3))];
        open.push(begin(&leader, parts, None).await);
    }
    let job = leader.create(spec(vec![uploaded()])).await.unwrap().name;
    let refused = until("all places are taken", async || {
        let refused = leader.upload(vec![header("nobody", 0)]).await.unwrap_err();
        (refused.code() == Code::ResourceExhausted).then_some(refused)
    })
    .await;
    assert_eq!(reason(&refused), "TOO_MANY_CALLS");
    for (send, uploading) in open {
        drop(send);
        assert_eq!(uploading.await.unwrap().unwrap(), 3);
    }
    let parts = vec![header(&job, 0), Part::Entries(batch(0..3))];
    assert_eq!(leader.upload(parts).await.unwrap(), 3);
}

#[tokio::test]
async fn one_stream_of_a_worker_too_many_is_refused_while_callers_go_on() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let mut open = Vec::new();
    let refused = until("all places are taken", async || {
        loop {
            let (send, receive) = mpsc::channel::<v1::SendSourceRequest>(1);
            let mut workers = leader.workers.clone();
            let sending = async move { workers.send_source(ReceiverStream::new(receive)).await };
            let mut sending = tokio::spawn(sending);
            // What has a place waits for its header; what has none ends.
            let ended = tokio::time::timeout(Duration::from_millis(2), &mut sending).await;
            open.push((send, sending));
            if let Ok(ended) = ended {
                return Some(ended.unwrap().unwrap_err());
            }
            assert!(open.len() < 1000, "there is no limit");
        }
    })
    .await;
    assert_eq!(reason(&refused), "TOO_MANY_CALLS");
    assert!(open.len() > 256, "{}", open.len());
    let job = leader.create(spec(vec![uploaded()])).await.unwrap().name;
    assert_eq!(leader.get(&job).await.state(), JobState::Pending);
}

/// All files of uploads, complete or in the making.
fn files(plans: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![plans.join("uploads")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.path().is_dir() {
                folders.push(entry.path());
            } else {
                found.push(entry.path().display().to_string());
            }
        }
    }
    found
}

async fn on_disk() -> (tempfile::TempDir, Cluster, Served) {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster {
        plans: PlanStore::in_directory(folder.path()).unwrap(),
        ..Cluster::new()
    };
    cluster.join("w1").await;
    let leader = cluster.start(settings("c1")).await.unwrap();
    leader.until_it_leads().await;
    (folder, cluster, leader)
}

#[tokio::test]
async fn an_upload_that_stalls_past_its_deadline_leaves_nothing_and_its_job_waits_on() {
    let (folder, _cluster, leader) = on_disk().await;
    let job = leader.create(spec(vec![uploaded()])).await.unwrap().name;
    let parts = vec![header(&job, 0), Part::Entries(batch(0..3))];
    let deadline = Duration::from_millis(700);
    let (_send, uploading) = begin(&leader, parts, Some(deadline)).await;
    until("it has begun to write", async || {
        (!files(folder.path()).is_empty()).then_some(())
    })
    .await;
    let over = uploading.await.unwrap().unwrap_err();
    assert!(
        matches!(over.code(), Code::DeadlineExceeded | Code::Cancelled),
        "{over}"
    );
    until("nothing is left of it", async || {
        files(folder.path()).is_empty().then_some(())
    })
    .await;
    assert_eq!(leader.get(&job).await.state(), JobState::Pending);
    let parts = vec![header(&job, 0), Part::Entries(batch(0..3))];
    assert_eq!(leader.upload(parts).await.unwrap(), 3);
    leader.until_it_is(&job, JobState::Running).await;
}

#[tokio::test]
async fn of_two_uploads_for_one_source_the_later_is_compared_and_leaves_nothing() {
    let (folder, _cluster, leader) = on_disk().await;
    // The other source is never uploaded: the job takes uploads all the time.
    let two = spec(vec![uploaded(), uploaded()]);
    let job = leader.create(two).await.unwrap().name;
    let parts = |n| vec![header(&job, 0), Part::Entries(batch(0..n))];
    let (first, same, other) = (
        begin(&leader, parts(3), None).await,
        begin(&leader, parts(3), None).await,
        begin(&leader, parts(4), None).await,
    );
    until("all write", async || {
        (files(folder.path()).len() == 3).then_some(())
    })
    .await;
    drop(first.0);
    assert_eq!(first.1.await.unwrap().unwrap(), 3);
    drop(same.0);
    assert_eq!(same.1.await.unwrap().unwrap(), 3);
    drop(other.0);
    let refused = other.1.await.unwrap().unwrap_err();
    assert_eq!(reason(&refused), "UPLOAD_DIFFERS");
    until("one is left", async || {
        (files(folder.path()).len() == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_watch_with_a_deadline_ends_with_it() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let job = leader.create(spec(vec![uploaded()])).await.unwrap().name;
    let mut request = Request::new(v1::WatchJobRequest { name: job });
    request.set_timeout(Duration::from_millis(400));
    let mut watch = leader
        .jobs
        .clone()
        .watch_job(request)
        .await
        .unwrap()
        .into_inner();
    let ended = until("it has ended", async || {
        let next = tokio::time::timeout(Duration::from_secs(5), watch.message());
        match next.await.ok()? {
            Ok(message) => {
                assert!(message.is_some(), "it ended well");
                None
            }
            Err(ended) => Some(ended),
        }
    })
    .await;
    assert_eq!(ended.code(), Code::DeadlineExceeded, "{ended}");
    assert_eq!(reason(&ended), "DEADLINE_OVER");
}

#[tokio::test]
async fn a_create_that_is_cancelled_makes_one_job_or_none() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let asked = || spec(vec![uploaded()]);
    for n in 0..40usize {
        let id = format!("deploy/{n}");
        {
            let call = leader.create_as(&id, asked());
            tokio::pin!(call);
            // Cut off after as many turns as it was given: before it was sent, on its way, or answered.
            for _ in 0..n {
                if futures::poll!(&mut call).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        leader.create_as(&id, asked()).await.unwrap();
    }
    let request = v1::ListJobsRequest {
        page_size: 1000,
        ..v1::ListJobsRequest::default()
    };
    let listed = leader.jobs.clone().list_jobs(request).await.unwrap();
    assert_eq!(listed.into_inner().jobs.len(), 40);
}
