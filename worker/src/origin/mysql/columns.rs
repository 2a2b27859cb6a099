//! The columns of a query, and its rows as JSON.
//!
//! Each execution says its columns anew, and rows are read by those: a table may have been altered since the query was
//! prepared, and an expression has its type only when its parameters have values.

use sqlx::mysql::{MySql, MySqlColumn, MySqlRow, MySqlTypeInfo};
use sqlx::{Column as _, Decode, Row as _, TypeInfo as _};

use super::kind::Kind;
use super::value::{self, Fault};
use crate::origin::{DuplicateColumn, refuse_duplicates};

/// A query's columns.
#[derive(Debug)]
pub(super) struct Columns(Vec<Column>);

#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) ty: MySqlTypeInfo,
    /// What stands before the value in a JSON object.
    prefix: Vec<u8>,
}

/// Why a query's rows cannot be written as JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ColumnError {
    #[error(transparent)]
    Duplicate(#[from] DuplicateColumn),
    #[error(
        "the column {column:?} has the type {ty}, which has no form here: leave it out, or convert it (a geometry by ST_AsText or ST_AsGeoJSON)"
    )]
    Type { column: String, ty: String },
}

/// Why a row cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RowFault {
    #[error("the column {column:?} {fault}")]
    Value { column: String, fault: Fault },
    #[error("the value has {bytes} bytes or more, and the loader's max-value-bytes is {max}")]
    TooLarge { bytes: u64, max: u64 },
}

impl Columns {
    /// From what a statement or a row says of them.
    pub(super) fn of(columns: &[MySqlColumn]) -> Result<Self, ColumnError> {
        let columns = columns
            .iter()
            .enumerate()
            .map(column)
            .collect::<Result<_, _>>();
        let columns = Self(columns?);
        refuse_duplicates(&columns.names())?;
        Ok(columns)
    }

    pub(super) fn of_row(row: &MySqlRow) -> Result<Self, ColumnError> {
        Self::of(row.columns())
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.0.iter().map(|column| column.name.clone()).collect()
    }

    pub(super) fn get(&self, index: usize) -> &Column {
        &self.0[index]
    }

    /// Writes a row as a JSON object into `out`, which is emptied first.
    pub(super) fn json(
        &self,
        row: &MySqlRow,
        bytes_max: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), RowFault> {
        out.clear();
        for (index, column) in self.0.iter().enumerate() {
            out.extend_from_slice(&column.prefix);
            let fault = |fault| RowFault::Value {
                column: column.name.clone(),
                fault,
            };
            match raw(row, index).map_err(fault)? {
                Some(bytes) => value::json(column.kind, bytes, out).map_err(fault)?,
                None => out.extend_from_slice(b"null"),
            }
            let bytes = out.len() as u64;
            if bytes >= bytes_max {
                // With the brace that closes it, it would be one byte more.
                return Err(RowFault::TooLarge {
                    bytes: bytes + 1,
                    max: bytes_max,
                });
            }
        }
        out.extend_from_slice(if self.0.is_empty() { b"{}" } else { b"}" });
        Ok(())
    }

    /// A column's value in text form.
    pub(super) fn text(&self, row: &MySqlRow, index: usize) -> Result<Option<String>, RowFault> {
        let column = &self.0[index];
        let fault = |fault| RowFault::Value {
            column: column.name.clone(),
            fault,
        };
        let Some(bytes) = raw(row, index).map_err(fault)? else {
            return Ok(None);
        };
        let mut text = Vec::with_capacity(bytes.len());
        value::text(column.kind, bytes, &mut text).map_err(fault)?;
        String::from_utf8(text)
            .map(Some)
            .map_err(|_| fault(Fault::Malformed))
    }
}

fn column((index, column): (usize, &MySqlColumn)) -> Result<Column, ColumnError> {
    let name = column.name().to_owned();
    let ty = column.type_info();
    let kind = Kind::of(ty).ok_or_else(|| ColumnError::Type {
        column: name.clone(),
        ty: ty.name().to_owned(),
    })?;
    let mut prefix = vec![if index == 0 { b'{' } else { b',' }];
    prefix.extend_from_slice(
        serde_json::Value::from(name.as_str())
            .to_string()
            .as_bytes(),
    );
    prefix.push(b':');
    Ok(Column {
        name,
        kind,
        ty: ty.clone(),
        prefix,
    })
}

/// A column's bytes; `None` is NULL. (The driver calls zero dates NULL, too, but gives their bytes.)
fn raw(row: &MySqlRow, index: usize) -> Result<Option<&[u8]>, Fault> {
    let value = row.try_get_raw(index).map_err(|_| Fault::Malformed)?;
    Ok(<&[u8] as Decode<MySql>>::decode(value).ok())
}
