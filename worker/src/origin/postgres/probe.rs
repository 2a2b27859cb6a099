//! Probes and canaries. Their queries are sent as they are, in one message: nothing is prepared, and no type looked up, so
//! each is one statement.

use std::time::Duration;

use futures::TryStreamExt as _;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row as _, TypeInfo as _, ValueRef as _};

use super::session::Session;
use super::{Engine, GRACE};
use crate::origin::error::{NoAnswer, OriginError};
use crate::origin::meter::Meter;
use crate::origin::probe::{ProbeFault, finite};

impl Engine {
    /// The number that a probe's query gives. The database ends it after `time`, or after the statement timeout where that is
    /// shorter; for a shorter time it needs a connection of its own, which is closed again.
    pub(in crate::origin) async fn probe(
        &self,
        meter: &mut Meter<'_>,
        query: &str,
        time: Duration,
    ) -> Result<f64, ProbeFault> {
        let shares = time >= self.statement_timeout;
        let mut session = if shares {
            self.session(meter).await?
        } else {
            self.open(meter, time).await?
        };
        const DOING: &str = "run the probe's query";
        let limit = self.statement_timeout + GRACE;
        meter
            .pass(1 + session.around())
            .await
            .map_err(OriginError::from)?;
        session.begin(DOING, limit).await?;
        // Where this fails, its connection is closed: what may still come on it is of no use.
        let number = number(meter, &mut session, query).await?;
        session.end(DOING, limit).await?;
        self.give_back(Some(session).filter(|_| shares));
        Ok(number)
    }

    /// Sends a canary, and takes whatever comes.
    pub(in crate::origin) async fn canary(
        &self,
        meter: &mut Meter<'_>,
        query: &str,
    ) -> Result<(), OriginError> {
        const DOING: &str = "send a canary";
        let mut session = self.session(meter).await?;
        meter.pass(1 + session.around()).await?;
        let limit = self.statement_timeout + GRACE;
        session.begin(DOING, limit).await?;
        let mut rows =
            sqlx::raw_sql(AssertSqlSafe(query.to_owned())).fetch(&mut session.connection);
        let taking = async {
            while let Some(_row) = rows.try_next().await? {
                meter.count_row();
            }
            Ok::<(), sqlx::Error>(())
        };
        match tokio::time::timeout(limit, taking).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(OriginError::from_driver(DOING, error)),
            Err(_) => return Err(OriginError::transient(DOING, NoAnswer(limit))),
        }
        drop(rows);
        session.end(DOING, limit).await?;
        self.give_back(Some(session));
        Ok(())
    }
}

pub(super) async fn number(
    meter: &mut Meter<'_>,
    session: &mut Session,
    query: &str,
) -> Result<f64, ProbeFault> {
    let driver = |error| OriginError::from_driver("run the probe's query", error);
    let mut rows = sqlx::raw_sql(AssertSqlSafe(query.to_owned())).fetch(&mut session.connection);
    let Some(row) = rows.try_next().await.map_err(driver)? else {
        return Err(ProbeFault::NoRow);
    };
    meter.count_row();
    let number = number_of(&row)?;
    if rows.try_next().await.map_err(driver)?.is_some() {
        return Err(ProbeFault::Rows);
    }
    Ok(number)
}

/// The number in a row of texts.
fn number_of(row: &PgRow) -> Result<f64, ProbeFault> {
    if row.len() != 1 {
        return Err(ProbeFault::Columns(row.len()));
    }
    let malformed =
        |error: sqlx::Error| OriginError::from_driver("read what the probe's query gave", error);
    let value = row.try_get_raw(0).map_err(malformed)?;
    let ty = value.type_info().name().to_ascii_lowercase();
    if value.is_null() {
        return Err(ProbeFault::Null);
    }
    let text = value
        .as_str()
        .map_err(sqlx::Error::Decode)
        .map_err(malformed)?;
    match ty.as_str() {
        "bool" => Ok(f64::from(u8::from(text == "t"))),
        "int2" | "int4" | "int8" | "float4" | "float8" | "numeric" => {
            // NaN and Infinity are numbers to PostgreSQL, and to the parser.
            let number = text.parse().map_err(|_| ProbeFault::NotANumber(ty))?;
            finite(number)
        }
        _ => Err(ProbeFault::NotANumber(ty)),
    }
}
