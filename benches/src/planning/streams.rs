//! Those who take a plan's entries.

use anyhow::{Context, Result};
use prost::Message;
use stoke_core::plan::PlanSummary;
use stoke_proto::v1;
use stoke_proto::v1::worker_service_client::WorkerServiceClient;
use tokio::task::JoinSet;

/// So many workers take a plan together, each its part of the partitions; gives how many entries came.
pub(super) async fn take(
    address: &str,
    plan: &PlanSummary,
    workers: u32,
    unpack: bool,
) -> Result<u64> {
    let mut taking = JoinSet::new();
    for worker in 0..workers {
        let own = (0..u32::from(plan.partitioning.count())).filter(|p| p % workers == worker);
        let start = |partition| v1::PartitionStart { partition, band: 0 };
        let job = plan.name.split('/').nth(1).context("an unknown name")?;
        let request = v1::StreamEntriesRequest {
            job: job.to_owned(),
            plan: plan.name.clone(),
            partitions: own.map(start).collect(),
        };
        taking.spawn(take_own(address.to_owned(), request, unpack));
    }
    let mut entries = 0;
    while let Some(taken) = taking.join_next().await {
        entries += taken??;
    }
    Ok(entries)
}

async fn take_own(address: String, request: v1::StreamEntriesRequest, unpack: bool) -> Result<u64> {
    let mut client = WorkerServiceClient::connect(address).await?;
    let mut stream = client.stream_entries(request).await?.into_inner();
    let mut entries = 0;
    while let Some(message) = stream.message().await? {
        for segment in message.segments {
            entries += if unpack {
                unpacked(&segment)?
            } else {
                u64::from(segment.entries)
            };
        }
    }
    Ok(entries)
}

fn unpacked(segment: &v1::Segment) -> Result<u64> {
    let batch = match segment.encoding() {
        v1::Encoding::Zstd => {
            let body = zstd::stream::decode_all(&segment.body[..])?;
            v1::EntryBatch::decode(&body[..])?
        }
        _ => v1::EntryBatch::decode(segment.body.clone())?,
    };
    Ok(batch.keys.len() as u64)
}
