//! Key files: CSV with a header line, or one JSON object a line.
//!
//! Files are read as streams, by a blocking task; what is held is one line and one chunk. Every error has its line. A line
//! over the bound is passed over without being held. Where nobody takes the rows any more, nothing more is read, however
//! little there is to send. A byte order mark at the start is no part of the content.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
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

/// Standard input was read before, by an attempt that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "standard input can be read only once, and an attempt at planning that failed has read it: see the log for why, and start again"
)]
pub struct StandardInputGone;

/// Where chunks of rows go.
type Sink = mpsc::Sender<Vec<SourceRow>>;

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
    let stopped = FileError::Stopped { path: path.clone() };
    let task = tokio::task::spawn_blocking(move || {
        let format = format.or_else(|| Format::of_name(&path));
        if path == Path::new("-") {
            take_standard_input()?;
            return read_from(io::stdin().lock(), &path, format, &rules, &sink);
        }
        let file = File::open(&path).map_err(|source| FileError::Open {
            path: path.clone(),
            source,
        })?;
        read_from(BufReader::new(file), &path, format, &rules, &sink)
    });
    // The task ends without a result only when the runtime shuts down.
    task.await.unwrap_or(Err(stopped))
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
    let read = read_rows(reader, format, &mut rows, sink).and_then(|()| {
        let (last, gathered) = rows.finish();
        hand_on(last, sink)?;
        Ok(gathered)
    });
    read.map_err(|ended| match ended {
        // It cannot be read because nobody wants it.
        Ended::Unreadable { .. } if sink.is_closed() => Ended::Stopped.described(path.to_owned()),
        ended => ended.described(path.to_owned()),
    })
}

fn read_rows(
    mut reader: impl BufRead,
    format: Option<Format>,
    rows: &mut Rows,
    sink: &Sink,
) -> Result<(), Ended> {
    let unreadable = |source| Ended::Unreadable { line: 1, source };
    let start = without_mark(&mut reader).map_err(unreadable)?;
    let mut reader = io::Cursor::new(start).chain(reader);
    let format = match format {
        Some(format) => format,
        None => Format::of_first_byte(&mut reader).map_err(unreadable)?,
    };
    match format {
        Format::Csv => csv::read(reader, rows, sink),
        Format::Ndjson => ndjson::read(reader, rows, sink),
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
fn hand_on(chunk: Option<Vec<SourceRow>>, sink: &Sink) -> Result<(), Ended> {
    match chunk {
        Some(chunk) => sink.blocking_send(chunk).map_err(|_| Ended::Stopped),
        None => Ok(()),
    }
}
