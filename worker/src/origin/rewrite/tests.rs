//! What queries become, row by row, and that nothing else of them is touched.

use proptest::prelude::*;

use super::*;

const POSTGRES: Dialect = Dialect::Postgres;
const MYSQL: Dialect = Dialect::MySql;
const SQLITE: Dialect = Dialect::Sqlite;

#[track_caller]
fn becomes(dialect: Dialect, query: &str, sql: &str, key_column: Option<&str>) {
    let rewritten = rewrite(query, dialect).unwrap_or_else(|error| panic!("{query}: {error}"));
    assert_eq!(rewritten.sql, sql);
    let columns: Vec<&str> = key_column.into_iter().collect();
    assert_eq!(rewritten.key_columns, columns, "{query}");
}

#[track_caller]
fn refused(dialect: Dialect, query: &str, message: &str) {
    let error = rewrite(query, dialect).expect_err(query).to_string();
    assert!(error.contains(message), "{query}: {error}");
}

#[test]
fn a_batch_becomes_an_array_in_postgresql() {
    for (query, sql, column) in [
        (
            "SELECT * FROM p WHERE id IN (:keys)",
            "SELECT * FROM p WHERE id = ANY($1)",
            Some("id"),
        ),
        ("… WHERE ID in(:keys);", "… WHERE ID = ANY($1);", Some("id")),
        (
            "WHERE p.\"Id\" IN ( :keys )",
            "WHERE p.\"Id\" = ANY($1)",
            Some("Id"),
        ),
        (
            "WHERE \"a\"\"b\" IN (:keys)",
            "WHERE \"a\"\"b\" = ANY($1)",
            Some("a\"b"),
        ),
        (
            "WHERE s.p.Id IN\n(\n:keys)",
            "WHERE s.p.Id = ANY($1)",
            Some("id"),
        ),
        (
            "WHERE id::text IN (:keys)",
            "WHERE id::text = ANY($1)",
            Some("id"),
        ),
        (
            "WHERE lower(id) IN (:keys)",
            "WHERE lower(id) = ANY($1)",
            None,
        ),
        ("WHERE id = ANY(:keys)", "WHERE id = ANY($1)", Some("id")),
        (
            "FROM unnest(:keys::bigint[]) k",
            "FROM unnest($1::bigint[]) k",
            None,
        ),
        (
            "WHERE id IN (SELECT unnest(:keys))",
            "WHERE id IN (SELECT unnest($1))",
            None,
        ),
        (
            "SELECT 1 WHERE id IN (:keys) UNION SELECT 2 WHERE x.id IN (:keys)",
            "SELECT 1 WHERE id = ANY($1) UNION SELECT 2 WHERE x.id = ANY($1)",
            Some("id"),
        ),
    ] {
        becomes(POSTGRES, query, sql, column);
        assert_eq!(
            rewrite(query, POSTGRES).unwrap().placeholder,
            Placeholder::Keys
        );
    }
}

#[test]
fn a_batch_becomes_a_json_array_in_sqlite() {
    for (query, sql, column) in [
        (
            "WHERE p.Id IN (:keys)",
            "WHERE p.Id IN (SELECT value FROM json_each(?1))",
            Some("Id"),
        ),
        (
            "WHERE [my id] IN (:keys)",
            "WHERE [my id] IN (SELECT value FROM json_each(?1))",
            Some("my id"),
        ),
        (
            "WHERE `i``d` IN (:keys)",
            "WHERE `i``d` IN (SELECT value FROM json_each(?1))",
            Some("i`d"),
        ),
        (
            "JOIN json_each(:keys) k ON k.value = id",
            "JOIN json_each(?1) k ON k.value = id",
            None,
        ),
    ] {
        becomes(SQLITE, query, sql, column);
    }
}

