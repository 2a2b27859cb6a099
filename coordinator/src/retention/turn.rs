//! Takes turns at removing what is kept no longer, beside all else that a leader does.
//!
//! A turn does a bounded amount; what it leaves the next one finds. Every write compares the leader's key. What could not be
//! committed, or of which nothing is known, is looked at anew.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use stoke_core::job::Life;
use stoke_core::names::JobName;
use stoke_core::records::{self, Past, PlanStoreId, Request, keys};
use stoke_store::{Compare, KeyValue, Keys, Op, Snapshot, StoreError, Txn, TxnOutcome, record};

use super::Retention;
use super::age::{Settled, Wall, is_older};
use super::keep::{Owner, Owners, keeps, parse};
use super::lent::is_lent;
use super::orphans::{deletions, orphans, ranges};
use super::past::{OverJob, Wanted, forget, read_past};
use crate::Shared;
use crate::metrics::Retired;
use crate::plan_store::{PlanStoreError, Removed, Stored};
use crate::view::ViewError;

/// How long at most until a leader's first turn, so that one follows though leaders change often.
const FIRST_MAX: Duration = Duration::from_secs(60);
/// How long until the next turn where one has left something.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How many jobs one turn forgets.
const JOBS_MAX: u64 = 100;
/// How many objects that no job names one turn removes.
const OBJECTS_MAX: u64 = 10_000;
/// How many records are read at once, of those of which there may be thousands.
const PAGE: usize = 100;
/// How many such pages one turn reads of each kind.
const PAGES_MAX: usize = 20;
/// How many jobs are asked for at once, by three keys each: a read has few ranges.
const OWNERS_MAX: usize = 40;
/// How many objects are decided on at once.
const OBJECTS_AT_ONCE: usize = 1000;

