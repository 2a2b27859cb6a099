//! Connections that nobody uses at the moment.
//!
//! There is no pool: who may open how many connections follows from the places in flight, which the grant sets. What
//! comes back is kept only while few are idle, and not for long; dropping a connection closes it.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many connections are kept idle unless somebody says otherwise.
pub(super) const IDLE_MAX_DEFAULT: usize = 32;
/// A connection that was idle for longer is closed: the network between may have forgotten it.
const IDLE_TIME_MAX: Duration = Duration::from_secs(60);

/// Idle connections; the one used last is taken first.
#[derive(Debug)]
pub(super) struct Idle<C> {
    max: AtomicUsize,
    kept: Mutex<Vec<(Instant, C)>>,
}

impl<C> Default for Idle<C> {
    fn default() -> Self {
        Self {
            max: AtomicUsize::new(IDLE_MAX_DEFAULT),
            kept: Mutex::default(),
        }
    }
}

impl<C> Idle<C> {
    /// A connection that was given back not long ago.
    pub(super) fn take(&self) -> Option<C> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(since, _)| since.elapsed() < IDLE_TIME_MAX);
        kept.pop().map(|(_, connection)| connection)
    }

    /// Keeps a connection, or closes it where enough are idle.
    pub(super) fn give_back(&self, connection: C) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(since, _)| since.elapsed() < IDLE_TIME_MAX);
        if kept.len() < self.max.load(Relaxed) {
            kept.push((Instant::now(), connection));
        }
    }

    /// Sets how many are kept, and closes those beyond.
    pub(super) fn set_max(&self, max: usize) {
        self.max.store(max, Relaxed);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let beyond = kept.len().saturating_sub(max);
        kept.drain(..beyond);
    }

    /// Closes all of them: one was found dead, so the others probably are.
    pub(super) fn close_all(&self) {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_connections_are_kept_than_allowed() {
        let idle = Idle::default();
        idle.set_max(2);
        for connection in 1..=3 {
            idle.give_back(connection);
        }
        assert_eq!(
            (idle.take(), idle.take(), idle.take()),
            (Some(2), Some(1), None)
        );
        idle.give_back(4);
        idle.set_max(0);
        assert_eq!(idle.take(), None);
    }
}
