//! The forms of values, from real rows of each database.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use stoke_core::value::Versions;
use stoke_worker::catalog::LoaderSpec;
use stoke_worker::origin::{Answer, Origin, OriginError};
use stoke_worker::permit::Unlimited;
use stoke_worker::value::Value;

use crate::mysql::Shop;
use crate::sqlite::File;
use crate::{Database, keys, loader, reason, row, string};

const LONG: Duration = Duration::from_secs(30);

fn of_form(form: &str, query: &str) -> LoaderSpec {
    let mut loader = loader(query);
    loader.value.form = form.parse().unwrap();
    loader
}

async fn load(origin: &Origin, loader: &LoaderSpec, asked: &[&str]) -> Vec<Answer> {
    origin.prepare(&Unlimited, loader).await.unwrap();
    let loaded = origin.load(&Unlimited, loader, &keys(asked)).await;
    loaded
        .unwrap_or_else(|error| panic!("{}", error.explain()))
        .answers
}

fn text(answer: &Answer) -> &str {
    std::str::from_utf8(string(answer)).unwrap()
}

/// A hash as a map of texts.
fn hash(answer: &Answer) -> BTreeMap<String, String> {
    let Answer::Row(made) = answer else {
        panic!("no row: {answer:?}");
    };
    let Value::Hash(fields) = &made.value else {
        panic!("no hash: {answer:?}");
    };
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    fields.iter().map(|(f, v)| (text(f), text(v))).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(f, v): &(&str, &str)| ((*f).to_owned(), (*v).to_owned());
    pairs.iter().map(owned).collect()
}

/// What a MessagePack map holds, in JSON, in its order.
fn unpacked(answer: &Answer) -> String {
    let mut json = Vec::new();
    let mut reader = rmp_serde::Deserializer::from_read_ref(string(answer));
    let mut writer = serde_json::Serializer::new(&mut json);
    serde_transcode::transcode(&mut reader, &mut writer).unwrap();
    String::from_utf8(json).unwrap()
}

