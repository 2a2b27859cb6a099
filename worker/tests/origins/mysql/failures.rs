//! What is said of failures, which of them may pass, and what they leave behind.

use std::time::Duration;

use stoke_harness::{MariaDb, wait_for};
use stoke_worker::catalog::{LoaderSpec, TlsFiles};
use stoke_worker::origin::{Answer, OriginError};
use stoke_worker::permit::Unlimited;

use super::{LONG, Shop, origin};
use crate::{keys, loader};

/// A loader whose query computes for so many seconds.
fn slow(seconds: &str) -> LoaderSpec {
    let mut slow = loader(&format!(
        "SELECT 1 AS id, SLEEP({seconds}) AS s FROM dual WHERE 1 IN (:keys)"
    ));
    slow.key_column = ["id"].into_iter().collect();
    slow
}

#[tokio::test]
async fn what_will_not_pass_is_permanent() {
    let shop = Shop::with("CREATE TABLE t (id INT)");
    let origin_of_shop = shop.origin();
    for (query, said) in [
        (
            "SELECT id FROM missing WHERE id IN (:keys)",
            "1146 (42S02): Table",
        ),
        (
            "SELECT nothing FROM t WHERE id IN (:keys)",
            "Unknown column 'nothing'",
        ),
        (
            "SELEKT id FROM t WHERE id IN (:keys)",
            "1064 (42000): You have an error in your SQL syntax",
        ),
        ("SELECT id FROM t", "the query has no placeholder"),
        (
            "SELECT id FROM t WHERE id IN (:keys) /*!999999 AND 1 IN (:keys) */",
            "the database finds 1 parameters in the query instead of 2",
        ),
        (
            "SELECT id FROM t WHERE id IN (:keys); SELECT 2",
            "SQL syntax",
        ),
    ] {
        let error = origin_of_shop
            .load(&Unlimited, &loader(query), &keys(&["1"]))
            .await
            .unwrap_err();
        assert!(matches!(error, OriginError::Permanent { .. }), "{error:?}");
        let text = error.explain();
        assert!(text.contains(said), "{text}");
        assert!(text.contains("loader \"items\""), "{text}");
        assert!(!error.is_ill() && !error.is_outage(), "{text}");
    }
}

