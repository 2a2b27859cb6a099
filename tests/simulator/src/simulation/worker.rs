//! A worker, as far as its heart goes: it reads, slows down, and renews.

use std::collections::{BTreeMap, BTreeSet};

use stoke_core::job::Life;
use stoke_core::ledger::{Ack, Cap, Holder, Reading, Renewal, RunSeen, Timing};
use stoke_core::names::{JobName, WorkerName};
use stoke_core::records::PlanningTask;
use stoke_core::records::keys;
use stoke_store::{Keys, LeaseId, Snapshot, TxnOutcome, record};

use super::machine::{Machine, Nanos, SECOND};
use super::network::{Line, Process};
use super::store::{Answer, Request, decode};
use super::work::{Mine, Run, member};
use super::world::{Event, World};

/// How often in a row a refused renewal is decided anew, as in `worker::heart`.
const RENEWALS_MAX: usize = 3;

/// Where it is in its beat.
#[derive(Debug)]
pub(super) enum Beat {
    Resting,
    Reading,
    /// What was read of jobs is acted on once it has renewed.
    Renewing(Renewal, Vec<Mine>),
}

/// One worker.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) machine: Machine,
    pub(super) name: WorkerName,
    pub(super) holder: Holder,
    pub(super) beat: Beat,
    tries: usize,
    woken: bool,
    pub(super) lease: Option<LeaseId>,
    /// Whether it has work.
    pub(super) demands: bool,
    /// Queries whose answers it awaits.
    pub(super) awaited: u64,
    /// Its runs, by their jobs.
    pub(super) runs: BTreeMap<usize, Run>,
    /// The tasks of planning that it is at, each with its attempt.
    pub(super) tasks: BTreeMap<(usize, PlanningTask), u64>,
    /// It takes its leave, and until when it may.
    pub(super) leaves: Option<Nanos>,
}

impl Worker {
    pub(super) fn new(nth: usize, machine: Machine, timing: Timing) -> Self {
        Self {
            name: name(nth, machine.life),
            machine,
            holder: Holder::new(timing),
            beat: Beat::Resting,
            tries: 0,
            woken: false,
            lease: None,
            demands: true,
            awaited: 0,
            runs: BTreeMap::new(),
            tasks: BTreeMap::new(),
            leaves: None,
        }
    }
}

fn name(nth: usize, life: u32) -> WorkerName {
    #[expect(clippy::expect_used, reason = "letters, digits and a dash")]
    format!("w{nth}-{life}").parse().expect("a name")
}

impl World {
    pub(super) fn start_worker(&mut self, nth: usize) {
        self.workers[nth].demands = !self.works;
        let life = self.workers[nth].machine.life;
        self.after(0, Event::Timer(Process::Worker(nth), life));
        self.after(0, Event::Lease(Process::Worker(nth), life));
        self.after(0, Event::Query(nth, life));
    }

    /// Another process begins in its place, under another name.
    pub(super) fn restart_worker(&mut self, nth: usize) {
        let worker = &mut self.workers[nth];
        worker.machine.restart();
        let machine = worker.machine.clone();
        *worker = Worker::new(nth, machine, self.timing);
        self.start_worker(nth);
    }

    /// Time for a beat.
    pub(super) fn worker_timer(&mut self, nth: usize) {
        let worker = &self.workers[nth];
        let life = worker.machine.life;
        let every = worker.machine.lasts(self.timing.renew_every);
        self.after(every, Event::Timer(Process::Worker(nth), life));
        self.wake_worker(nth);
    }

    pub(super) fn wake_worker(&mut self, nth: usize) {
        let worker = &mut self.workers[nth];
        if matches!(worker.beat, Beat::Resting) {
            worker.tries = 0;
            self.read_records(nth);
        } else {
            worker.woken = true;
        }
    }

    fn read_records(&mut self, nth: usize) {
        let name = &self.workers[nth].name;
        let mut ranges = vec![
            Keys::Prefix(keys::RUNS.to_owned()),
            Keys::One(keys::cap(&self.resource, name)),
            Keys::One(keys::ack(&self.resource, name)),
        ];
        if self.works {
            ranges.extend(self.work_ranges(name));
        }
        self.workers[nth].beat = Beat::Reading;
        self.call(Process::Worker(nth), Line::Work, Request::Read(ranges));
    }

