//! What is known of a query once it was prepared: its parameter, its columns, and what preparing it again costs.

use std::sync::Arc;

use sqlx::postgres::{PgColumn, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Column as _, Either, Row as _, Statement as _, TypeInfo as _, ValueRef as _};

use super::kind::{Kind, lookups};
use super::value::{self, Fault};
use crate::origin::encode::{Encoder, Row, Scalar};
use crate::origin::sheet::Reason;
use crate::origin::{DuplicateColumn, refuse_duplicates};

/// A prepared query.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) sql: Arc<str>,
    pub(super) parameters: Vec<PgTypeInfo>,
    columns: Columns,
    /// Catalogue queries that the driver sends, at most, when a new connection prepares this.
    pub(super) lookups: u32,
}

/// A query's columns.
#[derive(Debug)]
struct Columns(Vec<Column>);

#[derive(Debug)]
struct Column {
    name: String,
    oid: Option<u32>,
    ty: PgTypeInfo,
    kind: Kind,
}

/// Why a query's rows cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlanError {
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
        let columns = statement.columns().iter();
        let columns = columns.map(|column| (column.name(), column.type_info()));
        Ok(Self {
            sql,
            parameters: parameters_of(statement).to_vec(),
            columns: Columns::new(columns)?,
            lookups: lookups_of(statement),
        })
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.columns.names()
    }

    /// The type of a column that it has.
    pub(super) fn type_of(&self, column: usize) -> &PgTypeInfo {
        &self.columns.0[column].ty
    }

    /// Whether a row has the columns that this plan knows: another connection may have prepared the query after the
    /// table was altered, and bytes read as another type would be a wrong value.
    pub(super) fn fits(&self, row: &PgRow) -> bool {
        let same = |(ours, theirs): (&Column, &PgColumn)| {
            ours.name == theirs.name() && ours.oid == theirs.type_info().oid().map(|oid| oid.0)
        };
        let columns = &self.columns.0;
        row.columns().len() == columns.len() && columns.iter().zip(row.columns()).all(same)
    }

    /// A row with this plan's columns.
    pub(super) fn read<'r>(&'r self, row: &'r PgRow) -> ReadRow<'r, PgRow> {
        ReadRow {
            columns: &self.columns,
            row,
        }
    }

    /// A column's value in text form.
    pub(super) fn text(&self, row: &PgRow, index: usize) -> Result<Option<String>, Reason> {
        self.read(row).text_of(index)
    }
}

impl Columns {
    /// Of these names and types, in their order.
    fn new<'c>(
        columns: impl Iterator<Item = (&'c str, &'c PgTypeInfo)>,
    ) -> Result<Self, PlanError> {
        let columns = columns.map(|(name, ty)| column(name, ty));
        Ok(Self(columns.collect::<Result<_, _>>()?))
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().map(|column| column.name.clone()).collect()
    }
}

/// What writes rows as JSON objects, for [`doors`](crate::doors).
#[derive(Debug)]
pub(crate) struct Objects {
    columns: Columns,
    encoder: Encoder,
}

impl Objects {
    /// Rows with columns of these names and types.
    pub(crate) fn new(columns: &[(&str, PgTypeInfo)]) -> Result<Self, PlanError> {
        let columns = Columns::new(columns.iter().map(|(name, ty)| (*name, ty)))?;
        let encoder = Encoder::of_objects(&columns.names());
        Ok(Self { columns, encoder })
    }

    /// Writes a row's values, which are in binary form (`None` is NULL), into `out`; whether that could be done.
    pub(crate) fn write(&self, values: &[Option<&[u8]>], out: &mut Vec<u8>) -> bool {
        let row = ReadRow {
            columns: &self.columns,
            row: values,
        };
        self.encoder.encode(&row, out).is_ok()
    }
}

/// Values in PostgreSQL's binary form.
pub(super) trait Binary {
    /// A column's; `None` is NULL.
    fn value(&self, column: usize) -> Result<Option<&[u8]>, Fault>;
}

impl Binary for PgRow {
    fn value(&self, column: usize) -> Result<Option<&[u8]>, Fault> {
        let value = self.try_get_raw(column).map_err(|_| Fault::Malformed)?;
        if value.is_null() {
            return Ok(None);
        }
        value.as_bytes().map(Some).map_err(|_| Fault::Malformed)
    }
}

impl Binary for [Option<&[u8]>] {
    fn value(&self, column: usize) -> Result<Option<&[u8]>, Fault> {
        self.get(column).copied().ok_or(Fault::Malformed)
    }
}

/// A row, read by columns that it has.
pub(super) struct ReadRow<'r, R: ?Sized> {
    columns: &'r Columns,
    row: &'r R,
}

impl<'r, R: Binary + ?Sized> ReadRow<'r, R> {
    fn fault(&self, column: usize, fault: Fault) -> Reason {
        format!("the column {:?} {fault}", self.columns.0[column].name)
    }

    fn raw(&self, column: usize) -> Result<Option<&'r [u8]>, Reason> {
        self.row
            .value(column)
            .map_err(|fault| self.fault(column, fault))
    }

    /// A column's kind and bytes.
    fn value(&self, column: usize) -> Result<(&'r Kind, &'r [u8]), Reason> {
        let bytes = self.raw(column)?;
        let bytes = bytes.ok_or_else(|| self.fault(column, Fault::Malformed))?;
        Ok((&self.columns.0[column].kind, bytes))
    }
}

impl<R: Binary + ?Sized> Row for ReadRow<'_, R> {
    fn is_null(&self, column: usize) -> Result<bool, Reason> {
        Ok(self.raw(column)?.is_none())
    }

    fn json(&self, column: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        let (kind, bytes) = self.value(column)?;
        value::json(kind, bytes, out).map_err(|fault| self.fault(column, fault))
    }

    // Finding a value costs about as much as writing a short one: once is enough.
    fn json_or_null(&self, column: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        let Some(bytes) = self.raw(column)? else {
            out.extend_from_slice(b"null");
            return Ok(());
        };
        let kind = &self.columns.0[column].kind;
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

fn column(name: &str, ty: &PgTypeInfo) -> Result<Column, PlanError> {
    let name = name.to_owned();
    let kind = Kind::of(ty).ok_or_else(|| PlanError::Type {
        column: name.clone(),
        ty: ty.name().to_owned(),
    })?;
    Ok(Column {
        name,
        oid: ty.oid().map(|oid| oid.0),
        ty: ty.clone(),
        kind,
    })
}
