//! Origins: the databases that values are loaded from, other Redis deployments that keys are copied from, and what tells which keys are
//! used.
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
use std::time::Duration;

use stoke_core::batch_keys::BatchKeys;
use stoke_core::names::OriginName;
use stoke_core::scan::Range;
use tokio::sync::mpsc;

mod answer;
pub(crate) mod composite;
mod decimal;
mod encode;
mod engine;
mod error;
mod expiry;
mod idle;
mod key_columns;
mod meter;
mod mysql;
mod postgres;
mod probe;
mod prometheus;
mod redis;
mod replicas;
pub mod rewrite;
mod scan;
mod setting_up;
mod sheet;
mod sqlite;
mod versions;

pub use answer::{Answer, Loaded, Made};
pub use error::{Cause, OriginError};
pub(crate) use key_columns::DuplicateColumn;
pub(crate) use postgres::Objects;
pub use probe::ProbeFault;
pub use redis::{Watched, WatchedNode};
pub(crate) use replicas::Standing;
pub use replicas::say_their_lag;
pub use scan::{Cut, Page, PageRow};

use crate::catalog::{Catalog, LoaderSpec, OriginConfig, PrometheusOrigin, RedisOrigin};
use crate::metrics::OriginMetrics;
use crate::permit::Permit;
use crate::source::{Gathered, Rules, SourceRow};
use crate::vitals::Vitals;
use engine::Engine;
use key_columns::{key_columns, names_of_keys, refuse_duplicates};
use meter::{Counters, Meter};
use replicas::Replicas;
use rewrite::{Dialect, Rewritten, rewrite};

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
        let open = |(name, config): (&OriginName, &PrometheusOrigin)| {
            Ok((name.clone(), Arc::new(Origin::open_prometheus(config))))
        };
        let prometheus = catalog.prometheus_origins.iter().map(open);
        let all = databases.chain(redis).chain(prometheus);
        Ok(Self(all.collect::<Result<_, OriginError>>()?))
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
    /// The database itself; `None` where only replicas are known.
    primary: Option<Engine>,
    replicas: Option<Replicas>,
}

/// The database that a call asks.
struct At<'o> {
    engine: &'o Engine,
    replica: Option<(&'o Replicas, usize)>,
}

impl At<'_> {
    /// What a call has come to. A replica that was lost is not asked any more for now.
    fn judged<T>(&self, result: Result<T, OriginError>) -> Result<T, OriginError> {
        match (result, self.replica) {
            (Err(error), Some((replicas, place))) if error.is_loss() => {
                Err(replicas.failed(place, error))
            }
            (result, _) => result,
        }
    }
}

impl Origin {
    /// An origin that connects when it is first asked.
    ///
    /// # Errors
    /// Where the URL cannot be used.
    pub fn open(config: &OriginConfig) -> Result<Self, OriginError> {
        let replicas = config.replicas.as_ref();
        let has_primary = replicas.is_none_or(|replicas| replicas.has_primary);
        let replicas = replicas.map(|replicas| Replicas::new(config, replicas));
        let name = config.name.clone();
        Ok(Self {
            name,
            dialect: Some(config.dialect),
            counters: Counters::default(),
            primary: has_primary.then(|| Engine::new(config)).transpose()?,
            replicas: replicas.transpose()?,
        })
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
        let primary = self.primary.as_ref().is_some_and(Engine::is_setting_up);
        primary || self.replicas.as_ref().is_some_and(Replicas::is_setting_up)
    }

    /// Keeps connections idle, from now on, only while there are at most `max`, those in use included; closes those beyond,
    /// and those that were idle for long. To be set to the places in flight, again and again.
    pub fn set_idle_max(&self, max: usize) {
        self.engines().for_each(|engine| engine.set_idle_max(max));
    }

