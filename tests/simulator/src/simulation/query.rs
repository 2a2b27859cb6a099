//! Queries: workers send as many as they may, and the database answers when it pleases.

use rand::Rng;

use super::machine::{MS, nanos};
use super::world::{Event, World};

/// How long an idle worker waits before it looks at its grant again, at most.
const IDLE_MAX: u64 = 300 * MS;
/// One query in so many runs until the database ends it.
const SLOW_ONE_IN: u32 = 20;

impl World {
    /// Sends queries for as long as the grant has a place.
    pub(super) fn query(&mut self, nth: usize, life: u32) {
        while self.may_query(nth) {
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
            self.report.queries += 1;
            self.after(lasts, Event::Ended(name));
            self.after(lasts, Event::Returned(nth, life));
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

    /// A query has ended in the database.
    pub(super) fn ended(&mut self, name: &stoke_core::names::WorkerName) {
        if let Some(running) = self.running.get_mut(name) {
            *running -= 1;
            if *running == 0 {
                self.running.remove(name);
            }
        }
    }
}
