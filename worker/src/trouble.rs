//! What keeps this worker from going on with a job at the moment, for whoever looks at the job. For display only.
//!
//! A trouble is noted whenever an attempt fails that will be made again, and cleared when one succeeds or nobody tries any
//! more. Texts come from errors, which hold no credentials, and are bounded.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use stoke_core::names::JobName;
use stoke_core::records::PlanningTask;
use stoke_proto::v1::JobTrouble;

use crate::worker::Shared;

/// The longest text of one job, in characters.
const TEXT_MAX: usize = 600;
/// Of how many jobs troubles are told at most.
const JOBS_MAX: usize = 100;

/// What is in trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// The coordination store.
    Store,
    /// A task of planning.
    Planning(PlanningTask),
    /// The stream of entries from the coordinators.
    Entries,
    /// The origin, as a whole.
    Origin,
    /// A cache, as a whole, by its place among the job's.
    Cache(usize),
    /// Single entries, which are tried again.
    Retries,
    /// Checkpoints, or the lists of failures before them.
    Checkpoint,
}

/// The troubles of all of a worker's jobs.
#[derive(Debug, Default)]
pub(crate) struct Troubles(Mutex<BTreeMap<JobName, BTreeMap<Cause, String>>>);

impl Troubles {
    /// Notes what is in the way, in place of what was noted before.
    pub(crate) fn note(&self, job: &JobName, cause: Cause, text: impl Into<String>) {
        let mut text = text.into();
        if let Some((end, _)) = text.char_indices().nth(TEXT_MAX) {
            text.truncate(end);
        }
        self.all()
            .entry(job.clone())
            .or_default()
            .insert(cause, text);
    }

    /// It is not in the way any more.
    pub(crate) fn clear(&self, job: &JobName, cause: Cause) {
        let mut all = self.all();
        if let Some(of_job) = all.get_mut(job) {
            of_job.remove(&cause);
            if of_job.is_empty() {
                all.remove(job);
            }
        }
    }

    /// It is in no job's way any more.
    pub(crate) fn clear_of_all(&self, cause: Cause) {
        self.all().retain(|_, causes| {
            causes.remove(&cause);
            !causes.is_empty()
        });
    }

    /// All of it, in one text for each job.
    pub(crate) fn report(&self) -> Vec<JobTrouble> {
        let text = |causes: &BTreeMap<Cause, String>| {
            let texts: Vec<&str> = causes.values().map(String::as_str).collect();
            texts.join("; ").chars().take(TEXT_MAX).collect()
        };
        let all = self.all();
        all.iter()
            .take(JOBS_MAX)
            .map(|(job, causes)| JobTrouble {
                job: job.to_string(),
                what: text(causes),
            })
            .collect()
    }

    fn all(&self) -> MutexGuard<'_, BTreeMap<JobName, BTreeMap<Cause, String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whoever may get into trouble; when it is dropped, its troubles are over.
pub(crate) struct Troubled {
    shared: std::sync::Arc<Shared>,
    job: JobName,
    causes: Vec<Cause>,
}

impl Troubled {
    /// By these causes, and no others.
    pub(crate) fn by(
        shared: &std::sync::Arc<Shared>,
        job: &JobName,
        causes: impl Into<Vec<Cause>>,
    ) -> Self {
        Self {
            shared: std::sync::Arc::clone(shared),
            job: job.clone(),
            causes: causes.into(),
        }
    }
}

impl Drop for Troubled {
    fn drop(&mut self) {
        for cause in &self.causes {
            self.shared.troubles.clear(&self.job, *cause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(troubles: &Troubles) -> Vec<(String, String)> {
        let told = troubles.report().into_iter();
        told.map(|trouble| (trouble.job, trouble.what)).collect()
    }

    #[test]
    fn a_trouble_is_told_until_it_is_cleared() {
        let (troubles, a, b) = (
            Troubles::default(),
            "a".parse().unwrap(),
            "b".parse().unwrap(),
        );
        troubles.note(&a, Cause::Cache(0), "cache main: gone");
        troubles.note(&a, Cause::Origin, "origin shop: gone");
        troubles.note(&b, Cause::Entries, "no coordinator");
        troubles.note(&b, Cause::Entries, "still none");
        let expected = [
            ("a", "origin shop: gone; cache main: gone"),
            ("b", "still none"),
        ];
        assert_eq!(
            reported(&troubles),
            expected.map(|(job, text)| (job.into(), text.into()))
        );
        troubles.clear(&a, Cause::Origin);
        troubles.clear(&b, Cause::Entries);
        assert_eq!(
            reported(&troubles),
            [("a".into(), "cache main: gone".into())]
        );
        troubles.clear(&a, Cause::Cache(0));
        assert_eq!(reported(&troubles), []);
    }

    #[test]
    fn texts_are_bounded() {
        let (troubles, job) = (Troubles::default(), "a".parse().unwrap());
        troubles.note(&job, Cause::Cache(0), "ü".repeat(10_000));
        troubles.note(&job, Cause::Origin, "x".repeat(10_000));
        assert_eq!(troubles.report()[0].what.chars().count(), TEXT_MAX);
    }
}