    /// Looks whether the database lets us in, or whether all of them do where there are replicas, by one connection each that is
    /// closed again at once. No statement is sent; as every set-up of a connection, it takes a token.
    ///
    /// # Errors
    /// [`OriginError::NoEntry`], with what is in the way of the first that does not.
    pub async fn reach(&self, permit: &dyn Permit) -> Result<(), OriginError> {
        match self.reach_each(permit).await.into_iter().next() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// As [`Origin::reach`]: what is in the way of each that does not let us in.
    pub async fn reach_each(&self, permit: &dyn Permit) -> Vec<OriginError> {
        let reached = futures::future::join_all(self.engines().map(|engine| async move {
            let _place = permit.enter().await?;
            let mut meter = Meter::new(permit, &self.counters, "reach");
            engine.reach(&mut meter).await
        }));
        let reached: Vec<Result<(), OriginError>> = reached.await;
        reached.into_iter().filter_map(Result::err).collect()
    }

    /// How its replicas stand, where it has some.
    pub(crate) fn replicas(&self) -> Vec<Standing> {
        self.replicas
            .as_ref()
            .map_or(Vec::new(), Replicas::standings)
    }

    fn engines(&self) -> impl Iterator<Item = &Engine> {
        let replicas = self.replicas.iter().flat_map(Replicas::engines);
        self.primary.iter().chain(replicas)
    }

    /// The database that a call asks: the replica that lags least, where there are replicas. The caller has no place in flight
    /// yet.
    async fn at(&self, permit: &dyn Permit) -> Result<At<'_>, OriginError> {
        let Some(replicas) = &self.replicas else {
            return self.at_primary();
        };
        match replicas.pick(permit, &self.counters).await? {
            Ok(place) => Ok(At {
                engine: replicas.engine(place),
                replica: Some((replicas, place)),
            }),
            Err(_) if replicas.falls_back => self.at_primary(),
            Err(none) => Err(none),
        }
    }

