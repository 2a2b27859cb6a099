//! Values of Parquet as texts, as CSV has them: plain digits, and dates and times of ISO 8601.

use std::fmt::Write as _;

use ::parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type};
use ::parquet::data_type::{AsBytes, ByteArray, Int96};
use ::parquet::schema::types::ColumnDescriptor;
use stoke_core::calendar;

use super::super::LINE_BYTES_MAX;

const NANOS_PER_DAY: i128 = 86_400 * 1_000_000_000;
/// The Julian day of 1970-01-01: Impala and Spark count theirs from the first.
const EPOCH_JULIAN_DAYS: i128 = 2_440_588;
/// The most digits of a decimal number, those behind its point too: of what 128 bits hold.
const DIGITS_MAX: usize = 38;

/// A value as it lies in the file.
#[derive(Clone, Debug)]
pub(super) enum Cell {
    Bool(bool),
    Int(i64),
    Int96(Int96),
    Float(f32),
    Double(f64),
    Bytes(ByteArray),
}

/// What a column's values stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool,
    Signed,
    Unsigned32,
    Unsigned64,
    Float,
    /// With so many digits behind the point.
    Decimal(usize),
    Date,
    /// By how many nanoseconds its unit has.
    Time(i64),
    /// By how many nanoseconds its unit has, and whether it is a time of UTC.
    Timestamp(i64, bool),
    Text,
    Uuid,
}

impl Kind {
    /// By a column's types; `None` where no text stands for its values.
    pub(super) fn of(column: &ColumnDescriptor) -> Option<Self> {
        let logical = column.logical_type_ref();
        let Some(logical) = logical else {
            return Self::of_converted(column);
        };
        Some(match logical {
            LogicalType::String | LogicalType::Enum | LogicalType::Json => Self::Text,
            // Nothing but NULLs.
            LogicalType::Unknown => Self::Text,
            LogicalType::Uuid => Self::Uuid,
            LogicalType::Decimal(_) => return Self::of_decimal(column),
            LogicalType::Date => Self::Date,
            LogicalType::Time(time) => Self::Time(nanos(&time.unit)),
            LogicalType::Timestamp(time) => {
                Self::Timestamp(nanos(&time.unit), time.is_adjusted_to_u_t_c)
            }
            LogicalType::Integer(int) => match (int.is_signed, column.physical_type()) {
                (true, _) => Self::Signed,
                (false, Type::INT64) => Self::Unsigned64,
                (false, _) => Self::Unsigned32,
            },
            _ => return None,
        })
    }

    /// By what older writers say.
    fn of_converted(column: &ColumnDescriptor) -> Option<Self> {
        Some(match column.converted_type() {
            ConvertedType::UTF8 | ConvertedType::ENUM | ConvertedType::JSON => Self::Text,
            ConvertedType::DECIMAL => return Self::of_decimal(column),
            ConvertedType::DATE => Self::Date,
            ConvertedType::TIME_MILLIS => Self::Time(1_000_000),
            ConvertedType::TIME_MICROS => Self::Time(1000),
            ConvertedType::TIMESTAMP_MILLIS => Self::Timestamp(1_000_000, true),
            ConvertedType::TIMESTAMP_MICROS => Self::Timestamp(1000, true),
            ConvertedType::UINT_8 | ConvertedType::UINT_16 | ConvertedType::UINT_32 => {
                Self::Unsigned32
            }
            ConvertedType::UINT_64 => Self::Unsigned64,
            ConvertedType::INT_8
            | ConvertedType::INT_16
            | ConvertedType::INT_32
            | ConvertedType::INT_64 => Self::Signed,
            ConvertedType::NONE => match column.physical_type() {
                Type::BOOLEAN => Self::Bool,
                Type::INT32 | Type::INT64 => Self::Signed,
                // Nothing else was ever written so.
                Type::INT96 => Self::Timestamp(1, true),
                Type::FLOAT | Type::DOUBLE => Self::Float,
                // Some write texts without saying that they are.
                Type::BYTE_ARRAY => Self::Text,
                Type::FIXED_LEN_BYTE_ARRAY => return None,
            },
            _ => return None,
        })
    }

    fn of_decimal(column: &ColumnDescriptor) -> Option<Self> {
        let scale = usize::try_from(column.type_scale()).ok()?;
        (scale <= DIGITS_MAX).then_some(Self::Decimal(scale))
    }

    /// A value as a text, or why it is none.
    pub(super) fn text(self, cell: &Cell) -> Result<String, String> {
        Ok(match (self, cell) {
            (Self::Bool, Cell::Bool(value)) => value.to_string(),
            (Self::Signed, Cell::Int(value)) => value.to_string(),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "so they are stored"
            )]
            (Self::Unsigned32, Cell::Int(value)) => (*value as u32).to_string(),
            #[expect(clippy::cast_sign_loss, reason = "so they are stored")]
            (Self::Unsigned64, Cell::Int(value)) => (*value as u64).to_string(),
            (Self::Float, Cell::Float(value)) => value.to_string(),
            (Self::Float, Cell::Double(value)) => value.to_string(),
            (Self::Decimal(scale), Cell::Int(value)) => decimal((*value).into(), scale),
            (Self::Decimal(scale), Cell::Bytes(bytes)) => {
                decimal(integer(bytes.as_bytes())?, scale)
            }
            (Self::Date, Cell::Int(days)) => date(*days),
            (Self::Time(unit), Cell::Int(value)) => time(i128::from(*value) * i128::from(unit)),
            (Self::Timestamp(unit, is_utc), Cell::Int(value)) => {
                timestamp(i128::from(*value) * i128::from(unit), is_utc)
            }
            (Self::Timestamp(_, is_utc), Cell::Int96(value)) => timestamp(of_int96(value), is_utc),
            (Self::Text, Cell::Bytes(bytes)) => text(bytes.as_bytes())?,
            (Self::Uuid, Cell::Bytes(bytes)) => uuid(bytes.as_bytes()),
            _ => return Err("it is not what its column is said to be".to_owned()),
        })
    }
}

