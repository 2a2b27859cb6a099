//! Trying a job's loaders: a few entries of each are loaded and measured.
//!
//! Nothing is written, and what is in the cache already is sampled like the rest. Where it is to be found out whether the
//! cache has room for the plan, they are some of those that were looked for there, evenly over all ranks; else, in a dry run,
//! evenly over the first band's, and no cache is asked: a loader whose entries all lie behind it has an empty sample.

use std::collections::BTreeMap;
use std::sync::Arc;

use stoke_core::job::Work;
use stoke_core::names::{JobName, Resource};
use stoke_core::plan::PlanSummary;
use stoke_core::records::Room;
use stoke_core::units::{BandId, PartitionId};
use stoke_proto::v1::{LoaderSample, SourceVerdict};
use tokio::sync::mpsc;

use super::entries::{self, Brought, Task};
use super::planning::{Doing, Failure};
use super::{copied, recipe, room};
use crate::catalog::LoaderSpec;
use crate::gate::Gate;
use crate::origin::{Answer, Origin};
use crate::value::{Packer, Value};
use crate::worker::Shared;

/// How many entries of a loader are tried, and no more than go into one query.
const SAMPLE_ENTRIES_MAX: u32 = 200;
/// How many are tried of a loader that takes a query for each: one would say too little.
const SAMPLE_QUERIES_MAX: u32 = 10;
/// How many chunks of entries wait.
const CHUNKS_MAX: usize = 2;

/// Tries each loader that has entries.
pub(super) async fn sample(doing: &Doing) -> SourceVerdict {
    let Some(plan) = &doing.record.plan else {
        return Failure::lasting("the job has no plan to sample").verdict();
    };
    let mut verdict = SourceVerdict::default();
    let mut by_loader = if doing.record.room == Some(Room::Limited) {
        let (room, looked_for) = room::look(doing, plan).await;
        verdict.room = Some(room);
        by_loader(looked_for)
    } else {
        BTreeMap::new()
    };
    if by_loader.is_empty() {
        by_loader = first_band(&doing.shared, &doing.job, plan).await;
    }
    let Work::Batch(batch) = &doing.record.spec.work;
    for (n, loader) in (0u32..).zip(&batch.loaders) {
        let planned = usize::try_from(n)
            .ok()
            .and_then(|n| plan.entries_by_loader.get(n));
        if planned.is_none_or(|entries| *entries == 0) {
            continue;
        }
        let Some(spec) = recipe::loader(loader, &doing.shared.catalog) else {
            let reason = format!("this worker does not know the loader {}", loader.name);
            return Failure::lasting(reason).verdict();
        };
        let tasks = by_loader.remove(&n).unwrap_or_default();
        match try_loader(doing, n, &spec, tasks, &mut verdict).await {
            Ok(sample) => verdict.samples.push(sample),
            Err(failure) => {
                return SourceVerdict {
                    origin_queries: verdict.origin_queries,
                    origin_rows: verdict.origin_rows,
                    ..failure.verdict()
                };
            }
        }
    }
    verdict
}

fn by_loader(tasks: Vec<Task>) -> BTreeMap<u32, Vec<Task>> {
    let mut by_loader: BTreeMap<u32, Vec<Task>> = BTreeMap::new();
    for task in tasks {
        by_loader.entry(task.loader).or_default().push(task);
    }
    by_loader
}

/// The entries of the plan's first band by loader, in the order of their ranks.
async fn first_band(
    shared: &Shared,
    job: &JobName,
    plan: &PlanSummary,
) -> BTreeMap<u32, Vec<Task>> {
    let all = (0..plan.partitioning.count()).map(|n| (PartitionId(n), BandId(0)));
    let (sink, mut brought) = mpsc::channel(CHUNKS_MAX);
    let gathering = async move {
        let mut by_loader: BTreeMap<u32, Vec<Task>> = BTreeMap::new();
        while let Some(Brought::Entries(tasks)) = brought.recv().await {
            for task in tasks {
                by_loader.entry(task.loader).or_default().push(task);
            }
        }
        // The band is complete: that nobody takes more ends the stream.
        by_loader
    };
    let bringing = entries::bring(shared, job, plan, all.collect(), sink);
    let ((), by_loader) = tokio::join!(bringing, gathering);
    by_loader
}

