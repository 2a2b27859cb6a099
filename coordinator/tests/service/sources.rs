//! Key sources that workers read, and what workers report beside.

use stoke_core::ledger::Ack;
use stoke_core::records::{SourceTask, keys};
use stoke_proto::v1::send_source_request::Part;
use stoke_proto::v1::{self, JobState};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::cluster::{
    Cluster, Served, batch, fault, job_name, named, settings, share, spec, until, worker,
};

fn source(job: &str, source: u32, attempt: u64) -> Part {
    Part::Header(v1::SourceHeader {
        job: job.into(),
        task: Some(v1::source_header::Task::Source(source)),
        attempt,
        worker: "w1".into(),
    })
}

fn read_to_its_end() -> Part {
    Part::Verdict(v1::SourceVerdict {
        origin_queries: 1,
        origin_rows: 30,
        ..v1::SourceVerdict::default()
    })
}

fn failed(error: &str, transient: bool) -> Part {
    Part::Verdict(v1::SourceVerdict {
        error: error.into(),
        transient,
        ..v1::SourceVerdict::default()
    })
}

async fn send(served: &Served, parts: Vec<Part>) -> Result<(), Status> {
    let parts = parts
        .into_iter()
        .map(|part| v1::SendSourceRequest { part: Some(part) });
    served
        .workers
        .clone()
        .send_source(tokio_stream::iter(parts))
        .await
        .map(drop)
}

