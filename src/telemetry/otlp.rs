//! Sending metrics and traces to a collector over OTLP.
//!
//! A collector that is down or slow disturbs nothing: both are sent from threads of their own, a queue that is full drops
//! what comes, and an outage is said once, when it begins.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, Temporality};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanData,
};

use super::Settings;

/// Where the collector is, where the settings do not say. (Those for one signal only, as OTEL_EXPORTER_OTLP_TRACES_ENDPOINT,
/// count beside it.)
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// How long sending once may take.
const SEND_MAX: Duration = Duration::from_secs(5);
/// How many spans wait to be sent; beyond that they are dropped.
const SPANS_MAX: usize = 8192;
/// How long spans wait to be sent together.
const SPANS_EVERY: Duration = Duration::from_secs(1);

/// Whether a collector is named; `Some(None)` where the variables name it.
fn endpoint(settings: &Settings) -> Option<Option<&str>> {
    match &settings.otlp_endpoint {
        Some(endpoint) => Some(Some(endpoint)),
        None => std::env::var_os(ENDPOINT)
            .is_some_and(|endpoint| !endpoint.is_empty())
            .then_some(None),
    }
}

/// What sends traces, where a collector is named. Which are sampled, the variables `OTEL_TRACES_SAMPLER` and
/// `OTEL_TRACES_SAMPLER_ARG` say; all are that their caller samples, where they say nothing.
pub(super) fn traces(
    settings: &Settings,
    resource: Resource,
) -> anyhow::Result<Option<SdkTracerProvider>> {
    let Some(endpoint) = endpoint(settings) else {
        return Ok(None);
    };
    let mut exporter = SpanExporter::builder().with_tonic().with_timeout(SEND_MAX);
    if let Some(endpoint) = endpoint {
        exporter = exporter.with_endpoint(endpoint);
    }
    let exporter = exporter.build().context("otlp-endpoint cannot be used")?;
    let queue = BatchConfigBuilder::default()
        .with_max_queue_size(SPANS_MAX)
        .with_scheduled_delay(SPANS_EVERY)
        .build();
    let processor = BatchSpanProcessor::builder(Warned::new(exporter, "traces"))
        .with_batch_config(queue)
        .build();
    let provider = SdkTracerProvider::builder()
        .with_resource(resource)
        .with_span_processor(processor);
    Ok(Some(provider.build()))
}

/// What sends metrics, where a collector is named: every minute, or as OTEL_METRIC_EXPORT_INTERVAL says.
pub(super) fn metrics(
    settings: &Settings,
) -> anyhow::Result<Option<PeriodicReader<Warned<MetricExporter>>>> {
    let Some(endpoint) = endpoint(settings) else {
        return Ok(None);
    };
    let mut exporter = MetricExporter::builder()
        .with_tonic()
        .with_timeout(SEND_MAX);
    if let Some(endpoint) = endpoint {
        exporter = exporter.with_endpoint(endpoint);
    }
    let exporter = exporter.build().context("otlp-endpoint cannot be used")?;
    Ok(Some(
        PeriodicReader::builder(Warned::new(exporter, "metrics")).build(),
    ))
}

/// An exporter that says when it cannot send, once for each outage.
#[derive(Debug)]
pub(super) struct Warned<E> {
    exporter: E,
    what: &'static str,
    failing: AtomicBool,
}

impl<E> Warned<E> {
    fn new(exporter: E, what: &'static str) -> Self {
        let failing = AtomicBool::new(false);
        Self {
            exporter,
            what,
            failing,
        }
    }

    fn note(&self, sent: OTelSdkResult) -> OTelSdkResult {
        match &sent {
            Ok(()) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!(what = self.what, "the collector takes it again");
                }
            }
            Err(error) => {
                if !self.failing.swap(true, Ordering::Relaxed) {
                    let error = error.to_string();
                    tracing::warn!(
                        what = self.what,
                        error,
                        "cannot send to the collector; trying on"
                    );
                }
            }
        }
        sent
    }
}

impl opentelemetry_sdk::trace::SpanExporter for Warned<SpanExporter> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.note(self.exporter.export(batch).await)
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

impl PushMetricExporter for Warned<MetricExporter> {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        self.note(self.exporter.export(metrics).await)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.exporter.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn temporality(&self) -> Temporality {
        self.exporter.temporality()
    }
}
