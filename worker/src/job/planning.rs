//! The tasks of planning that the store gives to this worker: each is done once, and what it gave goes up to the leader.
//!
//! What a task does is its own module's: `source_read`, `prepare`, `sample`. Here is what all have in common: the header
//! before, the verdict after, and that a report that did not arrive is made anew.

use std::sync::Arc;
use std::time::Duration;

use stoke_core::explain::explain;
use stoke_core::names::JobName;
use stoke_core::records::{Job, PlanningTask, keys};
use stoke_proto::v1::send_source_request::Part;
use stoke_proto::v1::{
    PrepareTask, SampleTask, SendSourceRequest, SourceHeader, SourceVerdict, source_header,
};
use stoke_store::{Compare, Op, Revision, Txn};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::{prepare, sample, source_read};
use crate::gate::{ClientPermit, Gate};
use crate::origin::OriginError;
use crate::trace;
use crate::trouble::{Cause, Troubled};
use crate::worker::Shared;

/// How long until a task whose report could not be sent is done again, while it is still this worker's.
const AGAIN: Duration = Duration::from_secs(1);
/// How many parts of a report wait between the task and sending.
pub(super) const PARTS_MAX: usize = 4;

/// A task that the store gives to this worker.
#[derive(Clone, Copy, Debug)]
pub struct AssignedTask {
    /// Which.
    pub task: PlanningTask,
    /// The job's attempt at planning that it belongs to.
    pub attempt: u64,
    /// The record's mod revision.
    pub revision: u64,
}

impl AssignedTask {
    /// What confirms that its worker is not at it any more, of a job that is aborted: its record is deleted, unless it is
    /// given anew.
    #[must_use]
    pub fn confirm_stopped(&self, job: &JobName) -> Txn {
        let key = keys::read(job, self.task);
        Txn {
            compares: vec![Compare::ModRevision(key.clone(), Revision(self.revision))],
            ops: vec![Op::Delete(key)],
        }
    }
}

/// A task being done. Dropped, it stops at once.
#[derive(Debug)]
pub(crate) struct TaskRun {
    attempt: u64,
    _task: AbortOnDropHandle<()>,
}

impl TaskRun {
    /// Starts it.
    pub(crate) fn start(
        shared: Arc<Shared>,
        job: JobName,
        record: Job,
        assigned: AssignedTask,
    ) -> Self {
        let (attempt, task) = (assigned.attempt, assigned.task);
        let doing = Doing {
            shared,
            job,
            record,
        };
        let span = tracing::info_span!("job", job = %doing.job);
        let running = async move {
            tracing::info!(%task, "begins a task of planning");
            let cause = Cause::Planning(task);
            // Until the leader has it done anew, or the job is over: then this task is dropped.
            // To sample, it reads the stream of entries.
            let causes = [cause, Cause::Entries];
            let _troubled = Troubled::by(&doing.shared, &doing.job, causes);
            while let Err(error) = traced(&doing, task, attempt).await {
                tracing::warn!(%task, error, "could not report on a task of planning");
                let text = format!("planning task {task} cannot be reported: {error}");
                doing.shared.troubles.note(&doing.job, cause, text);
                tokio::time::sleep(AGAIN).await;
            }
        };
        let running = tokio::spawn(running.instrument(span));
        Self {
            attempt,
            _task: AbortOnDropHandle::new(running),
        }
    }

    /// The job's attempt at planning that this is for.
    pub(crate) fn attempt(&self) -> u64 {
        self.attempt
    }

    /// Confirms that this worker is not at a task of an aborted job any more.
    pub(crate) fn confirm_stopped(shared: &Arc<Shared>, job: &JobName, assigned: &AssignedTask) {
        let txn = assigned.confirm_stopped(job);
        let store = Arc::clone(&shared.store);
        let confirming = async move {
            // Not done: the next beat tries again, and in the end time confirms it.
            if let Err(error) = store.txn(txn).await {
                tracing::debug!(error = explain(&error), "could not confirm a stop");
            }
        };
        let span = tracing::info_span!("job", %job);
        tokio::spawn(confirming.instrument(span));
    }
}

