//! The loop of one run: takes entries from the stream, keeps goes in flight, and writes checkpoints.
//!
//! One task owns everything here; goes are tasks of their own (`run/goes.rs`), and give back what they were given. What is decided
//! about entries and partitions is its [`Part`]'s to say. How checkpoints are written is in `run/writing.rs`. Bounds: entries taken
//! and not settled ([`OPEN_MAX`]), goes that ask the cache ([`PROBES_MAX`]), goes that load ([`LOADS_MAX`], and the grant's queries
//! in flight), entries to retry (the tracker's).

mod entrances;
mod goes;
mod writing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::select_all;
use stoke_core::batch_keys::BatchKeys;
use stoke_core::job::{Mode, Work};
use stoke_core::names::JobName;
use stoke_core::plan::PlanSummary;
use stoke_core::progress::{Followed, Outcome};
use stoke_core::records::Job;
use stoke_core::units::{PartitionId, Rank};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::backoff::FIRST_AFTER;
use super::entries::{self, Brought, Task};
use super::joint::Lacking;
use super::load::{AllBegun, Gave, Goer, Verdict};
use super::part::{Part, Settled};
use super::presence::Presence;
use super::{Assigned, Stop, recipe};
use crate::catalog::LoaderSpec;
use crate::gate::Waiting;
use crate::trouble::{Cause, Troubled};
use crate::worker::Shared;
pub(super) use goes::Goes;

use entrances::{Entrances, entrances};

/// How many entries may be taken and not settled: what a crash repeats, and what memory holds.
const OPEN_MAX: usize = 20_000;
/// How many goes may ask the cache at one time.
const PROBES_MAX: usize = 4;
/// How many goes may load at one time, whatever the grant says: each holds a batch.
const LOADS_MAX: usize = 64;
/// How many ranges of scans are read at one time: each holds two pages.
const SCANS_MAX: usize = 4;
/// How often a checkpoint is written, where there is anything new.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// As many failed entries are listed at once, without waiting for the next checkpoint's time.
const FAILURES_MAX: usize = 2_000;
/// With so many failed entries that are not listed yet, nothing new is taken or loaded: lists cannot be stored, and memory must
/// not hold them all. What is under way then, at most [`OPEN_MAX`] and a chunk, may still join them.
const FAILURES_HELD_MAX: usize = 3 * FAILURES_MAX;
/// How long between two loads at most while the origin is out of reach.
const OUTAGE_PAUSE_MAX: Duration = Duration::from_secs(5);
/// How many entries to retry ask the cache in one go.
const RETRIES_PER_GO: usize = 2_000;

/// What a run can get into, beside what its caches are in.
const TROUBLES: [Cause; 4] = [
    Cause::Entries,
    Cause::Origin,
    Cause::Retries,
    Cause::Checkpoint,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Probe,
    Load,
    /// Of a range of a scan.
    Scan(PartitionId, Rank),
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The present assignment does not go on from what it did: begin anew where that says.
    Anew,
    /// It was told to stop, and its last checkpoint says all that it did.
    Complete,
    /// It cannot go on.
    Broken,
}

/// Entries on their way, and the task that brings them.
struct Stream {
    incoming: mpsc::Receiver<Brought>,
    _bringing: AbortOnDropHandle<()>,
}

/// One run: of an assignment, and of those that follow it.
pub(super) struct Run {
    shared: Arc<Shared>,
    job: JobName,
    priority: u32,
    plan: Option<PlanSummary>,
    goer: Option<Goer>,
    stop: Stop,
    /// What its goes have not sent yet is not sent.
    unsent: CancellationToken,
    /// The assignment that the store has.
    given: watch::Receiver<Assigned>,
    part: Part,
    presence: Presence,
    goes: Goes,
    /// Those of the run before, whose assignment was replaced: what they give counts nowhere, but no stop is confirmed while
    /// one of their statements may run.
    goes_before: Goes,
    probes: usize,
    loads: usize,
    /// Ranges that are being read, each with what ends that.
    scans: BTreeMap<(PartitionId, Rank), CancellationToken>,
    /// Until when nothing is loaded, because the origin is out of reach; and for how long that was.
    outage: Option<(Instant, Duration)>,
    /// Until when failed entries are not listed, because that just failed.
    list_again: Instant,
    _troubled: Troubled,
}

