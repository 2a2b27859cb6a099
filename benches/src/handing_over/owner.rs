//! Workers that own partitions: they follow their assignments, release what shall go, and checkpoint, with what is shipped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use stoke_core::progress::{Effort, Followed, Outcome, PartitionState};
use stoke_core::records::{Assignment, Checkpoint, keys};
use stoke_core::units::{BandId, PartitionId, Priority, Rank};
use stoke_harness::EtcdCluster;
use stoke_store::wake::Wakeups;
use stoke_store::{KeyValue, Keys, Store, TxnOutcome, record};
use stoke_worker::doors::{Assigned, Brought, Lacking, Part, Task, Verdict, Writing};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::scene::{Scene, bytes, worker};
use crate::renewing::connect;

/// How long it may take until all have followed and written.
const PATIENCE: Duration = Duration::from_secs(60);
/// Of this band each partition has an entry that is settled.
const BAND: BandId = BandId(7);

/// What all owners tell.
#[derive(Debug, Default)]
pub(super) struct Notes(Mutex<Told>);

/// See [`Notes`].
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Partitions that somebody got.
    pub(super) gained: usize,
    /// How long nobody worked on those that had an owner before, in order.
    pub(super) rests: Vec<Duration>,
    /// Checkpoints written, and their bytes.
    pub(super) checkpoints: usize,
    pub(super) bytes: usize,
    /// Since when nobody works on them.
    resting: BTreeMap<PartitionId, Instant>,
}

impl Notes {
    /// What was told since this was last asked.
    pub(super) fn take(&self) -> Told {
        let mut told = std::mem::take(&mut *self.lock());
        told.rests.sort_unstable();
        told
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rest<'a>(&self, partitions: impl Iterator<Item = &'a PartitionId>) {
        let now = Instant::now();
        let resting = &mut self.lock().resting;
        for partition in partitions {
            resting.entry(*partition).or_insert(now);
        }
    }

    fn gain<'a>(&self, partitions: impl Iterator<Item = &'a PartitionId>) {
        let now = Instant::now();
        let told = &mut *self.lock();
        for partition in partitions {
            told.gained += 1;
            let rested = told.resting.remove(partition);
            told.rests.extend(rested.map(|since| now - since));
        }
    }

    fn wrote(&self, bytes: usize) {
        let told = &mut *self.lock();
        told.checkpoints += 1;
        told.bytes += bytes;
    }
}

/// All owners.
pub(super) struct Fleet<'a> {
    etcd: &'a EtcdCluster,
    scene: Arc<Scene>,
    told: Arc<Notes>,
    owners: BTreeMap<usize, (CancellationToken, AbortOnDropHandle<Result<()>>)>,
}

impl<'a> Fleet<'a> {
    pub(super) fn new(etcd: &'a EtcdCluster, scene: Arc<Scene>, told: Arc<Notes>) -> Self {
        Self {
            etcd,
            scene,
            told,
            owners: BTreeMap::new(),
        }
    }

    pub(super) async fn add(&mut self, n: usize) -> Result<()> {
        let stop = CancellationToken::new();
        let owner = Owner {
            n,
            store: connect(self.etcd).await?,
            scene: Arc::clone(&self.scene),
            told: Arc::clone(&self.told),
            owned: BTreeMap::new(),
            part: None,
        };
        let owning = tokio::spawn(owner.run(stop.clone()));
        self.owners
            .insert(n, (stop, AbortOnDropHandle::new(owning)));
        Ok(())
    }

    /// Ends one as if it were killed: it writes nothing more.
    pub(super) async fn kill(&mut self, n: usize) {
        if let Some((stop, owning)) = self.owners.remove(&n) {
            stop.cancel();
            if let Ok(Err(error)) = owning.await {
                eprintln!("worker {n}: {error:#}");
            }
        }
    }

    pub(super) async fn end(mut self) {
        for n in self.owners.keys().copied().collect::<Vec<_>>() {
            self.kill(n).await;
        }
    }

