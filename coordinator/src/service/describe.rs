//! From records to what callers see.

mod budget;

pub(super) use budget::budget;

mod log;
mod popularity;

use std::collections::BTreeMap;

use stoke_core::estimate::Drift;
use stoke_core::expiry;
use stoke_core::job::{
    Batch, FileFormat, Fit, From, Merge, Mode, OnBadLine, Phase, Section, Spec, State, Weight,
    Which, Work,
};
use stoke_core::ledger::Share;
use stoke_core::names::{JobName, OriginName, Resource, WorkerName};
use stoke_core::records;
use stoke_core::slot::Slot;
use stoke_proto::v1;

use crate::Shared;
use crate::view::JobView;
use crate::warnings;
use crate::wire::{self, copy_loader, redis_key_source, value_spec};

/// A job.
pub(super) fn job(job: &JobView, shared: &Shared) -> v1::Job {
    let record = &job.record.value;
    let life = &job.life.value;
    v1::Job {
        name: job.name.to_string(),
        spec: Some(spec(&record.spec)),
        state: state(life.state()).into(),
        reason: reason(job),
        holds: life
            .holds
            .iter()
            .map(|h| v1::Hold {
                holder: h.holder.clone(),
                reason: h.reason.clone(),
            })
            .collect(),
        progress: Some(progress(job)),
        create_time: Some(time(record.created_ms)),
        start_time: record.started_ms.map(time),
        end_time: record.ended_ms.map(time),
        sources: record.sources.iter().map(source_report).collect(),
        forecast: forecast(job),
        troubles: troubles(job, shared),
        slowed: budget::slowed(job, shared),
        left_out: record.plan.as_ref().map_or(0, |plan| plan.left_out),
        cut: job.cut(),
        popularity: popularity::popularity(job),
        warnings: warnings::of(job, crate::wall_ms())
            .into_iter()
            .map(|warning| v1::Warning {
                kind: warning.kind.into(),
                what: warning.what,
            })
            .collect(),
    }
}

/// What keeps workers from going on with a job that is not over.
fn troubles(job: &JobView, shared: &Shared) -> Vec<v1::Trouble> {
    if job.life.value.phase.is_over() {
        return Vec::new();
    }
    let told = shared
        .troubles
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let of = |(worker, troubles): (&WorkerName, &BTreeMap<JobName, String>)| {
        Some(v1::Trouble {
            worker: worker.to_string(),
            what: troubles.get(&job.name)?.clone(),
        })
    };
    told.iter().filter_map(of).collect()
}

/// What a real job would do: of a dry run that has succeeded.
fn forecast(job: &JobView) -> Option<v1::Forecast> {
    let record = &job.record.value;
    if !record.spec.dry_run || job.life.value.phase != Phase::Succeeded {
        return None;
    }
    let Work::Batch(batch) = &record.spec.work;
    let entries = &record.plan.as_ref()?.entries_by_loader;
    let mut queries: BTreeMap<OriginName, u64> = BTreeMap::new();
    let loaders: Vec<v1::LoaderForecast> = record
        .samples
        .iter()
        .filter_map(|sample| {
            let n = usize::try_from(sample.loader).ok()?;
            let name = &batch.loaders.get(n)?.name;
            let entries = entries.get(n).copied().filter(|entries| *entries > 0)?;
            let terms = records::LoaderTerms {
                origin: Some(sample.origin.clone()),
                batch_keys: Some(sample.batch_keys),
                ..record.terms.get(n).cloned().unwrap_or_default()
            };
            for (origin, of_origin) in terms.queries(entries) {
                *queries.entry(origin.clone()).or_default() += of_origin;
            }
            Some(loader_forecast(name.to_string(), sample, &terms, entries))
        })
        .collect();
    let bytes = loaders.iter().map(|loader| {
        let (bytes, entries) = (u128::from(loader.sample_bytes), u128::from(loader.entries));
        // One without a sample is not known: its keys are all behind the first band.
        u64::try_from(bytes * entries / u128::from(loader.sample_entries.max(1)))
            .unwrap_or(u64::MAX)
    });
    Some(v1::Forecast {
        origin_queries: queries.values().sum(),
        cache_bytes: bytes.fold(0, u64::saturating_add),
        duration: duration(job, queries),
        loaders,
    })
}

