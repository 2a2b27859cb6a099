//! What [`MariaDb`] promises.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use stoke_harness::MariaDb;

#[test]
fn a_mariadb_is_usable_outlives_a_crash_and_is_gone_after_its_drop() {
    let mariadb = MariaDb::start().unwrap();
    let rows = "CREATE TABLE t (a INT, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, NULL); SELECT * FROM t ORDER BY a;";
    assert_eq!(mariadb.sql("shop", rows).unwrap(), "1\tx\n2\tNULL");

    mariadb.kill().unwrap();
    mariadb.sql("shop", "SELECT 1").unwrap_err();
    mariadb.restart().unwrap();
    assert_eq!(mariadb.sql("shop", "SELECT count(*) FROM t").unwrap(), "2");
    assert_eq!(mariadb.sent_by("stoke").unwrap(), []);
    let ours = mariadb.sent_by("root").unwrap();
    let asked = ours.iter().find(|sent| sent.text.contains("count(*)"));
    assert!(asked.is_some_and(|sent| sent.is_statement()), "{ours:?}");

    let port = mariadb.port();
    drop(mariadb);
    std::net::TcpStream::connect(("127.0.0.1", port)).unwrap_err();
}

#[test]
fn a_server_that_does_not_start_says_why() {
    let error = MariaDb::start_with(&[("no-such-setting", "1")]).unwrap_err();
    assert!(
        format!("{error:#}").contains("no-such-setting"),
        "{error:#}"
    );
}

#[test]
fn a_failing_statement_is_an_error_with_mariadbs_own_words() {
    let mariadb = MariaDb::start().unwrap();
    let error = mariadb.sql("shop", "SELECT * FROM nothing").unwrap_err();
    assert!(format!("{error:#}").contains("doesn't exist"), "{error:#}");
}
