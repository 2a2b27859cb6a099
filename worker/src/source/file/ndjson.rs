//! Key files of one JSON object a line.

use std::borrow::Cow;
use std::fmt;
use std::io::{BufRead, Read};
use std::path::Path;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{FileError, LINE_BYTES_MAX, shortened};
use crate::source::{Chunk, Header, SourceRow, Whereabouts};

/// Reads objects until the end, or until `send` says no.
pub(super) fn read(
    mut reader: impl BufRead,
    path: &Path,
    mut send: impl FnMut(Vec<SourceRow>) -> bool,
) -> Result<u64, FileError> {
    let stopped = || FileError::Stopped {
        path: path.to_owned(),
    };
    let mut header: Option<Header> = None;
    let mut chunk = Chunk::default();
    let mut rows = 0;
    let mut text = Vec::new();
    for line in 1.. {
        text.clear();
        let bound = LINE_BYTES_MAX as u64 + 1;
        let length = (&mut reader)
            .take(bound)
            .read_until(b'\n', &mut text)
            .map_err(|source| FileError::Read {
                path: path.to_owned(),
                line,
                source,
            })?;
        if length == 0 {
            break;
        }
        if length as u64 == bound {
            return Err(FileError::TooLong {
                path: path.to_owned(),
                line,
            });
        }
        if text.trim_ascii().is_empty() {
            continue;
        }
        let row = row(&text, line, &mut header, path)?;
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

/// One line's row. `header` is that of the line before: lines mostly have the same columns, which then are shared.
fn row(
    text: &[u8],
    line: u64,
    header: &mut Option<Header>,
    path: &Path,
) -> Result<SourceRow, FileError> {
    let malformed = |error: serde_json::Error| {
        // Its own "at line 1 column n" would contradict ours.
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or_default();
        let what = format!("{} (character {})", shortened(what), error.column());
        FileError::Malformed {
            path: path.to_owned(),
            line,
            what,
        }
    };
    let content = |source| FileError::Content {
        path: path.to_owned(),
        source,
    };
    let Object(members) = serde_json::from_slice(text).map_err(malformed)?;
    let same = header.take().filter(|header| {
        header
            .columns()
            .iter()
            .map(String::as_str)
            .eq(members.iter().map(|(name, _)| name.as_ref()))
    });
    let current = match same {
        Some(same) => same,
        None => {
            let columns = members
                .iter()
                .map(|(name, _)| name.clone().into_owned())
                .collect();
            Header::new(columns).map_err(|source| FileError::Malformed {
                path: path.to_owned(),
                line,
                what: source.to_string(),
            })?
        }
    };
    let values = members
        .iter()
        .map(|(_, value)| text_of(value))
        .collect::<Result<_, _>>()
        .map_err(malformed)?;
    header
        .insert(current)
        .row(Whereabouts::Line(line), values)
        .map_err(content)
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
