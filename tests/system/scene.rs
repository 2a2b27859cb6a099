//! The scene: etcd, PostgreSQL and a Redis Cluster of three nodes; coordinators and workers as separate processes.

use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use stoke_harness::{
    Etcd, Forwarder, Postgres, Program, RedisCluster, ServerDir, free_port, wait_for,
};
use stoke_proto::v1::job_service_client::JobServiceClient;
use stoke_proto::v1::{self, JobState};
use tonic::transport::Channel;

/// How long anything may take that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Waits until no other test uses the machine.
pub fn alone() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// All servers of a test, stopped and removed when it is dropped.
pub struct Scene {
    pub etcd: Etcd,
    pub postgres: Postgres,
    pub cache: RedisCluster,
    pub plans: ServerDir,
    pub coordinators: Vec<(String, Program)>,
    pub workers: Vec<Program>,
    qps: u32,
    cache_writes: Option<u32>,
    /// A database and a Redis beside them, which all workers know as `beside`.
    beside: Option<(String, String)>,
    /// On which workers reach etcd, where that is to be cut.
    road: Option<Forwarder>,
    /// Lines of `[etcd]`, beside the endpoints.
    etcd_access: String,
    /// Tables at the end of the coordinators' configuration, and of the workers'.
    tables: (String, String),
    _alone: MutexGuard<'static, ()>,
}

impl Scene {
    /// Starts the servers, so many coordinators, and three workers, with a budget of `qps` queries a second.
    pub fn start(coordinators: usize, qps: u32) -> Self {
        Self::start_with(coordinators, qps, None)
    }

    /// The same, with a budget of so many writes a second for the cache, too.
    pub fn start_with(coordinators: usize, qps: u32, cache_writes: Option<u32>) -> Self {
        Self::start_as(
            || Etcd::start().unwrap(),
            coordinators,
            qps,
            cache_writes,
            None,
        )
    }

    /// One coordinator, on this etcd.
    pub fn start_on(etcd: Etcd, qps: u32) -> Self {
        Self::start_as(|| etcd, 1, qps, None, None)
    }

    /// So many coordinators, on an etcd that all get into by these lines of `[etcd]`.
    pub fn start_guarded(etcd: Etcd, access: &str, coordinators: usize, qps: u32) -> Self {
        let mut scene = Self::start_as(|| etcd, 0, qps, None, None);
        access.clone_into(&mut scene.etcd_access);
        scene.add_processes(coordinators);
        scene
    }

    /// One coordinator, and workers that reach etcd on a road that can be cut.
    pub fn start_on_a_road(qps: u32) -> Self {
        let mut scene = Self::start_as(|| Etcd::start().unwrap(), 0, qps, None, None);
        scene.road = Some(Forwarder::to(port(&scene.etcd.endpoint())).unwrap());
        scene.add_processes(1);
        scene
    }

    /// The road on which workers reach etcd.
    pub fn road(&self) -> &Forwarder {
        self.road.as_ref().unwrap()
    }

    /// One coordinator, with these tables at the end of its configuration, and these at the end of the workers'.
    pub fn start_configured(qps: u32, coordinators: &str, workers: &str) -> Self {
        let mut scene = Self::start_as(|| Etcd::start().unwrap(), 0, qps, None, None);
        scene.tables = (coordinators.to_owned(), workers.to_owned());
        scene.add_processes(1);
        scene
    }

    /// One coordinator, with a second origin and a second cache, both called `beside`, and the same budget for the
    /// origin.
    pub fn start_beside(qps: u32, origin: &str, cache: &str) -> Self {
        let beside = Some((origin.to_owned(), cache.to_owned()));
        Self::start_as(|| Etcd::start().unwrap(), 1, qps, None, beside)
    }

    fn start_as(
        etcd: impl FnOnce() -> Etcd,
        coordinators: usize,
        qps: u32,
        cache_writes: Option<u32>,
        beside: Option<(String, String)>,
    ) -> Self {
        let alone = alone();
        let mut scene = Self {
            etcd: etcd(),
            postgres: Postgres::start().unwrap(),
            cache: RedisCluster::start(3).unwrap(),
            plans: ServerDir::new("plans").unwrap(),
            coordinators: Vec::new(),
            workers: Vec::new(),
            qps,
            cache_writes,
            beside,
            road: None,
            etcd_access: String::new(),
            tables: Default::default(),
            _alone: alone,
        };
        if coordinators > 0 {
            scene.add_processes(coordinators);
        }
        scene
    }