    /// Returns once each owner has followed its assignment, and has a checkpoint of what it settled.
    pub(super) async fn until_quiet(&self) -> Result<()> {
        let begun = Instant::now();
        let mut before = None;
        loop {
            ensure!(
                begun.elapsed() < PATIENCE,
                "the workers do not come to rest"
            );
            for (n, (_, owning)) in &self.owners {
                ensure!(!owning.is_finished(), "worker {n} has ended");
            }
            let now = {
                let told = self.told.lock();
                (told.gained, told.checkpoints)
            };
            if before == Some(now) && self.told.lock().resting.is_empty() {
                return Ok(());
            }
            before = Some(now);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

struct Owner {
    n: usize,
    store: Arc<dyn Store>,
    scene: Arc<Scene>,
    told: Arc<Notes>,
    /// What its assignment says.
    owned: BTreeMap<PartitionId, PartitionState>,
    part: Option<Part>,
}

impl Owner {
    async fn run(mut self, stop: CancellationToken) -> Result<()> {
        let worker = worker(self.n)?;
        let assignment = keys::assignment(&self.scene.job, &worker);
        let checkpoint = keys::checkpoint(&self.scene.job, &worker);
        let mut wakeups = Wakeups::spawn(
            Arc::clone(&self.store),
            vec![Keys::One(assignment.clone())],
            stop.clone(),
        );
        loop {
            tokio::select! {
                () = stop.cancelled() => {
                    self.told.rest(self.owned.keys());
                    return Ok(());
                }
                () = wakeups.changed() => {}
            }
            let keys = [&assignment, &checkpoint].map(|key| Keys::One(key.clone()));
            let found = self.store.read(&keys).await?;
            let entry = |key: &str| found.entries.iter().find(|entry| entry.key == key);
            let Some(given) = entry(&assignment) else {
                continue;
            };
            let assigned = assigned(given, entry(&checkpoint))?;
            self.follow(assigned)?;
            self.write_if_due().await?;
        }
    }

    fn follow(&mut self, assigned: Assigned) -> Result<()> {
        let known = self.part.as_mut().map(|part| part.keeper().assignment());
        if known == Some(assigned.revision) {
            return Ok(());
        }
        let Assignment {
            partitions,
            leaving,
            ..
        } = assigned.assignment.clone();
        let followed = match &mut self.part {
            Some(part) => part.follow(assigned.clone()),
            None => Followed::Anew,
        };
        if followed == Followed::Anew {
            self.part = Some(self.begin(assigned)?);
        }
        let part = self.part.as_mut().context("it has no part")?;
        self.told.rest(leaving.iter());
        let gained = partitions.keys().filter(|id| !self.owned.contains_key(id));
        self.told.gain(gained);
        // What nobody has worked on yet is worked on a little.
        let fresh = partitions
            .iter()
            .filter(|(_, state)| **state == PartitionState::default());
        let fresh = fresh.map(|(id, _)| task(*id)).collect();
        for task in part.take(Some(Brought::Entries(fresh))) {
            let verdict = Verdict::Done(Outcome::Warmed);
            part.begin(std::slice::from_ref(&task));
            part.settle(task, verdict, tokio::time::Instant::now(), 0.5);
            part.spend(Effort {
                origin_queries: 1,
                origin_rows: 1,
                cache_bytes: 350,
            });
        }
        part.take(Some(Brought::BandComplete(BAND)));
        self.owned = partitions;
        Ok(())
    }

    fn begin(&self, assigned: Assigned) -> Result<Part> {
        Ok(Part::new(
            worker(self.n)?,
            self.scene.job.clone(),
            assigned,
            self.scene.partitions,
            vec![1_000.into()],
            vec!["product".into()],
            5,
        ))
    }

    /// Writes a checkpoint where partitions are to be released, and, as it would after a while, where something was settled.
    async fn write_if_due(&mut self) -> Result<()> {
        let part = self.part.as_mut().context("it has no part")?;
        let has_settled = self
            .owned
            .values()
            .any(|state| *state == PartitionState::default());
        if !part.all_may_go() && !has_settled {
            return Ok(());
        }
        let checkpoint = part.checkpoint();
        loop {
            match part.keeper().next(&checkpoint) {
                Writing::Nothing => break,
                Writing::List { .. } => bail!("nothing has failed, and is to be listed"),
                Writing::LookUp(keys) => {
                    let found = self.store.read(&keys).await?;
                    if part.keeper().found(&found).is_err() {
                        // It follows the next one, of which it will be woken.
                        part.supersede();
                        break;
                    }
                }
                Writing::Commit(txn) => match self.store.txn(txn.clone()).await? {
                    TxnOutcome::Committed(revision) => {
                        part.keeper().committed(revision);
                        self.told.wrote(bytes(&txn));
                    }
                    TxnOutcome::Refused => part.keeper().refused(),
                },
            }
        }
        Ok(())
    }
}

fn assigned(given: &KeyValue, checkpoint: Option<&KeyValue>) -> Result<Assigned> {
    let checkpoint = checkpoint.map(|found| {
        let checkpoint: Checkpoint = record::decode(found)?;
        anyhow::Ok((checkpoint, found.mod_revision.0))
    });
    Ok(Assigned {
        assignment: record::decode(given)?,
        revision: given.mod_revision.0,
        checkpoint: checkpoint.transpose()?,
    })
}

/// An entry of the partition.
fn task(partition: PartitionId) -> Task {
    let rank = u64::from(BAND.0) * BandId::RANKS + u64::from(partition.0);
    Task {
        partition,
        band: BAND,
        rank: Rank(rank),
        key: format!("product:{rank}").into(),
        loader: 0,
        argument: rank.to_string(),
        priority: Priority::ONE,
        attempts: 0,
        lacking: Lacking::EVERYWHERE,
    }
}
