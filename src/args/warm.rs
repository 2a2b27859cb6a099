//! The one-liner's flags.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args as ClapArgs, ValueEnum};
use stoke_core::job::{SCAN_COUNT_DEFAULT, SCAN_COUNT_MAX};
use stoke_core::pattern::Pattern;
use stoke_core::scan::Order;
use stoke_core::template::Template;

use stoke_core::batch_keys::BatchKeys;

use super::values::{label, ttl};
use super::{FitArg, LogArgs, OutputArg, SectionArgs, ValueArgs, rate, share};

/// What the one-liner needs.
#[derive(Debug, ClapArgs)]
#[command(group = ArgGroup::new("source").required(true).multiple(true).args(["rank", "keys", "scan_by", "pattern", "paths", "counter", "hot_keys", "monitor", "promql"]))]
#[command(group = ArgGroup::new("ranked").args(["rank", "keys", "scan_by", "paths", "counter", "hot_keys", "monitor", "promql"]))]
pub struct WarmArgs {
    /// The database to load from: postgres://… (behind a PgBouncer that pools by transactions with ?pooler=transaction),
    /// mysql://… or sqlite:FILE; or another Redis to copy from, written as --cache is. A password can be left to the variable
    /// STOKE_ORIGIN
    #[arg(long, env = "STOKE_ORIGIN", hide_env_values = true, value_name = "URL")]
    pub origin: String,
    /// The Redis to warm: redis://…, one or several nodes (it finds out whether they are a Cluster), or
    /// redis+sentinel://HOST,HOST/MASTER for the master that Sentinels watch; rediss for TLS. Several, with commas between them
    #[arg(long, env = "STOKE_CACHE", hide_env_values = true, value_name = "URL")]
    pub cache: Vec<String>,
    /// A further Redis that each key is also written to, as --cache takes it: the flag again for each. What is loaded is loaded once
    #[arg(
        long,
        env = "STOKE_ALSO_CACHE",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub also_cache: Vec<String>,
    /// SQL that gives the keys: a column `key` (or one for each part where --load has (a, b) IN (:keys)), optionally
    /// `priority` (or `count`), further ones for the key template
    #[arg(long, value_name = "SQL")]
    pub rank: Option<String>,
    /// A file with the keys, in place of --rank: CSV, newline-delimited JSON or Parquet, by its path or URL; - is standard input
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// Which keys an access log asks for, in place of --rank.
    #[command(flatten)]
    pub log: LogArgs,
    /// The keys that this Redis is asked for while its masters are watched for so long by MONITOR, in place of --rank: from 1s to 10m.
    /// A node that is busy by more than 0.9 of a core is left alone
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub monitor: Option<Duration>,
    /// A Prometheus query whose series are the keys, in place of --rank, each with its number as its priority: a vector, as 'sum by
    /// (product) (increase(views_total[1d]))'
    #[arg(long, value_name = "QUERY", requires = "prometheus")]
    pub promql: Option<String>,
    /// Where that Prometheus is: http://[USER:PASSWORD@]HOST:PORT
    #[arg(
        long,
        env = "STOKE_PROMETHEUS",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub prometheus: Option<String>,
    /// The label of the series that is the key [default: the only one, or key]
    #[arg(long, value_name = "LABEL", requires = "promql")]
    pub key_label: Option<String>,
    /// SQL that loads a batch of keys: `:keys` where they belong, as in id IN (:keys) or (a, b) IN (:keys) (`:key` for one query
    /// a key). Not where a Redis is copied from
    #[arg(long, value_name = "SQL", conflicts_with = "scan_by")]
    pub load: Option<String>,
    /// Reads all rows of --query, without keys: in the order of these columns of theirs, as id or 'views DESC, id DESC', which
    /// are unique together, never NULL, and indexed in this order
    #[arg(long, value_name = "COLUMNS", requires = "query")]
    pub scan_by: Option<Order>,
    /// SQL whose rows are warmed, all of them: a SELECT without :keys
    #[arg(long, value_name = "SQL", requires = "scan_by")]
    pub query: Option<String>,
    /// How many rows one query reads of a scan
    #[arg(long, value_name = "N", requires = "scan_by", default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub scan_rows: u32,
    /// The keys of the Redis that is copied from, or of --keys-from, in place of --rank: literal text with {name}s, as old:{id},
    /// which are columns for --key; or without any a glob, as 'old:*'
    #[arg(long = "match", value_name = "PATTERN", conflicts_with_all = ["rank", "keys", "scan_by", "paths", "promql"])]
    pub pattern: Option<Pattern>,
    /// The Redis whose keys (--match), hot keys or counter are read, as --cache takes it, where it is not the one that is copied
    /// from; it is sent 10,000 commands a second at most
    #[arg(
        long,
        env = "STOKE_KEYS_FROM",
        hide_env_values = true,
        value_name = "URL"
    )]
    pub keys_from: Option<String>,
    /// Counts that the application keeps in that Redis, in place of --rank: the key of a sorted set of keys with their scores, or of
    /// a hash of keys with their numbers. With --match, what of its members are keys
    #[arg(long, value_name = "KEY")]
    pub counter: Option<String>,
    /// So many of the highest scores of --counter [default: all]
    #[arg(long, value_name = "N", requires = "counter", value_parser = clap::value_parser!(u64).range(1..))]
    pub counter_limit: Option<u64>,
    /// The keys of that Redis by how often they were used of late, in place of --rank, as it counts under the policy allkeys-lfu or
    /// volatile-lfu; with --match, only those
    #[arg(long)]
    pub hot_keys: bool,
    /// Leaves out keys whose counter stands lower, from 0 to 255; a new key's is 5
    #[arg(long, value_name = "N", default_value_t = 0, requires = "hot_keys")]
    pub frequency_min: u8,
    /// About how many keys one SCAN looks through
    #[arg(long, value_name = "N", default_value_t = SCAN_COUNT_DEFAULT, requires = "pattern", value_parser = clap::value_parser!(u32).range(1..=i64::from(SCAN_COUNT_MAX)))]
    pub match_count: u32,
    /// How keys of a Redis are copied: with what they have left to live [default: auto]
    #[arg(long, value_enum, value_name = "HOW")]
    pub copy: Option<CopyArg>,
    /// The key to copy, by {key} of --keys, as old:{key} [default: {key}]
    #[arg(long, value_name = "TEMPLATE", conflicts_with = "pattern")]
    pub from: Option<Template>,
    /// The cache keys: text with {column}s of the key source, as product:{key}; of a scan, of the rows, as product:{id} [default
    /// where a Redis is copied from: {key}]
    #[arg(long, value_name = "TEMPLATE")]
    pub key: Option<String>,
    /// The column of the rows that says which key each answers; once for each part where keys have several [default:
    /// those left of IN (:keys)]
    #[arg(long, value_name = "COLUMN", conflicts_with = "scan_by")]
    pub key_column: Vec<String>,
    /// How long entries live, as 5m or 1h: from a second to ten years. Where a Redis is copied from, the longest that they do
    /// [default there: as long as its keys do]
    #[arg(long, value_name = "TIME", value_parser = ttl)]
    pub ttl: Option<Duration>,
    /// Shortens each entry's time by up to this share of it, by a hash of its key (0 to 0.9)
    #[arg(long, value_name = "SHARE", default_value_t = 0.1, value_parser = share)]
    pub ttl_jitter: f64,
    /// How values are made.
    #[command(flatten)]
    pub value: ValueArgs,
    /// What is done with keys that are there already
    #[arg(long, value_enum, default_value_t = ModeArg::Add)]
    pub mode: ModeArg,
    /// What of the cache is warmed.
    #[command(flatten)]
    pub section: SectionArgs,
    /// What is done where the cache has no room for all of it, by its maxmemory
    #[arg(long, value_enum, default_value_t = FitArg::Cut, value_name = "WHAT")]
    pub fit: FitArg,
    /// How many queries a second the database may get at most; of a Redis that is copied from, commands [default: 100; of a Redis
    /// 10000]
    #[arg(long, value_name = "N", value_parser = rate)]
    pub qps: Option<f64>,
    /// How many queries may be unanswered at one time
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub in_flight: u64,
    /// How many keys one query asks for, from 1 to 10,000; auto: about 500, fewer where queries are slow, more where few are
    /// allowed
    #[arg(long, value_name = "N", default_value_t = BatchKeys::Auto, conflicts_with = "scan_by")]
    pub batch_keys: BatchKeys,
    /// How many workers share the work
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub workers: u32,
    /// How many entries may fail before the whole counts as failed
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub allowed_failures: u64,
    /// What is done with lines and rows that are no entries: malformed, without key, with a priority that is none [default: fail;
    /// of a log skip]
    #[arg(long, value_enum, value_name = "WHAT")]
    pub on_bad_line: Option<OnBadLineArg>,
    /// A label of the job, for its report
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub labels: Vec<(String, String)>,
    /// Reads the keys, tries the query on a small sample, writes nothing, and says what would be done
    #[arg(long)]
    pub dry_run: bool,
    /// Keeps how far it has come in this folder: killed, and started again with the same flags, it goes on from there
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// What is printed on standard output in the end
    #[arg(long, value_enum, default_value_t = OutputArg::Text)]
    pub output: OutputArg,
}

/// How keys of a Redis are copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CopyArg {
    /// By DUMP and RESTORE, or, once the cache does not take that, by the commands of their types
    Auto,
    /// By DUMP and RESTORE: every type, where the versions go together
    Dump,
    /// By the commands of their types: strings, hashes, lists, sets and sorted sets
    Typed,
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

/// What is done with lines and rows that are no entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OnBadLineArg {
    /// Nothing is warmed, and it is said which line is wrong
    Fail,
    /// They are left out, counted, and the first few shown
    Skip,
}
