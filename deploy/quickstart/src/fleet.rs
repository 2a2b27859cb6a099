//! Stoke itself: one coordinator and three workers, each a process of the program under its own configuration.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use stoke_harness::{Etcd, Program, free_port};
use stoke_proto::v1::ListJobsRequest;
use stoke_proto::v1::job_service_client::JobServiceClient;
use tokio::time::{Instant, sleep};

use crate::BUDGET_QPS;
use crate::folder::Folder;
use crate::servers::Servers;
use crate::shop;

/// How many workers there are.
pub(crate) const WORKERS: usize = 3;

/// Names in the workers' configuration that jobs use.
pub(crate) const ORIGIN: &str = "shop";
pub(crate) const CACHE: &str = "main";
pub(crate) const LOADER: &str = "product";

/// Where workers announce themselves in etcd: one key each.
const MEMBERS: &str = "/stoke/v1/member/";

/// How long the fleet may take until it can be given a job.
const USABLE_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How many of the last lines of a process' log are shown when something failed.
const LOG_LINES_SHOWN: usize = 15;

/// The running processes. Each ends when it is dropped, unless servers are kept.
pub(crate) struct Fleet {
    workers: Vec<Process>,
    coordinator: Process,
    port: u16,
}

struct Process {
    name: String,
    program: Program,
}

impl Fleet {
    /// Starts all processes, and waits for none.
    pub(crate) fn start(binary: &Path, folder: &Folder, servers: &Servers) -> Result<Self> {
        let port = free_port()?;
        let plans = folder.path().join("plans");
        fs::create_dir(&plans).context("making the plan store's folder")?;
        let coordinator = coordinator_config(port, &plans, &servers.etcd.endpoint());
        let coordinator = start(binary, "coordinator", "c1", &coordinator)?;
        let workers = (1..=WORKERS)
            .map(|number| {
                let name = format!("w{number}");
                let config = worker_config(&name, servers);
                start(binary, "worker", &name, &config)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Self {
            workers,
            coordinator,
            port,
        })
    }

    /// Where the coordinator is called: `http://127.0.0.1:PORT`.
    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Waits until the coordinator answers and all workers have announced themselves.
    ///
    /// # Errors
    /// A process ended, or it takes longer than half a minute: with what was missing.
    pub(crate) async fn wait_until_usable(&self, etcd: &Etcd) -> Result<()> {
        let deadline = Instant::now() + USABLE_WITHIN;
        loop {
            let missing = match self.look(etcd).await {
                Ok(()) => return Ok(()),
                Err(missing) => missing,
            };
            for process in self.processes() {
                if let Some(status) = process.program.ended()? {
                    let name = &process.name;
                    return Err(missing.context(format!("{name} ended at once ({status})")));
                }
            }
            if Instant::now() >= deadline {
                let what = format!("waited {USABLE_WITHIN:?} for Stoke to be usable");
                return Err(missing.context(what));
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// The end of each process' log: for an error.
    pub(crate) fn last_words(&self) -> String {
        let mut words = String::from("with Stoke's own logs ending so:\n");
        for process in self.processes() {
            let log = process.program.log().unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            let skipped = lines.len().saturating_sub(LOG_LINES_SHOWN);
            words += &format!("--- {}\n", process.name);
            for line in &lines[skipped..] {
                words += &format!("{line}\n");
            }
        }
        words + "--- what failed"
    }

    /// The folders in which the processes run, where their configurations and logs are; with their names.
    pub(crate) fn folders(&self) -> impl Iterator<Item = (&str, &Path)> {
        self.processes()
            .map(|process| (process.name.as_str(), process.program.dir()))
    }

    async fn look(&self, etcd: &Etcd) -> Result<()> {
        let mut client = JobServiceClient::connect(self.address())
            .await
            .context("connecting to the coordinator")?;
        client
            .list_jobs(ListJobsRequest::default())
            .await
            .context("asking the coordinator for its jobs")?;
        let members = etcd.ctl(&["get", "--prefix", "--keys-only", MEMBERS])?;
        let members = members.lines().filter(|line| !line.is_empty()).count();
        ensure!(members == WORKERS, "{members} workers are there");
        Ok(())
    }

    fn processes(&self) -> impl Iterator<Item = &Process> {
        std::iter::once(&self.coordinator).chain(&self.workers)
    }
}

fn start(binary: &Path, role: &str, name: &str, config: &str) -> Result<Process> {
    let program = Program::new(binary)?
        .arg(role)
        .config("--config", &format!("{role}.toml"), config)?
        .start()
        .with_context(|| format!("starting {role} {name}"))?;
    Ok(Process {
        name: format!("{role} {name}"),
        program,
    })
}

fn coordinator_config(port: u16, plans: &Path, etcd: &str) -> String {
    let plans = plans.display();
    format!(
        r#"name = "c1"
listen = "127.0.0.1:{port}"
plan-store = "{plans}"

[etcd]
endpoints = ["{etcd}"]

[budgets."origin/{ORIGIN}"]
qps = {BUDGET_QPS}
"#
    )
}

fn worker_config(name: &str, servers: &Servers) -> String {
    let etcd = servers.etcd.endpoint();
    let shop = servers.postgres.url(shop::DATABASE);
    let nodes = servers.redis.urls();
    format!(
        r#"name = "{name}"
allow-sql-in-jobs = true

[etcd]
endpoints = ["{etcd}"]

[origins.{ORIGIN}]
url = "{shop}"

[caches.{CACHE}]
urls = {nodes:?}

[loaders.{LOADER}]
origin = "{ORIGIN}"
query = "SELECT * FROM products WHERE id IN (:keys)"
key = "product:{{key}}"
ttl = "1h"
"#
    )
}
