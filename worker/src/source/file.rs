//! Key files: CSV with a header line, one JSON object a line, or Parquet.
//!
//! A file is named by its path, or by the URL of an object (see `place`). What gzip or zstd have compressed is told by its content.
//! Files are read as streams, by a blocking task; what is held is one line and one chunk. Every error has its line. A line
//! over the bound is passed over without being held. Where nobody takes the rows any more, nothing more is read, however
//! little there is to send. A byte order mark at the start is no part of the content. Parquet is read from its end, and here and there:
//! that takes a file or an object, and the cargo feature `parquet`.

use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use super::compressed::{decompressed, truncated};
use super::place::{self, shown};
use super::{Gathered, Rows, Rules, Sink, SourceFault, SourceRow, Whereabouts};

mod csv;
mod ndjson;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(test)]
mod tests;

/// The longest line (in CSV: record) in bytes.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// How a key file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values with a header line; an empty `key` is refused, an empty `priority` (or `count`) is none.
    Csv,
    /// One JSON object a line; blank lines are skipped.
    Ndjson,
    /// Apache Parquet, whose columns are taken as CSV has them: as texts.
    Parquet,
}

impl Format {
    /// By the name's ending: `.csv`; `.json`, `.jsonl` and `.ndjson`; `.parquet`. Behind it the ending of what has compressed it may
    /// stand.
    #[must_use]
    pub fn of_name(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "csv" => Some(Self::Csv),
            "json" | "jsonl" | "ndjson" => Some(Self::Ndjson),
            "parquet" => Some(Self::Parquet),
            "gz" | "zst" => Self::of_name(&path.with_extension("")),
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
    #[error(transparent)]
    StandardInput(#[from] StandardInputGone),
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
    #[error("cannot read the key file {} from {at}{}", .path.display(), truncated(.source))]
    Read {
        /// The file.
        path: PathBuf,
        /// Where reading stopped.
        at: Whereabouts,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is Parquet, and cannot be read so.
    #[error("cannot read the key file {} as Parquet: {what}", .path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// Why, and what to do.
        what: &'static str,
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

/// Standard input was read before, by an attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "standard input can be read only once, and an attempt at planning that failed has read it: see the log for why, and start again"
)]
pub struct StandardInputGone;

/// Whether somebody has begun to read standard input: what was read is gone.
static STANDARD_INPUT_READ: AtomicBool = AtomicBool::new(false);

/// Begins to read standard input.
///
/// # Errors
/// Where somebody has before.
pub(super) fn take_standard_input() -> Result<(), StandardInputGone> {
    match STANDARD_INPUT_READ.swap(true, Ordering::AcqRel) {
        true => Err(StandardInputGone),
        false => Ok(()),
    }
}

/// Reads a key file and sends its rows, in chunks, until its end; returns what there was in it. `-` is standard input.
/// Without `format`, the name's ending says it, or the first byte.
///
/// Where this future is dropped, the reading goes on until the receiver is gone too; then it ends with the line or the
/// buffer at hand. (Only standard input, or a pipe, that gives nothing is waited for.)
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
    let stopped = FileError::Stopped { path: shown(&path) };
    let task = tokio::task::spawn_blocking(move || read_named(&path, format, &rules, &sink));
    // The task ends without a result only when the runtime shuts down.
    task.await.unwrap_or(Err(stopped))
}

fn read_named(
    path: &Path,
    format: Option<Format>,
    rules: &Rules,
    sink: &Sink,
) -> Result<Gathered, FileError> {
    let name = shown(path);
    let format = format.or_else(|| Format::of_name(&name));
    let is_standard_input = path == Path::new("-");
    if is_standard_input {
        take_standard_input()?;
    } else if format == Some(Format::Parquet) {
        return parquet_file(path, rules, sink);
    }
    let opened = if is_standard_input {
        decompressed(io::stdin().lock())
    } else {
        place::open(path, sink).and_then(decompressed)
    };
    match opened {
        Ok(reader) => read_from(reader, &name, format, rules, sink),
        Err(_) if sink.is_closed() => Err(FileError::Stopped { path: name }),
        Err(source) => Err(FileError::Open { path: name, source }),
    }
}

#[cfg(feature = "parquet")]
fn parquet_file(path: &Path, rules: &Rules, sink: &Sink) -> Result<Gathered, FileError> {
    let mut rows = Rows::new(rules);
    let read = parquet::read_named(path, &mut rows, sink);
    ended(read, rows, &shown(path), sink)
}

#[cfg(not(feature = "parquet"))]
fn parquet_file(path: &Path, _: &Rules, _: &Sink) -> Result<Gathered, FileError> {
    Err(FileError::Parquet {
        path: shown(path),
        what: "this program is built without it: build it with the feature parquet, or give CSV or NDJSON",
    })
}

/// Reads what would be in a key file, as [`read`] does; `name` is what it is called in errors.
///
/// # Errors
/// See [`FileError`]; the rows before the fault have been sent.
pub async fn read_content(
    name: &str,
    content: String,
    format: Option<Format>,
    rules: &Rules,
    sink: mpsc::Sender<Vec<SourceRow>>,
) -> Result<Gathered, FileError> {
    let (path, rules) = (PathBuf::from(name), rules.clone());
    let stopped = FileError::Stopped { path: path.clone() };
    let task = tokio::task::spawn_blocking(move || {
        read_from(content.as_bytes(), &path, format, &rules, &sink)
    });
    task.await.unwrap_or(Err(stopped))
}

/// Reads a key file from `reader`; `path` is for errors. It blocks while `sink` is full.
pub(crate) fn read_from(
    reader: impl BufRead,
    path: &Path,
    format: Option<Format>,
    rules: &Rules,
    sink: &Sink,
) -> Result<Gathered, FileError> {
    let mut rows = Rows::new(rules);
    let reader = Watchful::new(reader, sink);
    let read = read_rows(reader, format, &mut rows, sink);
    ended(read, rows, path, sink)
}

/// What reading came to, once the last rows are sent.
fn ended(
    read: Result<(), Ended>,
    rows: Rows,
    path: &Path,
    sink: &Sink,
) -> Result<Gathered, FileError> {
    let read = read.and_then(|()| {
        let (last, gathered) = rows.finish();
        hand_on(last, sink)?;
        Ok(gathered)
    });
    read.map_err(|ended| match ended {
        // It cannot be read because nobody wants it.
        Ended::Unopened(_) | Ended::Unreadable { .. } if sink.is_closed() => {
            Ended::Stopped.described(path.to_owned())
        }
        ended => ended.described(path.to_owned()),
    })
}

fn read_rows(
    mut reader: impl BufRead,
    format: Option<Format>,
    rows: &mut Rows,
    sink: &Sink,
) -> Result<(), Ended> {
    let at = Whereabouts::Line(1);
    let unreadable = |source| Ended::Unreadable { at, source };
    let start = without_mark(&mut reader).map_err(unreadable)?;
    let mut reader = io::Cursor::new(start).chain(reader);
    let format = match format {
        Some(format) => format,
        None => Format::of_first_byte(&mut reader).map_err(unreadable)?,
    };
    match format {
        Format::Csv => csv::read(reader, rows, sink),
        Format::Ndjson => ndjson::read(reader, rows, sink),
        Format::Parquet => Err(Ended::Streamed),
    }
}

/// A reader that fails once nobody takes the rows: it looks whenever it is asked for a buffer, which is at least once a
/// line. Looking only when a chunk goes out would be never, in a file of another kind whose lines are all passed over.
pub(super) struct Watchful<'a, R> {
    reader: R,
    sink: &'a Sink,
}

