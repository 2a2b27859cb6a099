//! Statements of scans. Values have the type that is stored, and columns may have none: so a place is a number or a text as
//! JSON has them, and is sent as what it is.

use futures::TryStreamExt as _;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, AssertSqlSafe};

use super::session::Session;
use super::value::ReadRow;
use super::{Engine, GRACE, columns};
use crate::origin::encode::{Row as _, Scalar};
use crate::origin::error::{NoAnswer, OriginError};
use crate::origin::meter::Meter;
use crate::origin::rewrite::Dialect;
use crate::origin::scan::{Places, Reader, Statement, Taken};
use crate::origin::sheet::Reason;

/// A place that none of ours has made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no number and no text as JSON has them")]
struct NoPlace(String);

impl Engine {
    pub(in crate::origin) async fn scan(
        &self,
        meter: &mut Meter<'_>,
        statement: &Statement<'_>,
        taken: &mut Taken,
    ) -> Result<(), OriginError> {
        let doing = statement.doing.as_str();
        let mut session = self.session(meter).await?;
        let columns = columns(&mut session, &statement.sql).await;
        let columns = columns.map_err(|error| OriginError::from_driver(doing, error))?;
        let reader = Reader::new(statement.reads, &columns, Dialect::Sqlite);
        let reader = reader.map_err(|error| OriginError::permanent(doing, error))?;
        let mut arguments = SqliteArguments::default();
        for bound in &statement.bounds {
            add(&bound.text, &mut arguments)
                .ok_or_else(|| OriginError::permanent(doing, NoPlace((*bound.text).to_owned())))?;
        }
        meter.pass_expecting(1, statement.rows).await?;
        session.begin(self.statement_timeout);
        let limit = self.statement_timeout + GRACE;
        let receiving = receive(meter, &mut session, statement, reader, arguments, taken);
        match tokio::time::timeout(limit, receiving).await {
            Ok(received) => received?,
            Err(_) => return Err(OriginError::transient(doing, NoAnswer(limit))),
        }
        let is_number = |at: &str| at.parse::<i64>().is_ok();
        if !taken.rows.is_empty() && taken.rows.iter().all(|row| is_number(&row.at)) {
            taken.places = Places::Integers;
        }
        session.end();
        if !taken.is_full() {
            self.idle.give_back(session);
        }
        Ok(())
    }
}

async fn receive(
    meter: &mut Meter<'_>,
    session: &mut Session,
    statement: &Statement<'_>,
    mut reader: Reader,
    arguments: SqliteArguments,
    taken: &mut Taken,
) -> Result<(), OriginError> {
    let doing = statement.doing.as_str();
    let query = sqlx::query_with(AssertSqlSafe(statement.sql.clone()), arguments);
    let mut rows = query.fetch(&mut session.connection);
    while !taken.is_full()
        && let Some(row) = rows
            .try_next()
            .await
            .map_err(|error| OriginError::from_driver(doing, error))?
    {
        meter.count_row();
        let read = reader.read(&ReadRow(&row), place, taken);
        read.map_err(|error| OriginError::permanent(doing, error))?;
    }
    Ok(())
}

fn place(row: &ReadRow<'_>, _part: usize, column: usize) -> Result<String, Reason> {
    if let Scalar::Bytes(_) = row.scalar(column)? {
        return Err("it is a blob: select hex(…) of it, and scan by that".into());
    }
    let mut json = Vec::new();
    row.json(column, &mut json)?;
    String::from_utf8(json).map_err(|_| "it is not UTF-8".into())
}

/// Adds a place as an argument; `None` where it is none.
fn add(place: &str, arguments: &mut SqliteArguments) -> Option<()> {
    let json: serde_json::Value = serde_json::from_str(place).ok()?;
    let added = match json {
        serde_json::Value::String(text) => arguments.add(text),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(integer) => arguments.add(integer),
            // What JSON's own reader makes of it may be another number, in its last digit.
            None => arguments.add(place.parse::<f64>().ok()?),
        },
        _ => return None,
    };
    added.ok()
}
