//! The coordination store in this process' memory: for the embedded mode, the simulator and tests.
//!
//! It keeps [`Store`]'s promises as etcd does, with leases that end by tokio's clock, so that paused time works. A lease
//! that has ended is noticed by whoever looks next, be it a call or a waiting watch: there is no task behind it.
//!
//! With a folder ([`MemoryStore::open`]) it keeps a [`journal`] there, and goes on where another process left it.

pub mod journal;
mod state;
mod watch;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch as signal;
use tokio::time::Instant;

use self::journal::{Journal, JournalError, OpenError, Opened};
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
    journal: Option<Journal>,
}

impl Shared {
    fn new(state: State, journal: Option<Journal>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(state),
            touched: signal::Sender::new(()),
            journal,
        })
    }

    /// The state as of now, the leases that have ended taken out.
    fn now(self: &Arc<Self>) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.expire(Instant::now()) {
            self.note(&state);
            self.touched.send_replace(());
        }
        state
    }

    /// Makes a change, and gives the revision after it, too.
    fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut State) -> T) -> (T, Revision) {
        let mut state = self.now();
        let answer = change(&mut state);
        let revision = state.revision();
        self.note(&state);
        drop(state);
        self.touched.send_replace(());
        (answer, revision)
    }

    fn note(self: &Arc<Self>, state: &State) {
        if let Some(journal) = &self.journal {
            journal.note(self, state);
        }
    }

    /// Waits until all up to this revision outlives this process, where it is to: before that, nobody is told of it.
    async fn durable(&self, revision: Revision) -> Result<(), Arc<JournalError>> {
        match &self.journal {
            Some(journal) => journal.durable(revision).await,
            None => Ok(()),
        }
    }
}

impl MemoryStore {
    /// An empty store, another than all before.
    #[must_use]
    pub fn new() -> Self {
        Self {
            shared: Shared::new(State::new(rand::random()), None),
        }
    }

    /// The store that a folder holds, or a new one there; the folder is this process' until all clones are dropped. It
    /// blocks while files are read and written. What was on leases has ended.
    ///
    /// # Errors
    /// Where the folder is another process', holds other things, or what is in it cannot be read.
    ///
    /// # Panics
    /// Outside of a tokio runtime: its threads write the journal.
    pub fn open(folder: &Path) -> Result<(Self, Opened), OpenError> {
        let (state, journal, opened) = journal::open(folder)?;
        let shared = Shared::new(state, Some(journal));
        Ok((Self { shared }, opened))
    }

    /// Whether another process may go on with it, or has begun it.
    #[must_use]
    pub fn outlives_the_process(&self) -> bool {
        self.shared.journal.is_some()
    }

    /// Waits until the journal cannot be written, after which the store answers nothing any more; for ever, where there is
    /// none.
    pub async fn failed(&self) -> Arc<JournalError> {
        match &self.shared.journal {
            Some(journal) => journal.failed().await,
            None => std::future::pending().await,
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
        let snapshot = self.shared.now().read(keys);
        let durable = self.shared.durable(snapshot.revision).await;
        durable.map_err(journal::unknown("reading"))?;
        Ok(snapshot)
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        check_txn(&txn)?;
        let (outcome, revision) = self.shared.change(|state| state.txn(txn));
        let durable = self.shared.durable(revision).await;
        durable.map_err(journal::unknown("writing"))?;
        outcome
    }

    async fn remembers(&self, revision: Revision) -> Result<bool, StoreError> {
        Ok(self.shared.now().remembers(revision))
    }

    async fn watch(&self, keys: Keys, since: Revision) -> Result<Box<dyn Watch>, StoreError> {
        Ok(Box::new(MemoryWatch::new(self.shared.clone(), keys, since)))
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let (lease, _) = self.shared.change(|state| state.grant(Instant::now(), ttl));
        Ok(lease)
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        let keep = |state: &mut State| state.keep_alive(Instant::now(), lease);
        self.shared.change(keep).0
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        let ((), revision) = self.shared.change(|state| state.revoke(lease));
        let durable = self.shared.durable(revision).await;
        durable.map_err(journal::unknown("ending a lease"))
    }
}
