//! Leading: the loop of the coordinator that holds the election.
//!
//! Level-triggered: on any change, or after a while, it reads all records at one revision, decides (in [`jobs`],
//! `guards`, `demand` and `core::ledger`), and commits, each transaction fenced by its epoch. It keeps nothing that
//! another leader could not find in the store, but for clocks (of quarantines, of moves) and plans in the
//! making: those begin anew.

mod budget;
mod demand;
mod guards;
mod handover;
mod jobs;
#[cfg(test)]
mod scene;
mod step;
mod vigil;

pub use jobs::{At, Jobs, Known};
pub use step::{Planning, Step, tasks};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use stoke_core::job::Phase;
use stoke_core::ledger::{Allocator, Countdown};
use stoke_core::names::{JobName, Resource};
use stoke_core::units::Moment;
use stoke_store::election::Leadership;
use stoke_store::wake::Wakeups;
use stoke_store::{StoreError, Txn, TxnOutcome};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use self::guards::Guards;
use crate::intake::Stores;
use crate::metrics::{Board, Watcher};
use crate::retention::Turns;
use crate::view::{JobView, View, ViewError};
use crate::warnings;
use crate::{Leading, Shared};

/// How long at most between two looks, so that time itself is noticed (quarantines).
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long at least, so that a storm of changes does not become a storm of reads.
const LOOK_APART: Duration = Duration::from_millis(50);

/// A leader.
#[derive(Debug)]
pub(crate) struct Lead {
    shared: Arc<Shared>,
    leadership: Leadership,
    allocators: BTreeMap<Resource, Allocator>,
    countdowns: BTreeMap<Resource, Countdown>,
    lingering: demand::Lingering,
    guards: Guards,
    jobs: Jobs,
    watcher: Watcher,
    /// What cannot be read, and has been said.
    unreadable: BTreeSet<String>,
    /// What jobs are warned of, and has been said.
    warned: BTreeSet<(JobName, &'static str)>,
    tasks: TaskTracker,
    /// Ends the tasks.
    stop: CancellationToken,
}

/// How a leader's time ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It lost the election's key.
    Lost,
    /// It was told to stop, and has resigned.
    Stopped,
}

