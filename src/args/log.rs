//! Flags that say which keys an access log asks for.

use std::time::{Duration, SystemTime};

use anyhow::anyhow;
use clap::{Args as ClapArgs, ValueEnum};
use stoke_coordinator::wire;
use stoke_core::access_log::{AccessLog, Statuses};
use stoke_core::url_pattern::UrlPattern;
use stoke_proto::v1;

/// What of a log counts, and for which keys.
#[derive(Clone, Debug, ClapArgs)]
pub struct LogArgs {
    /// An access log, whose most requested keys come first: a file or a glob, as '/var/log/nginx/access.log*', or the URL of
    /// either, as 's3://bucket/logs/access.log*', once for each; - is standard input. Gzip and zstd are decompressed
    #[arg(long = "log", value_name = "FILE")]
    pub paths: Vec<String>,
    /// URLs of the log that ask for keys, as '/product/{id}' or '/search?q={query}', once for each; {*name} at the end is all the
    /// rest of a path. Names are columns; the only one of a pattern is the key [default: the lines' own fields are the
    /// columns]
    #[arg(long = "url", value_name = "PATTERN", requires = "paths")]
    pub urls: Vec<UrlPattern>,
    /// How the log's lines are written [default: told by the first]
    #[arg(long, value_enum, value_name = "HOW", requires = "paths")]
    pub log_lines: Option<LogLinesArg>,
    /// A regular expression that finds an access in each line; its groups are the fields, as (?<url>\S+) or (?<key>\S+)
    #[arg(
        long,
        value_name = "REGEX",
        requires = "paths",
        conflicts_with = "log_lines"
    )]
    pub log_regex: Option<String>,
    /// The field with the URL or the request line, where it has no usual name
    #[arg(long, value_name = "FIELD", requires = "paths")]
    pub log_url_field: Option<String>,
    /// The field with the method, where it has no usual name
    #[arg(long, value_name = "FIELD", requires = "paths")]
    pub log_method_field: Option<String>,
    /// The field with the status, where it has no usual name
    #[arg(long, value_name = "FIELD", requires = "paths")]
    pub log_status_field: Option<String>,
    /// The field with the time, where it has no usual name
    #[arg(long, value_name = "FIELD", requires = "paths")]
    pub log_time_field: Option<String>,
    /// A method that counts, or *, once for each [default: GET and HEAD]
    #[arg(long, value_name = "METHOD", requires = "paths")]
    pub log_method: Vec<String>,
    /// A status that counts, as 304, 200-299 or 2xx, once for each [default: 200-299 and 304]
    #[arg(long, value_name = "STATUS", requires = "paths")]
    pub log_status: Vec<Statuses>,
    /// Accesses from this time on, as 2026-11-23T21:00:00Z
    #[arg(long, value_name = "TIME", value_parser = time, requires = "paths")]
    pub log_since: Option<SystemTime>,
    /// Accesses before this time
    #[arg(long, value_name = "TIME", value_parser = time, requires = "paths")]
    pub log_until: Option<SystemTime>,
    /// An access counts half after so long before --log-until (or now), as 12h, and half of that after twice as long
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, requires = "paths")]
    pub log_half_life: Option<Duration>,
}

impl LogArgs {
    /// The log that the flags describe, checked.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn access_log(&self) -> anyhow::Result<AccessLog> {
        let log = wire::access_log(self.source().unwrap_or_default(), &[String::new()]);
        log.map_err(|faults| anyhow!(faults))
    }

    /// The source that the flags describe; `None` where they name no log.
    pub fn source(&self) -> Option<v1::AccessLogSource> {
        if self.paths.is_empty() {
            return None;
        }
        let lines = match (&self.log_regex, self.log_lines) {
            (Some(_), _) => v1::LogLines::Regex,
            (None, None) => v1::LogLines::Unspecified,
            (None, Some(LogLinesArg::Common)) => v1::LogLines::Common,
            (None, Some(LogLinesArg::Json)) => v1::LogLines::Json,
            (None, Some(LogLinesArg::Csv)) => v1::LogLines::Csv,
        };
        let url = |pattern: &UrlPattern| v1::UrlPattern {
            pattern: pattern.to_string(),
            loader: String::new(),
        };
        Some(v1::AccessLogSource {
            paths: self.paths.clone(),
            lines: lines.into(),
            regex: self.log_regex.clone().unwrap_or_default(),
            fields: Some(v1::LogFields {
                url: self.log_url_field.clone().unwrap_or_default(),
                method: self.log_method_field.clone().unwrap_or_default(),
                status: self.log_status_field.clone().unwrap_or_default(),
                time: self.log_time_field.clone().unwrap_or_default(),
            }),
            urls: self.urls.iter().map(url).collect(),
            methods: self.log_method.clone(),
            statuses: self.log_status.iter().map(ToString::to_string).collect(),
            since: self.log_since.map(prost_types::Timestamp::from),
            until: self.log_until.map(prost_types::Timestamp::from),
            half_life: self.log_half_life.and_then(|time| time.try_into().ok()),
        })
    }
}

/// How lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLinesArg {
    /// The common log format of Apache and nginx, and the combined one
    Common,
    /// JSON objects
    Json,
    /// Comma-separated values with a header
    Csv,
}

fn time(text: &str) -> Result<SystemTime, String> {
    humantime::parse_rfc3339(text)
        .map_err(|_| "write it in UTC, as 2026-11-23T21:00:00Z".to_owned())
}
