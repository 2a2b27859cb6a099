//! A worker, its store, and a coordinator that takes its calls and never answers them.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use serde::Serialize;
use stoke_core::job::{Batch, Life, Loader, Mode, Phase, Spec, Work};
use stoke_core::ledger::{Cap, Share, Timing};
use stoke_core::names::{JobName, Resource, WorkerName};
use stoke_core::plan::PlanSummary;
use stoke_core::progress::Effort;
use stoke_core::records::{self, Assignment, Checkpoint, Leader, PlanningTask, SourceTask, keys};
use stoke_core::slot::Partitioning;
use stoke_core::units::PartitionId;
use stoke_proto::v1;
use stoke_proto::v1::send_source_request::Part;
use stoke_proto::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use stoke_store::clock::TokioClock;
use stoke_store::memory::MemoryStore;
use stoke_store::{
    Keys, LeaseId, Op, Revision, Snapshot, Store, StoreError, Txn, TxnOutcome, Watch, WatchEvent,
    record,
};
use stoke_worker::catalog::{
    CacheConfig, Catalog, LoaderSpec, OriginConfig, OriginVigil, SOURCE_TIMEOUT_DEFAULT, SecretUrl,
    TlsFiles,
};
use stoke_worker::link::Dial;
use stoke_worker::origin::rewrite::Dialect;
use stoke_worker::{Settings, Unfinished, Worker, metrics};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// How long a test waits, on the paused clock, for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn origin() -> Resource {
    "origin/shop".parse().unwrap()
}

pub(crate) fn cache() -> Resource {
    "cache/main".parse().unwrap()
}

pub(crate) fn job(name: &str) -> JobName {
    name.parse().unwrap()
}

/// The calls that are under way, in words: one that is dropped is not.
#[derive(Clone)]
struct Calls(watch::Sender<BTreeSet<String>>);

/// One of them.
struct Call(Calls, String);

impl Calls {
    fn begin(&self, call: String) -> Call {
        self.0.send_modify(|calls| {
            calls.insert(call.clone());
        });
        Call(self.clone(), call)
    }

    /// Waits until exactly these are under way.
    async fn until(&self, wanted: &[&str]) {
        let wanted: BTreeSet<String> = wanted.iter().map(|call| (*call).into()).collect();
        let mut calls = self.0.subscribe();
        let reached = calls.wait_for(|calls| *calls == wanted);
        let reached = tokio::time::timeout(PATIENCE, reached).await.is_ok();
        assert!(reached, "{:?} and not {wanted:?}", *self.0.borrow());
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.0.0.send_modify(|calls| {
            calls.remove(&self.1);
        });
    }
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl WorkerService for Calls {
    type AttachStream = Answers<v1::AttachResponse>;
    type StreamEntriesStream = Answers<v1::StreamEntriesResponse>;

    async fn attach(
        &self,
        _: Request<Streaming<v1::AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        Ok(Response::new(Box::pin(stream::pending())))
    }

    async fn stream_entries(
        &self,
        call: Request<v1::StreamEntriesRequest>,
    ) -> Result<Response<Self::StreamEntriesStream>, Status> {
        let call = self.begin(format!("entries of {}", call.into_inner().job));
        let nothing = stream::pending().inspect(move |_| {
            let _ = &call;
        });
        Ok(Response::new(Box::pin(nothing)))
    }

    async fn send_source(
        &self,
        call: Request<Streaming<v1::SendSourceRequest>>,
    ) -> Result<Response<v1::SendSourceResponse>, Status> {
        let first = call.into_inner().message().await?;
        let Some(Part::Header(header)) = first.and_then(|first| first.part) else {
            return Err(Status::invalid_argument("no header"));
        };
        let call = format!("attempt {} at planning {}", header.attempt, header.job);
        let _call = self.begin(call);
        std::future::pending().await
    }

    async fn record_failures(
        &self,
        _: Request<v1::RecordFailuresRequest>,
    ) -> Result<Response<v1::RecordFailuresResponse>, Status> {
        Err(Status::unimplemented("there are none"))
    }
}

/// How the store takes checkpoints.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) enum Takes {
    #[default]
    AtOnce,
    After(Duration),
    Never,
}

