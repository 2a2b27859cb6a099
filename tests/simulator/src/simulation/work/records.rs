//! The records of jobs as they stand in the store, for the checks and for those who act from outside.

use std::collections::{BTreeMap, BTreeSet};

use stoke_core::job::Life;
use stoke_core::names::{JobName, WorkerName};
use stoke_core::records::{self, Assignment, Checkpoint, keys};
use stoke_store::{KeyValue, Op, Revision};

use crate::simulation::store::decode;

/// An owner of partitions, and how they stand with it.
pub(in crate::simulation) type Owner = (WorkerName, Assignment);

/// A record of a worker's about a job.
type Of = (JobName, WorkerName);

/// All of them.
#[derive(Debug, Default)]
pub(in crate::simulation) struct Records {
    pub(in crate::simulation) lives: BTreeMap<JobName, Life>,
    jobs: BTreeMap<JobName, records::Job>,
    pasts: BTreeMap<JobName, records::Past>,
    assignments: BTreeMap<Of, (Assignment, Revision)>,
    checkpoints: BTreeMap<Of, Checkpoint>,
    /// Who does a task of planning.
    readers: BTreeMap<String, WorkerName>,
    /// The jobs of which something has changed since the checks last looked.
    pub(in crate::simulation) touched: BTreeSet<JobName>,
    /// Somebody has got something to do, or lost it, since that was last looked at.
    pub(in crate::simulation) moved: bool,
}

impl Records {
    /// Takes note of an operation that was committed.
    pub(in crate::simulation) fn note(&mut self, op: &Op, revision: Revision) {
        let (key, entry) = match op {
            Op::Delete(key) => (key, None),
            Op::Put { key, value, .. } => {
                let entry = KeyValue {
                    key: key.clone(),
                    value: value.clone(),
                    create_revision: revision,
                    mod_revision: revision,
                    lease: None,
                };
                (key, Some(entry))
            }
        };
        let entry = entry.as_ref();
        let touched = if let Some(name) = named(key, keys::RUNS) {
            set(&mut self.lives, name.clone(), entry.map(decode));
            name
        } else if let Some(name) = named(key, keys::JOBS) {
            set(&mut self.jobs, name.clone(), entry.map(decode));
            name
        } else if let Some(name) = keys::past_job(key) {
            set(&mut self.pasts, name.clone(), entry.map(decode));
            name
        } else if let Some(of) = owned(key, keys::ASSIGNMENTS) {
            let found = entry.map(|entry| (decode(entry), revision));
            self.moved = true;
            set(&mut self.assignments, of.clone(), found);
            of.0
        } else if let Some(of) = owned(key, keys::CHECKPOINTS) {
            set(&mut self.checkpoints, of.clone(), entry.map(decode));
            of.0
        } else if key.starts_with(keys::READS) {
            let reader = entry.map(|entry| decode::<records::SourceTask>(entry).worker);
            set(&mut self.readers, key.clone(), reader);
            self.moved = true;
            return;
        } else {
            return;
        };
        self.touched.insert(touched);
    }

    /// Where a job is in its life, also once it is over.
    pub(in crate::simulation) fn life(&self, job: &JobName) -> Option<&Life> {
        let past = || self.pasts.get(job).map(|past| &past.life);
        self.lives.get(job).or_else(past)
    }

    /// A job's record, also once it is over.
    pub(in crate::simulation) fn record(&self, job: &JobName) -> Option<&records::Job> {
        let past = || self.pasts.get(job).map(|past| &past.job);
        self.jobs.get(job).or_else(past)
    }

    /// Who owns a job's partitions, and how those stand.
    pub(in crate::simulation) fn owners(&self, job: &JobName) -> Vec<Owner> {
        let own = self.assignments.iter().filter(|((of, _), _)| of == job);
        own.map(|(of, (assignment, _))| {
            let checkpoint = self.checkpoints.get(of);
            (of.1.clone(), assignment.folded(checkpoint))
        })
        .collect()
    }

    /// Whether an assignment of the job was last put at this revision.
    pub(in crate::simulation) fn has_assignment_of(&self, job: &JobName, revision: u64) -> bool {
        let mut all = self.assignments.iter();
        all.any(|((of, _), (_, at))| of == job && at.0 == revision)
    }

    /// Whether a worker has anything to do.
    pub(in crate::simulation) fn has_work(&self, worker: &WorkerName) -> bool {
        self.assignments.keys().any(|(_, owner)| owner == worker)
            || self.readers.values().any(|reader| reader == worker)
    }
}

fn set<K: Ord, V>(all: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => drop(all.insert(key, value)),
        None => drop(all.remove(&key)),
    }
}

fn named(key: &str, prefix: &str) -> Option<JobName> {
    key.strip_prefix(prefix)?.parse().ok()
}

fn owned(key: &str, prefix: &str) -> Option<Of> {
    let (job, worker) = key.strip_prefix(prefix)?.split_once('/')?;
    Some((job.parse().ok()?, worker.parse().ok()?))
}
