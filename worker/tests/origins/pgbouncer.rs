//! Through a PgBouncer that pools by transactions: each load is right whatever server's connection it gets, and nothing of it is
//! left for the next.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use stoke_harness::{PgBouncer, Postgres};
use stoke_worker::origin::{Answer, Origin};
use stoke_worker::permit::Unlimited;

use crate::scans::{key, read_range, scanning};
use crate::sources::rank;
use crate::{Tokens, keys, loader, postgres_origin, row};

const LONG: Duration = Duration::from_secs(30);
const TABLES: &str = "CREATE TYPE mood AS ENUM ('sad', 'ok');
    CREATE TABLE t (id int PRIMARY KEY, mood mood, at timestamptz);
    INSERT INTO t SELECT i, 'ok', '2024-02-29T12:00:00+02' FROM generate_series(1, 100) i;
    CREATE TABLE u (tenant_id int, id text, PRIMARY KEY (tenant_id, id));
    INSERT INTO u SELECT i % 3, i FROM generate_series(1, 100) i;
    CREATE SEQUENCE s;";

struct Scene {
    postgres: Postgres,
    bouncer: PgBouncer,
}

impl Scene {
    /// Two connections to the server, for however many clients.
    fn new(settings: &[(&str, &str)]) -> Self {
        let postgres = Postgres::start().unwrap();
        postgres.psql("postgres", TABLES).unwrap();
        let all = [&[("default_pool_size", "2")], settings].concat();
        let bouncer = PgBouncer::start(&postgres, &all).unwrap();
        Self { postgres, bouncer }
    }

    fn origin(&self, parameters: &str, statement_timeout: Duration) -> Origin {
        let url = format!("{}{parameters}", self.bouncer.url("postgres"));
        postgres_origin(&url, statement_timeout)
    }

    fn pooled(&self, statement_timeout: Duration) -> Origin {
        self.origin("?pooler=transaction", statement_timeout)
    }
}

#[tokio::test]
async fn loads_side_by_side_are_right_on_connections_that_they_share() {
    let scene = Scene::new(&[]);
    let origin = scene.pooled(LONG);
    let tokens = Tokens::default();
    let by_id = loader("SELECT id, mood, at FROM t WHERE id IN (:keys)");
    let by_mood = loader("SELECT mood, count(*) AS n FROM t WHERE mood IN (:keys) GROUP BY mood");
    let by_both = loader("SELECT tenant_id, id FROM u WHERE (tenant_id, id) IN (:keys)");
    origin.prepare(&tokens, &by_id).await.unwrap();
    for round in 0..5 {
        let loads = (1..=12).map(|i| {
            let (origin, tokens) = (&origin, &tokens);
            let n = round * 12 + i;
            let (loader, key, wanted) = match i % 3 {
                0 => (
                    &by_id,
                    n.to_string(),
                    format!("{{\"id\":{n},\"mood\":\"ok\",\"at\":\"2024-02-29T10:00:00+00:00\"}}"),
                ),
                1 => (
                    &by_mood,
                    "ok".to_owned(),
                    "{\"mood\":\"ok\",\"n\":100}".to_owned(),
                ),
                _ => (
                    &by_both,
                    format!("[\"{}\",\"{n}\"]", n % 3),
                    format!("{{\"tenant_id\":{},\"id\":\"{n}\"}}", n % 3),
                ),
            };
            async move {
                let loaded = origin.load(tokens, loader, &[key]).await;
                let loaded = loaded.unwrap_or_else(|error| panic!("{}", error.explain()));
                assert_eq!(loaded.answers, [row(&wanted)]);
            }
        });
        let source = rank(&origin, "SELECT id AS key, mood FROM t");
        let (ranked, _) = tokio::join!(source, join_all(loads));
        let rows: usize = ranked.0.iter().map(Vec::len).sum();
        assert_eq!(rows, 100, "{:?}", ranked.1);
    }
    let number = origin.probe(&tokens, "SELECT count(*) FROM t", LONG).await;
    assert_eq!(number.unwrap(), 100.0);
    origin.canary(&tokens, "SELECT 1").await.unwrap();
    // All of them: the source's as well, which had no tokens to count.
    let sent = scene.postgres.statements("stoke").unwrap().len() as u64;
    assert!(sent <= origin.queries(), "{sent} > {}", origin.queries());
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stoke'";
    let sessions = scene.postgres.psql("postgres", sessions).unwrap();
    assert!(sessions.parse::<u32>().unwrap() <= 2, "{sessions}");
    let left = "SELECT count(*) FROM pg_prepared_statements";
    for _ in 0..4 {
        let left = origin.probe(&Unlimited, left, LONG).await.unwrap();
        assert_eq!(left, 0.0, "nothing that it prepared is left");
    }
}

