//! Scans: each row that is there all the time is read, once, by statements that one index answers.

use std::collections::BTreeMap;
use std::time::Duration;

use stoke_core::scan::{Range, Scan};
use stoke_worker::catalog::LoaderSpec;
use stoke_worker::origin::{Origin, OriginError, PageRow};
use stoke_worker::permit::{Permit, Unlimited};

use crate::mysql::Shop;
use crate::sqlite::File;
use crate::{Database, Tokens};

const LONG: Duration = Duration::from_secs(30);

/// A loader that scans this query by its column `by`, and makes keys of it.
pub(crate) fn scanning(query: &str, by: &str, rows: u32) -> LoaderSpec {
    LoaderSpec {
        key: format!("item:{{{by}}}").parse().unwrap(),
        scan: Some(Scan {
            by: by.parse().unwrap(),
            rows,
        }),
        ..crate::loader(query)
    }
}

/// The same, by several columns or downwards, with keys of `id`.
fn ordered(query: &str, by: &str, rows: u32) -> LoaderSpec {
    LoaderSpec {
        key: "item:{id}".parse().unwrap(),
        scan: Some(Scan {
            by: by.parse().unwrap(),
            rows,
        }),
        ..crate::loader(query)
    }
}

/// All rows of a range, page by page; `between` is called after each page.
pub(crate) async fn read_range(
    origin: &Origin,
    permit: &dyn Permit,
    loader: &LoaderSpec,
    range: &Range,
    mut between: impl FnMut(),
) -> Result<Vec<PageRow>, OriginError> {
    let rows = loader.scan.as_ref().unwrap().rows;
    let mut range = range.clone();
    let mut all = Vec::new();
    loop {
        let page = origin.page(permit, loader, &range, rows).await?;
        range.after = page.rows.last().map(|row| row.at.clone()).or(range.after);
        all.extend(page.rows);
        if !page.more {
            return Ok(all);
        }
        between();
    }
}

/// The cache key of a row.
pub(crate) fn key(row: &PageRow) -> String {
    String::from_utf8(row.key.as_ref().unwrap().to_vec()).unwrap()
}

/// How often each key comes when all ranges are read; and how many ranges there are.
pub(crate) async fn read_all(
    origin: &Origin,
    loader: &LoaderSpec,
) -> (BTreeMap<String, u32>, usize) {
    let cut = origin.ranges(&Unlimited, loader).await.unwrap();
    let mut keys = BTreeMap::new();
    for range in &cut.ranges {
        let rows = read_range(origin, &Unlimited, loader, range, || {}).await;
        for row in rows.unwrap() {
            assert!(row.made.is_ok(), "{row:?}");
            *keys.entry(key(&row)).or_default() += 1;
        }
    }
    (keys, cut.ranges.len())
}

/// Checks that there are so many keys, each once, these among them; gives how many ranges there were.
async fn has(origin: &Origin, loader: &LoaderSpec, count: usize, some: &[&str]) -> usize {
    let (keys, ranges) = read_all(origin, loader).await;
    assert_eq!(keys.len(), count, "{loader:?}");
    assert!(keys.values().all(|times| *times == 1), "{loader:?}");
    for key in some {
        assert!(keys.contains_key(*key), "{key} of {loader:?}");
    }
    ranges
}

