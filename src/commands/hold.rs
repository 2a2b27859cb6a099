//! `stoke pause` and `stoke resume`: holds.

use stoke_proto::v1;

use super::{print_job, printed};
use crate::Outcome;
use crate::args::{PauseArgs, ResumeArgs};
use crate::client::{Cluster, job_of, jobs, unary};
use crate::show::style::Palette;

/// Adds a hold.
pub async fn pause(args: &PauseArgs, palette: Palette) -> Outcome {
    let cluster = Cluster::new(&args.output.cluster.coordinator)?;
    let request = v1::PauseJobRequest {
        name: args.job.clone(),
        holder: args.holder.clone(),
        reason: args.reason.clone(),
    };
    let paused = cluster.call(|channel| {
        let request = unary(request.clone());
        async move { jobs(channel).pause_job(request).await }
    });
    let job = job_of(paused.await?.job)?;
    printed(print_job(&job, args.output.output, palette))
}

/// Removes a hold.
pub async fn resume(args: &ResumeArgs, palette: Palette) -> Outcome {
    let cluster = Cluster::new(&args.output.cluster.coordinator)?;
    let request = v1::ResumeJobRequest {
        name: args.job.clone(),
        holder: args.holder.clone(),
    };
    let resumed = cluster.call(|channel| {
        let request = unary(request.clone());
        async move { jobs(channel).resume_job(request).await }
    });
    let job = job_of(resumed.await?.job)?;
    printed(print_job(&job, args.output.output, palette))
}