#[tokio::test]
async fn scans_are_whole_on_connections_that_they_share_with_loads() {
    let scene = Scene::new(&[]);
    let origin = scene.pooled(LONG);
    let tokens = Tokens::default();
    let by_id = loader("SELECT id FROM t WHERE id IN (:keys)");
    let scans = [
        (scanning("SELECT id, mood, at FROM t", "id", 7), "item:100"),
        (
            scanning("SELECT id, mood, at FROM t WHERE mood = 'ok'", "id", 30),
            "item:1",
        ),
        (scanning("SELECT id, tenant_id FROM u", "id", 9), "item:42"),
    ];
    for (scan, _) in &scans {
        origin.prepare(&tokens, scan).await.unwrap();
    }
    for _ in 0..3 {
        let read = scans.iter().map(|(scan, some)| {
            let (origin, tokens) = (&origin, &tokens);
            async move {
                let cut = origin.ranges(tokens, scan).await.unwrap();
                let mut rows = Vec::new();
                for range in &cut.ranges {
                    let range = read_range(origin, tokens, scan, range, || {}).await;
                    rows.extend(range.unwrap());
                }
                let keys: BTreeSet<_> = rows.iter().map(key).collect();
                assert_eq!((rows.len(), keys.len()), (100, 100), "each once: {scan:?}");
                assert!(keys.contains(*some), "{keys:?}");
                assert!(rows.iter().all(|row| row.made.is_ok()), "{rows:?}");
            }
        });
        let loads = (1..=12).map(|id: u32| {
            let (origin, tokens, by_id) = (&origin, &tokens, &by_id);
            async move {
                let loaded = origin.load(tokens, by_id, &[id.to_string()]).await;
                let answers = loaded.unwrap().answers;
                assert_eq!(answers, [row(&format!("{{\"id\":{id}}}"))]);
            }
        });
        tokio::join!(join_all(read), join_all(loads));
    }
    let sent = scene.postgres.statements("stoke").unwrap().len() as u64;
    assert!(sent <= tokens.taken(), "{sent} > {}", tokens.taken());
    assert_eq!(tokens.taken(), origin.queries());
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stoke'";
    let sessions = scene.postgres.psql("postgres", sessions).unwrap();
    assert!(sessions.parse::<u32>().unwrap() <= 2, "{sessions}");
    let left = "SELECT count(*) FROM pg_prepared_statements";
    for _ in 0..4 {
        let left = origin.probe(&Unlimited, left, LONG).await.unwrap();
        assert_eq!(left, 0.0, "nothing that it prepared is left");
    }
}