#[tokio::test]
async fn all_rows_of_a_table_in_postgresql_are_read_once_whatever_orders_them() {
    let database = Database::new();
    database.sql(
        "CREATE TABLE gaps (id bigint PRIMARY KEY, name text);
         INSERT INTO gaps SELECT CASE WHEN i % 2 = 0 THEN i * 1000 ELSE -i END, 'n' || i FROM generate_series(1, 10000) i;
         CREATE TABLE texts (sku text PRIMARY KEY);
         INSERT INTO texts SELECT 'ä' || md5(i::text) FROM generate_series(1, 7000) i;
         CREATE TABLE uuids (id uuid PRIMARY KEY);
         INSERT INTO uuids SELECT md5(i::text)::uuid FROM generate_series(1, 7000) i;
         CREATE TABLE days (day date PRIMARY KEY);
         INSERT INTO days SELECT date '2000-01-01' + i FROM generate_series(1, 900) i;
         CREATE TABLE one (id int PRIMARY KEY); INSERT INTO one VALUES (2147483647);
         CREATE TABLE none (id int PRIMARY KEY);
         ANALYZE",
    );
    let origin = database.origin();
    let of = |query: &str, by: &str| scanning(query, by, 500);
    let gaps = of("SELECT * FROM gaps", "id");
    assert!(has(&origin, &gaps, 10_000, &["item:-9999", "item:10000000"]).await >= 20);
    let some = of("SELECT id, name FROM gaps WHERE id < 0; -- some", "id");
    assert!(has(&origin, &some, 5000, &["item:-1", "item:-9999"]).await >= 5);
    assert!(has(&origin, &of("SELECT * FROM texts", "sku"), 7000, &[]).await >= 14);
    assert!(has(&origin, &of("SELECT * FROM uuids", "id"), 7000, &[]).await >= 14);
    assert!(
        has(
            &origin,
            &of("SELECT * FROM days", "day"),
            900,
            &["item:2000-01-02"]
        )
        .await
            >= 2
    );
    assert_eq!(
        has(
            &origin,
            &of("SELECT * FROM one", "id"),
            1,
            &["item:2147483647"]
        )
        .await,
        1
    );
    assert_eq!(
        has(&origin, &of("SELECT * FROM none", "id"), 0, &[]).await,
        1
    );
    let joined = "SELECT a.id, b.name FROM gaps a JOIN gaps b USING (id)";
    has(&origin, &of(joined, "id"), 10_000, &[]).await;
}

#[tokio::test]
async fn all_rows_of_a_table_in_mariadb_are_read_once_whatever_orders_them() {
    let shop = Shop::with(
        "CREATE TABLE gaps (id BIGINT UNSIGNED PRIMARY KEY, name VARCHAR(20));
         INSERT INTO gaps SELECT IF(seq % 2 = 0, seq * 1000, 18446744073709551615 - seq), 'n' FROM seq_1_to_10000;
         CREATE TABLE texts (sku VARCHAR(40) PRIMARY KEY) CHARSET utf8mb4;
         INSERT INTO texts SELECT CONCAT('ä', MD5(seq)) FROM seq_1_to_7000;
         CREATE TABLE bins (id BINARY(16) PRIMARY KEY);
         INSERT INTO bins SELECT UNHEX(MD5(seq)) FROM seq_1_to_7000;
         CREATE TABLE one (id INT PRIMARY KEY); INSERT INTO one VALUES (-7);
         CREATE TABLE none (id INT PRIMARY KEY);
         ANALYZE TABLE gaps, texts, bins",
    );
    let origin = shop.origin();
    let of = |query: &str, by: &str| scanning(query, by, 500);
    has(
        &origin,
        &of("SELECT * FROM gaps", "id"),
        10_000,
        &["item:18446744073709551614"],
    )
    .await;
    let some = of(
        "SELECT id, name FROM gaps WHERE id < 1000000000; # some",
        "ID",
    );
    let some = LoaderSpec {
        key: "item:{id}".parse().unwrap(),
        ..some
    };
    has(&origin, &some, 5000, &["item:2000", "item:10000000"]).await;
    assert!(has(&origin, &of("SELECT * FROM texts", "sku"), 7000, &[]).await >= 10);
    assert!(has(&origin, &of("SELECT * FROM bins", "id"), 7000, &[]).await >= 10);
    assert_eq!(
        has(&origin, &of("SELECT * FROM one", "id"), 1, &["item:-7"]).await,
        1
    );
    assert_eq!(
        has(&origin, &of("SELECT * FROM none", "id"), 0, &[]).await,
        1
    );
}

