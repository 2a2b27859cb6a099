//! MySQL's types, as far as their values have a form in JSON.
//!
//! The driver keeps what it knows of a type to itself: here it is put together again from the name that it shows, and from which of
//! Rust's types it would read the value as. (The name alone is not enough: a text with a `_bin` collation is called
//! `VARBINARY`, and `TINYINT(1) UNSIGNED` is called `BOOLEAN`.)

use sqlx::mysql::{MySql, MySqlTypeInfo};
use sqlx::{Type, TypeInfo as _};

/// How a value's binary form is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// What the literal NULL has.
    Null,
    Integer(Integer),
    Year,
    Bit,
    Decimal,
    Float,
    Double,
    Text,
    /// Text without spaces at its end: they are stored, if at all, to fill it up.
    Char,
    Bytes,
    Json,
    Date,
    Datetime,
    Timestamp,
    Time,
}

/// A kind of whole numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Integer {
    /// What they are stored in.
    pub(super) bits: u32,
    pub(super) signed: bool,
}

impl Integer {
    pub(super) fn min(self) -> i128 {
        if self.signed {
            -(1 << (self.bits - 1))
        } else {
            0
        }
    }

    pub(super) fn max(self) -> i128 {
        (1 << (self.bits - u32::from(self.signed))) - 1
    }
}

impl Kind {
    /// The kind of a type; `None` where its values have no form in JSON here.
    pub(super) fn of(ty: &MySqlTypeInfo) -> Option<Self> {
        let is_text = <str as Type<MySql>>::compatible(ty);
        let integer = |bits| {
            Self::Integer(Integer {
                bits,
                signed: !<u64 as Type<MySql>>::compatible(ty),
            })
        };
        Some(match ty.name() {
            "NULL" => Self::Null,
            "BOOLEAN" | "TINYINT" | "TINYINT UNSIGNED" => integer(8),
            "SMALLINT" | "SMALLINT UNSIGNED" => integer(16),
            "MEDIUMINT" | "MEDIUMINT UNSIGNED" => integer(24),
            "INT" | "INT UNSIGNED" => integer(32),
            "BIGINT" | "BIGINT UNSIGNED" => integer(64),
            "YEAR" => Self::Year,
            "BIT" => Self::Bit,
            "DECIMAL" => Self::Decimal,
            "FLOAT" => Self::Float,
            "DOUBLE" => Self::Double,
            "DATE" => Self::Date,
            "DATETIME" => Self::Datetime,
            "TIMESTAMP" => Self::Timestamp,
            "TIME" => Self::Time,
            "JSON" => Self::Json,
            "ENUM" | "SET" => Self::Text,
            "CHAR" | "BINARY" if is_text => Self::Char,
            "VARCHAR" | "VARBINARY" | "TINYTEXT" | "TINYBLOB" | "TEXT" | "BLOB" | "MEDIUMTEXT"
            | "MEDIUMBLOB" | "LONGTEXT" | "LONGBLOB"
                if is_text =>
            {
                Self::Text
            }
            "CHAR" | "BINARY" | "VARCHAR" | "VARBINARY" | "TINYTEXT" | "TINYBLOB" | "TEXT"
            | "BLOB" | "MEDIUMTEXT" | "MEDIUMBLOB" | "LONGTEXT" | "LONGBLOB" => Self::Bytes,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_of_whole_numbers_knows_its_range() {
        for (bits, signed, min, max) in [
            (8, true, -128, 127),
            (8, false, 0, 255),
            (24, true, -8_388_608, 8_388_607),
            (64, true, i64::MIN.into(), i64::MAX.into()),
            (64, false, 0, u64::MAX.into()),
        ] {
            let integer = Integer { bits, signed };
            assert_eq!((integer.min(), integer.max()), (min, max));
        }
    }
}
