//! Running a loader's query for one batch of keys, and what becomes of the connection when that fails.

use std::sync::Arc;

use futures::TryStreamExt as _;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgArguments;

use super::session::Session;
use super::{Engine, GRACE, Recipe};
use crate::catalog::LoaderSpec;
use crate::origin::encode::Row as _;
use crate::origin::error::{NoAnswer, OriginError};
use crate::origin::meter::Meter;
use crate::origin::rewrite::Placeholder;
use crate::origin::sheet::{AskedKey, Sheet};

/// The columns are not those that were there when the query was first prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the query's columns have changed since it was prepared")]
struct ColumnsChanged;

impl Engine {
    /// Runs a loader's query for one batch. Where this future is dropped, its caller's session is dropped with it.
    pub(super) async fn ask(
        &self,
        meter: &mut Meter<'_>,
        session: &mut Session,
        loader: &LoaderSpec,
        recipe: &Recipe,
        batch: &[AskedKey<'_>],
        sheet: &mut Sheet<'_>,
    ) -> Result<(), Failed> {
        let doing = || format!("run the query of loader {:?}", loader.name.as_str());
        let arguments = recipe.keys.arguments(batch.iter().map(|(_, text)| &**text));
        let arguments =
            arguments.map_err(|error| Failed::cleanly(OriginError::permanent(doing(), error)))?;
        let lone_slot = match (recipe.placeholder, recipe.key_columns.as_slice(), batch) {
            (Placeholder::Key, [], [(slot, _)]) => Some(*slot),
            _ => None,
        };
        let known = session.prepared.contains(&recipe.plan.sql);
        let lookups = if known { 0 } else { recipe.plan.lookups };
        // Behind a pooler it is prepared each time.
        let is_prepared = known && session.pooled.is_none();
        let statements = u32::from(!is_prepared) + 1 + lookups + session.around();
        meter
            .pass_expecting(statements, batch.len() as u64)
            .await
            .map_err(|stopped| Failed::cleanly(stopped.into()))?;
        let limit = self.statement_timeout + GRACE;
        if let Err(error) = session.begin(&doing(), limit).await {
            return Err(Failed::with_connection(error));
        }
        let rows = receive(meter, session, recipe, arguments, lone_slot, sheet);
        match tokio::time::timeout(limit, rows).await {
            Ok(Ok(())) => {
                session.prepared.insert(Arc::clone(&recipe.plan.sql));
                if let Err(error) = session.end(&doing(), limit).await {
                    return Err(Failed::with_connection(error));
                }
                meter
                    .pay(lookups)
                    .await
                    .map_err(|stopped| Failed::cleanly(stopped.into()))
            }
            Ok(Err(Interrupted::ColumnsChanged)) => {
                self.plans().remove(&recipe.plan.sql);
                Err(Failed::with_connection(OriginError::transient(
                    doing(),
                    ColumnsChanged,
                )))
            }
            // Its transaction has failed with it.
            Ok(Err(Interrupted::Driver(error))) if session.pooled.is_some() => Err(
                Failed::with_connection(OriginError::from_driver(doing(), error)),
            ),
            Ok(Err(Interrupted::Driver(error))) => Err(self.failed(doing(), recipe, error, known)),
            Err(_) => Err(Failed::with_connection(OriginError::transient(
                doing(),
                NoAnswer(limit),
            ))),
        }
    }

    /// What a driver's error (of a query that was prepared before, if `known`) means for the query's plan and for the connections.
    fn failed(&self, doing: String, recipe: &Recipe, error: sqlx::Error, known: bool) -> Failed {
        /// "Cached plan must not change result type": the table was altered after the query was prepared.
        const RESULT_TYPE_CHANGED: &str = "0A000";
        /// The prepared statement is gone: something between us and the server gave us another session.
        const STATEMENT_GONE: &str = "26000";
        let code = error
            .as_database_error()
            .and_then(|error| error.code())
            .map(std::borrow::Cow::into_owned);
        match code.as_deref() {
            Some(RESULT_TYPE_CHANGED) => {
                self.plans().remove(&recipe.plan.sql);
                self.idle.close_all();
                Failed::with_connection(OriginError::transient(doing, error))
            }
            Some(code)
                if code == STATEMENT_GONE || code.starts_with("57P") || code.starts_with("08") =>
            {
                self.idle.close_all();
                Failed::with_connection(OriginError::from_driver(doing, error))
            }
            // Whether the driver has kept a statement that failed on its first run is not known: the account of what is
            // prepared must hold.
            Some(_) if !known => Failed::with_connection(OriginError::from_driver(doing, error)),
            Some(_) => Failed::cleanly(OriginError::from_driver(doing, error)),
            None => {
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
}

impl Failed {
    /// The database refused, or nothing was sent.
    fn cleanly(error: OriginError) -> Self {
        Self {
            error,
            connection_is_fine: true,
        }
    }

    fn with_connection(error: OriginError) -> Self {
        Self {
            error,
            connection_is_fine: false,
        }
    }
}

/// Why rows stopped coming.
enum Interrupted {
    Driver(sqlx::Error),
    ColumnsChanged,
}

/// Sends a query and enters its rows into the sheet.
async fn receive(
    meter: &mut Meter<'_>,
    session: &mut Session,
    recipe: &Recipe,
    arguments: PgArguments,
    lone_slot: Option<usize>,
    sheet: &mut Sheet<'_>,
) -> Result<(), Interrupted> {
    let plan = &recipe.plan;
    let query = sqlx::query_with(AssertSqlSafe(Arc::clone(&plan.sql)), arguments)
        .persistent(session.pooled.is_none() || !session.prepared.contains(&plan.sql));
    let mut rows = query.fetch(&mut session.connection);
    let (mut buffer, mut key) = (Vec::new(), Vec::new());
    let mut first = true;
    while let Some(row) = rows.try_next().await.map_err(Interrupted::Driver)? {
        meter.count_row();
        if std::mem::take(&mut first) && !plan.fits(&row) {
            return Err(Interrupted::ColumnsChanged);
        }
        let slot = match (lone_slot, recipe.key_columns.as_slice()) {
            (Some(slot), _) => Some(slot),
            (None, []) => None,
            (None, &[column]) => {
                let key = plan.read(&row).key(column, &mut key);
                let key = key.and_then(|key| recipe.keys.canonical(key).ok());
                sheet.slot(key.as_deref())
            }
            (None, columns) => {
                let texts = columns.iter().map(|&column| plan.text(&row, column).ok()?);
                let key = recipe.keys.of_row(texts);
                sheet.slot(key.as_deref())
            }
        };
        if let Some(slot) = slot {
            sheet.answer(slot, recipe.encoder.encode(&plan.read(&row), &mut buffer));
        }
    }
    Ok(())
}
