//! What a worker decides about its part of a job: what of the stream is begun, what is loaded together, what is tried again
//! and when, and how its part stands.
//!
//! Pure: whoever drives it streams entries, asks the cache, loads and writes, and says what came of it. An entry that was
//! taken is at one place: in a go, gathered for a load, waiting to be tried again, or settled. How a part follows its
//! assignment is in `part/moves.rs`, what is written of it is its [`Keeper`]'s to decide.

mod in_goes;
mod moves;

use std::collections::BTreeMap;

use stoke_core::batch_keys::BatchKeys;
use stoke_core::mutant::Mutant;
use stoke_core::names::{JobName, WorkerName};
use stoke_core::progress::{Effort, Outcome, PartitionState, RangeRows, Tracker, Uptake};
use stoke_core::units::{BandId, PartitionId, Rank};
use stoke_proto::v1::FailedEntry;
use tokio::time::Instant;

use super::Assigned;
use super::backoff::after;
use super::batching::Load;
use super::entries::{Brought, Task};
use super::keeper::Keeper;
use super::load::{RowFailure, Verdict};
use super::lookahead::Lookahead;
use in_goes::InGoes;

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// It is done.
    Done(Outcome),
    /// It failed for good: the next checkpoint lists it.
    Failed,
    /// It is tried again, for this reason: here, or by whoever gets its partition.
    Again(String),
    /// It is a range of a scan, and these are counted in its place.
    Read(RangeRows),
}

/// A worker's part of a job: under an assignment, and under those that follow it.
#[derive(Debug)]
pub struct Part {
    tracker: Tracker,
    keeper: Keeper,
    ahead: Lookahead,
    loader_names: Vec<String>,
    attempts_max: u32,
    /// How many entries of each partition the goes have.
    in_goes: InGoes,
    /// Those that wait to be tried again, by when, and by rank.
    retries: BTreeMap<(Instant, u64), Task>,
    /// Those that failed for good, and are not counted yet: whoever takes over now does them again.
    failed: BTreeMap<(PartitionId, Rank), Vec<FailedEntry>>,
    /// The ranks that failed for a reason that may pass, and have no outcome yet.
    retrying: BTreeMap<u64, PartitionId>,
    /// The stream has ended.
    exhausted: bool,
    /// All is done, and a checkpoint was asked for that says so.
    done: bool,
    /// The store has another assignment, which has not been seen yet.
    superseded: bool,
}

impl Part {
    /// A worker's part of a job whose plan has so many partitions: it goes on where the assignment's checkpoint says. Of each
    /// loader of the job, in the job's order, how many keys a query takes, and its name. An entry is tried `attempts_max`
    /// times.
    #[must_use]
    pub fn new(
        worker: WorkerName,
        job: JobName,
        assigned: Assigned,
        partitions: u16,
        batch_keys: Vec<BatchKeys>,
        loader_names: Vec<String>,
        attempts_max: u32,
    ) -> Self {
        let checkpoint = assigned.checkpoint.as_ref();
        let folded = assigned.assignment.folded(checkpoint.map(|(c, _)| c));
        let mut tracker = Tracker::new(folded.partitions, folded.effort, partitions);
        tracker.leave(&folded.leaving);
        Self {
            tracker,
            keeper: Keeper::new(worker, job, assigned),
            ahead: Lookahead::new(batch_keys),
            loader_names,
            attempts_max,
            in_goes: InGoes::new(partitions),
            retries: BTreeMap::new(),
            failed: BTreeMap::new(),
            retrying: BTreeMap::new(),
            exhausted: false,
            done: false,
            superseded: false,
        }
    }

    /// A stream begins: of each partition that stays, its first band.
    pub fn open(&mut self) -> BTreeMap<PartitionId, BandId> {
        self.exhausted = false;
        self.done = false;
        let states = self.tracker.states().into_iter();
        let stays = states.filter(|(id, _)| !self.tracker.has_left(*id));
        stays.map(|(id, state)| (id, state.first_band())).collect()
    }

