//! A job's next step: from its records, the members and what this leader knows of its planning, to what to commit.
//!
//! Pure: it is called again with fresh records after each step, so each step is one transaction, and what could not be
//! committed is decided anew. The leader's fence is added by the driver.

mod planning;

pub use planning::tasks;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stoke_core::job::{IllegalMove, Life, Phase, Work};
use stoke_core::ledger::Timing;
use stoke_core::mutant::Mutant;
use stoke_core::names::WorkerName;
use stoke_core::plan::PlanSummary;
use stoke_core::progress::Effort;
use stoke_core::records::{
    self, JobResult, LoaderSample, Member, PlanningTask, Room, SourceReport, keys,
};
use stoke_core::ring::{self, Table};
use stoke_core::units::Moment;
use stoke_store::{Compare, Op, Revision, TXN_OPS_MAX, Txn, record};

use super::handover::{self, Releasing};
use crate::view::JobView;

/// What this leader knows of a job's planning.
#[derive(Clone, Debug, PartialEq)]
pub enum Planning {
    /// Nothing: it began under another leader, or not at all.
    Unknown,
    /// Workers are at its tasks under this attempt, or the plan is being stored.
    Underway {
        /// The job's attempt.
        attempt: u64,
        /// The tasks that have not been done yet.
        awaited: BTreeSet<PlanningTask>,
    },
    /// A task could not be done, or the plan not be stored.
    Failed {
        /// Why.
        reason: String,
        /// Whether another attempt may succeed.
        transient: bool,
    },
    /// The plan is in the plan store.
    Stored {
        /// The plan.
        plan: PlanSummary,
        /// What reading the sources gave, in their order.
        sources: Vec<SourceReport>,
        /// What is known of the room that the cache has.
        room: Option<Room>,
        /// What planning cost.
        effort: Effort,
    },
    /// The loaders were tried.
    Sampled {
        /// What each gave.
        samples: Vec<LoaderSample>,
        /// What is known of the room that the cache has, where that was to be found out.
        room: Option<Room>,
        /// What that cost.
        effort: Effort,
    },
}

/// What surrounds a job.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    /// The workers that are there, and can have a share of what the job needs.
    pub(super) members: &'a BTreeMap<WorkerName, Member>,
    /// Who is there to release what shall move.
    pub(super) releasing: Releasing<'a>,
    /// How many of the fit ones, by name, can have a share of each budget that planning takes: with one query in flight
    /// in all, whoever else were given a task would wait for all other jobs to end.
    pub(super) sharers: usize,
    /// What this leader knows of the job's planning.
    pub(super) planning: Planning,
    /// What the tasks of its present attempt have cost that have come back.
    pub(super) spent: Effort,
    /// Since when this leader has seen the job aborting.
    pub(super) aborting_since: Option<Since>,
    /// Now.
    pub(super) now: Moment,
    /// The wall clock, in milliseconds since 1970: for people.
    pub(super) wall_ms: u64,
    /// The protocol's times.
    pub(super) timing: Timing,
}

/// When something began, on the clock that decides, and on the one for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Since {
    pub(super) at: Moment,
    /// Milliseconds since 1970.
    pub(super) wall_ms: u64,
}

/// A job's next step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// What to commit, under the leader's fence.
    pub txn: Txn,
    /// Where it begins an attempt at planning: which.
    pub begins_attempt: Option<u64>,
}

impl std::convert::From<Txn> for Step {
    fn from(txn: Txn) -> Self {
        Self {
            txn,
            begins_attempt: None,
        }
    }
}

/// What to commit for this job next; `None` where there is nothing to do now.
#[must_use]
pub(super) fn next(job: &JobView, around: &Surroundings<'_>) -> Option<Step> {
    if !job.unread.is_empty() {
        return None;
    }
    match job.life.value.phase {
        Phase::Pending => planning::pending(job, around),
        Phase::Planning => planning::next(job, around),
        Phase::Running => running(job, around),
        Phase::Aborting => aborting(job, around),
        Phase::Succeeded | Phase::Failed | Phase::Aborted => clean_up(job),
    }
}

fn running(job: &JobView, around: &Surroundings<'_>) -> Option<Step> {
    let plan = job.record.value.plan.as_ref()?;
    let tally = job.tally();
    if tally.settled() == job.planned() {
        let Work::Batch(batch) = &job.record.value.spec.work;
        return if tally.failed > batch.allowed_failures {
            let reason = format!(
                "{} entries failed; {} were allowed",
                tally.failed, batch.allowed_failures
            );
            end(job, around, Phase::Failed, reason)
        } else {
            end(job, around, Phase::Succeeded, String::new())
        };
    }
    let wanted = wanted_table(job, plan, around.members);
    let partitions = plan.partitioning.count();
    handover::next_step(job, partitions, &wanted, around.releasing).map(|mut txn| {
        txn.compares.push(unchanged_life(job));
        txn.into()
    })
}

