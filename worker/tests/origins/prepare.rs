//! Preparing loaders: what is found wrong before anything is loaded, on databases that were known before.

use std::time::Duration;

use sqlx::{Connection as _, Executor as _};
use stoke_worker::origin::{Origin, OriginError};
use stoke_worker::permit::Unlimited;
use stoke_worker::source::Rules;
use tokio::sync::mpsc;

use crate::sqlite::File;
use crate::{Database, Tokens, keys, loader};

const LONG: Duration = Duration::from_secs(60);

/// What is said of a loader's query that cannot be used, for a reason that stays.
async fn refused(origin: &Origin, query: &str) -> String {
    let error = origin
        .prepare(&Unlimited, &loader(query))
        .await
        .unwrap_err();
    assert!(matches!(error, OriginError::Permanent { .. }), "{error:?}");
    let text = error.explain();
    assert!(text.contains("loader \"items\""), "{text}");
    text
}

#[tokio::test]
async fn a_query_that_cannot_answer_is_refused_and_what_to_do_is_said() {
    let database = Database::new();
    database.sql("CREATE TABLE t (id int, p point)");
    let file = File::new("CREATE TABLE t (id INTEGER, b TEXT)").await;
    let (postgres, sqlite) = (database.origin(), file.origin(LONG));
    for (query, said) in [
        (
            "SELECT id FROM t",
            "the query has no placeholder: write IN (:keys)",
        ),
        (
            "SELECT nothing FROM t WHERE id IN (:keys)",
            "column \"nothing\" does not exist",
        ),
        (
            "SELECT 1 AS n FROM t WHERE id IN (:keys)",
            "the rows have no column \"id\" to say which key they answer, but n: select it, or set key-column",
        ),
        (
            "SELECT id, p FROM t WHERE id IN (:keys)",
            "the column \"p\" has the type POINT, which has no form here: leave it out, or cast it to text",
        ),
        (
            "DELETE FROM t WHERE id IN (:keys)",
            "the query gives no columns: write a SELECT",
        ),
        (
            "DELETE FROM t WHERE id = :key",
            "the query gives no columns: write a SELECT",
        ),
    ] {
        let text = refused(&postgres, query).await;
        assert!(
            !text.contains("at line"),
            "the server's own source is nobody's business: {text}"
        );
        assert!(text.contains(said), "{query}: {text}");
    }
    for (query, said) in [
        ("SELECT id FROM t", "the query has no placeholder"),
        (
            "SELECT gone FROM t WHERE id IN (:keys)",
            "no such column: gone",
        ),
        (
            "SELECT b FROM t WHERE id IN (:keys)",
            "the rows have no column \"id\"",
        ),
        (
            "DELETE FROM t WHERE id = :key",
            "the query gives no columns",
        ),
    ] {
        let text = refused(&sqlite, query).await;
        assert!(text.contains(said), "{query}: {text}");
    }
}

#[tokio::test]
async fn a_table_that_was_altered_since_it_was_last_used_is_found_out() {
    const QUERY: &str = "SELECT id, b FROM t WHERE id IN (:keys)";
    let database = Database::new();
    database.sql("CREATE TABLE t (id int, b text)");
    let origin = database.origin();
    for _ in 0..2 {
        origin.prepare(&Unlimited, &loader(QUERY)).await.unwrap();
        let asked = keys(&["1"]);
        origin
            .load(&Unlimited, &loader(QUERY), &asked)
            .await
            .unwrap();
    }
    database.sql("ALTER TABLE t DROP COLUMN b");
    let text = refused(&origin, QUERY).await;
    assert!(text.contains("column \"b\" does not exist"), "{text}");
    database.sql("ALTER TABLE t ADD COLUMN b point");
    let text = refused(&origin, QUERY).await;
    assert!(text.contains("the type POINT"), "{text}");

    let file = File::new("CREATE TABLE t (id INTEGER, b TEXT)").await;
    let origin = file.origin(LONG);
    origin.prepare(&Unlimited, &loader(QUERY)).await.unwrap();
    let asked = keys(&["1"]);
    origin
        .load(&Unlimited, &loader(QUERY), &asked)
        .await
        .unwrap();
    file.run("ALTER TABLE t RENAME COLUMN b TO c").await;
    let text = refused(&origin, QUERY).await;
    assert!(text.contains("no such column: b"), "{text}");
}

