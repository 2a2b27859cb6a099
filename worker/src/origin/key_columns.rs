//! Which of a query's columns say the key that a row answers.

use super::encode;
use super::rewrite::{Dialect, Placeholder, Rewritten};
use crate::catalog::LoaderSpec;

/// The columns that answer keys, one for each part: the loader's, or those the query compares; none where one key is asked
/// at a time and the loader names no column, so that whatever row comes is the answer.
pub(super) fn key_columns(
    loader: &LoaderSpec,
    query: &Rewritten,
    columns: &[String],
    dialect: Dialect,
) -> Result<Vec<usize>, KeyColumnError> {
    if columns.is_empty() {
        return Err(KeyColumnError::NoColumns);
    }
    let wanted = names_of_keys(loader, query);
    match (wanted.len(), query.placeholder) {
        (0, Placeholder::Key) => return Ok(Vec::new()),
        (0, Placeholder::Keys) => return Err(KeyColumnError::Unnamed),
        (named, _) if named != query.parts => {
            let parts = query.parts;
            return Err(KeyColumnError::Parts { named, parts });
        }
        _ => {}
    }
    let position = |wanted: &String| {
        encode::position(columns, wanted, dialect).ok_or_else(|| KeyColumnError::Missing {
            wanted: wanted.clone(),
            found: columns.join(", "),
        })
    };
    wanted.iter().map(position).collect()
}

/// The names of the columns that answer keys: the loader's, or those that the query compares.
pub(super) fn names_of_keys<'n>(loader: &'n LoaderSpec, query: &'n Rewritten) -> &'n [String] {
    match loader.key_column.names() {
        [] => &query.key_columns,
        named => named,
    }
}

/// Nothing says which key a row answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyColumnError {
    #[error("the query gives no columns: write a SELECT that gives what the value is made of")]
    NoColumns,
    #[error("nothing says which key a row answers: set key-column to the column that has the key")]
    Unnamed,
    #[error(
        "the rows have no column {wanted:?} to say which key they answer, but {found}: select it, or set key-column"
    )]
    Missing { wanted: String, found: String },
    #[error(
        "key-column names {named} columns, but keys have {parts} parts: name the column of each, in the order of those left of IN"
    )]
    Parts { named: usize, parts: usize },
}

/// Two columns of one name would be one member of a JSON object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the query has two columns {0:?}: give them different names with AS")]
pub(crate) struct DuplicateColumn(String);

/// Refuses a query of which two columns have one name.
pub(super) fn refuse_duplicates(columns: &[String]) -> Result<(), DuplicateColumn> {
    for (i, column) in columns.iter().enumerate() {
        if columns[..i].contains(column) {
            return Err(DuplicateColumn(column.clone()));
        }
    }
    Ok(())
}
