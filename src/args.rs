//! The command line.

mod budget;
mod cluster;
mod estimate;
mod gate;
mod jobs;
mod log;
mod rank;
mod section;
mod value;
mod values;
mod warm;

use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args as ClapArgs, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub use budget::{BudgetArgs, BudgetCommand, BudgetSetArgs, ResourceArgs};
pub use cluster::{ClusterArgs, OutputArgs};
pub use estimate::EstimateArgs;
pub use gate::{GateArgs, HitRateArgs, IfUnknown};
pub use jobs::{
    AbortArgs, ExportFormat, FailuresArgs, FailuresFormat, JobArgs, JobsArgs, JobsCommand,
    PauseArgs, PlanArgs, PlanCommand, PruneArgs, ResumeArgs, RetryArgs, SubmitArgs, VerifyArgs,
    VerifyFormat,
};
pub use log::LogArgs;
pub use rank::RankArgs;
pub use section::{FitArg, SectionArgs};
pub use value::{CompressArg, ValueArgs};
pub use warm::{CopyArg, ModeArg, OnBadLineArg, WarmArgs};

use crate::exit;
use crate::show::style::ColorArg;

/// Warms cold Redis clusters without burning the database behind them.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true, after_help = exit::TABLE)]
pub struct Args {
    /// When there are colours; by itself on a terminal, unless NO_COLOR is set
    #[arg(long, value_enum, default_value_t = ColorArg::Auto, value_name = "WHEN", global = true)]
    pub color: ColorArg,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Runs a coordinator: it decides what is warmed, by whom and how fast
    Coordinator(ProcessArgs),
    /// Runs a worker: it reads key sources, loads from origins and writes to caches
    Worker(ProcessArgs),
    /// Warms a cache from a database in this one process, without etcd and configuration
    Warm(Box<WarmArgs>),
    /// Creates a job from a job file
    Submit(SubmitArgs),
    /// Lists a cluster's jobs, newest first, and forgets those that are over
    Jobs(JobsArgs),
    /// Says how a job stands
    Status(JobArgs),
    /// Shows a job's progress to its end; Ctrl-C only stops watching
    Watch(JobArgs),
    /// Tells a job to stand still, until each that holds it has resumed it
    Pause(PauseArgs),
    /// Removes a hold, so that a paused job goes on
    Resume(ResumeArgs),
    /// Tells a job to stop for good
    Abort(AbortArgs),
    /// Lists the entries of a job that failed
    Failures(FailuresArgs),
    /// Creates a job for the entries that failed in one that is over
    Retry(RetryArgs),
    /// Asks the cache whether what a job has warmed is there, and lists what differs
    Verify(VerifyArgs),
    /// Waits until what a job warms is warm enough to be used: by its coverage, and by what is measured in the cache
    Gate(GateArgs),
    /// Shows the hits and misses of every node of a cache, without Stoke's own, and whether the cache is warm
    HitRate(HitRateArgs),
    /// Lists workers and coordinators
    Workers(OutputArgs),
    /// Shows and sets what all workers together may ask of origins and caches
    Budget(BudgetArgs),
    /// Shows what a job's plan has
    Plan(PlanArgs),
    /// Ranks the keys that access logs ask for, the most requested first: a list for --keys, job files, and to look at
    Rank(Box<RankArgs>),
    /// Says what warming a plan would bring, and what it would cost, without touching a cache or a database
    Estimate(Box<EstimateArgs>),
    /// Writes shell completions to standard output
    Completions(CompletionsArgs),
    /// Writes the manual page of `stoke` to standard output, or those of all commands to a directory
    Man(ManArgs),
}

/// What a process of a cluster needs.
#[derive(Debug, ClapArgs)]
#[command(group = ArgGroup::new("file").required(true).args(["config", "check"]))]
pub struct ProcessArgs {
    /// Its configuration, in TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only checks this configuration: prints all that is wrong with it, and starts nothing
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
}

impl ProcessArgs {
    /// The configuration to read.
    pub fn file(&self) -> &Path {
        let file = self.config.as_deref().or(self.check.as_deref());
        file.expect("one of them is required")
    }

    /// Whether that is all there is to do.
    pub fn only_checks(&self) -> bool {
        self.check.is_some()
    }
}

/// For which shell completions are written.
#[derive(Debug, ClapArgs)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Where manual pages go.
#[derive(Debug, ClapArgs)]
pub struct ManArgs {
    /// Writes one page for each command to this directory, which is made where there is none
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputArg {
    /// Lines and tables for people
    Text,
    /// JSON objects, each on one line
    Json,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.0..=0.9).contains(&share) {
        Ok(share)
    } else {
        Err("must be from 0 to 0.9".into())
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = crate::config::parse_rate(text)?;
    if rate > 0.0 {
        Ok(rate)
    } else {
        Err("must be more than none".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_help_shows_what_a_variable_holds() {
        fn check(command: &clap::Command) {
            for arg in command
                .get_arguments()
                .filter(|arg| arg.get_env().is_some())
            {
                assert!(arg.is_hide_env_values_set(), "{arg}");
            }
            command.get_subcommands().for_each(check);
        }
        use clap::CommandFactory;
        check(&Args::command());
    }

    #[test]
    fn what_examples_for_deploys_call_can_be_called() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
        let mut calls = Vec::new();
        for file in [
            "kubernetes/wait-for-warm-cache.yaml",
            "argo-rollouts/warm-then-shift.yaml",
        ] {
            let text = std::fs::read_to_string(folder.join(file)).unwrap();
            let listed = text
                .lines()
                .filter_map(|line| line.trim().strip_prefix("args: ["));
            for list in listed {
                let args = list.trim_end_matches(']').split(", ");
                let args = args.map(|arg| arg.trim_matches('"').to_owned());
                let call = Args::try_parse_from(std::iter::once("stoke".to_owned()).chain(args));
                calls.push(
                    call.unwrap_or_else(|error| panic!("{file}: {list}: {error}"))
                        .command,
                );
            }
        }
        let [
            Command::Gate(ours),
            Command::Gate(theirs),
            Command::HitRate(_),
        ] = &calls[..]
        else {
            panic!("{calls:?}");
        };
        assert_eq!(
            (ours.if_unknown, theirs.if_unknown),
            (IfUnknown::Open, IfUnknown::Closed)
        );
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Args::command().debug_assert();
    }

    #[test]
    fn the_one_liners_rate_may_have_a_unit() {
        for (text, qps) in [("200", 200.0), ("12000/min", 200.0), ("0.5/s", 0.5)] {
            assert_eq!(rate(text), Ok(qps));
        }
        for text in ["0", "fast", "200/d", "2e9"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
