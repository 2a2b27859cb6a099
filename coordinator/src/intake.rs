//! What this leader holds of plans in the making: what workers report of the tasks of planning.
//!
//! It is this process's only: in memory and, as far as `ranking` spills, in files without names. A new leader knows
//! nothing of it and starts another attempt; what belongs to an older attempt is refused, and what it had spilled is gone.

mod earlier;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::Duration;

use stoke_core::explain::explain;
use stoke_core::job::{Merge, Weight, Work};
use stoke_core::names::{JobName, WorkerName};
use stoke_core::plan::{PlanSummary, RankError};
use stoke_core::progress::Effort;
use stoke_core::records::{LoaderSample, PlanningTask, Room, SourceReport};
use stoke_core::slot::{Partitioning, Slots};
use stoke_core::units::Epoch;
use stoke_store::Store;
use tokio::sync::Notify;
use tracing::{Instrument, debug_span};

use crate::lead::Planning;
use crate::plan_store::{PlanStore, PlanStoreError, WriteError};
use crate::ranking::{Collected, Loaders, Ranking, RankingError, SpillError};
use crate::trace;
use crate::view::JobView;
use earlier::EarlierError;

/// A plan's partitions are so much finer than the fewest that share evenly: with 256 a worker, the ring keeps its bound
/// on what moves when a worker comes or goes, too (as far as there are slots: up to 64 workers).
const PARTITIONS_FINER: usize = 4;
/// How long until planning is tried again after the first failure that may pass; doubled with each attempt.
const PLAN_AGAIN: Duration = Duration::from_millis(250);

/// How long until planning is tried again, so that its attempts outlast a short outage.
pub(crate) fn retry_after(attempt: u64) -> Duration {
    PLAN_AGAIN * (1 << attempt.min(5))
}

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
    /// The rows of a key source, and what there is to say of its reading.
    Read {
        /// All of them.
        rows: Box<Collected>,
        /// Counts and examples.
        report: SourceReport,
    },
    /// The loaders' queries can be used.
    Prepared {
        /// What the nodes own whose slots are warmed.
        slots: Slots,
        /// What is known of the room that the cache has.
        room: Option<Room>,
    },
    /// The loaders were tried.
    Sampled {
        /// What each gave.
        samples: Vec<LoaderSample>,
        /// What is known of the room that the cache has, where that was to be found out.
        room: Option<Room>,
    },
}

#[derive(Debug)]
struct Attempt {
    number: u64,
    /// The tasks that have not been done yet.
    awaited: BTreeSet<PlanningTask>,
    sources: BTreeMap<u32, Collected>,
    reports: BTreeMap<u32, SourceReport>,
    /// What the nodes own whose slots are warmed.
    slots: Slots,
    /// What is known of the room that the cache has.
    room: Option<Room>,
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

/// What a plan is made with.
#[derive(Clone, Copy)]
pub(crate) struct Stores<'a> {
    /// Where other jobs' records are.
    pub(crate) records: &'a dyn Store,
    /// Where uploads and plans are.
    pub(crate) plans: &'a PlanStore,
    /// What ranks it.
    pub(crate) ranking: &'a Ranking,
}

/// All that a complete attempt takes to become a plan.
#[derive(Debug)]
pub struct Complete {
    job: JobName,
    attempt: u64,
    sources: BTreeMap<u32, Collected>,
    /// What the nodes own whose slots are warmed.
    slots: Slots,
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
                    room: attempt.room.clone(),
                    effort: attempt.effort,
                },
                State::Sampled(samples) => Planning::Sampled {
                    samples: samples.clone(),
                    room: attempt.room.clone(),
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
            sources: BTreeMap::new(),
            reports: BTreeMap::new(),
            slots: Slots::default(),
            room: None,
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
                (PlanningTask::Source(n), Outcome::Read { rows, report }) => {
                    attempt.sources.insert(n, *rows);
                    attempt.reports.insert(n, report);
                }
                (PlanningTask::Prepare, Outcome::Prepared { slots, room }) => {
                    attempt.slots = slots;
                    attempt.room = room;
                }
                (PlanningTask::Sample, Outcome::Sampled { samples, room }) => {
                    attempt.room = room;
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
            slots: std::mem::take(&mut attempt.slots),
        })
    }

    /// Ranks a complete attempt's entries and stores the plan; the result shows in [`Intake::planning`].
    pub(crate) async fn store(
        &self,
        job: &JobView,
        complete: Complete,
        stores: Stores<'_>,
        epoch: Epoch,
        workers: usize,
    ) {
        let (name, number) = (complete.job.clone(), complete.attempt);
        let partitioning = Partitioning::for_workers(workers.saturating_mul(PARTITIONS_FINER));
        let stored = store(job, complete, stores, epoch, partitioning).await;
        let stored = match stored {
            Ok(stored) => Ok(stored),
            Err(error) => {
                let transient = error.is_transient();
                if transient {
                    tokio::time::sleep(retry_after(number)).await;
                }
                Err((explain(&error), transient))
            }
        };
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
            Err((reason, transient)) => attempt.state = State::Failed { reason, transient },
        });
    }
}

