//! Text that is no TOML in places: what is wrong there, and a text without those places that can be read on.
//!
//! The parser recovers from some errors and stops at others. So each statement (a setting, or a table's header with its
//! settings) that has an error is blanked, byte by byte so that all else stays where it is, and the rest is parsed again:
//! an error at the end of a file is found beside one at its beginning.

use std::ops::Range;

use toml::de::DeTable;

/// How often a text is parsed at most, and how many errors of each time are looked at: a text with more breaks than that
/// is not meant to be TOML.
const ROUNDS_MAX: usize = 50;
const ERRORS_MAX: usize = 50;
/// How far up a statement's beginning is looked for, in lines.
const LINES_MAX: usize = 200;

/// Something that is no TOML.
#[derive(Debug)]
pub(super) struct SyntaxError {
    /// The byte that it begins at.
    pub(super) start: usize,
    /// What is wrong, without repeating the text: the parser's messages do not.
    pub(super) what: String,
}

/// The text with everything blanked that cannot be parsed, and what is wrong with that.
pub(super) fn parsable(text: &str) -> (String, Vec<SyntaxError>) {
    let mut text = text.to_owned();
    let mut errors: Vec<SyntaxError> = Vec::new();
    let mut blanked: Vec<Range<usize>> = Vec::new();
    // Each round blanks a line or more.
    for _ in 0..ROUNDS_MAX {
        let found = DeTable::parse_recoverable(&text).1;
        if found.is_empty() {
            break;
        }
        let first = blanked.is_empty();
        let mut round = Vec::new();
        for error in found.into_iter().take(ERRORS_MAX) {
            let start = error.span().map_or(text.len(), |span| span.start);
            let statement = statement(&text, start);
            // What is wrong beside a place that was blanked may be wrong for that reason alone.
            let follows =
                |other: &Range<usize>| statement.start <= other.end && other.start <= statement.end;
            let known = if first {
                round.iter().any(follows)
            } else {
                blanked.iter().chain(&round).any(follows)
            };
            if !known {
                errors.push(SyntaxError {
                    start,
                    what: error.message().to_owned(),
                });
            }
            round.push(statement);
        }
        for statement in &round {
            blank(&mut text, statement);
        }
        blanked.append(&mut round);
    }
    (text, errors)
}

/// The statement that a byte is in: from the line that it begins on to the one where the next begins.
fn statement(text: &str, at: usize) -> Range<usize> {
    let mut at = at.min(text.len());
    // At a file's end, and at a line's end where something is missing, what is wrong stands before.
    while at > 0 && (at == text.len() || !text.is_char_boundary(at)) {
        at -= 1;
    }
    let line_start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let mut start = line_start;
    for _ in 0..LINES_MAX {
        if start == 0 || begins(&text[start..]) {
            break;
        }
        start = text[..start - 1].rfind('\n').map_or(0, |end| end + 1);
    }
    // What can be parsed without this line does not go on in it.
    if DeTable::parse(&text[start..line_start]).is_ok() {
        start = line_start;
    }
    let header = text[start..].trim_start().starts_with('[');
    let mut end = next_line(text, line_start);
    while end < text.len() && !ends_before(&text[end..], header) {
        end = next_line(text, end);
    }
    start..end
}

fn next_line(text: &str, from: usize) -> usize {
    text[from..]
        .find('\n')
        .map_or(text.len(), |end| from + end + 1)
}

/// Whether a statement of the kind ends before this line. What follows a header is its own, up to the next one.
fn ends_before(rest: &str, header: bool) -> bool {
    let line = rest.lines().next().unwrap_or_default().trim_start();
    if header {
        line.starts_with('[')
    } else {
        begins(rest) || line.starts_with('#')
    }
}

/// Whether a statement begins on this line: `[…`, or `key =`. By its look alone: a line of a text over lines may look so too,
/// and is then blanked in a later round. `["` is rather a list within a list.
fn begins(rest: &str) -> bool {
    let line = rest.lines().next().unwrap_or_default().trim_start();
    let key = line.split('=').next().unwrap_or_default().trim_end();
    let in_key = |char: char| char.is_ascii_alphanumeric() || "-_.\"'/ ".contains(char);
    line.starts_with('[') && !line.starts_with("[\"") || {
        key.len() < line.len() && !key.is_empty() && key.chars().all(in_key)
    }
}

/// Spaces for everything but the ends of lines.
fn blank(text: &mut String, range: &Range<usize>) {
    let blanks: String = text[range.clone()]
        .bytes()
        .map(|byte| if byte == b'\n' { '\n' } else { ' ' })
        .collect();
    text.replace_range(range.clone(), &blanks);
}
