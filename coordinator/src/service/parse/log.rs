//! Access logs as key sources.

use std::collections::BTreeSet;
use std::time::Duration;

use stoke_core::access_log::{
    AccessLog, Fields, Filter, HALF_LIFE_MIN, Lines, PATHS_MAX, PATTERNS_MAX, Statuses, UrlRule,
};
use stoke_core::place::ObjectUrl;
use stoke_core::value::COLUMN_BYTES_MAX;
use stoke_proto::v1;

use super::faults::Faults;
use super::source::which_loader;

/// The longest path and the longest regular expression, in bytes.
const TEXT_BYTES_MAX: usize = 4096;
/// The most methods, and the most ranges of statuses: there are not as many.
const FILTERS_MAX: usize = 100;
/// The longest half-life: as long as anything lives.
const HALF_LIFE_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Reads a log; `loader` is the source's own, by name, where a pattern does not say which.
pub(super) fn access_log(
    faults: &mut Faults,
    at: &str,
    log: v1::AccessLogSource,
    loader: &str,
    loaders: &[String],
) -> Option<AccessLog> {
    let paths = paths(faults, &format!("{at}.paths"), log.paths);
    let lines = lines(faults, at, log.lines, log.regex);
    faults.at_most(&format!("{at}.urls"), log.urls.len(), PATTERNS_MAX);
    let mut urls = Vec::new();
    for (n, url) in log.urls.into_iter().take(PATTERNS_MAX).enumerate() {
        let at = format!("{at}.urls[{n}]");
        let named = if url.loader.is_empty() {
            loader
        } else {
            &url.loader
        };
        let loader = which_loader(faults, &format!("{at}.loader"), named, loaders);
        let pattern = faults.keep(&format!("{at}.pattern"), url.pattern.parse());
        urls.push(
            pattern
                .zip(loader)
                .map(|(pattern, loader)| UrlRule { pattern, loader }),
        );
    }
    let filter = filter(
        faults,
        at,
        (log.methods, log.statuses),
        (log.since, log.until),
    );
    let half_life_s = match log.half_life {
        Some(half_life) => Some(half_life_s(faults, &format!("{at}.half_life"), half_life)?),
        None => None,
    };
    Some(AccessLog {
        paths: paths?,
        lines: lines?,
        fields: fields(
            faults,
            &format!("{at}.fields"),
            log.fields.unwrap_or_default(),
        )?,
        urls: urls.into_iter().collect::<Option<_>>()?,
        filter: filter?,
        half_life_s,
    })
}

fn paths(faults: &mut Faults, at: &str, paths: Vec<String>) -> Option<Vec<String>> {
    if paths.is_empty() {
        faults.note(at, "name a file, a glob, or - for the standard input");
        return None;
    }
    faults.at_most(at, paths.len(), PATHS_MAX);
    if paths
        .iter()
        .any(|path| path.is_empty() || path.len() > TEXT_BYTES_MAX)
    {
        faults.note(at, format!("a path has from 1 to {TEXT_BYTES_MAX} bytes"));
        return None;
    }
    for (n, path) in paths.iter().take(PATHS_MAX).enumerate() {
        faults.keep(&format!("{at}[{n}]"), ObjectUrl::of(path));
    }
    Some(paths)
}

fn lines(faults: &mut Faults, at: &str, lines: i32, regex: String) -> Option<Lines> {
    let field = format!("{at}.regex");
    let lines = match faults.one_of(&format!("{at}.lines"), lines)? {
        v1::LogLines::Unspecified => Lines::Auto,
        v1::LogLines::Common => Lines::Common,
        v1::LogLines::Json => Lines::Json,
        v1::LogLines::Csv => Lines::Csv,
        v1::LogLines::Regex if regex.is_empty() => {
            faults.note(
                field,
                "write the regular expression, with a group for the URL, as (?<url>\\S+)",
            );
            return None;
        }
        v1::LogLines::Regex if regex.len() > TEXT_BYTES_MAX => {
            faults.note(field, format!("is longer than {TEXT_BYTES_MAX} bytes"));
            return None;
        }
        v1::LogLines::Regex => return Some(Lines::Regex(regex)),
    };
    if !regex.is_empty() {
        faults.note(field, "stands with LOG_LINES_REGEX only");
    }
    Some(lines)
}

fn fields(faults: &mut Faults, at: &str, fields: v1::LogFields) -> Option<Fields> {
    let names = [&fields.url, &fields.method, &fields.status, &fields.time];
    if names.iter().any(|name| name.len() > COLUMN_BYTES_MAX) {
        faults.note(
            at,
            format!("a field's name has at most {COLUMN_BYTES_MAX} bytes"),
        );
        return None;
    }
    let given = |name: String| Some(name).filter(|name| !name.is_empty());
    Some(Fields {
        url: given(fields.url),
        method: given(fields.method),
        status: given(fields.status),
        time: given(fields.time),
    })
}

fn filter(
    faults: &mut Faults,
    at: &str,
    (methods, statuses): (Vec<String>, Vec<String>),
    (since, until): (
        Option<prost_types::Timestamp>,
        Option<prost_types::Timestamp>,
    ),
) -> Option<Filter> {
    let usual = Filter::default();
    faults.at_most(&format!("{at}.methods"), methods.len(), FILTERS_MAX);
    faults.at_most(&format!("{at}.statuses"), statuses.len(), FILTERS_MAX);
    let statuses: Option<BTreeSet<Statuses>> = statuses
        .iter()
        .take(FILTERS_MAX)
        .enumerate()
        .map(|(n, text)| faults.keep(&format!("{at}.statuses[{n}]"), text.parse()))
        .collect();
    let methods = match methods.as_slice() {
        [] => usual.methods,
        methods if methods.iter().any(|method| method == "*") => BTreeSet::new(),
        methods => methods
            .iter()
            .map(|method| method.to_ascii_uppercase())
            .collect(),
    };
    let (since, until) = (
        since.map(|time| time.seconds),
        until.map(|time| time.seconds),
    );
    if since
        .zip(until)
        .is_some_and(|(since, until)| since >= until)
    {
        faults.note(
            format!("{at}.until"),
            "is not after since, so no access would count",
        );
    }
    Some(Filter {
        methods,
        statuses: statuses.map(|given| {
            if given.is_empty() {
                usual.statuses
            } else {
                given
            }
        })?,
        since,
        until,
    })
}

fn half_life_s(faults: &mut Faults, at: &str, half_life: prost_types::Duration) -> Option<u64> {
    let half_life = Duration::try_from(half_life).ok();
    let half_life = half_life.filter(|time| (HALF_LIFE_MIN..=HALF_LIFE_MAX).contains(time));
    if half_life.is_none() {
        faults.note(at, "must be from a second to ten years (315360000 s)");
    }
    half_life.map(|time| time.as_secs())
}
