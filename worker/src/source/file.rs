//! Key files: CSV with a header line, or one JSON object a line.
//!
//! Files are read as streams, by a blocking task; what is held is one line and one chunk. Every error has its line.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use super::{SourceFault, SourceRow};

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
    #[error("standard input can be read only once: start again")]
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
    /// A line without end.
    #[error("the key file {} has a line of more than {LINE_BYTES_MAX} bytes: line {line}", .path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
    },
    /// A line that is not of the file's format.
    #[error("the key file {} is malformed at line {line}: {what}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The content is not that of a key source.
    #[error("the key file {} does not fit", .path.display())]
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

/// Reads a key file and sends its rows, in chunks, until its end; returns how many rows there were. `-` is standard
/// input. Without `format`, the name's ending says it, or the first byte.
///
/// Where this future is dropped, the reading ends with the chunk at hand: the receiver is expected to go too.
///
/// # Errors
/// See [`FileError`]; the rows before the fault have been sent.
pub async fn read(
    path: &Path,
    format: Option<Format>,
    sink: mpsc::Sender<Vec<SourceRow>>,
) -> Result<u64, FileError> {
    let path = path.to_owned();
    let stopped = FileError::Stopped { path: path.clone() };
    let task = tokio::task::spawn_blocking(move || {
        let format = format.or_else(|| Format::of_name(&path));
        if path == Path::new("-") {
            if STANDARD_INPUT_READ.swap(true, Ordering::AcqRel) {
                return Err(FileError::StandardInputGone);
            }
            return read_from(io::stdin().lock(), &path, format, |chunk| {
                sink.blocking_send(chunk).is_ok()
            });
        }
        let file = File::open(&path).map_err(|source| FileError::Open {
            path: path.clone(),
            source,
        })?;
        read_from(BufReader::new(file), &path, format, |chunk| {
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
    send: impl FnMut(Vec<SourceRow>) -> bool,
) -> Result<u64, FileError> {
    let format = match format {
        Some(format) => format,
        None => Format::of_first_byte(&mut reader).map_err(|source| FileError::Read {
            path: path.to_owned(),
            line: 1,
            source,
        })?,
    };
    match format {
        Format::Csv => csv::read(reader, path, send),
        Format::Ndjson => ndjson::read(reader, path, send),
    }
}

/// A text as the field of an error message: at most 80 characters.
fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(80) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}