#[tokio::test]
async fn all_rows_of_a_table_in_sqlite_are_read_once_whatever_orders_them() {
    let file = File::new(
        "CREATE TABLE gaps (id INTEGER PRIMARY KEY, name TEXT);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
           INSERT INTO gaps SELECT CASE WHEN i % 2 = 0 THEN i * 1000 ELSE -i END, 'n' || i FROM n;
         CREATE TABLE texts (sku TEXT PRIMARY KEY);
         INSERT INTO texts SELECT id FROM gaps;
         CREATE TABLE loose (id, UNIQUE (id));
         INSERT INTO loose SELECT id FROM gaps WHERE id > 0; INSERT INTO loose SELECT 't' || id FROM gaps WHERE id < 0;
         INSERT INTO loose VALUES (7.5), (-7.25);
         CREATE TABLE one (id INTEGER PRIMARY KEY); INSERT INTO one VALUES (7);
         CREATE TABLE none (id INTEGER PRIMARY KEY);",
    )
    .await;
    let origin = file.origin(LONG);
    let of = |query: &str, by: &str| scanning(query, by, 500);
    assert!(
        has(
            &origin,
            &of("SELECT * FROM gaps", "id"),
            10_000,
            &["item:-9999"]
        )
        .await
            >= 20
    );
    let some = of("SELECT * FROM gaps WHERE id < 0 -- some", "ID");
    let some = LoaderSpec {
        key: "item:{id}".parse().unwrap(),
        ..some
    };
    has(&origin, &some, 5000, &["item:-1"]).await;
    assert!(
        has(
            &origin,
            &of("SELECT * FROM texts", "sku"),
            10_000,
            &["item:-1"]
        )
        .await
            >= 20
    );
    has(
        &origin,
        &of("SELECT * FROM loose", "id"),
        10_002,
        &["item:t-1", "item:7.5"],
    )
    .await;
    assert_eq!(
        has(&origin, &of("SELECT * FROM one", "id"), 1, &["item:7"]).await,
        1
    );
    assert_eq!(
        has(&origin, &of("SELECT * FROM none", "id"), 0, &[]).await,
        1
    );
}

/// The ids of all rows, in the order in which the scan's ranges have them; and how many ranges there are.
async fn ids_in_order(origin: &Origin, loader: &LoaderSpec) -> (Vec<u64>, usize) {
    let cut = origin.ranges(&Unlimited, loader).await.unwrap();
    let mut ids = Vec::new();
    for range in &cut.ranges {
        let rows = read_range(origin, &Unlimited, loader, range, || {}).await;
        let id = |row: &PageRow| key(row).trim_start_matches("item:").parse::<u64>().unwrap();
        ids.extend(rows.unwrap().iter().map(id));
    }
    (ids, cut.ranges.len())
}

/// How often the item of this id was viewed: of most, as of most things, never.
fn views_sql(id: &str, division: &str) -> String {
    format!("CASE WHEN {id} % 97 = 0 THEN {id} ELSE {id} % 4 {division} 3 END")
}

fn views(id: u64) -> u64 {
    if id.is_multiple_of(97) {
        id
    } else {
        id % 4 / 3
    }
}

/// Checks that scans give the 10,000 items that have views once each, in their orders, though pages end where many have equally many.
async fn assert_most_viewed_come_first(origin: &Origin, ranges_min: usize) {
    type ByKey = fn(&u64) -> (u64, u64, u64);
    let rising: ByKey = |id| (0, views(*id), *id);
    let by_id: ByKey = |id| (0, 0, *id);
    let by_kind: ByKey = |id| (id % 3, views(*id), *id);
    let with_views = "SELECT * FROM items WHERE views IS NOT NULL";
    for (query, by, key_of, descending) in [
        ("SELECT * FROM items", "views DESC, id DESC", rising, true),
        ("SELECT * FROM items", "views, id", rising, false),
        (with_views, "id DESC", by_id, true),
        ("SELECT * FROM items", "kind, views, id", by_kind, false),
    ] {
        let mut expected: Vec<u64> = (1..=10_000).collect();
        expected.sort_by_key(key_of);
        if descending {
            expected.reverse();
        }
        let (ids, ranges) = ids_in_order(origin, &ordered(query, by, 300)).await;
        assert_eq!(ids.len(), expected.len(), "{by}");
        let differs = ids
            .iter()
            .zip(&expected)
            .position(|(id, other)| id != other);
        assert_eq!(differs, None, "{by}");
        assert!(ranges >= ranges_min, "{by}: {ranges}");
    }
}

