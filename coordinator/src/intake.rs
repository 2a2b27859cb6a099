//! What this leader holds of plans in the making: the entries that workers send from key sources.
//!
//! It is this process's memory only. A new leader knows nothing of it and starts another attempt; what belongs to an
//! older attempt is refused.

use std::collections::HashMap;
use std::sync::Mutex;

use stoke_core::explain::explain;
use stoke_core::job::{From, Work};
use stoke_core::names::{JobName, WorkerName};
use stoke_core::plan::{Entry, PlanSummary, Ranker, TooManyEntries};
use stoke_core::progress::Effort;
use stoke_core::slot::Partitioning;
use stoke_core::units::Epoch;
use tokio::sync::Notify;

use crate::lead::Planning;
use crate::plan_store::{self, PlanStore, PlanStoreError};
use crate::view::JobView;

/// A plan's partitions are so much finer than the fewest that share evenly: with 256 a worker, the ring keeps its bound
/// on what moves when a worker comes or goes, too (as far as there are slots: up to 64 workers).
const PARTITIONS_FINER: usize = 4;

/// Why a worker's entries are not wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unwanted {
    /// Nobody is planning this job under this attempt here.
    #[error("nobody is planning this under that attempt here")]
    Attempt,
    /// The source was read already, or is not one to be read.
    #[error("this source is not being waited for")]
    Source,
}

/// How reading one source stands.
#[derive(Debug)]
enum Source {
    Awaited,
    Read(Vec<Entry>),
}

#[derive(Debug)]
struct Attempt {
    number: u64,
    sources: HashMap<u32, Source>,
    effort: Effort,
    state: State,
}

impl Attempt {
    /// The sources that have not been read yet.
    fn awaited(&self) -> impl Iterator<Item = u32> {
        let awaited =
            |(n, source): (&u32, &Source)| matches!(source, Source::Awaited).then_some(*n);
        self.sources.iter().filter_map(awaited)
    }
}

#[derive(Clone, Debug)]
enum State {
    Reading,
    Storing,
    Stored(PlanSummary),
    Failed { reason: String, transient: bool },
}

/// The plans in the making.
#[derive(Debug, Default)]
pub struct Intake {
    attempts: Mutex<HashMap<JobName, Attempt>>,
    /// Told whenever something moved on.
    pub moved: Notify,
}

