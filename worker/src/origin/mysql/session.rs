//! One session: a connection, and the one statement that makes it ours.
//!
//! Whether the server is MySQL or MariaDB, and of which version, it finds out itself: each executes its own of two comments.
//! One that is too old for both has no value for `autocommit`, and refuses the whole statement: without a statement timeout
//! nothing is asked.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use sqlx::Connection as _;
use sqlx::mysql::MySqlConnection;

use crate::origin::idle::Lease;

/// How many different statements a connection may have prepared. It is closed when it reaches this: the driver would
/// begin to forget some, and prepare them again without a token.
pub(super) const STATEMENTS_MAX: usize = 256;
/// How long the server keeps a session that nobody uses, at least: longer than we do.
const IDLE_SECONDS_MIN: u64 = 120;

/// A connection, and which queries it has prepared.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: MySqlConnection,
    pub(super) prepared: HashSet<Arc<str>>,
    pub(super) _lease: Lease,
}

impl Session {
    /// Takes leave and closes the connection. Nobody waits: a few bytes go into the socket's buffer at once, or not at all.
    pub(super) fn leave(self) {
        let _ = self.connection.close().now_or_never();
    }
}

/// The statement that sets a session up, in which the server ends a query after `statement_timeout`.
///
/// - Texts are UTF-8, and timestamps UTC.
/// - Strings are as the lexer of queries has them: no `ANSI_QUOTES`, no `NO_BACKSLASH_ESCAPES`.
/// - Each statement is a transaction of its own, whatever the server's default: it would else see the rows of long ago. It only
///   reads: nothing that fills a cache has to write, and a query that tries is a mistake.
/// - Waiting for a table that is being altered counts like running; the server waits for a reader that takes its time, and does
///   not hang up before we do.
pub(super) fn settings(statement_timeout: Duration) -> String {
    let millis = statement_timeout.as_millis();
    let seconds = statement_timeout.as_secs_f64();
    let whole_seconds = millis.div_ceil(1000).max(1);
    let reader_seconds = whole_seconds + 60;
    format!(
        "SET NAMES utf8mb4, time_zone = '+00:00', \
         sql_mode = REPLACE(REPLACE(REPLACE(@@sql_mode, 'ANSI_QUOTES', ''), 'ANSI', ''), 'NO_BACKSLASH_ESCAPES', ''), \
         lock_wait_timeout = {whole_seconds}, \
         net_write_timeout = GREATEST(@@net_write_timeout, {reader_seconds}), \
         wait_timeout = GREATEST(@@wait_timeout, {IDLE_SECONDS_MIN}), \
         autocommit = \
         /*M!100101 1, SESSION tx_read_only = 1, SESSION max_statement_time = {seconds:.3} */\
         /*!50720 1, SESSION transaction_read_only = 1, SESSION max_execution_time = {millis} */"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_finds_the_timeout_in_its_own_unit() {
        let set = settings(Duration::from_millis(1500));
        for part in [
            "/*M!100101 1, SESSION tx_read_only = 1, SESSION max_statement_time = 1.500 */",
            "/*!50720 1, SESSION transaction_read_only = 1, SESSION max_execution_time = 1500 */",
            "lock_wait_timeout = 2,",
            "net_write_timeout = GREATEST(@@net_write_timeout, 62)",
        ] {
            assert!(set.contains(part), "{set}");
        }
        assert!(settings(Duration::from_millis(1)).contains("max_statement_time = 0.001 "));
    }
}
