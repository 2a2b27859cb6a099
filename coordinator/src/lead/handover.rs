//! Who owns what: from a job's present owners to those that the ring wants, in fenced steps.
//!
//! A planned move is cooperative: a step marks what shall go as leaving, its owner releases it in a checkpoint, and a step
//! moves it; so no entry is done twice. What does not come in time, or whose owner is gone, is taken as it stands.
//!
//! Each step is one transaction that compares the assignment and the checkpoint of everyone it touches, moves
//! positions and counts, and deletes the checkpoints (they are folded into the assignments): what an old owner does
//! later counts nowhere (W2, W3). A partition is in exactly one assignment before and after each step; one that is in none
//! was never given out. Each step also puts the job's record and compares it: of two steps that were decided on the same
//! records only one passes, however late the other arrives.

pub(super) mod departures;

pub(super) use departures::Departures;

use std::collections::{BTreeMap, BTreeSet};

use stoke_core::mutant::Mutant;
use stoke_core::names::WorkerName;
use stoke_core::records::{Assignment, Member, keys};
use stoke_core::ring::Table;
use stoke_core::units::PartitionId;
use stoke_store::{Compare, Op, Revision, TXN_BYTES_MAX, Txn, record};

use crate::view::{JobView, Owner};

/// How many workers one step may touch: each takes two compares and two operations of a transaction.
const TOUCHED_MAX: usize = 40;
/// How many bytes the assignments of those touched may take together: what else is in the transaction (the job's
/// record, keys) needs the rest. It does not hold for a step of only [`TOUCHED_LEAST`].
const TOUCHED_BYTES_MAX: usize = TXN_BYTES_MAX / 8 * 5;
/// Whoever gives and whoever takes: with fewer, no step would get anywhere.
const TOUCHED_LEAST: usize = 2;
/// How many bytes a partition that nobody has begun takes in an assignment, at most.
const FRESH_BYTES: usize = 64;
/// How many bytes the mark takes that a partition shall leave, at most.
const MARK_BYTES: usize = 8;

/// Who is there to release what shall move, and what is not waited for any longer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Releasing<'a> {
    /// The workers that are members.
    pub(super) present: &'a BTreeMap<WorkerName, Member>,
    /// The partitions that were marked so long ago that their owners are not waited for.
    pub(super) overdue: &'a BTreeSet<PartitionId>,
}

/// What a step does with a partition.
#[derive(Clone, Copy, Debug)]
struct Change<'a> {
    partition: PartitionId,
    /// Who has it, where somebody does.
    from: Option<&'a WorkerName>,
    /// Who gets it, be it the same without the mark; `None`: it is marked as leaving.
    to: Option<&'a WorkerName>,
}

impl<'a> Change<'a> {
    fn touches(&self) -> impl Iterator<Item = &'a WorkerName> {
        self.from.into_iter().chain(self.to)
    }
}

/// The next step towards `wanted`; `None` where everybody owns what it should, or must be waited for.
#[must_use]
pub(super) fn next_step(
    job: &JobView,
    partitions: u16,
    wanted: &Table,
    releasing: Releasing<'_>,
) -> Option<Txn> {
    let holder = holders(&job.owners);
    let due = (0..partitions).map(PartitionId);
    let due = due.filter_map(|partition| {
        let from = holder.get(&partition);
        due_change(job, partition, from, wanted.owner(partition)?, releasing)
    });
    let changes = as_many_as_fit(job, due);
    if changes.is_empty() {
        return None;
    }
    let touched: BTreeSet<&WorkerName> = changes.iter().flat_map(Change::touches).collect();
    let mut folded: BTreeMap<WorkerName, Assignment> = touched
        .into_iter()
        .map(|worker| (worker.clone(), standing(job, worker)))
        .collect();
    for change in &changes {
        carry_out(change, &mut folded);
    }
    for change in &changes {
        if let (Some(from), Some(to)) = (change.from, change.to) {
            bequeath(&mut folded, from, to);
        }
    }
    Some(transaction(job, folded))
}

/// What is to be done with a partition now; `None` where it is where it belongs, or its owner must be waited for.
fn due_change<'a>(
    job: &JobView,
    partition: PartitionId,
    from: Option<&'a WorkerName>,
    to: &'a WorkerName,
    releasing: Releasing<'_>,
) -> Option<Change<'a>> {
    let change = |to| Change {
        partition,
        from,
        to,
    };
    let Some((holder, owner)) = from.and_then(|from| Some((from, job.owners.get(from)?))) else {
        return Some(change(Some(to)));
    };
    let is_marked = owner.assignment.value.leaving.contains(&partition);
    let may_go = !releasing.present.contains_key(holder)
        || (is_marked && (owner.has_released(partition) || releasing.overdue.contains(&partition)));
    match (may_go, is_marked) {
        (_, false) if holder == to => None,
        (true, _) => Some(change(Some(to))),
        (false, false) => Some(change(None)),
        (false, true) => None,
    }
}

