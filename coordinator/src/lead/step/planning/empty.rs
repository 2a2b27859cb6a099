//! What is said of a plan without entries: what each source gave, so that one sees which is wrong.

use stoke_core::job::{Batch, From, KeySource};
use stoke_core::records::SourceReport;

/// How many sources are named; the rest is counted.
const SOURCES_MAX: usize = 8;

/// Why there is nothing to warm.
pub(super) fn reason(batch: &Batch, reports: &[SourceReport]) -> String {
    let none = SourceReport::default();
    let told = |(n, source): (usize, &KeySource)| {
        let report = reports.get(n).unwrap_or(&none);
        let name = name(n, &source.from);
        let left_out = match (report.bad_lines, report.bad_line_examples.first()) {
            (0, _) => String::new(),
            (bad, None) => format!(", {bad} left out as bad"),
            (bad, Some(example)) => format!(", {bad} left out as bad ({example})"),
        };
        let unmatched = match &report.log {
            Some(log) if log.unmatched > 0 => {
                let (count, example) = (log.unmatched, &log.unmatched_example);
                format!(", {count} ask for no key that is wanted (as {example})")
            }
            _ => String::new(),
        };
        let filtered = match report.log.as_ref().map_or(0, |log| log.filtered) {
            0 => String::new(),
            count => format!(", {count} do not count by method, status or time"),
        };
        let watched = match &report.monitor {
            None => String::new(),
            Some(seen) => {
                let why = seen
                    .stopped
                    .first()
                    .map_or(String::new(), |why| format!(": {why}"));
                format!(", of {} commands that were seen{why}", seen.lines)
            }
        };
        let left_out = left_out + &unmatched + &filtered + &watched;
        let unit = match source.from {
            From::Upload | From::Plan { .. } => "entries",
            _ => "lines or rows with a key",
        };
        format!("{name} gave {} {unit}{left_out}", report.entries)
    };
    let mut parts: Vec<String> = batch
        .sources
        .iter()
        .enumerate()
        .take(SOURCES_MAX)
        .map(told)
        .collect();
    if let Some(more) = batch.sources.len().checked_sub(SOURCES_MAX)
        && more > 0
    {
        parts.push(format!("and {more} more sources gave none"));
    }
    format!(
        "the key sources gave no keys, so there is nothing to warm: {}: check what they read",
        parts.join("; ")
    )
}

/// A source as its job has it.
fn name(n: usize, from: &From) -> String {
    match from {
        From::Named(name) => format!("key source {n} ({name})"),
        From::Sql { origin, .. } => format!("key source {n} (a query of {origin})"),
        From::Keyspace {
            origin, pattern, ..
        } => format!("key source {n} (the keys {pattern} of {origin})"),
        From::Counter(counter) => {
            let (key, origin) = (&counter.key, &counter.origin);
            format!("key source {n} (the counter {key:?} of {origin})")
        }
        From::HotKeys(hot) => {
            let (pattern, origin) = (&hot.pattern, &hot.origin);
            format!("key source {n} (the hot keys {pattern} of {origin})")
        }
        From::Monitor(monitor) => {
            let (pattern, origin) = (&monitor.pattern, &monitor.origin);
            format!("key source {n} (the keys {pattern} that {origin} is asked for)")
        }
        From::Prometheus(series) => format!("key source {n} (the series of {})", series.origin),
        From::File { path, .. } => format!("key source {n} (the file {path})"),
        From::Log(log) => format!("key source {n} (the log {})", log.paths.join(", ")),
        From::Inline { .. } => format!("key source {n} (keys in the job)"),
        From::Reported(reported) => {
            format!("key source {n} (what is reported to {})", reported.feed)
        }
        From::Upload => format!("key source {n} (an upload)"),
        From::Plan { job, .. } => format!("key source {n} (the plan of job {job})"),
        From::Scan => format!("key source {n} (a scan)"),
    }
}
