//! What is broken, one a run. A new fault is one more line in [`ALL`] and the function that it names.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use stoke_harness::{Line, wait_for};

use crate::history::now_ms;
use crate::oracle::windows::InHand;
use crate::scene::{CEILING_QPS, IN_FLIGHT_EACH, PATIENCE, QUARANTINE, Scene, TERM, WORKERS};
use crate::shop;

/// Who is disturbed, where it is one worker.
const VICTIM: usize = 0;
/// How long a worker stands still, or is cut off, so that all that it had is another's: Q, a look of the leader's, a renewal, and a
/// second in which a raised share counts as it was. A worker that went on beyond its deadline would be seen.
const LONG: Duration = QUARANTINE.saturating_mul(2);
/// How long a worker may stand still without losing its grant.
const HALF_A_TERM: Duration = Duration::from_millis(2500);
/// How long a quorum is away: longer than a term, so that everything must stop.
const WITHOUT_QUORUM: Duration = TERM.saturating_add(Duration::from_secs(3));
/// How long an election of coordinators takes, with its lease of 5 s; only to know how long a run should be.
const ELECTION: Duration = Duration::from_secs(7);
/// A ceiling of whose tenth each worker still has a whole query a second: with less, "in any second" holds on average only.
const TENFOLD_QPS: u64 = 10 * WORKERS as u64;
/// How long so many processes take to begin; only to know how long a run should be.
const NINETEEN_START: Duration = Duration::from_secs(8);
/// How long the target is cut, and the origin slow.
const FOR_A_WHILE: Duration = Duration::from_secs(6);

/// One kind of fault.
pub(crate) struct Fault {
    /// What it is called on the command line and in the table.
    pub(crate) name: &'static str,
    /// What is done.
    pub(crate) what: &'static str,
    /// How many workers there are when it comes.
    pub(crate) workers: usize,
    /// What all workers together may ask of the database, in queries a second.
    pub(crate) ceiling_qps: u64,
    /// The guards of the database's budget, as coordinators are told of them.
    pub(crate) guards: &'static str,
    /// How long it lasts, about: the run is made long enough for it.
    pub(crate) lasts: Duration,
    /// Does it, and undoes it where it does not stay.
    pub(crate) act: fn(&mut Scene) -> Result<Disturbance>,
}

/// What was done, when.
#[derive(Clone, Debug)]
pub(crate) struct Disturbance {
    /// When it was over: from then on Stoke must recover. Where a fault stays, when it came. Milliseconds since 1970.
    pub(crate) over_ms: u64,
    /// Workers that were woken.
    pub(crate) in_hand: Vec<InHand>,
}

impl Disturbance {
    /// One that is over now, or stays from now on.
    fn now() -> Self {
        Self {
            over_ms: now_ms(),
            in_hand: Vec::new(),
        }
    }
}

const fn fault(
    name: &'static str,
    what: &'static str,
    lasts: Duration,
    act: fn(&mut Scene) -> Result<Disturbance>,
) -> Fault {
    Fault {
        name,
        what,
        workers: WORKERS,
        ceiling_qps: CEILING_QPS,
        guards: "",
        lasts,
        act,
    }
}

/// All there are, in the order in which they are run.
pub(crate) const ALL: &[Fault] = &[
    fault(
        "worker-killed",
        "a worker is killed (SIGKILL)",
        Duration::ZERO,
        |scene| {
            scene.workers[VICTIM].kill9()?;
            Ok(Disturbance::now())
        },
    ),
    fault(
        "worker-stopped-half-t",
        "a worker stands still for T/2",
        HALF_A_TERM,
        |scene| stop_worker(scene, HALF_A_TERM),
    ),
    fault(
        "worker-stopped-t",
        "a worker stands still for T",
        TERM,
        |scene| stop_worker(scene, TERM),
    ),
    fault(
        "worker-stopped-2q",
        "a worker stands still for 2·Q",
        LONG,
        |scene| stop_worker(scene, LONG),
    ),
    fault(
        "etcd-cut",
        "a worker's connections to etcd are refused for 2·Q",
        LONG,
        |scene| cut_from_etcd(scene, Line::Refused),
    ),
    fault(
        "etcd-requests-lost",
        "what a worker sends to etcd is lost for 2·Q",
        LONG,
        |scene| cut_from_etcd(scene, Line::RequestsLost),
    ),
    fault(
        "etcd-answers-lost",
        "what etcd answers to a worker is lost for 2·Q",
        LONG,
        |scene| cut_from_etcd(scene, Line::AnswersLost),
    ),
    fault(
        "etcd-black-hole",
        "a worker and etcd lose all that they send each other for 2·Q",
        LONG,
        |scene| cut_from_etcd(scene, Line::Swallowed),
    ),
    fault(
        "etcd-late",
        "what a worker and etcd send each other is held up for 2·Q, and arrives then",
        LONG,
        |scene| cut_from_etcd(scene, Line::Held),
    ),
    fault(
        "coordinators-cut",
        "a worker's connections to all coordinators are refused for 2·Q",
        LONG,
        |scene| cut_from_coordinators(scene, Line::Refused),
    ),
    fault(
        "coordinators-black-hole",
        "a worker and all coordinators lose all that they send each other for 2·Q",
        LONG,
        |scene| cut_from_coordinators(scene, Line::Swallowed),
    ),
    fault(
        "leader-killed",
        "the coordinator that leads is killed",
        Duration::ZERO,
        |scene| {
            scene.leader()?.program.kill9()?;
            Ok(Disturbance::now())
        },
    ),
    fault(
        "leader-stopped",
        "the coordinator that leads stands still until another leads, and wakes",
        ELECTION,
        stop_leader,
    ),
    fault(
        "etcd-leader-killed",
        "the member of etcd that leads is killed",
        Duration::ZERO,
        |scene| {
            scene.etcd.kill(scene.etcd.leader()?)?;
            Ok(Disturbance::now())
        },
    ),
    fault(
        "etcd-quorum-lost",
        "two of three members of etcd are killed, and started again 8 s later",
        WITHOUT_QUORUM,
        lose_quorum,
    ),
    Fault {
        ceiling_qps: TENFOLD_QPS,
        ..fault(
            "target-cut",
            "the target is cut to a tenth for 6 s, and raised",
            FOR_A_WHILE,
            cut_target,
        )
    },
    Fault {
        workers: 1,
        ..fault(
            "twenty-workers",
            "1 worker becomes 20 at once",
            NINETEEN_START,
            |scene| {
                scene.add_workers(19)?;
                Ok(Disturbance::now())
            },
        )
    },
    fault(
        "origin-slow",
        "the database takes ten times as long for 6 s",
        FOR_A_WHILE,
        |scene| {
            shop::slow(&scene.postgres, true)?;
            sleep(FOR_A_WHILE);
            shop::slow(&scene.postgres, false)?;
            Ok(Disturbance::now())
        },
    ),
    Fault {
        guards: shop::GUARDS,
        ..fault(
            "probe-fails",
            "a guard's probe fails for 6 s: it pauses the job, and lets it go",
            FOR_A_WHILE,
            fail_probe,
        )
    },
];

