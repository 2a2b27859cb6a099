//! One run: a job under way, one fault, and what the oracles say of it.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use stoke_harness::{Redis, Statement, wait_for};

use crate::evidence;
use crate::faults::{Disturbance, Fault};
use crate::history::{Change, Recorder};
use crate::oracle::{ceilings, reserved, usage, windows};
use crate::scene::{Binary, PATIENCE, QUARANTINE, Scene, Staff};
use crate::{job, lateness, shop};

/// How Stoke's connections to PostgreSQL call themselves.
const APPLICATION: &str = "stoke";
/// How long the job loads before the fault comes.
const LEAD: Duration = Duration::from_secs(3);
/// From when on after a fault the ceiling must be used again.
const SETTLED_AFTER: Duration = QUARANTINE.saturating_mul(2);
/// How much of a run must be healthy, in percent: from [`SETTLED_AFTER`] the fault on.
const HEALTHY_LEAST_PERCENT: u64 = 60;
/// The part of a run, in percent, in which some workers have run dry: partitions are owned to within 5%, but have more keys or
/// fewer.
const UNEVEN_PERCENT: u64 = 13;
/// How long a worker may have run dry before its share is taken away, and how much of the job's end counts for nothing: there is
/// not work for everybody any more.
const TAIL: Duration = Duration::from_secs(3);
/// How much longer than planned a run may take.
const LATE_MAX: Duration = Duration::from_secs(120);

/// A row of the table.
pub(crate) struct Row {
    pub(crate) fault: &'static Fault,
    pub(crate) fullest: windows::Fullest,
    pub(crate) used: Option<f64>,
    pub(crate) recovery_ms: Option<u64>,
    pub(crate) healthy_percent: u64,
    pub(crate) revisions: u64,
    pub(crate) lost: Option<u64>,
    /// How late the machine's timers fired: the median, and the one of which one in a hundred is later.
    pub(crate) late: (Duration, Duration),
    /// What is not as promised.
    pub(crate) failures: Vec<String>,
    /// How many of the failures are promises of safety that were broken: what a mutant must be found by. That a run is too
    /// short or the machine too slow for it proves nothing.
    pub(crate) promises_broken: usize,
}

impl Row {
    /// Of a run that could not be made.
    pub(crate) fn broken(fault: &'static Fault, error: &anyhow::Error) -> Self {
        Self {
            fault,
            fullest: windows::Fullest::default(),
            used: None,
            recovery_ms: None,
            healthy_percent: 0,
            revisions: 0,
            lost: None,
            late: (Duration::ZERO, Duration::ZERO),
            failures: vec![format!("the run could not be made: {error:#}")],
            promises_broken: 0,
        }
    }
}

/// What there is to judge.
struct Facts {
    disturbance: Disturbance,
    job: Value,
    items: u64,
    history: Vec<Change>,
    statements: Vec<Statement>,
    lost: u64,
    late: (Duration, Duration),
}

/// Makes a run and judges it; its logs go to a folder below `evidence`.
pub(crate) fn run(fault: &'static Fault, stoke: &Binary, evidence: &Path) -> Result<Row> {
    eprintln!("{}: {}", fault.name, fault.what);
    let mut scene = Scene::start(stoke)?;
    let cache = Redis::start()?;
    let recorder = Recorder::start(scene.etcd.endpoints())?;
    let folder = evidence.join(fault.name);
    let timers = lateness::Watch::start();
    let outcome =
        play(fault, &mut scene, &cache).and_then(|played| Ok((played, recorder.finish()?)));
    let late = timers.finish();
    evidence::keep_logs(&folder, &scene)?;
    let ((disturbance, job, items), history) =
        outcome.with_context(|| format!("see {}", folder.display()))?;
    let statements = scene.postgres.statements(APPLICATION)?;
    evidence::keep(&folder, &history, &statements, &job)?;
    let lost = shop::lost(&scene.postgres, &cache)?;
    Ok(judge(
        fault,
        &Facts {
            disturbance,
            job,
            items,
            history,
            statements,
            lost,
            late,
        },
    ))
}

