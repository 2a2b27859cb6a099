//! Configurations as the program takes them: checked on demand and at every start, with all faults at once.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::path::Path;
use std::time::Duration;

use stoke_harness::{Launch, Program};

/// Far longer than reading a file takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a run ended with: exit code, standard output, standard error.
type Ended = (Option<i32>, String, String);

fn stoke() -> Launch {
    Program::new(env!("CARGO_BIN_EXE_stoke")).unwrap()
}

fn end(launch: Launch) -> Ended {
    let program = launch.start().unwrap();
    let status = program.wait(PATIENCE).unwrap();
    (
        status.code(),
        program.stdout().unwrap(),
        program.log().unwrap(),
    )
}

/// Runs a process of a cluster with a configuration of this text.
fn run(role: &str, flag: &str, text: &str) -> Ended {
    let launch = stoke().arg(role).env("WORKER_PASSWORD", "s3cret");
    end(launch.config(flag, "stoke.toml", text).unwrap())
}

const WORKER: &str = r#"name = "w1"
[etcd]
endpoints = ["http://127.0.0.1:1"]
[origins.shop]
url = "postgres://stoke:${WORKER_PASSWORD}@localhost/shop"
"#;

const COORDINATOR: &str = r#"name = "c1"
listen = "127.0.0.1:0"
plan-store = "plans"
[etcd]
endpoints = ["http://127.0.0.1:1"]
[budgets."origin/shop"]
qps = "200/s"
"#;

#[test]
fn a_check_says_that_a_file_is_valid_and_starts_nothing() {
    for (role, text) in [("worker", WORKER), ("coordinator", COORDINATOR)] {
        let launch = stoke().arg(role).env("WORKER_PASSWORD", "s3cret");
        let launch = launch.config("--check", "stoke.toml", text).unwrap();
        let folder = launch.dir().to_owned();
        let program = launch.start().unwrap();
        assert!(program.wait(PATIENCE).unwrap().success());
        let said = format!("{} is valid\n", folder.join("stoke.toml").display());
        assert_eq!(program.stdout().unwrap(), said);
        assert_eq!(program.log().unwrap(), "");
        // Started, it would have made this, or failed at an etcd that is not there.
        assert!(!folder.join("plans").exists());
    }
}

#[test]
fn the_examples_are_valid_as_they_stand() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples");
    for role in ["coordinator", "worker"] {
        let launch = stoke().args([role, "--check"]);
        let launch = launch.arg(folder.join(format!("{role}.toml")));
        let (code, stdout, stderr) = end(launch.env("SHOP_PASSWORD", "s3cret"));
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        assert!(stdout.ends_with("is valid\n"), "{stdout}");
    }
}

#[test]
fn a_check_and_a_start_list_the_same_faults_all_at_once() {
    let worker = WORKER
        .replace("WORKER_PASSWORD", "STOKE_TEST_UNSET")
        .replace("name =", "nam =");
    let worker =
        format!("{worker}statement-timeout = 5\n[caches.main]\nurls = \"redis://:s3cret@a\"\n");
    let coordinator = COORDINATOR
        .replace("qps =", "capacity = 5\nqps =")
        .replace("= \"plans\"", "\"plans\"");
    let in_worker = [
        "line 1, column 1: name: it is missing; add name = \"w1\", what it is called",
        "line 1, column 1: nam: there is no such setting; did you mean name? There are allow-files-in-jobs, \
         allow-sql-in-jobs, caches, etcd, http-listen, loaders, member-ttl, name, origins, sources, telemetry, timing, \
         weight, zone",
        "line 5, column 7: origins.shop.url: the environment variable \"STOKE_TEST_UNSET\" is not set; set the variable \
         for this process",
        "line 6, column 21: origins.shop.statement-timeout: a number without unit or quotes is no duration; write a \
         number with its unit, as \"500ms\", \"5s\", \"5m\" or \"1h30m\"",
        "line 8, column 8: caches.main.urls: a text cannot stand here; write a list, as [\"…\", \"…\"]",
    ];
    let in_coordinator = [
        "line 3, column 12: key with no value, expected `=`; see https://toml.io for how TOML is written",
        "line 8, column 7: budgets.\"origin/shop\".qps: it cannot stand beside budgets.\"origin/shop\".capacity (line 7); \
         set either qps, or capacity (and fraction)",
    ];
    for (role, text, faults) in [
        ("worker", worker, &in_worker[..]),
        ("coordinator", coordinator, &in_coordinator[..]),
    ] {
        for flag in ["--check", "--config"] {
            let (code, stdout, stderr) = run(role, flag, &text);
            assert_eq!((code, stdout.as_str()), (Some(2), ""), "{stderr}");
            let mut lines = stderr.lines();
            let first = lines.next().unwrap();
            let count = format!("stoke.toml is not valid, it has {} faults:", faults.len());
            assert!(
                first.starts_with("stoke: ") && first.ends_with(&count),
                "{first}"
            );
            assert_eq!(lines.collect::<Vec<_>>(), faults);
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    for flag in ["--check", "--config"] {
        let (code, stdout, stderr) = end(stoke().args(["worker", flag, "nowhere.toml"]));
        assert_eq!((code, stdout.as_str()), (Some(2), ""));
        assert!(stderr.contains("cannot read nowhere.toml: "), "{stderr}");
    }
}

#[test]
fn a_file_that_is_no_utf8_has_the_place_of_its_first_wrong_byte() {
    let launch = stoke().args(["worker", "--check", "bad.toml"]);
    std::fs::write(launch.dir().join("bad.toml"), b"# fine\n# \xc3\xbc \xff\n").unwrap();
    let (code, stdout, stderr) = end(launch);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    let told = "line 2, column 5: that is no UTF-8; save the file as UTF-8\n";
    assert!(stderr.ends_with(told), "{stderr}");
}

#[test]
fn a_check_whose_answer_cannot_be_written_ends_without_a_panic() {
    let launch = Program::new("sh").unwrap();
    std::fs::write(launch.dir().join("stoke.toml"), COORDINATOR).unwrap();
    let stoke = env!("CARGO_BIN_EXE_stoke");
    let line = format!("'{stoke}' coordinator --check stoke.toml > /dev/full");
    let (code, _, stderr) = end(launch.args(["-c", &line]));
    assert_eq!(code, Some(4), "{stderr}");
    assert!(
        stderr.contains("cannot write to standard output"),
        "{stderr}"
    );
}

#[test]
fn a_file_is_either_checked_or_used() {
    for args in [&["--config", "a", "--check", "a"][..], &[]] {
        for role in ["worker", "coordinator"] {
            let (code, _, stderr) = end(stoke().arg(role).args(args));
            assert_eq!(code, Some(2));
            assert!(stderr.contains("--check <FILE>"), "{stderr}");
        }
    }
}
