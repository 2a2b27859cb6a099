//! What this leader holds of plans in the making: what workers report of the tasks of planning.
//!
//! It is this process's memory only. A new leader knows nothing of it and starts another attempt; what belongs to an
//! older attempt is refused.

mod earlier;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;

use stoke_core::explain::explain;
use stoke_core::job::{From, Work};
use stoke_core::names::{JobName, WorkerName};
use stoke_core::plan::{Entry, PlanSummary, Ranker, TooManyEntries};
use stoke_core::progress::Effort;
use stoke_core::records::{LoaderSample, PlanningTask, SourceReport};
use stoke_core::slot::Partitioning;
use stoke_core::units::Epoch;
use stoke_store::Store;
use tokio::sync::Notify;
use tracing::{Instrument, debug_span};

use crate::lead::Planning;
use crate::plan_store::{self, PlanStore, PlanStoreError};
use crate::trace;
use crate::view::JobView;
use earlier::{Earlier, EarlierError};

/// A plan's partitions are so much finer than the fewest that share evenly: with 256 a worker, the ring keeps its bound
/// on what moves when a worker comes or goes, too (as far as there are slots: up to 64 workers).
const PARTITIONS_FINER: usize = 4;

/// Why a worker's report is not wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwanted {
    /// Nobody is planning this job under this attempt here, or the attempt has failed already.
    #[error("nobody is planning this under that attempt here")]
    Attempt,
    /// The task was done already, or is not one of this attempt.
    #[error("this task of planning is not being waited for")]
    Task,
}

/// What a task of planning gave when it came to its end.
#[derive(Debug)]
pub enum Outcome {
    /// The entries of a key source, and what there is to say of its reading.
    Read {
        /// In the order in which they came.
        entries: Vec<Entry>,
        /// Counts and examples.
        report: SourceReport,
    },
    /// The loaders' queries can be used.
    Prepared,
    /// The loaders were tried.
    Sampled(Vec<LoaderSample>),
}

#[derive(Debug)]
struct Attempt {
    number: u64,
    /// The tasks that have not been done yet.
    awaited: BTreeSet<PlanningTask>,
    sources: HashMap<u32, Vec<Entry>>,
    reports: BTreeMap<u32, SourceReport>,
    effort: Effort,
    state: State,
}

#[derive(Clone, Debug)]
enum State {
    /// Workers are at their tasks.
    Underway,
    Storing,
    Stored(PlanSummary),
    Sampled(Vec<LoaderSample>),
    Failed {
        reason: String,
        transient: bool,
    },
}

/// The plans in the making.
#[derive(Debug, Default)]
pub struct Intake {
    attempts: Mutex<HashMap<JobName, Attempt>>,
    /// Told whenever something moved on.
    pub moved: Notify,
}

/// The attempt that waits for this task.
fn awaited<'a>(
    attempts: &'a mut HashMap<JobName, Attempt>,
    job: &JobName,
    task: PlanningTask,
    number: u64,
) -> Result<&'a mut Attempt, Unwanted> {
    let attempt = attempts.get_mut(job).filter(|attempt| {
        attempt.number == number && !matches!(attempt.state, State::Failed { .. })
    });
    let attempt = attempt.ok_or(Unwanted::Attempt)?;
    if attempt.awaited.contains(&task) {
        Ok(attempt)
    } else {
        Err(Unwanted::Task)
    }
}

/// All that a complete attempt takes to become a plan.
#[derive(Debug)]
pub struct Complete {
    job: JobName,
    attempt: u64,
    sources: HashMap<u32, Vec<Entry>>,
}

impl Intake {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<JobName, Attempt>> {
        self.attempts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What is known of a job's planning.
    #[must_use]
    pub fn planning(&self, job: &JobName) -> Planning {
        match self.lock().get(job) {
            None => Planning::Unknown,
            Some(attempt) => match &attempt.state {
                State::Underway | State::Storing => Planning::Underway {
                    attempt: attempt.number,
                    awaited: attempt.awaited.clone(),
                },
                State::Failed { reason, transient } => Planning::Failed {
                    reason: reason.clone(),
                    transient: *transient,
                },
                State::Stored(plan) => Planning::Stored {
                    plan: plan.clone(),
                    sources: attempt.reports.values().cloned().collect(),
                    effort: attempt.effort,
                },
                State::Sampled(samples) => Planning::Sampled {
                    samples: samples.clone(),
                    effort: attempt.effort,
                },
            },
        }
    }

