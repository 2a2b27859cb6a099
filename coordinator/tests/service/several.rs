//! Several coordinators: who answers what, what a fail-over leaves, and who must not begin at all.

use stoke_coordinator::StartError;
use stoke_coordinator::plan_store::PlanStore;
use stoke_core::records::{SourceTask, keys};
use stoke_proto::LEADER_METADATA;
use stoke_proto::v1::upload_entries_request::Part;
use stoke_proto::v1::{self, JobState};
use stoke_store::record::RecordError;
use tonic::{Code, Status};

use super::cluster::{
    Cluster, Served, batch, header, job_name, named, outcomes, settings, spec, until, uploaded,
    warmed,
};

/// A leader, and a coordinator that stands by.
async fn two() -> (Cluster, Served, Served) {
    let (cluster, leader) = Cluster::with_leader().await;
    let standby = cluster.start(settings("c2")).await.unwrap();
    (cluster, leader, standby)
}

/// What every mutation answers.
async fn mutations(served: &Served, job: &str) -> Vec<(&'static str, Status)> {
    let mut jobs = served.jobs.clone();
    let name = || job.to_owned();
    let pause = v1::PauseJobRequest {
        name: name(),
        ..v1::PauseJobRequest::default()
    };
    let resume = v1::ResumeJobRequest {
        name: name(),
        ..v1::ResumeJobRequest::default()
    };
    let abort = v1::AbortJobRequest {
        name: name(),
        ..v1::AbortJobRequest::default()
    };
    let budget = v1::SetBudgetRequest {
        resource: "origin/shop".into(),
        target: Some(v1::Allowance::default()),
        ..v1::SetBudgetRequest::default()
    };
    let source = v1::SendSourceRequest::default();
    vec![
        (
            "create",
            served.create(spec(vec![uploaded()])).await.unwrap_err(),
        ),
        (
            "upload",
            served.upload(vec![header(job, 0)]).await.unwrap_err(),
        ),
        ("pause", jobs.pause_job(pause).await.unwrap_err()),
        ("resume", jobs.resume_job(resume).await.unwrap_err()),
        ("abort", jobs.abort_job(abort).await.unwrap_err()),
        (
            "prune",
            jobs.prune_jobs(v1::PruneJobsRequest::default())
                .await
                .unwrap_err(),
        ),
        (
            "set budget",
            served.budgets.clone().set_budget(budget).await.unwrap_err(),
        ),
        (
            "send source",
            served
                .workers
                .clone()
                .send_source(tokio_stream::iter([source]))
                .await
                .unwrap_err(),
        ),
    ]
}

#[tokio::test]
async fn who_stands_by_refuses_mutations_and_names_the_leader() {
    let (_cluster, leader, standby) = two().await;
    let job = leader.create(spec(vec![uploaded()])).await.unwrap();
    for (call, refused) in mutations(&standby, &job.name).await {
        assert_eq!(
            refused.code(),
            Code::FailedPrecondition,
            "{call}: {refused}"
        );
        let named = refused
            .metadata()
            .get(LEADER_METADATA)
            .map(|at| at.to_str().unwrap());
        assert_eq!(named, Some(leader.address.as_str()), "{call}");
    }
    assert_eq!(leader.get(&job.name).await, job);
}

