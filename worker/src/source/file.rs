//! Key files: CSV with a header line, or one JSON object a line.
//!
//! Files are read as streams, by a blocking task; what is held is one line and one chunk. Every error has its line. A line
//! over the bound is passed over without being held. A byte order mark at the start is no part of the content.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use super::{Gathered, Rows, Rules, SourceFault, SourceRow};

mod csv;
mod ndjson;
#[cfg(test)]
mod tests;

/// The longest line (in CSV: record) in bytes.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// How a key file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values with a header line; an empty `key` is refused, an empty `priority` is none.
    Csv,
    /// One JSON object a line; blank lines are skipped.
    Ndjson,
}

impl Format {
    /// By the name's ending: `.csv`; `.json`, `.jsonl` and `.ndjson`.
    #[must_use]
    pub fn of_name(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "csv" => Some(Self::Csv),
            "json" | "jsonl" | "ndjson" => Some(Self::Ndjson),
            _ => None,
        }
    }

    /// By the first byte: a JSON object begins with a brace.
    fn of_first_byte(reader: &mut impl BufRead) -> io::Result<Self> {
        let first = reader.fill_buf()?.first();
        Ok(if first == Some(&b'{') {
            Self::Ndjson
        } else {
            Self::Csv
        })
    }
}

/// Why a key file could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// Standard input was read before, by an attempt that failed.
    #[error(
        "standard input can be read only once, and an attempt at planning that failed has read it: see the log for why, and start again"
    )]
    StandardInputGone,
    /// It cannot be opened.
    #[error("cannot open the key file {}", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be read.
    #[error("cannot read the key file {} from line {line}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The line at which reading stopped.
        line: u64,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The content is not that of a key source.
    #[error("the key file {} cannot be used", .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        #[source]
        source: SourceFault,
    },
    /// Nobody takes the rows any more.
    #[error("stopped reading the key file {}", .path.display())]
    Stopped {
        /// The file.
        path: PathBuf,
    },
}

/// Whether somebody has begun to read standard input: what was read is gone.
static STANDARD_INPUT_READ: AtomicBool = AtomicBool::new(false);

/// Reads a key file and sends its rows, in chunks, until its end; returns what there was in it. `-` is standard input.
/// Without `format`, the name's ending says it, or the first byte.
///
/// Where this future is dropped, the reading ends with the chunk at hand: the receiver is expected to go too.
///
/// # Errors
/// See [`FileError`]; the rows before the fault have been sent.
pub async fn read(
    path: &Path,
    format: Option<Format>,
    rules: &Rules,
    sink: mpsc::Sender<Vec<SourceRow>>,
) -> Result<Gathered, FileError> {
    let (path, rules) = (path.to_owned(), rules.clone());
    let stopped = FileError::Stopped { path: path.clone() };
    let task = tokio::task::spawn_blocking(move || {
        let format = format.or_else(|| Format::of_name(&path));
        if path == Path::new("-") {
            if STANDARD_INPUT_READ.swap(true, Ordering::AcqRel) {
                return Err(FileError::StandardInputGone);
            }
            return read_from(io::stdin().lock(), &path, format, &rules, |chunk| {
                sink.blocking_send(chunk).is_ok()
            });
        }
        let file = File::open(&path).map_err(|source| FileError::Open {
            path: path.clone(),
            source,
        })?;
        read_from(BufReader::new(file), &path, format, &rules, |chunk| {
            sink.blocking_send(chunk).is_ok()
        })
    });
    // The task ends without a result only when the runtime shuts down.
    task.await.unwrap_or(Err(stopped))
}

/// Reads a key file from `reader`; `path` is for errors. `send` takes a chunk and says whether to go on.
pub(super) fn read_from(
    mut reader: impl BufRead,
    path: &Path,
    format: Option<Format>,
    rules: &Rules,
    mut send: impl FnMut(Vec<SourceRow>) -> bool,
) -> Result<Gathered, FileError> {
    let unreadable = |source| FileError::Read {
        path: path.to_owned(),
        line: 1,
        source,
    };
    let start = without_mark(&mut reader).map_err(unreadable)?;
    let mut reader = io::Cursor::new(start).chain(reader);
    let format = match format {
        Some(format) => format,
        None => Format::of_first_byte(&mut reader).map_err(unreadable)?,
    };
    let mut rows = Rows::new(rules);
    let read = match format {
        Format::Csv => csv::read(reader, &mut rows, &mut send),
        Format::Ndjson => ndjson::read(reader, &mut rows, &mut send),
    };
    let path = || path.to_owned();
    read.map_err(|ended| ended.described(path()))?;
    let (last, gathered) = rows.finish();
    if let Some(last) = last
        && !send(last)
    {
        return Err(FileError::Stopped { path: path() });
    }
    Ok(gathered)
}

/// The first bytes of a file, without the mark that some programs put before UTF-8.
fn without_mark(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    const MARK: &[u8] = b"\xef\xbb\xbf";
    let mut start = Vec::with_capacity(MARK.len());
    reader.take(MARK.len() as u64).read_to_end(&mut start)?;
    if start == MARK {
        start.clear();
    }
    Ok(start)
}

/// Why reading ended before the file's end.
enum Ended {
    /// It cannot be read on from this line.
    Unreadable { line: u64, source: io::Error },
    /// By its content.
    Fault(SourceFault),
    /// Nobody takes the rows any more.
    Stopped,
}

impl From<SourceFault> for Ended {
    fn from(fault: SourceFault) -> Self {
        Self::Fault(fault)
    }
}

impl Ended {
    fn described(self, path: PathBuf) -> FileError {
        match self {
            Self::Unreadable { line, source } => FileError::Read { path, line, source },
            Self::Fault(source) => FileError::Content { path, source },
            Self::Stopped => FileError::Stopped { path },
        }
    }
}

/// Sends a chunk, where there is one.
fn hand_on(
    chunk: Option<Vec<SourceRow>>,
    send: &mut impl FnMut(Vec<SourceRow>) -> bool,
) -> Result<(), Ended> {
    if let Some(chunk) = chunk
        && !send(chunk)
    {
        return Err(Ended::Stopped);
    }
    Ok(())
}
