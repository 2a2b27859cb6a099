//! What is done with entries: ask the cache which are there, load the others from the origin, write them; or, of a job that
//! only looks, compare (see [`verify`]).

mod copies;
mod held;
mod refresh;
mod settle;
mod verify;
mod write;

use std::sync::Arc;
use std::time::Duration;

use stoke_core::copy::TTL_OF_ORIGIN;
use stoke_core::job::Mode;
use stoke_core::names::{CacheName, JobName, OriginName, Resource};
use stoke_core::progress::{Effort, Outcome};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, debug_span};

use super::copied;
use super::entries::Task;
use crate::cache::{Cache, CommandError, Presence, jittered};
use crate::catalog::LoaderSpec;
use crate::gate::{ClientPermit, Gate, Waiting};
use crate::origin::OriginError;
use crate::permit::Permit;
use crate::reach::cache_text;
use crate::trace;
use crate::trouble::Cause;
use crate::worker::Shared;

/// How long until a cache that could not be connected to is tried again.
const CONNECT_AGAIN: Duration = Duration::from_secs(1);

/// What became of an entry in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is done.
    Done(Outcome),
    /// It failed, for a reason that stays.
    Failed(String),
    /// It failed, for a reason that may pass.
    Again(String),
}

/// What a go gave.
#[derive(Debug, Default)]
pub(super) struct Gave {
    /// Entries with a verdict.
    pub(super) verdicts: Vec<(Task, Verdict)>,
    /// Entries that are not in the cache: to be loaded.
    pub(super) missing: Vec<Task>,
    /// The origin is out of reach: that is no fault of the entries.
    pub(super) outage: bool,
    /// What it cost.
    pub(super) effort: Effort,
}

/// What all goes of one run have in common.
#[derive(Clone)]
pub(super) struct Goer {
    pub(super) shared: Arc<Shared>,
    pub(super) job: JobName,
    pub(super) priority: u32,
    pub(super) cache: CacheName,
    pub(super) mode: Mode,
    pub(super) loaders: Vec<Arc<LoaderSpec>>,
    pub(super) stop: CancellationToken,
    /// The worker leaves: what has not been sent yet is not, and what has been is brought to its end.
    pub(super) leave: CancellationToken,
    /// The trace that the job belongs to.
    pub(super) trace: Arc<str>,
}

impl Goer {
    /// The span of asking the cache about these.
    pub(super) fn probe_span(&self, tasks: &[Task]) -> Span {
        let span = debug_span!(target: trace::TARGET, "probe", worker = %self.shared.name, job = %self.job,
            cache = %self.cache, keys = tasks.len());
        trace::under(&self.trace, span)
    }

    /// The span of loading a batch.
    pub(super) fn load_span(&self, tasks: &[Task]) -> Span {
        let span = debug_span!(target: trace::TARGET, "batch", worker = %self.shared.name, job = %self.job,
            loader = tasks.first().and_then(|task| self.loader(task)).map(|loader| loader.name.as_str()),
            keys = tasks.len());
        trace::under(&self.trace, span)
    }

    /// Asks the cache which entries are there. Once stopped, it gives nothing; where the worker leaves before it has asked,
    /// it gives them back as missing.
    pub(super) async fn probe(self, tasks: Vec<Task>) -> Gave {
        let mut gave = Gave::default();
        let cache = match self.leave.run_until_cancelled(self.connected()).await {
            Some(Some(cache)) => cache,
            Some(None) => return gave,
            None => {
                gave.missing = tasks;
                return gave;
            }
        };
        // A job that stands still asks nothing either.
        let permit = self.cache_permit();
        match self.leave.run_until_cancelled(permit.pass(0)).await {
            Some(Ok(())) => {}
            Some(Err(_)) => return gave,
            None => {
                gave.missing = tasks;
                return gave;
            }
        }
        if self.mode.is_verify() {
            self.look(&cache, tasks, &mut gave).await;
            return gave;
        }
        let keys: Vec<&[u8]> = tasks.iter().map(|task| &task.key[..]).collect();
        let Ok(answers) = cache.probe_as(&self.cache_permit(), &keys).await else {
            return gave;
        };
        let mut present = Vec::new();
        for (task, answer) in tasks.into_iter().zip(answers) {
            match answer {
                Ok(Presence::Missing) => gave.missing.push(task),
                Ok(Presence::Present { ttl: Some(left) }) if self.is_provisional(&task, left) => {
                    gave.missing.push(task);
                }
                Ok(Presence::Present { ttl: Some(left) })
                    if self.mode == Mode::Refresh && self.would_lengthen(&task, left) =>
                {
                    present.push((task, left));
                }
                Ok(Presence::Present { .. }) => {
                    gave.verdicts.push((task, Verdict::Done(Outcome::Present)))
                }
                Err(error) => gave.verdicts.push((task, verdict_of(&error))),
            }
        }
        self.refresh(&cache, present, &mut gave).await;
        gave
    }

