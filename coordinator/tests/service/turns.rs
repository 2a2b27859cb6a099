//! How much a leader's turn at removing does at most, that the rest comes in later turns, and that nothing is forgotten that a
//! job is just being created for.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use stoke_coordinator::plan_store::PlanStore;
use stoke_coordinator::{Retention, Settings};
use stoke_core::job::{Life, Phase};
use stoke_core::records::{Job, Past, keys};
use stoke_proto::v1::{self, JobState};
use stoke_store::memory::MemoryStore;
use stoke_store::{
    Keys, LeaseId, Op, Revision, Snapshot, Store, StoreError, Txn, TxnOutcome, Watch, record,
};
use tokio::sync::{Notify, watch};

use super::cluster::{
    Cluster, PREPARED_BY_HAND, Served, job_name, request_of, settings, spec, until,
};
use super::past::done;

/// How many jobs one turn forgets.
const JOBS_MAX: usize = 100;
/// How many objects one turn removes, and those that are decided on at once with the last of them.
const OBJECTS_MAX: usize = 10_000 + 1000;
/// How many pages one turn reads of a kind.
const PAGES_MAX: usize = 20;
/// What is over since then is not old for a long time.
const LATER_MS: u64 = 1 << 60;

/// What a turn found when it began, and the pages that it read.
#[derive(Clone, Debug, Default)]
struct Turn {
    over: usize,
    objects: usize,
    pages_of_past: usize,
    pages_of_requests: usize,
}

/// A store that sees turns begin, and can hold the creation of a job.
struct Turnstile {
    inner: MemoryStore,
    objects: Arc<InMemory>,
    turns: Mutex<Vec<Turn>>,
    /// How many pages of jobs that are over were read.
    looks: watch::Sender<usize>,
    holds: Mutex<bool>,
    held: Notify,
    release: Notify,
}

impl Turnstile {
    fn before(inner: MemoryStore, objects: Arc<InMemory>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            objects,
            turns: Mutex::default(),
            looks: watch::channel(0).0,
            holds: Mutex::default(),
            held: Notify::new(),
            release: Notify::new(),
        })
    }

    /// What was removed in a turn, at most, and how many pages of each kind were read in one.
    fn most(&self) -> Turn {
        let turns = self.turns.lock().unwrap();
        let removed = |count: fn(&Turn) -> usize| {
            let pairs = turns
                .windows(2)
                .map(|pair| count(&pair[0]) - count(&pair[1]));
            pairs.max().unwrap()
        };
        Turn {
            over: removed(|turn| turn.over),
            objects: removed(|turn| turn.objects),
            pages_of_past: turns.iter().map(|t| t.pages_of_past).max().unwrap(),
            pages_of_requests: turns.iter().map(|t| t.pages_of_requests).max().unwrap(),
        }
    }

    async fn note(&self, keys: &[Keys]) {
        match keys {
            // All that a turn looks at that is not read in pages.
            [Keys::Prefix(first), _, _, _, _] if first == keys::JOBS => {
                let past = [Keys::Prefix(keys::PAST.to_owned())];
                let over = self.inner.read(&past).await.unwrap().entries.len();
                let objects = self.objects.list(None).try_collect::<Vec<_>>();
                let turn = Turn {
                    over,
                    objects: objects.await.unwrap().len(),
                    ..Turn::default()
                };
                self.turns.lock().unwrap().push(turn);
            }
            [Keys::Page { prefix, .. }] => {
                if prefix == keys::PAST {
                    self.looks.send_modify(|looks| *looks += 1);
                }
                if let Some(turn) = self.turns.lock().unwrap().last_mut() {
                    turn.pages_of_past += usize::from(prefix == keys::PAST);
                    turn.pages_of_requests += usize::from(prefix == keys::REQUESTS);
                }
            }
            _ => {}
        }
    }

    /// Waits until so many more pages of jobs that are over were read, and gives whatever comes after that time.
    async fn look_again(&self, times: usize, served: &Served, job: &str) {
        let mut looks = self.looks.subscribe();
        let seen = *looks.borrow();
        looks.wait_for(|now| *now >= seen + times).await.unwrap();
        for _ in 0..300 {
            served.get(job).await;
        }
    }
}

