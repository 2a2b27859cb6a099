//! What a worker measures. Instruments are made from the table only, so none exists outside it.
//!
//! Series begin at 0 when the worker starts, as far as their attributes are known then: a rate of failures is there before
//! the first failure. Whatever is measured decides nothing.

mod observe;
mod table;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, MeterProvider, NoopMeterProvider};
use stoke_core::metric::{Kind, Metric, SECONDS_BUCKETS};
use stoke_core::names::Resource;
use stoke_core::progress::{Outcome, RangeRows};

pub(crate) use observe::{gates, health, replicas};
pub use table::METRICS;

/// A meter that measures nothing.
#[must_use]
pub fn none() -> Meter {
    NoopMeterProvider::new().meter("none")
}

/// The instruments of a worker.
#[derive(Debug)]
pub(crate) struct Metrics {
    beats: Counter<u64>,
    renewals: Counter<u64>,
    renewal_duration: Histogram<f64>,
    queries: Counter<u64>,
    query_duration: Histogram<f64>,
    rows: Counter<u64>,
    outages: Counter<u64>,
    keys: Counter<u64>,
    written: Counter<u64>,
    pipeline_duration: Histogram<f64>,
    cache_retries: Counter<u64>,
    connections_lost: Counter<u64>,
    entries: Counter<u64>,
    retried: Counter<u64>,
    checkpoints: Counter<u64>,
    reopened: Counter<u64>,
    store_duration: Histogram<f64>,
}

fn counter(meter: &Meter, name: &'static str) -> Counter<u64> {
    let metric = Metric::find(METRICS, name, Kind::Counter);
    let builder = meter.u64_counter(metric.name).with_unit(metric.unit);
    builder.with_description(metric.meaning).build()
}

fn seconds(meter: &Meter, name: &'static str) -> Histogram<f64> {
    let metric = Metric::find(METRICS, name, Kind::Histogram);
    let builder = meter.f64_histogram(metric.name).with_unit(metric.unit);
    let builder = builder.with_boundaries(SECONDS_BUCKETS.to_vec());
    builder.with_description(metric.meaning).build()
}

