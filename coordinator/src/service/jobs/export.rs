//! Exporting plans: the entries in the order of their ranks, a band at a time.

use std::collections::BTreeMap;

use stoke_core::plan::PlanSummary;
use stoke_core::units::{BandId, PartitionId};
use stoke_proto::MESSAGE_BYTES_MAX;
use stoke_proto::v1::{self, EntryBatch, Segment};

use super::super::refusal::Refusal;
use super::super::streams::{Sending, UNREAD_MAX, deliver};
use crate::Shared;
use crate::plan_store::{BandFileError, PlanStoreError, served_segments, unpack};
use crate::view::JobView;

/// How many entries one message carries.
const ENTRIES_PER_MESSAGE: usize = 5000;
/// How many bytes of keys, arguments and columns, about: well below the limit.
const BYTES_PER_MESSAGE: usize = MESSAGE_BYTES_MAX / 4;

/// How many bytes an entry takes beside its key and argument, at most.
const ROW_BYTES: usize = 40;

/// The job's plan.
///
/// # Errors
/// Where it has none (yet).
pub(super) fn plan(job: &JobView) -> Result<PlanSummary, Refusal> {
    job.record.value.plan.clone().ok_or_else(|| {
        let state = job.life.value.state();
        Refusal::Precondition(if job.life.value.phase.is_over() {
            format!("the job is {state}, and never had a plan: its reason says why")
        } else {
            format!("the job is {state}, and has no plan yet: wait until it is RUNNING")
        })
    })
}

/// Sends a plan's entries. It holds one band, of at most 131,072 entries, and waits for whoever reads.
pub(super) async fn export(
    shared: &Shared,
    plan: &PlanSummary,
    send: &Sending<v1::ExportPlanResponse>,
) -> Result<(), Refusal> {
    let all: BTreeMap<PartitionId, BandId> = (0..plan.partitioning.count())
        .map(|partition| (PartitionId(partition), BandId(0)))
        .collect();
    for band in (0..plan.bands).map(BandId) {
        let segments = served_segments(&shared.plans, plan, band, &all).await?;
        let name = format!("band {band} of {}", plan.name);
        let unpacked = tokio::task::spawn_blocking(move || Unpacked::of(segments)).await;
        let unpacked = unpacked
            .unwrap_or_else(|_| Err(BandFileError::Truncated))
            .map_err(|source| PlanStoreError::Format {
                object: name,
                source,
            })?;
        let mut order = unpacked.in_order();
        while let Some(entries) = unpacked.next_batch(&mut order) {
            let message = v1::ExportPlanResponse {
                entries: Some(entries),
            };
            if !deliver(send, message, UNREAD_MAX).await? {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// A band's segments, each in columns.
struct Unpacked(Vec<EntryBatch>);

/// Where an entry is: in which segment, and which of it.
type Place = (usize, usize);

impl Unpacked {
    fn of(segments: Vec<Segment>) -> Result<Self, BandFileError> {
        segments
            .into_iter()
            .map(unpack)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The places of all entries, by rank.
    fn in_order(&self) -> std::iter::Peekable<impl Iterator<Item = Place> + Send + use<>> {
        let mut places: Vec<(u64, Place)> = Vec::new();
        for (segment, batch) in self.0.iter().enumerate() {
            let ranks = batch.ranks.iter().enumerate();
            places.extend(ranks.map(|(n, rank)| (*rank, (segment, n))));
        }
        places.sort_unstable();
        places.into_iter().map(|(_, place)| place).peekable()
    }

    /// As many entries as go into one message; `None` at the end.
    fn next_batch<I: Iterator<Item = Place>>(
        &self,
        places: &mut std::iter::Peekable<I>,
    ) -> Option<EntryBatch> {
        let mut batch = EntryBatch::default();
        let (mut bytes, mut first_only) = (0, true);
        while let Some((segment, n)) = places.next_if(|&(segment, n)| {
            let from = &self.0[segment];
            bytes += ROW_BYTES + from.keys[n].len() + from.arguments[n].len();
            batch.keys.is_empty()
                || (batch.keys.len() < ENTRIES_PER_MESSAGE && bytes <= BYTES_PER_MESSAGE)
        }) {
            let from = &self.0[segment];
            batch.ranks.push(from.ranks[n]);
            batch.keys.push(from.keys[n].clone());
            batch.priorities.push(from.priorities[n]);
            batch.arguments.push(from.arguments[n].clone());
            let loader = from.loaders.get(n).copied().unwrap_or(0);
            first_only &= loader == 0;
            batch.loaders.push(loader);
        }
        if first_only {
            batch.loaders.clear();
        }
        (!batch.keys.is_empty()).then_some(batch)
    }
}
