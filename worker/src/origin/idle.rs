//! Connections that nobody uses at the moment.
//!
//! There is no pool: who may open how many connections follows from the places in flight, which the grant sets. What
//! comes back is kept only while there are not more connections than places, those in use included, and not for long.
//! Whoever opens one while others are idle makes room first.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many connections there may be, for idle ones to be kept, unless somebody says otherwise.
const OPEN_MAX_DEFAULT: usize = 32;
/// A connection that was idle for longer is closed: the network between may have forgotten it.
const IDLE_TIME_MAX: Duration = Duration::from_secs(60);

/// Idle connections; the one used last is taken first. `C` holds its [`Lease`].
#[derive(Debug)]
pub(super) struct Idle<C> {
    max: AtomicUsize,
    open: Arc<AtomicUsize>,
    kept: Mutex<Vec<(Instant, C)>>,
    close: fn(C),
}

/// Counts a connection, from before it is opened until it is closed.
#[derive(Debug)]
pub(super) struct Lease(Arc<AtomicUsize>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

impl<C> Default for Idle<C> {
    fn default() -> Self {
        Self {
            max: AtomicUsize::new(OPEN_MAX_DEFAULT),
            open: Arc::default(),
            kept: Mutex::default(),
            close: drop,
        }
    }
}

impl<C> Idle<C> {
    /// With another way to close one that is too many, or was idle for long, than to drop it.
    pub(super) fn closing_by(close: fn(C)) -> Self {
        Self {
            close,
            ..Self::default()
        }
    }

    /// A connection that was given back not long ago.
    pub(super) fn take(&self) -> Option<C> {
        let mut kept = self.kept();
        self.close_old(&mut kept);
        kept.pop().map(|(_, connection)| connection)
    }

    /// Makes room for a connection that is about to be opened: of idle ones that would be too many, the oldest go.
    pub(super) fn make_room(&self) -> Lease {
        let mut kept = self.kept();
        self.open.fetch_add(1, Relaxed);
        self.close_surplus(&mut kept);
        Lease(Arc::clone(&self.open))
    }

    /// Keeps a connection, or closes it where there are too many.
    pub(super) fn give_back(&self, connection: C) {
        let mut kept = self.kept();
        self.close_old(&mut kept);
        kept.push((Instant::now(), connection));
        self.close_surplus(&mut kept);
    }

    /// Sets how many connections there may be for idle ones to be kept, and closes those beyond, and those that were idle for
    /// long.
    pub(super) fn set_max(&self, max: usize) {
        self.max.store(max, Relaxed);
        let mut kept = self.kept();
        self.close_old(&mut kept);
        self.close_surplus(&mut kept);
    }

    fn close_surplus(&self, kept: &mut Vec<(Instant, C)>) {
        while !kept.is_empty() && self.open.load(Relaxed) > self.max.load(Relaxed) {
            let (_, connection) = kept.remove(0);
            (self.close)(connection);
        }
    }

    fn close_old(&self, kept: &mut Vec<(Instant, C)>) {
        let old = kept.extract_if(.., |(since, _)| since.elapsed() >= IDLE_TIME_MAX);
        old.for_each(|(_, connection)| (self.close)(connection));
    }

    fn kept(&self) -> MutexGuard<'_, Vec<(Instant, C)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes all of them: one was found dead, so the others probably are.
    pub(super) fn close_all(&self) {
        self.kept().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection with a number.
    fn open(idle: &Idle<(u32, Lease)>, number: u32) -> (u32, Lease) {
        (number, idle.make_room())
    }

    fn numbers(idle: &Idle<(u32, Lease)>) -> Vec<u32> {
        idle.kept().iter().map(|(_, (number, _))| *number).collect()
    }

    #[test]
    fn there_are_never_more_connections_than_allowed_while_any_is_idle() {
        let idle = Idle::default();
        idle.set_max(2);
        let all = [1, 2, 3].map(|number| open(&idle, number));
        for connection in all {
            idle.give_back(connection);
        }
        assert_eq!(numbers(&idle), [2, 3], "the first made one too many");
        let busy = open(&idle, 4);
        assert_eq!(numbers(&idle), [3], "room was made for it");
        idle.set_max(1);
        assert_eq!(numbers(&idle), [0; 0]);
        idle.give_back(busy);
        assert_eq!(numbers(&idle), [4]);
        idle.set_max(0);
        assert_eq!(numbers(&idle), [0; 0], "there is no grant any more");
        assert_eq!(idle.open.load(Relaxed), 0);
    }

    #[test]
    fn the_one_used_last_is_taken_first() {
        let idle = Idle::default();
        let all = [1, 2].map(|number| open(&idle, number));
        for connection in all {
            idle.give_back(connection);
        }
        assert_eq!(idle.take().map(|(number, _)| number), Some(2));
    }
}
