//! A resource's guards together: how much of what operators ask they leave, whom they hold, whom they abort.
//!
//! Guards that slow share one ceiling, which sinks by a factor and rises by steps (AIMD: D.-M. Chiu, R. Jain, Analysis of the
//! Increase and Decrease Algorithms for Congestion Avoidance in Computer Networks, 1989). A changed share shows only
//! after about a term, so the ceiling sinks no faster, and what came before it showed is not judged again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::reading::{Reading, Scope};
use super::vitals::Vitals;
use super::watch::{Stage, Watch};
use super::{Action, GuardSpec, Signal, Verdict};
use crate::ledger::Share;
use crate::names::{GuardName, WorkerName};
use crate::records::Guards;
use crate::units::Moment;

/// What is left of the ceiling each time it sinks, in percent.
const KEEP_PERCENT: u64 = 70;
/// What of the rate that is asked for it rises by each time, in percent.
const RAISE_PERCENT: u64 = 5;

/// A resource's guards, as they are configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// The part of what is asked for, in thousandths, that guards which slow always leave: from 1 to 1000.
    pub floor_permille: u32,
    /// No name twice.
    pub guards: Vec<GuardSpec>,
}

/// What surrounds a resource.
#[derive(Clone, Copy, Debug)]
pub struct Around<'a> {
    /// The rate that operators ask for, in thousandths.
    pub asked_milli: u64,
    /// Whether any job under way uses the resource: only then is there health to look after.
    pub in_use: bool,
    /// The workers that may send queries to it, of whom there should be news.
    pub expected: &'a BTreeSet<WorkerName>,
}

/// Something that has changed, for the logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Whose doing it is; `None`: that of all guards that slow.
    pub guard: Option<GuardName>,
    /// What, and why.
    pub what: String,
    /// Whether anything is done differently from now on.
    pub acts: bool,
}

/// A guard as it stands.
#[derive(Clone, Debug)]
pub struct Shown<'a> {
    /// As it is configured.
    pub spec: &'a GuardSpec,
    /// How far it is.
    pub stage: Stage,
    /// What its signal said last.
    pub reading: &'a Reading,
    /// Why it acts; empty where it does not.
    pub reason: &'a str,
}

/// What workers brake by on their own.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// How long a single query may take.
    pub latency_max: Option<Duration>,
    /// The part of a second's queries that may fail, from 0 to 1.
    pub errors_max: Option<f64>,
}

/// Looks after one resource. A new leader's begins with what the last one recorded.
#[derive(Clone, Debug)]
pub struct Warden {
    floor_permille: u32,
    guards: Vec<Watch>,
    /// How long a changed share takes to show: a term.
    settle: Duration,
    /// Since when the resource is in use under this leader.
    used_since: Option<Moment>,
    expected: BTreeMap<WorkerName, Moment>,
    adaptive_milli: Option<u64>,
    lowered: Option<Moment>,
    moved: Option<Moment>,
}

impl Warden {
    /// One that goes on where a leader before stopped, if one did.
    #[must_use]
    pub fn new(policy: &Policy, settle: Duration, now: Moment, before: Option<&Guards>) -> Self {
        let mut guards: Vec<Watch> = policy.guards.iter().cloned().map(Watch::new).collect();
        for guard in &mut guards {
            let acted = before.and_then(|before| before.acting.get(&guard.spec.name));
            if let Some(reason) = acted {
                guard.restore(now, reason);
            }
        }
        let slows = guards.iter().any(Watch::slows);
        Self {
            floor_permille: policy.floor_permille,
            guards,
            settle,
            used_since: None,
            expected: BTreeMap::new(),
            adaptive_milli: before
                .filter(|_| slows)
                .and_then(|before| before.adaptive_milli),
            lowered: None,
            moved: Some(now),
        }
    }

