//! Who has work on which resource, and how much: budgets are divided among those, by `core::ledger::divide`.
//!
//! How much is what is *queued*, as the checkpoints tell: not what was used of late, which would starve whoever has just
//! begun. It counts up to the end of the band after the horizon (the first band that is not done everywhere): whoever is
//! further ahead than that leaves its share to those behind, so that the fleet moves down the plan together. One band more
//! than the horizon, since shares that moved at every band's end would cost more than they gain.

mod lingering;

use std::collections::BTreeMap;

pub(super) use lingering::Lingering;
use stoke_core::batch_keys::BatchKeys;
use stoke_core::copy::COMMANDS_A_KEY;
use stoke_core::job::{Batch, From, KeySource, Loader, Phase, Work};
use stoke_core::ledger::Claim;
use stoke_core::names::{OriginName, Resource, WorkerName};
use stoke_core::plan::PlanSummary;
use stoke_core::records::{Assignment, Member, PlanningTask};
use stoke_core::units::BandId;

use super::guards::Keepers;
use crate::view::{JobView, View, source_origin};

/// How many queries a keeper has queued: a few probes and canaries within a term.
const KEEPER_QUERIES: u64 = 5;

/// The claims on each resource.
pub(super) type Claims = BTreeMap<Resource, BTreeMap<WorkerName, Claim>>;

/// The claims of members that plan with a resource (read a source, or try a loader's query), or own partitions with
/// entries to do, or look after a resource.
#[must_use]
pub(super) fn claims(view: &View, keepers: &Keepers) -> Claims {
    let mut claims = Claims::new();
    let mut add = |(resource, worker, queries): Queued, priority: u32| {
        let Some(member) = view.members.get(&worker) else {
            return;
        };
        let of_worker = claims.entry(resource).or_default().entry(worker);
        let claim = of_worker.or_insert_with(|| Claim {
            weight: member.weight.get(),
            queued: BTreeMap::new(),
        });
        let queued = claim.queued.entry(priority).or_default();
        *queued = queued.saturating_add(queries);
    };
    for job in view.jobs.values() {
        let priority = job.record.value.spec.priority;
        for queued in planning(view, job).into_iter().chain(loading(view, job)) {
            add(queued, priority);
        }
    }
    // Also while all jobs are held: nobody else would see the resource recover.
    for (resource, keeper) in keepers {
        add((resource.clone(), keeper.clone(), KEEPER_QUERIES), 0);
    }
    claims
}

/// Somebody's queries on a resource.
type Queued = (Resource, WorkerName, u64);

fn planning(view: &View, job: &JobView) -> Vec<Queued> {
    if job.life.value.phase != Phase::Planning || !job.life.value.may_query() {
        return Vec::new();
    }
    let Work::Batch(batch) = &job.record.value.spec.work;
    let mut queued = Vec::new();
    for (task, reader) in &job.reads {
        let worker = &reader.value.worker;
        let Some(member) = view.members.get(worker) else {
            continue;
        };
        let origins = match task {
            PlanningTask::Source(n) => {
                let source = usize::try_from(*n).ok().and_then(|n| batch.sources.get(n));
                source.map_or_else(Vec::new, |source| asked_for(batch, source, member))
            }
            PlanningTask::Prepare | PlanningTask::Sample => job.load_origins(member),
        };
        let any_number = |origin| (Resource::Origin(origin), worker.clone(), Claim::UNKNOWN);
        queued.extend(origins.into_iter().map(any_number));
    }
    queued
}

/// The origins that reading a key source asks: a scan asks its loader's.
fn asked_for(batch: &Batch, source: &KeySource, member: &Member) -> Vec<OriginName> {
    let loader = usize::try_from(source.loader)
        .ok()
        .filter(|_| source.from == From::Scan)
        .and_then(|n| batch.loaders.get(n));
    let of_loader = loader
        .into_iter()
        .flat_map(|loader| member.origins_of(loader));
    let of_source = source_origin(&source.from, member);
    of_source.into_iter().chain(of_loader.cloned()).collect()
}

