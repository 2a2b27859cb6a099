//! Keys: from the text that a plan has to the parameter that lets the database use its index.
//!
//! MySQL does not say what a parameter is compared with: the type is that of the column that answers keys. A number that is
//! sent as a text would be compared as a floating-point number where it is not the bare column that it is compared with, and
//! "12abc" would be 12: a text that is no value of the type is refused here. Without such a column (one key at a time, and no
//! key-column) keys are sent as texts.

use std::borrow::Cow;

use sqlx::encode::{Encode, IsNull};
use sqlx::error::BoxDynError;
use sqlx::mysql::{MySql, MySqlArguments, MySqlTypeInfo};
use sqlx::{Arguments as _, Type, TypeInfo as _};

use super::columns::{Column, Columns};
use super::kind::{Integer, Kind};
use super::time::{ZONE, is_date, is_datetime};
use super::value::hex;
use crate::origin::decimal::{canonical_decimal, plain_integer};
use crate::origin::scan::Places;
use crate::origin::sheet::Reason;

/// The most digits of a decimal key, those after the point included: what MySQL's type has.
const DECIMAL_DIGITS_MAX: usize = 65;
/// The years that there are, and the zero one.
const YEAR_MAX: i128 = 2155;

/// What the parameters of a query are; where keys have several parts, those of one part.
#[derive(Clone, Debug)]
pub(super) struct Parameter(KeyKind);

/// The key column's type has no keys.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "keys of the type {0} are not supported: let key-column name another column, or compare and select CAST(my_column AS CHAR)"
)]
pub(super) struct Unsupported(String);

/// The type of a column that orders a scan has no places.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "scans by columns of the type {0} are not supported: scan by another column, or let the query give a text or a number of it that \
     is indexed"
)]
pub(super) struct NoOrder(String);

/// The types that keys may have; and those that only places of scans have, whose text is the one that values have.
#[derive(Clone, Debug, PartialEq, Eq)]
enum KeyKind {
    Integer {
        min: i128,
        max: i128,
    },
    Decimal(MySqlTypeInfo),
    Text,
    /// Spaces at the end do not count.
    Char,
    /// Bytes, written `\x…`; a text that is not written so is its own bytes.
    Bytes,
    Date,
    /// Of a place: `DATETIME`, and `TIMESTAMP` in the session's zone, which is UTC.
    Datetime,
    /// Of a place. A number is compared as `DOUBLE`: sent is what the column's own number is as that.
    Float,
    /// Of a place.
    Double,
}

impl Parameter {
    /// From the column that answers keys.
    pub(super) fn new(key_column: Option<usize>, columns: &Columns) -> Result<Self, Unsupported> {
        match key_column {
            Some(index) => Self::of(columns.get(index)),
            None => Ok(Self(KeyKind::Text)),
        }
    }

    /// Of what is compared with a column, to say where a scan goes on.
    pub(super) fn of_column(column: &Column) -> Result<Self, NoOrder> {
        // It is ordered by its labels' numbers, and compared with a text by their texts.
        if column.ty.name() == "ENUM" {
            return Err(NoOrder(column.ty.name().to_owned()));
        }
        Self::of(column).or_else(|Unsupported(ty)| {
            Ok(Self(match column.kind {
                Kind::Datetime | Kind::Timestamp => KeyKind::Datetime,
                Kind::Float => KeyKind::Float,
                Kind::Double => KeyKind::Double,
                _ => return Err(NoOrder(ty)),
            }))
        })
    }

    fn of(column: &Column) -> Result<Self, Unsupported> {
        let integer = |kind: Integer| KeyKind::Integer {
            min: kind.min(),
            max: kind.max(),
        };
        let unsigned = |bits| Integer {
            bits,
            signed: false,
        };
        Ok(Self(match column.kind {
            Kind::Integer(kind) => integer(kind),
            Kind::Bit => integer(unsigned(64)),
            Kind::Year => KeyKind::Integer {
                min: 0,
                max: YEAR_MAX,
            },
            Kind::Decimal => KeyKind::Decimal(column.ty.clone()),
            Kind::Text => KeyKind::Text,
            Kind::Char => KeyKind::Char,
            Kind::Bytes => KeyKind::Bytes,
            Kind::Date => KeyKind::Date,
            Kind::Null
            | Kind::Float
            | Kind::Double
            | Kind::Json
            | Kind::Datetime
            | Kind::Timestamp
            | Kind::Time => return Err(Unsupported(column.ty.name().to_owned())),
        }))
    }