    /// Looks at what is known at `now`.
    pub fn step(&mut self, now: Moment, vitals: &Vitals, around: Around<'_>) -> Vec<Said> {
        let before: Vec<Stage> = self.guards.iter().map(|guard| guard.stage).collect();
        if around.in_use {
            self.look(now, vitals, around.expected);
        } else {
            self.used_since = None;
            self.expected.clear();
            for guard in &mut self.guards {
                guard.rest(now);
            }
        }
        let mut said = self.transitions(&before);
        if around.in_use {
            said.extend(self.adapt(now, around.asked_milli));
        }
        said
    }

    fn look(&mut self, now: Moment, vitals: &Vitals, expected: &BTreeSet<WorkerName>) {
        self.expected.retain(|worker, _| expected.contains(worker));
        for worker in expected {
            self.expected.entry(worker.clone()).or_insert(now);
        }
        let used_since = *self.used_since.get_or_insert(now);
        let shows_from = self.lowered.map(|lowered| lowered + self.settle);
        for guard in &mut self.guards {
            let scope = Scope {
                now,
                fresh: shows_from.filter(|_| guard.slows()).unwrap_or_default(),
                awaited: used_since,
                expected: &self.expected,
            };
            guard.step(vitals, scope);
        }
    }

    /// Moves the ceiling.
    fn adapt(&mut self, now: Moment, asked_milli: u64) -> Option<Said> {
        let has_settled =
            |since: Option<Moment>| since.is_none_or(|since| now.since(since) >= self.settle);
        let present = self.rate_milli(asked_milli);
        let slowing: Vec<&Watch> = self.guards.iter().filter(|guard| guard.slows()).collect();
        let bad = slowing
            .iter()
            .find(|guard| guard.acts() && guard.verdict() == Verdict::Bad);
        let all_clear = slowing
            .iter()
            .all(|guard| guard.verdict() == Verdict::Clear);
        if let Some(guard) = bad {
            let lower = (present * KEEP_PERCENT / 100).max(self.floor_milli(asked_milli));
            if !has_settled(self.lowered) || lower >= present {
                return None;
            }
            let said = Said {
                guard: Some(guard.spec.name.clone()),
                what: format!(
                    "slows to {} of {}: {}",
                    rate(lower),
                    rate(asked_milli),
                    guard.spec.told(&guard.reading)
                ),
                acts: true,
            };
            self.adaptive_milli = Some(lower);
            (self.lowered, self.moved) = (Some(now), Some(now));
            return Some(said);
        }
        if self.adaptive_milli.is_none() || !all_clear || !has_settled(self.moved) {
            return None;
        }
        let step = (asked_milli * RAISE_PERCENT / 100).max(1);
        let higher = present.saturating_add(step);
        self.adaptive_milli = (higher < asked_milli).then_some(higher);
        self.moved = Some(now);
        Some(Said {
            guard: None,
            what: format!(
                "all guards that slow are clear: {} of {}",
                rate(higher.min(asked_milli)),
                rate(asked_milli)
            ),
            acts: true,
        })
    }

    fn transitions(&self, before: &[Stage]) -> Vec<Said> {
        let of = |(guard, before): (&Watch, &Stage)| {
            let told = guard.spec.told(&guard.reading);
            let action = guard.spec.action.name();
            let what = match (before, guard.stage) {
                (Stage::Acting { aborts: false, .. }, Stage::Acting { aborts: true, .. }) => {
                    format!("aborts: {told}")
                }
                (before, after) if before.name() == after.name() => return None,
                (Stage::Acting { .. }, _) => format!("ends: {told}"),
                (_, Stage::Acting { .. }) => format!("begins to {action}: {told}"),
                (_, Stage::Looking { .. }) => format!("looks once more: {told}"),
                (_, Stage::Bad { .. }) => format!("is bad: {told}"),
                (_, Stage::Calm) => format!("is bad no more: {told}"),
            };
            Some(Said {
                guard: Some(guard.spec.name.clone()),
                what,
                acts: matches!(before, Stage::Acting { .. }) || guard.acts(),
            })
        };
        self.guards.iter().zip(before).filter_map(of).collect()
    }

