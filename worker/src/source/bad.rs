//! Lines (rows) that are no entries: what is wrong with them, how many there are, and the first few as examples.

use std::fmt::{self, Write as _};

use stoke_core::records::BAD_LINE_EXAMPLES_MAX;

use super::Whereabouts;

/// How much of a line is shown, in characters.
const SHOWN_CHARS_MAX: usize = 200;

/// A line (row) that is no entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadLine {
    /// Where it is.
    pub at: Whereabouts,
    /// What is wrong with it, and what of it can be shown.
    pub what: String,
}

impl BadLine {
    /// A line of which nothing is shown.
    pub(crate) fn new(at: Whereabouts, what: impl Into<String>) -> Self {
        let what = what.into();
        Self { at, what }
    }

    /// A line whose beginning is shown.
    pub(crate) fn showing(at: Whereabouts, what: impl fmt::Display, content: &[u8]) -> Self {
        let what = format!("{what}: {}", shown(content));
        Self { at, what }
    }
}

impl fmt::Display for BadLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

/// What reading a source to its end gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gathered {
    /// Rows that are entries.
    pub rows: u64,
    /// Lines (rows) that were left out.
    pub bad_lines: u64,
    /// What is wrong with the first of them; at most [`BAD_LINE_EXAMPLES_MAX`].
    pub examples: Vec<String>,
}

impl Gathered {
    /// What another part of the same source gave.
    pub(super) fn add(&mut self, other: Self) {
        self.rows += other.rows;
        self.bad_lines += other.bad_lines;
        let room = BAD_LINE_EXAMPLES_MAX - self.examples.len();
        self.examples.extend(other.examples.into_iter().take(room));
    }

    pub(super) fn leave_out(&mut self, bad: &BadLine) {
        self.bad_lines += 1;
        if self.examples.len() < BAD_LINE_EXAMPLES_MAX {
            self.examples.push(bad.to_string());
        }
    }
}

/// The beginning of a text as part of a message in one line, in quotes: whatever a terminal would act on is escaped.
pub(crate) fn shown(content: &[u8]) -> String {
    let text = String::from_utf8_lossy(&content[..content.len().min(4 * SHOWN_CHARS_MAX)]);
    let text = text.trim_end_matches(['\r', '\n']);
    let mut shown = String::from("\"");
    let mut chars = 0;
    for char in text.chars() {
        let escaped: String = match char {
            '"' | '\'' | '\\' => char.into(),
            _ => char.escape_debug().collect(),
        };
        chars += escaped.chars().count();
        if chars > SHOWN_CHARS_MAX {
            shown.push('…');
            break;
        }
        // Writing to a string cannot fail.
        let _ = shown.write_str(&escaped);
    }
    shown.push('"');
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_a_line_is_short_and_safe_to_print() {
        for (content, expected) in [
            (&b"1,\"a b\",\xc3\xa4\r\n"[..], "\"1,\"a b\",ä\""),
            (b"a\0b\x1b[31mc\td\ne", "\"a\\0b\\u{1b}[31mc\\td\\ne\""),
            (b"M\xfcller", "\"M\u{fffd}ller\""),
            ("a\u{202e}b".as_bytes(), "\"a\\u{202e}b\""),
            (b"", "\"\""),
        ] {
            assert_eq!(shown(content), expected);
        }
        let long = shown(&vec![b'x'; 1 << 20]);
        assert_eq!(long, format!("\"{}…\"", "x".repeat(200)));
        assert!(shown(&vec![0; 1 << 20]).chars().count() <= 203);
    }
}