#[tokio::test]
async fn the_most_viewed_come_first_in_postgresql_and_each_page_is_a_piece_of_the_index() {
    let database = Database::new();
    let views = views_sql("id", "/");
    database.sql(&format!(
        "CREATE TABLE items (id bigint PRIMARY KEY, views int, kind text COLLATE \"C\");
         INSERT INTO items SELECT id, {views}, 'k' || id % 3 FROM generate_series(1, 10000) id;
         INSERT INTO items VALUES (20000, NULL, 'k0');
         CREATE INDEX by_views ON items (views, id); ANALYZE",
    ));
    let origin = database.origin();
    assert_most_viewed_come_first(&origin, 30).await;
    let sent = database.server.statements("stoke").unwrap();
    let mut pages = sent.iter().map(|statement| statement.text.as_str());
    let page = pages.find(|text| text.contains("LIMIT 301") && text.contains("$4"));
    let page = page.unwrap();
    let plan = database.sql(&format!(
        "PREPARE page AS {page}; SET plan_cache_mode = force_generic_plan; EXPLAIN EXECUTE page(1, 9000, 0, 100)"
    ));
    let condition =
        "Index Cond: ((ROW(views, id) < ROW($1, $2)) AND (ROW(views, id) >= ROW($3, $4))";
    assert!(
        plan.contains("Index Scan Backward using by_views") && plan.contains(condition),
        "{plan}"
    );
    assert!(!plan.contains("Sort"), "{plan}");
}

#[tokio::test]
async fn the_most_viewed_come_first_in_mariadb_and_each_page_is_a_piece_of_the_index() {
    let views = views_sql("seq", "DIV");
    let shop = Shop::with(&format!(
        "CREATE TABLE items (id BIGINT PRIMARY KEY, views INT, kind VARCHAR(9) CHARSET utf8mb4, KEY by_views (views));
         INSERT INTO items SELECT seq, {views}, CONCAT('k', seq % 3) FROM seq_1_to_10000;
         INSERT INTO items VALUES (20000, NULL, 'k0');
         ANALYZE TABLE items",
    ));
    assert_most_viewed_come_first(&shop.origin(), 20).await;
    // As many rows are touched as are read, in the middle of those with equally many views.
    let touched = shop.sql(
        "FLUSH STATUS; SELECT COUNT(*) FROM (SELECT stoke_rows.* FROM (SELECT * FROM items\n) AS stoke_rows WHERE \
         (stoke_rows.`views` < 0 OR (stoke_rows.`views` = 0 AND stoke_rows.`id` < 5000)) AND stoke_rows.`id` IS NOT NULL \
         ORDER BY stoke_rows.`views` DESC, stoke_rows.`id` DESC LIMIT 301) AS page; \
         SHOW SESSION STATUS LIKE 'Handler_read_prev'",
    );
    assert!(touched.contains("Handler_read_prev\t300"), "{touched}");
}

#[tokio::test]
async fn the_most_viewed_come_first_in_sqlite_and_each_page_is_a_piece_of_the_index() {
    let views = views_sql("id", "/");
    let file = File::new(format!(
        "CREATE TABLE items (id INTEGER, views INTEGER, kind TEXT);
         WITH RECURSIVE n (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 10000)
           INSERT INTO items SELECT id, {views}, 'k' || (id % 3) FROM n;
         INSERT INTO items VALUES (20000, NULL, 'k0');
         CREATE UNIQUE INDEX by_views ON items (views, id);",
    ))
    .await;
    assert_most_viewed_come_first(&file.origin(LONG), 30).await;
    let plan = file
        .explained(
            "SELECT stoke_rows.* FROM (SELECT * FROM items) AS stoke_rows WHERE (stoke_rows.\"views\", stoke_rows.\"id\") < (1, 2) \
             AND (stoke_rows.\"views\", stoke_rows.\"id\") >= (0, 7) AND stoke_rows.\"id\" IS NOT NULL \
             ORDER BY stoke_rows.\"views\" DESC, stoke_rows.\"id\" DESC LIMIT 301",
        )
        .await;
    assert!(
        plan.contains("USING INDEX by_views ((views,id)>(?,?) AND (views,id)<(?,?))"),
        "{plan}"
    );
    assert!(!plan.contains("TEMP B-TREE"), "{plan}");
}

/// Checks that all of 3,000 rows of `seen` come once, from the last number on, whichever of these columns orders them.
async fn assert_last_come_first(origin: &Origin, columns: &[&str]) {
    let expected: Vec<u64> = (1..=3000).rev().collect();
    for column in columns {
        let by = format!("{column} DESC, id DESC");
        let (ids, ranges) = ids_in_order(origin, &ordered("SELECT * FROM seen", &by, 100)).await;
        assert!(
            ids == expected && ranges > 10,
            "{by}: {} in {ranges}",
            ids.len()
        );
    }
}

