//! The heart: reads what concerns this worker from the store, renews its grants and permits, and starts and stops its work.
//!
//! It beats every [`Timing::renew_every`](stoke_core::ledger::Timing), and at once when the store has something new.
//! Everything it acts on it reads from the store; a hint only makes it look earlier. What may be used is decided by
//! `core::ledger::Holder`, what is worked on by the assignments; the heart only carries both out.

mod leaving;
mod reading;
mod standstill;

pub use leaving::Unfinished;

use std::collections::BTreeMap;
use std::sync::Arc;

use stoke_core::explain::explain;
use stoke_core::job::Phase;
use stoke_core::ledger::{Holder, Reading, RunSeen};
use stoke_core::names::{JobName, Resource};
use stoke_core::records::{PlanningTask, keys};
use stoke_store::continuity::Restored;
use stoke_store::presence::Presence;
use stoke_store::record::RecordError;
use stoke_store::wake::Wakeups;
use stoke_store::{Keys, StoreError, TxnOutcome};
use tokio_util::sync::CancellationToken;

use crate::gate::Allowed;
use crate::job::{JobRun, TaskRun};
use crate::trouble::Cause;
use crate::vigil::Keeping;
use crate::worker::Shared;
use reading::{Mine, Records};
use standstill::Standstill;

/// How often in a row a refused renewal is decided anew before the next beat.
const RENEWALS_MAX: usize = 3;

/// Why a beat did not do all it should have.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeatError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Record(#[from] RecordError),
    #[error("the coordination store was restored from a backup: all queries stop")]
    Restored(#[from] Restored),
}

/// The heart of a worker.
pub(crate) struct Heart {
    shared: Arc<Shared>,
    holders: BTreeMap<Resource, Holder>,
    runs: BTreeMap<JobName, JobRun>,
    /// The tasks of planning that it is at.
    tasks: BTreeMap<(JobName, PlanningTask), TaskRun>,
    standstill: Standstill,
    /// The vigils that it keeps.
    vigils: BTreeMap<Resource, Keeping>,
    /// It takes its leave: nothing new is begun.
    leaves: bool,
    /// Some work was not waited for: its statements may still run.
    cut_short: bool,
}

