//! Rows as JSON. The oracle is PostgreSQL: its `row_to_json` of the same rows.

use std::time::Duration;

use stoke_worker::origin::{Answer, OriginError};
use stoke_worker::permit::Unlimited;

use crate::{Database, keys, loader, postgres_origin, reason, string};

/// JSON as its tokens: strings with their escapes resolved, all else as it is written, white space left out. Texts that
/// have the same tokens are the same JSON, down to the digits of numbers and the order of members.
fn tokens(json: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = json.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => {
                let mut strings = serde_json::Deserializer::from_str(rest).into_iter::<String>();
                tokens.push(format!("{:?}", strings.next().unwrap().unwrap()));
                let length = strings.byte_offset();
                rest = rest[length..].trim_start();
                continue;
            }
            '{' | '}' | '[' | ']' | ':' | ',' => 1,
            _ => rest
                .find([',', ']', '}', ':', ' ', '\n'])
                .unwrap_or(rest.len()),
        };
        tokens.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    tokens
}

/// Loads each row of `t` by its column `id`, and compares it with PostgreSQL's own JSON.
async fn all_rows_are_as_postgresql_writes_them(database: &Database) {
    let settings = "SET TimeZone = 'UTC'; SET extra_float_digits = 2;";
    let expected = database.sql(&format!(
        // A row's text may have line breaks (the type json keeps them): one row at a time is told by its mark.
        "{settings} SELECT '#' || id || '#' || row_to_json(t)::text FROM t ORDER BY id"
    ));
    let expected: Vec<(&str, &str)> = expected
        .split("\n#")
        .map(|row| row.trim_start_matches('#').split_once('#').unwrap())
        .collect();
    assert!(!expected.is_empty());
    let asked: Vec<String> = expected.iter().map(|(id, _)| (*id).to_owned()).collect();
    let loader = loader("SELECT * FROM t WHERE id IN (:keys)");
    let loaded = database
        .origin()
        .load(&Unlimited, &loader, &asked)
        .await
        .unwrap();
    for ((id, expected), answer) in expected.iter().zip(&loaded.answers) {
        let json = std::str::from_utf8(string(answer)).unwrap();
        assert_eq!(
            tokens(json),
            tokens(expected),
            "row {id}: {json} instead of {expected}"
        );
        serde_json::from_str::<serde::de::IgnoredAny>(json).unwrap();
    }
}

