//! `stoke plan export`: what a plan has, as it comes.

use stoke_proto::v1;

use super::status;
use crate::Outcome;
use crate::args::{ExportFormat, PlanArgs, PlanCommand};
use crate::client::{Cluster, jobs, refusal};
use crate::exit::{Exit, OrExit};
use crate::print::{Reader, Sink};
use crate::show::entries::{PLAN_COLUMNS, PlanEntry, csv, plan_entries};
use crate::show::job::batch;

/// Exports a plan.
pub async fn plan(args: &PlanArgs) -> Outcome {
    let PlanCommand::Export(args) = &args.command;
    let cluster = Cluster::new(&args.cluster.coordinator)?;
    // The entries name their loaders by number.
    let loaders = loaders_of(&status::get(&cluster, &args.job).await?);
    let request = v1::ExportPlanRequest {
        name: args.job.clone(),
    };
    let exported = cluster.call(|channel| {
        let request = request.clone();
        async move { jobs(channel).export_plan(request).await }
    });
    let mut exported = exported.await?;
    let mut sink = Sink::new(args.file.as_deref())?;
    let mut header = Some(PLAN_COLUMNS.as_slice());
    loop {
        let message = exported
            .message()
            .await
            .map_err(|status| refusal::failure(&status))?;
        let is_last = message.is_none();
        let batch = message
            .and_then(|message| message.entries)
            .unwrap_or_default();
        let entries = plan_entries(&batch, &loaders);
        let text = match args.output {
            ExportFormat::Json => entries.map(|entry| entry.json()).collect::<String>().into(),
            ExportFormat::Csv => {
                let records: Vec<_> = entries.map(|entry: PlanEntry<'_>| entry.fields()).collect();
                csv(header.take(), records)
            }
        };
        if sink.write(&text)? == Reader::Gone {
            return Ok(Exit::Succeeded);
        }
        if is_last {
            sink.finish().or_exit(Exit::Unreachable)?;
            return Ok(Exit::Succeeded);
        }
    }
}

fn loaders_of(job: &v1::Job) -> Vec<String> {
    let batch = job.spec.as_ref().and_then(batch);
    let loaders = batch.map_or(&[][..], |batch| &batch.loaders);
    loaders.iter().map(|loader| loader.name.clone()).collect()
}
