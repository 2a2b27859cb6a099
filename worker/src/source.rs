//! Key sources: where a ranked list of keys comes from, row by row.
//!
//! A source's rows have named columns in text form. One is `key` (where a loader's keys have parts, it may be columns for them
//! instead); `priority`, or where there is none `count`, says how many requests the key is expected to get; all of them serve a
//! loader's key template. Rows go out in chunks over a bounded channel, so a slow reader slows the source down.
//!
//! A line (row) that is no entry fails the source or is left out and counted, as its [`Rules`] say; what is wrong with
//! the columns is wrong with all rows, and always fails it.
//!
//! Rows of queries come from [`Origin::rank`](crate::origin::Origin::rank), rows of files from [`mod@file`], of access logs from
//! [`mod@log`]. Left to others:
//! merging duplicates, ranking.

use std::fmt;
use std::sync::Arc;

use stoke_core::names::LoaderName;
use stoke_core::units::Priority;
use tokio::sync::mpsc;

mod bad;
mod compressed;
mod count;
pub mod file;
mod found;
mod json;
mod lines;
pub mod log;
#[cfg(feature = "object-stores")]
mod objects;
mod place;
mod rows;

pub(crate) use bad::shown;
pub use bad::{BadLine, Gathered};
pub(crate) use count::Counter;
pub(crate) use found::Found;
pub use rows::Rules;
pub(crate) use rows::{Rows, priority_of};

/// The column that a source must have.
pub const KEY_COLUMN: &str = "key";
/// The column that a source may have: how many requests the key is expected to get.
pub const PRIORITY_COLUMN: &str = "priority";
/// What many call it: it is taken for [`PRIORITY_COLUMN`] where there is none.
pub(crate) const COUNT_COLUMN: &str = "count";
/// The most rows in one chunk.
pub const CHUNK_ROWS: usize = 1000;
/// A chunk goes out when its texts have this many bytes, however few rows that are.
pub const CHUNK_BYTES: usize = 1 << 20;

/// Where chunks of rows go.
type Sink = mpsc::Sender<Vec<SourceRow>>;

/// One row of a key source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRow {
    /// The names of the columns, in the order of `values`; shared by the rows of a source.
    pub columns: Arc<[String]>,
    /// The columns' values in text form; `None` is NULL. The key's is not.
    pub values: Vec<Option<String>>,
    /// [`Priority::ONE`] where the source has no priority for this row.
    pub priority: Priority,
    /// The loader of the rules.
    pub loader: u32,
    /// The cache key by the rules' template; empty where they have none.
    pub cache_key: Vec<u8>,
}

impl SourceRow {
    /// A column's value; `None` where there is no such column, or where it is NULL.
    #[must_use]
    pub fn get(&self, column: &str) -> Option<&str> {
        let index = self.columns.iter().position(|name| name == column)?;
        self.values.get(index)?.as_deref()
    }

    /// The value of the column `key`: of the last one, for one that is made of parts stands behind the source's own.
    #[must_use]
    pub fn key(&self) -> &str {
        let index = self.columns.iter().rposition(|name| name == KEY_COLUMN);
        let value = index.and_then(|index| self.values.get(index)?.as_deref());
        value.unwrap_or_default()
    }

    /// The cache key, and the value of the column `key`.
    #[must_use]
    pub fn into_keys(mut self) -> (Vec<u8>, String) {
        let index = self.columns.iter().rposition(|name| name == KEY_COLUMN);
        let key = index.and_then(|index| self.values.get_mut(index)?.take());
        (self.cache_key, key.unwrap_or_default())
    }
}

/// Where in a source something was wrong, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// The row of a query's result.
    Row(u64),
    /// The line of a file.
    Line(u64),
}

impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(number) => write!(f, "row {number}"),
            Self::Line(number) => write!(f, "line {number}"),
        }
    }
}

/// What is wrong with a source's content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceFault {
    /// There is no column `key`.
    #[error("there is no column {KEY_COLUMN:?} among {}: name one so, in SQL with AS key, or say which columns make it", listed(.found))]
    NoKey {
        /// The columns that there are.
        found: Vec<String>,
    },
    /// The loader's keys have parts, and the columns for them are not all there, nor is `key`.
    #[error(
        "there are no columns {} for the parts of keys among {}: let the key source give them, or a column {KEY_COLUMN:?} that is a JSON array of them",
        listed(.wanted), listed(.found)
    )]
    NoParts {
        /// The columns of the parts.
        wanted: Vec<String>,
        /// The columns that there are.
        found: Vec<String>,
    },
    /// Of keys that were found: none of several names is what the loader compares with its keys.
    #[error("{}", found::which_key(.compared.as_ref(), .found))]
    WhichKey {
        /// What it compares, where that is a column.
        compared: Option<String>,
        /// The names.
        found: Vec<String>,
    },
    /// Two columns of one name.
    #[error("there are two columns {0:?}: give them different names")]
    DuplicateColumn(String),
    /// The loader's template names a column that no row has.
    #[error(
        "the key template of loader {loader} names the column {column:?}, which is not among {}: let the key source give it, or correct the template",
        listed(.found)
    )]
    MissingColumn {
        /// Whose template.
        loader: LoaderName,
        /// The column.
        column: String,
        /// The columns that there are.
        found: Vec<String>,
    },
    /// A column cannot be text.
    #[error("the column {column:?} cannot be used: {what}")]
    Column {
        /// The column.
        column: String,
        /// What it has in it.
        what: String,
    },
    /// The line of column names cannot be read.
    #[error("{0}; it should be the header, with the columns' names")]
    Header(BadLine),
    /// A line (row) that is no entry.
    #[error("{0}; correct it, or let bad lines be skipped (on_bad_line, --on-bad-line skip)")]
    Bad(BadLine),
}

fn listed(names: &[String]) -> String {
    /// How many columns are named, and how long a name may be: a file may have a line of a megabyte for a header.
    const NAMED_MAX: usize = 20;
    const NAME_CHARS_MAX: usize = 60;
    if names.is_empty() {
        return "the columns (there are none)".to_owned();
    }
    let name = |name: &String| {
        let name: String = name.chars().take(NAME_CHARS_MAX).collect();
        name.escape_debug().to_string()
    };
    let mut listed: Vec<String> = names.iter().take(NAMED_MAX).map(name).collect();
    if names.len() > NAMED_MAX {
        listed.push(format!("… ({} in all)", names.len()));
    }
    listed.join(", ")
}
