//! However the quickstart is interrupted: its servers and its folder are gone when it is.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use stoke_harness::wait_for;

const SOON: Duration = Duration::from_secs(60);

#[test]
fn nothing_is_left_after_ctrl_c_while_servers_start() {
    for keep in ["", "1"] {
        let (status, folder) = interrupted("INT", keep, |_| {});
        assert_eq!(status.code(), Some(130));
        assert_eq!(running_in(&folder), Vec::<PathBuf>::new());
        assert!(!folder.exists());
    }
}

#[test]
fn nothing_is_left_after_a_termination_while_all_servers_run() {
    for keep in ["", "1"] {
        let (status, folder) = interrupted("TERM", keep, |folder| {
            wait_for("etcd, PostgreSQL and three Redis nodes", SOON, || {
                let running: Vec<String> = running_in(folder)
                    .iter()
                    .filter_map(|process| fs::read_to_string(process.join("comm")).ok())
                    .collect();
                for (server, processes) in [("etcd", 1), ("postgres", 1), ("redis-server", 3)] {
                    let found = running.iter().filter(|name| name.trim() == server).count();
                    anyhow::ensure!(found >= processes, "{found} of {server} run");
                }
                Ok(())
            })
            .unwrap();
        });
        assert_eq!(status.code(), Some(143));
        assert_eq!(running_in(&folder), Vec::<PathBuf>::new());
        assert!(!folder.exists());
    }
}

/// Starts the quickstart, calls `until` with its folder, sends the signal, and returns how it ended.
fn interrupted(signal: &str, keep: &str, until: impl Fn(&Path)) -> (ExitStatus, PathBuf) {
    let mut quickstart = Command::new(env!("CARGO_BIN_EXE_stoke-quickstart"))
        // It does not come to the point where it starts this.
        .arg(env!("CARGO_BIN_EXE_stoke-quickstart"))
        .env("KEEP", keep)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(quickstart.stderr.take().unwrap()).lines();
    let first = said.next().unwrap().unwrap();
    let folder = PathBuf::from(first.split_whitespace().next_back().unwrap());
    assert!(folder.is_dir(), "{first}");
    // Read to the end, so that it does not find its output closed.
    let said = std::thread::spawn(move || said.count());
    until(&folder);
    // The shell's own: a bare system has no program of that name.
    let sent = Command::new("sh")
        .args(["-c", "kill -s \"$0\" \"$1\"", signal])
        .arg(quickstart.id().to_string())
        .status()
        .unwrap();
    assert!(sent.success());
    let status = quickstart.wait().unwrap();
    said.join().unwrap();
    (status, folder)
}

/// The processes whose working folder is in `folder`.
fn running_in(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|process| process.path())
        .filter(|process| {
            fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder))
        })
        .collect()
}
