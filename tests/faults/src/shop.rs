//! The data: items in PostgreSQL, and what Redis must have of them in the end.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use stoke_harness::{Postgres, Redis};

/// What the database is called.
pub(crate) const ORIGIN: &str = "shop";
/// Keys that one query loads: few, so that few keys make a long run.
pub(crate) const BATCH_KEYS: u64 = 20;
/// How long the database takes for a query, in milliseconds.
const USUAL_MS: u64 = 30;
/// How long it takes when it is slow: ten times as long.
const SLOW_MS: u64 = 10 * USUAL_MS;
/// What a statement that loads has in it, and none that reads keys.
const LOADS: &str = "paced()";
/// How many keys Redis is asked for at once.
const ASKED_AT_ONCE: usize = 1000;

/// A guard of the budget that pauses while its probe fails: the times are short, so that it acts and lets go soon.
pub(crate) const GUARDS: &str = r#"
            [budgets."origin/shop".guards.lag]
            probe = "lag"
            above = 10
            for = "1s"
            clear-for = "2s"
            action = "pause"
"#;

/// Makes so many items. Each query of the loader takes as long as the table `pace` says.
pub(crate) fn fill(postgres: &Postgres, items: u64) -> Result<()> {
    let sql = format!(
        "CREATE TABLE items (id bigint PRIMARY KEY, name text, price numeric(10,2), tags text[]);
         INSERT INTO items SELECT id, 'item ' || id, id * 1.25, ARRAY['a', 'b' || id] FROM generate_series(1, {items}) AS id;
         CREATE TABLE pace (seconds float8);
         INSERT INTO pace VALUES ({});
         CREATE TABLE probed (lag int);
         INSERT INTO probed VALUES (0);
         CREATE FUNCTION {LOADS} RETURNS boolean VOLATILE LANGUAGE plpgsql AS
           $$ BEGIN PERFORM pg_sleep(seconds) FROM pace; RETURN true; END $$;
         ANALYZE;",
        seconds(USUAL_MS)
    );
    postgres.psql("postgres", &sql)?;
    Ok(())
}

/// From now on each query takes ten times as long, or as long as usual again.
pub(crate) fn slow(postgres: &Postgres, slow: bool) -> Result<()> {
    let millis = if slow { SLOW_MS } else { USUAL_MS };
    postgres.psql(
        "postgres",
        &format!("UPDATE pace SET seconds = {}", seconds(millis)),
    )?;
    Ok(())
}

/// From now on the probe fails, or it gives a number again.
pub(crate) fn hide_what_is_probed(postgres: &Postgres, hide: bool) -> Result<()> {
    let (from, to) = if hide {
        ("probed", "hidden")
    } else {
        ("hidden", "probed")
    };
    postgres.psql("postgres", &format!("ALTER TABLE {from} RENAME TO {to}"))?;
    Ok(())
}

fn seconds(millis: u64) -> String {
    format!("{}.{:03}", millis / 1000, millis % 1000)
}

/// What a worker's configuration says of database, cache and loader.
pub(crate) fn catalog(postgres: &Postgres, cache: &Redis) -> String {
    format!(
        r#"
        [origins.{ORIGIN}]
        url = "{origin}"
        [origins.{ORIGIN}.probes.lag]
        query = "SELECT lag FROM probed"
        interval = "5s"
        [caches.main]
        urls = ["{cache}"]
        [loaders.item]
        origin = "{ORIGIN}"
        query = "SELECT * FROM items WHERE id IN (:keys) AND (SELECT {LOADS})"
        key = "item:{{key}}"
        ttl = "1h"
        batch-keys = {BATCH_KEYS}
        [sources.popular]
        origin = "{ORIGIN}"
        query = "SELECT id AS key, 1000000 / id AS priority FROM items ORDER BY id"
        "#,
        origin = postgres.url("postgres"),
        cache = cache.url(),
    )
}

/// Whether a statement loads items, as the log has it.
pub(crate) fn is_load(statement: &str) -> bool {
    statement.contains(LOADS)
}

/// All rows, by their ids.
pub(crate) fn rows(postgres: &Postgres) -> Result<BTreeMap<u64, Value>> {
    let rows = postgres.psql(
        "postgres",
        "SELECT id || ' ' || row_to_json(items) FROM items",
    )?;
    let mut found = BTreeMap::new();
    for line in rows.lines() {
        let (id, row) = line.split_once(' ').context("reading the items")?;
        let row: Value = serde_json::from_str(row).context("reading an item")?;
        found.insert(id.parse().context("reading an item's id")?, row);
    }
    ensure!(!found.is_empty(), "there are no items");
    Ok(found)
}

/// How many items are missing in Redis, or have there what is not in PostgreSQL.
pub(crate) fn lost(postgres: &Postgres, cache: &Redis) -> Result<u64> {
    let wanted = rows(postgres)?;
    let mut connection = redis::Client::open(cache.url())?.get_connection()?;
    let mut lost = 0;
    let ids: Vec<&u64> = wanted.keys().collect();
    for ids in ids.chunks(ASKED_AT_ONCE) {
        let mut ask = redis::cmd("MGET");
        ids.iter().for_each(|id| {
            ask.arg(format!("item:{id}"));
        });
        let found: Vec<Option<String>> = ask.query(&mut connection).context("asking Redis")?;
        let right = |(id, found): &(&&u64, Option<String>)| {
            let found = found.as_deref().map(serde_json::from_str::<Value>);
            matches!(found, Some(Ok(value)) if Some(&value) == wanted.get(**id))
        };
        lost += ids.iter().zip(found).filter(|pair| !right(pair)).count() as u64;
    }
    Ok(lost)
}
