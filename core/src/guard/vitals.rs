//! What is told of a resource's health, as it came in.
//!
//! Whoever tells it cannot make it grow: windows, probes and workers are bounded, and numbers are cut to what can be added
//! up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::names::{GuardName, WorkerName};
use crate::units::Moment;

/// The longest time that a guard may look back.
pub const WINDOW_MAX: Duration = Duration::from_secs(60);

/// How many windows of a worker are kept: one a second, and a few more than a guard may look back.
const WINDOWS_MAX: usize = 64;
/// How many different latencies a window may have: more than a histogram of two digits has buckets, and than a second has room for.
const LATENCIES_MAX: usize = 4096;
/// The largest count that is believed: so many can be added up for all windows of all workers.
const COUNT_MAX: u64 = 1_000_000_000;
/// How many workers are kept.
const WORKERS_MAX: usize = 10_000;
/// For how long a worker that is not heard of is kept.
const KEPT: Duration = Duration::from_secs(300);
/// The longest error of a probe, in characters.
const ERROR_CHARS_MAX: usize = 200;

/// One second of a worker's queries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// Grows with each window of this worker and resource: one that is told again counts once.
    pub number: u64,
    /// How long the queries took that were answered: microseconds, and how many.
    pub latencies: Vec<(u64, u64)>,
    /// How many were answered by an error that speaks of the resource's health.
    pub errors: u64,
    /// How many have not been answered yet, and are on their way for longer than all of the above.
    pub overdue: u64,
    /// How long the oldest of those has been on its way, in microseconds.
    pub oldest_micros: u64,
}

/// What came of a probe or a query: a number, or why there is none.
pub type Outcome = Result<f64, String>;

/// What a probe last gave.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeReading {
    /// The probe's name.
    pub name: String,
    /// Grows with each reading of this worker.
    pub number: u64,
    /// What it gave.
    pub outcome: Outcome,
}

/// What a worker tells of a resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The last few windows, the oldest first.
    pub windows: Vec<Window>,
    /// What the probes gave last, where it keeps the vigil.
    pub probes: Vec<ProbeReading>,
    /// How much of its share it uses by its own decision, in thousandths.
    pub brake_permille: u32,
}

/// What has been told of one resource's health.
#[derive(Clone, Debug, Default)]
pub struct Vitals {
    workers: BTreeMap<WorkerName, OfWorker>,
    /// The probes that guards look at: others are not kept.
    probes: BTreeSet<String>,
    answers: BTreeMap<GuardName, Told>,
}

/// An outcome, and when it came.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) received: Moment,
    pub(super) outcome: Outcome,
}

#[derive(Clone, Debug)]
struct OfWorker {
    heard: Moment,
    windows: VecDeque<(Moment, Window)>,
    /// Those of the last windows, be they kept or too old: a worker without queries tells of its last ones for long.
    numbers: VecDeque<u64>,
    probes: BTreeMap<String, (u64, Told)>,
    brake_permille: u32,
}

impl Vitals {
    /// None yet, of a resource whose guards look at these probes.
    #[must_use]
    pub fn new(probes: BTreeSet<String>) -> Self {
        Self {
            probes,
            ..Self::default()
        }
    }

    /// Takes what a worker tells.
    pub fn report(&mut self, now: Moment, worker: &WorkerName, report: Report) {
        self.workers
            .retain(|_, worker| now.since(worker.heard) <= KEPT);
        if !self.workers.contains_key(worker) && self.workers.len() >= WORKERS_MAX {
            return;
        }
        let new = || OfWorker::new(now);
        let of_worker = self.workers.entry(worker.clone()).or_insert_with(new);
        of_worker.heard = now;
        of_worker.brake_permille = report.brake_permille.min(1000);
        of_worker.take_windows(now, report.windows);
        for probe in report.probes {
            if self.probes.contains(&probe.name) {
                of_worker.take_probe(now, probe);
            }
        }
    }

    /// Takes what Prometheus answered to a guard's query.
    pub fn answer(&mut self, now: Moment, guard: &GuardName, outcome: Outcome) {
        let told = Told::new(now, outcome);
        self.answers.insert(guard.clone(), told);
    }

