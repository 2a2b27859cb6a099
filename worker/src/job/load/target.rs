//! The caches that entries are written to: connected, and each behind its own gate.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use stoke_core::names::{CacheName, Resource};

use super::{Gave, Goer, Verdict};
use crate::cache::Cache;
use crate::gate::ClientPermit;
use crate::job::entries::Task;
use crate::job::joint::Joint;
use crate::permit::Stopped;
use crate::reach::cache_text;
use crate::trouble::Cause;

/// How long until a cache that could not be connected to is tried again.
const CONNECT_AGAIN: Duration = Duration::from_secs(1);

/// A connected cache of the job.
pub(super) struct Target {
    /// Its place among the job's.
    pub(super) place: usize,
    name: CacheName,
    pub(super) cache: Arc<Cache>,
}

impl Target {
    pub(super) const fn name(&self) -> &CacheName {
        &self.name
    }
}

/// What one cache says of some entries, in their order; `None`: it lacks that one.
pub(super) type Column = Vec<Option<Verdict>>;

impl Goer {
    /// The connected caches: each is tried until it answers, for without one of them nothing can be done. `None` once stopped.
    pub(super) async fn connected(&self) -> Option<Vec<Target>> {
        let connecting = (self.caches.iter().enumerate()).map(|(n, name)| self.connect(n, name));
        join_all(connecting).await.into_iter().collect()
    }

    async fn connect(&self, place: usize, name: &CacheName) -> Option<Target> {
        let cause = Cause::Cache(place);
        loop {
            match self
                .stop
                .run_until_cancelled(self.shared.cache(name))
                .await??
            {
                Ok(cache) => {
                    self.shared.troubles.clear(&self.job, cause);
                    let name = name.clone();
                    return Some(Target { place, name, cache });
                }
                Err(error) => {
                    let error = cache_text(name, &error);
                    self.shared.troubles.note(&self.job, cause, &error);
                    tracing::warn!(job = %self.job, cache = %name, error, "cannot connect to the cache, trying again");
                    self.stop
                        .run_until_cancelled(tokio::time::sleep(CONNECT_AGAIN))
                        .await?;
                }
            }
        }
    }

    /// The job's permit to ask a cache, and to write to it.
    pub(super) fn permit_for(&self, target: &Target) -> ClientPermit {
        let resource = Resource::Cache(target.name.clone());
        // Whoever knows a cache has a gate for it.
        let gate = self.shared.gates.get(&resource).cloned();
        let gate = gate
            .unwrap_or_else(|| crate::gate::Gate::new(resource, Arc::clone(&self.shared.clock)));
        gate.permit(self.job.clone(), self.stop.clone())
            .with_priority(self.priority)
    }

    /// Does the same with each cache, side by side: none holds anything that another waits for. When one says that all is stopped,
    /// the others are still waited for: what they sent is not left alone.
    pub(super) async fn with_each<'t, T, F>(
        targets: &'t [Target],
        act: impl Fn(&'t Target) -> F,
    ) -> Result<Vec<T>, Stopped>
    where
        F: Future<Output = Result<T, Stopped>>,
    {
        join_all(targets.iter().map(act))
            .await
            .into_iter()
            .collect()
    }

    /// Joins what the caches say of entries.
    pub(super) fn join(
        &self,
        tasks: impl IntoIterator<Item = Task>,
        columns: Vec<Column>,
        gave: &mut Gave,
    ) {
        let mut columns: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
        for mut task in tasks {
            let mut joint = Joint::default();
            for column in &mut columns {
                joint.add(column.next().flatten());
            }
            let (verdict, lacking) = joint.word(&self.caches);
            task.lacking = lacking;
            match verdict {
                Some(verdict) => gave.verdicts.push((task, verdict)),
                None => gave.missing.push(task),
            }
        }
    }
}
