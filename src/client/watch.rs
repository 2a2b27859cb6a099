//! Watching a job to its end, whichever coordinator answers: a watch that breaks is begun again.

use std::time::Duration;

use anyhow::anyhow;
use stoke_proto::v1;

use super::{Cluster, job_of, jobs, may_pass, refusal};
use crate::exit::{Exit, Failure, OrExit};
use crate::show::job::is_over;
use crate::show::progress::Progress;

/// How often a broken watch is begun again in a row, before nobody seems to be there.
const AGAIN_MAX: usize = 60;
/// How long between two attempts.
const AGAIN_EVERY: Duration = Duration::from_secs(1);

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
    let mut watch = Watch {
        seen: known,
        failures: 0,
    };
    loop {
        match watch.once(cluster, name, progress).await {
            Ok(job) => return Ok(job),
            Err((Exit::Unreachable, error)) if watch.seen && watch.failures < AGAIN_MAX => {
                // Only the first of a row is news.
                if watch.failures == 0 {
                    progress.note(&format!("the watch broke, and is begun again: {error:#}"));
                }
                watch.failures += 1;
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(AGAIN_EVERY).await;
    }
}

struct Watch {
    /// Whether the job was ever seen.
    seen: bool,
    /// Attempts in a row that have shown nothing.
    failures: usize,
}

impl Watch {
    /// Watches until the job is over.
    async fn once(
        &mut self,
        cluster: &Cluster,
        name: &str,
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
                    (self.seen, self.failures) = (true, 0);
                    progress.job(&job);
                    if is_over(&job) {
                        return Ok(job);
                    }
                }
                Ok(None) => {
                    return Err(anyhow!("it ended before the job was over"))
                        .or_exit(Exit::Unreachable);
                }
                Err(status) => {
                    let (exit, error) = refusal::failure(&status);
                    let exit = if may_pass(status.code()) {
                        Exit::Unreachable
                    } else {
                        exit
                    };
                    return Err((exit, error));
                }
            }
        }
    }
}
