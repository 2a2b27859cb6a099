//! Budgets: tables for people, objects for scripts.

use serde::Serialize;
use stoke_proto::v1;

use super::number::{grouped, percent, rate_milli};
use super::style::Palette;
use super::table::{Cell, Column, table};
use super::{plain, time};

/// One JSON object. Its fields are kept; new ones may come. `target` and `ceiling` are null where the resource has no
/// ledger yet.
#[derive(Debug, Serialize)]
pub struct BudgetReport<'a> {
    resource: &'a str,
    target: Option<Allowance>,
    ceiling: Option<Allowance>,
    reserved: Option<Allowance>,
    workers: Vec<Share<'a>>,
    /// What operators ask for; the target is less where guards hold it down.
    asked: Option<Allowance>,
    /// How long that lasts yet; null where it lasts until it is set again.
    lasts_seconds: Option<i64>,
    /// What is asked after that.
    then: Option<Allowance>,
    /// Why the target is less than what is asked, or jobs are held or aborted.
    reasons: &'a [String],
    /// As the leader sees them; empty from other coordinators.
    guards: Vec<Guard<'a>>,
}

#[derive(Debug, Serialize)]
struct Guard<'a> {
    name: &'a str,
    action: &'static str,
    state: &'static str,
    reading: &'a str,
    value: Option<f64>,
    above: Option<f64>,
    below: Option<f64>,
    clear: f64,
    reason: &'a str,
}

#[derive(Debug, Serialize)]
struct Allowance {
    /// Queries (for a cache: writes) a second.
    qps: f64,
    burst: u64,
    in_flight: u64,
    /// Null: not limited.
    rows: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Share<'a> {
    worker: &'a str,
    cap: Option<Allowance>,
    ack: Option<Allowance>,
    queries: u64,
    /// What it lately sent a second; null where the coordinator that answers does not know.
    used_qps: Option<f64>,
    /// The part of its share that it uses by its own decision, from 0 to 1; null where that is not known.
    brake: Option<f64>,
}

impl<'a> BudgetReport<'a> {
    /// The budget as it stands.
    pub fn new(budget: &'a v1::Budget) -> Self {
        let share = |share: &'a v1::WorkerShare| Share {
            worker: &share.worker,
            cap: share.cap.map(allowance),
            ack: share.ack.map(allowance),
            queries: share.queries,
            used_qps: share.used_milli.map(thousandths),
            brake: share.brake_permille.map(|brake| thousandths(brake.into())),
        };
        Self {
            resource: &budget.resource,
            target: budget.target.map(allowance),
            ceiling: budget.ceiling.map(allowance),
            reserved: budget.reserved.map(allowance),
            workers: budget.shares.iter().map(share).collect(),
            asked: budget.asked.map(allowance),
            lasts_seconds: budget.lasts.map(|lasts| lasts.seconds),
            then: budget.then.map(allowance),
            reasons: &budget.reasons,
            guards: budget.guards.iter().map(guard).collect(),
        }
    }
}

fn guard(guard: &v1::Guard) -> Guard<'_> {
    let bound = Some(guard.trigger);
    let (above, below) = if guard.below {
        (None, bound)
    } else {
        (bound, None)
    };
    Guard {
        name: &guard.name,
        action: action(guard.action()),
        state: state(guard.state()),
        reading: &guard.reading,
        value: guard.value,
        above,
        below,
        clear: guard.clear,
        reason: &guard.reason,
    }
}

fn action(action: v1::GuardAction) -> &'static str {
    match action {
        v1::GuardAction::Unspecified => "",
        v1::GuardAction::Slow => "slow",
        v1::GuardAction::Pause => "pause",
        v1::GuardAction::Abort => "abort",
    }
}

fn state(state: v1::GuardState) -> &'static str {
    match state {
        v1::GuardState::Unspecified => "",
        v1::GuardState::Calm => "calm",
        v1::GuardState::Bad => "bad",
        v1::GuardState::Looking => "looking",
        v1::GuardState::Acting => "acting",
    }
}

