//! `make faults`: the fault campaign. Each run starts three etcd members, PostgreSQL, Redis, two coordinators and four
//! workers as processes, has a job warm keys within a budget, breaks something while it runs, and then lets oracles judge that
//! share no code with Stoke:
//!
//! - **B1** etcd's whole history, replayed: at every revision Σ max(cap, ack) ≤ ceiling in each dimension ([`oracle::reserved`])
//! - **B3** PostgreSQL's log: no sliding second sees more statements than the ceiling ([`oracle::windows`])
//! - **B5** the same log: how much of the ceiling was used from 2·Q after the fault, and how soon ([`oracle::usage`])
//! - **W1** Redis beside PostgreSQL: each key that the job had to warm is there with the right value ([`shop`])
//!
//! One more run has a fault built into Stoke itself: it passes only where an oracle finds it.
//!
//! Then come [`losses`]: what a job must survive without losing a key or counting one twice, by a full comparison of a Redis
//! Cluster with PostgreSQL, and by PostgreSQL's log for what was asked for more than once.
//!
//! The result is a table of each, a row a run, on standard output and in `tests/faults/RESULTS.md`; what is said on the way goes
//! to standard error. The status is 0 only where every run passed.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")
)]

mod disk;
mod evidence;
mod faults;
mod history;
mod job;
mod lateness;
mod losses;
mod machine;
mod oracle;
mod run;
mod scene;
mod shop;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;

use faults::Fault;
use losses::Loss;
use run::Row;
use scene::Binary;

/// Breaks what Stoke stands on while it works, and judges by what etcd, PostgreSQL and Redis say.
#[derive(Debug, Parser)]
struct Args {
    /// The stoke to judge
    #[arg(required_unless_present = "list")]
    stoke: Option<PathBuf>,
    /// Which faults, by name [default: all]
    faults: Vec<String>,
    /// Says which faults there are, and ends
    #[arg(long)]
    list: bool,
    /// A stoke with mutants compiled in: with one of them chosen, an oracle must find something
    #[arg(long, value_name = "STOKE")]
    mutants: Option<PathBuf>,
    /// Which mutant
    #[arg(long, value_name = "NAME", default_value = "drop-ceiling-at-once")]
    mutant: String,
    /// The fault under which it must be found
    #[arg(long, value_name = "FAULT", default_value = "target-cut")]
    mutant_fault: String,
    /// Where the table is written, with date, commit and machine [default: nowhere]
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Where the logs and the history of each run are kept
    #[arg(long, value_name = "FOLDER", default_value = "target/faults")]
    evidence: PathBuf,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if args.list {
        for fault in faults::ALL {
            println!("{:<24} {}", fault.name, fault.what);
        }
        for loss in losses::ALL {
            println!("{:<24} {}", loss.name, loss.what);
        }
        return ExitCode::SUCCESS;
    }
    match campaign(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the fault campaign could not be run: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs it all; whether everything was as promised.
fn campaign(args: &Args) -> Result<bool> {
    let (faults, losses) = chosen(&args.faults)?;
    let stoke = args.stoke.clone().context("no stoke was named")?;
    let stoke = Binary::new(stoke, None)?;
    let mutant = match &args.mutants {
        Some(path) => Some(Binary::new(path.clone(), Some(args.mutant.clone()))?),
        None => None,
    };
    let mut rows = Vec::new();
    for fault in faults {
        let row = run::run(fault, &stoke, &args.evidence)
            .unwrap_or_else(|error| Row::broken(fault, &error));
        report(&row.failures);
        rows.push(row);
    }
    let caught = match &mutant {
        Some(mutant) => Some(catch(args, mutant)?),
        None => None,
    };
    let mut lost = Vec::new();
    for loss in losses {
        let row = losses::run::run(loss, &stoke, &args.evidence)
            .unwrap_or_else(|error| losses::run::Row::broken(loss, &error));
        report(&row.failures);
        lost.push(row);
    }
    let text = format!(
        "{}\n{}",
        table::text(&rows, caught.as_ref()),
        losses::table::text(&lost)
    );
    print!("{text}");
    if let Some(path) = &args.results {
        let page = table::page(&text, &machine::describe());
        std::fs::write(path, page).with_context(|| format!("writing {}", path.display()))?;
    }
    let failures = rows.iter().map(|row| &row.failures);
    let mut failures = failures.chain(lost.iter().map(|row| &row.failures));
    let passed = failures.all(Vec::is_empty);
    Ok(passed && caught.is_none_or(|caught| caught.is_ok()))
}

/// Those that are named; all where none is.
fn chosen(names: &[String]) -> Result<(Vec<&'static Fault>, Vec<&'static Loss>)> {
    if names.is_empty() {
        return Ok((faults::ALL.iter().collect(), losses::ALL.iter().collect()));
    }
    let (mut chosen, mut lost) = (Vec::new(), Vec::new());
    for name in names {
        match losses::ALL.iter().find(|loss| loss.name == name) {
            Some(loss) => lost.push(loss),
            None => chosen.push(named(name)?),
        }
    }
    Ok((chosen, lost))
}

fn named(name: &str) -> Result<&'static Fault> {
    match faults::ALL.iter().find(|fault| fault.name == name) {
        Some(fault) => Ok(fault),
        None => bail!("there is no fault {name:?}: --list says which there are"),
    }
}

/// A run with a fault inside Stoke: what the oracles found, or that they found nothing.
fn catch(args: &Args, mutant: &Binary) -> Result<Caught> {
    let fault = named(&args.mutant_fault)?;
    let what = format!("{} under {}", args.mutant, fault.name);
    eprintln!("With the mutant {what}: an oracle must find something");
    let row = run::run(fault, mutant, &args.evidence.join("mutant"))?;
    Ok(if row.promises_broken == 0 {
        Err(format!("{what} was NOT found"))
    } else {
        Ok(format!("{what} was found: {}", row.failures.join("; ")))
    })
}

/// What the run with a mutant showed.
type Caught = std::result::Result<String, String>;

fn report(failures: &[String]) {
    if failures.is_empty() {
        eprintln!("  passed");
    }
    failures
        .iter()
        .for_each(|failure| eprintln!("  FAILED: {failure}"));
}