#[test]
fn a_batch_becomes_a_list_of_any_length_in_mysql() {
    for (query, one, three, column) in [
        (
            "SELECT * FROM p WHERE id IN (:keys)",
            "SELECT * FROM p WHERE id IN (?)",
            "SELECT * FROM p WHERE id IN (?, ?, ?)",
            Some("id"),
        ),
        (
            "… WHERE p.`I``d` in( :keys );",
            "… WHERE p.`I``d` in( ? );",
            "… WHERE p.`I``d` in( ?, ?, ? );",
            Some("I`d"),
        ),
        (
            "SELECT 1 WHERE id IN (:keys) UNION SELECT 2 WHERE x.id IN (:keys) -- ?",
            "SELECT 1 WHERE id IN (?) UNION SELECT 2 WHERE x.id IN (?) -- ?",
            "SELECT 1 WHERE id IN (?, ?, ?) UNION SELECT 2 WHERE x.id IN (?, ?, ?) -- ?",
            Some("id"),
        ),
        (
            "WHERE sku COLLATE utf8mb4_bin IN (:keys)",
            "WHERE sku COLLATE utf8mb4_bin IN (?)",
            "WHERE sku COLLATE utf8mb4_bin IN (?, ?, ?)",
            Some("sku"),
        ),
        (
            "WHERE lower(id) IN (:keys)",
            "WHERE lower(id) IN (?)",
            "WHERE lower(id) IN (?, ?, ?)",
            None,
        ),
        (
            "SELECT /*!50000 STRAIGHT_JOIN */ 1 WHERE id /*M!100100 IN (:keys) */",
            "SELECT /*!50000 STRAIGHT_JOIN */ 1 WHERE id /*M!100100 IN (?) */",
            "SELECT /*!50000 STRAIGHT_JOIN */ 1 WHERE id /*M!100100 IN (?, ?, ?) */",
            Some("id"),
        ),
    ] {
        becomes(MYSQL, query, one, column);
        let rewritten = rewrite(query, MYSQL).unwrap();
        assert_eq!(rewritten.with_lists_of(1), one);
        assert_eq!(rewritten.with_lists_of(3), three);
        for place in rewritten.lists {
            assert_eq!(&one[place], "?");
        }
    }
    let other = rewrite("WHERE id IN (:keys)", POSTGRES).unwrap();
    assert_eq!(other.with_lists_of(3), other.sql);
}

#[test]
fn one_key_becomes_as_many_parameters_as_it_is_written_in_mysql() {
    let query = "WHERE id=:key AND :key <> '' AND x->'$.key' > @a := 1";
    let sql = "WHERE id=? AND ? <> '' AND x->'$.key' > @a := 1";
    becomes(MYSQL, query, sql, None);
    assert_eq!(rewrite(query, MYSQL).unwrap().lists, [9..10, 15..16]);
}

#[test]
fn one_key_becomes_one_parameter() {
    becomes(
        POSTGRES,
        "WHERE id=:key AND :key <> ''",
        "WHERE id=$1 AND $1 <> ''",
        None,
    );
    becomes(SQLITE, "WHERE id = :key", "WHERE id = ?1", None);
    assert_eq!(
        rewrite("SELECT :key", POSTGRES).unwrap().placeholder,
        Placeholder::Key
    );
}

