//! Jobs that are over and cleaned up, one record each, and lists of all jobs: any number, so in pages.

use std::collections::BTreeMap;

use stoke_core::ledger::Observed;
use stoke_core::names::{JobName, Resource};
use stoke_core::records::{Past, keys};
use stoke_store::record::RecordError;
use stoke_store::{KeyValue, Keys, Store};

use super::{At, JobView, View, ViewError, at, targets};

/// Some jobs, the newest first, all as they stood at one revision.
#[derive(Clone, Debug, Default)]
pub struct JobsPage {
    /// The jobs.
    pub jobs: Vec<JobView>,
    /// The job after which the next page begins; `None`: there is nothing more.
    pub next: Option<JobName>,
}

impl View {
    /// Reads jobs, the newest first, from the one after `after` on: all that are not cleaned up, and at most `past_max`
    /// of those that are.
    ///
    /// # Errors
    /// As [`View::read`].
    pub async fn read_jobs(
        store: &dyn Store,
        after: Option<&JobName>,
        past_max: usize,
    ) -> Result<JobsPage, ViewError> {
        let begin = after.map(keys::past).unwrap_or_default();
        let mut ranges = [
            keys::JOBS,
            keys::RUNS,
            keys::READS,
            keys::ASSIGNMENTS,
            keys::CHECKPOINTS,
            keys::LEDGERS,
        ]
        .map(|prefix| Keys::Prefix(prefix.to_owned()))
        .to_vec();
        ranges.push(Keys::Page {
            prefix: keys::PAST.to_owned(),
            after: begin.clone(),
            limit: past_max,
        });
        let snapshot = store.read(&ranges).await?;
        let view = Self::parse(&snapshot)?;
        let mut jobs: BTreeMap<String, JobView> = BTreeMap::new();
        let mut last_past = None;
        let mut past = 0;
        for entry in snapshot.entries.iter().filter(is_past) {
            past += 1;
            last_past = keys::past_job(&entry.key);
            match past_job(entry, &view.resources) {
                Ok(job) => jobs.extend(job.map(|job| (entry.key.clone(), job))),
                Err(error) => {
                    tracing::warn!(
                        error = stoke_core::explain::explain(&error),
                        "cannot show a job that is over"
                    );
                }
            }
        }
        let next = last_past.filter(|_| past == past_max);
        let end = next.as_ref().map(keys::past);
        let live = view.jobs.into_iter();
        // Beyond what was read of the past, others may lie between them.
        jobs.extend(
            live.map(|(name, job)| (keys::past(&name), job))
                .filter(|(key, _)| *key > begin && end.as_ref().is_none_or(|end| key <= end)),
        );
        Ok(JobsPage {
            jobs: jobs.into_values().collect(),
            next,
        })
    }
}

pub(super) fn is_past(entry: &&KeyValue) -> bool {
    entry.key.starts_with(keys::PAST)
}

/// A job that is over and cleaned up; `None` where the key names none.
pub(super) fn past_job(
    entry: &KeyValue,
    resources: &BTreeMap<Resource, Observed>,
) -> Result<Option<JobView>, RecordError> {
    let Some(name) = keys::past_job(&entry.key) else {
        return Ok(None);
    };
    let past: At<Past> = at(entry)?;
    Ok(Some(JobView {
        name,
        targets: targets(&past.value.job, resources),
        record: At {
            value: past.value.job,
            revision: past.revision,
        },
        life: At {
            value: past.value.life,
            revision: past.revision,
        },
        reads: BTreeMap::new(),
        owners: BTreeMap::new(),
        unread: BTreeMap::new(),
        is_past: true,
    }))
}
