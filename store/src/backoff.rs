//! How long to wait before the next attempt at a store that does not answer.

use std::time::Duration;

use rand::Rng;

/// The first pause: about what an etcd election or a reconnection takes at its quickest.
const PAUSE_FIRST: Duration = Duration::from_millis(50);

/// The longest pause: how late a process may notice that the store is back.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Pauses that double up to a bound, each shortened at random by up to a half, so that the processes of a cluster do
/// not come back all at once.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: PAUSE_FIRST }
    }

    /// An attempt went well: the next failure is a first one.
    pub(crate) fn reset(&mut self) {
        self.next = PAUSE_FIRST;
    }

    /// Waits, and doubles the next wait.
    pub(crate) async fn pause(&mut self) {
        let pause = self.next.mul_f64(rand::rng().random_range(0.5..=1.0));
        self.next = (self.next * 2).min(PAUSE_MAX);
        tokio::time::sleep(pause).await;
    }
}