impl Lead {
    pub(crate) fn new(shared: Arc<Shared>, leadership: Leadership) -> Self {
        Self {
            shared,
            leadership,
            allocators: BTreeMap::new(),
            countdowns: BTreeMap::new(),
            lingering: demand::Lingering::default(),
            guards: Guards::default(),
            jobs: Jobs::default(),
            watcher: Watcher::default(),
            unreadable: BTreeSet::new(),
            warned: BTreeSet::new(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Leads until leadership is lost or `cancel` is called.
    ///
    /// # Errors
    /// Where a record cannot be read: it may be newer than this program, which then must not go on.
    pub(crate) async fn run(mut self, cancel: &CancellationToken) -> Result<Ended, ViewError> {
        let stop_watching = cancel.child_token();
        let mut wakeups = Wakeups::spawn(
            Arc::clone(&self.shared.store),
            View::keys(),
            stop_watching.clone(),
        );
        self.ask_prometheus();
        self.tidy_up();
        let ended = loop {
            tokio::select! {
                () = cancel.cancelled() => break Ok(Ended::Stopped),
                () = self.leadership.lost() => break Ok(Ended::Lost),
                () = wakeups.changed() => {}
                () = self.shared.intake.moved.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            let begun = std::time::Instant::now();
            let look = self.look().await;
            self.shared.metrics.looked(look.is_ok(), begun.elapsed());
            match look {
                Ok(()) => {}
                Err(ViewError::Store(error)) => tracing::warn!(
                    error = stoke_core::explain::explain(&error),
                    "could not look at the store"
                ),
                Err(error) => break Err(error),
            }
            tokio::time::sleep(LOOK_APART).await;
        };
        stop_watching.cancel();
        self.show(None);
        self.forget_guards();
        // From here on callers are told so, and plans in the making are another's.
        self.shared.leading.send_replace(Leading(None));
        self.shared.intake.retain(|_| false);
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        if !matches!(ended, Ok(Ended::Lost)) {
            self.leadership.resign().await;
        }
        ended
    }

    /// Reads, decides, commits.
    async fn look(&mut self) -> Result<(), ViewError> {
        let view = View::read(&*self.shared.store).await?;
        let received = self.shared.clock.now();
        self.tell(&view, received);
        self.warn_of_unreadable(&view);
        self.warn_of_jobs(&view);
        if self.shared.sight(&view) {
            // All quarantine clocks begin anew.
            self.allocators.clear();
        }
        let keepers = self.guard(&view, received).await?;
        self.share_budgets(&view, received, &keepers).await?;
        self.shared.intake.retain(|job| {
            view.jobs
                .get(job)
                .is_some_and(|job| job.life.value.phase == Phase::Planning)
        });
        self.jobs.look(&view, received, crate::wall_ms());
        for job in view.jobs.values() {
            self.store_complete_plan(job, &view);
            match self.further(job, &view, received).await {
                // It will refuse again, but the other jobs must not wait for this one.
                Err(error @ StoreError::Rejected { .. }) => {
                    let error = stoke_core::explain::explain(&error);
                    tracing::error!(job = %job.name, error, "could not take a job's next step");
                }
                done => done?,
            }
        }
        Ok(())
    }

    /// Tells whoever asks from outside what this look showed.
    fn tell(&mut self, view: &View, now: Moment) {
        let told = self.watcher.look(view, now);
        self.shared.metrics.taken_over(told.taken_over);
        for (entries, took) in told.planned {
            self.shared.metrics.planned(entries, took);
        }
        for state in told.ended {
            self.shared.metrics.ended(state);
        }
        self.show(Some(Board::of(view, &self.guards.wardens)));
    }

    fn show(&self, board: Option<Board>) {
        let shown = self.shared.board.lock();
        *shown.unwrap_or_else(std::sync::PoisonError::into_inner) = board;
    }

    /// Says once of each record that it cannot be read, and what that does.
    fn warn_of_unreadable(&mut self, view: &View) {
        let found = view.unreadable();
        for (error, so) in &found {
            if !self.unreadable.contains(error) {
                tracing::warn!(error, so, "cannot read a worker's record");
            }
        }
        self.unreadable = found.into_iter().map(|(error, _)| error).collect();
    }

    /// Says once of each job what it should be warned of.
    fn warn_of_jobs(&mut self, view: &View) {
        let now_ms = crate::wall_ms();
        let mut found = BTreeSet::new();
        for job in view.jobs.values() {
            for warning in warnings::of(job, now_ms) {
                let warned = (job.name.clone(), warning.kind);
                if !self.warned.contains(&warned) {
                    let (kind, what) = (warning.kind, warning.what);
                    tracing::warn!(job = %job.name, kind, what, "a job should be looked at");
                }
                found.insert(warned);
            }
        }
        // One that comes and goes was said: only of a job that is here no more nothing is kept.
        self.warned.retain(|(job, _)| view.jobs.contains_key(job));
        self.warned.extend(found);
    }

    /// Takes a job's next step.
    async fn further(&self, job: &JobView, view: &View, now: Moment) -> Result<(), StoreError> {
        let known = Known {
            planning: self.shared.intake.planning(&job.name),
            spent: self.shared.intake.spent(&job.name),
        };
        let at = At {
            now,
            wall_ms: crate::wall_ms(),
            timing: self.shared.settings.timing,
        };
        let Some(step) = self.jobs.next(job, view, known, at) else {
            return Ok(());
        };
        // Before anybody can read of it: a worker may be quicker than the answer. Not committed, it is begun again.
        if let Some(attempt) = step.begins_attempt {
            self.shared.intake.begin(job, attempt);
        }
        if self.commit(step.txn).await? {
            // There may be a next step at once.
            self.shared.intake.moved.notify_one();
        }
        Ok(())
    }

    /// Ranks and stores the plan of a job whose sources have all been read, beside everything else.
    fn store_complete_plan(&self, job: &JobView, view: &View) {
        let Some(complete) = self.shared.intake.take_complete(&job.name) else {
            return;
        };
        let workers = view
            .members
            .values()
            .filter(|member| job.unfit(member).is_none())
            .count();
        let (shared, job, epoch) = (Arc::clone(&self.shared), job.clone(), self.leadership.epoch);
        let stop = self.stop.clone();
        let storing = async move {
            let intake = &shared.intake;
            let stores = Stores {
                records: &*shared.store,
                plans: &shared.plans,
                ranking: &shared.ranking,
            };
            let storing = intake.store(&job, complete, stores, epoch, workers);
            // What a leader that is none any more has stored counts nowhere.
            let _: Option<()> = stop.run_until_cancelled(storing).await;
        };
        self.tasks.spawn(storing.in_current_span());
    }

    /// Begins to remove what is kept no longer, beside everything else.
    fn tidy_up(&self) {
        let turns = Turns::new(Arc::clone(&self.shared), self.leadership.compare());
        let stop = self.stop.clone();
        let tidying = async move {
            let _: Option<()> = stop.run_until_cancelled(turns.run()).await;
        };
        self.tasks.spawn(tidying.in_current_span());
    }

    /// Commits a transaction under this leader's epoch. Refused: something changed meanwhile; the next look decides
    /// anew. So it does where the outcome is unknown.
    async fn commit(&self, txn: Txn) -> Result<bool, StoreError> {
        match self.shared.store.txn(self.fenced(txn)).await {
            Ok(outcome) => Ok(matches!(outcome, TxnOutcome::Committed(_))),
            Err(StoreError::Unknown { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn fenced(&self, mut txn: Txn) -> Txn {
        txn.compares.push(self.leadership.compare());
        txn
    }
}
