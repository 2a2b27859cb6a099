//! Jobs for the tests of what is shown.

use std::time::{Duration, SystemTime};

use prost_types::Timestamp;
use stoke_proto::v1::{self, JobState};

/// 2026-11-23T21:00:00Z.
const CREATED: i64 = 1_795_467_600;

/// 20 seconds after the jobs were created.
pub fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_467_620)
}

pub fn at(seconds_after: i64, millis: i32) -> Option<Timestamp> {
    Some(Timestamp {
        seconds: CREATED + seconds_after,
        nanos: millis * 1_000_000,
    })
}

/// A job that stands still, with everything that a job may have.
pub fn paused() -> v1::Job {
    let batch = v1::BatchWork {
        cache: "main".into(),
        mode: v1::WriteMode::Refresh.into(),
        ..v1::BatchWork::default()
    };
    let label = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let spec = v1::JobSpec {
        labels: [("team", "web"), ("app", "shop")].map(label).into(),
        trigger: "deploy".into(),
        requester: "ada".into(),
        priority: 7,
        work: Some(v1::job_spec::Work::Batch(batch)),
        ..v1::JobSpec::default()
    };
    v1::Job {
        name: "1795467600000-abc".into(),
        spec: Some(spec),
        state: JobState::Paused.into(),
        reason: String::new(),
        holds: vec![v1::Hold {
            holder: "operator".into(),
            reason: "lunch".into(),
        }],
        progress: Some(progress(12_000, 87_655)),
        popularity: Some(popularity()),
        create_time: at(0, 0),
        start_time: at(2, 500),
        end_time: None,
        sources: vec![v1::SourceReport {
            entries: 100_000,
            bad_lines: 2,
            bad_line_examples: vec!["line 17: no key".into(), "line 20: \u{1b}".into()],
            rows_estimated: 0,
            log: None,
            monitor: None,
        }],
        forecast: None,
        troubles: vec![v1::Trouble {
            worker: "w1-5f".into(),
            what: "cache main: connection refused".into(),
        }],
        left_out: 0,
        cut: 0,
        warnings: vec![v1::Warning {
            kind: "expiry".into(),
            what: "it takes about 2h".into(),
        }],
        slowed: vec![
            "origin/shop at 140/s of 200/s: guard latency slows: p99 812 ms over 10 s, above 200 ms"
                .into(),
        ],
    }
}

/// How far a job of 100,000 keys has come: so many were warmed, and so many are left.
pub fn progress(warmed: u64, pending: u64) -> v1::Progress {
    v1::Progress {
        planned: 100_000,
        outcomes: Some(v1::Outcomes {
            warmed,
            present: 300,
            absent: 40,
            skipped: 0,
            failed: 5,
            cancelled: 0,
        }),
        pending,
        coverage: 0.936,
        effort: Some(v1::Effort {
            origin_queries: 25,
            origin_rows: 12_000,
            cache_bytes: 39_700_000,
        }),
        ..v1::Progress::default()
    }
}

/// The same in another state, with nothing in its way.
pub fn in_state(state: JobState, warmed: u64) -> v1::Job {
    v1::Job {
        state: state.into(),
        holds: Vec::new(),
        troubles: Vec::new(),
        left_out: 0,
        slowed: Vec::new(),
        warnings: Vec::new(),
        progress: Some(progress(warmed, 99_655 - warmed)),
        ..paused()
    }
}

/// A dry run that has succeeded.
pub fn dry_run() -> v1::Job {
    let loader = |loader: &str, entries, found, bytes| v1::LoaderForecast {
        loader: loader.into(),
        origin: "shop".into(),
        entries,
        batch_keys: 500,
        origin_queries: u64::div_ceil(entries, 500),
        sample_entries: u64::min(entries, 200),
        sample_found: found,
        sample_bytes: bytes,
    };
    let mut job = in_state(JobState::Succeeded, 0);
    if let Some(spec) = &mut job.spec {
        spec.dry_run = true;
    }
    job.progress = Some(v1::Progress {
        planned: 100_000,
        outcomes: Some(v1::Outcomes {
            skipped: 100_000,
            ..v1::Outcomes::default()
        }),
        ..v1::Progress::default()
    });
    job.end_time = at(5, 0);
    job.forecast = Some(v1::Forecast {
        loaders: vec![
            loader("product", 99_900, 190, 79_000),
            loader("price", 100, 100, 4000),
        ],
        origin_queries: 201,
        duration: Some(prost_types::Duration {
            seconds: 10,
            nanos: 50_000_000,
        }),
        cache_bytes: 39_700_000,
    });
    job
}

/// What is to be expected of 100,000 keys.
pub fn popularity() -> v1::Popularity {
    let top = |(top, entries, hit_rate, seconds): (f64, u64, f64, i64)| v1::TopShare {
        top,
        entries,
        hit_rate,
        origin_queries: entries.div_ceil(500),
        duration: (seconds > 0).then_some(prost_types::Duration { seconds, nanos: 0 }),
        expected_hit_rate: None,
    };
    v1::Popularity {
        drift: None,
        zipf_exponent: Some(0.984),
        zipf_distance: Some(0.012),
        tops: [
            (0.001, 100, 0.42, 1),
            (0.01, 1000, 0.61, 2),
            (0.05, 5000, 0.7, 0),
            (0.1, 10_000, 0.8, 0),
            (1.0, 100_000, 1.0, 200),
        ]
        .map(top)
        .into(),
    }
}
