//! What goes where: data to standard output, everything else to standard error.
//!
//! Neither panics where nobody reads any more: `stoke jobs | head -1` ends quietly, and what is said to nobody is lost.

mod sink;

use std::io::{ErrorKind, Write};

use anyhow::Context;
use serde::Serialize;

use crate::exit::{Exit, Failure, OrExit};

pub use sink::Sink;

/// Whether somebody still reads standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// As far as one can tell.
    Listens,
    /// It has closed its end: it has all that it wanted.
    Gone,
}

/// Writes data to standard output, at once.
///
/// # Errors
/// Where it cannot be written for another reason than that nobody reads it.
pub fn data(bytes: impl AsRef<[u8]>) -> Result<Reader, Failure> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(bytes.as_ref()).and_then(|()| out.flush());
    match written {
        Ok(()) => Ok(Reader::Listens),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error)
            .context("cannot write to standard output")
            .or_exit(Exit::Unreachable),
    }
}

/// One JSON value as a line.
pub fn json(value: &impl Serialize) -> String {
    let mut text = serde_json::to_string(value)
        .unwrap_or_else(|_| unreachable!("texts, numbers and lists of them are JSON"));
    text.push('\n');
    text
}

/// Says something to people, on standard error.
pub fn say(text: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "stoke: {text}");
}

/// Shows progress to people, on standard error: a line as it is.
pub fn show(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
