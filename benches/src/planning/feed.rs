//! A job, and a worker that sends its source's entries.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use stoke_core::job::{Life, Phase};
use stoke_core::names::{JobName, WorkerName};
use stoke_core::plan::PlanSummary;
use stoke_core::records::{Job, Member, SourceTask, keys};
use stoke_proto::v1;
use stoke_proto::v1::job_service_client::JobServiceClient;
use stoke_proto::v1::send_source_request::Part;
use stoke_proto::v1::source_header::Task;
use stoke_proto::v1::worker_service_client::WorkerServiceClient;
use stoke_store::{Keys, Op, Store, Txn, record};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often it is looked whether something has come about.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How many entries a message has: as many as workers send.
const ENTRIES_PER_MESSAGE: u64 = 2_000;
const WORKER: &str = "w1";

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Some(found) = look().await? {
            return Ok(found);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    bail!("waited in vain until {what}")
}

async fn read<T: serde::de::DeserializeOwned>(store: &dyn Store, key: String) -> Result<Option<T>> {
    let found = store.read(&[Keys::One(key)]).await?;
    Ok(found.entries.first().map(record::decode).transpose()?)
}

/// Creates a job with one source, at a coordinator that leads by then; gives its name.
pub(super) async fn create(store: &dyn Store, address: &str) -> Result<JobName> {
    let worker: WorkerName = WORKER.parse()?;
    let member = Member {
        origins: ["shop".parse()?].into(),
        caches: ["main".parse()?].into(),
        loaders: [("product".parse()?, "shop".parse()?)].into(),
        sources: [("top".parse()?, Some("shop".parse()?))].into(),
        ..Member::default()
    };
    let put = Op::Put {
        key: keys::member(&worker),
        value: record::encode(&member),
        lease: None,
    };
    let txn = Txn {
        compares: Vec::new(),
        ops: vec![put],
    };
    store.txn(txn).await?;
    let source = v1::KeySource {
        from: Some(v1::key_source::From::Named("top".into())),
        ..v1::KeySource::default()
    };
    let work = v1::BatchWork {
        sources: vec![source],
        loaders: vec![v1::Loader {
            name: "product".into(),
            ..v1::Loader::default()
        }],
        cache: "main".into(),
        ..v1::BatchWork::default()
    };
    let request = v1::CreateJobRequest {
        request_id: "bench".into(),
        spec: Some(v1::JobSpec {
            work: Some(v1::job_spec::Work::Batch(work)),
            ..v1::JobSpec::default()
        }),
    };
    let mut jobs = JobServiceClient::connect(address.to_owned()).await?;
    let created = until("the coordinator leads", async || {
        Ok(jobs.create_job(request.clone()).await.ok())
    });
    let job = created.await?.into_inner().job.context("no job")?;
    Ok(job.name.parse()?)
}

/// Sends so many entries as what the job's source gave, and that its loaders can be used; returns when the coordinator has
/// taken them.
pub(super) async fn send(
    store: &dyn Store,
    address: &str,
    job: &JobName,
    entries: u64,
) -> Result<()> {
    let given: SourceTask = until("the source is given out", async || {
        read(store, keys::read(job, 0)).await
    })
    .await?;
    let header = |task| {
        let header = v1::SourceHeader {
            job: job.to_string(),
            task: Some(task),
            attempt: given.attempt,
            worker: WORKER.into(),
        };
        Part::Header(header)
    };
    let request = |part| v1::SendSourceRequest { part: Some(part) };
    let verdict = || Part::Verdict(v1::SourceVerdict::default());
    let mut workers = WorkerServiceClient::connect(address.to_owned()).await?;
    let prepared = [header(Task::Prepare(v1::PrepareTask {})), verdict()].map(request);
    workers.send_source(tokio_stream::iter(prepared)).await?;
    let batches = (0..entries.div_ceil(ENTRIES_PER_MESSAGE)).map(move |n| {
        let from = n * ENTRIES_PER_MESSAGE;
        Part::Entries(batch(from..(from + ENTRIES_PER_MESSAGE).min(entries)))
    });
    let parts = std::iter::once(header(Task::Source(0)))
        .chain(batches)
        .chain([verdict()]);
    workers
        .send_source(tokio_stream::iter(parts.map(request)))
        .await?;
    Ok(())
}

/// Entries with different keys, whose priorities fall as one over their rank, in no order.
fn batch(numbers: std::ops::Range<u64>) -> v1::EntryBatch {
    /// A prime that no number of entries has in common: each key comes once.
    const SCATTER: u64 = 2_654_435_761;
    let mut batch = v1::EntryBatch::default();
    for n in numbers {
        let key = n.wrapping_mul(SCATTER) % (1 << 40);
        let rank = n.wrapping_mul(SCATTER) % 10_000_019 + 1;
        batch.keys.push(format!("product:{key}").into());
        batch.priorities.push(1_000_000_000_000 / rank);
        batch.loaders.push(0);
        batch.arguments.push(key.to_string());
    }
    batch
}

/// Waits until the job runs; gives its plan.
pub(super) async fn until_planned(store: &dyn Store, job: &JobName) -> Result<PlanSummary> {
    until("the job is planned", async || {
        let life: Option<Life> = read(store, keys::run(job)).await?;
        if let Some(life) = life.filter(|life| life.phase == Phase::Failed) {
            bail!("the job has failed: {}", life.reason);
        }
        let record: Option<Job> = read(store, keys::job(job)).await?;
        Ok(record.and_then(|job| job.plan))
    })
    .await
}