/// How a column's types are called.
pub(super) fn described(column: &ColumnDescriptor) -> String {
    match (column.logical_type_ref(), column.converted_type()) {
        (Some(logical), _) => format!("{logical:?}"),
        (None, ConvertedType::NONE) => column.physical_type().to_string(),
        (None, converted) => converted.to_string(),
    }
}

/// How many nanoseconds a unit has.
const fn nanos(unit: &TimeUnit) -> i64 {
    match unit {
        TimeUnit::MILLIS => 1_000_000,
        TimeUnit::MICROS => 1000,
        TimeUnit::NANOS => 1,
    }
}

fn text(bytes: &[u8]) -> Result<String, String> {
    if bytes.len() > LINE_BYTES_MAX {
        return Err(format!("it is longer than {LINE_BYTES_MAX} bytes"));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())?;
    Ok(text.to_owned())
}

/// Big-endian, in two's complement.
fn integer(bytes: &[u8]) -> Result<i128, String> {
    let negative = bytes.first().is_some_and(|first| *first >= 0x80);
    let fill = if negative { 0xff } else { 0 };
    let cut = bytes.len().saturating_sub(size_of::<i128>());
    let (beyond, bytes) = bytes.split_at(cut);
    let mut all = [fill; size_of::<i128>()];
    let start = all.len() - bytes.len();
    all[start..].copy_from_slice(bytes);
    let value = i128::from_be_bytes(all);
    if beyond.iter().any(|byte| *byte != fill) || (value < 0) != negative {
        return Err(format!("it has more than {DIGITS_MAX} digits"));
    }
    Ok(value)
}

fn decimal(value: i128, scale: usize) -> String {
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, rest) = digits.split_at(digits.len() - scale);
    let sign = if value < 0 { "-" } else { "" };
    let point = if rest.is_empty() { "" } else { "." };
    format!("{sign}{whole}{point}{rest}")
}

fn date(days: i64) -> String {
    let (year, month, day) = calendar::civil(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Nanoseconds since midnight.
fn time(nanos: i128) -> String {
    let seconds = nanos.div_euclid(1_000_000_000);
    let rest = nanos.rem_euclid(1_000_000_000);
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let mut text = format!("{hours:02}:{minutes:02}:{:02}", seconds % 60);
    if rest > 0 {
        let digits = format!("{rest:09}");
        text.push('.');
        text.push_str(digits.trim_end_matches('0'));
    }
    text
}

/// Nanoseconds since 1970.
fn timestamp(nanos: i128, is_utc: bool) -> String {
    // What 64 bits count, be it milliseconds, are few enough days.
    let days = i64::try_from(nanos.div_euclid(NANOS_PER_DAY)).unwrap_or_default();
    let zone = if is_utc { "Z" } else { "" };
    let time = time(nanos.rem_euclid(NANOS_PER_DAY));
    format!("{}T{time}{zone}", date(days))
}

/// The nanosecond of a day, and the day.
fn of_int96(value: &Int96) -> i128 {
    let [low, high, day] = value.data() else {
        return 0;
    };
    let nanos = u64::from(*low) | u64::from(*high) << 32;
    (i128::from(*day) - EPOCH_JULIAN_DAYS) * NANOS_PER_DAY + i128::from(nanos)
}

fn uuid(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (n, byte) in bytes.iter().enumerate() {
        if matches!(n, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_their_digits() {
        let bytes = |value: i128, length: usize| value.to_be_bytes()[16 - length..].to_vec();
        for (bytes, scale, text) in [
            (bytes(12345, 4), 2, "123.45"),
            (bytes(-5, 1), 2, "-0.05"),
            (bytes(0, 2), 0, "0"),
            (bytes(7, 16), 0, "7"),
            ([vec![0xff; 8], bytes(-1234, 16)].concat(), 1, "-123.4"),
        ] {
            assert_eq!(decimal(integer(&bytes).unwrap(), scale), text);
        }
        assert!(integer(&[1; 17]).is_err());
        assert!(integer(&[&[0xff][..], &[0; 16]].concat()).is_err());
    }

    #[test]
    fn times_are_of_iso_8601() {
        for (nanos, is_utc, text) in [
            (0, true, "1970-01-01T00:00:00Z"),
            (-1, false, "1969-12-31T23:59:59.999999999"),
            (1_764_371_305_120_000_000, true, "2025-11-28T23:08:25.12Z"),
        ] {
            assert_eq!(timestamp(nanos, is_utc), text);
        }
        // The greatest and the least that milliseconds count.
        for value in [i64::MIN, i64::MAX] {
            let text = timestamp(i128::from(value) * 1_000_000, true);
            assert!(!text.starts_with("1970"), "{text}");
        }
        let noon = vec![0x2000_0000, 0x2746, 2_440_589];
        let text = timestamp(of_int96(&Int96::from(noon)), true);
        assert_eq!(&text[..11], "1970-01-02T");
    }
}