fn loading(view: &View, job: &JobView) -> Vec<Queued> {
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
    let owners: Vec<(&WorkerName, Assignment)> = job
        .owners
        .iter()
        .map(|(worker, owner)| (worker, owner.folded()))
        .filter(|(_, owned)| has_entries_left(owned, plan))
        .collect();
    let horizon = owners
        .iter()
        .flat_map(|(_, owned)| owned.partitions.values())
        .map(|state| state.position.band)
        .min()
        .unwrap_or_default();
    let mut queued = Vec::new();
    for (worker, owned) in owners {
        let Some(member) = view.members.get(worker) else {
            continue;
        };
        let entries = entries_queued(&owned, plan, horizon);
        let Work::Batch(batch) = &job.record.value.spec.work;
        // Each cache gets each entry, as far as is known: one that has it already leaves its share to others.
        let caches = batch.caches().cloned().map(Resource::Cache);
        queued.extend(caches.map(|cache| (cache, worker.clone(), entries)));
        let loads = loads_queued(&batch.loaders, plan, member, entries);
        let origins = loads.into_iter();
        queued.extend(
            origins.map(|(origin, loads)| (Resource::Origin(origin), worker.clone(), loads)),
        );
    }
    queued
}

/// How many loads of each origin so many entries of a plan take, about: each loader's part of them is its part of the plan. Reading
/// versions again is another one.
fn loads_queued(
    loaders: &[Loader],
    plan: &PlanSummary,
    member: &Member,
    entries: u64,
) -> BTreeMap<OriginName, u64> {
    let mut loads: BTreeMap<OriginName, u64> = BTreeMap::new();
    for (n, loader) in loaders.iter().enumerate() {
        let batch_keys = match &loader.recipe {
            Some(recipe) => Some(recipe.keys_a_query()),
            None => member.batch_keys.get(&loader.name).copied(),
        };
        let scans = loader
            .recipe
            .as_ref()
            .is_some_and(|recipe| recipe.scan.is_some())
            || member.scans.contains(&loader.name);
        let batch_keys = match scans {
            // A range takes a query at least.
            true => 1,
            false => u64::from(batch_keys.unwrap_or(BatchKeys::AUTO)).max(1),
        };
        let copies = match &loader.recipe {
            Some(recipe) => recipe.value.copy.is_some(),
            None => member.copies.contains(&loader.name),
        };
        let each = if copies { COMMANDS_A_KEY } else { 1 };
        // An older plan does not say.
        let of_plan = plan.entries_by_loader.get(n).copied();
        let of_plan = of_plan.unwrap_or(if n == 0 { plan.entries } else { 0 });
        let part = u128::from(entries) * u128::from(of_plan) / u128::from(plan.entries.max(1));
        let part = u64::try_from(part).unwrap_or(u64::MAX);
        for origin in member.origins_of(loader) {
            let queries = part.div_ceil(batch_keys) * u64::from(each);
            *loads.entry(origin.clone()).or_default() += queries;
        }
    }
    loads
}

/// How many entries of a worker's partitions have no outcome yet, up to the end of the band after the horizon. Hash
/// slots spread entries evenly, so a partition has its even part of each band, about.
fn entries_queued(owned: &Assignment, plan: &PlanSummary, horizon: BandId) -> u64 {
    let bands = u64::from(horizon.0) + 2;
    let until = plan.entries.min(bands.saturating_mul(BandId::RANKS));
    let of_each = until.div_ceil(u64::from(plan.partitioning.count()));
    let left = |state: &stoke_core::progress::PartitionState| {
        let retries = state.retries.len() as u64;
        of_each
            .saturating_sub(state.tally.entries_settled())
            .max(retries)
    };
    owned.partitions.values().map(left).sum()
}

fn has_entries_left(assignment: &Assignment, plan: &PlanSummary) -> bool {
    let done = |state: &stoke_core::progress::PartitionState| {
        state.position.band.0 >= plan.bands && state.retries.is_empty()
    };
    !assignment.partitions.values().all(done)
}

#[cfg(test)]
mod tests;
