//! B1: at every revision of etcd, what is reserved for all workers together fits under the ceiling.
//!
//! Reserved for a worker is max(cap, ack), in each dimension on its own: rate, burst, queries in flight, and whatever
//! dimension the ledger names besides. A resource without a ledger has a ceiling of nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::dimension;
use crate::history::Change;

/// How many violations are shown; all are counted.
const SHOWN_MAX: usize = 3;

/// What the replay found.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Replayed {
    /// Revisions that were looked at: all there are.
    pub(crate) revisions: u64,
    /// How many of them broke the ceiling, in whatever dimension.
    pub(crate) broken: u64,
    /// The first few.
    pub(crate) shown: Vec<String>,
}

/// The records of one resource.
#[derive(Debug, Default)]
struct Shares {
    ceiling: Value,
    caps: BTreeMap<String, Value>,
    acks: BTreeMap<String, Value>,
}

/// Replays the history, which is in the order of its revisions.
pub(crate) fn replay(history: &[Change]) -> Replayed {
    let mut resources: BTreeMap<String, Shares> = BTreeMap::new();
    let mut replayed = Replayed::default();
    for revision in history.chunk_by(|a, b| a.revision == b.revision) {
        revision
            .iter()
            .for_each(|change| apply(&mut resources, change));
        replayed.revisions += 1;
        let broken: Vec<String> = resources
            .iter()
            .flat_map(|(resource, shares)| {
                let over = shares.over();
                over.into_iter()
                    .map(move |over| format!("{resource}: {over}"))
            })
            .collect();
        if !broken.is_empty() {
            replayed.broken += 1;
            if replayed.shown.len() < SHOWN_MAX {
                let at = revision[0].revision;
                replayed
                    .shown
                    .push(format!("revision {at}: {}", broken.join(", ")));
            }
        }
    }
    replayed
}

fn apply(resources: &mut BTreeMap<String, Shares>, change: &Change) {
    let Some((kind, rest)) = change.key.split_once('/') else {
        return;
    };
    let share = change
        .value
        .as_ref()
        .map(|value| value.get("share").cloned().unwrap_or_default());
    match kind {
        "ledger" => {
            let shares = resources.entry(rest.to_owned()).or_default();
            let ceiling = change
                .value
                .as_ref()
                .and_then(|ledger| ledger.get("ceiling"));
            shares.ceiling = ceiling.cloned().unwrap_or_default();
        }
        "cap" | "ack" => {
            let Some((resource, worker)) = rest.rsplit_once('/') else {
                return;
            };
            let shares = resources.entry(resource.to_owned()).or_default();
            let held = if kind == "cap" {
                &mut shares.caps
            } else {
                &mut shares.acks
            };
            match share {
                Some(share) => held.insert(worker.to_owned(), share),
                None => held.remove(worker),
            };
        }
        _ => {}
    }
}

