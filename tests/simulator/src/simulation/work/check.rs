//! W1 to W5, looked at from outside: at every revision of a job's records, and at its end.

use std::collections::BTreeSet;

use stoke_core::job::{Life, Phase};
use stoke_core::names::{JobName, WorkerName};
use stoke_core::progress::{PartitionState, Position};
use stoke_core::records::FailureLog;
use stoke_core::units::PartitionId;

use super::job::{Job, Kind};
use super::operator::OPERATOR;
use crate::simulation::world::World;

impl World {
    /// # Errors
    /// What is violated, and by what.
    pub(in crate::simulation) fn check_work(&mut self) -> Result<(), String> {
        if let Some(broken) = self.broken.take() {
            return Err(broken);
        }
        for name in std::mem::take(&mut self.store.work.touched) {
            let Some(nth) = self.jobs.iter().position(|job| job.name == name) else {
                continue;
            };
            if self.jobs[nth].is_bare() {
                continue;
            }
            let told = |what| format!("{name}: {what}");
            self.check_life(nth).map_err(told)?;
            self.check_standing(nth).map_err(told)?;
            self.check_result(nth).map_err(told)?;
        }
        Ok(())
    }

    /// # Errors
    /// Which job is not over.
    pub(in crate::simulation) fn check_end(&self) -> Result<(), String> {
        let open = self
            .jobs
            .iter()
            .find(|job| !job.is_bare() && !self.is_over(job));
        open.map_or(Ok(()), |job| {
            let life = self.store.work.lives.get(&job.name);
            Err(format!(
                "W1: {} is not over, long after all has healed: {life:?}",
                job.name
            ))
        })
    }

    /// Whether all jobs have come to an end.
    pub(in crate::simulation) fn all_are_over(&self) -> bool {
        self.check_end().is_ok()
    }

    pub(in crate::simulation) fn count_jobs(&mut self) {
        for job in self.jobs.iter().filter(|job| !job.is_bare()) {
            let result = self
                .store
                .work
                .record(&job.name)
                .and_then(|record| record.result.as_ref());
            if let Some(result) = result {
                self.report.jobs += 1;
                self.report.entries += result.tally.settled();
            }
        }
    }

    fn is_over(&self, job: &Job) -> bool {
        let work = &self.store.work;
        job.seen.life.is_none()
            || work
                .life(&job.name)
                .is_some_and(|life| life.phase.is_over())
    }

    pub(in crate::simulation) fn is_aborted(&self, nth: usize) -> bool {
        let life = self.store.work.life(&self.jobs[nth].name);
        life.is_some_and(|life| life.phase == Phase::Aborted)
    }

    /// W4, and that a life goes on as lives do.
    fn check_life(&mut self, nth: usize) -> Result<(), String> {
        let work = &self.store.work;
        let job = &mut self.jobs[nth];
        let Some(life) = work.life(&job.name) else {
            return match job.seen.life {
                None => Ok(()),
                Some(_) => Err("W4: it was acknowledged, and is gone".into()),
            };
        };
        let before = job.seen.life.replace(life.clone());
        if let Some(before) = before.filter(|before| before.phase != life.phase)
            && !before.phase.may_become(life.phase)
        {
            return Err(format!(
                "its life went from {} to {}",
                before.phase, life.phase
            ));
        }
        let is_held = |life: &Life| life.holds.iter().any(|hold| hold.holder == OPERATOR);
        if job.seen.is_held && life.phase.can_be_held() && !is_held(life) {
            return Err("its operator's hold is lost".into());
        }
        if job.seen.is_aborted && !matches!(life.phase, Phase::Aborting | Phase::Aborted) {
            return Err(format!("it was told to abort, and is {}", life.phase));
        }
        if life.may_query() {
            job.stopped = None;
        } else {
            job.stopped.get_or_insert(self.now);
        }
        if life.phase == Phase::Aborted {
            return self.check_stopped(nth);
        }
        Ok(())
    }

    /// B4 at an abort's end: nothing runs of whoever owns its partitions. (A statement of a worker that had lost them before,
    /// having died, may run on until its timeout: only its session could end it.)
    fn check_stopped(&self, nth: usize) -> Result<(), String> {
        let owners = self.store.work.owners(&self.jobs[nth].name);
        let runs = |owner: &WorkerName| {
            self.running_of
                .get(&(nth, owner.clone()))
                .is_some_and(|n| *n > 0)
        };
        match owners.iter().find(|(owner, _)| runs(owner)) {
            Some((owner, _)) => Err(format!("B4: it is aborted, and a query of {owner} runs")),
            None => Ok(()),
        }
    }

