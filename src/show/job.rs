//! A job for scripts: the one shape that `status`, `watch`, `submit`, `jobs`, `warm` and those that change a job print.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::Serialize;
use stoke_proto::v1;

use super::forecast::ForecastReport;
use super::number::grouped;
use super::popularity::PopularityReport;
use super::style::state_name;
use super::time;

/// One JSON object. Its fields are kept as they are from version to version; new ones may come. A time that has not come
/// is null.
#[derive(Debug, Serialize)]
pub struct JobReport<'a> {
    job: &'a str,
    /// PENDING, PLANNING, RUNNING, PAUSED, ABORTING, SUCCEEDED, FAILED, ABORTED.
    state: &'a str,
    /// Why, where there is something to say; else empty.
    reason: &'a str,
    priority: u32,
    labels: BTreeMap<&'a str, &'a str>,
    trigger: &'a str,
    requester: &'a str,
    cache: &'a str,
    /// Further caches that it writes to.
    also: &'a [String],
    /// add, refresh, overwrite, verify, verify-values.
    mode: &'static str,
    dry_run: bool,
    planned: u64,
    outcomes: Outcomes,
    pending: u64,
    /// From 0 to 1.
    coverage: f64,
    /// Of a scan: the ranges of the plan, and how many were read. Until all were, planned grows.
    ranges: u64,
    ranges_read: u64,
    /// About how many rows they have; 0 where that is not known.
    rows_estimated: u64,
    /// From its creation to its end, or until now.
    duration_seconds: f64,
    origin_queries: u64,
    origin_rows: u64,
    cache_bytes: u64,
    keys_per_second: f64,
    /// RFC 3339.
    create_time: Option<String>,
    start_time: Option<String>,
    end_time: Option<String>,
    holds: Vec<Hold<'a>>,
    troubles: Vec<Trouble<'a>>,
    /// Budgets that guards hold down, and why; empty where the coordinator that answers does not lead.
    slowed: &'a [String],
    /// What there is to know that does not stop the job.
    warnings: Vec<Warning<'a>>,
    /// What reading its key sources gave; empty before the plan is sealed.
    sources: Vec<Source<'a>>,
    /// Lines (rows) that were left out, over all sources.
    bad_lines: u64,
    /// Keys that are not in the section of the cache that is warmed.
    left_out: u64,
    /// Of those that are skipped: the keys of the lowest priority that the cache has no room for.
    cut: u64,
    /// Of a dry run that has succeeded; else null.
    forecast: Option<ForecastReport<'a>>,
    /// What is to be expected by the plan's priorities; null before it is sealed, and of scans.
    popularity: Option<PopularityReport>,
}

#[derive(Debug, Serialize)]
struct Outcomes {
    warmed: u64,
    present: u64,
    absent: u64,
    skipped: u64,
    failed: u64,
    cancelled: u64,
}

#[derive(Debug, Serialize)]
struct Hold<'a> {
    holder: &'a str,
    reason: &'a str,
}

#[derive(Debug, Serialize)]
struct Trouble<'a> {
    worker: &'a str,
    what: &'a str,
}

#[derive(Debug, Serialize)]
struct Warning<'a> {
    /// expiry, capacity; others may come.
    kind: &'a str,
    what: &'a str,
}

#[derive(Debug, Serialize)]
struct Source<'a> {
    entries: u64,
    bad_lines: u64,
    bad_line_examples: &'a [String],
    /// Of an access log; else null.
    log: Option<Log<'a>>,
    /// Of a Redis that was watched; else null.
    monitor: Option<Watched<'a>>,
}

#[derive(Debug, Serialize)]
struct Watched<'a> {
    nodes: u32,
    masters: u32,
    lines: u64,
    bytes: u64,
    accesses: u64,
    cpu_before_permille: u32,
    cpu_permille_max: u32,
    buffer_bytes_max: u64,
    stopped: &'a [String],
}

#[derive(Debug, Serialize)]
struct Log<'a> {
    lines: u64,
    filtered: u64,
    unmatched: u64,
    unmatched_example: &'a str,
}