fn play(fault: &Fault, scene: &mut Scene, cache: &Redis) -> Result<(Disturbance, Value, u64)> {
    let length = planned_length(fault.lasts);
    let items = u64::try_from(length.as_millis())? * fault.ceiling_qps * shop::BATCH_KEYS / 1000;
    shop::fill(&scene.postgres, items)?;
    scene.staff(&Staff {
        coordinators: 2,
        workers: fault.workers,
        ceiling_qps: fault.ceiling_qps,
        guards: fault.guards,
        catalog: shop::catalog(&scene.postgres, cache),
        plan_mebibytes: None,
    })?;
    let name = job::submit(scene, "popular", 0)?;
    wait_for("the job to load for a while", PATIENCE, || {
        let loads = loads(&scene.postgres.statements(APPLICATION)?);
        let (first, last) = loads.first().zip(loads.last()).context("no load yet")?;
        ensure!(u128::from(last - first) >= LEAD.as_millis(), "not yet");
        Ok(())
    })?;
    let disturbance = (fault.act)(scene)?;
    let job = job::wait(scene, &name, length + LATE_MAX)?;
    Ok((disturbance, job, items))
}

/// How long a run takes at the full ceiling so that enough of it is healthy.
fn planned_length(fault_lasts: Duration) -> Duration {
    let unhealthy = LEAD + fault_lasts + SETTLED_AFTER + TAIL;
    let unhealthy_percent = 100 - HEALTHY_LEAST_PERCENT - UNEVEN_PERCENT;
    unhealthy * 100 / u32::try_from(unhealthy_percent).unwrap_or(1)
}

/// When loads came, in order.
fn loads(statements: &[Statement]) -> Vec<u64> {
    let loads = statements
        .iter()
        .filter(|statement| shop::is_load(&statement.text));
    let mut times: Vec<u64> = loads.map(|statement| statement.at_ms).collect();
    times.sort_unstable();
    times
}

