//! `[telemetry]`: what a process tells of itself.

use tracing_subscriber::EnvFilter;

use super::all_or_none;
use crate::config::reader::{Item, Table};
use crate::telemetry::{LogFormat, Settings, is_address};

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
    let has_scheme = endpoint.starts_with("http://") || endpoint.starts_with("https://");
    if has_scheme && is_address(&endpoint) {
        return Some(endpoint);
    }
    item.fault(
        "it is no collector's address",
        "write http://HOST:4317 or https://HOST:4317",
    );
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Surroundings, read};

    fn faults(endpoint: &str) -> String {
        let text = format!("[telemetry]\notlp-endpoint = \"{endpoint}\"");
        match read(&text, &Surroundings::of_tests(), telemetry) {
            Ok(_) => String::new(),
            Err(faults) => faults.to_string(),
        }
    }

    #[test]
    fn a_collectors_address_has_a_scheme_and_a_host() {
        for fine in ["http://otel:4317", "https://otel", "https://[::1]:4317/x"] {
            assert_eq!(faults(fine), "", "{fine}");
        }
        for wrong in ["otel:4317", "unix:///otel", "https://", "http://a b:4317"] {
            assert_eq!(
                faults(wrong),
                "line 2, column 17: telemetry.otlp-endpoint: it is no collector's address; write http://HOST:4317 or \
                 https://HOST:4317",
                "{wrong}"
            );
        }
    }
}
