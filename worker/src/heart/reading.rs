//! What the store says that concerns this worker.

use std::collections::BTreeMap;

use stoke_core::job::Life;
use stoke_core::ledger::{Ack, Cap};
use stoke_core::names::{JobName, Resource};
use stoke_core::records::{Assignment, Checkpoint, Job, PlanningTask, SourceTask, Vigil, keys};
use stoke_store::record::{self};
use stoke_store::{KeyValue, Keys, Revision, Snapshot};

use super::BeatError;
use crate::job::{Assigned, AssignedTask};
use crate::worker::Shared;

/// How many jobs one read asks after: each takes three ranges.
const JOBS_PER_READ: usize = 40;

/// A record with its mod revision.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    pub(crate) revision: u64,
}

/// What the store says of one resource.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) cap: Option<(Cap, u64)>,
    pub(super) ack: Option<(Ack, u64)>,
    /// It is a cache, and has no budget.
    pub(super) unlimited: bool,
    /// Who keeps the vigil over it, and what for.
    pub(super) vigil: Option<Vigil>,
}

/// A job, and what of it is this worker's.
#[derive(Clone, Debug)]
pub(super) struct Mine {
    pub(super) life: At<Life>,
    pub(super) record: Job,
    pub(super) assignment: Option<Assigned>,
    /// Its tasks of planning, in their order.
    pub(super) tasks: Vec<AssignedTask>,
}

impl Mine {
    /// Whether this worker has anything to do with the job.
    pub(super) fn is_held(&self) -> bool {
        self.assignment.is_some() || !self.tasks.is_empty()
    }
}

/// All that concerns this worker.
#[derive(Clone, Debug, Default)]
pub(super) struct Records {
    pub(super) revision: Revision,
    pub(super) cluster_id: u64,
    pub(super) resources: BTreeMap<Resource, Found>,
    /// Whether others see this worker: a hint to them, and to whoever asks.
    pub(super) is_member: bool,
    /// Jobs that are not over and that this worker has something to do with.
    pub(super) jobs: BTreeMap<JobName, Mine>,
}

/// Reads it: first the lives of all jobs, the tasks of planning, the caps and the vigils; then, of jobs that are not over, what is
/// this worker's.
pub(super) async fn read(shared: &Shared, resources: &[Resource]) -> Result<Records, BeatError> {
    let mut ranges = vec![
        Keys::Prefix(keys::RUNS.to_owned()),
        Keys::Prefix(keys::READS.to_owned()),
        Keys::One(keys::member(&shared.name)),
    ];
    for resource in resources {
        ranges.push(Keys::One(keys::cap(resource, &shared.name)));
        ranges.push(Keys::One(keys::ack(resource, &shared.name)));
        ranges.push(Keys::One(keys::ledger(resource)));
        ranges.push(Keys::One(keys::vigil(resource)));
    }
    let first = shared.store.read(&ranges).await?;
    let mut records = Records {
        revision: first.revision,
        cluster_id: first.cluster_id,
        is_member: entry(&first, &keys::member(&shared.name)).is_some(),
        ..Records::default()
    };
    for resource in resources {
        records
            .resources
            .insert(resource.clone(), found(shared, &first, resource)?);
    }
    let lives = lives(&first)?;
    let tasks = my_tasks(shared, &first)?;
    let names: Vec<&JobName> = lives.keys().collect();
    for some in names.chunks(JOBS_PER_READ) {
        let ranges: Vec<Keys> = some
            .iter()
            .flat_map(|job| {
                [
                    keys::job(job),
                    keys::assignment(job, &shared.name),
                    keys::checkpoint(job, &shared.name),
                ]
            })
            .map(Keys::One)
            .collect();
        let snapshot = shared.store.read(&ranges).await?;
        for job in some {
            let Some(record) = decode::<Job>(&snapshot, &keys::job(job))? else {
                continue;
            };
            let checkpoint = decode::<Checkpoint>(&snapshot, &keys::checkpoint(job, &shared.name))?;
            let assignment = decode::<Assignment>(&snapshot, &keys::assignment(job, &shared.name))?;
            let mine = Mine {
                life: lives[*job].clone(),
                record: record.value,
                assignment: assignment.map(|a| Assigned {
                    assignment: a.value,
                    revision: a.revision,
                    checkpoint: checkpoint.map(|c| (c.value, c.revision)),
                }),
                tasks: tasks.get(*job).cloned().unwrap_or_default(),
            };
            if mine.is_held() {
                records.jobs.insert((*job).clone(), mine);
            }
        }
    }
    Ok(records)
}

fn found(shared: &Shared, snapshot: &Snapshot, resource: &Resource) -> Result<Found, BeatError> {
    let cap = decode::<Cap>(snapshot, &keys::cap(resource, &shared.name))?;
    let ack = decode::<Ack>(snapshot, &keys::ack(resource, &shared.name))?;
    let has_ledger = entry(snapshot, &keys::ledger(resource)).is_some();
    let vigil = decode::<Vigil>(snapshot, &keys::vigil(resource))?;
    Ok(Found {
        cap: cap.map(|cap| (cap.value, cap.revision)),
        ack: ack.map(|ack| (ack.value, ack.revision)),
        unlimited: matches!(resource, Resource::Cache(_)) && !has_ledger,
        vigil: vigil.map(|vigil| vigil.value),
    })
}

/// The lives of the jobs that are not over.
fn lives(snapshot: &Snapshot) -> Result<BTreeMap<JobName, At<Life>>, BeatError> {
    let mut lives = BTreeMap::new();
    for entry in &snapshot.entries {
        let Some(job) = entry
            .key
            .strip_prefix(keys::RUNS)
            .and_then(|rest| rest.parse().ok())
        else {
            continue;
        };
        let life: Life = record::decode(entry)?;
        if !life.phase.is_over() {
            lives.insert(
                job,
                At {
                    value: life,
                    revision: entry.mod_revision.0,
                },
            );
        }
    }
    Ok(lives)
}

fn my_tasks(
    shared: &Shared,
    snapshot: &Snapshot,
) -> Result<BTreeMap<JobName, Vec<AssignedTask>>, BeatError> {
    let mut tasks: BTreeMap<JobName, Vec<AssignedTask>> = BTreeMap::new();
    for entry in &snapshot.entries {
        let Some((job, task)) = entry
            .key
            .strip_prefix(keys::READS)
            .and_then(|rest| rest.split_once('/'))
        else {
            continue;
        };
        let (Ok(job), Ok(task)) = (job.parse(), task.parse::<PlanningTask>()) else {
            continue;
        };
        let given: SourceTask = record::decode(entry)?;
        if given.worker == shared.name {
            let given = AssignedTask {
                task,
                attempt: given.attempt,
                revision: entry.mod_revision.0,
            };
            tasks.entry(job).or_default().push(given);
        }
    }
    for given in tasks.values_mut() {
        given.sort_by_key(|given| given.task);
    }
    Ok(tasks)
}

fn entry<'a>(snapshot: &'a Snapshot, key: &str) -> Option<&'a KeyValue> {
    let at = snapshot
        .entries
        .binary_search_by(|entry| entry.key.as_str().cmp(key))
        .ok()?;
    Some(&snapshot.entries[at])
}

fn decode<T: serde::de::DeserializeOwned>(
    snapshot: &Snapshot,
    key: &str,
) -> Result<Option<At<T>>, BeatError> {
    let Some(entry) = entry(snapshot, key) else {
        return Ok(None);
    };
    Ok(Some(At {
        value: record::decode(entry)?,
        revision: entry.mod_revision.0,
    }))
}
