//! What the tests share: a store, coordinators on ports of their own, and fake workers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use stoke_coordinator::plan_store::PlanStore;
use stoke_coordinator::ranking::RankingSettings;
use stoke_coordinator::{AccessSettings, Coordinator, Retention, Settings, StartError};
use stoke_core::ledger::{Share, Timing};
use stoke_core::names::{JobName, WorkerName};
use stoke_core::progress::{PartitionState, Tally};
use stoke_core::records::{
    Assignment, Checkpoint, Job, Member, PlanningTask, Request, SourceTask, keys,
};
use stoke_proto::v1::access_service_client::AccessServiceClient;
use stoke_proto::v1::budget_service_client::BudgetServiceClient;
use stoke_proto::v1::fleet_service_client::FleetServiceClient;
use stoke_proto::v1::job_service_client::JobServiceClient;
use stoke_proto::v1::upload_entries_request::Part;
use stoke_proto::v1::worker_service_client::WorkerServiceClient;
use stoke_proto::v1::{self, key_source::From};
use stoke_store::clock::BootClock;
use stoke_store::memory::MemoryStore;
use stoke_store::{Compare, Keys, Op, Revision, Store, Txn, TxnOutcome, record};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it waits between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks again and again until there is an answer.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain until {what}");
        sleep(LOOK_EVERY).await;
    }
}

/// What several coordinators share.
pub(crate) struct Cluster {
    pub(crate) store: MemoryStore,
    pub(crate) plans: PlanStore,
}

/// A coordinator, and connections to it.
pub(crate) struct Served {
    pub(crate) coordinator: Coordinator,
    pub(crate) address: String,
    pub(crate) jobs: JobServiceClient<Channel>,
    pub(crate) budgets: BudgetServiceClient<Channel>,
    pub(crate) workers: WorkerServiceClient<Channel>,
    pub(crate) fleet: FleetServiceClient<Channel>,
    pub(crate) accesses: AccessServiceClient<Channel>,
}

/// Times as short as they may be beside each other, for what only time ends.
pub(crate) fn impatient(settings: Settings) -> Settings {
    let term = Duration::from_millis(200);
    let timing = Timing {
        term,
        renew_every: Duration::from_millis(50),
        renew_deadline: Duration::from_millis(50),
        quarantine: Timing::least_quarantine(term, 10),
        drift_permille: 10,
        statement_timeout: Duration::from_millis(100),
    };
    Settings { timing, ..settings }
}

pub(crate) fn share(qps: u64) -> Share {
    Share {
        rate_milli: qps * 1000,
        burst: qps,
        in_flight: qps,
        rows: Share::ANY_ROWS,
    }
}

