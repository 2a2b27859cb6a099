//! All of the binary `stoke`: one for coordinators, workers and the one-liner on one's own data. A library only so that its
//! parsers can be fuzzed: [`main`] is the program, [`doors`] is for tests.
//!
//! Commands, flags and configuration are here; what they start is in the crates.

#![allow(
    unreachable_pub,
    reason = "nothing outside reaches it but what stands in `doors`"
)]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")
)]

mod args;
mod client;
mod commands;
mod config;
pub mod doors;
mod embedded;
mod exit;
mod http;
mod job_file;
mod print;
mod run;
mod show;
mod state;
mod telemetry;
mod told;
mod warm;

use clap::{ColorChoice, CommandFactory, FromArgMatches};

use args::{Args, Command};
use exit::{Exit, Failure};
use show::style::{ColorArg, wanted_by};

/// The program: what the command line says, and the end of the process.
pub async fn main() -> ! {
    let args = args();
    // A process of a cluster begins when it has read its configuration; the others show their progress, and only warnings.
    if !matches!(args.command, Command::Coordinator(_) | Command::Worker(_)) {
        telemetry::start(&telemetry::Settings::default(), "warn");
    }
    let exit = commands::run(args).await.unwrap_or_else(|(exit, error)| {
        print::say(format!("{error:#}"));
        exit
    });
    telemetry::finish().await;
    // At once: a thread that reads standard input would keep the process alive until its end.
    std::process::exit(exit as i32);
}

/// The command line, whose faults and help are coloured as it wishes.
fn args() -> Args {
    let colours = match wanted_by(std::env::args_os()) {
        ColorArg::Auto => ColorChoice::Auto,
        ColorArg::Always => ColorChoice::Always,
        ColorArg::Never => ColorChoice::Never,
    };
    let matches = Args::command().color(colours).get_matches();
    Args::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// What a command ends with: an exit code, and an error to show where there is one.
type Outcome = Result<Exit, Failure>;
