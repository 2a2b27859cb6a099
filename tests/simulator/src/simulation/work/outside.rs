//! What is outside of Stoke: the cache that is warmed, and the plan store.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use stoke_core::names::JobName;

/// Whose value a key has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulation) enum Value {
    /// A job's, by its number.
    Warmed(usize),
    /// The application's.
    Fresh,
}

/// A cache that counts.
#[derive(Debug, Default)]
pub(in crate::simulation) struct Cache {
    values: BTreeMap<Bytes, Value>,
    /// The keys that ever were there.
    seen: BTreeSet<Bytes>,
    /// How often a job wrote a key.
    pub(in crate::simulation) writes: u64,
}

impl Cache {
    pub(in crate::simulation) fn has(&self, key: &Bytes) -> bool {
        self.values.contains_key(key)
    }

    pub(in crate::simulation) fn had(&self, key: &Bytes) -> bool {
        self.seen.contains(key)
    }

    /// Writes a value, as a command says that may say `NX`. What was there before is told, where it was written over.
    pub(in crate::simulation) fn set(
        &mut self,
        key: &Bytes,
        value: Value,
        only_absent: bool,
    ) -> Option<Value> {
        let before = self.values.get(key).copied();
        if before.is_some() && only_absent {
            return None;
        }
        self.writes += u64::from(value != Value::Fresh);
        self.values.insert(key.clone(), value);
        self.seen.insert(key.clone());
        before
    }

    /// The application deletes a key, or it expires.
    pub(in crate::simulation) fn delete(&mut self, key: &Bytes) {
        self.values.remove(key);
    }
}

/// A list of failed entries, by its job and its name.
type List = (JobName, String);

/// The plan store.
#[derive(Debug, Default)]
pub(in crate::simulation) struct PlanStore {
    plans: BTreeSet<String>,
    lists: BTreeMap<List, BTreeMap<u64, Vec<u64>>>,
}

impl PlanStore {
    pub(in crate::simulation) fn store(&mut self, plan: String) {
        self.plans.insert(plan);
    }

    pub(in crate::simulation) fn has(&self, plan: &str) -> bool {
        self.plans.contains(plan)
    }

    /// Stores a chunk of failed entries; the same chunk again replaces it.
    pub(in crate::simulation) fn list(&mut self, list: List, chunk: u64, ranks: Vec<u64>) {
        self.lists.entry(list).or_default().insert(chunk, ranks);
    }

    /// The failed entries of the first chunks of a list; `None` where one of them is not there.
    pub(in crate::simulation) fn listed(&self, list: &List, chunks: u64) -> Option<Vec<u64>> {
        let none = BTreeMap::new();
        let stored = self.lists.get(list).unwrap_or(&none);
        let ranks = (0..chunks).map(|chunk| stored.get(&chunk));
        ranks
            .collect::<Option<Vec<_>>>()
            .map(|chunks| chunks.into_iter().flatten().copied().collect())
    }
}
