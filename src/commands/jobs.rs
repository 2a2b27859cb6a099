//! `stoke jobs`: the newest, page after page; and those that are over are forgotten.

mod prune;

use std::time::SystemTime;

use stoke_proto::v1;

use super::printed;
use crate::Outcome;
use crate::args::{JobsArgs, JobsCommand, OutputArg};
use crate::client::{Cluster, jobs as api, unary};
use crate::exit::{Exit, Failure};
use crate::print::{self, Reader};
use crate::show::job::JobReport;
use crate::show::jobs as table;
use crate::show::style::Palette;

/// How many jobs are asked for at once.
const PAGE: u32 = 100;

/// Lists jobs, or does what is said with them.
pub async fn jobs(args: &JobsArgs, palette: Palette) -> Outcome {
    match &args.command {
        None => list(args, palette).await,
        Some(JobsCommand::Prune(args)) => prune::prune(args, palette).await,
    }
}

async fn list(args: &JobsArgs, palette: Palette) -> Outcome {
    let mut pages = Pages::new(args)?;
    if args.output.output == OutputArg::Json {
        // Each page as it comes: there may be thousands.
        while let Some(page) = pages.next().await? {
            let now = SystemTime::now();
            let lines = page
                .iter()
                .map(|job| print::json(&JobReport::new(job, now)));
            if print::data(lines.collect::<String>())? == Reader::Gone {
                break;
            }
        }
        return Ok(Exit::Succeeded);
    }
    let mut jobs = Vec::new();
    while let Some(page) = pages.next().await? {
        jobs.extend(page);
    }
    if jobs.is_empty() {
        print::say("there are no such jobs");
        return Ok(Exit::Succeeded);
    }
    printed(print::data(table::text(&jobs, SystemTime::now(), palette)))
}

/// The pages of a list that is as long as was asked for.
struct Pages {
    cluster: Cluster,
    request: v1::ListJobsRequest,
    /// How many jobs are still wanted.
    wanted: u32,
    ended: bool,
}

impl Pages {
    fn new(args: &JobsArgs) -> Result<Self, Failure> {
        let states = args
            .states
            .iter()
            .map(|state| v1::JobState::from(*state).into());
        Ok(Self {
            cluster: Cluster::new(&args.output.cluster.coordinator)?,
            request: v1::ListJobsRequest {
                labels: args.labels.iter().cloned().collect(),
                states: states.collect(),
                ..v1::ListJobsRequest::default()
            },
            wanted: if args.all { u32::MAX } else { args.limit },
            ended: false,
        })
    }

    async fn next(&mut self) -> Result<Option<Vec<v1::Job>>, Failure> {
        if self.ended || self.wanted == 0 {
            return Ok(None);
        }
        self.request.page_size = self.wanted.min(PAGE);
        let listed = self.cluster.call(|channel| {
            let request = unary(self.request.clone());
            async move { api(channel).list_jobs(request).await }
        });
        let listed = listed.await?;
        self.ended = listed.next_page_token.is_empty();
        self.request.page_token = listed.next_page_token;
        let count = u32::try_from(listed.jobs.len()).unwrap_or(u32::MAX);
        self.wanted = self.wanted.saturating_sub(count);
        Ok(Some(listed.jobs))
    }
}
