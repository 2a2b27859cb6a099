//! What is printed in the end.

use serde::Serialize;
use stoke_proto::v1::{self, JobState};

use crate::exit::Exit;

/// One JSON object. Its fields are kept as they are from version to version; new ones may come.
#[derive(Debug, Serialize)]
struct Report<'a> {
    job: &'a str,
    state: &'a str,
    planned: u64,
    outcomes: Outcomes,
    pending: u64,
    coverage: f64,
    duration_seconds: f64,
    origin_queries: u64,
    origin_rows: u64,
    cache_bytes: u64,
    keys_per_second: f64,
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

fn state(job: &v1::Job) -> &'static str {
    job.state().as_str_name().trim_start_matches("JOB_STATE_")
}

#[expect(clippy::cast_precision_loss, reason = "a rate for display")]
fn report(job: &v1::Job, seconds: f64) -> Report<'_> {
    let progress = job.progress.unwrap_or_default();
    let outcomes = progress.outcomes.unwrap_or_default();
    let effort = progress.effort.unwrap_or_default();
    let done =
        outcomes.warmed + outcomes.present + outcomes.absent + outcomes.skipped + outcomes.failed;
    Report {
        job: &job.name,
        state: state(job),
        planned: progress.planned,
        outcomes: Outcomes {
            warmed: outcomes.warmed,
            present: outcomes.present,
            absent: outcomes.absent,
            skipped: outcomes.skipped,
            failed: outcomes.failed,
            cancelled: outcomes.cancelled,
        },
        pending: progress.pending,
        coverage: progress.coverage,
        duration_seconds: (seconds * 1000.0).round() / 1000.0,
        origin_queries: effort.origin_queries,
        origin_rows: effort.origin_rows,
        cache_bytes: effort.cache_bytes,
        keys_per_second: if seconds > 0.0 {
            (done as f64 / seconds * 10.0).round() / 10.0
        } else {
            0.0
        },
    }
}

/// For scripts.
pub fn json(job: &v1::Job, seconds: f64) -> String {
    serde_json::to_string(&report(job, seconds))
        .unwrap_or_else(|_| unreachable!("numbers and names are JSON"))
}

/// For people.
pub fn text(job: &v1::Job, seconds: f64) -> String {
    let report = report(job, seconds);
    let o = &report.outcomes;
    let reason = if job.reason.is_empty() {
        String::new()
    } else {
        format!(": {}", job.reason)
    };
    format!(
        "{state}{reason}\n\
         {planned} keys = {warmed} warmed + {present} present + {absent} absent + {skipped} skipped + {failed} failed + {cancelled} cancelled\n\
         {coverage:.1} % of the expected requests are covered\n\
         {seconds:.1} s, {rate:.0} keys a second, {queries} queries, {rows} rows, {bytes} bytes written\n",
        state = report.state,
        planned = report.planned,
        warmed = o.warmed,
        present = o.present,
        absent = o.absent,
        skipped = o.skipped,
        failed = o.failed,
        cancelled = o.cancelled,
        coverage = report.coverage * 100.0,
        rate = report.keys_per_second,
        queries = report.origin_queries,
        rows = report.origin_rows,
        bytes = report.cache_bytes,
    )
}

/// A job in one line, for lists.
pub fn line(job: &v1::Job) -> String {
    let progress = job.progress.unwrap_or_default();
    let done = progress.planned.saturating_sub(progress.pending);
    let coverage = progress.coverage * 100.0;
    format!(
        "{}  {:9}  {done}/{} keys, coverage {coverage:.1} %",
        job.name,
        state(job),
        progress.planned
    )
}

/// How long a job has run: from its creation to its end, or until now.
#[expect(clippy::cast_precision_loss, reason = "seconds for display")]
pub fn seconds(job: &v1::Job) -> f64 {
    let seconds = |time: prost_types::Timestamp| time.seconds as f64 + f64::from(time.nanos) / 1e9;
    let now = || std::time::SystemTime::now().into();
    let end = seconds(job.end_time.unwrap_or_else(now));
    job.create_time
        .map_or(0.0, |start| (end - seconds(start)).max(0.0))
}

/// With which code it ends.
pub fn exit(job: &v1::Job) -> Exit {
    match job.state() {
        JobState::Succeeded => Exit::Succeeded,
        JobState::Aborted => Exit::Aborted,
        _ => {
            eprintln!("stoke: {}", job.reason);
            Exit::FailedEntries
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_object_has_the_promised_fields_and_no_others() {
        let value: serde_json::Value =
            serde_json::from_str(&json(&v1::Job::default(), 1.0)).unwrap();
        let fields: Vec<&String> = value.as_object().unwrap().keys().collect();
        let promised = [
            "cache_bytes",
            "coverage",
            "duration_seconds",
            "job",
            "keys_per_second",
            "origin_queries",
            "origin_rows",
            "outcomes",
            "pending",
            "planned",
            "state",
        ];
        assert_eq!(fields, promised);
        let outcomes: Vec<&String> = value["outcomes"].as_object().unwrap().keys().collect();
        assert_eq!(
            outcomes,
            [
                "absent",
                "cancelled",
                "failed",
                "present",
                "skipped",
                "warmed"
            ]
        );
    }
}
