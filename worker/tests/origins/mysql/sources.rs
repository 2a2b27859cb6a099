//! Key sources in SQL.

use std::time::Duration;

use stoke_core::units::Priority;
use stoke_worker::catalog::TlsFiles;
use stoke_worker::origin::OriginError;
use stoke_worker::permit::Unlimited;
use stoke_worker::source::Rules;
use tokio::sync::mpsc;

use super::{LONG, Shop};
use crate::sources::{rank, rank_by, skipping};

#[tokio::test]
async fn rows_come_in_order_in_chunks_with_their_columns_as_text() {
    let shop = Shop::new();
    let (chunks, rows) = rank(
        &shop.origin(),
        "SELECT seq AS `key`, (3000 - seq) / 2.0 AS priority, DATE '2024-01-01' + INTERVAL seq DAY AS d, NULL AS n,
           TIMESTAMP '2024-01-01 12:00:00' AS ts, x'00ff' AS b, '\"' AS q
         FROM seq_1_to_2500 ORDER BY seq",
    )
    .await;
    assert_eq!(rows.unwrap().rows, 2500);
    assert_eq!(
        chunks.iter().map(Vec::len).collect::<Vec<_>>(),
        [1000, 1000, 500]
    );
    let first = &chunks[0][0];
    assert_eq!(
        first.columns[..],
        ["key", "priority", "d", "n", "ts", "b", "q"].map(str::to_owned)
    );
    assert_eq!(
        (
            first.key(),
            first.get("d"),
            first.get("n"),
            first.get("ts"),
            first.get("b"),
            first.get("q")
        ),
        (
            "1",
            Some("2024-01-02"),
            None,
            Some("2024-01-01T12:00:00"),
            Some("\\x00ff"),
            Some("\"")
        )
    );
    assert_eq!(first.priority, Priority::from_milli(1_499_500));
    let keys: Vec<u32> = chunks
        .iter()
        .flatten()
        .map(|row| row.key().parse().unwrap())
        .collect();
    assert_eq!(keys, (1..=2500).collect::<Vec<u32>>());
}

#[tokio::test]
async fn rows_that_cannot_be_used_are_named_by_their_number_or_left_out() {
    let shop = Shop::with(
        "CREATE TABLE t (n INT, k TEXT, p DOUBLE); INSERT INTO t VALUES (1, 'a', 1), (2, NULL, 1), (3, 'c', -1), (4, 'd', NULL)",
    );
    for (query, said) in [
        (
            "SELECT 1 AS id, 2 AS n",
            "there is no column \"key\" among id, n: name one so, in SQL with AS key, or say which columns make it",
        ),
        (
            "SELECT k AS `key` FROM t ORDER BY n",
            "row 2: the key is empty or NULL",
        ),
        (
            "SELECT n AS `key`, p AS priority FROM t ORDER BY n",
            "row 3: the priority \"-1\" is not a number",
        ),
        ("SELECT 1 AS `key`, 2 AS `key`", "two columns \"key\""),
        (
            "SELECT 1 AS `key`, POINT(1, 2) AS p",
            "the column \"p\" has the type GEOMETRY",
        ),
        ("SELECT ? AS `key`", "takes no parameters"),
        ("SELECT `key` FROM missing", "missing' doesn't exist"),
        (
            "INSERT INTO t VALUES (1, 'a', 1)",
            "in a READ ONLY transaction",
        ),
    ] {
        let (_, result) = rank(&shop.origin(), query).await;
        let error = result.unwrap_err();
        assert!(matches!(error, OriginError::Permanent { .. }), "{error:?}");
        let text = error.explain();
        assert!(text.contains(said), "{query}: {text}");
    }
    let query = "SELECT k AS `key`, p AS priority, 'eu' AS region FROM t ORDER BY n";
    let (chunks, gathered) = rank_by(&shop.origin(), query, &skipping("{region}:{key}")).await;
    let gathered = gathered.unwrap();
    let cache_keys: Vec<&[u8]> = chunks.iter().flatten().map(|r| &r.cache_key[..]).collect();
    assert_eq!(cache_keys, [&b"eu:a"[..], b"eu:d"]);
    assert_eq!((gathered.rows, gathered.bad_lines), (2, 2));
}

#[tokio::test]
async fn a_source_is_read_no_faster_than_its_rows_are_taken() {
    let shop = Shop::new();
    let origin = shop.origin();
    let (sink, mut source) = mpsc::channel(1);
    let rules = Rules::default();
    let rank = origin.rank(
        &Unlimited,
        "SELECT seq AS `key` FROM seq_1_to_2000000",
        &rules,
        sink,
    );
    let first_then_gone = async {
        let first = source.recv().await.unwrap();
        assert_eq!(first.len(), 1000);
        drop(source);
    };
    let (result, ()) = tokio::join!(rank, first_then_gone);
    assert!(matches!(result, Err(OriginError::Stopped(_))), "{result:?}");
    // The chunk received, the one waiting in the channel, and the one at hand.
    assert!(
        origin.rows() <= 3000,
        "{} rows were read ahead",
        origin.rows()
    );
}

#[tokio::test]
async fn a_source_may_take_longer_than_a_statement() {
    let shop = Shop::new();
    let short = Duration::from_millis(100);
    let origin = super::origin(&shop.server.url(&shop.name), short, TlsFiles::default());
    let (_, gathered) = rank(&origin, "SELECT SLEEP(0.5) + 1 AS `key`").await;
    assert_eq!(gathered.unwrap().rows, 1);
    let slow = origin
        .probe(&Unlimited, "SELECT 1 FROM (SELECT SLEEP(0.5)) s", LONG)
        .await;
    assert!(
        slow.is_err(),
        "the loads' time is as short as before: {slow:?}"
    );
}