/// A coordinator's settings: a budget of 20 queries a second for the only origin.
pub(crate) fn settings(name: &str) -> Settings {
    Settings {
        name: name.into(),
        address: String::new(),
        budgets: [("origin/shop".parse().unwrap(), share(20))].into(),
        guards: BTreeMap::new(),
        timing: Timing::default(),
        retention: Retention::default(),
        leader_ttl: Duration::from_secs(10),
        accesses: AccessSettings::default(),
        ranking: RankingSettings::default(),
        meter: stoke_coordinator::metrics::none(),
    }
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self {
            store: MemoryStore::new(),
            plans: PlanStore::in_memory(),
        }
    }

    /// A cluster with one worker and a coordinator that leads.
    pub(crate) async fn with_leader() -> (Self, Served) {
        Self::led_with(settings("c1")).await
    }

    /// The same, with other settings.
    pub(crate) async fn led_with(settings: Settings) -> (Self, Served) {
        let cluster = Self::new();
        cluster.join("w1").await;
        let leader = cluster.start(settings).await.unwrap();
        leader.until_it_leads().await;
        (cluster, leader)
    }

    pub(crate) async fn start(&self, settings: Settings) -> Result<Served, StartError> {
        self.start_on(Arc::new(self.store.clone()), settings).await
    }

    /// The same, on a store that stands before this cluster's.
    pub(crate) async fn start_on(
        &self,
        store: Arc<dyn Store>,
        settings: Settings,
    ) -> Result<Served, StartError> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let settings = Settings {
            address: address.clone(),
            ..settings
        };
        let coordinator = Coordinator::start(
            settings,
            store,
            self.plans.clone(),
            Arc::new(BootClock),
            TcpListenerStream::new(listener),
        )
        .await?;
        let channel = Channel::from_shared(address.clone())
            .unwrap()
            .connect()
            .await
            .unwrap();
        let workers = WorkerServiceClient::new(channel.clone());
        tokio::spawn(prepare_loaders(self.store.clone(), workers));
        Ok(Served {
            coordinator,
            address,
            jobs: JobServiceClient::new(channel.clone()),
            budgets: BudgetServiceClient::new(channel.clone()),
            workers: WorkerServiceClient::new(channel.clone()),
            fleet: FleetServiceClient::new(channel.clone()),
            accesses: AccessServiceClient::new(channel),
        })
    }

    /// A worker that knows the origin `shop`, the cache `main`, the loader `product` and the source `top`.
    pub(crate) async fn join(&self, name: &str) {
        self.join_as(name, member()).await;
    }

    pub(crate) async fn join_as(&self, name: &str, member: Member) {
        self.put(&keys::member(&worker(name)), &member).await;
    }

    pub(crate) async fn put<T: Serialize>(&self, key: &str, value: &T) {
        self.put_bytes(key, record::encode(value)).await;
    }

    pub(crate) async fn put_bytes(&self, key: &str, value: Bytes) {
        let put = Op::Put {
            key: key.to_owned(),
            value,
            lease: None,
        };
        self.write(put).await;
    }

    pub(crate) async fn delete(&self, key: &str) {
        self.write(Op::Delete(key.to_owned())).await;
    }

    async fn write(&self, op: Op) {
        let txn = Txn {
            compares: Vec::new(),
            ops: vec![op],
        };
        self.store.txn(txn).await.unwrap();
    }

    /// A record with its mod revision.
    pub(crate) async fn read<T: DeserializeOwned>(&self, key: &str) -> Option<(T, Revision)> {
        let found = self.store.read(&[Keys::One(key.to_owned())]).await.unwrap();
        let entry = found.entries.first()?;
        Some((record::decode(entry).unwrap(), entry.mod_revision))
    }

    pub(crate) async fn assignment(
        &self,
        job: &str,
        owner: &str,
    ) -> Option<(Assignment, Revision)> {
        self.read(&keys::assignment(&job_name(job), &worker(owner)))
            .await
    }

    /// Waits until this worker owns all partitions of a job.
    pub(crate) async fn until_it_owns_all(&self, job: &str, owner: &str) -> Assignment {
        until("one worker owns all partitions", async || {
            let (assignment, _) = self.assignment(job, owner).await?;
            (assignment.partitions.len() == 256).then_some(assignment)
        })
        .await
    }

    /// An owner's checkpoint under its present assignment, which `change` makes of how things stand; the outcomes
    /// are all told of one partition.
    pub(crate) async fn checkpoint(
        &self,
        job: &str,
        owner: &str,
        tally: Tally,
        change: impl FnOnce(&mut Checkpoint),
    ) {
        let (assignment, revision) = self.assignment(job, owner).await.unwrap();
        let mut checkpoint = Checkpoint {
            partitions: assignment.partitions,
            ..Checkpoint::default()
        };
        let first = checkpoint.partitions.values_mut().next().unwrap();
        *first = PartitionState {
            position: (1, 0).into(),
            tally,
            retries: Vec::new(),
        };
        change(&mut checkpoint);
        let (job, owner) = (job_name(job), worker(owner));
        let txn = Txn {
            compares: vec![Compare::ModRevision(
                keys::assignment(&job, &owner),
                revision,
            )],
            ops: vec![Op::Put {
                key: keys::checkpoint(&job, &owner),
                value: record::encode(&checkpoint),
                lease: None,
            }],
        };
        let outcome = self.store.txn(txn).await.unwrap();
        assert!(matches!(outcome, TxnOutcome::Committed(_)));
    }
}

/// What a job is triggered by whose loaders the test prepares itself.
pub(crate) const PREPARED_BY_HAND: &str = "prepared by hand";

