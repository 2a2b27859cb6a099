//! `[accesses]`: how accesses are counted that applications report.

use std::time::Duration;

use stoke_coordinator::AccessSettings;

use crate::config::reader::Table;

/// The fewest and the most keys that have counts of their own.
const COUNTERS_MIN: u64 = 1000;
const COUNTERS_MAX: u64 = 10_000_000;
/// The shortest and the longest half-life.
const HALF_LIFE_MIN: Duration = Duration::from_secs(1);
const HALF_LIFE_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);
/// What stands for no end.
const FOREVER: &str = "forever";

/// `[accesses]`.
pub(super) fn accesses(file: &Table<'_>) -> Option<AccessSettings> {
    file.table("accesses", |table| {
        let default = AccessSettings::default();
        let counters = match table.optional("counters") {
            Some(item) => item.integer(COUNTERS_MIN..=COUNTERS_MAX),
            None => Some(default.counters as u64),
        };
        let half_life = match table.optional("half-life") {
            Some(item) if item.says(FOREVER) => Some(None),
            Some(item) => item.duration(HALF_LIFE_MIN..=HALF_LIFE_MAX).map(Some),
            None => Some(default.half_life),
        };
        Some(AccessSettings {
            counters: usize::try_from(counters?).unwrap_or(usize::MAX),
            half_life: half_life?,
        })
    })
}