impl Heart {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let holder = |resource: &Resource| (resource.clone(), Holder::new(shared.timing));
        let holders = shared.gates.keys().map(holder).collect();
        let standstill = Standstill::new(shared.name.clone(), shared.timing.quarantine);
        Self {
            shared,
            holders,
            runs: BTreeMap::new(),
            tasks: BTreeMap::new(),
            standstill,
            vigils: BTreeMap::new(),
            leaves: false,
            cut_short: false,
        }
    }

    /// Beats until `cancel` is cancelled; then brings all work to its end, and gives membership and grants back. Says what of
    /// that it could not do.
    pub(crate) async fn beat(
        mut self,
        cancel: CancellationToken,
        presence: Presence,
    ) -> Result<Vec<Unfinished>, RecordError> {
        let mut watched = vec![
            Keys::Prefix(keys::RUNS.to_owned()),
            Keys::Prefix(keys::READS.to_owned()),
            Keys::Prefix(keys::VIGILS.to_owned()),
        ];
        watched.extend(
            self.shared
                .gates
                .keys()
                .map(|resource| Keys::One(keys::cap(resource, &self.shared.name))),
        );
        watched.push(Keys::Prefix(keys::ASSIGNMENTS.to_owned()));
        let mut wakeups = Wakeups::spawn(
            Arc::clone(&self.shared.store),
            watched,
            // As long as this: what happens while it takes its leave concerns it, too.
            CancellationToken::new(),
        );
        let mut every = tokio::time::interval(self.shared.timing.renew_every);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut flushed_by = None;
        while !(self.leaves && self.runs.values().all(JobRun::is_over)) {
            tokio::select! {
                () = cancel.cancelled(), if !self.leaves => {
                    self.take_leave();
                    flushed_by = Some(Box::pin(tokio::time::sleep(leaving::FLUSH_MAX)));
                }
                () = leaving::over(&mut flushed_by) => break,
                () = wakeups.changed() => {}
                () = self.shared.look.notified() => {}
                _ = every.tick() => {}
            }
            if let Err(error) = self.beat_once().await {
                // What is in flight is not waited for: a newer worker's records may say anything.
                self.take_leave();
                self.end_work().await;
                return Err(error);
            }
        }
        let mut unfinished = self.end_work().await;
        // Before the grants, or they would be given anew; and not before the last checkpoint, or its work would be done again.
        presence.stop().await;
        unfinished.extend(self.release_grants().await);
        Ok(unfinished)
    }

    /// One beat, of which whoever asks is told how it went. Fails where a record cannot be read.
    async fn beat_once(&mut self) -> Result<(), RecordError> {
        let beat = self.once().await;
        self.close_surplus_connections();
        self.note(&beat);
        match beat {
            Ok(()) => {}
            Err(BeatError::Record(error)) => return Err(error),
            Err(BeatError::Restored(restored)) => {
                let quarantine = self.shared.timing.quarantine;
                tracing::error!(
                    why = %restored,
                    ?quarantine,
                    "the store was restored from a backup: all queries stop until old grants are certainly over"
                );
                self.forget_grants();
            }
            Err(BeatError::Store(error)) => {
                tracing::warn!(error = explain(&error), "could not renew");
            }
        }
        Ok(())
    }

    /// Tells whoever asks from outside how a beat went.
    fn note(&self, beat: &Result<(), BeatError>) {
        self.shared.metrics.beat(beat.is_ok());
        self.shared.health.set_jobs(self.runs.len());
        if let Err(error) = beat {
            self.shared.health.beat_failed(explain(error));
        }
    }

    /// One beat: read, renew, work.
    async fn once(&mut self) -> Result<(), BeatError> {
        let resources: Vec<Resource> = self.holders.keys().cloned().collect();
        let mut records = reading::read(&self.shared, &resources).await?;
        self.standstill.look(self.shared.clock.now(), &records)?;
        if self.stands_still(&records) {
            self.work(records);
            return Ok(());
        }
        for resource in &resources {
            for _ in 0..RENEWALS_MAX {
                if self.renew(resource, &records).await? {
                    break;
                }
                records = reading::read(&self.shared, &resources).await?;
                self.standstill.look(self.shared.clock.now(), &records)?;
            }
        }
        self.shared.health.beat_done(records.is_member);
        self.watch(&records);
        self.work(records);
        Ok(())
    }

    /// Whether nothing is renewed because the store was restored; its jobs are told why.
    fn stands_still(&mut self, records: &Records) -> bool {
        let troubles = &self.shared.troubles;
        let Some(restored) = self.standstill.lasts(self.shared.clock.now()) else {
            troubles.clear_of_all(Cause::Store);
            return false;
        };
        let mine = records.jobs.iter().filter(|(_, mine)| mine.is_held());
        let why = format!(
            "the coordination store was restored from a backup ({restored}): no queries until old grants are over"
        );
        mine.for_each(|(job, _)| troubles.note(job, Cause::Store, why.as_str()));
        true
    }

    /// Renews the grant of one resource. `false`: it was refused, something has changed.
    async fn renew(&mut self, resource: &Resource, records: &Records) -> Result<bool, BeatError> {
        let Some(holder) = self.holders.get_mut(resource) else {
            return Ok(true);
        };
        let (Some(gate), Some(found)) = (
            self.shared.gates.get(resource),
            records.resources.get(resource),
        ) else {
            return Ok(true);
        };
        let runs = |mine: &Mine| RunSeen {
            revision: mine.life.revision,
            may_query: mine.life.value.may_query(),
        };
        let reading = Reading {
            cap: found.cap,
            ack: found.ack,
            in_flight: gate.in_flight() as u64,
            runs: records
                .jobs
                .iter()
                .filter(|(_, mine)| mine.is_held())
                .map(|(j, mine)| (j.clone(), runs(mine)))
                .collect(),
        };
        if found.unlimited {
            // No budget, no ledger: what permits is the renewal of the others.
            let permits = self.permits_of_all();
            gate.allow(Allowed {
                grant: stoke_core::ledger::Grant {
                    permits,
                    ..Default::default()
                },
                unlimited: true,
            });
            return Ok(true);
        }
        let renewal = holder.read(self.shared.clock.now(), &reading);
        // It slows down before it says so. (Said each time: a cache may just have got a budget.)
        gate.allow(Allowed {
            grant: holder.grant().clone(),
            unlimited: false,
        });
        let Some(renewal) = renewal else {
            return Ok(true);
        };
        let begun = std::time::Instant::now();
        let outcome = self
            .shared
            .store
            .txn(stoke_store::ledger::txn(
                resource,
                &renewal.txn(&self.shared.name),
                None,
            ))
            .await;
        let result = match outcome {
            Ok(TxnOutcome::Committed(_)) => "ok",
            Ok(TxnOutcome::Refused) => "refused",
            Err(_) => "failed",
        };
        let metrics = &self.shared.metrics;
        metrics.renewed(resource, result, begun.elapsed());
        match outcome {
            Ok(TxnOutcome::Committed(revision)) => {
                self.standstill.acked(resource, revision);
                holder.committed(renewal, self.shared.clock.now());
                tracing::debug!(%resource, share = ?holder.grant().share, "renewed a grant");
                gate.allow(Allowed {
                    grant: holder.grant().clone(),
                    unlimited: false,
                });
                Ok(true)
            }
            Ok(TxnOutcome::Refused) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// No more connections than places, and none without a grant: what a worker that is cut off holds idle, others may need.
    fn close_surplus_connections(&self) {
        let now = self.shared.clock.now();
        for origin in self.shared.origins.iter() {
            let resource = Resource::Origin(origin.name().clone());
            let grant = self.holders.get(&resource).map(Holder::grant);
            let places = grant.map_or(0, |grant| grant.at(now).in_flight);
            origin.set_idle_max(usize::try_from(places).unwrap_or(usize::MAX));
        }
    }

    /// Each job's latest permit, whichever resource it was renewed with.
    fn permits_of_all(&self) -> BTreeMap<JobName, stoke_core::units::Moment> {
        let mut permits = BTreeMap::new();
        for (job, deadline) in self
            .holders
            .values()
            .flat_map(|holder| &holder.grant().permits)
        {
            let latest = permits.entry(job.clone()).or_insert(*deadline);
            *latest = (*latest).max(*deadline);
        }
        permits
    }

    /// Watches for what the vigils say, and keeps those that are this worker's.
    fn watch(&mut self, records: &Records) {
        for (resource, vitals) in &self.shared.vitals {
            let found = records.resources.get(resource);
            let vigil = found.and_then(|found| found.vigil.as_ref());
            vitals.watch_for(vigil);
            match vigil.filter(|vigil| vigil.keeper == self.shared.name) {
                Some(vigil) => self
                    .vigils
                    .entry(resource.clone())
                    .or_insert_with(|| Keeping::begin(&self.shared, resource))
                    .follow(vigil),
                None => drop(self.vigils.remove(resource)),
            }
        }
    }

    /// Starts, replaces and stops work as the records say.
    fn work(&mut self, records: Records) {
        self.runs.retain(|job, run| {
            let stays = records
                .jobs
                .get(job)
                .is_some_and(|mine| mine.assignment.is_some());
            if !stays {
                run.dismiss();
            }
            stays
        });
        let current = |job: &JobName, task: PlanningTask, attempt: u64| {
            records.jobs.get(job).is_some_and(|mine| {
                mine.life.value.phase == Phase::Planning
                    && mine
                        .tasks
                        .iter()
                        .any(|given| given.task == task && given.attempt == attempt)
            })
        };
        self.tasks
            .retain(|(job, task), run| current(job, *task, run.attempt()));
        for (job, mine) in records.jobs {
            let phase = mine.life.value.phase;
            for given in &mine.tasks {
                let key = (job.clone(), given.task);
                if phase == Phase::Planning && !self.leaves {
                    self.tasks.entry(key).or_insert_with(|| {
                        TaskRun::start(
                            Arc::clone(&self.shared),
                            job.clone(),
                            mine.record.clone(),
                            *given,
                        )
                    });
                } else if phase == Phase::Aborting {
                    // It was stopped above, by being dropped: confirm it.
                    TaskRun::confirm_stopped(&self.shared, &job, given);
                }
            }
            let Some(assignment) = mine.assignment else {
                continue;
            };
            let before = self.runs.remove(&job);
            let run = match before {
                Some(run) if run.follow(&assignment) || self.leaves => run,
                None if self.leaves => continue,
                before => JobRun::start(
                    Arc::clone(&self.shared),
                    job.clone(),
                    mine.record,
                    assignment,
                    before,
                ),
            };
            if phase == Phase::Aborting {
                run.abort();
            }
            self.runs.insert(job, run);
        }
    }

    fn forget_grants(&mut self) {
        for (resource, holder) in &mut self.holders {
            holder.stop();
            if let Some(gate) = self.shared.gates.get(resource) {
                gate.allow(Allowed::default());
            }
        }
    }
}
