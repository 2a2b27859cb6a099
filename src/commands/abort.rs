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
    let ended = watch::follow(&cluster, &args.job, true, args.output.output, palette).await?;
    Ok(match ended {
        Exit::Aborted => Exit::Succeeded,
        other => other,
    })
}
