//! Statements of scans. Places are canonical texts, as keys have them; of the types that keys may have, and of times and fractions.

use std::borrow::Cow;
use std::sync::Arc;

use futures::TryStreamExt as _;
use sqlx::AssertSqlSafe;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgRow};

use super::key::{Parameter, ParameterError};
use super::plan::{Plan, ReadRow};
use super::session::Session;
use super::{Engine, GRACE};
use crate::origin::encode::Row as _;
use crate::origin::error::{NoAnswer, OriginError};
use crate::origin::meter::Meter;
use crate::origin::rewrite::Dialect;
use crate::origin::scan::{Reader, Statement, Taken};
use crate::origin::sheet::Reason;

/// "Cached plan must not change result type": the table was altered after the statement was prepared.
const RESULT_TYPE_CHANGED: &str = "0A000";

/// The columns are not those that were there when the statement was first prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the query's columns have changed since it was prepared")]
struct ColumnsChanged;

impl Engine {
    pub(in crate::origin) async fn scan(
        &self,
        meter: &mut Meter<'_>,
        statement: &Statement<'_>,
        taken: &mut Taken,
    ) -> Result<(), OriginError> {
        let (mut session, plan) = self.planned(meter, statement).await?;
        let permanent = |error| OriginError::permanent(statement.doing.as_str(), error);
        let mut reading = Reading::new(statement, &plan)?;
        if let [parameter] = reading.parameters.as_slice() {
            taken.places = parameter.places();
        }
        if plan.parameters.len() != statement.bounds.len() {
            return Err(permanent(ParameterError::Count {
                found: plan.parameters.len(),
                parts: statement.bounds.len(),
            }));
        }
        let arguments = reading.arguments();
        let arguments =
            arguments.map_err(|error| OriginError::permanent(statement.doing.as_str(), error))?;
        let known = session.prepared.contains(&plan.sql);
        let lookups = if known { 0 } else { plan.lookups };
        // Behind a pooler it is prepared each time.
        let is_prepared = known && session.pooled.is_none();
        let statements = u32::from(!is_prepared) + 1 + lookups + session.around();
        if let Err(stopped) = meter.pass_expecting(statements, statement.rows).await {
            self.give_back(Some(session));
            return Err(stopped.into());
        }
        let limit = self.statement_timeout + GRACE;
        session.begin(&statement.doing, limit).await?;
        let receiving = reading.receive(meter, &mut session, arguments, taken);
        match tokio::time::timeout(limit, receiving).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(self.not_received(statement, &plan, error)),
            Err(_) => {
                let late = NoAnswer(limit);
                return Err(OriginError::transient(statement.doing.as_str(), late));
            }
        }
        if taken.is_full() {
            // Rows are still on their way: the connection is closed.
            return Ok(());
        }
        session.end(&statement.doing, limit).await?;
        session.prepared.insert(Arc::clone(&plan.sql));
        let paid = meter.pay(lookups).await;
        self.give_back(Some(session));
        Ok(paid?)
    }

    /// A session, and what is known of the statement.
    async fn planned(
        &self,
        meter: &mut Meter<'_>,
        statement: &Statement<'_>,
    ) -> Result<(Session, Arc<Plan>), OriginError> {
        let known = self.plans().get(statement.sql.as_str()).cloned();
        if let Some(plan) = known {
            return Ok((self.session(meter).await?, plan));
        }
        let _setting_up = self.setting_up.begin();
        let mut session = self.session(meter).await?;
        let sql = statement.sql.as_str().into();
        let plan = self
            .plan(meter, &mut session, sql, &[], &statement.doing)
            .await?;
        self.remember(&plan);
        Ok((session, plan))
    }

    /// What it means that a statement failed, with whose connection nothing more is done.
    fn not_received(
        &self,
        statement: &Statement<'_>,
        plan: &Plan,
        error: Interrupted,
    ) -> OriginError {
        let doing = statement.doing.as_str();
        let error = match error {
            Interrupted::Row(error) => return error,
            Interrupted::ColumnsChanged => {
                self.plans().remove(&plan.sql);
                return OriginError::transient(doing, ColumnsChanged);
            }
            Interrupted::Driver(error) => error,
        };
        let code = error.as_database_error().and_then(|error| error.code());
        match code.as_deref() {
            Some(RESULT_TYPE_CHANGED) => {
                self.plans().remove(&plan.sql);
                self.idle.close_all();
                OriginError::transient(doing, error)
            }
            Some(code) if !code.starts_with("57P") && !code.starts_with("08") => {
                OriginError::from_driver(doing, error)
            }
            // This connection is dead: the others were probably cut by the same event.
            _ => {
                self.idle.close_all();
                OriginError::from_driver(doing, error)
            }
        }
    }
}

/// Why rows stopped coming.
enum Interrupted {
    Driver(sqlx::Error),
    ColumnsChanged,
    Row(OriginError),
}

struct Reading<'a> {
    statement: &'a Statement<'a>,
    plan: &'a Plan,
    reader: Reader,
    /// What the parts of places are compared with.
    parameters: Vec<Parameter>,
}

impl<'a> Reading<'a> {
    fn new(statement: &'a Statement<'a>, plan: &'a Plan) -> Result<Self, OriginError> {
        let doing = statement.doing.as_str();
        let reader = Reader::new(statement.reads, &plan.names(), Dialect::Postgres);
        let reader = reader.map_err(|error| OriginError::permanent(doing, error))?;
        let parameters = reader
            .places()
            .map(|column| Parameter::of_column(plan.type_of(column)))
            .collect::<Result<_, _>>();
        Ok(Self {
            statement,
            plan,
            parameters: parameters.map_err(|error| OriginError::permanent(doing, error))?,
            reader,
        })
    }

    /// The bounds as arguments. A text that is no value of its column's type was none of this scan's places.
    fn arguments(&self) -> Result<PgArguments, BoxDynError> {
        let mut arguments = PgArguments::default();
        for bound in &self.statement.bounds {
            if let Some(parameter) = self.parameters.get(bound.part) {
                let text = parameter.canonical(&bound.text)?;
                parameter.add([&*text].into_iter(), &mut arguments)?;
            }
        }
        Ok(arguments)
    }

    async fn receive(
        &mut self,
        meter: &mut Meter<'_>,
        session: &mut Session,
        arguments: PgArguments,
        taken: &mut Taken,
    ) -> Result<(), Interrupted> {
        let query = sqlx::query_with(AssertSqlSafe(Arc::clone(&self.plan.sql)), arguments)
            .persistent(session.pooled.is_none() || !session.prepared.contains(&self.plan.sql));
        let mut rows = query.fetch(&mut session.connection);
        let mut first = true;
        while !taken.is_full()
            && let Some(row) = rows.try_next().await.map_err(Interrupted::Driver)?
        {
            meter.count_row();
            if std::mem::take(&mut first) && !self.plan.fits(&row) {
                return Err(Interrupted::ColumnsChanged);
            }
            let place = |row: &ReadRow<'_, PgRow>, part: usize, column| -> Result<String, Reason> {
                let text = row.text_of(column)?.unwrap_or_default();
                match self.parameters.get(part) {
                    Some(parameter) => parameter.canonical(&text).map(Cow::into_owned),
                    None => Ok(text),
                }
            };
            let read = self.reader.read(&self.plan.read(&row), place, taken);
            read.map_err(|error| {
                let doing = self.statement.doing.as_str();
                Interrupted::Row(OriginError::permanent(doing, error))
            })?;
        }
        Ok(())
    }
}
