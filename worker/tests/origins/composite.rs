//! Keys of several parts: each row answers the key whose parts it has, by the index, in every database.

use std::time::Duration;

use stoke_core::value::Versions;
use stoke_worker::catalog::TlsFiles;
use stoke_worker::origin::rewrite::{Dialect, rewrite};
use stoke_worker::origin::{Answer, Origin};
use stoke_worker::permit::Unlimited;
use stoke_worker::source::{Rules, SourceRow};
use tokio::sync::mpsc;

use crate::mysql::Shop;
use crate::sqlite::File;
use crate::{Database, Tokens, keys, loader, reason, row};

const LONG: Duration = Duration::from_secs(30);
const PAIRS: &str =
    "SELECT name FROM (SELECT tenant_id, id, name FROM t) AS x WHERE (tenant_id, id) IN (:keys)";
const TABLE: &str = "CREATE TABLE t (tenant_id int NOT NULL, id bigint NOT NULL, name varchar(20), note varchar(20), PRIMARY KEY (tenant_id, id));
    INSERT INTO t VALUES (1, 1, 'a', NULL), (1, 2, 'b', NULL), (2, 1, 'c', NULL), (2, 2, 'd', NULL), (-3, 9, 'e', 'n');";

/// All databases, with the table that is the same in each.
async fn origins() -> Vec<Origin> {
    let database = Database::new();
    database.sql(TABLE);
    let shop = Shop::with(TABLE);
    // The file is open as long as its origin is used; the folder may go.
    let file = File::new(TABLE).await;
    let sqlite = file.origin(LONG);
    std::mem::forget(file);
    vec![database.origin(), shop.origin(), sqlite]
}

#[tokio::test]
async fn rows_answer_the_keys_whose_parts_they_have_and_a_key_with_other_parts_fails_alone() {
    let select = "SELECT tenant_id, id, name FROM t WHERE (t.tenant_id, t.id) IN (:keys)";
    for origin in origins().await {
        let mut loader = loader(select);
        for batch_keys in [1, 2, 3, 500] {
            loader.batch_keys = u32::into(batch_keys);
            origin.prepare(&Unlimited, &loader).await.unwrap();
            let asked = keys(&[
                r#"["1","2"]"#,
                r#"["2","3"]"#,
                r#"["1"]"#,
                r#"["002","01"]"#,
                "7",
                r#"["2", null]"#,
                r#"[2,1]"#,
                r#"["-3","9"]"#,
                r#"["1","2"]"#,
            ]);
            let loaded = origin.load(&Unlimited, &loader, &asked).await.unwrap();
            let is = |tenant, id, name| {
                row(&format!(
                    "{{\"tenant_id\":{tenant},\"id\":{id},\"name\":\"{name}\"}}"
                ))
            };
            let answers = &loaded.answers;
            // (1, 2) and (2, 1) are there, and were asked for; (1, 1) and (2, 2) are there, and were not.
            assert_eq!(answers[0], is(1, 2, 'b'));
            assert_eq!(answers[1], Answer::Absent);
            assert!(
                reason(&answers[2]).contains("has 1 parts instead of 2"),
                "{answers:?}"
            );
            assert_eq!(answers[3], is(2, 1, 'c'));
            assert!(
                reason(&answers[4]).contains("no JSON array of 2 strings"),
                "{answers:?}"
            );
            assert!(reason(&answers[5]).contains("NULL"), "{answers:?}");
            assert_eq!(answers[6], is(2, 1, 'c'));
            assert_eq!(answers[7], is(-3, 9, 'e'));
            assert_eq!(answers[8], answers[0]);
            assert_eq!(loaded.unasked, 0);
            // SQLite knows by the row only that 002 is 2 here.
            assert!((3..=4).contains(&loaded.rows), "{loaded:?}");
        }
    }
}

