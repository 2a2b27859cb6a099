//! What is known of a worker's checkpoint in the store, and what to do next so that another one gets there (W2).
//!
//! Pure: [`Keeper::next`] says what to do, whoever does it says what came of it. Invariants:
//! - a checkpoint is committed only where the assignment is still the one that was worked under, and the checkpoint there is
//!   still the one that is known;
//! - failed entries are listed before the checkpoint that counts them, and forgotten only once it is committed;
//! - a chunk of a log has the same entries whenever it is listed, so that what arrives late changes nothing;
//! - after a write of which nothing is known, the store is looked up before the next one, so that an old checkpoint that
//!   arrives late cannot replace a newer one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use stoke_core::mutant::Mutant;
use stoke_core::names::{JobName, WorkerName};
use stoke_core::progress::{Effort, PartitionState};
use stoke_core::records::{Assignment, Checkpoint, FailureLog, keys};
use stoke_core::units::PartitionId;
use stoke_proto::v1::FailedEntry;
use stoke_store::{Compare, Keys, Op, Revision, Snapshot, Txn, record};

use super::Assigned;

/// How many bytes of failed entries one chunk has at most, where it has more than one entry.
const FAILURE_BYTES_MAX: usize = 1 << 20;
/// The longest reason of a failure that is kept, in characters.
const REASON_MAX: usize = 500;

/// What to do next so that a checkpoint is written.
#[derive(Clone, Debug, PartialEq)]
pub enum Writing {
    /// Nothing: the store has it.
    Nothing,
    /// List these failed entries, replacing what this chunk of the log may have; then tell [`Keeper::listed`], or
    /// [`Keeper::refused`] where no list of this assignment's is taken. Where that fails, the same chunk is named again.
    List {
        /// The log.
        log: String,
        /// The chunk's number, from 0.
        chunk: u64,
        /// Its entries: at least one.
        failures: Vec<FailedEntry>,
    },
    /// Read these keys; then tell [`Keeper::found`].
    LookUp(Vec<Keys>),
    /// Commit this; then tell [`Keeper::committed`], [`Keeper::refused`], or [`Keeper::unknown`]. Where certainly nothing was
    /// done, tell nothing: it is named again.
    Commit(Txn),
}

/// The assignment is not the one any more: nothing that is done under it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the assignment has changed")]
pub struct Superseded;

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
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// How each partition stands there.
    pub partitions: &'a BTreeMap<PartitionId, PartitionState>,
    /// What was spent.
    pub effort: Effort,
}

/// The failed entries that were listed, and that no checkpoint counts which is known to be in the store: the first of
/// those that wait.
#[derive(Clone, Copy, Debug, Default)]
struct Listed {
    chunks: u64,
    failures: usize,
}

/// Keeps the checkpoint of one assignment, and of those that follow it.
#[derive(Debug)]
pub struct Keeper {
    worker: WorkerName,
    job: JobName,
    assignment: u64,
    stored: Stored,
    /// The store is not as it was known: it is looked up before anything else.
    looks_up: bool,
    written: Option<Checkpoint>,
    /// What the assignment said, before there was a checkpoint.
    given: Assignment,
    log: String,
    /// How many chunks of the log the checkpoint in the store counts.
    counted: u64,
    /// Those that no checkpoint counts which is known to be in the store, each with its partition.
    failures: VecDeque<(PartitionId, FailedEntry)>,
    /// How many of them the checkpoint counts that was made last.
    to_list: usize,
    listed: Listed,
    /// How many failures the chunk has that was named and is not known to be listed.
    listing: Option<usize>,
    /// What was to be committed last, and what it counts beyond the checkpoint before.
    committing: Option<(Checkpoint, Listed)>,
}

