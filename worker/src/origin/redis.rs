//! Origins that are another Redis: standalone, behind Sentinel, or a Cluster. There is no query: keys are copied as they are, and
//! found by SCAN.
//!
//! Every command about keys takes a token, and is counted as a query; a key that is there counts as a row. What connecting takes,
//! and asking who owns which slots, is not counted: a handful of commands a connection. How commands reach their nodes, and what
//! is done about MOVED, ASK, LOADING and the rest, is the cache layer's, as for the cache that is written to.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use stoke_core::copy::How;
use stoke_core::explain::explain;
use stoke_core::pattern::Pattern;
use stoke_core::usage::{Counter, HotKeys, Monitor};
use tokio::sync::{OnceCell, mpsc};

use super::error::NoAnswer;
use super::meter::{Counters, Meter};
use super::{Answer, Engine as AnyEngine, Loaded, Made, Origin, OriginError};
use crate::cache::{
    Cache, CacheConfig, CommandError, Copied, Ends, FailureKind, is_of_key, is_unknown_command,
};
use crate::catalog::{LoaderSpec, RedisOrigin};
use crate::metrics::{self, CacheMetrics, Metrics};
use crate::permit::Permit;
use crate::source::{Gathered, Rules, SourceRow};
use crate::value::Value;

mod counter;
mod frequency;
mod monitor;
mod scan;

use frequency::Weighing;
pub use monitor::{Watched, WatchedNode};

/// A key that nobody has, to see which commands are allowed.
const NO_KEY: &[u8] = b"stoke:reach:0";
/// What a key's DUMP is taken to have while none has been seen.
const EXPECTED_BYTES: usize = 256;
/// Another Redis.
#[derive(Debug)]
pub(super) struct Engine {
    config: CacheConfig,
    doing: String,
    cache: OnceCell<Arc<Cache>>,
    /// Whether all nodes are taken to know PEXPIRETIME.
    tells_moments: AtomicBool,
    /// What a key's DUMP has of late, on average: so much is asked for at once.
    expected_bytes: AtomicUsize,
    source_timeout: Duration,
}

/// A Redis is asked for what only a database does, or the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotThisKind {
    /// SQL.
    #[error(
        "the origin is a Redis, which knows no SQL: loaders copy from it (copy, from), and key sources scan it (match)"
    )]
    Sql,
    /// Copying.
    #[error(
        "the origin is a database: only from a Redis keys are copied and scanned; give a query"
    )]
    Copying,
}

impl Engine {
    pub(super) fn new(config: &RedisOrigin) -> Result<Self, OriginError> {
        let doing = format!("use the Redis of origin {:?}", config.name.as_str());
        let opened = config.redis.entered();
        let mut opened = opened.map_err(|error| OriginError::permanent(&doing, error))?;
        opened.timeout = config.statement_timeout;
        opened.patience = opened.patience.max(config.statement_timeout);
        Ok(Self {
            config: opened,
            doing,
            cache: OnceCell::new(),
            tells_moments: AtomicBool::new(true),
            expected_bytes: AtomicUsize::new(EXPECTED_BYTES),
            source_timeout: config.source_timeout,
        })
    }

    /// The connected Redis.
    async fn cache(&self, meter: &Meter<'_>) -> Result<&Arc<Cache>, OriginError> {
        let connecting = self.cache.get_or_try_init(|| async {
            let cache = Cache::connect(self.config.clone()).await?;
            // Its queries are counted as an origin's; how its nodes answer is seen where all answers are.
            let uncounted = Arc::new(Metrics::new(&metrics::none()));
            let metrics = CacheMetrics::new(uncounted, "origin");
            cache.measure(metrics, meter.vitals().cloned());
            Ok(Arc::new(cache))
        });
        let connected: Result<_, crate::cache::CacheError> = connecting.await;
        connected.map_err(|error| {
            if error.is_unreachable() {
                OriginError::no_entry(&self.doing, error)
            } else {
                OriginError::shut_out(&self.doing, error)
            }
        })
    }

    /// Looks whether every master answers.
    pub(super) async fn reach(&self, meter: &Meter<'_>) -> Result<(), OriginError> {
        let cache = self.cache(meter).await?;
        for node in cache.info(&meter.sharing()).await? {
            node.map_err(|error| self.failed(error))?;
        }
        Ok(())
    }

    pub(super) async fn canary(&self, meter: &Meter<'_>) -> Result<(), OriginError> {
        let cache = self.cache(meter).await?;
        Ok(cache.ping(&meter.sharing()).await?)
    }

    /// Looks whether the commands are allowed that copying takes.
    async fn prepare(&self, meter: &Meter<'_>, how: How) -> Result<(), OriginError> {
        let none = [Bytes::from_static(NO_KEY)];
        let read = self.read(meter, how, &none, u64::MAX).await?;
        match read.into_iter().find_map(Result::err) {
            // That very key need not be allowed.
            Some(error) if is_of_key(&error) => Ok(()),
            Some(error) => Err(self.failed(error)),
            None => Ok(()),
        }
    }

