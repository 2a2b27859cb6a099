//! What a signal says at a moment, and how people are told.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::vitals::{Told, Vitals};
use super::{GuardSpec, Signal, Threshold, Verdict};
use crate::names::WorkerName;
use crate::units::Moment;

/// The longest latency that is told apart from longer ones.
const LATENCY_MAX_MICROS: u64 = 3_600_000_000;
/// Significant digits of a latency.
const DIGITS: u8 = 3;

/// What a signal says.
#[derive(Clone, Debug, PartialEq)]
pub enum Reading {
    /// A number: seconds of a latency, a part from 0 to 1 of errors, else whatever the probe counts.
    Value(f64),
    /// Nobody asks the resource.
    NoDemand,
    /// There has been no time for news yet.
    Waiting,
    /// There should be news and are none, or only an error.
    Missing(String),
}

/// Which data counts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scope<'a> {
    pub(super) now: Moment,
    /// What came before does not count.
    pub(super) fresh: Moment,
    /// From when on there should have been news.
    pub(super) awaited: Moment,
    /// The workers that use the resource, and since when.
    pub(super) expected: &'a BTreeMap<WorkerName, Moment>,
}

/// What a guard's signal says.
pub(super) fn read(spec: &GuardSpec, vitals: &Vitals, scope: Scope<'_>) -> Reading {
    match &spec.signal {
        Signal::Latency { permille, window } => {
            let latency = latency(vitals, scope.since(*window), *permille);
            of_queries(latency, spec, vitals, scope)
        }
        Signal::Errors { window } => {
            let errors = errors(vitals, scope.since(*window));
            of_queries(errors, spec, vitals, scope)
        }
        Signal::Probe { name } => of_told(vitals.probe(name), spec, scope),
        Signal::Prometheus => of_told(vitals.answer_to(&spec.name), spec, scope),
    }
}

impl Scope<'_> {
    /// The moment from which on data counts.
    fn since(&self, window: Duration) -> Moment {
        let window = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        Moment::from_nanos(self.now.as_nanos().saturating_sub(window)).max(self.fresh)
    }
}