#[async_trait::async_trait]
impl Store for Turnstile {
    async fn read(&self, keys: &[Keys]) -> Result<Snapshot, StoreError> {
        self.note(keys).await;
        self.inner.read(keys).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        let creates = |op: &Op| matches!(op, Op::Put { key, .. } if key.starts_with(keys::JOBS));
        let holds = txn.ops.iter().any(creates) && std::mem::take(&mut *self.holds.lock().unwrap());
        if holds {
            self.held.notify_one();
            self.release.notified().await;
        }
        self.inner.txn(txn).await
    }

    async fn remembers(&self, revision: Revision) -> Result<bool, StoreError> {
        self.inner.remembers(revision).await
    }

    async fn watch(&self, keys: Keys, since: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.inner.watch(keys, since).await
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.inner.grant_lease(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner.keep_alive(lease).await
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner.revoke_lease(lease).await
    }
}

/// Turns follow each other as fast as they may, and remove what has just been made.
fn impatient() -> Settings {
    let soon = Duration::from_millis(1);
    let retention = Retention {
        jobs: Some(soon),
        orphans: soon,
    };
    Settings {
        retention,
        ..settings("c1")
    }
}

/// A cluster, and what is seen of its turns.
fn watched() -> (Cluster, Arc<Turnstile>) {
    let objects = Arc::new(InMemory::new());
    let mut cluster = Cluster::new();
    cluster.plans = PlanStore::new(objects.clone());
    let turnstile = Turnstile::before(cluster.store.clone(), objects);
    (cluster, turnstile)
}

/// The record of a job that is over, in a cluster with its leader, which keeps it.
async fn over(cluster: &Cluster) -> (Served, v1::Job, Job) {
    cluster.join("w1").await;
    let leader = cluster.start(settings("c1")).await.unwrap();
    leader.until_it_leads().await;
    let job = done(cluster, &leader, "").await;
    let (past, _) = until("it is cleaned up", async || {
        let past = keys::past(&job_name(&job.name));
        cluster.read::<Past>(&past).await
    })
    .await;
    (leader, job, past.job)
}

async fn put_all(store: &MemoryStore, puts: Vec<(String, bytes::Bytes)>) {
    for some in puts.chunks(100) {
        let put = |(key, value): &(String, bytes::Bytes)| Op::Put {
            key: key.clone(),
            value: value.clone(),
            lease: None,
        };
        let (compares, ops) = (Vec::new(), some.iter().map(put).collect());
        store.txn(Txn { compares, ops }).await.unwrap();
    }
}

/// A job that is over since then.
fn past(like: &Job, since_ms: u64) -> Past {
    let job = Job {
        created_ms: 1,
        started_ms: None,
        ended_ms: Some(since_ms),
        ..like.clone()
    };
    let life = Life {
        phase: Phase::Succeeded,
        ..Life::new()
    };
    Past { job, life }
}

/// Names of jobs, the newest first.
fn names(count: usize) -> impl Iterator<Item = String> {
    (0..count).rev().map(|n| format!("17000000{n:05}-00000a"))
}

async fn until_none_is_left(cluster: &Cluster, keys: Keys) {
    until("all are gone", async || {
        let found = cluster.store.read(std::slice::from_ref(&keys)).await;
        found.unwrap().entries.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn one_turn_forgets_so_many_jobs_and_later_ones_the_rest() {
    let (_, _, like) = over(&Cluster::new()).await;
    let (cluster, turnstile) = watched();
    let old = record::encode(&past(&like, 1));
    let puts = names(250).map(|name| (keys::past(&job_name(&name)), old.clone()));
    put_all(&cluster.store, puts.collect()).await;
    let leader = cluster.start_on(turnstile.clone(), impatient()).await;
    until_none_is_left(&cluster, Keys::Prefix(keys::PAST.into())).await;
    leader.unwrap().coordinator.stop().await;
    assert_eq!(turnstile.most().over, JOBS_MAX);
}

#[tokio::test]
async fn what_lies_behind_more_than_a_turn_reads_is_reached_in_later_ones() {
    let (_, _, like) = over(&Cluster::new()).await;
    let (cluster, turnstile) = watched();
    let (old, young) = (past(&like, 1), past(&like, LATER_MS));
    let (old, young) = (record::encode(&old), record::encode(&young));
    let kept = PAGES_MAX * 100 + 30;
    let all: Vec<String> = names(kept + 30).collect();
    let puts = all.iter().enumerate().map(|(n, name)| {
        let record = if n < kept { &young } else { &old };
        (keys::past(&job_name(name)), record.clone())
    });
    put_all(&cluster.store, puts.collect()).await;
    let named = |job: &String| record::encode(&request_of(job_name(job)));
    let mut requests: Vec<_> = (0..PAGES_MAX * 40 + 10)
        .map(|n| (keys::request(&format!("a/{n:05}")), named(&all[n])))
        .collect();
    let gone = keys::request("z/1");
    requests.push((gone.clone(), named(&"1600000000000-00000a".to_owned())));
    put_all(&cluster.store, requests).await;

    let leader = cluster.start_on(turnstile.clone(), impatient()).await;
    let oldest = keys::past(&job_name(&all[kept + 29]));
    for key in [gone, oldest] {
        until_none_is_left(&cluster, Keys::One(key)).await;
    }
    leader.unwrap().coordinator.stop().await;
    let most = turnstile.most();
    let pages = (most.pages_of_past, most.pages_of_requests);
    assert_eq!(pages, (PAGES_MAX, PAGES_MAX));
    for (prefix, count) in [(keys::PAST, kept), (keys::REQUESTS, PAGES_MAX * 40 + 10)] {
        let left = cluster.store.read(&[Keys::Prefix(prefix.into())]).await;
        assert_eq!(left.unwrap().entries.len(), count, "{prefix}");
    }
}

#[tokio::test]
async fn one_turn_removes_so_many_objects_that_no_job_names_and_later_ones_the_rest() {
    let (cluster, turnstile) = watched();
    for n in 0..2 * OBJECTS_MAX {
        let name = Path::from(format!("plans/1700000000000-00000a/2-1/band-{n:06}"));
        let put = turnstile.objects.put(&name, "of nobody".into());
        put.await.unwrap();
    }
    let leader = cluster.start_on(turnstile.clone(), impatient()).await;
    until("all are gone", async || {
        let plans = Path::from("plans");
        let left = turnstile.objects.list(Some(&plans)).try_next().await;
        left.unwrap().is_none().then_some(())
    })
    .await;
    leader.unwrap().coordinator.stop().await;
    let most = turnstile.most().objects;
    assert!((1000..=OBJECTS_MAX).contains(&most), "{most}");
}

/// A job over all of another's plan, whose loaders nobody prepares.
fn over_plan_of(job: &str) -> v1::JobSpec {
    let all = v1::PlanSource {
        job: job.to_owned(),
        which: Some(v1::plan_source::Which::All(v1::AllEntries {})),
    };
    let mut asked = spec(vec![v1::key_source::From::Plan(all)]);
    asked.trigger = PREPARED_BY_HAND.into();
    asked
}

#[tokio::test]
async fn a_job_is_not_forgotten_while_another_is_created_that_is_to_read_its_plan() {
    for is_pruned in [true, false] {
        let (cluster, turnstile) = watched();
        let (first, job, record) = over(&cluster).await;
        first.coordinator.stop().await;
        let key = keys::past(&job_name(&job.name));
        if !is_pruned {
            cluster.put(&key, &past(&record, LATER_MS)).await;
        }
        let settings = if is_pruned {
            settings("c1")
        } else {
            impatient()
        };
        let leader = cluster.start_on(turnstile.clone(), settings).await.unwrap();
        leader.until_it_leads().await;

        // It has found the plan, and is about to be there.
        *turnstile.holds.lock().unwrap() = true;
        let creating = leader.create(over_plan_of(&job.name));
        let forgetting = async {
            turnstile.held.notified().await;
            let pruned = async {
                let all = v1::PruneJobsRequest {
                    older_than: Some(prost_types::Duration::default()),
                    ..v1::PruneJobsRequest::default()
                };
                if is_pruned {
                    let pruned = leader.jobs.clone().prune_jobs(all).await;
                    assert_eq!(pruned.unwrap().into_inner().jobs, []);
                } else {
                    cluster.put(&key, &past(&record, 1)).await;
                }
            };
            let looked = async {
                let times = if is_pruned { 1 } else { 2 };
                turnstile.look_again(times, &leader, &job.name).await;
                turnstile.release.notify_one();
            };
            tokio::join!(looked, pruned);
        };
        let (created, ()) = tokio::join!(creating, forgetting);
        let created = created.unwrap().name;
        leader.until_it_is(&created, JobState::Planning).await;
        assert!(cluster.read::<Past>(&key).await.is_some());
        leader.prepare(&cluster, &created).await;
        let running = leader.until_it_is(&created, JobState::Running).await;
        assert_eq!(running.progress.unwrap().planned, 10);
    }
}
