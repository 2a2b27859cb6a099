//! Running a loader's query for one batch of keys, and what becomes of the connection when that fails.

use std::sync::Arc;

use futures::TryStreamExt as _;
use sqlx::mysql::{MySqlArguments, MySqlDatabaseError, MySqlRow};
use sqlx::{AssertSqlSafe, Connection as _};

use super::columns::Columns;
use super::plan::{Recipe, encoder, key_columns};
use super::session::Session;
use super::{Engine, GRACE};
use crate::catalog::LoaderSpec;
use crate::origin::encode::{Encoder, Row as _};
use crate::origin::error::{NoAnswer, OriginError, ends_connections, mixes_character_sets};
use crate::origin::meter::Meter;
use crate::origin::rewrite::Placeholder;
use crate::origin::sheet::{AskedKey, Sheet};

/// The columns are not those that were there when the query was first prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the query's columns have changed since it was prepared")]
pub(super) struct ColumnsChanged;

/// The length of a list for so many keys, of which a batch has at most `batch_keys`: few lengths are few statements.
fn list_length(keys: usize, batch_keys: usize) -> usize {
    keys.next_power_of_two().min(batch_keys).max(keys)
}

impl Engine {
    /// Runs a loader's query for one batch. Where this future is dropped, its caller's session is dropped with it.
    pub(super) async fn ask(
        &self,
        meter: &mut Meter<'_>,
        session: &mut Session,
        loader: &LoaderSpec,
        recipe: &Recipe<'_>,
        batch: &[AskedKey<'_>],
        sheet: &mut Sheet<'_>,
    ) -> Result<(), Failed> {
        let doing = || format!("run the query of loader {:?}", loader.name.as_str());
        let length = list_length(batch.len(), recipe.batch_keys);
        let sql: Arc<str> = recipe.query.with_lists_of(length).into();
        let lists = recipe.query.lists.len();
        let arguments = recipe.keys.arguments(batch, lists, length);
        let arguments =
            arguments.map_err(|error| Failed::cleanly(OriginError::permanent(doing(), error)))?;
        let known = session.prepared.contains(&sql);
        meter
            .pass_expecting(if known { 1 } else { 2 }, batch.len() as u64)
            .await
            .map_err(|stopped| Failed::cleanly(stopped.into()))?;
        let limit = self.statement_timeout + GRACE;
        let reading = Reading {
            loader,
            recipe,
            batch,
        };
        let rows = reading.receive(meter, session, Arc::clone(&sql), arguments, sheet);
        match tokio::time::timeout(limit, rows).await {
            Ok(Ok(())) => {
                session.prepared.insert(sql);
                Ok(())
            }
            Ok(Err(Interrupted::Columns(error))) => {
                self.plans().remove(&recipe.query.sql);
                Err(Failed::with_connection(error))
            }
            Ok(Err(Interrupted::Driver(error))) => Err(self.failed(doing(), error, session, sql)),
            Err(_) => Err(Failed::with_connection(OriginError::transient(
                doing(),
                NoAnswer(limit),
            ))),
        }
    }

    /// What a driver's error means for the connections, of which `session` was to run `sql`.
    fn failed(
        &self,
        doing: String,
        error: sqlx::Error,
        session: &mut Session,
        sql: Arc<str>,
    ) -> Failed {
        let said = error
            .as_database_error()
            .and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>());
        match said {
            Some(said) if !ends_connections(said) => {
                // Prepared, and refused only when it was run: the driver has kept it.
                if session.connection.cached_statements_size() > session.prepared.len() {
                    session.prepared.insert(sql);
                }
                let mixes_character_sets = mixes_character_sets(said);
                Failed {
                    mixes_character_sets,
                    ..Failed::cleanly(OriginError::from_driver(doing, error))
                }
            }
            _ => {
                // One connection is dead: the others were probably cut by the same event.
                self.idle.close_all();
                Failed::with_connection(OriginError::from_driver(doing, error))
            }
        }
    }
}