/// Who should own what: what the ring says of the members that can do the job's work.
fn wanted_table(
    job: &JobView,
    plan: &PlanSummary,
    members: &BTreeMap<WorkerName, Member>,
) -> Table {
    let fit: Vec<ring::Member> = members
        .iter()
        .filter(|(_, member)| job.unfit(member).is_none())
        .map(|(name, member)| ring::Member {
            name: name.clone(),
            weight: member.weight,
        })
        .collect();
    ring::assign(plan.partitioning, &fit)
}

fn aborting(job: &JobView, around: &Surroundings<'_>) -> Option<Step> {
    let confirmed =
        job.owners.values().all(crate::view::Owner::has_stopped) && job.reads.is_empty();
    let bound = certainly_over(around.timing);
    let since = around.aborting_since;
    if confirmed || since.is_some_and(|since| around.now.since(since.at) >= bound) {
        return end(job, around, Phase::Aborted, job.life.value.reason.clone());
    }
    // Each leader's clock begins anew: so it says for itself until when it waits.
    let bound_ms = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
    let over_by_ms = Some(since?.wall_ms.saturating_add(bound_ms));
    if job.life.value.over_by_ms == over_by_ms {
        return None;
    }
    let life = Life {
        over_by_ms,
        ..job.life.value.clone()
    };
    let mut txn = Txn::default();
    put_life(job, &life, &mut txn);
    Some(txn.into())
}

/// How long after a stop was committed the last permit is certainly over, and the last statement sent under it.
#[must_use]
fn certainly_over(timing: Timing) -> Duration {
    if Mutant::AbortedAtOnce.is_on() {
        return Duration::ZERO;
    }
    timing.quarantine + timing.statement_timeout
}

/// Ends a job: writes its result, of which what is not settled is cancelled.
fn end(job: &JobView, around: &Surroundings<'_>, phase: Phase, reason: String) -> Option<Step> {
    let mut tally = job.tally();
    tally.cancelled += job.planned().saturating_sub(tally.settled());
    let mut record = job.record.value.clone();
    record.ended_ms = Some(around.wall_ms);
    record.result = Some(JobResult {
        tally,
        effort: job.effort(),
        failures: job.failures(),
    });
    let mut txn = Txn::default();
    put_job(job, &record, &mut txn);
    put_life(job, &moved(job, phase, reason).ok()?, &mut txn);
    Some(txn.into())
}

fn fail(job: &JobView, around: &Surroundings<'_>, reason: String) -> Option<Step> {
    end(job, around, Phase::Failed, reason)
}

/// Deletes what a job that is over has left of assignments, checkpoints and sources being read; in the end, makes one
/// record of the last two, where nobody who decides reads it any more. So it is with jobs that an older Stoke has left.
fn clean_up(job: &JobView) -> Option<Step> {
    if job.is_past {
        return None;
    }
    let owners = job.owners.keys().flat_map(|w| {
        [
            keys::assignment(&job.name, w),
            keys::checkpoint(&job.name, w),
        ]
    });
    let left: Vec<Op> = owners
        .chain(
            job.reads
                .keys()
                .map(|source| keys::read(&job.name, *source)),
        )
        .take(TXN_OPS_MAX - 2)
        .map(Op::Delete)
        .collect();
    if left.is_empty() {
        return Some(become_past(job).into());
    }
    Some(
        Txn {
            compares: Vec::new(),
            ops: left,
        }
        .into(),
    )
}

fn become_past(job: &JobView) -> Txn {
    let past = records::Past {
        job: job.record.value.clone(),
        life: job.life.value.clone(),
    };
    Txn {
        compares: vec![unchanged_record(job), unchanged_life(job)],
        ops: vec![
            put(keys::past(&job.name), &past),
            Op::Delete(keys::job(&job.name)),
            Op::Delete(keys::run(&job.name)),
        ],
    }
}

fn moved(job: &JobView, phase: Phase, reason: impl Into<String>) -> Result<Life, IllegalMove> {
    let mut life = job.life.value.clone();
    life.become_phase(phase, reason)?;
    Ok(life)
}

fn unchanged_record(job: &JobView) -> Compare {
    Compare::ModRevision(keys::job(&job.name), Revision(job.record.revision))
}

fn unchanged_life(job: &JobView) -> Compare {
    Compare::ModRevision(keys::run(&job.name), Revision(job.life.revision))
}

fn put_life(job: &JobView, life: &Life, txn: &mut Txn) {
    if !Mutant::LifeNotCompared.is_on() {
        txn.compares.push(unchanged_life(job));
    }
    txn.ops.push(put(keys::run(&job.name), life));
}

fn put_job(job: &JobView, record: &records::Job, txn: &mut Txn) {
    txn.compares.push(unchanged_record(job));
    txn.ops.push(put(keys::job(&job.name), record));
}

fn put<T: serde::Serialize>(key: String, value: &T) -> Op {
    Op::Put {
        key,
        value: record::encode(value),
        lease: None,
    }
}

#[cfg(test)]
mod tests;
