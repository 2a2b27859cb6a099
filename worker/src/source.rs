//! Key sources: where a ranked list of keys comes from, row by row.
//!
//! A source's rows have named columns in text form. One is `key`; `priority`, where there is one, says how many requests
//! the key is expected to get; all of them serve a loader's key template. Rows go out in chunks over a bounded channel,
//! so a slow reader slows the source down.
//!
//! Rows of queries come from [`Origin::rank`](crate::origin::Origin::rank), rows of files from [`mod@file`]. Left to others:
//! merging duplicates, ranking.

use std::fmt;
use std::sync::Arc;

use stoke_core::units::Priority;

pub mod file;

/// The column that a source must have.
pub const KEY_COLUMN: &str = "key";
/// The column that a source may have: how many requests the key is expected to get.
pub const PRIORITY_COLUMN: &str = "priority";
/// The most rows in one chunk.
pub const CHUNK_ROWS: usize = 1000;
/// A chunk goes out when its texts have this many bytes, however few rows that are.
pub const CHUNK_BYTES: usize = 1 << 20;

/// One row of a key source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceRow {
    /// The names of the columns, in the order of `values`; shared by the rows of a source.
    pub columns: Arc<[String]>,
    /// The columns' values in text form; `None` is NULL. The key's is not.
    pub values: Vec<Option<String>>,
    /// [`Priority::ONE`] where the source has no priority for this row.
    pub priority: Priority,
}

impl SourceRow {
    /// A column's value; `None` where there is no such column, or where it is NULL.
    #[must_use]
    pub fn get(&self, column: &str) -> Option<&str> {
        let index = self.columns.iter().position(|name| name == column)?;
        self.values.get(index)?.as_deref()
    }

    /// The value of the column `key`.
    #[must_use]
    pub fn key(&self) -> &str {
        self.get(KEY_COLUMN).unwrap_or_default()
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
    #[error("there is no column {KEY_COLUMN:?} among {}: name one so, in SQL with AS key", listed(.found))]
    NoKey {
        /// The columns that there are.
        found: Vec<String>,
    },
    /// Two columns of one name.
    #[error("there are two columns {0:?}: give them different names")]
    DuplicateColumn(String),
    /// A row without key.
    #[error("{0}: the key is empty or NULL")]
    NullKey(Whereabouts),
    /// A priority that is none.
    #[error("{at}: the priority {text:?} is not a number from 0 to {max}", max = Priority::REQUESTS_MAX)]
    Priority {
        /// Where.
        at: Whereabouts,
        /// What is written there.
        text: String,
    },
    /// A row with a value that has no text form.
    #[error("{at}: {what}")]
    Row {
        /// Where.
        at: Whereabouts,
        /// The column, and what is wrong with it.
        what: String,
    },
}

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        "the columns (there are none)".to_owned()
    } else {
        names.join(", ")
    }
}

/// The columns of a source, checked: what turns values into rows.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    columns: Arc<[String]>,
    key: usize,
    priority: Option<usize>,
}

impl Header {
    /// Finds `key` and `priority` among the columns.
    pub(crate) fn new(columns: Vec<String>) -> Result<Self, SourceFault> {
        for (i, name) in columns.iter().enumerate() {
            if columns[..i].contains(name) {
                return Err(SourceFault::DuplicateColumn(name.clone()));
            }
        }
        let Some(key) = columns.iter().position(|name| name == KEY_COLUMN) else {
            return Err(SourceFault::NoKey { found: columns });
        };
        let priority = columns.iter().position(|name| name == PRIORITY_COLUMN);
        Ok(Self {
            columns: columns.into(),
            key,
            priority,
        })
    }

    pub(crate) fn columns(&self) -> &Arc<[String]> {
        &self.columns
    }

    /// A row of these columns. An empty priority is no priority.
    pub(crate) fn row(
        &self,
        at: Whereabouts,
        values: Vec<Option<String>>,
    ) -> Result<SourceRow, SourceFault> {
        debug_assert_eq!(values.len(), self.columns.len());
        if values[self.key].is_none() {
            return Err(SourceFault::NullKey(at));
        }
        let text = self
            .priority
            .and_then(|index| values[index].as_deref())
            .filter(|text| !text.is_empty());
        let priority = match text {
            None => Priority::ONE,
            Some(text) => text
                .trim()
                .parse()
                .ok()
                .and_then(|requests| Priority::from_requests(requests).ok())
                .ok_or_else(|| SourceFault::Priority {
                    at,
                    text: text.chars().take(80).collect(),
                })?,
        };
        Ok(SourceRow {
            columns: Arc::clone(&self.columns),
            values,
            priority,
        })
    }
}

/// Rows gathered until they are worth sending.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    rows: Vec<SourceRow>,
    bytes: usize,
}

impl Chunk {
    /// Adds a row; gives the chunk back when it is full.
    pub(crate) fn push(&mut self, row: SourceRow) -> Option<Vec<SourceRow>> {
        self.bytes += row.values.iter().flatten().map(String::len).sum::<usize>();
        self.rows.push(row);
        let full = self.rows.len() >= CHUNK_ROWS || self.bytes >= CHUNK_BYTES;
        full.then(|| self.take()).flatten()
    }

    /// What has been gathered, if anything.
    pub(crate) fn take(&mut self) -> Option<Vec<SourceRow>> {
        self.bytes = 0;
        let rows = std::mem::take(&mut self.rows);
        (!rows.is_empty()).then_some(rows)
    }
}