/// The attempt that waits for this source.
fn awaited<'a>(
    attempts: &'a mut HashMap<JobName, Attempt>,
    job: &JobName,
    source: u32,
    number: u64,
) -> Result<&'a mut Attempt, Unwanted> {
    let attempt = attempts
        .get_mut(job)
        .filter(|attempt| attempt.number == number);
    let attempt = attempt.ok_or(Unwanted::Attempt)?;
    if attempt.awaited().any(|awaited| awaited == source) {
        Ok(attempt)
    } else {
        Err(Unwanted::Source)
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
                State::Reading | State::Storing => Planning::Underway {
                    attempt: attempt.number,
                    awaited: attempt.awaited().collect(),
                },
                State::Failed { reason, transient } => Planning::Failed {
                    reason: reason.clone(),
                    transient: *transient,
                },
                State::Stored(plan) => Planning::Stored {
                    plan: plan.clone(),
                    effort: attempt.effort,
                },
            },
        }
    }

    /// Begins an attempt, whose sources workers will read. What was sent under an older one is dropped.
    pub fn begin(&self, job: &JobView, number: u64) {
        let Work::Batch(batch) = &job.record.value.spec.work;
        let awaited = (0u32..)
            .zip(&batch.sources)
            .filter(|(_, source)| source.from != From::Upload);
        let sources = awaited.map(|(n, _)| (n, Source::Awaited)).collect();
        let attempt = Attempt {
            number,
            sources,
            effort: Effort::default(),
            state: State::Reading,
        };
        self.lock().insert(job.name.clone(), attempt);
        self.moved.notify_one();
    }

    /// Forgets all attempts but these jobs'.
    pub fn retain(&self, planning: impl Fn(&JobName) -> bool) {
        self.lock().retain(|job, _| planning(job));
    }

    /// Whether entries of this source are wanted under this attempt.
    ///
    /// # Errors
    /// Where they are not.
    pub fn awaits(&self, job: &JobName, source: u32, number: u64) -> Result<(), Unwanted> {
        awaited(&mut self.lock(), job, source, number).map(|_| ())
    }

    /// Takes all entries of a source that was read to its end.
    ///
    /// # Errors
    /// Where they are not wanted (any more).
    pub fn accept(
        &self,
        job: &JobName,
        source: u32,
        number: u64,
        entries: Vec<Entry>,
        effort: Effort,
    ) -> Result<(), Unwanted> {
        {
            let mut attempts = self.lock();
            let attempt = awaited(&mut attempts, job, source, number)?;
            attempt.sources.insert(source, Source::Read(entries));
            attempt.effort += effort;
        }
        self.moved.notify_one();
        Ok(())
    }

    /// Takes note that an attempt has failed.
    pub fn fail(&self, job: &JobName, number: u64, reason: String, transient: bool) {
        self.conclude(job, number, State::Failed { reason, transient });
    }

    fn conclude(&self, job: &JobName, number: u64, state: State) {
        if let Some(attempt) = self
            .lock()
            .get_mut(job)
            .filter(|attempt| attempt.number == number)
        {
            attempt.state = state;
        }
        self.moved.notify_one();
    }

    /// Takes a job's attempt whose sources have all been read, to store its plan: once.
    pub fn take_complete(&self, job: &JobName) -> Option<Complete> {
        let mut attempts = self.lock();
        let attempt = attempts.get_mut(job)?;
        let all_read = attempt
            .sources
            .values()
            .all(|source| matches!(source, Source::Read(_)));
        if !matches!(attempt.state, State::Reading) || !all_read {
            return None;
        }
        attempt.state = State::Storing;
        let read =
            std::mem::take(&mut attempt.sources)
                .into_iter()
                .map(|(n, source)| match source {
                    Source::Read(entries) => (n, entries),
                    Source::Awaited => (n, Vec::new()),
                });
        Some(Complete {
            job: job.clone(),
            attempt: attempt.number,
            sources: read.collect(),
        })
    }

    /// Ranks a complete attempt's entries and stores the plan; the result shows in [`Intake::planning`].
    pub async fn store(
        &self,
        job: &JobView,
        complete: Complete,
        plans: &PlanStore,
        epoch: Epoch,
        workers: usize,
    ) {
        let (name, number) = (complete.job.clone(), complete.attempt);
        let state = match store(job, complete, plans, epoch, workers).await {
            Ok(plan) => State::Stored(plan),
            Err(error) => {
                let transient = matches!(
                    error,
                    StoringError::PlanStore(PlanStoreError::Object { .. })
                );
                State::Failed {
                    reason: explain(&error),
                    transient,
                }
            }
        };
        self.conclude(&name, number, state);
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
    #[error("ranking was cut off")]
    CutOff(#[from] tokio::task::JoinError),
}

async fn store(
    job: &JobView,
    complete: Complete,
    plans: &PlanStore,
    epoch: Epoch,
    workers: usize,
) -> Result<PlanSummary, StoringError> {
    let Work::Batch(batch) = &job.record.value.spec.work;
    let loaders = batch.loaders.len();
    let mut sources = complete.sources;
    for (n, upload) in &job.record.value.uploads {
        let mut entries = Vec::new();
        for batch in plans.read_upload(&upload.object).await? {
            entries.extend(plan_store::entries(batch, loaders)?);
        }
        sources.insert(*n, entries);
    }
    let merges = crate::lead::merges(job);
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
    .await??;
    let partitioning = Partitioning::for_workers(workers.saturating_mul(PARTITIONS_FINER));
    Ok(plans
        .write_plan(&complete.job, epoch, complete.attempt, ranked, partitioning)
        .await?)
}

/// Who sends the entries of a source, as the stream's header says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The job.
    pub job: JobName,
    /// The source's index.
    pub source: u32,
    /// The attempt.
    pub attempt: u64,
    /// The worker.
    pub worker: WorkerName,
}
