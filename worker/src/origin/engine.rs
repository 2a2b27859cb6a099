//! The databases, each behind the same calls.

use std::time::Duration;

use tokio::sync::mpsc;

use super::error::OriginError;
use super::meter::Meter;
use super::probe::ProbeFault;
use super::prometheus::nothing_loaded;
use super::rewrite::{Dialect, Rewritten};
use super::scan::{Statement, Taken};
use super::sheet::Sheet;
use super::{mysql, postgres, prometheus, redis, sqlite};
use crate::catalog::{LoaderSpec, OriginConfig};
use crate::source::{Gathered, Rules, SourceRow};

/// One database, reached over connections of its own.
#[derive(Debug)]
pub(super) enum Engine {
    Postgres(Box<postgres::Engine>),
    MySql(Box<mysql::Engine>),
    Sqlite(sqlite::Engine),
    /// Another Redis, whose keys are copied: it knows no SQL.
    Redis(Box<redis::Engine>),
    /// A Prometheus, whose series are key sources: it knows no SQL either.
    Prometheus(Box<prometheus::Engine>),
}

/// Calls the same method of whatever database it is; of a Redis and of a Prometheus, what those do in place of that.
macro_rules! each {
    ($engine:expr, $it:ident => $call:expr, $redis:pat => $other:expr, $prometheus:pat => $third:expr) => {
        match $engine {
            Engine::Postgres($it) => $call,
            Engine::MySql($it) => $call,
            Engine::Sqlite($it) => $call,
            Engine::Redis($redis) => $other,
            Engine::Prometheus($prometheus) => $third,
        }
    };
}

/// A Redis is asked by SQL.
pub(super) fn no_sql() -> OriginError {
    OriginError::permanent("ask a Redis by SQL", redis::NotThisKind::Sql)
}

impl Engine {
    pub(super) fn new(config: &OriginConfig) -> Result<Self, OriginError> {
        Ok(match config.dialect {
            Dialect::Postgres => Self::Postgres(Box::new(postgres::Engine::new(config)?)),
            Dialect::MySql => Self::MySql(Box::new(mysql::Engine::new(config)?)),
            Dialect::Sqlite => Self::Sqlite(sqlite::Engine::new(config)?),
        })
    }

    /// Where it is, without credentials.
    pub(super) fn address(&self) -> String {
        match self {
            Self::Postgres(engine) => engine.address().to_owned(),
            Self::MySql(engine) => engine.address().to_owned(),
            Self::Sqlite(_) => "a file".to_owned(),
            Self::Redis(_) => "a Redis".to_owned(),
            Self::Prometheus(engine) => engine.address(),
        }
    }

    pub(super) fn is_setting_up(&self) -> bool {
        match self {
            Self::Postgres(engine) => engine.is_setting_up(),
            Self::MySql(engine) => engine.is_setting_up(),
            // A file is open at once, a Redis has one connection for all, and a Prometheus none that stays.
            Self::Sqlite(_) | Self::Redis(_) | Self::Prometheus(_) => false,
        }
    }

    pub(super) fn set_idle_max(&self, max: usize) {
        each!(self, engine => engine.set_idle_max(max), _ => {}, _ => {});
    }

    pub(super) async fn reach(&self, meter: &mut Meter<'_>) -> Result<(), OriginError> {
        each!(self, engine => engine.reach(meter).await, engine => engine.reach(meter).await, engine => engine.reach(meter).await)
    }

    pub(super) async fn prepare(
        &self,
        meter: &mut Meter<'_>,
        loader: &LoaderSpec,
        query: &Rewritten,
    ) -> Result<(), OriginError> {
        each!(self, engine => engine.prepare(meter, loader, query).await, _ => Err(no_sql()), _ => Err(nothing_loaded()))
    }

    pub(super) async fn load<'k>(
        &self,
        meter: &mut Meter<'_>,
        loader: &LoaderSpec,
        query: &Rewritten,
        keys: &[&'k str],
    ) -> Result<Sheet<'k>, OriginError> {
        each!(self, engine => engine.load(meter, loader, query, keys).await, _ => Err(no_sql()), _ => Err(nothing_loaded()))
    }

    /// Runs a statement of a scan, and takes its rows.
    pub(super) async fn scan(
        &self,
        meter: &mut Meter<'_>,
        statement: &Statement<'_>,
        taken: &mut Taken,
    ) -> Result<(), OriginError> {
        each!(self, engine => engine.scan(meter, statement, taken).await, _ => Err(no_sql()), _ => Err(nothing_loaded()))
    }

    pub(super) async fn rank(
        &self,
        meter: &mut Meter<'_>,
        query: &str,
        rules: &Rules,
        sink: mpsc::Sender<Vec<SourceRow>>,
    ) -> Result<Gathered, OriginError> {
        each!(self, engine => engine.rank(meter, query, rules, sink).await, _ => Err(no_sql()), _ => Err(nothing_loaded()))
    }

    pub(super) async fn probe(
        &self,
        meter: &mut Meter<'_>,
        query: &str,
        time: Duration,
    ) -> Result<f64, ProbeFault> {
        each!(self, engine => engine.probe(meter, query, time).await, _ => Err(no_sql().into()), _ => Err(nothing_loaded().into()))
    }

    pub(super) async fn canary(
        &self,
        meter: &mut Meter<'_>,
        query: &str,
    ) -> Result<(), OriginError> {
        each!(self, engine => engine.canary(meter, query).await, engine => engine.canary(meter).await, engine => engine.reach(meter).await)
    }
}
