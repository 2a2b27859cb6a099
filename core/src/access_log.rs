//! Access logs as key sources: which lines count, and what keys they are of.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::url_pattern::UrlPattern;

/// The most patterns that one source has: each line is compared with them in turn.
pub const PATTERNS_MAX: usize = 64;
/// The most paths that one source names.
pub const PATHS_MAX: usize = 1024;
/// The shortest half-life: logs tell seconds.
pub const HALF_LIFE_MIN: Duration = Duration::from_secs(1);

/// How the lines of a log are written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lines {
    /// Told by the first line that is not empty: a JSON object, an access of the common or the combined format, or the names of
    /// columns.
    #[default]
    Auto,
    /// The common log format of Apache and nginx, the combined one, and whatever begins as they do.
    Common,
    /// JSON objects.
    Json,
    /// Comma-separated values with a header.
    Csv,
    /// Lines in which this regular expression is found; its named groups are the fields.
    Regex(String),
}

/// What the fields are called in which JSON objects, CSV lines and regular expressions say what was asked for; `None`: the first
/// of some usual names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fields {
    /// A URL, or a request line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// A method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The answer's status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<String>,
}

/// Which keys a URL asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UrlRule {
    /// The URLs.
    pub pattern: UrlPattern,
    /// The loader of their keys, by its place among the job's.
    pub loader: u32,
}

/// Statuses from one to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Statuses {
    first: u16,
    last: u16,
}

/// A text that is no range of statuses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no status: write one as 304, some as 200-299, or all of a kind as 2xx")]
pub struct NotStatuses(String);

impl Statuses {
    /// Whether a status is one of these.
    #[must_use]
    pub const fn contain(self, status: u16) -> bool {
        self.first <= status && status <= self.last
    }
}

impl FromStr for Statuses {
    type Err = NotStatuses;

    fn from_str(text: &str) -> Result<Self, NotStatuses> {
        let number = |text: &str| {
            let status = text.parse::<u16>().ok();
            status.filter(|status| (100..=999).contains(status))
        };
        let range = || {
            if let Some(kind) = text.strip_suffix("xx") {
                let kind = kind
                    .parse::<u16>()
                    .ok()
                    .filter(|kind| (1..=9).contains(kind))?;
                return Some((kind * 100, kind * 100 + 99));
            }
            let (first, last) = text.split_once('-').unwrap_or((text, text));
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some((first, last))
        };
        let (first, last) = range().ok_or_else(|| NotStatuses(text.to_owned()))?;
        Ok(Self { first, last })
    }
}

impl fmt::Display for Statuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl From<Statuses> for String {
    fn from(statuses: Statuses) -> Self {
        statuses.to_string()
    }
}

impl TryFrom<String> for Statuses {
    type Error = NotStatuses;

    fn try_from(text: String) -> Result<Self, NotStatuses> {
        text.parse()
    }
}

/// Which accesses count. What a line does not say keeps it from nothing but from a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Methods, in capitals; none: all.
    pub methods: BTreeSet<String>,
    /// Statuses.
    pub statuses: BTreeSet<Statuses>,
    /// From this second since 1970 on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<i64>,
    /// Before this second since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<i64>,
}

/// What reads and was answered: GET and HEAD, with 200 to 299 or 304.
impl Default for Filter {
    fn default() -> Self {
        let answered = Statuses {
            first: 200,
            last: 299,
        };
        let not_modified = Statuses {
            first: 304,
            last: 304,
        };
        Self {
            methods: ["GET", "HEAD"].map(str::to_owned).into(),
            statuses: [answered, not_modified].into(),
            since: None,
            until: None,
        }
    }
}

/// An access log as a key source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessLog {
    /// Paths on the worker's machine, or URLs of objects (see [`place`](crate::place)), globs among them; `-` alone is the standard
    /// input.
    pub paths: Vec<String>,
    /// How lines are written.
    #[serde(default)]
    pub lines: Lines,
    /// What fields are called.
    #[serde(default)]
    pub fields: Fields,
    /// Which keys URLs ask for: the first pattern that a URL matches. None: the lines' own fields are the source's columns.
    pub urls: Vec<UrlRule>,
    /// Which accesses count.
    #[serde(default)]
    pub filter: Filter,
    /// After so many seconds before [`Filter::until`] (or the reading's beginning) an access counts half; `None`: all count alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half_life_s: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_one_some_or_all_of_a_kind() {
        for (text, within, beyond, shown) in [
            ("304", 304, 305, "304"),
            ("200-299", 299, 300, "200-299"),
            ("2xx", 200, 199, "200-299"),
        ] {
            let statuses: Statuses = text.parse().unwrap();
            assert!(
                statuses.contain(within) && !statuses.contain(beyond),
                "{text}"
            );
            assert_eq!(statuses.to_string(), shown);
        }
        for text in [
            "", "2x", "xx", "0xx", "99", "299-200", "200-", "200-1000", "ok",
        ] {
            assert!(text.parse::<Statuses>().is_err(), "{text}");
        }
    }
}
