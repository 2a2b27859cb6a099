//! The world: everything that is, and what happens next.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use stoke_core::ledger::{Share, Timing};
use stoke_core::names::{Resource, WorkerName};

use super::coordinator::Coordinator;
use super::fault::{Fault, Job};
use super::machine::{Nanos, SECOND};
use super::network::{Call, Line, Process, Weather};
use super::store::{Answer, Request, Store};
use super::worker::Worker;

/// Something that happens at its time.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// A request reaches the store.
    Arrive(Call, Request),
    /// A request reaches the store that nobody waits for.
    Again(Request),
    /// An answer reaches its process.
    Answer(Call, Answer),
    /// A process hears that the store has changed.
    Woken(Process, u32),
    /// Time to look by itself.
    Timer(Process, u32),
    /// Time to look after its lease.
    Lease(Process, u32),
    /// Time to look for queries to send.
    Query(usize, u32),
    /// A query's answer reaches its worker.
    Returned(usize, u32),
    /// A query has ended in the database.
    Ended(WorkerName),
    Fault(Fault),
    Restart(Process),
    Heal,
    End,
}

/// What a simulation did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Report {
    /// Simulated time, in seconds.
    pub seconds: u64,
    /// How often the invariants were checked.
    pub checks: u64,
    /// Queries sent.
    pub queries: u64,
    /// Faults, and changes from outside.
    pub faults: u64,
}

impl std::ops::AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.seconds += other.seconds;
        self.checks += other.checks;
        self.queries += other.queries;
        self.faults += other.faults;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seconds,
            checks,
            queries,
            faults,
        } = self;
        write!(
            f,
            "{seconds} simulated seconds, {faults} faults, {queries} queries, {checks} checks"
        )
    }
}

/// A violation, and how to see it again.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// When, in milliseconds of true time.
    pub at_ms: u64,
    /// What was violated.
    pub what: String,
    /// What was done to it from outside, and then what happened last, oldest first.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "  {line}")?;
        }
        write!(
            f,
            "at {} ms: {}\nrepeat it: STOKE_SEED={} cargo run --locked -p stoke-simulator -- simulate",
            self.at_ms, self.what, self.seed
        )
    }
}

/// How much of what happened a failure tells.
const TRACE_LINES: usize = 60;
/// How long one of its lines is at most, in characters.
const TRACE_WIDTH: usize = 240;

/// Everything.
#[derive(Debug)]
pub(super) struct World {
    /// True time.
    pub(super) now: Nanos,
    pub(super) queue: BTreeMap<(Nanos, u64), Event>,
    pub(super) queued: u64,
    pub(super) rng: StdRng,
    pub(super) store: Store,
    pub(super) resource: Resource,
    pub(super) timing: Timing,
    /// Of the leases of leader and members.
    pub(super) ttl: Duration,
    pub(super) caps_per_txn: usize,
    pub(super) weather: Weather,
    pub(super) target: Share,
    pub(super) workers: Vec<Worker>,
    pub(super) coordinators: Vec<Coordinator>,
    pub(super) jobs: Vec<Job>,
    /// Queries that run in the database, by who sent them.
    pub(super) running: BTreeMap<WorkerName, u64>,
    /// From here on all is well, as far as is known.
    pub(super) troubled_until: Nanos,
    pub(super) trace: Option<VecDeque<String>>,
    /// What was done to it from outside, where there is a trace.
    pub(super) faults: Vec<String>,
    pub(super) report: Report,
}

/// Lets one world run from its beginning to its end.
///
/// # Errors
/// What was violated; the same for the same seed.
pub fn simulate(seed: u64) -> Result<Report, Failure> {
    World::new(seed).run(seed).or_else(|_| {
        // Once more, to tell how it came to that.
        let mut world = World::new(seed);
        world.trace = Some(VecDeque::new());
        world.run(seed)
    })
}