    /// The coordinators' plan store.
    pub fn plan_store(&self) -> &std::path::Path {
        self.plans.path()
    }

    fn add_processes(&mut self, coordinators: usize) {
        (1..=coordinators).for_each(|n| self.add_coordinator(n));
        (1..=3).for_each(|n| self.add_worker(n));
    }

    fn add_coordinator(&mut self, n: usize) {
        let port = free_port().unwrap();
        let config = format!(
            r#"
            name = "c{n}"
            listen = "127.0.0.1:{port}"
            plan-store = "{plans}"
            leader-ttl = "2s"
            [etcd]
            endpoints = ["{etcd}"]
            {access}
            [budgets."origin/shop"]
            qps = {qps}
            {cache}
            {beside}
            {tables}
            "#,
            tables = self.tables.0,
            beside = self.beside.as_ref().map_or(String::new(), |_| {
                format!("[budgets.\"origin/beside\"]\nqps = {}", self.qps)
            }),
            cache = self.cache_writes.map_or(String::new(), |writes| {
                format!("[budgets.\"cache/main\"]\nqps = {writes}")
            }),
            plans = self.plans.path().display(),
            etcd = self.etcd.endpoint(),
            access = self.etcd_access,
            qps = self.qps,
        );
        let program = stoke("coordinator", &config);
        program.wait_for_output("listens", PATIENCE).unwrap();
        self.coordinators
            .push((format!("http://127.0.0.1:{port}"), program));
    }

    pub fn add_worker(&mut self, n: usize) {
        let urls: Vec<String> = self
            .cache
            .urls()
            .iter()
            .map(|url| format!("{url:?}"))
            .collect();
        let config = format!(
            r#"
            name = "w{n}"
            member-ttl = "2s"
            allow-sql-in-jobs = true
            allow-files-in-jobs = true
            [etcd]
            endpoints = ["{etcd}"]
            {access}
            [origins.shop]
            url = "{postgres}"
            [caches.main]
            urls = [{urls}]
            [loaders.item]
            origin = "shop"
            query = "SELECT * FROM items WHERE id IN (:keys)"
            key = "item:{{key}}"
            ttl = "1h"
            {beside}
            {tables}
            "#,
            tables = self.tables.1,
            beside = self.beside.as_ref().map_or(String::new(), |(origin, cache)| {
                format!(
                    "[origins.beside]\nurl = \"{origin}\"\n[caches.beside]\nurls = [\"{cache}\"]\n[loaders.thing]\n\
                     origin = \"beside\"\nquery = \"SELECT * FROM things WHERE id IN (:keys)\"\nkey = \"thing:{{key}}\"\n\
                     ttl = \"1h\"\n"
                )
            }),
            etcd = self.road.as_ref().map_or_else(
                || self.etcd.endpoint(),
                |road| format!("http://127.0.0.1:{}", road.port())
            ),
            access = self.etcd_access,
            postgres = self.postgres.url("postgres"),
            urls = urls.join(", "),
        );
        self.workers.push(stoke("worker", &config));
    }

    /// Waits until all workers are members.
    pub fn wait_for_members(&self, count: usize) {
        wait_for("the workers to be members", PATIENCE, || {
            let members =
                self.etcd
                    .ctl(&["get", "--prefix", "--keys-only", "/stoke/v1/member/"])?;
            let found = members
                .lines()
                .filter(|line| !line.trim().is_empty())
                .count();
            anyhow::ensure!(found == count, "{found} of {count}");
            Ok(())
        })
        .unwrap();
    }

    /// The values of all keys of a prefix in etcd, parsed.
    pub fn records(&self, prefix: &str) -> Vec<(String, serde_json::Value)> {
        let text = self
            .etcd
            .ctl(&["get", "--prefix", &format!("/stoke/v1/{prefix}")])
            .unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let pairs = lines.chunks(2).filter(|pair| pair.len() == 2);
        pairs
            .map(|pair| (pair[0].to_owned(), serde_json::from_str(pair[1]).unwrap()))
            .collect()
    }

    /// A worker's name with its incarnation, by the name that it was started with: of the one that is a member now.
    pub fn incarnation(&self, name: &str) -> String {
        let members = self.records("member/");
        let found = members.iter().find_map(|(key, _)| {
            let full = key.rsplit('/').next()?;
            (full.split('.').next() == Some(name)).then(|| full.to_owned())
        });
        found.unwrap()
    }

