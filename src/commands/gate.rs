//! `stoke gate`: waits until what a job warms is warm enough, and says by its exit code whether it is.

use std::time::{Duration, Instant};

use anyhow::anyhow;
use stoke_proto::v1;
use tonic::Code;
use v1::GateVerdict;

use crate::args::{GateArgs, IfUnknown, OutputArg};
use crate::client::again::Again;
use crate::client::{Cluster, broken, jobs, refusal};
use crate::exit::{Exit, Failure, OrExit};
use crate::show::gate::{GateReport, text};
use crate::told::Told;
use crate::{Outcome, print};

/// How long lies between two words on how the gate stands.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// Waits.
pub async fn gate(args: &GateArgs) -> Outcome {
    let cluster = Cluster::new(&args.output.cluster.coordinator)?;
    let mut told = Told::new().or_exit(Exit::Unreachable)?;
    let waited = tokio::select! {
        waited = wait(args, &cluster) => waited,
        _ = told.heard() => return Ok(Exit::Interrupted),
    };
    let waited = match waited {
        Err((_, error)) if args.if_unknown == IfUnknown::Open && is_of_no_job(&error) => {
            print::say(format!("{error}: the gate is open, as --if-unknown says"));
            return Ok(Exit::Succeeded);
        }
        waited => waited?,
    };
    print::data(match args.output.output {
        OutputArg::Json => print::json(&GateReport::new(&args.job, &waited)),
        OutputArg::Text => text(&args.job, &waited),
    })?;
    Ok(match waited.verdict() {
        GateVerdict::Met => Exit::Succeeded,
        _ => Exit::NotMet,
    })
}

/// Whether a call was refused for there is no such job.
fn is_of_no_job(error: &anyhow::Error) -> bool {
    let refused = error.downcast_ref::<refusal::Refused>();
    refused.is_some_and(|refused| refused.code == Code::NotFound)
}

/// Calls again where a call breaks, until there is a verdict or the time is over.
async fn wait(args: &GateArgs, cluster: &Cluster) -> Result<v1::GateJobResponse, Failure> {
    let until = Instant::now() + args.timeout;
    let mut said = Said::default();
    let mut again = Again::new(args.timeout, false);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        match once(args, cluster, left, &mut again, &mut said).await {
            Ok(verdict) => return Ok(verdict),
            Err(failure) if left.is_zero() => return Err(failure),
            Err(failure) => {
                let broke = |error: &anyhow::Error| {
                    print::say(format!("the call broke, and is made again: {error:#}"));
                };
                again.after(failure, broke).await?;
            }
        }
    }
}

/// One call, to its verdict.
async fn once(
    args: &GateArgs,
    cluster: &Cluster,
    left: Duration,
    again: &mut Again,
    said: &mut Said,
) -> Result<v1::GateJobResponse, Failure> {
    let request = v1::GateJobRequest {
        name: args.job.clone(),
        coverage: args.coverage.unwrap_or(0.0),
        hit_rate: args.hit_rate.unwrap_or(0.0),
        sample: args.sample,
        measure_every: args.measure_every.try_into().ok(),
        timeout: left.try_into().ok(),
    };
    let opened = cluster.call(|channel| {
        let request = request.clone();
        async move { jobs(channel).gate_job(request).await }
    });
    let mut waiting = opened.await?;
    again.answered();
    loop {
        match waiting.message().await {
            Ok(Some(stands)) => {
                if stands.verdict() != GateVerdict::Waiting {
                    return Ok(stands);
                }
                said.waiting(&args.job, &stands);
            }
            // The coordinator stops, or does not lead any more.
            Ok(None) => {
                return Err(anyhow!("it ended before the gate was judged"))
                    .or_exit(Exit::Unreachable);
            }
            Err(status) => return Err(broken(&status)),
        }
    }
}

/// What was said so far of how the gate stands: not each of its hundred changes.
#[derive(Default)]
struct Said(Option<Instant>);

impl Said {
    fn waiting(&mut self, job: &str, stands: &v1::GateJobResponse) {
        if self.0.is_none_or(|at| at.elapsed() >= SAID_EVERY) {
            self.0 = Some(Instant::now());
            print::say(text(job, stands).trim_end());
        }
    }
}