fn judge(fault: &'static Fault, facts: &Facts) -> Row {
    let mut failures = job::faults_of(&facts.job, facts.items);
    if facts.lost > 0 {
        failures.push(format!("{} keys are missing or wrong in Redis", facts.lost));
    }

    let replayed = reserved::replay(&facts.history);
    if replayed.broken > 0 {
        failures.push(format!(
            "B1: more was reserved than the ceiling at {} of {} revisions, as at {}",
            replayed.broken,
            replayed.revisions,
            replayed.shown.join("; ")
        ));
    }

    let mut times: Vec<u64> = facts
        .statements
        .iter()
        .map(|statement| statement.at_ms)
        .collect();
    times.sort_unstable();
    let resource = format!("origin/{}", shop::ORIGIN);
    let ceilings = ceilings(&facts.history, &resource);
    let fullest = windows::fullest(&times, &ceilings, &facts.disturbance.in_hand);
    if fullest.is_over() {
        failures.push(format!(
            "B3: {} statements in the second from {}, where {} are allowed and {} more by a worker that was woken",
            fullest.statements, fullest.from_ms, fullest.ceiling, fullest.in_hand
        ));
    }
    let promises_broken = failures.len();

    let loads = loads(&facts.statements);
    let (begun, ended) = loads
        .first()
        .zip(loads.last())
        .map_or((0, 0), |(a, b)| (*a, *b));
    let over = facts.disturbance.over_ms;
    let settled = over + millis(SETTLED_AFTER);
    let dry = usage::quarter_dry(&facts.history, &resource, settled);
    let demand_ends = dry.unwrap_or(ended).min(ended).saturating_sub(millis(TAIL));
    let healthy_percent = demand_ends.saturating_sub(settled) * 100 / (ended - begun).max(1);
    if healthy_percent < HEALTHY_LEAST_PERCENT {
        failures.push(format!("only {healthy_percent}% of the run was healthy"));
    }
    let used = usage::used(&times, fault.ceiling_qps, settled, demand_ends);
    if used.is_none_or(|used| used < usage::USED_LEAST) {
        let percent = used.unwrap_or(0.0) * 100.0;
        failures.push(format!(
            "B5: {percent:.1}% of the ceiling was used from 2·Q after the fault"
        ));
    }
    let recovery_ms = usage::recovery_ms(&times, fault.ceiling_qps, over);
    if recovery_ms.is_none_or(|recovery| recovery > millis(SETTLED_AFTER)) {
        let took = recovery_ms.map_or("it never did".to_owned(), |ms| format!("that took {ms} ms"));
        failures.push(format!("B5: not recovered within 2·Q of the fault: {took}"));
    }

    Row {
        fault,
        fullest,
        used,
        recovery_ms,
        healthy_percent,
        revisions: replayed.revisions,
        lost: Some(facts.lost),
        late: facts.late,
        failures,
        promises_broken,
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::faults;

    /// A worker-killed run of a minute in which all is well: 19 of 20 queries a second, the fault after 5 s.
    fn good() -> Facts {
        let share = |rate: u64| json!({"rate_milli": rate, "burst": 5, "in_flight": 5});
        let put = |revision, key: &str, value| Change {
            revision,
            seen_ms: 0,
            key: key.to_owned(),
            value: Some(value),
        };
        let cap = |revision, worker: &str| {
            let value = json!({"v": 1, "share": share(5000)});
            put(revision, &format!("cap/origin/shop/{worker}"), value)
        };
        let ceiling = json!({"rate_milli": 20_000, "burst": 20, "in_flight": 20});
        Facts {
            disturbance: Disturbance {
                over_ms: 5000,
                in_hand: vec![],
            },
            job: json!({"state": "SUCCEEDED", "planned": 7, "pending": 0, "outcomes": {"warmed": 5, "present": 2}}),
            items: 7,
            history: vec![
                put(1, "ledger/origin/shop", json!({ "ceiling": ceiling })),
                cap(2, "w1"),
                cap(3, "w2"),
            ],
            statements: (0..1146).map(|n| load(n * 10_000 / 191)).collect(),
            lost: 0,
            late: (Duration::ZERO, Duration::ZERO),
        }
    }

    fn load(at_ms: u64) -> Statement {
        let text = "SELECT * FROM items WHERE id = ANY($1) AND (SELECT paced())".to_owned();
        Statement {
            at_ms,
            process: 1,
            text,
        }
    }

    fn judged(spoil: impl FnOnce(&mut Facts)) -> Row {
        let mut facts = good();
        spoil(&mut facts);
        judge(&faults::ALL[0], &facts)
    }

    #[test]
    fn a_good_run_passes() {
        let row = judged(|_| {});
        assert_eq!(row.failures, Vec::<String>::new());
        assert_eq!(
            (row.revisions, row.lost, row.recovery_ms),
            (3, Some(0), Some(0))
        );
    }

    #[test]
    fn a_broken_promise_of_safety_is_found_as_such() {
        let spoils: [fn(&mut Facts); 4] = [
            |facts| facts.lost = 1,
            |facts| facts.job["outcomes"]["warmed"] = json!(4),
            |facts| facts.statements.extend([load(30_000), load(30_001)]),
            |facts| {
                let rate = json!({"rate_milli": 15_001});
                facts.history[2].value = Some(json!({ "share": rate }));
            },
        ];
        for spoil in spoils {
            let row = judged(spoil);
            assert_eq!(
                (row.failures.len(), row.promises_broken),
                (1, 1),
                "{:?}",
                row.failures
            );
        }
    }

    #[test]
    fn a_ceiling_that_is_not_used_again_is_found_and_so_is_a_run_that_proves_too_little() {
        let dip = judged(|facts| {
            facts
                .statements
                .retain(|load| !(5000..20_000).contains(&load.at_ms));
        });
        assert_eq!(
            (dip.failures.len(), dip.promises_broken),
            (2, 0),
            "{:?}",
            dip.failures
        );
        let short = judged(|facts| facts.statements.retain(|load| load.at_ms < 40_000));
        assert_eq!(
            (short.failures.len(), short.promises_broken),
            (1, 0),
            "{:?}",
            short.failures
        );
    }
}
