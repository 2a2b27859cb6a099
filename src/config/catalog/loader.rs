//! `[loaders.NAME]`: a query, and how its rows become cache entries; or, of a Redis, what is copied.

use std::time::Duration;

use stoke_core::batch_keys::{BATCH_KEYS_MAX, BatchKeys};
use stoke_core::job::KeyColumns;
use stoke_core::names::{LoaderName, OriginName};
use stoke_core::scan::{
    OrderFault, ROWS_DEFAULT as SCAN_ROWS_DEFAULT, ROWS_MAX as SCAN_ROWS_MAX, Scan,
};
use stoke_core::template::Template;
use stoke_core::value::ValueSpec;
use stoke_worker::catalog::{
    Catalog, LoaderSpec, TTL_JITTER_PERMILLE_DEFAULT, TTL_JITTER_PERMILLE_MAX, TTL_MAX, TTL_MIN,
    VALUE_BYTES_DEFAULT, VALUE_BYTES_MAX,
};
use stoke_worker::origin::rewrite::{rewrite, whole};

use crate::config::reader::{Entry, Item, Table};
use crate::config::shared::all_or_none;

/// What to do about a query that cannot be read whole.
const WHOLE_QUERY: &str = "write one SELECT without :keys, or remove scan-by";
/// What to do about a query that cannot be a loader's.
const QUERY: &str = "write IN (:keys) for a batch of keys, or :key for one query a key";

pub(super) fn loader(
    entry: &Entry<'_>,
    table: &Table<'_>,
    origins: &[&str],
    catalog: &Catalog,
) -> Option<LoaderSpec> {
    let name: Option<LoaderName> = entry.parsed(table);
    let origin: Option<OriginName> = table
        .required("origin", "origin = \"NAME\", an origin of this file")
        .and_then(|item| item.name_of("origin", origins, "[origins.NAME]"));
    let max_value_bytes = match table.optional("max-value-bytes") {
        Some(item) => item.integer(1..=VALUE_BYTES_MAX),
        None => Some(VALUE_BYTES_DEFAULT),
    };
    if let (Some(name), Some(item)) = (&origin, table.optional("origin"))
        && catalog.prometheus_origins.contains_key(name)
    {
        let what =
            "it is a Prometheus, whose series are key sources, and nothing is loaded from it";
        item.fault(what, "name a database, or a Redis");
        return None;
    }
    let is_of = |name: &OriginName| catalog.redis_origins.contains_key(name);
    let is_known = |name: &OriginName| is_of(name) || catalog.origins.contains_key(name);
    let copies = match &origin {
        Some(name) if is_known(name) => is_of(name),
        // What it is cannot be told: by what it says.
        _ => super::copy::copies(table),
    };
    if copies {
        let recipe = super::copy::copying(table)?;
        return Some(LoaderSpec {
            name: name?,
            origin: origin?,
            query: String::new(),
            key: recipe.key,
            key_column: KeyColumns::default(),
            ttl: recipe.ttl,
            ttl_jitter_permille: recipe.ttl_jitter_permille,
            batch_keys: recipe.batch_keys,
            max_value_bytes: max_value_bytes?,
            value: recipe.value,
            scan: None,
        });
    }
    super::copy::refuse_copying(table);
    let scans = table.optional("scan-by").is_some();
    let recipe = recipe(table, Some(origins));
    let query = table.required("query", "query = \"SELECT … WHERE id IN (:keys)\"");
    let dialect = origin.as_ref().and_then(|name| catalog.origins.get(name));
    let query = match (query, dialect) {
        (Some(item), Some(origin)) if scans => item.parsed(
            |text| whole(text, origin.dialect).map(|_| text.to_owned()),
            WHOLE_QUERY,
        ),
        (Some(item), Some(origin)) => item.parsed(
            |text| rewrite(text, origin.dialect).map(|_| text.to_owned()),
            QUERY,
        ),
        (Some(item), None) => item.filled().map(str::to_owned),
        (None, _) => None,
    };
    let recipe = recipe?;
    Some(LoaderSpec {
        name: name?,
        origin: origin?,
        query: query?,
        key: recipe.key,
        key_column: recipe.key_column,
        ttl: recipe.ttl,
        ttl_jitter_permille: recipe.ttl_jitter_permille,
        batch_keys: recipe.batch_keys,
        max_value_bytes: max_value_bytes?,
        value: recipe.value,
        scan: recipe.scan,
    })
}

