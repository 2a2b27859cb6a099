//! What is done with entries: ask the caches which are there, load the others from the origin, write them; or, of a job that
//! only looks, compare (see [`verify`]).
//!
//! A job's caches are asked and written side by side, each under its own budget, and what they say of an entry is joined: it is
//! loaded once, and written where it is lacking. A go ends when the slowest of them has answered, so none gets ahead of the
//! others by more than what is under way.

mod copies;
mod held;
mod refresh;
mod scan;
mod settle;
mod target;
mod verify;
mod write;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use stoke_core::batch_keys::BatchKeys;
use stoke_core::copy::TTL_OF_ORIGIN;
use stoke_core::job::Mode;
use stoke_core::names::{CacheName, JobName, OriginName, Resource};
use stoke_core::progress::{Effort, Outcome, RangeRows};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, debug_span};

use super::batching::Load;
use super::copied;
use super::entries::Task;
use crate::cache::{CommandError, Presence, jittered};
use crate::catalog::LoaderSpec;
use crate::gate::{Gate, Waiting};
use crate::origin::{Loaded, OriginError};
use crate::permit::{Permit, Stopped};
use crate::trace;
use crate::trouble::Cause;
use crate::worker::Shared;
use target::{Column, Target};

pub(super) use scan::{AllBegun, range_of};

/// Whoever waits for less has not waited: two tasks have passed.
const NO_WAIT: Duration = Duration::from_millis(2);

/// What became of an entry in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is done.
    Done(Outcome),
    /// It failed, for a reason that stays.
    Failed(String),
    /// It failed, for a reason that may pass.
    Again(String),
    /// It is a range of a scan, and was read to its end: what became of its rows.
    Read {
        /// How many became what.
        rows: RangeRows,
        /// Those that failed, as far as they are listed.
        failures: Vec<RowFailure>,
    },
}

/// A row that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFailure {
    /// Its cache key, where it has one; else what there is to find it by.
    pub key: Bytes,
    /// Why.
    pub reason: String,
}

/// What a go gave.
#[derive(Debug, Default)]
pub(super) struct Gave {
    /// Entries with a verdict.
    pub(super) verdicts: Vec<(Task, Verdict)>,
    /// Entries that are not in every cache: to be loaded.
    pub(super) missing: Vec<Task>,
    /// The origin is out of reach: that is no fault of the entries.
    pub(super) outage: bool,
    /// What it cost.
    pub(super) effort: Effort,
    /// What a query of this loader showed.
    pub(super) load: Option<(usize, Load)>,
}

/// What all goes of one run have in common.
#[derive(Clone)]
pub(super) struct Goer {
    pub(super) shared: Arc<Shared>,
    pub(super) job: JobName,
    pub(super) priority: u32,
    /// At least one.
    pub(super) caches: Arc<[CacheName]>,
    pub(super) mode: Mode,
    pub(super) loaders: Vec<Arc<LoaderSpec>>,
    pub(super) stop: CancellationToken,
    /// The worker leaves: what has not been sent yet is not, and what has been is brought to its end.
    pub(super) leave: CancellationToken,
    /// The trace that the job belongs to.
    pub(super) trace: Arc<str>,
    /// How often a row of a scan is tried that fails for a reason that may pass.
    pub(super) attempts_max: u32,
    /// How far the ranges have come that were begun here and not read to their end.
    pub(super) begun: scan::AllBegun,
}

impl Goer {
    /// Whether entries may be loaded without the caches having been asked after them: they are only added, and none is there for
    /// the time being only.
    pub(super) fn may_load_unasked(&self) -> bool {
        let settles = |loader: &Arc<LoaderSpec>| loader.value.versions.is_some();
        self.mode == Mode::Add && !self.loaders.iter().any(settles)
    }

    fn cache_names(&self) -> String {
        let names: Vec<&str> = self.caches.iter().map(CacheName::as_str).collect();
        names.join(",")
    }

    /// The span of asking the caches about these.
    pub(super) fn probe_span(&self, tasks: &[Task]) -> Span {
        let span = debug_span!(target: trace::TARGET, "probe", worker = %self.shared.name, job = %self.job,
            caches = self.cache_names(), keys = tasks.len());
        trace::under(&self.trace, span)
    }

