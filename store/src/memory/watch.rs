//! A watch of the store in memory: a place in the shared history. It holds nothing back for a slow reader; one that
//! falls behind the history's bound finds it compacted.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch as signal;
use tokio::time::Instant;

use super::Shared;
use crate::{Keys, Revision, Watch, WatchEvent};

#[derive(Debug)]
pub(super) struct MemoryWatch {
    shared: Arc<Shared>,
    touched: signal::Receiver<()>,
    keys: Keys,
    since: Revision,
    breaks: u64,
    ended: bool,
}

/// What a look at the store came to.
enum Look {
    /// This, and the watch has come so far with it.
    Tell(WatchEvent, Revision),
    Broken,
    /// Nothing yet; look again when touched, or when the next lease ends.
    Wait(Option<Instant>),
}

impl MemoryWatch {
    pub(super) fn new(shared: Arc<Shared>, keys: Keys, since: Revision) -> Self {
        let breaks = shared.now().breaks();
        Self {
            touched: shared.touched.subscribe(),
            shared,
            keys,
            since,
            breaks,
            ended: false,
        }
    }

    fn look(&mut self) -> Look {
        let state = self.shared.now();
        if state.breaks() != self.breaks {
            return Look::Broken;
        }
        let seen = state.changes(&self.keys, self.since);
        match seen.event {
            Some(event) => Look::Tell(event, seen.until),
            None => {
                self.since = seen.until;
                Look::Wait(state.next_expiry())
            }
        }
    }
}

#[async_trait]
impl Watch for MemoryWatch {
    async fn next(&mut self) -> Option<WatchEvent> {
        while !self.ended {
            // Before the look, so that what comes after it wakes the wait.
            self.touched.mark_unchanged();
            match self.look() {
                Look::Tell(event, until) => {
                    // Dropped here, it looks again.
                    if self.shared.durable(until).await.is_err() {
                        self.ended = true;
                        break;
                    }
                    self.since = until;
                    self.ended = event == WatchEvent::Compacted;
                    return Some(event);
                }
                Look::Broken => self.ended = true,
                Look::Wait(expiry) => tokio::select! {
                    // The sender lives in `shared`, so this cannot fail.
                    _ = self.touched.changed() => {}
                    () = until(expiry) => {}
                },
            }
        }
        None
    }
}

async fn until(expiry: Option<Instant>) {
    match expiry {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
