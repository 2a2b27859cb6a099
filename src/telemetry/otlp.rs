//! Sending metrics and traces to a collector over OTLP.
//!
//! A collector that is down or slow disturbs nothing: both are sent from threads of their own, a queue that is full drops
//! what comes, and an outage is said once, when it begins.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig, WithTonicConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, Temporality};
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, SpanData,
};
use tonic::transport::{ClientTlsConfig, Endpoint};

use super::Settings;

/// Where the collector is, where the settings do not say.
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
/// Where it is for one signal, beside [`ENDPOINT`].
const TRACES_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const METRICS_ENDPOINT: &str = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT";
/// How long sending once may take.
const SEND_MAX: Duration = Duration::from_secs(5);
/// How many spans wait to be sent; beyond that they are dropped.
const SPANS_MAX: usize = 8192;
/// How long spans wait to be sent together.
const SPANS_EVERY: Duration = Duration::from_secs(1);

/// A collector's address for one signal.
#[derive(Debug)]
struct Collector {
    address: String,
    /// Where it stands: it may have a password, so that it cannot be shown itself.
    said_by: &'static str,
}

impl Collector {
    /// The one that is named, if one is.
    fn named(settings: &Settings, of_signal: &'static str) -> Option<Self> {
        let variable = |said_by| {
            let address = std::env::var_os(said_by).filter(|address| !address.is_empty())?;
            // What is no text is no address either, and is told so.
            let address = address.to_string_lossy().into_owned();
            Some(Self { address, said_by })
        };
        match &settings.otlp_endpoint {
            Some(address) => Some(Self {
                address: address.clone(),
                said_by: "otlp-endpoint",
            }),
            None => variable(ENDPOINT).map(|general| variable(of_signal).unwrap_or(general)),
        }
    }

    /// An exporter to there. TLS, where the address asks for it, trusts whom the machine trusts.
    fn reached_by<E: WithExportConfig + WithTonicConfig>(&self, exporter: E) -> anyhow::Result<E> {
        anyhow::ensure!(
            is_address(&self.address),
            "{} is no address of a collector: write http://HOST:4317 or https://HOST:4317",
            self.said_by
        );
        let exporter = exporter.with_timeout(SEND_MAX).with_endpoint(&self.address);
        // An address without a scheme is one with https. Where no TLS is spoken nobody need be trusted: there may be a
        // machine that trusts nobody.
        if self.address.starts_with("https://") || !self.address.contains("://") {
            return Ok(exporter.with_tls_config(ClientTlsConfig::new().with_native_roots()));
        }
        Ok(exporter)
    }

    fn unusable(&self) -> String {
        format!("the collector of {} cannot be used", self.said_by)
    }
}

/// Whether something can be sent to an address of this form.
pub(crate) fn is_address(text: &str) -> bool {
    Endpoint::from_shared(text.to_owned()).is_ok()
}

/// What sends traces, where a collector is named. Which are sampled, the variables `OTEL_TRACES_SAMPLER` and
/// `OTEL_TRACES_SAMPLER_ARG` say; all are that their caller samples, where they say nothing.
pub(super) fn traces(
    settings: &Settings,
    resource: Resource,
) -> anyhow::Result<Option<SdkTracerProvider>> {
    let Some(collector) = Collector::named(settings, TRACES_ENDPOINT) else {
        return Ok(None);
    };
    let exporter = collector.reached_by(SpanExporter::builder().with_tonic())?;
    let exporter = exporter.build().with_context(|| collector.unusable())?;
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
    let Some(collector) = Collector::named(settings, METRICS_ENDPOINT) else {
        return Ok(None);
    };
    let exporter = collector.reached_by(MetricExporter::builder().with_tonic())?;
    let exporter = exporter.build().with_context(|| collector.unusable())?;
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
