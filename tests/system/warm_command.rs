//! `stoke warm`, run to its end.

use std::time::Duration;

use stoke_harness::Program;

const PATIENCE: Duration = Duration::from_secs(120);

/// What it reported, and how it ended.
pub struct Ran {
    pub code: i32,
    pub report: serde_json::Value,
    pub errors: String,
}

/// Runs it with these arguments, and has it report as JSON.
pub fn warm(args: &[&str], stdin: &str) -> Ran {
    let launch = Program::new(env!("CARGO_BIN_EXE_stoke")).unwrap();
    let launch = launch.args(["warm", "--output", "json"]).args(args);
    let program = launch.stdin(stdin).unwrap().start().unwrap();
    let status = program.wait(PATIENCE).unwrap();
    let stdout = program.stdout().unwrap();
    Ran {
        code: status.code().unwrap(),
        report: serde_json::from_str(&stdout).unwrap_or_default(),
        errors: program.log().unwrap(),
    }
}