impl World {
    fn run(mut self, seed: u64) -> Result<Report, Failure> {
        while let Some(((at, _), event)) = self.queue.pop_first() {
            self.now = at;
            if matches!(event, Event::End) {
                break;
            }
            self.note(&event);
            self.happen(event);
            self.store.expire(self.now);
            self.tell_watches();
            if let Err(what) = self.check() {
                return Err(Failure {
                    seed,
                    at_ms: self.now / 1_000_000,
                    what,
                    trace: [self.faults, self.trace.unwrap_or_default().into()].concat(),
                });
            }
        }
        self.report.seconds = self.now / SECOND;
        Ok(self.report)
    }

    fn note(&mut self, event: &Event) {
        let Some(trace) = &mut self.trace else { return };
        let line = format!("{:>6} ms {event:?}", self.now / 1_000_000);
        let line = line.chars().take(TRACE_WIDTH).collect();
        if matches!(event, Event::Fault(_) | Event::Restart(_) | Event::Heal) {
            self.faults.push(line);
            return;
        }
        trace.push_back(line);
        if trace.len() > TRACE_LINES {
            trace.pop_front();
        }
    }

    pub(super) fn after(&mut self, time: Nanos, event: Event) {
        self.queue_at(self.now + time, event);
    }

    pub(super) fn queue_at(&mut self, at: Nanos, event: Event) {
        self.queued += 1;
        self.queue.insert((at, self.queued), event);
    }

    pub(super) fn drop_late_messages(&mut self) {
        self.queue
            .retain(|_, event| !matches!(event, Event::Again(_)));
    }

    fn happen(&mut self, event: Event) {
        let (process, life) = match &event {
            Event::Answer(call, _) => (call.from, call.life),
            Event::Woken(process, life)
            | Event::Timer(process, life)
            | Event::Lease(process, life) => (*process, *life),
            Event::Query(nth, life) | Event::Returned(nth, life) => (Process::Worker(*nth), *life),
            _ => return self.happen_to_all(event),
        };
        let now = self.now;
        let machine = self.machine(process);
        if machine.life != life || !machine.is_up {
            return;
        }
        if now < machine.stopped_until {
            let until = machine.stopped_until;
            return self.queue_at(until, event);
        }
        match (event, process) {
            (Event::Answer(call, answer), _) => self.answered(call, answer),
            (Event::Woken(..), Process::Coordinator(nth)) => self.look(nth),
            (Event::Woken(..), Process::Worker(nth)) => self.wake_worker(nth),
            (Event::Timer(..), Process::Coordinator(nth)) => self.coordinator_timer(nth),
            (Event::Timer(..), Process::Worker(nth)) => self.worker_timer(nth),
            (Event::Lease(..), Process::Coordinator(nth)) => self.coordinator_lease(nth),
            (Event::Lease(..), Process::Worker(nth)) => self.worker_lease(nth),
            (Event::Query(nth, life), _) => self.query(nth, life),
            (Event::Returned(nth, _), _) => self.workers[nth].awaited -= 1,
            _ => {}
        }
    }

    fn happen_to_all(&mut self, event: Event) {
        match event {
            Event::Arrive(call, request) => self.arrive(call, request),
            Event::Again(request) => self.arrive_again(request),
            Event::Ended(name) => self.ended(&name),
            Event::Fault(fault) => self.strike(fault),
            Event::Restart(Process::Coordinator(nth)) => self.restart_coordinator(nth),
            Event::Restart(Process::Worker(nth)) => self.restart_worker(nth),
            Event::Heal => self.heal(),
            _ => {}
        }
    }

    fn answered(&mut self, call: Call, answer: Answer) {
        let line = call.line as usize;
        let machine = self.machine(call.from);
        if machine.calls[line] != call.number {
            return;
        }
        // What else comes to this call comes too late.
        machine.calls[line] += 1;
        match (call.from, call.line) {
            (Process::Coordinator(nth), Line::Work) => self.coordinator_answered(nth, answer),
            (Process::Coordinator(nth), Line::Lease) => {
                self.coordinator_lease_answered(nth, &answer);
            }
            (Process::Worker(nth), Line::Work) => self.worker_answered(nth, answer),
            (Process::Worker(nth), Line::Lease) => self.worker_lease_answered(nth, &answer),
        }
    }
}
