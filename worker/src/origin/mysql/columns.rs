//! The columns of a query, and its rows as they say.
//!
//! Each execution says its columns anew, and rows are read by those: a table may have been altered since the query was
//! prepared, and an expression has its type only when its parameters have values.

use sqlx::mysql::{MySql, MySqlColumn, MySqlRow, MySqlTypeInfo};
use sqlx::{Column as _, Decode, Row as _, TypeInfo as _};

use super::kind::Kind;
use super::value::{self, Fault};
use crate::origin::encode::{Row, Scalar};
use crate::origin::sheet::Reason;
use crate::origin::{DuplicateColumn, refuse_duplicates};

/// A query's columns.
#[derive(Debug)]
pub(super) struct Columns(Vec<Column>);

#[derive(Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) ty: MySqlTypeInfo,
}

/// Why a query's rows cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ColumnError {
    #[error(transparent)]
    Duplicate(#[from] DuplicateColumn),
    #[error(
        "the column {column:?} has the type {ty}, which has no form here: leave it out, or convert it (a geometry by ST_AsText or ST_AsGeoJSON)"
    )]
    Type { column: String, ty: String },
}

impl Columns {
    /// From what a statement or a row says of them.
    pub(super) fn of(columns: &[MySqlColumn]) -> Result<Self, ColumnError> {
        let columns = columns.iter().map(column).collect::<Result<_, _>>();
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

    /// A row with these columns.
    pub(super) fn read<'r>(&'r self, row: &'r MySqlRow) -> ReadRow<'r> {
        ReadRow { columns: self, row }
    }

    /// A column's value in text form.
    pub(super) fn text(&self, row: &MySqlRow, index: usize) -> Result<Option<String>, Reason> {
        self.read(row).text_of(index)
    }
}

/// A row, read by columns that it has.
pub(super) struct ReadRow<'r> {
    columns: &'r Columns,
    row: &'r MySqlRow,
}

impl<'r> ReadRow<'r> {
    fn fault(&self, column: usize, fault: Fault) -> Reason {
        format!("the column {:?} {fault}", self.columns.get(column).name)
    }

    /// A column's bytes; `None` is NULL. (The driver calls zero dates NULL, too, but gives their bytes.)
    fn bytes(&self, column: usize) -> Result<Option<&'r [u8]>, Reason> {
        let value = self.row.try_get_raw(column);
        let value = value.map_err(|_| self.fault(column, Fault::Malformed))?;
        Ok(<&[u8] as Decode<MySql>>::decode(value).ok())
    }

    /// A column's kind and bytes.
    fn value(&self, column: usize) -> Result<(Kind, &'r [u8]), Reason> {
        let bytes = self.bytes(column)?;
        let bytes = bytes.ok_or_else(|| self.fault(column, Fault::Malformed))?;
        Ok((self.columns.get(column).kind, bytes))
    }
}

impl Row for ReadRow<'_> {
    fn is_null(&self, column: usize) -> Result<bool, Reason> {
        Ok(self.bytes(column)?.is_none())
    }

    fn json(&self, column: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        let (kind, bytes) = self.value(column)?;
        value::json(kind, bytes, out).map_err(|fault| self.fault(column, fault))
    }

    fn text(&self, column: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        let (kind, bytes) = self.value(column)?;
        value::text(kind, bytes, out).map_err(|fault| self.fault(column, fault))
    }

    fn scalar(&self, column: usize) -> Result<Scalar<'_>, Reason> {
        let (kind, bytes) = self.value(column)?;
        value::scalar(kind, bytes).map_err(|fault| self.fault(column, fault))
    }
}

fn column(column: &MySqlColumn) -> Result<Column, ColumnError> {
    let name = column.name().to_owned();
    let ty = column.type_info();
    let kind = Kind::of(ty).ok_or_else(|| ColumnError::Type {
        column: name.clone(),
        ty: ty.name().to_owned(),
    })?;
    Ok(Column {
        name,
        kind,
        ty: ty.clone(),
    })
}