/// Of whoever uses the resource there should be news, be it that there were no queries.
fn of_queries(value: Option<f64>, spec: &GuardSpec, vitals: &Vitals, scope: Scope<'_>) -> Reading {
    let is_silent = |(worker, since): (&WorkerName, &Moment)| {
        let heard = vitals.heard(worker).unwrap_or(*since);
        let last = heard.max(*since).max(scope.awaited);
        scope.now.since(last) > spec.stale_after
    };
    let silent = scope.expected.iter().filter(|each| is_silent(*each));
    let mut silent = silent.map(|(worker, _)| worker);
    if let Some(worker) = silent.next() {
        let more = match silent.count() {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let time = time(spec.stale_after.as_secs_f64());
        return Reading::Missing(format!("no report of worker {worker}{more} for {time}"));
    }
    value.map_or(Reading::NoDemand, Reading::Value)
}

fn of_told(told: Option<&Told>, spec: &GuardSpec, scope: Scope<'_>) -> Reading {
    let last = told.map(|told| told.received).unwrap_or_default();
    if scope.now.since(last.max(scope.awaited)) > spec.stale_after {
        let time = time(spec.stale_after.as_secs_f64());
        return Reading::Missing(format!("no reading for {time}"));
    }
    match told {
        Some(told) if told.received >= scope.fresh => match &told.outcome {
            Ok(value) => Reading::Value(*value),
            Err(error) => Reading::Missing(error.clone()),
        },
        _ => Reading::Waiting,
    }
}

/// A percentile of all queries that were answered, in seconds. Those that are overdue, as each worker last told, count as
/// so slow, else a database that answers nothing would not be seen.
#[expect(clippy::cast_precision_loss, reason = "less than 2^52 microseconds")]
pub(super) fn latency(vitals: &Vitals, since: Moment, permille: u32) -> Option<f64> {
    let mut all = Histogram::<u64>::new_with_max(LATENCY_MAX_MICROS, DIGITS).ok()?;
    let mut record = |micros: u64, count: u64| {
        all.saturating_record_n(micros.clamp(1, LATENCY_MAX_MICROS), count);
    };
    for windows in vitals.windows(since) {
        let mut last = None;
        for window in windows {
            for (micros, count) in &window.latencies {
                record(*micros, *count);
            }
            last = Some((window.oldest_micros, window.overdue));
        }
        if let Some((micros, count)) = last {
            record(micros, count);
        }
    }
    let micros = all.value_at_quantile(f64::from(permille.min(1000)) / 1000.0);
    (!all.is_empty()).then(|| micros as f64 / 1e6)
}

/// The part of all queries that were answered which failed for the resource's sake.
#[expect(clippy::cast_precision_loss, reason = "a part of a whole")]
fn errors(vitals: &Vitals, since: Moment) -> Option<f64> {
    let (mut errors, mut answered) = (0u64, 0u64);
    for window in vitals.windows(since).flatten() {
        errors = errors.saturating_add(window.errors);
        for (_, count) in &window.latencies {
            answered = answered.saturating_add(*count);
        }
    }
    // What could not even be sent has no latency.
    let all = answered.max(errors);
    (all > 0).then(|| errors as f64 / all as f64)
}

impl Reading {
    /// How it stands to a threshold.
    #[must_use]
    pub fn judged(&self, threshold: Threshold) -> Verdict {
        match self {
            Self::Value(value) => threshold.judge(*value),
            Self::NoDemand | Self::Waiting => Verdict::Neutral,
            Self::Missing(_) => Verdict::Bad,
        }
    }
}

impl GuardSpec {
    /// A reading as people are told, beside the threshold where it is bad: `p99 812 ms over 10 s, above 200 ms`.
    #[must_use]
    pub fn told(&self, reading: &Reading) -> String {
        let (what, over) = self.signal.words();
        match reading {
            Reading::Value(value) => {
                let value = self.signal.shown(*value);
                let beyond = match reading.judged(self.threshold) {
                    Verdict::Bad => format!(", {}", self.bound()),
                    _ => String::new(),
                };
                format!("{what} {value}{over}{beyond}")
            }
            Reading::NoDemand if over.is_empty() => format!("{what}: not in use"),
            Reading::NoDemand => format!("{what}: no queries{over}"),
            Reading::Waiting => format!("{what}: no reading yet"),
            Reading::Missing(why) => format!("{what}: {why}"),
        }
    }

    /// When it is bad: `above 200 ms`.
    #[must_use]
    pub fn bound(&self) -> String {
        let shown = self.signal.shown(self.threshold.trigger());
        match self.threshold {
            Threshold::Above { .. } => format!("above {shown}"),
            Threshold::Below { .. } => format!("below {shown}"),
        }
    }
}

impl Signal {
    /// What it is, and over how long: `p99`, ` over 10 s`.
    fn words(&self) -> (String, String) {
        let over = |window: &Duration| format!(" over {}", time(window.as_secs_f64()));
        match self {
            Self::Latency { permille, window } => (
                format!("p{}", number(f64::from(*permille) / 10.0)),
                over(window),
            ),
            Self::Errors { window } => ("errors".to_owned(), over(window)),
            Self::Probe { name } => (format!("probe {name}"), String::new()),
            Self::Prometheus => ("prometheus".to_owned(), String::new()),
        }
    }

    /// A value with its unit.
    #[must_use]
    pub fn shown(&self, value: f64) -> String {
        match self {
            Self::Latency { .. } => time(value),
            Self::Errors { .. } => format!("{} %", number(value * 100.0)),
            Self::Probe { .. } | Self::Prometheus => number(value),
        }
    }
}

/// Seconds as people read them.
fn time(seconds: f64) -> String {
    if seconds < 1.0 {
        format!("{} ms", number(seconds * 1000.0))
    } else {
        format!("{} s", number(seconds))
    }
}

/// A number with no more digits than anybody reads.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        large if large >= 100.0 => 0,
        medium if medium >= 1.0 => 2,
        _ => 4,
    };
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}
