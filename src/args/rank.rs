//! The flags of `stoke rank`.

use std::path::PathBuf;

use clap::{ArgGroup, Args as ClapArgs};

use super::values::size;
use super::{ExportFormat, LogArgs, OnBadLineArg};

/// What is ranked, and where the list goes.
#[derive(Debug, ClapArgs)]
#[command(group = ArgGroup::new("ranked").required(true).args(["paths", "keys"]))]
pub struct RankArgs {
    /// Which keys an access log asks for.
    #[command(flatten)]
    pub log: LogArgs,
    /// A file with keys in any order, in place of --log: CSV with a header, newline-delimited JSON, or Parquet (where it is built in);
    /// - is standard input; or its URL, as 'file:///srv/keys.csv'. The priorities of a key that comes more than once add up
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// A column of --keys that is a part of the key, in place of the column `key`; once for each
    #[arg(long, value_name = "NAME", requires = "keys")]
    pub key_column: Vec<String>,
    /// Only so many keys, the most requested
    #[arg(long, value_name = "N")]
    pub top: Option<u64>,
    /// What is done with lines that are no entries [default: fail; of a log skip]
    #[arg(long, value_enum, value_name = "WHAT")]
    pub on_bad_line: Option<OnBadLineArg>,
    /// How the list is written
    #[arg(long, value_enum, default_value_t = ExportFormat::Csv)]
    pub output: ExportFormat,
    /// Writes to this file, which is there only when it is complete [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// How much memory keys may take, as 256MiB; what does not fit is written to --spill-dir
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = size)]
    pub memory: u64,
    /// A folder on a local disk for what memory does not hold; nothing is left in it [default: the system's for temporary files]
    #[arg(long, value_name = "DIR")]
    pub spill_dir: Option<PathBuf>,
}