fn ok_or(ok: bool, other: &'static str) -> &'static str {
    if ok { "ok" } else { other }
}

impl Metrics {
    pub(crate) fn new(meter: &Meter) -> Self {
        let metrics = Self {
            beats: counter(meter, "stoke.worker.beats"),
            renewals: counter(meter, "stoke.worker.renewals"),
            renewal_duration: seconds(meter, "stoke.worker.renewal.duration"),
            queries: counter(meter, "stoke.worker.origin.queries"),
            query_duration: seconds(meter, "stoke.worker.origin.duration"),
            rows: counter(meter, "stoke.worker.origin.rows"),
            outages: counter(meter, "stoke.worker.origin.outages"),
            keys: counter(meter, "stoke.worker.cache.keys"),
            written: counter(meter, "stoke.worker.cache.written"),
            pipeline_duration: seconds(meter, "stoke.worker.cache.duration"),
            cache_retries: counter(meter, "stoke.worker.cache.retries"),
            connections_lost: counter(meter, "stoke.worker.cache.connections.lost"),
            entries: counter(meter, "stoke.worker.entries"),
            retried: counter(meter, "stoke.worker.entries.retried"),
            checkpoints: counter(meter, "stoke.worker.checkpoints"),
            reopened: counter(meter, "stoke.worker.streams.reopened"),
            store_duration: seconds(meter, "stoke.worker.store.duration"),
        };
        metrics.begin();
        metrics
    }

    /// Begins the series that every worker has.
    fn begin(&self) {
        for result in ["ok", "failed"] {
            self.beats.add(0, &[KeyValue::new("result", result)]);
        }
        for result in ["written", "superseded", "failed"] {
            self.checkpoints.add(0, &[KeyValue::new("result", result)]);
        }
        for outcome in [
            "warmed",
            "present",
            "absent",
            "skipped",
            "failed",
            "cancelled",
        ] {
            self.entries.add(0, &[KeyValue::new("outcome", outcome)]);
        }
        self.retried.add(0, &[]);
        self.reopened.add(0, &[]);
    }

    /// Begins the series of a resource.
    pub(crate) fn begin_resource(&self, resource: &Resource) {
        for result in ["ok", "refused", "failed"] {
            let resource = KeyValue::new("resource", resource.to_string());
            self.renewals
                .add(0, &[resource, KeyValue::new("result", result)]);
        }
    }

    pub(crate) fn beat(&self, ok: bool) {
        let result = KeyValue::new("result", ok_or(ok, "failed"));
        self.beats.add(1, &[result]);
    }

    /// A renewal has ended so: `ok`, `refused` or `failed`.
    pub(crate) fn renewed(&self, resource: &Resource, result: &'static str, took: Duration) {
        let resource = KeyValue::new("resource", resource.to_string());
        self.renewal_duration
            .record(took.as_secs_f64(), std::slice::from_ref(&resource));
        self.renewals
            .add(1, &[resource, KeyValue::new("result", result)]);
    }

    pub(crate) fn settled(&self, outcome: Outcome, entries: u64) {
        let outcome = match outcome {
            Outcome::Warmed => "warmed",
            Outcome::Present => "present",
            Outcome::Absent => "absent",
            Outcome::Skipped => "skipped",
            Outcome::Failed => "failed",
            Outcome::Cancelled => "cancelled",
        };
        let attributes = [KeyValue::new("outcome", outcome)];
        self.entries.add(entries, &attributes);
    }

    /// The rows of a range that was read.
    pub(crate) fn settled_rows(&self, rows: RangeRows) {
        for (outcome, count) in [
            ("warmed", rows.warmed),
            ("present", rows.present),
            ("skipped", rows.skipped),
            ("failed", rows.failed),
        ] {
            let outcome = KeyValue::new("outcome", outcome);
            self.entries.add(count, &[outcome]);
        }
    }

    pub(crate) fn retried(&self) {
        self.retried.add(1, &[]);
    }

    /// A checkpoint has ended so: `written`, `superseded` or `failed`.
    pub(crate) fn checkpoint(&self, result: &'static str) {
        self.checkpoints.add(1, &[KeyValue::new("result", result)]);
    }

    pub(crate) fn stream_reopened(&self) {
        self.reopened.add(1, &[]);
    }

    pub(crate) fn store_called(&self, call: stoke_store::observed::Call) {
        let attributes = [
            KeyValue::new("operation", call.operation),
            KeyValue::new("result", call.result),
        ];
        self.store_duration
            .record(call.took.as_secs_f64(), &attributes);
    }
}

/// The instruments of one origin.
#[derive(Debug)]
pub(crate) struct OriginMetrics {
    metrics: Arc<Metrics>,
    origin: KeyValue,
}

impl OriginMetrics {
    pub(crate) fn new(metrics: Arc<Metrics>, origin: &str) -> Self {
        let origin = KeyValue::new("origin", origin.to_owned());
        for result in ["ok", "error", "outage", "stopped", "dropped"] {
            let result = KeyValue::new("result", result);
            metrics.queries.add(0, &[origin.clone(), result]);
        }
        metrics.rows.add(0, std::slice::from_ref(&origin));
        metrics.outages.add(0, std::slice::from_ref(&origin));
        Self { metrics, origin }
    }

    /// A call has ended, which sent so many queries.
    pub(crate) fn called(&self, result: &'static str, queries: u64, rows: u64) {
        let result = KeyValue::new("result", result);
        self.metrics
            .queries
            .add(queries, &[self.origin.clone(), result]);
        self.metrics
            .rows
            .add(rows, std::slice::from_ref(&self.origin));
    }

    pub(crate) fn queried(&self, purpose: &'static str, took: Duration) {
        let attributes = [self.origin.clone(), KeyValue::new("purpose", purpose)];
        self.metrics
            .query_duration
            .record(took.as_secs_f64(), &attributes);
    }

    pub(crate) fn outage(&self) {
        self.metrics
            .outages
            .add(1, std::slice::from_ref(&self.origin));
    }
}

/// The instruments of one cache.
#[derive(Debug)]
pub(crate) struct CacheMetrics {
    metrics: Arc<Metrics>,
    cache: KeyValue,
}

impl CacheMetrics {
    pub(crate) fn new(metrics: Arc<Metrics>, cache: &str) -> Self {
        let own = Self {
            metrics,
            cache: KeyValue::new("cache", cache.to_owned()),
        };
        let begun = [
            ("probe", ["present", "missing", "failed"]),
            ("write", ["written", "kept", "failed"]),
            ("extend", ["extended", "gone", "failed"]),
        ];
        for (operation, results) in begun {
            for result in results {
                own.keys(operation, result, 0);
            }
        }
        own.written(0);
        own.retried(0);
        own.metrics.connections_lost.add(0, own.cache());
        own
    }

    fn cache(&self) -> &[KeyValue] {
        std::slice::from_ref(&self.cache)
    }

    /// So many keys, for each of which this came of this operation.
    pub(crate) fn keys(&self, operation: &'static str, result: &'static str, count: u64) {
        let attributes = [
            self.cache.clone(),
            KeyValue::new("operation", operation),
            KeyValue::new("result", result),
        ];
        self.metrics.keys.add(count, &attributes);
    }

    pub(crate) fn written(&self, bytes: u64) {
        self.metrics.written.add(bytes, self.cache());
    }

    pub(crate) fn answered(&self, took: Duration) {
        self.metrics
            .pipeline_duration
            .record(took.as_secs_f64(), self.cache());
    }

    pub(crate) fn retried(&self, commands: u64) {
        self.metrics.cache_retries.add(commands, self.cache());
    }

    pub(crate) fn connection_lost(&self) {
        self.metrics.connections_lost.add(1, self.cache());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instrument_stands_in_the_table() {
        // Panics where one does not.
        let metrics = Arc::new(Metrics::new(&none()));
        OriginMetrics::new(Arc::clone(&metrics), "o");
        CacheMetrics::new(metrics, "c");
        observe::gates(&none(), Vec::new());
        observe::replicas(&none(), Vec::new());
    }
}