/// The fake workers' part in preparing loaders: all can be used. Ends with the test.
async fn prepare_loaders(store: MemoryStore, mut workers: WorkerServiceClient<Channel>) {
    loop {
        let given = store.read(&[Keys::Prefix(keys::READS.to_owned())]).await;
        for entry in given.map(|found| found.entries).unwrap_or_default() {
            let Some(job) = entry.key[keys::READS.len()..].strip_suffix("/prepare") else {
                continue;
            };
            let given: SourceTask = record::decode(&entry).unwrap();
            let record = [Keys::One(keys::job(&job_name(job)))];
            let record = store.read(&record).await.unwrap().entries;
            let by_hand = record.first().is_some_and(|record| {
                let record: Job = record::decode(record).unwrap();
                record.spec.trigger == PREPARED_BY_HAND
            });
            if !by_hand {
                // Whoever does not lead, or has heard it already, refuses.
                let _ = workers.send_source(prepared(job, &given)).await;
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

fn prepared(
    job: &str,
    given: &SourceTask,
) -> impl futures::Stream<Item = v1::SendSourceRequest> + use<> {
    use v1::send_source_request::Part;
    let header = v1::SourceHeader {
        job: job.into(),
        task: Some(v1::source_header::Task::Prepare(v1::PrepareTask {})),
        attempt: given.attempt,
        worker: given.worker.to_string(),
    };
    let verdict = v1::SourceVerdict::default();
    let parts = [Part::Header(header), Part::Verdict(verdict)];
    tokio_stream::iter(parts.map(|part| v1::SendSourceRequest { part: Some(part) }))
}

impl Served {
    /// Waits until mutations are not refused for want of leadership.
    pub(crate) async fn until_it_leads(&self) {
        until("it leads", async || {
            let request = v1::SetBudgetRequest {
                resource: "origin/nobody-knows".into(),
                target: None,
                ..v1::SetBudgetRequest::default()
            };
            let refused = self.budgets.clone().set_budget(request).await.unwrap_err();
            (refused.code() == Code::NotFound).then_some(())
        })
        .await;
    }

    pub(crate) async fn create(&self, spec: v1::JobSpec) -> Result<v1::Job, Status> {
        self.create_as("", spec).await
    }

    pub(crate) async fn create_as(
        &self,
        request_id: &str,
        spec: v1::JobSpec,
    ) -> Result<v1::Job, Status> {
        let request = v1::CreateJobRequest {
            request_id: request_id.into(),
            spec: Some(spec),
        };
        let created = self.jobs.clone().create_job(request).await?;
        Ok(created.into_inner().job.unwrap())
    }

    /// Says for its worker that the loaders of a job can be used, which is [`PREPARED_BY_HAND`].
    pub(crate) async fn prepare(&self, cluster: &Cluster, job: &str) {
        self.try_prepare(cluster, job).await.unwrap();
    }

    /// The same; `None` where this coordinator does not wait for it.
    pub(crate) async fn try_prepare(&self, cluster: &Cluster, job: &str) -> Option<()> {
        let key = keys::read(&job_name(job), PlanningTask::Prepare);
        let (given, _) = cluster.read::<SourceTask>(&key).await?;
        let mut workers = self.workers.clone();
        let sent = workers.send_source(prepared(job, &given)).await;
        sent.ok().map(|_| ())
    }

    pub(crate) async fn get(&self, name: &str) -> v1::Job {
        let request = v1::GetJobRequest { name: name.into() };
        let got = self.jobs.clone().get_job(request).await.unwrap();
        got.into_inner().job.unwrap()
    }

    /// Watches a job until it is in this state.
    pub(crate) async fn until_it_is(&self, name: &str, state: v1::JobState) -> v1::Job {
        let watching = async {
            let request = v1::WatchJobRequest { name: name.into() };
            let mut watch = self
                .jobs
                .clone()
                .watch_job(request)
                .await
                .unwrap()
                .into_inner();
            while let Some(message) = watch.message().await.unwrap() {
                let job = message.job.unwrap();
                if job.state() == state {
                    return job;
                }
            }
            panic!("the job ended, and was never {state:?}")
        };
        let job = timeout(PATIENCE, watching).await;
        job.unwrap_or_else(|_| panic!("waited in vain until the job is {state:?}"))
    }

    pub(crate) async fn upload(&self, parts: Vec<Part>) -> Result<u64, Status> {
        let parts = parts
            .into_iter()
            .map(|part| v1::UploadEntriesRequest { part: Some(part) });
        let stored = self
            .jobs
            .clone()
            .upload_entries(tokio_stream::iter(parts))
            .await?;
        Ok(stored.into_inner().entries)
    }

    /// A job that runs by a plan of so many uploaded keys, owned by `w1`.
    pub(crate) async fn running(&self, cluster: &Cluster, entries: usize) -> v1::Job {
        let job = self.create(spec(vec![uploaded()])).await.unwrap();
        let parts = vec![header(&job.name, 0), Part::Entries(batch(0..entries))];
        self.upload(parts).await.unwrap();
        cluster.until_it_owns_all(&job.name, "w1").await;
        self.get(&job.name).await
    }
}

pub(crate) fn worker(name: &str) -> WorkerName {
    name.parse().unwrap()
}

pub(crate) fn job_name(name: &str) -> JobName {
    name.parse().unwrap()
}

/// A request that made this job.
pub(crate) fn request_of(job: JobName) -> Request {
    Request {
        job,
        asked: String::new(),
    }
}

pub(crate) fn member() -> Member {
    Member {
        origins: ["shop".parse().unwrap()].into(),
        caches: ["main".parse().unwrap()].into(),
        loaders: [("product".parse().unwrap(), "shop".parse().unwrap())].into(),
        sources: [("top".parse().unwrap(), Some("shop".parse().unwrap()))].into(),
        ..Member::default()
    }
}

pub(crate) fn warmed(entries: u64) -> Tally {
    Tally {
        warmed: entries,
        ..Tally::default()
    }
}

pub(crate) fn named() -> From {
    From::Named("top".into())
}

pub(crate) fn uploaded() -> From {
    From::Upload(v1::UploadSource {})
}

/// What a job asks for that takes its keys from these sources.
pub(crate) fn spec(sources: Vec<From>) -> v1::JobSpec {
    let source = |from| v1::KeySource {
        from: Some(from),
        ..v1::KeySource::default()
    };
    let loader = v1::Loader {
        name: "product".into(),
        ..v1::Loader::default()
    };
    let work = v1::BatchWork {
        sources: sources.into_iter().map(source).collect(),
        loaders: vec![loader],
        cache: "main".into(),
        ..v1::BatchWork::default()
    };
    v1::JobSpec {
        work: Some(v1::job_spec::Work::Batch(work)),
        ..v1::JobSpec::default()
    }
}

/// The work that a spec asks for.
pub(crate) fn work(spec: &mut v1::JobSpec) -> &mut v1::BatchWork {
    match spec.work.as_mut() {
        Some(v1::job_spec::Work::Batch(work)) => work,
        _ => panic!("no batch"),
    }
}

pub(crate) fn header(job: &str, source: u32) -> Part {
    Part::Header(v1::UploadHeader {
        job: job.into(),
        source,
    })
}

/// Entries with the keys `product:N`, the higher N the more requested.
pub(crate) fn batch(numbers: impl IntoIterator<Item = usize>) -> v1::EntryBatch {
    let mut batch = v1::EntryBatch::default();
    for n in numbers {
        batch.keys.push(format!("product:{n}").into());
        batch.priorities.push(1000 * (n as u64 + 1));
        batch.arguments.push(n.to_string());
    }
    batch
}

/// The reason that a refusal gives to programs.
pub(crate) fn reason(status: &Status) -> String {
    let info = status.get_details_error_info();
    info.map(|info| info.reason).unwrap_or_default()
}

/// The code, and the field that is named as wrong.
pub(crate) fn fault(status: &Status) -> (Code, String) {
    let violations = status
        .get_details_bad_request()
        .map(|bad| bad.field_violations);
    let fields: Vec<String> = violations
        .into_iter()
        .flatten()
        .map(|violation| violation.field)
        .collect();
    (status.code(), fields.join(", "))
}

/// Asserts that a call is refused for the state that things are in, with a detail that programs can read, and that
/// the text says so.
pub(crate) fn assert_precondition<T: std::fmt::Debug>(answer: Result<T, Status>, says: &str) {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    assert!(
        status.message().contains(says),
        "{:?} does not say {says:?}",
        status.message()
    );
    assert!(
        status.get_details_precondition_failure().is_some(),
        "{status:?}"
    );
}

pub(crate) fn outcomes(job: &v1::Job) -> v1::Outcomes {
    job.progress.unwrap().outcomes.unwrap()
}

/// Records by what follows the prefix in their keys.
pub(crate) async fn all<T: DeserializeOwned>(
    cluster: &Cluster,
    prefix: &str,
) -> BTreeMap<String, T> {
    let found = cluster
        .store
        .read(&[Keys::Prefix(prefix.to_owned())])
        .await
        .unwrap();
    let record = |entry: &stoke_store::KeyValue| {
        (
            entry.key[prefix.len()..].to_owned(),
            record::decode(entry).unwrap(),
        )
    };
    found.entries.iter().map(record).collect()
}
