//! A job's loaders: those of the workers' configuration by name, or recipes of its own.

use stoke_coordinator::wire::{copy_loader, value_spec};
use stoke_core::names::{LoaderName, OriginName};
use stoke_proto::v1;
use stoke_worker::origin::rewrite::{Dialect, rewrite, whole};

use crate::config::{Item, Table, copies, copying, recipe};

/// The longest query, in bytes: a job is kept in the coordination store.
const QUERY_BYTES_MAX: usize = 16 * 1024;
/// What makes a loader one with a recipe of its own.
const RECIPE: [&str; 18] = [
    "origin",
    "query",
    "key",
    "key-column",
    "ttl",
    "ttl-jitter",
    "batch-keys",
    "scan-by",
    "scan-rows",
    "value",
    "compress",
    "absent-value",
    "absent-ttl",
    "expiry-column",
    "version-column",
    "version-origin",
    "copy",
    "from",
];

/// `[[loaders]]`.
pub(super) fn loaders(file: &Table<'_>) -> Option<Vec<v1::Loader>> {
    let few = super::some_but_few(file, "loaders", "[[loaders]] with name = \"NAME\"");
    let mut loaders = Vec::new();
    let mut names: Vec<(LoaderName, Item<'_>)> = Vec::new();
    file.list("loaders", |_, table| {
        let item = table.required("name", "name = \"NAME\"");
        let name = item.and_then(|item| Some((item.name::<LoaderName>()?, item)));
        let own = own(table);
        if let Some((name, item)) = &name
            && let Some((_, first)) = names.iter().find(|(other, _)| other == name)
        {
            item.fault(
                format!("the name comes twice, see {}", first.named()),
                "choose another",
            );
        }
        loaders.push(name.as_ref().and_then(|(name, _)| {
            let (sql, copy) = own?;
            Some(v1::Loader {
                name: name.to_string(),
                sql,
                copy,
            })
        }));
        names.extend(name);
    });
    few?;
    loaders.into_iter().collect()
}

/// The loader's own recipe, if it has one.
fn own(table: &Table<'_>) -> Option<(Option<v1::SqlLoader>, Option<v1::CopyLoader>)> {
    let given = RECIPE.map(|key| table.optional(key).is_some());
    if !given.contains(&true) {
        return Some((None, None));
    }
    let origin: Option<OriginName> = table
        .required(
            "origin",
            "origin = \"NAME\", an origin of the workers' configuration",
        )
        .and_then(|item| item.name());
    let scans = table.optional("scan-by").is_some();
    if copies(table) {
        let recipe = copying(table);
        return Some((None, copy_loader(&recipe?.of(origin?))));
    }
    let query = table
        .required("query", "query = \"SELECT … WHERE id IN (:keys)\"")
        .and_then(|item| {
            let query = query(&item)?;
            loads(&item, &query, scans).then_some(query)
        });
    let recipe = recipe(table, None);
    let (origin, query, recipe) = (origin?, query?, recipe?);
    let (key_column, key_columns) = match recipe.key_column.names() {
        [one] => (one.clone(), Vec::new()),
        several => (String::new(), several.to_vec()),
    };
    let sql = v1::SqlLoader {
        origin: origin.to_string(),
        query,
        key_template: recipe.key.to_string(),
        key_column,
        key_columns,
        ttl: prost_types::Duration::try_from(recipe.ttl).ok(),
        ttl_jitter_permille: recipe.ttl_jitter_permille.into(),
        batch_keys: recipe.batch_keys.into(),
        value: value_spec(&recipe.value),
        scan: recipe.scan.map(|scan| v1::Scan {
            by: scan.by.to_string(),
            rows: scan.rows,
        }),
    };
    Some((Some(sql), None))
}

/// A query that fits into a job.
pub(super) fn query(item: &Item<'_>) -> Option<String> {
    let query = item.filled()?;
    if query.len() > QUERY_BYTES_MAX {
        let remedy = "name a loader or source of the workers' configuration instead";
        item.fault(format!("it is longer than {QUERY_BYTES_MAX} bytes"), remedy);
        return None;
    }
    Some(query.to_owned())
}

/// Whether a query can be a loader's. Which database will get it only the workers know: one that takes it is enough.
fn loads(item: &Item<'_>, query: &str, scans: bool) -> bool {
    let dialects = [Dialect::Postgres, Dialect::MySql, Dialect::Sqlite];
    let [first, others @ ..] = dialects.map(|dialect| match scans {
        true => whole(query, dialect).map(drop),
        false => rewrite(query, dialect).map(drop),
    });
    match first {
        Err(error) if others.iter().all(Result::is_err) => {
            let remedy = match scans {
                true => "write one SELECT without :keys, or remove scan-by",
                false => "write IN (:keys) for a batch of keys, or :key for one query a key",
            };
            item.fault(error.to_string(), remedy);
            false
        }
        _ => true,
    }
}
