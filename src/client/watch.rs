//! Watching a job to its end, whichever coordinator answers: a watch that breaks is begun again.

use std::time::Duration;

use anyhow::anyhow;
use stoke_proto::v1;

use super::again::Again;
use super::{Cluster, broken, job_of, jobs};
use crate::exit::{Exit, Failure, OrExit};
use crate::show::job::is_over;
use crate::show::progress::Progress;

/// For how long nobody need answer, before nobody seems to be there.
const PATIENCE: Duration = Duration::from_secs(60);

/// Shows a job's progress until it is over, and returns it as it was then.
///
/// `known`: the job is known to be there, so that nobody answering is waited for from the beginning.
///
/// # Errors
/// Where nobody answers for a minute, or there is no such job.
pub async fn to_the_end(
    cluster: &Cluster,
    name: &str,
    known: bool,
    progress: &mut Progress,
) -> Result<v1::Job, Failure> {
    let mut again = Again::new(PATIENCE, known);
    loop {
        match once(cluster, name, &mut again, progress).await {
            Ok(job) => return Ok(job),
            Err(failure) => {
                let broke = |error: &anyhow::Error| {
                    progress.note(&format!("the watch broke, and is begun again: {error:#}"));
                };
                again.after(failure, broke).await?;
            }
        }
    }
}

/// Watches until the job is over.
async fn once(
    cluster: &Cluster,
    name: &str,
    again: &mut Again,
    progress: &mut Progress,
) -> Result<v1::Job, Failure> {
    let request = v1::WatchJobRequest { name: name.into() };
    let opened = cluster.call(|channel| {
        let request = request.clone();
        async move { jobs(channel).watch_job(request).await }
    });
    let mut watched = opened.await?;
    loop {
        match watched.message().await {
            Ok(Some(message)) => {
                let job = job_of(message.job)?;
                again.answered();
                progress.job(&job);
                if is_over(&job) {
                    return Ok(job);
                }
            }
            Ok(None) => {
                return Err(anyhow!("it ended before the job was over")).or_exit(Exit::Unreachable);
            }
            Err(status) => return Err(broken(&status)),
        }
    }
}
