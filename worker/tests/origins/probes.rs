//! Probes and canaries: what counts as a reading, what is said of the rest, and what they cost.

use std::time::Duration;

use stoke_harness::{Postgres, wait_for};
use stoke_worker::origin::Origin;
use stoke_worker::permit::Unlimited;

use crate::sqlite::File;
use crate::{Database, Tokens, postgres_origin};

const LONG: Duration = Duration::from_secs(30);

async fn reading(origin: &Origin, query: &str) -> Result<f64, String> {
    let probed = origin.probe(&Unlimited, query, LONG).await;
    probed.map_err(|fault| fault.explain())
}

/// Looks at what queries give, and at what is said of those that give no number.
async fn check(origin: &Origin, given: &[(&str, f64)], refused: &[(&str, &str)]) {
    for (query, number) in given {
        assert_eq!(reading(origin, query).await, Ok(*number), "{query}");
    }
    for (query, said) in refused {
        let why = reading(origin, query).await.unwrap_err();
        assert!(why.contains(said), "{query}: {why}");
    }
}

#[tokio::test]
async fn a_reading_is_exactly_one_row_with_one_number_in_postgresql() {
    let database = Database::new();
    let given = [
        ("SELECT 7", 7.0),
        ("SELECT 7::smallint", 7.0),
        ("SELECT (1::bigint << 40)", 1_099_511_627_776.0),
        ("SELECT -1.25::real", -1.25),
        ("SELECT 0.1::float8", 0.1),
        ("SELECT 12345.678901::numeric", 12345.678901),
        ("SELECT true", 1.0),
        ("SELECT pg_is_in_recovery()", 0.0),
        ("SELECT extract(epoch FROM interval '90 seconds')", 90.0),
        ("SELECT count(*) FROM pg_stat_activity WHERE false", 0.0),
    ];
    let refused = [
        ("SELECT 1 WHERE false", "gave no row"),
        ("SELECT generate_series(1, 2)", "more than one row"),
        (
            "SELECT i FROM generate_series(1, 5000000) i",
            "more than one row",
        ),
        ("SELECT 1, 2", "gives 2 columns"),
        ("SELECT NULL::int", "COALESCE"),
        ("SELECT '12'::text", "the type text"),
        ("SELECT interval '90 seconds'", "EXTRACT(epoch FROM"),
        ("SELECT now()", "the type timestamptz"),
        ("SELECT 'NaN'::float8", "gave NaN"),
        ("SELECT 'Infinity'::numeric", "gave inf"),
        ("SELECT nothing", "column \"nothing\" does not exist"),
        ("SELECT 1 / 0", "division by zero"),
        ("CREATE TABLE t ()", "read-only"),
    ];
    check(&database.origin(), &given, &refused).await;
}

#[tokio::test]
async fn a_reading_is_exactly_one_row_with_one_number_in_sqlite() {
    let file = File::new("CREATE TABLE t AS SELECT 1 AS id UNION SELECT 2").await;
    let given = [
        ("SELECT 7", 7.0),
        ("SELECT 0.25", 0.25),
        ("SELECT 1 < 2", 1.0),
        ("SELECT count(*) FROM t", 2.0),
    ];
    let refused = [
        ("SELECT id FROM t WHERE false", "gave no row"),
        ("SELECT id FROM t", "more than one row"),
        ("SELECT id, id FROM t LIMIT 1", "gives 2 columns"),
        ("SELECT NULL", "COALESCE"),
        ("SELECT '12'", "the type text"),
        ("SELECT x'12'", "the type blob"),
        ("SELECT 9e999", "gave inf"),
        ("SELECT missing", "no such column"),
    ];
    check(&file.origin(LONG), &given, &refused).await;
}

#[tokio::test]
async fn the_database_ends_a_probe_that_is_slower_than_its_interval() {
    let database = Database::new();
    let origin = database.origin();
    let short = Duration::from_millis(200);
    let slow = "SELECT 1 FROM pg_sleep(60)";
    let fault = origin.probe(&Unlimited, slow, short).await.unwrap_err();
    let why = fault.explain();
    assert!(why.contains("statement timeout"), "{why}");
    // Its connection, whose timeout is another than the loads', is closed again, whatever became of it.
    assert_eq!(
        origin.probe(&Unlimited, "SELECT 1", short).await.unwrap(),
        1.0
    );
    wait_for("the probe's connection to go", LONG, || {
        let open = database.server.psql(
            "postgres",
            &format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stoke' AND datname = '{}'", database.name),
        )?;
        anyhow::ensure!(open.trim() == "0", "{open}");
        Ok(())
    })
    .unwrap();
    let file = File::new("CREATE TABLE t (id)").await;
    let endless =
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let fault = file
        .origin(LONG)
        .probe(&Unlimited, endless, short)
        .await
        .unwrap_err();
    assert!(
        fault.explain().contains("interrupted"),
        "{}",
        fault.explain()
    );
}

#[tokio::test]
async fn a_probe_and_a_canary_cost_a_token_each_on_a_connection_that_is_there() {
    let server = Postgres::start_with(&[("log_min_duration_statement", "0")]).unwrap();
    server
        .psql("postgres", "CREATE TYPE mood AS ENUM ('sad')")
        .unwrap();
    let origin = postgres_origin(&server.url("postgres"), Duration::from_secs(20));
    let tokens = Tokens::default();
    origin.canary(&tokens, "SELECT 'sad'::mood").await.unwrap();
    assert_eq!(tokens.taken(), 2, "one for the connection");
    origin.canary(&tokens, "SELECT 'sad'::mood").await.unwrap();
    assert_eq!(origin.probe(&tokens, "SELECT 2", LONG).await.unwrap(), 2.0);
    let odd = origin.probe(&tokens, "SELECT 'sad'::mood", LONG).await;
    assert!(odd.is_err());
    let sent = wait_for("the log", LONG, || {
        let sent = server.statements("stoke")?;
        anyhow::ensure!(sent.len() >= 4, "{}", sent.len());
        Ok(sent)
    });
    let sent: Vec<String> = sent.unwrap().into_iter().map(|s| s.text).collect();
    assert_eq!(sent.len(), 4, "no type is looked up: {sent:?}");
    assert_eq!(tokens.taken(), 5);
}
