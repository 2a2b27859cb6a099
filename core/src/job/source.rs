//! Where a job's ranked keys come from.

use serde::{Deserialize, Serialize};

use super::{Merge, Priorities, Weight};
use crate::access_log::{AccessLog, UrlRule};
use crate::names::{FeedName, JobName, OriginName, SourceName};
use crate::pattern::Pattern;
use crate::usage::{Counter, HotKeys, Monitor, Series};

/// Where ranked keys come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySource {
    /// Which of the job's loaders loads these keys: an index.
    pub loader: u32,
    /// Of a source of the workers' configuration that has keys of several loaders: which, in rising order; `loader` is one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub several: Vec<u32>,
    /// Where from.
    pub from: From,
    /// How duplicates merge.
    pub merge: Merge,
    /// What is done with lines (rows) that are no entries.
    #[serde(default)]
    pub on_bad_line: OnBadLine,
    /// What its priorities are multiplied by before they meet those of other sources.
    #[serde(default, skip_serializing_if = "Weight::is_one")]
    pub weight: Weight,
}

impl KeySource {
    /// The loaders of its keys, by their places among the job's; one may come more than once. (Of another job's plan, each entry
    /// brings its own.)
    pub fn loaders(&self) -> impl Iterator<Item = u32> {
        let rules: &[UrlRule] = match &self.from {
            From::Log(log) => &log.urls,
            _ => &[],
        };
        let many = || {
            rules
                .iter()
                .map(|rule| rule.loader)
                .chain(self.several.iter().copied())
        };
        let own = many().next().is_none().then_some(self.loader);
        many().chain(own)
    }
}

/// What is done with lines (rows) of a key source that are no entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnBadLine {
    /// The job fails.
    #[default]
    Fail,
    /// They are left out and counted.
    Skip,
}

/// The kinds of key sources.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum From {
    /// A source of the workers' configuration.
    Named(SourceName),
    /// The rows of a query.
    Sql {
        /// The origin to ask.
        origin: OriginName,
        /// The query.
        query: String,
    },
    /// The keys of a Redis, by SCAN.
    Keyspace {
        /// The origin to read: a Redis.
        origin: OriginName,
        /// Which keys.
        pattern: Pattern,
        /// How much one SCAN looks through, from 1 to [`SCAN_COUNT_MAX`](super::SCAN_COUNT_MAX).
        count: u32,
    },
    /// Counts that an application keeps in a Redis.
    Counter(Box<Counter>),
    /// The keys of a Redis, by how often they are used.
    HotKeys(Box<HotKeys>),
    /// The keys that a Redis is asked for while it is watched. Its rows are counts, which add up as those of logs do.
    Monitor(Box<Monitor>),
    /// The series of a Prometheus.
    Prometheus(Box<Series>),
    /// A file on the worker's machine, or an object.
    File {
        /// Its path, or its URL (see [`place`](crate::place)); `-` is the standard input.
        path: String,
        /// Its format; by name or content where there is none.
        format: Option<FileFormat>,
    },
    /// The content of a file, in the job itself.
    Inline {
        /// What would be in the file.
        content: String,
        /// Its format; by content where there is none.
        format: Option<FileFormat>,
    },
    /// What applications report to a feed. Its keys come once each.
    Reported(Box<Reported>),
    /// An access log on the worker's machine. Its rows are counts, of which a key may have several: they add up.
    Log(Box<AccessLog>),
    /// Entries that the caller uploads.
    Upload,
    /// Entries of another job's plan; each keeps its loader, by name.
    Plan {
        /// The other job.
        job: JobName,
        /// Which of them.
        which: Which,
    },
    /// The ranges into which the source's loader cuts what it scans.
    Scan,
}

impl From {
    /// Whether a worker has to read it.
    #[must_use]
    pub const fn is_read_by_worker(&self) -> bool {
        !matches!(self, Self::Upload | Self::Plan { .. })
    }

    /// The origin that it asks by what the job itself says, as SQL is, and which field of a source says so.
    #[must_use]
    pub fn asks(&self) -> Option<(&'static str, &OriginName)> {
        match self {
            Self::Sql { origin, .. } => Some(("sql", origin)),
            Self::Keyspace { origin, .. } => Some(("keyspace", origin)),
            Self::Counter(counter) => Some(("counter", &counter.origin)),
            Self::HotKeys(hot) => Some(("hot_keys", &hot.origin)),
            Self::Monitor(monitor) => Some(("monitor", &monitor.origin)),
            Self::Prometheus(series) => Some(("prometheus", &series.origin)),
            // A scan asks what its loader asks.
            Self::Named(_)
            | Self::File { .. }
            | Self::Inline { .. }
            | Self::Reported(_)
            | Self::Log(_)
            | Self::Upload
            | Self::Plan { .. }
            | Self::Scan => None,
        }
    }

    /// What its priorities are; of a source of the workers' configuration, they say.
    #[must_use]
    pub const fn priorities(&self) -> Priorities {
        match self {
            Self::Log(_) | Self::Monitor(_) => Priorities::Counts,
            Self::Prometheus(_) => Priorities::Numbers,
            Self::Named(_)
            | Self::Sql { .. }
            | Self::Keyspace { .. }
            | Self::Counter(_)
            | Self::HotKeys(_)
            | Self::File { .. }
            | Self::Inline { .. }
            | Self::Reported(_)
            | Self::Upload
            | Self::Plan { .. }
            | Self::Scan => Priorities::Ranks,
        }
    }

    /// Whether it is of a kind that older workers cannot read: those who tell how much keys are used, and what came with them.
    #[must_use]
    pub const fn is_of_usage(&self) -> bool {
        matches!(
            self,
            Self::Counter(_)
                | Self::HotKeys(_)
                | Self::Monitor(_)
                | Self::Prometheus(_)
                | Self::Inline { .. }
                | Self::Reported(_)
        )
    }
}

/// What applications report to a feed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reported {
    /// Which.
    pub feed: FeedName,
    /// So many keys at most, the most requested; `None`: all that are counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top: Option<u32>,
    /// Which of the keys.
    pub pattern: Pattern,
}

/// Which entries of another job's plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// All but those that failed.
    All,
    /// So many of these, from 1 to [`SAMPLE_MAX`](super::SAMPLE_MAX).
    Sample(u32),
    /// Those that failed.
    Failed,
}

/// Formats of key files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileFormat {
    /// Comma-separated values below a line of column names.
    Csv,
    /// A JSON object a line.
    Ndjson,
    /// Apache Parquet.
    Parquet,
}
