//! Calls between processes and the store, and what may become of them.

use rand::Rng;
use stoke_core::records::keys;

use super::machine::{MS, Machine, Nanos, SECOND};
use super::store::{Answer, Request};
use super::world::{Event, World};

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Process {
    Coordinator(usize),
    Worker(usize),
}

/// A process' connection: what it decides on, what keeps its lease alive, and others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Work,
    Lease,
    /// What a worker writes for a job.
    Job(usize),
}

/// How many jobs there may be.
pub(super) const JOBS_MAX: usize = 4;
/// How many connections a process has.
pub(super) const LINES: usize = 2 + JOBS_MAX;

impl Line {
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Work => 0,
            Self::Lease => 1,
            Self::Job(nth) => 2 + nth,
        }
    }
}

/// A call, told from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Call {
    pub(super) from: Process,
    pub(super) life: u32,
    pub(super) line: Line,
    pub(super) number: u64,
}

/// How likely a message meets what, in thousandths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weather {
    pub(super) lost_permille: u32,
    pub(super) late_permille: u32,
    pub(super) repeated_permille: u32,
}

/// How long a process waits for an answer.
const CALL_MAX: Nanos = SECOND;
/// How long a disturbance has an effect: a process waits for an answer, and hears of what it missed at its next beat.
pub(super) const AFTER_EFFECT: Nanos = 3 * SECOND;
/// How long a late request is under way at most: its sender has given it up long before.
const LATE_MAX: Nanos = 12 * SECOND;
/// How long a message takes at most.
const LATENCY_MAX: Nanos = 20 * MS;
/// How long it takes a watch to tell of a change, at most.
pub(super) const WATCH_MAX: Nanos = 50 * MS;

impl World {
    pub(super) fn machine(&mut self, process: Process) -> &mut Machine {
        match process {
            Process::Coordinator(nth) => &mut self.coordinators[nth].machine,
            Process::Worker(nth) => &mut self.workers[nth].machine,
        }
    }

    /// Sends a request to the store; the answer comes as an event, or that there is none.
    pub(super) fn call(&mut self, from: Process, line: Line, mut request: Request) {
        if let Request::Txn(txn) = &mut request {
            self.fences.pass(from, txn);
        }
        let now = self.now;
        let machine = self.machine(from);
        machine.calls[line.index()] += 1;
        let call = Call {
            from,
            life: machine.life,
            line,
            number: machine.calls[line.index()],
        };
        let is_cut = now < machine.cut_out_until;
        self.after(CALL_MAX, Event::Answer(call, Answer::Unknown));
        if is_cut || self.happens(self.weather.lost_permille) {
            self.disturb(from);
            return;
        }
        if self.happens(self.weather.repeated_permille) {
            let again = self.rng.random_range(MS..LATE_MAX);
            self.after(again, Event::Again(request.clone()));
        }
        if self.happens(self.weather.late_permille) {
            self.disturb(from);
            let late = self.rng.random_range(CALL_MAX..LATE_MAX);
            self.after(late, Event::Again(request));
            return;
        }
        let takes = self.latency();
        self.after(takes, Event::Arrive(call, request));
    }

    /// A request has reached the store.
    pub(super) fn arrive(&mut self, call: Call, request: Request) {
        let now = self.now;
        let answer = self.handle(request);
        if matches!(answer, Answer::Unreachable) {
            self.disturb(call.from);
        }
        let is_cut = now < self.machine(call.from).cut_in_until;
        if is_cut || self.happens(self.weather.lost_permille) {
            self.disturb(call.from);
            return;
        }
        let mut takes = self.latency();
        if now < self.store.slow_until {
            self.disturb(call.from);
            takes += self.rng.random_range(0..CALL_MAX);
        }
        self.after(takes, Event::Answer(call, answer));
    }

    /// A request reaches the store when nobody waits for the answer any more.
    pub(super) fn arrive_again(&mut self, request: Request) {
        // Leases are looked after by their owners, who would not know of this one.
        if !matches!(request, Request::Take { .. }) {
            self.handle(request);
        }
    }

    fn handle(&mut self, request: Request) -> Answer {
        match request {
            Request::List {
                job,
                log,
                chunk,
                ranks,
            } => self.list(job, log, chunk, ranks),
            request => self.store.handle(self.now, request),
        }
    }

    /// Tells the watches what was committed: all coordinators, and the workers whom it concerns.
    pub(super) fn tell_watches(&mut self) {
        let changed = std::mem::take(&mut self.store.changed);
        if changed.is_empty() {
            return;
        }
        for nth in 0..self.coordinators.len() {
            self.tell(Process::Coordinator(nth));
        }
        let concerns_all = |key: &String| {
            let prefixes = [keys::RUNS, keys::READS, keys::ASSIGNMENTS];
            prefixes.iter().any(|prefix| key.starts_with(prefix))
        };
        let all = changed.iter().any(concerns_all);
        for nth in 0..self.workers.len() {
            if all || changed.contains(&keys::cap(&self.resource, &self.workers[nth].name)) {
                self.tell(Process::Worker(nth));
            }
        }
    }

    fn tell(&mut self, process: Process) {
        let now = self.now;
        let machine = self.machine(process);
        let life = machine.life;
        if !machine.is_up || now < machine.cut_in_until {
            return;
        }
        if self.happens(self.weather.lost_permille) {
            self.disturb(process);
            return;
        }
        let takes = self.rng.random_range(MS..WATCH_MAX);
        self.after(takes, Event::Woken(process, life));
    }

    /// Notes that a process did not get what it needs to hear of the store at once.
    pub(super) fn disturb(&mut self, process: Process) {
        let until = self.now + AFTER_EFFECT;
        let machine = self.machine(process);
        machine.disturbed = machine.disturbed.max(until);
    }

    fn latency(&mut self) -> Nanos {
        self.rng.random_range(MS..LATENCY_MAX)
    }

    pub(super) fn happens(&mut self, permille: u32) -> bool {
        permille > 0 && self.rng.random_range(0..1000) < permille
    }
}