#[tokio::test]
async fn a_load_costs_its_transaction() {
    let scene = Scene::new(&[]);
    let origin = scene.pooled(LONG);
    let loader = loader("SELECT id FROM t WHERE id IN (:keys)");
    let load = async |id: &str| {
        let tokens = Tokens::default();
        let loaded = origin.load(&tokens, &loader, &keys(&[id])).await.unwrap();
        assert_eq!(loaded.queries, tokens.taken());
        tokens.taken()
    };
    // The connection; a query that was not known, in a transaction; the load, prepared, in another.
    assert_eq!(load("1").await, 1 + (4 + 3) + (2 + 3));
    assert_eq!(load("2").await, 5);

    // Types that are not built in are looked up once for a connection, not in each transaction.
    let by_mood = crate::loader("SELECT mood FROM t WHERE mood IN (:keys) LIMIT 1");
    let sent = || scene.postgres.statements("stoke").unwrap().len() as u64;
    for _ in 0..2 {
        let loaded = origin.load(&Unlimited, &by_mood, &keys(&["ok"])).await;
        assert_eq!(loaded.unwrap().rows, 1);
    }
    // BEGIN and SET come in one string, which the log counts as one; what prepares is not in it.
    let (before, taken) = (sent(), origin.queries());
    let loaded = origin.load(&Unlimited, &by_mood, &keys(&["ok"])).await;
    assert_eq!(loaded.unwrap().rows, 1);
    assert_eq!((sent() - before, origin.queries() - taken), (3, 5));
}

#[tokio::test]
async fn timeouts_and_reading_only_are_the_transactions_and_end_with_it() {
    let scene = Scene::new(&[("default_pool_size", "1")]);
    let short = scene.pooled(Duration::from_millis(300));
    let slow = loader("SELECT id, pg_sleep(60)::text FROM t WHERE id IN (:keys)");
    let error = short
        .load(&Unlimited, &slow, &keys(&["1"]))
        .await
        .unwrap_err();
    assert!(
        error.explain().contains("statement timeout"),
        "{}",
        error.explain()
    );
    assert!(error.is_transient());
    let writing = loader("SELECT id, nextval('s') FROM t WHERE id IN (:keys)");
    let error = short
        .load(&Unlimited, &writing, &keys(&["1"]))
        .await
        .unwrap_err();
    assert!(
        error.explain().contains("read-only transaction"),
        "{}",
        error.explain()
    );
    // The one that was dropped has left nothing, nor have those that failed.
    let origin = scene.pooled(LONG);
    let one = keys(&["1"]);
    let loading = origin.load(&Unlimited, &slow, &one);
    let _dropped = tokio::time::timeout(Duration::from_millis(300), loading).await;
    let plain = loader("SELECT id FROM t WHERE id IN (:keys)");
    let loaded = origin.load(&Unlimited, &plain, &keys(&["2"])).await;
    let answers = loaded
        .unwrap_or_else(|error| panic!("{}", error.explain()))
        .answers;
    assert!(matches!(answers[0], Answer::Row(_)));
    let others = sqlx::postgres::PgPoolOptions::new()
        .max_connections(1)
        .connect_lazy_with(
            scene
                .bouncer
                .url("postgres")
                .parse::<sqlx::postgres::PgConnectOptions>()
                .unwrap()
                .extra_float_digits(None),
        );
    use sqlx::Row as _;
    let rows = sqlx::raw_sql("SELECT current_setting('statement_timeout') || current_setting('transaction_read_only') AS both")
        .fetch_one(&others)
        .await
        .unwrap();
    assert_eq!(rows.get::<String, _>("both"), "0off", "of another client");
}

#[tokio::test]
async fn who_does_not_say_that_a_pooler_is_there_is_told_how() {
    let scene = Scene::new(&[]);
    let error = scene.origin("", LONG).reach(&Unlimited).await.unwrap_err();
    let said = error.explain();
    assert!(
        said.contains("unsupported startup parameter") && said.contains("?pooler=transaction"),
        "{said}"
    );

    // One that throws our settings away: two clients of one connection meet each other's statements.
    let scene = Scene::new(&[
        ("default_pool_size", "1"),
        ("ignore_startup_parameters", "extra_float_digits,options"),
    ]);
    let plain = loader("SELECT id FROM t WHERE id IN (:keys)");
    let unsaid = [scene.origin("", LONG), scene.origin("", LONG)];
    let mut met = Vec::new();
    for origin in &unsaid {
        if let Err(error) = origin.load(&Unlimited, &plain, &keys(&["1"])).await {
            met.push(error.explain());
        }
    }
    assert!(
        met.iter().any(|said| said.contains("?pooler=transaction")),
        "{met:?}"
    );
}
