//! What a process tells of itself: logs on stderr, metrics, traces.
//!
//! Logs go through `tracing`; the spans around them say which worker and which job a line is about. Metrics are made with
//! a meter that is handed to the crates; traces are the spans of one target. Where no collector is named, and no port
//! for metrics, nothing is kept and nothing is sent. Whatever becomes of what is told, the work goes on.

#[cfg(test)]
mod document;
mod json;
mod otlp;
mod process;

pub(crate) use otlp::is_address;

use std::io::IsTerminal;
use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

/// How long a process that ends waits for what it told to arrive.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// How logs are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What is told, and where to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// How logs are written.
    pub log_format: LogFormat,
    /// Which logs are written, in the syntax of `RUST_LOG`, which goes before this.
    pub log_filter: Option<String>,
    /// Where metrics and traces are sent: a collector's OTLP/gRPC address. The variable `OTEL_EXPORTER_OTLP_ENDPOINT`
    /// does where nothing is said.
    pub otlp_endpoint: Option<String>,
}

/// A process of a cluster, which tells of itself.
#[derive(Debug)]
pub struct Telemetry {
    /// What its metrics are made with.
    pub meter: Meter,
    /// What `/metrics` shows.
    pub registry: prometheus::Registry,
}

/// What has to be flushed at the end.
#[derive(Debug, Default)]
struct Running {
    metrics: Option<SdkMeterProvider>,
    traces: Option<SdkTracerProvider>,
}

static RUNNING: OnceLock<Running> = OnceLock::new();

/// Starts to write logs of at least this level, unless the settings or `RUST_LOG` say otherwise; and to send traces, where
/// a collector is named. For commands: they have no metrics.
pub fn start(settings: &Settings, default_filter: &str) {
    let (traces, untold) = usable(otlp::traces(settings, resource("stoke", "command")));
    subscribe(settings, default_filter, traces.as_ref());
    warn("traces", untold.as_ref());
    let metrics = None;
    let _ = RUNNING.set(Running { metrics, traces });
}

/// Starts to tell of a process of a cluster: its role is `coordinator` or `worker`. A collector that cannot be used is
/// warned of.
///
/// # Errors
/// Where metrics cannot be shown.
pub fn start_process(
    settings: &Settings,
    role: &'static str,
    name: &str,
) -> anyhow::Result<Telemetry> {
    let resource = resource(name, role);
    let (traces, no_traces) = usable(otlp::traces(settings, resource.clone()));
    let (reader, no_metrics) = usable(otlp::metrics(settings));
    let registry = prometheus::Registry::new();
    // What is of the process as a whole, Prometheus knows by its target.
    let exporter = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .without_target_info()
        .scope_info_enabled(false)
        .build()?;
    let mut metrics = SdkMeterProvider::builder()
        .with_resource(resource)
        .with_reader(exporter);
    if let Some(reader) = reader {
        metrics = metrics.with_reader(reader);
    }
    let metrics = metrics.build();
    let meter = metrics.meter("stoke");
    process::observe(&meter);
    subscribe(settings, "info", traces.as_ref());
    warn("traces", no_traces.as_ref());
    warn("metrics", no_metrics.as_ref());
    let metrics = Some(metrics);
    let _ = RUNNING.set(Running { metrics, traces });
    Ok(Telemetry { meter, registry })
}

/// Sends what has not been sent, and returns within two seconds, whether it arrived or not.
pub async fn finish() {
    let Some(running) = RUNNING.get() else { return };
    let metrics =
        tokio::task::spawn_blocking(|| running.metrics.as_ref().map(|metrics| metrics.shutdown()));
    let traces = tokio::task::spawn_blocking(|| {
        let traces = running.traces.as_ref();
        traces.map(|traces| traces.shutdown_with_timeout(FLUSH_MAX))
    });
    // Whoever waits for a collector that does not answer has been warned already.
    let _ = tokio::time::timeout(FLUSH_MAX, async { tokio::join!(metrics, traces) }).await;
}

/// What can be used, and why it cannot: that is said once logs are written.
fn usable<T>(made: anyhow::Result<Option<T>>) -> (Option<T>, Option<anyhow::Error>) {
    match made {
        Ok(made) => (made, None),
        Err(error) => (None, Some(error)),
    }
}

fn warn(what: &'static str, unusable: Option<&anyhow::Error>) {
    if let Some(error) = unusable {
        tracing::warn!("sends no {what}: {error:#}");
    }
}

fn resource(name: &str, role: &'static str) -> Resource {
    Resource::builder()
        .with_service_name("stoke")
        .with_attribute(KeyValue::new("service.instance.id", name.to_owned()))
        .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
        .with_attribute(KeyValue::new("stoke.role", role))
        .build()
}

fn subscribe(settings: &Settings, default_filter: &str, traces: Option<&SdkTracerProvider>) {
    // A context goes on to whom we call also where we send no traces ourselves.
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let traced = traces.map(|traces| {
        tracing_opentelemetry::layer()
            .with_tracer(traces.tracer("stoke"))
            .with_context_activation(false)
            .with_location(false)
            .with_threads(false)
            .with_level(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(|metadata| {
                metadata.is_span() && metadata.target() == stoke_worker::trace::TARGET
            }))
    });
    Registry::default()
        .with(logs(settings, default_filter))
        .with(traced)
        .init();
}

fn logs(settings: &Settings, default_filter: &str) -> Box<dyn Layer<Registry> + Send + Sync> {
    let filter = settings.log_filter.as_deref().unwrap_or(default_filter);
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Json => layer
            .fmt_fields(JsonFields::new())
            .event_format(json::Flat)
            .with_filter(filter)
            .boxed(),
        LogFormat::Text => {
            let colours = std::env::var_os("NO_COLOR").is_none() && std::io::stderr().is_terminal();
            layer.with_ansi(colours).with_filter(filter).boxed()
        }
    }
}
