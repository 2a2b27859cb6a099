//! Which rows answer which keys, for every type that keys may have.

use stoke_worker::origin::Answer;
use stoke_worker::permit::Unlimited;

use crate::{Database, keys, loader, reason, row};

#[tokio::test]
async fn answers_come_in_the_order_of_the_keys_and_a_key_that_is_none_fails_alone() {
    let database = Database::new();
    database.sql("CREATE TABLE t (id bigint, name text); INSERT INTO t VALUES (7, 'bond'), (8, NULL), (9, 'x'), (9, 'y')");
    let mut loader = loader("SELECT name, id FROM t WHERE id IN (:keys)");
    for batch_keys in [1, 2, 500] {
        loader.batch_keys = u32::into(batch_keys);
        let asked = keys(&["8", "abc", "007", "5", "7", "9", "9223372036854775808"]);
        let loaded = database
            .origin()
            .load(&Unlimited, &loader, &asked)
            .await
            .unwrap();
        let bond = row("{\"name\":\"bond\",\"id\":7}");
        assert_eq!(loaded.answers[0], row("{\"name\":null,\"id\":8}"));
        assert!(
            reason(&loaded.answers[1])
                .starts_with("the key \"abc\" is not a number from -9223372036854775808")
        );
        assert_eq!(loaded.answers[2..5], [bond.clone(), Answer::Absent, bond]);
        assert!(reason(&loaded.answers[5]).starts_with("two rows for one key"));
        assert!(matches!(loaded.answers[6], Answer::Failed { .. }));
        assert_eq!((loaded.rows, loaded.unasked), (4, 0));
    }
}

#[tokio::test]
async fn keys_of_every_type_find_their_rows() {
    let database = Database::new();
    database.sql(
        "CREATE EXTENSION citext;
         CREATE TYPE mood AS ENUM ('sad', 'ok');
         CREATE DOMAIN sku AS varchar(10);
         CREATE DOMAIN number AS int;",
    );
    for (ty, stored, asked, bad) in [
        ("int2", "-32768", "-32768", Some("32768")),
        ("int4", "7", "+07", Some("7.0")),
        (
            "int8",
            "9223372036854775807",
            "9223372036854775807",
            Some("x"),
        ),
        ("oid", "4294967295", "4294967295", Some("-1")),
        ("numeric", "7.500", "07.5", Some("seven")),
        (
            "numeric",
            "-12345678901234567890.00012",
            "-12345678901234567890.00012",
            Some("1e3"),
        ),
        ("numeric", "100000000", "100000000", Some("NaN")),
        ("text", "ä'\"\\", "ä'\"\\", None),
        ("text", "", "", None),
        ("varchar", "a,b{}", "a,b{}", None),
        ("bpchar", "ab", "ab", None),
        ("char(5)", "ab", "ab", None),
        ("name", "n", "n", None),
        ("citext", "AbC", "aBc", None),
        (
            "uuid",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "A0EEBC999C0B4EF8BB6D6BB9BD380A11",
            Some("a0ee"),
        ),
        ("date", "2024-02-29", "2024-02-29", Some("2023-02-29")),
        ("bool", "true", "t", Some("yes!")),
        ("mood", "sad", "sad", Some("glad")),
        ("sku", "s-1", "s-1", None),
        ("number", "7", "007", Some("1e1")),
    ] {
        let literal = stored.replace('\'', "''");
        database.sql(&format!("DROP TABLE IF EXISTS t; CREATE TABLE t (id {ty}, x int); INSERT INTO t VALUES ('{literal}', 1)"));
        for query in [
            "SELECT x, id FROM t WHERE id IN (:keys)",
            "SELECT x, id FROM t WHERE id = ANY(:keys)",
            "SELECT x, id FROM t WHERE id = :key",
        ] {
            let origin = database.origin();
            let asked: Vec<String> = keys(&[asked])
                .into_iter()
                .chain(bad.map(str::to_owned))
                .collect();
            let loaded = origin
                .load(&Unlimited, &loader(query), &asked)
                .await
                .unwrap_or_else(|error| panic!("{ty}: {}", error.explain()));
            assert!(
                matches!(loaded.answers[0], Answer::Row(_)),
                "{ty}: {query}: {:?}",
                loaded.answers
            );
            if bad.is_some() {
                assert!(
                    matches!(loaded.answers[1], Answer::Failed { .. }),
                    "{ty}: {:?}",
                    loaded.answers
                );
            }
        }
    }
}

