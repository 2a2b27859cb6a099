//! The job of a run, submitted and asked after by Stoke's command line.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use stoke_harness::wait_for;

use crate::scene::{PATIENCE, Scene};

/// How long to let go by between two questions: each is a process.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Has everything in the shop warmed that a source of the workers' configuration names, of which so many entries may fail; returns the
/// job's name.
pub(crate) fn submit(scene: &Scene, source: &str, allowed_failures: u64) -> Result<String> {
    let path = scene.folder().join("job.toml");
    let text = format!(
        "cache = \"main\"\nallowed-failures = {allowed_failures}\n[[sources]]\nnamed = \"{source}\"\n[[loaders]]\nname = \"item\"\n"
    );
    std::fs::write(&path, text).context("writing the job file")?;
    let path = path.to_string_lossy().into_owned();
    // A coordinator that has just begun may have no leader yet; the id keeps it one job.
    let job = wait_for("the job to be taken", PATIENCE, || {
        scene.ask(&["submit", &path, "--request-id", "campaign"])
    })?;
    let name = job["job"].as_str().context("a job without a name")?;
    Ok(name.to_owned())
}

/// Waits until the job is over, for at most `at_most`, and returns how it ended.
pub(crate) fn wait(scene: &Scene, name: &str, at_most: Duration) -> Result<Value> {
    wait_for("the job to end", at_most, || {
        std::thread::sleep(ASK_EVERY);
        let job = scene.ask(&["status", name])?;
        let state = job["state"].as_str().unwrap_or_default();
        ensure!(
            ["SUCCEEDED", "FAILED", "ABORTED"].contains(&state),
            "it is {state}, {} of {} entries are pending",
            job["pending"],
            job["planned"]
        );
        Ok(job)
    })
}

/// W1, as the job itself tells it: what is wrong with how it ended.
pub(crate) fn faults_of(job: &Value, items: u64) -> Vec<String> {
    let mut faults = Vec::new();
    if job["state"] != "SUCCEEDED" {
        faults.push(format!("the job is {}: {}", job["state"], job["reason"]));
    }
    let outcomes = job["outcomes"].as_object();
    let sum: u64 = outcomes
        .into_iter()
        .flat_map(|outcomes| outcomes.values().filter_map(Value::as_u64))
        .sum();
    if job["planned"] != items || sum != items || job["pending"] != 0 {
        faults.push(format!(
            "W1: {items} keys, {} planned, {sum} with an outcome, {} pending",
            job["planned"], job["pending"]
        ));
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ended(state: &str, planned: u64, warmed: u64, present: u64) -> Value {
        json!({"state": state, "reason": "", "planned": planned, "pending": 0,
               "outcomes": {"warmed": warmed, "present": present, "failed": 0}})
    }

    #[test]
    fn a_job_that_ended_well_has_an_outcome_for_every_key() {
        assert_eq!(
            faults_of(&ended("SUCCEEDED", 10, 7, 3), 10),
            Vec::<String>::new()
        );
    }

    #[test]
    fn an_entry_that_was_lost_or_counted_twice_is_found_and_so_is_a_failure() {
        for (job, keys) in [
            (ended("SUCCEEDED", 10, 6, 3), 10),
            (ended("SUCCEEDED", 10, 8, 3), 10),
            (ended("SUCCEEDED", 9, 6, 3), 10),
            (ended("FAILED", 10, 7, 3), 10),
        ] {
            assert_eq!(faults_of(&job, keys).len(), 1, "{job}");
        }
    }
}
