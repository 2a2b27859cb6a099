//! `stoke failures`: the entries that failed, as they come.

use stoke_proto::v1;

use crate::Outcome;
use crate::args::{FailuresArgs, FailuresFormat};
use crate::client::{Cluster, jobs, refusal};
use crate::exit::Exit;
use crate::print::{self, Reader};
use crate::show::entries::{FAILURE_COLUMNS, csv, failure_fields, failure_json, failure_text};

/// Lists failed entries.
pub async fn failures(args: &FailuresArgs) -> Outcome {
    let cluster = Cluster::new(&args.cluster.coordinator)?;
    let request = v1::ListFailuresRequest {
        name: args.job.clone(),
    };
    let listed = cluster.call(|channel| {
        let request = request.clone();
        async move { jobs(channel).list_failures(request).await }
    });
    let mut listed = listed.await?;
    let mut header = Some(FAILURE_COLUMNS.as_slice());
    loop {
        let message = listed
            .message()
            .await
            .map_err(|status| refusal::failure(&status))?;
        let failures = message
            .as_ref()
            .map_or(&[][..], |message| &message.failures);
        // The header is there also where nothing has failed.
        let text = match args.output {
            FailuresFormat::Text => failures.iter().map(failure_text).collect::<String>().into(),
            FailuresFormat::Json => failures.iter().map(failure_json).collect::<String>().into(),
            FailuresFormat::Csv => csv(header.take(), failures.iter().map(failure_fields)),
        };
        if print::data(text)? == Reader::Gone || message.is_none() {
            return Ok(Exit::Succeeded);
        }
    }
}
