//! What a coordinator measures. Instruments are made from the table only, so none exists outside it.
//!
//! What the leader sees is told from its looks ([`board`]); calls, stores and plans where they happen. Whatever is measured
//! decides nothing.

mod board;
mod observe;
mod table;

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider, NoopMeterProvider};
use stoke_core::metric::{Kind, Metric, SECONDS_BUCKETS};
use stoke_store::observed::Call;

use board::END_STATES;
pub(crate) use board::{Board, Watcher};
pub(crate) use observe::observe;
pub use table::METRICS;

/// A meter that measures nothing.
#[must_use]
pub fn none() -> Meter {
    NoopMeterProvider::new().meter("none")
}

/// The instruments of a coordinator.
#[derive(Debug)]
pub(crate) struct Metrics {
    look: Histogram<f64>,
    takeovers: Counter<u64>,
    jobs_ended: Counter<u64>,
    planning: Histogram<f64>,
    plan_entries: Counter<u64>,
    plan_store_written: Counter<u64>,
    plan_store_removed: Counter<u64>,
    plan_store: Histogram<f64>,
    spilled: Counter<u64>,
    retired: Counter<u64>,
    rpc: Histogram<f64>,
    uploaded: Counter<u64>,
    store: Histogram<f64>,
}

fn counter(meter: &Meter, name: &'static str) -> Counter<u64> {
    let counter = counter_by(meter, name);
    // A rate is there before the first.
    counter.add(0, &[]);
    counter
}

fn counter_by(meter: &Meter, name: &'static str) -> Counter<u64> {
    let metric = Metric::find(METRICS, name, Kind::Counter);
    let builder = meter.u64_counter(metric.name).with_unit(metric.unit);
    builder.with_description(metric.meaning).build()
}

fn jobs_ended(meter: &Meter) -> Counter<u64> {
    let counter = counter_by(meter, "stoke.coordinator.jobs.ended");
    // As above; nobody would be told of a process' first job that fails.
    for state in END_STATES {
        counter.add(0, &[KeyValue::new("state", state)]);
    }
    counter
}

/// What is kept no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Retired {
    /// A job that was over.
    Job,
    /// A record of the coordination store that no job named.
    Record,
    /// An object of the plan store: a forgotten job's, or one that no job named.
    Object,
}

impl Retired {
    const ALL: [Self; 3] = [Self::Job, Self::Record, Self::Object];

    const fn name(self) -> &'static str {
        match self {
            Self::Job => "job",
            Self::Record => "record",
            Self::Object => "object",
        }
    }
}

fn retired(meter: &Meter) -> Counter<u64> {
    let counter = counter_by(meter, "stoke.coordinator.retired");
    for what in Retired::ALL {
        counter.add(0, &[KeyValue::new("what", what.name())]);
    }
    counter
}

fn seconds(meter: &Meter, name: &'static str) -> Histogram<f64> {
    let metric = Metric::find(METRICS, name, Kind::Histogram);
    let builder = meter.f64_histogram(metric.name).with_unit(metric.unit);
    let builder = builder.with_boundaries(SECONDS_BUCKETS.to_vec());
    builder.with_description(metric.meaning).build()
}

fn result(ok: bool) -> KeyValue {
    KeyValue::new("result", if ok { "ok" } else { "failed" })
}

impl Metrics {
    pub(crate) fn new(meter: &Meter) -> Self {
        Self {
            look: seconds(meter, "stoke.coordinator.look.duration"),
            takeovers: counter(meter, "stoke.coordinator.takeovers"),
            jobs_ended: jobs_ended(meter),
            planning: seconds(meter, "stoke.coordinator.planning.duration"),
            plan_entries: counter(meter, "stoke.coordinator.plan.entries"),
            plan_store_written: counter(meter, "stoke.coordinator.plan_store.written"),
            plan_store_removed: counter(meter, "stoke.coordinator.plan_store.removed"),
            retired: retired(meter),
            plan_store: seconds(meter, "stoke.coordinator.plan_store.duration"),
            spilled: counter(meter, "stoke.coordinator.ranking.spilled"),
            rpc: seconds(meter, "stoke.coordinator.rpc.duration"),
            uploaded: counter(meter, "stoke.coordinator.uploaded"),
            store: seconds(meter, "stoke.coordinator.store.duration"),
        }
    }

    pub(crate) fn looked(&self, ok: bool, took: Duration) {
        self.look.record(took.as_secs_f64(), &[result(ok)]);
    }

    pub(crate) fn taken_over(&self, partitions: u64) {
        self.takeovers.add(partitions, &[]);
    }

    /// A job has ended in this state.
    pub(crate) fn ended(&self, state: &'static str) {
        self.jobs_ended.add(1, &[KeyValue::new("state", state)]);
    }

    /// Planning a job has ended, after so long, with so many entries where it succeeded.
    pub(crate) fn planned(&self, entries: Option<u64>, took: Duration) {
        self.planning
            .record(took.as_secs_f64(), &[result(entries.is_some())]);
        self.plan_entries.add(entries.unwrap_or(0), &[]);
    }

    /// The plan store has done this, or not.
    pub(crate) fn plan_store_called(&self, operation: &'static str, ok: bool, took: Duration) {
        let attributes = [KeyValue::new("operation", operation), result(ok)];
        self.plan_store.record(took.as_secs_f64(), &attributes);
    }

    /// The plan store was relieved of so many bytes.
    pub(crate) fn plan_store_removed(&self, bytes: u64) {
        self.plan_store_removed.add(bytes, &[]);
    }

    /// So many of these are kept no longer.
    pub(crate) fn retired(&self, what: Retired, count: u64) {
        self.retired
            .add(count, &[KeyValue::new("what", what.name())]);
    }

    pub(crate) fn plan_store_written(&self, bytes: usize) {
        self.plan_store_written.add(bytes as u64, &[]);
    }

    /// So many bytes of plans in the making were spilled.
    pub(crate) fn spilled(&self, bytes: usize) {
        self.spilled.add(bytes as u64, &[]);
    }

    /// A call of a method of the API has ended.
    pub(crate) fn called(&self, method: &str, code: &'static str, took: Duration) {
        let attributes = [
            KeyValue::new("method", method.to_owned()),
            KeyValue::new("code", code),
        ];
        self.rpc.record(took.as_secs_f64(), &attributes);
    }

    pub(crate) fn uploaded(&self, entries: u64) {
        self.uploaded.add(entries, &[]);
    }

    pub(crate) fn store_called(&self, call: Call) {
        let attributes = [
            KeyValue::new("operation", call.operation),
            KeyValue::new("result", call.result),
        ];
        self.store.record(call.took.as_secs_f64(), &attributes);
    }
}
