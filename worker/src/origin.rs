//! Origins: the databases that values are loaded from, and other Redis deployments that keys are copied from.
//!
//! An [`Origin`] runs loaders' queries and key sources' queries, and turns rows into values. It opens connections when it
//! needs them, keeps a few idle ones, and sends nothing without a token: the order is enter, connection, pass, send.
//!
//! Invariants:
//! - Never more statements reach the database than tokens were taken, set-up and the driver's own look-ups included.
//! - A connection whose statement did not end, because its future was dropped or because it failed, is closed.
//! - Every key gets exactly one answer, and a fault in one key or row fails that entry, not its batch.
//!
//! How statements are counted: a token taken is a query counted, in [`Loaded::queries`] for a call that succeeds and in
//! [`Origin::queries`] for all calls; an error carries no count. Left to others: retries, pacing, cache keys.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use stoke_core::names::OriginName;
use tokio::sync::mpsc;

mod decimal;
mod encode;
mod error;
mod expiry;
mod idle;
mod meter;
mod mysql;
mod postgres;
mod probe;
mod redis;
pub mod rewrite;
mod setting_up;
mod sheet;
mod sqlite;
mod versions;

pub use error::{Cause, OriginError};
pub(crate) use postgres::Objects;
pub use probe::ProbeFault;

use crate::catalog::{BATCH_KEYS_MAX, Catalog, LoaderSpec, OriginConfig, RedisOrigin};
use crate::metrics::OriginMetrics;
use crate::permit::Permit;
use crate::source::{Gathered, Rules, SourceRow};
use crate::value::Value;
use crate::vitals::Vitals;
use meter::{Counters, Meter};
use rewrite::{Dialect, Rewritten, rewrite};

/// What became of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What was made of its row, or rows.
    Row(Made),
    /// There is no row for this key.
    Absent,
    /// This key or its row cannot be used, and another attempt will not help.
    Failed {
        /// What is wrong, for people.
        reason: String,
    },
    /// Nothing is known of this key yet, and another attempt may tell.
    Again {
        /// What is wrong, for people.
        reason: String,
    },
}

/// What was made of a key's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The value, in the form that the loader asks for.
    pub value: Value,
    /// When it must be gone, where the loader names a column for that.
    pub expires_at: Option<SystemTime>,
    /// The rows' versions, where the loader names a column for them: the same for the same rows, in whatever order they come.
    pub version: Option<Bytes>,
}

impl From<Value> for Made {
    fn from(value: Value) -> Self {
        Self {
            value,
            expires_at: None,
            version: None,
        }
    }
}

/// What a load gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// One for each key, in the order of the keys.
    pub answers: Vec<Answer>,
    /// Rows received.
    pub rows: u64,
    /// Tokens taken: at least as many as statements sent, connection set-up included.
    pub queries: u64,
    /// Rows for keys that were not asked for. They are left out. Where there are any, a key without a row has failed,
    /// rather than being absent: its row may be among them, under a key that is written in another way.
    pub unasked: u64,
}

/// The origins of a catalog, by name.
#[derive(Clone, Debug, Default)]
pub struct Origins(BTreeMap<OriginName, Arc<Origin>>);

impl Origins {
    /// Makes an origin of each of the catalog's. Nothing is connected yet.
    ///
    /// # Errors
    /// Where a URL cannot be used.
    pub fn new(catalog: &Catalog) -> Result<Self, OriginError> {
        let open = |(name, config): (&OriginName, &OriginConfig)| {
            Ok((name.clone(), Arc::new(Origin::open(config)?)))
        };
        let databases = catalog.origins.iter().map(open);
        let open = |(name, config): (&OriginName, &RedisOrigin)| {
            Ok((name.clone(), Arc::new(Origin::open_redis(config)?)))
        };
        let redis = catalog.redis_origins.iter().map(open);
        Ok(Self(
            databases.chain(redis).collect::<Result<_, OriginError>>()?,
        ))
    }

    /// The origin of this name.
    #[must_use]
    pub fn get(&self, name: &OriginName) -> Option<&Arc<Origin>> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Origin>> {
        self.0.values()
    }
}

/// A database, reached over as many connections as there are calls at one time; or another Redis, over one to each node.
#[derive(Debug)]
pub struct Origin {
    name: OriginName,
    /// What a database speaks.
    dialect: Option<Dialect>,
    counters: Counters,
    engine: Engine,
}

