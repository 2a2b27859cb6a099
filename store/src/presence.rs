//! Presence: one key, there for as long as its owner lives.
//!
//! The key lies on a lease. Where either goes missing (an outage longer than the term, a hasty operator), both come back.
//! Others may take the key for a hint that its owner lives, never for a proof that it does not.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, warn};

use crate::backoff::Backoff;
use crate::wake::Wakeups;
use crate::{Keys, LeaseId, Op, Store, StoreError, Txn};

/// How many times the lease is kept alive in one of its terms.
const RENEWALS_PER_TERM: u32 = 3;

/// A key that is kept. Dropped, it gives the lease back in the background; [`Presence::stop`] waits for that.
#[derive(Debug)]
pub struct Presence {
    stop: DropGuard,
    tasks: TaskTracker,
}

impl Presence {
    /// Keeps `key` with whatever `value` holds, on a lease of `ttl` (whole seconds, at least 1), until `cancel` is
    /// cancelled or this is dropped. Tries on while the store cannot be reached.
    #[must_use]
    pub fn spawn(
        store: Arc<dyn Store>,
        key: &str,
        value: watch::Receiver<Bytes>,
        ttl: Duration,
        cancel: &CancellationToken,
    ) -> Self {
        let stop = cancel.child_token();
        let tasks = TaskTracker::new();
        let keeper = Keeper {
            store,
            key: key.to_owned(),
            ttl: crate::limits::whole_seconds(ttl),
            value,
            lease: None,
        };
        tasks.spawn(keeper.run(stop.clone()).in_current_span());
        tasks.close();
        Self {
            stop: stop.drop_guard(),
            tasks,
        }
    }

    /// Gives the lease back, and the key with it.
    pub async fn stop(self) {
        drop(self.stop);
        self.tasks.wait().await;
    }
}

struct Keeper {
    store: Arc<dyn Store>,
    key: String,
    ttl: Duration,
    value: watch::Receiver<Bytes>,
    lease: Option<LeaseId>,
}

impl Keeper {
    async fn run(mut self, stop: CancellationToken) {
        stop.run_until_cancelled(self.keep()).await;
        if let Some(lease) = self.lease
            && let Err(error) = self.store.revoke_lease(lease).await
        {
            warn!(
                error = &error as &dyn std::error::Error,
                "leaving, the lease will lapse"
            );
        }
    }

    /// Looks and mends, whenever there may be a reason to.
    async fn keep(&mut self) {
        let keys = vec![Keys::One(self.key.clone())];
        // Its task ends when this future is dropped.
        let mut wakeups = Wakeups::spawn(self.store.clone(), keys, CancellationToken::new());
        let mut backoff = Backoff::new();
        let every = self.ttl / RENEWALS_PER_TERM;
        let mut renewal = interval_at(Instant::now() + every, every);
        renewal.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let mended = tokio::select! {
                _ = renewal.tick() => self.renew().await,
                () = wakeups.changed() => self.mend().await,
                () = changed(&mut self.value) => self.mend().await,
            };
            match mended {
                Ok(()) => backoff.reset(),
                Err(error) => {
                    debug!(
                        error = &error as &dyn std::error::Error,
                        key = self.key,
                        "cannot keep a key"
                    );
                    backoff.pause().await;
                    renewal.reset_immediately();
                }
            }
        }
    }

    async fn renew(&mut self) -> Result<(), StoreError> {
        if let Some(lease) = self.lease {
            match self.store.keep_alive(lease).await {
                Err(StoreError::LeaseGone) => self.lease = None,
                renewed => renewed?,
            }
        }
        self.mend().await
    }

    /// Makes the key be there, with our lease and value.
    async fn mend(&mut self) -> Result<(), StoreError> {
        let lease = match self.lease {
            Some(lease) => lease,
            None => *self.lease.insert(self.store.grant_lease(self.ttl).await?),
        };
        let value = self.value.borrow_and_update().clone();
        let found = self.store.read(&[Keys::One(self.key.clone())]).await?;
        let stands = found
            .entries
            .iter()
            .any(|entry| entry.lease == Some(lease) && entry.value == value);
        if stands {
            return Ok(());
        }
        let put = Op::Put {
            key: self.key.clone(),
            value,
            lease: Some(lease),
        };
        let txn = Txn {
            compares: vec![],
            ops: vec![put],
        };
        match self.store.txn(txn).await {
            Err(StoreError::LeaseGone) => {
                self.lease = None;
                Err(StoreError::LeaseGone)
            }
            put => put.map(|_| ()),
        }
    }
}

/// Waits for a new value; for ever, where nobody is left to set one.
async fn changed(value: &mut watch::Receiver<Bytes>) {
    if value.changed().await.is_err() {
        std::future::pending().await
    }
}