impl Run {
    pub(super) fn new(
        shared: Arc<Shared>,
        job: JobName,
        record: &Job,
        mut given: watch::Receiver<Assigned>,
        stop: Stop,
        goes_before: Goes,
    ) -> Self {
        let unsent = stop.leave.child_token();
        let Work::Batch(batch) = &record.spec.work;
        let assigned = given.borrow_and_update().clone();
        let causes = batch.caches().enumerate().map(|(n, _)| Cause::Cache(n));
        let causes = TROUBLES.into_iter().chain(causes);
        let loaders = recipe::loaders(batch, &shared.catalog);
        let known = || loaders.iter().flatten();
        let part = Part::new(
            shared.name.clone(),
            job.clone(),
            assigned,
            // Without a plan nothing is done.
            record.plan.as_ref().map_or(1, |p| p.partitioning.count()),
            known().map(|loader| batch_keys(loader)).collect(),
            known().map(|l| l.name.to_string()).collect(),
            batch.attempts_max,
        );
        let goer = loaders.map(|loaders| Goer {
            shared: Arc::clone(&shared),
            job: job.clone(),
            priority: record.spec.priority,
            caches: batch.caches().cloned().collect(),
            mode: batch.mode,
            loaders,
            stop: stop.token.clone(),
            leave: unsent.clone(),
            trace: record.trace.as_str().into(),
            attempts_max: batch.attempts_max,
            begun: AllBegun::default(),
        });
        Self {
            _troubled: Troubled::by(&shared, &job, causes.collect::<Vec<_>>()),
            shared,
            job,
            priority: record.spec.priority,
            plan: record.plan.clone(),
            goer,
            stop,
            unsent,
            given,
            part,
            presence: Presence::default(),
            goes: Goes::default(),
            goes_before,
            probes: 0,
            loads: 0,
            scans: BTreeMap::new(),
            outage: None,
            list_again: Instant::now(),
        }
    }

    /// Works until told to stop, or until it must begin anew. Gives back the goes that are in flight then.
    pub(super) async fn work(mut self) -> (Ended, Goes) {
        let ended = self.work_on().await;
        self.unsent.cancel();
        self.goes_before.join(self.goes);
        (ended, self.goes_before)
    }

    async fn work_on(&mut self) -> Ended {
        let (Some(plan), Some(goer)) = (self.plan.clone(), self.goer.clone()) else {
            tracing::error!(job = %self.job, "this worker's configuration does not have what the job needs any more");
            return Ended::Broken;
        };
        tracing::info!(partitions = self.part.states().len(), "works on a job");
        match self.go_on(&plan, goer).await {
            Followed::Anew => {
                tracing::info!(job = %self.job, "left an assignment, which another has replaced");
                Ended::Anew
            }
            Followed::On | Followed::Opens => self.end().await,
        }
    }

