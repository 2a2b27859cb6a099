//! The flags of the commands about jobs.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand, ValueEnum};
use stoke_proto::v1::JobState;

use super::values::{label, older_than};
use super::{FitArg, OutputArgs, SectionArgs};

/// Which job of which cluster.
#[derive(Debug, ClapArgs)]
pub struct JobArgs {
    /// The job's name
    pub job: String,
    /// Where the cluster is, and how its answer is printed.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What is asked for.
#[derive(Debug, ClapArgs)]
pub struct SubmitArgs {
    /// The job file, in TOML; - is standard input
    pub file: PathBuf,
    /// Follows the job to its end, and ends with its outcome; Ctrl-C only stops watching
    #[arg(long)]
    pub watch: bool,
    /// Reads the keys, tries each loader on a small sample, writes nothing, and says what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// The same id with the same file makes one job, however often it is submitted [default: a new one]
    #[arg(long, value_name = "ID")]
    pub request_id: Option<String>,
    /// A label, beside those of the file and over one of the same key
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Of jobs that want the same origin, those of the highest priority go first: 0 to 1000 [default: the file's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub priority: Option<u32>,
    /// What of the cache is warmed, over what the file says.
    #[command(flatten)]
    pub section: SectionArgs,
    /// What is done where the cache has no room for all of it, by its maxmemory [default: the file's, or cut]
    #[arg(long, value_enum, value_name = "WHAT")]
    pub fit: Option<FitArg>,
    /// What sets the job off, as deploy or scale-out [default: the file's]
    #[arg(long, value_name = "WHAT")]
    pub trigger: Option<String>,
    /// Where the cluster is, and how its answer is printed.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Which jobs, or what is done with them.
#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub struct JobsArgs {
    /// What is done with them; by itself, they are listed.
    #[command(subcommand)]
    pub command: Option<JobsCommand>,
    /// Only jobs with this label; several must all be there
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Only jobs in this state, or in one of these
    #[arg(
        long = "state",
        value_enum,
        value_name = "STATE",
        value_delimiter = ','
    )]
    pub states: Vec<StateArg>,
    /// So many at most, the newest
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub limit: u32,
    /// All of them, however many there are
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
    /// Where the cluster is, and how its answer is printed.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What is done with jobs.
#[derive(Debug, Subcommand)]
pub enum JobsCommand {
    /// Forgets jobs that are over, with their plans, uploads and lists of failures
    Prune(PruneArgs),
}

/// Which jobs are forgotten.
#[derive(Debug, ClapArgs)]
pub struct PruneArgs {
    /// Only jobs that are over for so long: 0s to 3650days [default: as long as coordinators keep them]
    #[arg(long, value_name = "DURATION", value_parser = older_than)]
    pub older_than: Option<Duration>,
    /// Only jobs that ended in this state, or in one of these: succeeded, failed, aborted
    #[arg(
        long = "state",
        value_enum,
        value_name = "STATE",
        value_delimiter = ',',
        hide_possible_values = true
    )]
    pub states: Vec<StateArg>,
    /// Removes nothing, and lists what would be
    #[arg(long)]
    pub dry_run: bool,
    /// Where the cluster is, and how its answer is printed.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// A job's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum StateArg {
    /// Waits for uploads, or for a worker
    Pending,
    /// Its sources are being read and ranked
    Planning,
    /// Entries are being warmed
    Running,
    /// Stands still
    Paused,
    /// Was told to stop
    Aborting,
    /// Is over, and well
    Succeeded,
    /// Is over, and not well
    Failed,
    /// Was stopped
    Aborted,
}

impl From<StateArg> for JobState {
    fn from(state: StateArg) -> Self {
        match state {
            StateArg::Pending => Self::Pending,
            StateArg::Planning => Self::Planning,
            StateArg::Running => Self::Running,
            StateArg::Paused => Self::Paused,
            StateArg::Aborting => Self::Aborting,
            StateArg::Succeeded => Self::Succeeded,
            StateArg::Failed => Self::Failed,
            StateArg::Aborted => Self::Aborted,
        }
    }
}

