//! What is known of a query once it was prepared, and what a loader needs to run it.

use std::sync::Arc;

use sqlx::mysql::MySqlStatement;
use sqlx::{AssertSqlSafe, Either, Executor as _, SqlSafeStr as _, Statement as _};

use super::columns::Columns;
use super::keys::Keys;
use super::session::Session;
use super::{Engine, GRACE};
use crate::catalog::LoaderSpec;
use crate::origin::encode::Encoder;
use crate::origin::error::{NoAnswer, OriginError};
use crate::origin::meter::Meter;
use crate::origin::rewrite::{Dialect, Placeholder, Rewritten};

/// How many queries' plans are remembered; beyond, all are forgotten.
const PLANS_MAX: usize = 1024;
/// The most parameters of a statement: the protocol counts them in 16 bits.
const PARAMETERS_MAX: usize = 65_535;

/// What is known of a query once it was prepared. Rows come with columns of their own, which may be others by then.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) parameters: usize,
    pub(super) columns: Columns,
}

/// What a loader needs besides a session.
pub(super) struct Recipe<'q> {
    pub(super) query: &'q Rewritten,
    pub(super) keys: Keys,
    /// The keys of a batch: one, where they are asked one by one.
    pub(super) batch_keys: usize,
}

/// Why a query cannot be a loader's, or a key source's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum QueryError {
    #[error("the query of a key source takes no parameters: write the values into it")]
    ParametersInSource,
    #[error(
        "the database finds {found} parameters in the query instead of {written}: is one in a comment that only some versions execute?"
    )]
    Count { found: usize, written: usize },
    #[error(
        "the query has :keys {lists} times for {parts} columns, and with batch-keys = {batch_keys} more than {PARAMETERS_MAX} parameters: lower batch-keys"
    )]
    TooMany {
        lists: usize,
        parts: usize,
        batch_keys: usize,
    },
    #[error("a column has a type that is not known here: leave it out, or convert it")]
    UnknownType,
}

impl Engine {
    /// What a loader needs, and the session that was used to find it out, if one was.
    pub(super) async fn recipe<'q>(
        &self,
        meter: &mut Meter<'_>,
        loader: &LoaderSpec,
        query: &'q Rewritten,
    ) -> Result<(Option<Session>, Recipe<'q>), OriginError> {
        let doing = doing_prepare(loader);
        let known = self.plans().get(&query.sql).cloned();
        let (session, plan) = match known {
            Some(plan) => (None, plan),
            None => {
                let _setting_up = self.setting_up.begin();
                let mut session = self.session(meter).await?;
                let plan = self.plan(meter, &mut session, &query.sql, &doing).await?;
                self.remember(&query.sql, &plan);
                (Some(session), plan)
            }
        };
        Ok((session, recipe_of(&plan, loader, query, &doing)?))
    }

    pub(super) fn remember(&self, sql: &str, plan: &Arc<Plan>) {
        let mut plans = self.plans();
        if plans.len() >= PLANS_MAX {
            plans.clear();
        }
        plans.insert(sql.to_owned(), Arc::clone(plan));
    }

    /// Prepares a query that nothing is known of.
    pub(super) async fn plan(
        &self,
        meter: &mut Meter<'_>,
        session: &mut Session,
        sql: &str,
        doing: &str,
    ) -> Result<Arc<Plan>, OriginError> {
        if !session.prepared.contains(sql) {
            meter.pass(1).await?;
        }
        let sql: Arc<str> = sql.into();
        let limit = self.statement_timeout + GRACE;
        let prepare = session
            .connection
            .prepare(AssertSqlSafe(Arc::clone(&sql)).into_sql_str());
        let statement = match tokio::time::timeout(limit, prepare).await {
            Ok(Ok(statement)) => statement,
            Ok(Err(sqlx::Error::Protocol(words))) if words.contains("unknown column type") => {
                return Err(OriginError::permanent(doing, QueryError::UnknownType));
            }
            Ok(Err(error)) => return Err(OriginError::from_driver(doing, error)),
            Err(_) => return Err(OriginError::transient(doing, NoAnswer(limit))),
        };
        session.prepared.insert(sql);
        let columns = Columns::of(statement.columns());
        Ok(Arc::new(Plan {
            parameters: parameters_of(&statement),
            columns: columns.map_err(|error| OriginError::permanent(doing, error))?,
        }))
    }
}

pub(super) fn doing_prepare(loader: &LoaderSpec) -> String {
    format!("prepare the query of loader {:?}", loader.name.as_str())
}

/// MySQL counts parameters; it does not say their types.
fn parameters_of(statement: &MySqlStatement) -> usize {
    match statement.parameters() {
        Some(Either::Right(count)) => count,
        Some(Either::Left(types)) => types.len(),
        None => 0,
    }
}

/// What a loader needs besides a session, where its prepared query can answer keys.
pub(super) fn recipe_of<'q>(
    plan: &Plan,
    loader: &LoaderSpec,
    query: &'q Rewritten,
    doing: &str,
) -> Result<Recipe<'q>, OriginError> {
    let permanent = |error: QueryError| OriginError::permanent(doing, error);
    let batch_keys = match query.placeholder {
        Placeholder::Keys => loader.batch_keys.most() as usize,
        Placeholder::Key => 1,
    };
    let lists = query.lists.len();
    let written = lists * query.parts;
    if plan.parameters != written {
        let found = plan.parameters;
        return Err(permanent(QueryError::Count { found, written }));
    }
    if written * batch_keys > PARAMETERS_MAX {
        return Err(permanent(QueryError::TooMany {
            lists,
            parts: query.parts,
            batch_keys,
        }));
    }
    let key_columns = key_columns(loader, query, &plan.columns, doing)?;
    let keys = Keys::new(&key_columns, &plan.columns);
    encoder(loader, &plan.columns, doing)?;
    Ok(Recipe {
        query,
        keys: keys.map_err(|error| OriginError::permanent(doing, error))?,
        batch_keys,
    })
}

/// MySQL's names of columns are the same in upper and lower case.
pub(super) fn key_columns(
    loader: &LoaderSpec,
    query: &Rewritten,
    columns: &Columns,
    doing: &str,
) -> Result<Vec<usize>, OriginError> {
    let named = crate::origin::key_columns(loader, query, &columns.names(), Dialect::MySql);
    named.map_err(|error| OriginError::permanent(doing, error))
}

/// What makes the loader's values of rows with these columns.
pub(super) fn encoder(
    loader: &LoaderSpec,
    columns: &Columns,
    doing: &str,
) -> Result<Encoder, OriginError> {
    let encoder = Encoder::new(loader, &columns.names(), Dialect::MySql);
    encoder.map_err(|error| OriginError::permanent(doing, error))
}
