//! What judges a run: plain functions over what etcd, PostgreSQL and Redis say. None of it uses Stoke's code.

pub(crate) mod reserved;
pub(crate) mod usage;
pub(crate) mod windows;

use serde_json::Value;

use crate::history::Change;

/// From when on a ceiling was in force: as seen, in milliseconds since 1970, and in thousandths of a query a second.
pub(crate) type Ceilings = Vec<(u64, u64)>;

/// How the ceiling of a resource's rate went, as its ledger says.
pub(crate) fn ceilings(history: &[Change], resource: &str) -> Ceilings {
    let ledger = format!("ledger/{resource}");
    let mut ceilings: Ceilings = Vec::new();
    for change in history.iter().filter(|change| change.key == ledger) {
        let rate = change
            .value
            .as_ref()
            .and_then(|ledger| ledger["ceiling"]["rate_milli"].as_u64());
        let rate = rate.unwrap_or(0);
        if ceilings.last().is_none_or(|(_, before)| *before != rate) {
            ceilings.push((change.seen_ms, rate));
        }
    }
    ceilings
}

/// A dimension of a share, where it has that.
fn dimension(share: &Value, name: &str) -> Option<u64> {
    share.get(name).and_then(Value::as_u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ceilings_are_those_of_the_ledger_where_they_change() {
        let ledger = |seen_ms, rate: u64| Change {
            revision: 1,
            seen_ms,
            key: "ledger/origin/shop".to_owned(),
            value: Some(
                json!({"v": 1, "ceiling": {"rate_milli": rate}, "target": {"rate_milli": 7}}),
            ),
        };
        let history = [ledger(5, 40_000), ledger(6, 40_000), ledger(9, 4000)];
        assert_eq!(ceilings(&history, "origin/shop"), [(5, 40_000), (9, 4000)]);
        assert_eq!(ceilings(&history, "origin/other"), []);
    }
}
