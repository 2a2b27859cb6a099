//! How a part follows its assignment while it is worked on: partitions come, and others go once nothing of them is in flight;
//! and how it stands, for checkpoints.

use std::collections::BTreeSet;

use stoke_core::mutant::Mutant;
use stoke_core::progress::{Followed, Outcome};
use stoke_core::records::Checkpoint;
use stoke_core::units::PartitionId;

use super::Part;
use crate::job::Assigned;

impl Part {
    /// Follows the assignment that the store has now, where it goes on from what is known of this part.
    pub fn follow(&mut self, assigned: Assigned) -> Followed {
        let known = self.keeper.known();
        let Some(known) = known.filter(|_| assigned.checkpoint.is_none()) else {
            return Followed::Anew;
        };
        // What others had spent, and this worker got with their partitions.
        let inherited = assigned.assignment.effort.beyond(known.effort);
        let followed = self.tracker.follow(known.partitions, &assigned.assignment);
        if followed == Followed::Anew {
            return followed;
        }
        // What is not counted of a partition that has gone, or comes from elsewhere, is done again, and listed then.
        let tracker = &self.tracker;
        self.failed
            .retain(|(partition, rank), _| tracker.is_open(*partition, *rank));
        self.tracker.spend(inherited);
        self.keeper.follow(assigned.revision, assigned.assignment);
        self.superseded = false;
        self.give_up_what_leaves();
        followed
    }

    /// Forgets the entries that wait for something, of partitions that leave.
    fn give_up_what_leaves(&mut self) {
        let has_left = |partition| self.tracker.has_left(partition);
        self.ahead.give_up(|task| has_left(task.partition));
        self.retries.retain(|_, task| !has_left(task.partition));
        self.retrying.retain(|_, partition| !has_left(*partition));
    }

    fn is_idle(&self, partition: PartitionId) -> bool {
        self.in_goes.is_none_of(partition)
    }

    /// Whether there are partitions to release, and nothing is in flight on any of them: a checkpoint releases them.
    #[must_use]
    pub fn all_may_go(&self) -> bool {
        let mut leaving = self.tracker.leaving().peekable();
        !self.superseded
            && leaving.peek().is_some()
            && leaving.all(|partition| self.is_idle(partition))
    }

    /// How this part stands, for a checkpoint while work goes on. It releases the partitions that leave and on which nothing
    /// is in flight.
    pub fn checkpoint(&mut self) -> Checkpoint {
        let leaving = self.tracker.leaving();
        let idle: Vec<PartitionId> = leaving.filter(|p| self.is_idle(*p)).collect();
        for partition in idle {
            self.tracker.release(partition);
        }
        let released = self.tracker.released().collect();
        self.standing(false, released)
    }

    /// How this part stands once nothing is in flight, for its last checkpoint. `aborted`: what was taken and has no outcome
    /// counts as cancelled; else it is left to whoever gets it.
    pub fn last_checkpoint(&mut self, aborted: bool) -> Checkpoint {
        if aborted {
            self.tracker.settle_open(Outcome::Cancelled);
        }
        self.tracker.release_all();
        self.standing(true, BTreeSet::new())
    }

    fn standing(&mut self, stopped: bool, released: BTreeSet<PartitionId>) -> Checkpoint {
        let failed: BTreeSet<PartitionId> = self
            .failed
            .keys()
            .map(|(partition, _)| *partition)
            .collect();
        for partition in failed {
            self.list_counted(partition);
        }
        self.keeper.count_failures();
        let mut partitions = self.tracker.states();
        if Mutant::RetriesForgotten.is_on() {
            partitions.values_mut().for_each(|s| s.retries.clear());
        }
        Checkpoint {
            partitions,
            effort: self.tracker.effort(),
            failures: None,
            stopped,
            released,
        }
    }
}