#[expect(clippy::cast_precision_loss, reason = "thousandths of a rate")]
fn thousandths(milli: u64) -> f64 {
    milli as f64 / 1000.0
}

fn allowance(allowance: v1::Allowance) -> Allowance {
    Allowance {
        qps: thousandths(allowance.qps_milli),
        rows: allowance.rows,
        burst: allowance.burst,
        in_flight: allowance.in_flight,
    }
}

/// All budgets, one a line; then why targets are less than what is asked.
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
    let mut text = table(&columns, &rows, palette);
    for budget in budgets {
        for reason in &budget.reasons {
            text.push_str(&format!("{}: {}\n", plain(&budget.resource), plain(reason)));
        }
    }
    text
}

/// One budget: what is asked for, what of it is promised, what is reserved, and by whom; and what guards do.
pub fn text(budget: &v1::Budget, palette: Palette) -> String {
    let columns = [
        Column::Left(""),
        Column::Right("QUERIES"),
        Column::Right("BURST"),
        Column::Right("IN FLIGHT"),
        Column::Right("ROWS"),
        Column::Right("USED"),
        Column::Right("BRAKE"),
        Column::Right("SENT"),
    ];
    let row = |name: &str, allowance: Option<v1::Allowance>, rest: [String; 3]| -> Vec<Cell> {
        let [used, brake, sent] = rest;
        vec![
            plain(name).into(),
            rate(allowance).into(),
            number(allowance.map(|allowance| allowance.burst)).into(),
            number(allowance.map(|allowance| allowance.in_flight)).into(),
            rows_of(allowance).into(),
            used.into(),
            brake.into(),
            sent.into(),
        ]
    };
    let mut rows = Vec::new();
    let amounts = [
        ("asked", budget.asked),
        ("target", budget.target),
        ("ceiling", budget.ceiling),
        ("reserved", budget.reserved),
    ];
    rows.extend(amounts.map(|(name, allowance)| row(name, allowance, Default::default())));
    for share in &budget.shares {
        let used = share.used_milli.map(rate_milli).unwrap_or_default();
        let sent = grouped(share.queries);
        rows.push(row(
            &share.worker,
            reserved(share),
            [used, brake(share), sent],
        ));
    }
    let mut text = format!(
        "{}\n{}",
        plain(&budget.resource),
        table(&columns, &rows, palette)
    );
    if let Some(lasts) = budget.lasts {
        #[expect(clippy::cast_precision_loss, reason = "at most 30 days")]
        let left = time::whole(lasts.seconds as f64);
        text.push_str(&format!(
            "asked for {left} yet, then {}\n",
            rate(budget.then)
        ));
    }
    for reason in &budget.reasons {
        text.push_str(&plain(reason));
        text.push('\n');
    }
    if !budget.guards.is_empty() {
        text.push_str(&guards(&budget.guards, palette));
    }
    text
}

fn guards(guards: &[v1::Guard], palette: Palette) -> String {
    let columns = [
        Column::Left("GUARD"),
        Column::Left("DOES"),
        Column::Left("STATE"),
        Column::Left("READING"),
    ];
    let row = |guard: &v1::Guard| -> Vec<Cell> {
        vec![
            plain(&guard.name).into(),
            action(guard.action()).to_owned().into(),
            state(guard.state()).to_owned().into(),
            plain(&guard.reading).into(),
        ]
    };
    let rows: Vec<_> = guards.iter().map(row).collect();
    table(&columns, &rows, palette)
}

/// How much of its share a worker uses by its own decision, where that is not all.
fn brake(share: &v1::WorkerShare) -> String {
    match share.brake_permille {
        Some(brake) if brake < 1000 => percent(f64::from(brake) / 1000.0),
        _ => String::new(),
    }
}

