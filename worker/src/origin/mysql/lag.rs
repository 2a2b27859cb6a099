//! How far a replica lags, as it says itself.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures::TryStreamExt as _;
use sqlx::mysql::{MySql, MySqlDatabaseError, MySqlRow};
use sqlx::{Column as _, Decode, Row as _};

use super::Engine;
use super::session::Session;
use crate::origin::error::{NoAnswer, OriginError};
use crate::origin::meter::Meter;

const DOING: &str = "ask for the replica's lag";
/// The statement since MySQL 8.0.22 and MariaDB 10.5.1, and the one before, which MySQL 8.4 has no more.
const STATEMENTS: [&str; 2] = ["SHOW REPLICA STATUS", "SHOW SLAVE STATUS"];
/// The column, as MySQL 8.0.22 and later call it, and all others.
const COLUMNS: [&str; 2] = ["Seconds_Behind_Source", "Seconds_Behind_Master"];
/// A syntax error.
const NOT_KNOWN: u16 = 1064;

impl Engine {
    /// Its lag in seconds: -1 where it is no replica, the longest where it has several sources; `None` where it does not know,
    /// for replication has stopped. It needs REPLICATION CLIENT, in MariaDB since 10.5.9 REPLICA MONITOR.
    pub(in crate::origin) async fn lag(
        &self,
        meter: &mut Meter<'_>,
        time: Duration,
    ) -> Result<Option<f64>, OriginError> {
        let mut session = self.session(meter).await?;
        loop {
            let old = self.says_slave.load(Relaxed);
            meter.pass(1).await?;
            let asked = rows(&mut session, STATEMENTS[usize::from(old)]);
            let rows = match tokio::time::timeout(time, asked).await {
                Ok(Ok(rows)) => rows,
                Ok(Err(error)) if !old && is_not_known(&error) => {
                    self.says_slave.store(true, Relaxed);
                    continue;
                }
                Ok(Err(error)) => return Err(OriginError::from_driver(DOING, error)),
                Err(_) => return Err(OriginError::transient(DOING, NoAnswer(time))),
            };
            for _ in &rows {
                meter.count_row();
            }
            self.give_back(Some(session));
            return Ok(longest(rows.iter().map(behind)));
        }
    }
}

async fn rows(session: &mut Session, sql: &'static str) -> Result<Vec<MySqlRow>, sqlx::Error> {
    let rows = sqlx::raw_sql(sql).fetch(&mut session.connection);
    rows.try_collect().await
}

fn is_not_known(error: &sqlx::Error) -> bool {
    let said = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<MySqlDatabaseError>());
    said.is_some_and(|said| said.number() == NOT_KNOWN)
}

/// The seconds in a row; `None` where they are NULL, or not there.
fn behind(row: &MySqlRow) -> Option<f64> {
    let names = || row.columns().iter().map(sqlx::mysql::MySqlColumn::name);
    let column = names().position(|name| COLUMNS.contains(&name))?;
    let value = row.try_get_raw(column).ok()?;
    let bytes = <&[u8] as Decode<MySql>>::decode(value).ok()?;
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Of all sources the longest, -1 where there is none, and nothing where one is not known.
fn longest(all: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let mut longest = -1.0;
    for one in all {
        longest = f64::max(longest, one?);
    }
    Some(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_source_counts_and_one_that_stands_still_is_not_known() {
        assert_eq!(longest([].into_iter()), Some(-1.0));
        assert_eq!(longest([Some(3.0), Some(7.0)].into_iter()), Some(7.0));
        assert_eq!(longest([Some(3.0), None].into_iter()), None);
    }
}