impl<'a, R> Watchful<'a, R> {
    pub(super) const fn new(reader: R, sink: &'a Sink) -> Self {
        Self { reader, sink }
    }

    fn look(&self) -> io::Result<()> {
        if self.sink.is_closed() {
            return Err(io::Error::other("nobody takes the rows any more"));
        }
        Ok(())
    }
}

impl<R: Read> Read for Watchful<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.look()?;
        self.reader.read(buf)
    }
}

impl<R: BufRead> BufRead for Watchful<'_, R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.look()?;
        self.reader.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.reader.consume(amount);
    }
}

/// The first bytes of a file, without the mark that some programs put before UTF-8.
pub(super) fn without_mark(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
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
    /// It cannot be opened.
    #[cfg_attr(
        not(feature = "parquet"),
        expect(dead_code, reason = "others are opened first")
    )]
    Unopened(io::Error),
    /// It cannot be read on from this line (row).
    Unreadable { at: Whereabouts, source: io::Error },
    /// It comes as a stream, and should not.
    Streamed,
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
            Self::Unopened(source) => FileError::Open { path, source },
            Self::Unreadable { at, source } => FileError::Read { path, at, source },
            Self::Streamed => FileError::Parquet {
                path,
                what: "it is read from its end: name a file or an object, and not the standard input",
            },
            Self::Fault(source) => FileError::Content { path, source },
            Self::Stopped => FileError::Stopped { path },
        }
    }
}

/// Sends a chunk, where there is one.
fn hand_on(chunk: Option<Vec<SourceRow>>, sink: &Sink) -> Result<(), Ended> {
    match chunk {
        Some(chunk) => sink.blocking_send(chunk).map_err(|_| Ended::Stopped),
        None => Ok(()),
    }
}
