//! The data of these runs: items of which some are in the cache before, some not in the database, and some cannot be encoded.
//! Which is which is known from here, not from what Stoke says.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use stoke_harness::{Postgres, RedisCluster, wait_for};

use crate::scene::PATIENCE;
use crate::shop::{ORIGIN, rows};

/// The source that ranks by a query.
pub(crate) const RANKED: &str = "popular";
/// The source that is an access log.
pub(crate) const LOGGED: &str = "asked-for";
/// What that is called.
pub(crate) const LOG: &str = "access.log";
/// How often the log asks for each key: so that reading it takes long enough to kill somebody in.
pub(crate) const ACCESSES_EACH: u64 = 25;
/// Keys in the plan.
pub(crate) const PLANNED: u64 = 40_000;
/// Keys that one query loads.
const BATCH_KEYS: u64 = 100;
/// How long reading the ranked keys takes, in seconds: long enough to kill a leader in.
const PLANNING_SECONDS: u64 = 3;
/// How many keys a node is asked for at once.
const ASKED_AT_ONCE: usize = 1000;

/// In the cache before, with a value of the application's.
fn is_present(id: u64) -> bool {
    id % 50 == 7
}

/// Not in the database.
fn is_absent(id: u64) -> bool {
    id % 40 == 3 && !is_present(id)
}

/// In the database, but its row has no form in JSON.
fn is_poison(id: u64) -> bool {
    id % 500 == 11
}

/// How many keys of the plan are so.
fn count(is: impl Fn(u64) -> bool) -> u64 {
    (1..=PLANNED).filter(|id| is(*id)).count() as u64
}

/// Keys of the plan that are not in the database.
pub(crate) fn absent() -> u64 {
    count(is_absent)
}

/// Keys of the plan whose rows have no form in JSON.
pub(crate) fn poison() -> u64 {
    count(is_poison)
}

fn applications_value(id: u64) -> String {
    format!("the application wrote {id}")
}

/// Fills database and cache.
pub(crate) fn fill(postgres: &Postgres, cache: &RedisCluster) -> Result<()> {
    let sql = format!(
        "CREATE TABLE items (id bigint PRIMARY KEY, name text, price numeric(10,2), weight float8, tags text[]);
         INSERT INTO items
           SELECT id, 'item ' || id, id * 1.25, CASE WHEN id % 500 = 11 THEN 'NaN' ELSE id / 8.0 END, ARRAY['a', 'b' || id]
           FROM generate_series(1, {PLANNED}) AS id WHERE NOT (id % 40 = 3 AND id % 50 <> 7);
         ANALYZE;"
    );
    postgres.psql("postgres", &sql)?;
    let first = cache.ports()[0].to_string();
    let mut sets = String::new();
    for id in (1..=PLANNED).filter(|id| is_present(*id)) {
        sets.push_str(&format!("SET item:{id} \"{}\"\n", applications_value(id)));
    }
    let mut cli = std::process::Command::new("redis-cli")
        .args(["-c", "-p", &first])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .context("starting redis-cli")?;
    if let Some(mut stdin) = cli.stdin.take() {
        stdin
            .write_all(sets.as_bytes())
            .context("writing to redis-cli")?;
    }
    ensure!(cli.wait()?.success(), "redis-cli could not fill the cache");
    Ok(())
}

/// Writes the access log.
pub(crate) fn log(path: &Path) -> Result<()> {
    let file = File::create(path).with_context(|| format!("making {}", path.display()))?;
    let mut file = BufWriter::new(file);
    for n in 0..PLANNED * ACCESSES_EACH {
        let (id, second) = (n % PLANNED + 1, n / 1000 % 60);
        let time = format!("28/Nov/2026:12:00:{second:02} +0000");
        writeln!(
            file,
            "10.0.0.1 - - [{time}] \"GET /item/{id} HTTP/1.1\" 200 512"
        )?;
    }
    file.flush().context("writing the log")
}

/// What a worker's configuration says of database, cache, loader and key sources, of which one is this log.
pub(crate) fn catalog(postgres: &Postgres, cache: &RedisCluster, log: &Path) -> String {
    let urls: Vec<String> = cache.urls().iter().map(|url| format!("{url:?}")).collect();
    format!(
        r#"
        [origins.{ORIGIN}]
        url = "{origin}"
        [caches.main]
        urls = [{urls}]
        [loaders.item]
        origin = "{ORIGIN}"
        query = "SELECT * FROM items WHERE id IN (:keys)"
        key = "item:{{key}}"
        ttl = "1h"
        batch-keys = {BATCH_KEYS}
        [sources.{LOGGED}]
        log = {log:?}
        url = "/item/{{id}}"
        [sources.{RANKED}]
        origin = "{ORIGIN}"
        query = "SELECT id AS key, 1000000 / id AS priority FROM (SELECT pg_sleep({PLANNING_SECONDS}) OFFSET 0) AS waited, generate_series(1, {PLANNED}) AS id"
        "#,
        origin = postgres.url("postgres"),
        urls = urls.join(", "),
        log = log.display().to_string(),
    )
}

/// How a cache differs from what it must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Differences {
    /// Keys that must be there and are not.
    pub(crate) missing: u64,
    /// Keys with another value than the database's row, or than the application's where that was there before.
    pub(crate) wrong: u64,
    /// Keys that must not be there.
    pub(crate) surplus: u64,
    /// Keys that were written, and are right.
    pub(crate) written: u64,
}

