//! Checkpoints: how far this worker has come, brought to the store as its [`Keeper`] says, and lists of failed entries to a
//! coordinator.

use std::time::Duration;

use stoke_core::names::JobName;
use stoke_core::records::Checkpoint;
use stoke_proto::v1::{FailedEntry, RecordFailuresRequest};
use stoke_store::{StoreError, TxnOutcome};

use super::keeper::{Keeper, Superseded, Writing};
use crate::link::LinkError;
use crate::worker::Shared;

/// How long listing some failed entries may take.
const LIST_TIME_MAX: Duration = Duration::from_secs(5);

/// Why a checkpoint was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckpointError {
    #[error(transparent)]
    Superseded(#[from] Superseded),
    /// An earlier checkpoint arrived late: this one was not written.
    #[error("an earlier checkpoint arrived late")]
    Late,
    #[error("failed entries could not be listed")]
    Link(#[from] LinkError),
    #[error("failed entries could not be listed: {}", .0.message())]
    Call(#[from] tonic::Status),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Writes a checkpoint, where it says anything new. Whoever drops this before it has ended tells [`Keeper::unknown`].
pub(super) async fn write(
    shared: &Shared,
    job: &JobName,
    keeper: &mut Keeper,
    checkpoint: &Checkpoint,
) -> Result<(), CheckpointError> {
    let written = try_write(shared, job, keeper, checkpoint).await;
    match &written {
        Ok(true) => shared.metrics.checkpoint("written"),
        Ok(false) => {}
        Err(CheckpointError::Superseded(_)) => shared.metrics.checkpoint("superseded"),
        Err(_) => shared.metrics.checkpoint("failed"),
    }
    written.map(|_| ())
}

/// `false`: it says nothing new.
async fn try_write(
    shared: &Shared,
    job: &JobName,
    keeper: &mut Keeper,
    checkpoint: &Checkpoint,
) -> Result<bool, CheckpointError> {
    let mut is_written = false;
    // Why it was refused: to be said where the assignment is the one that is known.
    let mut refused = None;
    loop {
        match keeper.next(checkpoint) {
            Writing::Nothing => return Ok(is_written),
            Writing::List {
                log,
                chunk,
                failures,
            } => match list(shared, job, log, chunk, failures).await {
                Ok(()) => keeper.listed(),
                Err(CheckpointError::Call(status)) if is_of_no_owner(&status) => {
                    keeper.refused();
                    refused = Some(CheckpointError::Call(status));
                }
                Err(error) => return Err(error),
            },
            Writing::LookUp(keys) => {
                let found = shared.store.read(&keys).await?;
                keeper.found(&found)?;
                if let Some(why) = refused.take() {
                    return Err(why);
                }
            }
            Writing::Commit(txn) => match shared.store.txn(txn).await {
                Ok(TxnOutcome::Committed(revision)) => {
                    keeper.committed(revision);
                    is_written = true;
                }
                Ok(TxnOutcome::Refused) => {
                    keeper.refused();
                    refused = Some(CheckpointError::Late);
                }
                Err(error) => {
                    if matches!(error, StoreError::Unknown { .. }) {
                        keeper.unknown();
                    }
                    return Err(error.into());
                }
            },
        }
    }
}

/// Whether a coordinator takes no list of this assignment's: another has replaced it.
fn is_of_no_owner(status: &tonic::Status) -> bool {
    status.code() == tonic::Code::FailedPrecondition
}

/// Sends failed entries up.
async fn list(
    shared: &Shared,
    job: &JobName,
    log: String,
    chunk: u64,
    failures: Vec<FailedEntry>,
) -> Result<(), CheckpointError> {
    let request = RecordFailuresRequest {
        job: job.to_string(),
        log,
        chunk,
        failures,
    };
    let mut client = shared.link.any().await?;
    let recorded = tokio::time::timeout(LIST_TIME_MAX, client.record_failures(request));
    recorded.await.map_err(|_| LinkError::Nobody)??;
    Ok(())
}