#[tokio::test]
async fn a_refused_password_is_permanent_and_not_shown() {
    let shop = Shop::new();
    let port = shop.server.port();
    for (credentials, database, said) in [
        ("stoke:wr0ng-s3cret", "mysql", "check all of them"),
        ("nobody:wr0ng-s3cret", "mysql", "check all of them"),
        (
            &format!("stoke:{}", shop.server.password()),
            "no_such_database",
            "Unknown database 'no_such_database'",
        ),
    ] {
        let url = format!("mysql://{credentials}@127.0.0.1:{port}/{database}");
        let origin = origin(&url, LONG, TlsFiles::default());
        let error = origin
            .load(&Unlimited, &slow("0"), &keys(&["1"]))
            .await
            .unwrap_err();
        assert!(
            error.is_outage() && !error.is_transient() && !error.is_ill(),
            "no fault of the keys', and it does not pass: {error:?}"
        );
        let shown = format!("{error:?} {} {origin:?}", error.explain());
        assert!(shown.contains(said), "{shown}");
        let at = format!("origin \\\"shop\\\" at 127.0.0.1:{port}/{database}");
        assert!(shown.contains(&at), "{shown}");
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_transient_and_keeps_its_connection() {
    let shop = Shop::with("CREATE TABLE t (id INT); INSERT INTO t SELECT seq FROM seq_1_to_100000");
    let origin = origin(
        &shop.server.url(&shop.name),
        Duration::from_millis(200),
        TlsFiles::default(),
    );
    let mut endless = loader(
        "SELECT count(*) AS n, 1 AS id FROM t a, t b, t c WHERE a.id + b.id + c.id > 0 AND 1 IN (:keys)",
    );
    endless.key_column = ["id"].into_iter().collect();
    let asked = keys(&["1"]);
    let load = || origin.load(&Unlimited, &endless, &asked);
    let error = load().await.unwrap_err();
    assert!(
        error.is_transient() && error.is_ill() && !error.is_outage(),
        "{error:?}"
    );
    let text = error.explain();
    assert!(text.contains("max_statement_time"), "{text}");
    let queries = origin.queries();
    load().await.unwrap_err();
    assert_eq!(
        origin.queries() - queries,
        1,
        "no new connection, and nothing prepared anew"
    );
}

#[test]
fn a_table_that_is_locked_is_not_waited_for_longer_than_a_statement_may_take() {
    let shop = Shop::with("CREATE TABLE t (id INT)");
    let timeout = Duration::from_millis(800);
    let origin = origin(&shop.server.url(&shop.name), timeout, TlsFiles::default());
    let loader = loader("SELECT id FROM t WHERE id IN (:keys)");
    let lock = "LOCK TABLES t WRITE; SELECT SLEEP(30)";
    std::thread::scope(|scope| {
        scope.spawn(|| shop.server.sql(&shop.name, lock).unwrap_err());
        let sleeps =
            "SELECT id FROM information_schema.processlist WHERE info = 'SELECT SLEEP(30)'";
        let locker = wait_for("the lock", LONG, || {
            let id = shop.server.sql("", sleeps)?;
            anyhow::ensure!(!id.is_empty(), "not yet");
            Ok(id)
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let error = runtime
            .block_on(origin.load(&Unlimited, &loader, &keys(&["1"])))
            .unwrap_err();
        shop.sql(&format!("KILL {}", locker.unwrap()));
        assert!(error.is_transient(), "{error:?}");
        assert!(
            !error.explain().contains("no answer within"),
            "{}",
            error.explain()
        );
    });
}

#[tokio::test]
async fn a_connection_that_is_killed_is_transient_and_replaced() {
    let shop = Shop::with("CREATE TABLE t (id INT); INSERT INTO t VALUES (1)");
    let origin = shop.origin();
    let ours = format!(
        "SELECT id FROM information_schema.processlist WHERE user = 'stoke' AND db = '{}'",
        shop.name
    );
    // While it runs a query.
    let sleep = slow("60");
    let asked = keys(&["1"]);
    let killing = async {
        loop {
            let running = shop
                .server
                .sql("", &format!("{ours} AND command = 'Execute'"))
                .unwrap();
            if !running.is_empty() {
                return shop.sql(&format!("KILL {running}"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (killed, _) = tokio::join!(origin.load(&Unlimited, &sleep, &asked), killing);
    let error = killed.unwrap_err();
    assert!(error.is_transient() && error.is_outage(), "{error:?}");
    // While it is idle.
    let loader = loader("SELECT id FROM t WHERE id IN (:keys)");
    origin.load(&Unlimited, &loader, &asked).await.unwrap();
    let idle = format!("{ours} AND command = 'Sleep'");
    let idle = shop.server.sql("", &idle).unwrap();
    shop.sql(&format!("KILL {idle}"));
    let error = origin.load(&Unlimited, &loader, &asked).await.unwrap_err();
    assert!(error.is_transient() && error.is_outage(), "{error:?}");
    origin.load(&Unlimited, &loader, &asked).await.unwrap();
}

#[tokio::test]
async fn a_query_that_is_killed_is_transient() {
    let shop = Shop::new();
    let origin = shop.origin();
    // Its connection runs another query before, and is then known.
    let mut counting = loader(
        "SELECT count(*) AS n, 1 AS id FROM information_schema.columns a, information_schema.columns b, information_schema.columns c WHERE 1 IN (:keys)",
    );
    counting.key_column = ["id"].into_iter().collect();
    let asked = keys(&["1"]);
    let killing = async {
        loop {
            let running = format!(
                "SELECT id FROM information_schema.processlist WHERE user = 'stoke' AND db = '{}' AND command = 'Execute'",
                shop.name
            );
            let running = shop.server.sql("", &running).unwrap();
            if !running.is_empty() {
                return shop.sql(&format!("KILL QUERY {running}"));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (killed, _) = tokio::join!(origin.load(&Unlimited, &counting, &asked), killing);
    let error = killed.unwrap_err();
    assert!(error.is_transient() && !error.is_outage(), "{error:?}");
}

#[tokio::test]
async fn too_many_connections_are_transient() {
    let server = MariaDb::start_with(&[("max-connections", "10")]).unwrap();
    let origin = origin(&server.url("shop"), LONG, TlsFiles::default());
    let slow = slow("1");
    let asked = keys(&["1"]);
    let loads = (0..24).map(|_| origin.load(&Unlimited, &slow, &asked));
    let results = futures::future::join_all(loads).await;
    let errors: Vec<&OriginError> = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .collect();
    assert!(!errors.is_empty());
    assert!(
        errors
            .iter()
            .all(|error| error.is_transient() && error.is_ill()),
        "{errors:?}"
    );
    let text = errors[0].explain();
    assert!(text.contains("no connection left"), "{text}");
}

#[tokio::test]
async fn a_database_that_comes_back_is_used_again() {
    let server = MariaDb::start().unwrap();
    server
        .sql("shop", "CREATE TABLE t (id INT); INSERT INTO t VALUES (1)")
        .unwrap();
    let origin = origin(&server.url("shop"), LONG, TlsFiles::default());
    let loader = loader("SELECT * FROM t WHERE id IN (:keys)");
    let asked = keys(&["1"]);
    let load = || origin.load(&Unlimited, &loader, &asked);
    let (first, second) = tokio::join!(load(), load());
    assert_eq!(first.unwrap().answers, second.unwrap().answers);
    server.kill().unwrap();
    for _ in 0..2 {
        let error = load().await.unwrap_err();
        assert!(error.is_transient() && error.is_outage(), "{error:?}");
    }
    server.restart().unwrap();
    assert!(matches!(
        load().await.unwrap().answers[..],
        [Answer::Row(_)]
    ));
}

#[tokio::test]
async fn a_load_that_is_dropped_closes_its_connection_and_its_query_ends_with_its_time() {
    let shop = Shop::new();
    // Long enough to see the query still run when its client has gone.
    let timeout = Duration::from_secs(4);
    let origin = origin(&shop.server.url(&shop.name), timeout, TlsFiles::default());
    let endless = slow("600");
    let asked = keys(&["1"]);
    let running = || {
        let of = format!(
            "WHERE user = 'stoke' AND db = '{}' AND command = 'Execute'",
            shop.name
        );
        let count = format!("SELECT count(*) FROM information_schema.processlist {of}");
        shop.server.sql("", &count).unwrap() == "1"
    };
    {
        let load = origin.load(&Unlimited, &endless, &asked);
        tokio::pin!(load);
        // Driven until the server runs it.
        while !running() {
            let step = tokio::time::timeout(Duration::from_millis(10), &mut load).await;
            assert!(step.is_err(), "{step:?}");
        }
    }
    assert!(
        running(),
        "nobody tells the server that its client has gone"
    );
    wait_for("the session's end", LONG, || {
        let sessions = shop.sessions();
        anyhow::ensure!(sessions == "0", "{sessions} sessions");
        Ok(())
    })
    .unwrap();
}

#[tokio::test]
async fn idle_connections_are_kept_up_to_the_bound_only() {
    let shop = Shop::new();
    let origin = shop.origin();
    origin.set_idle_max(3);
    let slow = slow("0.3");
    let asked = keys(&["1"]);
    let loads = (0..8).map(|_| origin.load(&Unlimited, &slow, &asked));
    for result in futures::future::join_all(loads).await {
        result.unwrap();
    }
    let expect = |count: &'static str| {
        wait_for("the number of sessions", LONG, || {
            let sessions = shop.sessions();
            anyhow::ensure!(sessions == count, "{sessions} sessions");
            Ok(())
        })
        .unwrap();
    };
    expect("3");
    origin.set_idle_max(1);
    expect("1");
    origin.set_idle_max(0);
    expect("0");
}

#[tokio::test]
async fn connections_that_are_not_needed_any_more_take_their_leave() {
    let server = MariaDb::start().unwrap();
    let origin = origin(&server.url("shop"), LONG, TlsFiles::default());
    let slow = slow("0.1");
    let asked = keys(&["1"]);
    let loads = (0..4).map(|_| origin.load(&Unlimited, &slow, &asked));
    for result in futures::future::join_all(loads).await {
        result.unwrap();
    }
    let short = Duration::from_secs(1);
    origin.probe(&Unlimited, "SELECT 1", short).await.unwrap();
    let (_, ranked) = crate::sources::rank(&origin, "SELECT 1 AS `key`").await;
    ranked.unwrap();
    origin.set_idle_max(0);
    wait_for("six leaves", LONG, || {
        let sent = server.sent_by("stoke")?;
        let left = sent.iter().filter(|sent| sent.command == "Quit").count();
        anyhow::ensure!(left == 6, "{left} have left");
        Ok(())
    })
    .unwrap();
    let aborted = "SHOW GLOBAL STATUS LIKE 'Aborted_clients'";
    assert_eq!(server.sql("", aborted).unwrap(), "Aborted_clients\t0");
}
