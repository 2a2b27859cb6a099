//! Preparing a job's loaders: whether each could answer, before anything is loaded or the sources are read to their end.
//!
//! The origin is asked each time, for what was true for an earlier job may have changed. What the database tells of a
//! query is checked here: that it prepares, its placeholder, its columns (the one with the key among them) and, where
//! they have types, that those have a form as values. SQLite's columns have none: there, a value without a form fails its
//! entry when it is loaded.

use std::time::Duration;

use stoke_core::job::Work;
use stoke_core::names::Resource;
use stoke_proto::v1::SourceVerdict;

use super::planning::{Doing, Failure};
use super::recipe;
use crate::catalog::LoaderSpec;

/// How long until an origin that is out of reach is asked again; doubled each time.
const AGAIN: Duration = Duration::from_millis(500);
/// How often it is asked before the attempt at planning has failed: with it the sources are read anew, which costs more,
/// and standard input cannot be.
const TRIES_MAX: u32 = 4;

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
        if let Err(failure) = prepare_one(doing, &spec, &mut queries).await {
            return SourceVerdict {
                origin_queries: queries,
                ..failure.verdict()
            };
        }
    }
    SourceVerdict {
        origin_queries: queries,
        ..SourceVerdict::default()
    }
}

async fn prepare_one(doing: &Doing, spec: &LoaderSpec, queries: &mut u64) -> Result<(), Failure> {
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
        let prepared = origin.prepare(&permit, spec).await;
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