    fn at_primary(&self) -> Result<At<'_>, OriginError> {
        let engine = self.primary.as_ref().ok_or_else(|| {
            let doing = format!("ask the primary of origin {:?}", self.name.as_str());
            OriginError::permanent(doing, NoPrimary)
        })?;
        Ok(At {
            engine,
            replica: None,
        })
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
        let at = self.at(permit).await?;
        if loader.scan.is_some() {
            // Its first row tells all that can be told of it.
            let all = Range::default();
            let first = self.page_at(&at, permit, loader, &all, 1).await;
            return first.map(drop);
        }
        self.prepare_at(&at, permit, loader).await
    }

    /// As [`Origin::prepare`], for what [`Origin::loader_of_versions`] gave.
    ///
    /// # Errors
    /// As there.
    pub async fn prepare_versions(
        &self,
        permit: &dyn Permit,
        loader: &LoaderSpec,
    ) -> Result<(), OriginError> {
        self.prepare_at(&self.at_primary()?, permit, loader).await
    }

    async fn prepare_at(
        &self,
        at: &At<'_>,
        permit: &dyn Permit,
        loader: &LoaderSpec,
    ) -> Result<(), OriginError> {
        let query = self.rewritten(loader)?;
        let _place = permit.enter().await?;
        let mut meter = Meter::new(permit, &self.counters, "prepare");
        let prepared = at.engine.prepare(&mut meter, loader, &query).await;
        meter.ended(&prepared);
        at.judged(prepared)
    }

    /// How many keys one query of this loader takes, or rows of one that scans. Where keys are copied, it is one: each takes
    /// commands of its own.
    ///
    /// # Errors
    /// [`OriginError::Permanent`] where the query cannot be used.
    pub fn batch_keys(&self, loader: &LoaderSpec) -> Result<BatchKeys, OriginError> {
        if loader.copies() {
            return Ok(BatchKeys::from(1));
        }
        if let Some(scan) = &loader.scan {
            return Ok(BatchKeys::from(scan.rows));
        }
        Ok(match self.rewritten(loader)?.placeholder {
            rewrite::Placeholder::Keys => loader.batch_keys,
            rewrite::Placeholder::Key => BatchKeys::from(1),
        })
    }

    /// The columns that a key source gives the parts of this loader's keys in: those that its query compares, or, where they are
    /// no plain columns, those of its rows. None where a key is one value, or no query asks for it.
    ///
    /// # Errors
    /// [`OriginError::Permanent`] where the query cannot be used.
    pub fn key_parts(&self, loader: &LoaderSpec) -> Result<Vec<String>, OriginError> {
        if loader.copies() || loader.scan.is_some() {
            return Ok(Vec::new());
        }
        let query = self.rewritten(loader)?;
        Ok(match query.parts {
            1 => Vec::new(),
            _ if query.key_columns.is_empty() => loader.key_column.names().to_vec(),
            _ => query.key_columns,
        })
    }

    /// The column that a loader compares with its keys, where they have no parts: that of its query, or, where that is no plain
    /// column, of its rows. `None` where no query says.
    pub(crate) fn compared(&self, loader: &LoaderSpec) -> Option<String> {
        if loader.copies() || loader.scan.is_some() {
            return None;
        }
        let query = self.rewritten(loader).ok()?;
        let columns = match query.key_columns.as_slice() {
            [] => loader.key_column.names(),
            columns => columns,
        };
        let [column] = columns else { return None };
        Some(column.clone())
    }

    /// Loads the rows of some keys: one query for each [`BatchKeys::most`] of them, or one for each key where
    /// the loader has `:key`. Dropping the future closes its connection, and with it ends the query; in MySQL, and
    /// behind a pooler, the query then ends when its statement timeout does, or when it would write rows.
    ///
    /// # Errors
    /// Where no key got its answer. What concerns one key only is its answer, [`Answer::Failed`].
    pub async fn load(
        &self,
        permit: &dyn Permit,
        loader: &LoaderSpec,
        keys: &[impl AsRef<str>],
    ) -> Result<Loaded, OriginError> {
        let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
        let mut tries_left = self.replicas.as_ref().map_or(1, Replicas::count);
        loop {
            tries_left -= 1;
            let at = self.at(permit).await?;
            match self.load_at(&at, permit, loader, &keys).await {
                // Nothing was asked of the one that did not let us in, and another does.
                Err(error) if error.is_of_entry() && at.replica.is_some() && tries_left > 0 => {}
                loaded => return loaded,
            }
        }
    }

    /// As [`Origin::load`], for what [`Origin::loader_of_versions`] gave: from the primary, where there are replicas.
    ///
    /// # Errors
    /// As there.
    pub async fn load_versions(
        &self,
        permit: &dyn Permit,
        loader: &LoaderSpec,
        keys: &[&str],
    ) -> Result<Loaded, OriginError> {
        self.load_at(&self.at_primary()?, permit, loader, keys)
            .await
    }

    async fn load_at(
        &self,
        at: &At<'_>,
        permit: &dyn Permit,
        loader: &LoaderSpec,
        keys: &[&str],
    ) -> Result<Loaded, OriginError> {
        let query = self.rewritten(loader)?;
        if keys.is_empty() {
            return Ok(Loaded::default());
        }
        let _place = permit.enter().await?;
        let mut meter = Meter::new(permit, &self.counters, "load");
        let sheet = at.engine.load(&mut meter, loader, &query, keys).await;
        meter.ended(&sheet);
        let loaded = at.judged(sheet)?.finish(meter.queries(), meter.rows());
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

    /// Reads the next rows of a range of a loader that scans: so many at most, from the range's beginning on.
    ///
    /// # Errors
    /// Where they could not be read. What concerns one row only is that row's.
    pub async fn page(
        &self,
        permit: &dyn Permit,
        loader: &LoaderSpec,
        range: &Range,
        rows: u32,
    ) -> Result<Page, OriginError> {
        let at = self.at(permit).await?;
        self.page_at(&at, permit, loader, range, rows).await
    }

    async fn page_at(
        &self,
        at: &At<'_>,
        permit: &dyn Permit,
        loader: &LoaderSpec,
        range: &Range,
        rows: u32,
    ) -> Result<Page, OriginError> {
        let scan = scan::scan_of(loader)?;
        let statement = scan::page(loader, scan, range, rows, self.dialect()?)?;
        let _place = permit.enter().await?;
        let mut meter = Meter::new(permit, &self.counters, "load");
        let mut taken = scan::Taken::default();
        let read = at.engine.scan(&mut meter, &statement, &mut taken).await;
        meter.ended(&read);
        at.judged(read)?;
        scan::paged(loader, scan, taken, rows)
    }

    /// Cuts what a loader scans into ranges: at least one.
    ///
    /// # Errors
    /// Where the database does not say where.
    pub async fn ranges(
        &self,
        permit: &dyn Permit,
        loader: &LoaderSpec,
    ) -> Result<Cut, OriginError> {
        let dialect = self.dialect()?;
        let at = self.at(permit).await?;
        let _place = permit.enter().await?;
        let mut meter = Meter::new(permit, &self.counters, "source");
        let cut = scan::ranges(at.engine, &mut meter, loader, dialect).await;
        meter.ended(&cut);
        at.judged(cut)
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
        let at = self.at(permit).await?;
        let _place = permit.enter().await?;
        let mut meter = Meter::new(permit, &self.counters, "source");
        let ranked = at.engine.rank(&mut meter, query, rules, sink).await;
        meter.ended(&ranked);
        at.judged(ranked)
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
        let at = self.at(permit).await?;
        let _place = permit.enter().await.map_err(OriginError::from)?;
        let mut meter = Meter::new(permit, &self.counters, "probe");
        let number = at.engine.probe(&mut meter, query, time).await;
        meter.probed(&number);
        match number {
            Err(ProbeFault::Failed(error)) => at.judged(Err(error)).map_err(ProbeFault::from),
            number => number,
        }
    }

    /// Runs a query only to see how it is answered; what it gives is thrown away. A Redis is sent a PING in its place.
    ///
    /// # Errors
    /// What the database says.
    pub async fn canary(&self, permit: &dyn Permit, query: &str) -> Result<(), OriginError> {
        let at = self.at(permit).await?;
        let _place = permit.enter().await?;
        let mut meter = Meter::new(permit, &self.counters, "canary");
        let sent = at.engine.canary(&mut meter, query).await;
        meter.ended(&sent);
        at.judged(sent)
    }

    /// The loader that reads again here what versions a loader's rows have. Its values are of no use.
    ///
    /// # Errors
    /// Where the query cannot be used, or only replicas are known: they would say what was.
    pub fn loader_of_versions(&self, loader: &LoaderSpec) -> Result<LoaderSpec, OriginError> {
        self.at_primary()?;
        let query = self.rewritten(loader)?;
        let dialect = self.dialect()?;
        Ok(versions::loader(&self.name, loader, &query, dialect))
    }

    /// The SQL that it speaks; a Redis and a Prometheus speak none.
    fn dialect(&self) -> Result<Dialect, OriginError> {
        self.dialect.ok_or_else(|| match &self.primary {
            Some(Engine::Prometheus(_)) => prometheus::nothing_loaded(),
            _ => engine::no_sql(),
        })
    }

    fn rewritten(&self, loader: &LoaderSpec) -> Result<Rewritten, OriginError> {
        let doing = || format!("use the query of loader {:?}", loader.name.as_str());
        let dialect = self.dialect()?;
        rewrite(&loader.query, dialect).map_err(|error| OriginError::permanent(doing(), error))
    }
}

/// Versions are to be read of an origin that has replicas only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "only its replicas are known: give it the url of its primary, or let version-origin name an origin that is one"
)]
struct NoPrimary;
