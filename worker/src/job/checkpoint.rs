//! Checkpoints: how far this worker has come, written where the assignment is still the one it works under (W2).
//!
//! Failed entries are listed with a coordinator before the checkpoint that counts them. A checkpoint of which nothing is
//! known is looked up before the next one is written, so that an old one that arrives late cannot replace a newer one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stoke_core::names::JobName;
use stoke_core::progress::{Effort, PartitionState};
use stoke_core::records::{Assignment, Checkpoint, FailureLog, keys};
use stoke_core::units::PartitionId;
use stoke_proto::v1::{FailedEntry, RecordFailuresRequest};
use stoke_store::{Compare, Keys, Op, Revision, StoreError, Txn, TxnOutcome, record};

use super::Assigned;
use crate::link::LinkError;
use crate::worker::Shared;

/// How long listing some failed entries may take.
const LIST_TIME_MAX: Duration = Duration::from_secs(5);
/// How many bytes of failed entries one call carries.
const FAILURE_BYTES_MAX: usize = 1 << 20;
/// The longest reason of a failure that is kept, in characters.
const REASON_MAX: usize = 500;

/// Why a checkpoint was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum CheckpointError {
    /// The assignment is not the one any more: nothing that is done under it counts.
    #[error("the assignment has changed")]
    Superseded,
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

/// What is known of the checkpoint in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stored {
    /// There is none.
    None,
    /// It was last put at this revision.
    At(u64),
    /// The last write may or may not have arrived.
    Uncertain,
}

/// How the store has a worker's part, as far as that is known.
pub(super) struct Known<'a> {
    pub(super) partitions: &'a BTreeMap<PartitionId, PartitionState>,
    pub(super) effort: Effort,
}

/// The log of failures under an assignment: each incarnation has its own.
fn log(shared: &Shared, assignment: u64) -> String {
    let name = shared.name.as_str();
    let incarnation = name.rsplit('.').next().unwrap_or_default();
    format!("{incarnation}-{assignment}")
}

/// Writes the checkpoints of one assignment, and of those that follow it.
pub(super) struct Keeper {
    shared: Arc<Shared>,
    job: JobName,
    assignment: u64,
    stored: Stored,
    written: Option<Checkpoint>,
    /// What the assignment said, before there was a checkpoint.
    given: Assignment,
    /// How many chunks of failures the checkpoint in the store counts.
    chunks: u64,
    log: String,
    failures: Vec<FailedEntry>,
}

impl Keeper {
    /// For an assignment, and the checkpoint that was made under it.
    pub(super) fn new(shared: Arc<Shared>, job: JobName, assigned: Assigned) -> Self {
        let (written, stored) = match assigned.checkpoint {
            Some((checkpoint, revision)) => (Some(checkpoint), Stored::At(revision)),
            None => (None, Stored::None),
        };
        let log = log(&shared, assigned.revision);
        let chunks = written
            .as_ref()
            .and_then(|c| c.failures.as_ref())
            .map_or(0, |failures| failures.chunks);
        Self {
            shared,
            job,
            assignment: assigned.revision,
            stored,
            written,
            given: assigned.assignment,
            chunks,
            log,
            failures: Vec::new(),
        }
    }

