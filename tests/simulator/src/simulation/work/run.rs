//! A worker's run of its part of a job: as `worker::job::run` does it, with a stream, goes and calls of this world's.

use std::collections::BTreeMap;

use rand::Rng;
use stoke_core::names::WorkerName;
use stoke_core::progress::Followed;
use stoke_core::units::{BandId, PartitionId};
use stoke_worker::doors::{Assigned, Brought, Part, Task};

use super::checkpoint::Write;
use super::job::{ATTEMPTS_MAX, Job, PARTITIONS};
use crate::simulation::machine::{MS, Nanos, SECOND};
use crate::simulation::world::{Event, World};

/// How many keys one query loads: few, so that small plans take several.
const BATCH_KEYS: u32 = 5;
/// How many entries may be taken and not settled.
const HELD_MAX: usize = 40;
/// How many goes may ask the cache at one time.
const PROBES_MAX: usize = 4;
/// How many entries to retry ask the cache in one go.
const RETRIES_PER_GO: usize = 10;
/// How often a checkpoint is written.
const CHECKPOINT_EVERY: Nanos = SECOND;
/// How long between two looks for something to do, at most.
const IDLE_MAX: Nanos = 200 * MS;
/// One stream in so many breaks inside a band.
const BREAKS_ONE_IN: u32 = 8;

/// Why a run stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The job is aborted.
    Abort,
    /// The worker leaves.
    Leave,
}

/// One run.
#[derive(Debug)]
pub(in crate::simulation) struct Run {
    pub(super) number: u64,
    pub(super) part: Part,
    /// The assignment's revision.
    revision: u64,
    /// Another assignment, not followed yet.
    given: Option<Assigned>,
    pub(super) stop: Option<Stop>,
    /// Where the stream stands, and from which band it brings each partition.
    next_band: BandId,
    starts: BTreeMap<PartitionId, BandId>,
    streams: bool,
    pub(super) probes: usize,
    pub(super) goes: usize,
    /// Those of the runs before it, by their number, whose assignments were replaced: nothing is confirmed before they have
    /// ended.
    pub(super) goes_before: BTreeMap<u64, usize>,
    pub(super) write: Option<Write>,
    /// When it last began to write a checkpoint.
    pub(super) wrote: Nanos,
    /// Nothing is loaded until then.
    pub(super) outage_until: Nanos,
    /// Its last checkpoint is written.
    pub(super) is_over: bool,
}

impl Run {
    pub(super) fn new(number: u64, worker: WorkerName, job: &Job, assigned: Assigned) -> Self {
        let revision = assigned.revision;
        let loaders = vec!["product".to_owned()];
        let name = job.name.clone();
        let batches = vec![BATCH_KEYS.into()];
        let part = Part::new(
            worker,
            name,
            assigned,
            PARTITIONS,
            batches,
            loaders,
            ATTEMPTS_MAX,
        );
        let mut run = Self {
            number,
            part,
            revision,
            given: None,
            stop: None,
            next_band: BandId(0),
            starts: BTreeMap::new(),
            streams: false,
            probes: 0,
            goes: 0,
            goes_before: BTreeMap::new(),
            write: None,
            wrote: 0,
            outage_until: 0,
            is_over: false,
        };
        run.open();
        run
    }

    pub(super) const fn is_over(&self) -> bool {
        self.is_over
    }

    /// The assignment under which its last checkpoint was written, or 0.
    pub(super) const fn confirmed(&self) -> u64 {
        if self.is_over { self.revision } else { 0 }
    }

    /// The store has this assignment now.
    pub(super) fn offer(&mut self, assigned: Assigned) {
        let known = self
            .given
            .as_ref()
            .map_or(self.revision, |given| given.revision);
        if assigned.revision > known {
            self.given = Some(assigned);
        }
    }

    /// Nothing more is sent. A checkpoint that is being written is given up: it may or may not arrive.
    pub(super) fn abort(&mut self) {
        if self.stop == Some(Stop::Abort) {
            return;
        }
        self.stop = Some(Stop::Abort);
        if self.write.take_if(|write| !write.is_last).is_some() {
            self.part.keeper().unknown();
        }
    }

