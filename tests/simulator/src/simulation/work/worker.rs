//! What a worker's heart does about jobs: it starts, replaces and stops its work as the records say.

use stoke_core::job::{Life, Phase};
use stoke_core::names::WorkerName;
use stoke_core::records::{Assignment, Checkpoint, PlanningTask, SourceTask, keys};
use stoke_store::{KeyValue, Keys, Op, Snapshot, Txn};
use stoke_worker::doors::{Assigned, AssignedTask};

use rand::Rng;

use super::run::Run;
use crate::simulation::machine::{MS, Nanos, SECOND};
use crate::simulation::network::{Line, Process};
use crate::simulation::store::{Request, decode};
use crate::simulation::world::{Event, World};

/// How long a task of planning takes at most.
const TASK_MAX: u64 = 2 * SECOND;
/// How long until a leader that did not hear of a task's end is told again.
const TELL_AGAIN: u64 = 500 * MS;

/// How long what is in flight may take to end once a worker leaves.
const FLUSH_MAX: u64 = 10 * SECOND;
/// How often a worker that leaves looks whether it may.
const LEAVES_EVERY: u64 = 50 * MS;

/// A job, and what of it is a worker's.
#[derive(Clone, Debug)]
pub(in crate::simulation) struct Mine {
    pub(in crate::simulation) job: usize,
    life: Life,
    assigned: Option<Assigned>,
    tasks: Vec<AssignedTask>,
}

impl World {
    /// What a worker reads of jobs.
    pub(in crate::simulation) fn work_ranges(&self, worker: &WorkerName) -> Vec<Keys> {
        let of_job = |name| {
            [
                keys::job(name),
                keys::assignment(name, worker),
                keys::checkpoint(name, worker),
            ]
        };
        let of_jobs = self.jobs.iter().flat_map(|job| of_job(&job.name));
        let reads = Keys::Prefix(keys::READS.to_owned());
        of_jobs.map(Keys::One).chain([reads]).collect()
    }

    /// The jobs that are not over and of which something is this worker's.
    pub(in crate::simulation) fn mine(
        &self,
        worker: &WorkerName,
        snapshot: &Snapshot,
    ) -> Vec<Mine> {
        let entry = |key: String| snapshot.entries.iter().find(|entry| entry.key == key);
        let mine = |nth: usize| {
            let name = &self.jobs[nth].name;
            entry(keys::job(name))?;
            let run = entry(keys::run(name))?;
            let life: Life = decode(run);
            let checkpoint = entry(keys::checkpoint(name, worker));
            let assignment = entry(keys::assignment(name, worker));
            let assigned = assignment.map(|assignment| Assigned {
                assignment: decode::<Assignment>(assignment),
                revision: assignment.mod_revision.0,
                checkpoint: checkpoint
                    .map(|found| (decode::<Checkpoint>(found), found.mod_revision.0)),
            });
            let prefix = keys::reads(name);
            let given = |entry: &KeyValue| given(entry, &prefix, worker);
            let tasks: Vec<AssignedTask> = snapshot.entries.iter().filter_map(given).collect();
            let held = !life.phase.is_over() && (assigned.is_some() || !tasks.is_empty());
            held.then_some(Mine {
                job: nth,
                life,
                assigned,
                tasks,
            })
        };
        (0..self.jobs.len()).filter_map(mine).collect()
    }

    /// Starts, replaces and stops work as the records say.
    pub(in crate::simulation) fn work(&mut self, nth: usize, all: Vec<Mine>) {
        let worker = &mut self.workers[nth];
        worker.runs.retain(|job, _| {
            all.iter()
                .any(|mine| mine.job == *job && mine.assigned.is_some())
        });
        worker.tasks.retain(|(job, task), attempt| {
            let is_current =
                |given: &AssignedTask| given.task == *task && given.attempt == *attempt;
            all.iter().any(|mine| {
                mine.job == *job
                    && mine.life.phase == Phase::Planning
                    && mine.tasks.iter().any(is_current)
            })
        });
        for mine in all {
            let phase = mine.life.phase;
            for given in &mine.tasks {
                match phase {
                    Phase::Planning => self.begin_task(nth, mine.job, given),
                    Phase::Aborting => self.confirm_stopped(nth, mine.job, given),
                    _ => {}
                }
            }
            if let Some(assigned) = mine.assigned {
                self.work_under(nth, mine.job, assigned, phase == Phase::Aborting);
            }
        }
    }

    /// Whoever has work asks for a share of the budget, and nobody else.
    pub(in crate::simulation) fn note_demand(&mut self) {
        if !self.works || !std::mem::take(&mut self.store.work.moved) {
            return;
        }
        for worker in &mut self.workers {
            let has_work = self.store.work.has_work(&worker.name);
            if has_work != worker.demands {
                worker.demands = has_work;
                self.troubled_until = self.troubled_until.max(self.now);
            }
        }
    }

