//! The coordination store in this process' memory: for the embedded mode, the simulator and tests.
//!
//! It keeps [`Store`]'s promises as etcd does, with leases that end by tokio's clock, so that paused time works. A lease
//! that has ended is noticed by whoever looks next, be it a call or a waiting watch: there is no task behind it.
//!
//! Absent: persistence.

mod state;
mod watch;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch as signal;
use tokio::time::Instant;

use self::watch::MemoryWatch;
use crate::limits::{check_read, check_txn};
use crate::{Keys, LeaseId, Revision, Snapshot, Store, StoreError, Txn, TxnOutcome, Watch};

pub use self::state::{HISTORY_REVISIONS_MAX, State};

/// A coordination store in memory. A clone is the same store.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Touched whenever a watch should look again: something was written, or a lease has a new end.
    touched: signal::Sender<()>,
}

impl Shared {
    /// The state as of now, the leases that have ended taken out.
    fn now(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.expire(Instant::now()) {
            self.touched.send_replace(());
        }
        state
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let answer = change(&mut self.now());
        self.touched.send_replace(());
        answer
    }
}

impl MemoryStore {
    /// An empty store, another than all before.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shared: Arc::new(Shared {
                state: Mutex::new(State::new(rand::random())),
                touched: signal::Sender::new(()),
            }),
        }
    }

    /// Forgets the history before `revision`, as an operator or etcd's own compaction does: watches that have not come
    /// that far get [`crate::WatchEvent::Compacted`].
    pub fn compact(&self, revision: Revision) {
        self.shared.change(|state| state.compact(revision));
    }

    /// Ends all watches without a word, as broken connections do.
    pub fn break_watches(&self) {
        self.shared.change(State::break_watches);
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn read(&self, keys: &[Keys]) -> Result<Snapshot, StoreError> {
        check_read(keys)?;
        Ok(self.shared.now().read(keys))
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        check_txn(&txn)?;
        self.shared.change(|state| state.txn(txn))
    }

    async fn remembers(&self, revision: Revision) -> Result<bool, StoreError> {
        Ok(self.shared.now().remembers(revision))
    }

    async fn watch(&self, keys: Keys, since: Revision) -> Result<Box<dyn Watch>, StoreError> {
        Ok(Box::new(MemoryWatch::new(self.shared.clone(), keys, since)))
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        Ok(self.shared.change(|state| state.grant(Instant::now(), ttl)))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.shared
            .change(|state| state.keep_alive(Instant::now(), lease))
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.shared.change(|state| state.revoke(lease));
        Ok(())
    }
}
