//! Lines of files, each held whole, none of them longer than is allowed.

use std::io::{self, BufRead, Read};

use super::file::LINE_BYTES_MAX;

/// What was read of a line.
pub(super) enum Line {
    /// The file has ended.
    None,
    /// All of it, with what ends it.
    Whole,
    /// Only its beginning; the rest comes next.
    TooLong,
}

/// How long the next line is, with what ends it, where all of it is in the reader's buffer already.
pub(super) fn length_at_hand(reader: &mut impl BufRead) -> io::Result<Option<usize>> {
    let end = memchr::memchr(b'\n', reader.fill_buf()?);
    Ok(end
        .map(|end| end + 1)
        .filter(|length| *length <= LINE_BYTES_MAX))
}

/// Reads a line into `text`, and no more of it than is allowed.
pub(super) fn next_line(reader: &mut impl BufRead, text: &mut Vec<u8>) -> io::Result<Line> {
    text.clear();
    let bound = LINE_BYTES_MAX as u64 + 1;
    let length = reader.take(bound).read_until(b'\n', text)?;
    Ok(match length {
        0 => Line::None,
        _ if length as u64 == bound && !text.ends_with(b"\n") => Line::TooLong,
        _ => Line::Whole,
    })
}

/// Goes to the next line without holding what is left of this one.
pub(super) fn pass_over(reader: &mut impl BufRead) -> io::Result<()> {
    reader.skip_until(b'\n').map(drop)
}

/// What is said of a line that is longer.
pub(super) fn too_long() -> String {
    format!("it is longer than {LINE_BYTES_MAX} bytes")
}