    /// What of the brought is to be begun. `None`: the stream has ended.
    pub fn take(&mut self, brought: Option<Brought>) -> Vec<Task> {
        match brought {
            None => {
                self.exhausted = true;
                Vec::new()
            }
            Some(Brought::BandComplete(band)) => {
                self.tracker.band_complete(band);
                Vec::new()
            }
            Some(Brought::Entries(tasks)) => {
                tasks.into_iter().filter_map(|t| self.take_one(t)).collect()
            }
        }
    }

    fn take_one(&mut self, mut task: Task) -> Option<Task> {
        let taken = self
            .tracker
            .take(task.partition, task.band, task.rank, task.priority);
        match taken {
            Uptake::Do { attempts } => {
                task.attempts = attempts;
                Some(task)
            }
            Uptake::Leave => None,
        }
    }

    /// A go has these from here on, until it gives each of them back, or a verdict on it.
    pub fn begin(&mut self, tasks: &[Task]) {
        for task in tasks {
            self.in_goes.add(task.partition);
        }
    }

    /// Gathers an entry that a go gave back: it is to be loaded.
    pub fn missing(&mut self, task: Task) {
        self.note_gone(&task);
        if !self.tracker.has_left(task.partition) {
            self.queue(task);
        }
    }

    /// Gathers an entry that is to be loaded, without a go before.
    pub fn queue(&mut self, task: Task) {
        self.ahead.push(task);
    }

    /// The next batch to load, of one loader that may load now. `nothing_more`: nothing comes for now that could fill one.
    pub fn next_batch(
        &mut self,
        nothing_more: bool,
        may_load: impl Fn(usize) -> bool,
    ) -> Option<Vec<Task>> {
        self.ahead.next_batch(nothing_more, may_load)
    }

    /// Takes note of what a query of this loader showed: the next ones ask for as many keys as seems right then.
    pub(super) fn saw(&mut self, loader: usize, load: &Load) {
        self.ahead.saw(loader, load);
    }

    /// Takes a go's verdict on an entry. `random`, from 0 to 1, spreads when it is tried again.
    pub fn settle(&mut self, task: Task, verdict: Verdict, now: Instant, random: f64) -> Settled {
        self.note_gone(&task);
        match verdict {
            Verdict::Done(outcome) => {
                self.conclude(&task, outcome);
                Settled::Done(outcome)
            }
            Verdict::Again(reason) if task.attempts + 1 < self.attempts_max => {
                self.retry(task, now, random);
                Settled::Again(reason)
            }
            Verdict::Again(reason) | Verdict::Failed(reason) => {
                self.fail(task, reason);
                Settled::Failed
            }
            Verdict::Read { rows, failures } => {
                self.conclude_range(&task, rows, failures);
                Settled::Read(rows)
            }
        }
    }

    /// Counts the rows of a range in its place, and has those listed that failed.
    fn conclude_range(&mut self, task: &Task, rows: RangeRows, failures: Vec<RowFailure>) {
        self.retrying.remove(&task.rank.0);
        if self.tracker.settle_range(task.partition, task.rank, rows) {
            let failures = failures.into_iter();
            let failures: Vec<FailedEntry> = failures
                .map(|failure| self.failed_entry(task, failure.key.to_vec(), failure.reason))
                .collect();
            if !failures.is_empty() {
                self.failed.insert((task.partition, task.rank), failures);
            }
        }
        self.list_counted(task.partition);
    }

    fn failed_entry(&self, task: &Task, key: Vec<u8>, reason: String) -> FailedEntry {
        let loader = usize::try_from(task.loader).ok();
        let loader = loader.and_then(|n| self.loader_names.get(n)).cloned();
        FailedEntry {
            key,
            rank: task.rank.0,
            loader: loader.unwrap_or_default(),
            reason,
            attempts: task.attempts + 1,
        }
    }

    /// Whether nothing more of this partition is to be done here.
    #[must_use]
    pub fn has_left(&self, partition: PartitionId) -> bool {
        self.tracker.has_left(partition)
    }

    /// Whether the outcome counts.
    fn conclude(&mut self, task: &Task, outcome: Outcome) -> bool {
        self.retrying.remove(&task.rank.0);
        let counts = self.tracker.settle(task.partition, task.rank, outcome);
        self.list_counted(task.partition);
        counts
    }

