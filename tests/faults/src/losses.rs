//! What a job must survive, one a run: W1 to W3, judged by Redis, PostgreSQL and its log. A new one is one more line in [`ALL`]
//! and the function that it names.

pub(crate) mod run;
mod shop;
pub(crate) mod table;

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use stoke_harness::{Program, RedisCluster, wait_for};

use crate::history::now_ms;
use crate::scene::{CEILING_QPS, PATIENCE, Scene};

/// Who is disturbed, where it is one worker.
const VICTIM: usize = 0;
/// How long a cache's node refuses writes, and a disk: longer than planning takes.
const FULL_FOR: Duration = Duration::from_secs(5);
/// How long a worker that is drained may take to end.
const DRAINED_WITHIN: Duration = Duration::from_secs(20);
/// Slots that are moved: about a third of a master's.
const SLOTS_MOVED: &str = "1800";

/// The scene, its cache, and the job.
pub(crate) struct Stage<'a> {
    pub(crate) scene: &'a mut Scene,
    pub(crate) cache: &'a mut RedisCluster,
    pub(crate) job: &'a str,
}

/// One kind of loss.
pub(crate) struct Loss {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What is done.
    pub(crate) what: &'static str,
    /// Which source of the workers' configuration says what is to be warmed.
    pub(crate) source: &'static str,
    /// How many workers there are when a run begins.
    pub(crate) workers: usize,
    /// How the job must end.
    pub(crate) ends: &'static str,
    /// How many percent of the keys have an outcome when it comes; `None`: the job is being planned.
    pub(crate) at_percent: Option<u64>,
    /// How much room plans have, in MiB; `None`: all of the disk.
    pub(crate) plan_mebibytes: Option<u32>,
    /// Does it, and undoes it where it does not stay; when it came, in milliseconds since 1970.
    pub(crate) act: fn(&mut Stage<'_>) -> Result<u64>,
}

const fn loss(
    name: &'static str,
    what: &'static str,
    at_percent: u64,
    act: fn(&mut Stage<'_>) -> Result<u64>,
) -> Loss {
    Loss {
        name,
        what,
        source: shop::RANKED,
        workers: 3,
        ends: "SUCCEEDED",
        at_percent: Some(at_percent),
        plan_mebibytes: None,
        act,
    }
}

/// All there are, in the order in which they are run.
pub(crate) const ALL: &[Loss] = &[
    loss("none", "nothing", 50, |_| Ok(now_ms())),
    loss(
        "killed-at-10",
        "a worker is killed (SIGKILL) at 10%",
        10,
        kill_worker,
    ),
    loss(
        "killed-at-50",
        "a worker is killed (SIGKILL) at 50%",
        50,
        kill_worker,
    ),
    loss(
        "killed-at-99",
        "a worker is killed (SIGKILL) at 99%",
        95,
        kill_worker_at_the_end,
    ),
    loss(
        "drained",
        "a worker is told to end (SIGTERM), and does",
        50,
        |stage| {
            let came = now_ms();
            drain(stage, VICTIM)?;
            Ok(came)
        },
    ),
    loss(
        "three-six-two",
        "3 workers become 6, and 4 of them are told to end later",
        25,
        grow_and_shrink,
    ),
    Loss {
        at_percent: None,
        ..loss(
            "leader-killed-planning",
            "the leader is killed while it plans",
            0,
            kill_leader,
        )
    },
    loss(
        "leader-killed-running",
        "the leader is killed while the job runs",
        50,
        kill_leader,
    ),
    Loss {
        at_percent: None,
        source: shop::LOGGED,
        ..loss(
            "leader-killed-reading",
            "the leader is killed while an access log is read",
            0,
            kill_leader,
        )
    },
    Loss {
        at_percent: None,
        source: shop::LOGGED,
        ..loss(
            "workers-killed-reading",
            "all workers are killed while one reads an access log, and started again",
            0,
            restart_workers,
        )
    },
    Loss {
        ends: "ABORTED",
        ..loss(
            "leader-killed-aborting",
            "a worker stands still, the job is aborted, and the leader is killed while it waits for that worker",
            50,
            kill_leader_aborting,
        )
    },
    loss(
        "all-killed",
        "all coordinators and workers are killed and started again",
        50,
        restart_everything,
    ),
    loss(
        "master-killed",
        "a master of the cache is killed, and its replica promoted",
        50,
        kill_master,
    ),
    loss(
        "slots-moved",
        "1,800 slots move to another master of the cache (redis-cli --cluster reshard)",
        25,
        move_slots,
    ),
    loss(
        "cache-full",
        "a master of the cache is at maxmemory for 5 s (noeviction)",
        50,
        fill_cache,
    ),
    loss(
        "database-restarted",
        "PostgreSQL is killed and started again",
        50,
        |stage| {
            let came = now_ms();
            stage.scene.postgres.kill()?;
            stage.scene.postgres.restart()?;
            Ok(came)
        },
    ),
    Loss {
        at_percent: None,
        plan_mebibytes: Some(8),
        ..loss(
            "plans-full-planning",
            "the disk of the plan store is full for 5 s while the plan is to be written",
            0,
            fill_plan_disk,
        )
    },
    Loss {
        plan_mebibytes: Some(8),
        ..loss(
            "plans-full-running",
            "the disk of the plan store is full for 5 s while lists of failures are to be written",
            25,
            fill_plan_disk,
        )
    },
];

fn kill_worker(stage: &mut Stage<'_>) -> Result<u64> {
    stage.scene.workers[VICTIM].kill9()?;
    Ok(now_ms())
}

/// The last percent would be over before anybody has seen it: it is made to last.
fn kill_worker_at_the_end(stage: &mut Stage<'_>) -> Result<u64> {
    let set = |qps: u64| {
        let resource = format!("origin/{}", crate::shop::ORIGIN);
        stage
            .scene
            .ask(&["budget", "set", &resource, "--qps", &qps.to_string()])
    };
    set(stage.scene.workers.len() as u64)?;
    stage.wait_until_done(99)?;
    stage.scene.workers[VICTIM].kill9()?;
    let came = now_ms();
    set(CEILING_QPS)?;
    Ok(came)
}

/// Tells a worker to end, and waits until it has: well.
fn drain(stage: &Stage<'_>, worker: usize) -> Result<()> {
    let program = &stage.scene.workers[worker];
    program.terminate()?;
    let status = program.wait(DRAINED_WITHIN)?;
    ensure!(
        status.success(),
        "a drained worker ended with {status}: {}",
        program.log()?.trim()
    );
    Ok(())
}

fn grow_and_shrink(stage: &mut Stage<'_>) -> Result<u64> {
    stage.scene.add_workers(3)?;
    stage.scene.wait_for_members(6)?;
    stage.wait_until_done(60)?;
    let came = now_ms();
    (0..4).try_for_each(|worker| drain(stage, worker))?;
    Ok(came)
}

fn kill_leader(stage: &mut Stage<'_>) -> Result<u64> {
    stage.scene.leader()?.program.kill9()?;
    Ok(now_ms())
}

fn kill_leader_aborting(stage: &mut Stage<'_>) -> Result<u64> {
    let victim = &stage.scene.workers[VICTIM];
    victim.stop()?;
    stage.scene.ask(&["abort", stage.job])?;
    stage.scene.leader()?.program.kill9()?;
    let came = now_ms();
    let over = wait_for("the job to be aborted", PATIENCE, || {
        let job = stage.scene.ask(&["status", stage.job])?;
        ensure!(job["state"] == "ABORTED", "it is {}", job["state"]);
        Ok(())
    });
    stage.scene.workers[VICTIM].cont()?;
    over?;
    Ok(came)
}

fn restart_workers(stage: &mut Stage<'_>) -> Result<u64> {
    let workers = || stage.scene.workers.iter();
    workers().try_for_each(|program| program.kill9())?;
    let came = now_ms();
    workers().try_for_each(|program| program.restart())?;
    Ok(came)
}

fn restart_everything(stage: &mut Stage<'_>) -> Result<u64> {
    let programs = || stage.scene.programs().map(|(_, program)| program);
    programs().try_for_each(|program| program.kill9())?;
    let came = now_ms();
    programs().try_for_each(|program| program.restart())?;
    Ok(came)
}

fn kill_master(stage: &mut Stage<'_>) -> Result<u64> {
    let master = stage.cache.ports()[0];
    let replica = *stage.cache.ports().last().context("there is no replica")?;
    stage.cache.kill(master)?;
    let came = now_ms();
    wait_for("the replica to be promoted", PATIENCE, || {
        let role = stage.cache.cli(replica, &["ROLE"])?;
        ensure!(role.starts_with("master"), "{role}");
        Ok(())
    })?;
    Ok(came)
}

fn move_slots(stage: &mut Stage<'_>) -> Result<u64> {
    let ports = stage.cache.ports();
    let id = |port| stage.cache.cli(port, &["CLUSTER", "MYID"]);
    let (from, to) = (id(ports[0])?, id(ports[1])?);
    let came = now_ms();
    let node = format!("127.0.0.1:{}", ports[0]);
    let moved = std::process::Command::new("redis-cli")
        .args(["--cluster", "reshard", &node, "--cluster-from", &from])
        .args(["--cluster-to", &to, "--cluster-slots", SLOTS_MOVED])
        .arg("--cluster-yes")
        .output()
        .context("starting redis-cli")?;
    ensure!(
        moved.status.success(),
        "redis-cli could not move slots: {}",
        String::from_utf8_lossy(&moved.stderr).trim()
    );
    Ok(came)
}

fn fill_cache(stage: &mut Stage<'_>) -> Result<u64> {
    let master = stage.cache.ports()[0];
    let set = |bytes: &str| {
        stage
            .cache
            .cli(master, &["CONFIG", "SET", "maxmemory", bytes])
    };
    set("1")?;
    let came = now_ms();
    sleep(FULL_FOR);
    set("0")?;
    Ok(came)
}

fn fill_plan_disk(stage: &mut Stage<'_>) -> Result<u64> {
    let disk = stage.scene.plan_disk()?;
    disk.fill()?;
    let came = now_ms();
    sleep(FULL_FOR);
    disk.free()?;
    Ok(came)
}

impl Stage<'_> {
    /// Waits until so many percent of the keys have an outcome, as the job says.
    fn wait_until_done(&self, percent: u64) -> Result<()> {
        wait_for("the job to come so far", PATIENCE, || {
            let job = self.scene.ask(&["status", self.job])?;
            let done = done_percent(&job).context("it has no plan yet")?;
            ensure!(done >= percent, "{done}% of {percent}%");
            Ok(job)
        })
        .and_then(|job| {
            // What comes after the end proves nothing.
            ensure!(
                job["state"] == "RUNNING",
                "the job is {} already",
                job["state"]
            );
            Ok(())
        })
    }

    /// Waits for the moment at which this loss comes.
    fn wait_for(&self, loss: &Loss) -> Result<()> {
        match loss.at_percent {
            Some(percent) => self.wait_until_done(percent),
            None if loss.source == shop::LOGGED => {
                wait_for("a worker to read the log", PATIENCE, || {
                    let reads = self.scene.workers.iter().any(has_log_open);
                    ensure!(reads, "none has it open");
                    Ok(())
                })
            }
            None => wait_for("the job to be planned", PATIENCE, || {
                let job = self.scene.ask(&["status", self.job])?;
                ensure!(job["state"] == "PLANNING", "it is {}", job["state"]);
                Ok(())
            }),
        }
    }
}

/// Whether a worker has the access log open, as its kernel says.
fn has_log_open(worker: &Program) -> bool {
    let files = std::fs::read_dir(format!("/proc/{}/fd", worker.pid()));
    let targets = files.into_iter().flatten().flatten();
    let mut targets = targets.filter_map(|file| std::fs::read_link(file.path()).ok());
    targets.any(|target| target.ends_with(shop::LOG))
}

fn done_percent(job: &Value) -> Option<u64> {
    let planned = job["planned"].as_u64().filter(|planned| *planned > 0)?;
    let pending = job["pending"].as_u64()?;
    Some(planned.saturating_sub(pending) * 100 / planned)
}
