//! `stoke status`: how a job stands.

use stoke_proto::v1;

use super::{print_job, printed};
use crate::Outcome;
use crate::args::JobArgs;
use crate::client::{Cluster, job_of, jobs, unary};
use crate::exit::Failure;
use crate::show::style::Palette;

/// Prints a job; that it failed is no fault of the question's.
pub async fn status(args: &JobArgs, palette: Palette) -> Outcome {
    let cluster = Cluster::new(&args.output.cluster.coordinator)?;
    let job = get(&cluster, &args.job).await?;
    printed(print_job(&job, args.output.output, palette))
}

/// How a job stands.
///
/// # Errors
/// Where there is none of that name, or nobody answers.
pub async fn get(cluster: &Cluster, name: &str) -> Result<v1::Job, Failure> {
    let request = v1::GetJobRequest { name: name.into() };
    let got = cluster.call(|channel| {
        let request = unary(request.clone());
        async move { jobs(channel).get_job(request).await }
    });
    job_of(got.await?.job)
}
