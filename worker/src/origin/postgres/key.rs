//! Keys: from the text that a plan has to the type that the query's parameter has.
//!
//! A key has a canonical text, by which rows are matched ("007" is 7 where the parameter is a number), and a binary form
//! made from it. A text that is no value of the type is refused here: sent, it would fail the whole batch.

use std::borrow::Cow;

use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgTypeInfo, PgTypeKind, Postgres};
use sqlx::{Arguments as _, Type, TypeInfo as _};

use super::kind::{BPCHAR, Kind, is_citext};
use super::{number, time};
use crate::origin::decimal::{canonical_decimal, plain_integer};
use crate::origin::rewrite::Placeholder;
use crate::origin::scan::Places;
use crate::origin::sheet::Reason;

/// The most digits of a decimal key, those after the point included.
const NUMERIC_DIGITS_MAX: usize = 1000;

/// A query's parameter: one key, or an array of keys; where keys have several parts, one part of them.
#[derive(Clone, Debug)]
pub(super) struct Parameter {
    ty: PgTypeInfo,
    /// What a batch is an array of, by its identifier; `None` where the parameter is one key.
    element_oid: Option<u32>,
    key: KeyKind,
}

/// Why keys cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ParameterError {
    #[error("PostgreSQL finds {found} parameters in the query instead of {parts}")]
    Count { found: usize, parts: usize },
    #[error("PostgreSQL takes :keys for {0}, not for an array: write IN (:keys) or = ANY(:keys)")]
    NoArray(String),
    #[error(
        "keys of the type {0} are not supported: cast the column, as in my_column::text IN (:keys)"
    )]
    Unsupported(String),
    #[error(
        "scans by columns of the type {0} are not supported: scan by another column, or let the query give a text or a number of it that is indexed"
    )]
    NoOrder(String),
}

impl Parameter {
    /// From the type that PostgreSQL gave to it.
    pub(super) fn new(ty: &PgTypeInfo, placeholder: Placeholder) -> Result<Self, ParameterError> {
        let element = match (placeholder, ty.kind()) {
            (Placeholder::Key, _) => None,
            (Placeholder::Keys, PgTypeKind::Array(element)) => Some(element),
            (Placeholder::Keys, _) => return Err(ParameterError::NoArray(ty.name().to_owned())),
        };
        let unsupported = || ParameterError::Unsupported(ty.name().to_owned());
        let key = KeyKind::of(element.unwrap_or(ty)).ok_or_else(unsupported)?;
        let element_oid = match element {
            Some(element) => Some(element.oid().ok_or_else(unsupported)?.0),
            None => None,
        };
        Ok(Self {
            ty: ty.clone(),
            element_oid,
            key,
        })
    }

    /// Of what is compared with a column of this type, to say where a scan goes on.
    pub(super) fn of_column(ty: &PgTypeInfo) -> Result<Self, ParameterError> {
        let key = KeyKind::of_place(ty);
        Ok(Self {
            ty: ty.clone(),
            element_oid: None,
            key: key.ok_or_else(|| ParameterError::NoOrder(ty.name().to_owned()))?,
        })
    }

    /// What can be said of values between two of its keys.
    pub(super) fn places(&self) -> Places {
        match self.key {
            KeyKind::Int2 | KeyKind::Int4 | KeyKind::Int8 | KeyKind::Oid => Places::Integers,
            KeyKind::Uuid => Places::Uuids,
            _ => Places::Others,
        }
    }

