//! Ranking one list, outside any cluster: what a command does with a log that nobody is to be warmed by yet.

use std::sync::Arc;

use stoke_core::job::Merge;
use stoke_core::plan::{Ranked, SourceRows};
use stoke_core::units::Priority;
use tokio_util::sync::CancellationToken;

use super::disk::{Disk, Folder};
use super::memory::Memory;
use super::{RankingError, RankingSettings};
use crate::metrics::{self, Metrics};

/// A list in the making. It blocks while it spills, so it is no work for async threads.
#[derive(Debug)]
pub struct List {
    rows: SourceRows<Disk>,
    folder: Arc<Folder>,
    memory: Arc<Memory>,
}

impl List {
    /// None yet; what it is offered of one key is merged in this way.
    ///
    /// # Errors
    /// Where nothing can be spilled to the folder.
    pub fn new(settings: &RankingSettings, merge: Merge) -> Result<Self, RankingError> {
        let metrics = Arc::new(Metrics::new(&metrics::none()));
        let folder = Arc::new(Folder::open(settings.spill_dir.clone(), metrics)?);
        // Nobody shares it: of what one alone may have, it is half.
        let memory = Memory::new(settings.memory_bytes.saturating_mul(2));
        let disk = Disk::new(&folder, &memory, CancellationToken::new());
        Ok(Self {
            rows: SourceRows::new(0, merge, disk),
            folder,
            memory,
        })
    }

    /// Adds a key.
    ///
    /// # Errors
    /// Where it is one too many, or what memory has no room for cannot be spilled.
    pub fn offer(&mut self, key: &[u8], priority: Priority) -> Result<(), RankingError> {
        if !self.rows.make_room(1, key.len()) {
            self.rows.spill()?;
            self.rows.make_room(1, key.len());
        }
        Ok(self.rows.offer(key, "", 0, priority)?)
    }

    /// The list, the most requested first.
    ///
    /// # Errors
    /// Where it has too many keys, or what was spilled cannot be read again.
    pub fn rank(self) -> Result<Ranked<Disk>, RankingError> {
        let disk = Disk::new(&self.folder, &self.memory, CancellationToken::new());
        Ok(Ranked::of(vec![self.rows], disk)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_memory_does_not_hold_is_ranked_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let settings = RankingSettings {
            memory_bytes: 4096,
            spill_dir: folder.path().to_owned(),
        };
        let mut list = List::new(&settings, Merge::Sum).unwrap();
        for n in 0..10_000u64 {
            // Key k comes as often as there are multiples of 100 below 10,000, and counts k each time.
            let key = n % 100;
            list.offer(key.to_string().as_bytes(), Priority::from_milli(key))
                .unwrap();
        }
        assert!(list.rows.is_spilled());
        let ranked = list.rank().unwrap();
        let keys: Vec<_> = ranked
            .map(|entry| {
                let entry = entry.unwrap();
                (
                    String::from_utf8(entry.key.into()).unwrap(),
                    entry.priority.as_milli(),
                )
            })
            .collect();
        let expected: Vec<_> = (0..100u64)
            .rev()
            .map(|key| (key.to_string(), 100 * key))
            .collect();
        assert_eq!(keys, expected);
    }
}
