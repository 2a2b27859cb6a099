//! What a job's caches have room for, and what the plan would take of it, by a sample.
//!
//! Every node is asked for its memory, and for entries of the plan that lie on it, evenly over the ranks. How much an entry
//! takes is measured on values that the loaders give, and that nobody writes. Where that cannot be found out, the job goes on
//! without, and says so: that it is not cut is no reason to fail.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use futures::future::join_all;
use stoke_core::capacity;
use stoke_core::explain::explain;
use stoke_core::job::{Batch, Work};
use stoke_core::names::{CacheName, JobName};
use stoke_core::plan::PlanSummary;
use stoke_core::slot::{Slot, Slots};
use stoke_core::units::{BandId, PartitionId};
use stoke_proto::v1::{CacheRoom, NodeRoom};
use tokio::sync::mpsc;

use super::entries::{self, Brought, Task};
use super::planning::Doing;
use crate::cache::{Cache, NodeInfo};
use crate::permit::Unlimited;
use crate::value::Value;
use crate::worker::Shared;

/// How long the cache is waited for: a job does not wait for one that is down.
const PATIENCE: Duration = Duration::from_secs(5);
/// So much of each node's `maxmemory` is left free, in hundredths: what the application writes meanwhile, the buffers of clients
/// and replicas (which count as used), and what a sample is wrong by.
const KEPT_FREE_PERCENT: u64 = 10;
/// How many entries are looked for on each node, about: each stands for a five-hundredth of the plan.
const LOOKED_FOR: u64 = 500;
/// How many chunks of entries wait.
const CHUNKS_MAX: usize = 2;

/// A node, and the slots of those that are warmed which it owns.
struct Owner {
    info: NodeInfo,
    slots: Slots,
}

/// Whether any node of any cache limits its memory. It is asked before the plan is made, so that nothing is sampled for caches
/// without limit.
pub(super) async fn limited(doing: &Doing, batch: &Batch) -> Option<CacheRoom> {
    if batch.mode.is_verify() {
        return None;
    }
    match of_all(&doing.shared, batch).await {
        Ok(caches) => {
            let limited = caches.iter().any(|(_, owners)| is_limited(owners));
            limited.then(|| CacheRoom {
                limited,
                ..CacheRoom::default()
            })
        }
        Err(unknown) => Some(unknown_room(unknown)),
    }
}

/// The entries that were looked for, and what the nodes of each cache have room for. The entries' sizes are the samples'.
pub(super) async fn look(doing: &Doing, plan: &PlanSummary) -> (CacheRoom, Vec<Task>) {
    let Work::Batch(batch) = &doing.record.spec.work;
    let caches = match of_all(&doing.shared, batch).await {
        Ok(caches) => caches,
        Err(unknown) => return (unknown_room(unknown), Vec::new()),
    };
    let mut room = CacheRoom {
        limited: true,
        ..CacheRoom::default()
    };
    let mut all = Vec::new();
    for (cache, owners) in caches.iter().filter(|(_, owners)| is_limited(owners)) {
        let looked = look_at(doing, plan, cache, owners, &mut all).await;
        match looked {
            Ok(nodes) => room.nodes.extend(nodes),
            Err(unknown) => {
                room.unknown = unknown;
                break;
            }
        }
    }
    // One that lies on a node of each of two caches is sampled once.
    all.sort_unstable_by_key(|task| task.rank);
    all.dedup_by_key(|task| task.rank);
    (room, all)
}

/// What a cache's nodes have room for, and the entries that were looked for there.
async fn look_at(
    doing: &Doing,
    plan: &PlanSummary,
    name: &CacheName,
    owners: &[Owner],
    all: &mut Vec<Task>,
) -> Result<Vec<NodeRoom>, String> {
    let Work::Batch(batch) = &doing.record.spec.work;
    let shared = &doing.shared;
    let cache = match batch.also.as_slice() {
        [] => String::new(),
        _ => name.to_string(),
    };
    let by_node = gather(shared, &doing.job, plan, owners).await;
    let mut nodes = Vec::new();
    for (owner, tasks) in owners.iter().zip(by_node) {
        let present = present(shared, name, &tasks).await?;
        nodes.push(NodeRoom {
            address: owner.info.address.clone(),
            slots: owner.slots.count().into(),
            is_limited: owner.info.maxmemory_bytes > 0,
            free_bytes: free_bytes(&owner.info),
            ranks: tasks.iter().map(|task| task.rank.0).collect(),
            loaders: tasks.iter().map(|task| task.loader).collect(),
            present,
            cache: cache.clone(),
        });
        all.extend(tasks);
    }
    Ok(nodes)
}

fn is_limited(owners: &[Owner]) -> bool {
    owners.iter().any(|owner| owner.info.maxmemory_bytes > 0)
}

fn unknown_room(unknown: String) -> CacheRoom {
    CacheRoom {
        unknown,
        ..CacheRoom::default()
    }
}

/// How many bytes a node has room for.
fn free_bytes(info: &NodeInfo) -> u64 {
    let kept = info.maxmemory_bytes / 100 * KEPT_FREE_PERCENT;
    info.maxmemory_bytes
        .saturating_sub(kept)
        .saturating_sub(info.used_memory_bytes)
}

/// How many bytes a value takes in Redis, about, with its key.
pub(super) fn memory_bytes(key: &[u8], value: &Value) -> u64 {
    match value {
        Value::String(bytes) => capacity::string_bytes(key.len(), bytes.len()),
        Value::Hash(fields) => {
            let sizes = fields
                .iter()
                .map(|(field, value)| (field.len(), value.len()));
            capacity::hash_bytes(key.len(), sizes)
        }
        // As DUMP gives it, it takes about what it takes there.
        Value::Copied(copied) => capacity::string_bytes(key.len(), copied.content.size_bytes()),
    }
}