    fn work_under(&mut self, nth: usize, job: usize, assigned: Assigned, aborts: bool) {
        let leaves = self.workers[nth].leaves.is_some();
        match self.workers[nth].runs.get_mut(&job) {
            Some(run) if !run.is_over() => run.offer(assigned),
            Some(run) if !assigned.is_beyond(run.confirmed()) => return,
            _ if leaves => return,
            _ => self.start_run(nth, job, assigned),
        }
        if aborts && let Some(run) = self.workers[nth].runs.get_mut(&job) {
            run.abort();
        }
        self.turn(nth, job);
    }

    fn start_run(&mut self, nth: usize, job: usize, assigned: Assigned) {
        self.runs_started += 1;
        let worker = &mut self.workers[nth];
        let name = worker.name.clone();
        let run = Run::new(self.runs_started, name, &self.jobs[job], assigned);
        let event = Event::Run(nth, worker.machine.life, job, self.runs_started);
        worker.runs.insert(job, run);
        self.after(MS, event);
    }

    fn begin_task(&mut self, nth: usize, job: usize, given: &AssignedTask) {
        let worker = &mut self.workers[nth];
        let AssignedTask { task, attempt, .. } = *given;
        if worker.leaves.is_some() || worker.tasks.contains_key(&(job, task)) {
            return;
        }
        worker.tasks.insert((job, task), attempt);
        let life = worker.machine.life;
        let takes = self.rng.random_range(MS..TASK_MAX);
        self.after(takes, Event::Task(nth, life, job, task, attempt));
    }

    /// A task may be done: its worker tells whoever leads, again and again, until it is dismissed.
    pub(in crate::simulation) fn do_task(
        &mut self,
        nth: usize,
        job: usize,
        task: PlanningTask,
        attempt: u64,
    ) {
        let worker = &self.workers[nth];
        if worker.tasks.get(&(job, task)) != Some(&attempt) {
            return;
        }
        let is_heard = self.now >= worker.machine.cut_out_until;
        let life = worker.machine.life;
        if is_heard && self.permits(nth, job) && !self.happens(self.weather.lost_permille) {
            self.task_done(job, task, attempt);
        }
        self.after(TELL_AGAIN, Event::Task(nth, life, job, task, attempt));
    }

    fn confirm_stopped(&mut self, nth: usize, job: usize, given: &AssignedTask) {
        let txn = given.confirm_stopped(&self.jobs[job].name);
        self.call(Process::Worker(nth), Line::Job(job), Request::Txn(txn));
    }

    /// Whether a worker may ask for a job now: the last look.
    pub(in crate::simulation) fn permits(&self, nth: usize, job: usize) -> bool {
        let worker = &self.workers[nth];
        let clock = worker.machine.clock(self.now);
        worker.holder.grant().permits(&self.jobs[job].name, clock)
    }
}

impl World {
    /// A worker is told to end: it begins nothing more.
    pub(in crate::simulation) fn take_leave(&mut self, nth: usize, until: Nanos) {
        let now = self.now;
        let worker = &mut self.workers[nth];
        if !worker.machine.is_up || worker.leaves.is_some() {
            return;
        }
        worker.leaves = Some(now + FLUSH_MAX);
        worker.tasks.clear();
        worker.runs.values_mut().for_each(Run::leave);
        let life = worker.machine.life;
        let jobs: Vec<usize> = worker.runs.keys().copied().collect();
        jobs.into_iter().for_each(|job| self.turn(nth, job));
        self.after(LEAVES_EVERY, Event::Farewell(nth, life, until));
    }

    /// It goes once its last checkpoints are written, or after a while: first its membership, then its grant, where no
    /// statement of its may still run.
    pub(in crate::simulation) fn farewell(&mut self, nth: usize, until: Nanos) {
        let now = self.now;
        let worker = &self.workers[nth];
        let waits = worker.runs.values().any(|run| !run.is_over());
        if waits && worker.leaves.is_some_and(|by| now < by) {
            let life = worker.machine.life;
            return self.after(LEAVES_EVERY, Event::Farewell(nth, life, until));
        }
        self.store.end_lease_of(&keys::member(&worker.name));
        if worker.awaited == 0 && now >= worker.machine.cut_out_until {
            let of = [
                keys::ack(&self.resource, &worker.name),
                keys::cap(&self.resource, &worker.name),
            ];
            self.store.txn(Txn {
                compares: Vec::new(),
                ops: of.map(Op::Delete).into(),
            });
        }
        self.crash(Process::Worker(nth), until.max(now + MS));
        self.troubled_until = self.troubled_until.max(now + SECOND);
    }
}

fn given(entry: &KeyValue, prefix: &str, worker: &WorkerName) -> Option<AssignedTask> {
    let task = entry.key.strip_prefix(prefix)?.parse().ok()?;
    let found: SourceTask = decode(entry);
    (found.worker == *worker).then_some(AssignedTask {
        task,
        attempt: found.attempt,
        revision: entry.mod_revision.0,
    })
}
