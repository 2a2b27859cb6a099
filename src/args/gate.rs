//! The flags of the commands that wait until a cache is warm, or show whether it is.

use std::time::Duration;

use clap::{ArgGroup, Args as ClapArgs, ValueEnum};

use super::OutputArgs;
use super::values::{interval, part, waiting};

/// When the gate opens.
#[derive(Debug, ClapArgs)]
#[command(group = ArgGroup::new("wanted").required(true).multiple(true).args(["coverage", "hit_rate"]))]
pub struct GateArgs {
    /// The job's name
    pub job: String,
    /// The least coverage: the hit rate to expect of what is warmed by now, above 0 and at most 1
    #[arg(long, value_name = "SHARE", value_parser = part)]
    pub coverage: Option<f64>,
    /// The least hit rate that is measured in the cache itself: of requests that are drawn from the plan by its priorities, those whose
    /// keys are there. Redis counts these looks neither as uses of the keys nor among its hits and misses, where the user may call
    /// MEMORY USAGE
    #[arg(long, value_name = "SHARE", value_parser = part)]
    pub hit_rate: Option<f64>,
    /// How many requests are drawn
    #[arg(long, value_name = "N", default_value_t = 10_000, requires = "hit_rate", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub sample: u32,
    /// How often the hit rate is measured
    #[arg(long, value_name = "TIME", default_value = "10s", requires = "hit_rate", value_parser = interval)]
    pub measure_every: Duration,
    /// How long is waited, at most a day
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = waiting)]
    pub timeout: Duration,
    /// What the gate is where the coordinators know no such job (any more: they forget jobs that are over): closed ends with 2, open
    /// with 0
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = IfUnknown::Closed)]
    pub if_unknown: IfUnknown,
    /// Where the cluster is, and how its answer is printed.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What the gate of a job is that nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum IfUnknown {
    /// Traffic may come
    Open,
    /// It may not
    Closed,
}

/// Which cache, and with what it is compared.
#[derive(Debug, ClapArgs)]
pub struct HitRateArgs {
    /// The cache, by its name in the workers' configuration: what Stoke's own looks are is taken out; or by its URL, as `stoke warm`
    /// takes it: then nothing is taken out, and no cluster is needed
    #[arg(
        long,
        env = "STOKE_CACHE",
        hide_env_values = true,
        value_name = "NAME|URL"
    )]
    pub cache: String,
    /// Shows interval after interval, until Ctrl-C [default: one]
    #[arg(long)]
    pub watch: bool,
    /// Waits until the cache is warm, for --timeout at most
    #[arg(long)]
    pub until_warm: bool,
    /// How long is waited
    #[arg(long, value_name = "TIME", default_value = "10m", requires = "until_warm", value_parser = waiting)]
    pub timeout: Duration,
    /// How long an interval is, from a second to an hour
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = interval)]
    pub interval: Duration,
    /// A cache that serves the same requests and is warm, as --cache names one: warm is what has its hit rate
    #[arg(long, value_name = "NAME|URL")]
    pub reference: Option<String>,
    /// Or the hit rate that the cache has when it is warm [default: found out from the intervals, where it does not change any more]
    #[arg(long, value_name = "SHARE", value_parser = part, conflicts_with = "reference")]
    pub steady_state: Option<f64>,
    /// How near to the steady state is warm
    #[arg(long, value_name = "SHARE", default_value_t = 0.02, value_parser = part)]
    pub epsilon: f64,
    /// Where the cluster is, and how its answer is printed.
    #[command(flatten)]
    pub output: OutputArgs,
}