impl<'a> JobReport<'a> {
    /// The job as it stands.
    pub fn new(job: &'a v1::Job, now: SystemTime) -> Self {
        static NO_SPEC: std::sync::LazyLock<v1::JobSpec> =
            std::sync::LazyLock::new(v1::JobSpec::default);
        let spec = job.spec.as_ref().unwrap_or(&NO_SPEC);
        let progress = job.progress.unwrap_or_default();
        let effort = progress.effort.unwrap_or_default();
        let seconds = time::seconds_of(job, now);
        let batch = batch(spec);
        Self {
            job: &job.name,
            state: state_name(job.state()),
            reason: &job.reason,
            priority: spec.priority,
            labels: labels(spec).collect(),
            trigger: &spec.trigger,
            requester: &spec.requester,
            cache: batch.map_or("", |batch| batch.cache.as_str()),
            also: batch.map_or(&[], |batch| batch.also.as_slice()),
            mode: batch.map_or("", |batch| mode(batch.mode())),
            dry_run: spec.dry_run,
            planned: progress.planned,
            outcomes: outcomes(job),
            pending: progress.pending,
            coverage: progress.coverage,
            ranges: progress.ranges,
            ranges_read: progress.ranges_read,
            rows_estimated: progress.rows_estimated,
            duration_seconds: (seconds * 1000.0).round() / 1000.0,
            origin_queries: effort.origin_queries,
            origin_rows: effort.origin_rows,
            cache_bytes: effort.cache_bytes,
            keys_per_second: (keys_per_second(job, seconds) * 10.0).round() / 10.0,
            create_time: job.create_time.and_then(time::rfc3339),
            start_time: job.start_time.and_then(time::rfc3339),
            end_time: job.end_time.and_then(time::rfc3339),
            holds: job.holds.iter().map(hold).collect(),
            troubles: job.troubles.iter().map(trouble).collect(),
            slowed: &job.slowed,
            warnings: job.warnings.iter().map(warning).collect(),
            sources: job.sources.iter().map(source).collect(),
            bad_lines: job.sources.iter().map(|source| source.bad_lines).sum(),
            left_out: job.left_out,
            cut: job.cut,
            forecast: job.forecast.as_ref().map(ForecastReport::new),
            popularity: job.popularity.as_ref().map(PopularityReport::new),
        }
    }
}

/// What a job is to do, where it is a batch.
pub fn batch(spec: &v1::JobSpec) -> Option<&v1::BatchWork> {
    match &spec.work {
        Some(v1::job_spec::Work::Batch(batch)) => Some(batch),
        _ => None,
    }
}

/// A mode as job files and flags call it.
pub fn mode(mode: v1::WriteMode) -> &'static str {
    match mode {
        v1::WriteMode::Unspecified | v1::WriteMode::Add => "add",
        v1::WriteMode::Refresh => "refresh",
        v1::WriteMode::Overwrite => "overwrite",
        v1::WriteMode::Verify => "verify",
        v1::WriteMode::VerifyValues => "verify-values",
    }
}

/// A job's labels; sorted where they are collected.
fn labels(spec: &v1::JobSpec) -> impl Iterator<Item = (&str, &str)> {
    spec.labels
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
}

/// How many keys a second got an outcome, on average.
#[expect(clippy::cast_precision_loss, reason = "a rate for display")]
pub fn keys_per_second(job: &v1::Job, seconds: f64) -> f64 {
    let o = outcomes(job);
    let done = o.warmed + o.present + o.absent + o.skipped + o.failed;
    if seconds > 0.0 {
        done as f64 / seconds
    } else {
        0.0
    }
}

fn outcomes(job: &v1::Job) -> Outcomes {
    let progress = job.progress.unwrap_or_default();
    let outcomes = progress.outcomes.unwrap_or_default();
    Outcomes {
        warmed: outcomes.warmed,
        present: outcomes.present,
        absent: outcomes.absent,
        skipped: outcomes.skipped,
        failed: outcomes.failed,
        cancelled: outcomes.cancelled,
    }
}

fn hold(hold: &v1::Hold) -> Hold<'_> {
    Hold {
        holder: &hold.holder,
        reason: &hold.reason,
    }
}

fn trouble(trouble: &v1::Trouble) -> Trouble<'_> {
    Trouble {
        worker: &trouble.worker,
        what: &trouble.what,
    }
}

fn warning(warning: &v1::Warning) -> Warning<'_> {
    Warning {
        kind: &warning.kind,
        what: &warning.what,
    }
}

fn source(source: &v1::SourceReport) -> Source<'_> {
    Source {
        entries: source.entries,
        bad_lines: source.bad_lines,
        bad_line_examples: &source.bad_line_examples,
        log: source.log.as_ref().map(|log| Log {
            lines: log.lines,
            filtered: log.filtered,
            unmatched: log.unmatched,
            unmatched_example: &log.unmatched_example,
        }),
        monitor: source.monitor.as_ref().map(|seen| Watched {
            nodes: seen.nodes,
            masters: seen.masters,
            lines: seen.lines,
            bytes: seen.bytes,
            accesses: seen.accesses,
            cpu_before_permille: seen.cpu_before_permille,
            cpu_permille_max: seen.cpu_permille_max,
            buffer_bytes_max: seen.buffer_bytes_max,
            stopped: &seen.stopped,
        }),
    }
}

/// How far its scans have come, as "31 of 400 ranges read"; `None` where it has none.
pub fn ranges(progress: &v1::Progress) -> Option<String> {
    let (all, read) = (progress.ranges, progress.ranges_read);
    (all > 0).then(|| format!("{} of {} ranges read", grouped(read), grouped(all)))
}

/// How many keys are planned; with a + where they grow in number, for ranges of a scan are yet to be read.
pub fn planned(job: &v1::Job) -> String {
    let progress = job.progress.unwrap_or_default();
    let grows = progress.ranges > progress.ranges_read && !is_over(job);
    format!(
        "{}{}",
        grouped(progress.planned),
        if grows { "+" } else { "" }
    )
}