/// Waits until the store gives a source to somebody under this attempt, and the leader waits for it.
async fn until_given(cluster: &Cluster, served: &Served, job: &str, n: u32, attempt: u64) {
    until("the source is given to a worker", async || {
        let (task, _) = cluster
            .read::<SourceTask>(&keys::read(&job_name(job), n))
            .await?;
        (task.attempt == attempt).then_some(())
    })
    .await;
    // A source without a verdict is refused for that, once it is waited for at all.
    until("the leader waits for the source", async || {
        let refused = send(served, vec![source(job, n, attempt)])
            .await
            .unwrap_err();
        (refused.code() == Code::InvalidArgument).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_job_is_planned_from_what_the_readers_of_its_sources_send() {
    let (cluster, leader) = Cluster::with_leader().await;
    let job = leader
        .create(spec(vec![named(), named()]))
        .await
        .unwrap()
        .name;
    until_given(&cluster, &leader, &job, 0, 1).await;
    send(
        &leader,
        vec![
            source(&job, 0, 1),
            Part::Entries(batch(0..20)),
            Part::Entries(batch(20..30)),
            read_to_its_end(),
        ],
    )
    .await
    .unwrap();
    let again = send(&leader, vec![source(&job, 0, 1), read_to_its_end()])
        .await
        .unwrap_err();
    assert_eq!(
        again.code(),
        Code::FailedPrecondition,
        "a source is read once"
    );
    assert_eq!(leader.get(&job).await.state(), JobState::Planning);
    send(
        &leader,
        vec![
            source(&job, 1, 1),
            Part::Entries(batch(25..40)),
            read_to_its_end(),
        ],
    )
    .await
    .unwrap();

    let running = leader.until_it_is(&job, JobState::Running).await;
    let progress = running.progress.unwrap();
    let effort = progress.effort.unwrap();
    assert_eq!(
        (progress.planned, effort.origin_queries, effort.origin_rows),
        (40, 2, 60)
    );
    let left = cluster
        .read::<SourceTask>(&keys::read(&job_name(&job), 0))
        .await;
    assert!(left.is_none(), "nobody reads any more");
}

#[tokio::test]
async fn what_belongs_to_another_attempt_source_or_job_is_refused() {
    let (cluster, leader) = Cluster::with_leader().await;
    let job = leader.create(spec(vec![named()])).await.unwrap().name;
    until_given(&cluster, &leader, &job, 0, 1).await;
    for stale in [
        source(&job, 0, 0),
        source(&job, 0, 2),
        source(&job, 1, 1),
        source("nobody", 0, 1),
    ] {
        let parts = vec![stale, Part::Entries(batch(0..3)), read_to_its_end()];
        let refused = send(&leader, parts).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    }
    assert_eq!(leader.get(&job).await.state(), JobState::Planning);
}

#[tokio::test]
async fn a_source_comes_with_a_header_and_a_verdict_around_batches_that_fit() {
    let (cluster, leader) = Cluster::with_leader().await;
    let job = leader.create(spec(vec![named()])).await.unwrap().name;
    until_given(&cluster, &leader, &job, 0, 1).await;
    let mut bad = batch(0..3);
    bad.arguments.pop();
    let cases = [
        (vec![Part::Entries(batch(0..3))], "header"),
        (vec![source(&job, 0, 1), source(&job, 0, 1)], "part"),
        (
            vec![source(&job, 0, 1), Part::Entries(batch(0..3))],
            "verdict",
        ),
        (
            vec![source(&job, 0, 1), Part::Entries(bad), read_to_its_end()],
            "entries",
        ),
        (vec![source("no name", 0, 1)], "header.job"),
    ];
    for (parts, field) in cases {
        let refused = send(&leader, parts).await.unwrap_err();
        assert_eq!(
            fault(&refused),
            (Code::InvalidArgument, field.into()),
            "{refused}"
        );
    }
    // What was refused counts nowhere.
    send(
        &leader,
        vec![
            source(&job, 0, 1),
            Part::Entries(batch(7..9)),
            read_to_its_end(),
        ],
    )
    .await
    .unwrap();
    let running = leader.until_it_is(&job, JobState::Running).await;
    assert_eq!(running.progress.unwrap().planned, 2);
}

#[tokio::test]
async fn a_passing_fault_begins_another_attempt_and_a_lasting_one_fails_the_job() {
    let (cluster, leader) = Cluster::with_leader().await;
    let job = leader.create(spec(vec![named()])).await.unwrap().name;
    until_given(&cluster, &leader, &job, 0, 1).await;
    send(
        &leader,
        vec![
            source(&job, 0, 1),
            Part::Entries(batch(0..3)),
            failed("connection lost", true),
        ],
    )
    .await
    .unwrap();
    until_given(&cluster, &leader, &job, 0, 2).await;
    send(
        &leader,
        vec![source(&job, 0, 2), failed("no such table", false)],
    )
    .await
    .unwrap();
    let ended = leader.until_it_is(&job, JobState::Failed).await;
    assert_eq!(ended.reason, "key source 0: no such table");
}

#[tokio::test]
async fn a_reader_that_vanishes_is_followed_by_another() {
    let (cluster, leader) = Cluster::with_leader().await;
    let job = leader.create(spec(vec![named()])).await.unwrap().name;
    until_given(&cluster, &leader, &job, 0, 1).await;
    cluster.join("w2").await;
    cluster.delete(&keys::member(&worker("w1"))).await;
    until_given(&cluster, &leader, &job, 0, 2).await;
    let (task, _) = cluster
        .read::<SourceTask>(&keys::read(&job_name(&job), 0))
        .await
        .unwrap();
    assert_eq!(task.worker, worker("w2"));
}

/// With one query in flight one worker at a time can own partitions; which one that is, is no matter of planning.
#[tokio::test]
async fn a_worker_that_joins_does_not_disturb_who_reads() {
    let cluster = Cluster::new();
    cluster.join("w2").await;
    let mut scarce = settings("c1");
    scarce
        .budgets
        .values_mut()
        .for_each(|budget| *budget = share(1));
    let leader = cluster.start(scarce).await.unwrap();
    leader.until_it_leads().await;
    let job = leader.create(spec(vec![named()])).await.unwrap().name;
    until_given(&cluster, &leader, &job, 0, 1).await;
    cluster.join("w1").await;
    // Once a later job is given out, the leader has looked at the earlier one, too.
    let later = leader.create(spec(vec![named()])).await.unwrap().name;
    until_given(&cluster, &leader, &later, 0, 1).await;
    send(
        &leader,
        vec![
            source(&job, 0, 1),
            Part::Entries(batch(0..3)),
            read_to_its_end(),
        ],
    )
    .await
    .unwrap();
    leader.until_it_is(&job, JobState::Running).await;
}

#[tokio::test]
async fn an_attached_worker_is_told_to_look_and_its_reports_are_shown_while_it_is_there() {
    let (cluster, leader) = Cluster::with_leader().await;
    let resource = "origin/shop".parse().unwrap();
    let ack = Ack {
        share: share(1),
        sequence: 1,
        lingering: false,
    };
    let (reports, receive) = mpsc::channel(4);
    let mut hints = leader
        .workers
        .clone()
        .attach(ReceiverStream::new(receive))
        .await
        .unwrap()
        .into_inner();
    let report = v1::AttachRequest {
        worker: "w1".into(),
        uses: vec![v1::ResourceUse {
            resource: "origin/shop".into(),
            queries: 42,
            in_flight: 1,
        }],
        troubles: Vec::new(),
    };
    reports.send(report).await.unwrap();
    let queries = async || {
        // Renewed, as by a worker: an old one would be taken back.
        cluster
            .put(&keys::ack(&resource, &worker("w1")), &ack)
            .await;
        let request = v1::GetBudgetRequest {
            resource: "origin/shop".into(),
        };
        let budget = leader
            .budgets
            .clone()
            .get_budget(request)
            .await
            .unwrap()
            .into_inner()
            .budget?;
        budget.shares.first().map(|share| share.queries)
    };
    until("the report is shown", async || {
        (queries().await == Some(42)).then_some(())
    })
    .await;
    assert!(
        hints.message().await.unwrap().unwrap().wake,
        "it is told to look at once"
    );
    until(
        "it is told to look when something has changed",
        async || {
            cluster
                .put(
                    &keys::read(&job_name("j"), 0),
                    &SourceTask {
                        worker: worker("w1"),
                        attempt: 1,
                    },
                )
                .await;
            let hint =
                tokio::time::timeout(std::time::Duration::from_millis(200), hints.message()).await;
            hint.ok().map(|hint| assert!(hint.unwrap().unwrap().wake))
        },
    )
    .await;
    drop((reports, hints));
    until("its report is forgotten", async || {
        (queries().await == Some(0)).then_some(())
    })
    .await;
}
