//! The command line.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{ArgGroup, Args as ClapArgs, Parser, Subcommand, ValueEnum};

/// Warms cold Redis clusters without burning the database behind them.
#[derive(Debug, Parser)]
#[command(version, about, arg_required_else_help = true)]
pub struct Args {
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
    /// Lists the newest jobs of a cluster
    Jobs(JobsArgs),
    /// Says how a job stands
    Status(JobArgs),
    /// Shows a job's progress to its end; Ctrl-C only stops watching
    Watch(JobArgs),
    /// Tells a job to stand still
    Pause(JobArgs),
    /// Removes the operator's hold, so that a paused job goes on
    Resume(JobArgs),
    /// Tells a job to stop for good
    Abort(JobArgs),
}

/// Where a cluster is.
#[derive(Debug, ClapArgs)]
pub struct JobsArgs {
    /// A coordinator's address, or several: whichever answers says who leads
    #[arg(
        long,
        env = "STOKE_COORDINATOR",
        value_name = "URL",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:7400"
    )]
    pub coordinator: Vec<String>,
}

/// Which job of which cluster.
#[derive(Debug, ClapArgs)]
pub struct JobArgs {
    /// The job's name
    pub job: String,
    /// Where the cluster is.
    #[command(flatten)]
    pub cluster: JobsArgs,
    /// What is printed on standard output
    #[arg(long, value_enum, default_value_t = OutputArg::Text)]
    pub output: OutputArg,
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

/// What the one-liner needs.
#[derive(Debug, ClapArgs)]
#[command(group = ArgGroup::new("source").required(true).args(["rank", "keys"]))]
pub struct WarmArgs {
    /// The database to load from: postgres://… or sqlite:FILE. A password can be left to the variable STOKE_ORIGIN
    #[arg(long, env = "STOKE_ORIGIN", hide_env_values = true, value_name = "URL")]
    pub origin: String,
    /// The Redis to warm: redis://…, one or several nodes; it finds out whether they are a Cluster
    #[arg(
        long,
        env = "STOKE_CACHE",
        hide_env_values = true,
        value_name = "URL",
        value_delimiter = ','
    )]
    pub cache: Vec<String>,
    /// SQL that gives the keys: a column `key`, optionally `priority`, further ones for the key template
    #[arg(long, value_name = "SQL")]
    pub rank: Option<String>,
    /// A file with the keys, in place of --rank: CSV or newline-delimited JSON; - is standard input
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// SQL that loads a batch of keys: `:keys` where they belong (`:key` for one query a key)
    #[arg(long, value_name = "SQL")]
    pub load: String,
    /// The cache keys: text with {column}s of the key source, as product:{key}
    #[arg(long, value_name = "TEMPLATE")]
    pub key: String,
    /// The column of the rows that says which key each answers [default: the one left of IN (:keys)]
    #[arg(long, value_name = "COLUMN")]
    pub key_column: Option<String>,
    /// How long entries live, as 5m or 1h
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub ttl: Duration,
    /// Shortens each entry's time by up to this share of it, by a hash of its key (0 to 0.9)
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, value_parser = share)]
    pub ttl_jitter: f64,
    /// What is done with keys that are there already
    #[arg(long, value_enum, default_value_t = ModeArg::Add)]
    pub mode: ModeArg,
    /// How many queries the database may get at most: 200 or 200/s a second, 12000/min, 500/h [default: 100/s]
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub qps: Option<f64>,
    /// How many queries may be unanswered at one time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub in_flight: u64,
    /// How many keys one query asks for
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch_keys: u32,
    /// How many workers share the work
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub workers: u32,
    /// How many entries may fail before the whole counts as failed
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub allowed_failures: u64,
    /// What is printed on standard output in the end
    #[arg(long, value_enum, default_value_t = OutputArg::Text)]
    pub output: OutputArg,
}

/// What is done with keys that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ModeArg {
    /// They are left as they are
    Add,
    /// They are left as they are, but live anew
    Refresh,
    /// They are loaded and written again, over whatever the application wrote
    Overwrite,
}

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputArg {
    /// A few lines for people
    Text,
    /// One JSON object
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
