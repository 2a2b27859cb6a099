//! Looking at a cluster's jobs, and stopping them.

use std::time::Duration;

use stoke_proto::v1;

use crate::Outcome;
use crate::args::{JobArgs, JobsArgs, OutputArg};
use crate::client::{call, exit_of, job_of};
use crate::exit::{Exit, OrExit};
use crate::warm::show::Show;
use crate::warm::{is_over, report};

/// How many jobs are listed.
const LISTED: u32 = 100;

/// What is asked of a job.
#[derive(Clone, Copy, Debug)]
pub enum Ask {
    /// How it stands.
    Status,
    /// To stand still.
    Pause,
    /// To go on.
    Resume,
    /// To stop for good.
    Abort,
}

/// Lists the newest jobs.
pub async fn jobs(args: &JobsArgs) -> Outcome {
    let request = v1::ListJobsRequest {
        page_size: LISTED,
        ..v1::ListJobsRequest::default()
    };
    let listed = call(&args.coordinator, |mut jobs| {
        let request = request.clone();
        async move { jobs.list_jobs(request).await }
    });
    for job in listed.await?.jobs {
        println!("{}", report::line(&job));
    }
    Ok(Exit::Succeeded)
}

/// Asks something of a job, and prints how it stands then.
pub async fn ask(args: &JobArgs, ask: Ask) -> Outcome {
    let name = args.job.clone();
    let answer = call(&args.cluster.coordinator, |mut jobs| {
        let name = name.clone();
        async move {
            let reason = String::new();
            Ok(match ask {
                Ask::Status => jobs
                    .get_job(v1::GetJobRequest { name })
                    .await?
                    .map(|answer| answer.job),
                Ask::Pause => {
                    let request = v1::PauseJobRequest {
                        name,
                        reason,
                        ..v1::PauseJobRequest::default()
                    };
                    jobs.pause_job(request).await?.map(|answer| answer.job)
                }
                Ask::Resume => {
                    let request = v1::ResumeJobRequest {
                        name,
                        ..v1::ResumeJobRequest::default()
                    };
                    jobs.resume_job(request).await?.map(|answer| answer.job)
                }
                Ask::Abort => jobs
                    .abort_job(v1::AbortJobRequest { name, reason })
                    .await?
                    .map(|answer| answer.job),
            })
        }
    });
    print(&job_of(answer.await?)?, args.output);
    Ok(Exit::Succeeded)
}

/// How often a broken watch is begun again, a second apart, before nobody seems to be there.
const WATCH_AGAIN_MAX: usize = 60;

/// Shows a job's progress to its end, whichever coordinator answers; Ctrl-C only stops watching.
pub async fn watch(args: &JobArgs) -> Outcome {
    let mut show = Show::new();
    let watching = async {
        let mut failures = 0;
        loop {
            match watch_once(args, &mut show).await {
                Ok(Some(job)) => return Ok(job),
                Ok(None) => {}
                Err((Exit::Unreachable, _)) if failures < WATCH_AGAIN_MAX => failures += 1,
                Err(error) => return Err(error),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let job = tokio::select! {
        job = watching => job?,
        _ = tokio::signal::ctrl_c() => return Ok(Exit::Interrupted),
    };
    show.finish();
    print(&job, args.output);
    Ok(report::exit(&job))
}

/// Watches until the job is over; `None` where the stream ended before.
async fn watch_once(
    args: &JobArgs,
    show: &mut Show,
) -> Result<Option<v1::Job>, (Exit, anyhow::Error)> {
    let request = v1::WatchJobRequest {
        name: args.job.clone(),
    };
    let mut watched = call(&args.cluster.coordinator, |mut jobs| {
        let request = request.clone();
        async move { jobs.watch_job(request).await }
    })
    .await?;
    loop {
        match watched.message().await {
            Ok(Some(message)) => {
                let job = job_of(message.job)?;
                show.job(&job);
                if is_over(&job) {
                    return Ok(Some(job));
                }
            }
            Ok(None) => return Ok(None),
            Err(status) => {
                return Err(anyhow::anyhow!("{}", status.message())).or_exit(exit_of(&status));
            }
        }
    }
}

fn print(job: &v1::Job, output: OutputArg) {
    let seconds = report::seconds(job);
    match output {
        OutputArg::Json => println!("{}", report::json(job, seconds)),
        OutputArg::Text => print!("{}", report::text(job, seconds)),
    }
}
