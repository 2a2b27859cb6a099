//! A job's life, step by step, as its specification.

mod ending;
mod planning;
mod running;

use stoke_core::job::{Fit, From};
use stoke_core::ledger::Timing;
use stoke_core::progress::{PartitionState, Tally};
use stoke_core::records::{Assignment, Checkpoint, SourceTask};
use stoke_core::units::PartitionId;
use stoke_store::TxnOutcome;

use super::super::scene::{self, Scene, coarsest, fit, fleet, named, spec, worker};
use super::planning::ATTEMPTS_MAX;
use super::*;
use crate::view::JobView;

type Members = BTreeMap<WorkerName, Member>;

const NOW: Moment = Moment::from_nanos(1_000_000_000_000);

/// Nobody is waited for in vain.
static NOTHING_OVERDUE: BTreeSet<PartitionId> = BTreeSet::new();

fn around(members: &Members, planning: Planning) -> Surroundings<'_> {
    Surroundings {
        members,
        releasing: Releasing {
            present: members,
            overdue: &NOTHING_OVERDUE,
        },
        sharers: members.len(),
        planning,
        spent: Effort::default(),
        aborting_since: None,
        now: NOW,
        wall_ms: 77,
        timing: Timing::default(),
    }
}

/// Takes the job's next step, where there is one, and says how the job stands then.
fn take(scene: &Scene, around: &Surroundings<'_>) -> Option<(Step, JobView)> {
    let step = next(&scene.view(), around)?;
    let outcome = scene.commit(step.txn.clone());
    assert!(matches!(outcome, TxnOutcome::Committed(_)), "{step:?}");
    Some((step, scene.view()))
}

fn takes(scene: &Scene, around: &Surroundings<'_>) -> (Step, JobView) {
    take(scene, around).expect("there is something to do")
}

fn waits(scene: &Scene, around: &Surroundings<'_>) -> bool {
    take(scene, around).is_none()
}

/// A job that is being planned under attempt 1 by these members.
fn planning_by(members: &Members, sources: Vec<From>) -> Scene {
    let scene = Scene::new(spec(sources));
    let (step, job) = takes(&scene, &around(members, Planning::Unknown));
    assert_eq!(
        (step.begins_attempt, job.record.value.attempt),
        (Some(1), 1)
    );
    scene
}

fn underway(attempt: u64) -> Planning {
    let awaited = (0..8)
        .map(PlanningTask::Source)
        .chain([PlanningTask::Prepare, PlanningTask::Sample]);
    Planning::Underway {
        attempt,
        awaited: awaited.collect(),
    }
}

fn stored(entries: u64) -> Planning {
    let effort = Effort {
        origin_queries: 3,
        origin_rows: entries,
        cache_bytes: 0,
    };
    let report = SourceReport {
        entries,
        ..SourceReport::default()
    };
    Planning::Stored {
        plan: scene::plan(entries, coarsest()),
        sources: vec![report],
        room: None,
        effort,
    }
}

/// Who is at which task, under which attempt.
fn given(job: &JobView) -> Vec<(String, String, u64)> {
    let reader = |(task, given): (&PlanningTask, &crate::view::At<SourceTask>)| {
        let (worker, attempt) = (given.value.worker.to_string(), given.value.attempt);
        (task.to_string(), worker, attempt)
    };
    job.reads.iter().map(reader).collect()
}

fn task(task: &str, worker: &str, attempt: u64) -> (String, String, u64) {
    (task.into(), worker.into(), attempt)
}

fn phase(job: &JobView) -> Phase {
    job.life.value.phase
}

fn tally(warmed: u64, failed: u64) -> Tally {
    Tally {
        warmed,
        failed,
        ..Tally::default()
    }
}

/// Gives each of these workers a partition of a running job, that stands so.
fn own(scene: &Scene, tallies: &[(&str, Tally)]) {
    for (partition, (owner, tally)) in (0..).map(PartitionId).zip(tallies) {
        let assignment = Assignment {
            partitions: [(partition, standing(*tally))].into(),
            ..Assignment::default()
        };
        scene.put(&keys::assignment(scene.job(), &worker(owner)), &assignment);
    }
}

fn standing(tally: Tally) -> PartitionState {
    PartitionState {
        position: (1, 0).into(),
        tally,
        retries: Vec::new(),
    }
}

fn running(entries: u64, allowed_failures: u64) -> Scene {
    let mut spec = spec(vec![named()]);
    let Work::Batch(batch) = &mut spec.work;
    batch.allowed_failures = allowed_failures;
    Scene::running(spec, scene::plan(entries, coarsest()))
}

/// The owner of partition 0 says how it stands.
fn checkpoint(scene: &Scene, owner: &str, tally: Tally, stopped: bool) {
    let owner = worker(owner);
    let view = scene.view();
    let partitions = view.owners[&owner].folded().partitions;
    let checkpoint = Checkpoint {
        partitions: partitions
            .into_keys()
            .map(|p| (p, standing(tally)))
            .collect(),
        stopped,
        ..Checkpoint::default()
    };
    scene.checkpoint(&owner, &checkpoint);
}

fn aborting(since: Option<Moment>, members: &Members) -> Surroundings<'_> {
    Surroundings {
        aborting_since: since.map(|at| Since { at, wall_ms: 1000 }),
        ..around(members, Planning::Unknown)
    }
}
