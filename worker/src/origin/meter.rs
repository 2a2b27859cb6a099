//! Counting what is sent, where the tokens for it are taken.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use super::OriginError;
use crate::metrics::OriginMetrics;
use crate::permit::{Permit, Stopped};

/// What an origin has been asked since the worker started. Only ever grows.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) queries: AtomicU64,
    pub(super) rows: AtomicU64,
    pub(super) metrics: OnceLock<OriginMetrics>,
}

/// One call's use of an origin: its permit, and what it has sent so far.
///
/// A statement counts when its token is taken, so that what is counted is never less than what was sent.
pub(super) struct Meter<'a> {
    permit: &'a dyn Permit,
    counters: &'a Counters,
    queries: u64,
    rows: u64,
    purpose: &'static str,
    /// How the call ended; one that was dropped did not.
    result: &'static str,
    /// Since when the last query is on its way.
    sent: Option<Instant>,
}

impl<'a> Meter<'a> {
    pub(super) fn new(
        permit: &'a dyn Permit,
        counters: &'a Counters,
        purpose: &'static str,
    ) -> Self {
        Self {
            permit,
            counters,
            queries: 0,
            rows: 0,
            purpose,
            result: "dropped",
            sent: None,
        }
    }

    /// Notes how the call ended.
    pub(super) fn ended<T>(&mut self, result: &Result<T, OriginError>) {
        self.result = match result {
            Ok(_) => "ok",
            Err(OriginError::Stopped(_)) => "stopped",
            Err(error) if error.is_outage() => "outage",
            Err(_) => "error",
        };
    }

    /// The query before is over: another follows, or the call has ended.
    fn note_answered(&mut self) {
        if let (Some(sent), Some(metrics)) = (self.sent.take(), self.counters.metrics.get()) {
            metrics.queried(self.purpose, sent.elapsed());
        }
    }

    /// Takes a token for each of some statements that the caller sends right after. One at a time: all at once could be
    /// more than the budget's burst, which would never be granted.
    pub(super) async fn pass(&mut self, statements: u32) -> Result<(), Stopped> {
        for _ in 0..statements {
            self.note_answered();
            self.permit.pass(1).await?;
            self.sent = Some(Instant::now());
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

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        self.note_answered();
        if let Some(metrics) = self.counters.metrics.get() {
            metrics.called(self.result, self.queries, self.rows);
            if self.result == "outage" {
                metrics.outage();
            }
        }
    }
}