#[tokio::test]
async fn postgresql_gives_every_form() {
    let database = Database::new();
    database.sql(
        r#"CREATE TABLE t (id int8 PRIMARY KEY, flag bool, name text, doc jsonb, price numeric(10,2), ratio float4,
             at timestamptz, tags text[], raw bytea, missing text);
           INSERT INTO t VALUES (7, true, 'a "b"', '{"z": [1, 2.5], "a": null}', 12.50, 0.1,
             '2024-02-29 12:00:00+02', '{x,NULL}', '\x00ff', NULL)"#,
    );
    let origin = database.origin();
    let all =
        "SELECT id, flag, name, doc, price, ratio, at, tags, missing FROM t WHERE id IN (:keys)";
    let answers = load(&origin, &of_form("hash", all), &["7", "8"]).await;
    let expected = pairs(&[
        ("id", "7"),
        ("flag", "true"),
        ("name", "a \"b\""),
        ("doc", r#"{"a": null, "z": [1, 2.5]}"#),
        ("price", "12.50"),
        ("ratio", "0.1"),
        ("at", "2024-02-29T10:00:00+00:00"),
        ("tags", "[\"x\",null]"),
    ]);
    assert_eq!(hash(&answers[0]), expected);
    assert_eq!(answers[1], Answer::Absent);

    let answers = load(&origin, &of_form("messagepack", all), &["7"]).await;
    assert_eq!(
        unpacked(&answers[0]),
        r#"{"id":7,"flag":true,"name":"a \"b\"","doc":{"a":null,"z":[1,2.5]},"price":"12.50","ratio":0.1,"at":"2024-02-29T10:00:00+00:00","tags":["x",null],"missing":null}"#
    );
    let raw = "SELECT id, raw FROM t WHERE id IN (:keys)";
    let answers = load(&origin, &of_form("messagepack", raw), &["7"]).await;
    assert_eq!(
        string(&answers[0]),
        b"\x82\xa2id\x07\xa3raw\xc4\x02\x00\xff"
    );
    let answers = load(&origin, &of_form("column:raw", raw), &["7"]).await;
    assert_eq!(string(&answers[0]), [0, 0xff]);
    let answers = load(&origin, &of_form("column:doc", all), &["7"]).await;
    assert_eq!(text(&answers[0]), r#"{"a": null, "z": [1, 2.5]}"#);
    let answers = load(&origin, &of_form("column:missing", all), &["7"]).await;
    assert!(reason(&answers[0]).contains("is NULL"), "{answers:?}");
    let template = "template:{id};{name};{price};{missing}{{}}";
    let answers = load(&origin, &of_form(template, all), &["7"]).await;
    assert_eq!(text(&answers[0]), "7;a \"b\";12.50;{}");
}

#[tokio::test]
async fn all_rows_of_a_key_are_one_array_in_the_querys_order() {
    let database = Database::new();
    database.sql(
        "CREATE TABLE l (cart int, at int, item text); \
         INSERT INTO l VALUES (1, 2, 'b'), (2, 1, 'c'), (1, 3, 'a'), (1, 1, 'd')",
    );
    let origin = database.origin();
    let query = "SELECT cart, item FROM l WHERE cart IN (:keys) ORDER BY at";
    let mut loader = of_form("array", query);
    let expected = [
        row(r#"[{"cart":1,"item":"d"},{"cart":1,"item":"b"},{"cart":1,"item":"a"}]"#),
        Answer::Absent,
        row(r#"[{"cart":2,"item":"c"}]"#),
    ];
    assert_eq!(load(&origin, &loader, &["1", "3", "2"]).await, expected);
    // One query a key: no column has to say which key a row answers.
    let single = of_form("array", "SELECT item FROM l WHERE cart = :key ORDER BY at");
    let answers = load(&origin, &single, &["1", "3"]).await;
    let items = row(r#"[{"item":"d"},{"item":"b"},{"item":"a"}]"#);
    assert_eq!(answers, [items, Answer::Absent]);
    // The limit is one of the whole value.
    let size = string(&expected[0]).len() as u64;
    loader.max_value_bytes = size;
    assert_eq!(load(&origin, &loader, &["1"]).await, expected[..1]);
    loader.max_value_bytes = size - 1;
    let answers = load(&origin, &loader, &["1", "2"]).await;
    assert!(
        reason(&answers[0]).contains("max-value-bytes"),
        "{answers:?}"
    );
    assert_eq!(answers[1], expected[2]);
}

#[tokio::test]
async fn what_json_cannot_express_other_forms_can() {
    let database = Database::new();
    database.sql(
        "CREATE TABLE t (id int, f float8, n numeric, d date, s timestamptz, i interval); \
         INSERT INTO t VALUES (1, 'NaN', 'NaN', 'infinity', '-infinity', '1 day'), \
           (2, '-Infinity', '1.0', '2024-01-01', 'infinity', '1 day')",
    );
    let origin = database.origin();
    let query = "SELECT * FROM t WHERE id IN (:keys)";
    let answers = load(&origin, &of_form("object", query), &["1", "2"]).await;
    for answer in &answers {
        assert!(reason(answer).contains("which JSON cannot express"));
    }
    let template = of_form("template:{f} {n} {d} {s} {i}", query);
    let answers = load(&origin, &template, &["1", "2"]).await;
    assert_eq!(text(&answers[0]), "NaN NaN infinity -infinity 1 day");
    assert_eq!(text(&answers[1]), "-Infinity 1.0 2024-01-01 infinity 1 day");
    let query = "SELECT id, f FROM t WHERE id IN (:keys)";
    let answers = load(&origin, &of_form("messagepack", query), &["2"]).await;
    let expected = b"\x82\xa2id\x02\xa1f\xcb\xff\xf0\0\0\0\0\0\0";
    assert_eq!(string(&answers[0]), expected);
}

#[tokio::test]
async fn a_column_that_a_value_names_is_looked_for_at_plan_time() {
    let database = Database::new();
    database.sql("CREATE TABLE t (id int, body text)");
    let file = File::new("CREATE TABLE t (id int, body text)").await;
    let shop = Shop::with("CREATE TABLE t (id int, body text)");
    let query = "SELECT id, body FROM t WHERE id IN (:keys)";
    for origin in [database.origin(), file.origin(LONG), shop.origin()] {
        for form in ["column:boddy", "template:{id}{boddy}"] {
            let prepared = origin.prepare(&Unlimited, &of_form(form, query)).await;
            let error = prepared.unwrap_err();
            assert!(matches!(error, OriginError::Permanent { .. }), "{error:?}");
            let said = error.explain();
            let says = "the loader names the column \"boddy\", but the query gives id, body";
            assert!(said.contains(says), "{said}");
        }
        let loader = of_form("column:body", query);
        origin.prepare(&Unlimited, &loader).await.unwrap();
    }
}

#[tokio::test]
async fn mariadb_gives_every_form() {
    let shop = Shop::with(
        r#"CREATE TABLE t (id bigint unsigned PRIMARY KEY, Name varchar(9), raw blob, price decimal(10,2), ratio double,
             at datetime, y year, bits bit(10), missing int);
           INSERT INTO t VALUES (18446744073709551615, 'a "b"', x'00ff', 12.50, 0.1, '2024-02-29 12:00:00', 2024,
             b'1000000001', NULL)"#,
    );
    let origin = shop.origin();
    let id = "18446744073709551615";
    let all = "SELECT id, name, price, ratio, at, y, bits, missing FROM t WHERE id IN (:keys)";
    let answers = load(&origin, &of_form("hash", all), &[id]).await;
    let expected = pairs(&[
        ("id", id),
        ("name", "a \"b\""),
        ("price", "12.50"),
        ("ratio", "0.1"),
        ("at", "2024-02-29T12:00:00"),
        ("y", "2024"),
        ("bits", "513"),
    ]);
    assert_eq!(hash(&answers[0]), expected);
    let answers = load(&origin, &of_form("messagepack", all), &[id]).await;
    assert_eq!(
        unpacked(&answers[0]),
        r#"{"id":18446744073709551615,"name":"a \"b\"","price":"12.50","ratio":0.1,"at":"2024-02-29T12:00:00","y":2024,"bits":513,"missing":null}"#
    );
    let query = "SELECT id, raw, Name FROM t WHERE id IN (:keys)";
    let answers = load(&origin, &of_form("column:RAW", query), &[id]).await;
    assert_eq!(string(&answers[0]), [0, 0xff]);
    let answers = load(&origin, &of_form("template:{NAME}/{raw}", query), &[id]).await;
    assert_eq!(text(&answers[0]), "a \"b\"/\\x00ff");
    let rows = "SELECT 1 AS k, 'x' AS v UNION ALL SELECT 1, 'y'";
    let query = format!("SELECT * FROM ({rows}) r WHERE k IN (:keys) ORDER BY v");
    let answers = load(&origin, &of_form("array", &query), &["1"]).await;
    assert_eq!(answers[0], row(r#"[{"k":1,"v":"x"},{"k":1,"v":"y"}]"#));
}

#[tokio::test]
async fn sqlite_gives_every_form() {
    let file = File::new(
        "CREATE TABLE t (id INTEGER, name, raw, ratio, missing); \
         INSERT INTO t VALUES (7, 'ä', x'00ff', 0.5, NULL), (8, 'b', x'', 9e999, NULL); \
         CREATE TABLE l (k INTEGER, v); INSERT INTO l VALUES (1, 'y'), (1, 'x')",
    )
    .await;
    let origin = file.origin(LONG);
    let all = "SELECT id, name, ratio, missing FROM t WHERE id IN (:keys)";
    let answers = load(&origin, &of_form("hash", all), &["7", "8"]).await;
    let expected = pairs(&[("id", "7"), ("name", "ä"), ("ratio", "0.5")]);
    assert_eq!(hash(&answers[0]), expected);
    let expected = pairs(&[("id", "8"), ("name", "b"), ("ratio", "Inf")]);
    assert_eq!(hash(&answers[1]), expected);
    let answers = load(&origin, &of_form("messagepack", all), &["7"]).await;
    assert_eq!(
        unpacked(&answers[0]),
        r#"{"id":7,"name":"ä","ratio":0.5,"missing":null}"#
    );
    let answers = load(&origin, &of_form("object", all), &["8"]).await;
    assert!(reason(&answers[0]).contains("Infinity"), "{answers:?}");
    let query = "SELECT id, raw FROM t WHERE id IN (:keys)";
    let answers = load(&origin, &of_form("column:raw", query), &["7", "8"]).await;
    assert_eq!(string(&answers[0]), [0, 0xff]);
    assert_eq!(string(&answers[1]), b"");
    let query = "SELECT * FROM l WHERE k IN (:keys) ORDER BY v";
    let answers = load(&origin, &of_form("array", query), &["1"]).await;
    assert_eq!(answers[0], row(r#"[{"k":1,"v":"x"},{"k":1,"v":"y"}]"#));
}

#[tokio::test]
async fn the_versions_of_rows_are_read_again_by_a_query_that_gives_nothing_else() {
    let sql = "CREATE TABLE t (id int, at int, body text); \
               INSERT INTO t VALUES (1, 10, 'a'), (2, 20, 'b'), (3, 30, 'c'), (3, 31, 'd')";
    let database = Database::new();
    database.sql(sql);
    let file = File::new(
        "CREATE TABLE t (id int, at int, body text); \
         INSERT INTO t VALUES (1, 10, 'a'), (2, 20, 'b'), (3, 30, 'c'), (3, 31, 'd')",
    )
    .await;
    let shop = Shop::with(sql);
    let change = "UPDATE t SET at = 21, body = 'B' WHERE id = 2";
    let versions = |answers: &[Answer]| -> Vec<Option<Bytes>> {
        let version = |answer: &Answer| match answer {
            Answer::Row(made) => made.version.clone(),
            Answer::Absent => None,
            Answer::Failed { reason } | Answer::Again { reason } => panic!("{reason}"),
        };
        answers.iter().map(version).collect()
    };
    for (form, query) in [
        (
            "array",
            "SELECT id, at, body FROM t WHERE id IN (:keys) ORDER BY at -- a remark",
        ),
        ("array", "SELECT at, body FROM t WHERE id = :key"),
        ("hash", "SELECT * FROM t WHERE at <> 31 AND id IN (:keys)"),
    ] {
        let mut loader = of_form(form, query);
        loader.value.versions = Some(Versions {
            column: "at".into(),
            origin: None,
        });
        for (n, origin) in [database.origin(), file.origin(LONG), shop.origin()]
            .iter()
            .enumerate()
        {
            let again = origin.loader_of_versions(&loader).unwrap();
            let before = versions(&load(origin, &loader, &["1", "2", "3", "4"]).await);
            assert!(before[..3].iter().all(Option::is_some) && before[3].is_none());
            let read = versions(&load(origin, &again, &["1", "2", "3", "4"]).await);
            assert_eq!(read, before, "{query}");
            match n {
                0 => drop(database.sql(change)),
                1 => file.run(change).await,
                _ => drop(shop.sql(change)),
            }
            let read = versions(&load(origin, &again, &["1", "2", "3", "4"]).await);
            assert_ne!(read[1], before[1], "{query}");
            assert_eq!(
                (&read[0], &read[2..]),
                (&before[0], &before[2..]),
                "{query}"
            );
            let back = "UPDATE t SET at = 20, body = 'b' WHERE id = 2";
            match n {
                0 => drop(database.sql(back)),
                1 => file.run(back).await,
                _ => drop(shop.sql(back)),
            }
        }
    }
}
