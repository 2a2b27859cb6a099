//! A budget as callers see it: what the store says, and what this coordinator was told besides.

use std::sync::PoisonError;

use stoke_core::guard::{Action, Reading, Stage, Threshold, rate};
use stoke_core::ledger::Ledger;
use stoke_core::names::{GuardName, Resource, WorkerName};
use stoke_proto::v1;

use super::super::budgets::Seen;
use super::allowance;
use crate::Shared;
use crate::guarded::{GuardRow, Guarded, reasons};
use crate::view::JobView;

/// A budget.
pub(in super::super) fn budget(resource: &Resource, seen: &Seen, shared: &Shared) -> v1::Budget {
    let observed = &seen.observed;
    let ledger = observed.ledger.map(|(ledger, _)| ledger);
    let guarded = shared
        .guarded
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let guards = guarded.get(resource).map(|guarded| &guarded.guards);
    let expiry = ledger.and_then(|ledger| ledger.expiry);
    let left = |left_ms| std::time::Duration::from_millis(left_ms);
    v1::Budget {
        resource: resource.to_string(),
        target: ledger.map(|ledger| allowance(ledger.target)),
        ceiling: ledger.map(|ledger| allowance(ledger.ceiling)),
        reserved: Some(allowance(observed.reserved_total())),
        shares: shares(resource, seen, shared),
        asked: ledger.map(|ledger| allowance(ledger.asked)),
        lasts: expiry.and_then(|expiry| prost_types::Duration::try_from(left(expiry.left_ms)).ok()),
        then: expiry.map(|expiry| allowance(expiry.then)),
        reasons: why(resource, seen, ledger, shared),
        guards: guards.into_iter().flatten().map(guard).collect(),
    }
}

/// As the record says, so that all coordinators say the same; what a guard does is the configuration's.
fn why(resource: &Resource, seen: &Seen, ledger: Option<Ledger>, shared: &Shared) -> Vec<String> {
    let guarding = shared.settings.guards.get(resource);
    let action = |name: &GuardName| {
        let mut guards = guarding.into_iter().flat_map(|g| &g.policy.guards);
        let guard = guards.find(|guard| guard.name == *name);
        guard.map_or("", |guard| guard.action.name())
    };
    let acting = seen.guards.acting.iter();
    let acting = acting.map(|(name, reason)| (name, action(name), reason.as_str()));
    let is_slowed = ledger.is_some_and(|ledger| ledger.target.rate_milli < ledger.asked.rate_milli);
    reasons(acting, is_slowed)
}

fn shares(resource: &Resource, seen: &Seen, shared: &Shared) -> Vec<v1::WorkerShare> {
    let observed = &seen.observed;
    let uses = shared.uses.lock().unwrap_or_else(PoisonError::into_inner);
    let vitals = shared.vitals.lock().unwrap_or_else(PoisonError::into_inner);
    let vitals = vitals.get(resource);
    let share = |worker: WorkerName| {
        let used = uses.get(&worker).and_then(|uses| uses.get(resource));
        v1::WorkerShare {
            cap: observed
                .caps
                .get(&worker)
                .map(|(cap, _)| allowance(cap.share)),
            ack: observed
                .acks
                .get(&worker)
                .map(|(ack, _)| allowance(ack.share)),
            queries: used.map_or(0, |used| used.queries),
            used_milli: used.and_then(|used| used.rate_milli),
            brake_permille: vitals.and_then(|vitals| vitals.brake_permille(&worker)),
            worker: worker.to_string(),
        }
    };
    observed.workers().into_iter().map(share).collect()
}

fn guard(row: &GuardRow) -> v1::Guard {
    let action = match row.spec.action {
        Action::Slow { .. } => v1::GuardAction::Slow,
        Action::Pause { .. } => v1::GuardAction::Pause,
        Action::Abort => v1::GuardAction::Abort,
    };
    let state = match row.stage {
        Stage::Calm => v1::GuardState::Calm,
        Stage::Bad { .. } => v1::GuardState::Bad,
        Stage::Looking { .. } => v1::GuardState::Looking,
        Stage::Acting { .. } => v1::GuardState::Acting,
    };
    v1::Guard {
        name: row.spec.name.to_string(),
        action: action.into(),
        state: state.into(),
        reading: row.spec.told(&row.reading),
        value: match row.reading {
            Reading::Value(value) => Some(value),
            Reading::NoDemand | Reading::Waiting | Reading::Missing(_) => None,
        },
        trigger: row.spec.threshold.trigger(),
        below: matches!(row.spec.threshold, Threshold::Below { .. }),
        clear: row.spec.threshold.clear(),
        reason: row.reason.clone(),
    }
}

/// The budgets that a job uses and that guards hold down, as the leader sees them.
pub(super) fn slowed(job: &JobView, shared: &Shared) -> Vec<String> {
    let guarded = shared
        .guarded
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let slowed = |(resource, guarded): (&Resource, &Guarded)| {
        let (asked, target) = guarded
            .slowed
            .filter(|_| guarded.jobs.contains(&job.name))?;
        let slowing = guarded
            .guards
            .iter()
            .filter(|row| matches!(row.spec.action, Action::Slow { .. }) && !row.reason.is_empty());
        let slowing = slowing.map(|row| (&row.spec.name, "slow", row.reason.as_str()));
        let (asked, target) = (rate(asked), rate(target));
        let why = reasons(slowing, true).join("; ");
        Some(format!("{resource} at {target} of {asked}: {why}"))
    };
    guarded.iter().filter_map(slowed).collect()
}