    /// When a worker last reported.
    #[must_use]
    pub fn heard(&self, worker: &WorkerName) -> Option<Moment> {
        self.workers.get(worker).map(|worker| worker.heard)
    }

    /// How much of its share a worker uses by its own decision, in thousandths.
    #[must_use]
    pub fn brake_permille(&self, worker: &WorkerName) -> Option<u32> {
        self.workers.get(worker).map(|worker| worker.brake_permille)
    }

    /// All windows of each worker that came at `since` or later, the oldest first.
    pub(super) fn windows(
        &self,
        since: Moment,
    ) -> impl Iterator<Item = impl DoubleEndedIterator<Item = &Window>> {
        self.workers.values().map(move |worker| {
            let recent = worker
                .windows
                .iter()
                .filter(move |(came, _)| *came >= since);
            recent.map(|(_, window)| window)
        })
    }

    /// What a probe gave last, whoever ran it.
    pub(super) fn probe(&self, name: &str) -> Option<&Told> {
        let of_each = self.workers.values();
        let told = of_each.filter_map(|worker| worker.probes.get(name).map(|(_, told)| told));
        told.max_by_key(|told| told.received)
    }

    /// What Prometheus answered last to a guard's query.
    pub(super) fn answer_to(&self, guard: &GuardName) -> Option<&Told> {
        self.answers.get(guard)
    }
}

impl Told {
    fn new(received: Moment, outcome: Outcome) -> Self {
        let outcome = match outcome {
            Ok(value) if !value.is_finite() => Err("it is no number".to_owned()),
            Ok(value) => Ok(value),
            Err(error) => Err(error.chars().take(ERROR_CHARS_MAX).collect()),
        };
        Self { received, outcome }
    }
}

impl OfWorker {
    fn new(now: Moment) -> Self {
        Self {
            heard: now,
            windows: VecDeque::new(),
            numbers: VecDeque::new(),
            probes: BTreeMap::new(),
            brake_permille: 1000,
        }
    }

    fn take_windows(&mut self, now: Moment, windows: Vec<Window>) {
        let excess = windows.len().saturating_sub(WINDOWS_MAX);
        let told: Vec<Window> = windows.into_iter().skip(excess).collect();
        let count = told.len() as u64;
        for (window, older) in told.into_iter().zip((0..count).rev()) {
            if self.numbers.contains(&window.number) {
                continue;
            }
            self.numbers.push_back(window.number);
            // Each lasted a second, so those before the last are as much older at least.
            let came = Moment::from_nanos(now.as_nanos().saturating_sub(older * 1_000_000_000));
            self.windows.push_back((came, window.bounded()));
        }
        let excess = self.numbers.len().saturating_sub(WINDOWS_MAX);
        self.numbers.drain(..excess);
        let excess = self.windows.len().saturating_sub(WINDOWS_MAX);
        self.windows.drain(..excess);
        self.windows
            .retain(|(came, _)| now.since(*came) <= WINDOW_MAX);
    }

    fn take_probe(&mut self, now: Moment, probe: ProbeReading) {
        let known = self.probes.get(&probe.name);
        if known.is_some_and(|(number, _)| *number == probe.number) {
            return;
        }
        let told = Told::new(now, probe.outcome);
        self.probes.insert(probe.name, (probe.number, told));
    }
}

impl Window {
    /// With no more latencies and no larger numbers than can be kept and added up. What is too much counts as slow as the
    /// slowest of it.
    fn bounded(mut self) -> Self {
        if self.latencies.len() > LATENCIES_MAX {
            let excess = self.latencies.split_off(LATENCIES_MAX - 1);
            let slowest = excess.iter().map(|(micros, _)| *micros).max();
            let count = excess
                .iter()
                .fold(0, |sum: u64, (_, count)| sum.saturating_add(*count));
            self.latencies.push((slowest.unwrap_or(0), count));
        }
        for (_, count) in &mut self.latencies {
            *count = (*count).min(COUNT_MAX);
        }
        self.latencies.shrink_to_fit();
        self.errors = self.errors.min(COUNT_MAX);
        self.overdue = self.overdue.min(COUNT_MAX);
        self
    }
}
