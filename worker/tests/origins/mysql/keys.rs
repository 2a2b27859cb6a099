//! Which rows answer which keys, for every type that keys may have.

use stoke_harness::MariaDb;
use stoke_worker::catalog::TlsFiles;
use stoke_worker::origin::Answer;
use stoke_worker::permit::Unlimited;

use super::Shop;
use crate::{keys, loader, reason, row, string};

#[tokio::test]
async fn answers_come_in_the_order_of_the_keys_and_a_key_that_is_none_fails_alone() {
    let shop = Shop::with(
        "CREATE TABLE t (id BIGINT, name TEXT); INSERT INTO t VALUES (7, 'bond'), (8, NULL), (9, 'x'), (9, 'y'), (12, 'z')",
    );
    let mut loader = loader("SELECT name, id FROM t WHERE id IN (:keys)");
    for batch_keys in [1, 2, 3, 500] {
        loader.batch_keys = u32::into(batch_keys);
        let asked = keys(&["8", "12abc", "007", "5", "7", "9", "9223372036854775808"]);
        let loaded = shop
            .origin()
            .load(&Unlimited, &loader, &asked)
            .await
            .unwrap();
        let bond = row("{\"name\":\"bond\",\"id\":7}");
        assert_eq!(loaded.answers[0], row("{\"name\":null,\"id\":8}"));
        let said = "the key \"12abc\" is not a number from -9223372036854775808";
        assert!(reason(&loaded.answers[1]).starts_with(said));
        assert_eq!(loaded.answers[2..5], [bond.clone(), Answer::Absent, bond]);
        assert!(reason(&loaded.answers[5]).starts_with("two rows for one key"));
        assert!(matches!(loaded.answers[6], Answer::Failed { .. }));
        assert_eq!((loaded.rows, loaded.unasked), (4, 0));
    }
}

