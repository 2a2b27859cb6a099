//! The queries of the dashboard and of the alerts, as they stand in deploy/.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// A file below deploy/.
pub fn deploy(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(file)
}

pub fn dashboard() -> Value {
    serde_json::from_str(&std::fs::read_to_string(deploy("grafana/stoke.json")).unwrap()).unwrap()
}

/// The queries of all panels, with what Grafana puts in for its variables.
pub fn of_dashboard() -> Vec<String> {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array());
    let queries: Vec<String> = targets
        .flatten()
        .map(|target| target["expr"].as_str().unwrap())
        .map(|query| {
            query
                .replace("$__rate_interval", "5s")
                .replace("$resource", "origin/shop")
        })
        .collect();
    assert!(
        queries.len() > 50 && !queries.iter().any(|query| query.contains('$')),
        "{queries:?}"
    );
    queries
}

/// The expressions of all alerts.
pub fn of_alerts() -> Vec<String> {
    let text = std::fs::read_to_string(deploy("prometheus/alerts.yml")).unwrap();
    let mut expressions: Vec<String> = Vec::new();
    let mut within = false;
    for line in text.lines() {
        if let Some(expression) = line.trim().strip_prefix("expr: ") {
            within = expression == ">-";
            expressions.push(if within { "" } else { expression }.to_owned());
        } else if within && line.starts_with("          ") {
            let last = expressions.last_mut().unwrap();
            last.push(' ');
            last.push_str(line.trim());
        } else {
            within = false;
        }
    }
    assert_eq!(expressions.len(), text.matches("- alert:").count());
    expressions
}

/// What must be there for a query to mean anything: each series it selects, whatever the values of its labels; and each
/// label that it groups by, on one of these series at least (one of the alternatives).
pub fn parts(query: &str) -> Vec<Vec<String>> {
    let selected = selectors(query);
    let mut parts: Vec<Vec<String>> = selected.iter().map(|s| vec![s.clone()]).collect();
    for label in grouped_by(query) {
        let with = |selector: &String| match selector.strip_suffix('}') {
            Some(open) if open.ends_with('{') => format!("{open}{label}!=\"\"}}"),
            Some(open) => format!("{open}, {label}!=\"\"}}"),
            None => format!("{selector}{{{label}!=\"\"}}"),
        };
        parts.push(selected.iter().map(with).collect());
    }
    parts
}

/// The series that a query selects, with its labels but not their values.
fn selectors(query: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = query;
    while let Some(start) = ["stoke_", "process_", "up{", "{__name__"]
        .iter()
        .filter_map(|begin| rest.find(begin))
        .min()
    {
        let at = &rest[start..];
        let name: String = at
            .chars()
            .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
            .collect();
        let after = &at[name.len()..];
        let (labels, end) = match after.strip_prefix('{') {
            Some(inside) => {
                let end = inside.find('}').unwrap();
                (&inside[..end], name.len() + end + 2)
            }
            None => ("", name.len()),
        };
        let names: Vec<String> = labels
            .split(',')
            .filter_map(|label| label.split_once(['=', '!']).map(|(name, _)| (name, label)))
            .map(|(name, label)| match name.trim() {
                "__name__" => label.trim().to_owned(),
                name => format!("{name}!=\"\""),
            })
            .collect();
        // Labels of jobs and outcomes are looked at with their names only; a label of a grouping is none.
        if !name.starts_with("stoke_job") {
            found.insert(format!("{name}{{{}}}", names.join(", ")));
        }
        rest = &at[end..];
    }
    found
}

fn grouped_by(query: &str) -> BTreeSet<String> {
    let mut labels = BTreeSet::new();
    for begin in ["by (", "on ("] {
        for (at, _) in query.match_indices(begin) {
            let inside = &query[at + begin.len()..];
            let inside = &inside[..inside.find(')').unwrap()];
            labels.extend(inside.split(',').map(|label| label.trim().to_owned()));
        }
    }
    labels
}

#[test]
fn what_a_query_needs_is_found_in_it() {
    let query = "sum by (resource) (rate(stoke_a_total[2m])) > on (resource) max(stoke_b{state=\"X\"}) * 1.05";
    let parts = parts(query);
    assert_eq!(parts.len(), 3);
    assert_eq!(parts[0], ["stoke_a_total{}"]);
    assert_eq!(parts[1], ["stoke_b{state!=\"\"}"]);
    assert_eq!(
        parts[2],
        [
            "stoke_a_total{resource!=\"\"}".to_owned(),
            "stoke_b{state!=\"\", resource!=\"\"}".to_owned()
        ]
    );
}
