//! What is known of a query once it was prepared: its parameter, its columns, and what preparing it again costs.

use std::sync::Arc;

use sqlx::postgres::{PgColumn, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Column as _, Either, Row as _, Statement as _, TypeInfo as _, ValueRef as _};

use super::kind::{Kind, lookups};
use super::value::{self, Fault};
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

/// A query's columns, and how their values are written.
#[derive(Debug)]
pub(crate) struct Columns(Vec<Column>);

#[derive(Debug)]
struct Column {
    name: String,
    /// What stands before the value in a JSON object.
    prefix: Vec<u8>,
    oid: Option<u32>,
    kind: Kind,
}

/// Why a query's rows cannot be written as JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PlanError {
    #[error(transparent)]
    Duplicate(#[from] DuplicateColumn),
    #[error(
        "the column {column:?} has the type {ty}, which has no form here: leave it out, or cast it to text"
    )]
    Type { column: String, ty: String },
}

/// Why a row cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RowFault {
    #[error("the column {column:?} {fault}")]
    Value { column: String, fault: Fault },
    #[error("the value has {bytes} bytes or more, and the loader's max-value-bytes is {max}")]
    TooLarge { bytes: u64, max: u64 },
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
        self.columns
            .0
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
        row.columns().len() == self.columns.0.len()
            && self.columns.0.iter().zip(row.columns()).all(same)
    }

    /// Writes a row as a JSON object into `out`, which is emptied first.
    pub(super) fn json(
        &self,
        row: &PgRow,
        bytes_max: u64,
        out: &mut Vec<u8>,
    ) -> Result<(), RowFault> {
        self.columns.json(|index| raw(row, index), bytes_max, out)
    }

    /// A column's value in text form.
    pub(super) fn text(&self, row: &PgRow, index: usize) -> Result<Option<String>, RowFault> {
        let column = &self.columns.0[index];
        let fault = |fault| RowFault::Value {
            column: column.name.clone(),
            fault,
        };
        let Some(bytes) = raw(row, index).map_err(fault)? else {
            return Ok(None);
        };
        let mut text = Vec::with_capacity(bytes.len());
        value::text(&column.kind, bytes, &mut text).map_err(fault)?;
        String::from_utf8(text)
            .map(Some)
            .map_err(|_| fault(Fault::Malformed))
    }
}

impl Columns {
    /// Columns of these names and types, in their order.
    pub(crate) fn new<'c>(
        columns: impl Iterator<Item = (&'c str, &'c PgTypeInfo)>,
    ) -> Result<Self, PlanError> {
        let columns = columns.enumerate();
        let columns = columns.map(|(index, (name, ty))| column(index, name, ty));
        Ok(Self(columns.collect::<Result<_, _>>()?))
    }

    /// Writes the object of a row's values, in binary form, into `out`, which is emptied first.
    pub(crate) fn json<'v>(
        &self,
        value_of: impl Fn(usize) -> Result<Option<&'v [u8]>, Fault>,
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
            match value_of(index).map_err(fault)? {
                Some(bytes) => value::json(&column.kind, bytes, out).map_err(fault)?,
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
}

fn column(index: usize, name: &str, ty: &PgTypeInfo) -> Result<Column, PlanError> {
    let name = name.to_owned();
    let kind = Kind::of(ty).ok_or_else(|| PlanError::Type {
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
        prefix,
        oid: ty.oid().map(|oid| oid.0),
        kind,
    })
}

/// A column's bytes; `None` is NULL.
fn raw(row: &PgRow, index: usize) -> Result<Option<&[u8]>, Fault> {
    let value = row.try_get_raw(index).map_err(|_| Fault::Malformed)?;
    if value.is_null() {
        return Ok(None);
    }
    value.as_bytes().map(Some).map_err(|_| Fault::Malformed)
}
