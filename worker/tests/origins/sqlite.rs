//! Origins in SQLite.

use std::path::Path;
use std::time::Duration;

use sqlx::{ConnectOptions as _, Executor as _};
use stoke_harness::wait_for;
use stoke_worker::catalog::{OriginConfig, SecretUrl};
use stoke_worker::origin::rewrite::Dialect;
use stoke_worker::origin::{Answer, Origin, OriginError};
use stoke_worker::permit::Unlimited;

use crate::sources::rank;
use crate::{Tokens, keys, loader, reason, row};

pub(crate) struct File {
    folder: tempfile::TempDir,
}

impl File {
    pub(crate) async fn new(sql: impl Into<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = Self { folder };
        file.run(sql).await;
        file
    }

    pub(crate) async fn run(&self, sql: impl Into<String>) {
        let options = sqlx::sqlite::SqliteConnectOptions::new();
        let options = options
            .filename(self.folder.path().join("shop.db"))
            .create_if_missing(true);
        let mut connection = options.connect().await.unwrap();
        let sql = sqlx::raw_sql(sqlx::AssertSqlSafe(sql.into()));
        connection.execute(sql).await.unwrap();
    }

    /// How the database would answer a query with one parameter.
    pub(crate) async fn explained(&self, sql: &str) -> String {
        let options = sqlx::sqlite::SqliteConnectOptions::new();
        let options = options.filename(self.folder.path().join("shop.db"));
        let mut connection = options.connect().await.unwrap();
        let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let rows = sqlx::query(explain).bind("[]").fetch_all(&mut connection);
        let detail = |row: &sqlx::sqlite::SqliteRow| sqlx::Row::get::<String, _>(row, "detail");
        let lines: Vec<String> = rows.await.unwrap().iter().map(detail).collect();
        lines.join("\n")
    }

    pub(crate) fn origin(&self, timeout: Duration) -> Origin {
        origin(&self.folder.path().join("shop.db"), timeout)
    }
}

fn origin(path: &Path, timeout: Duration) -> Origin {
    Origin::open(&OriginConfig {
        name: "local".parse().unwrap(),
        url: SecretUrl::new(&format!("sqlite:{}", path.display())).unwrap(),
        dialect: Dialect::Sqlite,
        statement_timeout: timeout,
        source_timeout: timeout,
        tls: stoke_worker::catalog::TlsFiles::default(),
        vigil: stoke_worker::catalog::OriginVigil::default(),
        replicas: None,
    })
    .unwrap()
}

const LONG: Duration = Duration::from_secs(30);
/// Counts until long after the end of any test.
const ENDLESS: &str = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) AS i FROM n WHERE i IN (:keys)";

