//! What applications report, as a key source: the leader has it, and a worker makes entries of it as of all others.

use stoke_core::job::Reported;
use stoke_core::units::Priority;
use stoke_proto::v1::ListAccessesRequest;
use tokio::sync::mpsc;
use tonic::Code;

use super::planning::{Doing, Failure};
use super::source_read::NOT_TAKEN;
use crate::source::{Found, Gathered, Rules, SourceRow, Whereabouts};

/// Sends the keys of a feed, the most requested first.
pub(super) async fn read(
    doing: &Doing,
    wanted: &Reported,
    rules: &Rules,
    sink: mpsc::Sender<Vec<SourceRow>>,
) -> Result<Gathered, Failure> {
    let found = Found::new(&wanted.pattern, rules);
    let mut found = found.map_err(|fault| Failure::lasting(fault.to_string()))?;
    let accesses = doing.shared.link.accesses().await;
    let mut accesses = accesses.map_err(|error| Failure::passing(error.to_string()))?;
    let request = ListAccessesRequest {
        feed: wanted.feed.to_string(),
        top: wanted.top.unwrap_or(0),
    };
    let failed = |status: tonic::Status| {
        let what = format!("feed {}: {}", wanted.feed, status.message());
        match status.code() {
            // Nothing was reported: that may come, and whoever waits for it creates the job again.
            Code::FailedPrecondition
                if !status.metadata().contains_key(stoke_proto::LEADER_METADATA) =>
            {
                Failure::lasting(what)
            }
            _ => Failure::passing(what),
        }
    };
    let listed = accesses.list_accesses(request).await;
    let mut listed = listed.map_err(failed)?.into_inner();
    let mut number = 0;
    while let Some(message) = listed.message().await.map_err(failed)? {
        for accessed in message.keys {
            let Some(parts) = found.parts(&accessed.key) else {
                continue;
            };
            number += 1;
            let at = Whereabouts::Row(number);
            let priority = priority(accessed.count);
            let full = found.row(at, (&accessed.key, &parts), Ok(priority));
            let full = full.map_err(|fault| Failure::lasting(fault.to_string()))?;
            send(full, &sink).await?;
        }
    }
    let (last, gathered) = found.finish();
    send(last, &sink).await?;
    Ok(gathered)
}

async fn send(
    rows: Option<Vec<SourceRow>>,
    sink: &mpsc::Sender<Vec<SourceRow>>,
) -> Result<(), Failure> {
    match rows {
        Some(rows) => sink
            .send(rows)
            .await
            .map_err(|_| Failure::lasting(NOT_TAKEN)),
        None => Ok(()),
    }
}

/// A count as a priority: at least the least that there is, however old its accesses are, and at most the greatest, whatever was said.
fn priority(count: f64) -> Priority {
    let greatest = Priority::from_milli(u64::MAX);
    Priority::from_requests(count)
        .map_or(greatest, |priority| priority.max(Priority::from_milli(1)))
}