    /// Whether keys are sent in the kind of type that the column has now.
    pub(super) fn fits(&self, key_column: Option<usize>, columns: &Columns) -> bool {
        let kind = |parameter: &Self| std::mem::discriminant(&parameter.0);
        Self::new(key_column, columns).is_ok_and(|now| kind(&now) == kind(self))
    }

    /// What can be said of values between two of its keys.
    pub(super) fn places(&self) -> Places {
        match self.0 {
            KeyKind::Integer { .. } => Places::Integers,
            _ => Places::Others,
        }
    }

    /// A key's canonical text.
    pub(super) fn canonical<'t>(&self, text: &'t str) -> Result<Cow<'t, str>, Reason> {
        if self.0.is_canonical(text) {
            return Ok(text.into());
        }
        let refused = || {
            let shown: String = text.chars().take(80).collect();
            format!("the key {shown:?} is not {}", self.0.described())
        };
        let canonical = self.0.canonical(text).map(Cow::from);
        canonical.ok_or_else(refused)
    }

    /// Adds a canonical text as an argument.
    pub(super) fn add(
        &self,
        canonical: &str,
        arguments: &mut MySqlArguments,
    ) -> Result<(), BoxDynError> {
        self.0.add(canonical, arguments)
    }
}

impl KeyKind {
    fn described(&self) -> String {
        match self {
            Self::Integer { min, max } => format!("a number from {min} to {max}"),
            Self::Decimal(_) => "a decimal number".to_owned(),
            Self::Text | Self::Char | Self::Bytes => "a text".to_owned(),
            Self::Date => "a date (YYYY-MM-DD)".to_owned(),
            Self::Datetime => "a time".to_owned(),
            Self::Float | Self::Double => "a finite number".to_owned(),
        }
    }

    /// Whether a text is its own canonical text, as far as can be told at a glance.
    fn is_canonical(&self, text: &str) -> bool {
        match self {
            Self::Integer { min, max } => {
                plain_integer(text).is_some_and(|number| (*min..=*max).contains(&number.into()))
            }
            Self::Text => true,
            _ => false,
        }
    }

    fn canonical(&self, text: &str) -> Option<String> {
        match self {
            Self::Integer { min, max } => {
                let number: i128 = text.parse().ok()?;
                (*min..=*max).contains(&number).then(|| number.to_string())
            }
            Self::Decimal(_) => canonical_decimal(text, DECIMAL_DIGITS_MAX),
            Self::Text => Some(text.to_owned()),
            Self::Char => Some(text.trim_end_matches(' ').to_owned()),
            Self::Bytes => Some(match bytes_of(text) {
                Some(_) => text.to_ascii_lowercase(),
                None => hexadecimal(text.as_bytes()),
            }),
            Self::Date => is_date(text).then(|| text.to_owned()),
            Self::Datetime => is_datetime(text).then(|| text.to_owned()),
            Self::Float | Self::Double => {
                let number = text.parse().ok();
                let number = number.filter(|number: &f64| number.is_finite());
                number.map(|_| text.to_owned())
            }
        }
    }

    /// Adds a canonical text as an argument.
    fn add(&self, canonical: &str, arguments: &mut MySqlArguments) -> Result<(), BoxDynError> {
        match self {
            // All of a list alike: MariaDB does not use the index for one that has signed and unsigned numbers.
            Self::Integer { min: 0, .. } => arguments.add(canonical.parse::<u64>()?),
            Self::Integer { .. } => arguments.add(canonical.parse::<i64>()?),
            Self::Decimal(ty) => arguments.add(Decimal {
                text: canonical,
                ty,
            }),
            Self::Text | Self::Char | Self::Date => arguments.add(canonical),
            Self::Bytes => arguments.add(bytes_of(canonical).unwrap_or_default()),
            Self::Datetime => {
                let local = canonical.strip_suffix(ZONE).unwrap_or(canonical);
                arguments.add(local.replace('T', " "))
            }
            Self::Float => arguments.add(f64::from(canonical.parse::<f32>()?)),
            Self::Double => arguments.add(canonical.parse::<f64>()?),
        }
    }
}

