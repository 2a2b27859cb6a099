//! What [`Program`] promises, shown on small shell programs.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use stoke_harness::{Launch, Program, wait_for};

const SOON: Duration = Duration::from_secs(30);

fn sh(script: &str) -> Launch {
    Program::new("sh").unwrap().args(["-c", script, "sh"])
}

/// The one-letter state that the kernel shows for a process.
fn state(pid: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1[..1].to_owned()
}

#[test]
fn a_program_gets_arguments_variables_input_and_a_config_file() {
    let program = sh(r#"echo "$1 $GREETING $(cat)"; cat "$3"; echo "to the log" >&2; exit 3"#)
        .args(["first"])
        .env("GREETING", "hello")
        .config("--config", "it.toml", "a = 1\n")
        .unwrap()
        .stdin("from the input")
        .unwrap()
        .start()
        .unwrap();
    assert_eq!(program.wait(SOON).unwrap().code(), Some(3));
    assert_eq!(
        program.stdout().unwrap(),
        "first hello from the input\na = 1\n"
    );
    assert_eq!(program.log().unwrap(), "to the log\n");
}

#[test]
fn a_program_can_be_killed_and_started_again_in_its_folder() {
    let program = sh("echo run >>runs; echo up; exec sleep 600")
        .start()
        .unwrap();
    program.wait_for_output("up", SOON).unwrap();
    let first = program.pid();
    program.kill9().unwrap();
    assert!(program.ended().unwrap().is_some());

    program.restart().unwrap();
    assert_ne!(program.pid(), first);
    wait_for("the second run", SOON, || {
        anyhow::ensure!(fs::read_to_string(program.dir().join("runs"))? == "run\nrun\n");
        Ok(())
    })
    .unwrap();

    let (dir, process) = (program.dir().to_owned(), format!("/proc/{}", program.pid()));
    drop(program);
    assert!(!dir.exists() && !Path::new(&process).exists());
}

#[test]
fn a_program_can_be_stopped_continued_and_asked_to_end() {
    let program = sh("trap 'echo asked; exit 0' TERM; echo up; while :; do sleep 0.05; done")
        .start()
        .unwrap();
    program.wait_for_output("up", SOON).unwrap();

    program.stop().unwrap();
    wait_for("the stop", SOON, || {
        anyhow::ensure!(state(program.pid()) == "T");
        Ok(())
    })
    .unwrap();
    program.terminate().unwrap();
    assert!(!program.stdout().unwrap().contains("asked"));

    program.cont().unwrap();
    assert!(program.wait(SOON).unwrap().success());
    assert!(program.stdout().unwrap().contains("asked"));
}

#[test]
fn a_stopped_program_is_gone_after_its_drop() {
    let program = Program::new("sleep").unwrap().arg("600").start().unwrap();
    program.stop().unwrap();
    let process = format!("/proc/{}", program.pid());
    drop(program);
    assert!(!Path::new(&process).exists());
}

#[test]
fn a_program_that_ended_is_not_waited_for() {
    let program = sh("echo out of luck >&2; exit 7").start().unwrap();
    let error = program
        .wait_for_output("up", Duration::from_secs(3600))
        .unwrap_err();
    let text = format!("{error:#}");
    assert!(
        text.contains("exit status: 7") && text.contains("out of luck"),
        "{text}"
    );
}

#[test]
fn a_program_that_is_not_there_says_so() {
    let program = Program::new("no-such-program").unwrap().start().unwrap();
    assert_eq!(program.wait(SOON).unwrap().code(), Some(127));
    assert!(program.log().unwrap().contains("no-such-program"));
}
