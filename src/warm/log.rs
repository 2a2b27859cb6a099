//! The flags of the one-liner's access log, for its report.

use std::time::SystemTime;

use crate::args::LogArgs;

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
        ("log-method-field", args.log_method_field.clone()),
        ("log-status-field", args.log_status_field.clone()),
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
