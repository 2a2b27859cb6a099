//! The scene of one run: three etcd members, PostgreSQL and Redis; two coordinators and four workers as processes, which
//! reach etcd and the coordinators only over forwarders, where any one of them can be cut off.
//!
//! Forwarders rather than network namespaces: those need root and a kernel that lets a container make them, and a campaign
//! that runs nowhere proves nothing. A forwarder knows the process that a connection comes from, so one worker is cut off
//! from a coordinator though all find the same address in etcd. To PostgreSQL there is none: its log must tell when statements
//! came, not when a forwarder passed them on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use stoke_harness::{
    EtcdCluster, Forwarder, Launch, Line, Postgres, Program, ServerDir, free_port, wait_for,
};

use crate::disk::SmallDisk;
use crate::shop;

/// What all workers together may ask of the database, in queries a second, where the fault does not say: few enough that a
/// run lasts and that a timer that fires late costs little, and at least one for each of twenty workers.
pub(crate) const CEILING_QPS: u64 = 20;
/// How many queries may be unanswered: at least one for each of twenty workers.
const IN_FLIGHT: u64 = 20;
/// How many workers there are when a run begins, where the fault does not say.
pub(crate) const WORKERS: usize = 4;
/// How many of the queries in flight are one worker's, of four.
pub(crate) const IN_FLIGHT_EACH: u64 = IN_FLIGHT / WORKERS as u64;
/// T, the default.
pub(crate) const TERM: Duration = Duration::from_millis(5000);
/// Q, the default.
pub(crate) const QUARANTINE: Duration = Duration::from_millis(5352);

/// How long anything may take that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// What all keys in etcd begin with, by default.
pub(crate) const PREFIX: &str = "/stoke/v1/";

/// A stoke, maybe with a mutant chosen.
#[derive(Clone, Debug)]
pub(crate) struct Binary {
    path: PathBuf,
    mutant: Option<String>,
}

impl Binary {
    /// The program at this path.
    pub(crate) fn new(path: PathBuf, mutant: Option<String>) -> Result<Self> {
        // Its processes run in folders of their own.
        let path = path
            .canonicalize()
            .with_context(|| format!("there is no {}", path.display()))?;
        Ok(Self { path, mutant })
    }

    fn launch(&self, disk: Option<&SmallDisk>) -> Result<Launch> {
        let launch = match disk {
            Some(disk) => disk.launch(&self.path)?,
            None => Program::new(&self.path)?,
        };
        Ok(match &self.mutant {
            Some(mutant) => launch.env("STOKE_MUTANT", mutant),
            None => launch,
        })
    }

    /// Starts a command of it that speaks JSON.
    fn begin(&self, coordinators: &str, args: &[&str]) -> Result<Program> {
        let launch = self.launch(None)?.env("STOKE_COORDINATOR", coordinators);
        launch.args(args).args(["--output", "json"]).start()
    }

    /// Runs a command of it to its end and returns what it says in JSON.
    fn ask(&self, coordinators: &str, args: &[&str]) -> Result<Value> {
        let program = self.begin(coordinators, args)?;
        let status = program.wait(PATIENCE)?;
        ensure!(
            status.success(),
            "stoke {} ended with {status}: {}",
            args.join(" "),
            program.log()?.trim()
        );
        serde_json::from_str(&program.stdout()?)
            .with_context(|| format!("reading what stoke {} says", args.join(" ")))
    }
}

/// Who is there when a run begins, and what they are told.
#[derive(Clone, Debug)]
pub(crate) struct Staff {
    pub(crate) coordinators: usize,
    pub(crate) workers: usize,
    /// What all workers together may ask of the database, in queries a second.
    pub(crate) ceiling_qps: u64,
    /// The guards of the database's budget, as coordinators are told of them.
    pub(crate) guards: &'static str,
    /// What workers are told of database, cache and loader.
    pub(crate) catalog: String,
    /// How much room plans have, in MiB; `None`: all of the disk.
    pub(crate) plan_mebibytes: Option<u32>,
}

/// A coordinator.
pub(crate) struct Coordinator {
    /// Its name, as in the record of who leads.
    pub(crate) name: String,
    /// Where it really listens.
    address: String,
    /// What workers reach it over.
    road: Forwarder,
    /// Its process.
    pub(crate) program: Program,
}

/// All servers and processes of a run, ended and removed when it is dropped.
pub(crate) struct Scene {
    pub(crate) etcd: EtcdCluster,
    pub(crate) postgres: Postgres,
    plans: ServerDir,
    plan_disk: Option<SmallDisk>,
    stoke: Binary,
    catalog: String,
    roads_to_etcd: Vec<Forwarder>,
    pub(crate) coordinators: Vec<Coordinator>,
    pub(crate) workers: Vec<Program>,
}

impl Scene {
    /// Starts the servers only.
    pub(crate) fn start(stoke: &Binary) -> Result<Self> {
        let etcd = EtcdCluster::start(3)?;
        let port = |endpoint: &String| -> Result<u16> {
            let port = endpoint.rsplit(':').next().unwrap_or_default();
            port.parse().context("reading etcd's port")
        };
        let roads_to_etcd = etcd
            .endpoints()
            .iter()
            .map(|endpoint| Forwarder::to(port(endpoint)?))
            .collect::<Result<_>>()?;
        Ok(Self {
            etcd,
            postgres: Postgres::start()?,
            plans: ServerDir::new("plans")?,
            plan_disk: None,
            stoke: stoke.clone(),
            catalog: String::new(),
            roads_to_etcd,
            coordinators: Vec::new(),
            workers: Vec::new(),
        })
    }

