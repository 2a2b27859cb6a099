//! How a run follows its assignment while it works: partitions come, and others go once nothing of them is in flight.

use stoke_core::progress::Followed;
use stoke_core::units::PartitionId;

use super::{Run, Task};

impl Run {
    /// Follows the assignment that the store has now, where it can.
    pub(super) fn follow(&mut self) -> Followed {
        let assigned = self.given.borrow_and_update().clone();
        let Some(known) = self
            .keeper
            .known()
            .filter(|_| assigned.checkpoint.is_none())
        else {
            return Followed::Anew;
        };
        // What others had spent, and this worker got with their partitions.
        let inherited = assigned.assignment.effort.beyond(known.effort);
        let followed = self.tracker.follow(known.partitions, &assigned.assignment);
        if followed == Followed::Anew {
            return followed;
        }
        self.tracker.spend(inherited);
        self.keeper.follow(assigned.revision, assigned.assignment);
        self.superseded = false;
        self.give_up_what_leaves();
        followed
    }

    /// Forgets the entries that wait for something, of partitions that leave.
    fn give_up_what_leaves(&mut self) {
        let tracker = &self.tracker;
        self.ahead.give_up(|task| tracker.has_left(task.partition));
        let retrying = &mut self.retrying;
        self.retries.retain(|_, task| {
            let leaves = tracker.has_left(task.partition);
            if leaves {
                retrying.remove(&task.rank.0);
            }
            !leaves
        });
    }

    /// Notes that a go has these.
    pub(super) fn note_going(&mut self, tasks: &[Task]) {
        for task in tasks {
            *self.in_goes.entry(task.partition).or_default() += 1;
        }
    }

    /// Notes that a go has given this one back, or a verdict on it.
    pub(super) fn note_gone(&mut self, task: &Task) {
        if let Some(count) = self.in_goes.get_mut(&task.partition) {
            *count -= 1;
            if *count == 0 {
                self.in_goes.remove(&task.partition);
            }
        }
    }

    fn is_idle(&self, partition: PartitionId) -> bool {
        !self.in_goes.contains_key(&partition)
    }

    /// Whether there are partitions to release, and nothing is in flight on any of them.
    pub(super) fn all_may_go(&self) -> bool {
        let mut leaving = self.tracker.leaving().peekable();
        !self.superseded
            && leaving.peek().is_some()
            && leaving.all(|partition| self.is_idle(partition))
    }

    /// Releases the partitions that leave and on which nothing is in flight.
    pub(super) fn release_idle(&mut self) {
        let leaving = self.tracker.leaving();
        let idle: Vec<PartitionId> = leaving.filter(|p| self.is_idle(*p)).collect();
        for partition in idle {
            self.tracker.release(partition);
        }
    }
}
