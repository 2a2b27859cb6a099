//! B5: how much of the ceiling is used where nothing is broken, and how soon after a fault.
//!
//! It holds while there is demand. Near a job's end one worker after the other runs dry: [`quarter_dry`] says when a quarter
//! has, by what the leader took away. A leader that takes shares away too early gains nothing by that: then too little of the run is
//! left to be healthy.

use std::collections::BTreeSet;

use crate::history::Change;

/// How much of the ceiling must be used, from 2·Q after a fault until the job's end: the bound.
pub(crate) const USED_LEAST: f64 = 0.95;

/// How much of the ceiling there is to use. The pace leaves 4% of a share unused, so that no second sees too many though one
/// statement is held up more than another, and takes what may be saved for late timers (2 ms of it) off besides.
pub(crate) const USABLE: f64 = 0.96 * 0.998;

/// How much of what is usable a time must see to count as recovered.
const RECOVERED_LEAST: f64 = 0.95;

/// Over how long it is looked whether things are as before, in milliseconds: long enough that one statement more or less is
/// little beside it.
const RECOVERED_WITHIN_MS: u64 = 2000;

/// When a quarter of the workers that had a share at `since_ms` have run dry: as seen, in milliseconds since 1970.
pub(crate) fn quarter_dry(history: &[Change], resource: &str, since_ms: u64) -> Option<u64> {
    let prefix = format!("cap/{resource}/");
    let mut sharers = BTreeSet::new();
    let mut dry = BTreeSet::new();
    for change in history {
        let Some(worker) = change.key.strip_prefix(&prefix) else {
            continue;
        };
        let cap = change.value.as_ref();
        let has_share = cap.is_some_and(|cap| cap["share"]["rate_milli"].as_u64() > Some(0));
        if change.seen_ms > since_ms {
            if !has_share && sharers.contains(worker) {
                dry.insert(worker);
            }
            if !dry.is_empty() && dry.len() * 4 >= sharers.len() {
                return Some(change.seen_ms);
            }
        } else if has_share {
            sharers.insert(worker);
        } else {
            sharers.remove(worker);
        }
    }
    None
}

/// Statements per ceiling · time, in `[from_ms, until_ms)`; `None` where that is no time. `times` are in order.
#[expect(clippy::cast_precision_loss, reason = "a few thousand statements")]
pub(crate) fn used(times: &[u64], ceiling_qps: u64, from_ms: u64, until_ms: u64) -> Option<f64> {
    let millis = until_ms.checked_sub(from_ms).filter(|millis| *millis > 0)?;
    let count = between(times, from_ms, until_ms);
    Some(count as f64 * 1000.0 / (ceiling_qps as f64 * millis as f64))
}

/// How long after `since_ms` the database was asked as much again as it may be: until the beginning of the first time that saw
/// enough. `None` where that never came. `times` are in order.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::cast_possible_truncation,
    reason = "a few statements"
)]
pub(crate) fn recovery_ms(times: &[u64], ceiling_qps: u64, since_ms: u64) -> Option<u64> {
    let usable = ceiling_qps as f64 * USABLE * (RECOVERED_WITHIN_MS as f64 / 1000.0);
    let enough = (usable * RECOVERED_LEAST).floor() as usize;
    let later = times.iter().copied().filter(|time| *time > since_ms);
    let begins = std::iter::once(since_ms).chain(later);
    let mut recovered =
        begins.filter(|from| between(times, *from, from + RECOVERED_WITHIN_MS) >= enough);
    recovered.next().map(|from| from - since_ms)
}

fn between(times: &[u64], from_ms: u64, until_ms: u64) -> usize {
    let before = times.partition_point(|time| *time < from_ms);
    times[before..].partition_point(|time| *time < until_ms)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_quarter_is_dry_when_so_many_have_lost_their_shares_and_not_when_they_are_smaller() {
        let cap = |seen_ms, worker: &str, rate: Option<u64>| Change {
            revision: 1,
            seen_ms,
            key: format!("cap/origin/shop/{worker}"),
            value: rate.map(|rate| json!({"v": 1, "share": {"rate_milli": rate}})),
        };
        let workers = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let mut history: Vec<Change> = workers
            .iter()
            .map(|worker| cap(10, worker, Some(4000)))
            .collect();
        history.extend([
            cap(20, "a", None),
            cap(30, "b", Some(3000)),
            cap(40, "other", None),
            cap(50, "a", Some(1000)),
            cap(60, "a", None),
            cap(70, "c", Some(0)),
        ]);
        assert_eq!(quarter_dry(&history, "origin/shop", 10), Some(70));
        assert_eq!(quarter_dry(&history[..13], "origin/shop", 10), None);
        assert_eq!(quarter_dry(&history, "origin/shop", 70), None);
        assert_eq!(quarter_dry(&history, "origin/other", 10), None);
        // Of three, one is more than a quarter.
        let three = [&history[..3], &[cap(20, "a", None)]].concat();
        assert_eq!(quarter_dry(&three, "origin/shop", 10), Some(20));
    }

    /// Statements of `qps` a second over this time.
    fn steady(qps: u64, from_ms: u64, until_ms: u64) -> Vec<u64> {
        let count = (until_ms - from_ms) * qps / 1000;
        (0..count).map(|n| from_ms + n * 1000 / qps).collect()
    }

    #[test]
    fn what_is_used_is_counted_in_its_time_only() {
        let times = steady(38, 0, 20_000);
        assert_eq!(used(&times, 40, 5000, 15_000), Some(0.95));
        assert_eq!(used(&times, 40, 15_000, 15_000), None);
        assert_eq!(used(&times, 40, 16_000, 15_000), None);
        assert!(used(&times, 40, 10_000, 30_000).unwrap() < USED_LEAST);
    }

    #[test]
    fn a_third_that_is_not_given_to_others_is_found() {
        let times = steady(27, 0, 20_000);
        assert!(used(&times, 40, 0, 20_000).unwrap() < USED_LEAST);
        assert_eq!(recovery_ms(&times, 40, 5000), None);
    }

    #[test]
    fn recovery_counts_from_the_fault_to_the_first_time_that_is_as_before() {
        let all = steady(38, 0, 20_000);
        assert_eq!(recovery_ms(&all, 40, 5000), Some(0));
        let gap: Vec<u64> = all
            .iter()
            .copied()
            .filter(|time| !(5000..9000).contains(time))
            .collect();
        let recovered = recovery_ms(&gap, 40, 5000).unwrap();
        assert!((3800..=4050).contains(&recovered), "{recovered}");
    }
}