#[test]
fn what_only_looks_like_a_placeholder_is_left_alone() {
    for text in [
        "':keys'",
        "'it''s :keys'",
        "E'\\':keys'",
        "e'a\\\\' ",
        "\":keys\"",
        "\"a\"\":keys\"",
        "$$ :keys $$",
        "$q$ $$ :keys $q$",
        "$ä$ :key $ä$",
        "-- :keys\n",
        "/* :keys */",
        "/* /* :keys */ :key */",
        "x::keys",
        "x::key",
        ":keyset",
        ":keys_",
        "a[1:keys]",
        "a$b$ ",
        "a := 1",
        "'\\' ",
        "U&'\\0061:key' ",
    ] {
        let query = format!("SELECT {text} WHERE id IN (:keys)");
        becomes(
            POSTGRES,
            &query,
            &format!("SELECT {text} WHERE id = ANY($1)"),
            Some("id"),
        );
    }
    for text in [
        "':keys'",
        "E':keys'",
        "\":keys\"",
        "`:keys`",
        "[:keys]",
        "-- :key\n",
        "/* /* :keys */",
        "x -> '$.a'",
    ] {
        let query = format!("SELECT {text} WHERE id = :key");
        becomes(
            SQLITE,
            &query,
            &format!("SELECT {text} WHERE id = ?1"),
            None,
        );
    }
    for text in [
        "':keys'",
        "'it''s :keys'",
        "'it\\'s :keys'",
        "'a\\\\'",
        "_utf8mb4'\\':key'",
        "\":keys\"",
        "\"a\\\":keys\"",
        "\"a\"\":key\"",
        "`:keys`",
        "`a``:keys`",
        "`a\\`",
        "-- :key\n",
        "--\t:key\n",
        "# :key ' \n",
        "1--1",
        "/* :keys */",
        "/* /* :keys */",
        "/*+ MAX_EXECUTION_TIME(1000) :key */",
        "/*! '*/ :keys' */",
        "@keys",
        "@@session.sql_mode",
        "@`:keys`",
        "$keys",
        "a$b",
        "x -> '$.a'",
    ] {
        let query = format!("SELECT {text} WHERE id IN (:keys)");
        let sql = format!("SELECT {text} WHERE id IN (?)");
        becomes(MYSQL, &query, &sql, Some("id"));
    }
    becomes(MYSQL, "SELECT :key -- :keys", "SELECT ? -- :keys", None);
    becomes(MYSQL, "SELECT :key --", "SELECT ? --", None);
    becomes(SQLITE, "SELECT :key /* :keys", "SELECT ?1 /* :keys", None);
    becomes(POSTGRES, "SELECT :key -- :keys", "SELECT $1 -- :keys", None);
}

#[test]
fn queries_that_cannot_be_loaders_are_refused_with_place_and_remedy() {
    refused(POSTGRES, "SELECT 1", "no placeholder: write IN (:keys)");
    refused(
        POSTGRES,
        "WHERE id IN (:keys)\n AND x = :key",
        "both :keys (at 1:14) and :key (at 2:10)",
    );
    refused(
        POSTGRES,
        "WHERE id NOT IN (:keys)",
        "at 1:18 asks for all rows but",
    );
    refused(
        POSTGRES,
        "WHERE NOT p.id IN (:keys)",
        "asks for all rows but",
    );
    refused(
        POSTGRES,
        "WHERE id IN (:keys, 5)",
        ":keys at 1:14 does not stand alone",
    );
    refused(
        POSTGRES,
        "WHERE id IN (5, :keys)",
        ":keys at 1:17 does not stand alone",
    );
    refused(POSTGRES, "WHERE id IN (:keys", "does not stand alone");
    refused(
        POSTGRES,
        "WHERE a IN (:keys) OR b IN (:keys)",
        "with a (at 1:13) and with b (at 1:29)",
    );
    refused(
        POSTGRES,
        "WHERE id IN (:keys) AND x = $2",
        "the parameter $2 at 1:29 has no value",
    );
    refused(
        POSTGRES,
        "SELECT 'a\nWHERE id IN (:keys)",
        "the string that begins at 1:8 has no end",
    );
    refused(
        POSTGRES,
        "SELECT :key, \"a",
        "the quoted name that begins at 1:14",
    );
    refused(
        POSTGRES,
        "SELECT :key, $a$ $$",
        "the string that begins at 1:14",
    );
    refused(
        POSTGRES,
        "/* SELECT /* :key */",
        "the comment that begins at 1:1",
    );
    for (query, message) in [
        ("WHERE id NOT IN (:keys)", "at 1:18 asks for all rows but"),
        ("WHERE id IN (:keys, 5)", "does not stand alone"),
        (
            "WHERE id = ANY(:keys)",
            ":keys at 1:16 is not in IN ( ): MySQL takes it in IN (:keys) only",
        ),
        (
            "WHERE id = :key AND x = ?",
            "the parameter ? at 1:25 has no value",
        ),
        (
            "WHERE id = :key /*! AND x = ? */",
            "the parameter ? at 1:29 has no value",
        ),
        ("WHERE id = :key AND x = :other", "the parameter :other"),
        ("SELECT :key, 'a\\'", "the string that begins at 1:14"),
        ("SELECT :key, \"a\\\"", "the string that begins at 1:14"),
        ("SELECT :key, `a\\", "the quoted name that begins at 1:14"),
        ("SELECT :key /* a", "the comment that begins at 1:13"),
        ("SELECT :key /*!50000 a", "the comment that begins at 1:13"),
        ("SELECT 1 -- :key", "no placeholder"),
    ] {
        refused(MYSQL, query, message);
    }
    refused(SQLITE, "WHERE id = :keys", ":keys at 1:12 is not in IN ( )");
    refused(
        SQLITE,
        "WHERE id = :key AND x = :other",
        "the parameter :other at 1:25",
    );
    refused(
        SQLITE,
        "WHERE id = :key AND x = ?",
        "the parameter ? at 1:25",
    );
    refused(
        SQLITE,
        "SELECT [a, :key",
        "the quoted name that begins at 1:8",
    );
}

