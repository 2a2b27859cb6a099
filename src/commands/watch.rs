//! `stoke watch`, and what else follows a job to its end.

use super::print_job;
use crate::args::{JobArgs, OutputArg};
use crate::client::{Cluster, watch::to_the_end};
use crate::exit::{self, Exit};
use crate::show::progress::Progress;
use crate::show::style::Palette;
use crate::{Outcome, print};

/// Shows a job's progress to its end, and ends with its outcome.
pub async fn watch(args: &JobArgs, palette: Palette) -> Outcome {
    let cluster = Cluster::new(&args.output.cluster.coordinator)?;
    let left = goes_on(&args.job);
    follow(
        &cluster,
        &args.job,
        false,
        args.output.output,
        palette,
        &left,
    )
    .await
}

/// What is said on Ctrl-C where nobody has told the job to stop.
pub fn goes_on(name: &str) -> String {
    format!(
        "stopped watching; the job goes on (`stoke watch {name}` shows it again, `stoke abort {name}` ends it)"
    )
}

/// The same. `known`: somebody has just said that the job is there. Ctrl-C only stops watching, and `left` is said then.
pub async fn follow(
    cluster: &Cluster,
    name: &str,
    known: bool,
    output: OutputArg,
    palette: Palette,
    left: &str,
) -> Outcome {
    let mut progress = Progress::new();
    let job = tokio::select! {
        job = to_the_end(cluster, name, known, &mut progress) => job,
        _ = tokio::signal::ctrl_c() => {
            progress.finish();
            print::say(left);
            return Ok(Exit::Interrupted);
        }
    };
    progress.finish();
    let job = job?;
    // Nobody reads it any more? The outcome is told by the exit code.
    print_job(&job, output, palette)?;
    Ok(exit::of_job(&job))
}
