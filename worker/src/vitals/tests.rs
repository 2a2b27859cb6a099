//! Vital signs under tokio's paused clock.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::{ConnectOptions as _, Executor as _};
use stoke_core::ledger::{Grant, Share};
use stoke_store::clock::TokioClock;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::catalog::{LoaderSpec, OriginConfig, OriginVigil, SecretUrl, TlsFiles};
use crate::gate::Allowed;
use crate::origin::Origin;
use crate::origin::rewrite::Dialect;
use crate::permit::{Permit as _, Unlimited};

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

/// A clock that is moved by hand.
#[derive(Debug, Default)]
struct Hand(AtomicU64);

impl Clock for Hand {
    fn now(&self) -> Moment {
        Moment::from_nanos(self.0.load(Ordering::Relaxed))
    }
}

/// An origin in a file, and what its calls show.
struct Watched {
    _folder: tempfile::TempDir,
    origin: Origin,
    clock: Arc<Hand>,
    vitals: Arc<Vitals>,
}

impl Watched {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.db");
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(&path);
        let mut file = options.create_if_missing(true).connect().await.unwrap();
        let table = "CREATE TABLE t AS SELECT 1 AS key UNION SELECT 2";
        file.execute(sqlx::raw_sql(table)).await.unwrap();
        let config = OriginConfig {
            name: "shop".parse().unwrap(),
            url: SecretUrl::new(&format!("sqlite:{}", path.display())).unwrap(),
            dialect: Dialect::Sqlite,
            statement_timeout: Duration::from_millis(100),
            source_timeout: Duration::from_secs(60),
            tls: TlsFiles::default(),
            vigil: OriginVigil::default(),
            replicas: None,
        };
        let (origin, clock) = (Origin::open(&config).unwrap(), Arc::new(Hand::default()));
        let shared: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let gate = Gate::new("origin/shop".parse().unwrap(), Arc::clone(&shared));
        let vitals = Vitals::new(gate, shared);
        let metrics = Arc::new(crate::metrics::Metrics::new(&crate::metrics::none()));
        let metrics = crate::metrics::OriginMetrics::new(metrics, "shop");
        origin.measure(metrics, Some(Arc::clone(&vitals)));
        Self {
            _folder: folder,
            origin,
            clock,
            vitals,
        }
    }

    /// How many answers, and how many of them ill, there were since this was asked last.
    fn seen(&self) -> (u64, u64) {
        self.clock.0.fetch_add(1_000_000_000, Ordering::Relaxed);
        let last = self.vitals.report().windows.pop().unwrap();
        let answers = last.latencies.iter().map(|found| found.count).sum();
        (answers, last.errors)
    }
}

#[tokio::test]
async fn an_origins_loads_preparations_and_canaries_show_how_it_is_and_nothing_else_does() {
    let watched = Watched::new().await;
    let (origin, keys) = (&watched.origin, ["1".to_owned(), "2".to_owned()]);
    let loader = |query: &str| LoaderSpec {
        name: "items".parse().unwrap(),
        origin: "shop".parse().unwrap(),
        query: query.to_owned(),
        key: stoke_core::template::Template::parse("item:{key}").unwrap(),
        key_column: ["key"].into_iter().collect(),
        ttl: Duration::from_secs(60),
        ttl_jitter_permille: 0,
        value: stoke_core::value::ValueSpec::default(),
        scan: None,
        batch_keys: 1.into(),
        max_value_bytes: 1000,
    };
    let good = loader("SELECT key FROM t WHERE key IN (:keys)");
    origin.load(&Unlimited, &good, &keys).await.unwrap();
    assert_eq!(watched.seen(), (2, 0), "two batches; not the connection");
    origin.prepare(&Unlimited, &good).await.unwrap();
    assert_eq!(watched.seen(), (1, 0));
    origin.canary(&Unlimited, "SELECT 1").await.unwrap();
    assert_eq!(watched.seen(), (1, 0));
    let (sink, mut rows) = tokio::sync::mpsc::channel(10);
    let rules = crate::source::Rules::default();
    let ranked = origin
        .rank(&Unlimited, "SELECT key FROM t", &rules, sink)
        .await;
    assert!(ranked.is_ok() && rows.recv().await.is_some());
    assert_eq!(
        watched.seen(),
        (0, 0),
        "a key source's takes as long as it takes"
    );
    assert!(
        origin
            .probe(&Unlimited, "SELECT 1", Duration::from_secs(1))
            .await
            .is_ok()
    );
    assert_eq!(watched.seen(), (0, 0));
    assert!(origin.canary(&Unlimited, "SELECT missing").await.is_err());
    assert_eq!(watched.seen(), (1, 0), "its own error");
    let endless = "WITH RECURSIVE n (key) AS (SELECT 1 UNION ALL SELECT key + 1 FROM n) \
                   SELECT max(key) AS key FROM n WHERE key IN (:keys)";
    assert!(
        origin
            .load(&Unlimited, &loader(endless), &keys)
            .await
            .is_err()
    );
    assert_eq!(watched.seen(), (1, 1), "ended for its length");
}
