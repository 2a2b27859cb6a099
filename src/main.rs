//! `stoke`: one binary for coordinators, workers and the one-liner on one's own data.
//!
//! Commands, flags and configuration are here; what they start is in the crates.

#![allow(unreachable_pub, reason = "nothing outside a binary can reach it")]
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")
)]

mod args;
mod client;
mod config;
mod control;
mod embedded;
mod exit;
mod job_file;
mod run;
mod telemetry;
mod warm;

use clap::Parser;

use args::{Args, Command};
use control::Ask;
use exit::Exit;

#[tokio::main]
async fn main() {
    let args = Args::parse();
    // A process of a cluster begins when it has read its configuration; the others show their progress, and only warnings.
    if !matches!(args.command, Command::Coordinator(_) | Command::Worker(_)) {
        telemetry::start(&telemetry::Settings::default(), "warn");
    }
    let exit = match args.command {
        Command::Coordinator(args) => run::coordinator(&args).await,
        Command::Worker(args) => run::worker(&args).await,
        Command::Warm(args) => warm::warm(&args).await,
        Command::Jobs(args) => control::jobs(&args).await,
        Command::Status(args) => control::ask(&args, Ask::Status).await,
        Command::Watch(args) => control::watch(&args).await,
        Command::Pause(args) => control::ask(&args, Ask::Pause).await,
        Command::Resume(args) => control::ask(&args, Ask::Resume).await,
        Command::Abort(args) => control::ask(&args, Ask::Abort).await,
    };
    let exit = exit.unwrap_or_else(|(exit, error)| {
        eprintln!("stoke: {error:#}");
        exit
    });
    // At once: a thread that reads standard input would keep the process alive until its end.
    std::process::exit(exit as i32);
}

/// What a command ends with: an exit code, and an error to show where there is one.
type Outcome = Result<Exit, (Exit, anyhow::Error)>;
