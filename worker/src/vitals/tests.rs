//! Vital signs under tokio's paused clock.

use std::collections::BTreeMap;

use stoke_core::ledger::{Grant, Share};
use stoke_store::clock::TokioClock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::gate::Allowed;
use crate::permit::Permit as _;

fn vigil() -> Vigil {
    Vigil {
        keeper: "w".parse().unwrap(),
        canaries: false,
        latency_max_micros: Some(500_000),
        errors_max_permille: Some(200),
    }
}

fn vitals() -> (Arc<Gate>, Arc<Vitals>) {
    let clock: Arc<dyn Clock> = Arc::new(TokioClock::new());
    let gate = Gate::new("origin/shop".parse().unwrap(), Arc::clone(&clock));
    let until = clock.now() + Duration::from_secs(10_000);
    gate.allow(Allowed {
        grant: Grant {
            share: Share {
                rate_milli: 100_000,
                burst: 10,
                in_flight: 10,
                rows: Share::ANY_ROWS,
            },
            deadline: until,
            permits: BTreeMap::from([("j".parse().unwrap(), until)]),
        },
        unlimited: false,
    });
    (Arc::clone(&gate), Vitals::new(gate, clock))
}

fn attended(vitals: &Arc<Vitals>) -> AbortOnDropHandle<()> {
    let vitals = Arc::clone(vitals);
    AbortOnDropHandle::new(tokio::spawn(async move { vitals.attend().await }))
}

/// How many queries go out in ten seconds.
async fn sent_in_ten_seconds(gate: &Arc<Gate>) -> usize {
    let permit = gate.permit("j".parse().unwrap(), CancellationToken::new());
    let (start, mut sent) = (Instant::now(), 0);
    while start.elapsed() < Duration::from_secs(10) {
        permit.pass(1).await.unwrap();
        sent += 1;
    }
    sent
}

#[tokio::test(start_paused = true)]
async fn a_query_that_is_on_its_way_for_too_long_halves_the_rate_within_100_ms() {
    let (gate, vitals) = vitals();
    let _attended = attended(&vitals);
    vitals.watch_for(Some(&vigil()));
    tokio::time::sleep(Duration::from_secs(5)).await;
    let query = vitals.sent();
    tokio::time::sleep(Duration::from_millis(499)).await;
    assert_eq!(gate.brake_permille(), 1000);
    tokio::time::sleep(Duration::from_millis(101)).await;
    assert_eq!(gate.brake_permille(), 500);
    assert_eq!(vitals.report().brake_permille, 500);
    query.answered(false);
    let recovered = tokio::time::timeout(Duration::from_secs(10), async {
        while gate.brake_permille() < 1000 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    assert!(recovered.await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_shows_trouble_halves_the_rate_at_once() {
    let (gate, vitals) = vitals();
    vitals.watch_for(Some(&vigil()));
    let query = vitals.sent();
    tokio::time::advance(Duration::from_millis(501)).await;
    query.answered(false);
    assert_eq!(gate.brake_permille(), 500);
    let (gate, vitals) = self::vitals();
    vitals.watch_for(Some(&vigil()));
    vitals.found_ill();
    assert_eq!(gate.brake_permille(), 500);
}

#[tokio::test(start_paused = true)]
async fn b2_what_is_braked_goes_out_at_half_the_granted_rate_and_keeps_its_level() {
    let (gate, vitals) = vitals();
    // A share that has just begun counts a second later.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let all = sent_in_ten_seconds(&gate).await;
    vitals.watch_for(Some(&vigil()));
    vitals.found_ill();
    let half = sent_in_ten_seconds(&gate).await;
    assert!((900..=1000).contains(&all), "{all}");
    assert!((450..=500).contains(&half), "{half}");
}

#[tokio::test(start_paused = true)]
async fn a_query_that_nobody_waits_for_any_more_is_neither_slow_nor_overdue() {
    let (gate, vitals) = vitals();
    let _attended = attended(&vitals);
    vitals.watch_for(Some(&vigil()));
    drop(vitals.sent());
    tokio::time::sleep(Duration::from_secs(3)).await;
    let report = vitals.report();
    assert_eq!((gate.brake_permille(), report.brake_permille), (1000, 1000));
    assert_eq!(report.resource, "origin/shop");
    let is_empty = |w: &stoke_proto::v1::HealthWindow| w.overdue == 0 && w.latencies.is_empty();
    assert!(report.windows.iter().all(is_empty), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn without_a_vigil_nothing_is_braked() {
    let (gate, vitals) = vitals();
    let _attended = attended(&vitals);
    let _query = vitals.sent();
    vitals.found_ill();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(gate.brake_permille(), 1000);
    vitals.watch_for(Some(&vigil()));
    tokio::time::sleep(Duration::from_millis(101)).await;
    assert_eq!(gate.brake_permille(), 500);
}
