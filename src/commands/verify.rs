//! `stoke verify`: a job that only looks is created and followed, and what differs is listed.

use stoke_proto::v1;

use super::{request_id, watch};
use crate::args::{VerifyArgs, VerifyFormat};
use crate::client::{Cluster, job_of, jobs, refusal, unary, watch::to_the_end};
use crate::exit::{self, Exit, Failure};
use crate::show::entries::{FAILURE_COLUMNS, csv, failure_fields};
use crate::show::progress::Progress;
use crate::show::verification::Verification;
use crate::{Outcome, print};

/// Looks, and lists what differs.
pub async fn verify(args: &VerifyArgs) -> Outcome {
    let cluster = Cluster::new(&args.cluster.coordinator)?;
    let request = v1::VerifyJobRequest {
        name: args.job.clone(),
        request_id: request_id::new("verify"),
        sample: if args.full { 0 } else { args.sample },
        values: args.values,
    };
    let created = cluster.call(|channel| {
        let request = unary(request.clone());
        async move { jobs(channel).verify_job(request).await }
    });
    let name = job_of(created.await?.job)?.name;
    print::say(format!("job {name} looks"));
    let mut progress = Progress::new();
    let looked = tokio::select! {
        looked = to_the_end(&cluster, &name, true, &mut progress) => looked,
        _ = tokio::signal::ctrl_c() => {
            progress.finish();
            print::say(watch::goes_on(&name));
            return Ok(Exit::Interrupted);
        }
    };
    progress.finish();
    let looked = looked?;
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let differences = first_failures(&cluster, &name, limit).await?;
    let verification = Verification::new(&args.job, &looked, &differences);
    let text = match args.output {
        VerifyFormat::Text => verification.text().into_bytes(),
        VerifyFormat::Json => print::json(&verification).into_bytes(),
        VerifyFormat::Csv => csv(
            Some(&FAILURE_COLUMNS),
            differences.iter().map(failure_fields),
        ),
    };
    if args.output != VerifyFormat::Text {
        print::say(verification.summary());
    }
    // Nobody reads it any more? The outcome is told by the exit code.
    print::data(text)?;
    if !looked.reason.is_empty() && verification.differs() == 0 {
        print::say(format!(
            "job {name}: {}",
            crate::show::plain(&looked.reason)
        ));
    }
    Ok(exit::of_verification(&looked))
}

/// The first failed entries of a job.
async fn first_failures(
    cluster: &Cluster,
    name: &str,
    limit: usize,
) -> Result<Vec<v1::FailedEntry>, Failure> {
    let request = v1::ListFailuresRequest { name: name.into() };
    let listed = cluster.call(|channel| {
        let request = request.clone();
        async move { jobs(channel).list_failures(request).await }
    });
    let mut listed = listed.await?;
    let mut first = Vec::new();
    while first.len() < limit {
        let message = listed.message().await;
        match message.map_err(|status| refusal::failure(&status))? {
            Some(message) => first.extend(message.failures),
            None => break,
        }
    }
    first.truncate(limit);
    Ok(first)
}