    /// How the store had this worker's part when that was last known; `None` where a write of which nothing is known may
    /// have changed it.
    pub(super) fn known(&self) -> Option<Known<'_>> {
        match (&self.stored, &self.written) {
            (Stored::At(_), Some(written)) => Some(Known {
                partitions: &written.partitions,
                effort: written.effort,
            }),
            (Stored::None, _) => Some(Known {
                partitions: &self.given.partitions,
                effort: self.given.effort,
            }),
            (Stored::At(_) | Stored::Uncertain, _) => None,
        }
    }

    /// Goes on under an assignment into which the last checkpoint was folded. Failed entries that were not counted yet are
    /// listed under the new one.
    pub(super) fn follow(&mut self, revision: u64, given: Assignment) {
        self.assignment = revision;
        self.stored = Stored::None;
        self.written = None;
        self.given = given;
        self.chunks = 0;
        self.log = log(&self.shared, revision);
    }

    /// Lists a failed entry with the next checkpoint.
    pub(super) fn note_failure(&mut self, mut failure: FailedEntry) {
        if let Some((end, _)) = failure.reason.char_indices().nth(REASON_MAX) {
            failure.reason.truncate(end);
        }
        self.failures.push(failure);
    }

    /// A write was given up: it may or may not have arrived.
    pub(super) fn interrupted(&mut self) {
        self.stored = Stored::Uncertain;
    }

    /// How many failed entries wait for the next checkpoint.
    pub(super) fn failures_waiting(&self) -> usize {
        self.failures.len()
    }

    /// Writes a checkpoint, where it says anything new.
    pub(super) async fn write(&mut self, checkpoint: Checkpoint) -> Result<(), CheckpointError> {
        let written = self.try_write(checkpoint).await;
        match &written {
            Ok(true) => self.shared.metrics.checkpoint("written"),
            Ok(false) => {}
            Err(CheckpointError::Superseded) => self.shared.metrics.checkpoint("superseded"),
            Err(_) => self.shared.metrics.checkpoint("failed"),
        }
        written.map(|_| ())
    }

    /// `false`: it says nothing new.
    async fn try_write(&mut self, mut checkpoint: Checkpoint) -> Result<bool, CheckpointError> {
        let chunks = self.chunks + self.list_failures().await?;
        checkpoint.failures = (chunks > 0).then(|| FailureLog {
            log: self.log.clone(),
            chunks,
        });
        if self.stored == Stored::Uncertain {
            self.look_up().await?;
        }
        if self.written.as_ref() == Some(&checkpoint) {
            return Ok(false);
        }
        let (key, assignment) = (self.key(), keys::assignment(&self.job, &self.shared.name));
        let own = match self.stored {
            Stored::At(revision) => Compare::ModRevision(key.clone(), Revision(revision)),
            Stored::None | Stored::Uncertain => Compare::Absent(key.clone()),
        };
        let txn = Txn {
            compares: vec![
                Compare::ModRevision(assignment, Revision(self.assignment)),
                own,
            ],
            ops: vec![Op::Put {
                key,
                value: record::encode(&checkpoint),
                lease: None,
            }],
        };
        match self.shared.store.txn(txn).await {
            Ok(TxnOutcome::Committed(revision)) => {
                self.stored = Stored::At(revision.0);
                self.written = Some(checkpoint);
                self.chunks = chunks;
                self.failures.clear();
                Ok(true)
            }
            // Either it was taken over, together with the assignment; or a write of our own, of which nothing was known,
            // has arrived late, and the next checkpoint follows that one.
            Ok(TxnOutcome::Refused) => {
                self.look_up().await?;
                Err(CheckpointError::Late)
            }
            Err(error) => {
                if matches!(error, StoreError::Unknown { .. }) {
                    self.stored = Stored::Uncertain;
                }
                Err(error.into())
            }
        }
    }

    fn key(&self) -> String {
        keys::checkpoint(&self.job, &self.shared.name)
    }

    /// Finds out what became of a write of which nothing is known.
    async fn look_up(&mut self) -> Result<(), CheckpointError> {
        let assignment = keys::assignment(&self.job, &self.shared.name);
        let found = self
            .shared
            .store
            .read(&[Keys::One(self.key()), Keys::One(assignment.clone())])
            .await?;
        let revision = |key: &str| {
            found
                .entries
                .iter()
                .find(|entry| entry.key == key)
                .map(|entry| entry.mod_revision.0)
        };
        if revision(&assignment) != Some(self.assignment) {
            return Err(CheckpointError::Superseded);
        }
        self.stored = revision(&self.key()).map_or(Stored::None, Stored::At);
        self.written = None;
        Ok(())
    }

    /// Sends the failed entries up, as the chunks after those that count; says how many.
    async fn list_failures(&self) -> Result<u64, CheckpointError> {
        if self.failures.is_empty() {
            return Ok(0);
        }
        let mut client = self.shared.link.any().await?;
        let mut chunk = self.chunks;
        let mut rest = self.failures.as_slice();
        while !rest.is_empty() {
            let (some, others) = rest.split_at(how_many_fit(rest));
            let request = RecordFailuresRequest {
                job: self.job.to_string(),
                log: self.log.clone(),
                chunk,
                failures: some.to_vec(),
            };
            let recorded = tokio::time::timeout(LIST_TIME_MAX, client.record_failures(request));
            recorded.await.map_err(|_| LinkError::Nobody)??;
            chunk += 1;
            rest = others;
        }
        Ok(chunk - self.chunks)
    }
}

/// How many of the first failures fit into one call; at least one.
fn how_many_fit(failures: &[FailedEntry]) -> usize {
    let mut bytes = 0;
    let fit = failures.iter().take_while(|failure| {
        bytes += failure.key.len() + failure.reason.len() + failure.loader.len() + 32;
        bytes <= FAILURE_BYTES_MAX
    });
    fit.count().max(1)
}
