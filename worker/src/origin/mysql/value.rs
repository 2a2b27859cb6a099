//! One value: from MySQL's binary form to text, to JSON as the table of `mysql` has it, and to what a [`Scalar`] tells apart.
//!
//! All is written straight into a buffer; no tree of values is built.

use super::kind::Kind;
use super::{number, time};
use crate::origin::encode::Scalar;

/// Why a value cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    /// The value is fine in MySQL, but JSON has no form for it.
    #[error("holds {0}, which JSON cannot express")]
    NoForm(&'static str),
    /// The bytes are not what the type promises.
    #[error("holds bytes that are not of its type")]
    Malformed,
}

/// Writes a value as JSON.
pub(super) fn json(kind: Kind, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    match kind {
        Kind::Null
        | Kind::Integer(_)
        | Kind::Year
        | Kind::Bit
        | Kind::Decimal
        | Kind::Float
        | Kind::Double
        | Kind::Json => text(kind, bytes, out),
        Kind::Text | Kind::Char => {
            let text = std::str::from_utf8(bytes).map_err(|_| Fault::Malformed)?;
            serde_json::to_writer(out, text).map_err(|_| Fault::Malformed)
        }
        Kind::Bytes => {
            out.extend_from_slice(b"\"\\\\x");
            hex(bytes, out);
            out.push(b'"');
            Ok(())
        }
        Kind::Date | Kind::Datetime | Kind::Timestamp | Kind::Time => {
            out.push(b'"');
            text(kind, bytes, out)?;
            out.push(b'"');
            Ok(())
        }
    }
}

/// What a value holds.
pub(super) fn scalar(kind: Kind, bytes: &[u8]) -> Result<Scalar<'_>, Fault> {
    Ok(match kind {
        Kind::Integer(integer) => {
            Scalar::whole(number::whole(integer, bytes)?).ok_or(Fault::Malformed)?
        }
        Kind::Float => Scalar::Single(f32::from_le_bytes(exactly(bytes)?)),
        Kind::Double => Scalar::Double(f64::from_le_bytes(exactly(bytes)?)),
        Kind::Bytes => Scalar::Bytes(bytes),
        // Numbers that are written as such, and documents.
        Kind::Null | Kind::Year | Kind::Bit | Kind::Json => Scalar::Json,
        _ => Scalar::Text,
    })
}

/// Writes a value as text.
pub(super) fn text(kind: Kind, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    match kind {
        Kind::Null => out.extend_from_slice(b"null"),
        Kind::Integer(integer) => number::integer(integer, bytes, out)?,
        Kind::Year => number::year(bytes, out)?,
        Kind::Bit => number::bit(bytes, out)?,
        Kind::Decimal => number::decimal(bytes, out)?,
        Kind::Float => number::float(bytes, out)?,
        Kind::Double => number::double(bytes, out)?,
        Kind::Text | Kind::Char | Kind::Json => out.extend_from_slice(bytes),
        Kind::Bytes => {
            out.extend_from_slice(b"\\x");
            hex(bytes, out);
        }
        Kind::Date => time::date(bytes, out)?,
        Kind::Datetime => time::datetime(bytes, "", out)?,
        Kind::Timestamp => time::datetime(bytes, time::ZONE, out)?,
        Kind::Time => time::time(bytes, out)?,
    }
    Ok(())
}

pub(super) fn exactly<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Fault> {
    bytes.try_into().map_err(|_| Fault::Malformed)
}

pub(super) fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(bytes.iter().flat_map(|byte| {
        [
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ]
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_and_numbers_are_not() {
        for (kind, bytes, as_json, as_text) in [
            (Kind::Text, "ä\"\\\n".as_bytes(), r#""ä\"\\\n""#, "ä\"\\\n"),
            (Kind::Char, b"", "\"\"", ""),
            (Kind::Bytes, &[0, 0xff], r#""\\x00ff""#, "\\x00ff"),
            (Kind::Json, b"{\"a\": 1.0}", "{\"a\": 1.0}", "{\"a\": 1.0}"),
            (Kind::Decimal, b"1.50", "1.50", "1.50"),
            (Kind::Year, &[0xe8, 7], "2024", "2024"),
            (Kind::Date, &[0], "\"0000-00-00\"", "0000-00-00"),
            (Kind::Time, &[0], "\"00:00:00\"", "00:00:00"),
        ] {
            let mut out = Vec::new();
            json(kind, bytes, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), as_json);
            let mut out = Vec::new();
            text(kind, bytes, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), as_text);
        }
        assert_eq!(
            json(Kind::Text, &[0xff], &mut Vec::new()),
            Err(Fault::Malformed)
        );
    }
}
