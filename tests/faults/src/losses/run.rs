//! One run: a job under way, one loss, and what is left.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use stoke_harness::{RedisCluster, ServerDir};

use super::shop::{self, Differences, PLANNED};
use super::{Loss, Stage};
use crate::oracle::usage;
use crate::scene::{Binary, CEILING_QPS, PATIENCE, Scene, Staff};
use crate::{evidence, job};

/// How Stoke's connections to PostgreSQL call themselves.
const APPLICATION: &str = "stoke";
/// How long a job may take.
const AT_MOST: Duration = Duration::from_secs(180);
/// What coverage the gate waits for, beside each job.
const GATE: f64 = 0.95;
/// How long it may take after the job to end.
const GATE_ENDS_WITHIN: Duration = Duration::from_secs(30);

/// A row of the table.
pub(crate) struct Row {
    pub(crate) loss: &'static Loss,
    pub(crate) job: Value,
    pub(crate) differences: Differences,
    /// Keys that the database was asked for, and different ones among them.
    pub(crate) asked: (u64, u64),
    /// How long after the loss the database was asked as much as it may be again.
    pub(crate) resumed_ms: Option<u64>,
    /// What is not as promised.
    pub(crate) failures: Vec<String>,
}

impl Row {
    /// Of a run that could not be made.
    pub(crate) fn broken(loss: &'static Loss, error: &anyhow::Error) -> Self {
        Self {
            loss,
            job: Value::Null,
            differences: Differences::default(),
            asked: (0, 0),
            resumed_ms: None,
            failures: vec![format!("the run could not be made: {error:#}")],
        }
    }
}

/// Makes a run and judges it; its logs go to a folder below `evidence`.
pub(crate) fn run(loss: &'static Loss, stoke: &Binary, evidence: &Path) -> Result<Row> {
    eprintln!("{}: {}", loss.name, loss.what);
    let mut scene = Scene::start(stoke)?;
    let mut cache = RedisCluster::start(3)?;
    cache.add_replica(cache.ports()[0])?;
    let folder = evidence.join(loss.name);
    let logs = ServerDir::new("logs")?;
    let log = logs.path().join(shop::LOG);
    let outcome = play(loss, &mut scene, &mut cache, &log);
    evidence::keep_logs(&folder, &scene)?;
    let (job, gate, came_ms) = outcome.with_context(|| format!("see {}", folder.display()))?;
    let log = std::fs::read_to_string(scene.postgres.log_path()).context("PostgreSQL's log")?;
    let statements = scene.postgres.statements(APPLICATION)?;
    let mut times: Vec<u64> = statements.iter().map(|s| s.at_ms).collect();
    times.sort_unstable();
    let differences = shop::compare(&scene.postgres, &cache)?;
    Ok(Row {
        loss,
        failures: failures(loss, &job, gate, &differences),
        differences,
        asked: shop::asked(&log),
        resumed_ms: usage::recovery_ms(&times, CEILING_QPS, came_ms),
        job,
    })
}

/// The job as it ended, the gate's exit code, and when the loss came.
fn play(
    loss: &'static Loss,
    scene: &mut Scene,
    cache: &mut RedisCluster,
    log: &Path,
) -> Result<(Value, Option<i32>, u64)> {
    shop::fill(&scene.postgres, cache)?;
    if loss.source == shop::LOGGED {
        shop::log(log)?;
    }
    scene.staff(&Staff {
        coordinators: 2,
        workers: loss.workers,
        ceiling_qps: CEILING_QPS,
        guards: "",
        catalog: shop::catalog(&scene.postgres, cache, log),
        plan_mebibytes: loss.plan_mebibytes,
    })?;
    let job = job::submit(scene, loss.source, shop::poison())?;
    let timeout = format!("{}s", AT_MOST.as_secs());
    let coverage = GATE.to_string();
    let gate = ["gate", &job, "--coverage", &coverage, "--timeout", &timeout];
    let gate = scene.begin_asking(&gate)?;
    let mut stage = Stage {
        scene,
        cache,
        job: &job,
    };
    stage.wait_for(loss)?;
    let came_ms = (loss.act)(&mut stage)?;
    let ended = job::wait(stage.scene, &job, AT_MOST)?;
    if loss.source == shop::LOGGED {
        counted_once(stage.scene, &job)?;
    }
    let gate = gate.wait(GATE_ENDS_WITHIN).context("the gate")?;
    Ok((ended, gate.code(), came_ms))
}

