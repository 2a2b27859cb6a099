//! Copying from another Redis: which keys, how, and under which names.

use stoke_core::batch_keys::BatchKeys;
use stoke_core::copy::{CopySpec, How, TTL_OF_ORIGIN};
use stoke_core::job::{KeyColumns, SCAN_COUNT_DEFAULT, SCAN_COUNT_MAX};
use stoke_core::pattern::Pattern;
use stoke_core::template::Template;
use stoke_core::value::ValueSpec;
use stoke_worker::catalog::{BATCH_KEYS_MAX, TTL_JITTER_PERMILLE_DEFAULT, TTL_MAX, TTL_MIN};

use super::loader::{Recipe, jitter};
use crate::config::reader::{Item, Table};
use crate::config::shared::all_or_none;

/// How keys are copied, as files say it.
const HOW: [(&str, How); 3] = [
    ("auto", How::Auto),
    ("dump", How::Dump),
    ("typed", How::Typed),
];

/// What only loaders with a query have, and why loaders that copy have not.
const OF_QUERIES: [(&str, &str); 9] = [
    ("query", "keys of a Redis are copied, not asked for by SQL"),
    (
        "key-column",
        "there are no rows: each key is asked for by itself",
    ),
    ("value", "a copy is what the key has there"),
    (
        "compress",
        "a copy is what the key has there, and the application reads it as it is",
    ),
    ("absent-value", "a key that is not there is not made up"),
    ("absent-ttl", "a key that is not there is not made up"),
    ("expiry-column", "a copy ends when its key does"),
    (
        "version-column",
        "there are no rows that would have a version",
    ),
    (
        "version-origin",
        "there are no rows that would have a version",
    ),
];

/// Whether a loader says that it copies.
pub fn copies(table: &Table<'_>) -> bool {
    ["copy", "from"]
        .iter()
        .any(|key| table.optional(key).is_some())
}

/// Notes that a loader of a database copies nothing, where it says so.
pub(super) fn refuse_copying(table: &Table<'_>) {
    for item in ["copy", "from"]
        .iter()
        .filter_map(|key| table.optional(key))
    {
        item.lacks(
            "only keys of a Redis are copied, and this origin is a database",
            "remove it, or name an origin whose URL begins with redis",
        );
    }
}

/// Reads `from`, `copy`, `key`, `ttl`, `ttl-jitter` and `batch-keys` of a loader that copies.
pub fn copying(table: &Table<'_>) -> Option<Recipe> {
    let mut is_fine = true;
    for (key, why) in OF_QUERIES {
        if let Some(item) = table.optional(key) {
            item.lacks(why, "remove it");
            is_fine = false;
        }
    }
    let same = CopySpec::of_same_name(How::default()).from;
    let template = |key, otherwise: Template, example: &str| match table.optional(key) {
        Some(item) => item.parsed(Template::parse, example),
        None => Some(otherwise),
    };
    let from = template("from", same.clone(), "write it as \"old:{key}\"");
    let key = template("key", same, "write it as \"v2:{key}\"");
    let how = match table.optional("copy") {
        Some(item) => item.one_of(&HOW),
        None => Some(How::default()),
    };
    let ttl = all_or_none(
        table
            .optional("ttl")
            .map(|item| item.duration(TTL_MIN..=TTL_MAX)),
    );
    let jitter = match (table.optional("ttl-jitter"), table.optional("ttl")) {
        (Some(item), None) => {
            let why = "it stands without ttl, and only that is shortened: copies live as long as their keys do";
            item.lacks(why, "add ttl, the longest that entries live, or remove it");
            None
        }
        (Some(item), Some(_)) => jitter(&item),
        (None, _) => Some(TTL_JITTER_PERMILLE_DEFAULT),
    };
    let batch_keys = match table.optional("batch-keys") {
        Some(item) if item.says("auto") => Some(BatchKeys::Auto),
        Some(item) => item.small(1..=BATCH_KEYS_MAX).map(BatchKeys::from),
        None => Some(BatchKeys::Auto),
    };
    let value = ValueSpec {
        copy: Some(CopySpec {
            from: from?,
            how: how?,
        }),
        ..ValueSpec::default()
    };
    if let (Err(fault), Some(item)) = (value.check(), table.optional("from")) {
        item.fault(fault.to_string(), "write it as \"old:{key}\"");
        is_fine = false;
    }
    let ttl = ttl?;
    let recipe = Recipe {
        key: key?,
        key_column: KeyColumns::default(),
        ttl: ttl.unwrap_or(TTL_OF_ORIGIN),
        ttl_jitter_permille: if ttl.is_some() {
            jitter?
        } else {
            jitter.map(|_| 0)?
        },
        batch_keys: batch_keys?,
        value,
        scan: None,
    };
    is_fine.then_some(recipe)
}

/// Reads which keys of a Redis a source gives: `match`, which is this, and `count`.
pub(super) fn scan(table: &Table<'_>, pattern: &Item<'_>) -> Option<(Pattern, u32)> {
    let pattern = pattern.parsed(Pattern::parse, "write it as \"old:{id}\", or \"old:*\"");
    let count = count(table);
    Some((pattern?, count?))
}

/// How much one SCAN looks through.
pub(super) fn count(table: &Table<'_>) -> Option<u32> {
    match table.optional("count") {
        Some(item) => item.small(1..=SCAN_COUNT_MAX),
        None => Some(SCAN_COUNT_DEFAULT),
    }
}