    async fn read(
        &self,
        meter: &Meter<'_>,
        how: How,
        keys: &[Bytes],
        bytes_max: u64,
    ) -> Result<Vec<Result<Option<Copied>, CommandError>>, OriginError> {
        let cache = self.cache(meter).await?;
        let permit = meter.sharing();
        let read = async |how, ends| match how {
            How::Typed => cache.read_typed(&permit, keys, ends, bytes_max).await,
            How::Auto | How::Dump => {
                let expected_bytes = self.expected_bytes.load(Relaxed);
                cache.dump(&permit, keys, ends, expected_bytes).await
            }
        };
        let is_unknown = |read: &[Result<Option<Copied>, CommandError>]| {
            let mut errors = read.iter().filter_map(|one| one.as_ref().err());
            errors.any(is_unknown_command)
        };
        if self.tells_moments.load(Relaxed) {
            let copied = read(how, Ends::Moments).await?;
            if !is_unknown(&copied) {
                return Ok(copied);
            }
        }
        let copied = read(how, Ends::Left).await?;
        if is_unknown(&copied) {
            // It is not the end that cannot be asked for.
            return Ok(match how {
                How::Auto => Box::pin(read(How::Typed, Ends::Left)).await?,
                How::Dump | How::Typed => copied,
            });
        }
        self.tells_moments.store(false, Relaxed);
        Ok(copied)
    }

    async fn copy(
        &self,
        meter: &mut Meter<'_>,
        loader: &LoaderSpec,
        keys: &[Bytes],
    ) -> Result<Vec<Answer>, OriginError> {
        let how = loader
            .value
            .copy
            .as_ref()
            .map_or(How::Auto, |copy| copy.how);
        let read = self.read(meter, how, keys, loader.max_value_bytes).await?;
        let is_gone = |one: &Result<Option<Copied>, CommandError>| matches!(one, Err(error) if matches!(error.kind, FailureKind::Unreachable | FailureKind::Unavailable));
        if read.iter().all(is_gone)
            && let Some(error) = read.iter().find_map(|one| one.as_ref().err())
        {
            return Err(OriginError::no_entry(&self.doing, error.clone()));
        }
        let mut answers = Vec::with_capacity(read.len());
        let mut bytes = 0;
        for one in read {
            if let Ok(Some(copied)) = &one {
                meter.count_row();
                bytes += copied.content.size_bytes();
            }
            answers.push(answer(one, loader.max_value_bytes));
        }
        let found = usize::try_from(meter.rows()).unwrap_or(usize::MAX);
        if let Some(mean) = bytes.checked_div(found) {
            self.expected_bytes.store(mean, Relaxed);
        }
        Ok(answers)
    }

    fn failed(&self, error: CommandError) -> OriginError {
        match error.kind {
            kind if kind.is_transient() => OriginError::no_entry(&self.doing, error),
            _ => OriginError::permanent(&self.doing, error),
        }
    }
}

fn answer(read: Result<Option<Copied>, CommandError>, bytes_max: u64) -> Answer {
    match read {
        Ok(None) => Answer::Absent,
        Ok(Some(copied)) if copied.content.size_bytes() as u64 > bytes_max => Answer::Failed {
            reason: format!(
                "it has {} bytes: raise max-value-bytes ({bytes_max}), or leave it out",
                copied.content.size_bytes()
            ),
        },
        Ok(Some(copied)) => Answer::Row(Made::from(Value::Copied(Box::new(copied)))),
        Err(error) if error.is_transient() => Answer::Again {
            reason: explain(&error),
        },
        Err(error) => Answer::Failed {
            reason: explain(&error),
        },
    }
}

impl Origin {
    /// Another Redis that connects when it is first asked.
    ///
    /// # Errors
    /// Where its URLs or files cannot be used.
    pub fn open_redis(config: &RedisOrigin) -> Result<Self, OriginError> {
        let engine = AnyEngine::Redis(Box::new(Engine::new(config)?));
        Ok(Self {
            name: config.name.clone(),
            dialect: None,
            counters: Counters::default(),
            primary: Some(engine),
            replicas: None,
        })
    }

    fn redis(&self) -> Result<&Engine, OriginError> {
        match &self.primary {
            Some(AnyEngine::Redis(engine)) => Ok(engine),
            _ => {
                let doing = format!("copy from origin {:?}", self.name.as_str());
                Err(OriginError::permanent(doing, NotThisKind::Copying))
            }
        }
    }