    /// What the tasks of a job's attempt have cost that have come back, be it with nothing.
    #[must_use]
    pub fn spent(&self, job: &JobName) -> Effort {
        self.lock()
            .get(job)
            .map_or_else(Effort::default, |attempt| attempt.effort)
    }

    /// Begins an attempt, whose tasks workers will do. What was sent under an older one is dropped.
    pub fn begin(&self, job: &JobView, number: u64) {
        let attempt = Attempt {
            number,
            awaited: crate::lead::tasks(job),
            sources: HashMap::new(),
            reports: BTreeMap::new(),
            effort: Effort::default(),
            state: State::Underway,
        };
        self.lock().insert(job.name.clone(), attempt);
        self.moved.notify_one();
    }

    /// Forgets all attempts but these jobs'.
    pub fn retain(&self, planning: impl Fn(&JobName) -> bool) {
        self.lock().retain(|job, _| planning(job));
    }

    /// Whether a report of this task is wanted under this attempt.
    ///
    /// # Errors
    /// Where it is not.
    pub fn awaits(&self, job: &JobName, task: PlanningTask, number: u64) -> Result<(), Unwanted> {
        awaited(&mut self.lock(), job, task, number).map(|_| ())
    }

    /// Takes what a task gave that was done to its end.
    ///
    /// # Errors
    /// Where it is not wanted (any more).
    pub fn accept(
        &self,
        job: &JobName,
        task: PlanningTask,
        number: u64,
        outcome: Outcome,
        effort: Effort,
    ) -> Result<(), Unwanted> {
        {
            let mut attempts = self.lock();
            let attempt = awaited(&mut attempts, job, task, number)?;
            match (task, outcome) {
                (PlanningTask::Source(n), Outcome::Read { entries, report }) => {
                    attempt.sources.insert(n, entries);
                    attempt.reports.insert(n, report);
                }
                (PlanningTask::Prepare, Outcome::Prepared) => {}
                (PlanningTask::Sample, Outcome::Sampled(samples)) => {
                    attempt.state = State::Sampled(samples);
                }
                _ => return Err(Unwanted::Task),
            }
            attempt.awaited.remove(&task);
            attempt.effort += effort;
        }
        self.moved.notify_one();
        Ok(())
    }

    /// Takes note that an attempt has failed, and what the task cost that failed. Of several reasons one that stays goes
    /// before one that may pass.
    pub fn fail(
        &self,
        job: &JobName,
        number: u64,
        reason: String,
        transient: bool,
        effort: Effort,
    ) {
        self.conclude(job, number, |attempt| {
            attempt.effort += effort;
            if transient && matches!(attempt.state, State::Failed { .. }) {
                return;
            }
            attempt.state = State::Failed { reason, transient };
        });
    }

    fn conclude(&self, job: &JobName, number: u64, conclude: impl FnOnce(&mut Attempt)) {
        if let Some(attempt) = self
            .lock()
            .get_mut(job)
            .filter(|attempt| attempt.number == number)
        {
            conclude(attempt);
        }
        self.moved.notify_one();
    }

    /// Takes a job's attempt whose sources have all been read and whose loaders can be used, to store its plan: once.
    pub fn take_complete(&self, job: &JobName) -> Option<Complete> {
        let mut attempts = self.lock();
        let attempt = attempts.get_mut(job)?;
        if !matches!(attempt.state, State::Underway) || !attempt.awaited.is_empty() {
            return None;
        }
        attempt.state = State::Storing;
        Some(Complete {
            job: job.clone(),
            attempt: attempt.number,
            sources: std::mem::take(&mut attempt.sources),
        })
    }