#[derive(Debug)]
enum Engine {
    Postgres(Box<postgres::Engine>),
    MySql(Box<mysql::Engine>),
    Sqlite(sqlite::Engine),
    Redis(Box<redis::Engine>),
}

impl Origin {
    /// An origin that connects when it is first asked.
    ///
    /// # Errors
    /// Where the URL cannot be used.
    pub fn open(config: &OriginConfig) -> Result<Self, OriginError> {
        let engine = match config.dialect {
            Dialect::Postgres => Engine::Postgres(Box::new(postgres::Engine::new(config)?)),
            Dialect::MySql => Engine::MySql(Box::new(mysql::Engine::new(config)?)),
            Dialect::Sqlite => Engine::Sqlite(sqlite::Engine::new(config)?),
        };
        Ok(Self::of(config.name.clone(), Some(config.dialect), engine))
    }

    fn of(name: OriginName, dialect: Option<Dialect>, engine: Engine) -> Self {
        Self {
            name,
            dialect,
            counters: Counters::default(),
            engine,
        }
    }

    /// Its name in the catalog.
    #[must_use]
    pub fn name(&self) -> &OriginName {
        &self.name
    }

    /// Tokens taken for this origin by all calls so far, failed and dropped ones included: at least as many as
    /// statements were sent.
    #[must_use]
    pub fn queries(&self) -> u64 {
        self.counters.queries.load(Relaxed)
    }

