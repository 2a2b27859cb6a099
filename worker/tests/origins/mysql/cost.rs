//! What reaches the database, by the server's own log, against the tokens that were taken.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Relaxed;

use stoke_harness::{MariaDb, Sent, wait_for};
use stoke_worker::catalog::TlsFiles;
use stoke_worker::origin::{Origin, OriginError};
use stoke_worker::permit::Unlimited;
use stoke_worker::source::Rules;
use tokio::sync::mpsc;

use super::LONG;
use crate::{Tokens, keys, loader, row};

/// A server whose log nobody else writes to.
struct Watched {
    server: MariaDb,
    origin: Origin,
    tokens: Tokens,
}

impl Watched {
    fn new() -> Self {
        let server = MariaDb::start().unwrap();
        let made = "CREATE TABLE t (id INT PRIMARY KEY, name TEXT);
             INSERT INTO t SELECT seq, 'x' FROM seq_1_to_5000";
        server.sql("shop", made).unwrap();
        let origin = super::origin(&server.url("shop"), LONG, TlsFiles::default());
        Self {
            server,
            origin,
            tokens: Tokens::default(),
        }
    }

    fn sent(&self) -> Vec<Sent> {
        self.server.sent_by("stoke").unwrap()
    }

    fn statements(&self) -> Vec<Sent> {
        self.sent().into_iter().filter(Sent::is_statement).collect()
    }

    /// All that a token is owed for: statements, and connections made.
    fn owed(&self) -> u64 {
        let sent = self.sent();
        let connects = sent.iter().filter(|sent| sent.command == "Connect");
        (connects.count() + sent.iter().filter(|sent| sent.is_statement()).count()) as u64
    }
}

#[tokio::test]
async fn a_loader_that_is_known_costs_one_statement_a_batch_and_one_token() {
    let watched = Watched::new();
    let loader = loader("SELECT * FROM t WHERE id IN (:keys)");
    let asked = keys(&["1", "2", "3"]);
    let load = || watched.origin.load(&watched.tokens, &loader, &asked);
    watched
        .origin
        .prepare(&watched.tokens, &loader)
        .await
        .unwrap();
    assert_eq!(
        watched.tokens.taken(),
        3,
        "the connection, its SET, PREPARE"
    );
    load().await.unwrap();
    assert_eq!(
        watched.tokens.taken(),
        5,
        "PREPARE of a longer list, EXECUTE"
    );
    assert_eq!(watched.owed(), 5);
    for _ in 0..10 {
        let loaded = load().await.unwrap();
        assert_eq!((loaded.queries, loaded.rows), (1, 3));
    }
    assert_eq!((watched.tokens.taken(), watched.owed()), (15, 15));
    let text = "SELECT * FROM t WHERE id IN (1, 2, 3, 3)";
    let executed = watched.statements();
    assert!(
        executed[4..]
            .iter()
            .all(|s| s.command == "Execute" && s.text == text)
    );
    assert_eq!((watched.origin.queries(), watched.origin.rows()), (15, 33));
}

#[tokio::test]
async fn a_connection_is_set_up_by_one_statement() {
    let watched = Watched::new();
    watched.origin.reach(&watched.tokens).await.unwrap();
    assert_eq!(watched.tokens.taken(), 1);
    let sent = wait_for("the leave", LONG, || {
        let sent = watched.sent();
        anyhow::ensure!(sent.len() > 1, "{sent:?}");
        Ok(sent)
    });
    let commands: Vec<String> = sent.unwrap().into_iter().map(|sent| sent.command).collect();
    assert_eq!(commands, ["Connect", "Quit"]);
    watched
        .origin
        .canary(&watched.tokens, "SELECT 1")
        .await
        .unwrap();
    let statements = watched.statements();
    assert_eq!(statements.len(), 2, "{statements:?}");
    assert!(
        statements[0].text.starts_with("SET NAMES utf8mb4, "),
        "{statements:?}"
    );
    assert_eq!(statements[1].text, "SELECT 1");
    assert_eq!(watched.tokens.taken(), 4);
}

#[tokio::test]
async fn lists_of_all_lengths_are_few_statements() {
    let watched = Watched::new();
    let mut loader = loader(
        "SELECT id FROM t WHERE id IN (:keys) AND -id NOT IN (SELECT id FROM t WHERE id IN (:keys))",
    );
    loader.batch_keys = 50.into();
    for count in (1..=60).chain([333, 40, 7]) {
        let asked: Vec<String> = (1..=count).map(|id: u32| id.to_string()).collect();
        let loaded = watched
            .origin
            .load(&watched.tokens, &loader, &asked)
            .await
            .unwrap();
        assert_eq!(loaded.answers.len(), count as usize);
        assert_eq!(loaded.rows, u64::from(count), "padding brings no row twice");
        assert_eq!(loaded.unasked, 0);
    }
    let statements = watched.statements();
    let prepared: Vec<&str> = statements
        .iter()
        .filter(|sent| sent.command == "Prepare")
        .map(|sent| sent.text.as_str())
        .collect();
    let different: BTreeSet<&str> = prepared.iter().copied().collect();
    // 1, 2, 4, 8, 16, 32 and 50.
    assert_eq!((prepared.len(), different.len()), (7, 7), "{different:?}");
    assert_eq!(watched.owed(), watched.tokens.taken());
}

