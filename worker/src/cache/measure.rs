//! Counts what became of a call's keys, where somebody measures the cache.

use super::node::Measure;
use super::{CommandError, ExtendOutcome, Item, Presence, Standing, WriteOutcome};

pub(super) fn probed(measure: &Measure, answers: &[Result<Presence, CommandError>]) {
    count(measure, "probe", answers, |answer| match answer {
        Ok(Presence::Present { .. }) => "present",
        Ok(Presence::Missing) => "missing",
        Err(_) => "failed",
    });
}

pub(super) fn looked(measure: &Measure, answers: &[Result<Standing, CommandError>]) {
    count(measure, "probe", answers, |answer| match answer {
        Ok(Standing::Present { .. }) => "present",
        Ok(Standing::Missing) => "missing",
        Err(_) => "failed",
    });
}

pub(super) fn written(measure: &Measure, items: &[Item], outcomes: &[WriteOutcome]) {
    count(measure, "write", outcomes, |outcome| match outcome {
        WriteOutcome::Written => "written",
        WriteOutcome::Kept => "kept",
        WriteOutcome::Failed(_) => "failed",
    });
    let bytes = items
        .iter()
        .zip(outcomes)
        .filter(|(_, outcome)| **outcome == WriteOutcome::Written)
        .map(|(item, _)| item.value.size_bytes() as u64);
    if let Some(measures) = measure.get() {
        measures.metrics.written(bytes.sum());
    }
}

pub(super) fn extended(measure: &Measure, outcomes: &[ExtendOutcome]) {
    count(measure, "extend", outcomes, |outcome| match outcome {
        ExtendOutcome::Extended => "extended",
        ExtendOutcome::Gone => "gone",
        ExtendOutcome::Failed(_) => "failed",
    });
}

/// Counts each kind at once: calls have hundreds of keys.
fn count<T>(
    measure: &Measure,
    operation: &'static str,
    outcomes: &[T],
    kind: impl Fn(&T) -> &'static str,
) {
    let Some(measures) = measure.get() else {
        return;
    };
    let mut counts = std::collections::BTreeMap::new();
    for outcome in outcomes {
        *counts.entry(kind(outcome)).or_insert(0) += 1;
    }
    for (kind, n) in counts {
        measures.metrics.keys(operation, kind, n);
    }
}
