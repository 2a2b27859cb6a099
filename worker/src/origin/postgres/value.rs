//! One value: from PostgreSQL's binary form to text, to JSON as `row_to_json` would write it, and to what a [`Scalar`] tells
//! apart.
//!
//! All is written straight into a buffer; no tree of values is built.

use std::io::Write;

use super::kind::Kind;
use super::{network, number, time};
use crate::origin::encode::Scalar;

/// Why a value cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Fault {
    /// The value is fine in PostgreSQL, but JSON has no form for it.
    #[error("holds {0}, which JSON cannot express")]
    NoForm(&'static str),
    /// The bytes are not what the type promises.
    #[error("holds bytes that are not of its type")]
    Malformed,
}

/// Arrays have at most so many dimensions.
const DIMENSIONS_MAX: usize = 6;

/// Writes a value as JSON.
pub(super) fn json(kind: &Kind, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    match kind {
        Kind::Bool
        | Kind::Int2
        | Kind::Int4
        | Kind::Int8
        | Kind::Float4
        | Kind::Float8
        | Kind::Numeric
        | Kind::Json
        | Kind::Jsonb => in_json(kind, bytes, out),
        Kind::Array(element) => array(element, bytes, out),
        Kind::Text => {
            let text = std::str::from_utf8(bytes).map_err(|_| Fault::Malformed)?;
            serde_json::to_writer(out, text).map_err(|_| Fault::Malformed)
        }
        Kind::Bytea | Kind::Char => {
            // Backslashes, quotes and control characters may be in there.
            let mut plain = Vec::with_capacity(2 * bytes.len() + 2);
            in_json(kind, bytes, &mut plain)?;
            let plain = std::str::from_utf8(&plain).map_err(|_| Fault::Malformed)?;
            serde_json::to_writer(out, plain).map_err(|_| Fault::Malformed)
        }
        _ => {
            out.push(b'"');
            in_json(kind, bytes, out)?;
            out.push(b'"');
            Ok(())
        }
    }
}

/// What a value holds.
pub(super) fn scalar<'b>(kind: &Kind, bytes: &'b [u8]) -> Result<Scalar<'b>, Fault> {
    Ok(match kind {
        Kind::Bool => Scalar::Bool(exactly::<1>(bytes)? != [0]),
        Kind::Int2 => Scalar::Integer(i16::from_be_bytes(exactly(bytes)?).into()),
        Kind::Int4 => Scalar::Integer(i32::from_be_bytes(exactly(bytes)?).into()),
        Kind::Int8 => Scalar::Integer(i64::from_be_bytes(exactly(bytes)?)),
        Kind::Oid => Scalar::Unsigned(u32::from_be_bytes(exactly(bytes)?).into()),
        Kind::Float4 => Scalar::Single(f32::from_be_bytes(exactly(bytes)?)),
        Kind::Float8 => Scalar::Double(f64::from_be_bytes(exactly(bytes)?)),
        Kind::Bytea => Scalar::Bytes(bytes),
        Kind::Json | Kind::Jsonb | Kind::Array(_) => Scalar::Json,
        _ => Scalar::Text,
    })
}

/// Writes a value as PostgreSQL shows it; arrays as JSON.
pub(super) fn text(kind: &Kind, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    match not_in_json(kind, bytes) {
        Some(shown) => {
            out.extend_from_slice(shown.as_bytes());
            Ok(())
        }
        None => in_json(kind, bytes, out),
    }
}

/// How PostgreSQL shows the values of numbers and times that JSON has no form for.
fn not_in_json(kind: &Kind, bytes: &[u8]) -> Option<&'static str> {
    let float = |float: f64| match float {
        _ if float.is_nan() => Some("NaN"),
        f64::INFINITY => Some("Infinity"),
        f64::NEG_INFINITY => Some("-Infinity"),
        _ => None,
    };
    match kind {
        Kind::Float4 => float(f32::from_be_bytes(exactly(bytes).ok()?).into()),
        Kind::Float8 => float(f64::from_be_bytes(exactly(bytes).ok()?)),
        Kind::Numeric => number::not_finite(bytes),
        Kind::Date | Kind::Timestamp | Kind::Timestamptz | Kind::Interval => time::infinite(bytes),
        _ => None,
    }
}

