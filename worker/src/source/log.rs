//! Access logs: which keys their lines ask for, and how often.
//!
//! Files are read one after another, the oldest first where they say when, by a blocking task; a line is held at a time, and the
//! counts of as many keys as fit into a bound. When it is reached, the counts so far go out as rows, and counting begins anew: rows
//! of one key add up (the source's merge is the sum), so what is planned does not depend on the bound (where ages count, but for
//! rounding to thousandths).
//!
//! A line that is no access is bad, and its source's rules say what becomes of it. One that is an access but does not count
//! (by its method, status or time, or because no pattern is of its URL) is counted as such. Where none of the first lines is an
//! access, the rest is not read.

use std::io::{self, BufRead};
use std::path::PathBuf;
use std::time::SystemTime;

use stoke_core::access_log::{AccessLog, Lines};
use tokio::sync::mpsc;

use super::compressed::truncated;
use super::file::StandardInputGone;
use super::{Gathered, Rules, SourceFault, SourceRow};
use reading::Reading;

mod access;
mod columns;
mod common;
mod filter;
mod format;
mod json;
mod names;
mod open;
mod order;
mod packed;
mod reading;
#[cfg(test)]
mod tests;
mod time;

/// How many bytes the counts take at most that a worker holds.
pub const COUNTS_BYTES_MAX: usize = 64 << 20;

/// Why a log could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// No glob.
    #[error("{path:?} is no pattern of files: {what}")]
    Glob {
        /// As it was given.
        path: String,
        /// What is wrong.
        what: String,
    },
    /// No such file.
    #[error("no file is found by {path:?}")]
    NothingFound {
        /// As it was given.
        path: String,
    },
    /// Standard input was read before, by an attempt that failed.
    #[error(transparent)]
    StandardInput(#[from] StandardInputGone),
    /// It cannot be opened.
    #[error("cannot open the log {}", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be read.
    #[error("cannot read the log {} behind line {line}{}", .path.display(), truncated(.source))]
    Read {
        /// The file.
        path: PathBuf,
        /// The last line that was read.
        line: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody knows how its lines are written, or what in them is wanted.
    #[error("cannot read the lines of {}: {what}", .path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is missing, or wrong.
        what: String,
    },
    /// None of its lines is an access.
    #[error(
        "none of the first {lines} lines from {} on is an access: {example} (where they come later, give only the lines that matter, \
         as by grep … | … --log -)", .path.display()
    )]
    NoAccess {
        /// The file.
        path: PathBuf,
        /// How many were read.
        lines: u64,
        /// What is wrong with the first.
        example: String,
    },
    /// Its accesses are so old that nearly nothing is left of them.
    #[error(
        "its newest access is {half_lives} half-lives old, so nearly nothing is left of what was asked for: say until when it goes \
         (until, --log-until), from where ages then count, or a longer half-life"
    )]
    Faded {
        /// How old the newest is.
        half_lives: u64,
    },
    /// What it gives is no key source.
    #[error("the log {} cannot be used", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: SourceFault,
    },
    /// Nobody takes the rows any more.
    #[error("stopped reading the log")]
    Stopped,
}

/// What there was in a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Read {
    /// Rows that are entries, of which several may be one key's; and what was left out.
    pub gathered: Gathered,
    /// Lines.
    pub lines: u64,
    /// Accesses that do not count by their method, status or time.
    pub filtered: u64,
    /// Accesses whose URL is of no pattern (or that have none), and lines that lack a field that is a column.
    pub unmatched: u64,
    /// The first such URL, or line.
    pub unmatched_example: Option<String>,
}

/// Looks whether a log can be read as it says, as far as that can be told without it.
///
/// # Errors
/// What is wrong with it.
pub fn check(log: &AccessLog) -> Result<(), String> {
    match &log.lines {
        Lines::Regex(regex) => format::check_regex(regex, &log.fields, !log.urls.is_empty()),
        _ => Ok(()),
    }
}

/// Reads a log and sends its rows, in chunks; `rules` are those of the loaders of its patterns, in their order, or of the one loader
/// where it has no patterns. The age of accesses counts from `now` where the log does not say until when. Counts take about
/// `counts_bytes_max` bytes: what does not fit goes out in several rows.
///
/// Where this future is dropped, the reading goes on until the receiver is gone, too.
///
/// # Errors
/// See [`LogError`]; rows before the fault may have been sent.
pub async fn read(
    log: AccessLog,
    rules: Vec<Rules>,
    now: SystemTime,
    counts_bytes_max: usize,
    sink: mpsc::Sender<Vec<SourceRow>>,
) -> Result<Read, LogError> {
    let task = tokio::task::spawn_blocking(move || {
        Reading::new(&log, &rules, now, &sink, counts_bytes_max)?.all()
    });
    // The task ends without a result only when the runtime shuts down.
    task.await.unwrap_or(Err(LogError::Stopped))
}

/// An access that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen<'a> {
    /// The same bytes for the same key as it is written by one pattern, and for no other key.
    pub key: &'a [u8],
    /// When, in seconds since 1970, where its line says so.
    pub at: Option<i64>,
}

/// Who is shown each access that counts, in the order of the lines.
pub trait Observer: Send + 'static {
    /// Takes notice of one.
    fn see(&mut self, seen: Seen<'_>);
}

/// Reads a log as [`read`] does, and gives back what the observer has become by it.
///
/// # Errors
/// As [`read`].
pub async fn read_observed<O: Observer>(
    log: AccessLog,
    rules: Vec<Rules>,
    now: SystemTime,
    sink: mpsc::Sender<Vec<SourceRow>>,
    mut observer: O,
) -> Result<(Read, O), LogError> {
    let task = tokio::task::spawn_blocking(move || {
        let mut reading = Reading::new(&log, &rules, now, &sink, COUNTS_BYTES_MAX)?;
        reading.observer = Some(&mut observer);
        let read = reading.all()?;
        Ok((read, observer))
    });
    task.await.unwrap_or(Err(LogError::Stopped))
}

/// Reads one file's content, as [`read`] does, and holds so many bytes of counts. It blocks while `sink` is full.
pub(crate) fn read_from(
    reader: impl BufRead,
    log: &AccessLog,
    rules: &[Rules],
    sink: &mpsc::Sender<Vec<SourceRow>>,
    counts_bytes_max: usize,
) -> Result<Read, LogError> {
    let mut reading = Reading::new(log, rules, SystemTime::UNIX_EPOCH, sink, counts_bytes_max)?;
    reading.content("log".into(), reader)?;
    reading.finish()
}
