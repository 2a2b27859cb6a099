//! The flags of `stoke budget`.

use clap::{Args as ClapArgs, Subcommand};

use super::OutputArgs;
use super::values::rate_or_none;

/// Budgets: all of them where nothing is said.
#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
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
    /// Sets a budget at once; it lasts until it is set again
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
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub burst: Option<u64>,
    /// How many queries may be unanswered at one time [default: as it is]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub in_flight: Option<u64>,
    /// Where the cluster is, and how its answer is printed.
    #[command(flatten)]
    pub output: OutputArgs,
}
