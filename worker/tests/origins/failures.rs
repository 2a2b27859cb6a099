//! What is said of failures, which of them may pass, and what they leave behind.

use std::time::Duration;

use stoke_harness::{Postgres, wait_for};
use stoke_worker::origin::{Answer, OriginError};
use stoke_worker::permit::Unlimited;

use crate::{Database, keys, loader, postgres_origin};

fn sessions(server: &Postgres, database: &str) -> String {
    let of = format!(
        "FROM pg_stat_activity WHERE application_name = 'stoke' AND datname = '{database}'"
    );
    server
        .psql("postgres", &format!("SELECT count(*) {of}"))
        .unwrap()
}

#[tokio::test]
async fn what_will_not_pass_is_permanent() {
    let database = Database::new();
    database.sql("CREATE TABLE t (id int)");
    let origin = database.origin();
    for (query, said) in [
        (
            "SELECT id FROM missing WHERE id IN (:keys)",
            "relation \"missing\" does not exist",
        ),
        (
            "SELECT nothing FROM t WHERE id IN (:keys)",
            "column \"nothing\" does not exist",
        ),
        ("SELEKT id FROM t WHERE id IN (:keys)", "syntax error"),
        ("SELECT id FROM t", "the query has no placeholder"),
    ] {
        let error = origin
            .load(&Unlimited, &loader(query), &keys(&["1"]))
            .await
            .unwrap_err();
        assert!(matches!(error, OriginError::Permanent { .. }), "{error:?}");
        assert!(error.explain().contains(said), "{}", error.explain());
        assert!(
            error.explain().contains("loader \"items\""),
            "{}",
            error.explain()
        );
    }
    let nowhere = postgres_origin(
        &database.server.url("no_such_database"),
        Duration::from_secs(5),
    );
    let loader = loader("SELECT id FROM t WHERE id IN (:keys)");
    let error = nowhere
        .load(&Unlimited, &loader, &keys(&["1"]))
        .await
        .unwrap_err();
    assert!(!error.is_transient(), "{error:?}");
}

