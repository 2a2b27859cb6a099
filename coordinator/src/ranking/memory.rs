//! How much memory the rows of all plans in the making take together.
//!
//! Whoever holds rows may hold as much as is still free beside it. So one alone has half of all, the next half of what is
//! left, and there is always something for another: nobody waits for memory, whoever gets less spills more. A holder that
//! has nothing yet takes one batch more than there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// All of it.
#[derive(Debug)]
pub(super) struct Memory {
    bytes: usize,
    held: AtomicUsize,
}

impl Memory {
    pub(super) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes,
            held: AtomicUsize::new(0),
        })
    }

    /// How many bytes all hold together.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

/// What one holds; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    memory: Arc<Memory>,
    held: usize,
}

impl Lease {
    /// Of nothing yet.
    pub(super) fn of(memory: &Arc<Memory>) -> Self {
        Self {
            memory: Arc::clone(memory),
            held: 0,
        }
    }

    /// Whether it may hold so many bytes in all; if so, it does.
    pub(super) fn may_hold(&mut self, bytes: usize) -> bool {
        // Buffers grow in steps: so it asks for such a step first.
        bytes <= self.held || self.grows_to(bytes + bytes / 16) || self.grows_to(bytes)
    }

    fn grows_to(&mut self, bytes: usize) -> bool {
        let Memory { bytes: all, held } = &*self.memory;
        let mine = self.held;
        let grown = held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
            let free_but_for_mine = all.saturating_sub(held - mine);
            (bytes <= free_but_for_mine / 2).then_some(held - mine + bytes)
        });
        if grown.is_ok() {
            self.held = bytes;
        }
        grown.is_ok()
    }

    /// Holds so many bytes in all, be it more than it may.
    pub(super) fn hold(&mut self, bytes: usize) {
        self.memory.held.fetch_add(bytes, Ordering::Relaxed);
        self.memory.held.fetch_sub(self.held, Ordering::Relaxed);
        self.held = bytes;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.hold(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_may_hold_as_much_as_is_free_beside_it() {
        let memory = Memory::new(1000);
        let mut leases = [(); 3].map(|()| Lease::of(&memory));
        let mut most = |n: usize| {
            (1..=1000)
                .take_while(|bytes| leases[n].may_hold(*bytes))
                .last()
        };
        assert_eq!(
            (most(0), most(1), most(2)),
            (Some(500), Some(250), Some(125))
        );
        assert_eq!(memory.held(), 875);
        // What it has it may keep, whatever others took since.
        assert!(leases[0].may_hold(500));
        leases[0].hold(0);
        assert!(leases[2].may_hold(375));
        assert!(!leases[2].may_hold(376));
        drop(leases);
        assert_eq!(memory.held(), 0);
    }

    #[test]
    fn one_that_must_hold_more_than_there_is_does_and_others_get_nothing() {
        let memory = Memory::new(100);
        let (mut large, mut other) = (Lease::of(&memory), Lease::of(&memory));
        assert!(!large.may_hold(300));
        large.hold(300);
        assert!(!other.may_hold(1));
        drop(large);
        assert!(other.may_hold(50));
    }
}