fn fail_probe(scene: &mut Scene) -> Result<Disturbance> {
    shop::hide_what_is_probed(&scene.postgres, true)?;
    // Else the row would say nothing of guards.
    wait_for("the guard to pause the job", PATIENCE, || {
        let resource = format!("origin/{}", shop::ORIGIN);
        let budget = scene.ask(&["budget", "get", &resource])?;
        let reasons = budget["reasons"].as_array();
        ensure!(
            reasons.is_some_and(|reasons| !reasons.is_empty()),
            "{budget}"
        );
        Ok(())
    })?;
    sleep(FOR_A_WHILE);
    shop::hide_what_is_probed(&scene.postgres, false)?;
    Ok(Disturbance::now())
}

fn stop_worker(scene: &Scene, time: Duration) -> Result<Disturbance> {
    let worker = &scene.workers[VICTIM];
    worker.stop()?;
    sleep(time);
    let over = Disturbance::now();
    worker.cont()?;
    Ok(Disturbance {
        in_hand: vec![InHand {
            woken_ms: over.over_ms,
            queries: IN_FLIGHT_EACH,
        }],
        ..over
    })
}

fn cut_from_etcd(scene: &Scene, line: Line) -> Result<Disturbance> {
    scene.line_to_etcd(VICTIM, line);
    sleep(LONG);
    scene.line_to_etcd(VICTIM, Line::Open);
    Ok(Disturbance::now())
}

fn cut_from_coordinators(scene: &Scene, line: Line) -> Result<Disturbance> {
    scene.line_to_coordinators(VICTIM, line);
    sleep(LONG);
    scene.line_to_coordinators(VICTIM, Line::Open);
    Ok(Disturbance::now())
}

fn stop_leader(scene: &mut Scene) -> Result<Disturbance> {
    let first = scene.leader()?;
    first.program.stop()?;
    wait_for("another leader", PATIENCE, || {
        let leader = scene.leader()?;
        ensure!(leader.name != first.name, "{} still", leader.name);
        Ok(())
    })?;
    first.program.cont()?;
    Ok(Disturbance::now())
}

fn lose_quorum(scene: &mut Scene) -> Result<Disturbance> {
    let leader = scene.etcd.leader()?;
    let other = (leader + 1) % scene.etcd.endpoints().len();
    scene.etcd.kill(leader)?;
    scene.etcd.kill(other)?;
    sleep(WITHOUT_QUORUM);
    scene.etcd.restart(leader)?;
    scene.etcd.restart(other)?;
    Ok(Disturbance::now())
}

fn cut_target(scene: &mut Scene) -> Result<Disturbance> {
    let set = |scene: &Scene, qps: u64| {
        let resource = format!("origin/{}", shop::ORIGIN);
        scene.ask(&["budget", "set", &resource, "--qps", &qps.to_string()])
    };
    set(scene, TENFOLD_QPS / 10)?;
    sleep(FOR_A_WHILE);
    set(scene, TENFOLD_QPS)?;
    Ok(Disturbance::now())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_two_faults_have_one_name() {
        let names: BTreeSet<&str> = ALL.iter().map(|fault| fault.name).collect();
        assert_eq!(names.len(), ALL.len());
    }
}
