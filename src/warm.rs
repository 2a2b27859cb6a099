//! `stoke warm`: the one-liner on one's own data.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context;
use stoke_core::names::{JobName, Resource};
use stoke_proto::v1;
use stoke_worker::ReachError;
use tonic::Code;

use crate::Outcome;
use crate::args::WarmArgs;
use crate::client::{job_of, refusal};
use crate::commands::print_job;
use crate::config::share;
use crate::embedded::Embedded;
use crate::exit::{self, Exit, Failure, OrExit};
use crate::print::say;
use crate::show::progress::Progress;
use crate::show::style::Palette;
use crate::state::{self, State};
use crate::told::Told;

mod asked;
mod catalog;
mod live;
mod log;
mod spec;

use self::asked::asked;
use self::catalog::{catalog, copies};
use self::spec::spec;

/// What the origin and the cache are called in here.
const ORIGIN: &str = "origin";
/// What the Redis or Prometheus is called in here that keys are read from.
const KEYS: &str = "keys";
/// What the cache is called in here; further ones have a number behind it.
const CACHE: &str = "cache";
/// Queries a second where nothing is said.
const QPS_DEFAULT: f64 = 100.0;
/// Commands a second to a Redis that is copied from, where nothing is said.
const COMMANDS_DEFAULT: f64 = 10_000.0;
/// How often creating the job is tried while the coordinator and the workers are getting ready.
const CREATE_ATTEMPTS: usize = 100;
/// How long between two attempts.
const CREATE_AGAIN: Duration = Duration::from_millis(50);

/// Warms, and says what came of it.
pub async fn warm(args: &WarmArgs, palette: Palette) -> Outcome {
    let catalog = catalog(args).or_exit(Exit::Usage)?;
    let spec = spec(args).or_exit(Exit::Usage)?;
    let qps = args.qps.unwrap_or_else(|| {
        let (qps, what) = match copies(args) {
            false => (QPS_DEFAULT, "queries"),
            true => (COMMANDS_DEFAULT, "commands"),
        };
        say(format!(
            "at most {qps} {what} a second (set --qps for another rate)"
        ));
        qps
    });
    let origin = format!("origin/{ORIGIN}")
        .parse::<Resource>()
        .or_exit(Exit::Usage)?;
    let in_flight = args.in_flight.max(u64::from(args.workers));
    let mut budgets = BTreeMap::from([(origin, share(qps, in_flight, None))]);
    if args.keys_from.is_some() || args.promql.is_some() {
        let keys = format!("origin/{KEYS}")
            .parse::<Resource>()
            .or_exit(Exit::Usage)?;
        budgets.insert(keys, share(COMMANDS_DEFAULT, in_flight, None));
    }
    let state = match &args.state {
        Some(folder) => State::in_folder(folder, &asked(args, &catalog)).await?,
        None => State::in_memory(),
    };
    stoke_worker::reach(&catalog)
        .await
        .map_err(|error| match error {
            ReachError::Configuration(error) => (Exit::Usage, error.into()),
            ReachError::Unreachable(_) => (Exit::Unreachable, error.into()),
        })?;
    let stores = (state.store.clone(), state.plans.clone());
    let mut embedded = Embedded::start(budgets, &catalog, args.workers, stores)
        .await
        .or_exit(Exit::Unreachable)?;
    let ended = tokio::select! {
        ended = follow(&mut embedded, spec, &state) => ended,
        // Nobody would be answered any more.
        failed = state.store.failed() => return Err(anyhow::Error::from(failed)).or_exit(Exit::Unreachable),
    };
    embedded.stop().await;
    let job = ended?;
    print_job(&job, args.output, palette)?;
    Ok(exit::of_job(&job))
}

/// Creates the job, or finds the one that an earlier process left, and follows it to its end; Ctrl-C (or SIGTERM) aborts it,
/// and a second one leaves at once.
async fn follow(
    embedded: &mut Embedded,
    spec: v1::JobSpec,
    state: &State,
) -> Result<v1::Job, Failure> {
    let mut told = Told::new().or_exit(Exit::Unreachable)?;
    let created = match &state.unfinished {
        Some(job) => found(embedded, job).await?,
        None => create(embedded, spec).await?,
    };
    let request = v1::WatchJobRequest {
        name: created.name.clone(),
    };
    let watched = embedded
        .jobs
        .watch_job(request)
        .await
        .map_err(|status| refusal::failure(&status))?;
    let mut watched = watched.into_inner();
    let mut progress = Progress::new();
    let mut last = created;
    let mut aborted = false;
    loop {
        tokio::select! {
            message = watched.message() => match message.map_err(|status| refusal::failure(&status))? {
                Some(v1::WatchJobResponse { job: Some(job) }) => {
                    progress.job(&job);
                    last = job;
                }
                Some(_) => {}
                None => break,
            },
            signal = told.heard() => {
                if std::mem::replace(&mut aborted, true) {
                    progress.note("left without waiting for the abort to be confirmed");
                    std::process::exit(Exit::Aborted as i32);
                }
                progress.note("aborting; once more to leave at once");
                let request = v1::AbortJobRequest { name: last.name.clone(), reason: signal.into() };
                // Refused, the job is over already: the watch shows it.
                if let Err(status) = embedded.jobs.abort_job(request).await {
                    progress.note(status.message());
                }
            }
        }
    }
    progress.finish();
    Ok(last)
}

/// The job that an earlier process left; says how far that one has come with it.
async fn found(embedded: &mut Embedded, job: &JobName) -> Result<v1::Job, Failure> {
    let name = job.to_string();
    let found = embedded.jobs.get_job(v1::GetJobRequest { name }).await;
    let job = job_of(
        found
            .map_err(|status| refusal::failure(&status))?
            .into_inner()
            .job,
    )?;
    let progress = job.progress.unwrap_or_default();
    say(format!(
        "going on with job {}, which was interrupted: {} of {} entries have an outcome already",
        job.name,
        progress.planned - progress.pending,
        progress.planned
    ));
    Ok(job)
}

/// Creates the job, as soon as somebody leads and somebody can do it.
async fn create(embedded: &mut Embedded, spec: v1::JobSpec) -> Result<v1::Job, Failure> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        let request = v1::CreateJobRequest {
            request_id: state::REQUEST_ID.into(),
            spec: Some(spec.clone()),
        };
        match embedded.jobs.create_job(request).await {
            Ok(created) => {
                return created
                    .into_inner()
                    .job
                    .context("no job")
                    .or_exit(Exit::Unreachable);
            }
            Err(status)
                if attempts < CREATE_ATTEMPTS
                    && matches!(status.code(), Code::Unavailable | Code::FailedPrecondition) =>
            {
                tokio::time::sleep(CREATE_AGAIN).await;
            }
            Err(status) => return Err(refusal::failure(&status)),
        }
    }
}
