//! Who owns which partition: weighted rendezvous hashing with bounded load.
//!
//! [`assign`] is a function of the members and of nothing else. What it promises, each with a property test:
//!
//! - every partition has exactly one owner, unless there is no member;
//! - the same members get the same table, whatever the order they came in, on every platform and in every version
//!   (the tests hold a fingerprint);
//! - no worker owns more than [`BALANCE_PERCENT`] of its fair share, rounded up: see [`capacity`];
//! - when a worker joins or leaves, little moves besides its own partitions: at most 1.25 times one worker's fair share
//!   where each has 256 partitions or more. With fewer, evenness costs more movement: with 64 each, 1.3 times on
//!   average and 1.75 times at worst. These are measurements, not proofs: see `ring/movement.rs`.
//!
//! How: every worker comes for the partitions in an order of its own (`ring/score.rs`), and each goes to the first that
//! comes for it and is not full (`ring/matching.rs`).
//!
//! Absent here: time, leases, hand-over. A table says who should own; that a partition is stopped and checkpointed before
//! it moves is the planner's task, and the table in the store, not a worker's own computation, is the truth.

mod matching;
#[cfg(test)]
mod movement;
mod score;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::names::WorkerName;
use crate::slot::Partitioning;
use crate::units::PartitionId;

/// How much of its fair share a worker may own, in percent.
///
/// It trades evenness for movement: the closer to 100, the more workers are full, and what comes to a full worker pushes
/// something else out of it. With 64 partitions for each of up to 200 workers a join was measured to move, in fair shares
/// of one worker, at worst 1.74 with 105 percent, 1.38 with 110, 1.23 with 115 and 1.27 without any bound.
pub const BALANCE_PERCENT: u32 = 105;

/// How many members a table is made for; a table for more would take seconds. Those beyond, in the order of names, own
/// nothing and stand by.
pub const MEMBERS_MAX: usize = 1024;

/// How much of the work a worker takes in proportion to others: 1 to 4,294,967,295.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Weight(NonZeroU32);

impl Weight {
    /// A weight of `value`; none where that is zero: a worker that shall own nothing is no member.
    #[must_use]
    pub const fn new(value: u32) -> Option<Self> {
        match NonZeroU32::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The bare number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl Default for Weight {
    /// 100, so that a worker can be given somewhat less than the others.
    fn default() -> Self {
        const { Self(NonZeroU32::new(100).expect("100 is not 0")) }
    }
}

/// A worker that can own partitions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// Its name; the only thing besides the weight that decides what it gets.
    pub name: WorkerName,
    /// Its weight.
    pub weight: Weight,
}

/// Who owns which partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table(BTreeMap<PartitionId, Arc<WorkerName>>);

impl Table {
    /// The owner of `partition`; none where the table does not name one.
    #[must_use]
    pub fn owner(&self, partition: PartitionId) -> Option<&WorkerName> {
        self.0.get(&partition).map(Arc::as_ref)
    }

    /// The partitions of `worker`, ascending.
    pub fn of(&self, worker: &WorkerName) -> impl Iterator<Item = PartitionId> {
        self.iter()
            .filter(move |(_, owner)| *owner == worker)
            .map(|(partition, _)| partition)
    }

    /// Each partition with its owner, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (PartitionId, &WorkerName)> {
        self.0
            .iter()
            .map(|(partition, owner)| (*partition, owner.as_ref()))
    }

    /// The partitions of every worker that has any, ascending.
    #[must_use]
    pub fn by_worker(&self) -> BTreeMap<&WorkerName, Vec<PartitionId>> {
        let mut partitions = BTreeMap::<_, Vec<_>>::new();
        for (partition, owner) in self.iter() {
            partitions.entry(owner).or_default().push(partition);
        }
        partitions
    }

    /// How many partitions have an owner.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether no partition has an owner.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// A table as the store holds it: of a partition that comes twice, the last owner counts.
impl FromIterator<(PartitionId, WorkerName)> for Table {
    fn from_iter<I: IntoIterator<Item = (PartitionId, WorkerName)>>(owners: I) -> Self {
        let mut shared = BTreeMap::new();
        let mut share = |name: WorkerName| {
            Arc::clone(shared.entry(name.clone()).or_insert_with(|| Arc::new(name)))
        };
        Self(
            owners
                .into_iter()
                .map(|(partition, name)| (partition, share(name)))
                .collect(),
        )
    }
}

/// Gives every partition an owner among `members`; of a name that comes twice, the larger weight counts.
///
/// For 16,384 partitions and 200 members this takes some 20 milliseconds and 7 MB.
#[must_use]
pub fn assign(partitioning: Partitioning, members: &[Member]) -> Table {
    let members = in_order(members);
    let total = members
        .iter()
        .map(|member| u64::from(member.weight.get()))
        .sum();
    let capacities = members
        .iter()
        .map(|member| capacity(partitioning, member.weight, total))
        .collect();
    let favourites = score::Favourites::of(partitioning, &members);
    let names: Vec<Arc<WorkerName>> = members
        .into_iter()
        .map(|member| Arc::new(member.name))
        .collect();
    let owners = matching::stable(partitioning.count().into(), favourites, capacities);
    Table(
        partitioning
            .ids()
            .zip(owners.into_iter().map(|owner| Arc::clone(&names[owner])))
            .collect(),
    )
}

/// The most partitions that a worker of `weight` may own where all weights, its own included, add up to `total`:
/// [`BALANCE_PERCENT`] of its fair share, rounded up.
#[must_use]
pub fn capacity(partitioning: Partitioning, weight: Weight, total: u64) -> u16 {
    let count = partitioning.count();
    let share = u128::from(BALANCE_PERCENT) * u128::from(weight.get()) * u128::from(count);
    let rounded_up = share.div_ceil(u128::from(total.max(1)) * 100);
    u16::try_from(rounded_up).map_or(count, |most| most.min(count))
}

/// The members in the one order that does not depend on how they came, each once, [`MEMBERS_MAX`] at most.
fn in_order(members: &[Member]) -> Vec<Member> {
    let mut members = members.to_vec();
    members.sort_unstable_by(|a, b| a.name.cmp(&b.name).then(b.weight.cmp(&a.weight)));
    members.dedup_by(|later, first| later.name == first.name);
    members.truncate(MEMBERS_MAX);
    members
}

/// A partition whose owner is another in the new table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move<'a> {
    /// Which.
    pub partition: PartitionId,
    /// Who owned it; none where nobody did.
    pub from: Option<&'a WorkerName>,
    /// Who is to own it; none where nobody is.
    pub to: Option<&'a WorkerName>,
}

/// What changes hands between two tables, by partition.
#[must_use]
pub fn moves<'a>(old: &'a Table, new: &'a Table) -> Vec<Move<'a>> {
    let gone = old
        .iter()
        .filter(|(partition, _)| new.owner(*partition).is_none());
    let mut moves: Vec<_> = new
        .iter()
        .map(|(partition, to)| Move {
            partition,
            from: old.owner(partition),
            to: Some(to),
        })
        .chain(gone.map(|(partition, from)| Move {
            partition,
            from: Some(from),
            to: None,
        }))
        .filter(|step| step.from != step.to)
        .collect();
    moves.sort_unstable_by_key(|step| step.partition);
    moves
}