/// The nodes of each cache, side by side; or why those of the first that cannot be asked are not known.
async fn of_all<'b>(
    shared: &Shared,
    batch: &'b Batch,
) -> Result<Vec<(&'b CacheName, Vec<Owner>)>, String> {
    let asking = batch
        .caches()
        .map(|cache| async move { Ok((cache, owners(shared, batch, cache).await?)) });
    join_all(asking).await.into_iter().collect()
}

/// The nodes of a cache that own slots which are warmed, or why they cannot be asked.
async fn owners(shared: &Shared, batch: &Batch, name: &CacheName) -> Result<Vec<Owner>, String> {
    let told = |error: String| format!("cache {:?}: {error}", name.as_str());
    let asking = async {
        let cache = match shared.cache(name).await {
            Some(Ok(cache)) => cache,
            Some(Err(error)) => return Err(told(explain(&error))),
            None => return Err(told("this worker does not know it".into())),
        };
        let owners = of_nodes(&cache, batch).await;
        owners.map_err(|error| told(error.to_string()))
    };
    let asked = tokio::time::timeout(PATIENCE, asking).await;
    asked.unwrap_or_else(|_| {
        Err(told(
            "its nodes do not say how much memory they have".into(),
        ))
    })
}

async fn of_nodes(
    cache: &Cache,
    batch: &Batch,
) -> Result<Vec<Owner>, Box<dyn std::error::Error + Send + Sync>> {
    let owners: BTreeMap<String, Slots> = cache.owners().await.into_iter().collect();
    let mut within = batch.section.slots.clone();
    if !batch.section.nodes.is_empty() {
        within.extend(cache.slots_of(&batch.section.nodes).await?.ranges());
    }
    let mut found = Vec::new();
    for info in cache.info(&Unlimited).await? {
        let info = info.map_err(|error| error.to_string())?;
        let Some(owned) = owners.get(&info.address) else {
            continue;
        };
        let slots: Slots = if batch.section.is_whole() {
            owned.clone()
        } else {
            let warmed = owned
                .ranges()
                .flat_map(each)
                .filter(|slot| within.contains(*slot));
            warmed.map(|slot| slot..=slot).collect()
        };
        if slots.count() > 0 {
            found.push(Owner { info, slots });
        }
    }
    Ok(found)
}

fn each(range: RangeInclusive<Slot>) -> impl Iterator<Item = Slot> {
    (range.start().0..=range.end().0).map(Slot)
}

/// Entries of each node, evenly over the plan: those of a few of its partitions.
async fn gather(
    shared: &Shared,
    job: &JobName,
    plan: &PlanSummary,
    owners: &[Owner],
) -> Vec<Vec<Task>> {
    let slots: u64 = owners
        .iter()
        .map(|owner| u64::from(owner.slots.count()))
        .sum();
    let in_partition = u64::from(plan.partitioning.slots_each());
    let per_partition = (plan.entries.saturating_mul(in_partition) / slots.max(1)).max(1);
    let partitions = usize::try_from(LOOKED_FOR.div_ceil(per_partition)).unwrap_or(usize::MAX);
    let mut starts = BTreeMap::new();
    let mut steps = Vec::new();
    for owner in owners {
        let own = |id: &PartitionId| {
            let mut slots = each(plan.partitioning.slots(*id));
            slots.any(|slot| owner.slots.contains(slot))
        };
        let own: Vec<_> = plan
            .partitioning
            .ids()
            .filter(own)
            .take(partitions)
            .collect();
        let expected = per_partition.saturating_mul(own.len() as u64);
        steps.push((expected / LOOKED_FOR).max(1));
        starts.extend(own.into_iter().map(|id| (id, BandId(0))));
    }
    let (sink, mut brought) = mpsc::channel(CHUNKS_MAX);
    let choosing = async {
        let mut chosen: Vec<(u64, Vec<Task>)> = owners.iter().map(|_| (0, Vec::new())).collect();
        while let Some(brought) = brought.recv().await {
            let Brought::Entries(tasks) = brought else {
                continue;
            };
            for task in tasks {
                let slot = Slot::of(&task.key);
                let owner = owners.iter().position(|owner| owner.slots.contains(slot));
                let Some(owner) = owner else { continue };
                let (seen, tasks) = &mut chosen[owner];
                if *seen % steps[owner] == 0 {
                    tasks.push(task);
                }
                *seen += 1;
            }
        }
        chosen.into_iter().map(|(_, tasks)| tasks).collect()
    };
    let bringing = entries::bring(shared, job, plan, starts, sink);
    let ((), chosen) = tokio::join!(bringing, choosing);
    chosen
}

/// Which of them are there already: they take no more room, be they kept or written anew.
async fn present(shared: &Shared, name: &CacheName, tasks: &[Task]) -> Result<Vec<bool>, String> {
    let Some(Ok(cache)) = shared.cache(name).await else {
        return Err(format!("cache {:?} is out of reach", name.as_str()));
    };
    let keys: Vec<&[u8]> = tasks.iter().map(|task| &*task.key).collect();
    let found = cache.probe(&keys).await.into_iter();
    // Of one that could not be asked nothing is known: it counts as one that takes its room.
    let is_there = |found| matches!(found, Ok(crate::cache::Presence::Present { .. }));
    Ok(found.map(is_there).collect())
}
