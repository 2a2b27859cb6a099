//! Who has work on which resource: budgets go to those.

use std::collections::{BTreeMap, BTreeSet};

use stoke_core::job::{Phase, Work};
use stoke_core::names::{Resource, WorkerName};
use stoke_core::plan::PlanSummary;
use stoke_core::records::{Assignment, PlanningTask};

use crate::view::{JobView, View, source_origin};

/// The workers with work on each resource: members that plan with it (read a
/// source, or try a loader's query), or own partitions with entries to do.
#[must_use]
pub(super) fn demand(view: &View) -> BTreeMap<Resource, BTreeSet<WorkerName>> {
    let mut demand: BTreeMap<Resource, BTreeSet<WorkerName>> = BTreeMap::new();
    for job in view.jobs.values() {
        for (resource, worker) in reading(view, job).into_iter().chain(loading(view, job)) {
            demand.entry(resource).or_default().insert(worker);
        }
    }
    demand
}

fn reading(view: &View, job: &JobView) -> Vec<(Resource, WorkerName)> {
    if job.life.value.phase != Phase::Planning {
        return Vec::new();
    }
    let Work::Batch(batch) = &job.record.value.spec.work;
    let mut pairs = Vec::new();
    for (task, reader) in &job.reads {
        let worker = &reader.value.worker;
        let Some(member) = view.members.get(worker) else {
            continue;
        };
        let origins = match task {
            PlanningTask::Source(n) => usize::try_from(*n)
                .ok()
                .and_then(|n| source_origin(&batch.sources.get(n)?.from, member))
                .into_iter()
                .collect(),
            PlanningTask::Prepare | PlanningTask::Sample => job.load_origins(member),
        };
        let wanted = |origin| (Resource::Origin(origin), worker.clone());
        pairs.extend(origins.into_iter().map(wanted));
    }
    pairs
}

fn loading(view: &View, job: &JobView) -> Vec<(Resource, WorkerName)> {
    // A job that stands still leaves its share to others.
    let Some(plan) = job
        .record
        .value
        .plan
        .as_ref()
        .filter(|_| job.is_running() && job.life.value.may_query())
    else {
        return Vec::new();
    };
    let mut pairs = Vec::new();
    for (worker, owner) in &job.owners {
        let Some(member) = view.members.get(worker) else {
            continue;
        };
        if has_entries_left(&owner.folded(), plan) {
            let resources = job.load_resources(member);
            pairs.extend(resources.map(|resource| (resource, worker.clone())));
        }
    }
    pairs
}

fn has_entries_left(assignment: &Assignment, plan: &PlanSummary) -> bool {
    let done = |state: &stoke_core::progress::PartitionState| {
        state.position.band.0 >= plan.bands && state.retries.is_empty()
    };
    !assignment.partitions.values().all(done)
}

#[cfg(test)]
mod tests;