#[tokio::test]
async fn times_and_fractions_order_scans() {
    let database = Database::new();
    // Three have the same each. The times have microseconds, the numbers more digits than a text has that is not exact.
    database.sql(
        "SET TIME ZONE 'UTC';
         CREATE TABLE seen (id bigint, at timestamptz, local timestamp, day date, single real, exact double precision);
         INSERT INTO seen SELECT i, '1999-12-31 23:59:59.999'::timestamptz + (i / 3) * interval '1.000001 s',
           '1999-12-31 23:59:59.999'::timestamp + (i / 3) * interval '11 days 0.1 s', '1999-12-01'::date + i / 3,
           (i / 3) / 7::real - 100, (i / 3) / 7::float8 - 100 FROM generate_series(1, 3000) i;
         CREATE INDEX ON seen (at, id); ANALYZE",
    );
    let columns = ["at", "local", "day", "single", "exact"];
    assert_last_come_first(&database.origin(), &columns).await;
    let shop = Shop::with(
        "SET time_zone = '+00:00';
         CREATE TABLE seen (id BIGINT, at TIMESTAMP(6), local DATETIME(3), day DATE, single FLOAT, exact DOUBLE, price DECIMAL(12,4));
         INSERT INTO seen SELECT seq, '1999-12-31 23:59:59.999' + INTERVAL (seq DIV 3 * 1000001) MICROSECOND,
           '1999-12-31 23:59:59.999' + INTERVAL (seq DIV 3 * 1001) SECOND, '1999-12-01' + INTERVAL (seq DIV 3) DAY,
           (seq DIV 3) / 7e0 - 100, (seq DIV 3) / 7e0 - 100, (seq DIV 3) / 7 - 100 FROM seq_1_to_3000;
         ANALYZE TABLE seen",
    );
    let columns = ["at", "local", "day", "single", "exact", "price"];
    assert_last_come_first(&shop.origin(), &columns).await;
    let file = File::new(
        "CREATE TABLE seen (id INTEGER, at TEXT, exact REAL);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
           INSERT INTO seen SELECT i, strftime('%FT%T', '1999-12-31', '+' || (i / 3) || ' minutes'), (i / 3) / 7.0 - 100 FROM n;",
    )
    .await;
    assert_last_come_first(&file.origin(LONG), &["at", "exact"]).await;
}

#[tokio::test]
async fn texts_of_any_case_are_places_and_labels_that_sort_by_their_numbers_are_refused() {
    let database = Database::new();
    database.sql(
        "CREATE EXTENSION citext; CREATE TABLE names (id bigint, name citext UNIQUE, code char(6));
         INSERT INTO names SELECT i, chr(196) || CASE WHEN i % 2 = 0 THEN 'b' ELSE 'B' END || i || chr(931), 'c' || i % 9 FROM generate_series(1, 900) i; ANALYZE",
    );
    let origin = database.origin();
    for by in ["name", "name DESC", "code, id"] {
        let (ids, ranges) = ids_in_order(&origin, &ordered("SELECT * FROM names", by, 50)).await;
        let distinct: std::collections::BTreeSet<u64> = ids.iter().copied().collect();
        assert_eq!((ids.len(), distinct.len()), (900, 900), "{by} in {ranges}");
    }
    let shop = Shop::with(
        "CREATE TABLE orders (id BIGINT PRIMARY KEY, status ENUM('open', 'closed', 'archived'), name VARCHAR(20));
         INSERT INTO orders SELECT seq, seq % 3 + 1, CONCAT(IF(seq % 2, 'ann', 'ANN'), seq) FROM seq_1_to_900; ANALYZE TABLE orders",
    );
    let origin = shop.origin();
    let by_status = ordered("SELECT * FROM orders", "status, id", 50);
    let error = origin.ranges(&Unlimited, &by_status).await.unwrap_err();
    let error = error.explain();
    assert!(
        error.contains("scans by columns of the type ENUM"),
        "{error}"
    );
    let by_name = ordered("SELECT * FROM orders", "name DESC, id DESC", 50);
    assert_eq!(ids_in_order(&origin, &by_name).await.0.len(), 900);
}