/// All keys of the cache, beside all rows of the database.
pub(crate) fn compare(postgres: &Postgres, cache: &RedisCluster) -> Result<Differences> {
    let wanted = rows(postgres)?
        .into_iter()
        .filter(|(id, _)| !is_present(*id) && !is_poison(*id))
        .map(|(id, row)| (format!("item:{id}"), row))
        .collect();
    let found = contents(cache)?;
    Ok(differences(&wanted, &found))
}

fn differences(wanted: &BTreeMap<String, Value>, found: &BTreeMap<String, String>) -> Differences {
    let mut differences = Differences::default();
    for (key, row) in wanted {
        match found.get(key) {
            None => differences.missing += 1,
            Some(value)
                if serde_json::from_str::<Value>(value).is_ok_and(|value| value == *row) =>
            {
                differences.written += 1;
            }
            Some(_) => differences.wrong += 1,
        }
    }
    let before: BTreeMap<String, String> = (1..=PLANNED)
        .filter(|id| is_present(*id))
        .map(|id| (format!("item:{id}"), applications_value(id)))
        .collect();
    for (key, value) in &before {
        match found.get(key) {
            None => differences.missing += 1,
            Some(found) => differences.wrong += u64::from(found != value),
        }
    }
    let known = |key: &String| wanted.contains_key(key) || before.contains_key(key);
    differences.surplus = found.keys().filter(|key| !known(key)).count() as u64;
    differences
}

/// All keys and values, of all nodes that are masters now.
fn contents(cache: &RedisCluster) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for url in cache.urls() {
        let Ok(mut node) = redis::Client::open(url)?.get_connection() else {
            // One that was killed. What it had is its replica's, or is missing.
            continue;
        };
        let role: redis::Value = redis::cmd("ROLE").query(&mut node)?;
        if !matches!(&role, redis::Value::Array(parts) if parts.first() == Some(&redis::Value::BulkString(b"master".to_vec())))
        {
            continue;
        }
        let mut cursor = 0u64;
        loop {
            let (next, keys): (u64, Vec<String>) = redis::cmd("SCAN")
                .arg(cursor)
                .arg("COUNT")
                .arg(ASKED_AT_ONCE)
                .query(&mut node)?;
            let mut pipeline = redis::pipe();
            keys.iter().for_each(|key| {
                pipeline.cmd("GET").arg(key);
            });
            let values: Vec<Option<String>> = wait_for("a node to serve", PATIENCE, || {
                // Each command has an error of its own: the first will do.
                pipeline
                    .query(&mut node)
                    .map_err(|error: redis::RedisError| anyhow::anyhow!("{:?}", error.kind()))
            })?;
            let there = keys.into_iter().zip(values);
            all.extend(there.filter_map(|(key, value)| Some((key, value?))));
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
    }
    Ok(all)
}

/// How many keys queries have asked the database for, and how many different ones: as its log has it.
pub(crate) fn asked(log: &str) -> (u64, u64) {
    let mut distinct = std::collections::BTreeSet::new();
    let mut all = 0;
    for line in log.lines() {
        let Some((_, keys)) = line.split_once("DETAIL:  parameters: $1 = '{") else {
            continue;
        };
        for key in keys.trim_end_matches("}'").split(',') {
            all += 1;
            distinct.insert(key.to_owned());
        }
    }
    (all, distinct.len() as u64)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A cache that is as it must be, of two items.
    fn good() -> (BTreeMap<String, Value>, BTreeMap<String, String>) {
        let wanted: BTreeMap<String, Value> = [
            ("item:1".to_owned(), json!({"id": 1})),
            ("item:2".to_owned(), json!({"id": 2})),
        ]
        .into();
        let mut found: BTreeMap<String, String> = wanted
            .iter()
            .map(|(key, row)| (key.clone(), row.to_string()))
            .collect();
        for id in (1..=PLANNED).filter(|id| is_present(*id)) {
            found.insert(format!("item:{id}"), applications_value(id));
        }
        (wanted, found)
    }

    #[test]
    fn what_is_missing_wrong_or_too_much_is_found() {
        let (wanted, found) = good();
        let right = Differences {
            written: 2,
            ..Differences::default()
        };
        assert_eq!(differences(&wanted, &found), right);
        let spoilt = |spoil: &dyn Fn(&mut BTreeMap<String, String>)| {
            let mut found = found.clone();
            spoil(&mut found);
            let found = differences(&wanted, &found);
            (found.missing, found.wrong, found.surplus)
        };
        assert_eq!(spoilt(&|found| drop(found.remove("item:1"))), (1, 0, 0));
        assert_eq!(spoilt(&|found| drop(found.remove("item:7"))), (1, 0, 0));
        let put = |found: &mut BTreeMap<String, String>, key: &str, value: &str| {
            found.insert(key.into(), value.into());
        };
        assert_eq!(
            spoilt(&|found| put(found, "item:2", "{\"id\":3}")),
            (0, 1, 0)
        );
        assert_eq!(
            spoilt(&|found| put(found, "item:7", "{\"id\":7}")),
            (0, 1, 0)
        );
        assert_eq!(spoilt(&|found| put(found, "item:3", "null")), (0, 0, 1));
    }

    #[test]
    fn keys_that_were_asked_for_twice_are_told_from_those_that_were_once() {
        let log = "1.1 7 [stoke] LOG:  execute s: SELECT * FROM items WHERE id = ANY($1)\n\
                   1.1 7 [stoke] DETAIL:  parameters: $1 = '{1,2,3}'\n\
                   1.2 7 [stoke] LOG:  statement: SELECT 1\n\
                   1.3 8 [stoke] DETAIL:  parameters: $1 = '{3,4}'\n";
        assert_eq!(asked(log), (5, 4));
    }
}
