//! What reaches the database, by the server's own log, against the tokens that were taken.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use stoke_harness::Postgres;
use stoke_worker::origin::OriginError;
use tokio::sync::mpsc;

use crate::{Tokens, keys, loader, postgres_origin};

fn server() -> Postgres {
    let settings = [
        ("log_min_duration_statement", "0"),
        ("log_connections", "on"),
    ];
    let server = Postgres::start_with(&settings).unwrap();
    server
        .psql(
            "postgres",
            "CREATE TYPE mood AS ENUM ('sad', 'ok');
             CREATE DOMAIN moods AS mood;
             CREATE DOMAIN deep AS moods[];
             CREATE TABLE plain AS SELECT i AS id, 'x' AS name FROM generate_series(1, 5000) i;
             CREATE TABLE custom (id int, m mood, ms mood[], d moods[], x xml, dd deep[]);
             INSERT INTO custom VALUES (1, 'sad', '{ok}', '{sad}', '<a/>', NULL);
             CREATE TABLE by_mood AS SELECT 'sad'::mood AS id;",
        )
        .unwrap();
    server
}

fn sent(server: &Postgres) -> Vec<String> {
    let statements = server.statements("stoke").unwrap();
    statements
        .into_iter()
        .map(|statement| statement.text)
        .collect()
}

/// All that a token is owed for: statements executed, statements prepared, and connections made.
fn sent_in_all(server: &Postgres) -> u64 {
    let log = std::fs::read_to_string(server.log_path()).unwrap();
    let prepared = log
        .lines()
        .filter(|line| line.contains("[stoke] LOG:  duration: ") && line.contains(" parse "));
    let connected = log.lines().filter(|line| {
        line.contains("connection authorized: ") && line.contains("application_name=stoke ")
    });
    let connected = connected.chain(log.lines().filter(|line| {
        line.contains("connection authorized: ") && line.ends_with("application_name=stoke")
    }));
    (sent(server).len() + prepared.count() + connected.count()) as u64
}

#[tokio::test]
async fn a_loader_that_is_known_costs_one_statement_a_batch_and_one_token() {
    let server = server();
    let origin = postgres_origin(&server.url("postgres"), Duration::from_secs(30));
    let tokens = Tokens::default();
    let loader = loader("SELECT * FROM plain WHERE id IN (:keys)");
    origin.prepare(&tokens, &loader).await.unwrap();
    let (tokens_before, sent_before) = (tokens.taken(), sent(&server).len());
    for _ in 0..10 {
        let loaded = origin
            .load(&tokens, &loader, &keys(&["1", "2", "3"]))
            .await
            .unwrap();
        assert_eq!((loaded.queries, loaded.rows), (1, 3));
    }
    assert_eq!(tokens.taken() - tokens_before, 10);
    let statements = sent(&server);
    assert_eq!(
        statements[sent_before..],
        vec!["SELECT * FROM plain WHERE id = ANY($1)"; 10]
    );
    assert_eq!((origin.queries(), origin.rows()), (tokens.taken(), 30));
}

