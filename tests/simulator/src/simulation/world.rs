//! The world: everything that is, and what happens next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use stoke_core::ledger::{Share, Timing};
use stoke_core::names::{Resource, WorkerName};
use stoke_core::records::PlanningTask;

use super::coordinator::Coordinator;
use super::fault::Fault;
use super::fences::{Fence, Fences};
use super::machine::{Nanos, SECOND};
use super::network::{Call, Line, Process, Weather};
use super::store::{Answer, Request, Store};
use super::work::{Cache, Go, Job, Load, PlanStore};
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
    /// A query's answer reaches its worker, which may have sent it for a job.
    Returned(usize, u32, Option<Load>),
    /// A query has ended in the database, sent for this job, if for any.
    Ended(WorkerName, Option<usize>),
    /// Time for a run of a worker's (its job, its number) to look for something to do.
    Run(usize, u32, usize, u64),
    /// A worker has done a task of a job's planning, under this attempt.
    Task(usize, u32, usize, PlanningTask, u64),
    /// A leader has ranked and stored a job's plan, under this attempt.
    PlanStored(Process, u32, usize, u64),
    /// A worker is about to ask the cache.
    Probe(Go),
    /// The cache has said which keys are there.
    Probed(Go, Vec<bool>),
    /// A worker is about to write to the cache.
    MayWrite(Go),
    /// Values reach the cache.
    Write(Go),
    /// Values were written; whether the cache's answer has reached the worker.
    Wrote(Go, bool),
    /// A worker that leaves waits no longer for what is in flight; another begins in its place at that time.
    Farewell(usize, u32, Nanos),
    /// A job is created.
    Create(usize),
    /// The application uses the cache.
    Application,
    Fault(Fault),
    Restart(Process),
    Heal,
    End,
}

/// What a simulation did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Simulated time, in seconds.
    pub seconds: u64,
    /// How often the invariants were checked.
    pub checks: u64,
    /// Queries sent.
    pub queries: u64,
    /// Faults, and changes from outside.
    pub faults: u64,
    /// Jobs that came to an end.
    pub jobs: u64,
    /// Entries of those that have an outcome.
    pub entries: u64,
    /// Values written to the cache: more than needed, where work was done twice.
    pub writes: u64,
    /// What was compared; `None`: something that is no [`Fence`].
    pub compared: BTreeSet<Option<Fence>>,
}

impl std::ops::AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.seconds += other.seconds;
        self.checks += other.checks;
        self.queries += other.queries;
        self.faults += other.faults;
        self.jobs += other.jobs;
        self.entries += other.entries;
        self.writes += other.writes;
        self.compared.extend(other.compared);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seconds,
            checks,
            queries,
            faults,
            jobs,
            entries,
            writes,
            compared: _,
        } = self;
        write!(
            f,
            "{seconds} simulated seconds, {faults} faults, {queries} queries, {jobs} jobs of {entries} entries, \
             {writes} writes, {checks} checks"
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
    /// Whether jobs are worked on, and not only permitted.
    pub(super) works: bool,
    /// Whether the origin bears enough for all work to end, and by when.
    pub(super) must_end: bool,
    pub(super) ends_by: Nanos,
    pub(super) jobs: Vec<Job>,
    /// Runs of workers, ever.
    pub(super) runs_started: u64,
    pub(super) cache: Cache,
    pub(super) plans: PlanStore,
    /// What was seen to be violated, before the checks look.
    pub(super) broken: Option<String>,
    /// Queries that run in the database, by who sent them, and by what job for.
    pub(super) running: BTreeMap<WorkerName, u64>,
    pub(super) running_of: BTreeMap<(usize, WorkerName), u64>,
    /// From here on all is well, as far as is known.
    pub(super) troubled_until: Nanos,
    pub(super) trace: Option<VecDeque<String>>,
    /// What was done to it from outside, where there is a trace.
    pub(super) faults: Vec<String>,
    pub(super) fences: Fences,
    pub(super) report: Report,
}

