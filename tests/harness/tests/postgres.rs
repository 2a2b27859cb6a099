//! What [`Postgres`] promises.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use stoke_harness::{Postgres, peak_in_a_second};

fn now_ms() -> u64 {
    u64::try_from(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_millis(),
    )
    .unwrap()
}

#[test]
fn a_postgres_is_usable_outlives_a_crash_and_is_gone_after_its_drop() {
    let postgres = Postgres::start().unwrap();
    postgres
        .psql("postgres", "CREATE DATABASE shop; CREATE DATABASE other;")
        .unwrap();
    let rows = "CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x'), (2, NULL); SELECT * FROM t ORDER BY a;";
    assert_eq!(postgres.psql("shop", rows).unwrap(), "1|x\n2|");

    postgres.kill().unwrap();
    postgres.psql("shop", "SELECT 1").unwrap_err();
    postgres.restart().unwrap();
    assert_eq!(
        postgres.psql("shop", "SELECT count(*) FROM t").unwrap(),
        "2"
    );

    let log = postgres.log_path();
    let process = format!("/proc/{}", postgres.pid());
    assert!(log.exists() && Path::new(&process).exists());
    drop(postgres);
    assert!(!log.parent().unwrap().exists() && !Path::new(&process).exists());
}

#[test]
fn a_failing_statement_is_an_error_with_postgres_own_words() {
    let postgres = Postgres::start().unwrap();
    let error = postgres
        .psql("postgres", "SELECT * FROM nothing")
        .unwrap_err();
    assert!(
        format!("{error:#}").contains(r#"relation "nothing" does not exist"#),
        "{error:#}"
    );
}

#[test]
fn every_statement_of_an_application_is_counted_with_its_time() {
    let postgres = Postgres::start().unwrap();
    let begun = now_ms();
    // pgbench asks once a transaction with each protocol; psql is another application.
    for protocol in ["simple", "extended", "prepared"] {
        let script = postgres.log_path().with_file_name("script.sql");
        std::fs::write(&script, "SELECT 1,\n  2;\n").unwrap();
        let status = Command::new(pgbench())
            .args([
                "--no-vacuum",
                "--transactions=25",
                "--client=4",
                "--protocol",
                protocol,
                "--file",
            ])
            .arg(&script)
            .arg(format!(
                "{}?application_name=bench-{protocol}",
                postgres.url("postgres")
            ))
            .output()
            .unwrap();
        assert!(
            status.status.success(),
            "{}",
            String::from_utf8_lossy(&status.stderr)
        );
    }
    postgres.psql("postgres", "SELECT 3").unwrap();
    let ended = now_ms();

    for protocol in ["simple", "extended", "prepared"] {
        let mut statements = postgres.statements(&format!("bench-{protocol}")).unwrap();
        // pgbench itself looks once what kind of database it is in.
        statements.retain(|statement| statement.text.starts_with("SELECT 1"));
        assert_eq!(statements.len(), 100, "{protocol}");
        assert!(
            statements
                .iter()
                .all(|statement| statement.text.starts_with("SELECT 1,\n  2")),
            "{statements:?}"
        );
        assert!(
            statements
                .iter()
                .all(|statement| (begun..=ended).contains(&statement.at_ms)),
            "{statements:?}"
        );
        let peak = peak_in_a_second(&statements);
        assert!((1..=100).contains(&peak), "{peak}");
    }
    assert_eq!(postgres.statements("bench").unwrap(), []);
}

/// pgbench comes with the server, and is, as that is, outside PATH.
fn pgbench() -> std::path::PathBuf {
    let mut found: Vec<_> = std::fs::read_dir("/usr/lib/postgresql")
        .unwrap()
        .map(|version| version.unwrap().path().join("bin/pgbench"))
        .filter(|path| path.exists())
        .collect();
    found.sort();
    found.pop().unwrap()
}