#[tokio::test]
async fn never_more_statements_than_tokens_set_up_and_look_ups_included() {
    let server = server();
    let tokens = Tokens::default();
    let queries = [
        "SELECT * FROM plain WHERE id IN (:keys)",
        "SELECT id, m FROM custom WHERE id IN (:keys)",
        "SELECT id, ms, d, x FROM custom WHERE id IN (:keys)",
        "SELECT id, dd FROM custom WHERE id IN (:keys)",
        "SELECT id FROM by_mood WHERE id IN (:keys)",
        "SELECT id, m FROM custom WHERE id = :key",
        "SELECT id FROM missing WHERE id IN (:keys)",
        "SELECT id, 1/(id-1) AS one FROM plain WHERE id IN (:keys)",
    ];
    // Each on an origin of its own (nothing is known), then all on one: many at a time, so on several connections.
    for query in queries {
        let origin = postgres_origin(&server.url("postgres"), Duration::from_secs(30));
        // Set-up is paid for when it happens, not by what comes later.
        let before = (tokens.taken(), sent_in_all(&server));
        for _ in 0..2 {
            let _ = origin
                .load(&tokens, &loader(query), &keys(&["1", "2", "sad"]))
                .await;
            let taken = tokens.taken() - before.0;
            let sent = sent_in_all(&server) - before.1;
            assert!(sent >= 1, "{query}: nothing was sent");
            assert!(sent <= taken, "{query}: {sent} sent for {taken} tokens");
            assert_eq!(origin.queries(), taken);
            // The connection that has looked everything up is closed: the next one starts from nothing.
            origin.set_idle_max(0);
        }
    }
    let origin = postgres_origin(&server.url("postgres"), Duration::from_secs(30));
    let loaders: Vec<_> = queries
        .iter()
        .cycle()
        .take(64)
        .map(|query| loader(query))
        .collect();
    let asked = keys(&["1", "2", "sad"]);
    let loads = loaders
        .iter()
        .map(|loader| origin.load(&tokens, loader, &asked));
    futures::future::join_all(loads).await;
    let (sink, mut source) = mpsc::channel(1);
    let rules = stoke_worker::source::Rules::default();
    let (ranked, ()) = tokio::join!(
        origin.rank(
            &tokens,
            "SELECT id AS key, m FROM custom JOIN plain USING (id)",
            &rules,
            sink
        ),
        async { while source.recv().await.is_some() {} }
    );
    assert_eq!(ranked.unwrap().rows, 1);
    let in_all = sent_in_all(&server);
    assert!(in_all <= tokens.taken(), "{in_all} for {}", tokens.taken());
    let statements = sent(&server);
    // The account is of everything: what the driver asked on its own is in it.
    assert!(
        statements
            .iter()
            .any(|text| text.contains("pg_catalog.pg_type"))
    );
    assert!(
        statements
            .iter()
            .any(|text| text.contains("pg_catalog.pg_attribute"))
    );
    assert!(
        !statements
            .iter()
            .any(|text| text.contains("EXPLAIN") || text.starts_with("SET "))
    );
}

#[tokio::test]
async fn what_is_stopped_sends_nothing() {
    let server = server();
    let tokens = Tokens::default();
    let origin = postgres_origin(&server.url("postgres"), Duration::from_secs(30));
    let loader = loader("SELECT * FROM plain WHERE id IN (:keys)");
    origin.load(&tokens, &loader, &keys(&["1"])).await.unwrap();
    let before = sent(&server).len();
    tokens.stopped.store(true, Relaxed);
    let stopped = origin.load(&tokens, &loader, &keys(&["1"])).await;
    assert!(
        matches!(stopped, Err(OriginError::Stopped(_))),
        "{stopped:?}"
    );
    assert_eq!(sent(&server).len(), before);
    // The connection was not used, so it is still good.
    tokens.stopped.store(false, Relaxed);
    let loaded = origin.load(&tokens, &loader, &keys(&["1"])).await.unwrap();
    assert_eq!(loaded.queries, 1);
}

#[tokio::test]
async fn sessions_say_who_they_are_end_long_statements_and_do_not_write() {
    let server = server();
    let tokens = Tokens::default();
    let origin = postgres_origin(&server.url("postgres"), Duration::from_millis(2500));
    let settings = loader("SELECT name, setting FROM pg_settings WHERE name IN (:keys)");
    let asked = keys(&[
        "statement_timeout",
        "application_name",
        "default_transaction_read_only",
        "client_connection_check_interval",
    ]);
    let loaded = origin.load(&tokens, &settings, &asked).await.unwrap();
    assert_eq!(
        loaded.answers,
        [
            crate::row("{\"name\":\"statement_timeout\",\"setting\":\"2500\"}"),
            crate::row("{\"name\":\"application_name\",\"setting\":\"stoke\"}"),
            crate::row("{\"name\":\"default_transaction_read_only\",\"setting\":\"on\"}"),
            crate::row("{\"name\":\"client_connection_check_interval\",\"setting\":\"1000\"}"),
        ]
    );
    let write = loader(
        "WITH w AS (UPDATE plain SET name = 'y' RETURNING id) SELECT id FROM w WHERE id IN (:keys)",
    );
    let error = origin
        .load(&tokens, &write, &keys(&["1"]))
        .await
        .unwrap_err();
    assert!(
        error.explain().contains("read-only transaction"),
        "{}",
        error.explain()
    );
}