#[tokio::test]
async fn rows_that_nobody_asked_for_are_left_out_and_keys_without_a_row_are_not_called_absent_then()
{
    let database = Database::new();
    database.sql("CREATE TABLE t AS SELECT i AS id, CASE WHEN i < 3 THEN i WHEN i = 3 THEN 33 END AS other FROM generate_series(1, 4) i");
    let mut loader = loader("SELECT * FROM t WHERE id IN (:keys)");
    loader.key_column = ["other"].into_iter().collect();
    let loaded = database
        .origin()
        .load(&Unlimited, &loader, &keys(&["1", "2", "3", "4"]))
        .await
        .unwrap();
    assert!(matches!(
        loaded.answers[..2],
        [Answer::Row(_), Answer::Row(_)]
    ));
    for answer in &loaded.answers[2..] {
        let said =
            "no row for this key, but 2 rows for keys that were not asked for, such as \"33\"";
        assert!(reason(answer).starts_with(said), "{answer:?}");
    }
    assert_eq!((loaded.rows, loaded.unasked), (4, 2));
    // Rows beside those of all keys do no harm.
    let more = crate::loader("SELECT * FROM t WHERE id IN (:keys) OR id = 4");
    let loaded = database
        .origin()
        .load(&Unlimited, &more, &keys(&["1", "2"]))
        .await
        .unwrap();
    assert!(matches!(
        loaded.answers[..],
        [Answer::Row(_), Answer::Row(_)]
    ));
    assert_eq!(loaded.unasked, 1);
}

#[tokio::test]
async fn one_query_a_key_takes_whatever_row_comes() {
    let database = Database::new();
    database.sql("CREATE TABLE t AS SELECT i AS id, i % 2 AS odd FROM generate_series(1, 3) i");
    let loader = loader("SELECT odd, max(id) AS id FROM t WHERE odd = :key GROUP BY odd");
    let asked = keys(&["1", "0", "1", "5"]);
    let loaded = database
        .origin()
        .load(&Unlimited, &loader, &asked)
        .await
        .unwrap();
    let odd = row("{\"odd\":1,\"id\":3}");
    assert_eq!(
        loaded.answers,
        [
            odd.clone(),
            row("{\"odd\":0,\"id\":2}"),
            odd,
            Answer::Absent
        ]
    );
}

#[tokio::test]
async fn a_parameter_that_cannot_hold_the_keys_is_refused() {
    let database = Database::new();
    database.sql("CREATE TABLE t (id int, p point, ts timestamp)");
    let origin = database.origin();
    for (query, said) in [
        (
            "SELECT id FROM t WHERE ts IN (:keys)",
            "keys of the type TIMESTAMP[] are not supported: cast the column",
        ),
        (
            "SELECT id FROM t WHERE id = :keys",
            "PostgreSQL takes :keys for INT4, not for an array",
        ),
        (
            "SELECT id FROM t WHERE id = ANY(:key)",
            "keys of the type INT4[] are not supported",
        ),
        (
            "SELECT id FROM t WHERE id + 1 = ANY(:keys)",
            "nothing says which key a row answers",
        ),
    ] {
        let error = origin
            .prepare(&Unlimited, &loader(query))
            .await
            .unwrap_err();
        assert!(
            error.explain().contains(said),
            "{query}: {}",
            error.explain()
        );
        assert!(!error.is_transient());
    }
}