    /// Rows received by all calls so far, failed and dropped ones included.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.counters.rows.load(Relaxed)
    }

    /// From now on its calls are measured, and tell how it is.
    pub(crate) fn measure(&self, metrics: OriginMetrics, vitals: Option<Arc<Vitals>>) {
        // The first counts: an origin has one worker.
        let _ = self.counters.metrics.set(metrics);
        if let Some(vitals) = vitals {
            let _ = self.counters.vitals.set(vitals);
        }
    }

    /// Whether a load sets up a connection or a query: what is loaded meanwhile would need another connection. What
    /// [`Origin::prepare`] and [`Origin::rank`] set up does not count: they may wait for a table's lock, or for the tokens
    /// of a job of low priority, and other jobs' loads should not wait with them.
    #[must_use]
    pub fn is_setting_up(&self) -> bool {
        match &self.engine {
            Engine::Postgres(engine) => engine.is_setting_up(),
            Engine::MySql(engine) => engine.is_setting_up(),
            // A file is open at once, and a Redis has one connection for all.
            Engine::Sqlite(_) | Engine::Redis(_) => false,
        }
    }

    /// Keeps connections idle, from now on, only while there are at most `max`, those in use included; closes those beyond,
    /// and those that were idle for long. To be set to the places in flight, again and again.
    pub fn set_idle_max(&self, max: usize) {
        match &self.engine {
            Engine::Postgres(engine) => engine.set_idle_max(max),
            Engine::MySql(engine) => engine.set_idle_max(max),
            Engine::Sqlite(engine) => engine.set_idle_max(max),
            Engine::Redis(_) => {}
        }
    }

    /// Looks whether the database lets us in, by one connection that is closed again at once. No statement is sent; as
    /// every set-up of a connection, it takes a token.
    ///
    /// # Errors
    /// [`OriginError::NoEntry`], with what is in the way.
    pub async fn reach(&self, permit: &dyn Permit) -> Result<(), OriginError> {
        let _place = permit.enter().await?;
        let mut meter = Meter::new(permit, &self.counters, "reach");
        match &self.engine {
            Engine::Postgres(engine) => engine.reach(&mut meter).await,
            Engine::MySql(engine) => engine.reach(&mut meter).await,
            Engine::Sqlite(engine) => engine.reach(&mut meter).await,
            Engine::Redis(engine) => engine.reach(&meter).await,
        }
    }

    /// Checks that a loader's query can be prepared, that its columns can be written (where the database gives them types:
    /// SQLite does not), that its keys can be sent, and that its key column and those that its values name are there. The database is asked
    /// each time, whatever was known before.
    ///
    /// # Errors
    /// [`OriginError::Permanent`] says what is wrong with the loader.
    pub async fn prepare(
        &self,
        permit: &dyn Permit,
        loader: &LoaderSpec,
    ) -> Result<(), OriginError> {
        if loader.copies() {
            return self.prepare_copying(permit, loader).await;
        }
        let query = self.rewritten(loader)?;
        let _place = permit.enter().await?;
        let mut meter = Meter::new(permit, &self.counters, "prepare");
        let prepared = match &self.engine {
            Engine::Postgres(engine) => engine.prepare(&mut meter, loader, &query).await,
            Engine::MySql(engine) => engine.prepare(&mut meter, loader, &query).await,
            Engine::Sqlite(engine) => engine.prepare(&mut meter, loader, &query).await,
            Engine::Redis(_) => Err(self.knows_no_sql()),
        };
        meter.ended(&prepared);
        prepared
    }

    /// How many keys one query of this loader takes; at least 1. Where keys are copied, it is one: each takes commands of its
    /// own.
    ///
    /// # Errors
    /// [`OriginError::Permanent`] where the query cannot be used.
    pub fn batch_keys(&self, loader: &LoaderSpec) -> Result<u32, OriginError> {
        if loader.copies() {
            return Ok(1);
        }
        Ok(match self.rewritten(loader)?.placeholder {
            rewrite::Placeholder::Keys => loader.batch_keys.clamp(1, BATCH_KEYS_MAX),
            rewrite::Placeholder::Key => 1,
        })
    }

    /// Loads the rows of some keys: one query for each [`LoaderSpec::batch_keys`] of them, or one for each key where
    /// the loader has `:key`. Dropping the future closes its connection, and with it ends the query; in MySQL the query then
    /// ends when its statement timeout does, or when it would write rows.
    ///
    /// # Errors
    /// Where no key got its answer. What concerns one key only is its answer, [`Answer::Failed`].
    pub async fn load(
        &self,
        permit: &dyn Permit,
        loader: &LoaderSpec,
        keys: &[String],
    ) -> Result<Loaded, OriginError> {
        let query = self.rewritten(loader)?;
        if keys.is_empty() {
            return Ok(Loaded::default());
        }
        let _place = permit.enter().await?;
        let mut meter = Meter::new(permit, &self.counters, "load");
        let sheet = match &self.engine {
            Engine::Postgres(engine) => engine.load(&mut meter, loader, &query, keys).await,
            Engine::MySql(engine) => engine.load(&mut meter, loader, &query, keys).await,
            Engine::Sqlite(engine) => engine.load(&mut meter, loader, &query, keys).await,
            Engine::Redis(_) => Err(self.knows_no_sql()),
        };
        meter.ended(&sheet);
        let loaded = sheet?.finish(meter.queries(), meter.rows());
        if loaded.unasked > 0 {
            let (origin, loader, rows) = (self.name.as_str(), loader.name.as_str(), loaded.unasked);
            tracing::warn!(
                origin,
                loader,
                rows,
                "rows for keys that were not asked for"
            );
        }
        Ok(loaded)
    }

    /// Runs a key source's query and sends its rows in chunks of at most [`CHUNK_ROWS`](crate::source::CHUNK_ROWS), no
    /// faster than they are taken; returns what there was. It has a connection of its own, whose statement
    /// timeout is the origin's `source_timeout`. Columns are sent in their text form, arrays as JSON.
    ///
    /// # Errors
    /// Besides what the database says: where there is no column `key`, or one of the rules' template is missing; where
    /// a row is no entry (a key is NULL, a priority is no number from 0 to 10¹²) and the rules do not skip such rows, with
    /// the row's number; [`OriginError::Stopped`] where nobody takes the rows any more. The rows
    /// before the fault have been sent.
    pub async fn rank(
        &self,
        permit: &dyn Permit,
        query: &str,
        rules: &Rules,
        sink: mpsc::Sender<Vec<SourceRow>>,
    ) -> Result<Gathered, OriginError> {
        let _place = permit.enter().await?;
        let mut meter = Meter::new(permit, &self.counters, "source");
        let ranked = match &self.engine {
            Engine::Postgres(engine) => engine.rank(&mut meter, query, rules, sink).await,
            Engine::MySql(engine) => engine.rank(&mut meter, query, rules, sink).await,
            Engine::Sqlite(engine) => engine.rank(&mut meter, query, rules, sink).await,
            Engine::Redis(_) => Err(self.knows_no_sql()),
        };
        meter.ended(&ranked);
        ranked
    }

    /// Runs a probe's query, and gives its number: it must give exactly one row with one number, `true` and `false` being 1
    /// and 0. The database ends it after `time`, or after the statement timeout where that is shorter.
    ///
    /// # Errors
    /// [`ProbeFault`], with what it gave instead and what to do.
    pub async fn probe(
        &self,
        permit: &dyn Permit,
        query: &str,
        time: Duration,
    ) -> Result<f64, ProbeFault> {
        let _place = permit.enter().await.map_err(OriginError::from)?;
        let mut meter = Meter::new(permit, &self.counters, "probe");
        let number = match &self.engine {
            Engine::Postgres(engine) => engine.probe(&mut meter, query, time).await,
            Engine::MySql(engine) => engine.probe(&mut meter, query, time).await,
            Engine::Sqlite(engine) => engine.probe(&mut meter, query, time).await,
            Engine::Redis(_) => Err(self.knows_no_sql().into()),
        };
        meter.probed(&number);
        number
    }

    /// Runs a query only to see how it is answered; what it gives is thrown away. A Redis is sent a PING in its place.
    ///
    /// # Errors
    /// What the database says.
    pub async fn canary(&self, permit: &dyn Permit, query: &str) -> Result<(), OriginError> {
        let _place = permit.enter().await?;
        let mut meter = Meter::new(permit, &self.counters, "canary");
        let sent = match &self.engine {
            Engine::Postgres(engine) => engine.canary(&mut meter, query).await,
            Engine::MySql(engine) => engine.canary(&mut meter, query).await,
            Engine::Sqlite(engine) => engine.canary(&mut meter, query).await,
            Engine::Redis(engine) => engine.canary(&meter).await,
        };
        meter.ended(&sent);
        sent
    }

    /// The loader that reads again here what versions a loader's rows have. Its values are of no use.
    ///
    /// # Errors
    /// Where the query cannot be used.
    pub fn loader_of_versions(&self, loader: &LoaderSpec) -> Result<LoaderSpec, OriginError> {
        let query = self.rewritten(loader)?;
        let dialect = self.dialect.ok_or_else(|| self.knows_no_sql())?;
        Ok(versions::loader(&self.name, loader, &query, dialect))
    }

    fn knows_no_sql(&self) -> OriginError {
        let doing = format!("ask origin {:?} by SQL", self.name.as_str());
        OriginError::permanent(doing, redis::NotThisKind::Sql)
    }

    fn rewritten(&self, loader: &LoaderSpec) -> Result<Rewritten, OriginError> {
        let doing = || format!("use the query of loader {:?}", loader.name.as_str());
        let dialect = self.dialect.ok_or_else(|| self.knows_no_sql())?;
        rewrite(&loader.query, dialect).map_err(|error| OriginError::permanent(doing(), error))
    }
}

