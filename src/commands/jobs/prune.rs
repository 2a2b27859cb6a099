//! `stoke jobs prune`: jobs that are over are forgotten, page after page.

use stoke_proto::v1;

use crate::Outcome;
use crate::args::{OutputArg, PruneArgs};
use crate::client::{Cluster, jobs as api, unary};
use crate::exit::Exit;
use crate::print::{self, Reader};
use crate::show::pruned::{self, PrunedReport, Total};
use crate::show::style::Palette;

/// How many jobs are forgotten in one call: each takes several calls to a plan store, which may be far away.
const PAGE: u32 = 20;

/// Forgets jobs. Each page is printed when it is done, so that what is printed is gone whatever happens to the next.
pub async fn prune(args: &PruneArgs, palette: Palette) -> Outcome {
    let cluster = Cluster::new(&args.output.cluster.coordinator)?;
    let states = args.states.iter();
    let mut request = v1::PruneJobsRequest {
        older_than: args
            .older_than
            .and_then(|older_than| prost_types::Duration::try_from(older_than).ok()),
        states: states
            .map(|state| v1::JobState::from(*state).into())
            .collect(),
        dry_run: args.dry_run,
        page_size: PAGE,
        page_token: String::new(),
    };
    let mut total = Total::default();
    let mut reader = Reader::Listens;
    loop {
        let pruned = cluster.call(|channel| {
            let request = unary(request.clone());
            async move { api(channel).prune_jobs(request).await }
        });
        let page = pruned.await?;
        // Whoever asked for all gets all, though nobody reads of it any more.
        if reader == Reader::Listens && !page.jobs.is_empty() {
            reader = print::data(match args.output.output {
                OutputArg::Json => {
                    let lines = page.jobs.iter();
                    lines
                        .map(|job| print::json(&PrunedReport::new(job, args.dry_run)))
                        .collect::<String>()
                }
                OutputArg::Text => pruned::text(&page.jobs, total.jobs == 0, palette),
            })?;
        }
        total.add(&page.jobs);
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    print::say(total.text(args.dry_run));
    Ok(Exit::Succeeded)
}