/// Loads a sample of a loader's entries, and measures it.
async fn try_loader(
    doing: &Doing,
    index: u32,
    spec: &LoaderSpec,
    tasks: Vec<Task>,
    verdict: &mut SourceVerdict,
) -> Result<LoaderSample, Failure> {
    let shared = &doing.shared;
    let resource = Resource::Origin(spec.origin.clone());
    let (Some(origin), Some(gate)) = (
        shared.origins.get(&spec.origin),
        shared.gates.get(&resource),
    ) else {
        let reason = format!(
            "loader {}: this worker does not know the {resource}",
            spec.name
        );
        return Err(Failure::lasting(reason));
    };
    if spec.scan.is_some() {
        let tried = evenly(tasks, 1).pop();
        return try_scan(doing, index, spec, (origin, gate), tried, verdict).await;
    }
    let batch_keys = origin
        .batch_keys(spec)
        .map_err(|error| Failure::from(&error))?
        .expected();
    let most = if batch_keys == 1 && !spec.copies() {
        SAMPLE_QUERIES_MAX
    } else {
        SAMPLE_ENTRIES_MAX.min(batch_keys.max(spec.batch_keys.expected()))
    };
    let tried = evenly(tasks, usize::try_from(most).unwrap_or(usize::MAX));
    let permit = doing.permit(gate);
    let loaded = copied::load(origin, &permit, spec, &tried).await;
    permit.answered();
    verdict.origin_queries += permit.taken();
    let loaded = loaded.map_err(|error| Failure::from(&error))?;
    verdict.origin_rows += loaded.rows;
    let mut sample = LoaderSample {
        loader: index,
        origin: spec.origin.to_string(),
        batch_keys,
        entries: tried.len() as u64,
        found: 0,
        bytes: 0,
        memory_bytes: 0,
    };
    let negative = &spec.value.negative;
    let negative = negative
        .as_ref()
        .and_then(|negative| Value::negative(&spec.value, negative));
    let mut packer = Packer::default();
    for (task, answer) in tried.iter().zip(&loaded.answers) {
        if let Answer::Row(made) = answer {
            sample.found += 1;
            // As it would be written; one that cannot be compressed now is told when it is.
            let packed = packer.pack(made.value.clone(), spec.value.compression);
            let value = packed.unwrap_or_else(|_| made.value.clone());
            sample.bytes += (task.key.len() + value.size_bytes()) as u64;
            sample.memory_bytes += room::memory_bytes(&task.key, &value);
        } else if let (Answer::Absent, Some(negative)) = (answer, &negative) {
            sample.memory_bytes += room::memory_bytes(&task.key, negative);
        }
    }
    Ok(sample)
}

/// Reads the first rows of a range, and measures them.
async fn try_scan(
    doing: &Doing,
    index: u32,
    spec: &LoaderSpec,
    (origin, gate): (&Arc<Origin>, &Arc<Gate>),
    task: Option<Task>,
    verdict: &mut SourceVerdict,
) -> Result<LoaderSample, Failure> {
    let rows_a_query = spec.scan.as_ref().map_or(1, |scan| scan.rows);
    let mut sample = LoaderSample {
        loader: index,
        origin: spec.origin.to_string(),
        batch_keys: rows_a_query,
        ..LoaderSample::default()
    };
    let Some(task) = task else {
        return Ok(sample);
    };
    let range = super::load::range_of(&task).map_err(Failure::lasting)?;
    let permit = doing.permit(gate);
    let rows = SAMPLE_ENTRIES_MAX.min(rows_a_query);
    let page = origin.page(&permit, spec, &range, rows).await;
    permit.answered();
    verdict.origin_queries += permit.taken();
    let page = page.map_err(|error| Failure::from(&error))?;
    verdict.origin_rows += page.rows.len() as u64;
    let mut packer = Packer::default();
    for row in page.rows {
        sample.entries += 1;
        let (Ok(key), Ok(made)) = (row.key, row.made) else {
            continue;
        };
        sample.found += 1;
        let packed = packer.pack(made.value.clone(), spec.value.compression);
        let value = packed.unwrap_or(made.value);
        sample.bytes += (key.len() + value.size_bytes()) as u64;
        sample.memory_bytes += room::memory_bytes(&key, &value);
    }
    Ok(sample)
}

/// At most so many of them, evenly from the first on.
fn evenly<T>(all: Vec<T>, most: usize) -> Vec<T> {
    let (count, chosen) = (all.len(), all.len().min(most));
    // The nth chosen is the first in the nth of `chosen` equal parts.
    let is_chosen = |(i, _): &(usize, T)| {
        let part = i * chosen / count;
        *i == (part * count).div_ceil(chosen)
    };
    all.into_iter()
        .enumerate()
        .filter(is_chosen)
        .map(|(_, one)| one)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_as_large_as_it_may_be_and_even() {
        for (count, most) in [
            (0, 5),
            (1, 5),
            (5, 5),
            (6, 5),
            (100_000, 200),
            (131_072, 200),
            (7, 1),
        ] {
            let chosen = evenly((0..count).collect::<Vec<usize>>(), most);
            assert_eq!(chosen.len(), count.min(most));
            assert_eq!(chosen.first(), (0..count).next().as_ref());
            let reach = count.div_ceil(most.min(count).max(1));
            assert!(
                chosen.last().is_none_or(|last| last + reach >= count),
                "{count} {most}: it ends at {:?}",
                chosen.last()
            );
            let gaps: Vec<usize> = chosen.windows(2).map(|pair| pair[1] - pair[0]).collect();
            let (least, greatest) = (gaps.iter().min(), gaps.iter().max());
            assert!(
                least.zip(greatest).is_none_or(|(a, b)| b - a <= 1),
                "{count} {most}: {gaps:?}"
            );
        }
    }
}