    /// Takes entries and keeps goes in flight until told to stop.
    async fn go_on(&mut self, plan: &PlanSummary, goer: Goer) -> Followed {
        let mut stream = self.open_stream(plan);
        let entrances = entrances(&self.shared, &goer);
        let mut checkpoint = tokio::time::interval(CHECKPOINT_EVERY);
        checkpoint.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let may_go_on = self.part.failures_waiting() < FAILURES_HELD_MAX;
            let may_take = may_go_on
                && !self.part.is_exhausted()
                && self.probes < PROBES_MAX
                && self.part.held() < OPEN_MAX;
            // Told from here on, so that nothing is missed between the look and the wait.
            let mut passed: Vec<_> = entrances
                .values()
                .map(|e| Box::pin(e.gate.passed()))
                .collect();
            for passed in &mut passed {
                passed.as_mut().enable();
            }
            if may_go_on {
                self.start_load(&goer, &entrances, may_take);
            }
            let due = self.part.next_due();
            let resumes = self
                .outage
                .map(|(until, _)| until)
                .filter(|until| *until > Instant::now());
            tokio::select! {
                () = self.stop.token.cancelled() => return Followed::On,
                () = self.stop.leave.cancelled() => return Followed::On,
                Ok(()) = self.given.changed() => match self.follow() {
                    Followed::Anew => return Followed::Anew,
                    Followed::Opens => stream = self.open_stream(plan),
                    Followed::On => {}
                },
                Some((kind, gave)) = self.goes.next() => self.settle(kind, gave),
                Some(_) = self.goes_before.next() => {}
                brought = stream.incoming.recv(), if may_take => {
                    let taken = self.part.take(brought);
                    self.begin_first(taken, &goer);
                }
                () = until(due), if due.is_some() && may_go_on && self.probes < PROBES_MAX => {
                    let due = self.part.due(Instant::now(), RETRIES_PER_GO);
                    self.begin(due, &goer);
                }
                () = until(resumes), if resumes.is_some() => {}
                _ = select_all(passed) => {}
                _ = checkpoint.tick() => self.checkpoint().await,
            }
            let just_done = self.part.just_done(!self.goes.is_empty());
            let must_list =
                self.part.failures_waiting() >= FAILURES_MAX && Instant::now() >= self.list_again;
            if just_done || must_list || self.part.all_may_go() {
                self.checkpoint().await;
            }
        }
    }

    /// Opens the stream of entries, of each partition from where it stands.
    fn open_stream(&mut self, plan: &PlanSummary) -> Stream {
        let (sink, incoming) = mpsc::channel(2);
        let (shared, job, plan) = (Arc::clone(&self.shared), self.job.clone(), plan.clone());
        let starts = self.part.open();
        let bringing = async move { entries::bring(&shared, &job, &plan, starts, sink).await };
        Stream {
            incoming,
            _bringing: AbortOnDropHandle::new(tokio::spawn(bringing.in_current_span())),
        }
    }

    /// Follows the assignment that the store has now, where it can.
    fn follow(&mut self) -> Followed {
        let assigned = self.given.borrow_and_update().clone();
        let followed = self.part.follow(assigned);
        // A range takes its time: what leaves is not waited for.
        for ((partition, _), ends) in &self.scans {
            if self.part.has_left(*partition) {
                ends.cancel();
            }
        }
        followed
    }

    /// Begins with entries that the stream brought: asks the cache first, unless that does not pay.
    fn begin_first(&mut self, tasks: Vec<Task>, goer: &Goer) {
        if tasks.is_empty() || !goer.may_load_unasked() || self.presence.asks() {
            self.begin(tasks, goer);
        } else {
            tasks.into_iter().for_each(|task| self.part.queue(task));
        }
    }

    /// Asks the cache first, but where everything is overwritten.
    fn begin(&mut self, tasks: Vec<Task>, goer: &Goer) {
        let (ranges, tasks) = (tasks.into_iter()).partition::<Vec<_>, _>(|task| goer.scans(task));
        // Whether their rows are there is asked when they are read.
        ranges.into_iter().for_each(|task| self.part.queue(task));
        if tasks.is_empty() {
            return;
        }
        if goer.mode == Mode::Overwrite {
            tasks.into_iter().for_each(|task| self.part.queue(task));
            return;
        }
        self.probes += 1;
        self.part.begin(&tasks);
        let (span, goer) = (goer.probe_span(&tasks), goer.clone());
        let going = async move { goer.probe(tasks).await };
        self.goes.begin(Kind::Probe, going.instrument(span));
    }

    /// Starts a load of the next batch that is ready, where one may begin at its origin.
    fn start_load(&mut self, goer: &Goer, entrances: &Entrances, may_take: bool) {
        let in_outage = self.outage.is_some_and(|(until, _)| Instant::now() < until);
        if self.loads >= LOADS_MAX || in_outage {
            return;
        }
        let may_load = |loader: usize| {
            let loader = goer.loaders.get(loader);
            let may_scan = self.scans.len() < SCANS_MAX;
            let loader = loader.filter(|loader| loader.scan.is_none() || may_scan);
            let entrance = loader.and_then(|loader| entrances.get(&loader.origin));
            entrance.is_some_and(|e| e.may_load(&self.job, self.priority, self.loads))
        };
        // Nothing comes that could fill a batch: the stream has ended, or waits for us.
        let is_fed = !self.part.is_exhausted() && (may_take || self.loads > 0);
        let nothing_more = self.probes == 0 && !is_fed;
        let Some(batch) = self.part.next_batch(nothing_more, may_load) else {
            return;
        };
        self.loads += 1;
        self.part.begin(&batch);
        let (span, goer) = (goer.load_span(&batch), goer.clone());
        let coming = goer.gate_of(&batch);
        let coming = coming.map(|gate| Waiting::at(gate, self.job.clone(), self.priority));
        let range = batch.first().filter(|task| goer.scans(task)).cloned();
        if let Some(task) = range {
            let (at, ends) = ((task.partition, task.rank), goer.leave.child_token());
            self.scans.insert(at, ends.clone());
            let going = async move { goer.scan(task, ends, coming).await };
            self.goes
                .begin(Kind::Scan(at.0, at.1), going.instrument(span));
            return;
        }
        let going = async move { goer.load(batch, coming).await };
        self.goes.begin(Kind::Load, going.instrument(span));
    }

    fn settle(&mut self, kind: Kind, gave: Gave) {
        match kind {
            Kind::Probe => {
                self.probes -= 1;
                let is_present = |verdict: &Verdict| *verdict == Verdict::Done(Outcome::Present);
                let present = gave.verdicts.iter().filter(|(_, v)| is_present(v)).count();
                // What only some caches have spares their writes: that pays, too.
                let is_in_some = |task: &&Task| task.lacking != Lacking::EVERYWHERE;
                let in_some = gave.missing.iter().filter(is_in_some).count();
                self.presence
                    .saw(gave.verdicts.len() + gave.missing.len(), present + in_some);
            }
            Kind::Load | Kind::Scan(..) => {
                self.loads -= 1;
                self.note_outage(gave.outage, !gave.verdicts.is_empty());
            }
        }
        if let Kind::Scan(partition, rank) = kind {
            self.scans.remove(&(partition, rank));
        }
        self.part.spend(gave.effort);
        if let Some((loader, load)) = &gave.load {
            self.part.saw(*loader, load);
        }
        for task in gave.missing {
            self.part.missing(task);
        }
        let (now, metrics) = (Instant::now(), &self.shared.metrics);
        let (mut settled, mut again) = (BTreeMap::<Outcome, u64>::new(), None);
        for (task, verdict) in gave.verdicts {
            let random = match verdict {
                Verdict::Again(_) => rand::random_range(0.0..1.0),
                _ => 0.0,
            };
            match self.part.settle(task, verdict, now, random) {
                Settled::Done(outcome) => *settled.entry(outcome).or_default() += 1,
                Settled::Failed => *settled.entry(Outcome::Failed).or_default() += 1,
                Settled::Read(rows) => metrics.settled_rows(rows),
                Settled::Again(reason) => {
                    metrics.retried();
                    again = Some(reason);
                }
            }
        }
        for (outcome, entries) in settled {
            metrics.settled(outcome, entries);
        }
        self.note_retries(again);
    }

    fn note_retries(&self, again: Option<String>) {
        let (some, troubles) = (self.part.retrying(), &self.shared.troubles);
        if some == 0 {
            troubles.clear(&self.job, Cause::Retries);
        } else if let Some(reason) = again {
            let text = format!("{some} entries are tried again: {reason}");
            troubles.note(&self.job, Cause::Retries, text);
        }
    }

    /// While the origin is out of reach, loads are tried again less and less often, until one gets an answer.
    fn note_outage(&mut self, outage: bool, answered: bool) {
        if outage {
            let longer = self.outage.map_or(FIRST_AFTER, |(_, before)| before * 2);
            let pause = longer.min(OUTAGE_PAUSE_MAX);
            self.outage = Some((Instant::now() + pause, pause));
        } else if answered {
            self.outage = None;
        }
    }
}

/// How many entries of a loader go into one load: of one that scans, each is a range of its own.
fn batch_keys(loader: &LoaderSpec) -> BatchKeys {
    match loader.scan {
        Some(_) => BatchKeys::from(1),
        None => loader.batch_keys,
    }
}

async fn until(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}