/// A decimal number, which travels as its text.
struct Decimal<'k> {
    text: &'k str,
    /// The column's: the driver lets nobody make one.
    ty: &'k MySqlTypeInfo,
}

impl Type<MySql> for Decimal<'_> {
    fn type_info() -> MySqlTypeInfo {
        // Never asked for: `produces` says it.
        <str as Type<MySql>>::type_info()
    }
}

impl Encode<'_, MySql> for Decimal<'_> {
    fn encode_by_ref(&self, buffer: &mut Vec<u8>) -> Result<IsNull, BoxDynError> {
        <&str as Encode<MySql>>::encode_by_ref(&self.text, buffer)
    }

    fn produces(&self) -> Option<MySqlTypeInfo> {
        Some(self.ty.clone())
    }
}

/// The bytes that are written `\x…`.
fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |b: u8| {
        char::from(b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    digits
        .chunks_exact(2)
        .map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?))
        .collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = b"\\x".to_vec();
    hex(bytes, &mut text);
    text.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::super::keys::Keys;
    use super::*;

    const TINY: KeyKind = KeyKind::Integer {
        min: -128,
        max: 127,
    };
    const UNSIGNED: KeyKind = KeyKind::Integer {
        min: 0,
        max: u64::MAX as i128,
    };

    #[test]
    fn keys_have_one_canonical_text() {
        let decimal = KeyKind::Decimal(<str as Type<MySql>>::type_info());
        for (kind, text, canonical) in [
            (&TINY, "007", Some("7")),
            (&TINY, "-0", Some("0")),
            (&TINY, "+7", Some("7")),
            (&TINY, "128", None),
            (&TINY, "12abc", None),
            (&TINY, "", None),
            (&TINY, "7.0", None),
            (&UNSIGNED, "-1", None),
            (
                &UNSIGNED,
                "18446744073709551615",
                Some("18446744073709551615"),
            ),
            (&UNSIGNED, "18446744073709551616", None),
            (&decimal, "007.50", Some("7.5")),
            (&decimal, "1e3", None),
            (&KeyKind::Text, "aB ", Some("aB ")),
            (&KeyKind::Char, "aB ", Some("aB")),
            (&KeyKind::Bytes, "\\x00FF", Some("\\x00ff")),
            (&KeyKind::Bytes, "ab", Some("\\x6162")),
            (&KeyKind::Bytes, "\\x0", Some("\\x5c7830")),
            (&KeyKind::Bytes, "", Some("\\x")),
            (&KeyKind::Date, "2024-02-29", Some("2024-02-29")),
            (&KeyKind::Date, "2023-02-29", None),
        ] {
            let found = kind.canonical(text);
            assert_eq!(found.as_deref(), canonical, "{kind:?} {text:?}");
            assert!(
                !kind.is_canonical(text) || canonical == Some(text),
                "{kind:?} {text:?}"
            );
        }
        let refused = Parameter(TINY).canonical("x").unwrap_err();
        assert_eq!(refused, "the key \"x\" is not a number from -128 to 127");
    }

    #[test]
    fn each_list_is_padded_with_its_last_key() {
        let keys = [(0, "1".into()), (1, "2".into()), (2, "3".into())];
        let one = Keys::of(vec![Parameter(TINY)]);
        let arguments = one.arguments(&keys, 2, 4).unwrap();
        assert_eq!(arguments.len(), 8);
        let shown = format!("{arguments:?}");
        let list = [1_i64, 2, 3, 3].map(i64::to_le_bytes).concat();
        assert!(
            shown.contains(&format!("{:?}", [list.clone(), list].concat())),
            "{shown}"
        );
    }
}
