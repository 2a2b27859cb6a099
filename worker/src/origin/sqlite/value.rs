//! The values of a SQLite row, by the types that are stored.

use sqlx::sqlite::SqliteRow;
use sqlx::{Column as _, Decode, Row as _, Sqlite, TypeInfo as _, ValueRef as _};

use crate::origin::encode::{Row, Scalar};
use crate::origin::probe::ProbeFault;
use crate::origin::sheet::Reason;

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
    stored.map_err(|_| Fault::Malformed)
}

/// A row as it is stored.
pub(super) struct ReadRow<'r>(pub(super) &'r SqliteRow);

impl<'r> ReadRow<'r> {
    fn fault(&self, column: usize, fault: Fault) -> Reason {
        format!("the column {:?} {fault}", self.0.columns()[column].name())
    }

    fn stored(&self, column: usize) -> Result<Stored<'r>, Reason> {
        stored(self.0, column).map_err(|fault| self.fault(column, fault))
    }
}

impl Row for ReadRow<'_> {
    fn is_null(&self, column: usize) -> Result<bool, Reason> {
        Ok(matches!(self.stored(column)?, Stored::Null))
    }

    fn json(&self, column: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        let written = match self.stored(column)? {
            Stored::Null => serde_json::to_writer(out, &()),
            Stored::Integer(integer) => serde_json::to_writer(out, &integer),
            Stored::Real(real) if real.is_finite() => serde_json::to_writer(out, &real),
            Stored::Real(_) => return Err(self.fault(column, Fault::Infinite)),
            Stored::Text(text) => serde_json::to_writer(out, text),
            Stored::Blob(blob) => serde_json::to_writer(out, &hex(blob)),
        };
        written.map_err(|_| self.fault(column, Fault::Malformed))
    }

    fn text(&self, column: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        match self.stored(column)? {
            Stored::Null => {}
            Stored::Text(text) => out.extend_from_slice(text.as_bytes()),
            Stored::Blob(blob) => out.extend_from_slice(hex(blob).as_bytes()),
            // As SQLite shows them.
            Stored::Real(real) if real == f64::INFINITY => out.extend_from_slice(b"Inf"),
            Stored::Real(real) if real == f64::NEG_INFINITY => out.extend_from_slice(b"-Inf"),
            Stored::Integer(_) | Stored::Real(_) => self.json(column, out)?,
        }
        Ok(())
    }

    fn scalar(&self, column: usize) -> Result<Scalar<'_>, Reason> {
        Ok(match self.stored(column)? {
            Stored::Integer(integer) => Scalar::Integer(integer),
            Stored::Real(real) => Scalar::Double(real),
            Stored::Blob(blob) => Scalar::Bytes(blob),
            Stored::Null | Stored::Text(_) => Scalar::Text,
        })
    }
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
        Ok(Stored::Real(real)) if real.is_finite() => Ok(real),
        Ok(Stored::Real(real)) => Err(ProbeFault::NotFinite(real)),
        Ok(Stored::Text(_)) => other("text"),
        Ok(Stored::Blob(_)) => other("blob"),
        Err(_) => other("unknown"),
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
        _ => ReadRow(row).text_of(index).ok()?.map(Key::Text),
    }
}
