//! The examples in `deploy/examples`: each can be used as it stands and with every optional setting, and together they
//! have every setting that there is.
//!
//! `#key = value` and `#[table]` are optional settings, `# text` is prose, `#or key = value` may stand in place of the setting
//! above it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::{CoordinatorConfig, Faults, Known, Surroundings, Table, WorkerConfig, examine};
use crate::job_file;

type Keys = BTreeSet<(String, String)>;

fn example(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/examples");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// The setting that a commented line has.
fn optional(line: &str) -> Option<&str> {
    let setting = line.strip_prefix('#')?;
    let starts = setting.starts_with(|char: char| char == '[' || char.is_ascii_lowercase());
    (starts && !setting.starts_with("or ")).then_some(setting)
}

/// The text with all optional settings, and with each alternative in place of what it may stand for.
fn uncommented(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut alternatives = Vec::new();
    for line in text.lines() {
        if let Some(alternative) = line.strip_prefix("#or ") {
            alternatives.push((lines.len() - 1, alternative));
        }
        lines.push(optional(line).unwrap_or(line));
    }
    let mut texts = vec![lines.join("\n")];
    for (replaced, alternative) in alternatives {
        assert!(
            lines[replaced].contains(" = "),
            "{alternative} follows no setting"
        );
        let mut lines = lines.clone();
        lines[replaced] = alternative;
        texts.push(lines.join("\n"));
    }
    texts
}

/// Reads an example in all its forms; gives the settings that the reader knows, and those that the example has.
fn check<T>(
    name: &str,
    take: impl Fn(&Table<'_>) -> Option<T>,
) -> Result<(Keys, Keys), (String, Faults)> {
    let mut known = Known::new();
    let mut there = Keys::new();
    let example = example(name);
    let texts = uncommented(&example);
    for text in std::iter::once(example).chain(texts) {
        let (read, asked) = examine(&text, &Surroundings::of_tests(), &take);
        read.map_err(|faults| (text.clone(), faults))?;
        for (table, keys) in asked {
            known.entry(table).or_default().extend(keys);
        }
        settings(&text.parse().unwrap(), "", &known, &mut there);
    }
    let flat = |(table, keys): (String, BTreeSet<&'static str>)| {
        keys.into_iter()
            .map(move |key| (table.clone(), key.to_owned()))
    };
    Ok((known.into_iter().flat_map(flat).collect(), there))
}

/// All settings of a table, by the patterns that the reader knows tables by.
fn settings(table: &toml::Table, pattern: &str, known: &Known, found: &mut Keys) {
    let own = known.get(pattern);
    for (key, value) in table {
        let name = if own.is_some_and(|own| own.contains("*")) {
            "*"
        } else {
            key
        };
        let is_named = !own.is_some_and(|own| own.contains(name));
        let below = match (pattern, is_named) {
            ("", _) => name.to_owned(),
            (_, true) => format!("{pattern}.*"),
            (_, false) => format!("{pattern}.{name}"),
        };
        if !is_named {
            found.insert((pattern.to_owned(), name.to_owned()));
        }
        match value {
            toml::Value::Table(table) => settings(table, &below, known, found),
            toml::Value::Array(items) => {
                for table in items.iter().filter_map(toml::Value::as_table) {
                    settings(table, &format!("{below}[]"), known, found);
                }
            }
            _ => {}
        }
    }
}

#[test]
fn the_coordinators_example_is_valid_and_has_every_setting() {
    let (known, there) = check("coordinator.toml", CoordinatorConfig::take).unwrap();
    assert_eq!(known, there);
}

#[test]
fn the_workers_example_is_valid_and_has_every_setting() {
    let (known, there) = check("worker.toml", WorkerConfig::take).unwrap();
    assert_eq!(known, there);
}

#[test]
fn the_examples_of_jobs_are_valid_and_together_have_every_setting() {
    let take = |file: &Table<'_>| job_file::take(file, Path::new("/"));
    let (mut known, mut there) = check("job.toml", take).unwrap();
    let (more_known, more_there) = check("job-with-sql.toml", take).unwrap();
    known.extend(more_known);
    there.extend(more_there);
    assert_eq!(known, there);
}

/// Settings that share the comment of the one above them.
const TOGETHER: [(&str, &str); 4] = [
    ("trigger", "requester"),
    ("cert-file", "key-file"),
    ("ca-file", "cert-file"),
    ("origin", "query"),
];

#[test]
fn every_setting_of_an_example_has_a_comment() {
    for name in [
        "coordinator.toml",
        "worker.toml",
        "job.toml",
        "job-with-sql.toml",
    ] {
        let text = example(name);
        let mut said: BTreeSet<&str> = BTreeSet::new();
        let mut above = "";
        for line in text.lines() {
            let setting = optional(line).unwrap_or(line);
            let key = setting.split('=').next().unwrap_or_default().trim();
            if !key.is_empty() && !key.starts_with('#') {
                // What a table has begun with needs no words of its own: the table has them.
                let table = above.starts_with('[') && !key.starts_with('[');
                let commented = above.starts_with('#') || TOGETHER.contains(&(above, key));
                assert!(commented || table || said.contains(key), "{name}: {line}");
                said.insert(key);
            }
            above = key;
        }
    }
}
