//! What the leader's last look showed, for whoever asks; and what it tells beside the look before.
//!
//! Pure: a look's view goes in, with the time it was read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stoke_core::guard::Warden;
use stoke_core::job::{Life, Phase, State};
use stoke_core::names::{JobName, Resource, WorkerName};
use stoke_core::progress::Tally;
use stoke_core::units::Moment;

use crate::view::{JobView, View};

/// A job under way.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JobRow {
    pub(crate) name: JobName,
    pub(crate) state: &'static str,
    pub(crate) planned: u64,
    pub(crate) tally: Tally,
    pub(crate) coverage: f64,
    pub(crate) holds: usize,
    /// Partitions that no worker that is there owns; `None` before they are given out.
    pub(crate) unowned: Option<usize>,
}

/// A resource's budget, in queries a second.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct BudgetRow {
    pub(crate) resource: String,
    pub(crate) asked: f64,
    pub(crate) target: f64,
    pub(crate) ceiling: f64,
    pub(crate) reserved: f64,
}

/// A guard and how far it is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct GuardRow {
    pub(crate) resource: String,
    pub(crate) guard: String,
    pub(crate) action: &'static str,
    pub(crate) state: &'static str,
}

/// What the leader's last look showed.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Board {
    pub(crate) members: usize,
    pub(crate) jobs: Vec<JobRow>,
    /// How many jobs under way are in each state.
    pub(crate) states: BTreeMap<&'static str, usize>,
    pub(crate) budgets: Vec<BudgetRow>,
    pub(crate) guards: Vec<GuardRow>,
}

/// The states of jobs under way, as callers see them.
const STATES: [&str; 5] = ["PENDING", "PLANNING", "RUNNING", "PAUSED", "ABORTING"];
/// The states in which jobs end.
pub(crate) const END_STATES: [&str; 3] = ["SUCCEEDED", "FAILED", "ABORTED"];

fn state(life: &Life) -> &'static str {
    match life.state() {
        State::Paused => "PAUSED",
        State::In(Phase::Pending) => "PENDING",
        State::In(Phase::Planning) => "PLANNING",
        State::In(Phase::Running) => "RUNNING",
        State::In(Phase::Aborting) => "ABORTING",
        State::In(Phase::Succeeded) => "SUCCEEDED",
        State::In(Phase::Failed) => "FAILED",
        State::In(Phase::Aborted) => "ABORTED",
    }
}

impl Board {
    pub(crate) fn of(view: &View, wardens: &BTreeMap<Resource, Warden>) -> Self {
        let under_way = view
            .jobs
            .values()
            .filter(|job| !job.life.value.phase.is_over());
        let jobs: Vec<JobRow> = under_way.map(|job| JobRow::of(job, view)).collect();
        let mut states: BTreeMap<_, _> = STATES.map(|state| (state, 0)).into();
        for job in &jobs {
            *states.entry(job.state).or_default() += 1;
        }
        Self {
            members: view.members.len(),
            jobs,
            states,
            budgets: budgets(view),
            guards: guards(wardens),
        }
    }
}

impl JobRow {
    fn of(job: &JobView, view: &View) -> Self {
        let tally = job.tally();
        let plan = job.record.value.plan.as_ref();
        let owned = job
            .owners
            .iter()
            .filter(|(worker, _)| view.members.contains_key(*worker))
            .map(|(_, owner)| owner.assignment.value.partitions.len());
        let partitions = plan.map(|plan| usize::from(plan.partitioning.count()));
        Self {
            name: job.name.clone(),
            state: state(&job.life.value),
            planned: job.planned(),
            tally,
            coverage: plan.map_or(0.0, |plan| tally.coverage(plan.priority_milli)),
            holds: job.life.value.holds.len(),
            unowned: partitions
                .filter(|_| job.is_running())
                .map(|all| all.saturating_sub(owned.sum())),
        }
    }
}

fn guards(wardens: &BTreeMap<Resource, Warden>) -> Vec<GuardRow> {
    let rows = |(resource, warden): (&Resource, &Warden)| -> Vec<GuardRow> {
        let row = |shown: stoke_core::guard::Shown<'_>| GuardRow {
            resource: resource.to_string(),
            guard: shown.spec.name.to_string(),
            action: shown.spec.action.name(),
            state: shown.stage.name(),
        };
        warden.shown().map(row).collect()
    };
    wardens.iter().flat_map(rows).collect()
}