    /// Nothing more is begun.
    pub(super) const fn leave(&mut self) {
        if self.stop.is_none() {
            self.stop = Some(Stop::Leave);
        }
    }

    fn open(&mut self) {
        self.starts = self.part.open();
        let first = self.starts.values().min().copied();
        self.next_band = first.unwrap_or_default();
        self.streams = true;
    }

    fn may_take(&self) -> bool {
        self.streams && self.probes < PROBES_MAX && self.part.held() < HELD_MAX
    }

    /// What the stream brings next: a band, or, where it breaks, some of it. From where it broke it is opened again.
    fn bring(&mut self, job: &Job, breaks: bool) -> Vec<Task> {
        if self.starts.is_empty() || self.next_band.0 >= job.bands() {
            self.streams = false;
            return self.part.take(None);
        }
        let (band, starts) = (self.next_band, &self.starts);
        let mut tasks = job.tasks(band, |id| {
            starts.get(&id).is_some_and(|first| *first <= band)
        });
        if breaks {
            tasks.truncate(tasks.len() / 2);
            return self.part.take(Some(Brought::Entries(tasks)));
        }
        let taken = self.part.take(Some(Brought::Entries(tasks)));
        self.part.take(Some(Brought::BandComplete(band)));
        self.next_band = BandId(band.0 + 1);
        taken
    }
}

impl World {
    /// Time to look for something to do.
    pub(in crate::simulation) fn run(&mut self, nth: usize, life: u32, job: usize, number: u64) {
        let (now, at) = (self.now, self.store.instant(self.now));
        let breaks = self.rng.random_ratio(1, BREAKS_ONE_IN);
        let Some(run) = self.workers[nth].runs.get_mut(&job) else {
            return;
        };
        if run.number != number || run.is_over {
            return;
        }
        if run.stop.is_none() {
            let mut tasks = Vec::new();
            if run.part.failures_waiting() < HELD_MAX {
                tasks.extend(run.part.due(at, RETRIES_PER_GO));
            }
            if run.may_take() {
                tasks.extend(run.bring(&self.jobs[job], breaks));
            }
            let (number, mode) = (run.number, self.jobs[job].mode);
            self.ask_cache(nth, job, number, mode, tasks);
        }
        let run = self.workers[nth].runs.get_mut(&job);
        let due = |run: &&mut Run| {
            run.stop.is_none() && run.write.is_none() && now >= run.wrote + CHECKPOINT_EVERY
        };
        if run.filter(due).is_some() {
            self.checkpoint(nth, job);
        }
        self.turn(nth, job);
        let idle = self.rng.random_range(MS..IDLE_MAX);
        self.after(idle, Event::Run(nth, life, job, number));
    }

    /// Follows what has changed, and writes what must be written at once.
    pub(in crate::simulation) fn turn(&mut self, nth: usize, job: usize) {
        let Some(run) = self.workers[nth].runs.get_mut(&job) else {
            return;
        };
        if run.is_over || run.write.is_some() {
            return;
        }
        if let Some(given) = run.given.take() {
            run.revision = given.revision;
            match run.part.follow(given.clone()) {
                Followed::On => {}
                Followed::Opens => run.open(),
                Followed::Anew => return self.begin_anew(nth, job, given),
            }
        }
        if run.stop.is_some() {
            if run.goes == 0 {
                run.part.all_gone();
            }
            let all_have_ended = run.part.may_end() && run.goes_before.is_empty();
            if all_have_ended && !run.part.is_superseded() {
                self.end(nth, job);
            }
        } else if run.part.just_done(run.goes > 0) || run.part.all_may_go() {
            self.checkpoint(nth, job);
        }
    }

    fn begin_anew(&mut self, nth: usize, job: usize, given: Assigned) {
        self.runs_started += 1;
        let worker = &mut self.workers[nth];
        let mut run = Run::new(
            self.runs_started,
            worker.name.clone(),
            &self.jobs[job],
            given,
        );
        if let Some(before) = worker.runs.remove(&job) {
            run.stop = before.stop;
            run.goes_before = before.goes_before;
            if before.goes > 0 {
                run.goes_before.insert(before.number, before.goes);
            }
        }
        let life = worker.machine.life;
        worker.runs.insert(job, run);
        self.after(MS, Event::Run(nth, life, job, self.runs_started));
    }
}
