//! What goes wrong, and what else changes meanwhile.

use rand::Rng;
use stoke_core::job::{Hold, Life, Phase};
use stoke_core::ledger::Share;
use stoke_core::records::keys;
use stoke_store::{Op, Txn, record};

use super::machine::{MS, Nanos, SECOND};
use super::network::{AFTER_EFFECT, Process, Weather};
use super::world::{Event, World};

/// Something that happens from outside.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// A process stands still.
    Stop(Process, Nanos),
    /// Nothing of what a process sends arrives, or of what is sent to it, or both.
    Cut {
        process: Process,
        out: bool,
        into: bool,
        until: Nanos,
    },
    /// A process ends, and another begins in its place.
    Crash(Process, Nanos),
    StoreRefuses(Nanos),
    StoreIsSlow(Nanos),
    /// A worker's membership ends early.
    MembershipEnds(usize),
    /// The leader's lease ends early.
    LeadershipEnds,
    /// The store ends no leases for a while.
    LeasesLast(Nanos),
    Retarget(Share),
    /// A worker has work now, or none any more.
    Demand(usize),
    /// A worker joins.
    Join,
    /// A job is paused, resumed or aborted.
    Job(usize),
    /// A worker is told to end, and another begins in its place later.
    Drain(usize, Nanos),
    /// All processes end, and others begin in their places later.
    CrashAll(Nanos),
}

/// How many workers there are at most.
const WORKERS_MAX: usize = 44;

impl World {
    /// Plans what will go wrong until `until`.
    pub(super) fn plan_faults(&mut self, until: Nanos) {
        for _ in 0..self.rng.random_range(0..25) {
            let at = self.rng.random_range(0..until);
            let ends = (at + self.rng.random_range(100 * MS..14 * SECOND)).min(until);
            let fault = self.any_fault(ends);
            self.after(at, Event::Fault(fault));
        }
    }

    fn any_fault(&mut self, until: Nanos) -> Fault {
        let process = if self.rng.random_ratio(1, 3) {
            Process::Coordinator(self.rng.random_range(0..self.coordinators.len()))
        } else {
            Process::Worker(self.rng.random_range(0..self.workers.len()))
        };
        let worker = self.rng.random_range(0..self.workers.len());
        // There is nothing to be handed over where there is no work.
        let kinds = if self.works { 0..20 } else { 0..16 };
        match self.rng.random_range(kinds) {
            0 | 1 => Fault::Stop(process, until),
            2 | 3 => {
                let out = self.rng.random_bool(0.7);
                Fault::Cut {
                    process,
                    out,
                    into: !out || self.rng.random_bool(0.5),
                    until,
                }
            }
            4 | 5 => Fault::Crash(process, until),
            6 => Fault::StoreRefuses(until),
            7 => Fault::StoreIsSlow(until),
            8 => Fault::MembershipEnds(worker),
            9 => Fault::LeadershipEnds,
            10 => Fault::LeasesLast(until),
            11 | 12 => {
                let target = self.any_target();
                Fault::Retarget(target)
            }
            13 => Fault::Demand(worker),
            14 => Fault::Join,
            16 | 17 => Fault::Drain(worker, until),
            18 => Fault::CrashAll(until),
            19 => Fault::Crash(Process::Worker(worker), until),
            _ => Fault::Job(self.rng.random_range(0..self.jobs.len())),
        }
    }

    pub(super) fn any_target(&mut self) -> Share {
        let rows = if self.rng.random_bool(0.5) {
            Share::ANY_ROWS
        } else {
            self.rng.random_range(1..5000)
        };
        Share {
            rate_milli: self.rng.random_range(0..60_000),
            burst: self.rng.random_range(1..20),
            in_flight: self.rng.random_range(1..24),
            rows,
        }
    }

