//! A cluster of Stoke as it is deployed: etcd, a coordinator and three workers, each a process of its own; and a job for it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use stoke_harness::{Etcd, Program, free_port, wait_for};

use super::cache::Cache;
use super::origin::{LOAD, Origin, ranking};
use super::process::{Running, Took};
use super::{BATCH_KEYS, IN_FLIGHT, QPS_UNBOUND};
use crate::machine::{peak_kib, processor_time, reset_peak};

/// How many workers there are.
pub(super) const WORKERS: usize = 3;

/// How long they may take until they can be given a job.
const USABLE_WITHIN: Duration = Duration::from_secs(30);

/// The running processes; each ends when this is dropped.
pub(super) struct Fleet {
    stoke: PathBuf,
    address: String,
    workers: Vec<Program>,
    coordinator: Program,
    _etcd: Etcd,
}

/// What a job took.
pub(super) struct Job {
    /// Of the workers: all their time of the processors, and the peak of the largest.
    pub(super) workers: Took,
    pub(super) coordinator_cpu: Duration,
    pub(super) coordinator_peak_kib: u64,
}

impl Fleet {
    /// Starts all, and waits until they can be given a job.
    pub(super) fn start(stoke: &Path, origin: &Origin, cache: &Cache, keys: u64) -> Result<Self> {
        let etcd = Etcd::start()?;
        let port = free_port()?;
        let coordinator = Program::new(stoke)?.arg("coordinator");
        let config = coordinator_config(port, &coordinator.dir().join("plans"), &etcd);
        let coordinator = coordinator
            .config("--config", "coordinator.toml", &config)?
            .start()?;
        let workers = (1..=WORKERS).map(|number| {
            let config = worker_config(number, &etcd, origin, cache, keys);
            Program::new(stoke)?
                .arg("worker")
                .config("--config", "worker.toml", &config)?
                .start()
        });
        let fleet = Self {
            stoke: stoke.to_owned(),
            address: format!("http://127.0.0.1:{port}"),
            workers: workers.collect::<Result<_>>()?,
            coordinator,
            _etcd: etcd,
        };
        wait_for("Stoke's processes", USABLE_WITHIN, || fleet.look())
            .with_context(|| fleet.last_words())?;
        Ok(fleet)
    }

    /// Has the job done that its workers' configuration is made for.
    pub(super) fn run(&self) -> Result<Job> {
        let job =
            "cache = \"main\"\n[[sources]]\nnamed = \"popular\"\n[[loaders]]\nname = \"product\"\n";
        let file = self.coordinator.dir().join("job.toml");
        std::fs::write(&file, job).context("writing the job's file")?;
        let mut submit = Command::new(&self.stoke);
        submit
            .arg("submit")
            .arg(file)
            .args(["--watch", "--output", "json"]);
        submit.args(["--coordinator", &self.address]);
        submit
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let pids = || self.workers.iter().map(Program::pid);
        let cpu = || pids().map(processor_time).sum::<Result<Duration>>();
        let coordinator = self.coordinator.pid();
        pids().chain([coordinator]).try_for_each(reset_peak)?;
        let (cpu_before, of_coordinator) = (cpu()?, processor_time(coordinator)?);
        let submitted = Running::start([submit])?
            .wait()
            .with_context(|| self.last_words())?;
        let peaks = pids().map(peak_kib).collect::<Result<Vec<_>>>()?;
        Ok(Job {
            workers: Took {
                time: submitted.time,
                cpu: cpu()? - cpu_before,
                peak_kib: peaks.into_iter().max().unwrap_or_default(),
            },
            coordinator_cpu: processor_time(coordinator)? - of_coordinator,
            coordinator_peak_kib: peak_kib(coordinator)?,
        })
    }

    /// Whether all workers have announced themselves.
    fn look(&self) -> Result<()> {
        let mut command = Command::new(&self.stoke);
        command.args([
            "workers",
            "--output",
            "json",
            "--coordinator",
            &self.address,
        ]);
        let output = command
            .stdin(Stdio::null())
            .output()
            .context("starting stoke")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let there = said.matches("\"worker\":").count();
        ensure!(there == WORKERS, "{there} workers are there: {said}");
        Ok(())
    }

    /// The end of each process' log.
    fn last_words(&self) -> String {
        let programs = [&self.coordinator].into_iter().chain(&self.workers);
        let logs = programs.map(|program| {
            let log = program.log().unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            lines[lines.len().saturating_sub(10)..].join("\n")
        });
        format!(
            "Stoke's processes said:\n{}",
            logs.collect::<Vec<_>>().join("\n---\n")
        )
    }
}

fn coordinator_config(port: u16, plans: &Path, etcd: &Etcd) -> String {
    format!(
        r#"name = "c1"
listen = "127.0.0.1:{port}"
plan-store = "{plans}"

[etcd]
endpoints = ["{etcd}"]

[budgets."origin/shop"]
qps = "{QPS_UNBOUND}/s"
in-flight = {in_flight}
"#,
        plans = plans.display(),
        etcd = etcd.endpoint(),
        in_flight = IN_FLIGHT.max(WORKERS as u32 * 2),
    )
}

fn worker_config(number: usize, etcd: &Etcd, origin: &Origin, cache: &Cache, keys: u64) -> String {
    format!(
        r#"name = "w{number}"

[etcd]
endpoints = ["{etcd}"]

[origins.shop]
url = "{origin}"

[caches.main]
urls = {urls:?}

[loaders.product]
origin = "shop"
query = "{LOAD}"
key = "product:{{key}}"
ttl = "1day"
ttl-jitter = 0
batch-keys = {BATCH_KEYS}

[sources.popular]
origin = "shop"
query = "{ranking}"
"#,
        etcd = etcd.endpoint(),
        origin = origin.url(),
        urls = cache.urls(),
        ranking = ranking(keys),
    )
}
