//! A worker's part of one job: the tasks of its planning, and working on its partitions.
//!
//! [`JobRun`] does what one assignment says, from the entries' stream to checkpoints; another assignment is another
//! run, which begins where the store says. [`TaskRun`] does one task of planning and sends what it gave up.

mod backoff;
mod checkpoint;
mod entries;
mod load;
mod lookahead;
mod planning;
mod prepare;
mod recipe;
mod run;
mod sample;
mod source_read;

pub(crate) use planning::{AssignedTask, TaskRun};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stoke_core::names::JobName;
use stoke_core::records::{Assignment, Checkpoint, Job};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::worker::Shared;

/// An assignment as the store has it.
#[derive(Clone, Debug)]
pub(crate) struct Assigned {
    pub(crate) assignment: Assignment,
    /// Its mod revision: what checkpoints compare.
    pub(crate) revision: u64,
    /// The checkpoint made under it, with its mod revision.
    pub(crate) checkpoint: Option<(Checkpoint, u64)>,
}

/// Tells a run to stop sending, and why.
#[derive(Clone, Debug, Default)]
struct Stop {
    token: CancellationToken,
    aborted: Arc<AtomicBool>,
}

impl Stop {
    fn is_abort(&self) -> bool {
        self.aborted.load(Ordering::Acquire)
    }
}

/// A run of one assignment.
#[derive(Debug)]
pub(crate) struct JobRun {
    revision: u64,
    stop: Stop,
    /// Ends at once: what it would write counts nowhere any more.
    dismiss: CancellationToken,
    task: JoinHandle<()>,
}

impl JobRun {
    /// Starts a run, once the one before it has ended.
    pub(crate) fn start(
        shared: Arc<Shared>,
        job: JobName,
        record: Job,
        assigned: Assigned,
        before: Option<Self>,
    ) -> Self {
        let (stop, dismiss) = (Stop::default(), CancellationToken::new());
        let revision = assigned.revision;
        let (stopped, dismissed) = (stop.clone(), dismiss.clone());
        let span = tracing::info_span!("job", %job);
        let working = async move {
            if let Some(before) = before {
                before.dismiss();
                before.join().await;
            }
            let running = run::Run::new(shared, job, &record, assigned, stopped);
            let _: Option<()> = dismissed.run_until_cancelled(running.work()).await;
        };
        let task = tokio::spawn(working.instrument(span));
        Self {
            revision,
            stop,
            dismiss,
            task,
        }
    }

    /// Whether it carries out the assignment with this mod revision, and is still at it.
    pub(crate) fn is_for(&self, revision: u64) -> bool {
        self.revision == revision && !self.task.is_finished()
    }

    /// The job is aborted: it stops sending, ends what is in flight, counts what is left as cancelled, and confirms.
    pub(crate) fn abort(&self) {
        self.stop.aborted.store(true, Ordering::Release);
        self.stop.token.cancel();
    }

    /// The worker leaves: it stops sending, ends what is in flight, and says how far it has come.
    pub(crate) fn leave(&self) {
        self.stop.token.cancel();
    }

    /// Tells it to end at once.
    pub(crate) fn dismiss(&self) {
        self.dismiss.cancel();
    }

    /// Waits until it has ended, or tells it to end at once after this time.
    pub(crate) async fn join_within(mut self, time: Duration) {
        if tokio::time::timeout(time, &mut self.task).await.is_err() {
            self.dismiss();
            self.join().await;
        }
    }

    /// Waits until it has ended.
    pub(crate) async fn join(self) {
        let _ = self.task.await;
    }
}