#[tokio::test]
async fn keys_of_every_type_find_their_rows() {
    let shop = Shop::new();
    let origin = shop.origin();
    for (ty, stored, asked, bad) in [
        ("TINYINT", "-128", "-128", Some("128")),
        ("BOOL", "1", "1", Some("true")),
        ("SMALLINT UNSIGNED", "65535", "65535", Some("-1")),
        ("INT", "7", "+07", Some("7.0")),
        ("MEDIUMINT", "8388607", "8388607", Some("8388608")),
        ("BIGINT", "9007199254740993", "9007199254740993", Some("x")),
        (
            "BIGINT UNSIGNED",
            "18446744073709551615",
            "18446744073709551615",
            Some("18446744073709551616"),
        ),
        ("BIT(8)", "5", "5", Some("b")),
        ("YEAR", "2024", "2024", Some("24x")),
        ("DECIMAL(20,3)", "7.500", "07.5", Some("seven")),
        (
            "DECIMAL(40,5)",
            "-12345678901234567890.00012",
            "-12345678901234567890.00012",
            Some("1e3"),
        ),
        ("CHAR(5)", "'ab'", "ab ", None),
        ("VARCHAR(20)", "'ä\\'\"\\\\,😀'", "ä'\"\\,😀", None),
        ("VARCHAR(20)", "''", "", None),
        ("VARCHAR(20) CHARACTER SET latin1", "'é'", "é", None),
        ("VARCHAR(20) COLLATE utf8mb4_bin", "'Ab '", "Ab ", None),
        ("TEXT", "'t'", "t", None),
        ("ENUM('new','old')", "'old'", "old", None),
        ("SET('a','b')", "'a,b'", "a,b", None),
        ("VARBINARY(9)", "x'00ff'", "\\x00FF", None),
        ("VARBINARY(9)", "'ab'", "ab", None),
        ("BINARY(2)", "'ab'", "\\x6162", None),
        ("BLOB", "x'00'", "\\x00", None),
        ("DATE", "'2024-02-29'", "2024-02-29", Some("2023-02-29")),
        (
            "UUID",
            "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            None,
        ),
        ("INET6", "'::1'", "::1", None),
    ] {
        let more = if ty == "BIGINT" {
            ", (9007199254740992, 2)"
        } else {
            ""
        };
        shop.sql(&format!(
            "CREATE OR REPLACE TABLE t (id {ty}, x INT); INSERT INTO t VALUES ({stored}, 1){more}"
        ));
        let mut single = loader("SELECT x, id FROM t WHERE id = :key");
        single.key_column = ["ID"].into_iter().collect();
        let asked: Vec<String> = keys(&[asked])
            .into_iter()
            .chain(bad.map(str::to_owned))
            .collect();
        for loader in [loader("SELECT x, id FROM t WHERE id IN (:keys)"), single] {
            // What is known of the query is of the table before.
            origin.prepare(&Unlimited, &loader).await.unwrap();
            let loaded = origin.load(&Unlimited, &loader, &asked).await;
            let answers = loaded
                .unwrap_or_else(|error| panic!("{ty}: {}", error.explain()))
                .answers;
            assert!(
                string(&answers[0]).starts_with(b"{\"x\":1,"),
                "{ty} {}: {answers:?}",
                loader.query
            );
            if bad.is_some() {
                assert!(
                    matches!(answers[1], Answer::Failed { .. }),
                    "{ty}: {answers:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn keys_of_every_type_are_found_by_the_index() {
    const ROWS: u64 = 4_000;
    let server = MariaDb::start().unwrap();
    let origin = super::origin(&server.url("shop"), super::LONG, TlsFiles::default());
    let scanned = || -> u64 {
        let of = "variable_name = 'HANDLER_READ_RND_NEXT'";
        let status =
            format!("SELECT variable_value FROM information_schema.global_status WHERE {of}");
        server.sql("", &status).unwrap().parse().unwrap()
    };
    for (ty, value, asked) in [
        ("INT", "seq", ["7", "8", "9"]),
        (
            "BIGINT UNSIGNED",
            "18446744073709551615 - seq",
            ["18446744073709551608", "18446744073709551607", "1"],
        ),
        ("DECIMAL(20,3)", "seq / 8", ["0.875", "1", "1.125"]),
        ("CHAR(9)", "concat('k', seq)", ["k7", "k8", "k9"]),
        ("VARCHAR(9)", "concat('k', seq)", ["k7", "k8", "k9"]),
        (
            "VARCHAR(9) COLLATE utf8mb4_bin",
            "concat('k', seq)",
            ["k7", "k8", "k9"],
        ),
        (
            "VARCHAR(9) CHARACTER SET utf8mb3",
            "concat('k', seq)",
            ["k7", "k8", "k9"],
        ),
        (
            "VARCHAR(9) CHARACTER SET latin1",
            "concat('é', seq)",
            ["é7", "é8", "é9"],
        ),
        ("VARBINARY(9)", "concat('k', seq)", ["k7", "\\x6b38", "k9"]),
        (
            "DATE",
            "'2000-01-01' + INTERVAL seq DAY",
            ["2000-01-08", "2000-01-09", "2000-01-10"],
        ),
        (
            "UUID",
            "concat('00000000-0000-0000-0000-', lpad(hex(seq), 12, '0'))",
            [
                "00000000-0000-0000-0000-000000000007",
                "00000000-0000-0000-0000-000000000008",
                "00000000-0000-0000-0000-000000000009",
            ],
        ),
        ("INET6", "concat('::', hex(seq))", ["::7", "::8", "::9"]),
    ] {
        let made = format!(
            "CREATE OR REPLACE TABLE t (id {ty}, x INT, KEY (id));
             INSERT INTO t SELECT {value}, seq FROM seq_1_to_{ROWS}; ANALYZE TABLE t"
        );
        server.sql("shop", &made).unwrap();
        let loader = loader("SELECT id, x FROM t WHERE id IN (:keys)");
        origin.prepare(&Unlimited, &loader).await.unwrap();
        let before = scanned();
        let loaded = origin.load(&Unlimited, &loader, &keys(&asked)).await;
        let answers = loaded
            .unwrap_or_else(|e| panic!("{ty}: {}", e.explain()))
            .answers;
        assert!(matches!(answers[0], Answer::Row(_)), "{ty}: {answers:?}");
        // To read the count is itself to scan the table of counts.
        let scanned = scanned() - before;
        assert!(scanned < ROWS / 4, "{ty}: {scanned} rows were scanned");
    }
}

#[tokio::test]
async fn numbers_are_sent_as_numbers_and_texts_as_texts() {
    let shop =
        Shop::with("CREATE TABLE n (id INT, PRIMARY KEY (id)); CREATE TABLE s (id VARCHAR(9))");
    let origin = shop.origin();
    for table in ["n", "s"] {
        let loader = loader(&format!("SELECT id FROM {table} WHERE id IN (:keys)"));
        origin
            .load(&Unlimited, &loader, &keys(&["7", "8", "9"]))
            .await
            .unwrap();
    }
    let sent = shop.server.sent_by("stoke").unwrap();
    let executed = |text: &str| {
        sent.iter()
            .any(|s| s.command == "Execute" && s.text == text)
    };
    assert!(
        executed("SELECT id FROM n WHERE id IN (7, 8, 9, 9)"),
        "{sent:?}"
    );
    assert!(
        executed("SELECT id FROM s WHERE id IN ('7', '8', '9', '9')"),
        "{sent:?}"
    );
}

#[tokio::test]
async fn one_key_at_a_time_takes_whatever_row_comes() {
    let shop = Shop::with("CREATE TABLE t (id INT); INSERT INTO t VALUES (1), (2), (2)");
    let single = loader("SELECT count(*) AS n FROM t WHERE id = :key AND :key <> 'x'");
    let asked = keys(&["2", "1", "3"]);
    let loaded = shop
        .origin()
        .load(&Unlimited, &single, &asked)
        .await
        .unwrap();
    assert_eq!(
        loaded.answers,
        [row("{\"n\":2}"), row("{\"n\":1}"), row("{\"n\":0}")]
    );
}

#[tokio::test]
async fn what_a_collation_calls_the_same_is_not_called_absent() {
    let shop = Shop::with(
        "CREATE TABLE t (id VARCHAR(9), b VARCHAR(9) COLLATE utf8mb4_bin);
         INSERT INTO t VALUES ('abc', 'abc'), ('x', 'x')",
    );
    let origin = shop.origin();
    let by_id = loader("SELECT id FROM t WHERE id IN (:keys)");
    let loaded = origin
        .load(&Unlimited, &by_id, &keys(&["ABC", "x"]))
        .await
        .unwrap();
    let said = "no row for this key, but 1 row for keys that were not asked for, such as \"abc\"";
    assert!(reason(&loaded.answers[0]).starts_with(said), "{loaded:?}");
    assert_eq!(loaded.answers[1], row("{\"id\":\"x\"}"));
    // Spaces at the end do not count in most collations.
    let loaded = origin
        .load(&Unlimited, &by_id, &keys(&["abc "]))
        .await
        .unwrap();
    assert!(reason(&loaded.answers[0]).starts_with(said), "{loaded:?}");
    // Asked in both spellings, each answers for itself.
    let loaded = origin
        .load(&Unlimited, &by_id, &keys(&["ABC", "abc"]))
        .await
        .unwrap();
    assert_eq!(loaded.answers, [Answer::Absent, row("{\"id\":\"abc\"}")]);
    let exact = loader("SELECT b FROM t WHERE b IN (:keys)");
    let loaded = origin
        .load(&Unlimited, &exact, &keys(&["ABC", "abc"]))
        .await
        .unwrap();
    assert_eq!(loaded.answers, [Answer::Absent, row("{\"b\":\"abc\"}")]);
    assert_eq!(loaded.unasked, 0);
}

#[tokio::test]
async fn a_key_that_the_columns_character_set_has_not_fails_alone() {
    let shop = Shop::with("CREATE TABLE t (id VARCHAR(9) CHARACTER SET latin1, x INT, KEY (id))");
    shop.sql("INSERT INTO t SELECT concat('k', seq), seq FROM seq_1_to_100; INSERT INTO t VALUES ('é', 101)");
    let origin = shop.origin();
    let tokens = crate::Tokens::default();
    let loader = loader("SELECT x, id FROM t WHERE id IN (:keys)");
    let mut asked: Vec<String> = (1..=100).map(|i| format!("k{i}")).collect();
    asked.extend(keys(&["é", "😀", "none", "ж"]));
    let loaded = origin.load(&tokens, &loader, &asked).await;
    let loaded = loaded.unwrap_or_else(|error| panic!("{}", error.explain()));
    assert!(
        loaded.answers[..101]
            .iter()
            .all(|a| matches!(a, Answer::Row(_))),
        "{loaded:?}"
    );
    for bad in [101, 103] {
        let said = "the column's character set has not all of its characters";
        assert!(reason(&loaded.answers[bad]).contains(said), "{loaded:?}");
    }
    assert_eq!(loaded.answers[102], Answer::Absent);
    assert_eq!((loaded.rows, loaded.unasked), (101, 0));
    // Where it is the query that mixes character sets, no key is to blame.
    let mixing = "SELECT x, id FROM t WHERE id IN (:keys) AND id COLLATE latin1_bin = id COLLATE latin1_swedish_ci";
    let error = origin
        .load(&tokens, &crate::loader(mixing), &asked)
        .await
        .unwrap_err();
    assert!(
        error.explain().contains("Illegal mix"),
        "{}",
        error.explain()
    );
    let sent = shop.server.sent_by("stoke").unwrap();
    let ours = sent
        .iter()
        .filter(|s| s.is_statement() && s.text.contains("SELECT x, id FROM t"));
    assert!(ours.count() as u64 + 2 <= tokens.taken());
}
