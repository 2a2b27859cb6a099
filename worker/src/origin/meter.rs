//! Counting what is sent, where the tokens for it are taken.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::permit::{Permit, Stopped};

/// What an origin has been asked since the worker started. Only ever grows.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) queries: AtomicU64,
    pub(super) rows: AtomicU64,
}

/// One call's use of an origin: its permit, and what it has sent so far.
///
/// A statement counts when its token is taken, so that what is counted is never less than what was sent.
pub(super) struct Meter<'a> {
    permit: &'a dyn Permit,
    counters: &'a Counters,
    queries: u64,
    rows: u64,
}

impl<'a> Meter<'a> {
    pub(super) fn new(permit: &'a dyn Permit, counters: &'a Counters) -> Self {
        Self {
            permit,
            counters,
            queries: 0,
            rows: 0,
        }
    }

    /// Takes a token for each of some statements that the caller sends right after. One at a time: all at once could be
    /// more than the budget's burst, which would never be granted.
    pub(super) async fn pass(&mut self, statements: u32) -> Result<(), Stopped> {
        for _ in 0..statements {
            self.permit.pass(1).await?;
            self.queries += 1;
            self.counters.queries.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    pub(super) fn count_row(&mut self) {
        self.rows += 1;
        self.counters.rows.fetch_add(1, Relaxed);
    }

    pub(super) fn queries(&self) -> u64 {
        self.queries
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }
}
