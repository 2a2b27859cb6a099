//! A job's next step: from its records, the members and what this leader knows of its planning, to what to commit.
//!
//! Pure: it is called again with fresh records after each step, so each step is one transaction, and what could not be
//! committed is decided anew. The leader's fence is added by the driver.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use stoke_core::job::{From, IllegalMove, Life, Merge, Phase, Work};
use stoke_core::ledger::Timing;
use stoke_core::names::WorkerName;
use stoke_core::plan::PlanSummary;
use stoke_core::progress::Effort;
use stoke_core::records::{self, JobResult, Member, SourceTask, keys};
use stoke_core::ring::{self, Table};
use stoke_core::units::Moment;
use stoke_store::{Compare, Op, Revision, TXN_OPS_MAX, Txn, record};

use super::handover;
use crate::view::{JobView, unfit};

/// How often planning is tried before the job fails.
const PLANNING_ATTEMPTS_MAX: u64 = 5;

/// What this leader knows of a job's planning.
#[derive(Clone, Debug, PartialEq)]
pub enum Planning {
    /// Nothing: it began under another leader, or not at all.
    Unknown,
    /// Sources are being read under this attempt, or the plan is being stored.
    Underway {
        /// The job's attempt.
        attempt: u64,
        /// The sources that have not been read yet.
        awaited: BTreeSet<u32>,
    },
    /// A source could not be read, or the plan not be stored.
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
        /// What reading the sources cost.
        effort: Effort,
    },
}

/// What surrounds a job.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    /// The workers that are there.
    pub(super) members: &'a BTreeMap<WorkerName, Member>,
    /// What this leader knows of the job's planning.
    pub(super) planning: Planning,
    /// Since when this leader has seen the job aborting.
    pub(super) aborting_since: Option<Moment>,
    /// Now.
    pub(super) now: Moment,
    /// The wall clock, in milliseconds since 1970: for people.
    pub(super) wall_ms: u64,
    /// The protocol's times.
    pub(super) timing: Timing,
}

/// A job's next step.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// What to commit.
    pub(super) txn: Txn,
    /// Where it begins an attempt at planning: which.
    pub(super) begins_attempt: Option<u64>,
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
    match job.life.value.phase {
        Phase::Pending => pending(job, around),
        Phase::Planning => planning(job, around),
        Phase::Running => running(job, around),
        Phase::Aborting => aborting(job, around),
        Phase::Succeeded | Phase::Failed | Phase::Aborted => clean_up(job),
    }
}

fn pending(job: &JobView, around: &Surroundings<'_>) -> Option<Step> {
    let Work::Batch(batch) = &job.record.value.spec.work;
    let uploaded = |(n, source): (usize, &stoke_core::job::KeySource)| {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        source.from != From::Upload || job.record.value.uploads.contains_key(&n)
    };
    if batch.sources.iter().enumerate().all(uploaded) {
        begin_planning(job, around)
    } else {
        None
    }
}

