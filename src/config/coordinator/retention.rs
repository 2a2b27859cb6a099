//! `[retention]`: how long what nobody needs any more is kept.

use std::time::Duration;

use stoke_coordinator::Retention;

use crate::config::reader::{Item, Table};

/// The shortest time that can be asked for.
const KEPT_MIN: Duration = Duration::from_secs(1);
/// The longest for jobs that are over: ten years, as in requests.
const JOBS_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);
/// The longest for what no job names.
const ORPHANS_MAX: Duration = Duration::from_secs(365 * 86_400);
/// What stands for no end.
const FOREVER: &str = "forever";

/// `[retention]`.
pub(super) fn retention(file: &Table<'_>) -> Option<Retention> {
    file.table("retention", |table| {
        let default = Retention::default();
        let jobs = match table.optional("jobs") {
            Some(item) => jobs(&item),
            None => Some(default.jobs),
        };
        let orphans = match table.optional("orphans") {
            Some(item) => item.duration(KEPT_MIN..=ORPHANS_MAX),
            None => Some(default.orphans),
        };
        Some(Retention {
            jobs: jobs?,
            orphans: orphans?,
        })
    })
}

fn jobs(item: &Item<'_>) -> Option<Option<Duration>> {
    if item.says(FOREVER) {
        return Some(None);
    }
    item.duration(KEPT_MIN..=JOBS_MAX).map(Some)
}