#[test]
fn a_second_statement_is_found_wherever_it_hides() {
    for query in [
        "SELECT 1",
        "SELECT 1;",
        "SELECT ';' ; -- ; SELECT 2\n;",
        "SELECT 1 /* ; */",
        "SELECT '\\'; SELECT 2'",
    ] {
        assert_eq!(refuse_several(query, MYSQL), Ok(()), "{query}");
    }
    for (query, said) in [
        ("SELECT 1; SELECT 2", "the ';' at 1:9"),
        ("SELECT 1 --1; SELECT 2", "the ';' at 1:13"),
        ("SELECT 1 /*! ; SELECT 2 */", "the ';' at 1:14"),
        ("SELECT '\\\\'; SELECT 2", "the ';' at 1:12"),
        (
            "SELECT 1; SELECT 'unclosed",
            "the string that begins at 1:18",
        ),
    ] {
        let error = refuse_several(query, MYSQL).expect_err(query).to_string();
        assert!(error.contains(said), "{query}: {error}");
    }
}

/// Pieces of SQL in which a placeholder is none, and that end where they end.
fn opaque() -> impl Strategy<Value = String> {
    let content = "[a-z:keys ]{0,12}";
    prop_oneof![
        content.prop_map(|s| format!("'{s}'")),
        content.prop_map(|s| format!("\"{s}\"")),
        content.prop_map(|s| format!("E'{s}\\'{s}'")),
        content.prop_map(|s| format!("$t${s}$t$")),
        content.prop_map(|s| format!("/*{s}/*{s}*/*/")),
        content.prop_map(|s| format!("--{s}\n")),
        "(keys?)?[a-z]{0,6}".prop_map(|s| format!("x::{s}")),
        "[a-zéß0-9 ,.+=\n]{0,12}".prop_map(|s| s),
    ]
}

/// The same in MySQL.
fn opaque_in_mysql() -> impl Strategy<Value = String> {
    let content = "[a-z:keys? ]{0,12}";
    prop_oneof![
        content.prop_map(|s| format!("'{s}\\'{s}''{s}'")),
        content.prop_map(|s| format!("\"{s}\\\"{s}'\"")),
        content.prop_map(|s| format!("`{s}\\``{s}`")),
        content.prop_map(|s| format!("/*{s}/*{s}*/")),
        content.prop_map(|s| format!("#{s}'\n")),
        content.prop_map(|s| format!("-- {s}`\n")),
        "@[a-z]{0,6}".prop_map(|s| s),
        "[a-zéß0-9 ,.+=\n]{0,12}".prop_map(|s| s),
    ]
}

