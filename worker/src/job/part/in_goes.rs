//! How many entries of each partition are in goes.

use stoke_core::units::PartitionId;

/// The counts, by partition: a table, as every entry is counted in and out.
#[derive(Debug)]
pub(super) struct InGoes {
    of: Vec<u32>,
    all: usize,
}

impl InGoes {
    /// None, of a plan with so many partitions.
    pub(super) fn new(partitions: u16) -> Self {
        Self {
            of: vec![0; partitions.into()],
            all: 0,
        }
    }

    pub(super) fn add(&mut self, partition: PartitionId) {
        // The tracker takes none of a partition beyond the plan's.
        if let Some(count) = self.of.get_mut(usize::from(partition.0)) {
            *count += 1;
            self.all += 1;
        }
    }

    pub(super) fn remove(&mut self, partition: PartitionId) {
        if let Some(count) = self.of.get_mut(usize::from(partition.0))
            && *count > 0
        {
            *count -= 1;
            self.all -= 1;
        }
    }

    pub(super) fn clear(&mut self) {
        self.of.fill(0);
        self.all = 0;
    }

    pub(super) const fn are_none(&self) -> bool {
        self.all == 0
    }

    pub(super) fn is_none_of(&self, partition: PartitionId) -> bool {
        let count = self.of.get(usize::from(partition.0));
        count.is_none_or(|count| *count == 0)
    }
}