impl Keeper {
    /// For a worker's assignment in a job, and the checkpoint that was made under it.
    #[must_use]
    pub fn new(worker: WorkerName, job: JobName, assigned: Assigned) -> Self {
        let (written, stored) = match assigned.checkpoint {
            Some((checkpoint, revision)) => (Some(checkpoint), Stored::At(revision)),
            None => (None, Stored::None),
        };
        let log = written.as_ref().and_then(|c| c.failures.as_ref());
        Self {
            assignment: assigned.revision,
            stored,
            looks_up: false,
            counted: log.map_or(0, |log| log.chunks),
            written,
            given: assigned.assignment,
            log: log_under(&worker, assigned.revision),
            worker,
            job,
            failures: VecDeque::new(),
            to_list: 0,
            listed: Listed::default(),
            listing: None,
            committing: None,
        }
    }

    /// The mod revision of the assignment under which it writes.
    #[must_use]
    pub const fn assignment(&self) -> u64 {
        self.assignment
    }

    /// How the store had this worker's part when that was last known; `None` where a write of which nothing is known may
    /// have changed it.
    #[must_use]
    pub fn known(&self) -> Option<Known<'_>> {
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

    /// Goes on under an assignment, of this mod revision, into which the last checkpoint was folded. Failed entries that
    /// were not counted yet are listed under the new one; but those of partitions that do not stand there as they did are not:
    /// they are done again.
    pub fn follow(&mut self, revision: u64, given: Assignment) {
        let standing = self.known().map(|known| {
            let stands = |(id, state): &(&PartitionId, &PartitionState)| {
                given.partitions.get(id) == Some(*state)
            };
            let standing = known.partitions.iter().filter(stands);
            standing.map(|(id, _)| *id).collect::<BTreeSet<_>>()
        });
        let standing = standing.unwrap_or_default();
        self.failures
            .retain(|(partition, _)| standing.contains(partition));
        self.to_list = 0;
        self.assignment = revision;
        self.stored = Stored::None;
        self.looks_up = false;
        self.written = None;
        self.given = given;
        self.log = log_under(&self.worker, revision);
        self.counted = 0;
        self.listed = Listed::default();
        self.listing = None;
        self.committing = None;
    }

    /// Lists a failed entry of this partition with the next checkpoint, which counts it.
    pub fn note_failure(&mut self, partition: PartitionId, mut failure: FailedEntry) {
        if let Some((end, _)) = failure.reason.char_indices().nth(REASON_MAX) {
            failure.reason.truncate(end);
        }
        self.failures.push_back((partition, failure));
    }

    /// A checkpoint is made: it counts the failed entries that were noted until now, and no others.
    pub fn count_failures(&mut self) {
        self.to_list = self.failures.len();
    }

    /// How many failed entries wait for a checkpoint that counts them.
    #[must_use]
    pub fn failures_waiting(&self) -> usize {
        self.failures.len()
    }

    /// What to do next so that this checkpoint is written (its list of failures is this keeper's to say). To be asked again
    /// after each thing that is done.
    pub fn next(&mut self, checkpoint: &Checkpoint) -> Writing {
        if self.looks_up {
            let keys = [self.key(), self.assignment_key()];
            return Writing::LookUp(keys.map(Keys::One).into());
        }
        let list_late = Mutant::FailuresListedLate.is_on();
        if !list_late && let Some(list) = self.next_chunk() {
            return list;
        }
        let not_listed = self.to_list > self.listed.failures;
        let chunks = self.counted + self.listed.chunks + u64::from(list_late && not_listed);
        let log = (chunks > 0).then(|| FailureLog {
            log: self.log.clone(),
            chunks,
        });
        let checkpoint = Checkpoint {
            failures: log,
            ..checkpoint.clone()
        };
        if self.written.as_ref() == Some(&checkpoint) {
            // Nothing is left to be listed but what the mutant has put off.
            return self.next_chunk().unwrap_or(Writing::Nothing);
        }
        let txn = self.txn(&checkpoint);
        self.committing = Some((checkpoint, self.listed));
        Writing::Commit(txn)
    }

    /// The chunk that was named is listed.
    pub fn listed(&mut self) {
        if let Some(failures) = self.listing.take() {
            self.listed.chunks += 1;
            self.listed.failures += failures;
        }
    }