fn rows_of(allowance: Option<v1::Allowance>) -> String {
    match allowance {
        None => "-".to_owned(),
        Some(allowance) => allowance.rows.map_or("any".to_owned(), grouped),
    }
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
                    used_milli: Some(48_200),
                    brake_permille: Some(500),
                },
                v1::WorkerShare {
                    worker: "w2-77".into(),
                    cap: None,
                    ack: allowance(50_500, 10, 4),
                    queries: 0,
                    used_milli: None,
                    brake_permille: Some(1000),
                },
            ],
            asked: allowance(200_000, 4, 16),
            lasts: Some(prost_types::Duration {
                seconds: 590,
                nanos: 0,
            }),
            then: allowance(50_000, 4, 16),
            reasons: vec!["guard latency slows: p99 812 ms over 10 s, above 200 ms".into()],
            guards: vec![v1::Guard {
                name: "latency".into(),
                action: v1::GuardAction::Slow.into(),
                state: v1::GuardState::Acting.into(),
                reading: "p99 790 ms over 10 s, above 200 ms".into(),
                value: Some(0.79),
                trigger: 0.2,
                below: false,
                clear: 0.16,
                reason: "p99 812 ms over 10 s, above 200 ms".into(),
            }],
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
             cache/main        -        -         -      -          -        0\n\
             origin/shop: guard latency slows: p99 812 ms over 10 s, above 200 ms\n"
        );
    }

    #[test]
    fn a_budget_shows_who_has_what_of_it() {
        assert_eq!(
            text(&budget(), Palette::PLAIN),
            "origin/shop\n\
             \x20         QUERIES  BURST  IN FLIGHT  ROWS    USED   BRAKE    SENT\n\
             asked       200/s      4         16   any\n\
             target       20/s      4         16   any\n\
             ceiling     200/s     40         16   any\n\
             reserved  150.5/s     30         12   any\n\
             w1-5f       100/s     20          8   any  48.2/s  50.0 %  12,345\n\
             w2-77      50.5/s     10          4   any                       0\n\
             asked for 9m 50s yet, then 50/s\n\
             guard latency slows: p99 812 ms over 10 s, above 200 ms\n\
             GUARD    DOES  STATE   READING\n\
             latency  slow  acting  p99 790 ms over 10 s, above 200 ms\n"
        );
    }

    #[test]
    fn scripts_get_rates_in_queries_a_second() {
        let value = serde_json::to_value(BudgetReport::new(&budget())).unwrap();
        let expected = serde_json::json!({
            "resource": "origin/shop",
            "target": {"qps": 20.0, "burst": 4, "in_flight": 16, "rows": null},
            "ceiling": {"qps": 200.0, "burst": 40, "in_flight": 16, "rows": null},
            "reserved": {"qps": 150.5, "burst": 30, "in_flight": 12, "rows": null},
            "workers": [
                {"worker": "w1-5f", "cap": {"qps": 100.0, "burst": 20, "in_flight": 8, "rows": null},
                 "ack": {"qps": 50.5, "burst": 10, "in_flight": 8, "rows": null}, "queries": 12_345,
                 "used_qps": 48.2, "brake": 0.5},
                {"worker": "w2-77", "cap": null, "ack": {"qps": 50.5, "burst": 10, "in_flight": 4, "rows": null}, "queries": 0,
                 "used_qps": null, "brake": 1.0},
            ],
            "asked": {"qps": 200.0, "burst": 4, "in_flight": 16, "rows": null},
            "lasts_seconds": 590,
            "then": {"qps": 50.0, "burst": 4, "in_flight": 16, "rows": null},
            "reasons": ["guard latency slows: p99 812 ms over 10 s, above 200 ms"],
            "guards": [{"name": "latency", "action": "slow", "state": "acting",
                 "reading": "p99 790 ms over 10 s, above 200 ms", "value": 0.79, "above": 0.2, "below": null,
                 "clear": 0.16, "reason": "p99 812 ms over 10 s, above 200 ms"}],
        });
        assert_eq!(value, expected);
    }
}