    /// Starts coordinators and workers, and waits until they are there.
    pub(crate) fn staff(&mut self, staff: &Staff) -> Result<()> {
        self.catalog.clone_from(&staff.catalog);
        self.plan_disk = match staff.plan_mebibytes {
            Some(mebibytes) => Some(SmallDisk::mount(self.plans.path(), mebibytes)?),
            None => None,
        };
        for number in 1..=staff.coordinators {
            self.add_coordinator(number, staff)?;
        }
        self.add_workers(staff.workers)?;
        self.wait_for_members(staff.workers)
    }

    fn add_coordinator(&mut self, number: usize, staff: &Staff) -> Result<()> {
        let port = free_port()?;
        let road = Forwarder::to(port)?;
        let config = format!(
            r#"
            name = "c{number}"
            listen = "127.0.0.1:{port}"
            advertise = "http://127.0.0.1:{road}"
            plan-store = "{plans}"
            {shared}
            [budgets."origin/{origin}"]
            qps = {ceiling_qps}
            in-flight = {IN_FLIGHT}
            {guards}
            "#,
            ceiling_qps = staff.ceiling_qps,
            guards = staff.guards,
            road = road.port(),
            plans = self.plans.path().display(),
            shared = self.shared_config(),
            origin = shop::ORIGIN,
        );
        let program = self.begin("coordinator", self.plan_disk.as_ref(), &config)?;
        program.wait_for_output("listens", PATIENCE)?;
        self.coordinators.push(Coordinator {
            name: format!("c{number}"),
            address: format!("http://127.0.0.1:{port}"),
            road,
            program,
        });
        Ok(())
    }

    /// Starts so many more workers, and waits for nothing.
    pub(crate) fn add_workers(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            let config = format!(
                r#"
                name = "w{number}"
                {shared}
                {catalog}
                "#,
                number = self.workers.len() + 1,
                shared = self.shared_config(),
                catalog = self.catalog,
            );
            self.workers.push(self.begin("worker", None, &config)?);
        }
        Ok(())
    }

    fn shared_config(&self) -> String {
        let ports = self.roads_to_etcd.iter().map(Forwarder::port);
        let endpoints: Vec<String> = ports
            .map(|port| format!("\"http://127.0.0.1:{port}\""))
            .collect();
        format!(
            "etcd.endpoints = [{}]\ntiming.term = \"{}ms\"\ntiming.quarantine = \"{}ms\"\n",
            endpoints.join(", "),
            TERM.as_millis(),
            QUARANTINE.as_millis()
        )
    }

    fn begin(&self, command: &str, disk: Option<&SmallDisk>, config: &str) -> Result<Program> {
        let launch = self.stoke.launch(disk)?.arg(command);
        launch.config("--config", "stoke.toml", config)?.start()
    }

    /// Waits until so many workers are members.
    pub(crate) fn wait_for_members(&self, count: usize) -> Result<()> {
        wait_for("the workers to be members", PATIENCE, || {
            let prefix = format!("{PREFIX}member/");
            let keys = self
                .etcd
                .ctl(&["get", "--prefix", "--keys-only", &prefix])?;
            let found = keys.lines().filter(|line| !line.trim().is_empty()).count();
            ensure!(found == count, "{found} of {count}");
            Ok(())
        })
    }

    /// The coordinator that leads, as etcd has it.
    pub(crate) fn leader(&self) -> Result<&Coordinator> {
        wait_for("a leader", PATIENCE, || {
            let key = format!("{PREFIX}leader");
            let text = self.etcd.ctl(&["get", "--print-value-only", &key])?;
            let record: Value = serde_json::from_str(&text).context("nobody leads")?;
            let leads = |coordinator: &&Coordinator| record["name"] == coordinator.name.as_str();
            let found = self.coordinators.iter().find(leads);
            found.with_context(|| format!("an unknown leader: {record}"))
        })
    }

    /// What becomes of bytes between a worker and all members of etcd.
    pub(crate) fn line_to_etcd(&self, worker: usize, line: Line) {
        let pid = self.workers[worker].pid();
        self.roads_to_etcd
            .iter()
            .for_each(|road| road.set_for(pid, line));
    }

    /// What becomes of bytes between a worker and all coordinators.
    pub(crate) fn line_to_coordinators(&self, worker: usize, line: Line) {
        let pid = self.workers[worker].pid();
        self.coordinators
            .iter()
            .for_each(|coordinator| coordinator.road.set_for(pid, line));
    }

    /// What a command of stoke, asked of whichever coordinator answers, says in JSON.
    pub(crate) fn ask(&self, args: &[&str]) -> Result<Value> {
        self.stoke.ask(&self.addresses(), args)
    }

    /// Such a command, started and not waited for.
    pub(crate) fn begin_asking(&self, args: &[&str]) -> Result<Program> {
        self.stoke.begin(&self.addresses(), args)
    }

    fn addresses(&self) -> String {
        let addresses = self.coordinators.iter();
        let addresses: Vec<&str> = addresses.map(|one| one.address.as_str()).collect();
        addresses.join(",")
    }

    /// All processes of Stoke, with names.
    pub(crate) fn programs(&self) -> impl Iterator<Item = (String, &Program)> {
        let coordinators = self
            .coordinators
            .iter()
            .map(|coordinator| (coordinator.name.clone(), &coordinator.program));
        let workers = self
            .workers
            .iter()
            .enumerate()
            .map(|(number, program)| (format!("w{}", number + 1), program));
        coordinators.chain(workers)
    }

    /// The disk that plans are on, where it is one of their own.
    pub(crate) fn plan_disk(&self) -> Result<&SmallDisk> {
        self.plan_disk
            .as_ref()
            .context("plans have no disk of their own")
    }

    /// A folder of this run's; where plans have no disk of their own, theirs.
    pub(crate) fn folder(&self) -> &Path {
        self.plans.path()
    }
}
