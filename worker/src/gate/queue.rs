//! A line that is waited in: the async face of [`Line`].

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::line::{Client, Line, Ticket};
use super::lock;

/// A line that can be waited in.
#[derive(Debug, Default)]
pub(super) struct Queue(std::sync::Mutex<Line>);

impl Queue {
    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Line> {
        lock(&self.0)
    }

    pub(super) fn enter(&self, client: Client) -> Turn<'_> {
        let (ticket, told) = self.lock().enter(client);
        Turn {
            queue: self,
            ticket,
            told,
        }
    }
}

/// A place in a line, left when it is dropped.
pub(super) struct Turn<'a> {
    queue: &'a Queue,
    pub(super) ticket: Ticket,
    pub(super) told: Arc<Notify>,
}

impl Turn<'_> {
    /// Waits until told, for so long at most.
    pub(super) async fn told_within(&self, time: Duration) {
        let _ = tokio::time::timeout(time, self.told.notified()).await;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.queue.lock().leave(self.ticket);
    }
}
