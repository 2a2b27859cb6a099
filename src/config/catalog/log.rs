//! An access log as a key source, of a job or of the configuration.

use std::time::Duration;

use stoke_core::access_log::{HALF_LIFE_MIN, PATHS_MAX, PATTERNS_MAX, Statuses};
use stoke_core::names::LoaderName;
use stoke_core::url_pattern::UrlPattern;
use stoke_proto::v1::{self, LogLines};

use crate::config::reader::{Item, Table};

const LINES: [(&str, LogLines); 3] = [
    ("common", LogLines::Common),
    ("json", LogLines::Json),
    ("csv", LogLines::Csv),
];
/// The longest half-life.
const HALF_LIFE_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The loaders that patterns may name.
#[derive(Clone, Copy, Debug)]
pub struct LogLoaders<'a> {
    /// Their names.
    pub loaders: &'a [&'a str],
    /// Where they are defined, as `[[loaders]]`.
    pub table: &'static str,
}

/// The log that `log` names.
pub fn access_log(
    table: &Table<'_>,
    log: &Item<'_>,
    loaders: LogLoaders<'_>,
) -> Option<v1::AccessLogSource> {
    let paths = texts(log, "name a file, or a glob", PATHS_MAX);
    let lines = table.optional("lines").map(|item| item.one_of(&LINES));
    let regex = table.optional("regex");
    if let (Some(regex), Some(lines)) = (&regex, table.optional("lines")) {
        table.contradiction(
            regex,
            &lines,
            "a regular expression says how lines are written",
        );
        return None;
    }
    let lines = match (&regex, lines) {
        (Some(_), _) => Some(LogLines::Regex),
        (None, lines) => lines.unwrap_or(Some(LogLines::Unspecified)),
    };
    let regex = regex.map_or(Some(""), |item| item.filled());
    let urls = urls(table, loaders);
    let fields = fields(table);
    let methods = list(table, "methods", |item| item.filled().map(str::to_owned));
    let statuses = list(table, "statuses", |item| {
        let parsed = item.parsed::<Statuses, _>(str::parse, "as \"304\", \"200-299\" or \"2xx\"");
        parsed.map(|statuses| statuses.to_string())
    });
    let (since, until) = (time(table, "since"), time(table, "until"));
    let half_life = table.optional("half-life");
    let half_life = half_life.map(|item| item.duration(HALF_LIFE_MIN..=HALF_LIFE_MAX));
    Some(v1::AccessLogSource {
        paths: paths?,
        lines: lines?.into(),
        regex: regex?.to_owned(),
        fields: Some(fields?),
        urls: urls?,
        methods: methods?,
        statuses: statuses?,
        since: since?,
        until: until?,
        half_life: match half_life {
            Some(time) => time?.try_into().ok(),
            None => None,
        },
    })
}

/// A text, or some.
fn texts(item: &Item<'_>, remedy: &str, most: usize) -> Option<Vec<String>> {
    if !item.is_list() {
        return Some(vec![item.filled()?.to_owned()]);
    }
    let items = item.filled_list(remedy)?;
    if items.len() > most {
        item.fault(
            format!("it has {} items", items.len()),
            format!("give at most {most}"),
        );
        return None;
    }
    items
        .iter()
        .map(|item| item.filled().map(str::to_owned))
        .collect()
}

fn list(
    table: &Table<'_>,
    key: &'static str,
    each: impl Fn(&Item<'_>) -> Option<String>,
) -> Option<Vec<String>> {
    let Some(item) = table.optional(key) else {
        return Some(Vec::new());
    };
    let items = item.filled_list("name at least one, or leave it out")?;
    items.iter().map(each).collect()
}

/// `url`, patterns of the source's own loader; and `[[sources.urls]]`, each of a loader.
fn urls(table: &Table<'_>, defined: LogLoaders<'_>) -> Option<Vec<v1::UrlPattern>> {
    let mut urls: Vec<Option<v1::UrlPattern>> = Vec::new();
    if let Some(item) = table.optional("url") {
        let items = match item.is_list() {
            true => item.filled_list("write a pattern, as \"/product/{id}\"")?,
            false => vec![item],
        };
        urls.extend(items.iter().map(|item| url(item, String::new())));
    }
    table.list("urls", |_, table| {
        let loader = table.optional("loader").map(|item| {
            let name = item.name_of::<LoaderName>("loader", defined.loaders, defined.table);
            name.map(|name| name.to_string())
        });
        let pattern = table.required("match", "match = \"/product/{id}\"");
        let both = || url(&pattern?, loader.unwrap_or_else(|| Some(String::new()))?);
        urls.push(both());
    });
    if urls.len() > PATTERNS_MAX {
        table.lacks(
            format!("it has {} patterns of URLs", urls.len()),
            format!("give at most {PATTERNS_MAX}"),
        );
        return None;
    }
    urls.into_iter().collect()
}

fn url(item: &Item<'_>, loader: String) -> Option<v1::UrlPattern> {
    let pattern = item.parsed::<UrlPattern, _>(str::parse, "as \"/product/{id}\"")?;
    Some(v1::UrlPattern {
        pattern: pattern.to_string(),
        loader,
    })
}

fn fields(table: &Table<'_>) -> Option<v1::LogFields> {
    let name = |key| match table.optional(key) {
        Some(item) => item.filled().map(str::to_owned),
        None => Some(String::new()),
    };
    let (url, method) = (name("url-field"), name("method-field"));
    let (status, time) = (name("status-field"), name("time-field"));
    Some(v1::LogFields {
        url: url?,
        method: method?,
        status: status?,
        time: time?,
    })
}

fn time(table: &Table<'_>, key: &'static str) -> Option<Option<prost_types::Timestamp>> {
    let Some(item) = table.optional(key) else {
        return Some(None);
    };
    let time = item.parsed(
        humantime::parse_rfc3339,
        "write it in UTC, as \"2026-11-23T21:00:00Z\"",
    );
    Some(Some(time?.into()))
}