#[tokio::test]
async fn a_refused_password_is_permanent_and_not_shown() {
    let server = Postgres::start().unwrap();
    server
        .psql("postgres", "CREATE USER stoke PASSWORD 'right'")
        .unwrap();
    let hba = server.psql("postgres", "SHOW hba_file").unwrap();
    let rules = std::fs::read_to_string(hba.trim()).unwrap();
    std::fs::write(
        hba.trim(),
        format!("host all stoke 127.0.0.1/32 scram-sha-256\n{rules}"),
    )
    .unwrap();
    server.psql("postgres", "SELECT pg_reload_conf()").unwrap();
    let url = |password: &str| {
        format!(
            "postgres://stoke:{password}@127.0.0.1:{}/postgres",
            server.port()
        )
    };
    let loader = loader("SELECT 1 AS id WHERE 1 IN (:keys)");
    let mut loader = loader;
    loader.key_column = ["id"].into_iter().collect();
    // The rules are in force when a wrong password is refused: until then there is nothing to test.
    let error = loop {
        let origin = postgres_origin(&url("s3cret"), Duration::from_secs(5));
        assert!(!format!("{origin:?}").contains("s3cret"), "{origin:?}");
        match origin.load(&Unlimited, &loader, &keys(&["1"])).await {
            Err(error) => break error,
            Ok(_) => tokio::task::yield_now().await,
        }
    };
    assert!(
        error.is_outage() && !error.is_transient(),
        "no fault of the keys', and it does not pass: {error:?}"
    );
    assert!(
        error.explain().contains("password authentication failed"),
        "{}",
        error.explain()
    );
    assert!(!format!("{error:?}{}", error.explain()).contains("s3cret"));
    postgres_origin(&url("right"), Duration::from_secs(5))
        .load(&Unlimited, &loader, &keys(&["1"]))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_transient_and_keeps_its_connection() {
    let database = Database::new();
    let origin = postgres_origin(
        &database.server.url(&database.name),
        Duration::from_millis(100),
    );
    let mut slow = loader("SELECT 1 AS id FROM pg_sleep(60) WHERE 1 IN (:keys)");
    slow.key_column = ["id"].into_iter().collect();
    let error = origin
        .load(&Unlimited, &slow, &keys(&["1"]))
        .await
        .unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(
        error.explain().contains("statement timeout"),
        "{}",
        error.explain()
    );
    let queries = origin.queries();
    origin
        .load(&Unlimited, &slow, &keys(&["1"]))
        .await
        .unwrap_err();
    assert_eq!(
        origin.queries() - queries,
        1,
        "no new connection, and nothing prepared anew"
    );
}

#[tokio::test]
async fn too_many_connections_are_transient() {
    let server = Postgres::start_with(&[
        ("max_connections", "5"),
        ("superuser_reserved_connections", "0"),
    ])
    .unwrap();
    let origin = postgres_origin(&server.url("postgres"), Duration::from_secs(20));
    let mut slow = loader("SELECT 1 AS id FROM pg_sleep(1) WHERE 1 IN (:keys)");
    slow.key_column = ["id"].into_iter().collect();
    let asked = keys(&["1"]);
    let loads = (0..12).map(|_| origin.load(&Unlimited, &slow, &asked));
    let results = futures::future::join_all(loads).await;
    let errors: Vec<&OriginError> = results
        .iter()
        .filter_map(|result| result.as_ref().err())
        .collect();
    assert!(!errors.is_empty());
    assert!(
        errors.iter().all(|error| error.is_transient()),
        "{errors:?}"
    );
    assert!(
        errors[0].explain().contains("too many clients"),
        "{}",
        errors[0].explain()
    );
}

#[tokio::test]
async fn a_database_that_comes_back_is_used_again() {
    let server = Postgres::start().unwrap();
    server
        .psql("postgres", "CREATE TABLE t AS SELECT 1 AS id; CHECKPOINT")
        .unwrap();
    let origin = postgres_origin(&server.url("postgres"), Duration::from_secs(5));
    let loader = loader("SELECT * FROM t WHERE id IN (:keys)");
    let asked = keys(&["1"]);
    let (first, second) = tokio::join!(
        origin.load(&Unlimited, &loader, &asked),
        origin.load(&Unlimited, &loader, &asked)
    );
    assert_eq!(first.unwrap().answers, second.unwrap().answers);
    server.kill().unwrap();
    assert!(
        origin
            .load(&Unlimited, &loader, &asked)
            .await
            .unwrap_err()
            .is_transient()
    );
    assert!(
        origin
            .load(&Unlimited, &loader, &asked)
            .await
            .unwrap_err()
            .is_transient()
    );
    server.restart().unwrap();
    let loaded = origin.load(&Unlimited, &loader, &asked).await.unwrap();
    assert!(matches!(loaded.answers[..], [Answer::Row(_)]));
}

#[tokio::test]
async fn a_load_that_is_dropped_ends_its_query_and_its_connection() {
    let database = Database::new();
    let origin = database.origin();
    let mut endless = loader("SELECT 1 AS id FROM pg_sleep(600) WHERE 1 IN (:keys)");
    endless.key_column = ["id"].into_iter().collect();
    let asked = keys(&["1"]);
    let running = || {
        let of = format!(
            "WHERE datname = '{}' AND query LIKE '%pg_sleep(600)%' AND state = 'active'",
            database.name
        );
        let count = database
            .server
            .psql(
                "postgres",
                &format!("SELECT count(*) FROM pg_stat_activity {of}"),
            )
            .unwrap();
        (count == "1").then_some(())
    };
    {
        let load = origin.load(&Unlimited, &endless, &asked);
        tokio::pin!(load);
        // Driven until the server runs it.
        while running().is_none() {
            let step = tokio::time::timeout(Duration::from_millis(10), &mut load).await;
            assert!(step.is_err(), "{step:?}");
        }
    }
    wait_for("the session's end", Duration::from_secs(20), || {
        let sessions = sessions(database.server, &database.name);
        anyhow::ensure!(sessions == "0", "{sessions} sessions");
        Ok(())
    })
    .unwrap();
}

#[tokio::test]
async fn idle_connections_are_kept_up_to_the_bound_only() {
    let database = Database::new();
    database.sql("CREATE TABLE t AS SELECT 1 AS id");
    let origin = database.origin();
    origin.set_idle_max(3);
    let loader = loader("SELECT id FROM t, pg_sleep(0.2) WHERE id IN (:keys)");
    let asked = keys(&["1"]);
    for result in
        futures::future::join_all((0..8).map(|_| origin.load(&Unlimited, &loader, &asked))).await
    {
        result.unwrap();
    }
    let expect = |count: &'static str| {
        wait_for("the number of sessions", Duration::from_secs(20), || {
            let sessions = sessions(database.server, &database.name);
            anyhow::ensure!(sessions == count, "{sessions} sessions");
            Ok(())
        })
        .unwrap();
    };
    expect("3");
    origin.set_idle_max(1);
    expect("1");
}
