//! Key files of one JSON object a line.

use std::borrow::Cow;
use std::fmt;
use std::io::{self, BufRead, Read};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Ended, LINE_BYTES_MAX, Sink, hand_on};
use crate::source::{BadLine, KEY_COLUMN, Rows, Whereabouts};

/// Reads objects until the end, or until nobody takes the rows.
pub(super) fn read(mut reader: impl BufRead, rows: &mut Rows, sink: &Sink) -> Result<(), Ended> {
    let mut text = Vec::new();
    for line in 1.. {
        let unreadable = |source| Ended::Unreadable { line, source };
        let at = Whereabouts::Line(line);
        match next_line(&mut reader, &mut text).map_err(unreadable)? {
            Line::None => break,
            Line::Whole if text.trim_ascii().is_empty() => {}
            Line::Whole => match members(&text, rows.has_parts()) {
                Ok(members) => hand_on(rows.object(at, members, &text)?, sink)?,
                Err(what) => rows.leave_out(BadLine::showing(at, what, &text))?,
            },
            Line::TooLong => {
                let what = format!("it is longer than {LINE_BYTES_MAX} bytes");
                rows.leave_out(BadLine::showing(at, what, &text))?;
                pass_over(&mut reader).map_err(unreadable)?;
            }
        }
    }
    Ok(())
}

enum Line {
    /// The file has ended.
    None,
    Whole,
    /// Only its beginning was read.
    TooLong,
}

/// Reads a line into `text`, and no more of it than is allowed.
fn next_line(reader: &mut impl BufRead, text: &mut Vec<u8>) -> io::Result<Line> {
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
fn pass_over(reader: &mut impl BufRead) -> io::Result<()> {
    reader.skip_until(b'\n').map(drop)
}

/// A line's columns and values, or what is wrong with it; `lists` says whether a key may be one.
fn members(text: &[u8], lists: bool) -> Result<Vec<(String, Option<String>)>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8".to_owned())?;
    let malformed = |error: serde_json::Error| {
        // Its own "at line 1 column n" would contradict ours.
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or_default();
        format!("{what} (character {})", error.column())
    };
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

/// A value in text form: a string's content, and all else as it is written, so that numbers keep their digits.
fn text_of(value: &RawValue) -> Result<Option<String>, serde_json::Error> {
    match value.get() {
        "null" => Ok(None),
        text if text.starts_with('"') => serde_json::from_str(text).map(Some),
        text => Ok(Some(text.to_owned())),
    }
}

/// An object's members in their order.
struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(Name(name)) = map.next_key()? {
                    members.push((name, map.next_value()?));
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

/// A member's name, borrowed where it has no escapes. (A bare `Cow` would always be owned.)
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);