#[tokio::test]
async fn where_no_leader_is_known_mutations_are_unavailable() {
    let cluster = Cluster::new();
    // Somebody holds the key, and does not say in words that we know where it can be called.
    cluster.put_bytes(keys::LEADER, r#"{"v":2}"#.into()).await;
    let lonely = cluster.start(settings("c1")).await.unwrap();
    for (call, refused) in mutations(&lonely, "j").await {
        assert_eq!(refused.code(), Code::Unavailable, "{call}: {refused}");
        assert!(refused.metadata().get(LEADER_METADATA).is_none(), "{call}");
    }
}

#[tokio::test]
async fn any_coordinator_shows_jobs_watches_them_and_streams_their_entries() {
    let (cluster, leader, standby) = two().await;
    let job = leader.running(&cluster, 10).await;
    assert_eq!(standby.get(&job.name).await, job);
    cluster
        .checkpoint(&job.name, "w1", warmed(10), |_| ())
        .await;
    let ended = standby.until_it_is(&job.name, JobState::Succeeded).await;
    assert_eq!(outcomes(&ended).warmed, 10);
    let (record, _) = cluster
        .read::<stoke_core::records::Job>(&keys::job(&job_name(&job.name)))
        .await
        .unwrap();
    let request = v1::StreamEntriesRequest {
        job: job.name.clone(),
        plan: record.plan.unwrap().name,
        partitions: (0..256)
            .map(|partition| v1::PartitionStart { partition, band: 0 })
            .collect(),
    };
    let mut stream = standby
        .workers
        .clone()
        .stream_entries(request)
        .await
        .unwrap()
        .into_inner();
    let message = stream.message().await.unwrap().unwrap();
    assert_eq!(
        message
            .segments
            .iter()
            .map(|segment| segment.entries)
            .sum::<u32>(),
        10
    );
}

#[tokio::test]
async fn when_the_leader_stops_the_other_leads_on_with_every_job() {
    let (cluster, leader, standby) = two().await;
    let pending = leader
        .create_as("deploy/1", spec(vec![uploaded()]))
        .await
        .unwrap();
    let planning = leader.create(spec(vec![named()])).await.unwrap().name;
    let running = leader.running(&cluster, 10).await.name;
    let read = keys::read(&job_name(&planning), 0);
    until("the source is given out", async || {
        cluster.read::<SourceTask>(&read).await
    })
    .await;
    cluster.checkpoint(&running, "w1", warmed(4), |_| ()).await;
    leader.coordinator.stop().await;
    standby.until_it_leads().await;

    // The new leader knows nothing of the attempt at planning, and begins another.
    let again = until("another attempt begins", async || {
        let (task, _) = cluster.read::<SourceTask>(&read).await?;
        (task.attempt == 2).then_some(())
    });
    again.await;

    // A worker that joins gets its part of the running job, which begins where the last checkpoint was.
    cluster.join("w2").await;
    let shared = until("the job is shared", async || {
        cluster.assignment(&running, "w2").await
    });
    assert!(!shared.await.0.partitions.is_empty());
    assert_eq!(outcomes(&standby.get(&running).await).warmed, 4);

    // What was acknowledged is there, and the same request is still the same job.
    let same = standby
        .create_as("deploy/1", spec(vec![uploaded()]))
        .await
        .unwrap();
    assert_eq!(same.name, pending.name);
    standby
        .upload(vec![header(&pending.name, 0), Part::Entries(batch(0..3))])
        .await
        .unwrap();
    standby.until_it_is(&pending.name, JobState::Running).await;
}

#[tokio::test]
async fn a_coordinator_with_another_plan_store_does_not_start() {
    let (cluster, _leader) = Cluster::with_leader().await;
    let stranger = Cluster {
        store: cluster.store.clone(),
        plans: PlanStore::in_memory(),
    };
    let error = stranger.start(settings("c2")).await.err().unwrap();
    assert!(
        matches!(error, StartError::OtherPlanStore { .. }),
        "{error:?}"
    );
    assert!(
        error
            .to_string()
            .contains("give all coordinators the same plan-store"),
        "{error}"
    );
}

#[tokio::test]
async fn a_leader_that_finds_a_leaders_record_of_a_newer_version_stops_and_says_so() {
    let (cluster, mut leader) = Cluster::with_leader().await;
    let standby = async || {
        let found = cluster
            .read::<stoke_core::records::Leader>(keys::LEADER)
            .await;
        found.is_none().then_some(())
    };
    cluster.put_bytes("run/x", r#"{"v":2}"#.into()).await;
    let error = leader.coordinator.ended().await.unwrap_err();
    assert!(
        matches!(error, StartError::Record(RecordError::Newer { .. })),
        "{error:?}"
    );
    assert!(
        error.to_string().contains("run/x") && error.to_string().contains("upgrade"),
        "{error}"
    );
    until("another may lead", standby).await;
    let refused = leader.create(spec(vec![uploaded()])).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    leader.coordinator.stop().await;
}
