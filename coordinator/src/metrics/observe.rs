//! What is read when somebody asks: the leader's last look, and how the coordinator stands.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use stoke_core::guard::Stage;
use stoke_core::metric::{Kind, Metric};
use stoke_core::progress::Tally;
use tokio::sync::watch;

use super::{Board, METRICS};
use crate::Leading;
use crate::calls::Calls;
use crate::health::Health;
use crate::history::Grows;

/// The attribute that names a job: `job` is what Prometheus calls a group of targets.
const JOB: &str = "stoke.job";

type Observe<'a> = &'a dyn Fn(f64, &[KeyValue]);

fn gauge(meter: &Meter, name: &'static str, observe: impl Fn(Observe<'_>) + Send + Sync + 'static) {
    let metric = Metric::find(METRICS, name, Kind::Gauge);
    let builder = meter
        .f64_observable_gauge(metric.name)
        .with_unit(metric.unit);
    let _registered = builder
        .with_description(metric.meaning)
        .with_callback(move |to| observe(&|value, attributes| to.observe(value, attributes)))
        .build();
}

/// Shows all that is read when somebody asks. `board` has what the last look showed, while this coordinator leads.
#[expect(clippy::cast_precision_loss, reason = "numbers for display")]
pub(crate) fn observe(
    meter: &Meter,
    board: &Arc<Mutex<Option<Board>>>,
    leading: &watch::Receiver<Leading>,
    health: &Arc<Health>,
    grows: &Arc<Grows>,
    calls: &Arc<Calls>,
) {
    let health = Arc::clone(health);
    gauge(meter, "stoke.coordinator.ready", move |to| {
        to(f64::from(u8::from(health.check().is_ok())), &[]);
    });
    let grows = Arc::clone(grows);
    gauge(meter, "stoke.coordinator.store.grows", move |to| {
        to(f64::from(u8::from(grows.load(Ordering::Relaxed))), &[]);
    });
    let leads = leading.clone();
    gauge(meter, "stoke.coordinator.leads", move |to| {
        to(f64::from(u8::from(leads.borrow().0.is_some())), &[]);
    });
    let leads = leading.clone();
    gauge(meter, "stoke.coordinator.epoch", move |to| {
        if let Some((epoch, _)) = &leads.borrow().0 {
            to(epoch.0 as f64, &[]);
        }
    });
    let calls = Arc::clone(calls);
    gauge(meter, "stoke.coordinator.rpc.open", move |to| {
        for (method, open) in calls.open() {
            to(open as f64, &[KeyValue::new("method", method)]);
        }
    });
    jobs(meter, board);
    budgets(meter, board);
}

/// A gauge of what is on the board, where there is one.
fn from_board(
    meter: &Meter,
    board: &Arc<Mutex<Option<Board>>>,
    name: &'static str,
    observe: impl Fn(&Board, Observe<'_>) + Send + Sync + 'static,
) {
    let board = Arc::clone(board);
    gauge(meter, name, move |to| {
        let board = board.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(board) = board {
            observe(&board, to);
        }
    });
}

#[expect(clippy::cast_precision_loss, reason = "numbers for display")]
fn jobs(meter: &Meter, board: &Arc<Mutex<Option<Board>>>) {
    from_board(meter, board, "stoke.coordinator.members", |board, to| {
        to(board.members as f64, &[]);
    });
    from_board(meter, board, "stoke.coordinator.jobs", |board, to| {
        for (state, jobs) in &board.states {
            to(*jobs as f64, &[KeyValue::new("state", *state)]);
        }
    });
    from_board(meter, board, "stoke.coordinator.job.state", |board, to| {
        for job in &board.jobs {
            let name = KeyValue::new(JOB, job.name.to_string());
            to(1.0, &[name, KeyValue::new("state", job.state)]);
        }
    });
    from_board(
        meter,
        board,
        "stoke.coordinator.job.entries",
        |board, to| {
            for job in &board.jobs {
                for (outcome, count) in outcomes(&job.tally) {
                    let name = KeyValue::new(JOB, job.name.to_string());
                    to(count as f64, &[name, KeyValue::new("outcome", outcome)]);
                }
            }
        },
    );
    let of_each = |name, value: fn(&super::board::JobRow) -> Option<f64>| {
        from_board(meter, board, name, move |board, to| {
            for job in &board.jobs {
                if let Some(value) = value(job) {
                    to(value, &[KeyValue::new(JOB, job.name.to_string())]);
                }
            }
        });
    };
    of_each("stoke.coordinator.job.planned", |job| {
        Some(job.planned as f64)
    });
    of_each("stoke.coordinator.job.coverage", |job| Some(job.coverage));
    of_each("stoke.coordinator.job.holds", |job| Some(job.holds as f64));
    of_each("stoke.coordinator.job.partitions.unowned", |job| {
        job.unowned.map(|unowned| unowned as f64)
    });
}

fn outcomes(tally: &Tally) -> [(&'static str, u64); 6] {
    [
        ("warmed", tally.warmed),
        ("present", tally.present),
        ("absent", tally.absent),
        ("skipped", tally.skipped),
        ("failed", tally.failed),
        ("cancelled", tally.cancelled),
    ]
}

fn budgets(meter: &Meter, board: &Arc<Mutex<Option<Board>>>) {
    let of_each = |name, value: fn(&super::board::BudgetRow) -> f64| {
        from_board(meter, board, name, move |board, to| {
            for budget in &board.budgets {
                let resource = KeyValue::new("resource", budget.resource.clone());
                to(value(budget), &[resource]);
            }
        });
    };
    of_each("stoke.coordinator.budget.asked", |budget| budget.asked);
    of_each("stoke.coordinator.budget.target", |budget| budget.target);
    of_each("stoke.coordinator.budget.ceiling", |budget| budget.ceiling);
    of_each("stoke.coordinator.budget.reserved", |budget| {
        budget.reserved
    });
    from_board(
        meter,
        board,
        "stoke.coordinator.guard.state",
        |board, to| {
            for guard in &board.guards {
                for state in Stage::NAMES {
                    let of_guard = [
                        KeyValue::new("resource", guard.resource.clone()),
                        KeyValue::new("guard", guard.guard.clone()),
                        KeyValue::new("action", guard.action),
                        KeyValue::new("state", state),
                    ];
                    to(f64::from(u8::from(state == guard.state)), &of_guard);
                }
            }
        },
    );
}