/// Looks whether the plan has each key as often as the log asks for it, whatever reading was begun anew.
fn counted_once(scene: &Scene, job: &str) -> Result<()> {
    let exporting = scene.begin_asking(&["plan", "export", job])?;
    let ended = exporting.wait(PATIENCE)?;
    ensure!(ended.success(), "the plan: {}", exporting.log()?.trim());
    let mut entries = 0;
    for line in exporting.stdout()?.lines() {
        let entry: Value = serde_json::from_str(line).context("an entry of the plan")?;
        let wanted = shop::ACCESSES_EACH as f64;
        ensure!(
            entry["priority"].as_f64() == Some(wanted),
            "the log asks {wanted} times for each key, but the plan has {entry}"
        );
        entries += 1;
    }
    ensure!(entries == PLANNED, "{entries} of {PLANNED} keys");
    Ok(())
}

/// What is wrong with how it ended.
fn failures(loss: &Loss, job: &Value, gate: Option<i32>, differences: &Differences) -> Vec<String> {
    let mut failures = Vec::new();
    // Coverage only grows: what it ended with says what the gate has to have said.
    let is_met = job["coverage"]
        .as_f64()
        .is_some_and(|coverage| coverage >= GATE);
    let expected = if is_met { 0 } else { 5 };
    if gate != Some(expected) {
        failures.push(format!(
            "the gate ended with {gate:?}, not {expected}: the coverage is {}",
            job["coverage"]
        ));
    }
    if job["state"] != loss.ends {
        failures.push(format!("the job is {}: {}", job["state"], job["reason"]));
    }
    let count = |outcome: &str| job["outcomes"][outcome].as_u64().unwrap_or(0);
    let outcomes = job["outcomes"].as_object().into_iter().flatten();
    let sum: u64 = outcomes.filter_map(|(_, count)| count.as_u64()).sum();
    if job["planned"] != PLANNED || sum != PLANNED || job["pending"] != 0 {
        failures.push(format!(
            "W1: {PLANNED} keys, {} planned, {sum} with an outcome, {} pending",
            job["planned"], job["pending"]
        ));
    }
    let Differences {
        missing,
        wrong,
        surplus,
        written,
    } = differences;
    if (wrong, surplus) != (&0, &0) {
        failures.push(format!(
            "{wrong} keys of the cache have a wrong value, {surplus} must not be there"
        ));
    }
    if loss.ends == "SUCCEEDED" {
        if *missing > 0 {
            failures.push(format!("{missing} keys are not in the cache"));
        }
        let expected = [
            ("absent", shop::absent()),
            ("failed", shop::poison()),
            ("cancelled", 0),
        ];
        for (outcome, expected) in expected {
            if count(outcome) != expected {
                failures.push(format!(
                    "{} keys count as {outcome}, {expected} are so",
                    count(outcome)
                ));
            }
        }
    } else if count("warmed") > *written {
        failures.push(format!(
            "{} keys count as warmed, {written} were written",
            count("warmed")
        ));
    }
    failures
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::ALL;
    use super::*;

    fn good() -> (Value, Differences) {
        let rest = PLANNED - shop::absent() - shop::poison();
        let job = json!({"state": "SUCCEEDED", "reason": "", "planned": PLANNED, "pending": 0, "coverage": 1.0, "outcomes": {
            "warmed": rest - 9, "present": 9, "absent": shop::absent(), "failed": shop::poison(), "cancelled": 0}});
        (job, Differences::default())
    }

    #[test]
    fn a_job_that_lost_nothing_passes_and_what_is_lost_is_found() {
        let (job, differences) = good();
        let failures = |job: &Value, gate, differences: &Differences| {
            failures(&ALL[0], job, gate, differences)
        };
        assert_eq!(failures(&job, Some(0), &differences), Vec::<String>::new());
        for gate in [None, Some(5), Some(4)] {
            assert_eq!(failures(&job, gate, &differences).len(), 1, "{gate:?}");
        }
        let mut uncovered = job.clone();
        uncovered["coverage"] = json!(0.5);
        assert_eq!(failures(&uncovered, Some(5), &differences).len(), 0);
        assert_eq!(failures(&uncovered, Some(0), &differences).len(), 1);
        let spoils: [fn(&mut Value, &mut Differences); 6] = [
            |job, _| job["state"] = json!("FAILED"),
            |job, _| job["outcomes"]["warmed"] = json!(0),
            |job, _| {
                job["outcomes"]["absent"] = json!(shop::absent() - 1);
                job["outcomes"]["present"] = json!(10);
            },
            |_, differences| differences.missing = 1,
            |_, differences| differences.wrong = 1,
            |_, differences| differences.surplus = 1,
        ];
        for spoil in spoils {
            let (mut job, mut differences) = good();
            spoil(&mut job, &mut differences);
            let found = failures(&job, Some(0), &differences);
            assert_eq!(found.len(), 1, "{found:?}");
        }
    }
}
