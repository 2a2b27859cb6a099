//! What is known of a query once it was prepared: its parameter, its columns, and what preparing it again costs.

use std::sync::Arc;

use sqlx::postgres::{PgColumn, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Column as _, Either, Row as _, Statement as _, TypeInfo as _, ValueRef as _};

use super::kind::{Kind, lookups};
use super::value::{self, Fault};
use crate::origin::encode::{Row, Scalar};
use crate::origin::sheet::Reason;
use crate::origin::{DuplicateColumn, refuse_duplicates};

/// A prepared query.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) sql: Arc<str>,
    pub(super) parameters: Vec<PgTypeInfo>,
    columns: Vec<Column>,
    /// Catalogue queries that the driver sends, at most, when a new connection prepares this.
    pub(super) lookups: u32,
}

#[derive(Debug)]
struct Column {
    name: String,
    oid: Option<u32>,
    kind: Kind,
}

/// Why a query's rows cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlanError {
    #[error(transparent)]
    Duplicate(#[from] DuplicateColumn),
    #[error(
        "the column {column:?} has the type {ty}, which has no form here: leave it out, or cast it to text"
    )]
    Type { column: String, ty: String },
}

/// How many catalogue queries the driver sent, at most, to know a statement's types.
pub(super) fn lookups_of(statement: &PgStatement) -> u32 {
    let columns = statement
        .columns()
        .iter()
        .map(|column| lookups(column.type_info()));
    columns
        .chain(parameters_of(statement).iter().map(lookups))
        .max()
        .unwrap_or(0)
}

fn parameters_of(statement: &PgStatement) -> &[PgTypeInfo] {
    match statement.parameters() {
        Some(Either::Left(parameters)) => parameters,
        _ => &[],
    }
}

impl Plan {
    pub(super) fn new(sql: Arc<str>, statement: &PgStatement) -> Result<Self, PlanError> {
        let names: Vec<String> = statement
            .columns()
            .iter()
            .map(|column| column.name().to_owned())
            .collect();
        refuse_duplicates(&names)?;
        let columns = statement
            .columns()
            .iter()
            .map(column)
            .collect::<Result<_, _>>()?;
        Ok(Self {
            sql,
            parameters: parameters_of(statement).to_vec(),
            columns,
            lookups: lookups_of(statement),
        })
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.columns
            .iter()
            .map(|column| column.name.clone())
            .collect()
    }

    /// Whether a row has the columns that this plan knows: another connection may have prepared the query after the
    /// table was altered, and bytes read as another type would be a wrong value.
    pub(super) fn fits(&self, row: &PgRow) -> bool {
        let same = |(ours, theirs): (&Column, &PgColumn)| {
            ours.name == theirs.name() && ours.oid == theirs.type_info().oid().map(|oid| oid.0)
        };
        row.columns().len() == self.columns.len()
            && self.columns.iter().zip(row.columns()).all(same)
    }

    /// A row with this plan's columns.
    pub(super) fn read<'r>(&'r self, row: &'r PgRow) -> ReadRow<'r> {
        ReadRow { plan: self, row }
    }

    /// A column's value in text form.
    pub(super) fn text(&self, row: &PgRow, index: usize) -> Result<Option<String>, Reason> {
        let row = self.read(row);
        if row.is_null(index)? {
            return Ok(None);
        }
        let mut text = Vec::new();
        row.text(index, &mut text)?;
        String::from_utf8(text)
            .map(Some)
            .map_err(|_| row.fault(index, Fault::Malformed))
    }
}

/// A row, read by a plan whose columns it has.
pub(super) struct ReadRow<'r> {
    plan: &'r Plan,
    row: &'r PgRow,
}

impl<'r> ReadRow<'r> {
    fn fault(&self, column: usize, fault: Fault) -> Reason {
        format!("the column {:?} {fault}", self.plan.columns[column].name)
    }

    /// A column's kind and bytes.
    fn value(&self, column: usize) -> Result<(&'r Kind, &'r [u8]), Reason> {
        let value = self.row.try_get_raw(column).ok();
        let bytes = value.and_then(|value| value.as_bytes().ok());
        let bytes = bytes.ok_or_else(|| self.fault(column, Fault::Malformed))?;
        Ok((&self.plan.columns[column].kind, bytes))
    }
}

impl Row for ReadRow<'_> {
    fn is_null(&self, column: usize) -> Result<bool, Reason> {
        let value = self.row.try_get_raw(column);
        value
            .map(|value| value.is_null())
            .map_err(|_| self.fault(column, Fault::Malformed))
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

fn column(column: &PgColumn) -> Result<Column, PlanError> {
    let name = column.name().to_owned();
    let ty = column.type_info();
    let kind = Kind::of(ty).ok_or_else(|| PlanError::Type {
        column: name.clone(),
        ty: ty.name().to_owned(),
    })?;
    Ok(Column {
        name,
        oid: ty.oid().map(|oid| oid.0),
        kind,
    })
}
