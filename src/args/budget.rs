//! The flags of `stoke budget`.

use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};

use super::OutputArgs;
use super::values::{Rows, lasts, rate_or_none, rows_or_any};
use crate::config::{BURST_MAX, IN_FLIGHT_MAX};

/// Budgets: all of them where nothing is said.
#[derive(Debug, ClapArgs)]
pub struct BudgetArgs {
    /// What of them.
    #[command(subcommand)]
    pub command: Option<BudgetCommand>,
    /// Where the cluster is, and how its answer is printed.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What is done with budgets.
#[derive(Debug, Subcommand)]
pub enum BudgetCommand {
    /// Shows a budget, and which worker has how much of it
    Get(ResourceArgs),
    /// Sets a budget at once: until it is set again, or for a while
    Set(BudgetSetArgs),
    /// Shows a budget again whenever it has changed; Ctrl-C stops watching
    Watch(ResourceArgs),
}

/// Which budget.
#[derive(Debug, ClapArgs)]
pub struct ResourceArgs {
    /// What it protects: origin/NAME or cache/NAME
    pub resource: String,
    /// Where the cluster is, and how its answer is printed.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What a budget shall be.
#[derive(Debug, ClapArgs)]
pub struct BudgetSetArgs {
    /// What it protects: origin/NAME or cache/NAME
    pub resource: String,
    /// How many queries (for a cache: writes) a second all workers together may send, as 200/s; 0 stops them all
    #[arg(long, value_name = "RATE", value_parser = rate_or_none)]
    pub qps: f64,
    /// How many of a second's queries may go out at once [default: as it is]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=BURST_MAX))]
    pub burst: Option<u64>,
    /// How many queries may be unanswered at one time [default: as it is]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=IN_FLIGHT_MAX))]
    pub in_flight: Option<u64>,
    /// How many rows a second all queries together may return, as 50000/s, or any [default: as it is]
    #[arg(long, value_name = "RATE", value_parser = rows_or_any)]
    pub rows: Option<Rows>,
    /// For how long, as 10m; what was asked before comes back then [default: until it is set again]
    #[arg(long = "for", value_name = "DURATION", value_parser = lasts)]
    pub lasts: Option<Duration>,
    /// Where the cluster is, and how its answer is printed.
    #[command(flatten)]
    pub output: OutputArgs,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Args, Command, OutputArg};
    use clap::Parser;

    fn parsed(line: &str) -> Result<BudgetArgs, clap::Error> {
        let line = format!("stoke budget {line}");
        match Args::try_parse_from(line.split(' '))?.command {
            Command::Budget(args) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn where_and_how_may_stand_before_and_after_what_is_done() {
        for line in [
            "--output json --coordinator c1:1 get origin/shop",
            "get origin/shop --output json --coordinator c1:1",
            "--output json get --coordinator c1:1 origin/shop",
        ] {
            match parsed(line).unwrap().command {
                Some(BudgetCommand::Get(args)) => {
                    assert_eq!(args.output.output, OutputArg::Json, "{line}");
                    assert_eq!(args.output.cluster.coordinator, ["c1:1"], "{line}");
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(
            parsed("--output json").unwrap().output.output,
            OutputArg::Json
        );
    }

    #[test]
    fn a_budget_has_the_bounds_of_the_configuration() {
        let set = |flags: &str| parsed(&format!("set origin/shop --qps 1 {flags}"));
        assert!(set("--burst 1000000 --in-flight 100000 --rows any --for 10m").is_ok());
        for wrong in [
            "--burst 1000001",
            "--burst 0",
            "--in-flight 100001",
            "--in-flight 0",
            "--rows 0",
            "--for 0s",
            "--for 31days",
        ] {
            assert!(set(wrong).is_err(), "{wrong}");
        }
    }
}