/// Why a plan could not be made of what the sources gave.
#[derive(Debug, thiserror::Error)]
enum StoringError {
    #[error(transparent)]
    PlanStore(#[from] PlanStoreError),
    #[error(transparent)]
    Earlier(#[from] EarlierError),
    #[error(transparent)]
    Ranking(#[from] RankingError),
    #[error(
        "the worker that prepared the job did not say which slots the nodes own whose slots are to be warmed: it is older than \
         this coordinator"
    )]
    NodesUnknown,
    #[error("an uploaded batch is damaged")]
    Upload(#[source] RankingError),
}

impl StoringError {
    fn is_transient(&self) -> bool {
        match self {
            Self::PlanStore(error) => matches!(error, PlanStoreError::Object { .. }),
            Self::Earlier(error) => error.is_transient(),
            Self::Ranking(error) => error.is_transient(),
            Self::Upload(_) | Self::NodesUnknown => false,
        }
    }
}

impl From<WriteError<RankError<SpillError>>> for StoringError {
    fn from(error: WriteError<RankError<SpillError>>) -> Self {
        match error {
            WriteError::Entries(error) => Self::Ranking(error.into()),
            WriteError::PlanStore(error) => Self::PlanStore(error),
            WriteError::CutOff(error) => Self::Ranking(error.into()),
        }
    }
}

async fn store(
    job: &JobView,
    complete: Complete,
    stores: Stores<'_>,
    epoch: Epoch,
    partitioning: Partitioning,
) -> Result<(PlanSummary, BTreeMap<u32, SourceReport>), StoringError> {
    let Stores { plans, ranking, .. } = stores;
    let within = within(job, &complete.slots)?;
    let trace = &job.record.value.trace;
    let span = debug_span!(target: trace::TARGET, "rank", job = %job.name);
    let ranked = async {
        let mut sources: Vec<Collected> = complete.sources.into_values().collect();
        for (n, upload) in &job.record.value.uploads {
            sources.push(collect_upload(job, *n, &upload.object, plans, ranking).await?);
        }
        let mut reports = BTreeMap::new();
        for (n, rows) in earlier::collect_all(job, stores).await? {
            let report = SourceReport {
                entries: rows.rows(),
                ..SourceReport::default()
            };
            reports.insert(n, report);
            sources.push(rows);
        }
        let turn = ranking.turn(&sources).await;
        Ok::<_, StoringError>((ranking.rank(sources).await?, turn, reports))
    };
    let (ranked, _turn, reports) = ranked.instrument(trace::under(trace, span)).await?;
    let span = debug_span!(target: trace::TARGET, "store plan", job = %job.name);
    let attempt = complete.attempt;
    let storing = plans.write_plan(&complete.job, epoch, attempt, ranked, partitioning, within);
    let plan = storing.instrument(trace::under(trace, span)).await?;
    Ok((plan, reports))
}

/// The slots whose entries are planned, where the nodes own these; none: all are.
fn within(job: &JobView, of_nodes: &Slots) -> Result<Slots, StoringError> {
    let Work::Batch(batch) = &job.record.value.spec.work;
    if !batch.section.nodes.is_empty() && of_nodes.is_empty() {
        return Err(StoringError::NodesUnknown);
    }
    let mut within = batch.section.slots.clone();
    within.extend(of_nodes.ranges());
    Ok(within)
}

/// Collects the rows of an upload as if they came from a worker.
async fn collect_upload(
    job: &JobView,
    source: u32,
    object: &str,
    plans: &PlanStore,
    ranking: &Ranking,
) -> Result<Collected, StoringError> {
    let mut rows = begin_source(job, source, ranking);
    let mut upload = plans.read_upload(object).await?;
    while let Some(batch) = upload.next().await? {
        rows = rows.add(&batch).await.map_err(|error| match error {
            RankingError::Batch(_) => StoringError::Upload(error),
            error => error.into(),
        })?;
    }
    Ok(rows.complete().await?)
}

/// Begins to collect the rows of one of a job's sources.
pub(crate) fn begin_source(job: &JobView, source: u32, ranking: &Ranking) -> Collected {
    let Work::Batch(batch) = &job.record.value.spec.work;
    let spec = usize::try_from(source)
        .ok()
        .and_then(|n| batch.sources.get(n));
    let loaders = Loaders {
        count: batch.loaders.len(),
        default: spec.map_or(0, |source| source.loader),
    };
    let merge = spec.map_or_else(Merge::default, |source| source.merge);
    let weight = spec.map_or_else(Weight::default, |source| source.weight);
    ranking.collect(source, merge, loaders).weighted(weight)
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