fn loader_forecast(
    loader: String,
    sample: &records::LoaderSample,
    terms: &records::LoaderTerms,
    entries: u64,
) -> v1::LoaderForecast {
    v1::LoaderForecast {
        loader,
        origin: sample.origin.to_string(),
        entries: terms.keys(entries),
        batch_keys: sample.batch_keys,
        origin_queries: terms.queries(entries).map(|(_, queries)| queries).sum(),
        sample_entries: sample.entries,
        sample_found: sample.found,
        sample_bytes: sample.bytes,
    }
}

/// How long the slowest origin takes at the target of its present budget; `None` where one has none, or one of zero.
fn duration(job: &JobView, queries: BTreeMap<OriginName, u64>) -> Option<prost_types::Duration> {
    let mut longest = std::time::Duration::ZERO;
    for (origin, queries) in queries {
        let target = job.targets.get(&Resource::Origin(origin))?;
        longest = longest.max(expiry::at_rate(queries, target.rate_milli)?);
    }
    prost_types::Duration::try_from(longest).ok()
}

fn source_report(report: &records::SourceReport) -> v1::SourceReport {
    v1::SourceReport {
        entries: report.entries,
        bad_lines: report.bad_lines,
        bad_line_examples: report.bad_line_examples.clone(),
        log: report.log.as_ref().map(|log| v1::LogReport {
            lines: log.lines,
            filtered: log.filtered,
            unmatched: log.unmatched,
            unmatched_example: log.unmatched_example.clone(),
            drift: (log.drift.as_ref()).map(|known| wire::drift_message(&Drift::from(known))),
        }),
        rows_estimated: report.rows_estimated,
        monitor: report.monitor.as_ref().map(monitor_report),
    }
}

fn monitor_report(seen: &records::MonitorReport) -> v1::MonitorReport {
    v1::MonitorReport {
        nodes: seen.nodes,
        masters: seen.masters,
        lines: seen.lines,
        bytes: seen.bytes,
        accesses: seen.accesses,
        cpu_before_permille: seen.cpu_before_permille,
        cpu_permille_max: seen.cpu_permille_max,
        buffer_bytes_max: seen.buffer_bytes_max,
        stopped: seen.stopped.clone(),
    }
}

/// What there is to say about a job's state; of an abort, whom it waits for, and until when at most.
fn reason(job: &JobView) -> String {
    let life = &job.life.value;
    if let Some((worker, why)) = job.unread.first_key_value() {
        return format!("stands as it is: the checkpoint of worker {worker} cannot be read: {why}");
    }
    if life.phase != Phase::Aborting {
        return life.reason.clone();
    }
    let owners = job
        .owners
        .iter()
        .filter(|(_, owner)| !owner.has_stopped())
        .map(|(worker, _)| worker.as_str());
    let readers = job.reads.values().map(|task| task.value.worker.as_str());
    let awaited: Vec<&str> = owners.chain(readers).collect();
    if awaited.is_empty() {
        return life.reason.clone();
    }
    let given = if life.reason.is_empty() {
        String::new()
    } else {
        format!("{}; ", life.reason)
    };
    // To the second, rounded up.
    let until = |ms: u64| format!(", until {} at most", time(ms.div_ceil(1000) * 1000));
    let until = life.over_by_ms.map(until).unwrap_or_default();
    format!("{given}waiting for {}{until}", awaited.join(", "))
}

pub(super) fn progress(job: &JobView) -> v1::Progress {
    let tally = job.tally();
    let effort = job.effort();
    let plan_milli = job
        .record
        .value
        .plan
        .as_ref()
        .map_or(0, |plan| plan.priority_milli);
    v1::Progress {
        planned: job.planned(),
        outcomes: Some(v1::Outcomes {
            warmed: tally.warmed,
            present: tally.present,
            absent: tally.absent,
            skipped: tally.skipped,
            failed: tally.failed,
            cancelled: tally.cancelled,
        }),
        pending: job.planned().saturating_sub(tally.settled()),
        // Before there is a plan, nothing of it is covered.
        coverage: if job.record.value.plan.is_some() {
            tally.coverage(plan_milli)
        } else {
            0.0
        },
        effort: Some(v1::Effort {
            origin_queries: effort.origin_queries,
            origin_rows: effort.origin_rows,
            cache_bytes: effort.cache_bytes,
        }),
        ranges: job.ranges(),
        ranges_read: tally.ranges,
        rows_estimated: job.rows_estimated(),
    }
}

