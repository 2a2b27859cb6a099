//! What each command does: one, or one family, a file.

mod abort;
mod budget;
mod completions;
mod estimate;
mod failures;
mod gate;
mod hit_rate;
mod hold;
mod jobs;
mod man;
mod plan;
mod rank;
mod request_id;
mod retry;
mod status;
mod submit;
mod verify;
mod watch;
mod workers;

use std::time::SystemTime;

use stoke_proto::v1;

use crate::args::{Args, Command, OutputArg};
use crate::exit::{Exit, Failure};
use crate::print::{self, Reader};
use crate::show;
use crate::show::job::JobReport;
use crate::show::style::Palette;
use crate::{Outcome, run, warm};

/// Does what the command line says.
pub async fn run(args: Args) -> Outcome {
    let palette = Palette::of_stdout(args.color);
    match args.command {
        Command::Coordinator(args) => run::coordinator(&args).await,
        Command::Worker(args) => run::worker(&args).await,
        Command::Warm(args) => warm::warm(&args, palette).await,
        Command::Submit(args) => submit::submit(&args, palette).await,
        Command::Jobs(args) => jobs::jobs(&args, palette).await,
        Command::Status(args) => status::status(&args, palette).await,
        Command::Watch(args) => watch::watch(&args, palette).await,
        Command::Pause(args) => hold::pause(&args, palette).await,
        Command::Resume(args) => hold::resume(&args, palette).await,
        Command::Abort(args) => abort::abort(&args, palette).await,
        Command::Failures(args) => failures::failures(&args).await,
        Command::Retry(args) => retry::retry(&args, palette).await,
        Command::Verify(args) => verify::verify(&args).await,
        Command::Gate(args) => gate::gate(&args).await,
        Command::HitRate(args) => hit_rate::hit_rate(&args).await,
        Command::Workers(args) => workers::workers(&args, palette).await,
        Command::Budget(args) => budget::budget(&args, palette).await,
        Command::Plan(args) => plan::plan(&args).await,
        Command::Rank(args) => rank::rank(&args).await,
        Command::Estimate(args) => estimate::estimate(&args, palette).await,
        Command::Completions(args) => completions::completions(&args),
        Command::Man(args) => man::man(&args),
    }
}

/// Prints how a job stands.
pub fn print_job(job: &v1::Job, output: OutputArg, palette: Palette) -> Result<Reader, Failure> {
    let now = SystemTime::now();
    print::data(match output {
        OutputArg::Json => print::json(&JobReport::new(job, now)),
        OutputArg::Text => show::status::text(job, now, palette),
    })
}

/// Prints a job that was created: its name for people and scripts, or how it stands.
fn print_created(job: &v1::Job, output: OutputArg, palette: Palette) -> Outcome {
    printed(match output {
        OutputArg::Text => print::data(format!("{}\n", job.name)),
        OutputArg::Json => print_job(job, OutputArg::Json, palette),
    })
}

/// The end of a command whose data was printed, or not wanted to its end: that is as well.
fn printed(printed: Result<Reader, Failure>) -> Outcome {
    printed.map(|_| Exit::Succeeded)
}
