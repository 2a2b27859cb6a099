//! Origins in PostgreSQL.
//!
//! # What is sent, and what it costs
//!
//! sqlx sends more than it is asked to, so tokens are taken ahead for all that it may send:
//!
//! | what | statements | tokens |
//! |---|---|---|
//! | a new connection (settings travel in the start-up message; one more, once per origin, where the server refuses `client_connection_check_interval`) | 0 | 1 |
//! | the first time an origin sees a query: `PREPARE`, one query for the columns' tables, and for types that are not built in one for each level (an enum 1, an array of enums 2) | 2 to 4 | 4 |
//! | the first time another connection runs it: `PREPARE`, and the same look-ups of types | 1 to 3 | the same |
//! | running it | 1 | 1 |
//! | a standby's lag | 1 | 1 |
//!
//! Where keys have several parts, an origin that sees a query for the first time prepares two: one that compares the parts one
//! by one, for their types, and the one that is run. Either costs what one does.
//!
//! Behind a pooler by transactions (`?pooler=transaction`; see `pooled`) a connection can keep nothing, so that each of the last three
//! rows, and a probe, is a transaction: three tokens more (`BEGIN`, `SET LOCAL statement_timeout`, `COMMIT`), and one for `PREPARE`
//! each time that a query is run: 5 for a load instead of 1.
//!
//! Types nested deeper than [`LOOKUPS_AHEAD`] are paid for right after the look-ups, before anything else is sent.
//! Look-ups of types go out at once, however far apart their tokens were: so that the second that begins with them sees
//! no more than the rate either, they are paid for a second time after them.
//! `describe` is never used: it would `EXPLAIN` the query and ask for nullability. A connection that has prepared
//! [`STATEMENTS_MAX`] queries is closed, so that the driver never prepares one anew on its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::TryStreamExt as _;
use sqlx::postgres::PgTypeInfo;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, SqlSafeStr as _};
use tokio::sync::mpsc;

mod ask;
mod key;
mod keys;
mod kind;
mod lag;
mod network;
mod number;
mod plan;
mod pooled;
mod probe;
mod scan;
mod session;
mod time;
mod value;

use self::keys::Keys;
pub(crate) use self::plan::Objects;
use self::plan::{Plan, lookups_of};
use self::session::{Doors, STATEMENTS_MAX, Session};
use super::encode::Encoder;
use super::error::{NoAnswer, OriginError};
use super::idle::Idle;
use super::meter::Meter;
use super::rewrite::{Dialect, Placeholder, Rewritten};
use super::setting_up::SettingUps;
use super::sheet::{RowsPerKey, Sheet};
use crate::catalog::{LoaderSpec, OriginConfig};
use crate::permit::Stopped;
use crate::source::{Gathered, Rows, Rules, SourceFault, SourceRow, Whereabouts};

/// How many levels of look-ups of types are paid for before an unknown query is prepared.
const LOOKUPS_AHEAD: u32 = 2;
/// How many queries' plans are remembered; beyond, all are forgotten.
const PLANS_MAX: usize = 1024;
/// How much longer than the statement timeout we wait for an answer: where none comes, the network is gone.
const GRACE: Duration = Duration::from_secs(5);

/// A PostgreSQL database.
#[derive(Debug)]
pub(super) struct Engine {
    doors: Doors,
    idle: Idle<Session>,
    /// By the query as it is sent.
    plans: Mutex<HashMap<Arc<str>, Arc<Plan>>>,
    statement_timeout: Duration,
    source_timeout: Duration,
    /// How many loads set up a connection or a query.
    setting_up: SettingUps,
}

/// What a loader needs besides a session.
struct Recipe {
    plan: Arc<Plan>,
    keys: Keys,
    placeholder: Placeholder,
    /// One for each part of a key; none where whatever row comes is the answer.
    key_columns: Vec<usize>,
    encoder: Encoder,
}

/// A key source's query has a placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the query of a key source takes no parameters: write the values into it")]
struct ParametersInSource;

impl Engine {
    pub(super) fn new(config: &OriginConfig) -> Result<Self, OriginError> {
        let doing = || format!("use the URL of origin {:?}", config.name.as_str());
        Ok(Self {
            doors: Doors::new(config).map_err(|error| OriginError::permanent(doing(), error))?,
            idle: Idle::default(),
            plans: Mutex::default(),
            statement_timeout: config.statement_timeout,
            source_timeout: config.source_timeout,
            setting_up: SettingUps::default(),
        })
    }

    pub(super) fn is_setting_up(&self) -> bool {
        self.setting_up.any()
    }

    pub(super) fn set_idle_max(&self, max: usize) {
        self.idle.set_max(max);
    }

    /// Where it is, without credentials.
    pub(super) fn address(&self) -> &str {
        self.doors.address()
    }

