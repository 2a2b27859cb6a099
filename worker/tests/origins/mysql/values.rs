//! Rows as JSON, for every type.

use stoke_worker::origin::OriginError;
use stoke_worker::permit::Unlimited;

use super::Shop;
use crate::{keys, loader, reason, row, string};

/// A column's type, values as they are inserted, and as they are written.
const VALUES: &[(&str, &[(&str, &str)])] = &[
    ("TINYINT", &[("-128", "-128"), ("127", "127")]),
    ("TINYINT UNSIGNED", &[("255", "255")]),
    ("BOOL", &[("TRUE", "1"), ("FALSE", "0"), ("-5", "-5")]),
    ("TINYINT(1) UNSIGNED", &[("200", "200")]),
    ("SMALLINT", &[("-32768", "-32768")]),
    ("SMALLINT UNSIGNED", &[("65535", "65535")]),
    (
        "MEDIUMINT",
        &[("-8388608", "-8388608"), ("8388607", "8388607")],
    ),
    ("MEDIUMINT UNSIGNED", &[("16777215", "16777215")]),
    ("INT", &[("-2147483648", "-2147483648"), ("0", "0")]),
    ("INT UNSIGNED", &[("4294967295", "4294967295")]),
    ("INT(8) ZEROFILL", &[("7", "7")]),
    (
        "BIGINT",
        &[
            ("-9223372036854775808", "-9223372036854775808"),
            ("9007199254740993", "9007199254740993"),
        ],
    ),
    (
        "BIGINT UNSIGNED",
        &[("18446744073709551615", "18446744073709551615")],
    ),
    ("BIT", &[("b'1'", "1")]),
    (
        "BIT(64)",
        &[("x'ffffffffffffffff'", "18446744073709551615"), ("5", "5")],
    ),
    ("YEAR", &[("2024", "2024"), ("'0000'", "0")]),
    (
        "DECIMAL(65,30)",
        &[(
            "-12345678901234567890123456789012345.000000000000000000000000000001",
            "-12345678901234567890123456789012345.000000000000000000000000000001",
        )],
    ),
    ("DECIMAL(20,5)", &[("1.5", "1.50000"), ("-0.5", "-0.50000")]),
    ("DECIMAL(6,2) ZEROFILL", &[("1.5", "1.50"), ("0", "0.00")]),
    ("DECIMAL(3)", &[("0", "0"), ("12", "12")]),
    (
        "FLOAT",
        &[
            ("0.1", "0.1"),
            ("16777216", "16777216"),
            ("3.4028234e38", "3.4028235e38"),
        ],
    ),
    (
        "DOUBLE",
        &[
            ("1", "1"),
            ("0.1", "0.1"),
            ("1e15", "1e15"),
            ("-1.7976931348623157e308", "-1.7976931348623157e308"),
            ("2.2250738585072014e-308", "2.2250738585072014e-308"),
        ],
    ),
    ("CHAR(5)", &[("'ab'", "\"ab\""), ("''", "\"\"")]),
    ("CHAR(5) CHARACTER SET latin1", &[("'é'", "\"é\"")]),
    (
        "VARCHAR(30)",
        &[
            ("'ä \"quoted\" 😀'", "\"ä \\\"quoted\\\" 😀\""),
            ("'\\\\ \\n\\t\\Z'", "\"\\\\ \\n\\t\\u001a\""),
            ("'end '", "\"end \""),
        ],
    ),
    ("VARCHAR(30) COLLATE utf8mb4_bin", &[("'Ab'", "\"Ab\"")]),
    ("VARCHAR(30) CHARACTER SET utf8mb3", &[("'é'", "\"é\"")]),
    ("TINYTEXT", &[("'a'", "\"a\"")]),
    ("TEXT", &[("'a'", "\"a\"")]),
    ("TEXT COLLATE utf8mb4_bin", &[("'a'", "\"a\"")]),
    ("MEDIUMTEXT", &[("'a'", "\"a\"")]),
    ("LONGTEXT", &[("'a'", "\"a\"")]),
    ("BINARY(4)", &[("'ab'", r#""\\x61620000""#)]),
    ("VARBINARY(9)", &[("x'00ff'", r#""\\x00ff""#)]),
    ("TINYBLOB", &[("x'00'", r#""\\x00""#)]),
    ("BLOB", &[("''", r#""\\x""#), ("'\"'", r#""\\x22""#)]),
    ("MEDIUMBLOB", &[("x'00'", r#""\\x00""#)]),
    ("LONGBLOB", &[("x'00'", r#""\\x00""#)]),
    ("ENUM('a','it''s')", &[("'it''s'", "\"it's\"")]),
    ("ENUM('a','B') COLLATE utf8mb4_bin", &[("'B'", "\"B\"")]),
    ("SET('a','b')", &[("'b,a'", "\"a,b\""), ("''", "\"\"")]),
    ("JSON", &[("'{\"a\": 1.0}'", r#""{\"a\": 1.0}""#)]),
    (
        "UUID",
        &[(
            "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'",
            "\"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11\"",
        )],
    ),
    (
        "INET6",
        &[("'::1'", "\"::1\""), ("'2001:db8::FF'", "\"2001:db8::ff\"")],
    ),
    ("INET4", &[("'10.0.0.1'", "\"10.0.0.1\"")]),
    (
        "DATE",
        &[
            ("'2024-02-29'", "\"2024-02-29\""),
            ("'0000-00-00'", "\"0000-00-00\""),
            ("'2024-00-10'", "\"2024-00-10\""),
            ("'9999-12-31'", "\"9999-12-31\""),
        ],
    ),
    (
        "DATETIME",
        &[
            ("'2024-02-29 12:34:56'", "\"2024-02-29T12:34:56\""),
            ("'2024-02-29'", "\"2024-02-29T00:00:00\""),
            ("'0000-00-00'", "\"0000-00-00T00:00:00\""),
        ],
    ),
    (
        "DATETIME(6)",
        &[
            ("'2024-02-29 12:34:56.5'", "\"2024-02-29T12:34:56.5\""),
            (
                "'1000-01-01 00:00:00.000001'",
                "\"1000-01-01T00:00:00.000001\"",
            ),
        ],
    ),
    (
        // Inserted by a session two hours east of UTC.
        "TIMESTAMP NULL",
        &[
            ("'2024-07-01 12:00:00'", "\"2024-07-01T10:00:00+00:00\""),
            ("'0000-00-00'", "\"0000-00-00T00:00:00+00:00\""),
        ],
    ),
    (
        "TIMESTAMP(3) NULL",
        &[(
            "'2024-07-01 01:00:00.25'",
            "\"2024-06-30T23:00:00.25+00:00\"",
        )],
    ),
    (
        "TIME",
        &[
            ("'00:00:00'", "\"00:00:00\""),
            ("'-838:59:59'", "\"-838:59:59\""),
            ("'838:59:59'", "\"838:59:59\""),
            ("'25:00:00'", "\"25:00:00\""),
        ],
    ),
    ("TIME(3)", &[("'-00:00:00.125'", "\"-00:00:00.125\"")]),
];

#[tokio::test]
async fn values_of_every_type_are_written_as_the_table_says() {
    let shop = Shop::new();
    let origin = shop.origin();
    for (ty, values) in VALUES {
        let rows: Vec<String> = (1..)
            .zip(*values)
            .map(|(id, (inserted, _))| format!("({id}, {inserted})"))
            .collect();
        shop.sql(&format!(
            "SET time_zone = '+02:00'; CREATE OR REPLACE TABLE t (id INT, v {ty}); INSERT INTO t VALUES {}, (0, NULL)",
            rows.join(", ")
        ));
        let mut asked = vec!["0".to_owned()];
        asked.extend((1..=values.len()).map(|id| id.to_string()));
        let loader = loader("SELECT * FROM t WHERE id IN (:keys)");
        let loaded = origin.load(&Unlimited, &loader, &asked).await;
        let loaded = loaded.unwrap_or_else(|error| panic!("{ty}: {}", error.explain()));
        assert_eq!(loaded.answers[0], row("{\"id\":0,\"v\":null}"), "{ty}");
        for ((inserted, written), (id, answer)) in
            values.iter().zip((1..).zip(&loaded.answers[1..]))
        {
            let expected = format!("{{\"id\":{id},\"v\":{written}}}");
            assert_eq!(*answer, row(&expected), "{ty} {inserted}");
            serde_json::from_str::<serde::de::IgnoredAny>(&expected).unwrap();
        }
    }
}

#[tokio::test]
async fn expressions_have_values_too() {
    let shop = Shop::with("CREATE TABLE t (id INT, f FLOAT); INSERT INTO t VALUES (1, 2.5)");
    let origin = shop.origin();
    for (expression, written) in [
        ("NULL", "null"),
        ("id = 1", "1"),
        ("id + 0.5", "1.5"),
        ("f / 2", "1.25"),
        ("concat('a', id)", "\"a1\""),
        ("CAST('a' AS BINARY)", r#""\\x61""#),
        ("DATE '2024-02-29' + INTERVAL 1 DAY", "\"2024-03-01\""),
        ("sum(id)", "1"),
        ("count(*)", "1"),
        ("json_object('a', 1)", r#""{\"a\": 1}""#),
    ] {
        let query = format!("SELECT id, {expression} AS v FROM t WHERE id IN (:keys)");
        let loaded = origin
            .load(&Unlimited, &loader(&query), &keys(&["1"]))
            .await;
        let answers = loaded.unwrap().answers;
        let expected = format!("{{\"id\":1,\"v\":{written}}}");
        assert_eq!(answers, [row(&expected)], "{expression}");
    }
}

#[tokio::test]
async fn queries_whose_rows_have_no_json_form_are_refused_when_they_are_prepared() {
    let shop = Shop::with(
        "CREATE TABLE t (id INT, g GEOMETRY, p POINT, d DOUBLE, dt DATETIME); INSERT INTO t VALUES (1, NULL, POINT(1, 2), 1, now())",
    );
    let origin = shop.origin();
    for (columns, key_column, said) in [
        (
            "id, g",
            None,
            "the column \"g\" has the type GEOMETRY, which has no form here: leave it out, or convert it (a geometry by ST_AsText",
        ),
        ("id, p", None, "the column \"p\" has the type GEOMETRY"),
        (
            "id, 1 AS a, 2 AS a",
            None,
            "two columns \"a\": give them different names",
        ),
        (
            "id AS item",
            None,
            "the rows have no column \"id\" to say which key they answer, but item",
        ),
        (
            "id, d",
            Some("d"),
            "keys of the type DOUBLE are not supported",
        ),
        ("id, dt", Some("dt"), "keys of the type DATETIME are not"),
    ] {
        let mut loader = loader(&format!("SELECT {columns} FROM t WHERE id IN (:keys)"));
        loader.key_column = key_column.into_iter().collect();
        let error = origin.prepare(&Unlimited, &loader).await.unwrap_err();
        assert!(matches!(error, OriginError::Permanent { .. }), "{error:?}");
        let text = error.explain();
        assert!(text.contains(said), "{columns}: {text}");
    }
    let converted = loader("SELECT ID, ST_AsText(p) AS p FROM t WHERE id IN (:keys)");
    origin.prepare(&Unlimited, &converted).await.unwrap();
    let loaded = origin.load(&Unlimited, &converted, &keys(&["1"])).await;
    let answers = loaded.unwrap().answers;
    assert_eq!(answers, [row("{\"ID\":1,\"p\":\"POINT(1 2)\"}")]);
    let mut many = loader("SELECT id FROM t WHERE id IN (:keys) OR id IN (:keys)");
    many.query = many
        .query
        .replace(" OR id IN (:keys)", &" OR id IN (:keys)".repeat(6));
    many.batch_keys = 10_000.into();
    let error = origin.prepare(&Unlimited, &many).await.unwrap_err();
    assert!(
        error.explain().contains("lower batch-keys"),
        "{}",
        error.explain()
    );
}

#[tokio::test]
async fn a_value_over_the_bound_fails_its_entry() {
    let shop = Shop::with(
        "CREATE TABLE t (id INT, text TEXT); INSERT INTO t VALUES (75, repeat('x', 75)), (76, repeat('x', 76))",
    );
    let mut loader = loader("SELECT * FROM t WHERE id IN (:keys)");
    // {"id":75,"text":"…"} is 19 bytes more than the text.
    loader.max_value_bytes = 94;
    let asked = keys(&["75", "76"]);
    let loaded = shop
        .origin()
        .load(&Unlimited, &loader, &asked)
        .await
        .unwrap();
    assert_eq!(string(&loaded.answers[0]).len(), 94);
    assert_eq!(
        reason(&loaded.answers[1]),
        "the value has 95 bytes or more, and the loader's max-value-bytes is 94"
    );
}

#[tokio::test]
async fn a_table_that_is_altered_is_never_read_as_it_was() {
    let shop = Shop::with("CREATE TABLE t (id INT, n INT); INSERT INTO t VALUES (1, 1077936128)");
    let origin = shop.origin();
    let loader = loader("SELECT * FROM t WHERE id IN (:keys)");
    let load = || async { origin.load(&Unlimited, &loader, &keys(&["1"])).await };
    let integer = [row("{\"id\":1,\"n\":1077936128}")];
    assert_eq!(load().await.unwrap().answers, integer);
    // The same bytes as a float are 3. A connection that prepared the query before, and one that did not:
    for keep in [1, 0] {
        origin.set_idle_max(keep);
        shop.sql("CREATE OR REPLACE TABLE t (n FLOAT, id INT); INSERT INTO t VALUES (3, 1)");
        assert_eq!(load().await.unwrap().answers, [row("{\"n\":3,\"id\":1}")]);
        shop.sql("CREATE OR REPLACE TABLE t (id INT, n INT); INSERT INTO t VALUES (1, 1077936128)");
        assert_eq!(load().await.unwrap().answers, integer);
    }
    // Keys that were sent in another type than the column has may have missed rows: once more.
    shop.sql("CREATE OR REPLACE TABLE t (id VARCHAR(9), n INT); INSERT INTO t VALUES ('1', 2)");
    let error = load().await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert_eq!(
        load().await.unwrap().answers,
        [row("{\"id\":\"1\",\"n\":2}")]
    );
}