/// As many of the changes that are due as one step may make, at least one where there is any.
fn as_many_as_fit<'a>(job: &JobView, due: impl Iterator<Item = Change<'a>>) -> Vec<Change<'a>> {
    let mut touched: BTreeSet<&WorkerName> = BTreeSet::new();
    let mut bytes = 0;
    let mut sizes = BTreeMap::new();
    let mut size = |worker| {
        *sizes
            .entry(worker)
            .or_insert_with(|| record::encode(&standing(job, worker)).len())
    };
    let mut changes = Vec::new();
    for change in due {
        let new: BTreeSet<&WorkerName> = change
            .touches()
            .filter(|worker| !touched.contains(worker))
            .collect();
        let more = match (change.from, change.to) {
            (None, _) => FRESH_BYTES,
            (Some(_), None) => MARK_BYTES,
            (Some(_), Some(_)) => 0,
        };
        let grown = bytes + more + new.iter().map(|worker| size(*worker)).sum::<usize>();
        let count = touched.len() + new.len();
        let fits = count <= TOUCHED_MAX && grown <= TOUCHED_BYTES_MAX;
        if fits || count <= TOUCHED_LEAST {
            bytes = grown;
            touched.extend(new);
            changes.push(change);
        }
    }
    changes
}

/// Moves or marks a partition in the assignments of those touched.
fn carry_out(change: &Change<'_>, folded: &mut BTreeMap<WorkerName, Assignment>) {
    let Change {
        partition,
        from,
        to,
    } = *change;
    let Some(to) = to else {
        if let Some(owner) = from.and_then(|from| folded.get_mut(from)) {
            owner.leaving.insert(partition);
        }
        return;
    };
    let state = from
        .and_then(|from| folded.get_mut(from))
        .and_then(|owner| {
            owner.leaving.remove(&partition);
            owner.partitions.remove(&partition)
        });
    if let Some(to) = folded.get_mut(to) {
        to.partitions.insert(partition, state.unwrap_or_default());
    }
}

/// How things stand with a worker: what its checkpoint says, or else its assignment.
fn standing(job: &JobView, worker: &WorkerName) -> Assignment {
    let owner = job.owners.get(worker);
    if Mutant::CheckpointIgnored.is_on() {
        return owner.map_or_else(Assignment::default, |owner| owner.assignment.value.clone());
    }
    owner.map(Owner::folded).unwrap_or_default()
}

fn holders(owners: &BTreeMap<WorkerName, Owner>) -> BTreeMap<PartitionId, WorkerName> {
    let of = |(worker, owner): (&WorkerName, &Owner)| {
        let worker = worker.clone();
        owner
            .assignment
            .value
            .partitions
            .keys()
            .map(move |partition| (*partition, worker.clone()))
            .collect::<Vec<_>>()
    };
    owners.iter().flat_map(of).collect()
}

/// Who has nothing left leaves what it spent, and where its failures are listed, to an heir.
fn bequeath(folded: &mut BTreeMap<WorkerName, Assignment>, from: &WorkerName, to: &WorkerName) {
    if folded
        .get(from)
        .is_none_or(|from| !from.partitions.is_empty())
    {
        return;
    }
    let Some(estate) = folded.get_mut(from).map(std::mem::take) else {
        return;
    };
    if let Some(heir) = folded.get_mut(to) {
        heir.effort += estate.effort;
        heir.failures.extend(estate.failures);
    }
}

fn transaction(job: &JobView, folded: BTreeMap<WorkerName, Assignment>) -> Txn {
    let mut txn = Txn::default();
    // Where partitions are given out for the first time, all else that is compared is absent, and may be so again.
    let key = keys::job(&job.name);
    txn.compares.push(Compare::ModRevision(
        key.clone(),
        Revision(job.record.revision),
    ));
    txn.ops.push(Op::Put {
        key,
        value: record::encode(&job.record.value),
        lease: None,
    });
    for (worker, assignment) in folded {
        let (assign, ckpt) = (
            keys::assignment(&job.name, &worker),
            keys::checkpoint(&job.name, &worker),
        );
        let owner = job.owners.get(&worker);
        txn.compares.push(match owner {
            Some(owner) => {
                Compare::ModRevision(assign.clone(), Revision(owner.assignment.revision))
            }
            None => Compare::Absent(assign.clone()),
        });
        match owner.and_then(|owner| owner.checkpoint.as_ref()) {
            Some(checkpoint) => {
                txn.compares.push(Compare::ModRevision(
                    ckpt.clone(),
                    Revision(checkpoint.revision),
                ));
                txn.ops.push(Op::Delete(ckpt));
            }
            None => txn.compares.push(Compare::Absent(ckpt)),
        }
        txn.ops.push(if assignment.partitions.is_empty() {
            Op::Delete(assign)
        } else {
            Op::Put {
                key: assign,
                value: record::encode(&assignment),
                lease: None,
            }
        });
    }
    txn.compares.retain(|compare| !is_overlooked(compare));
    txn
}

/// Whether a mutant leaves this comparison out.
fn is_overlooked(compare: &Compare) -> bool {
    let (Compare::ModRevision(key, _) | Compare::CreateRevision(key, _) | Compare::Absent(key)) =
        compare;
    let is_checkpoint = key.starts_with(keys::CHECKPOINTS);
    (Mutant::CheckpointNotCompared.is_on() && is_checkpoint)
        || (Mutant::JobNotCompared.is_on() && !is_checkpoint)
}

#[cfg(test)]
mod tests;
