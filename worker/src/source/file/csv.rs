//! Key files of comma-separated values.

use std::io::{self, BufRead, Read};
use std::path::Path;

use super::{FileError, LINE_BYTES_MAX, shortened};
use crate::source::{Chunk, Header, SourceFault, SourceRow, Whereabouts};

/// Reads a header line and records until the end, or until `send` says no.
pub(super) fn read(
    reader: impl BufRead,
    path: &Path,
    mut send: impl FnMut(Vec<SourceRow>) -> bool,
) -> Result<u64, FileError> {
    let error = |error: ::csv::Error| described(error, path);
    let content = |source| FileError::Content {
        path: path.to_owned(),
        source,
    };
    let stopped = || FileError::Stopped {
        path: path.to_owned(),
    };
    let mut reader = ::csv::ReaderBuilder::new()
        .has_headers(true)
        .from_reader(Bounded::new(reader));
    let columns = reader
        .headers()
        .map_err(error)?
        .iter()
        .map(str::to_owned)
        .collect();
    let header = Header::new(columns).map_err(content)?;
    let mut record = ::csv::StringRecord::new();
    let mut chunk = Chunk::default();
    let mut rows = 0;
    while reader.read_record(&mut record).map_err(error)? {
        let at = Whereabouts::Line(record.position().map_or(0, ::csv::Position::line));
        let values = record.iter().map(|field| Some(field.to_owned())).collect();
        let row = header.row(at, values).map_err(content)?;
        if row.key().is_empty() {
            return Err(content(SourceFault::NullKey(at)));
        }
        rows += 1;
        if let Some(full) = chunk.push(row)
            && !send(full)
        {
            return Err(stopped());
        }
    }
    if let Some(last) = chunk.take()
        && !send(last)
    {
        return Err(stopped());
    }
    Ok(rows)
}

fn described(error: ::csv::Error, path: &Path) -> FileError {
    let line = error.position().map_or(1, ::csv::Position::line);
    let path = path.to_owned();
    let text = error.to_string();
    match error.into_kind() {
        ::csv::ErrorKind::Io(source) => match source
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<TooLong>())
        {
            Some(TooLong { line }) => FileError::TooLong { path, line: *line },
            None => FileError::Read { path, line, source },
        },
        ::csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => {
            let what = format!("it has {len} fields where the header has {expected_len}");
            FileError::Malformed { path, line, what }
        }
        ::csv::ErrorKind::Utf8 { .. } => FileError::Malformed {
            path,
            line,
            what: "it is not UTF-8".to_owned(),
        },
        _ => FileError::Malformed {
            path,
            line,
            what: shortened(&text).into_owned(),
        },
    }
}

/// A record grew over the bound.
#[derive(Debug, thiserror::Error)]
#[error("line {line} is too long")]
struct TooLong {
    line: u64,
}

/// Where in a record a byte is: only a newline outside quotes ends the record.
#[derive(Clone, Copy)]
enum Within {
    FieldStart,
    Plain,
    Quotes,
    /// Behind a quote inside quotes: the field's end, or the first of two.
    QuoteSeen,
}

/// Passes bytes on until a record exceeds [`LINE_BYTES_MAX`], so that the parser's buffer is bounded.
struct Bounded<R> {
    inner: R,
    within: Within,
    record_bytes: usize,
    line: u64,
    record_line: u64,
}

impl<R> Bounded<R> {
    fn new(inner: R) -> Self {
        Self {
            inner,
            within: Within::FieldStart,
            record_bytes: 0,
            line: 1,
            record_line: 1,
        }
    }

    fn step(&mut self, byte: u8) {
        self.record_bytes += 1;
        self.line += u64::from(byte == b'\n');
        self.within = match (self.within, byte) {
            (Within::Quotes, b'"') => Within::QuoteSeen,
            (Within::Quotes, _) | (Within::FieldStart | Within::QuoteSeen, b'"') => Within::Quotes,
            (_, b',') => Within::FieldStart,
            (_, b'\n' | b'\r') => {
                self.record_bytes = 0;
                self.record_line = self.line;
                Within::FieldStart
            }
            _ => Within::Plain,
        };
    }
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buf)?;
        for &byte in &buf[..read] {
            self.step(byte);
            if self.record_bytes > LINE_BYTES_MAX {
                let line = self.record_line;
                return Err(io::Error::new(io::ErrorKind::InvalidData, TooLong { line }));
            }
        }
        Ok(read)
    }
}
