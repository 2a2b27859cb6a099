//! Runs the servers' client programs to their end, which comes within a bound: a server that was stopped answers never.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

/// How long a client program may run, in seconds.
const RUN_WITHIN_SECS: u32 = 120;

/// What `timeout` ends with when the program took too long, and when there is no such program.
const TOOK_TOO_LONG: i32 = 124;
const NOT_FOUND: i32 = 127;

/// Runs `command` (its arguments, variables and folder) with `input` as its standard input, and returns its standard
/// output without blanks at the end.
///
/// # Errors
/// It cannot be started, takes longer than two minutes, or fails: with what it said on standard error. Arguments are
/// not repeated in the error, as they may hold secrets.
pub(crate) fn run(command: &Command, input: &str) -> Result<String> {
    let name = command.get_program().to_string_lossy();
    let mut child = bounded(command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| cannot_start("timeout".as_ref()))?;
    let stdin = child.stdin.take();
    let output = thread::scope(|scope| {
        // Written beside the reading: neither side waits for the other where both are longer than a pipe.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input.as_bytes())));
        child.wait_with_output()
    })
    .with_context(|| format!("waiting for {name}"))?;
    if !output.status.success() {
        match output.status.code() {
            Some(TOOK_TOO_LONG) => bail!("{name} ran for more than {RUN_WITHIN_SECS} s"),
            Some(NOT_FOUND) => bail!(cannot_start(command.get_program())),
            _ => {}
        }
        bail!(
            "{name} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned())
}

/// `command`, ended by coreutils' `timeout` when it takes too long.
fn bounded(command: &Command) -> Command {
    let mut bounded = Command::new("timeout");
    bounded
        .args(["--kill-after=5", &RUN_WITHIN_SECS.to_string()])
        .arg(command.get_program())
        .args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => bounded.env(name, value),
            None => bounded.env_remove(name),
        };
    }
    if let Some(folder) = command.get_current_dir() {
        bounded.current_dir(folder);
    }
    bounded
}

/// What to say when a program of the system cannot be started.
pub(crate) fn cannot_start(program: &OsStr) -> String {
    format!(
        "starting {} (deploy/install-dependencies installs what is needed)",
        program.to_string_lossy()
    )
}
