//! From a job's creation to its sealed plan; in dry runs, to the loaders' samples, with which they end.
//!
//! Planning is a set of tasks, each given to one worker under the job's present attempt: see [`tasks`]. An attempt whose
//! tasks are all done becomes a plan, and sealing that is one fenced write. A dry run, and a job whose cache may have no room
//! for it, stays in planning with its sealed plan, and one more attempt tries its loaders.

mod empty;

use std::collections::BTreeSet;

use stoke_core::job::{Fit, From, KeySource, Phase, Work};
use stoke_core::names::WorkerName;
use stoke_core::plan::PlanSummary;
use stoke_core::progress::{Effort, Tally};
use stoke_core::records::{
    JobResult, LoaderSample, PlanningTask, Room, SourceReport, SourceTask, keys,
};
use stoke_proto::PLANNING_GIVEN_UP;
use stoke_store::{Op, Txn};

use super::{
    Planning, Step, Surroundings, end, fail, moved, put, put_job, put_life, unchanged_life,
    unchanged_record,
};
use crate::view::{JobView, unfit};
use crate::warnings;

/// How often planning is tried before the job fails; the samples of a dry run, as often again.
pub(super) const ATTEMPTS_MAX: u64 = 5;

/// The tasks that an attempt at this job's planning consists of: reading its sources (but for uploads and other jobs' plans,
/// which are in the plan store) and preparing its
/// loaders' queries; once its plan is sealed, trying the loaders.
#[must_use]
pub fn tasks(job: &JobView) -> BTreeSet<PlanningTask> {
    if is_sampling(job) {
        return [PlanningTask::Sample].into();
    }
    let Work::Batch(batch) = &job.record.value.spec.work;
    let read = (0u32..)
        .zip(&batch.sources)
        .filter(|(_, source)| source.from.is_read_by_worker())
        .map(|(n, _)| PlanningTask::Source(n));
    read.chain([PlanningTask::Prepare]).collect()
}

fn is_sampling(job: &JobView) -> bool {
    job.record.value.plan.is_some()
}

fn attempts_max(job: &JobView) -> u64 {
    if is_sampling(job) {
        2 * ATTEMPTS_MAX
    } else {
        ATTEMPTS_MAX
    }
}

pub(super) fn pending(job: &JobView, around: &Surroundings<'_>) -> Option<Step> {
    let Work::Batch(batch) = &job.record.value.spec.work;
    let uploaded = |(n, source): (u32, &KeySource)| {
        source.from != From::Upload || job.record.value.uploads.contains_key(&n)
    };
    if (0u32..).zip(&batch.sources).all(uploaded) {
        begin(job, around, Effort::default())
    } else {
        None
    }
}

pub(super) fn next(job: &JobView, around: &Surroundings<'_>) -> Option<Step> {
    match &around.planning {
        Planning::Underway { attempt, awaited } if *attempt == job.record.value.attempt => {
            let lost = job.reads.iter().any(|(task, reader)| {
                awaited.contains(task) && !around.members.contains_key(&reader.value.worker)
            });
            if lost {
                begin(job, around, around.spent)
            } else {
                dismiss(job, awaited)
            }
        }
        Planning::Underway { .. } | Planning::Unknown => begin(job, around, Effort::default()),
        Planning::Failed {
            transient: true,
            reason,
        } if job.record.value.attempt >= attempts_max(job) => {
            let reason = format!("{PLANNING_GIVEN_UP}{reason}");
            fail_having(job, around, around.spent, reason)
        }
        Planning::Failed {
            transient: true, ..
        } => begin(job, around, around.spent),
        Planning::Failed {
            transient: false,
            reason,
        } => fail_having(job, around, around.spent, reason.clone()),
        // It is sealed, and what that cost is counted: the loaders are next.
        Planning::Stored { .. } if is_sampling(job) => begin(job, around, Effort::default()),
        Planning::Stored {
            plan,
            sources,
            room,
            effort,
        } => seal(job, around, (plan, sources, room), *effort),
        Planning::Sampled {
            samples,
            room,
            effort,
        } => {
            if job.record.value.spec.dry_run {
                end_dry_run(job, around, (samples, room), *effort)
            } else {
                run_what_fits(job, around, room.clone(), *effort)
            }
        }
    }
}

/// Fails the job, whose last attempt cost so much.
fn fail_having(
    job: &JobView,
    around: &Surroundings<'_>,
    spent: Effort,
    reason: String,
) -> Option<Step> {
    let mut told = job.clone();
    told.record.value.planning += spent;
    fail(&told, around, reason)
}

