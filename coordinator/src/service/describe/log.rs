//! Access logs as key sources.

use stoke_core::access_log::{AccessLog, Filter, Lines};
use stoke_core::job::Loader;
use stoke_proto::v1;

/// As it was asked for, what was left to Stoke filled in.
pub(super) fn access_log(log: &AccessLog, loaders: &[Loader]) -> v1::AccessLogSource {
    let (lines, regex) = match &log.lines {
        Lines::Auto => (v1::LogLines::Unspecified, String::new()),
        Lines::Common => (v1::LogLines::Common, String::new()),
        Lines::Json => (v1::LogLines::Json, String::new()),
        Lines::Csv => (v1::LogLines::Csv, String::new()),
        Lines::Regex(regex) => (v1::LogLines::Regex, regex.clone()),
    };
    let loader = |n: u32| {
        let loader = usize::try_from(n).ok().and_then(|n| loaders.get(n));
        loader
            .map(|loader| loader.name.to_string())
            .unwrap_or_default()
    };
    let url = |rule: &stoke_core::access_log::UrlRule| v1::UrlPattern {
        pattern: rule.pattern.to_string(),
        loader: loader(rule.loader),
    };
    let Filter {
        methods,
        statuses,
        since,
        until,
    } = &log.filter;
    let time = |seconds: &i64| prost_types::Timestamp {
        seconds: *seconds,
        nanos: 0,
    };
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    v1::AccessLogSource {
        paths: log.paths.clone(),
        lines: lines.into(),
        regex,
        fields: Some(v1::LogFields {
            url: name(&log.fields.url),
            method: name(&log.fields.method),
            status: name(&log.fields.status),
            time: name(&log.fields.time),
        }),
        urls: log.urls.iter().map(url).collect(),
        methods: match methods.is_empty() {
            true => vec!["*".to_owned()],
            false => methods.iter().cloned().collect(),
        },
        statuses: statuses.iter().map(ToString::to_string).collect(),
        since: since.as_ref().map(time),
        until: until.as_ref().map(time),
        half_life: log.half_life_s.map(|seconds| prost_types::Duration {
            seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
            nanos: 0,
        }),
    }
}