    /// What was looked up.
    ///
    /// # Errors
    /// [`Superseded`].
    pub fn found(&mut self, found: &Snapshot) -> Result<(), Superseded> {
        let revision = |key: &str| {
            let entry = found.entries.iter().find(|entry| entry.key == key);
            entry.map(|entry| entry.mod_revision.0)
        };
        if revision(&self.assignment_key()) != Some(self.assignment) {
            return Err(Superseded);
        }
        let stored = revision(&self.key()).map_or(Stored::None, Stored::At);
        if stored != self.stored {
            self.written = None;
        }
        self.stored = stored;
        self.looks_up = false;
        Ok(())
    }

    /// What was named is committed, at this revision. Failed entries that it does not count wait on.
    pub fn committed(&mut self, revision: Revision) {
        let Some((checkpoint, counts)) = self.committing.take() else {
            return;
        };
        self.stored = Stored::At(revision.0);
        self.written = Some(checkpoint);
        self.counted += counts.chunks;
        self.failures.drain(..counts.failures);
        self.to_list -= counts.failures;
        self.listed.chunks -= counts.chunks;
        self.listed.failures -= counts.failures;
    }

    /// What was named is not committed, or not listed, for something is not as it was known: the part was taken over, or a write
    /// of our own, of which nothing was known, has arrived late. It is looked up which, and the next checkpoint follows that one.
    /// What this one would have said is certainly not there: what is known of the part still is.
    pub fn refused(&mut self) {
        self.looks_up = true;
        self.committing = None;
    }

    /// A write was given up, or nothing is known of what became of it.
    pub fn unknown(&mut self) {
        self.stored = Stored::Uncertain;
        self.looks_up = true;
        self.committing = None;
    }

    /// The next chunk of failed entries to list, after those that are listed: the same one until it is.
    fn next_chunk(&mut self) -> Option<Writing> {
        let rest = || {
            let rest = self.failures.range(self.listed.failures..self.to_list);
            rest.map(|(_, failure)| failure)
        };
        if rest().len() == 0 {
            return None;
        }
        let size = *self.listing.get_or_insert_with(|| how_many_fit(rest()));
        Some(Writing::List {
            log: self.log.clone(),
            chunk: self.counted + self.listed.chunks,
            failures: rest().take(size).cloned().collect(),
        })
    }

    fn txn(&self, checkpoint: &Checkpoint) -> Txn {
        let key = self.key();
        let assignment = Compare::ModRevision(self.assignment_key(), Revision(self.assignment));
        let before = match self.stored {
            Stored::At(revision) => Compare::ModRevision(key.clone(), Revision(revision)),
            Stored::None | Stored::Uncertain => Compare::Absent(key.clone()),
        };
        let mut compares = Vec::with_capacity(2);
        if !Mutant::CheckpointOfAnother.is_on() {
            compares.push(assignment);
        }
        if !Mutant::CheckpointOverNewer.is_on() {
            compares.push(before);
        }
        let put = Op::Put {
            key,
            value: record::encode(checkpoint),
            lease: None,
        };
        Txn {
            compares,
            ops: vec![put],
        }
    }

    fn key(&self) -> String {
        keys::checkpoint(&self.job, &self.worker)
    }

    fn assignment_key(&self) -> String {
        keys::assignment(&self.job, &self.worker)
    }
}

/// The log of failures under an assignment: each incarnation has its own.
fn log_under(worker: &WorkerName, assignment: u64) -> String {
    let incarnation = worker.as_str().rsplit('.').next().unwrap_or_default();
    format!("{incarnation}-{assignment}")
}

/// How many of the first failures fit into one chunk; at least one.
fn how_many_fit<'a>(failures: impl Iterator<Item = &'a FailedEntry>) -> usize {
    let mut bytes = 0;
    let fit = failures.take_while(|failure| {
        bytes += failure.key.len() + failure.reason.len() + failure.loader.len() + 32;
        bytes <= FAILURE_BYTES_MAX
    });
    fit.count().max(1)
}

#[cfg(test)]
mod tests;
