//! One value of a SQLite row, by the type that is stored.

use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row as _, Sqlite, TypeInfo as _, ValueRef as _};

use crate::origin::probe::ProbeFault;

/// Why a value cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("holds Infinity, which JSON cannot express")]
    Infinite,
    #[error("holds bytes that are not of its type")]
    Malformed,
}

enum Stored<'r> {
    Null,
    Integer(i64),
    Real(f64),
    Text(&'r str),
    Blob(&'r [u8]),
}

fn stored(row: &SqliteRow, index: usize) -> Result<Stored<'_>, Fault> {
    let value = row.try_get_raw(index).map_err(|_| Fault::Malformed)?;
    if value.is_null() {
        return Ok(Stored::Null);
    }
    let ty = value.type_info().name().to_owned();
    let stored = match ty.as_str() {
        "INTEGER" => <i64 as Decode<Sqlite>>::decode(value).map(Stored::Integer),
        "REAL" => <f64 as Decode<Sqlite>>::decode(value).map(Stored::Real),
        "TEXT" => <&str as Decode<Sqlite>>::decode(value).map(Stored::Text),
        "BLOB" => <&[u8] as Decode<Sqlite>>::decode(value).map(Stored::Blob),
        _ => return Err(Fault::Malformed),
    };
    match stored {
        Ok(Stored::Real(real)) if !real.is_finite() => Err(Fault::Infinite),
        Ok(stored) => Ok(stored),
        Err(_) => Err(Fault::Malformed),
    }
}

/// Writes a value as JSON.
pub(super) fn json(row: &SqliteRow, index: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
    let written = match stored(row, index)? {
        Stored::Null => serde_json::to_writer(out, &()),
        Stored::Integer(integer) => serde_json::to_writer(out, &integer),
        Stored::Real(real) => serde_json::to_writer(out, &real),
        Stored::Text(text) => serde_json::to_writer(out, text),
        Stored::Blob(blob) => serde_json::to_writer(out, &hex(blob)),
    };
    written.map_err(|_| Fault::Malformed)
}

/// A value in text form.
pub(super) fn text(row: &SqliteRow, index: usize) -> Result<Option<String>, Fault> {
    Ok(match stored(row, index)? {
        Stored::Null => None,
        Stored::Integer(integer) => Some(integer.to_string()),
        Stored::Real(real) => Some(serde_json::to_string(&real).map_err(|_| Fault::Malformed)?),
        Stored::Text(text) => Some(text.to_owned()),
        Stored::Blob(blob) => Some(hex(blob)),
    })
}

/// The number in a probe's only column.
#[expect(
    clippy::cast_precision_loss,
    reason = "a reading is compared with a threshold"
)]
pub(super) fn number(row: &SqliteRow) -> Result<f64, ProbeFault> {
    let other = |ty: &str| Err(ProbeFault::NotANumber(ty.to_owned()));
    match stored(row, 0) {
        Ok(Stored::Null) => Err(ProbeFault::Null),
        Ok(Stored::Integer(integer)) => Ok(integer as f64),
        Ok(Stored::Real(real)) => Ok(real),
        Ok(Stored::Text(_)) => other("text"),
        Ok(Stored::Blob(_)) => other("blob"),
        Err(Fault::Infinite) => Err(ProbeFault::NotFinite(f64::INFINITY)),
        Err(Fault::Malformed) => other("unknown"),
    }
}

fn hex(blob: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(2 * blob.len() + 2);
    text.push_str("\\x");
    for byte in blob {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A row's key. Numbers are told from texts, since a number answers every text that reads as that number.
pub(super) enum Key {
    Number(i64),
    Text(String),
}

/// The key in a column; `None` where it is NULL, or nothing that a key can be.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::float_cmp,
    reason = "checked"
)]
pub(super) fn key(row: &SqliteRow, index: usize) -> Option<Key> {
    match stored(row, index).ok()? {
        Stored::Null => None,
        Stored::Integer(integer) => Some(Key::Number(integer)),
        Stored::Real(real) if real as i64 as f64 == real => Some(Key::Number(real as i64)),
        _ => text(row, index).ok()?.map(Key::Text),
    }
}