/// The store as the worker sees it.
struct Seen {
    inner: MemoryStore,
    takes: Arc<Mutex<Takes>>,
}

#[async_trait::async_trait]
impl Store for Seen {
    async fn read(&self, keys: &[Keys]) -> Result<Snapshot, StoreError> {
        self.inner.read(keys).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        let is_checkpoint =
            |op: &Op| matches!(op, Op::Put { key, .. } if key.starts_with(keys::CHECKPOINTS));
        let takes = *self.takes.lock().unwrap();
        match takes {
            Takes::After(time) if txn.ops.iter().any(is_checkpoint) => {
                tokio::time::sleep(time).await;
            }
            Takes::Never if txn.ops.iter().any(is_checkpoint) => {
                return Err(StoreError::Unreachable {
                    doing: "writing",
                    source: "a wall".into(),
                });
            }
            _ => {}
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

/// What happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Put(String),
    Delete(String),
}

pub(crate) struct Scene {
    store: MemoryStore,
    takes: Arc<Mutex<Takes>>,
    calls: Calls,
    name: WorkerName,
}

impl Scene {
    /// A worker that is a member, and has a share of the origin's budget and of the cache's.
    pub(crate) async fn start() -> (Self, Worker) {
        let (doorstep, callers) = mpsc::channel(1);
        let calls = Calls(watch::channel(BTreeSet::new()).0);
        let serving = tonic::transport::Server::builder()
            .add_service(WorkerServiceServer::new(calls.clone()))
            .serve_with_incoming(ReceiverStream::new(callers).map(Ok::<_, std::io::Error>));
        tokio::spawn(serving);
        let (store, takes) = (MemoryStore::new(), Arc::<Mutex<Takes>>::default());
        let settings = Settings {
            name: "w".into(),
            weight: stoke_core::ring::Weight::default(),
            zone: String::new(),
            member_ttl: Duration::from_secs(5),
            untouched: None,
            timing: Timing::default(),
            catalog: catalog(),
            meter: metrics::none(),
        };
        let seen = Arc::new(Seen {
            inner: store.clone(),
            takes: Arc::clone(&takes),
        });
        let clock = Arc::new(TokioClock::new());
        let worker = Worker::start(settings, seen, clock, Dial::InProcess(doorstep)).unwrap();
        let scene = Self {
            store,
            takes,
            calls,
            name: worker.name().clone(),
        };
        let leader = Leader {
            name: "c".into(),
            address: "http://c".into(),
        };
        scene.put(keys::LEADER.into(), &leader).await;
        scene.share_out().await;
        (scene, worker)
    }

    /// Gives the worker its grants, and waits until it has them, and is a member.
    async fn share_out(&self) {
        let share = Share {
            rate_milli: 50_000,
            burst: 5,
            in_flight: 4,
            rows: Share::ANY_ROWS,
        };
        let term_ms = 60_000;
        for resource in [origin(), cache()] {
            // What it says is the coordinators': to a worker, it says that there is a budget.
            self.put(keys::ledger(&resource), &()).await;
            let cap = Cap { share, term_ms };
            self.put(keys::cap(&resource, &self.name), &cap).await;
        }
        for resource in [origin(), cache()] {
            self.until_there(&keys::ack(&resource, &self.name), true)
                .await;
        }
        self.until_there(&keys::member(&self.name), true).await;
    }

    pub(crate) const fn name(&self) -> &WorkerName {
        &self.name
    }

    async fn put<T: Serialize>(&self, key: String, value: &T) {
        let value = record::encode(value);
        let lease = None;
        self.commit(Op::Put { key, value, lease }).await;
    }

    async fn commit(&self, op: Op) {
        let (compares, ops) = (Vec::new(), vec![op]);
        self.store.txn(Txn { compares, ops }).await.unwrap();
    }

    /// Waits until there is such a key, or none any more.
    async fn until_there(&self, key: &str, wanted: bool) {
        let keys = Keys::One(key.to_owned());
        let changing = async {
            loop {
                let found = self.store.read(std::slice::from_ref(&keys)).await.unwrap();
                if found.entries.is_empty() != wanted {
                    return;
                }
                let watch = self.store.watch(keys.clone(), found.revision).await;
                watch.unwrap().next().await;
            }
        };
        let changed = tokio::time::timeout(PATIENCE, changing).await;
        changed.unwrap_or_else(|_| panic!("{key} is there: {}", !wanted));
    }

    /// Waits until there is no such key any more.
    pub(crate) async fn until_gone(&self, key: &str) {
        self.until_there(key, false).await;
    }

    /// The calls that are under way.
    pub(crate) fn calls(&self) -> BTreeSet<String> {
        self.calls.0.borrow().clone()
    }

    /// Waits until exactly these calls are under way.
    pub(crate) async fn until_at(&self, wanted: &[&str]) {
        self.calls.until(wanted).await;
    }

    /// A job in this phase, with nothing for this worker yet.
    pub(crate) async fn create(&self, name: &str, phase: Phase) {
        let plan = PlanSummary {
            name: format!("plans/{name}/1-1"),
            entries: 1,
            priority_milli: 1000,
            bands: 1,
            partitioning: Partitioning::for_workers(1),
            entries_by_loader: vec![1],
            left_out: 0,
            cut: 0,
            worth: None,
        };
        let loader = Loader {
            name: "product".parse().unwrap(),
            recipe: None,
        };
        let is_planned = phase == Phase::Running;
        let record = records::Job {
            spec: Spec {
                labels: BTreeMap::new(),
                trigger: String::new(),
                requester: String::new(),
                priority: 0,
                dry_run: false,
                work: Work::Batch(Batch {
                    sources: Vec::new(),
                    // Where there is none, there is nothing to prepare.
                    loaders: is_planned.then_some(loader).into_iter().collect(),
                    cache: "main".parse().unwrap(),
                    also: Vec::new(),
                    mode: Mode::Add,
                    allowed_failures: 0,
                    attempts_max: 1,
                    section: Default::default(),
                    fit: Default::default(),
                }),
            },
            created_ms: 1,
            started_ms: None,
            ended_ms: None,
            uploads: BTreeMap::new(),
            attempt: 1,
            plan: is_planned.then_some(plan),
            planning: Effort::default(),
            result: None,
            sources: Vec::new(),
            terms: Vec::new(),
            room: None,
            samples: Vec::new(),
            trace: String::new(),
        };
        self.put(keys::job(&job(name)), &record).await;
        self.become_phase(name, phase).await;
    }

    pub(crate) async fn become_phase(&self, name: &str, phase: Phase) {
        let life = Life {
            phase,
            ..Life::new()
        };
        self.put(keys::run(&job(name)), &life).await;
    }

    /// A job that runs, of which this worker owns a partition.
    pub(crate) async fn assign(&self, name: &str) {
        self.create(name, Phase::Running).await;
        let assignment = Assignment {
            partitions: [(PartitionId(0), Default::default())].into(),
            ..Assignment::default()
        };
        let key = keys::assignment(&job(name), &self.name);
        self.put(key, &assignment).await;
    }

    /// Takes a job's partition from this worker.
    pub(crate) async fn take_away(&self, name: &str) {
        let key = keys::assignment(&job(name), &self.name);
        self.commit(Op::Delete(key)).await;
    }

    /// Gives the preparation of a job's loaders to a worker.
    pub(crate) async fn give_task(&self, name: &str, worker: &WorkerName, attempt: u64) {
        let worker = worker.clone();
        let task = SourceTask { worker, attempt };
        let key = keys::read(&job(name), PlanningTask::Prepare);
        self.put(key, &task).await;
    }

    /// From here on, the store takes the worker's checkpoints like this.
    pub(crate) fn take_checkpoints(&self, takes: Takes) {
        *self.takes.lock().unwrap() = takes;
    }

    /// Whether the store has this key.
    pub(crate) async fn has(&self, key: &str) -> bool {
        let found = self.store.read(&[Keys::One(key.to_owned())]).await;
        !found.unwrap().entries.is_empty()
    }

    /// What the worker said last of a job.
    pub(crate) async fn checkpoint(&self, name: &str) -> Option<Checkpoint> {
        let key = Keys::One(keys::checkpoint(&job(name), &self.name));
        let found = self.store.read(&[key]).await.unwrap();
        found.entries.first().map(|e| record::decode(e).unwrap())
    }

    /// All that happened in the store, in its order.
    pub(crate) async fn history(&self) -> History {
        History(history(&self.store).await)
    }
}

/// The worker leaves, and says what it could not do.
pub(crate) async fn leave(worker: Worker) -> Vec<Unfinished> {
    let left = tokio::time::timeout(PATIENCE, worker.stop()).await;
    left.expect("it never left")
}

/// What happened in the store.
pub(crate) struct History(Vec<Change>);

impl History {
    /// The place of a change among all, the last where it happened often.
    pub(crate) fn last(&self, change: &Change) -> usize {
        let at = self.0.iter().rposition(|other| other == change);
        at.unwrap_or_else(|| panic!("there is no {change:?} in {:?}", self.0))
    }
}

async fn history(store: &MemoryStore) -> Vec<Change> {
    let until = store.read(&[]).await.unwrap().revision;
    let all = Keys::Prefix(String::new());
    let mut watch = store.watch(all, Revision(1)).await.unwrap();
    let (mut history, mut seen) = (Vec::new(), Revision(1));
    while seen < until {
        let Some(WatchEvent::Changes(changes)) = watch.next().await else {
            panic!("the store has forgotten what happened");
        };
        for change in changes {
            let (change, at) = match change {
                stoke_store::Change::Put(put) => (Change::Put(put.key), put.mod_revision),
                stoke_store::Change::Delete { key, mod_revision } => {
                    (Change::Delete(key), mod_revision)
                }
            };
            history.push(change);
            seen = at;
        }
    }
    history
}

/// An origin and a cache that are never asked for anything.
fn catalog() -> Catalog {
    let origin = OriginConfig {
        name: "shop".parse().unwrap(),
        url: SecretUrl::new("sqlite:nowhere").unwrap(),
        dialect: Dialect::Sqlite,
        statement_timeout: Duration::from_secs(5),
        source_timeout: SOURCE_TIMEOUT_DEFAULT,
        tls: TlsFiles::default(),
        vigil: OriginVigil::default(),
        replicas: None,
    };
    let cache = CacheConfig {
        name: "main".parse().unwrap(),
        urls: vec![SecretUrl::new("redis://127.0.0.1:1").unwrap()],
        password: None,
        sentinel_login: None,
        tls: TlsFiles::default(),
    };
    let loader = LoaderSpec {
        name: "product".parse().unwrap(),
        origin: origin.name.clone(),
        query: "SELECT id FROM product WHERE id IN (:keys)".into(),
        key: "product:{id}".parse().unwrap(),
        key_column: Default::default(),
        ttl: Duration::from_secs(3600),
        ttl_jitter_permille: 0,
        value: stoke_core::value::ValueSpec::default(),
        scan: None,
        batch_keys: 100.into(),
        max_value_bytes: 1000,
    };
    Catalog {
        origins: [(origin.name.clone(), origin)].into(),
        caches: [(cache.name.clone(), cache)].into(),
        loaders: [(loader.name.clone(), loader)].into(),
        ..Catalog::default()
    }
}