/// Lets one world run from its beginning to its end.
///
/// # Errors
/// What was violated; the same for the same seed.
pub fn simulate(seed: u64) -> Result<Report, Failure> {
    simulate_without(None, seed)
}

/// Lets one world run in which this is not compared.
///
/// # Errors
/// What was violated; the same for the same seed.
pub fn simulate_without(fence: Option<Fence>, seed: u64) -> Result<Report, Failure> {
    let world = || {
        let mut world = World::new(seed);
        world.fences.without = fence;
        world
    };
    world().go_through(seed).or_else(|_| {
        // Once more, to tell how it came to that.
        let mut world = world();
        world.trace = Some(VecDeque::new());
        world.go_through(seed)
    })
}

impl World {
    fn go_through(mut self, seed: u64) -> Result<Report, Failure> {
        while let Some(((at, _), event)) = self.queue.pop_first() {
            self.now = at;
            if matches!(event, Event::End) {
                if self.is_at_its_end() {
                    break;
                }
                continue;
            }
            self.note(&event);
            self.happen(event);
            self.store.expire(self.now);
            self.tell_watches();
            self.note_demand();
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
        self.report.writes = self.cache.writes;
        self.report.compared = std::mem::take(&mut self.fences.met);
        self.count_jobs();
        Ok(self.report)
    }

    /// Whether all that must end has ended; else it goes on for a while.
    fn is_at_its_end(&mut self) -> bool {
        if !self.must_end || self.all_are_over() {
            return true;
        }
        if self.now < self.ends_by {
            self.after(SECOND, Event::End);
            return false;
        }
        self.broken = self.check_end().err();
        false
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
            Event::Query(nth, life)
            | Event::Returned(nth, life, _)
            | Event::Run(nth, life, ..)
            | Event::Task(nth, life, ..)
            | Event::Farewell(nth, life, _) => (Process::Worker(*nth), *life),
            Event::PlanStored(process, life, ..) => (*process, *life),
            Event::Probe(go) | Event::Probed(go, _) | Event::MayWrite(go) | Event::Wrote(go, _) => {
                let (nth, life) = go.of();
                (Process::Worker(nth), life)
            }
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
            (Event::Returned(nth, _, load), _) => self.returned(nth, load),
            (Event::Run(nth, life, job, number), _) => self.run(nth, life, job, number),
            (Event::Task(nth, _, job, task, attempt), _) => self.do_task(nth, job, task, attempt),
            (Event::PlanStored(_, _, job, attempt), Process::Coordinator(nth)) => {
                self.plan_stored(nth, job, attempt);
            }
            (Event::Farewell(nth, _, until), _) => self.farewell(nth, until),
            (Event::Probe(go), _) => self.probe(go),
            (Event::Probed(go, there), _) => self.probed(go, &there),
            (Event::MayWrite(go), _) => self.write(go),
            (Event::Wrote(go, answered), _) => self.wrote(go, answered),
            _ => {}
        }
    }

    fn happen_to_all(&mut self, event: Event) {
        match event {
            Event::Arrive(call, request) => self.arrive(call, request),
            Event::Again(request) => self.arrive_again(request),
            Event::Ended(name, job) => self.ended(&name, job),
            Event::Write(go) => self.written(go),
            Event::Create(nth) => self.create(nth),
            Event::Application => self.apply(),
            Event::Fault(fault) => self.strike(fault),
            Event::Restart(Process::Coordinator(nth)) => self.restart_coordinator(nth),
            Event::Restart(Process::Worker(nth)) => self.restart_worker(nth),
            Event::Heal => self.heal(),
            _ => {}
        }
    }

    fn answered(&mut self, call: Call, answer: Answer) {
        let line = call.line.index();
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
            (Process::Worker(nth), Line::Job(job)) => self.write_answered(nth, job, answer),
            (Process::Coordinator(_), Line::Job(_)) => {}
        }
    }
}
