//! Counting what is sent, where the tokens for it are taken.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use async_trait::async_trait;

use super::{OriginError, ProbeFault};
use crate::metrics::OriginMetrics;
use crate::permit::{InFlight, Permit, Stopped};
use crate::vitals::{OnItsWay, Vitals};

/// What an origin has been asked since the worker started. Only ever grows.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) queries: AtomicU64,
    pub(super) rows: AtomicU64,
    pub(super) metrics: OnceLock<OriginMetrics>,
    pub(super) vitals: OnceLock<Arc<Vitals>>,
}

/// One call's use of an origin: its permit, and what it has sent so far.
///
/// A statement counts when its token is taken, so that what is counted is never less than what was sent.
pub(super) struct Meter<'a> {
    permit: &'a dyn Permit,
    counters: &'a Counters,
    queries: AtomicU64,
    rows: u64,
    purpose: &'static str,
    /// How the call ended; one that was dropped did not.
    result: &'static str,
    /// Since when the last query is on its way.
    sent: Option<Instant>,
    on_its_way: Option<OnItsWay>,
    /// Rows that the last query was expected to bring, and how many had come before it.
    expected: u64,
    rows_before: u64,
    /// Rows that are paid for and about to be read.
    due: u64,
}

/// How many rows of a query are paid for at once whose number is not known before.
const ROWS_AT_ONCE: u64 = 100;

impl<'a> Meter<'a> {
    pub(super) fn new(
        permit: &'a dyn Permit,
        counters: &'a Counters,
        purpose: &'static str,
    ) -> Self {
        Self {
            permit,
            counters,
            queries: AtomicU64::new(0),
            rows: 0,
            purpose,
            result: "dropped",
            sent: None,
            on_its_way: None,
            expected: 0,
            rows_before: 0,
            due: 0,
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
        let ill = result.as_ref().is_err_and(OriginError::is_ill);
        match self.on_its_way.take() {
            // Nobody knows how long it would have taken.
            Some(_) if matches!(result, Err(OriginError::Stopped(_))) => {}
            Some(query) => query.answered(ill),
            None if ill => self.found_ill(),
            None => {}
        }
    }

    /// Notes how a probe's call ended. What is wrong with a probe is told by its reading.
    pub(super) fn probed(&mut self, result: &Result<f64, ProbeFault>) {
        self.result = match result {
            Ok(_) => "ok",
            Err(ProbeFault::Failed(error)) if error.is_stopped() => "stopped",
            Err(ProbeFault::Failed(error)) if error.is_outage() => "outage",
            Err(_) => "error",
        };
    }

    fn found_ill(&self) {
        if let Some(vitals) = self.counters.vitals.get() {
            vitals.found_ill();
        }
    }

    /// The query before is over: another follows, or the call has ended.
    fn note_answered(&mut self) {
        if let Some(query) = self.on_its_way.take() {
            query.answered(false);
        }
        if let (Some(sent), Some(metrics)) = (self.sent.take(), self.counters.metrics.get()) {
            metrics.queried(self.purpose, sent.elapsed());
        }
    }

    /// What was paid for, and what came.
    fn settle_rows(&mut self) {
        let came = self.rows - self.rows_before;
        if (self.expected, came) != (0, 0) {
            self.permit.came(self.expected, came);
        }
        self.expected = 0;
        self.rows_before = self.rows;
    }

    /// Takes a token for each of some statements that the caller sends right after. One at a time: all at once could be
    /// more than the budget's burst, which would never be granted.
    pub(super) async fn pass(&mut self, statements: u32) -> Result<(), Stopped> {
        self.pass_expecting(statements, 0).await
    }

    /// As [`Meter::pass`], for statements of which the last will bring about so many rows.
    pub(super) async fn pass_expecting(
        &mut self,
        statements: u32,
        rows: u64,
    ) -> Result<(), Stopped> {
        self.note_answered();
        self.settle_rows();
        for left in (0..statements).rev() {
            self.take_token(if left == 0 { rows } else { 0 }).await?;
        }
        if statements > 0 {
            let vitals = self.counters.vitals.get();
            self.on_its_way = vitals.filter(|_| self.shows_health()).map(Vitals::sent);
        }
        Ok(())
    }

    /// Takes a token for each of some statements that have been sent already.
    pub(super) async fn pay(&mut self, statements: u32) -> Result<(), Stopped> {
        self.note_answered();
        for _ in 0..statements {
            self.take_token(0).await?;
        }
        Ok(())
    }

    async fn take_token(&mut self, rows: u64) -> Result<(), Stopped> {
        self.permit.pass_expecting(1, rows).await?;
        self.expected = rows;
        self.sent = Some(Instant::now());
        self.count_queries(1);
        Ok(())
    }

    fn count_queries(&self, queries: u64) {
        self.queries.fetch_add(queries, Relaxed);
        self.counters.queries.fetch_add(queries, Relaxed);
    }

    /// The permit, for what is sent to several nodes side by side: what passes is counted here.
    pub(super) fn sharing(&self) -> Sharing<'_> {
        Sharing {
            meter: self,
            sent: Mutex::new(None),
        }
    }

