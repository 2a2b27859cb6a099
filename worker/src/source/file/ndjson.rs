//! Key files of one JSON object a line.

use std::borrow::Cow;
use std::io::BufRead;

use serde_json::value::RawValue;

use super::{Ended, Sink, hand_on};
use crate::source::json::{Object, malformed, text_of};
use crate::source::lines::{Line, next_line, pass_over, too_long};
use crate::source::{BadLine, KEY_COLUMN, Rows, Whereabouts};

/// Reads objects until the end, or until nobody takes the rows.
pub(super) fn read(mut reader: impl BufRead, rows: &mut Rows, sink: &Sink) -> Result<(), Ended> {
    let mut text = Vec::new();
    for line in 1.. {
        let at = Whereabouts::Line(line);
        let unreadable = |source| Ended::Unreadable { at, source };
        match next_line(&mut reader, &mut text).map_err(unreadable)? {
            Line::None => break,
            Line::Whole if text.trim_ascii().is_empty() => {}
            Line::Whole => match members(&text, rows.has_parts()) {
                Ok(members) => hand_on(rows.object(at, members, &text)?, sink)?,
                Err(what) => rows.leave_out(BadLine::showing(at, what, &text))?,
            },
            Line::TooLong => {
                rows.leave_out(BadLine::showing(at, too_long(), &text))?;
                pass_over(&mut reader).map_err(unreadable)?;
            }
        }
    }
    Ok(())
}

/// A line's columns and values, or what is wrong with it; `lists` says whether a key may be one.
fn members(text: &[u8], lists: bool) -> Result<Vec<(String, Option<String>)>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned())?;
    let Object(members) = serde_json::from_str(text).map_err(malformed)?;
    let member = |(name, value): (Cow<'_, str>, &RawValue)| {
        let is_list = value.get().starts_with('[');
        if name == KEY_COLUMN && (value.get().starts_with('{') || is_list && !lists) {
            return Err("the key is an object or a list".to_owned());
        }
        Ok((name.into_owned(), text_of(value).map_err(malformed)?))
    };
    members.into_iter().map(member).collect()
}
