//! Statements of scans. Places are canonical texts, as keys have them; of the types that keys may have but ENUM, and of times and
//! fractions.

use std::borrow::Cow;
use std::sync::Arc;

use futures::TryStreamExt as _;
use sqlx::AssertSqlSafe;
use sqlx::error::BoxDynError;
use sqlx::mysql::{MySqlArguments, MySqlDatabaseError};

use super::columns::{Columns, ReadRow};
use super::key::Parameter;
use super::plan::{Plan, QueryError};
use super::session::Session;
use super::{Engine, GRACE};
use crate::origin::encode::Row as _;
use crate::origin::error::{NoAnswer, OriginError, ends_connections};
use crate::origin::meter::Meter;
use crate::origin::rewrite::Dialect;
use crate::origin::scan::{Reader, Statement, Taken};
use crate::origin::sheet::Reason;

impl Engine {
    pub(in crate::origin) async fn scan(
        &self,
        meter: &mut Meter<'_>,
        statement: &Statement<'_>,
        taken: &mut Taken,
    ) -> Result<(), OriginError> {
        let doing = statement.doing.as_str();
        let (mut session, plan) = self.planned(meter, statement).await?;
        if plan.parameters != statement.bounds.len() {
            let (found, written) = (plan.parameters, statement.bounds.len());
            return Err(OriginError::permanent(
                doing,
                QueryError::Count { found, written },
            ));
        }
        // The columns' types say how places are sent, whatever rows say of them.
        let parameters = parameters(statement, &plan.columns)?;
        if let [parameter] = parameters.as_slice() {
            taken.places = parameter.places();
        }
        let arguments = arguments(statement, &parameters);
        let arguments = arguments.map_err(|error| OriginError::permanent(doing, error))?;
        let known = session.prepared.contains(statement.sql.as_str());
        let statements = if known { 1 } else { 2 };
        if let Err(stopped) = meter.pass_expecting(statements, statement.rows).await {
            self.give_back(Some(session));
            return Err(stopped.into());
        }
        let limit = self.statement_timeout + GRACE;
        let receiving = receive(
            meter,
            &mut session,
            statement,
            &parameters,
            arguments,
            taken,
        );
        match tokio::time::timeout(limit, receiving).await {
            Ok(Ok(())) => {}
            Ok(Err(Interrupted::Row(error))) => return Err(error),
            Ok(Err(Interrupted::Driver(error))) => {
                self.plans().remove(statement.sql.as_str());
                let said = error.as_database_error();
                let said = said.and_then(|said| said.try_downcast_ref::<MySqlDatabaseError>());
                if said.is_none_or(ends_connections) {
                    self.idle.close_all();
                }
                return Err(OriginError::from_driver(doing, error));
            }
            Err(_) => return Err(OriginError::transient(doing, NoAnswer(limit))),
        }
        if !taken.is_full() {
            // Else rows are still on their way, and the connection is closed.
            session.prepared.insert(statement.sql.as_str().into());
            self.give_back(Some(session));
        }
        Ok(())
    }

    /// A session, and what is known of the statement.
    async fn planned(
        &self,
        meter: &mut Meter<'_>,
        statement: &Statement<'_>,
    ) -> Result<(Session, Arc<Plan>), OriginError> {
        let sql = &statement.sql;
        let known = self.plans().get(sql).cloned();
        if let Some(plan) = known {
            return Ok((self.session(meter).await?, plan));
        }
        let _setting_up = self.setting_up.begin();
        let mut session = self.session(meter).await?;
        let plan = self
            .plan(meter, &mut session, sql, &statement.doing)
            .await?;
        self.remember(sql, &plan);
        Ok((session, plan))
    }
}

/// Why rows stopped coming.
enum Interrupted {
    Driver(sqlx::Error),
    Row(OriginError),
}

fn reader(statement: &Statement<'_>, columns: &Columns) -> Result<Reader, OriginError> {
    let reader = Reader::new(statement.reads, &columns.names(), Dialect::MySql);
    reader.map_err(|error| OriginError::permanent(statement.doing.as_str(), error))
}

/// What the parts of places are compared with.
fn parameters(statement: &Statement<'_>, columns: &Columns) -> Result<Vec<Parameter>, OriginError> {
    let reader = reader(statement, columns)?;
    let parameters = reader
        .places()
        .map(|column| Parameter::of_column(columns.get(column)))
        .collect::<Result<_, _>>();
    parameters.map_err(|error| OriginError::permanent(statement.doing.as_str(), error))
}

/// The bounds as arguments. A text that is no value of its column's type was none of this scan's places.
fn arguments(
    statement: &Statement<'_>,
    parameters: &[Parameter],
) -> Result<MySqlArguments, BoxDynError> {
    let mut arguments = MySqlArguments::default();
    for bound in &statement.bounds {
        if let Some(parameter) = parameters.get(bound.part) {
            let text = parameter.canonical(&bound.text)?;
            parameter.add(&text, &mut arguments)?;
        }
    }
    Ok(arguments)
}

async fn receive(
    meter: &mut Meter<'_>,
    session: &mut Session,
    statement: &Statement<'_>,
    parameters: &[Parameter],
    arguments: MySqlArguments,
    taken: &mut Taken,
) -> Result<(), Interrupted> {
    let permanent = |error| Interrupted::Row(error);
    let query = sqlx::query_with(AssertSqlSafe(statement.sql.clone()), arguments);
    let mut rows = query.fetch(&mut session.connection);
    // Types that an expression has are certain only now.
    let mut found: Option<(Columns, Reader)> = None;
    while !taken.is_full()
        && let Some(row) = rows.try_next().await.map_err(Interrupted::Driver)?
    {
        meter.count_row();
        let (columns, reader) = match &mut found {
            Some(found) => found,
            none => {
                let columns = Columns::of_row(&row).map_err(|error| {
                    permanent(OriginError::permanent(statement.doing.as_str(), error))
                })?;
                let reader = reader(statement, &columns).map_err(permanent)?;
                none.insert((columns, reader))
            }
        };
        let place = |row: &ReadRow<'_>, part: usize, column| -> Result<String, Reason> {
            let text = row.text_of(column)?.unwrap_or_default();
            match parameters.get(part) {
                Some(parameter) => parameter.canonical(&text).map(Cow::into_owned),
                None => Ok(text),
            }
        };
        let read = reader.read(&columns.read(&row), place, taken);
        read.map_err(|error| permanent(OriginError::permanent(statement.doing.as_str(), error)))?;
    }
    Ok(())
}