/// What a task is done for.
pub(super) struct Doing {
    pub(super) shared: Arc<Shared>,
    pub(super) job: JobName,
    pub(super) record: Job,
}

impl Doing {
    /// The job's permit to ask what is behind a gate, until the task is dropped.
    pub(super) fn permit(&self, gate: &Arc<Gate>) -> ClientPermit {
        let permit = gate.permit(self.job.clone(), CancellationToken::new());
        permit.with_priority(self.record.spec.priority)
    }
}

/// Why a task could not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// What is wrong, and what to do.
    pub(super) reason: String,
    /// Another attempt may succeed.
    pub(super) transient: bool,
}

impl Failure {
    /// One that stays.
    pub(super) fn lasting(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            transient: false,
        }
    }

    /// One that may pass.
    pub(super) fn passing(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            transient: true,
        }
    }

    /// The verdict of a task that ended with it.
    pub(super) fn verdict(self) -> SourceVerdict {
        SourceVerdict {
            error: self.reason,
            transient: self.transient,
            ..SourceVerdict::default()
        }
    }
}

impl From<&OriginError> for Failure {
    fn from(error: &OriginError) -> Self {
        Self {
            reason: error.explain(),
            transient: error.is_transient(),
        }
    }
}

/// Does the task in a span of the job's trace.
async fn traced(doing: &Doing, task: PlanningTask, attempt: u64) -> Result<(), String> {
    let (worker, job) = (&doing.shared.name, &doing.job);
    let span = match task {
        PlanningTask::Source(source) => {
            tracing::debug_span!(target: trace::TARGET, "read source", %worker, %job, source)
        }
        PlanningTask::Prepare => {
            tracing::debug_span!(target: trace::TARGET, "prepare loaders", %worker, %job)
        }
        PlanningTask::Sample => {
            tracing::debug_span!(target: trace::TARGET, "sample loaders", %worker, %job)
        }
    };
    let span = trace::under(&doing.record.trace, span);
    report(doing, task, attempt).instrument(span).await
}

/// Does the task, and sends what it gave.
async fn report(doing: &Doing, task: PlanningTask, attempt: u64) -> Result<(), String> {
    let mut leader = doing
        .shared
        .link
        .leader()
        .await
        .map_err(|error| explain(&error))?;
    let (parts, receive) = mpsc::channel::<SendSourceRequest>(PARTS_MAX);
    let header = SourceHeader {
        job: doing.job.to_string(),
        task: Some(match task {
            PlanningTask::Source(source) => source_header::Task::Source(source),
            PlanningTask::Prepare => source_header::Task::Prepare(PrepareTask {}),
            PlanningTask::Sample => source_header::Task::Sample(SampleTask {}),
        }),
        attempt,
        worker: doing.shared.name.to_string(),
    };
    let doing = async {
        let send = |part| parts.send(SendSourceRequest { part: Some(part) });
        if send(Part::Header(header)).await.is_err() {
            return;
        }
        let verdict = match task {
            PlanningTask::Source(source) => source_read::read(doing, source, &parts).await,
            PlanningTask::Prepare => prepare::prepare(doing).await,
            PlanningTask::Sample => sample::sample(doing).await,
        };
        if verdict.transient {
            let text = format!("planning task {task}: {}", verdict.error);
            (doing.shared.troubles).note(&doing.job, Cause::Planning(task), text);
        }
        // Whoever does not listen any more says why in its answer.
        let _ = send(Part::Verdict(verdict)).await;
        drop(parts);
    };
    let ((), answer) = tokio::join!(doing, leader.send_source(ReceiverStream::new(receive)));
    answer
        .map(|_| ())
        .map_err(|status| status.message().to_owned())
}
