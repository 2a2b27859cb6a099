//! Key sources in SQL.

use stoke_core::job::OnBadLine;
use stoke_core::template::Template;
use stoke_core::units::Priority;
use stoke_worker::origin::{Origin, OriginError};
use stoke_worker::permit::Unlimited;
use stoke_worker::source::{Gathered, Rules, SourceRow};
use tokio::sync::mpsc;

use crate::Database;

/// Runs a query; the chunks that came, and how it ended.
pub(crate) async fn rank(
    origin: &Origin,
    query: &str,
) -> (Vec<Vec<SourceRow>>, Result<Gathered, OriginError>) {
    rank_by(origin, query, &Rules::default()).await
}

/// The same, by these rules.
pub(crate) async fn rank_by(
    origin: &Origin,
    query: &str,
    rules: &Rules,
) -> (Vec<Vec<SourceRow>>, Result<Gathered, OriginError>) {
    let (sink, mut source) = mpsc::channel(1);
    let mut chunks = Vec::new();
    let (result, ()) = tokio::join!(origin.rank(&Unlimited, query, rules, sink), async {
        while let Some(chunk) = source.recv().await {
            chunks.push(chunk);
        }
    });
    (chunks, result)
}

#[tokio::test]
async fn rows_come_in_order_in_chunks_with_their_columns_as_text() {
    let database = Database::new();
    let (chunks, rows) = rank(
        &database.origin(),
        "SELECT i AS key, (3000 - i) / 2.0 AS priority, date '2024-01-01' + i AS d, NULL::text AS n, '{\"a\": 1}'::json AS j
         FROM generate_series(1, 2500) i ORDER BY i",
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
        ["key", "priority", "d", "n", "j"].map(str::to_owned)
    );
    assert_eq!(
        (first.key(), first.get("d"), first.get("n"), first.get("j")),
        ("1", Some("2024-01-02"), None, Some("{\"a\": 1}"))
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
async fn priorities_are_any_kind_of_number_and_may_be_missing() {
    let database = Database::new();
    let query = "SELECT * FROM (VALUES (1, 1.5::numeric), (2, NULL)) v (key, priority)";
    let (chunks, _) = rank(&database.origin(), query).await;
    assert_eq!(chunks[0][0].priority, Priority::from_milli(1500));
    assert_eq!(chunks[0][1].priority, Priority::ONE);
    for (priority, milli) in [
        ("7::int2", 7000),
        ("7::int8", 7000),
        ("0.25::float4", 250),
        ("1e3::float8", 1_000_000),
    ] {
        let (chunks, _) = rank(
            &database.origin(),
            &format!("SELECT 'k' AS key, {priority} AS priority"),
        )
        .await;
        assert_eq!(
            chunks[0][0].priority,
            Priority::from_milli(milli),
            "{priority}"
        );
    }
    let (chunks, rows) = rank(&database.origin(), "SELECT 'k' AS key").await;
    assert_eq!(
        (chunks[0][0].priority, rows.unwrap().rows),
        (Priority::ONE, 1)
    );
}

#[tokio::test]
async fn rows_that_cannot_be_used_are_named_by_their_number() {
    let database = Database::new();
    for (query, said) in [
        (
            "SELECT 1 AS id, 2 AS n",
            "there is no column \"key\" among id, n: name one so, in SQL with AS key, or say which columns make it",
        ),
        (
            "SELECT * FROM (VALUES (1), (NULL)) v (key)",
            "row 2: the key is empty or NULL",
        ),
        (
            "SELECT * FROM (VALUES (1, 1), (2, -1)) v (key, priority)",
            "row 2: the priority \"-1\" is not a number from 0 to 1000000000000; correct it, or let bad lines be skipped",
        ),
        (
            "SELECT 1 AS key, 'NaN'::float8 AS priority",
            "row 1: the priority \"NaN\" is not a number",
        ),
        (
            "SELECT 1 AS key, 'many' AS priority",
            "row 1: the priority \"many\" is not a number",
        ),
        ("SELECT 1 AS key, 2 AS key", "two columns \"key\""),
        (
            "SELECT 1 AS key, '(1,2)'::point AS p",
            "the column \"p\" has the type POINT",
        ),
        ("SELECT $1::int AS key", "takes no parameters"),
        (
            "SELECT key FROM missing",
            "relation \"missing\" does not exist",
        ),
    ] {
        let (_, result) = rank(&database.origin(), query).await;
        let error = result.unwrap_err();
        assert!(matches!(error, OriginError::Permanent { .. }), "{error:?}");
        assert!(
            error.explain().contains(said),
            "{query}: {}",
            error.explain()
        );
    }
}

#[tokio::test]
async fn a_source_is_read_no_faster_than_its_rows_are_taken() {
    let database = Database::new();
    let origin = database.origin();
    let (sink, mut source) = mpsc::channel(1);
    let query = "SELECT i AS key FROM generate_series(1, 200000) i";
    let rules = Rules::default();
    let rank = origin.rank(&Unlimited, query, &rules, sink);
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

/// Rules that skip bad rows, with this template.
pub(crate) fn skipping(template: &str) -> Rules {
    Rules {
        on_bad_line: OnBadLine::Skip,
        template: Some(("items".parse().unwrap(), Template::parse(template).unwrap())),
        ..Rules::default()
    }
}

#[tokio::test]
async fn rows_that_cannot_be_used_are_left_out_and_counted_where_the_rules_say_so() {
    let database = Database::new();
    let query = "SELECT * FROM (VALUES
          (1, '1', 1.5::float8, 'eu'), (2, NULL, 1, 'eu'), (3, '', 1, 'eu'), (4, '4', -1, 'eu'),
          (5, '5', 'NaN', 'eu'), (6, '6', 'Infinity', 'eu'), (7, '7', 1e13, 'eu'), (8, '8', 1, NULL), (9, '9', NULL, 'eu')
        ) v (n, key, priority, region) ORDER BY n";
    let rules = skipping("{region}:{key}");
    let (chunks, gathered) = rank_by(&database.origin(), query, &rules).await;
    let gathered = gathered.unwrap();
    let cache_keys: Vec<&[u8]> = chunks.iter().flatten().map(|r| &r.cache_key[..]).collect();
    assert_eq!(cache_keys, [&b"eu:1"[..], b"eu:9"]);
    assert_eq!((gathered.rows, gathered.bad_lines), (2, 7));
    assert_eq!(
        gathered.examples,
        [
            "row 2: the key is empty or NULL",
            "row 3: the key is empty or NULL",
            "row 4: the priority \"-1\" is not a number from 0 to 1000000000000"
        ]
    );
}

#[tokio::test]
async fn a_column_that_the_template_names_is_missed_before_any_row_is_asked_for() {
    let database = Database::new();
    let origin = database.origin();
    let rules = skipping("{region}:{key}");
    let query = "SELECT 1 AS key, 2 AS country";
    let (chunks, result) = rank_by(&origin, query, &rules).await;
    let said = "the key template of loader items names the column \"region\", which is not among key, country";
    let error = result.unwrap_err().explain();
    assert!(error.contains(said), "{error}");
    assert_eq!((chunks.len(), origin.rows()), (0, 0));
    let sent = database.server.statements("stoke").unwrap();
    let executed = sent.iter().filter(|sent| sent.text.contains("AS country"));
    assert_eq!(executed.count(), 0);
}
