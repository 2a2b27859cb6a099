//! `stoke rank`: what logs and lists ask for, the most requested first, as a list that warms what its log would.

use std::fmt::Write as _;

use stoke_harness::{Program, ServerDir};

use crate::command_line::{Ran, ended};

/// Runs it with these arguments.
fn rank(args: &[&str], stdin: &str) -> Ran {
    let launch = Program::new(env!("CARGO_BIN_EXE_stoke")).unwrap();
    let launch = launch.arg("rank").args(args).stdin(stdin).unwrap();
    ended(&launch.start().unwrap())
}

fn hit(url: &str) -> String {
    format!("h - - [22/Nov/2026:12:00:00 +0000] \"GET {url} HTTP/1.1\" 200 5\n")
}

#[test]
fn a_logs_keys_are_listed_by_how_often_they_were_asked_for() {
    let log = [
        hit("/product/b%20c").repeat(2),
        hit("/p/a").repeat(3),
        hit("/product/one-of-many"),
        hit("/style.css"),
        hit("/product/a"),
    ];
    let urls = ["--log", "-", "--url", "/product/{id}", "--url", "/p/{sku}"];
    let ran = rank(&urls, &log.concat());
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "key,priority\na,4\nb c,2\none-of-many,1\n"),
        "{ran:?}"
    );
    for told in [
        "8 lines",
        "1 ask for no key that is wanted (as \"/style.css\")",
        "3 keys",
    ] {
        assert!(ran.errors.contains(told), "{ran:?}");
    }
    let json = [&urls[..], &["--top", "1", "--output", "json"]].concat();
    assert_eq!(
        rank(&json, &log.concat()).out,
        "{\"key\":\"a\",\"priority\":4}\n"
    );
}

#[test]
fn a_key_may_have_several_columns_but_a_list_has_the_same_for_all() {
    let log = [hit("/eu/p/7").repeat(2), hit("/p/7?in=us")].concat();
    let urls = [
        "--log",
        "-",
        "--url",
        "/{tenant}/p/{id}",
        "--url",
        "/p/{id}?in={tenant}",
    ];
    assert_eq!(
        rank(&urls, &log).out,
        "tenant,id,priority\neu,7,2\nus,7,1\n"
    );
    let by_columns = [
        "--keys",
        "-",
        "--key-column",
        "tenant",
        "--key-column",
        "id",
    ];
    assert_eq!(
        rank(&by_columns, "id,tenant,count\n7,us,1\n7,eu,3\n").out,
        "tenant,id,priority\neu,7,3\nus,7,1\n"
    );
    let ran = rank(
        &[
            "--log",
            "-",
            "--url",
            "/{tenant}/p/{id}",
            "--url",
            "/p/{id}",
        ],
        &log,
    );
    assert_eq!(ran.code, 2);
    assert!(ran.errors.contains("different columns"), "{ran:?}");
}

#[test]
fn what_memory_does_not_hold_is_ranked_in_a_folder_where_nothing_is_left() {
    let files = ServerDir::new("ranking").unwrap();
    let at = |name: &str| files.path().join(name).display().to_string();
    let (list, spill) = (at("ranked.csv"), at("spill"));
    // Key n comes n % 5 + 1 times, twice with a priority of its own.
    let mut keys = String::from("key,priority,note\n");
    for n in 0..60_000 {
        writeln!(keys, "a-key-that-is-somewhat-long:{n},{},x", n % 5).unwrap();
    }
    for n in 0..60_000 {
        writeln!(keys, "a-key-that-is-somewhat-long:{n},1,x").unwrap();
    }
    std::fs::write(at("keys.csv"), keys).unwrap();
    let ran = rank(
        &[
            "--keys",
            &format!("file://{}", at("keys.csv")),
            "--memory",
            "1MiB",
            "--spill-dir",
            &spill,
            "--file",
            &list,
        ],
        "",
    );
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{ran:?}");
    assert_eq!(std::fs::read_dir(&spill).unwrap().count(), 0);
    let list = std::fs::read_to_string(&list).unwrap();
    let mut lines = list.lines();
    assert_eq!(lines.next(), Some("key,note,priority"));
    let counts: Vec<u32> = lines
        .map(|line| line.rsplit_once(',').unwrap().1.parse().unwrap())
        .collect();
    let expected: Vec<u32> = (1..=5).rev().flat_map(|count| [count; 12_000]).collect();
    assert_eq!(counts, expected);
}

#[test]
fn a_list_with_counts_is_one_with_priorities() {
    let ran = rank(
        &["--keys", "-"],
        "key,count,region\na,5,eu\nb,9,eu\na,5,eu\n",
    );
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "key,region,priority\na,eu,10\nb,eu,9\n"),
        "{ran:?}"
    );
}

#[test]
fn what_is_null_is_empty_in_a_list() {
    let ran = rank(
        &["--keys", "-"],
        "{\"key\":\"a\",\"region\":null,\"count\":5}\n{\"key\":\"a\",\"region\":\"\",\"count\":1}\n",
    );
    assert_eq!(
        (ran.code, ran.out.as_str()),
        (0, "key,region,priority\na,,6\n"),
        "{ran:?}"
    );
}

#[test]
fn what_is_no_list_is_told_and_leaves_no_file() {
    let files = ServerDir::new("ranking").unwrap();
    let list = files.path().join("list.csv").display().to_string();
    for (args, stdin, says) in [
        (
            vec!["--log", "/nowhere.log", "--url", "/{id}"],
            "",
            "cannot open the log /nowhere.log",
        ),
        (
            vec!["--log", "-", "--url", "/product/{id}"],
            "",
            "it asks for no keys",
        ),
        (
            vec!["--log", "-", "--url", "/product/{id}"],
            "rubbish\nmore of it\n",
            "is an access",
        ),
        (vec!["--log", "-", "--url", "product"], "", "slash"),
        (
            vec!["--keys", "-"],
            "id,priority\n1,2\n",
            "there is no column \"key\"",
        ),
        (vec!["--keys", "-"], "key,priority\n1,many\n", "line 2"),
        (
            vec!["--keys", "-"],
            "{\"key\":1,\"a\":2}\n{\"key\":2}\n",
            "has no column \"a\"",
        ),
        (
            vec!["--keys", "-", "--key-column", "priority"],
            "id,priority\n1,2\n",
            "no part of it",
        ),
        (
            vec!["--keys", "-", "--key-column", "id", "--key-column", "id"],
            "id\n1\n",
            "named twice",
        ),
        (
            vec!["--keys", "-", "--key-column", "tenant"],
            "key,count\na,1\n",
            "has no column \"tenant\"",
        ),
        (vec![], "", "--log"),
        (vec!["--keys", "-", "--memory", "5"], "", "write a size"),
    ] {
        let ran = rank(&[&args[..], &["--file", &list]].concat(), stdin);
        assert_eq!(ran.code, 2, "{args:?} {ran:?}");
        assert!(ran.errors.contains(says), "{args:?} {ran:?}");
        assert_eq!(
            std::fs::read_dir(files.path()).unwrap().count(),
            0,
            "{args:?}"
        );
    }
}
