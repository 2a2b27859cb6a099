//! Queries: workers send as many as they may, and the database answers when it pleases.

use rand::Rng;
use stoke_core::names::WorkerName;

use super::machine::{MS, nanos};
use super::work::Load;
use super::world::{Event, World};

/// How long an idle worker waits before it looks at its grant again, at most.
const IDLE_MAX: u64 = 300 * MS;
/// One query in so many runs until the database ends it.
const SLOW_ONE_IN: u32 = 20;

impl World {
    /// Sends queries for as long as the grant has a place.
    pub(super) fn query(&mut self, nth: usize, life: u32) {
        while self.may_query(nth) {
            let load = self.next_load(nth);
            if self.works && load.is_none() {
                break;
            }
            let longest = nanos(self.timing.statement_timeout);
            let lasts = if self.rng.random_ratio(1, SLOW_ONE_IN) {
                longest
            } else {
                self.rng.random_range(MS..longest.min(500 * MS))
            };
            let worker = &mut self.workers[nth];
            worker.awaited += 1;
            let name = worker.name.clone();
            *self.running.entry(name.clone()).or_default() += 1;
            let job = load.as_ref().map(Load::job);
            if let Some(job) = job {
                *self.running_of.entry((job, name.clone())).or_default() += 1;
                if self.is_aborted(job) {
                    let job = &self.jobs[job].name;
                    self.broken = Some(format!(
                        "B4: {job} is aborted, and {name} still asks for it"
                    ));
                }
            }
            self.report.queries += 1;
            self.after(lasts, Event::Ended(name, job));
            self.after(lasts, Event::Returned(nth, life, load));
        }
        let idle = self.rng.random_range(MS..IDLE_MAX);
        self.after(idle, Event::Query(nth, life));
    }

    /// The last look before a query is sent.
    fn may_query(&self, nth: usize) -> bool {
        let worker = &self.workers[nth];
        let clock = worker.machine.clock(self.now);
        let grant = worker.holder.grant();
        let share = grant.at(clock);
        worker.demands
            && share.allows_queries()
            && worker.awaited < share.in_flight
            && self.jobs.iter().any(|job| grant.permits(&job.name, clock))
    }

    /// A query's answer has reached its worker.
    pub(super) fn returned(&mut self, nth: usize, load: Option<Load>) {
        self.workers[nth].awaited -= 1;
        if let Some(load) = load {
            self.loaded(load);
        }
    }

    /// A query has ended in the database.
    pub(super) fn ended(&mut self, name: &WorkerName, job: Option<usize>) {
        if let Some(running) = job.and_then(|job| self.running_of.get_mut(&(job, name.clone()))) {
            *running -= 1;
        }
        if let Some(running) = self.running.get_mut(name) {
            *running -= 1;
            if *running == 0 {
                self.running.remove(name);
            }
        }
    }
}