#[tokio::test]
async fn parts_have_types_of_their_own() {
    let database = Database::new();
    database.sql(
        "CREATE EXTENSION citext; CREATE TYPE mood AS ENUM ('sad', 'ok');
         CREATE TABLE u (a uuid, b mood, c citext, d char(5), e date, f numeric, g varchar(9) COLLATE \"C\", PRIMARY KEY (a, b, c, d, e, f, g));
         INSERT INTO u VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'sad', 'AbC', 'x', '2024-02-29', 7.50, 'g')",
    );
    let origin = database.origin();
    let loader = loader("SELECT * FROM u WHERE (a, b, c, d, e, f, g) IN (:keys)");
    let asked = keys(&[
        r#"["A0EEBC999C0B4EF8BB6D6BB9BD380A11","sad","aBc","x  ","2024-02-29","007.5","g"]"#,
        r#"["A0EEBC999C0B4EF8BB6D6BB9BD380A11","sad","aBc","x","2023-02-29","7.5","g"]"#,
        r#"["A0EEBC999C0B4EF8BB6D6BB9BD380A11","glad","aBc","x","2024-02-29","7.5","g"]"#,
        r#"["A0EEBC999C0B4EF8BB6D6BB9BD380A11","ok","aBc","x","2024-02-29","7.5","g"]"#,
    ]);
    let loaded = origin.load(&Unlimited, &loader, &asked).await.unwrap();
    assert!(
        matches!(loaded.answers[0], Answer::Row(_)),
        "{:?}",
        loaded.answers
    );
    assert!(reason(&loaded.answers[1]).contains("is not a date"));
    assert!(reason(&loaded.answers[2]).contains("enum's labels"));
    assert_eq!(loaded.answers[3], Answer::Absent);

    let shop = Shop::with(
        "CREATE TABLE u (a char(5), b decimal(9, 3), c date, d varchar(9), PRIMARY KEY (a, b, c, d)) CHARSET latin1;
         INSERT INTO u VALUES ('x', 7.5, '2024-02-29', 'é')",
    );
    let origin = shop.origin();
    let mut loader = crate::loader("SELECT * FROM u WHERE (a, b, c, d) IN (:keys)");
    loader.batch_keys = 4.into();
    let asked = keys(&[
        r#"["x ","007.5","2024-02-29","é"]"#,
        r#"["x","7.5","2024-02-29","😀"]"#,
        r#"["x","seven","2024-02-29","é"]"#,
        r#"["x","7.5","2024-02-28","é"]"#,
    ]);
    let loaded = origin.load(&Unlimited, &loader, &asked).await.unwrap();
    assert!(
        matches!(loaded.answers[0], Answer::Row(_)),
        "{:?}",
        loaded.answers
    );
    // Its batch was refused for it, and asked again without it.
    assert!(reason(&loaded.answers[1]).contains("character set"));
    assert!(reason(&loaded.answers[2]).contains("is not a decimal number"));
    assert_eq!(loaded.answers[3], Answer::Absent);
}

