//! Origins in MySQL (5.7.20 and later) and MariaDB (10.1.1 and later). Tested with MariaDB; what is said of MySQL alone is its
//! manual's.
//!
//! # What is sent, and what it costs
//!
//! | what | statements | tokens |
//! |---|---|---|
//! | a new connection: the login, and one `SET` for all of the session | 1 | 2 |
//! | a look whether the database lets us in: the login alone | 0 | 1 |
//! | the first time an origin sees a loader's query: `COM_STMT_PREPARE`, for a single key | 1 | 1 |
//! | the first time a connection runs a query with lists of this length: `COM_STMT_PREPARE` and `COM_STMT_EXECUTE` | 2 | 2 |
//! | running it again | 1 | 1 |
//! | a key source: `COM_STMT_PREPARE` and `COM_STMT_EXECUTE`, on a connection of its own | 2 | 2 |
//! | a probe or a canary: `COM_QUERY` | 1 | 1 |
//! | a replica's lag: `SHOW REPLICA STATUS` (one more, once, where only `SHOW SLAVE STATUS` is known) | 1 | 1 |
//!
//! All that the driver would send on its own after connecting (`SET sql_mode`, `time_zone`, `NAMES`) is switched off, and
//! part of the one `SET`: see `session`. The driver never forgets a statement and prepares it again: a connection that has
//! prepared [`STATEMENTS_MAX`] of them is closed.
//!
//! # Lists
//!
//! MySQL has no array parameters: `IN (:keys)` is a list of parameters, and lists of different lengths are different
//! statements. A list is padded with its last key to the next power of two, or to the loader's `batch-keys` where that is
//! less: so a loader has at most log₂(`batch-keys`) + 2 statements on a connection. Keys of several parts are
//! `(a = ? AND b = ?) OR …`, padded in the same way.
//!
//! # Values
//!
//! Rows travel in the binary protocol and are written as JSON here; the text of a key source's columns is the same without
//! quotes.
//!
//! | type | JSON |
//! |---|---|
//! | `TINYINT` to `BIGINT`, signed or not; `YEAR` | a number, with all its digits |
//! | `BOOL`, which is `TINYINT(1)` | a number: 0 or 1, or whatever else the column holds |
//! | `BIT` | its number |
//! | `DECIMAL` | a number, with all the digits of its scale |
//! | `FLOAT`, `DOUBLE` | a number, of the fewest digits that read back as the same |
//! | `CHAR`, `VARCHAR`, `TEXT` of all sizes, `ENUM`, `SET` | a text |
//! | `BINARY`, `VARBINARY`, `BLOB` of all sizes | `"\\x…"` in hexadecimal, as PostgreSQL's `bytea` |
//! | `JSON` of MySQL | itself |
//! | `JSON` of MariaDB, where it is another name of `LONGTEXT` | a text |
//! | `UUID`, `INET4`, `INET6` of MariaDB | a text |
//! | `DATE` | `"2024-02-29"` |
//! | `DATETIME` | `"2024-02-29T12:00:00.5"`, without zeros behind the last digit of the second |
//! | `TIMESTAMP` | `"2024-02-29T12:00:00+00:00"`: sessions have the time zone UTC |
//! | `TIME` | `"-838:59:59"` |
//! | zero dates | `"0000-00-00"`, `"0000-00-00T00:00:00"`: what they mean, only the application knows |
//! | `GEOMETRY` and its kinds | none: a query with one is refused when it is prepared |
//!
//! # What collations do to keys
//!
//! Most of MySQL's collations ignore case and trailing spaces: `WHERE sku IN ('ABC')` finds `abc`. Rows answer keys by the
//! very text, so such a row is one that nobody asked for: it is left out, and `ABC` fails with that reason rather than being
//! called absent. Where both were asked, `abc` gets its row and `ABC` is absent. To have them told apart by the database,
//! let the column have a `_bin` collation. (Spaces at the end of a `CHAR` do not count, here as there.)
//!
//! A key with characters that the column's character set has not (`😀` in a `latin1` or `utf8mb3` column) would fail its whole
//! batch: the batch is asked in parts until that key is alone, and fails alone.
//!
//! One key at a time, without a key-column, is sent as a text, whatever it is compared with: MySQL reads "12abc" as 12 where that
//! is a number. With a key-column such a key is refused.
//!
//! # Whose client has gone
//!
//! Dropping a load closes its connection, without taking leave: the server counts it in `Aborted_clients`, and may log it. It
//! notices when it writes rows, not before: a query that computes goes on until `max_statement_time` (MariaDB) or
//! `max_execution_time` (MySQL, of queries that only read), which is the origin's statement timeout. Seen with MariaDB 10.11:
//! of two queries whose clients went after 2 s, one that counted went on to its 7 s, and one that gave a row each millisecond
//! ended in its fifth second, when its first rows were sent.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::Connection as _;