    pub(super) async fn prepare_copying(
        &self,
        permit: &dyn Permit,
        loader: &LoaderSpec,
    ) -> Result<(), OriginError> {
        let engine = self.redis()?;
        let _place = permit.enter().await?;
        let mut meter = Meter::new(permit, &self.counters, "prepare");
        let how = loader
            .value
            .copy
            .as_ref()
            .map_or(How::Auto, |copy| copy.how);
        let prepared = engine.prepare(&meter, how).await;
        meter.ended(&prepared);
        prepared
    }

    /// Reads keys, by a loader that copies: what each has, and until when.
    ///
    /// # Errors
    /// Where no key got its answer. What concerns one key only is its answer.
    pub async fn copy(
        &self,
        permit: &dyn Permit,
        loader: &LoaderSpec,
        keys: &[Bytes],
    ) -> Result<Loaded, OriginError> {
        let engine = self.redis()?;
        if keys.is_empty() {
            return Ok(Loaded::default());
        }
        let _place = permit.enter().await?;
        let mut meter = Meter::new(permit, &self.counters, "load");
        let copied = engine.copy(&mut meter, loader, keys).await;
        meter.ended(&copied);
        Ok(Loaded {
            answers: copied?,
            rows: meter.rows(),
            queries: meter.queries(),
            unasked: 0,
        })
    }

    /// Sends the keys of all masters that match a pattern, in chunks, no faster than they are taken;
    /// returns what there was. About `count` keys are looked through at a time. A key that is there all the time is sent at least
    /// once.
    ///
    /// # Errors
    /// As [`Origin::rank`]; and where slots do not stop moving.
    pub async fn scan(
        &self,
        permit: &dyn Permit,
        pattern: &Pattern,
        count: u32,
        rules: &Rules,
        sink: mpsc::Sender<Vec<SourceRow>>,
    ) -> Result<Gathered, OriginError> {
        let read = async |engine: &Engine, meter: &mut Meter<'_>| {
            let weighing = Weighing::Alike;
            engine
                .scan(meter, (pattern, count), weighing, rules, &sink)
                .await
        };
        self.read_keys(permit, Duration::ZERO, read).await
    }

    /// Sends the keys that match, as [`Origin::scan`] does, by how often they are used as the Redis counts it.
    ///
    /// # Errors
    /// As there; and where its policy counts no accesses.
    pub async fn hot_keys(
        &self,
        permit: &dyn Permit,
        hot: &HotKeys,
        rules: &Rules,
        sink: mpsc::Sender<Vec<SourceRow>>,
    ) -> Result<Gathered, OriginError> {
        let read = async |engine: &Engine, meter: &mut Meter<'_>| {
            let (keys, min) = ((&hot.pattern, hot.count), hot.frequency_min);
            let weighing = Weighing::Frequency { min };
            engine.scan(meter, keys, weighing, rules, &sink).await
        };
        self.read_keys(permit, Duration::ZERO, read).await
    }

    /// Sends the members of an application's counter that match, with their counts.
    ///
    /// # Errors
    /// As [`Origin::rank`]; and where the key has no counter.
    pub async fn counter(
        &self,
        permit: &dyn Permit,
        counter: &Counter,
        rules: &Rules,
        sink: mpsc::Sender<Vec<SourceRow>>,
    ) -> Result<Gathered, OriginError> {
        let read = async |engine: &Engine, meter: &mut Meter<'_>| {
            engine.counter(meter, counter, rules, &sink).await
        };
        self.read_keys(permit, Duration::ZERO, read).await
    }

    /// Sends the keys that are asked for while some masters are watched, as often as they are; and says what that cost.
    ///
    /// # Errors
    /// As [`Origin::rank`]; and where it is not let see that.
    pub async fn monitor(
        &self,
        permit: &dyn Permit,
        monitor: &Monitor,
        rules: &Rules,
        sink: mpsc::Sender<Vec<SourceRow>>,
    ) -> Result<(Gathered, Watched), OriginError> {
        let read = async |engine: &Engine, meter: &mut Meter<'_>| {
            engine.monitor(meter, monitor, rules, &sink).await
        };
        let duration = Duration::from_millis(monitor.duration_ms);
        self.read_keys(permit, duration, read).await
    }

    /// Reads a key source, for as long as that may take, and so much more.
    async fn read_keys<T>(
        &self,
        permit: &dyn Permit,
        more: Duration,
        read: impl AsyncFnOnce(&Engine, &mut Meter<'_>) -> Result<T, OriginError>,
    ) -> Result<T, OriginError> {
        let engine = self.redis()?;
        let _place = permit.enter().await?;
        let mut meter = Meter::new(permit, &self.counters, "source");
        let time = engine.source_timeout + more;
        let read = match tokio::time::timeout(time, read(engine, &mut meter)).await {
            Ok(read) => read,
            Err(_) => Err(OriginError::transient(engine.doing.clone(), NoAnswer(time))),
        };
        meter.ended(&read);
        read
    }
}
