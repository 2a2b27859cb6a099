//! A store that notes what is asked of it.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use stoke_store::memory::MemoryStore;
use stoke_store::{Keys, LeaseId, Revision, Snapshot, Store, StoreError, Txn, TxnOutcome, Watch};

/// Before a cluster's store.
pub(crate) struct Spy {
    inner: MemoryStore,
    watched: Mutex<Vec<Keys>>,
    txns: Mutex<Vec<Txn>>,
}

impl Spy {
    pub(crate) fn before(inner: MemoryStore) -> Self {
        Self {
            inner,
            watched: Mutex::default(),
            txns: Mutex::default(),
        }
    }

    /// What was watched, each time that it was.
    pub(crate) fn watched(&self) -> MutexGuard<'_, Vec<Keys>> {
        self.watched.lock().unwrap()
    }

    /// What was to be committed.
    pub(crate) fn txns(&self) -> MutexGuard<'_, Vec<Txn>> {
        self.txns.lock().unwrap()
    }
}

#[async_trait::async_trait]
impl Store for Spy {
    async fn read(&self, keys: &[Keys]) -> Result<Snapshot, StoreError> {
        self.inner.read(keys).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        self.txns().push(txn.clone());
        self.inner.txn(txn).await
    }

    async fn remembers(&self, revision: Revision) -> Result<bool, StoreError> {
        self.inner.remembers(revision).await
    }

    async fn watch(&self, keys: Keys, since: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.watched().push(keys.clone());
        self.inner.watch(keys, since).await
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.inner.grant_lease(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner.keep_alive(lease).await
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner.revoke_lease(lease).await
    }
}