/// A hold on a job.
#[derive(Debug, ClapArgs)]
pub struct PauseArgs {
    /// The job's name
    pub job: String,
    /// Why, for whoever asks
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
    /// Who holds: each holder removes only its own hold
    #[arg(long, value_name = "NAME", default_value = "operator")]
    pub holder: String,
    /// Where the cluster is, and how its answer is printed.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// A hold that is removed.
#[derive(Debug, ClapArgs)]
pub struct ResumeArgs {
    /// The job's name
    pub job: String,
    /// Whose hold is removed
    #[arg(long, value_name = "NAME", default_value = "operator")]
    pub holder: String,
    /// Where the cluster is, and how its answer is printed.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// A job that shall stop.
#[derive(Debug, ClapArgs)]
pub struct AbortArgs {
    /// The job's name
    pub job: String,
    /// Why, for whoever asks
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
    /// Waits until each worker has confirmed that it stopped, or its grant has certainly expired
    #[arg(long)]
    pub wait: bool,
    /// Where the cluster is, and how its answer is printed.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Whose failures.
#[derive(Debug, ClapArgs)]
pub struct FailuresArgs {
    /// The job's name
    pub job: String,
    /// Where the cluster is.
    #[command(flatten)]
    pub cluster: super::ClusterArgs,
    /// What is printed on standard output
    #[arg(long, value_enum, default_value_t = FailuresFormat::Text)]
    pub output: FailuresFormat,
}

/// How failures are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailuresFormat {
    /// A line for each; what is no text in a key is written out
    Text,
    /// An object on a line for each; a key that is no text is key_base64
    Json,
    /// With a header line; keys are their bytes
    Csv,
}

/// What is done with plans.
#[derive(Debug, ClapArgs)]
pub struct PlanArgs {
    /// What of them.
    #[command(subcommand)]
    pub command: PlanCommand,
}

/// What is done with plans.
#[derive(Debug, Subcommand)]
pub enum PlanCommand {
    /// Writes the entries of a job's plan, the most requested first
    Export(ExportArgs),
}

/// Which plan, and where to.
#[derive(Debug, ClapArgs)]
pub struct ExportArgs {
    /// The job's name
    pub job: String,
    /// Where the cluster is.
    #[command(flatten)]
    pub cluster: super::ClusterArgs,
    /// How entries are written
    #[arg(long, value_enum, default_value_t = ExportFormat::Csv)]
    pub output: ExportFormat,
    /// Writes to this file, which is there only when it is complete [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// How a plan is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// With a header line; can be uploaded again where all keys are text
    Csv,
    /// An object on a line for each entry; a key that is no text is key_base64
    Json,
}

/// Whose failed entries are tried again.
#[derive(Debug, ClapArgs)]
pub struct RetryArgs {
    /// The job's name
    pub job: String,
    /// Follows the new job to its end, and ends with its outcome; Ctrl-C only stops watching
    #[arg(long)]
    pub watch: bool,
    /// The same id makes one job, however often it is asked for [default: a new one]
    #[arg(long, value_name = "ID")]
    pub request_id: Option<String>,
    /// Where the cluster is, and how its answer is printed.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// What is looked at, and how closely.
#[derive(Debug, ClapArgs)]
pub struct VerifyArgs {
    /// The job's name
    pub job: String,
    /// Looks at so many of its keys, chosen by a hash: the same every time
    #[arg(long, value_name = "N", default_value_t = 1000, conflicts_with = "full",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub sample: u32,
    /// Looks at all of them
    #[arg(long)]
    pub full: bool,
    /// Also compares each value with what the origin gives now, under its budget
    #[arg(long)]
    pub values: bool,
    /// Lists so many differences at most, and says how many more there are
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub limit: u32,
    /// Where the cluster is.
    #[command(flatten)]
    pub cluster: super::ClusterArgs,
    /// What is printed on standard output
    #[arg(long, value_enum, default_value_t = VerifyFormat::Text)]
    pub output: VerifyFormat,
}

/// How differences are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VerifyFormat {
    /// A line for each, and how many keys are as they should be
    Text,
    /// One object with the counts and the differences; a key that is no text is key_base64
    Json,
    /// The differences, with a header line; keys are their bytes
    Csv,
}
