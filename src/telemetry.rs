//! What a process tells of itself: logs on stderr, metrics, traces.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

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

/// Starts to write logs of at least this level, unless the settings or `RUST_LOG` say otherwise.
pub fn start(settings: &Settings, default_filter: &str) {
    let filter = settings.log_filter.as_deref().unwrap_or(default_filter);
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(filter));
    let colours = std::env::var_os("NO_COLOR").is_none() && std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours)
        .init();
}
