//! Preparing a job's loaders: whether each could answer, before anything is loaded or the sources are read to their end.
//!
//! The origin is asked each time, for what was true for an earlier job may have changed. What the database tells of a
//! query is checked here: that it prepares, its placeholder, its columns (the one with the key among them) and, where
//! they have types, that those have a form as values. SQLite's columns have none: there, a value without a form fails its
//! entry when it is loaded. Where only some nodes of a cache are warmed, it is asked which slots they own.

use std::ops::RangeInclusive;
use std::time::Duration;

use stoke_core::explain::explain;
use stoke_core::job::{Batch, Work};
use stoke_core::names::Resource;
use stoke_core::slot::Slot;
use stoke_proto::v1::{CacheRoom, SlotRange, SourceVerdict};

use super::planning::{Doing, Failure};
use super::{recipe, room};
use crate::catalog::LoaderSpec;

/// How long until an origin that is out of reach is asked again; doubled each time.
const AGAIN: Duration = Duration::from_millis(500);
/// How often it is asked before the attempt at planning has failed: with it the sources are read anew, which costs more,
/// and standard input cannot be.
const TRIES_MAX: u32 = 4;

/// Why it is not known whether a cache with limited memory has room for a scan.
const SCAN_IN_LIMITED: &str = "the plan is of ranges of a scan, whose keys are known only when they are read, so it is not cut;                                compare the rows that it is estimated to have with the cache's memory";

/// Prepares each loader's query.
pub(super) async fn prepare(doing: &Doing) -> SourceVerdict {
    let Work::Batch(batch) = &doing.record.spec.work;
    let mut queries = 0;
    for loader in &batch.loaders {
        let Some(spec) = recipe::loader(loader, &doing.shared.catalog) else {
            let reason = format!(
                "this worker does not know the loader {}, or does not allow SQL in jobs",
                loader.name
            );
            return Failure::lasting(reason).verdict();
        };
        if let Err(failure) = prepare_both(doing, &spec, &mut queries).await {
            return SourceVerdict {
                origin_queries: queries,
                ..failure.verdict()
            };
        }
    }
    match slots_of(doing, batch).await {
        Ok(slots) => SourceVerdict {
            origin_queries: queries,
            slots,
            room: room_for(doing, batch).await,
            ..SourceVerdict::default()
        },
        Err(failure) => SourceVerdict {
            origin_queries: queries,
            ..failure.verdict()
        },
    }
}

/// What is known of the cache's room: of a scan, nobody can say what it takes before it has been read.
async fn room_for(doing: &Doing, batch: &Batch) -> Option<CacheRoom> {
    let told = room::limited(doing, batch).await?;
    let catalog = &doing.shared.catalog;
    let mut specs = batch
        .loaders
        .iter()
        .filter_map(|l| recipe::loader(l, catalog));
    if told.unknown.is_empty() && specs.any(|spec| spec.scan.is_some()) {
        return Some(CacheRoom {
            unknown: SCAN_IN_LIMITED.into(),
            ..CacheRoom::default()
        });
    }
    Some(told)
}

/// What the nodes own whose slots are warmed.
async fn slots_of(doing: &Doing, batch: &Batch) -> Result<Vec<SlotRange>, Failure> {
    let nodes = &batch.section.nodes;
    if nodes.is_empty() {
        return Ok(Vec::new());
    }
    let told = |error: String| format!("cache {:?}: {error}", batch.cache.as_str());
    let cache = match doing.shared.cache(&batch.cache).await {
        Some(Ok(cache)) => cache,
        Some(Err(error)) => {
            return Err(Failure {
                reason: told(explain(&error)),
                transient: true,
            });
        }
        None => {
            return Err(Failure::lasting(told(
                "this worker does not know it".into(),
            )));
        }
    };
    let slots = cache.slots_of(nodes).await;
    let slots = slots.map_err(|error| Failure::lasting(told(error.to_string())))?;
    let range = |range: RangeInclusive<Slot>| SlotRange {
        first: range.start().0.into(),
        last: range.end().0.into(),
    };
    Ok(slots.ranges().map(range).collect())
}

/// Prepares a loader's query and, where it names a version, the one that reads that again.
async fn prepare_both(doing: &Doing, spec: &LoaderSpec, queries: &mut u64) -> Result<(), Failure> {
    prepare_one(doing, spec, false, queries).await?;
    let Some(name) = spec.origin_of_versions() else {
        return Ok(());
    };
    let again = match doing.shared.origins.get(name) {
        Some(origin) => origin
            .loader_of_versions(spec)
            .map_err(|error| Failure::from(&error))?,
        // It is said which one is not known.
        None => LoaderSpec {
            origin: name.clone(),
            ..spec.clone()
        },
    };
    prepare_one(doing, &again, true, queries).await
}

async fn prepare_one(
    doing: &Doing,
    spec: &LoaderSpec,
    of_versions: bool,
    queries: &mut u64,
) -> Result<(), Failure> {
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
    let mut tries = 0;
    loop {
        tries += 1;
        let permit = doing.permit(gate);
        let prepared = match of_versions {
            true => origin.prepare_versions(&permit, spec).await,
            false => origin.prepare(&permit, spec).await,
        };
        permit.answered();
        *queries += permit.taken();
        match prepared {
            Ok(()) => return Ok(()),
            Err(error) if error.is_transient() && tries < TRIES_MAX => {
                tracing::warn!(job = %doing.job, loader = %spec.name, error = error.explain(), "cannot prepare a loader's query, trying again");
                tokio::time::sleep(AGAIN * 2u32.pow(tries - 1)).await;
            }
            Err(error) => return Err(Failure::from(&error)),
        }
    }
}
