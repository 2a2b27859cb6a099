//! Sessions behind a pooler that lends a server's connection for a transaction only, as PgBouncer does with
//! `pool_mode = transaction`: the next statement may come to another server's session.
//!
//! So nothing is left to the session. What is sent at a time is one transaction, that begins by setting its own timeout and
//! only reads. Loads and key sources use the unnamed statement once the driver knows its types (its look-ups would replace it);
//! what has a name is closed before the transaction ends, so that the names are another client's then, whatever the pooler's
//! `max_prepared_statements` is. A session in which something fails is closed: the pooler then
//! closes the server's, which is in a transaction.

use std::time::Duration;

use sqlx::{AssertSqlSafe, Connection as _, Executor as _};

use super::session::Session;
use crate::origin::error::{NoAnswer, OriginError};

/// What surrounds a query: `BEGIN`, `SET LOCAL`, `COMMIT`.
const AROUND: u32 = 3;

impl Session {
    /// How many statements [`begin`](Session::begin) and [`end`](Session::end) send. Their tokens are taken with those of what
    /// is sent between them, so that no transaction waits for one.
    pub(super) const fn around(&self) -> u32 {
        match self.pooled {
            Some(_) => AROUND,
            None => 0,
        }
    }

    /// Begins what is sent at a time, with `limit` for the pooler to find a server's connection. Without a pooler there is nothing
    /// to do.
    pub(super) async fn begin(&mut self, doing: &str, limit: Duration) -> Result<(), OriginError> {
        let Some(statement_timeout) = self.pooled else {
            return Ok(());
        };
        let millis = statement_timeout.as_millis().max(1);
        let begin = format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {millis}");
        let begin = self.connection.execute(sqlx::raw_sql(AssertSqlSafe(begin)));
        within(doing, limit, begin).await.map(drop)
    }

    /// Ends it.
    pub(super) async fn end(&mut self, doing: &str, limit: Duration) -> Result<(), OriginError> {
        if self.pooled.is_none() {
            return Ok(());
        }
        let ending = async {
            self.connection.clear_cached_statements().await?;
            self.connection.execute(sqlx::raw_sql("COMMIT")).await
        };
        within(doing, limit, ending).await.map(drop)
    }
}

async fn within<T>(
    doing: &str,
    limit: Duration,
    call: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, OriginError> {
    match tokio::time::timeout(limit, call).await {
        Ok(done) => done.map_err(|error| OriginError::from_driver(doing, error)),
        Err(_) => Err(OriginError::transient(doing, NoAnswer(limit))),
    }
}