pub(super) fn state(state: State) -> v1::JobState {
    match state {
        State::Paused => v1::JobState::Paused,
        State::In(Phase::Pending) => v1::JobState::Pending,
        State::In(Phase::Planning) => v1::JobState::Planning,
        State::In(Phase::Running) => v1::JobState::Running,
        State::In(Phase::Aborting) => v1::JobState::Aborting,
        State::In(Phase::Succeeded) => v1::JobState::Succeeded,
        State::In(Phase::Failed) => v1::JobState::Failed,
        State::In(Phase::Aborted) => v1::JobState::Aborted,
    }
}

fn spec(spec: &Spec) -> v1::JobSpec {
    let Work::Batch(batch) = &spec.work;
    v1::JobSpec {
        labels: spec.labels.clone().into_iter().collect(),
        trigger: spec.trigger.clone(),
        requester: spec.requester.clone(),
        priority: spec.priority,
        dry_run: spec.dry_run,
        work: Some(v1::job_spec::Work::Batch(batch_work(batch))),
    }
}

fn batch_work(batch: &Batch) -> v1::BatchWork {
    let mode = match batch.mode {
        Mode::Add => v1::WriteMode::Add,
        Mode::Refresh => v1::WriteMode::Refresh,
        Mode::Overwrite => v1::WriteMode::Overwrite,
        Mode::Verify => v1::WriteMode::Verify,
        Mode::VerifyValues => v1::WriteMode::VerifyValues,
    };
    v1::BatchWork {
        sources: batch
            .sources
            .iter()
            .map(|source| key_source(source, batch))
            .collect(),
        loaders: batch.loaders.iter().map(loader).collect(),
        cache: batch.cache.to_string(),
        also: batch.also.iter().map(ToString::to_string).collect(),
        mode: mode.into(),
        allowed_failures: batch.allowed_failures,
        attempts_max: batch.attempts_max,
        fit: match batch.fit {
            Fit::Cut => v1::Fit::Cut,
            Fit::Warn => v1::Fit::Warn,
        }
        .into(),
        section: (!batch.section.is_whole()).then(|| section(&batch.section)),
    }
}

fn section(section: &Section) -> v1::CacheSection {
    let range = |range: std::ops::RangeInclusive<Slot>| v1::SlotRange {
        first: range.start().0.into(),
        last: range.end().0.into(),
    };
    v1::CacheSection {
        slots: section.slots.ranges().map(range).collect(),
        nodes: section.nodes.iter().cloned().collect(),
    }
}

fn key_source(source: &stoke_core::job::KeySource, batch: &Batch) -> v1::KeySource {
    let from = redis_key_source(&source.from).or_else(|| keys_from(&source.from, batch));
    let merge = match source.merge {
        Merge::Max => v1::Merge::Max,
        Merge::Sum => v1::Merge::Sum,
    };
    let on_bad_line = match source.on_bad_line {
        OnBadLine::Fail => v1::OnBadLine::Fail,
        OnBadLine::Skip => v1::OnBadLine::Skip,
    };
    let loader = usize::try_from(source.loader)
        .ok()
        .filter(|_| !says_itself(source))
        .and_then(|n| batch.loaders.get(n));
    v1::KeySource {
        loader: loader
            .map(|loader| loader.name.to_string())
            .unwrap_or_default(),
        from,
        merge: merge.into(),
        on_bad_line: on_bad_line.into(),
        weight: (source.weight != Weight::default()).then(|| source.weight.as_number()),
    }
}

/// Whether a source says by itself of which loaders its keys are: its entries, or its patterns.
fn says_itself(source: &stoke_core::job::KeySource) -> bool {
    match &source.from {
        From::Plan { .. } => true,
        From::Log(log) => !log.urls.is_empty(),
        _ => !source.several.is_empty(),
    }
}