    /// The span of loading a batch.
    pub(super) fn load_span(&self, tasks: &[Task]) -> Span {
        let span = debug_span!(target: trace::TARGET, "batch", worker = %self.shared.name, job = %self.job,
            loader = tasks.first().and_then(|task| self.loader(task)).map(|loader| loader.name.as_str()),
            keys = tasks.len());
        trace::under(&self.trace, span)
    }

    /// Asks the caches which entries are there. Once stopped, it gives nothing; where the worker leaves before it has asked,
    /// it gives them back as missing.
    pub(super) async fn probe(self, tasks: Vec<Task>) -> Gave {
        let mut gave = Gave::default();
        let targets = match self.leave.run_until_cancelled(self.connected()).await {
            Some(Some(targets)) => targets,
            Some(None) => return gave,
            None => {
                gave.missing = tasks;
                return gave;
            }
        };
        // A job that stands still asks nothing either.
        for target in &targets {
            let permit = self.permit_for(target);
            match self.leave.run_until_cancelled(permit.pass(0)).await {
                Some(Ok(())) => {}
                Some(Err(_)) => return gave,
                None => {
                    gave.missing = tasks;
                    return gave;
                }
            }
        }
        if let Ok(columns) = Self::with_each(&targets, |target| self.ask(target, &tasks)).await {
            self.join(tasks, columns, &mut gave);
        }
        gave
    }

    /// Asks one cache which entries are there, and has those live on that shall.
    async fn ask(&self, target: &Target, tasks: &[Task]) -> Result<Column, Stopped> {
        if self.mode.is_verify() {
            return self.look(target, tasks).await;
        }
        let keys: Vec<&[u8]> = tasks.iter().map(|task| &task.key[..]).collect();
        let permit = self.permit_for(target);
        let answers = target.cache.probe_as(&permit, &keys).await?;
        let mut column = Column::with_capacity(tasks.len());
        let mut to_lengthen = Vec::new();
        for (n, (task, answer)) in tasks.iter().zip(answers).enumerate() {
            column.push(match answer {
                Ok(Presence::Missing) => None,
                Ok(Presence::Present { ttl: Some(left) }) if self.is_provisional(task, left) => {
                    None
                }
                Ok(Presence::Present { ttl: Some(left) })
                    if self.mode == Mode::Refresh && self.would_lengthen(task, left) =>
                {
                    to_lengthen.push((n, left));
                    None
                }
                Ok(Presence::Present { .. }) => Some(Verdict::Done(Outcome::Present)),
                Err(error) => Some(verdict_of(&error)),
            });
        }
        self.refresh(target, tasks, to_lengthen, &mut column)
            .await?;
        Ok(column)
    }

