//! How much callers may have open at one coordinator: whoever asks for more is refused, and what others have goes on.
//!
//! Calls that answer at once need no bound of their own: a connection has at most so many at a time (see `server`).

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::refusal::Refusal;

/// Watches of jobs and budgets: each has a task, some watches of the store and its last message (some KiB, at most a
/// spec's 128) in memory.
pub(crate) const WATCHES_MAX: usize = 1000;
/// Uploads: each has some parts of 5 MiB on their way to the plan store, and a message of 4.
pub(crate) const UPLOADS_MAX: usize = 8;
/// Exports of plans and lists of failures: each has a band, or a chunk, in memory.
pub(crate) const LISTS_MAX: usize = 8;

/// Workers that are attached: each has a task. They share some watches of the store.
pub(crate) const ATTACHED_MAX: usize = 1024;
/// Streams of entries to workers: each has a band and some messages in memory. A worker has one of each job it works on.
pub(crate) const STREAMS_MAX: usize = 1024;
/// Tasks of planning that workers send the results of: each has a message in memory, and what `ranking` lets it hold. A stream that is silent
/// has no limit of its own, as uploads have: a query that ranks keys may take longer than any idle time (`source-timeout` is
/// the worker's), and what became of its worker is seen by its lease.
pub(crate) const SOURCES_MAX: usize = 256;

/// Reports of accesses: each has a message in memory.
pub(crate) const REPORTS_MAX: usize = 1024;

/// Something of which only so many may be open.
#[derive(Clone, Debug)]
pub(crate) struct Limit {
    what: &'static str,
    max: usize,
    free: Arc<Semaphore>,
}

impl Limit {
    fn new(what: &'static str, max: usize) -> Self {
        Self {
            what,
            max,
            free: Arc::new(Semaphore::new(max)),
        }
    }

    /// Opens one; dropping what this returns closes it.
    ///
    /// # Errors
    /// Where as many are open as may be.
    pub(crate) fn open(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let free = Arc::clone(&self.free);
        free.try_acquire_owned().map_err(|_| Refusal::TooManyCalls {
            what: self.what,
            max: self.max,
        })
    }
}

/// A coordinator's limits.
#[derive(Debug)]
pub(crate) struct Limits {
    pub(crate) watches: Limit,
    pub(crate) uploads: Limit,
    pub(crate) lists: Limit,
    pub(crate) attached: Limit,
    pub(crate) streams: Limit,
    pub(crate) sources: Limit,
    pub(crate) reports: Limit,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            watches: Limit::new("watches", WATCHES_MAX),
            uploads: Limit::new("uploads", UPLOADS_MAX),
            lists: Limit::new("lists", LISTS_MAX),
            attached: Limit::new("attached workers", ATTACHED_MAX),
            streams: Limit::new("streams of entries", STREAMS_MAX),
            sources: Limit::new("planning tasks", SOURCES_MAX),
            reports: Limit::new("reports of accesses", REPORTS_MAX),
        }
    }
}