mod ask;
mod batches;
mod columns;
mod doors;
mod key;
mod keys;
mod kind;
mod lag;
mod number;
mod plan;
mod probe;
mod rank;
mod scan;
mod session;
mod time;
mod value;

use self::batches::Batches;
use self::doors::Doors;
use self::plan::{Plan, doing_prepare, recipe_of};
use self::session::{STATEMENTS_MAX, Session};
use super::error::OriginError;
use super::idle::Idle;
use super::meter::Meter;
use super::rewrite::Rewritten;
use super::setting_up::SettingUps;
use super::sheet::{RowsPerKey, Sheet};
use crate::catalog::{LoaderSpec, OriginConfig};

/// How much longer than the statement timeout we wait for an answer: where none comes, the network is gone.
const GRACE: Duration = Duration::from_secs(5);

/// A MySQL or MariaDB database.
#[derive(Debug)]
pub(super) struct Engine {
    doors: Doors,
    idle: Idle<Session>,
    /// By the query for a single key.
    plans: Mutex<HashMap<String, Arc<Plan>>>,
    statement_timeout: Duration,
    source_timeout: Duration,
    /// How many loads set up a connection or a query.
    setting_up: SettingUps,
    /// Whether it knows only the old word for replicas.
    says_slave: AtomicBool,
}

impl Engine {
    pub(super) fn new(config: &OriginConfig) -> Result<Self, OriginError> {
        let doing = || format!("use the URL of origin {:?}", config.name.as_str());
        Ok(Self {
            doors: Doors::new(config).map_err(|error| OriginError::permanent(doing(), error))?,
            idle: Idle::closing_by(Session::leave),
            plans: Mutex::default(),
            statement_timeout: config.statement_timeout,
            source_timeout: config.source_timeout,
            setting_up: SettingUps::default(),
            says_slave: AtomicBool::default(),
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
        let _lease = self.idle.make_room();
        let connection = self.doors.enter(meter).await?;
        // It was let in: how it takes its leave says nothing.
        let _ = tokio::time::timeout(GRACE, connection.close()).await;
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
            .plan(meter, &mut session, &query.sql, &doing)
            .await
            .inspect_err(|_| {
                self.plans().remove(&query.sql);
            })?;
        self.remember(&query.sql, &plan);
        self.give_back(Some(session));
        recipe_of(&plan, loader, query, &doing).map(drop)
    }

    pub(super) async fn load<'k>(
        &self,
        meter: &mut Meter<'_>,
        loader: &LoaderSpec,
        query: &Rewritten,
        keys: &[&'k str],
    ) -> Result<Sheet<'k>, OriginError> {
        let (mut held, recipe) = self.recipe(meter, loader, query).await?;
        let rows = RowsPerKey::of(loader);
        let mut sheet = Sheet::new(keys, rows, |key| recipe.keys.canonical(key));
        let mut batches = Batches::new(&sheet.to_ask(), recipe.batch_keys);
        while let Some(batch) = batches.next() {
            let mut session = match held.take() {
                Some(session) => session,
                None => self.session(meter).await?,
            };
            match self
                .ask(meter, &mut session, loader, &recipe, &batch, &mut sheet)
                .await
            {
                Ok(()) => held = Some(session),
                Err(failed) if failed.mixes_character_sets && batches.part(batch, &mut sheet) => {
                    held = Some(session);
                }
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
        match session {
            Some(session) if session.prepared.len() < STATEMENTS_MAX => {
                self.idle.give_back(session)
            }
            Some(session) => session.leave(),
            None => {}
        }
    }

    fn plans(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Plan>>> {
        self.plans.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