    /// Loads a batch of one loader, and writes what it gave. Once stopped, it gives nothing; where the worker leaves before
    /// the load has its token, it gives them back as missing.
    /// `coming` announces it at its origin's gate from before it is first polled.
    pub(super) async fn load(self, tasks: Vec<Task>, coming: Option<Waiting>) -> Gave {
        let mut gave = Gave::default();
        let Some(loader) = tasks.first().and_then(|task| self.loader(task)).cloned() else {
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
        let rows = origin.batch_keys(&loader).unwrap_or(1);
        let rows = u64::from(rows).min(tasks.len() as u64);
        match self.leave.run_until_cancelled(permit.ready(rows)).await {
            Some(Ok(())) => {}
            Some(Err(_)) => return gave,
            None => {
                gave.missing = tasks;
                return gave;
            }
        }
        let query = debug_span!(target: trace::TARGET, "query", origin = %loader.origin, otel.kind = "client");
        let loading = copied::load(origin, &permit, &loader, &tasks);
        let loaded = loading.instrument(query).await;
        permit.answered();
        gave.effort.origin_queries = permit.taken();
        match loaded {
            Ok(loaded) => {
                self.shared.troubles.clear(&self.job, Cause::Origin);
                gave.effort.origin_rows = loaded.rows;
                let write = debug_span!(target: trace::TARGET, "write", cache = %self.cache, otel.kind = "client");
                let writing = self.write(&loader, tasks, loaded.answers, &mut gave);
                writing.instrument(write).await;
            }
            Err(error) => self.not_loaded(&loader.origin, &error, tasks, &mut gave),
        }
        gave
    }

    /// The loader as this job copies: typed, where values are compared, or the cache takes nothing else.
    fn as_it_is_copied(&self, loader: Arc<LoaderSpec>) -> Arc<LoaderSpec> {
        if loader.copies() && self.mode == Mode::VerifyValues {
            return Arc::new(copied::typed(&loader));
        }
        let heeded = self.shared.refusals.heeded(&loader, &self.cache);
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
        let reason = error.explain();
        let verdict = match error {
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
        };
        for task in tasks {
            match &verdict {
                Some(verdict) => gave.verdicts.push((task, verdict.clone())),
                None => gave.missing.push(task),
            }
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

    fn cache_permit(&self) -> ClientPermit {
        let resource = Resource::Cache(self.cache.clone());
        // Whoever knows a cache has a gate for it.
        let gate = self.shared.gates.get(&resource).cloned();
        let gate = gate
            .unwrap_or_else(|| crate::gate::Gate::new(resource, Arc::clone(&self.shared.clock)));
        gate.permit(self.job.clone(), self.stop.clone())
            .with_priority(self.priority)
    }

    /// The connected cache: tried until it answers, for without it nothing can be done. `None` once stopped.
    async fn connected(&self) -> Option<Arc<Cache>> {
        loop {
            match self
                .stop
                .run_until_cancelled(self.shared.cache(&self.cache))
                .await??
            {
                Ok(cache) => {
                    self.shared.troubles.clear(&self.job, Cause::Cache);
                    return Some(cache);
                }
                Err(error) => {
                    let error = cache_text(&self.cache, &error);
                    self.shared.troubles.note(&self.job, Cause::Cache, &error);
                    tracing::warn!(job = %self.job, cache = %self.cache, error, "cannot connect to the cache, trying again");
                    self.stop
                        .run_until_cancelled(tokio::time::sleep(CONNECT_AGAIN))
                        .await?;
                }
            }
        }
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