/// Starts an attempt at planning: gives each source to a worker that can read it. Waits where there is none.
fn begin_planning(job: &JobView, around: &Surroundings<'_>) -> Option<Step> {
    let Work::Batch(batch) = &job.record.value.spec.work;
    let fit: Vec<&WorkerName> = around
        .members
        .iter()
        .filter(|(_, member)| unfit(&job.record.value.spec, member).is_none())
        .map(|(w, _)| w)
        .collect();
    let attempt = job.record.value.attempt + 1;
    if attempt > PLANNING_ATTEMPTS_MAX {
        return fail(
            job,
            around,
            format!("planning failed {PLANNING_ATTEMPTS_MAX} times"),
        );
    }
    let mut txn = Txn::default();
    let mut record = job.record.value.clone();
    record.attempt = attempt;
    for (n, source) in (0u32..).zip(&batch.sources) {
        if source.from == From::Upload {
            continue;
        }
        // Another attempt is another worker's, where there are several.
        let nth = (u64::from(n) + attempt) % (fit.len().max(1) as u64);
        let worker = (*fit.get(usize::try_from(nth).unwrap_or(0))?).clone();
        let task = SourceTask { worker, attempt };
        txn.ops.push(put(keys::read(&job.name, n), &task));
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

fn planning(job: &JobView, around: &Surroundings<'_>) -> Option<Step> {
    match &around.planning {
        Planning::Underway { attempt, awaited } if *attempt == job.record.value.attempt => {
            let lost = job.reads.iter().any(|(source, task)| {
                awaited.contains(source) && !around.members.contains_key(&task.value.worker)
            });
            if lost {
                begin_planning(job, around)
            } else {
                None
            }
        }
        Planning::Underway { .. } | Planning::Unknown => begin_planning(job, around),
        Planning::Failed {
            transient: true,
            reason,
        } if job.record.value.attempt >= PLANNING_ATTEMPTS_MAX => fail(job, around, reason.clone()),
        Planning::Failed {
            transient: true, ..
        } => begin_planning(job, around),
        Planning::Failed {
            transient: false,
            reason,
        } => fail(job, around, reason.clone()),
        Planning::Stored { plan, .. } if plan.entries == 0 => {
            fail(job, around, "the key sources gave no keys".into())
        }
        Planning::Stored { plan, effort } => seal(job, around, plan, *effort),
    }
}

/// Makes the stored plan the job's: the one fenced write that an attempt at planning ends with.
fn seal(
    job: &JobView,
    around: &Surroundings<'_>,
    plan: &PlanSummary,
    effort: Effort,
) -> Option<Step> {
    let mut txn = Txn::default();
    let mut record = job.record.value.clone();
    record.plan = Some(plan.clone());
    record.planning += effort;
    record.started_ms = Some(around.wall_ms);
    put_job(job, &record, &mut txn);
    put_life(job, &moved(job, Phase::Running, "").ok()?, &mut txn);
    txn.ops.extend(
        job.reads
            .keys()
            .map(|source| Op::Delete(keys::read(&job.name, *source))),
    );
    Some(txn.into())
}

fn running(job: &JobView, around: &Surroundings<'_>) -> Option<Step> {
    let plan = job.record.value.plan.as_ref()?;
    let tally = job.tally();
    if tally.settled() == plan.entries {
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
    handover::next_step(job, plan.partitioning.count(), &wanted).map(|mut txn| {
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
    if confirmed
        || around
            .aborting_since
            .is_some_and(|since| around.now.since(since) >= certainly_over(around.timing))
    {
        end(job, around, Phase::Aborted, job.life.value.reason.clone())
    } else {
        None
    }
}

/// How long after a stop was committed the last permit is certainly over, and the last statement sent under it.
#[must_use]
fn certainly_over(timing: Timing) -> Duration {
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

/// Deletes what a job that is over has left of assignments, checkpoints and sources being read.
fn clean_up(job: &JobView) -> Option<Step> {
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
    (!left.is_empty()).then(|| {
        Txn {
            compares: Vec::new(),
            ops: left,
        }
        .into()
    })
}

fn moved(job: &JobView, phase: Phase, reason: impl Into<String>) -> Result<Life, IllegalMove> {
    let mut life = job.life.value.clone();
    life.become_phase(phase, reason)?;
    Ok(life)
}

fn unchanged_life(job: &JobView) -> Compare {
    Compare::ModRevision(keys::run(&job.name), Revision(job.life.revision))
}

fn put_life(job: &JobView, life: &Life, txn: &mut Txn) {
    txn.compares.push(unchanged_life(job));
    txn.ops.push(put(keys::run(&job.name), life));
}

fn put_job(job: &JobView, record: &records::Job, txn: &mut Txn) {
    txn.compares.push(Compare::ModRevision(
        keys::job(&job.name),
        Revision(job.record.revision),
    ));
    txn.ops.push(put(keys::job(&job.name), record));
}

fn put<T: serde::Serialize>(key: String, value: &T) -> Op {
    Op::Put {
        key,
        value: record::encode(value),
        lease: None,
    }
}

/// How each source's duplicates merge, in the order of sources.
#[must_use]
pub(crate) fn merges(job: &JobView) -> Vec<Merge> {
    let Work::Batch(batch) = &job.record.value.spec.work;
    batch.sources.iter().map(|source| source.merge).collect()
}

#[cfg(test)]
mod tests;