#[tokio::test]
async fn rows_that_are_there_all_the_time_are_read_though_others_come_and_go() {
    let database = Database::new();
    database.sql(
        "CREATE TABLE t (id bigint PRIMARY KEY);
         INSERT INTO t SELECT i * 10 FROM generate_series(1, 3000) i; ANALYZE",
    );
    let origin = database.origin();
    let loader = scanning("SELECT id FROM t", "id", 100);
    let cut = origin.ranges(&Unlimited, &loader).await.unwrap();
    assert!(cut.ranges.len() > 10);
    // What is outside of what there was when it was cut.
    database.sql("INSERT INTO t VALUES (-5), (1000000)");
    let mut turn = 0;
    let mut found = BTreeMap::new();
    for range in &cut.ranges {
        let change = || {
            turn += 1;
            // Those ending in 00 stay; of the others, some go and some come, on both sides of where it reads.
            database.sql(&format!(
                "DELETE FROM t WHERE id % 100 <> 0 AND id % 7 = {turn} % 7 AND id BETWEEN 1 AND 30000;
                 INSERT INTO t SELECT i * 10 + 1 + {turn} FROM generate_series(1, 3000, 100) i ON CONFLICT DO NOTHING"
            ));
        };
        let rows = read_range(&origin, &Unlimited, &loader, range, change).await;
        for row in rows.unwrap() {
            *found.entry(key(&row)).or_insert(0) += 1;
        }
    }
    for id in (100..=30_000).step_by(100).chain([1_000_000]) {
        assert_eq!(found.get(&format!("item:{id}")), Some(&1), "{id}");
    }
    assert_eq!(found.get("item:-5"), Some(&1));
    assert!(found.values().all(|times| *times == 1));
}

#[tokio::test]
async fn a_page_is_answered_by_the_index_and_a_scan_takes_few_statements() {
    let database = Database::new();
    database.sql(
        "CREATE TABLE t (id bigint PRIMARY KEY, active boolean NOT NULL, body text);
         INSERT INTO t SELECT i, i % 10 > 0, repeat('x', 50) FROM generate_series(1, 50000) i; ANALYZE",
    );
    let origin = database.origin();
    let loader = scanning("SELECT id, body FROM t WHERE active", "id", 2000);
    let tokens = Tokens::default();
    let cut = origin.ranges(&tokens, &loader).await.unwrap();
    assert!((40_000..=50_000).contains(&cut.rows_estimated.unwrap()));
    let planning = tokens.taken();
    let mut rows = 0;
    for range in &cut.ranges {
        let read = read_range(&origin, &tokens, &loader, range, || {}).await;
        rows += read.unwrap().len();
    }
    assert_eq!(rows, 45_000);
    let sent = database.server.statements("stoke").unwrap();
    let of_this = |text: &str| text.contains("FROM t WHERE active") && !text.contains("EXPLAIN");
    let pages: Vec<String> = sent
        .iter()
        .map(|statement| statement.text.clone())
        .filter(|text| of_this(text) && text.contains("LIMIT 2001"))
        .collect();
    assert!(
        pages.len() <= 40,
        "{} pages of {} ranges",
        pages.len(),
        cut.ranges.len()
    );
    assert!(sent.iter().filter(|s| of_this(&s.text)).count() <= 45);
    // With what preparing takes: once an origin for each of three forms of the statement.
    assert!(
        planning <= 20 && tokens.taken() <= 80,
        "{planning} {}",
        tokens.taken()
    );
    let inner = pages.iter().find(|text| text.contains("<= $2")).unwrap();
    let plan = database.sql(&format!(
        "PREPARE page AS {inner}; EXPLAIN EXECUTE page(1000, 9000)"
    ));
    assert!(plan.contains("Index Scan using t_pkey"), "{plan}");
    assert!(!plan.contains("Sort"), "{plan}");
}

#[tokio::test]
async fn mariadb_and_sqlite_answer_a_page_by_the_index_too() {
    let page = |quote: &str| {
        format!(
            "SELECT stoke_rows.* FROM (SELECT id, body FROM t WHERE active\n) AS stoke_rows WHERE stoke_rows.{quote}id{quote} > 1000 \
             AND stoke_rows.{quote}id{quote} <= 9000 ORDER BY stoke_rows.{quote}id{quote} LIMIT 2001"
        )
    };
    let shop = Shop::with(
        "CREATE TABLE t (id BIGINT PRIMARY KEY, active BOOL NOT NULL, body TEXT);
         INSERT INTO t SELECT seq, seq % 10 > 0, REPEAT('x', 50) FROM seq_1_to_50000; ANALYZE TABLE t",
    );
    let plan = shop.sql(&format!("EXPLAIN {}", page("`")));
    assert!(plan.contains("range\tPRIMARY\tPRIMARY"), "{plan}");
    assert!(
        !plan.contains("filesort") && !plan.contains("derived"),
        "{plan}"
    );
    let loader = scanning("SELECT id, body FROM t WHERE active", "id", 2000);
    let origin = shop.origin();
    let cut = origin.ranges(&Unlimited, &loader).await.unwrap();
    // Half of them or twice as many would do.
    assert!(
        (22_000..=100_000).contains(&cut.rows_estimated.unwrap()),
        "{cut:?}"
    );
    has(&origin, &loader, 45_000, &[]).await;
    let file =
        File::new("CREATE TABLE t (id INTEGER PRIMARY KEY, active INTEGER, body TEXT)").await;
    let plan = file.explained(&page("\"")).await;
    assert!(
        plan.contains("SEARCH t USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"),
        "{plan}"
    );
    assert!(!plan.contains("TEMP B-TREE"), "{plan}");
}

