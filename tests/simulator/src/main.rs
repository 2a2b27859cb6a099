//! `stoke-simulator check` tries everything in the large scopes of the model; `stoke-simulator simulate` runs seeds;
//! `stoke-simulator fences` says of each comparison that transactions make which seed first shows what it is for.
//!
//! | environment | meaning |
//! |---|---|
//! | `STOKE_SEED` | the first seed; alone, the only one |
//! | `SEEDS` | how many seeds, one after the other; 10,000 by default |

use std::process::ExitCode;
use std::thread::available_parallelism;

use stoke_simulator::model::{LARGE, check};
use stoke_simulator::simulation::{Fence, Seeds, run, run_without};

const USAGE: &str =
    "usage: stoke-simulator check | stoke-simulator simulate | stoke-simulator fences";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let done = match (arguments.next().as_deref(), arguments.next()) {
        (Some("check"), None) => check_all(),
        (Some("simulate"), None) => simulate_all(),
        (Some("fences"), None) => leave_out_each(),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn threads() -> usize {
    available_parallelism().map_or(1, usize::from)
}

fn check_all() -> Result<(), String> {
    for scope in LARGE {
        let checked = check(&scope, threads());
        println!("{checked}");
        if checked.violation.is_some() {
            return Err(format!("the scope {:?} holds a violation", scope.name));
        }
    }
    Ok(())
}

fn simulate_all() -> Result<(), String> {
    let seeds = Seeds::from_environment(10_000, None)?;
    println!("{seeds}");
    let total = run(seeds, threads()).map_err(|failure| failure.to_string())?;
    println!("no violation: {total}");
    Ok(())
}

fn leave_out_each() -> Result<(), String> {
    let seeds = Seeds::from_environment(10_000, Some(0))?;
    println!("{seeds}");
    for fence in Fence::ALL {
        match run_without(Some(fence), seeds, threads()) {
            Ok(_) => println!("without {fence}: nothing is violated"),
            Err(failure) => println!("without {fence}: seed {}: {}", failure.seed, failure.what),
        }
    }
    Ok(())
}