/// A query that failed.
pub(super) struct Failed {
    pub(super) error: OriginError,
    /// Whether the connection can take the next query.
    pub(super) connection_is_fine: bool,
    /// Whether it may be for the characters of one key.
    pub(super) mixes_character_sets: bool,
}

impl Failed {
    /// The database refused, or nothing was sent.
    fn cleanly(error: OriginError) -> Self {
        Self {
            error,
            connection_is_fine: true,
            mixes_character_sets: false,
        }
    }

    fn with_connection(error: OriginError) -> Self {
        Self {
            error,
            connection_is_fine: false,
            mixes_character_sets: false,
        }
    }
}

/// Why rows stopped coming.
enum Interrupted {
    Driver(sqlx::Error),
    /// The columns are none that can be used, or no longer those that keys were sent for.
    Columns(OriginError),
}

/// What rows are read for.
struct Reading<'a> {
    loader: &'a LoaderSpec,
    recipe: &'a Recipe<'a>,
    batch: &'a [AskedKey<'a>],
}

/// The columns that rows have, and what is made of them.
struct Found {
    columns: Columns,
    key_columns: Vec<usize>,
    encoder: Encoder,
}

impl Reading<'_> {
    /// Sends a query and enters its rows into the sheet.
    async fn receive(
        &self,
        meter: &mut Meter<'_>,
        session: &mut Session,
        sql: Arc<str>,
        arguments: MySqlArguments,
        sheet: &mut Sheet<'_>,
    ) -> Result<(), Interrupted> {
        let query = sqlx::query_with(AssertSqlSafe(sql), arguments);
        let mut rows = query.fetch(&mut session.connection);
        let (mut buffer, mut key) = (Vec::new(), Vec::new());
        let mut found: Option<Found> = None;
        while let Some(row) = rows.try_next().await.map_err(Interrupted::Driver)? {
            meter.count_row();
            let found = match &mut found {
                Some(found) => found,
                none => none.insert(self.columns(&row).map_err(Interrupted::Columns)?),
            };
            let slot = match (
                self.recipe.query.placeholder,
                found.key_columns.as_slice(),
                self.batch,
            ) {
                (Placeholder::Key, [], [(slot, _)]) => Some(*slot),
                (_, [], _) => None,
                (_, &[column], _) => {
                    let key = found.columns.read(&row).key(column, &mut key);
                    let key = key.and_then(|key| self.recipe.keys.canonical(key).ok());
                    sheet.slot(key.as_deref())
                }
                (_, columns, _) => {
                    let text = |&column| found.columns.text(&row, column).ok()?;
                    let key = self.recipe.keys.of_row(columns.iter().map(text));
                    sheet.slot(key.as_deref())
                }
            };
            if let Some(slot) = slot {
                sheet.answer(
                    slot,
                    found.encoder.encode(&found.columns.read(&row), &mut buffer),
                );
            }
        }
        Ok(())
    }

    /// What the columns of the rows are for.
    fn columns(&self, row: &MySqlRow) -> Result<Found, OriginError> {
        let Self { loader, recipe, .. } = self;
        let doing = || format!("read the rows of loader {:?}", loader.name.as_str());
        let columns =
            Columns::of_row(row).map_err(|error| OriginError::permanent(doing(), error))?;
        let key_columns = key_columns(loader, recipe.query, &columns, &doing())?;
        if !recipe.keys.fits(&key_columns, &columns) {
            return Err(OriginError::transient(doing(), ColumnsChanged));
        }
        Ok(Found {
            encoder: encoder(loader, &columns, &doing())?,
            columns,
            key_columns,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_have_few_lengths() {
        for (keys, batch_keys, length) in [
            (1, 500, 1),
            (2, 500, 2),
            (3, 500, 4),
            (200, 500, 256),
            (257, 500, 500),
            (500, 500, 500),
            (1, 1, 1),
            (10_000, 10_000, 10_000),
        ] {
            assert_eq!(list_length(keys, batch_keys), length, "{keys}");
        }
        let lengths: std::collections::BTreeSet<usize> =
            (1..=500).map(|keys| list_length(keys, 500)).collect();
        assert_eq!(lengths.len(), 10, "{lengths:?}");
    }
}
