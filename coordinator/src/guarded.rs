//! What is known of resources besides their records, for whoever asks: how fast workers use them, and what guards do there.
//!
//! In memory only, and for display: the guards' decisions are in the store.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stoke_core::guard::{GuardSpec, Reading, Signal, Stage, Vitals, Warden};
use stoke_core::ledger::Share;
use stoke_core::names::{GuardName, JobName, Resource};
use stoke_core::units::Moment;

use crate::Guarding;

/// Over how long at least a rate is taken.
const RATE_OVER: Duration = Duration::from_millis(900);

/// What a worker has sent to a resource.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Use {
    /// Since it started.
    pub(crate) queries: u64,
    /// Lately, a second, in thousandths; `None` before two reports.
    pub(crate) rate_milli: Option<u64>,
    /// The count that the next rate begins at, and when it was told.
    base: (u64, Moment),
}

impl Use {
    /// What a report says, given what the one before said.
    pub(crate) fn after(before: Option<Self>, queries: u64, now: Moment) -> Self {
        let Some(before) = before else {
            return Self {
                queries,
                rate_milli: None,
                base: (queries, now),
            };
        };
        let (count, at) = before.base;
        let time = now.since(at);
        if time < RATE_OVER {
            return Self { queries, ..before };
        }
        let sent = u128::from(queries.saturating_sub(count)) * 1_000_000;
        let rate_milli = sent / time.as_millis().max(1);
        Self {
            queries,
            rate_milli: Some(u64::try_from(rate_milli).unwrap_or(u64::MAX)),
            base: (queries, now),
        }
    }
}

/// What the guards of a resource do.
#[derive(Clone, Debug, Default)]
pub(crate) struct Guarded {
    pub(crate) guards: Vec<GuardRow>,
    /// The jobs under way that use it.
    pub(crate) jobs: BTreeSet<JobName>,
    /// What is asked and what guards leave of it, in thousandths of a query a second, where that is less.
    pub(crate) slowed: Option<(u64, u64)>,
}

/// A guard as it stands.
#[derive(Clone, Debug)]
pub(crate) struct GuardRow {
    pub(crate) spec: GuardSpec,
    pub(crate) stage: Stage,
    pub(crate) reading: Reading,
    pub(crate) reason: String,
}

impl Guarded {
    pub(crate) fn of(warden: &Warden, jobs: BTreeSet<JobName>, asked: Share) -> Self {
        let target = warden.target(asked);
        let row = |shown: stoke_core::guard::Shown<'_>| GuardRow {
            spec: shown.spec.clone(),
            stage: shown.stage,
            reading: shown.reading.clone(),
            reason: shown.reason.to_owned(),
        };
        Self {
            guards: warden.shown().map(row).collect(),
            jobs,
            slowed: (target.rate_milli < asked.rate_milli)
                .then_some((asked.rate_milli, target.rate_milli)),
        }
    }
}

/// Why a budget's target is less than what is asked, or jobs are held or aborted. `acting` has each guard that acts with
/// what it does ("slow", "pause", "abort"; empty where nobody knows) and its reason.
pub(crate) fn reasons<'a>(
    acting: impl Iterator<Item = (&'a GuardName, &'a str, &'a str)>,
    is_slowed: bool,
) -> Vec<String> {
    let mut slows = false;
    let mut reasons: Vec<String> = acting
        .map(|(name, action, reason)| {
            slows |= action == "slow";
            let verb = if action.is_empty() { "act" } else { action };
            format!("guard {name} {verb}s: {reason}")
        })
        .collect();
    if is_slowed && !slows {
        reasons
            .push("guards held it down: it rises again, step by step, while they are clear".into());
    }
    reasons
}

/// Room for what is told of the health of resources that have guards.
pub(crate) fn vitals(guards: &BTreeMap<Resource, Guarding>) -> BTreeMap<Resource, Vitals> {
    let probes = |guarding: &Guarding| {
        let probe = |guard: &GuardSpec| match &guard.signal {
            Signal::Probe { name } => Some(name.clone()),
            Signal::Latency { .. } | Signal::Errors { .. } | Signal::Prometheus => None,
        };
        guarding.policy.guards.iter().filter_map(probe).collect()
    };
    let room = |(resource, guarding): (&Resource, &Guarding)| {
        (resource.clone(), Vitals::new(probes(guarding)))
    };
    guards.iter().map(room).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_what_was_sent_between_reports_a_second_apart() {
        let at = |millis: u64| Moment::from_nanos(millis * 1_000_000);
        let first = Use::after(None, 500, at(0));
        assert_eq!(first.rate_milli, None);
        let soon = Use::after(Some(first), 600, at(500));
        assert_eq!((soon.queries, soon.rate_milli), (600, None));
        let later = Use::after(Some(soon), 700, at(1000));
        assert_eq!(later.rate_milli, Some(200_000));
        let stands = Use::after(Some(later), 700, at(3000));
        assert_eq!(stands.rate_milli, Some(0));
        let restarted = Use::after(Some(later), 0, at(3000));
        assert_eq!(restarted.rate_milli, Some(0));
    }
}
