//! The flags of `stoke estimate`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args as ClapArgs};
use stoke_core::pattern::Pattern;
use stoke_core::template::Template;

use super::values::ttl;
use super::{ClusterArgs, LogArgs, OnBadLineArg, OutputArg, rate};

/// What is estimated, and what is known beside the plan.
#[derive(Debug, ClapArgs)]
#[command(group = ArgGroup::new("plan").required(true).args(["file", "paths", "job"]))]
pub struct EstimateArgs {
    /// A list of keys with what each is worth: CSV with a header, newline-delimited JSON, or Parquet (where it is built in), with `key`
    /// and `priority` (expected requests; or `count`), as `stoke plan export` prints it; - is standard input; or its URL, as
    /// 'file:///srv/keys.csv'. It need not be in order
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// A column of FILE (and of --later) that is a part of the key, in place of the column `key`; once for each
    #[arg(long, value_name = "NAME", requires = "file")]
    pub key_column: Vec<String>,
    /// Or the plan that an access log gives, and how its traffic drifts.
    #[command(flatten)]
    pub log: LogArgs,
    /// The cache keys that a log's accesses ask for, as product:{key} [default: what the URL names, or the field key]
    #[arg(long, value_name = "TEMPLATE", requires = "paths")]
    pub key: Option<Template>,
    /// Or the plan of this job
    #[arg(long, value_name = "NAME")]
    pub job: Option<String>,
    /// Where the cluster of --job is.
    #[command(flatten)]
    pub cluster: ClusterArgs,
    /// A list like FILE of what was asked for later: says what hit rate the plan had there
    #[arg(long, value_name = "FILE")]
    pub later: Option<PathBuf>,
    /// What is done with lines that are no entries: malformed, without key, with a priority that is none [default: fail; of a log
    /// skip]
    #[arg(long, value_enum, value_name = "WHAT")]
    pub on_bad_line: Option<OnBadLineArg>,
    /// How many queries a second the warm-up may ask of the database
    #[arg(long, value_name = "N", default_value_t = 100.0, value_parser = rate)]
    pub qps: f64,
    /// How many keys one query asks for [default: 500; of a job, what its loaders say]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch_keys: Option<u32>,
    /// How many requests a second the cache gets, as 2000/s [default: as often as the log says]
    #[arg(long, value_name = "N", value_parser = rate)]
    pub requests_per_second: Option<f64>,
    /// In what time the priorities count requests, as 1day: then they say how many come a second
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "requests_per_second")]
    pub period: Option<Duration>,
    /// How much longer a miss takes than a hit, as 20ms: then the waiting that users are spared is told
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub miss_cost: Option<Duration>,
    /// How many queries a second the database bears in all, as 500/s: misses beyond it wait, and fill nothing
    #[arg(long, value_name = "N", value_parser = rate)]
    pub capacity: Option<f64>,
    /// How long values live in the cache, as 1h [default: for ever; of a job, the shortest of its loaders]
    #[arg(long, value_name = "TIME", value_parser = ttl)]
    pub ttl: Option<Duration>,
    /// How long a value is on average, in bytes, as 400 or 2kB: then what the plan takes in the cache is told [default: of a dry run,
    /// what it found]
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub value_bytes: Option<u64>,
    /// How many bytes the cache has free, as 8GB
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub cache_free: Option<u64>,
    /// Keys of one user each, as 'session:{id}', once for each pattern: where most requests are for such keys, warming is overkill
    #[arg(long, value_name = "PATTERN", value_parser = pattern)]
    pub user_keys: Vec<Pattern>,
    /// Writes a picture of the hit rate over time to this file, cold against warmed
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// What is printed on standard output
    #[arg(long, value_enum, default_value_t = OutputArg::Text)]
    pub output: OutputArg,
}

/// The longest time that is taken: ten years.
const TIME_MAX: Duration = Duration::from_secs(3650 * 86_400);

/// A time of more than nothing.
fn time(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    match time.is_zero() || time > TIME_MAX {
        true => Err("must be more than 0s, and at most 3650days".into()),
        false => Ok(time),
    }
}

/// A pattern that says which part of a key is the user.
fn pattern(text: &str) -> Result<Pattern, String> {
    let pattern = Pattern::parse(text).map_err(|error| error.to_string())?;
    match pattern.names().is_empty() {
        true => Err("say where the user stands in it, as session:{id}".into()),
        false => Ok(pattern),
    }
}

/// A number of bytes, with or without a unit, which are those that the output has.
fn bytes(text: &str) -> Result<u64, String> {
    const FORM: &str = "write a number of bytes, as 400, 2kB, 512MiB or 8GB";
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" => 1000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return Err(FORM.into()),
    };
    let number: f64 = number.parse().map_err(|_| FORM.to_owned())?;
    #[expect(clippy::cast_precision_loss, reason = "a unit")]
    let bytes = number * factor as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked, and digits have no sign"
    )]
    match bytes {
        0.0..=1e15 => Ok(bytes.round() as u64),
        _ => Err("it is more than 1000 TB".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_may_have_a_unit() {
        for (text, expected) in [
            ("400", 400),
            ("0", 0),
            ("2kB", 2000),
            ("1.5 MB", 1_500_000),
            ("512MiB", 512 << 20),
            ("8gb", 8_000_000_000),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in [
            "", "-1", "many", "1e400", "8 apples", "NaN", "2000TB", "1.2.3",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_more_than_none_and_patterns_name_the_user() {
        assert_eq!(time("20ms"), Ok(Duration::from_millis(20)));
        for text in ["0s", "3651days", "soon", "-1s"] {
            assert!(time(text).is_err(), "{text}");
        }
        assert!(pattern("session:{id}").is_ok());
        for text in ["session:*", "", "{a}{b}"] {
            assert!(pattern(text).is_err(), "{text}");
        }
    }
}