    /// W1, W2 and W3 while it runs.
    fn check_standing(&mut self, nth: usize) -> Result<(), String> {
        let name = self.jobs[nth].name.clone();
        let owners = self.store.work.owners(&name);
        let mut owned: BTreeSet<PartitionId> = BTreeSet::new();
        for (worker, assignment) in &owners {
            for log in &assignment.failures {
                self.check_list(&name, log)?;
            }
            for (id, state) in &assignment.partitions {
                if !owned.insert(*id) {
                    return Err(format!("W2: two have {id:?}, one of them {worker}"));
                }
                self.check_partition(nth, *id, state)
                    .map_err(|what| format!("{what} ({id:?} of {worker})"))?;
            }
        }
        let life = self.store.work.life(&name);
        let seen = &mut self.jobs[nth].seen.standing;
        if life.is_some_and(|life| life.phase.is_over()) {
            return Ok(());
        }
        if let Some(lost) = seen.keys().find(|id| !owned.contains(id)) {
            return Err(format!("W3: nobody has {lost:?} any more"));
        }
        Ok(())
    }

    fn check_list(&self, job: &JobName, log: &FailureLog) -> Result<(), String> {
        let list = (job.clone(), log.log.clone());
        match self.plans.listed(&list, log.chunks) {
            Some(_) => Ok(()),
            None => Err(format!(
                "W1: {log:?} counts, and is not all in the plan store"
            )),
        }
    }

    fn check_partition(
        &mut self,
        nth: usize,
        id: PartitionId,
        state: &PartitionState,
    ) -> Result<(), String> {
        let job = &self.jobs[nth];
        let ranks = job.ranks.get(&id).map_or(&[][..], Vec::as_slice);
        let Position { band, rank } = state.position;
        let passed = ranks.partition_point(|entry| *entry < rank.0);
        let counted = state.tally.settled() + state.retries.len() as u64;
        if counted != passed as u64 {
            return Err(format!(
                "W1: {passed} entries are passed, and {counted} are counted or to be tried again"
            ));
        }
        let first_of_band = u64::from(band.0) * super::job::BAND_RANKS;
        if let Some(skipped) = ranks[passed..].iter().find(|entry| **entry < first_of_band) {
            return Err(format!(
                "W3: the entry of rank {skipped} is behind the position, and not counted"
            ));
        }
        let aborts = job.seen.is_aborted;
        let to_retry: BTreeSet<u64> = state.retries.iter().map(|retry| retry.rank.0).collect();
        for done in ranks[..passed]
            .iter()
            .filter(|rank| !aborts && !to_retry.contains(rank))
        {
            let entry = job.entry(*done);
            let is_found = |kind| matches!(kind, Kind::Found | Kind::Flaky(_));
            if entry.is_some_and(|entry| is_found(entry.kind) && !self.cache.had(&entry.key)) {
                return Err(format!(
                    "W3: the entry of rank {done} counts as done, and never was in the cache"
                ));
            }
        }
        let now = (state.position, state.tally.settled());
        let before = self.jobs[nth].seen.standing.insert(id, now);
        if let Some(before) = before
            && (now.0 < before.0 || now.1 < before.1)
        {
            return Err(format!("W2: it went back from {before:?} to {now:?}"));
        }
        Ok(())
    }

    /// W1 at its end.
    fn check_result(&self, nth: usize) -> Result<(), String> {
        let job = &self.jobs[nth];
        let Some(record) = self.store.work.record(&job.name) else {
            return Ok(());
        };
        if let Some(plan) = &record.plan
            && !self.plans.has(&plan.name)
        {
            return Err(format!("its plan {} is not in the plan store", plan.name));
        }
        let Some(result) = &record.result else {
            return Ok(());
        };
        let planned = record.plan.as_ref().map_or(0, |plan| plan.entries);
        let tally = result.tally;
        if tally.settled() != planned {
            return Err(format!(
                "W1: {planned} were planned, and {tally:?} is counted"
            ));
        }
        self.check_failures(nth, &result.failures, tally.failed)
    }

    /// Each failed entry is listed once.
    fn check_failures(&self, nth: usize, logs: &[FailureLog], failed: u64) -> Result<(), String> {
        let name = &self.jobs[nth].name;
        let list = |log: &FailureLog| {
            self.plans
                .listed(&(name.clone(), log.log.clone()), log.chunks)
        };
        let ranks: Vec<u64> = logs.iter().filter_map(list).flatten().collect();
        let once: BTreeSet<u64> = ranks.iter().copied().collect();
        if ranks.len() as u64 != failed || once.len() as u64 != failed {
            return Err(format!("W1: {failed} failed, and {ranks:?} are listed"));
        }
        Ok(())
    }
}
