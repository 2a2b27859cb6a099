//! What workers tell of resources' health: from messages to checked types. Nothing is kept of resources without guards.

use stoke_core::guard::{ProbeReading, Report, Window};
use stoke_core::names::{Resource, WorkerName};
use stoke_core::units::Moment;
use stoke_proto::v1;

use super::USES_MAX;
use crate::Shared;

/// How many probes one worker may tell of, of one resource.
const PROBES_MAX: usize = 64;

/// Keeps what a worker tells. Of a resource that it does not mention it tells that there is nothing to tell.
pub(super) fn note(
    shared: &Shared,
    worker: &WorkerName,
    told: Vec<v1::ResourceHealth>,
    now: Moment,
) {
    let mut told: Vec<(Resource, Report)> = told
        .into_iter()
        .take(USES_MAX)
        .filter_map(|health| Some((health.resource.parse().ok()?, report(health))))
        .collect();
    let mut vitals = shared
        .vitals
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    for (resource, vitals) in vitals.iter_mut() {
        let of_resource = told.iter().position(|(of, _)| of == resource);
        let report = match of_resource {
            Some(n) => told.swap_remove(n).1,
            None => Report {
                brake_permille: 1000,
                ..Report::default()
            },
        };
        vitals.report(now, worker, report);
    }
}

fn report(health: v1::ResourceHealth) -> Report {
    let window = |window: v1::HealthWindow| Window {
        number: window.number,
        latencies: window
            .latencies
            .into_iter()
            .map(|latency| (latency.micros, latency.count))
            .collect(),
        errors: window.errors,
        overdue: window.overdue,
        oldest_micros: window.oldest_micros,
    };
    let probe = |probe: v1::ProbeReading| ProbeReading {
        name: probe.name,
        number: probe.number,
        outcome: match probe.outcome {
            Some(v1::probe_reading::Outcome::Value(value)) => Ok(value),
            Some(v1::probe_reading::Outcome::Error(error)) => Err(error),
            None => Err("the worker says neither a number nor why there is none".into()),
        },
    };
    Report {
        windows: health.windows.into_iter().map(window).collect(),
        probes: (health.probes.into_iter().take(PROBES_MAX))
            .map(probe)
            .collect(),
        brake_permille: health.brake_permille,
    }
}
