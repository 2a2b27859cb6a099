//! Level-triggered wake-ups: "look again", never what happened.
//!
//! One task watches the keys. Whatever may have hidden a change from it (its start, a watch that ended, a compaction, a
//! store that was away or restored) counts as a change: whoever waits reads anew and finds out. Wake-ups coalesce, so
//! nothing queues up. Any number may wait for those of one task: a store need not watch the same keys for each of them.

use std::sync::Arc;

use futures::future::select_all;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, debug};

use crate::backoff::Backoff;
use crate::{Keys, Store, StoreError, Watch, WatchEvent};

/// Wake-ups for some keys. Dropping it ends its task.
#[derive(Debug)]
pub struct Wakeups {
    own: Listener,
    stop: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Wakeups {
    /// Watches all of `keys` until `cancel` is cancelled or this is dropped. Never fails: a store that cannot be
    /// reached is tried again, with pauses of at most 2 s.
    #[must_use]
    pub fn spawn(store: Arc<dyn Store>, keys: Vec<Keys>, cancel: CancellationToken) -> Self {
        let (signal, heard) = watch::channel(());
        let stop = cancel.child_token();
        let task = {
            let stop = stop.clone();
            let watching = async move {
                stop.run_until_cancelled(watch_on(&*store, &keys, &signal))
                    .await;
            };
            tokio::spawn(watching.in_current_span())
        };
        Self {
            own: Listener::new(heard),
            stop,
            task: AbortOnDropHandle::new(task),
        }
    }

    /// Somebody else who is woken, as [`Wakeups::changed`] wakes: at once the first time.
    #[must_use]
    pub fn listen(&self) -> Listener {
        Listener::new(self.own.heard.clone())
    }

    /// Returns when something under the keys may have changed since it last returned, and at once the first time. Once
    /// cancelled, it waits for ever. Safe to cancel.
    pub async fn changed(&mut self) {
        self.own.changed().await;
    }

    /// Ends the task and waits for its end.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            debug!(%error, "the watching task did not end well");
        }
    }
}

/// One of those who are woken by the same task.
#[derive(Debug)]
pub struct Listener {
    heard: watch::Receiver<()>,
}

impl Listener {
    fn new(mut heard: watch::Receiver<()>) -> Self {
        heard.mark_changed();
        Self { heard }
    }

    /// As [`Wakeups::changed`]; once the wake-ups are dropped, too, it waits for ever. Safe to cancel.
    pub async fn changed(&mut self) {
        if self.heard.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// Follows the keys, from one end of a watch to the next.
async fn watch_on(store: &dyn Store, keys: &[Keys], signal: &watch::Sender<()>) {
    let mut backoff = Backoff::new();
    loop {
        match follow(store, keys, signal, &mut backoff).await {
            Ok(()) => debug!("a watch ended"),
            Err(error) => debug!(error = &error as &dyn std::error::Error, "cannot watch"),
        }
        backoff.pause().await;
    }
}

/// Watches from the store's revision as of now until one of the watches ends.
///
/// It begins at a fresh revision rather than at the last one seen, and wakes for that: a store restored from a backup
/// may not reach the last revision for long, and a watch from there would be silent until then.
async fn follow(
    store: &dyn Store,
    keys: &[Keys],
    signal: &watch::Sender<()>,
    backoff: &mut Backoff,
) -> Result<(), StoreError> {
    let revision = store.read(&[]).await?.revision;
    let mut watches: Vec<Box<dyn Watch>> = Vec::with_capacity(keys.len());
    for keys in keys {
        watches.push(store.watch(keys.clone(), revision).await?);
    }
    // What changed up to `revision` is seen by whoever reads from here on, what comes later by the watches.
    signal.send_replace(());
    while let Some(WatchEvent::Changes(_)) = next_of(&mut watches).await {
        backoff.reset();
        signal.send_replace(());
    }
    Ok(())
}

/// What any of the watches yields next. Cancels the others' waits, which is safe.
async fn next_of(watches: &mut [Box<dyn Watch>]) -> Option<WatchEvent> {
    if watches.is_empty() {
        return std::future::pending().await;
    }
    select_all(watches.iter_mut().map(|watch| watch.next()))
        .await
        .0
}
