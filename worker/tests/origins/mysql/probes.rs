//! Probes and canaries: what counts as a reading, what is said of the rest, and what they cost.

use std::time::Duration;

use stoke_harness::wait_for;
use stoke_worker::permit::Unlimited;

use super::{LONG, Shop};
use crate::Tokens;

#[tokio::test]
async fn a_reading_is_exactly_one_row_with_one_number() {
    let shop = Shop::with("CREATE TABLE v (y YEAR, b BIT(10)); INSERT INTO v VALUES (2024, 513)");
    let origin = shop.origin();
    for (query, number) in [
        ("SELECT 7", 7.0),
        ("SELECT CAST(1 << 40 AS UNSIGNED);", 1_099_511_627_776.0),
        ("SELECT -1.25e0", -1.25),
        (
            "SELECT CAST(12345.678901 AS DECIMAL(20, 6))",
            12_345.678_901,
        ),
        ("SELECT true", 1.0),
        ("SELECT 1 > 2", 0.0),
        ("SELECT b'101' + 0", 5.0),
        ("SELECT y FROM v", 2024.0),
        ("SELECT b FROM v", 513.0),
        ("SELECT TIME_TO_SEC(TIMEDIFF('01:00:30', '01:00:00'))", 30.0),
        (
            "SELECT count(*) FROM information_schema.processlist WHERE 1 = 2",
            0.0,
        ),
    ] {
        let read = origin.probe(&Unlimited, query, LONG).await;
        assert_eq!(read.map_err(|fault| fault.explain()), Ok(number), "{query}");
    }
    for (query, said) in [
        ("SELECT 1 FROM dual WHERE 1 = 2", "gave no row"),
        ("SELECT seq FROM seq_1_to_100000", "more than one row"),
        ("SELECT 1, 2", "gives 2 columns"),
        ("SELECT CAST(NULL AS SIGNED)", "COALESCE"),
        ("SELECT NULL", "COALESCE"),
        ("SELECT '12'", "the type varchar"),
        ("SELECT now()", "UNIX_TIMESTAMP"),
        ("SELECT nothing", "Unknown column 'nothing'"),
        ("SELECT 1; SELECT 2", "more than one statement"),
        ("CREATE TABLE t (id INT)", "READ ONLY"),
    ] {
        let fault = origin.probe(&Unlimited, query, LONG).await.unwrap_err();
        let why = fault.explain();
        assert!(why.contains(said), "{query}: {why}");
    }
}

#[tokio::test]
async fn the_database_ends_a_probe_that_is_slower_than_its_interval() {
    let shop = Shop::new();
    let origin = shop.origin();
    let short = Duration::from_millis(200);
    let slow =
        "SELECT count(*) FROM seq_1_to_1000000 a, seq_1_to_1000000 b WHERE a.seq + b.seq > 1";
    let fault = origin.probe(&Unlimited, slow, short).await.unwrap_err();
    assert!(
        fault.explain().contains("max_statement_time"),
        "{}",
        fault.explain()
    );
    // Its connection, whose timeout is another than the loads', is closed again, whatever became of it.
    assert_eq!(
        origin.probe(&Unlimited, "SELECT 1", short).await.unwrap(),
        1.0
    );
    wait_for("the probe's connection to go", LONG, || {
        let open = shop.sessions();
        anyhow::ensure!(open == "0", "{open}");
        Ok(())
    })
    .unwrap();
}

#[tokio::test]
async fn a_probe_and_a_canary_cost_a_token_each_on_a_connection_that_is_there() {
    let shop = Shop::new();
    let origin = shop.origin();
    let tokens = Tokens::default();
    origin.canary(&tokens, "SELECT 1 AS first").await.unwrap();
    assert_eq!(tokens.taken(), 3, "two for the connection");
    origin
        .canary(&tokens, "SELECT 2 UNION SELECT 3")
        .await
        .unwrap();
    assert_eq!(origin.probe(&tokens, "SELECT 2", LONG).await.unwrap(), 2.0);
    assert_eq!(tokens.taken(), 5);
    let refused = origin.canary(&tokens, "SELECT 1; SELECT 2").await;
    assert!(
        refused
            .unwrap_err()
            .explain()
            .contains("more than one statement")
    );
    assert_eq!(tokens.taken(), 5, "nothing was sent");
    let sent = shop.server.sent_by("stoke").unwrap();
    let of_ours = sent
        .iter()
        .find(|sent| sent.text == "SELECT 1 AS first")
        .unwrap();
    let on_it = sent
        .iter()
        .filter(|s| s.connection == of_ours.connection && s.is_statement());
    assert_eq!(on_it.count(), 4);
}
