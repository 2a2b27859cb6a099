//! Taking leave: nothing new is begun, what is in flight ends and is checkpointed, and the grants go back. All of it bounded:
//! what cannot be done in time is left to those who take over.

use std::time::Duration;

use stoke_core::explain::explain;
use stoke_core::names::{JobName, Resource};
use stoke_core::records::keys;
use stoke_store::{Op, Txn};
use tokio::time::Sleep;

use super::Heart;

/// How long what is in flight may take to end, and the last checkpoints to be written. Longer than a statement may run, and
/// within the 30 s that a supervisor usually waits before it kills.
pub(super) const FLUSH_MAX: Duration = Duration::from_secs(10);

/// What a worker that took its leave has not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfinished {
    /// The last checkpoint of a job.
    #[error(
        "job {0} has no last checkpoint of this worker: what it did since the one before is done again"
    )]
    Checkpoint(JobName),
    /// The store did not take the grants back.
    #[error(
        "the grants could not be given back: they are free once they have certainly expired: {0}"
    )]
    Grants(String),
}

impl Heart {
    /// Begins nothing more from here on.
    pub(super) fn take_leave(&mut self) {
        self.leaves = true;
        self.vigils.clear();
        self.cut_short |= !self.tasks.is_empty();
        self.tasks.clear();
        for run in self.runs.values() {
            run.leave();
        }
    }

    /// Ends what has not ended, and says which jobs that concerns.
    pub(super) async fn end_work(&mut self) -> Vec<Unfinished> {
        let mut unfinished = Vec::new();
        for (job, run) in std::mem::take(&mut self.runs) {
            run.dismiss();
            if !run.join().await {
                unfinished.push(Unfinished::Checkpoint(job));
            }
        }
        self.cut_short |= !unfinished.is_empty();
        unfinished
    }

    /// Gives back what nobody uses any more, so that nobody has to wait for its certain end. Absent: origins where a
    /// statement may still run that was not waited for.
    pub(super) async fn release_grants(&mut self) -> Option<Unfinished> {
        self.forget_grants();
        let clear =
            |resource: &&Resource| !(self.cut_short && matches!(resource, Resource::Origin(_)));
        let ops = self.holders.keys().filter(clear).flat_map(|resource| {
            let name = &self.shared.name;
            [keys::ack(resource, name), keys::cap(resource, name)].map(Op::Delete)
        });
        let txn = Txn {
            compares: Vec::new(),
            ops: ops.collect(),
        };
        if txn.ops.is_empty() {
            return None;
        }
        let error = self.shared.store.txn(txn).await.err()?;
        tracing::warn!(error = explain(&error), "left the grants to expire");
        Some(Unfinished::Grants(explain(&error)))
    }
}

/// Waits until this is over, where it has begun.
pub(super) async fn over(time: &mut Option<std::pin::Pin<Box<Sleep>>>) {
    match time {
        Some(time) => time.as_mut().await,
        None => std::future::pending().await,
    }
}
