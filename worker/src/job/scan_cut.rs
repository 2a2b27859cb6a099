//! Cutting a scan into ranges: each becomes an entry, under a key that names it and is in no cache.

use bytes::Bytes;
use stoke_core::names::Resource;
use stoke_core::scan::Range;
use stoke_core::units::Priority;
use stoke_proto::v1::send_source_request::Part;
use stoke_proto::v1::{EntryBatch, SendSourceRequest, SourceVerdict};
use tokio::sync::mpsc;

use super::planning::{Doing, Failure};
use super::source_read::NOT_TAKEN;
use crate::catalog::LoaderSpec;

/// How many ranges go up in one message.
const RANGES_AT_ONCE: usize = 1000;

/// Cuts what a loader scans, and sends the ranges up; says how that ended.
pub(super) async fn cut(
    doing: &Doing,
    spec: &LoaderSpec,
    loader: u32,
    parts: &mpsc::Sender<SendSourceRequest>,
) -> SourceVerdict {
    let resource = Resource::Origin(spec.origin.clone());
    let (Some(origin), Some(gate)) = (
        doing.shared.origins.get(&spec.origin),
        doing.shared.gates.get(&resource),
    ) else {
        return Failure::lasting(format!("this worker does not know the {resource}")).verdict();
    };
    let permit = doing.permit(gate);
    let cut = tokio::select! {
        cut = origin.ranges(&permit, spec) => cut,
        () = parts.closed() => return Failure::lasting(NOT_TAKEN).verdict(),
    };
    permit.answered();
    let spent = SourceVerdict {
        origin_queries: permit.taken(),
        ..SourceVerdict::default()
    };
    let cut = match cut {
        Ok(cut) => cut,
        Err(error) => {
            return SourceVerdict {
                origin_queries: spent.origin_queries,
                ..Failure::from(&error).verdict()
            };
        }
    };
    let name = spec.name.as_str();
    let (ranges, rows) = (cut.ranges.len(), cut.rows_estimated);
    tracing::info!(job = %doing.job, loader = name, ranges, rows, "cut a scan into ranges");
    for (n, ranges) in cut.ranges.chunks(RANGES_AT_ONCE).enumerate() {
        let entries = batch_of(name, loader, n * RANGES_AT_ONCE, ranges);
        let part = Some(Part::Entries(entries));
        if parts.send(SendSourceRequest { part }).await.is_err() {
            return Failure::lasting(NOT_TAKEN).verdict();
        }
    }
    SourceVerdict {
        origin_rows: cut.rows,
        rows_estimated: cut.rows_estimated.unwrap_or(0),
        ..spent
    }
}

/// Ranges as entries in columns, of which the first is the range of this number.
fn batch_of(name: &str, loader: u32, first: usize, ranges: &[Range]) -> EntryBatch {
    let mut batch = EntryBatch::default();
    for (n, range) in ranges.iter().enumerate() {
        let key = format!("scan of {name}, range {}", first + n + 1);
        batch.keys.push(Bytes::from(key));
        // Two texts have a JSON form.
        batch
            .arguments
            .push(serde_json::to_string(range).unwrap_or_default());
        batch.priorities.push(Priority::ONE.as_milli());
        batch.loaders.push(loader);
    }
    batch
}
