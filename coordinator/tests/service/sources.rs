//! Key sources that workers read, and what workers report beside.

use stoke_core::ledger::Ack;
use stoke_core::records::{Assignment, SourceTask, keys};
use stoke_proto::v1::send_source_request::Part;
use stoke_proto::v1::upload_entries_request::Part as UploadPart;
use stoke_proto::v1::{self, JobState};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::cluster::{
    Cluster, PREPARED_BY_HAND, Served, all, batch, fault, header as upload_header, job_name, named,
    outcomes, settings, share, spec, until, uploaded, worker,
};

pub(crate) fn source(job: &str, source: u32, attempt: u64) -> Part {
    Part::Header(v1::SourceHeader {
        job: job.into(),
        task: Some(v1::source_header::Task::Source(source)),
        attempt,
        worker: "w1".into(),
    })
}

pub(crate) fn read_to_its_end() -> Part {
    Part::Verdict(v1::SourceVerdict {
        origin_queries: 1,
        origin_rows: 30,
        ..v1::SourceVerdict::default()
    })
}

pub(crate) fn failed(error: &str, transient: bool) -> Part {
    Part::Verdict(v1::SourceVerdict {
        error: error.into(),
        transient,
        ..v1::SourceVerdict::default()
    })
}

pub(crate) async fn send(served: &Served, parts: Vec<Part>) -> Result<(), Status> {
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
pub(crate) async fn until_given(
    cluster: &Cluster,
    served: &Served,
    job: &str,
    n: u32,
    attempt: u64,
) {
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

fn of_task(job: &str, task: v1::source_header::Task, attempt: u64) -> Part {
    Part::Header(v1::SourceHeader {
        job: job.into(),
        task: Some(task),
        attempt,
        worker: "w1".into(),
    })
}

fn prepare(job: &str, attempt: u64) -> Part {
    let task = v1::source_header::Task::Prepare(v1::PrepareTask {});
    of_task(job, task, attempt)
}

/// A job whose loaders the test prepares.
fn by_hand(sources: Vec<v1::key_source::From>) -> v1::JobSpec {
    v1::JobSpec {
        trigger: PREPARED_BY_HAND.into(),
        ..spec(sources)
    }
}

/// Waits until the store gives a task to somebody, and the leader waits for it.
async fn until_task_is_given(served: &Served, header: &Part) {
    until("the leader waits for the task", async || {
        let refused = send(served, vec![header.clone()]).await.unwrap_err();
        (refused.code() == Code::InvalidArgument).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_job_is_planned_once_its_loaders_can_be_used_be_its_keys_uploaded_or_read() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let job = leader.create(by_hand(vec![uploaded()])).await.unwrap().name;
    let parts = vec![upload_header(&job, 0), UploadPart::Entries(batch(0..5))];
    leader.upload(parts).await.unwrap();
    until_task_is_given(&leader, &prepare(&job, 1)).await;
    assert_eq!(leader.get(&job).await.state(), JobState::Planning);
    let with_entries = vec![
        prepare(&job, 1),
        Part::Entries(batch(0..3)),
        read_to_its_end(),
    ];
    let refused = send(&leader, with_entries).await.unwrap_err();
    assert_eq!(fault(&refused), (Code::InvalidArgument, "part".into()));
    send(&leader, vec![prepare(&job, 1), read_to_its_end()])
        .await
        .unwrap();
    let running = leader.until_it_is(&job, JobState::Running).await;
    let progress = running.progress.unwrap();
    // What preparing cost is the job's, too.
    assert_eq!(
        (progress.planned, progress.effort.unwrap().origin_queries),
        (5, 1)
    );
    assert_eq!(running.sources.len(), 1);
    assert_eq!(running.sources[0].entries, 5);
}

#[tokio::test]
async fn a_loader_that_cannot_be_used_fails_the_job_while_its_sources_are_still_being_read() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let job = leader.create(by_hand(vec![named()])).await.unwrap().name;
    until_task_is_given(&leader, &prepare(&job, 1)).await;
    let (parts, receive) = mpsc::channel(4);
    let mut workers = leader.workers.clone();
    let reading =
        tokio::spawn(async move { workers.send_source(ReceiverStream::new(receive)).await });
    let part = |part| v1::SendSourceRequest { part: Some(part) };
    parts.send(part(source(&job, 0, 1))).await.unwrap();
    parts.send(part(Part::Entries(batch(0..3)))).await.unwrap();
    let wrong = "cannot prepare the query of loader \"product\": the query has no placeholder";
    send(&leader, vec![prepare(&job, 1), failed(wrong, false)])
        .await
        .unwrap();
    let ended = leader.until_it_is(&job, JobState::Failed).await;
    assert_eq!(ended.reason, wrong);
    // Whoever reads on is told with the next batch.
    let _ = parts.send(part(Part::Entries(batch(3..6)))).await;
    let refused = reading.await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
}

#[tokio::test]
async fn loaders_whose_origin_is_out_of_reach_are_prepared_again() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let job = leader.create(by_hand(vec![named()])).await.unwrap().name;
    until_task_is_given(&leader, &prepare(&job, 1)).await;
    let parts = vec![prepare(&job, 1), failed("connection refused", true)];
    send(&leader, parts).await.unwrap();
    until_task_is_given(&leader, &prepare(&job, 2)).await;
    assert_eq!(leader.get(&job).await.state(), JobState::Planning);
}

#[tokio::test]
async fn bad_lines_that_were_left_out_are_shown_and_only_entries_are_planned() {
    let (cluster, leader) = Cluster::with_leader().await;
    let job = leader
        .create(spec(vec![named(), uploaded()]))
        .await
        .unwrap()
        .name;
    leader
        .upload(vec![
            upload_header(&job, 1),
            UploadPart::Entries(batch(0..5)),
        ])
        .await
        .unwrap();
    until_given(&cluster, &leader, &job, 0, 1).await;
    let verdict = v1::SourceVerdict {
        bad_lines: 12,
        bad_line_examples: (1..=4).map(|n| format!("line {n}: bad")).collect(),
        ..v1::SourceVerdict::default()
    };
    let parts = vec![
        source(&job, 0, 1),
        Part::Entries(batch(3..9)),
        Part::Verdict(verdict),
    ];
    send(&leader, parts).await.unwrap();
    let running = leader.until_it_is(&job, JobState::Running).await;
    assert_eq!(running.progress.unwrap().planned, 9);
    let [read, upload] = &running.sources[..] else {
        panic!("{:?}", running.sources)
    };
    assert_eq!((read.entries, read.bad_lines, upload.entries), (6, 12, 5));
    let shown = ["line 1: bad", "line 2: bad", "line 3: bad"];
    assert_eq!(read.bad_line_examples, shown);
}

#[tokio::test]
async fn a_dry_run_ends_with_a_forecast_of_its_sample_at_the_present_budget() {
    let (cluster, leader) = Cluster::with_leader().await;
    let dry = v1::JobSpec {
        dry_run: true,
        ..spec(vec![uploaded()])
    };
    let job = leader.create(dry).await.unwrap().name;
    let parts = vec![upload_header(&job, 0), UploadPart::Entries(batch(0..2001))];
    leader.upload(parts).await.unwrap();
    let sample = of_task(&job, v1::source_header::Task::Sample(v1::SampleTask {}), 2);
    until_task_is_given(&leader, &sample).await;
    let planning = leader.get(&job).await;
    assert_eq!(planning.state(), JobState::Planning);
    assert_eq!(
        (planning.progress.unwrap().planned, planning.forecast),
        (2001, None)
    );
    let told = |loader| v1::LoaderSample {
        loader,
        origin: "shop".into(),
        batch_keys: 500,
        entries: 200,
        found: 190,
        bytes: 20_000,
        memory_bytes: 60_000,
    };
    let verdict = |samples| {
        Part::Verdict(v1::SourceVerdict {
            origin_queries: 1,
            origin_rows: 190,
            samples,
            ..v1::SourceVerdict::default()
        })
    };
    let refused = send(&leader, vec![sample.clone(), verdict(vec![told(1)])])
        .await
        .unwrap_err();
    assert_eq!(
        fault(&refused),
        (Code::InvalidArgument, "verdict.samples".into())
    );
    send(&leader, vec![sample, verdict(vec![told(0)])])
        .await
        .unwrap();

    let ended = leader.until_it_is(&job, JobState::Succeeded).await;
    let progress = ended.progress.unwrap();
    assert_eq!((progress.planned, progress.pending), (2001, 0));
    assert_eq!(outcomes(&ended).skipped, 2001);
    let forecast = ended.forecast.unwrap();
    assert_eq!(forecast.loaders[0].entries, 2001);
    assert_eq!(
        (forecast.origin_queries, forecast.cache_bytes),
        (5, 200_100)
    );
    let quarter = std::time::Duration::from_millis(250);
    assert_eq!(
        forecast.duration,
        prost_types::Duration::try_from(quarter).ok()
    );
    // Twice the budget, half the time; none, no forecast of it.
    for (qps_milli, expected_ms) in [(40_000, Some(125)), (0, None)] {
        let target = v1::Allowance {
            qps_milli,
            burst: 1,
            in_flight: 1,
            rows: None,
        };
        let request = v1::SetBudgetRequest {
            resource: "origin/shop".into(),
            target: Some(target),
            ..v1::SetBudgetRequest::default()
        };
        leader.budgets.clone().set_budget(request).await.unwrap();
        let forecast = leader.get(&job).await.forecast.unwrap();
        let expected = expected_ms
            .map(std::time::Duration::from_millis)
            .and_then(|ms| prost_types::Duration::try_from(ms).ok());
        assert_eq!(forecast.duration, expected);
    }
    let nobody = all::<Assignment>(&cluster, &keys::assignments(&job_name(&job))).await;
    assert!(nobody.is_empty(), "nothing of it was given out");
}

#[tokio::test]
async fn keys_are_bytes_from_the_upload_to_the_stream() {
    let (cluster, leader) = Cluster::with_leader().await;
    let job = leader.create(spec(vec![uploaded()])).await.unwrap().name;
    let every_byte: Vec<u8> = (0..=255).collect();
    let not_text = vec![0xff, 0x00, b'{', 0xfe, b'}', b'\n'];
    let mut entries = batch(0..2);
    entries.keys = vec![every_byte.clone().into(), not_text.clone().into()];
    leader
        .upload(vec![upload_header(&job, 0), UploadPart::Entries(entries)])
        .await
        .unwrap();
    leader.until_it_is(&job, JobState::Running).await;
    let (record, _) = cluster
        .read::<stoke_core::records::Job>(&keys::job(&job_name(&job)))
        .await
        .unwrap();
    let plan = record.plan.unwrap();
    let starts = (0..u32::from(plan.partitioning.count()))
        .map(|partition| v1::PartitionStart { partition, band: 0 });
    let request = v1::StreamEntriesRequest {
        job: job.clone(),
        plan: plan.name,
        partitions: starts.collect(),
    };
    let mut stream = leader
        .workers
        .clone()
        .stream_entries(request)
        .await
        .unwrap()
        .into_inner();
    let mut keys = std::collections::BTreeSet::new();
    while let Some(message) = stream.message().await.unwrap() {
        for segment in message.segments {
            let body = match segment.encoding() {
                v1::Encoding::Zstd => zstd::stream::decode_all(&segment.body[..]).unwrap(),
                _ => segment.body.to_vec(),
            };
            let batch = <v1::EntryBatch as prost::Message>::decode(&body[..]).unwrap();
            keys.extend(batch.keys.iter().map(|key| key.to_vec()));
        }
    }
    assert_eq!(keys, [every_byte, not_text].into());
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
        ..v1::AttachRequest::default()
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