fn format(format: Option<FileFormat>) -> i32 {
    let format = match format {
        None => v1::FileFormat::Unspecified,
        Some(FileFormat::Csv) => v1::FileFormat::Csv,
        Some(FileFormat::Ndjson) => v1::FileFormat::Ndjson,
        Some(FileFormat::Parquet) => v1::FileFormat::Parquet,
    };
    format.into()
}

/// What is read, of a source that reads no Redis.
fn keys_from(from: &From, batch: &Batch) -> Option<v1::key_source::From> {
    Some(match from {
        From::Named(name) => v1::key_source::From::Named(name.to_string()),
        From::Sql { origin, query } => v1::key_source::From::Sql(v1::SqlSource {
            origin: origin.to_string(),
            query: query.clone(),
        }),
        From::File { path, format } => v1::key_source::From::File(v1::FileSource {
            path: path.clone(),
            format: self::format(*format),
        }),
        From::Inline { content, format } => v1::key_source::From::Inline(v1::InlineSource {
            content: content.clone(),
            format: self::format(*format),
        }),
        From::Reported(reported) => v1::key_source::From::Reported(v1::ReportedSource {
            feed: reported.feed.to_string(),
            top: reported.top.unwrap_or(0),
            r#match: reported.pattern.to_string(),
        }),
        From::Log(log) => v1::key_source::From::Log(self::log::access_log(log, &batch.loaders)),
        From::Upload => v1::key_source::From::Upload(v1::UploadSource {}),
        From::Plan { job, which } => v1::key_source::From::Plan(v1::PlanSource {
            job: job.to_string(),
            which: Some(self::which(*which)),
        }),
        From::Scan => v1::key_source::From::Scan(v1::ScanSource {}),
        From::Prometheus(series) => v1::key_source::From::Prometheus(v1::PrometheusSource {
            origin: series.origin.to_string(),
            query: series.query.clone(),
            key_label: series.key_label.clone().unwrap_or_default(),
        }),
        From::Keyspace { .. } | From::Counter(_) | From::HotKeys(_) | From::Monitor(_) => {
            return None;
        }
    })
}

fn which(which: Which) -> v1::plan_source::Which {
    match which {
        Which::All => v1::plan_source::Which::All(v1::AllEntries {}),
        Which::Sample(most) => v1::plan_source::Which::Sample(most),
        Which::Failed => v1::plan_source::Which::Failed(v1::FailedEntries {}),
    }
}

fn loader(loader: &stoke_core::job::Loader) -> v1::Loader {
    let (copies, asks) = match &loader.recipe {
        Some(recipe) if recipe.value.copy.is_some() => (Some(recipe), None),
        asks => (None, asks.as_ref()),
    };
    let sql = asks.map(|recipe| v1::SqlLoader {
        origin: recipe.origin.to_string(),
        query: recipe.query.clone(),
        key_template: recipe.key_template.to_string(),
        key_column: match recipe.key_column.names() {
            [one] => one.clone(),
            _ => String::new(),
        },
        key_columns: match recipe.key_column.names() {
            [_] => Vec::new(),
            several => several.to_vec(),
        },
        ttl: prost_types::Duration::try_from(recipe.ttl).ok(),
        ttl_jitter_permille: recipe.ttl_jitter_permille,
        batch_keys: recipe.batch_keys.into(),
        value: value_spec(&recipe.value),
        scan: recipe.scan.as_ref().map(|scan| v1::Scan {
            by: scan.by.to_string(),
            rows: scan.rows,
        }),
    });
    v1::Loader {
        name: loader.name.to_string(),
        sql,
        copy: copies.and_then(copy_loader),
    }
}

pub(super) fn time(unix_ms: u64) -> prost_types::Timestamp {
    prost_types::Timestamp {
        seconds: i64::try_from(unix_ms / 1000).unwrap_or(i64::MAX),
        nanos: i32::try_from(unix_ms % 1000 * 1_000_000).unwrap_or(0),
    }
}

pub(super) fn allowance(share: Share) -> v1::Allowance {
    v1::Allowance {
        qps_milli: share.rate_milli,
        burst: share.burst,
        in_flight: share.in_flight,
        rows: (share.rows != Share::ANY_ROWS).then_some(share.rows),
    }
}