#[tokio::test]
async fn values_are_what_is_stored_whatever_is_declared() {
    let file = File::new(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, b BOOLEAN, d DATE, x, \"q\"\"t\" TEXT, n DECIMAL(10,2));
         INSERT INTO t VALUES (1, 1, '2024-02-29', x'00ff', 'ä \"\n', 1.5), (2, NULL, 19000, 9223372036854775807, '', 'abc'),
                              (3, 0, NULL, -0.1, NULL, 2), (4, 0, 0, 9e999, NULL, 2)",
    )
    .await;
    let loader = loader("SELECT * FROM t WHERE Id IN (:keys)");
    let loaded = file
        .origin(LONG)
        .load(&Unlimited, &loader, &keys(&["1", "2", "003", "4", "5"]))
        .await
        .unwrap();
    assert_eq!(
        loaded.answers[..3],
        [
            row(r#"{"id":1,"b":1,"d":"2024-02-29","x":"\\x00ff","q\"t":"ä \"\n","n":1.5}"#),
            row(r#"{"id":2,"b":null,"d":19000,"x":9223372036854775807,"q\"t":"","n":"abc"}"#),
            row(r#"{"id":3,"b":0,"d":null,"x":-0.1,"q\"t":null,"n":2}"#),
        ]
    );
    assert_eq!(
        reason(&loaded.answers[3]),
        "the column \"x\" holds Infinity, which JSON cannot express"
    );
    assert_eq!(loaded.answers[4], Answer::Absent);
}

#[tokio::test]
async fn a_number_answers_every_text_that_reads_as_it_and_a_text_only_itself() {
    let file = File::new(
        "CREATE TABLE numbers (id INTEGER); INSERT INTO numbers VALUES (7);
         CREATE TABLE texts (id TEXT); INSERT INTO texts VALUES ('7'), ('007'), ('it''s')",
    )
    .await;
    let origin = file.origin(LONG);
    let asked = keys(&["7", "007", "x", "7", "it's"]);
    let numbers = loader("SELECT id FROM numbers WHERE id IN (:keys)");
    let loaded = origin.load(&Unlimited, &numbers, &asked).await.unwrap();
    let seven = row("{\"id\":7}");
    assert_eq!(
        loaded.answers,
        [
            seven.clone(),
            seven.clone(),
            Answer::Absent,
            seven,
            Answer::Absent
        ]
    );
    let texts = loader("SELECT id FROM texts WHERE id IN (:keys)");
    let loaded = origin.load(&Unlimited, &texts, &asked).await.unwrap();
    let seven = row("{\"id\":\"7\"}");
    assert_eq!(
        loaded.answers,
        [
            seven.clone(),
            row("{\"id\":\"007\"}"),
            Answer::Absent,
            seven,
            row("{\"id\":\"it's\"}")
        ]
    );
    assert_eq!((loaded.rows, loaded.unasked), (3, 0));
}

#[tokio::test]
async fn each_query_takes_a_token() {
    let file = File::new("CREATE TABLE t (id INTEGER); INSERT INTO t VALUES (1), (2), (2)").await;
    let origin = file.origin(LONG);
    let tokens = Tokens::default();
    let mut batch = loader("SELECT id FROM t WHERE id IN (:keys)");
    batch.batch_keys = 2.into();
    let loaded = origin
        .load(&tokens, &batch, &keys(&["1", "2", "3"]))
        .await
        .unwrap();
    assert_eq!(
        (loaded.queries, tokens.taken()),
        (3, 3),
        "the file's opening, and two batches"
    );
    assert!(reason(&loaded.answers[1]).starts_with("two rows for one key"));
    let single = loader("SELECT count(*) AS n FROM t WHERE id = :key");
    let loaded = origin
        .load(&tokens, &single, &keys(&["2", "1", "2"]))
        .await
        .unwrap();
    assert_eq!((loaded.queries, origin.queries()), (2, tokens.taken()));
    assert_eq!(
        loaded.answers,
        [row("{\"n\":2}"), row("{\"n\":1}"), row("{\"n\":2}")]
    );
}

#[tokio::test]
async fn what_cannot_be_used_is_refused() {
    let file = File::new("CREATE TABLE t (id INTEGER, b TEXT)").await;
    let origin_of_file = file.origin(LONG);
    for (query, said) in [
        (
            "SELECT id FROM missing WHERE id IN (:keys)",
            "no such table: missing",
        ),
        (
            "SELECT id, b AS id FROM t WHERE id IN (:keys)",
            "two columns \"id\"",
        ),
        ("SELECT b FROM t WHERE id IN (:keys)", "no column \"id\""),
        ("DELETE FROM t WHERE id = :key RETURNING id", "readonly"),
    ] {
        let loader = loader(query);
        let prepared = origin_of_file.prepare(&Unlimited, &loader).await;
        let error = match prepared {
            Ok(()) => origin_of_file
                .load(&Unlimited, &loader, &keys(&["1"]))
                .await
                .unwrap_err(),
            Err(error) => error,
        };
        assert!(!error.is_transient(), "{error:?}");
        assert!(
            error.explain().contains(said),
            "{query}: {}",
            error.explain()
        );
    }
    let loader = loader("SELECT 1 AS id WHERE id IN (:keys)");
    let missing = origin(Path::new("/nowhere/shop.db"), LONG);
    let error = missing
        .load(&Unlimited, &loader, &keys(&["1"]))
        .await
        .unwrap_err();
    assert!(
        !error.is_transient() && error.explain().contains("/nowhere/shop.db"),
        "{}",
        error.explain()
    );
}

#[tokio::test]
async fn a_query_that_takes_too_long_is_ended_and_transient() {
    let file = File::new("CREATE TABLE t (id INTEGER)").await;
    let origin = file.origin(Duration::from_millis(50));
    let error = origin
        .load(&Unlimited, &loader(ENDLESS), &keys(&["1"]))
        .await
        .unwrap_err();
    assert!(
        error.is_transient() && error.explain().contains("interrupted"),
        "{}",
        error.explain()
    );
}

#[tokio::test]
async fn a_load_that_is_dropped_ends_its_query() {
    let file = File::new("CREATE TABLE t (id INTEGER)").await;
    let origin = file.origin(LONG);
    let endless = loader(ENDLESS);
    let asked = keys(&["1"]);
    let dropped = tokio::time::timeout(
        Duration::from_millis(100),
        origin.load(&Unlimited, &endless, &asked),
    )
    .await;
    assert!(dropped.is_err());
    // SQLite's thread holds the file open for as long as it runs the query.
    wait_for("the query's end", Duration::from_secs(20), || {
        anyhow::ensure!(!is_open(file.folder.path()), "the file is still open");
        Ok(())
    })
    .unwrap();
}

/// Whether this process has a file of `folder` open.
fn is_open(folder: &Path) -> bool {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    open.filter_map(|file| std::fs::read_link(file.path()).ok())
        .any(|path| path.starts_with(folder))
}

#[tokio::test]
async fn key_sources_are_ranked() {
    let file = File::new(
        "CREATE TABLE t (key, priority); INSERT INTO t VALUES (1, 2.5), ('b', NULL), (NULL, 1)",
    )
    .await;
    let origin = file.origin(LONG);
    let (chunks, rows) = rank(
        &origin,
        "SELECT key, priority, x'01' AS blob FROM t WHERE key IS NOT NULL",
    )
    .await;
    assert_eq!(rows.unwrap().rows, 2);
    assert_eq!(
        (
            chunks[0][0].key(),
            chunks[0][0].priority.as_milli(),
            chunks[0][0].get("blob")
        ),
        ("1", 2500, Some("\\x01"))
    );
    assert_eq!(
        (chunks[0][1].key(), chunks[0][1].priority.as_milli()),
        ("b", 1000)
    );
    let (chunks, failed) = rank(&origin, "SELECT key FROM t").await;
    assert!(chunks.is_empty());
    assert!(
        failed
            .unwrap_err()
            .explain()
            .contains("row 3: the key is empty or NULL")
    );
    let (_, failed) = rank(&origin, "SELECT priority FROM t").await;
    assert!(
        matches!(failed, Err(OriginError::Permanent { .. })),
        "{failed:?}"
    );
}

#[tokio::test]
async fn rows_of_a_key_source_that_are_no_entries_are_left_out_where_the_rules_say_so() {
    let file = File::new(
        "CREATE TABLE t (key, priority, region); INSERT INTO t VALUES
           ('a', 1, 'eu'), (NULL, 1, 'eu'), ('', 1, 'eu'), ('d', -1, 'eu'), ('e', 'many', 'eu'), ('f', 9e999, 'eu'),
           ('g', 1, NULL), ('h', NULL, 'us')",
    )
    .await;
    let rules = crate::sources::skipping("{region}:{key}");
    let query = "SELECT * FROM t ORDER BY rowid";
    let (chunks, gathered) = crate::sources::rank_by(&file.origin(LONG), query, &rules).await;
    let gathered = gathered.unwrap();
    let cache_keys: Vec<&[u8]> = chunks.iter().flatten().map(|r| &r.cache_key[..]).collect();
    assert_eq!(cache_keys, [&b"eu:a"[..], b"us:h"]);
    assert_eq!((gathered.rows, gathered.bad_lines), (2, 6));
    assert_eq!(gathered.examples[0], "row 2: the key is empty or NULL");
}

#[tokio::test]
async fn keys_without_a_row_are_not_called_absent_where_there_are_rows_that_nobody_asked_for() {
    let file = File::new(
        "CREATE TABLE t (id TEXT COLLATE NOCASE, n INTEGER); INSERT INTO t VALUES ('ABC', 1), ('b', 22), ('c', 3)",
    )
    .await;
    let origin = file.origin(LONG);
    let texts = loader("SELECT * FROM t WHERE id IN (:keys)");
    let loaded = origin
        .load(&Unlimited, &texts, &keys(&["abc", "b"]))
        .await
        .unwrap();
    let said = "no row for this key, but 1 row for keys that were not asked for, such as \"ABC\"";
    assert!(reason(&loaded.answers[0]).starts_with(said), "{loaded:?}");
    assert!(matches!(loaded.answers[1], Answer::Row(_)));
    let mut numbers = texts;
    numbers.key_column = ["n"].into_iter().collect();
    let loaded = origin
        .load(&Unlimited, &numbers, &keys(&["b"]))
        .await
        .unwrap();
    let said = "no row for this key, but 1 row for keys that were not asked for, such as \"22\"";
    assert!(reason(&loaded.answers[0]).starts_with(said), "{loaded:?}");
}
