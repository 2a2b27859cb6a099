//! A store that is watched from outside: every call is told to an observer, with how long it took and how it ended.
//!
//! What is told decides nothing here; metrics and readiness are made of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::{Keys, LeaseId, Revision, Snapshot, Store, StoreError, Txn, TxnOutcome, Watch};

/// One call to the store that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// Which: `read`, `txn`, `watch`, `grant_lease`, `keep_alive` or `revoke_lease`.
    pub operation: &'static str,
    /// How long it took.
    pub took: Duration,
    /// How it ended: `ok`, `unreachable`, `unknown`, `lease_gone` or `rejected`.
    pub result: &'static str,
}

impl Call {
    /// The operations that are told of.
    pub const OPERATIONS: [&'static str; 6] = [
        "read",
        "txn",
        "watch",
        "grant_lease",
        "keep_alive",
        "revoke_lease",
    ];

    /// Whether the store gave an answer, be it a refusal.
    #[must_use]
    pub fn was_answered(&self) -> bool {
        !matches!(self.result, "unreachable" | "unknown")
    }
}

/// Who is told of calls. It must not block.
pub type Observer = Arc<dyn Fn(Call) + Send + Sync>;

/// A store whose calls are told of.
pub struct Observed {
    store: Arc<dyn Store>,
    observer: Observer,
}

impl Observed {
    /// This store; `observer` is told of each call when it has ended. One that is dropped before is not told of.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, observer: Observer) -> Self {
        Self { store, observer }
    }

    fn tell<T>(&self, operation: &'static str, begun: Instant, ended: &Result<T, StoreError>) {
        let result = match ended {
            Ok(_) => "ok",
            Err(StoreError::Unreachable { .. }) => "unreachable",
            Err(StoreError::Unknown { .. }) => "unknown",
            Err(StoreError::LeaseGone) => "lease_gone",
            Err(StoreError::Rejected { .. }) => "rejected",
        };
        (self.observer)(Call {
            operation,
            took: begun.elapsed(),
            result,
        });
    }
}

#[async_trait::async_trait]
impl Store for Observed {
    async fn read(&self, keys: &[Keys]) -> Result<Snapshot, StoreError> {
        let begun = Instant::now();
        let ended = self.store.read(keys).await;
        self.tell("read", begun, &ended);
        ended
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        let begun = Instant::now();
        let ended = self.store.txn(txn).await;
        self.tell("txn", begun, &ended);
        ended
    }

    async fn remembers(&self, revision: Revision) -> Result<bool, StoreError> {
        let begun = Instant::now();
        let ended = self.store.remembers(revision).await;
        self.tell("read", begun, &ended);
        ended
    }

    async fn watch(&self, keys: Keys, since: Revision) -> Result<Box<dyn Watch>, StoreError> {
        let begun = Instant::now();
        let ended = self.store.watch(keys, since).await;
        self.tell("watch", begun, &ended);
        ended
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let begun = Instant::now();
        let ended = self.store.grant_lease(ttl).await;
        self.tell("grant_lease", begun, &ended);
        ended
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        let begun = Instant::now();
        let ended = self.store.keep_alive(lease).await;
        self.tell("keep_alive", begun, &ended);
        ended
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        let begun = Instant::now();
        let ended = self.store.revoke_lease(lease).await;
        self.tell("revoke_lease", begun, &ended);
        ended
    }
}
