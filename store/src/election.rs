//! The election: one key, held on a lease, whose create revision is the leader's epoch.
//!
//! Holding the key proves nothing by itself, for a leader may sleep through its loss. So every write of a leader carries
//! [`Leadership::compare`], which etcd refuses once the key is another's; [`Leadership::lost`] only spares it the work.
//!
//! Invariants: a candidate has at most one lease at a time, and revokes it before it tries again, so that a transaction
//! of its own that was long under way cannot make it the leader behind its back.

mod leadership;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stoke_core::units::Epoch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use self::leadership::Tenure;
pub use self::leadership::{Leadership, leads};
use crate::backoff::Backoff;
use crate::clock::{BootClock, Clock};
use crate::{Change, Compare, Keys, LeaseId, Op, Store, StoreError, Txn, TxnOutcome, WatchEvent};

/// A candidate for one key.
#[derive(Clone)]
pub struct Election {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    key: String,
    value: Bytes,
    ttl: Duration,
}

impl Election {
    /// A candidate that puts `value` under `key` when it wins, and loses `ttl` (whole seconds, at least 1) after it
    /// was last in touch with the store.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, key: &str, value: Bytes, ttl: Duration) -> Self {
        Self {
            store,
            clock: Arc::new(BootClock),
            key: key.to_owned(),
            value,
            ttl: crate::limits::whole_seconds(ttl),
        }
    }

    /// The same, by another clock.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Waits until this candidate leads; `None` once `cancel` is cancelled, and the lease is given back then. Tries on
    /// while the store cannot be reached.
    pub async fn win(&self, cancel: &CancellationToken) -> Option<Leadership> {
        let mut lease = None;
        let won = cancel.run_until_cancelled(self.campaign(&mut lease)).await;
        if won.is_none()
            && let Err(error) = self.give_back(&mut lease).await
        {
            debug!(
                error = &error as &dyn std::error::Error,
                "leaving a candidate's lease to lapse"
            );
        }
        won
    }

    async fn campaign(&self, lease: &mut Option<LeaseId>) -> Leadership {
        let mut backoff = Backoff::new();
        loop {
            match self.attempt(lease).await {
                Ok(Some(leadership)) => return leadership,
                // Another was quicker.
                Ok(None) => backoff.reset(),
                Err(error) => {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "campaigning failed, trying again"
                    );
                    backoff.pause().await;
                }
            }
        }
    }

    /// Waits for the key to be vacant and puts it; `None` where another did so first.
    async fn attempt(&self, lease: &mut Option<LeaseId>) -> Result<Option<Leadership>, StoreError> {
        self.give_back(lease).await?;
        self.until_vacant().await?;
        let asked = self.clock.now();
        let granted = self.store.grant_lease(self.ttl).await?;
        *lease = Some(granted);
        let Some(epoch) = self.put(granted).await? else {
            return Ok(None);
        };
        *lease = None;
        Ok(Some(Leadership::begin(Tenure {
            store: self.store.clone(),
            clock: self.clock.clone(),
            key: self.key.clone(),
            epoch,
            lease: granted,
            ttl: self.ttl,
            renewed: asked,
        })))
    }

    /// Puts the key where it is vacant: the epoch, where that made us the leader.
    async fn put(&self, lease: LeaseId) -> Result<Option<Epoch>, StoreError> {
        let txn = Txn {
            compares: vec![Compare::Absent(self.key.clone())],
            ops: vec![Op::Put {
                key: self.key.clone(),
                value: self.value.clone(),
                lease: Some(lease),
            }],
        };
        match self.store.txn(txn).await {
            Ok(TxnOutcome::Committed(revision)) => Ok(Some(Epoch(revision.0))),
            Ok(TxnOutcome::Refused) => Ok(None),
            // Where the key does not carry our lease (yet), the lease is revoked next, and with it the transaction,
            // should it still be under way: it cannot put a key on a lease that is gone.
            Err(StoreError::Unknown { .. }) => self.epoch_on(lease).await,
            Err(error) => Err(error),
        }
    }

    async fn epoch_on(&self, lease: LeaseId) -> Result<Option<Epoch>, StoreError> {
        let found = self.store.read(&[Keys::One(self.key.clone())]).await?;
        let ours = found
            .entries
            .into_iter()
            .find(|entry| entry.lease == Some(lease));
        Ok(ours.map(|entry| Epoch(entry.create_revision.0)))
    }

    async fn give_back(&self, lease: &mut Option<LeaseId>) -> Result<(), StoreError> {
        if let Some(old) = *lease {
            self.store.revoke_lease(old).await?;
            *lease = None;
        }
        Ok(())
    }

    async fn until_vacant(&self) -> Result<(), StoreError> {
        let keys = Keys::One(self.key.clone());
        let mut backoff = Backoff::new();
        loop {
            let found = self.store.read(std::slice::from_ref(&keys)).await?;
            if found.entries.is_empty() {
                return Ok(());
            }
            let mut watch = self.store.watch(keys.clone(), found.revision).await?;
            while let Some(WatchEvent::Changes(changes)) = watch.next().await {
                if let Some(Change::Delete { .. }) = changes.last() {
                    return Ok(());
                }
            }
            backoff.pause().await;
        }
    }
}

/// Who leads: the epoch, and what the leader put under `key`.
///
/// # Errors
/// [`StoreError::Unreachable`].
pub async fn current(store: &dyn Store, key: &str) -> Result<Option<(Epoch, Bytes)>, StoreError> {
    let found = store.read(&[Keys::One(key.to_owned())]).await?;
    let leader = found.entries.into_iter().next();
    Ok(leader.map(|entry| (Epoch(entry.create_revision.0), entry.value)))
}
