//! A store in memory whose answers get lost, for what no real server does on demand.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use stoke_store::memory::MemoryStore;
use stoke_store::{Keys, LeaseId, Revision, Snapshot, Store, StoreError, Txn, TxnOutcome, Watch};

/// What becomes of the next transaction, whose outcome is unknown in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It is done.
    Answer,
    /// It is not done, and never will be.
    Request,
    /// It is not done before somebody calls [`Flaky::deliver`].
    Delayed,
}

#[derive(Default)]
pub(crate) struct Flaky {
    pub(crate) inner: MemoryStore,
    next: Mutex<Option<Loss>>,
    delayed: Mutex<Option<Txn>>,
    mute: AtomicBool,
}

impl Flaky {
    pub(crate) fn lose(&self, loss: Loss) {
        *self.next.lock().unwrap() = Some(loss);
    }

    /// From now on leases are kept alive, but whoever does it does not hear of that.
    pub(crate) fn mute_renewals(&self) {
        self.mute.store(true, Ordering::SeqCst);
    }

    /// Does what was delayed.
    pub(crate) async fn deliver(&self) -> Result<TxnOutcome, StoreError> {
        let txn = self
            .delayed
            .lock()
            .unwrap()
            .take()
            .expect("nothing was delayed");
        self.inner.txn(txn).await
    }
}

fn lost(doing: &'static str) -> StoreError {
    StoreError::Unknown {
        doing,
        source: "lost on the way".into(),
    }
}

#[async_trait]
impl Store for Flaky {
    async fn read(&self, keys: &[Keys]) -> Result<Snapshot, StoreError> {
        self.inner.read(keys).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        let loss = self.next.lock().unwrap().take();
        match loss {
            None => return self.inner.txn(txn).await,
            Some(Loss::Request) => {}
            Some(Loss::Answer) => {
                self.inner.txn(txn).await?;
            }
            Some(Loss::Delayed) => *self.delayed.lock().unwrap() = Some(txn),
        }
        Err(lost("applying a transaction"))
    }

    async fn remembers(&self, revision: Revision) -> Result<bool, StoreError> {
        self.inner.remembers(revision).await
    }

    async fn watch(&self, keys: Keys, since: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.inner.watch(keys, since).await
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.inner.grant_lease(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner.keep_alive(lease).await?;
        if self.mute.load(Ordering::SeqCst) {
            return Err(lost("keeping a lease alive"));
        }
        Ok(())
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner.revoke_lease(lease).await
    }
}