#[tokio::test]
async fn never_more_statements_than_tokens_whatever_goes_wrong() {
    let watched = Watched::new();
    let queries = [
        "SELECT * FROM t WHERE id IN (:keys)",
        "SELECT id, count(*) AS n FROM t WHERE id IN (:keys) GROUP BY id",
        "SELECT id FROM t WHERE id = :key",
        "SELECT id FROM missing WHERE id IN (:keys)",
        "SELECT id FROM t WHERE id IN (:keys) AND id = (SELECT id FROM t)",
        "SELECT id, nothing FROM t WHERE id IN (:keys)",
        "SELEKT id FROM t WHERE id IN (:keys)",
    ];
    for query in queries {
        let url = watched.server.url("shop");
        let origin = super::origin(&url, LONG, TlsFiles::default());
        // Set-up is paid for when it happens, not by what comes later.
        let before = (watched.tokens.taken(), watched.owed());
        for _ in 0..2 {
            let _ = origin
                .load(&watched.tokens, &loader(query), &keys(&["1", "2", "sad"]))
                .await;
            let taken = watched.tokens.taken() - before.0;
            let owed = watched.owed() - before.1;
            assert!(owed >= 1, "{query}: nothing was sent");
            assert!(owed <= taken, "{query}: {owed} sent for {taken} tokens");
            assert_eq!(origin.queries(), taken);
        }
    }
    let origin = super::origin(&watched.server.url("shop"), LONG, TlsFiles::default());
    let before = (watched.tokens.taken(), watched.owed());
    let loaders: Vec<_> = queries.iter().cycle().take(64).map(|q| loader(q)).collect();
    let asked = keys(&["1", "2", "3"]);
    let loads = loaders
        .iter()
        .map(|loader| origin.load(&watched.tokens, loader, &asked));
    futures::future::join_all(loads).await;
    let (sink, mut source) = mpsc::channel(1);
    let rules = Rules::default();
    let (ranked, ()) = tokio::join!(
        origin.rank(&watched.tokens, "SELECT id AS `key` FROM t", &rules, sink),
        async { while source.recv().await.is_some() {} }
    );
    assert_eq!(ranked.unwrap().rows, 5000);
    let (taken, owed) = (watched.tokens.taken() - before.0, watched.owed() - before.1);
    assert!(owed <= taken, "{owed} for {taken}");
    let statements = watched.statements();
    let sets = statements.iter().filter(|s| s.text.starts_with("SET "));
    assert!(sets.count() > 1 && !statements.iter().any(|s| s.text.contains("sql_mode=(")));
}

#[tokio::test]
async fn what_is_stopped_sends_nothing() {
    let watched = Watched::new();
    let loader = loader("SELECT * FROM t WHERE id IN (:keys)");
    let asked = keys(&["1"]);
    let load = || watched.origin.load(&watched.tokens, &loader, &asked);
    load().await.unwrap();
    let before = watched.sent().len();
    watched.tokens.stopped.store(true, Relaxed);
    let stopped = load().await;
    assert!(
        matches!(stopped, Err(OriginError::Stopped(_))),
        "{stopped:?}"
    );
    assert_eq!(watched.sent().len(), before);
    // The connection was not used, so it is still good.
    watched.tokens.stopped.store(false, Relaxed);
    assert_eq!(load().await.unwrap().queries, 1);
}

#[tokio::test]
async fn sessions_are_as_the_set_up_says_whatever_the_servers_defaults() {
    let server = MariaDb::start_with(&[
        ("sql-mode", "ANSI,NO_BACKSLASH_ESCAPES,STRICT_TRANS_TABLES"),
        ("autocommit", "0"),
        ("default-time-zone", "+05:00"),
        ("wait-timeout", "30"),
        ("character-set-server", "latin1"),
        ("collation-server", "latin1_swedish_ci"),
        ("character-set-client-handshake", "0"),
    ])
    .unwrap();
    let made = "CREATE TABLE t (id INT, n TEXT CHARACTER SET utf8mb4);
         INSERT INTO t VALUES (1, CONVERT(x'F09F9880' USING utf8mb4)); COMMIT";
    server.sql("shop", made).unwrap();
    let timeout = std::time::Duration::from_millis(2500);
    let origin = super::origin(&server.url("shop"), timeout, TlsFiles::default());
    let asked = keys(&["1"]);
    for (expression, written) in [
        ("@@max_statement_time", "2.5"),
        ("@@tx_read_only", "1"),
        ("@@autocommit", "1"),
        ("@@time_zone", "\"+00:00\""),
        ("@@lock_wait_timeout", "3"),
        ("@@net_write_timeout", "63"),
        ("@@wait_timeout", "120"),
        ("@@character_set_results", "\"utf8mb4\""),
        (
            "@@sql_mode LIKE '%ANSI_QUOTES%' OR @@sql_mode LIKE '%BACKSLASH%'",
            "0",
        ),
        ("@@sql_mode LIKE '%STRICT_TRANS_TABLES%'", "1"),
        ("\"a\\\"b\"", "\"a\\\"b\""),
        ("n", "\"😀\""),
    ] {
        let query = format!("SELECT id, {expression} AS v FROM t WHERE id IN (:keys)");
        let loaded = origin.load(&Unlimited, &loader(&query), &asked).await;
        let answers = loaded
            .unwrap_or_else(|e| panic!("{expression}: {}", e.explain()))
            .answers;
        let expected = format!("{{\"id\":1,\"v\":{written}}}");
        assert_eq!(answers, [row(&expected)], "{expression}");
    }
    for query in [
        "CREATE TABLE u (id INT)",
        "INSERT INTO t VALUES (2, 'x')",
        "DELETE FROM t",
    ] {
        let error = origin.canary(&Unlimited, query).await.unwrap_err();
        assert!(
            error.explain().contains("READ ONLY transaction"),
            "{}",
            error.explain()
        );
        assert!(!error.is_transient() && !error.is_ill());
    }
}
