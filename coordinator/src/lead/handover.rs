//! Who owns what: from a job's present owners to those that the ring wants, in fenced steps.
//!
//! Each step is one transaction that compares the assignment and the checkpoint of everyone it touches, moves
//! positions and counts, and deletes the checkpoints (they are folded into the assignments): what an old owner does
//! later counts nowhere (W2, W3). A partition is in exactly one assignment before and after each step; one that is in none
//! was never given out. Each step also puts the job's record and compares it: of two steps that were decided on the same
//! records only one passes, however late the other arrives.

use std::collections::{BTreeMap, BTreeSet};

use stoke_core::names::WorkerName;
use stoke_core::progress::PartitionState;
use stoke_core::records::{Assignment, keys};
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

/// A partition that changes hands: from whom, where somebody has it, and to whom.
type Move<'a> = (PartitionId, Option<&'a WorkerName>, &'a WorkerName);

/// The next step towards `wanted`; `None` where everybody owns what it should.
#[must_use]
pub(super) fn next_step(job: &JobView, partitions: u16, wanted: &Table) -> Option<Txn> {
    let holder = holders(&job.owners);
    let moves = moves_that_fit(job, partitions, &holder, wanted);
    if moves.is_empty() {
        return None;
    }
    let touched = moves
        .iter()
        .flat_map(|(_, from, to)| from.iter().chain([to]));
    let touched: BTreeSet<&WorkerName> = touched.copied().collect();
    let mut folded: BTreeMap<WorkerName, Assignment> = touched
        .into_iter()
        .map(|worker| (worker.clone(), standing(job, worker)))
        .collect();
    for (partition, from, to) in &moves {
        let state = match from {
            Some(from) => folded
                .get_mut(*from)
                .and_then(|a| a.partitions.remove(partition))
                .unwrap_or_default(),
            None => PartitionState::default(),
        };
        if let Some(to) = folded.get_mut(*to) {
            to.partitions.insert(*partition, state);
        }
    }
    for (_, from, to) in &moves {
        if let Some(from) = from {
            bequeath(&mut folded, from, to);
        }
    }
    Some(transaction(job, folded))
}

/// As many of the moves towards `wanted` as one step may make, at least one where there is any.
fn moves_that_fit<'a>(
    job: &JobView,
    partitions: u16,
    holder: &'a BTreeMap<PartitionId, WorkerName>,
    wanted: &'a Table,
) -> Vec<Move<'a>> {
    let mut touched: BTreeSet<&WorkerName> = BTreeSet::new();
    let mut bytes = 0;
    let mut sizes = BTreeMap::new();
    let mut size = |worker| {
        *sizes
            .entry(worker)
            .or_insert_with(|| record::encode(&standing(job, worker)).len())
    };
    let mut moves = Vec::new();
    for partition in (0..partitions).map(PartitionId) {
        let Some(to) = wanted.owner(partition) else {
            continue;
        };
        let from = holder.get(&partition);
        if from == Some(to) {
            continue;
        }
        let new = [Some(to), from].into_iter().flatten();
        let new: Vec<&WorkerName> = new.filter(|worker| !touched.contains(worker)).collect();
        let fresh = if from.is_none() { FRESH_BYTES } else { 0 };
        let grown = bytes + fresh + new.iter().map(|worker| size(*worker)).sum::<usize>();
        let count = touched.len() + new.len();
        let fits = count <= TOUCHED_MAX && grown <= TOUCHED_BYTES_MAX;
        if fits || count <= TOUCHED_LEAST {
            bytes = grown;
            touched.extend(new);
            moves.push((partition, from, to));
        }
    }
    moves
}

/// How things stand with a worker: what its checkpoint says, or else its assignment.
fn standing(job: &JobView, worker: &WorkerName) -> Assignment {
    let owner = job.owners.get(worker);
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
    txn
}

#[cfg(test)]
mod tests;
