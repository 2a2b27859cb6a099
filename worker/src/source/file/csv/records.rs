//! The records of a CSV file, one after another, each held whole before the parser sees it.
//!
//! Where a record ends is found here, because a parser alone can neither pass over one that is too long without holding it
//! nor tell a quote that is never closed from one that ends with the file. Both would swallow the records behind them.

use std::io::{self, BufRead, Read};

use stoke_core::records::BAD_LINE_EXAMPLES_MAX;

use crate::source::file::LINE_BYTES_MAX;
use crate::source::{BadLine, Whereabouts};

/// How much is kept of a record that is passed over, to be shown.
const KEPT_BYTES: usize = 1024;

/// Where in a record a byte is: only a line's end outside quotes ends the record.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    FieldStart,
    Plain,
    Quotes,
    /// Behind a quote inside quotes: the field's end, or the first of two.
    QuoteSeen,
}

/// What the record at hand is.
struct State {
    within: Within,
    /// Bytes so far; more than are held, where it is too long.
    bytes: usize,
    /// There is text behind a closing quote.
    stray: bool,
}

/// Gives one record to each reader that has read the one before, with a newline at its end whatever the file has.
/// Records that are none are passed over, and told; blank lines are passed over only.
pub(super) struct Records<R> {
    inner: R,
    skips: bool,
    record: Vec<u8>,
    /// How much of it was read.
    given: usize,
    /// The line of the next byte.
    line: u64,
    record_line: u64,
    /// The last byte was a carriage return: a newline behind it is of the same end of line.
    after_return: bool,
    left_out: LeftOut,
    /// Whether a record was given: before the header, nothing is passed over.
    begun: bool,
    ended: bool,
}

/// How a record ended.
enum End {
    Line,
    File,
    /// Nobody wants to know how: it is too long.
    Given,
}

impl<R: BufRead> Records<R> {
    /// Those that `inner` has. Unless it `skips`, the first that is none is the last.
    pub(super) fn new(inner: R, skips: bool) -> Self {
        Self {
            inner,
            skips,
            record: Vec::new(),
            given: 0,
            line: 1,
            record_line: 1,
            after_return: false,
            left_out: LeftOut::default(),
            begun: false,
            ended: false,
        }
    }

    /// The line that the last record began in.
    pub(super) fn record_line(&self) -> u64 {
        self.record_line
    }

    /// The last record, as it stands in the file.
    pub(super) fn record(&self) -> &[u8] {
        &self.record
    }

    /// What was passed over since this was last asked.
    pub(super) fn take_left_out(&mut self) -> LeftOut {
        std::mem::take(&mut self.left_out)
    }

    /// Goes to the next record that is one; at the end there is an empty one.
    fn advance(&mut self) -> io::Result<()> {
        self.record.clear();
        self.given = 0;
        while !self.ended {
            self.record.clear();
            self.record_line = self.line;
            let mut state = State {
                within: Within::FieldStart,
                bytes: 0,
                stray: false,
            };
            let end = self.gather(&mut state)?;
            self.ended = matches!(end, End::File);
            if state.bytes == 0 {
                continue;
            }
            let Some(what) = fault(&state, &end, self.line) else {
                self.record.push(b'\n');
                self.begun = true;
                break;
            };
            self.record.truncate(KEPT_BYTES);
            let at = Whereabouts::Line(self.record_line);
            self.left_out
                .note(|| BadLine::showing(at, what, &self.record));
            self.record.clear();
            if !self.skips || !self.begun {
                self.ended = true;
            }
        }
        Ok(())
    }

