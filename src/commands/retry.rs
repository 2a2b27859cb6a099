//! `stoke retry`: a new job for the entries that failed in another.

use stoke_proto::v1;

use super::{print_created, request_id, watch};
use crate::args::RetryArgs;
use crate::client::{Cluster, job_of, jobs, unary};
use crate::show::style::Palette;
use crate::{Outcome, print};

/// Creates the job, and prints its name; or follows it to its end.
pub async fn retry(args: &RetryArgs, palette: Palette) -> Outcome {
    let cluster = Cluster::new(&args.output.cluster.coordinator)?;
    let request_id = args.request_id.clone();
    let request = v1::RetryJobRequest {
        name: args.job.clone(),
        request_id: request_id.unwrap_or_else(|| request_id::new("retry")),
    };
    let created = cluster.call(|channel| {
        let request = unary(request.clone());
        async move { jobs(channel).retry_job(request).await }
    });
    let job = job_of(created.await?.job)?;
    let output = args.output.output;
    if !args.watch {
        return print_created(&job, output, palette);
    }
    print::say(format!("job {}", job.name));
    let left = watch::goes_on(&job.name);
    watch::follow(&cluster, &job.name, true, output, palette, &left).await
}