    /// A key's canonical text.
    pub(super) fn canonical<'t>(&self, text: &'t str) -> Result<Cow<'t, str>, Reason> {
        if self.key.is_canonical(text) {
            return Ok(text.into());
        }
        let refused = || {
            let shown: String = text.chars().take(80).collect();
            format!("the key {shown:?} is not {}", self.key.described())
        };
        let canonical = self.key.canonical(text).map(Cow::from);
        canonical.ok_or_else(refused)
    }

    /// Adds the argument for some keys, given by their canonical texts.
    pub(super) fn add<'k>(
        &self,
        keys: impl ExactSizeIterator<Item = &'k str>,
        arguments: &mut PgArguments,
    ) -> Result<(), BoxDynError> {
        let mut bytes = Vec::new();
        let mut element = Vec::new();
        if let Some(oid) = self.element_oid {
            // One dimension, no NULLs, the element's type, the length, the first index.
            bytes.extend_from_slice(&1_i32.to_be_bytes());
            bytes.extend_from_slice(&0_i32.to_be_bytes());
            bytes.extend_from_slice(&oid.to_be_bytes());
            bytes.extend_from_slice(&i32::try_from(keys.len())?.to_be_bytes());
            bytes.extend_from_slice(&1_i32.to_be_bytes());
            for key in keys {
                element.clear();
                self.key.encode(key, &mut element);
                bytes.extend_from_slice(&i32::try_from(element.len())?.to_be_bytes());
                bytes.extend_from_slice(&element);
            }
        } else {
            for key in keys {
                self.key.encode(key, &mut bytes);
            }
        }
        arguments.add(Argument {
            bytes,
            ty: self.ty.clone(),
        })
    }
}

/// A value that is in its binary form already.
struct Argument {
    bytes: Vec<u8>,
    ty: PgTypeInfo,
}

impl Type<Postgres> for Argument {
    fn type_info() -> PgTypeInfo {
        // Never asked for: `produces` says it.
        <str as Type<Postgres>>::type_info()
    }
}

impl Encode<'_, Postgres> for Argument {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.bytes);
        Ok(IsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(self.ty.clone())
    }
}

/// The types that keys may have; and those that only places of scans have, whose text is the one that values have.
#[derive(Clone, Debug)]
enum KeyKind {
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Numeric,
    Text,
    /// Spaces at the end do not count.
    Bpchar,
    /// Upper and lower case do not count.
    Citext,
    Enum(std::sync::Arc<[String]>),
    Uuid,
    Date,
    /// Of a place: with this zone behind.
    Timestamp(&'static str),
    /// Of a place.
    Float4,
    /// Of a place.
    Float8,
}

impl KeyKind {
    /// That of places of this type.
    fn of_place(ty: &PgTypeInfo) -> Option<Self> {
        let as_key = Self::of(ty).map(|key| match key {
            // What makes two of them equal is the database's own rule: a place is the text as it is stored.
            Self::Citext => Self::Text,
            other => other,
        });
        as_key.or_else(|| match Kind::of(ty)? {
            Kind::Timestamp => Some(Self::Timestamp("")),
            Kind::Timestamptz => Some(Self::Timestamp("+00:00")),
            Kind::Float4 => Some(Self::Float4),
            Kind::Float8 => Some(Self::Float8),
            _ => None,
        })
    }

    fn of(ty: &PgTypeInfo) -> Option<Self> {
        match ty.kind() {
            PgTypeKind::Domain(base) => return Self::of(base),
            PgTypeKind::Enum(labels) => return Some(Self::Enum(labels.clone())),
            _ if is_citext(ty) => return Some(Self::Citext),
            _ if ty.oid().is_some_and(|oid| oid.0 == BPCHAR) => return Some(Self::Bpchar),
            _ => {}
        }
        match Kind::of(ty)? {
            Kind::Bool => Some(Self::Bool),
            Kind::Int2 => Some(Self::Int2),
            Kind::Int4 => Some(Self::Int4),
            Kind::Int8 => Some(Self::Int8),
            Kind::Oid => Some(Self::Oid),
            Kind::Numeric => Some(Self::Numeric),
            Kind::Text => Some(Self::Text),
            Kind::Uuid => Some(Self::Uuid),
            Kind::Date => Some(Self::Date),
            _ => None,
        }
    }