    /// What tells how the origin is, where somebody asks.
    pub(super) fn vitals(&self) -> Option<&Arc<Vitals>> {
        self.counters.vitals.get()
    }

    /// A connection is there. How long that took says little of queries.
    pub(super) fn connected(&mut self) {
        self.on_its_way = None;
    }

    /// Whether how long the call's queries take says how the database is. A key source's take as long as they take, and as
    /// their readers let them; probes are written by the user, and have readings of their own.
    fn shows_health(&self) -> bool {
        matches!(self.purpose, "load" | "prepare" | "canary")
    }

    pub(super) fn count_row(&mut self) {
        self.rows += 1;
        self.counters.rows.fetch_add(1, Relaxed);
    }

    /// Waits until another row may be read, of a query that did not say how many it brings.
    pub(super) async fn expect_row(&mut self) -> Result<(), Stopped> {
        if self.due == 0 {
            self.permit.pass_expecting(0, ROWS_AT_ONCE).await?;
            self.due = ROWS_AT_ONCE;
        }
        Ok(())
    }

    /// Counts a row after [`Meter::expect_row`].
    pub(super) fn count_expected_row(&mut self) {
        self.count_row();
        self.rows_before += 1;
        self.due = self.due.saturating_sub(1);
    }

    pub(super) fn queries(&self) -> u64 {
        self.queries.load(Relaxed)
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }
}

/// A call's permit where commands go to several nodes side by side.
pub(super) struct Sharing<'m> {
    meter: &'m Meter<'m>,
    /// Since when the last of them are on their way.
    sent: Mutex<Option<Instant>>,
}

impl Sharing<'_> {
    fn note_answered(&self) {
        let sent = self
            .sent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let (Some(sent), Some(metrics)) = (sent, self.meter.counters.metrics.get()) {
            metrics.queried(self.meter.purpose, sent.elapsed());
        }
    }
}

#[async_trait]
impl Permit for Sharing<'_> {
    async fn enter(&self) -> Result<InFlight, Stopped> {
        Ok(InFlight(None))
    }

    async fn pass(&self, commands: u32) -> Result<(), Stopped> {
        self.note_answered();
        self.meter.permit.pass(commands).await?;
        self.meter.count_queries(commands.into());
        *self.sent.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        Ok(())
    }

    fn at_once(&self) -> u32 {
        self.meter.permit.at_once()
    }
}

impl Drop for Sharing<'_> {
    fn drop(&mut self) {
        self.note_answered();
    }
}

impl Drop for Meter<'_> {
    fn drop(&mut self) {
        self.settle_rows();
        if self.due > 0 {
            self.permit.came(self.due, 0);
        }
        // Not answered where `ended` was not told of it.
        self.on_its_way = None;
        self.note_answered();
        if let Some(metrics) = self.counters.metrics.get() {
            metrics.called(self.result, self.queries(), self.rows);
            if self.result == "outage" {
                metrics.outage();
            }
        }
    }
}
