//! The data part of a worker's file: origins, caches, loaders and key sources, into a checked catalog.
//!
//! Credentials come in as `${NAME}` of the environment or as files; written plainly they are taken too, and never shown.

mod cache;
mod copy;
mod loader;
mod log;
mod origin;
mod source;
mod usage;
mod value;

use std::collections::BTreeMap;

use stoke_core::names::OriginName;
use stoke_worker::catalog::{Catalog, SecretUrl};

use self::origin::Origin;
use super::reader::{Item, Table};
use super::shared::all_or_none;

pub use copy::{copies, copying};
pub use loader::recipe;
pub use log::{LogLoaders, access_log};
pub use source::ON_BAD_LINE;
pub use usage::{of_redis, redis_source, series};

/// The catalog, and where each origin's statement timeout stands, for comparing it with the protocol's times.
pub struct Found<'r> {
    pub(super) catalog: Catalog,
    pub(super) statement_timeouts: BTreeMap<OriginName, Item<'r>>,
}

/// Reads the catalog's tables.
pub(super) fn catalog<'r>(file: &Table<'r>) -> Option<Found<'r>> {
    let mut found = Found {
        catalog: Catalog::default(),
        statement_timeouts: BTreeMap::new(),
    };
    let sql = file.optional("allow-sql-in-jobs").map(|item| item.flag());
    let files = file.optional("allow-files-in-jobs").map(|item| item.flag());
    file.named("origins", |name, table| {
        let Some(origin) = origin::origin(name, table) else {
            return;
        };
        let name = origin.name().clone();
        if let Some(item) = table.optional("statement-timeout") {
            found.statement_timeouts.insert(name.clone(), item);
        }
        match origin {
            Origin::Database(origin) => drop(found.catalog.origins.insert(name, origin)),
            Origin::Redis(origin) => drop(found.catalog.redis_origins.insert(name, origin)),
            Origin::Prometheus(origin) => {
                found.catalog.prometheus_origins.insert(name, origin);
            }
        }
    });
    file.named("caches", |name, table| {
        if let Some(cache) = cache::cache(name, table) {
            found.catalog.caches.insert(cache.name.clone(), cache);
        }
    });
    let origins = file.names("origins");
    file.named("loaders", |name, table| {
        if let Some(loader) = loader::loader(name, table, &origins, &found.catalog) {
            found.catalog.loaders.insert(loader.name.clone(), loader);
        }
    });
    let loaders = file.names("loaders");
    file.named("sources", |name, table| {
        if let Some(source) = source::source(name, table, &origins, &loaders, &found.catalog) {
            found.catalog.sources.insert(source.name.clone(), source);
        }
    });
    found.catalog.allow_sql_in_jobs = all_or_none(sql)?.unwrap_or_default();
    found.catalog.allow_files_in_jobs = all_or_none(files)?.unwrap_or_default();
    Some(found)
}

fn url(item: &Item<'_>, text: &str, remedy: &str) -> Option<SecretUrl> {
    let url = SecretUrl::new(text);
    let refused = |error| item.fault(format!("it is {error}"), remedy);
    url.map_err(refused).ok()
}

/// The scheme where it is one for certain: in "user:password@host", what precedes the colon is none.
fn by(url: &SecretUrl) -> String {
    if url.expose_rest().starts_with("//") {
        format!("by {}:", url.scheme())
    } else {
        "by this URL".to_owned()
    }
}

#[cfg(test)]
mod tests;