    /// What guards leave of what operators ask. Rows a second sink with queries; what is in flight stays, since workers
    /// without a place would have to give their partitions away.
    #[must_use]
    pub fn target(&self, asked: Share) -> Share {
        let rate_milli = self.rate_milli(asked.rate_milli);
        if rate_milli == asked.rate_milli {
            return asked;
        }
        let rows = if asked.rows == Share::ANY_ROWS {
            Share::ANY_ROWS
        } else {
            let part = u128::from(asked.rows) * u128::from(rate_milli);
            let rows = part / u128::from(asked.rate_milli.max(1));
            u64::try_from(rows)
                .unwrap_or(u64::MAX)
                .max(1)
                .min(asked.rows)
        };
        Share {
            rate_milli,
            rows,
            ..asked
        }
    }

    fn rate_milli(&self, asked_milli: u64) -> u64 {
        match self.adaptive_milli {
            Some(adaptive) => asked_milli.min(adaptive.max(self.floor_milli(asked_milli))),
            None => asked_milli,
        }
    }

    fn floor_milli(&self, asked_milli: u64) -> u64 {
        let floor = u128::from(asked_milli) * u128::from(self.floor_permille.min(1000)) / 1000;
        u64::try_from(floor)
            .unwrap_or(u64::MAX)
            .max(1)
            .min(asked_milli)
    }

    /// What the next leader shall go on from.
    #[must_use]
    pub fn record(&self) -> Guards {
        let acting = self.guards.iter().filter(|guard| guard.acts());
        Guards {
            adaptive_milli: self.adaptive_milli,
            acting: acting
                .map(|guard| (guard.spec.name.clone(), guard.reason.clone()))
                .collect(),
        }
    }

    /// The guards that hold all jobs that use the resource, with their reasons.
    pub fn holds(&self) -> impl Iterator<Item = (&GuardName, &str)> {
        let holding = self.guards.iter().filter(|guard| guard.holds());
        holding.map(|guard| (&guard.spec.name, guard.reason.as_str()))
    }

    /// Whether some of those look at queries, which nobody sends while all jobs are held.
    #[must_use]
    pub fn needs_canaries(&self) -> bool {
        let of_queries =
            |signal: &Signal| matches!(signal, Signal::Latency { .. } | Signal::Errors { .. });
        let mut guards = self.guards.iter();
        guards.any(|guard| guard.holds() && of_queries(&guard.spec.signal))
    }

    /// The guards that abort all jobs that use the resource, with their reasons.
    pub fn aborts(&self) -> impl Iterator<Item = (&GuardName, &str)> {
        let aborting = self.guards.iter().filter(|guard| guard.aborts());
        aborting.map(|guard| (&guard.spec.name, guard.reason.as_str()))
    }

    /// All guards as they stand.
    pub fn shown(&self) -> impl Iterator<Item = Shown<'_>> {
        self.guards.iter().map(|guard| Shown {
            spec: &guard.spec,
            stage: guard.stage,
            reading: &guard.reading,
            reason: &guard.reason,
        })
    }

    /// What workers brake by on their own: the strictest of the guards that slow.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let mut limits = Limits::default();
        for guard in &self.guards {
            let Action::Slow { brake: Some(brake) } = guard.spec.action else {
                continue;
            };
            match guard.spec.signal {
                Signal::Latency { .. } => {
                    let brake = Duration::try_from_secs_f64(brake).unwrap_or(Duration::MAX);
                    let strictest = limits.latency_max.unwrap_or(brake).min(brake);
                    limits.latency_max = Some(strictest);
                }
                Signal::Errors { .. } => {
                    limits.errors_max = Some(limits.errors_max.unwrap_or(brake).min(brake));
                }
                Signal::Probe { .. } | Signal::Prometheus => {}
            }
        }
        limits
    }
}

/// Thousandths of a query a second as people read them.
#[must_use]
pub fn rate(milli: u64) -> String {
    let (whole, rest) = (milli / 1000, milli % 1000);
    if rest == 0 {
        format!("{whole}/s")
    } else {
        let rest = format!("{rest:03}");
        format!("{whole}.{}/s", rest.trim_end_matches('0'))
    }
}