    pub(super) fn strike(&mut self, fault: Fault) {
        self.report.faults += 1;
        let ends = match fault {
            Fault::Stop(_, until)
            | Fault::Cut { until, .. }
            | Fault::Crash(_, until)
            | Fault::Drain(_, until)
            | Fault::CrashAll(until)
            | Fault::StoreRefuses(until)
            | Fault::StoreIsSlow(until)
            | Fault::LeasesLast(until) => until,
            _ => self.now,
        };
        self.troubled_until = self.troubled_until.max(ends);
        match fault {
            Fault::Stop(process, until) => {
                let machine = self.machine(process);
                machine.stopped_until = machine.stopped_until.max(until);
                machine.disturbed = machine.disturbed.max(until + AFTER_EFFECT);
            }
            Fault::Cut {
                process,
                out,
                into,
                until,
            } => {
                let machine = self.machine(process);
                if out {
                    machine.cut_out_until = until;
                }
                if into {
                    machine.cut_in_until = until;
                }
                machine.disturbed = machine.disturbed.max(until + AFTER_EFFECT);
            }
            Fault::Crash(process, until) => self.crash(process, until),
            Fault::Drain(nth, until) => self.take_leave(nth, until),
            Fault::CrashAll(until) => self.crash_all(until),
            Fault::StoreRefuses(until) => {
                self.store.refuses_until = until;
                self.disturb_all(until);
            }
            Fault::StoreIsSlow(until) => {
                self.store.slow_until = until;
                self.disturb_all(until);
            }
            Fault::MembershipEnds(nth) => {
                let member = keys::member(&self.workers[nth].name);
                if self.store.end_lease_of(&member) {
                    // Until it has noticed, and is a member again.
                    self.troubled_until = self.troubled_until.max(self.now + 3 * SECOND);
                }
            }
            Fault::LeadershipEnds => {
                self.store.end_lease_of(keys::LEADER);
            }
            Fault::LeasesLast(until) => self.store.leases_last_until = until,
            Fault::Retarget(target) => self.target = target,
            // Where there is work, that is the demand.
            Fault::Demand(nth) => self.workers[nth].demands ^= !self.works,
            Fault::Join => self.join(),
            Fault::Job(nth) if self.works => self.operate(nth),
            Fault::Job(nth) => self.change_job(nth),
        }
    }

    fn crash_all(&mut self, until: Nanos) {
        (0..self.coordinators.len()).for_each(|nth| self.crash(Process::Coordinator(nth), until));
        (0..self.workers.len()).for_each(|nth| self.crash(Process::Worker(nth), until));
    }

    pub(super) fn crash(&mut self, process: Process, until: Nanos) {
        let machine = self.machine(process);
        if machine.is_up {
            machine.is_up = false;
            machine.life += 1;
            self.queue_at(until, Event::Restart(process));
        }
    }

    fn disturb_all(&mut self, until: Nanos) {
        for worker in &mut self.workers {
            worker.machine.disturbed = worker.machine.disturbed.max(until + AFTER_EFFECT);
        }
    }

    fn join(&mut self) {
        if self.workers.len() < WORKERS_MAX {
            let machine = self.any_machine();
            let nth = self.workers.len();
            let worker = super::worker::Worker::new(nth, machine, self.timing);
            self.workers.push(worker);
            self.start_worker(nth);
        }
    }

    /// Pauses a job, resumes one that is paused, or aborts it for good.
    fn change_job(&mut self, nth: usize) {
        let stops = self.jobs[nth].stopped.is_none();
        let mut life = Life {
            phase: Phase::Running,
            ..Life::new()
        };
        if stops && self.rng.random_bool(0.3) {
            life.phase = Phase::Aborting;
        } else if stops {
            life.holds.push(Hold {
                holder: "operator".into(),
                reason: String::new(),
            });
        }
        self.jobs[nth].stopped = stops.then_some(self.now);
        self.put_job(nth, &life);
    }

    /// Puts a job's life, whatever it was.
    pub(super) fn put_job(&mut self, nth: usize, life: &Life) {
        let put = Op::Put {
            key: keys::run(&self.jobs[nth].name),
            value: record::encode(life),
            lease: None,
        };
        self.store.txn(Txn {
            compares: Vec::new(),
            ops: vec![put],
        });
    }

    /// Nothing goes wrong from here on.
    pub(super) fn heal(&mut self) {
        self.weather = Weather::default();
        self.drop_late_messages();
        if self.works {
            self.resume_all();
            self.must_end = self.rng.random_bool(0.7);
        }
        if self.must_end && !self.target.allows_queries() {
            self.target = Share {
                rate_milli: 10_000,
                ..self.target
            };
        }
        self.troubled_until = self.troubled_until.max(self.now);
    }
}
