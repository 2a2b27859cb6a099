//! Retention: what nobody needs any more is removed, and when.
//!
//! A job that is over is kept for a while, with its plan, uploads and lists of failures, and then forgotten: its record
//! first, its objects after; not while another job is yet to make its plan of that one's. What no job names goes, too: what
//! failed attempts at planning left, uploads that were never taken, records of jobs that are gone, and what a crash between
//! the two deletions above left behind.
//!
//! Names are never used again. So what was garbage when it was looked at is garbage for ever, and an object may be removed
//! though deleting it cannot be fenced as a record's deletion is: see [`keep`]. Ages are a margin on top of that, except for
//! jobs that are over, of which nothing else says when they may go: for them, and for objects, the wall clock counts, within
//! bounds ([`age`]).

mod age;
mod keep;
mod lent;
mod orphans;
mod past;
mod turn;

pub(crate) use lent::is_lent;
pub(crate) use past::{OverJob, Wanted, forget, read_past};
pub(crate) use turn::Turns;

use std::time::Duration;

/// How often at most what is kept no longer is looked for.
const EVERY_MIN: Duration = Duration::from_millis(250);
/// How often at least.
const EVERY_MAX: Duration = Duration::from_secs(15 * 60);

/// How long what nobody needs any more is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// A job that is over, with its plan, uploads and lists of failures; `None`: for ever.
    pub jobs: Option<Duration>,
    /// Objects and records that no job names.
    pub orphans: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            jobs: Some(Duration::from_secs(30 * 86_400)),
            orphans: Duration::from_secs(3600),
        }
    }
}

impl Retention {
    /// The shortest time that what is removed by itself must have stood as it is.
    fn shortest(&self) -> Duration {
        self.jobs
            .map_or(self.orphans, |jobs| jobs.min(self.orphans))
    }

    /// How often it is looked for what is kept no longer.
    fn every(&self) -> Duration {
        (self.shortest() / 4).clamp(EVERY_MIN, EVERY_MAX)
    }
}
