//! The access log of the one-liner, as a key source.

use std::time::SystemTime;

use stoke_proto::v1;

use crate::args::{LogArgs, LogLinesArg};

/// The source that the flags describe; `None` where they name no log.
pub(super) fn source(args: &LogArgs) -> Option<v1::AccessLogSource> {
    if args.paths.is_empty() {
        return None;
    }
    let lines = match (&args.log_regex, args.log_lines) {
        (Some(_), _) => v1::LogLines::Regex,
        (None, None) => v1::LogLines::Unspecified,
        (None, Some(LogLinesArg::Common)) => v1::LogLines::Common,
        (None, Some(LogLinesArg::Json)) => v1::LogLines::Json,
        (None, Some(LogLinesArg::Csv)) => v1::LogLines::Csv,
    };
    let url = |pattern: &stoke_core::url_pattern::UrlPattern| v1::UrlPattern {
        pattern: pattern.to_string(),
        loader: String::new(),
    };
    Some(v1::AccessLogSource {
        paths: args.paths.clone(),
        lines: lines.into(),
        regex: args.log_regex.clone().unwrap_or_default(),
        fields: Some(v1::LogFields {
            url: args.log_url_field.clone().unwrap_or_default(),
            time: args.log_time_field.clone().unwrap_or_default(),
            ..v1::LogFields::default()
        }),
        urls: args.urls.iter().map(url).collect(),
        methods: args.log_method.clone(),
        statuses: args.log_status.iter().map(ToString::to_string).collect(),
        since: args.log_since.map(prost_types::Timestamp::from),
        until: args.log_until.map(prost_types::Timestamp::from),
        half_life: args.log_half_life.and_then(|time| time.try_into().ok()),
    })
}

/// The flags that are given, by their names.
pub(super) fn given(args: &LogArgs) -> Vec<(&'static str, Option<String>)> {
    let listed = |texts: Vec<String>| (!texts.is_empty()).then(|| texts.join(" "));
    let shown = |time: &SystemTime| humantime::format_rfc3339_seconds(*time).to_string();
    vec![
        ("log", listed(args.paths.clone())),
        (
            "url",
            listed(args.urls.iter().map(ToString::to_string).collect()),
        ),
        (
            "log-lines",
            args.log_lines
                .map(|lines| format!("{lines:?}").to_lowercase()),
        ),
        ("log-regex", args.log_regex.clone()),
        ("log-url-field", args.log_url_field.clone()),
        ("log-time-field", args.log_time_field.clone()),
        ("log-method", listed(args.log_method.clone())),
        (
            "log-status",
            listed(args.log_status.iter().map(ToString::to_string).collect()),
        ),
        ("log-since", args.log_since.as_ref().map(shown)),
        ("log-until", args.log_until.as_ref().map(shown)),
        (
            "log-half-life",
            args.log_half_life
                .map(|time| humantime::format_duration(time).to_string()),
        ),
    ]
}
