//! A leader, as far as jobs go: once it has shared out the budget, it takes each job's next step, one after the other.

use std::collections::{BTreeMap, VecDeque};

use rand::Rng;
use stoke_coordinator::doors::{At, Known, Planning, View, tasks};
use stoke_core::job::Phase;
use stoke_core::names::JobName;
use stoke_core::progress::Effort;
use stoke_core::records::{PlanningTask, SourceReport, keys};
use stoke_store::election::leads;

use crate::simulation::coordinator::Doing;
use crate::simulation::machine::MS;
use crate::simulation::network::{Line, Process};
use crate::simulation::store::{Answer, Request};
use crate::simulation::world::{Event, World};

/// How long it takes to rank and store a plan, at most.
const STORING_MAX: u64 = 800 * MS;
/// One plan in so many cannot be stored.
const NOT_STORED_ONE_IN: u32 = 12;

/// What a leader knows of its jobs' planning.
pub(in crate::simulation) type Plannings = BTreeMap<JobName, Planning>;

impl World {
    /// Begins with the first job.
    pub(in crate::simulation) fn take_steps(&mut self, nth: usize, view: Box<View>) {
        let now = self.now;
        let coordinator = &mut self.coordinators[nth];
        let clock = coordinator.machine.clock(now);
        let Some(tenure) = &mut coordinator.tenure else {
            return;
        };
        tenure.jobs.look(&view, clock, now / MS);
        tenure.plannings.retain(|name, _| {
            let job = view.jobs.get(name);
            job.is_some_and(|job| job.life.value.phase == Phase::Planning)
        });
        let todo = view.jobs.keys().cloned().collect();
        self.next_step(nth, view, todo);
    }

    /// Takes the next step that there is.
    pub(in crate::simulation) fn next_step(
        &mut self,
        nth: usize,
        view: Box<View>,
        mut todo: VecDeque<JobName>,
    ) {
        let (now, timing) = (self.now, self.timing);
        let coordinator = &mut self.coordinators[nth];
        let at = At {
            now: coordinator.machine.clock(now),
            wall_ms: now / MS,
            timing,
        };
        let Some(tenure) = &mut coordinator.tenure else {
            return;
        };
        while let Some(name) = todo.pop_front() {
            let Some(job) = view.jobs.get(&name) else {
                continue;
            };
            let known = Known {
                planning: tenure
                    .plannings
                    .get(&name)
                    .cloned()
                    .unwrap_or(Planning::Unknown),
                spent: Effort::default(),
            };
            let Some(step) = tenure.jobs.next(job, &view, known, at) else {
                continue;
            };
            if let Some(attempt) = step.begins_attempt {
                let awaited = tasks(job);
                tenure
                    .plannings
                    .insert(name, Planning::Underway { attempt, awaited });
            }
            let mut txn = step.txn;
            txn.compares.push(leads(keys::LEADER, tenure.epoch));
            tenure.doing = Doing::Stepping { view, todo };
            self.call(Process::Coordinator(nth), Line::Work, Request::Txn(txn));
            return;
        }
    }

    /// A worker says that it has done a task of planning. Whoever leads takes note.
    pub(in crate::simulation) fn task_done(
        &mut self,
        nth_job: usize,
        task: PlanningTask,
        number: u64,
    ) {
        let name = self.jobs[nth_job].name.clone();
        for nth in 0..self.coordinators.len() {
            let takes = self.rng.random_range(MS..STORING_MAX);
            let machine = &self.coordinators[nth].machine;
            let hears = machine.is_up
                && self.now >= machine.cut_in_until
                && self.now >= machine.stopped_until;
            let life = machine.life;
            let Some(tenure) = self.coordinators[nth].tenure.as_mut().filter(|_| hears) else {
                continue;
            };
            let Some(Planning::Underway { attempt, awaited }) = tenure.plannings.get_mut(&name)
            else {
                continue;
            };
            if *attempt == number && awaited.remove(&task) {
                if awaited.is_empty() {
                    let process = Process::Coordinator(nth);
                    self.after(takes, Event::PlanStored(process, life, nth_job, number));
                }
                // Who is done with a task is dismissed from it.
                self.look(nth);
            }
        }
    }

    /// A leader has ranked and stored a plan, or could not.
    pub(in crate::simulation) fn plan_stored(&mut self, nth: usize, nth_job: usize, number: u64) {
        let fails = self.rng.random_ratio(1, NOT_STORED_ONE_IN);
        let Some(tenure) = &mut self.coordinators[nth].tenure else {
            return;
        };
        let job = &self.jobs[nth_job];
        let planning = tenure.plannings.get_mut(&job.name);
        let Some(planning) = planning.filter(
            |planning| matches!(planning, Planning::Underway { attempt, .. } if *attempt == number),
        ) else {
            return;
        };
        *planning = if fails {
            Planning::Failed {
                reason: "the plan store is full".into(),
                transient: true,
            }
        } else {
            let plan = job.plan(format!("plans/{}/{}-{number}", job.name, tenure.epoch.0));
            self.plans.store(plan.name.clone());
            Planning::Stored {
                plan,
                sources: vec![SourceReport::default()],
                room: None,
                effort: Effort::default(),
            }
        };
        self.look(nth);
    }
    /// A coordinator lists failed entries for a worker that owns partitions.
    pub(in crate::simulation) fn list(
        &mut self,
        job: JobName,
        log: String,
        chunk: u64,
        ranks: Vec<u64>,
    ) -> Answer {
        let assignment = log
            .rsplit_once('-')
            .and_then(|(_, revision)| revision.parse().ok());
        if assignment.is_some_and(|revision| self.store.work.has_assignment_of(&job, revision)) {
            self.plans.list((job, log), chunk, ranks);
            return Answer::Listed;
        }
        Answer::NotListed
    }
}
