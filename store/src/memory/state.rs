//! What the store in memory holds, and how each call changes it. Time is an argument; nothing waits here.
//!
//! Invariants: the revision grows by one with each change that writes anything; `history` holds every revision from
//! `compacted` on that changed something; a key is in its lease's set exactly while it has that lease.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use tokio::time::Instant;

use super::journal::log::Contents;
use crate::{
    Change, Compare, KeyValue, Keys, LeaseId, Op, Revision, Snapshot, StoreError, Txn, TxnOutcome,
    WatchEvent,
};

/// How many changes the store remembers for its watches; one that falls behind further gets
/// [`WatchEvent::Compacted`].
pub const HISTORY_REVISIONS_MAX: usize = 10_000;

/// How many revisions a watch yields at once: etcd's number.
const BATCH_REVISIONS_MAX: usize = 1_000;

#[derive(Clone, Debug)]
struct Lease {
    ttl: Duration,
    end: Instant,
    keys: BTreeSet<String>,
}

/// What a watch finds when it looks.
#[derive(Debug)]
pub(super) struct Seen {
    /// What to tell, where there is something.
    pub(super) event: Option<WatchEvent>,
    /// How far this look came.
    pub(super) until: Revision,
}

/// The store without what waits or shares: for whoever has a clock of its own, as simulations do. A clone is a backup.
#[derive(Clone, Debug)]
pub struct State {
    cluster_id: u64,
    /// etcd's first is 1, too.
    revision: u64,
    compacted: u64,
    entries: BTreeMap<String, KeyValue>,
    leases: BTreeMap<i64, Lease>,
    leases_granted: i64,
    history: VecDeque<(Revision, Vec<Change>)>,
    breaks: u64,
}

impl State {
    /// An empty one.
    #[must_use]
    pub fn new(cluster_id: u64) -> Self {
        Self {
            cluster_id,
            revision: 1,
            compacted: 0,
            entries: BTreeMap::new(),
            leases: BTreeMap::new(),
            leases_granted: 0,
            history: VecDeque::new(),
            breaks: 0,
        }
    }

    /// What another process left. Its leases have ended with it, and their keys with them; watches of before find what
    /// they have missed compacted.
    pub(super) fn restored(contents: Contents) -> Self {
        let mut entries = contents.entries;
        let count = entries.len();
        entries.retain(|_, entry| entry.lease.is_none());
        let revision = contents.revision.0 + u64::from(entries.len() < count);
        Self {
            revision,
            compacted: revision + 1,
            entries,
            ..Self::new(contents.cluster_id)
        }
    }

    /// All that it holds.
    pub(super) fn contents(&self) -> Contents {
        Contents {
            cluster_id: self.cluster_id,
            revision: self.revision(),
            entries: self.entries.clone(),
        }
    }

    pub(super) fn revision(&self) -> Revision {
        Revision(self.revision)
    }

    /// The changes after `since`, as far as they are remembered.
    pub(super) fn history_after(
        &self,
        since: Revision,
    ) -> impl Iterator<Item = (Revision, &[Change])> {
        let first = self.history.partition_point(|(at, _)| *at <= since);
        let later = self.history.range(first..);
        later.map(|(at, changes)| (*at, changes.as_slice()))
    }

    /// See [`Store::read`](crate::Store::read).
    #[must_use]
    pub fn read(&self, keys: &[Keys]) -> Snapshot {
        let wanted: BTreeMap<&String, &KeyValue> =
            keys.iter().flat_map(|k| self.range(k)).collect();
        Snapshot {
            revision: Revision(self.revision),
            cluster_id: self.cluster_id,
            entries: wanted.into_values().cloned().collect(),
        }
    }