#[tokio::test]
async fn the_columns_of_the_answer_can_be_named_and_are_those_of_the_row() {
    for origin in origins().await {
        let mut loader = loader(
            "SELECT tenant_id AS tenant, id AS item, name FROM t WHERE (tenant_id, id) IN (:keys)",
        );
        let asked = keys(&[r#"["1","2"]"#, r#"["9","9"]"#]);
        let error = origin.prepare(&Unlimited, &loader).await.unwrap_err();
        assert!(
            error.explain().contains("no column \"tenant_id\""),
            "{}",
            error.explain()
        );
        loader.key_column = ["tenant"].into_iter().collect();
        let error = origin.prepare(&Unlimited, &loader).await.unwrap_err();
        assert!(
            error
                .explain()
                .contains("key-column names 1 columns, but keys have 2 parts"),
            "{}",
            error.explain()
        );
        loader.key_column = ["tenant", "item"].into_iter().collect();
        origin.prepare(&Unlimited, &loader).await.unwrap();
        let loaded = origin.load(&Unlimited, &loader, &asked).await.unwrap();
        let found = row(r#"{"tenant":1,"item":2,"name":"b"}"#);
        assert_eq!(loaded.answers, [found, Answer::Absent]);
        // The key source's columns are those of the query, whatever the rows' are called.
        assert_eq!(origin.key_parts(&loader).unwrap(), ["tenant_id", "id"]);

        // A part that the row has not: nobody can say which key it answers.
        loader.query =
            "SELECT tenant_id AS tenant, NULL AS item FROM t WHERE (tenant_id, id) IN (:keys)"
                .to_owned();
        if let Ok(loaded) = origin.load(&Unlimited, &loader, &asked).await {
            assert_eq!(loaded.unasked, 1);
            assert!(matches!(&loaded.answers[0], Answer::Failed { .. }));
        }
    }
}

#[tokio::test]
async fn versions_are_read_again_by_all_parts() {
    for origin in origins().await {
        let mut loader =
            loader("SELECT tenant_id, id, name FROM t WHERE (tenant_id, id) IN (:keys);");
        loader.value.versions = Some(Versions {
            column: "name".to_owned(),
            origin: None,
        });
        let asked = keys(&[r#"["1","2"]"#, r#"["2","1"]"#, r#"["2","9"]"#]);
        let again = origin.loader_of_versions(&loader).unwrap();
        origin.prepare(&Unlimited, &again).await.unwrap();
        let version = |answer: &Answer| match answer {
            Answer::Row(made) => made.version.clone(),
            _ => None,
        };
        let first = origin.load(&Unlimited, &loader, &asked).await.unwrap();
        let second = origin.load(&Unlimited, &again, &asked).await.unwrap();
        for (one, other) in first.answers.iter().zip(&second.answers).take(2) {
            assert!(version(one).is_some());
            assert_eq!(version(one), version(other));
        }
        assert_eq!(second.answers[2], Answer::Absent);
    }
}

async fn gathered(origin: &Origin, query: &str, rules: &Rules) -> Result<Vec<SourceRow>, String> {
    let (sink, mut source) = mpsc::channel(10);
    let ranked = origin.rank(&Unlimited, query, rules, sink).await;
    ranked.map_err(|error| error.explain())?;
    let mut rows = Vec::new();
    while let Ok(chunk) = source.try_recv() {
        rows.extend(chunk);
    }
    Ok(rows)
}

#[tokio::test]
async fn a_key_source_gives_the_parts_in_columns_of_their_own() {
    for origin in origins().await {
        let of_loader = loader(PAIRS);
        let template = "t:{tenant_id}:{id}:{key}".parse().unwrap();
        let rules = Rules {
            key_parts: origin.key_parts(&of_loader).unwrap(),
            template: Some((of_loader.name.clone(), template)),
            ..Rules::default()
        };
        let query = "SELECT id, tenant_id, 5 AS priority FROM t WHERE id > 1 ORDER BY id";
        let rows = gathered(&origin, query, &rules).await.unwrap();
        let found: Vec<(&str, &[u8])> = rows
            .iter()
            .map(|row| (row.key(), &row.cache_key[..]))
            .collect();
        assert_eq!(
            found[found.len() - 1],
            (r#"["-3","9"]"#, &br#"t:-3:9:["-3","9"]"#[..])
        );
        assert_eq!(rows[0].priority.as_milli(), 5000);

        let lacking = gathered(&origin, "SELECT id FROM t", &rules).await;
        let said = lacking.unwrap_err();
        assert!(
            said.contains("no columns tenant_id, id for the parts of keys among id"),
            "{said}"
        );
        let null = "SELECT tenant_id, NULL AS id FROM t";
        let said = gathered(&origin, null, &rules).await.unwrap_err();
        assert!(
            said.contains("row 1") && said.contains("\"id\", a part of the key, is NULL"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn statements_are_the_tokens_and_lists_have_few_lengths() {
    let database = Database::new();
    database.sql(TABLE);
    let shop = Shop::with(TABLE);
    // PostgreSQL: a connection, two queries of unknown types and columns (4 each), the load. MariaDB: login and SET, a query for one
    // key, a query for a list, the load.
    for (origin, first, second) in [
        (database.origin(), 1 + 4 + 4 + 1, 1),
        (shop.origin(), 2 + 1 + 2, 1),
    ] {
        let loader = loader("SELECT * FROM t WHERE (tenant_id, id) IN (:keys)");
        let tokens = Tokens::default();
        let three = keys(&[r#"["1","1"]"#, r#"["1","2"]"#, r#"["2","1"]"#]);
        let four = keys(&[
            r#"["1","1"]"#,
            r#"["1","2"]"#,
            r#"["2","1"]"#,
            r#"["2","2"]"#,
        ]);
        assert_eq!(
            origin.load(&tokens, &loader, &three).await.unwrap().queries,
            first
        );
        // The list of three was padded to four: the same statement.
        assert_eq!(
            origin.load(&tokens, &loader, &four).await.unwrap().queries,
            second
        );
        assert_eq!(tokens.taken(), first + second);
    }
}

#[tokio::test]
async fn the_index_over_the_parts_is_used() {
    let database = Database::new();
    database.sql(
        "CREATE TABLE t (tenant_id int, id bigint, PRIMARY KEY (tenant_id, id)); INSERT INTO t SELECT i % 100, i FROM generate_series(1, 200000) i; ANALYZE t",
    );
    let origin = database.origin();
    let loader = loader("SELECT tenant_id, id FROM t WHERE (tenant_id, id) IN (:keys)");
    let asked: Vec<String> = (1..=500).map(|i| format!("[{},{i}]", i % 100)).collect();
    for _ in 0..8 {
        let loaded = origin.load(&Unlimited, &loader, &asked).await.unwrap();
        assert_eq!(loaded.rows, 500);
    }
    drop(origin);
    // Making the index has read all of the table once.
    let read = "SELECT pg_stat_force_next_flush(); SELECT seq_scan || ',' || idx_scan || ',' || (seq_scan <= 1 AND idx_scan >= 4000) FROM pg_stat_user_tables WHERE relname = 't'";
    stoke_harness::wait_for("the statistics of the table", LONG, || {
        let read = database.sql(read);
        anyhow::ensure!(read.ends_with("true"), "{read}");
        Ok(())
    })
    .unwrap();

    // A server of its own: what is read of others' tables counts in its status, too.
    let server = stoke_harness::MariaDb::start().unwrap();
    let sql = |sql: &str| server.sql("shop", sql).unwrap();
    sql(
        "CREATE TABLE t (tenant_id int, id bigint, PRIMARY KEY (tenant_id, id)); INSERT INTO t SELECT seq % 100, seq FROM seq_1_to_20000; ANALYZE TABLE t",
    );
    let rows_read = || -> u64 {
        sql("SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'HANDLER_READ_RND_NEXT'")
            .trim()
            .parse()
            .unwrap()
    };
    let origin = crate::mysql::origin(&server.url("shop"), LONG, TlsFiles::default());
    for batch_keys in [100, 500] {
        let mut loader = loader.clone();
        loader.batch_keys = u32::into(batch_keys);
        let before = rows_read();
        let loaded = origin.load(&Unlimited, &loader, &asked).await.unwrap();
        assert_eq!(loaded.rows, 500);
        let read = rows_read() - before;
        assert!(read < 10_000, "{read} rows were read one after the other");
    }

    let sql = rewrite(&loader.query, Dialect::Sqlite).unwrap().sql;
    let file = File::new(TABLE).await;
    let plan = file.explained(&sql).await;
    assert!(
        plan.contains("SEARCH t USING") && plan.contains("(tenant_id=? AND id=?)"),
        "{plan}"
    );
}