    /// Ranks a complete attempt's entries and stores the plan; the result shows in [`Intake::planning`].
    pub async fn store(
        &self,
        job: &JobView,
        complete: Complete,
        stores: (&dyn Store, &PlanStore),
        epoch: Epoch,
        workers: usize,
    ) {
        let (name, number) = (complete.job.clone(), complete.attempt);
        let stored = store(job, complete, stores, epoch, workers).await;
        self.conclude(&name, number, |attempt| match stored {
            Ok((plan, reports)) => {
                attempt.reports.extend(reports);
                let uploads = &job.record.value.uploads;
                attempt.reports.extend(uploads.iter().map(|(n, upload)| {
                    let report = SourceReport {
                        entries: upload.entries,
                        ..SourceReport::default()
                    };
                    (*n, report)
                }));
                attempt.state = State::Stored(plan);
            }
            Err(error) => {
                let transient = match &error {
                    StoringError::PlanStore(error) => {
                        matches!(error, PlanStoreError::Object { .. })
                    }
                    StoringError::Earlier(error) => error.may_pass(),
                    _ => false,
                };
                attempt.state = State::Failed {
                    reason: explain(&error),
                    transient,
                };
            }
        });
    }
}

/// Why a plan could not be made of what the sources gave.
#[derive(Debug, thiserror::Error)]
enum StoringError {
    #[error(transparent)]
    TooMany(#[from] TooManyEntries),
    #[error("an uploaded batch is damaged")]
    Upload(#[from] plan_store::BadBatch),
    #[error(transparent)]
    PlanStore(#[from] PlanStoreError),
    #[error(transparent)]
    Earlier(#[from] EarlierError),
    #[error("ranking was cut off")]
    CutOff(#[from] tokio::task::JoinError),
}

async fn store(
    job: &JobView,
    complete: Complete,
    (records, plans): (&dyn Store, &PlanStore),
    epoch: Epoch,
    workers: usize,
) -> Result<(PlanSummary, BTreeMap<u32, SourceReport>), StoringError> {
    let Work::Batch(batch) = &job.record.value.spec.work;
    let loaders = batch.loaders.len();
    let mut sources = complete.sources;
    for (n, upload) in &job.record.value.uploads {
        let mut entries = Vec::new();
        let source = usize::try_from(*n).ok().and_then(|n| batch.sources.get(n));
        let loader = source.map_or(0, |source| source.loader);
        for batch in plans.read_upload(&upload.object).await? {
            let names_none = batch.loaders.is_empty();
            let mut read = plan_store::entries(batch, loaders)?;
            if names_none {
                read.iter_mut().for_each(|entry| entry.loader = loader);
            }
            entries.extend(read);
        }
        sources.insert(*n, entries);
    }
    let mut reports = BTreeMap::new();
    for (n, source) in (0u32..).zip(&batch.sources) {
        let From::Plan { job, which } = &source.from else {
            continue;
        };
        let mut earlier = Earlier::open(records, plans, job, *which, &batch.loaders).await?;
        let mut entries = Vec::new();
        while let Some(more) = earlier.next(plans).await? {
            entries.extend(more);
        }
        let report = SourceReport {
            entries: entries.len() as u64,
            ..SourceReport::default()
        };
        reports.insert(n, report);
        sources.insert(n, entries);
    }
    let merges = crate::lead::merges(job);
    let trace = &job.record.value.trace;
    let span = debug_span!(target: trace::TARGET, "rank", job = %job.name);
    let ranked = tokio::task::spawn_blocking(move || {
        let mut ranker = Ranker::new();
        // In the order of sources, so that the same sources give the same plan.
        for (n, merge) in (0u32..).zip(merges) {
            for entry in sources.remove(&n).unwrap_or_default() {
                ranker.offer(entry, merge)?;
            }
        }
        Ok::<_, TooManyEntries>(ranker.finish())
    })
    .instrument(trace::under(trace, span))
    .await??;
    let partitioning = Partitioning::for_workers(workers.saturating_mul(PARTITIONS_FINER));
    let span = debug_span!(target: trace::TARGET, "store plan", job = %job.name);
    let plan = plans
        .write_plan(&complete.job, epoch, complete.attempt, ranked, partitioning)
        .instrument(trace::under(trace, span))
        .await?;
    Ok((plan, reports))
}

/// Who reports on a task, as the stream's header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The job.
    pub job: JobName,
    /// The task.
    pub task: PlanningTask,
    /// The attempt.
    pub attempt: u64,
    /// The worker.
    pub worker: WorkerName,
}
