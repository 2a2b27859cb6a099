//! `[telemetry]`: what a process tells of itself.

use tracing_subscriber::EnvFilter;

use super::all_or_none;
use crate::config::reader::{Item, Table};
use crate::telemetry::{LogFormat, Settings};

/// `[telemetry]`.
pub(in crate::config) fn telemetry(file: &Table<'_>) -> Option<Settings> {
    file.table("telemetry", |table| {
        let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
        let log_format = table.optional("log-format");
        let log_format = log_format.map(|item| item.one_of(&formats));
        let log_filter = table.optional("log-filter").map(|item| filter(&item));
        let otlp_endpoint = table.optional("otlp-endpoint").map(|item| collector(&item));
        Some(Settings {
            log_format: log_format.unwrap_or_else(|| Some(LogFormat::default()))?,
            log_filter: all_or_none(log_filter)?,
            otlp_endpoint: all_or_none(otlp_endpoint)?,
        })
    })
}

fn filter(item: &Item<'_>) -> Option<String> {
    let parse = |text: &str| match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("it is no log filter"),
    };
    item.parsed(
        parse,
        "write a level or targets with levels, as \"info,stoke_worker=debug\"",
    )
}

fn collector(item: &Item<'_>) -> Option<String> {
    let endpoint = item.secret()?;
    if endpoint.starts_with("http://") || endpoint.starts_with("https://") {
        return Some(endpoint);
    }
    item.fault(
        "it is no collector's address",
        "write http://HOST:4317 or https://HOST:4317",
    );
    None
}