    /// Takes the bytes of one record, of which no more are held than are allowed.
    fn gather(&mut self, state: &mut State) -> io::Result<End> {
        loop {
            let buffer = match self.inner.fill_buf() {
                Ok(buffer) => buffer,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if buffer.is_empty() {
                return Ok(End::File);
            }
            let (mut from, mut used, mut is_whole) = (0, 0, false);
            for &byte in buffer {
                used += 1;
                let is_second_half = byte == b'\n' && self.after_return;
                self.after_return = byte == b'\r';
                if is_second_half && state.bytes == 0 {
                    from = used;
                    continue;
                }
                let is_line_end = matches!(byte, b'\n' | b'\r');
                self.line += u64::from(is_line_end && !is_second_half);
                if is_line_end && state.within != Within::Quotes {
                    is_whole = true;
                    break;
                }
                state.step(byte);
            }
            let until = used - usize::from(is_whole);
            if state.bytes <= LINE_BYTES_MAX {
                self.record.extend_from_slice(&buffer[from..until]);
            } else {
                self.record.truncate(KEPT_BYTES);
            }
            self.inner.consume(used);
            if is_whole {
                return Ok(End::Line);
            }
            if state.bytes > LINE_BYTES_MAX && !self.skips {
                return Ok(End::Given);
            }
        }
    }
}

impl State {
    fn step(&mut self, byte: u8) {
        self.bytes += 1;
        self.within = match (self.within, byte) {
            (Within::Quotes, b'"') => Within::QuoteSeen,
            (Within::Quotes, _) | (Within::FieldStart | Within::QuoteSeen, b'"') => Within::Quotes,
            (_, b',') => Within::FieldStart,
            (Within::QuoteSeen, _) => {
                self.stray = true;
                Within::Plain
            }
            _ => Within::Plain,
        };
    }
}

/// What makes these bytes no record.
fn fault(state: &State, end: &End, line: u64) -> Option<String> {
    let is_too_long = state.bytes > LINE_BYTES_MAX;
    let too_long = format!("it is longer than {LINE_BYTES_MAX} bytes");
    match (state.within, end) {
        (Within::Quotes, End::File) => Some(format!(
            "a quote is opened in it and never closed, which swallows all that follows, up to line {line}, the file's last"
        )),
        (Within::Quotes, _) if is_too_long => Some(format!(
            "{too_long}; a quote is open there: it may never have been closed"
        )),
        _ if is_too_long => Some(too_long),
        _ if state.stray => Some(
            "there is text behind a closing quote: write a quote inside quotes twice".to_owned(),
        ),
        _ => None,
    }
}

impl<R: BufRead> Read for Records<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.given == self.record.len() {
            self.advance()?;
        }
        let left = &self.record[self.given..];
        let length = left.len().min(buf.len());
        buf[..length].copy_from_slice(&left[..length]);
        self.given += length;
        Ok(length)
    }
}

/// Records that were passed over: any number, of which the first few are kept.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    /// The first of them; at most [`BAD_LINE_EXAMPLES_MAX`].
    pub(super) first: Vec<BadLine>,
    /// How many more there were.
    pub(super) more: u64,
}

impl LeftOut {
    fn note(&mut self, bad: impl FnOnce() -> BadLine) {
        if self.first.len() < BAD_LINE_EXAMPLES_MAX {
            self.first.push(bad());
        } else {
            self.more += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_that_is_passed_over_is_never_held() {
        let endless = io::repeat(b'x').take(64 << 20);
        let file = (&b"key\n"[..]).chain(endless).chain(&b"\n2"[..]);
        let mut records = Records::new(io::BufReader::new(file), true);
        let mut text = String::new();
        records.read_to_string(&mut text).unwrap();
        assert_eq!(text, "key\n2\n");
        assert_eq!(records.take_left_out().first.len(), 1);
        let held = records.record.capacity();
        assert!(held <= 4 * LINE_BYTES_MAX, "{held}");
    }

    #[test]
    fn of_many_records_that_are_passed_over_few_are_held_and_all_are_counted() {
        let bad = "\"a\"b\n".repeat(10_000);
        let file = io::Cursor::new(format!("key\n{bad}2\n"));
        let mut records = Records::new(io::BufReader::new(file), true);
        let mut text = String::new();
        records.read_to_string(&mut text).unwrap();
        assert_eq!(text, "key\n2\n");
        let left_out = records.take_left_out();
        assert_eq!(left_out.first.len(), BAD_LINE_EXAMPLES_MAX);
        assert_eq!(left_out.first.len() as u64 + left_out.more, 10_000);
    }

    #[test]
    fn what_is_wrong_with_the_header_ends_the_reading() {
        let endless = (&b"\"key\"x\n"[..]).chain(io::repeat(b'x'));
        let mut records = Records::new(io::BufReader::new(endless), true);
        let mut text = String::new();
        records.read_to_string(&mut text).unwrap();
        assert_eq!(records.take_left_out().first.len(), 1);
    }
}
