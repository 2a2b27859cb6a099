//! What is read when somebody asks: how the gates and the worker as a whole stand.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use stoke_core::metric::{Kind, Metric};

use super::METRICS;
use crate::gate::Gate;
use crate::health::Health;
use crate::origin::{Origin, Standing};

fn gauge(
    meter: &Meter,
    name: &'static str,
    observe: impl Fn(&dyn Fn(f64, &[KeyValue])) + Send + Sync + 'static,
) {
    let metric = Metric::find(METRICS, name, Kind::Gauge);
    let builder = meter
        .f64_observable_gauge(metric.name)
        .with_unit(metric.unit);
    let _registered = builder
        .with_description(metric.meaning)
        .with_callback(move |to| observe(&|value, attributes| to.observe(value, attributes)))
        .build();
}

/// Shows how these gates stand.
#[expect(
    clippy::cast_precision_loss,
    reason = "numbers of queries, for display"
)]
pub(crate) fn gates(meter: &Meter, gates: Vec<Arc<Gate>>) {
    let of_each = move |value: fn(&Gate) -> Option<f64>| {
        let gates = gates.clone();
        move |to: &dyn Fn(f64, &[KeyValue])| {
            for gate in &gates {
                if let Some(value) = value(gate) {
                    let resource = KeyValue::new("resource", gate.resource().to_string());
                    to(value, &[resource]);
                }
            }
        }
    };
    let granted = of_each(|gate| Some(gate.granted()?.0.rate_milli as f64 / 1000.0));
    gauge(meter, "stoke.worker.gate.rate.granted", granted);
    let deadline = of_each(|gate| Some(gate.granted()?.1.as_secs_f64()));
    gauge(meter, "stoke.worker.gate.deadline", deadline);
    let in_flight = of_each(|gate| Some(gate.in_flight() as f64));
    gauge(meter, "stoke.worker.gate.in_flight", in_flight);
    let waiting = of_each(|gate| Some(gate.waiting() as f64));
    gauge(meter, "stoke.worker.gate.waiting", waiting);
    let brake = of_each(|gate| Some(f64::from(gate.brake_permille()) / 1000.0));
    gauge(meter, "stoke.worker.gate.brake", brake);
    let tokens = of_each(|gate| Some(gate.queries() as f64));
    let metric = Metric::find(METRICS, "stoke.worker.gate.tokens", Kind::Counter);
    let builder = meter.f64_observable_counter(metric.name);
    let builder = builder
        .with_unit(metric.unit)
        .with_description(metric.meaning);
    let _registered = builder
        .with_callback(move |to| tokens(&|value, attributes| to.observe(value, attributes)))
        .build();
}

/// Shows how the replicas of these origins stand.
pub(crate) fn replicas(meter: &Meter, origins: Vec<Arc<Origin>>) {
    let of_each = move |value: fn(&Standing) -> Option<f64>| {
        let origins = origins.clone();
        move |to: &dyn Fn(f64, &[KeyValue])| {
            for origin in &origins {
                for standing in origin.replicas() {
                    if let Some(value) = value(&standing) {
                        let name = KeyValue::new("origin", origin.name().to_string());
                        to(value, &[name, KeyValue::new("replica", standing.address)]);
                    }
                }
            }
        }
    };
    let lag = of_each(|standing| Some(standing.lag?.as_secs_f64()));
    gauge(meter, "stoke.worker.origin.replica.lag", lag);
    let chosen = of_each(|standing| Some(f64::from(u8::from(standing.chosen))));
    gauge(meter, "stoke.worker.origin.replica.chosen", chosen);
}

/// Shows how the worker as a whole stands.
#[expect(clippy::cast_precision_loss, reason = "a number of jobs, for display")]
pub(crate) fn health(meter: &Meter, health: &Arc<Health>) {
    let ready = Arc::clone(health);
    gauge(meter, "stoke.worker.ready", move |to| {
        to(f64::from(u8::from(ready.check().is_ok())), &[]);
    });
    let jobs = Arc::clone(health);
    gauge(meter, "stoke.worker.jobs", move |to| {
        to(jobs.jobs() as f64, &[]);
    });
}
