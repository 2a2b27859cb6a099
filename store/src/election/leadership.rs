//! Leading, from the win to the loss: one task keeps the lease alive and watches the key.

use std::sync::Arc;
use std::time::Duration;

use stoke_core::units::{Epoch, Moment};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::clock::Clock;
use crate::{Change, Compare, KeyValue, Keys, LeaseId, Revision, Store, StoreError, WatchEvent};

/// How many times the lease is kept alive in one of its terms.
const RENEWALS_PER_TERM: u32 = 3;

/// How many failed renewals are tried again in one of its terms.
const RETRIES_PER_TERM: u32 = 10;

/// What a won election comes to.
pub(super) struct Tenure {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) key: String,
    pub(super) epoch: Epoch,
    pub(super) lease: LeaseId,
    pub(super) ttl: Duration,
    /// When the lease was asked for: the store counts its term from no earlier.
    pub(super) renewed: Moment,
}

/// A won election. Dropped without [`Leadership::resign`], it leaves the key until the lease lapses.
#[derive(Debug)]
pub struct Leadership {
    /// What fences this leader's writes.
    pub epoch: Epoch,
    /// The key that it holds.
    pub key: String,
    lease: LeaseId,
    store: StoreHandle,
    lost: CancellationToken,
    task: AbortOnDropHandle<()>,
}

/// A store, for a struct with debug output.
struct StoreHandle(Arc<dyn Store>);

impl std::fmt::Debug for StoreHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("dyn Store")
    }
}

/// What only holds while the candidate of this epoch has the election's key.
#[must_use]
pub fn leads(key: &str, epoch: Epoch) -> Compare {
    Compare::CreateRevision(key.to_owned(), Revision(epoch.0))
}

impl Leadership {
    pub(super) fn begin(tenure: Tenure) -> Self {
        let lost = CancellationToken::new();
        let (epoch, key, lease) = (tenure.epoch, tenure.key.clone(), tenure.lease);
        let store = StoreHandle(tenure.store.clone());
        info!(%epoch, "leading");
        let task = {
            let lost = lost.clone();
            tokio::spawn(async move {
                tenure.last().await;
                info!(epoch = %tenure.epoch, "leading no more");
                lost.cancel();
            })
        };
        Self {
            epoch,
            key,
            lease,
            store,
            lost,
            task: AbortOnDropHandle::new(task),
        }
    }

    /// What every write of this leader must compare.
    #[must_use]
    pub fn compare(&self) -> Compare {
        leads(&self.key, self.epoch)
    }

    /// Returns once leadership is lost: the lease or the key is gone, or the store could not be reached for the
    /// lease's term. Safe to cancel.
    pub async fn lost(&mut self) {
        self.lost.cancelled().await;
    }

    /// Ends leadership at once, for the next to lead without waiting for the lease to lapse.
    pub async fn resign(self) {
        self.task.abort();
        // The error is the abortion.
        let _ = self.task.await;
        if let Err(error) = self.store.0.revoke_lease(self.lease).await {
            warn!(
                error = &error as &dyn std::error::Error,
                "resigning failed, the lease will lapse"
            );
        }
    }
}

impl Tenure {
    /// Returns when leadership is lost.
    async fn last(&self) {
        tokio::select! {
            () = self.keep_alive() => {}
            () = self.key_stands() => {}
        }
    }

    /// Keeps the lease alive; returns when it is gone, or may be as far as our own clock knows.
    async fn keep_alive(&self) {
        let mut deadline = self.renewed + self.ttl;
        let mut pause = self.ttl / RENEWALS_PER_TERM;
        loop {
            sleep(pause.min(deadline.since(self.clock.now()))).await;
            let asked = self.clock.now();
            let left = deadline.since(asked);
            if left.is_zero() {
                return;
            }
            match timeout(left, self.store.keep_alive(self.lease)).await {
                Ok(Ok(())) => {
                    deadline = asked + self.ttl;
                    pause = self.ttl / RENEWALS_PER_TERM;
                }
                Ok(Err(StoreError::LeaseGone)) | Err(_) => return,
                Ok(Err(error)) => {
                    warn!(
                        error = &error as &dyn std::error::Error,
                        "the leader's lease was not renewed"
                    );
                    pause = self.ttl / RETRIES_PER_TERM;
                }
            }
        }
    }

    /// Returns when the key is gone, or was put by another. While the store cannot be reached, the lease decides.
    async fn key_stands(&self) {
        let mut backoff = Backoff::new();
        loop {
            match self.watch_key().await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => debug!(
                    error = &error as &dyn std::error::Error,
                    "cannot watch the leader's key"
                ),
            }
            backoff.pause().await;
        }
    }

    /// Whether the key stood when the watch ended.
    async fn watch_key(&self) -> Result<bool, StoreError> {
        let keys = Keys::One(self.key.clone());
        let found = self.store.read(std::slice::from_ref(&keys)).await?;
        if !found.entries.iter().any(|entry| self.is_ours(entry)) {
            return Ok(false);
        }
        let mut watch = self.store.watch(keys, found.revision).await?;
        while let Some(WatchEvent::Changes(changes)) = watch.next().await {
            let stands = changes.iter().all(|change| match change {
                Change::Put(entry) => self.is_ours(entry),
                Change::Delete { .. } => false,
            });
            if !stands {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_ours(&self, entry: &KeyValue) -> bool {
        entry.create_revision.0 == self.epoch.0
    }
}
