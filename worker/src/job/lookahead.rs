//! Entries on their way from the stream to queries: gathered by loader, so that each query asks for a full batch.
//!
//! Pure. Gathering looks ahead a bounded distance: a loader with few entries does not hold back its first ones
//! until a batch is full.

use std::collections::VecDeque;

use stoke_core::batch_keys::BatchKeys;

use super::batching::{Batching, Load};
use super::entries::Task;

/// A batch that is not full goes out when its first entry is so many ranks behind the newest entry seen, in batches.
const BEHIND_MAX_BATCHES: u64 = 8;

/// Entries of one loader that wait for a full batch.
#[derive(Debug)]
struct Waiting {
    batching: Batching,
    tasks: VecDeque<Task>,
}

/// Entries that wait to be loaded, by loader.
#[derive(Debug)]
pub(super) struct Lookahead {
    loaders: Vec<Waiting>,
    newest: u64,
}

impl Lookahead {
    /// For loaders that take so many keys a query.
    pub(super) fn new(batch_keys: impl IntoIterator<Item = BatchKeys>) -> Self {
        let waiting = |batch_keys| Waiting {
            batching: Batching::new(batch_keys),
            tasks: VecDeque::new(),
        };
        Self {
            loaders: batch_keys.into_iter().map(waiting).collect(),
            newest: 0,
        }
    }

    /// Adds an entry.
    pub(super) fn push(&mut self, task: Task) {
        self.newest = self.newest.max(task.rank.0);
        if let Some(waiting) = usize::try_from(task.loader)
            .ok()
            .and_then(|n| self.loaders.get_mut(n))
        {
            waiting.tasks.push_back(task);
        }
    }

    /// Takes note of a load of this loader; see [`Batching::saw`].
    pub(super) fn saw(&mut self, loader: usize, load: &Load) {
        if let Some(waiting) = self.loaders.get_mut(loader) {
            waiting.batching.saw(load);
        }
    }

    /// Gives up the entries for which this says so.
    pub(super) fn give_up(&mut self, which: impl Fn(&Task) -> bool) {
        for waiting in &mut self.loaders {
            waiting.tasks.retain(|task| !which(task));
        }
    }

    /// Takes the next batch that should go out: a full one; one that has waited for long; or, where nothing more is to
    /// come for now, any. Only of loaders that may load now.
    pub(super) fn next_batch(
        &mut self,
        nothing_more: bool,
        may_load: impl Fn(usize) -> bool,
    ) -> Option<Vec<Task>> {
        let newest = self.newest;
        let ready = |waiting: &Waiting| {
            let behind = waiting
                .tasks
                .front()
                .map_or(0, |task| newest.saturating_sub(task.rank.0));
            let full = waiting.batching.size();
            waiting.tasks.len() >= full
                || (!waiting.tasks.is_empty()
                    && (nothing_more || behind > BEHIND_MAX_BATCHES * full as u64))
        };
        let waiting = self
            .loaders
            .iter_mut()
            .enumerate()
            .filter(|(loader, waiting)| ready(waiting) && may_load(*loader))
            .min_by_key(|(_, waiting)| waiting.tasks.front().map(|task| task.rank))
            .map(|(_, waiting)| waiting)?;
        let size = waiting.batching.size().min(waiting.tasks.len());
        Some(waiting.tasks.drain(..size).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::joint::Lacking;
    use bytes::Bytes;
    use stoke_core::units::{BandId, PartitionId, Priority, Rank};

    fn task(rank: u64, loader: u32) -> Task {
        Task {
            partition: PartitionId(0),
            band: BandId(0),
            rank: Rank(rank),
            key: Bytes::new(),
            loader,
            argument: String::new(),
            priority: Priority::ONE,
            attempts: 0,
            lacking: Lacking::EVERYWHERE,
        }
    }

    fn ranks(batch: Option<Vec<Task>>) -> Vec<u64> {
        batch
            .unwrap_or_default()
            .iter()
            .map(|task| task.rank.0)
            .collect()
    }

    #[test]
    fn batches_are_full_and_of_one_loader() {
        let mut ahead = Lookahead::new([3, 2].map(BatchKeys::from));
        (0..6).for_each(|rank| ahead.push(task(rank, u32::from(rank % 3 == 0))));
        assert_eq!(ranks(ahead.next_batch(false, |_| true)), [0, 3]);
        assert_eq!(ranks(ahead.next_batch(false, |_| true)), [1, 2, 4]);
        assert_eq!(ahead.next_batch(false, |_| true), None);
        assert_eq!(ranks(ahead.next_batch(true, |_| true)), [5]);
        assert_eq!(ahead.next_batch(true, |_| true), None);
    }

    #[test]
    fn a_loader_that_may_not_load_holds_up_no_other() {
        let mut ahead = Lookahead::new([1, 1].map(BatchKeys::from));
        ahead.push(task(0, 0));
        ahead.push(task(1, 1));
        assert_eq!(ranks(ahead.next_batch(false, |loader| loader == 1)), [1]);
    }

    #[test]
    fn what_is_given_up_is_in_no_batch() {
        let mut ahead = Lookahead::new([3, 3].map(BatchKeys::from));
        (0..6).for_each(|rank| ahead.push(task(rank, u32::from(rank % 2 == 0))));
        ahead.give_up(|task| task.rank.0 < 4);
        assert_eq!(ranks(ahead.next_batch(true, |_| true)), [4]);
        assert_eq!(ranks(ahead.next_batch(true, |_| true)), [5]);
    }

    #[test]
    fn a_rare_loaders_entry_does_not_wait_for_ever() {
        let mut ahead = Lookahead::new([2, 2].map(BatchKeys::from));
        ahead.push(task(0, 1));
        ahead.push(task(16, 0));
        assert_eq!(ahead.next_batch(false, |_| true), None);
        ahead.push(task(17, 0));
        assert_eq!(ranks(ahead.next_batch(false, |_| true)), [0]);
    }
}
