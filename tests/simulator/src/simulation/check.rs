//! B1 to B5, looked at from outside: in true time, at every machine at once.

use stoke_core::ledger::Share;
use stoke_core::names::WorkerName;

use super::machine::{MS, Nanos, nanos};
use super::network::WATCH_MAX;
use super::world::World;

/// How long a beat that is under way, and the one after it, take where nothing is wrong.
const BEATS_MAX: Nanos = 400 * MS;
/// B5: how much of the ceiling must be granted.
const USED_PERCENT: u64 = 95;

impl World {
    /// # Errors
    /// What is violated, and by what.
    pub(super) fn check(&mut self) -> Result<(), String> {
        self.report.checks += 1;
        self.b1()?;
        self.b2_b3()?;
        self.b4()?;
        self.b5()?;
        self.check_work()
    }

    fn ceiling(&self) -> Share {
        let ledger = self.store.records.ledger;
        ledger.map_or(Share::NONE, |(ledger, _)| ledger.ceiling)
    }

    fn b1(&mut self) -> Result<(), String> {
        if !std::mem::take(&mut self.store.is_unchecked) {
            return Ok(());
        }
        let reserved = self.store.records.reserved_total();
        let ceiling = self.ceiling();
        if reserved.fits(ceiling) {
            return Ok(());
        }
        Err(format!("B1: {reserved:?} is reserved of {ceiling:?}"))
    }

    fn b2_b3(&self) -> Result<(), String> {
        let mut used = Share::NONE;
        for worker in self.workers.iter().filter(|worker| worker.machine.is_up) {
            let uses = worker.holder.grant().at(worker.machine.clock(self.now));
            let reserved = self.store.records.reserved(&worker.name);
            if !uses.fits(reserved) {
                let name = &worker.name;
                return Err(format!("B2: {name} uses {uses:?} of {reserved:?}"));
            }
            used = used.plus(uses);
        }
        let mut running = 0;
        for (name, of_worker) in &self.running {
            let reserved = self.store.records.reserved(name).in_flight;
            if *of_worker > reserved {
                return Err(format!(
                    "B2: {of_worker} queries of {name} run, {reserved} are reserved"
                ));
            }
            running += of_worker;
        }
        let ceiling = self.ceiling();
        if !used.fits(ceiling) || running > ceiling.in_flight {
            return Err(format!(
                "B3: {used:?} is used and {running} queries run under {ceiling:?}"
            ));
        }
        Ok(())
    }

    fn b4(&self) -> Result<(), String> {
        for job in &self.jobs {
            let Some(stopped) = job.stopped else { continue };
            for worker in self.workers.iter().filter(|worker| worker.machine.is_up) {
                let machine = &worker.machine;
                let term = machine.lasts(self.timing.term);
                let reached = stopped.max(machine.disturbed) + WATCH_MAX + BEATS_MAX;
                let over = self.now > stopped + term || self.now > reached;
                if over
                    && worker
                        .holder
                        .grant()
                        .permits(&job.name, machine.clock(self.now))
                {
                    let (name, ago) = (&worker.name, (self.now - stopped) / MS);
                    let job = &job.name;
                    return Err(format!(
                        "B4: {name} may query for {job}, stopped {ago} ms ago"
                    ));
                }
            }
        }
        Ok(())
    }

    fn b5(&self) -> Result<(), String> {
        let demands = |worker: &&super::worker::Worker| worker.machine.is_up && worker.demands;
        let since = self.troubled_until + 2 * nanos(self.timing.quarantine);
        if self.now < since || self.workers.iter().find(demands).is_none() {
            return Ok(());
        }
        let ceiling = self.ceiling();
        // Of the queries in flight, a dead worker's may hold places for longer.
        if ceiling.rate_milli != self.target.rate_milli {
            let target = self.target;
            return Err(format!(
                "B5: the ceiling is {ceiling:?}, the target {target:?}"
            ));
        }
        let grants = self.workers.iter().filter(demands);
        let used: Share = grants
            .map(|worker| worker.holder.grant().at(worker.machine.clock(self.now)))
            .sum();
        if used.rate_milli * 100 < ceiling.rate_milli * USED_PERCENT {
            let of = |worker: &WorkerName| {
                let ack = self
                    .store
                    .records
                    .acks
                    .get(worker)
                    .map(|(ack, _)| ack.share);
                let cap = self
                    .store
                    .records
                    .caps
                    .get(worker)
                    .map(|(cap, _)| cap.share);
                format!("{worker}: cap {cap:?}, ack {ack:?}")
            };
            let workers = self.store.records.workers();
            let held: Vec<String> = workers.iter().map(of).collect();
            let held = held.join("; ");
            return Err(format!("B5: {used:?} is granted of {ceiling:?}: {held}"));
        }
        Ok(())
    }
}