    /// Loads a batch of one loader, and writes what it gave. Once stopped, it gives nothing; where the worker leaves before
    /// the load has its token, it gives them back as missing.
    /// `coming` announces it at its origin's gate from before it is first polled.
    pub(super) async fn load(self, tasks: Vec<Task>, coming: Option<Waiting>) -> Gave {
        let mut gave = Gave::default();
        let index = tasks.first().map_or(0, |task| task.loader);
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let Some(loader) = self.loaders.get(index).cloned() else {
            return gave;
        };
        let resource = Resource::Origin(loader.origin.clone());
        let (Some(origin), Some(gate)) = (
            self.shared.origins.get(&loader.origin),
            self.shared.gates.get(&resource),
        ) else {
            let unknown = OriginError::unknown(&resource);
            self.not_loaded(&loader.origin, &unknown, tasks, &mut gave);
            return gave;
        };
        let permit = gate.permit(self.job.clone(), self.stop.clone());
        let permit = permit.with_priority(self.priority).impatient();
        drop(coming);
        let loader = self.as_it_is_copied(loader);
        let rows = origin.batch_keys(&loader).map_or(1, BatchKeys::most);
        let rows = u64::from(rows).min(tasks.len() as u64);
        let waiting = Instant::now();
        match self.leave.run_until_cancelled(permit.ready(rows)).await {
            Some(Ok(())) => {}
            Some(Err(_)) => return gave,
            None => {
                gave.missing = tasks;
                return gave;
            }
        }
        let waited = waiting.elapsed() > NO_WAIT;
        let sent = Instant::now();
        let query = debug_span!(target: trace::TARGET, "query", origin = %loader.origin, otel.kind = "client");
        let loading = copied::load(origin, &permit, &loader, &tasks);
        let loaded = loading.instrument(query).await;
        permit.answered();
        gave.effort.origin_queries = permit.taken();
        // What setting a connection up took says nothing of queries.
        if permit.taken() <= 1 {
            let load = Load {
                keys: tasks.len(),
                took: sent.elapsed(),
                bytes: loaded.as_ref().map_or(0, Loaded::bytes),
                waited,
                rate_milli: gate.rate_milli(),
            };
            gave.load = Some((index, load));
        }
        match loaded {
            Ok(loaded) => {
                self.shared.troubles.clear(&self.job, Cause::Origin);
                gave.effort.origin_rows = loaded.rows;
                let write = debug_span!(target: trace::TARGET, "write", caches = self.cache_names(), otel.kind = "client");
                let writing = self.write(&loader, tasks, loaded.answers, &mut gave);
                writing.instrument(write).await;
            }
            Err(error) => self.not_loaded(&loader.origin, &error, tasks, &mut gave),
        }
        gave
    }

    /// The loader as this job copies: typed, where values are compared, or a cache takes nothing else.
    fn as_it_is_copied(&self, loader: Arc<LoaderSpec>) -> Arc<LoaderSpec> {
        if loader.copies() && self.mode == Mode::VerifyValues {
            return Arc::new(copied::typed(&loader));
        }
        let mut caches = self.caches.iter();
        let heeded = caches.find_map(|cache| self.shared.refusals.heeded(&loader, cache));
        heeded.map_or(loader, Arc::new)
    }

    /// What becomes of tasks of which an origin told nothing.
    fn not_loaded(
        &self,
        origin: &OriginName,
        error: &OriginError,
        tasks: impl IntoIterator<Item = Task>,
        gave: &mut Gave,
    ) {
        let verdict = self.without(origin, error, gave);
        for task in tasks {
            match &verdict {
                Some(verdict) => gave.verdicts.push((task, verdict.clone())),
                None => gave.missing.push(task),
            }
        }
    }

    /// What becomes of those of which an origin told nothing; `None`: they are to be loaded.
    fn without(
        &self,
        origin: &OriginName,
        error: &OriginError,
        gave: &mut Gave,
    ) -> Option<Verdict> {
        let reason = error.explain();
        match error {
            // The job stands still, or the grant has lapsed: it is loaded when it goes on.
            OriginError::Stopped(_) => None,
            error if error.is_outage() => {
                tracing::warn!(job = %self.job, error = reason, "the origin is out of reach");
                let text = format!("origin {:?}: {reason}", origin.as_str());
                self.shared.troubles.note(&self.job, Cause::Origin, text);
                gave.outage = true;
                None
            }
            error if error.is_transient() => Some(Verdict::Again(reason)),
            _ => Some(Verdict::Failed(reason)),
        }
    }

    /// The gate before the origin that a batch is loaded from.
    pub(super) fn gate_of(&self, tasks: &[Task]) -> Option<Arc<Gate>> {
        let origin = self.loader(tasks.first()?)?.origin.clone();
        self.shared.gates.get(&Resource::Origin(origin)).cloned()
    }

    fn loader(&self, task: &Task) -> Option<&Arc<LoaderSpec>> {
        self.loaders.get(usize::try_from(task.loader).ok()?)
    }
}

fn ttl(loader: &LoaderSpec, key: &[u8]) -> Duration {
    if loader.ttl == TTL_OF_ORIGIN {
        return loader.ttl;
    }
    jittered(loader.ttl, loader.ttl_jitter_permille, key)
}

fn verdict_of(error: &CommandError) -> Verdict {
    let reason = error.to_string();
    if error.is_transient() {
        Verdict::Again(reason)
    } else {
        Verdict::Failed(reason)
    }
}