    fn fail(&mut self, task: Task, reason: String) {
        let failure = self.failed_entry(&task, task.key.to_vec(), reason);
        if self.conclude(&task, Outcome::Failed) {
            self.failed
                .insert((task.partition, task.rank), vec![failure]);
            self.list_counted(task.partition);
        }
    }

    /// Has those of a partition's failed entries listed that are counted now.
    fn list_counted(&mut self, partition: PartitionId) {
        let of_partition = (partition, Rank(0))..=(partition, Rank(u64::MAX));
        let failed = self.failed.range(of_partition).map(|(at, _)| at.1);
        let counted = failed.filter(|rank| !self.tracker.is_open(partition, *rank));
        for rank in counted.collect::<Vec<_>>() {
            for failure in self.failed.remove(&(partition, rank)).into_iter().flatten() {
                self.keeper.note_failure(partition, failure);
            }
        }
    }

    fn retry(&mut self, mut task: Task, now: Instant, random: f64) {
        task.attempts += 1;
        self.tracker.retry(task.partition, task.rank, task.attempts);
        self.list_counted(task.partition);
        if self.tracker.has_left(task.partition) {
            // Whoever gets the partition tries it again.
            self.retrying.remove(&task.rank.0);
            return;
        }
        self.retrying.insert(task.rank.0, task.partition);
        let when = now + after(task.attempts, random);
        self.retries.insert((when, task.rank.0), task);
    }

    /// When the next entry is to be tried again.
    #[must_use]
    pub fn next_due(&self) -> Option<Instant> {
        self.retries.first_key_value().map(|((when, _), _)| *when)
    }

    /// Entries that are to be tried again by now, so many at most.
    pub fn due(&mut self, now: Instant, max: usize) -> Vec<Task> {
        let mut due = Vec::new();
        while due.len() < max
            && let Some(first) = self.retries.first_entry()
            && first.key().0 <= now
        {
            due.push(first.remove());
        }
        due
    }

    /// Adds to what the work has cost.
    pub fn spend(&mut self, effort: Effort) {
        self.tracker.spend(effort);
    }

    /// Nothing is in a go any more. What goes have said nothing about stays open.
    pub fn all_gone(&mut self) {
        self.in_goes.clear();
    }

    fn note_gone(&mut self, task: &Task) {
        self.in_goes.remove(task.partition);
    }

    /// True once, when all is done: the stream has ended, nothing is in flight, and every entry has an outcome.
    pub fn just_done(&mut self, goes_in_flight: bool) -> bool {
        let is_done = self.exhausted && !goes_in_flight && self.tracker.unsettled() == 0;
        is_done && !std::mem::replace(&mut self.done, is_done)
    }

    /// Whether the last checkpoint may be written, which says that nothing is in flight: nothing is in a go.
    #[must_use]
    pub fn may_end(&self) -> bool {
        self.in_goes.are_none() || Mutant::StopConfirmedEarly.is_on()
    }

    /// Whether the stream has ended.
    #[must_use]
    pub const fn is_exhausted(&self) -> bool {
        self.exhausted
    }

    /// How many entries were taken and wait for something: what memory holds.
    #[must_use]
    pub fn held(&self) -> usize {
        self.tracker.held()
    }

    /// How many entries failed for a reason that may pass, and have no outcome yet.
    #[must_use]
    pub fn retrying(&self) -> usize {
        self.retrying.len()
    }

    /// How many failed entries wait for a checkpoint that counts them.
    #[must_use]
    pub fn failures_waiting(&self) -> usize {
        self.keeper.failures_waiting()
    }

    /// How each partition stands.
    #[must_use]
    pub fn states(&self) -> BTreeMap<PartitionId, PartitionState> {
        self.tracker.states()
    }

    /// Whether the store has another assignment, which has not been seen yet: nothing is written until it is followed.
    #[must_use]
    pub const fn is_superseded(&self) -> bool {
        self.superseded
    }

    /// Notes that the store has another assignment.
    pub const fn supersede(&mut self) {
        self.superseded = true;
    }

    /// Who decides how checkpoints are written.
    pub const fn keeper(&mut self) -> &mut Keeper {
        &mut self.keeper
    }
}

#[cfg(test)]
mod tests;