    /// The address of the coordinator that leads.
    pub fn leader(&self) -> String {
        wait_for("a leader", PATIENCE, || {
            let leader = self.records("leader").into_iter().next();
            let address =
                leader.and_then(|(_, leader)| Some(leader["address"].as_str()?.to_owned()));
            address.ok_or_else(|| anyhow::anyhow!("nobody leads"))
        })
        .unwrap()
    }

    /// The process of the coordinator at this address.
    pub fn coordinator(&self, address: &str) -> &Program {
        let found = self.coordinators.iter().find(|(other, _)| other == address);
        &found.unwrap().1
    }

    /// The API of the coordinator that leads.
    pub async fn jobs(&self) -> JobServiceClient<Channel> {
        connect(&self.leader()).await
    }

    /// Creates a job, once somebody leads and all workers are there.
    pub async fn create(&self, spec: v1::JobSpec) -> v1::Job {
        self.wait_for_members(3);
        let request = v1::CreateJobRequest {
            request_id: String::new(),
            spec: Some(spec),
        };
        let created = self.jobs().await.create_job(request).await.unwrap();
        created.into_inner().job.unwrap()
    }
}

/// The port of an endpoint.
fn port(endpoint: &str) -> u16 {
    endpoint.rsplit(':').next().unwrap().parse().unwrap()
}

/// A client of a coordinator, which may still be starting.
pub async fn connect(address: &str) -> JobServiceClient<Channel> {
    let connecting = async {
        loop {
            match JobServiceClient::connect(address.to_owned()).await {
                Ok(client) => break client,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    let connected = tokio::time::timeout(PATIENCE, connecting).await;
    connected.expect("a coordinator should listen there")
}

/// Runs the program with a configuration.
pub fn stoke(command: &str, config: &str) -> Program {
    let launch = Program::new(env!("CARGO_BIN_EXE_stoke")).unwrap();
    launch
        .arg(command)
        .config("--config", "stoke.toml", config)
        .unwrap()
        .start()
        .unwrap()
}

/// Watches a job until `enough`, or until it is over.
pub async fn watch_until(
    jobs: &mut JobServiceClient<Channel>,
    name: &str,
    enough: impl Fn(&v1::Job) -> bool,
) -> v1::Job {
    let mut last = None;
    let watching = async {
        let mut watched = watch(jobs, name).await;
        loop {
            match watched.message().await {
                Ok(Some(message)) => {
                    let job = message.job.unwrap();
                    let stop = enough(&job);
                    last = Some(job);
                    if stop {
                        break;
                    }
                }
                Ok(None) => break,
                Err(status) if status.code() == tonic::Code::Unavailable => {
                    watched = watch(jobs, name).await;
                }
                Err(status) => panic!("{status:?}"),
            }
        }
    };
    tokio::time::timeout(2 * PATIENCE, watching)
        .await
        .expect("the job should have come that far");
    last.unwrap()
}

/// Watches again where it ends, as any client: a coordinator, or etcd, may be out of reach for a moment.
async fn watch(
    jobs: &mut JobServiceClient<Channel>,
    name: &str,
) -> tonic::Streaming<v1::WatchJobResponse> {
    loop {
        let request = v1::WatchJobRequest { name: name.into() };
        match jobs.watch_job(request).await {
            Ok(watched) => break watched.into_inner(),
            Err(status) if status.code() == tonic::Code::Unavailable => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(status) => panic!("{status:?}"),
        }
    }
}

/// How many entries have an outcome.
pub fn done(job: &v1::Job) -> u64 {
    let progress = job.progress.unwrap_or_default();
    progress.planned - progress.pending
}

/// Whether the job is over.
pub fn is_over(job: &v1::Job) -> bool {
    matches!(
        job.state(),
        JobState::Succeeded | JobState::Failed | JobState::Aborted
    )
}

/// W1: what was planned is what came of it.
pub fn assert_w1(job: &v1::Job) {
    let progress = job.progress.unwrap();
    let o = progress.outcomes.unwrap();
    let sum = o.warmed + o.present + o.absent + o.skipped + o.failed + o.cancelled;
    assert_eq!(
        (progress.planned, progress.pending),
        (sum, 0),
        "{progress:?}"
    );
}

/// What time it is, as logs of PostgreSQL have it: in milliseconds since 1970.
pub fn now_ms() -> u64 {
    u64::try_from(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis(),
    )
    .unwrap()
}
