//! What a leader decides about jobs: with what it knows of them beyond their records, what each one's next step is.
//!
//! Pure: time is an argument, and what a step wants is committed by the driver. All that is kept here are clocks, which
//! begin anew with each leader: it may wait longer than its predecessor would have, never less.

use std::borrow::Cow;
use std::collections::BTreeMap;

use stoke_core::job::{Phase, Work};
use stoke_core::ledger::{Timing, sharers};
use stoke_core::names::{JobName, Resource, WorkerName};
use stoke_core::progress::Effort;
use stoke_core::records::Member;
use stoke_core::units::Moment;

use super::handover::{Departures, Releasing};
use super::step::{self, Planning, Since, Step, Surroundings};
use crate::view::{JobView, View, source_origin};

/// What a leader knows of the jobs beyond their records: clocks, which begin anew with each leader.
#[derive(Debug, Default)]
pub struct Jobs {
    aborting: BTreeMap<JobName, Since>,
    departures: Departures,
}

/// What this leader knows of a job's planning.
#[derive(Clone, Debug)]
pub struct Known {
    /// How far it is.
    pub planning: Planning,
    /// What the tasks of its present attempt have cost that have come back.
    pub spent: Effort,
}

/// When a step is decided on, and the times that decide with it.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// Now.
    pub now: Moment,
    /// The wall clock, in milliseconds since 1970: for people, it decides nothing.
    pub wall_ms: u64,
    /// The protocol's times.
    pub timing: Timing,
}

impl Jobs {
    /// Takes note of what a look showed. `wall_ms`: the wall clock, in milliseconds since 1970.
    pub fn look(&mut self, view: &View, now: Moment, wall_ms: u64) {
        let aborting = |job: &&JobView| job.life.value.phase == Phase::Aborting;
        let since = Since { at: now, wall_ms };
        let seen = std::mem::take(&mut self.aborting);
        let since = |job: &JobView| seen.get(&job.name).copied().unwrap_or(since);
        let jobs = view.jobs.values().filter(aborting);
        self.aborting = jobs.map(|job| (job.name.clone(), since(job))).collect();
        self.departures.look(view.jobs.values(), now);
    }

    /// The job's next step; `None`: there is nothing to do now. `view` is what the last look showed, `job` one of it.
    #[must_use]
    pub fn next(&self, job: &JobView, view: &View, known: Known, at: At) -> Option<Step> {
        let At {
            now,
            wall_ms,
            timing,
        } = at;
        // Whoever reads a source stays its reader, however budgets are shared out meanwhile.
        let members = if job.is_running() {
            sharing_members(job, view)
        } else {
            Cow::Borrowed(&view.members)
        };
        let overdue = self.departures.overdue(&job.name, now, timing);
        let around = Surroundings {
            members: &members,
            releasing: Releasing {
                present: &view.members,
                overdue: &overdue,
            },
            sharers: sharing(job, view),
            planning: known.planning,
            spent: known.spent,
            aborting_since: self.aborting.get(&job.name).copied(),
            now,
            wall_ms,
            timing,
        };
        step::next(job, &around)
    }
}

/// The members that can have a share of each budget that the job takes; the others stand by, and own nothing.
fn sharing_members<'a>(job: &JobView, view: &'a View) -> Cow<'a, BTreeMap<WorkerName, Member>> {
    let sharing = sharing(job, view);
    let fit = fit(job, view);
    if sharing == fit.len() {
        return Cow::Borrowed(&view.members);
    }
    let first = fit.into_iter().take(sharing);
    Cow::Owned(
        first
            .map(|(name, member)| (name.clone(), member.clone()))
            .collect(),
    )
}

/// The members that can do the job's work, by name.
fn fit<'a>(job: &JobView, view: &'a View) -> Vec<(&'a WorkerName, &'a Member)> {
    view.members
        .iter()
        .filter(|(_, member)| job.unfit(member).is_none())
        .collect()
}

/// How many of the fit members, by name, can have a share of each budget that loading, writing and, while the job is being
/// planned, reading its sources take.
fn sharing(job: &JobView, view: &View) -> usize {
    let fit = fit(job, view);
    let Some((_, member)) = fit.first() else {
        return 0;
    };
    let Work::Batch(batch) = &job.record.value.spec.work;
    let read = batch
        .sources
        .iter()
        .filter(|_| !job.is_running())
        .filter_map(|source| source_origin(&source.from, member))
        .map(Resource::Origin);
    job.load_resources(member)
        .chain(read)
        .filter_map(|resource| view.resources.get(&resource)?.ledger)
        .map(|(ledger, _)| sharers(ledger.target, fit.len()))
        .min()
        .unwrap_or(fit.len())
}

#[cfg(test)]
mod tests;