/// Starts an attempt: gives each task to a worker that can do it. Waits where there is none. `spent`: what the attempt
/// before it cost.
fn begin(job: &JobView, around: &Surroundings<'_>, spent: Effort) -> Option<Step> {
    let fit: Vec<&WorkerName> = around
        .members
        .iter()
        .filter(|(_, member)| unfit(&job.record.value.spec, member).is_none())
        .map(|(w, _)| w)
        .take(around.sharers.max(1))
        .collect();
    let attempt = job.record.value.attempt + 1;
    if attempt > attempts_max(job) {
        let reason = format!("{PLANNING_GIVEN_UP}it failed {ATTEMPTS_MAX} times");
        return fail_having(job, around, spent, reason);
    }
    let mut txn = Txn::default();
    let mut record = job.record.value.clone();
    record.attempt = attempt;
    record.planning += spent;
    for task in tasks(job) {
        let n = match task {
            PlanningTask::Source(n) => n,
            // With the first source: whoever reads it has a share of its origin already, mostly the loaders' own.
            PlanningTask::Prepare | PlanningTask::Sample => 0,
        };
        // Another attempt is another worker's, where there are several.
        let nth = (u64::from(n) + attempt) % (fit.len().max(1) as u64);
        let worker = (*fit.get(usize::try_from(nth).unwrap_or(0))?).clone();
        let given = SourceTask { worker, attempt };
        txn.ops.push(put(keys::read(&job.name, task), &given));
    }
    put_job(job, &record, &mut txn);
    if job.life.value.phase == Phase::Pending {
        put_life(job, &moved(job, Phase::Planning, "").ok()?, &mut txn);
    } else {
        // The attempt counts only while nobody has stopped the job meanwhile.
        txn.compares.push(unchanged_life(job));
    }
    Some(Step {
        txn,
        begins_attempt: Some(attempt),
    })
}

/// Takes tasks from their workers.
fn take_back<'a>(
    job: &'a JobView,
    tasks: impl Iterator<Item = &'a PlanningTask> + 'a,
) -> impl Iterator<Item = Op> + 'a {
    tasks.map(|task| Op::Delete(keys::read(&job.name, *task)))
}

/// Takes the tasks that are done from their workers, so that their shares of the budgets go to those who wait for one:
/// with one query in flight in all, nobody else would ever get it.
fn dismiss(job: &JobView, awaited: &BTreeSet<PlanningTask>) -> Option<Step> {
    let done = job.reads.keys().filter(|task| !awaited.contains(task));
    let ops: Vec<Op> = take_back(job, done).collect();
    // The record, too: every attempt puts it, and of another one nothing may be taken, however late this arrives.
    let compares = vec![unchanged_record(job), unchanged_life(job)];
    (!ops.is_empty()).then(|| Txn { compares, ops }.into())
}

/// Makes the stored plan the job's: the one fenced write that an attempt at planning ends with.
fn seal(
    job: &JobView,
    around: &Surroundings<'_>,
    (plan, sources, room): (&PlanSummary, &[SourceReport], &Option<Room>),
    effort: Effort,
) -> Option<Step> {
    let mut record = job.record.value.clone();
    record.planning += effort;
    record.sources = sources.to_vec();
    if plan.entries == 0 {
        let mut told = job.clone();
        told.record.value = record;
        let Work::Batch(batch) = &job.record.value.spec.work;
        return fail(&told, around, empty::reason(batch, sources));
    }
    record.plan = Some(plan.clone());
    let Work::Batch(batch) = &job.record.value.spec.work;
    let fit = around.members.values();
    record.terms = warnings::terms(
        batch,
        sources,
        fit.filter(|member| job.unfit(member).is_none()),
    );
    record.room.clone_from(room);
    let mut txn = Txn::default();
    if record.spec.dry_run || record.room == Some(Room::Limited) {
        txn.compares.push(unchanged_life(job));
    } else {
        record.started_ms = Some(around.wall_ms);
        put_life(job, &moved(job, Phase::Running, "").ok()?, &mut txn);
    }
    put_job(job, &record, &mut txn);
    txn.ops.extend(take_back(job, job.reads.keys()));
    Some(txn.into())
}

/// Runs a sealed plan, or what the cache has room for of it.
fn run_what_fits(
    job: &JobView,
    around: &Surroundings<'_>,
    room: Option<Room>,
    effort: Effort,
) -> Option<Step> {
    let mut record = job.record.value.clone();
    let Work::Batch(batch) = &job.record.value.spec.work;
    if let (Some(Room::Fits { entries, .. }), Fit::Cut) = (&room, batch.fit) {
        record.plan = record.plan.map(|plan| plan.cut_to(*entries));
    }
    record.room = Some(room.unwrap_or_else(not_told));
    record.planning += effort;
    record.started_ms = Some(around.wall_ms);
    let mut txn = Txn::default();
    put_life(job, &moved(job, Phase::Running, "").ok()?, &mut txn);
    put_job(job, &record, &mut txn);
    txn.ops.extend(take_back(job, job.reads.keys()));
    Some(txn.into())
}

/// What is known of the room where whoever tried the loaders said nothing of it.
fn not_told() -> Room {
    Room::Unknown("the worker that tried the loaders is older than this coordinator".into())
}

/// Ends a dry run: all of its entries are skipped, for nothing was to be done with them.
fn end_dry_run(
    job: &JobView,
    around: &Surroundings<'_>,
    (samples, room): (&[LoaderSample], &Option<Room>),
    effort: Effort,
) -> Option<Step> {
    let mut told = job.clone();
    let record = &mut told.record.value;
    record.samples = samples.to_vec();
    if record.room == Some(Room::Limited) {
        record.room = Some(room.clone().unwrap_or_else(not_told));
    }
    record.planning += effort;
    record.result = Some(JobResult {
        tally: Tally {
            skipped: job.planned(),
            ..Tally::default()
        },
        effort: record.planning,
        failures: Vec::new(),
    });
    end(&told, around, Phase::Succeeded, String::new())
}