#[tokio::test]
async fn edge_values_of_every_type_are_as_postgresql_writes_them() {
    let database = Database::new();
    database.sql(
        r#"
        CREATE EXTENSION citext;
        CREATE TYPE mood AS ENUM ('sad', 'it''s "ok"');
        CREATE DOMAIN price AS numeric(12, 2);
        CREATE DOMAIN moods AS mood;
        CREATE TABLE v (ty text, literal text);
        INSERT INTO v VALUES
          ('int2', '-32768'), ('int2', '32767'), ('int4', '-2147483648'), ('int4', '2147483647'), ('int4', '0'),
          ('int8', '-9223372036854775808'), ('int8', '9223372036854775807'), ('oid', '4294967295'),
          ('float4', '0'), ('float4', '-0'), ('float4', '1e6'), ('float4', '999999'), ('float4', '0.0001'),
          ('float4', '0.00001'), ('float4', '3.4028235e38'), ('float4', '1e-45'), ('float4', '0.1'), ('float4', '16777216'), ('float4', '-2409774.25'), ('float4', '9.5367432e-07'),
          ('float8', '0'), ('float8', '-0'), ('float8', '0.1'), ('float8', '1e15'), ('float8', '999999999999999'),
          ('float8', '1e14'), ('float8', '123456789.125'), ('float8', '1.7976931348623157e308'), ('float8', '5e-324'),
          ('float8', '2.2250738585072014e-308'), ('float8', '-1e-5'), ('float8', '0.0001'), ('float8', '1e100'), ('float8', '5.684341886080802e-14'), ('float8', '9007199254740993'),
          ('numeric', '0'), ('numeric', '0.000'), ('numeric', '-0.5'), ('numeric', '1e100'), ('numeric', '1e-30'),
          ('numeric', '12345678901234567890.123456789012345678900'), ('numeric', '10000'), ('numeric', '100000000'),
          ('numeric', '0.00010000'), ('numeric', '9999.9999'), ('numeric', '10000.0001'), ('numeric', '-123456.7'),
          ('numeric(20,5)', '1.5'), ('price', '12.5'), ('numeric', '0.00000001'), ('numeric', '1200000000'),
          ('text', ''), ('text', 'ä "quoted" \ / slash'), ('text', E'\b\t\n\f\r\x01\x1f\x7f'), ('text', '😀 ‎ < > & '''),
          ('varchar', 'v'), ('varchar(3)', 'abc'), ('bpchar', 'b'), ('char(5)', 'ab'), ('name', 'na"me'),
          ('"char"', 'c'), ('"char"', '"'), ('"char"', E'\\'), ('"char"', ''), ('citext', 'CaSe'), ('xml', '<a b="c"/>'),
          ('bool', 't'), ('bool', 'f'), ('bytea', '\x'), ('bytea', '\x00ff5c22'),
          ('uuid', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'), ('uuid', '00000000-0000-0000-0000-000000000000'),
          ('date', '2000-01-01'), ('date', '1999-12-31'), ('date', '2024-02-29'), ('date', '0001-01-01'),
          ('date', '0001-12-31 BC'), ('date', '4713-01-01 BC'), ('date', '5874897-12-31'), ('date', '1900-03-01'),
          ('time', '00:00'), ('time', '24:00'), ('time', '23:59:59.999999'), ('time', '12:34:56.5'), ('time', '01:02:03.000001'),
          ('timetz', '12:00+00'), ('timetz', '12:00:00.25-05:30'), ('timetz', '24:00+15:59:59'), ('timetz', '12:00+05:45'),
          ('timestamp', '2000-01-01'), ('timestamp', '1999-12-31 23:59:59.999999'), ('timestamp', '2024-02-29 12:00:00.1'),
          ('timestamp', '4713-01-01 00:00:00 BC'), ('timestamp', '294276-12-31 23:59:59.999999'),
          ('timestamp', '0001-01-01 00:00:00.000001 BC'),
          ('timestamptz', '2024-07-01 12:00+02'), ('timestamptz', '1969-12-31 23:59:59.5-08'), ('timestamptz', '0044-03-15 BC'),
          ('interval', '0'), ('interval', '1 year 2 mons 3 days 04:05:06.789'), ('interval', '-1 year +2 mons -3 days +04:05'),
          ('interval', '1 mon -1 day'), ('interval', '-1 day +00:00:00.5'), ('interval', '-00:00:00.000001'),
          ('interval', '100:00:00'), ('interval', '-14 mons'), ('interval', '2 days -01:00'), ('interval', '-1 mon 1 day'),
          ('json', '{"b" : 1,  "a":[1.0, null ]}'), ('json', E' [\n1 ]'), ('json', '"x"'), ('json', '1e5'), ('json', 'null'),
          ('jsonb', '{"b": 1, "a": [1.0, null]}'), ('jsonb', '12345678901234567890.10'), ('jsonb', '"\u00e4\n"'),
          ('mood', 'sad'), ('mood', 'it''s "ok"'), ('moods', 'sad'),
          ('inet', '192.168.0.1'), ('inet', '192.168.0.1/24'), ('inet', '::1'), ('inet', '::'), ('inet', '::ffff:1.2.3.4'),
          ('inet', '::1.2.3.4'), ('inet', '2001:db8::1/64'), ('inet', '1:0:0:2::3'), ('inet', '1:0:2:3:4:5:6:7'), ('inet', '0.0.0.0/0'),
          ('cidr', '10.0.0.0/8'), ('cidr', '10.1.2.3'), ('cidr', '2001:db8::/32'), ('cidr', '::1/128'),
          ('macaddr', '08:00:2b:01:02:03'), ('macaddr8', '08:00:2b:01:02:03:04:05'),
          ('int4[]', '{}'), ('int4[]', '{1,NULL,3}'), ('int4[]', '{{1,2},{3,4}}'), ('int4[]', '{{{1},{2}},{{3},{4}}}'),
          ('int4[]', '[5:6]={7,8}'), ('text[]', '{"a\"b","",NULL,"NULL"}'), ('numeric[]', '{1.50,0}'), ('bool[]', '{t,f}'),
          ('timestamptz[]', '{2024-07-01 12:00+02}'), ('json[]', '{"{\"a\": 1}"}'), ('jsonb[]', '{"{\"a\": 1}",NULL}'),
          ('mood[]', '{sad}'), ('moods[]', '{sad,NULL}'), ('price[]', '{1.5}'), ('bytea[]', '{"\\x00ff"}'), ('uuid[]', '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'),
          ('float8[]', '{0.1,1e20}'), ('citext[]', '{Ab}'), ('inet[]', '{::1}'), ('date[]', '{2024-02-29}'), ('interval[]', '{1 day}');
        "#,
    );
    // One column for each type, in which each of its values, and a NULL, has a row.
    let types = database.sql("SELECT DISTINCT ty FROM v ORDER BY ty");
    let columns: Vec<String> = types
        .lines()
        .map(|ty| format!("\"{}\" {ty}", ty.replace('"', "''")))
        .collect();
    database.sql(&format!(
        "CREATE TABLE t (id serial PRIMARY KEY, {})",
        columns.join(", ")
    ));
    database.sql("INSERT INTO t DEFAULT VALUES");
    for ty in types.lines() {
        let column = ty.replace('"', "''");
        let ty = ty.replace('\'', "''");
        database.sql(&format!(
            "DO $do$ DECLARE l text; BEGIN FOR l IN SELECT literal FROM v WHERE ty = '{ty}' LOOP \
             EXECUTE format('INSERT INTO t (%I) VALUES (%L)', '{}', l); END LOOP; END $do$",
            column.replace('\'', "''"),
        ));
    }
    assert!(
        database
            .sql("SELECT count(*) FROM t")
            .parse::<u32>()
            .unwrap()
            > 130
    );
    all_rows_are_as_postgresql_writes_them(&database).await;
}

#[tokio::test]
async fn random_numbers_and_times_are_as_postgresql_writes_them() {
    let database = Database::new();
    database.sql(
        "SELECT setseed(0.5);
         CREATE TABLE t AS SELECT i AS id,
           ((random() - 0.5) * power(10::float8, (random() * 600 - 300)))::float8 AS f8,
           ((random() - 0.5) * power(10::float8, (random() * 70 - 36)))::float4 AS f4,
           ((random() - 0.5) * power(10::float8, (random() * 12 + 4)))::float4 AS f4_near_integers,
           ((random() - 0.5) * power(2::float8, (random() * 20 + 45)))::float8 AS f8_near_integers,
           (power(2::float8, i % 2000 - 1000))::float8 AS f8_power_of_two,
           (power(2::float8, i % 250 - 125))::float4 AS f4_power_of_two,
           round((random() * power(10::float8, (random() * 40 - 20)::int))::numeric, (random() * 30)::int) AS n,
           timestamp '2000-01-01' + (random() - 0.5) * interval '8000 years' AS ts,
           timestamptz '2000-01-01' + (random() - 0.5) * interval '8000 years' AS tstz,
           date '2000-01-01' + ((random() - 0.5) * 3000000)::int AS d,
           make_interval(0, ((random() - 0.5) * 100)::int, 0, ((random() - 0.5) * 100)::int, 0, 0, (random() - 0.5) * 1e6) AS i
         FROM generate_series(1, 3000) i",
    );
    all_rows_are_as_postgresql_writes_them(&database).await;
}

#[tokio::test]
async fn a_value_without_json_form_fails_its_row_and_names_the_column() {
    let database = Database::new();
    database.sql(
        "CREATE TABLE t (id int, f8 float8, f4 float4, n numeric, d date, ts timestamptz, a float8[]);
         INSERT INTO t VALUES (1, 'NaN'), (2, '-Infinity');
         INSERT INTO t (id, f4) VALUES (3, 'NaN');
         INSERT INTO t (id, n) VALUES (4, 'NaN'), (5, 'Infinity');
         INSERT INTO t (id, d) VALUES (6, 'infinity');
         INSERT INTO t (id, ts) VALUES (7, '-infinity');
         INSERT INTO t (id, a) VALUES (8, '{1,NaN}');
         INSERT INTO t VALUES (9);",
    );
    let loader = loader("SELECT * FROM t WHERE id IN (:keys)");
    let asked = keys(&["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    let loaded = database
        .origin()
        .load(&Unlimited, &loader, &asked)
        .await
        .unwrap();
    for (answer, said) in loaded.answers.iter().zip([
        "the column \"f8\" holds NaN, which JSON cannot express",
        "the column \"f8\" holds Infinity",
        "the column \"f4\" holds NaN",
        "the column \"n\" holds NaN",
        "the column \"n\" holds Infinity",
        "the column \"d\" holds an infinite date",
        "the column \"ts\" holds an infinite timestamp",
        "the column \"a\" holds NaN",
    ]) {
        assert!(reason(answer).starts_with(said), "{answer:?}");
    }
    assert!(
        matches!(loaded.answers[8], Answer::Row(_)),
        "{:?}",
        loaded.answers[8]
    );
}

#[tokio::test]
async fn queries_whose_rows_have_no_json_form_are_refused_when_they_are_prepared() {
    let database = Database::new();
    database.sql(
        "CREATE TABLE t (id int, p point, r int4range, v tsvector, m money, b bit(3), ids int2vector);
         CREATE TYPE pair AS (a int, b int);",
    );
    let origin = database.origin();
    for (columns, said) in [
        ("id, p", "the column \"p\" has the type POINT"),
        ("id, r", "the column \"r\" has the type INT4RANGE"),
        ("id, v", "the column \"v\" has the type tsvector"),
        ("id, m", "the column \"m\" has the type MONEY"),
        ("id, ids", "the column \"ids\" has the type int2vector"),
        (
            "id, ROW(1,2)::pair AS pair",
            "the column \"pair\" has the type pair",
        ),
        (
            "id, 1 AS a, 2 AS a",
            "two columns \"a\": give them different names",
        ),
        (
            "id AS item",
            "the rows have no column \"id\" to say which key they answer, but item",
        ),
    ] {
        let loader = loader(&format!("SELECT {columns} FROM t WHERE id IN (:keys)"));
        let error = origin.prepare(&Unlimited, &loader).await.unwrap_err();
        assert!(matches!(error, OriginError::Permanent { .. }), "{error:?}");
        assert!(
            error.explain().contains(said),
            "{columns}: {}",
            error.explain()
        );
    }
    origin
        .prepare(
            &Unlimited,
            &loader("SELECT * FROM (SELECT 1 AS id) t WHERE id IN (:keys)"),
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn a_value_over_the_bound_fails_its_entry() {
    let database = Database::new();
    database.sql(
        "CREATE TABLE t AS SELECT i AS id, repeat('x', i) AS text FROM generate_series(1, 200) i",
    );
    let mut loader = loader("SELECT * FROM t WHERE id IN (:keys)");
    // {"id":75,"text":"…"} is 19 bytes more than the text.
    loader.max_value_bytes = 94;
    let loaded = database
        .origin()
        .load(&Unlimited, &loader, &keys(&["75", "76"]))
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
    let database = Database::new();
    database.sql("CREATE TABLE t (id int, n int4); INSERT INTO t VALUES (1, 1077936128)");
    let origin = postgres_origin(
        &database.server.url(&database.name),
        Duration::from_secs(30),
    );
    let loader = loader("SELECT * FROM t WHERE id IN (:keys)");
    let load = || async { origin.load(&Unlimited, &loader, &keys(&["1"])).await };
    let first = load().await.unwrap();
    assert_eq!(first.answers, [crate::row("{\"id\":1,\"n\":1077936128}")]);
    // The same bytes as a float4 are 3. A connection that prepared the query before, and one that did not:
    for keep in [1, 0] {
        database
            .sql("DROP TABLE t; CREATE TABLE t (id int, n float4); INSERT INTO t VALUES (1, 3)");
        origin.set_idle_max(keep);
        let error = load().await.unwrap_err();
        assert!(error.is_transient(), "{error:?}");
        assert_eq!(
            load().await.unwrap().answers,
            [crate::row("{\"id\":1,\"n\":3}")]
        );
        database.sql(
            "DROP TABLE t; CREATE TABLE t (id int, n int4); INSERT INTO t VALUES (1, 1077936128)",
        );
        assert!(load().await.unwrap_err().is_transient());
        assert_eq!(load().await.unwrap().answers, first.answers);
    }
}
