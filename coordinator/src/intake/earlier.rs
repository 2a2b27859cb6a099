//! Another job's plan as a key source: its entries, a band at a time, read from the plan store by the leader itself.
//!
//! In memory are one band, the ranks of those that failed there (8 bytes each), and a sample where one is asked for; what is
//! chosen goes to the ranking, which spills.

use stoke_core::job::{From, Loader, Which, Work};
use stoke_core::names::{JobName, LoaderName};
use stoke_core::plan::{Choice, Entry, PlanSummary};
use stoke_core::units::BandId;

use super::{Stores, begin_source};
use crate::plan_store::{PlanStore, PlanStoreError};
use crate::ranking::{Collected, RankingError};
use crate::view::{JobView, View, ViewError};

/// How many entries the ranking is given at once.
const ENTRIES_AT_ONCE: usize = 5000;

/// Why another job's entries could not be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum EarlierError {
    #[error("the job {0}, whose plan is a key source, is not there any more")]
    NoJob(JobName),
    #[error("the plan of the job {0}, or its list of failures, is not in the plan store any more")]
    Gone(JobName),
    #[error("entries of the job {job} are loaded by {loader}, which this job does not have")]
    Loader { job: JobName, loader: LoaderName },
    #[error(transparent)]
    Records(#[from] ViewError),
    #[error(transparent)]
    PlanStore(#[from] PlanStoreError),
    #[error(transparent)]
    Ranking(#[from] RankingError),
}

impl EarlierError {
    /// Whether another attempt may succeed.
    pub(super) const fn is_transient(&self) -> bool {
        match self {
            Self::Records(ViewError::Store(_)) | Self::PlanStore(PlanStoreError::Object { .. }) => {
                true
            }
            Self::Ranking(error) => error.is_transient(),
            _ => false,
        }
    }
}

/// Collects the entries of those of a job's sources, by number, that are plans of other jobs.
pub(super) async fn collect_all(
    job: &JobView,
    stores: Stores<'_>,
) -> Result<Vec<(u32, Collected)>, EarlierError> {
    let Work::Batch(batch) = &job.record.value.spec.work;
    let mut all = Vec::new();
    for (n, source) in (0u32..).zip(&batch.sources) {
        if let From::Plan { job: of, which } = &source.from {
            let earlier = Earlier::open(stores, of, *which, &batch.loaders).await?;
            let rows = begin_source(job, n, stores.ranking);
            all.push((n, earlier.collect(rows, stores.plans).await?));
        }
    }
    Ok(all)
}

/// Another job's entries.
#[derive(Debug)]
struct Earlier {
    job: JobName,
    plan: PlanSummary,
    /// Which of this job's loaders each of the other's is, and the other's name.
    loaders: Vec<(Option<u32>, LoaderName)>,
    /// Gone once it has given its sample.
    choice: Option<Choice>,
    next: BandId,
}

impl Earlier {
    /// Of `job`, for a job with these loaders.
    async fn open(
        Stores { records, plans, .. }: Stores<'_>,
        job: &JobName,
        which: Which,
        loaders: &[Loader],
    ) -> Result<Self, EarlierError> {
        let view = View::read_job(records, job).await?;
        let view = view.ok_or_else(|| EarlierError::NoJob(job.clone()))?;
        let Some(plan) = view.record.value.plan.clone() else {
            return Err(EarlierError::Gone(job.clone()));
        };
        let failed = failed_ranks(plans, &view).await?;
        let Work::Batch(batch) = &view.record.value.spec.work;
        let here = |there: &Loader| {
            let place = loaders.iter().position(|loader| loader.name == there.name);
            let place = place.and_then(|n| u32::try_from(n).ok());
            (place, there.name.clone())
        };
        Ok(Self {
            job: job.clone(),
            plan,
            loaders: batch.loaders.iter().map(here).collect(),
            choice: Some(Choice::new(which, failed)),
            next: BandId(0),
        })
    }

    /// Adds all of them to these rows.
    async fn collect(
        mut self,
        mut rows: Collected,
        plans: &PlanStore,
    ) -> Result<Collected, EarlierError> {
        while let Some(entries) = self.next(plans).await? {
            for few in entries.chunks(ENTRIES_AT_ONCE) {
                rows = rows.add_entries(few).await?;
                // A band's take a while, and nothing waits in between where memory holds them.
                tokio::task::yield_now().await;
            }
        }
        Ok(rows.complete().await?)
    }

    /// The next of its entries, in the order of their ranks; `None` after the last.
    async fn next(&mut self, plans: &PlanStore) -> Result<Option<Vec<Entry>>, EarlierError> {
        let Some(choice) = &mut self.choice else {
            return Ok(None);
        };
        let mut entries = Vec::new();
        if self.next.0 < self.plan.bands {
            let first = u64::from(self.next.0) * BandId::RANKS;
            if choice.wants_any(first..first + BandId::RANKS) {
                let band = plans.read_band(&self.plan, self.next).await;
                let band = band.map_err(|error| or_gone(error, &self.job))?;
                entries.extend(
                    band.into_iter()
                        .filter_map(|(rank, e)| choice.offer(rank, e)),
                );
            }
            self.next.0 += 1;
        } else {
            entries.extend(self.choice.take().map(Choice::finish).into_iter().flatten());
        }
        for entry in &mut entries {
            let there = usize::try_from(entry.loader).ok();
            match there.and_then(|n| self.loaders.get(n)) {
                Some((Some(here), _)) => entry.loader = *here,
                Some((None, loader)) => {
                    return Err(EarlierError::Loader {
                        job: self.job.clone(),
                        loader: loader.clone(),
                    });
                }
                None => return Err(EarlierError::Gone(self.job.clone())),
            }
        }
        Ok(Some(entries))
    }
}

fn or_gone(error: PlanStoreError, job: &JobName) -> EarlierError {
    if error.is_gone() {
        EarlierError::Gone(job.clone())
    } else {
        error.into()
    }
}

/// The ranks of the entries that failed in a job, chunk by chunk.
async fn failed_ranks(plans: &PlanStore, job: &JobView) -> Result<Vec<u64>, EarlierError> {
    let mut ranks = Vec::new();
    for log in job.failures() {
        for chunk in 0..log.chunks {
            let read = plans.read_failures(&job.name, &log.log, chunk).await;
            let failures = read.map_err(|error| or_gone(error, &job.name))?;
            ranks.extend(failures.into_iter().map(|failure| failure.rank));
        }
    }
    Ok(ranks)
}