#[tokio::test]
async fn what_cannot_be_scanned_is_refused_with_what_to_do() {
    let database = Database::new();
    database.sql(
        "CREATE TABLE t (id int PRIMARY KEY, kind text, took interval, mail text);
         INSERT INTO t SELECT i, 'same', '1 s', NULL FROM generate_series(1, 10) i",
    );
    let origin = database.origin();
    let refused = async |loader: &LoaderSpec| {
        let whole = Range::default();
        let rows = read_range(&origin, &Unlimited, loader, &whole, || {}).await;
        rows.unwrap_err().explain()
    };
    for (query, by, says) in [
        (
            "SELECT id, kind FROM t",
            "kind",
            "two rows have the same \"kind\"",
        ),
        ("SELECT kind FROM t", "id", "does not exist"),
        (
            "SELECT id FROM t WHERE id IN (:keys)",
            "id",
            ":keys at 1:31 asks for keys",
        ),
        (
            "SELECT id FROM t; SELECT 1",
            "id",
            "more than one statement",
        ),
        (
            "SELECT id, took FROM t",
            "took",
            "scans by columns of the type INTERVAL are not supported",
        ),
        (
            "SELECT id, kind FROM t",
            "kind DESC, nothing DESC",
            "column stoke_rows.nothing does not exist",
        ),
        (
            "SELECT id / 5 AS id, kind FROM t",
            "kind, id",
            "two rows have the same \"kind\", \"id\" (\"[\"same\",\"0\"]\")",
        ),
    ] {
        let loader = ordered(query, by, 4);
        let error = refused(&loader).await;
        assert!(error.contains(says), "{query}: {error}");
    }
    // As where a loader's order has changed since its job was planned.
    let by_two = ordered("SELECT id, kind FROM t", "kind, id", 4);
    let planned = Range {
        after: Some("7".into()),
        until: None,
    };
    let by_kind = ordered("SELECT id, kind FROM t", "kind", 4);
    let by_id = ordered("SELECT id, kind FROM t", "id", 4);
    let of_kinds = Range {
        after: None,
        until: Some("same".into()),
    };
    let error = read_range(&origin, &Unlimited, &by_id, &of_kinds, || {}).await;
    let error = error.unwrap_err().explain();
    assert!(error.contains("\"same\" is not a number"), "{error}");
    assert!(
        read_range(&origin, &Unlimited, &by_kind, &of_kinds, || {})
            .await
            .is_err()
    );
    let error = read_range(&origin, &Unlimited, &by_two, &planned, || {}).await;
    let error = error.unwrap_err().explain();
    assert!(error.contains("not in the order kind, id"), "{error}");
    let other_key = LoaderSpec {
        key: "item:{sku}".parse().unwrap(),
        ..scanning("SELECT id, mail FROM t", "id", 4)
    };
    let error = refused(&other_key).await;
    assert!(
        error.contains("names the column \"sku\", but the query gives id, mail"),
        "{error}"
    );
    assert!(origin.prepare(&Unlimited, &other_key).await.is_err());
    // A fault of one row is that row's.
    let null_key = LoaderSpec {
        key: "item:{mail}".parse().unwrap(),
        ..other_key
    };
    let rows = read_range(&origin, &Unlimited, &null_key, &Range::default(), || {}).await;
    let rows = rows.unwrap();
    assert_eq!(rows.len(), 10);
    assert!(
        rows[0].key.as_ref().unwrap_err().contains("\"mail\""),
        "{:?}",
        rows[0]
    );
}