impl Shares {
    /// Each dimension in which more is reserved than the ceiling allows.
    fn over(&self) -> Vec<String> {
        let dimensions: BTreeSet<&String> = self
            .caps
            .values()
            .chain(self.acks.values())
            .filter_map(Value::as_object)
            .flat_map(serde_json::Map::keys)
            .collect();
        let workers: BTreeSet<&String> = self.caps.keys().chain(self.acks.keys()).collect();
        let of = |shares: &BTreeMap<String, Value>, worker: &String, name: &str| {
            let share = shares.get(worker);
            share.and_then(|share| dimension(share, name)).unwrap_or(0)
        };
        let mut over = Vec::new();
        for name in dimensions {
            let reserved: u64 = workers
                .iter()
                .map(|worker| of(&self.caps, worker, name).max(of(&self.acks, worker, name)))
                .sum();
            let ceiling = match self.ceiling.get(name) {
                // A dimension that the ledger leaves open has no ceiling.
                Some(Value::Null) => u64::MAX,
                _ => dimension(&self.ceiling, name).unwrap_or(0),
            };
            if reserved > ceiling {
                over.push(format!("{name} {reserved} of {ceiling}"));
            }
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn put(revision: i64, key: &str, value: Value) -> Change {
        Change {
            revision,
            seen_ms: 0,
            key: key.to_owned(),
            value: Some(value),
        }
    }

    fn gone(revision: i64, key: &str) -> Change {
        Change {
            revision,
            seen_ms: 0,
            key: key.to_owned(),
            value: None,
        }
    }

    fn ledger(revision: i64, rate: u64, in_flight: u64) -> Change {
        let ceiling = json!({"rate_milli": rate, "burst": 9, "in_flight": in_flight});
        let target = json!({"rate_milli": 1, "burst": 1, "in_flight": 1});
        let value = json!({"v": 1, "ceiling": ceiling, "target": target});
        put(revision, "ledger/origin/shop", value)
    }

    fn share(revision: i64, kind: &str, worker: &str, rate: u64, in_flight: u64) -> Change {
        let share = json!({"rate_milli": rate, "burst": 1, "in_flight": in_flight});
        let value = json!({"v": 1, "share": share, "sequence": 4, "term_ms": 5000});
        put(revision, &format!("{kind}/origin/shop/{worker}"), value)
    }

    fn broken(history: &[Change]) -> Vec<String> {
        replay(history).shown
    }

    #[test]
    fn caps_and_acks_of_one_worker_count_once_as_the_larger() {
        let history = [
            ledger(1, 10_000, 4),
            share(2, "cap", "a", 6000, 2),
            share(3, "ack", "a", 6000, 2),
            share(4, "cap", "b", 4000, 2),
            share(5, "ack", "b", 4000, 2),
        ];
        assert_eq!(
            replay(&history),
            Replayed {
                revisions: 5,
                broken: 0,
                shown: vec![]
            }
        );
    }

    #[test]
    fn what_was_freed_before_it_was_confirmed_is_found() {
        let history = [
            ledger(1, 10_000, 4),
            share(2, "cap", "a", 10_000, 2),
            share(3, "ack", "a", 10_000, 2),
            share(4, "cap", "a", 5000, 2),
            share(5, "cap", "b", 5000, 2),
            share(6, "ack", "a", 5000, 2),
        ];
        let found = replay(&history);
        assert_eq!(found.broken, 1);
        assert_eq!(
            found.shown,
            ["revision 5: origin/shop: rate_milli 15000 of 10000"]
        );
    }

    #[test]
    fn each_dimension_counts_on_its_own_and_so_does_each_resource() {
        let history = [
            ledger(1, 10_000, 4),
            share(2, "cap", "a", 5000, 2),
            share(3, "ack", "b", 1000, 3),
        ];
        assert_eq!(
            broken(&history),
            ["revision 3: origin/shop: in_flight 5 of 4"]
        );
        let other = put(
            2,
            "cap/origin/other/a",
            json!({"share": {"rate_milli": 10_000, "burst": 1}}),
        );
        let ledgers = [
            ledger(1, 10_000, 4),
            put(
                1,
                "ledger/origin/other",
                json!({"ceiling": {"rate_milli": 10_000, "burst": 1}}),
            ),
        ];
        let history = [&ledgers[..], &[other, share(3, "cap", "a", 10_000, 4)]].concat();
        assert_eq!(broken(&history), Vec::<String>::new());
    }

    #[test]
    fn a_ceiling_that_sinks_too_early_is_found_and_a_target_counts_for_nothing() {
        let history = [
            ledger(1, 10_000, 4),
            share(2, "ack", "a", 10_000, 2),
            ledger(3, 1000, 4),
            gone(4, "ack/origin/shop/a"),
        ];
        let found = replay(&history);
        assert_eq!((found.revisions, found.broken), (4, 1));
    }

    #[test]
    fn changes_of_one_revision_are_looked_at_together() {
        let history = [
            ledger(1, 10_000, 4),
            share(2, "cap", "a", 10_000, 4),
            share(3, "cap", "b", 10_000, 4),
            gone(3, "cap/origin/shop/a"),
        ];
        assert_eq!(broken(&history), Vec::<String>::new());
    }

    #[test]
    fn without_a_ledger_nothing_may_be_reserved_and_a_dimension_that_is_left_open_has_no_ceiling() {
        assert_eq!(replay(&[share(1, "cap", "a", 1, 1)]).broken, 1);
        let rows = |value: Value| {
            let ceiling = json!({"rows": value});
            [
                put(1, "ledger/origin/shop", json!({ "ceiling": ceiling })),
                put(2, "cap/origin/shop/a", json!({"share": {"rows": 7}})),
            ]
        };
        assert_eq!(replay(&rows(Value::Null)).broken, 0);
        assert_eq!(replay(&rows(json!(6))).broken, 1);
    }
}
