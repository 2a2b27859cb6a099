//! Budgets: tables for people, objects for scripts.

use serde::Serialize;
use stoke_proto::v1;

use super::number::{grouped, rate_milli};
use super::plain;
use super::style::Palette;
use super::table::{Cell, Column, table};

/// One JSON object. Its fields are kept; new ones may come. `target` and `ceiling` are null where the resource has no
/// ledger yet.
#[derive(Debug, Serialize)]
pub struct BudgetReport<'a> {
    resource: &'a str,
    target: Option<Allowance>,
    ceiling: Option<Allowance>,
    reserved: Option<Allowance>,
    workers: Vec<Share<'a>>,
}

#[derive(Debug, Serialize)]
struct Allowance {
    /// Queries (for a cache: writes) a second.
    qps: f64,
    burst: u64,
    in_flight: u64,
}

#[derive(Debug, Serialize)]
struct Share<'a> {
    worker: &'a str,
    cap: Option<Allowance>,
    ack: Option<Allowance>,
    queries: u64,
}

impl<'a> BudgetReport<'a> {
    /// The budget as it stands.
    pub fn new(budget: &'a v1::Budget) -> Self {
        let share = |share: &'a v1::WorkerShare| Share {
            worker: &share.worker,
            cap: share.cap.map(allowance),
            ack: share.ack.map(allowance),
            queries: share.queries,
        };
        Self {
            resource: &budget.resource,
            target: budget.target.map(allowance),
            ceiling: budget.ceiling.map(allowance),
            reserved: budget.reserved.map(allowance),
            workers: budget.shares.iter().map(share).collect(),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "thousandths of a rate")]
fn allowance(allowance: v1::Allowance) -> Allowance {
    Allowance {
        qps: allowance.qps_milli as f64 / 1000.0,
        burst: allowance.burst,
        in_flight: allowance.in_flight,
    }
}

/// All budgets, one a line.
pub fn list(budgets: &[v1::Budget], palette: Palette) -> String {
    let columns = [
        Column::Left("RESOURCE"),
        Column::Right("TARGET"),
        Column::Right("CEILING"),
        Column::Right("RESERVED"),
        Column::Right("BURST"),
        Column::Right("IN FLIGHT"),
        Column::Right("WORKERS"),
    ];
    let row = |budget: &v1::Budget| -> Vec<Cell> {
        vec![
            plain(&budget.resource).into(),
            rate(budget.target).into(),
            rate(budget.ceiling).into(),
            rate(budget.reserved).into(),
            number(budget.target.map(|target| target.burst)).into(),
            number(budget.target.map(|target| target.in_flight)).into(),
            budget.shares.len().to_string().into(),
        ]
    };
    let rows: Vec<_> = budgets.iter().map(row).collect();
    table(&columns, &rows, palette)
}

/// One budget: what was asked for, what is promised, what is reserved, and by whom.
pub fn text(budget: &v1::Budget, palette: Palette) -> String {
    let columns = [
        Column::Left(""),
        Column::Right("QUERIES"),
        Column::Right("BURST"),
        Column::Right("IN FLIGHT"),
        Column::Right("SENT"),
    ];
    let row = |name: &str, allowance: Option<v1::Allowance>, sent: String| -> Vec<Cell> {
        vec![
            plain(name).into(),
            rate(allowance).into(),
            number(allowance.map(|allowance| allowance.burst)).into(),
            number(allowance.map(|allowance| allowance.in_flight)).into(),
            sent.into(),
        ]
    };
    let mut rows = vec![
        row("target", budget.target, String::new()),
        row("ceiling", budget.ceiling, String::new()),
        row("reserved", budget.reserved, String::new()),
    ];
    for share in &budget.shares {
        rows.push(row(&share.worker, reserved(share), grouped(share.queries)));
    }
    format!(
        "{}\n{}",
        plain(&budget.resource),
        table(&columns, &rows, palette)
    )
}

/// What a worker may be using: the larger of what it may renew to and what it confirmed last.
fn reserved(share: &v1::WorkerShare) -> Option<v1::Allowance> {
    match (share.cap, share.ack) {
        (Some(cap), Some(ack)) => Some(v1::Allowance {
            qps_milli: cap.qps_milli.max(ack.qps_milli),
            burst: cap.burst.max(ack.burst),
            in_flight: cap.in_flight.max(ack.in_flight),
            rows: most_rows(cap.rows, ack.rows),
        }),
        (one, other) => one.or(other),
    }
}

/// The larger of both: no limit is more than any number.
fn most_rows(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    Some(one?.max(other?))
}

fn rate(allowance: Option<v1::Allowance>) -> String {
    allowance.map_or("-".to_owned(), |allowance| rate_milli(allowance.qps_milli))
}

fn number(number: Option<u64>) -> String {
    number.map_or("-".to_owned(), grouped)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowance(qps_milli: u64, burst: u64, in_flight: u64) -> Option<v1::Allowance> {
        Some(v1::Allowance {
            qps_milli,
            burst,
            in_flight,
            rows: None,
        })
    }

    fn budget() -> v1::Budget {
        v1::Budget {
            resource: "origin/shop".into(),
            target: allowance(20_000, 4, 16),
            ceiling: allowance(200_000, 40, 16),
            reserved: allowance(150_500, 30, 12),
            shares: vec![
                v1::WorkerShare {
                    worker: "w1-5f".into(),
                    cap: allowance(100_000, 20, 8),
                    ack: allowance(50_500, 10, 8),
                    queries: 12_345,
                },
                v1::WorkerShare {
                    worker: "w2-77".into(),
                    cap: None,
                    ack: allowance(50_500, 10, 4),
                    queries: 0,
                },
            ],
        }
    }

    #[test]
    fn budgets_are_listed_in_aligned_columns() {
        let other = v1::Budget {
            resource: "cache/main".into(),
            ..v1::Budget::default()
        };
        assert_eq!(
            list(&[budget(), other], Palette::PLAIN),
            "RESOURCE     TARGET  CEILING  RESERVED  BURST  IN FLIGHT  WORKERS\n\
             origin/shop    20/s    200/s   150.5/s      4         16        2\n\
             cache/main        -        -         -      -          -        0\n"
        );
    }

    #[test]
    fn a_budget_shows_who_has_what_of_it() {
        assert_eq!(
            text(&budget(), Palette::PLAIN),
            "origin/shop\n\
             \x20         QUERIES  BURST  IN FLIGHT    SENT\n\
             target       20/s      4         16\n\
             ceiling     200/s     40         16\n\
             reserved  150.5/s     30         12\n\
             w1-5f       100/s     20          8  12,345\n\
             w2-77      50.5/s     10          4       0\n"
        );
    }

    #[test]
    fn scripts_get_rates_in_queries_a_second() {
        let value = serde_json::to_value(BudgetReport::new(&budget())).unwrap();
        let expected = serde_json::json!({
            "resource": "origin/shop",
            "target": {"qps": 20.0, "burst": 4, "in_flight": 16},
            "ceiling": {"qps": 200.0, "burst": 40, "in_flight": 16},
            "reserved": {"qps": 150.5, "burst": 30, "in_flight": 12},
            "workers": [
                {"worker": "w1-5f", "cap": {"qps": 100.0, "burst": 20, "in_flight": 8},
                 "ack": {"qps": 50.5, "burst": 10, "in_flight": 8}, "queries": 12_345},
                {"worker": "w2-77", "cap": null, "ack": {"qps": 50.5, "burst": 10, "in_flight": 4}, "queries": 0},
            ],
        });
        assert_eq!(value, expected);
    }
}