/// Whether a job is over.
pub fn is_over(job: &v1::Job) -> bool {
    use v1::JobState::{Aborted, Failed, Succeeded};
    matches!(job.state(), Succeeded | Failed | Aborted)
}

/// How many of a job's keys are done with: those that were cancelled are not.
pub fn done(progress: &v1::Progress) -> u64 {
    let cancelled = progress.outcomes.map_or(0, |outcomes| outcomes.cancelled);
    let left = progress.pending.saturating_add(cancelled);
    progress.planned.saturating_sub(left)
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use serde_json::json;

    fn value(job: &v1::Job) -> serde_json::Value {
        serde_json::to_value(JobReport::new(job, samples::now())).unwrap()
    }

    #[test]
    fn cancelled_keys_are_not_done() {
        let progress = v1::Progress {
            planned: 60_000,
            pending: 5,
            outcomes: Some(v1::Outcomes {
                warmed: 10,
                cancelled: 59_985,
                ..v1::Outcomes::default()
            }),
            ..v1::Progress::default()
        };
        assert_eq!(done(&progress), 10);
    }

    #[test]
    fn the_object_has_the_promised_fields_and_no_others_whatever_the_job_has() {
        let promised = [
            "also",
            "bad_lines",
            "cache",
            "cache_bytes",
            "coverage",
            "create_time",
            "cut",
            "dry_run",
            "duration_seconds",
            "end_time",
            "forecast",
            "holds",
            "job",
            "keys_per_second",
            "labels",
            "left_out",
            "mode",
            "origin_queries",
            "origin_rows",
            "outcomes",
            "pending",
            "planned",
            "popularity",
            "priority",
            "ranges",
            "ranges_read",
            "reason",
            "requester",
            "rows_estimated",
            "slowed",
            "sources",
            "start_time",
            "state",
            "trigger",
            "troubles",
            "warnings",
        ];
        let promised_outcomes = [
            "absent",
            "cancelled",
            "failed",
            "present",
            "skipped",
            "warmed",
        ];
        for job in [v1::Job::default(), samples::paused(), samples::dry_run()] {
            let value = value(&job);
            let fields = |value: &serde_json::Value| {
                let object = value.as_object().unwrap();
                object.keys().cloned().collect::<Vec<_>>()
            };
            assert_eq!(fields(&value), promised);
            assert_eq!(fields(&value["outcomes"]), promised_outcomes);
        }
    }

    #[test]
    fn a_job_is_told_with_all_there_is_to_tell() {
        let expected = json!({
            "job": "1795467600000-abc", "state": "PAUSED", "reason": "", "priority": 7,
            "labels": {"app": "shop", "team": "web"}, "trigger": "deploy", "requester": "ada",
            "cache": "main", "also": [], "mode": "refresh", "dry_run": false,
            "planned": 100_000, "pending": 87_655, "coverage": 0.936,
            "ranges": 0, "ranges_read": 0, "rows_estimated": 0,
            "outcomes": {"warmed": 12_000, "present": 300, "absent": 40, "skipped": 0, "failed": 5, "cancelled": 0},
            "duration_seconds": 20.0, "origin_queries": 25, "origin_rows": 12_000, "cache_bytes": 39_700_000,
            "keys_per_second": 617.3,
            "create_time": "2026-11-23T21:00:00.000Z", "start_time": "2026-11-23T21:00:02.500Z", "end_time": null,
            "holds": [{"holder": "operator", "reason": "lunch"}],
            "troubles": [{"worker": "w1-5f", "what": "cache main: connection refused"}],
            "slowed": ["origin/shop at 140/s of 200/s: guard latency slows: p99 812 ms over 10 s, above 200 ms"],
            "warnings": [{"kind": "expiry", "what": "it takes about 2h"}],
            "sources": [{"entries": 100_000, "bad_lines": 2, "bad_line_examples": ["line 17: no key", "line 20: \u{1b}"], "log": null, "monitor": null}],
            "bad_lines": 2, "left_out": 0, "cut": 0, "forecast": null,
            "popularity": PopularityReport::new(&samples::popularity()),
        });
        assert_eq!(value(&samples::paused()), expected);
    }

    #[test]
    fn a_dry_run_tells_its_forecast() {
        let forecast = &value(&samples::dry_run())["forecast"];
        let expected = json!({
            "entries": 100_000, "origin_queries": 201, "duration_seconds": 10.05, "cache_bytes": 39_700_000,
            "loaders": [
                {"loader": "product", "origin": "shop", "entries": 99_900, "batch_keys": 500, "origin_queries": 200,
                 "sample_entries": 200, "sample_found": 190, "sample_bytes": 79_000, "cache_bytes": 39_460_500},
                {"loader": "price", "origin": "shop", "entries": 100, "batch_keys": 500, "origin_queries": 1,
                 "sample_entries": 100, "sample_found": 100, "sample_bytes": 4000, "cache_bytes": 4000},
            ],
        });
        assert_eq!(*forecast, expected);
        let mut unknown = samples::dry_run();
        unknown.forecast.as_mut().unwrap().duration = None;
        assert!(value(&unknown)["forecast"]["duration_seconds"].is_null());
    }
}