    pub(super) fn worker_answered(&mut self, nth: usize, answer: Answer) {
        let beat = std::mem::replace(&mut self.workers[nth].beat, Beat::Resting);
        match (beat, answer) {
            (Beat::Reading, Answer::Read(snapshot)) => self.worker_read(nth, &snapshot),
            (Beat::Renewing(renewal, mine), Answer::Txn(TxnOutcome::Committed(_))) => {
                let worker = &mut self.workers[nth];
                worker
                    .holder
                    .committed(renewal, worker.machine.clock(self.now));
                self.work(nth, mine);
            }
            (Beat::Renewing(..), Answer::Txn(TxnOutcome::Refused)) => {
                self.workers[nth].tries += 1;
                if self.workers[nth].tries < RENEWALS_MAX {
                    self.read_records(nth);
                }
            }
            _ => {}
        }
        let worker = &mut self.workers[nth];
        if matches!(worker.beat, Beat::Resting) && std::mem::take(&mut worker.woken) {
            self.wake_worker(nth);
        }
    }

    fn worker_read(&mut self, nth: usize, snapshot: &Snapshot) {
        let mut reading = self.reading(nth, snapshot);
        let mut mine = Vec::new();
        if self.works {
            mine = self.mine(&self.workers[nth].name, snapshot);
            let held: BTreeSet<&JobName> =
                mine.iter().map(|mine| &self.jobs[mine.job].name).collect();
            reading.runs.retain(|job, _| held.contains(job));
        }
        let worker = &mut self.workers[nth];
        let renewal = worker.holder.read(worker.machine.clock(self.now), &reading);
        let Some(renewal) = renewal else {
            return self.work(nth, mine);
        };
        let txn = stoke_store::ledger::txn(&self.resource, &renewal.txn(&worker.name), None);
        worker.beat = Beat::Renewing(renewal, mine);
        self.call(Process::Worker(nth), Line::Work, Request::Txn(txn));
    }

    fn reading(&self, nth: usize, snapshot: &Snapshot) -> Reading {
        let name = &self.workers[nth].name;
        let (cap_key, ack_key) = (
            keys::cap(&self.resource, name),
            keys::ack(&self.resource, name),
        );
        let mut reading = Reading {
            in_flight: self.workers[nth].awaited,
            ..Reading::default()
        };
        let mut runs: BTreeMap<JobName, RunSeen> = BTreeMap::new();
        for entry in &snapshot.entries {
            let revision = entry.mod_revision.0;
            if entry.key == cap_key {
                reading.cap = Some((decode::<Cap>(entry), revision));
            } else if entry.key == ack_key {
                reading.ack = Some((decode::<Ack>(entry), revision));
            } else if let Some(job) = entry.key.strip_prefix(keys::RUNS)
                && let Ok(job) = job.parse()
            {
                let may_query = decode::<Life>(entry).may_query();
                runs.insert(
                    job,
                    RunSeen {
                        revision,
                        may_query,
                    },
                );
            }
        }
        reading.runs = runs;
        reading
    }

    /// Keeps its membership alive.
    pub(super) fn worker_lease(&mut self, nth: usize) {
        let machine = &self.workers[nth].machine;
        let (life, every) = (machine.life, machine.lasts(self.ttl / 3));
        self.after(every, Event::Lease(Process::Worker(nth), life));
        self.keep_member(nth);
    }

    fn keep_member(&mut self, nth: usize) {
        let worker = &self.workers[nth];
        let request = match worker.lease {
            Some(lease) => Request::KeepAlive(lease, Some(keys::member(&worker.name))),
            None => Request::Take {
                key: keys::member(&worker.name),
                value: record::encode(&member()),
                ttl: self.ttl,
                vacant: false,
            },
        };
        self.call(Process::Worker(nth), Line::Lease, request);
    }

    pub(super) fn worker_lease_answered(&mut self, nth: usize, answer: &Answer) {
        let now = self.now;
        let worker = &mut self.workers[nth];
        match answer {
            Answer::Taken(Some((_, lease))) => worker.lease = Some(*lease),
            Answer::Kept(false) => {
                worker.lease = None;
                // It is no fault any more once it is a member again.
                self.troubled_until = self.troubled_until.max(now + SECOND);
                self.keep_member(nth);
            }
            _ => {}
        }
    }

    /// Those that a read shows to be members, and that have work.
    pub(super) fn demanding(&self, snapshot: &Snapshot) -> BTreeSet<WorkerName> {
        let members: BTreeSet<&str> = snapshot
            .entries
            .iter()
            .filter_map(|entry| entry.key.strip_prefix(keys::MEMBERS))
            .collect();
        self.workers
            .iter()
            .filter(|worker| worker.demands && members.contains(worker.name.as_str()))
            .map(|worker| worker.name.clone())
            .collect()
    }
}
