//! The job: submitted and watched over gRPC, as any caller would.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use prost_types::Timestamp;
use stoke_proto::v1::job_service_client::JobServiceClient;
use stoke_proto::v1::{
    BatchWork, CreateJobRequest, Job, JobSpec, JobState, KeySource, Loader, SqlSource,
    WatchJobRequest, WriteMode, job_spec, key_source,
};
use tokio::time::{Instant, sleep, timeout_at};
use tonic::Code;
use tonic::transport::Channel;

use crate::fleet::{CACHE, LOADER, ORIGIN};
use crate::progress::Bar;
use crate::shop;

/// How long a coordinator that just started may refuse jobs, for want of a leader or of workers.
const ACCEPTED_WITHIN: Duration = Duration::from_secs(30);
const TRY_EVERY: Duration = Duration::from_millis(200);

/// How long the job may take. It should be done within a tenth of this; a machine may be busy.
const DONE_WITHIN: Duration = Duration::from_secs(120);

/// A job that is over.
pub(crate) struct Done {
    pub(crate) job: Job,
    /// Between its creation and the start of loading: its keys were read, ranked and shared out.
    pub(crate) planning: Duration,
    /// Between the start of loading and its end.
    pub(crate) loading: Duration,
}

/// Has the `count` most viewed products warmed, and shows how it goes.
///
/// # Errors
/// The job is not accepted within half a minute, or not over within two. A job that failed is no error here.
pub(crate) async fn run(coordinator: &str, count: usize) -> Result<Done> {
    let mut client = JobServiceClient::connect(coordinator.to_owned())
        .await
        .context("connecting to the coordinator")?;
    let name = create(&mut client, count).await?;
    let job = watch(&mut client, name, count).await?;
    Ok(Done {
        planning: between(job.create_time.as_ref(), job.start_time.as_ref()),
        loading: between(job.start_time.as_ref(), job.end_time.as_ref()),
        job,
    })
}

/// Creates the job, and returns its name.
async fn create(client: &mut JobServiceClient<Channel>, count: usize) -> Result<String> {
    // The same id each time: a request whose answer was lost makes no second job.
    let request = CreateJobRequest {
        request_id: "quickstart".to_owned(),
        spec: Some(spec(count)),
    };
    let deadline = Instant::now() + ACCEPTED_WITHIN;
    loop {
        match client.create_job(request.clone()).await {
            Ok(answer) => {
                let job = answer.into_inner().job;
                return Ok(job.context("the answer has no job")?.name);
            }
            Err(refusal) if may_pass(refusal.code()) && Instant::now() < deadline => {
                sleep(TRY_EVERY).await;
            }
            Err(refusal) => return Err(refusal).context("creating the job"),
        }
    }
}

/// Nobody leads yet, or no worker is there yet.
fn may_pass(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::FailedPrecondition)
}

fn spec(count: usize) -> JobSpec {
    let most_viewed = SqlSource {
        origin: ORIGIN.to_owned(),
        query: shop::most_viewed(count),
    };
    let work = BatchWork {
        sources: vec![KeySource {
            loader: LOADER.to_owned(),
            from: Some(key_source::From::Sql(most_viewed)),
            ..KeySource::default()
        }],
        loaders: vec![Loader {
            name: LOADER.to_owned(),
            // None: the one of that name in the workers' configuration.
            ..Loader::default()
        }],
        cache: CACHE.to_owned(),
        mode: WriteMode::Add.into(),
        ..BatchWork::default()
    };
    JobSpec {
        labels: HashMap::from([("app".to_owned(), "shop".to_owned())]),
        work: Some(job_spec::Work::Batch(work)),
        trigger: "quickstart".to_owned(),
        requester: "make quickstart".to_owned(),
        ..JobSpec::default()
    }
}

/// Watches the job until it is over, and returns it as it was then.
async fn watch(client: &mut JobServiceClient<Channel>, name: String, count: usize) -> Result<Job> {
    let deadline = Instant::now() + DONE_WITHIN;
    let mut bar = Bar::new(count as u64);
    let mut answers = client
        .watch_job(WatchJobRequest { name })
        .await
        .context("watching the job")?
        .into_inner();
    loop {
        let answer = timeout_at(deadline, answers.message())
            .await
            .with_context(|| format!("the job was not over after {DONE_WITHIN:?}"))?
            .context("watching the job")?;
        let Some(answer) = answer else {
            bail!("the coordinator stopped telling of the job before it was over")
        };
        let job = answer.job.context("the answer has no job")?;
        bar.show(&job);
        if is_over(job.state()) {
            bar.finish();
            return Ok(job);
        }
    }
}

fn is_over(state: JobState) -> bool {
    matches!(
        state,
        JobState::Succeeded | JobState::Failed | JobState::Aborted
    )
}

/// The time between two moments; none where one of them did not come.
fn between(from: Option<&Timestamp>, to: Option<&Timestamp>) -> Duration {
    let nanos =
        |time: &Timestamp| i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos);
    let (Some(from), Some(to)) = (from, to) else {
        return Duration::ZERO;
    };
    let nanos = nanos(to) - nanos(from);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}