/// The column that answers keys: the loader's, or the one the query compares; `None` where one key is asked at a time
/// and the loader names no column, so that whatever row comes is the answer.
fn key_column(
    loader: &LoaderSpec,
    query: &Rewritten,
    columns: &[String],
    dialect: Dialect,
) -> Result<Option<usize>, KeyColumnError> {
    if columns.is_empty() {
        return Err(KeyColumnError::NoColumns);
    }
    let wanted = match (&loader.key_column, &query.key_column, query.placeholder) {
        (Some(column), _, _) | (None, Some(column), _) => column,
        (None, None, rewrite::Placeholder::Key) => return Ok(None),
        (None, None, rewrite::Placeholder::Keys) => return Err(KeyColumnError::Unnamed),
    };
    match encode::position(columns, wanted, dialect) {
        Some(index) => Ok(Some(index)),
        None => Err(KeyColumnError::Missing {
            wanted: wanted.clone(),
            found: columns.join(", "),
        }),
    }
}

/// Nothing says which key a row answers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum KeyColumnError {
    #[error("the query gives no columns: write a SELECT that gives what the value is made of")]
    NoColumns,
    #[error("nothing says which key a row answers: set key-column to the column that has the key")]
    Unnamed,
    #[error(
        "the rows have no column {wanted:?} to say which key they answer, but {found}: select it, or set key-column"
    )]
    Missing { wanted: String, found: String },
}

/// Two columns of one name would be one member of a JSON object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the query has two columns {0:?}: give them different names with AS")]
pub(crate) struct DuplicateColumn(String);

fn refuse_duplicates(columns: &[String]) -> Result<(), DuplicateColumn> {
    for (i, column) in columns.iter().enumerate() {
        if columns[..i].contains(column) {
            return Err(DuplicateColumn(column.clone()));
        }
    }
    Ok(())
}