#[expect(clippy::cast_precision_loss, reason = "queries a second, for display")]
fn budgets(view: &View) -> Vec<BudgetRow> {
    let rate = |share: stoke_core::ledger::Share| share.rate_milli as f64 / 1000.0;
    let row = |(resource, observed): (&Resource, &stoke_core::ledger::Observed)| {
        let (ledger, _) = observed.ledger?;
        Some(BudgetRow {
            resource: resource.to_string(),
            asked: rate(ledger.asked),
            target: rate(ledger.target),
            ceiling: rate(ledger.ceiling),
            reserved: rate(observed.reserved_total()),
        })
    };
    view.resources.iter().filter_map(row).collect()
}

/// What two looks tell together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Partitions that were taken over from workers that are not there.
    pub(crate) taken_over: u64,
    /// Plannings that ended: with how many entries, where they succeeded; and how long they took.
    pub(crate) planned: Vec<(Option<u64>, Duration)>,
    /// The states that jobs ended in: each job once.
    pub(crate) ended: Vec<&'static str>,
}

/// Remembers what the look before showed.
#[derive(Debug, Default)]
pub(crate) struct Watcher {
    orphaned: BTreeMap<(JobName, WorkerName), usize>,
    planning: BTreeMap<JobName, Moment>,
    /// Jobs that are over and have been told of, while their records are there.
    ended: BTreeSet<JobName>,
}

impl Watcher {
    /// What this look tells beside the one before.
    pub(crate) fn look(&mut self, view: &View, now: Moment) -> Told {
        let orphaned = orphaned(view);
        let before = std::mem::replace(&mut self.orphaned, orphaned);
        let taken = before.iter().map(|(whose, count)| {
            let goes_on = view
                .jobs
                .get(&whose.0)
                .is_some_and(|job| !job.life.value.phase.is_over());
            let left = self.orphaned.get(whose).copied().unwrap_or(0);
            if goes_on {
                count.saturating_sub(left) as u64
            } else {
                0
            }
        });
        Told {
            taken_over: taken.sum(),
            planned: self.planned(view, now),
            ended: self.ended(view),
        }
    }

    /// No end is missed: only a look that shows a job to be over puts its records away, and it is told of before.
    fn ended(&mut self, view: &View) -> Vec<&'static str> {
        let over = |job: &&JobView| job.life.value.phase.is_over();
        let over: BTreeMap<&JobName, &'static str> = (view.jobs.values().filter(over))
            .map(|job| (&job.name, state(&job.life.value)))
            .collect();
        let new = over.iter().filter(|(name, _)| !self.ended.contains(**name));
        let told = new.map(|(_, state)| *state).collect();
        self.ended = over.into_keys().cloned().collect();
        told
    }

    fn planned(&mut self, view: &View, now: Moment) -> Vec<(Option<u64>, Duration)> {
        let planning: BTreeSet<&JobName> = view
            .jobs
            .values()
            .filter(|job| job.life.value.phase == Phase::Planning)
            .map(|job| &job.name)
            .collect();
        for job in &planning {
            self.planning.entry((*job).clone()).or_insert(now);
        }
        let mut ended = Vec::new();
        self.planning.retain(|name, begun| {
            let stays = planning.contains(name);
            // Whoever was told to stop neither succeeded nor failed.
            if let (false, Some(job)) = (stays, view.jobs.get(name))
                && !matches!(job.life.value.phase, Phase::Aborting | Phase::Aborted)
            {
                let entries = job.record.value.plan.as_ref().map(|plan| plan.entries);
                ended.push((entries, now.since(*begun)));
            }
            stays
        });
        ended
    }
}

/// The partitions of jobs under way whose owners are not there.
fn orphaned(view: &View) -> BTreeMap<(JobName, WorkerName), usize> {
    let mut orphaned = BTreeMap::new();
    for job in view.jobs.values().filter(|job| job.is_running()) {
        for (worker, owner) in &job.owners {
            if !view.members.contains_key(worker) {
                let whose = (job.name.clone(), worker.clone());
                orphaned.insert(whose, owner.assignment.value.partitions.len());
            }
        }
    }
    orphaned
}

#[cfg(test)]
mod tests;