proptest! {
    #[test]
    fn nothing_but_the_placeholder_is_touched(
        before in prop::collection::vec(opaque(), 0..8),
        after in prop::collection::vec(opaque(), 0..8),
    ) {
        // A space between: two pieces side by side may be another piece.
        let (before, after) = (before.join(" "), after.join(" "));
        let query = format!("{before} id IN (:keys) {after}");
        let rewritten = rewrite(&query, Dialect::Postgres).unwrap();
        prop_assert_eq!(rewritten.sql, format!("{before} id = ANY($1) {after}"));
    }

    #[test]
    fn lists_of_any_length_differ_in_nothing_else(
        before in prop::collection::vec(opaque_in_mysql(), 0..8),
        after in prop::collection::vec(opaque_in_mysql(), 0..8),
        keys in 1_usize..40,
    ) {
        let (before, after) = (before.join(" "), after.join(" "));
        let query = format!("{before} id IN (:keys) {after}");
        let rewritten = rewrite(&query, MYSQL).unwrap();
        let list = vec!["?"; keys].join(", ");
        prop_assert_eq!(rewritten.with_lists_of(keys), format!("{before} id IN ({list}) {after}"));
    }

    #[test]
    fn no_text_is_too_odd(query in "[a-z:keysIN()'\"$/*!#\\-\\[\\]`?@E\\\\.,é \n]{0,60}") {
        for dialect in [POSTGRES, MYSQL, SQLITE] {
            if let Err(error) = rewrite(&query, dialect) {
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }
}

/// What becomes of a query for keys of several parts, for up to two of them in MySQL, and which columns they are.
#[track_caller]
fn of_parts(dialect: Dialect, query: &str, sql: &str, columns: &[&str]) {
    let rewritten = rewrite(query, dialect).unwrap_or_else(|error| panic!("{query}: {error}"));
    assert_eq!(rewritten.with_lists_of(2), sql);
    assert_eq!(rewritten.key_columns, columns, "{query}");
    assert_eq!(rewritten.placeholder, Placeholder::Keys);
}

#[test]
fn a_row_is_compared_with_keys_of_as_many_parts() {
    let query = "SELECT * FROM t WHERE (t.tenant_id, \"Id\") IN (:keys) AND x";
    of_parts(
        POSTGRES,
        query,
        "SELECT * FROM t WHERE (t.tenant_id, \"Id\") IN (SELECT * FROM unnest($1, $2)) AND x",
        &["tenant_id", "Id"],
    );
    let typing = rewrite(query, POSTGRES).unwrap().typing;
    assert_eq!(
        typing.unwrap(),
        "SELECT * FROM t WHERE (t.tenant_id = ANY($1) AND \"Id\" = ANY($2)) AND x"
    );
    of_parts(
        SQLITE,
        query,
        "SELECT * FROM t WHERE (t.tenant_id, \"Id\") IN (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(?1)) AND x",
        &["tenant_id", "Id"],
    );
    of_parts(
        MYSQL,
        "SELECT * FROM t WHERE a AND(t.tenant_id, `Id`)IN( :keys ) AND x",
        "SELECT * FROM t WHERE a AND((t.tenant_id = ? AND `Id` = ?) OR (t.tenant_id = ? AND `Id` = ?)) AND x",
        &["tenant_id", "Id"],
    );
    of_parts(
        POSTGRES,
        "WHERE x OR ROW (a::text,lower(b),c) IN (:keys)",
        "WHERE x OR ROW (a::text,lower(b),c) IN (SELECT * FROM unnest($1, $2, $3))",
        &[],
    );
}

#[test]
fn a_row_has_two_parts_at_least_and_stands_before_in() {
    // Brackets around one column, and the arguments of a function, are one value.
    for (query, sql) in [
        ("WHERE (id) IN (:keys)", "WHERE (id) = ANY($1)"),
        (
            "WHERE coalesce(a, b) IN (:keys)",
            "WHERE coalesce(a, b) = ANY($1)",
        ),
        (
            "WHERE \"f\" (a, b) IN (:keys)",
            "WHERE \"f\" (a, b) = ANY($1)",
        ),
    ] {
        becomes(POSTGRES, query, sql, None);
    }
    for dialect in [POSTGRES, MYSQL, SQLITE] {
        for query in [
            "WHERE NOT (a, b) IN (:keys)",
            "WHERE (a, b) NOT IN (:keys)",
            "WHERE NOT ROW(a, b) IN (:keys)",
        ] {
            refused(dialect, query, "asks for all rows but those of the keys");
        }
        refused(
            dialect,
            "WHERE (a, b) IN (:keys) AND (b, a) IN (:keys)",
            "compared with a, b (at 1:18) and with b, a",
        );
        refused(
            dialect,
            "WHERE (a, b) IN (:keys) AND\n a IN (:keys)",
            "the keys at 1:18 have 2 parts, and those at 2:8 have 1",
        );
        for query in [
            "WHERE (a, b) = :key",
            "WHERE (a, b) IN (:key)",
            "WHERE a = :key.a",
        ] {
            refused(
                dialect,
                query,
                "for keys of several parts write (a, b) IN (:keys)",
            );
        }
    }
}