    /// Opens a connection, and closes it again.
    pub(super) async fn reach(&self, meter: &mut Meter<'_>) -> Result<(), OriginError> {
        let session = self.open(meter, self.statement_timeout).await?;
        // It was let in: how it takes its leave says nothing.
        let _ = tokio::time::timeout(GRACE, session.connection.close()).await;
        Ok(())
    }

    pub(super) async fn prepare(
        &self,
        meter: &mut Meter<'_>,
        loader: &LoaderSpec,
        query: &Rewritten,
    ) -> Result<(), OriginError> {
        // A session that has it prepared would not ask the server again: a table may have been altered since.
        let mut session = match self.idle.take() {
            Some(session) if !session.prepared.contains(query.sql.as_str()) => session,
            known => {
                self.give_back(known);
                self.open(meter, self.statement_timeout).await?
            }
        };
        let doing = doing_prepare(loader);
        let plan = self
            .plan_of(meter, &mut session, query, &doing)
            .await
            .inspect_err(|_| {
                self.plans().remove(query.sql.as_str());
            })?;
        self.remember(&plan);
        self.give_back(Some(session));
        recipe_of(plan, loader, query, &doing).map(drop)
    }

    pub(super) async fn load<'k>(
        &self,
        meter: &mut Meter<'_>,
        loader: &LoaderSpec,
        query: &Rewritten,
        keys: &[&'k str],
    ) -> Result<Sheet<'k>, OriginError> {
        let (session, recipe) = self.recipe(meter, loader, query).await?;
        let rows = RowsPerKey::of(loader);
        let mut sheet = Sheet::new(keys, rows, |key| recipe.keys.canonical(key));
        let batch_keys = match recipe.placeholder {
            Placeholder::Keys => loader.batch_keys.most() as usize,
            Placeholder::Key => 1,
        };
        let mut held = session;
        for batch in sheet.to_ask().chunks(batch_keys) {
            let mut session = match held.take() {
                Some(session) => session,
                None => self.session(meter).await?,
            };
            match self
                .ask(meter, &mut session, loader, &recipe, batch, &mut sheet)
                .await
            {
                Ok(()) => held = Some(session),
                Err(failed) => {
                    if failed.connection_is_fine {
                        self.give_back(Some(session));
                    }
                    return Err(failed.error);
                }
            }
        }
        self.give_back(held);
        Ok(sheet)
    }

    pub(super) async fn rank(
        &self,
        meter: &mut Meter<'_>,
        query: &str,
        rules: &Rules,
        sink: mpsc::Sender<Vec<SourceRow>>,
    ) -> Result<Gathered, OriginError> {
        const DOING: &str = "run the key source's query";
        let permanent = |error: SourceFault| OriginError::permanent(DOING, error);
        // A connection of its own: its statement timeout is another one.
        let mut session = self.open(meter, self.source_timeout).await?;
        let plan = self
            .plan(meter, &mut session, query.into(), &[], DOING)
            .await?;
        if !plan.parameters.is_empty() {
            return Err(OriginError::permanent(DOING, ParametersInSource));
        }
        let mut gathering = Rows::new(rules);
        gathering.columns(plan.names()).map_err(permanent)?;
        let limit = self.source_timeout + GRACE;
        // Behind a pooler it is prepared once more.
        let prepared = u32::from(session.pooled.is_some());
        meter.pass(1 + prepared + session.around()).await?;
        session.begin(DOING, limit).await?;
        let query =
            sqlx::query(AssertSqlSafe(Arc::clone(&plan.sql))).persistent(session.pooled.is_none());
        let mut rows = query.fetch(&mut session.connection);
        let mut number = 0;
        loop {
            meter.expect_row().await?;
            let row = match tokio::time::timeout(limit, rows.try_next()).await {
                Ok(Ok(Some(row))) => row,
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Err(OriginError::from_driver(DOING, error)),
                Err(_) => return Err(OriginError::transient(DOING, NoAnswer(limit))),
            };
            number += 1;
            meter.count_expected_row();
            let at = Whereabouts::Row(number);
            let values = (0..gathering.column_count())
                .map(|index| plan.text(&row, index).map_err(|fault| fault.to_string()))
                .collect();
            if let Some(full) = gathering.row(at, values).map_err(permanent)? {
                sink.send(full).await.map_err(|_| Stopped)?;
            }
        }
        drop(rows);
        session.end(DOING, limit).await?;
        let (last, gathered) = gathering.finish();
        if let Some(last) = last {
            sink.send(last).await.map_err(|_| Stopped)?;
        }
        Ok(gathered)
    }

    /// What a loader needs, and the session that was used to find it out, if one was.
    async fn recipe(
        &self,
        meter: &mut Meter<'_>,
        loader: &LoaderSpec,
        query: &Rewritten,
    ) -> Result<(Option<Session>, Recipe), OriginError> {
        let doing = doing_prepare(loader);
        let known = self.plans().get(query.sql.as_str()).cloned();
        let (session, plan) = match known {
            Some(plan) => (None, plan),
            None => {
                let _setting_up = self.setting_up.begin();
                let mut session = self.session(meter).await?;
                let plan = self.plan_of(meter, &mut session, query, &doing).await?;
                self.remember(&plan);
                (Some(session), plan)
            }
        };
        Ok((session, recipe_of(plan, loader, query, &doing)?))
    }

    fn remember(&self, plan: &Arc<Plan>) {
        let mut plans = self.plans();
        if plans.len() >= PLANS_MAX {
            plans.clear();
        }
        plans.insert(Arc::clone(&plan.sql), Arc::clone(plan));
    }

    /// Prepares a loader's query that nothing is known of. Where keys have several parts, their types come from a query that is
    /// prepared before.
    async fn plan_of(
        &self,
        meter: &mut Meter<'_>,
        session: &mut Session,
        query: &Rewritten,
        doing: &str,
    ) -> Result<Arc<Plan>, OriginError> {
        let types = match &query.typing {
            Some(sql) => {
                let typed = self.plan(meter, session, sql.as_str().into(), &[], doing);
                typed.await?.parameters.clone()
            }
            None => Vec::new(),
        };
        self.plan(meter, session, query.sql.as_str().into(), &types, doing)
            .await
    }

    /// Prepares a query that nothing is known of, but the types of its parameters where there are some.
    async fn plan(
        &self,
        meter: &mut Meter<'_>,
        session: &mut Session,
        sql: Arc<str>,
        types: &[PgTypeInfo],
        doing: &str,
    ) -> Result<Arc<Plan>, OriginError> {
        // PREPARE, the query for the columns' tables, and those for types.
        meter.pass(2 + LOOKUPS_AHEAD + session.around()).await?;
        let limit = self.statement_timeout + GRACE;
        session.begin(doing, limit).await?;
        let prepare = session
            .connection
            .prepare_with(AssertSqlSafe(Arc::clone(&sql)).into_sql_str(), types);
        let statement = match tokio::time::timeout(limit, prepare).await {
            Ok(Ok(statement)) => statement,
            Ok(Err(error)) => return Err(OriginError::from_driver(doing, error)),
            Err(_) => return Err(OriginError::transient(doing, NoAnswer(limit))),
        };
        session.end(doing, limit).await?;
        let lookups = lookups_of(&statement);
        let unpaid = lookups.saturating_sub(LOOKUPS_AHEAD);
        meter.pay(unpaid + lookups).await?;
        session.prepared.insert(Arc::clone(&sql));
        let plan =
            Plan::new(sql, &statement).map_err(|error| OriginError::permanent(doing, error))?;
        Ok(Arc::new(plan))
    }

    /// A new session, for which room is made among the idle ones.
    async fn open(
        &self,
        meter: &mut Meter<'_>,
        statement_timeout: Duration,
    ) -> Result<Session, OriginError> {
        let lease = self.idle.make_room();
        self.doors.open(meter, statement_timeout, lease).await
    }

    /// A session for a load.
    async fn session(&self, meter: &mut Meter<'_>) -> Result<Session, OriginError> {
        match self.idle.take() {
            Some(session) => Ok(session),
            None => {
                let _setting_up = self.setting_up.begin();
                self.open(meter, self.statement_timeout).await
            }
        }
    }

    fn give_back(&self, session: Option<Session>) {
        if let Some(session) = session
            && session.prepared.len() < STATEMENTS_MAX
        {
            self.idle.give_back(session);
        }
    }

    fn plans(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Arc<Plan>>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn doing_prepare(loader: &LoaderSpec) -> String {
    format!("prepare the query of loader {:?}", loader.name.as_str())
}

/// What a loader needs besides a session, where its prepared query can answer keys.
fn recipe_of(
    plan: Arc<Plan>,
    loader: &LoaderSpec,
    query: &Rewritten,
    doing: &str,
) -> Result<Recipe, OriginError> {
    let keys = Keys::new(&plan.parameters, query.placeholder, query.parts);
    let keys = keys.map_err(|error| OriginError::permanent(doing, error))?;
    // PostgreSQL spells names exactly; the query's own were folded when it was rewritten.
    let names = plan.names();
    let key_columns = super::key_columns(loader, query, &names, Dialect::Postgres);
    let key_columns = key_columns.map_err(|error| OriginError::permanent(doing, error))?;
    let encoder = Encoder::new(loader, &names, Dialect::Postgres);
    let encoder = encoder.map_err(|error| OriginError::permanent(doing, error))?;
    Ok(Recipe {
        plan,
        keys,
        placeholder: query.placeholder,
        key_columns,
        encoder,
    })
}