    fn described(&self) -> &'static str {
        match self {
            Self::Bool => "true or false",
            Self::Int2 => "a number from -32768 to 32767",
            Self::Int4 => "a number from -2147483648 to 2147483647",
            Self::Int8 => "a number from -9223372036854775808 to 9223372036854775807",
            Self::Oid => "a number from 0 to 4294967295",
            Self::Numeric => "a decimal number",
            Self::Text | Self::Bpchar | Self::Citext => "a text without zero bytes",
            Self::Enum(_) => "one of the enum's labels",
            Self::Uuid => "a UUID",
            Self::Date => "a date (YYYY-MM-DD)",
            Self::Timestamp(_) => "a time of our era",
            Self::Float4 | Self::Float8 => "a finite number",
        }
    }

    /// Whether a text is its own canonical text, as far as can be told at a glance.
    fn is_canonical(&self, text: &str) -> bool {
        let integer = |min: i64, max: i64| {
            plain_integer(text).is_some_and(|number| (min..=max).contains(&number))
        };
        match self {
            Self::Int2 => integer(i16::MIN.into(), i16::MAX.into()),
            Self::Int4 => integer(i32::MIN.into(), i32::MAX.into()),
            Self::Int8 => integer(i64::MIN, i64::MAX),
            Self::Text => !text.contains('\0'),
            _ => false,
        }
    }

    fn canonical(&self, text: &str) -> Option<String> {
        let integer = |min: i64, max: i64| {
            let number: i64 = text.parse().ok()?;
            (min..=max).contains(&number).then(|| number.to_string())
        };
        match self {
            Self::Bool => match text {
                "t" | "true" => Some("true".to_owned()),
                "f" | "false" => Some("false".to_owned()),
                _ => None,
            },
            Self::Int2 => integer(i16::MIN.into(), i16::MAX.into()),
            Self::Int4 => integer(i32::MIN.into(), i32::MAX.into()),
            Self::Int8 => integer(i64::MIN, i64::MAX),
            Self::Oid => integer(0, u32::MAX.into()),
            Self::Numeric => canonical_decimal(text, NUMERIC_DIGITS_MAX),
            Self::Text => (!text.contains('\0')).then(|| text.to_owned()),
            Self::Bpchar => (!text.contains('\0')).then(|| text.trim_end_matches(' ').to_owned()),
            Self::Citext => (!text.contains('\0')).then(|| text.to_lowercase()),
            Self::Enum(labels) => labels
                .iter()
                .any(|label| label == text)
                .then(|| text.to_owned()),
            Self::Uuid => canonical_uuid(text),
            Self::Date => time::parse_date(text).map(|_| text.to_owned()),
            Self::Timestamp(zone) => time::parse_timestamp(text, zone).map(|_| text.to_owned()),
            Self::Float4 | Self::Float8 => {
                let number = text.parse().ok();
                let number = number.filter(|number: &f64| number.is_finite());
                number.map(|_| text.to_owned())
            }
        }
    }

    /// The binary form of a canonical text.
    fn encode(&self, canonical: &str, out: &mut Vec<u8>) {
        match self {
            Self::Bool => out.push(u8::from(canonical == "true")),
            Self::Int2 => {
                out.extend_from_slice(&canonical.parse::<i16>().unwrap_or_default().to_be_bytes())
            }
            Self::Int4 => {
                out.extend_from_slice(&canonical.parse::<i32>().unwrap_or_default().to_be_bytes())
            }
            Self::Int8 => {
                out.extend_from_slice(&canonical.parse::<i64>().unwrap_or_default().to_be_bytes())
            }
            Self::Oid => {
                out.extend_from_slice(&canonical.parse::<u32>().unwrap_or_default().to_be_bytes())
            }
            Self::Numeric => number::encode_numeric(canonical, out),
            Self::Text | Self::Bpchar | Self::Citext | Self::Enum(_) => {
                out.extend_from_slice(canonical.as_bytes())
            }
            Self::Uuid => out.extend(uuid_bytes(canonical)),
            Self::Date => out.extend_from_slice(
                &time::parse_date(canonical)
                    .unwrap_or_default()
                    .to_be_bytes(),
            ),
            Self::Timestamp(zone) => {
                let micros = time::parse_timestamp(canonical, zone);
                out.extend_from_slice(&micros.unwrap_or_default().to_be_bytes());
            }
            Self::Float4 => {
                out.extend_from_slice(&canonical.parse::<f32>().unwrap_or_default().to_be_bytes())
            }
            Self::Float8 => {
                out.extend_from_slice(&canonical.parse::<f64>().unwrap_or_default().to_be_bytes())
            }
        }
    }
}

