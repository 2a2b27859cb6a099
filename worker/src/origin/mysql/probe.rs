//! Probes and canaries. Their queries are sent as they are, in one message: nothing is prepared, so each is one statement. The
//! protocol would take several at once, and run each: more than one token pays for.

use std::time::Duration;

use futures::TryStreamExt as _;
use sqlx::mysql::{MySql, MySqlRow};
use sqlx::{AssertSqlSafe, Decode, Row as _, TypeInfo as _, ValueRef as _};

use super::kind::Kind;
use super::session::Session;
use super::{Engine, GRACE, number};
use crate::origin::error::{NoAnswer, OriginError};
use crate::origin::meter::Meter;
use crate::origin::probe::{ProbeFault, finite};
use crate::origin::rewrite::{Dialect, refuse_several};

impl Engine {
    /// The number that a probe's query gives. The database ends it after `time`, or after the statement timeout where that is
    /// shorter; for a shorter time it needs a connection of its own, which is closed again.
    pub(in crate::origin) async fn probe(
        &self,
        meter: &mut Meter<'_>,
        query: &str,
        time: Duration,
    ) -> Result<f64, ProbeFault> {
        const DOING: &str = "run the probe's query";
        alone(query, DOING)?;
        let shares = time >= self.statement_timeout;
        let mut session = if shares {
            self.session(meter).await?
        } else {
            self.open(meter, time).await?
        };
        meter.pass(1).await.map_err(OriginError::from)?;
        // Where this fails, its connection is closed: what may still come on it is of no use.
        let number = reading(meter, &mut session, query, DOING).await?;
        if shares {
            self.give_back(Some(session));
        } else {
            session.leave();
        }
        Ok(number)
    }

    /// Sends a canary, and takes whatever comes.
    pub(in crate::origin) async fn canary(
        &self,
        meter: &mut Meter<'_>,
        query: &str,
    ) -> Result<(), OriginError> {
        const DOING: &str = "send a canary";
        alone(query, DOING)?;
        let mut session = self.session(meter).await?;
        meter.pass(1).await?;
        let limit = self.statement_timeout + GRACE;
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
        self.give_back(Some(session));
        Ok(())
    }
}

fn alone(query: &str, doing: &str) -> Result<(), OriginError> {
    refuse_several(query, Dialect::MySql).map_err(|error| OriginError::permanent(doing, error))
}

async fn reading(
    meter: &mut Meter<'_>,
    session: &mut Session,
    query: &str,
    doing: &str,
) -> Result<f64, ProbeFault> {
    let driver = |error| OriginError::from_driver(doing, error);
    let mut rows = sqlx::raw_sql(AssertSqlSafe(query.to_owned())).fetch(&mut session.connection);
    let Some(row) = rows.try_next().await.map_err(driver)? else {
        return Err(ProbeFault::NoRow);
    };
    meter.count_row();
    let number = number_of(&row, doing)?;
    if rows.try_next().await.map_err(driver)?.is_some() {
        return Err(ProbeFault::Rows);
    }
    Ok(number)
}

/// The number in a row of texts, in which only bits are not written out.
fn number_of(row: &MySqlRow, doing: &str) -> Result<f64, ProbeFault> {
    if row.len() != 1 {
        return Err(ProbeFault::Columns(row.len()));
    }
    let malformed = |error: sqlx::Error| OriginError::from_driver(doing, error);
    let value = row.try_get_raw(0).map_err(malformed)?;
    let ty = value.type_info().into_owned();
    let kind = Kind::of(&ty);
    let not_a_number = || ProbeFault::NotANumber(ty.name().to_ascii_lowercase());
    let Ok(bytes) = <&[u8] as Decode<MySql>>::decode(value) else {
        return Err(ProbeFault::Null);
    };
    let mut text = Vec::new();
    match kind {
        Some(Kind::Bit) => number::bit(bytes, &mut text).map_err(|_| not_a_number())?,
        Some(Kind::Integer(_) | Kind::Year | Kind::Decimal | Kind::Float | Kind::Double) => {
            text.extend_from_slice(bytes);
        }
        _ => return Err(not_a_number()),
    }
    let text = std::str::from_utf8(&text).map_err(|_| not_a_number())?;
    finite(text.parse().map_err(|_| not_a_number())?)
}