fn in_json(kind: &Kind, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    match kind {
        Kind::Bool => out.extend_from_slice(match bytes {
            [0] => b"false",
            [_] => b"true",
            _ => return Err(Fault::Malformed),
        }),
        Kind::Int2 => integer(i16::from_be_bytes(exactly(bytes)?), out)?,
        Kind::Int4 => integer(i32::from_be_bytes(exactly(bytes)?), out)?,
        Kind::Int8 => integer(i64::from_be_bytes(exactly(bytes)?), out)?,
        Kind::Oid => integer(u32::from_be_bytes(exactly(bytes)?), out)?,
        Kind::Float4 => number::float4(f32::from_be_bytes(exactly(bytes)?), out)?,
        Kind::Float8 => number::float8(f64::from_be_bytes(exactly(bytes)?), out)?,
        Kind::Numeric => number::numeric(bytes, out)?,
        Kind::Text | Kind::Json => out.extend_from_slice(bytes),
        // The first byte is the format's version.
        Kind::Jsonb => match bytes {
            [1, json @ ..] => out.extend_from_slice(json),
            _ => return Err(Fault::Malformed),
        },
        Kind::Char => match bytes {
            [0] => {}
            [byte @ 0..0x80] => out.push(*byte),
            [byte] => write_into(out, format_args!("\\{byte:03o}")),
            _ => return Err(Fault::Malformed),
        },
        Kind::Bytea => {
            out.extend_from_slice(b"\\x");
            hex(bytes, out);
        }
        Kind::Uuid => {
            let uuid: [u8; 16] = exactly(bytes)?;
            for (i, part) in [
                &uuid[..4],
                &uuid[4..6],
                &uuid[6..8],
                &uuid[8..10],
                &uuid[10..],
            ]
            .into_iter()
            .enumerate()
            {
                if i > 0 {
                    out.push(b'-');
                }
                hex(part, out);
            }
        }
        Kind::Date => time::date(i32::from_be_bytes(exactly(bytes)?), out)?,
        Kind::Time => time::time(i64::from_be_bytes(exactly(bytes)?), out),
        Kind::Timetz => {
            let (micros, west) = bytes.split_at_checked(8).ok_or(Fault::Malformed)?;
            time::timetz(
                i64::from_be_bytes(exactly(micros)?),
                i32::from_be_bytes(exactly(west)?),
                out,
            );
        }
        Kind::Timestamp => time::timestamp(i64::from_be_bytes(exactly(bytes)?), "", out)?,
        Kind::Timestamptz => time::timestamp(i64::from_be_bytes(exactly(bytes)?), "+00:00", out)?,
        Kind::Interval => {
            let (micros, rest) = bytes.split_at_checked(8).ok_or(Fault::Malformed)?;
            let (days, months) = rest.split_at_checked(4).ok_or(Fault::Malformed)?;
            let (months, days) = (
                i32::from_be_bytes(exactly(months)?),
                i32::from_be_bytes(exactly(days)?),
            );
            time::interval(months, days, i64::from_be_bytes(exactly(micros)?), out)?;
        }
        Kind::Inet => network::inet(bytes, out)?,
        Kind::Macaddr => network::macaddr(bytes, out),
        Kind::Array(element) => array(element, bytes, out)?,
    }
    Ok(())
}

/// An array's header is its number of dimensions, flags, the element's type, and each dimension's length and lower bound;
/// the elements follow, each with its length, -1 being NULL.
fn array(element: &Kind, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
    let mut reader = Reader(bytes);
    let dimensions = usize::try_from(reader.int()?).map_err(|_| Fault::Malformed)?;
    reader.take(8)?;
    if dimensions == 0 {
        out.extend_from_slice(b"[]");
        return Ok(());
    }
    if dimensions > DIMENSIONS_MAX {
        return Err(Fault::Malformed);
    }
    let mut lengths = [0; DIMENSIONS_MAX];
    for length in &mut lengths[..dimensions] {
        *length = reader.int()?;
        reader.take(4)?;
    }
    elements(element, &lengths[..dimensions], &mut reader, out)
}

fn elements(
    kind: &Kind,
    lengths: &[i32],
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
) -> Result<(), Fault> {
    let Some((&length, inner)) = lengths.split_first() else {
        let length = reader.int()?;
        if length == -1 {
            out.extend_from_slice(b"null");
            return Ok(());
        }
        return json(
            kind,
            reader.take(usize::try_from(length).map_err(|_| Fault::Malformed)?)?,
            out,
        );
    };
    out.push(b'[');
    for i in 0..length {
        if i > 0 {
            out.push(b',');
        }
        elements(kind, inner, reader, out)?;
    }
    out.push(b']');
    Ok(())
}

/// Bytes that are taken from the front.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], Fault> {
        let (front, rest) = self.0.split_at_checked(count).ok_or(Fault::Malformed)?;
        self.0 = rest;
        Ok(front)
    }

    fn int(&mut self) -> Result<i32, Fault> {
        Ok(i32::from_be_bytes(exactly(self.take(4)?)?))
    }
}

fn exactly<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Fault> {
    bytes.try_into().map_err(|_| Fault::Malformed)
}

fn integer<N: serde::Serialize>(number: N, out: &mut Vec<u8>) -> Result<(), Fault> {
    serde_json::to_writer(out, &number).map_err(|_| Fault::Malformed)
}

fn hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend(bytes.iter().flat_map(|byte| {
        [
            DIGITS[usize::from(byte >> 4)],
            DIGITS[usize::from(byte & 15)],
        ]
    }));
}

/// Writing to a vector cannot fail.
fn write_into(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}