/// What loaders of jobs have in common with those of workers.
pub struct Recipe {
    /// The cache key.
    pub key: Template,
    /// The columns that say which key a row answers.
    pub key_column: KeyColumns,
    /// Time to live.
    pub ttl: Duration,
    /// How much of it is jitter, in thousandths.
    pub ttl_jitter_permille: u16,
    /// Keys in one query.
    pub batch_keys: BatchKeys,
    /// How its values are made.
    pub value: ValueSpec,
    /// Where it needs no keys: how it reads all rows.
    pub scan: Option<Scan>,
}

impl Recipe {
    /// As a job has it that copies from this origin.
    pub fn of(self, origin: OriginName) -> stoke_core::job::Recipe {
        stoke_core::job::Recipe {
            origin,
            query: String::new(),
            key_template: self.key,
            key_column: KeyColumns::default(),
            ttl: self.ttl,
            ttl_jitter_permille: self.ttl_jitter_permille.into(),
            batch_keys: self.batch_keys,
            value: self.value,
            scan: None,
        }
    }
}

/// Reads `key`, `key-column`, `ttl`, `ttl-jitter`, `batch-keys`, `scan-by`, `scan-rows`, and how values are made; of the
/// origins, those that may be named.
pub fn recipe(table: &Table<'_>, origins: Option<&[&str]>) -> Option<Recipe> {
    let key = table
        .required("key", "key = \"NAME:{key}\", the key in the cache")
        .and_then(|item| item.parsed(Template::parse, "write it as \"product:{key}\""));
    let key_column = table.optional("key-column");
    let key_column = key_column.map(|item| columns(&item));
    let ttl = table
        .required("ttl", "ttl = \"1h\", how long entries live")
        .and_then(|item| item.duration(TTL_MIN..=TTL_MAX));
    let jitter = match table.optional("ttl-jitter") {
        Some(item) => jitter(&item),
        None => Some(TTL_JITTER_PERMILLE_DEFAULT),
    };
    let batch_keys = match table.optional("batch-keys") {
        Some(item) if item.says("auto") => Some(BatchKeys::Auto),
        Some(item) => item.small(1..=BATCH_KEYS_MAX).map(BatchKeys::from),
        None => Some(BatchKeys::Auto),
    };
    let value = super::value::value(table, origins);
    let scan = scan(table, value.as_ref());
    Some(Recipe {
        key: key?,
        key_column: all_or_none(key_column)?.unwrap_or_default(),
        ttl: ttl?,
        ttl_jitter_permille: jitter?,
        batch_keys: batch_keys?,
        value: value?,
        scan: scan?,
    })
}

/// A name, or a list of names for the parts of keys.
fn columns(item: &Item<'_>) -> Option<KeyColumns> {
    if !item.is_list() {
        return item.filled().map(|name| [name].into_iter().collect());
    }
    let items = item.filled_list("name a column for each part of a key")?;
    items.iter().map(Item::filled).collect()
}

/// Reads `scan-by` and `scan-rows`, of a loader with values of this kind.
fn scan(table: &Table<'_>, value: Option<&ValueSpec>) -> Option<Option<Scan>> {
    let rows = table.optional("scan-rows");
    let Some(by) = table.optional("scan-by") else {
        if let Some(rows) = rows {
            rows.lacks(
                "it stands without scan-by",
                "add scan-by = \"COLUMN\", the unique column that orders the rows, or \"COLUMN DESC, COLUMN DESC\"",
            );
            return None;
        }
        return Some(None);
    };
    for key in ["key-column", "batch-keys"] {
        if let Some(other) = table.optional(key) {
            table.contradiction(&by, &other, "a scan takes no keys: remove one of them");
            return None;
        }
    }
    let rows = match &rows {
        Some(item) => item.small(1..=SCAN_ROWS_MAX),
        None => Some(SCAN_ROWS_DEFAULT),
    };
    let order = by.filled()?.parse();
    let order = order
        .map_err(|fault: OrderFault| by.fault(fault.to_string(), "name them as ORDER BY does"));
    let scan = Scan {
        by: order.ok()?,
        rows: rows?,
    };
    match scan.check(value?) {
        Ok(()) => Some(Some(scan)),
        Err(fault) => {
            by.fault(fault.to_string(), "remove scan-by, or what it cannot have");
            None
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked: 0 to 900"
)]
pub(super) fn jitter(item: &Item<'_>) -> Option<u16> {
    let share = item.number(0.0..=f64::from(TTL_JITTER_PERMILLE_MAX) / 1000.0)?;
    Some((share * 1000.0).round() as u16)
}