#[tokio::test]
async fn preparing_takes_tokens_and_loads_nothing() {
    let database = Database::new();
    database.sql("CREATE TABLE prepared_only AS SELECT 1 AS id");
    let origin = database.origin();
    let tokens = Tokens::default();
    let known = loader("SELECT id FROM prepared_only WHERE id IN (:keys)");
    for _ in 0..3 {
        origin.prepare(&tokens, &known).await.unwrap();
    }
    let sent = database.server.statements("stoke").unwrap();
    let of_ours = sent
        .iter()
        .filter(|sent| sent.text.contains("prepared_only"));
    assert_eq!(of_ours.count(), 0, "nothing of it was executed");
    assert_eq!(tokens.taken(), origin.queries());
    assert!(tokens.taken() >= 3);
    assert_eq!(origin.rows(), 0);
}

#[tokio::test]
async fn a_batch_has_as_many_keys_as_the_placeholder_takes() {
    let origin = Database::new().origin();
    let keys_of = |query| origin.batch_keys(&loader(query)).unwrap();
    assert_eq!(keys_of("SELECT id FROM t WHERE id IN (:keys)"), 500.into());
    assert_eq!(keys_of("SELECT id FROM t WHERE id = :key"), 1.into());
    assert!(origin.batch_keys(&loader("SELECT 1")).is_err());
}

/// Drives something until so many of our sessions wait for a lock.
async fn until_locked<F: Future>(
    mut doing: std::pin::Pin<&mut F>,
    database: &Database,
    sessions: &str,
) {
    let count = format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE datname = '{}' AND application_name = 'stoke' AND wait_event_type = 'Lock'",
        database.name
    );
    while database.server.psql("postgres", &count).unwrap() != sessions {
        let step = tokio::time::timeout(Duration::from_millis(10), doing.as_mut()).await;
        assert!(step.is_err(), "it ended before it was locked");
    }
}

#[tokio::test]
async fn whoever_prepares_a_query_of_a_locked_table_holds_up_no_loads() {
    let database = Database::new();
    database.sql("CREATE TABLE altered (id int); CREATE TABLE free AS SELECT 1 AS id");
    let url = database.server.url(&database.name);
    let mut alters = sqlx::PgConnection::connect(&url).await.unwrap();
    alters
        .execute(sqlx::raw_sql("BEGIN; LOCK TABLE altered"))
        .await
        .unwrap();
    let origin = database.origin();
    let locked = loader("SELECT id FROM altered WHERE id IN (:keys)");
    let (rules, (sink, _source)) = (Rules::default(), mpsc::channel(1));
    let preparing = async {
        tokio::join!(
            origin.prepare(&Unlimited, &locked),
            origin.rank(&Unlimited, "SELECT id AS key FROM altered", &rules, sink)
        )
    };
    tokio::pin!(preparing);
    until_locked(preparing.as_mut(), &database, "2").await;
    assert!(!origin.is_setting_up());
    let free = loader("SELECT id FROM free WHERE id IN (:keys)");
    origin.load(&Unlimited, &free, &keys(&["1"])).await.unwrap();

    // A load's own set-up is told: what is loaded meanwhile would need another connection.
    let asked = keys(&["1"]);
    {
        let loading = origin.load(&Unlimited, &locked, &asked);
        tokio::pin!(loading);
        until_locked(loading.as_mut(), &database, "3").await;
        assert!(origin.is_setting_up());
    }
    assert!(!origin.is_setting_up());
}
