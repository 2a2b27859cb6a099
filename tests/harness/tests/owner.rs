//! No server outlives the process that started it, even where that is killed and drops nothing; unless it is to.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use stoke_harness::{Etcd, Postgres, Program, Redis, keep_servers, wait_for};
use tempfile::TempDir;

/// Set, to the name of one of the two owners below, where this test program runs as that.
const OWNER: &str = "STOKE_HARNESS_OWNER";

const SOON: Duration = Duration::from_secs(60);

#[test]
fn servers_and_their_folders_are_gone_when_their_owner_is_killed() {
    let folders = folder_for_all();
    let (mut owner, owned) = start_owner("owner_that_waits_to_be_killed", folders.path());
    assert_eq!(owned.len(), 4);
    assert_eq!(count_in(folders.path()), 4);
    assert!(!owned.iter().any(|pid| has_ended(pid)));

    owner.kill().unwrap();
    owner.wait().unwrap();
    wait_for("the servers and their folders to go", SOON, || {
        for pid in &owned {
            anyhow::ensure!(has_ended(pid), "process {pid} lives");
        }
        let left = count_in(folders.path());
        anyhow::ensure!(left == 0, "{left} folders are left");
        Ok(())
    })
    .unwrap();
}

/// The owner in the test above, and nothing otherwise.
#[test]
fn owner_that_waits_to_be_killed() {
    if !is_owner("owner_that_waits_to_be_killed") {
        return;
    }
    // Started by a thread that ends: it is the process that owns them.
    let (etcd, postgres, redis, program) = std::thread::spawn(|| {
        let program = Program::new("sleep").unwrap().arg("600").start().unwrap();
        (
            Etcd::start().unwrap(),
            Postgres::start().unwrap(),
            Redis::start().unwrap(),
            program,
        )
    })
    .join()
    .unwrap();
    assert_eq!(redis.cli(&["PING"]).unwrap(), "PONG");
    println!(
        "owned: {} {} {} {}",
        etcd.pid(),
        postgres.pid(),
        redis.pid(),
        program.pid()
    );
    // Bounded, in case nobody kills it.
    std::thread::sleep(Duration::from_secs(120));
}

#[test]
fn servers_that_are_kept_outlive_their_owner() {
    let folders = folder_for_all();
    let (mut owner, owned) = start_owner("owner_that_keeps", folders.path());
    assert!(owner.wait().unwrap().success());
    let [pid, port] = &owned[..] else {
        panic!("not a process and a port: {owned:?}")
    };
    let answer = Command::new("redis-cli")
        .args(["-p", port, "PING"])
        .output()
        .unwrap();
    assert_eq!(answer.stdout, b"PONG\n");
    assert_eq!(count_in(folders.path()), 1);

    assert!(
        // The shell's own: a bare system has no program of that name.
        Command::new("sh")
            .args(["-c", "kill -KILL \"$0\"", pid])
            .status()
            .unwrap()
            .success()
    );
    wait_for("the kept server to end", SOON, || {
        anyhow::ensure!(has_ended(pid));
        Ok(())
    })
    .unwrap();
}

/// The owner in the test above, and nothing otherwise.
#[test]
fn owner_that_keeps() {
    if is_owner("owner_that_keeps") {
        keep_servers();
        let redis = Redis::start().unwrap();
        println!("owned: {} {}", redis.pid(), redis.port());
    }
}

/// A folder for the owner's temporary ones, which PostgreSQL's account can pass through.
fn folder_for_all() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o711)).unwrap();
    folder
}

/// Runs this test program as the owner `name`, and returns what that prints about what it owns.
fn start_owner(name: &str, folders: &Path) -> (Child, Vec<String>) {
    let mut owner = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(OWNER, name)
        .env("TMPDIR", folders)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let line = lines
        .find(|line| line.contains("owned:"))
        .expect("the owner says what it owns");
    // Read to the end, so that the owner does not find its output closed; a thread, as it may wait before that.
    std::thread::spawn(move || lines.count());
    let (_, owned) = line.split_once("owned:").unwrap();
    (owner, owned.split_whitespace().map(str::to_owned).collect())
}

fn is_owner(name: &str) -> bool {
    std::env::var_os(OWNER).is_some_and(|owner| owner == name)
}

fn count_in(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

/// Whether a process is gone, or dead and waiting for its parent to look.
fn has_ended(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| {
        stat.rsplit_once(") ")
            .is_none_or(|(_, rest)| rest.starts_with('Z'))
    })
}