/// 32 hexadecimal digits in lower case, hyphens where they belong; takes them with or without hyphens.
fn canonical_uuid(text: &str) -> Option<String> {
    let digits: String = text
        .chars()
        .filter(|&c| c != '-')
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let hyphens_fit = text.len() == 32
        || (text.len() == 36 && [8, 13, 18, 23].iter().all(|&i| text.as_bytes()[i] == b'-'));
    if digits.len() != 32 || !hyphens_fit || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let part = |range: std::ops::Range<usize>| &digits[range];
    Some(format!(
        "{}-{}-{}-{}-{}",
        part(0..8),
        part(8..12),
        part(12..16),
        part(16..20),
        part(20..32)
    ))
}

fn uuid_bytes(canonical: &str) -> impl Iterator<Item = u8> {
    let digits: Vec<u8> = canonical
        .bytes()
        .filter(|&b| b != b'-')
        .map(|b| {
            if b.is_ascii_digit() {
                b - b'0'
            } else {
                b - b'a' + 10
            }
        })
        .collect();
    (0..digits.len() / 2).map(move |i| digits[2 * i] << 4 | digits[2 * i + 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_one_canonical_text() {
        for (kind, text, canonical) in [
            (KeyKind::Int8, "007", Some("7")),
            (KeyKind::Int8, "+7", Some("7")),
            (KeyKind::Int8, "-0", Some("0")),
            (KeyKind::Int8, "abc", None),
            (KeyKind::Int8, "", None),
            (KeyKind::Int8, "9223372036854775808", None),
            (KeyKind::Int2, "32768", None),
            (KeyKind::Oid, "-1", None),
            (KeyKind::Numeric, "007.50", Some("7.5")),
            (KeyKind::Numeric, "-.50", Some("-0.5")),
            (KeyKind::Numeric, "-0.0", Some("0")),
            (KeyKind::Numeric, ".", None),
            (KeyKind::Numeric, "1e3", None),
            (KeyKind::Text, "a\0b", None),
            (KeyKind::Bpchar, "ab  ", Some("ab")),
            (KeyKind::Citext, "AbC", Some("abc")),
            (
                KeyKind::Uuid,
                "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
                Some("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
            ),
            (
                KeyKind::Uuid,
                "a0eebc999c0b4ef8bb6d6bb9bd380a11",
                Some("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
            ),
            (KeyKind::Uuid, "a0eebc99-9c0b-4ef8-bb6d", None),
            (KeyKind::Uuid, "é0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1", None),
            (KeyKind::Date, "2024-02-29", Some("2024-02-29")),
            (KeyKind::Date, "2023-02-29", None),
            (KeyKind::Bool, "t", Some("true")),
            (KeyKind::Enum(vec!["new".to_owned()].into()), "old", None),
        ] {
            assert_eq!(
                kind.canonical(text).as_deref(),
                canonical,
                "{kind:?} {text:?}"
            );
            assert!(
                !kind.is_canonical(text) || canonical == Some(text),
                "{kind:?} {text:?}"
            );
        }
    }

    #[test]
    fn a_uuid_is_sixteen_bytes() {
        let bytes: Vec<u8> = uuid_bytes("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11").collect();
        assert_eq!(
            bytes,
            [
                0xa0, 0xee, 0xbc, 0x99, 0x9c, 0x0b, 0x4e, 0xf8, 0xbb, 0x6d, 0x6b, 0xb9, 0xbd, 0x38,
                0x0a, 0x11
            ]
        );
    }
}