/// Why a turn was broken off.
#[derive(Debug, thiserror::Error)]
enum TurnError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Records(#[from] ViewError),
    #[error(transparent)]
    Plans(#[from] PlanStoreError),
}

/// What a turn did.
#[derive(Clone, Copy, Debug, Default)]
struct Done {
    jobs: u64,
    records: u64,
    removed: Removed,
    /// There is more to do than one turn does.
    is_more: bool,
}

/// One leader's turns.
#[derive(Debug)]
pub(crate) struct Turns {
    shared: Arc<Shared>,
    leader: Compare,
    retention: Retention,
    wall: Wall,
    /// What has stood long enough to be forgotten, and to be an orphan.
    settled: [Settled; 2],
    /// Where the next turn goes on in the jobs that are over, and in the requests: they may be more than one turn reads.
    after: [String; 2],
    /// It was said that the plan store is another cluster's.
    said: bool,
}

impl Turns {
    pub(crate) fn new(shared: Arc<Shared>, leader: Compare) -> Self {
        let retention = shared.settings.retention;
        Self {
            leader,
            retention,
            wall: Wall::new(shared.clock.now(), crate::wall_ms()),
            settled: [retention.shortest(), retention.orphans].map(Settled::new),
            after: Default::default(),
            said: false,
            shared,
        }
    }

    /// Takes turns until it is dropped.
    pub(crate) async fn run(mut self) {
        let every = self.retention.every();
        let mut wait = every.min(FIRST_MAX);
        loop {
            tokio::time::sleep(wait).await;
            let mut done = Done::default();
            let taken = self.take(&mut done).await;
            self.tell(&done);
            if let Err(error) = &taken {
                let error = stoke_core::explain::explain(error);
                tracing::warn!(error, "could not remove all that is kept no longer");
            }
            wait = if taken.is_ok() && done.is_more {
                AGAIN_AFTER.min(every)
            } else {
                every
            };
        }
    }

    fn tell(&self, done: &Done) {
        let Done {
            jobs,
            records,
            removed: Removed { objects, bytes },
            ..
        } = *done;
        self.shared.metrics.retired(Retired::Record, records);
        self.shared.metrics.retired(Retired::Object, objects);
        self.shared.metrics.retired(Retired::Job, jobs);
        if jobs + records + objects > 0 {
            tracing::info!(
                jobs,
                records,
                objects,
                bytes,
                "removed what is kept no longer"
            );
        }
    }

    async fn take(&mut self, done: &mut Done) -> Result<(), TurnError> {
        let now = self.shared.clock.now();
        let now_ms = self.wall.believed_ms(now, crate::wall_ms());
        let snapshot = self.shared.store.read(&ranges()).await?;
        for settled in &mut self.settled {
            settled.look(now, snapshot.revision);
        }
        self.remove_records(&snapshot, done).await?;
        self.remove_requests(done).await?;
        self.forget_jobs(now_ms, done).await?;
        if self.owns_plan_store().await? {
            self.remove_objects(now_ms, done).await?;
        }
        Ok(())
    }

    /// Forgets jobs that have been over for long enough.
    async fn forget_jobs(&mut self, now_ms: u64, done: &mut Done) -> Result<(), TurnError> {
        let Some(over_for) = self.retention.jobs else {
            return Ok(());
        };
        let wanted = Wanted {
            over_for,
            now_ms,
            phases: Vec::new(),
            settled: Some(self.settled[0].until()),
        };
        let mut after = std::mem::take(&mut self.after[0]).max(wanted.begin());
        for _ in 0..PAGES_MAX {
            let page = read_past(&*self.shared.store, &after, PAGE).await?;
            for job in page.jobs.iter().filter(|job| wanted.wants(job)) {
                if self.forget(job).await? {
                    done.jobs += 1;
                    done.removed += self.shared.plans.remove_job(&job.name).await?;
                }
            }
            match page.next {
                None => return Ok(()),
                Some(next) => after = next,
            }
            if done.jobs >= JOBS_MAX {
                break;
            }
        }
        self.after[0] = after;
        done.is_more = true;
        Ok(())
    }

    /// Forgets a job; `false` where another is yet to read of it, or it has changed.
    async fn forget(&self, job: &OverJob) -> Result<bool, TurnError> {
        let _alone = self.shared.creating.lock().await;
        if is_lent(&*self.shared.store, &job.name).await? {
            return Ok(false);
        }
        Ok(self.commit(forget(job)).await?)
    }

    /// Removes records of jobs that are not there.
    async fn remove_records(&self, snapshot: &Snapshot, done: &mut Done) -> Result<(), TurnError> {
        let orphans = orphans(&snapshot.entries, self.settled[1].until());
        for txn in deletions(&orphans) {
            self.delete(txn, done).await?;
        }
        Ok(())
    }

    /// Removes the ids of requests whose jobs are forgotten: the same id makes another job then.
    async fn remove_requests(&mut self, done: &mut Done) -> Result<(), TurnError> {
        let settled = self.settled[1].until();
        let mut after = std::mem::take(&mut self.after[1]);
        for _ in 0..PAGES_MAX {
            let page = Keys::Page {
                prefix: keys::REQUESTS.to_owned(),
                after,
                limit: OWNERS_MAX,
            };
            let entries = self.shared.store.read(&[page]).await?.entries;
            let made: Vec<(JobName, &KeyValue)> = entries
                .iter()
                .filter(|entry| entry.mod_revision <= settled)
                .filter_map(|entry| Some((record::decode::<Request>(entry).ok()?.job, entry)))
                .collect();
            let jobs = made.iter().map(|(job, _)| job.clone()).collect();
            let owners = self.owners(&jobs).await?;
            let gone: Vec<&KeyValue> = made
                .iter()
                .filter(|(job, _)| owners.get(job) == Some(&Owner::Nobody))
                .map(|(_, entry)| *entry)
                .collect();
            for txn in deletions(&gone) {
                self.delete(txn, done).await?;
            }
            match entries.last() {
                Some(last) if entries.len() == OWNERS_MAX => after = last.key.clone(),
                _ => return Ok(()),
            }
        }
        self.after[1] = after;
        Ok(())
    }

    /// Removes objects that no job names.
    async fn remove_objects(&self, now_ms: u64, done: &mut Done) -> Result<(), TurnError> {
        let mut objects = self.shared.plans.objects();
        let mut few: Vec<Stored> = Vec::new();
        let mut jobs = BTreeSet::new();
        let begun = done.removed.objects;
        while let Some(object) = objects.next().await {
            let object = object?;
            if !is_older(object.modified_ms, now_ms, self.retention.orphans) {
                continue;
            }
            jobs.extend(parse(&object.name).map(|(job, _)| job));
            few.push(object);
            if few.len() < OBJECTS_AT_ONCE && jobs.len() < OWNERS_MAX {
                continue;
            }
            let (few, jobs) = (std::mem::take(&mut few), std::mem::take(&mut jobs));
            self.remove_garbage(few, &jobs, done).await?;
            if done.removed.objects - begun >= OBJECTS_MAX {
                done.is_more = true;
                return Ok(());
            }
        }
        self.remove_garbage(few, &jobs, done).await
    }

    /// Of these objects, which were listed before, removes those that no job names now.
    async fn remove_garbage(
        &self,
        mut objects: Vec<Stored>,
        jobs: &BTreeSet<JobName>,
        done: &mut Done,
    ) -> Result<(), TurnError> {
        let owners = self.owners(jobs).await?;
        objects.retain(|object| {
            parse(&object.name).is_some_and(|(job, object)| {
                owners.get(&job).is_some_and(|owner| !keeps(owner, &object))
            })
        });
        if !objects.is_empty() {
            done.removed += self.shared.plans.remove(objects).await?;
        }
        Ok(())
    }

    /// What there is of these jobs, at one revision for each few of them.
    async fn owners(&self, jobs: &BTreeSet<JobName>) -> Result<Owners, StoreError> {
        let jobs: Vec<&JobName> = jobs.iter().collect();
        let mut owners = Owners::new();
        for few in jobs.chunks(OWNERS_MAX) {
            let of = |job: &&JobName| [keys::job(job), keys::run(job), keys::past(job)];
            let ranges: Vec<Keys> = few.iter().flat_map(of).map(Keys::One).collect();
            let found = self.shared.store.read(&ranges).await?.entries;
            let owner = |job: &&JobName| ((*job).clone(), owner(job, &found));
            owners.extend(few.iter().map(owner));
        }
        Ok(owners)
    }

    /// Whether the plan store is this cluster's: what another's records name is no garbage.
    async fn owns_plan_store(&mut self) -> Result<bool, TurnError> {
        let Some(cluster) = self.cluster().await? else {
            return Ok(false);
        };
        let owns = self.shared.plans.belongs_to(&cluster).await?;
        if !owns && !self.said {
            tracing::warn!(
                "objects that no job names stay in the plan store: its object `cluster` says that it is another cluster's. \
                 Give each cluster a plan-store of its own; where that other cluster is no more, delete the object"
            );
        }
        self.said = !owns;
        Ok(owns)
    }

    /// What tells this cluster from others that may use the same plan store; older versions gave it nothing.
    async fn cluster(&self) -> Result<Option<String>, StoreError> {
        let key = keys::PLAN_STORE.to_owned();
        let found = self.shared.store.read(&[Keys::One(key.clone())]).await?;
        let Some(entry) = found.entries.first() else {
            return Ok(None);
        };
        let Ok(mut own) = record::decode::<PlanStoreId>(entry) else {
            return Ok(None);
        };
        if own.cluster.is_empty() {
            own.cluster = crate::server::fresh_id();
            let txn = Txn {
                compares: vec![Compare::ModRevision(key.clone(), entry.mod_revision)],
                ops: vec![Op::Put {
                    key,
                    value: record::encode(&own),
                    lease: None,
                }],
            };
            if !self.commit(txn).await? {
                return Ok(None);
            }
        }
        Ok(Some(own.cluster))
    }

    async fn delete(&self, txn: Txn, done: &mut Done) -> Result<(), StoreError> {
        let records = txn.ops.len() as u64;
        if self.commit(txn).await? {
            done.records += records;
        }
        Ok(())
    }

    /// Commits under this leader's fence. Refused, or of unknown outcome: the next turn looks anew.
    async fn commit(&self, mut txn: Txn) -> Result<bool, StoreError> {
        txn.compares.push(self.leader.clone());
        match self.shared.store.txn(txn).await {
            Ok(outcome) => Ok(matches!(outcome, TxnOutcome::Committed(_))),
            Err(StoreError::Unknown { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// What there is of a job among these records.
fn owner(job: &JobName, found: &[KeyValue]) -> Owner {
    let entry = |key: String| found.iter().find(|entry| entry.key == key);
    if let Some(past) = entry(keys::past(job)) {
        return record::decode::<Past>(past)
            .map_or(Owner::Unreadable, |past| Owner::Past(Box::new(past.job)));
    }
    let (record, life) = match (entry(keys::job(job)), entry(keys::run(job))) {
        (None, None) => return Owner::Nobody,
        (Some(record), Some(life)) => (record, life),
        // One of the two alone is nothing that a Stoke commits.
        _ => return Owner::Unreadable,
    };
    match (
        record::decode::<records::Job>(record),
        record::decode::<Life>(life),
    ) {
        (Ok(record), Ok(life)) => Owner::UnderWay(Box::new(record), life.phase),
        _ => Owner::Unreadable,
    }
}

#[cfg(test)]
mod tests {
    use stoke_core::job::Phase;
    use stoke_store::Revision;

    use super::super::keep::tests::record;
    use super::*;

    fn entry<T: serde::Serialize>(key: String, value: &T) -> KeyValue {
        KeyValue {
            key,
            value: record::encode(value),
            create_revision: Revision(1),
            mod_revision: Revision(1),
            lease: None,
        }
    }

    #[test]
    fn only_of_what_is_not_there_at_all_is_nobody_the_owner() {
        let job: JobName = "j".parse().unwrap();
        let (own, life) = (record(), Life::new());
        let under_way = entry(keys::job(&job), &own);
        let run = entry(keys::run(&job), &life);
        let over = Past {
            job: own.clone(),
            life,
        };
        let over = entry(keys::past(&job), &over);
        let damaged = |entry: &KeyValue| KeyValue {
            value: "{".into(),
            ..entry.clone()
        };
        let of_another = entry(keys::job(&"j2".parse().unwrap()), &own);
        let is = |found: &[KeyValue]| owner(&job, found);
        assert_eq!(is(&[of_another]), Owner::Nobody);
        let own = Box::new(own);
        assert_eq!(
            is(&[under_way.clone(), run.clone()]),
            Owner::UnderWay(own.clone(), Phase::Pending)
        );
        assert_eq!(is(std::slice::from_ref(&over)), Owner::Past(own));
        for unreadable in [
            vec![under_way.clone()],
            vec![run.clone()],
            vec![damaged(&under_way), run.clone()],
            vec![under_way.clone(), damaged(&run)],
            vec![damaged(&over)],
        ] {
            assert_eq!(is(&unreadable), Owner::Unreadable, "{unreadable:?}");
        }
    }
}