    fn range<'a>(&'a self, keys: &'a Keys) -> impl Iterator<Item = (&'a String, &'a KeyValue)> {
        let (first, limit) = match keys {
            Keys::One(first) | Keys::Prefix(first) => (Bound::Included(first), usize::MAX),
            Keys::Page {
                prefix,
                after,
                limit,
            } if after.is_empty() => (Bound::Included(prefix), *limit),
            Keys::Page { after, limit, .. } => (Bound::Excluded(after), *limit),
        };
        self.entries
            .range::<String, _>((first, Bound::Unbounded))
            .take_while(move |(key, _)| covers(keys, key))
            .take(limit)
    }

    /// See [`Store::txn`](crate::Store::txn); how large it is nobody asks here.
    ///
    /// # Errors
    /// [`StoreError::LeaseGone`] where a put names a lease that is not there; nothing is done then.
    pub fn txn(&mut self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        if !txn.compares.iter().all(|compare| self.holds(compare)) {
            return Ok(TxnOutcome::Refused);
        }
        let leases_stand = txn.ops.iter().all(|op| match op {
            Op::Put {
                lease: Some(lease), ..
            } => self.leases.contains_key(&lease.0),
            Op::Put { lease: None, .. } | Op::Delete(_) => true,
        });
        if !leases_stand {
            return Err(StoreError::LeaseGone);
        }
        let revision = Revision(self.revision + 1);
        let changes = txn
            .ops
            .into_iter()
            .filter_map(|op| match op {
                Op::Put { key, value, lease } => Some(self.put(key, value, lease, revision)),
                Op::Delete(key) => self.delete(key, revision),
            })
            .collect();
        Ok(TxnOutcome::Committed(self.commit(changes)))
    }

    fn holds(&self, compare: &Compare) -> bool {
        // As in etcd, a key that is not there has revision 0.
        let revision_of = |key, which: fn(&KeyValue) -> Revision| {
            self.entries.get(key).map_or(Revision(0), which)
        };
        match compare {
            Compare::ModRevision(key, revision) => {
                revision_of(key, |kv| kv.mod_revision) == *revision
            }
            Compare::CreateRevision(key, revision) => {
                revision_of(key, |kv| kv.create_revision) == *revision
            }
            Compare::Absent(key) => !self.entries.contains_key(key),
        }
    }

    fn put(
        &mut self,
        key: String,
        value: bytes::Bytes,
        lease: Option<LeaseId>,
        revision: Revision,
    ) -> Change {
        let before = self.entries.get(&key);
        let create_revision = before.map_or(revision, |kv| kv.create_revision);
        if let Some(old) = before.and_then(|kv| kv.lease) {
            self.detach(old, &key);
        }
        if let Some(lease) = lease.and_then(|lease| self.leases.get_mut(&lease.0)) {
            lease.keys.insert(key.clone());
        }
        let entry = KeyValue {
            key: key.clone(),
            value,
            create_revision,
            mod_revision: revision,
            lease,
        };
        self.entries.insert(key, entry.clone());
        Change::Put(entry)
    }

    fn delete(&mut self, key: String, revision: Revision) -> Option<Change> {
        let gone = self.entries.remove(&key)?;
        if let Some(lease) = gone.lease {
            self.detach(lease, &key);
        }
        Some(Change::Delete {
            key,
            mod_revision: revision,
        })
    }

    fn detach(&mut self, lease: LeaseId, key: &str) {
        if let Some(lease) = self.leases.get_mut(&lease.0) {
            lease.keys.remove(key);
        }
    }

    /// Takes the next revision for the changes, where there are any.
    fn commit(&mut self, changes: Vec<Change>) -> Revision {
        if !changes.is_empty() {
            self.revision += 1;
            self.history.push_back((Revision(self.revision), changes));
            if self.history.len() > HISTORY_REVISIONS_MAX
                && let Some((oldest, _)) = self.history.pop_front()
            {
                self.compacted = oldest.0 + 1;
            }
        }
        Revision(self.revision)
    }

    /// See [`Store::grant_lease`](crate::Store::grant_lease).
    pub fn grant(&mut self, now: Instant, ttl: Duration) -> LeaseId {
        let ttl = crate::limits::whole_seconds(ttl);
        self.leases_granted += 1;
        let lease = Lease {
            ttl,
            end: now + ttl,
            keys: BTreeSet::new(),
        };
        self.leases.insert(self.leases_granted, lease);
        LeaseId(self.leases_granted)
    }

    /// See [`Store::keep_alive`](crate::Store::keep_alive).
    ///
    /// # Errors
    /// [`StoreError::LeaseGone`].
    pub fn keep_alive(&mut self, now: Instant, lease: LeaseId) -> Result<(), StoreError> {
        let lease = self.leases.get_mut(&lease.0).ok_or(StoreError::LeaseGone)?;
        lease.end = now + lease.ttl;
        Ok(())
    }

    /// Ends a lease and deletes its keys, in one revision.
    pub fn revoke(&mut self, lease: LeaseId) {
        let Some(lease) = self.leases.remove(&lease.0) else {
            return;
        };
        let revision = Revision(self.revision + 1);
        let changes = lease
            .keys
            .into_iter()
            .filter_map(|key| self.delete(key, revision))
            .collect();
        self.commit(changes);
    }

    /// Ends the leases whose time is over, in that order; whether there were any.
    pub fn expire(&mut self, now: Instant) -> bool {
        let mut over: Vec<(Instant, i64)> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.end <= now)
            .map(|(id, lease)| (lease.end, *id))
            .collect();
        over.sort_unstable();
        for (_, id) in &over {
            self.revoke(LeaseId(*id));
        }
        !over.is_empty()
    }

    /// When the next lease ends.
    pub(super) fn next_expiry(&self) -> Option<Instant> {
        self.leases.values().map(|lease| lease.end).min()
    }

    /// Forgets what came before `revision`, that one itself excluded, as etcd does.
    pub(super) fn compact(&mut self, revision: Revision) {
        self.compacted = self.compacted.max(revision.0.min(self.revision));
        let compacted = Revision(self.compacted);
        self.history.retain(|(at, _)| *at >= compacted);
    }

    /// Whether nothing that came after `revision` is forgotten.
    pub(super) fn remembers(&self, revision: Revision) -> bool {
        revision.0 >= self.compacted
    }

    pub(super) fn break_watches(&mut self) {
        self.breaks += 1;
    }

    /// How often the watches were broken.
    pub(super) fn breaks(&self) -> u64 {
        self.breaks
    }

    /// What happened to `keys` after `since`.
    pub(super) fn changes(&self, keys: &Keys, since: Revision) -> Seen {
        if since.0 + 1 < self.compacted {
            return Seen {
                event: Some(WatchEvent::Compacted),
                until: since,
            };
        }
        let mut changes = Vec::new();
        let mut revisions = 0;
        for (at, all) in self.history_after(since) {
            let before = changes.len();
            changes.extend(
                all.iter()
                    .filter(|change| covers(keys, key_of(change)))
                    .cloned(),
            );
            revisions += usize::from(changes.len() > before);
            if revisions == BATCH_REVISIONS_MAX {
                return Seen {
                    event: Some(WatchEvent::Changes(changes)),
                    until: at,
                };
            }
        }
        Seen {
            event: (!changes.is_empty()).then_some(WatchEvent::Changes(changes)),
            until: since.max(Revision(self.revision)),
        }
    }
}

fn key_of(change: &Change) -> &str {
    match change {
        Change::Put(entry) => &entry.key,
        Change::Delete { key, .. } => key,
    }
}

fn covers(keys: &Keys, key: &str) -> bool {
    match keys {
        Keys::One(one) => key == one,
        Keys::Prefix(prefix) | Keys::Page { prefix, .. } => key.starts_with(prefix.as_str()),
    }
}
