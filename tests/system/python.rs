//! The API from another language: Python, with no generated code.

use std::path::{Path, PathBuf};

use stoke_harness::Program;

use crate::scene::{PATIENCE, Scene};
use crate::shop;

/// Some seconds of work for 40,000 entries, so that an abort comes in its middle.
const QPS: u32 = 10;

/// The interpreter that has what the client needs.
fn python() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/python");
    let python = folder.join("bin/python");
    assert!(
        python.exists(),
        "{} is not there: run deploy/install-dependencies run",
        python.display()
    );
    python
}

#[test]
fn the_main_job_is_driven_from_python_by_reflection_with_errors_decoded() {
    let python = python();
    let scene = Scene::start(1, QPS);
    shop::fill(&scene);
    scene.wait_for_members(3);
    let leader = scene.leader();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/main_job.py");
    let program = Program::new(python)
        .unwrap()
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(script)
        .arg(leader.trim_start_matches("http://"))
        .start()
        .unwrap();
    let status = program.wait(4 * PATIENCE).unwrap();
    assert!(
        status.success(),
        "{}\n{}",
        program.stdout().unwrap(),
        program.log().unwrap()
    );
}
