//! `stoke abort`: stops a job for good.

use stoke_proto::v1::{self, JobState};

use super::{print_job, printed, watch};
use crate::Outcome;
use crate::args::AbortArgs;
use crate::client::{Cluster, job_of, jobs, unary};
use crate::exit::Exit;
use crate::show::job::is_over;
use crate::show::style::Palette;

/// Aborts. With `--wait`, that the job is ABORTED then is what was asked for: a success.
pub async fn abort(args: &AbortArgs, palette: Palette) -> Outcome {
    let cluster = Cluster::new(&args.output.cluster.coordinator)?;
    let request = v1::AbortJobRequest {
        name: args.job.clone(),
        reason: args.reason.clone(),
    };
    let aborted = cluster.call(|channel| {
        let request = unary(request.clone());
        async move { jobs(channel).abort_job(request).await }
    });
    let job = job_of(aborted.await?.job)?;
    if !args.wait || is_over(&job) {
        return printed(print_job(&job, args.output.output, palette));
    }
    debug_assert_eq!(job.state(), JobState::Aborting);
    let left = stopped_waiting(&args.job);
    let output = args.output.output;
    let ended = watch::follow(&cluster, &args.job, true, output, palette, &left).await?;
    Ok(match ended {
        Exit::Aborted => Exit::Succeeded,
        other => other,
    })
}

/// What is said on Ctrl-C: the abort is not taken back by it.
fn stopped_waiting(name: &str) -> String {
    format!("stopped waiting; the job is aborted all the same (`stoke watch {name}` shows it)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_an_abort_is_not_told_to_abort() {
        let said = stopped_waiting("j1");
        assert!(
            said.contains("stoke watch j1") && !said.contains("stoke abort"),
            "{said}"
        );
    }
}
