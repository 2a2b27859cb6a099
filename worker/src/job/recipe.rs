//! A job's loaders and sources as this worker carries them out: the job's own recipes, or the catalog's.

use std::sync::Arc;

use stoke_core::job::{Batch, From, KeySource, Loader};
use stoke_core::names::OriginName;

use crate::catalog::{Catalog, LoaderSpec, SourceFrom, VALUE_BYTES_DEFAULT};
use crate::source::file::Format;

/// The loaders of a job, by their index. `None` where this worker does not know one (any more).
pub(super) fn loaders(batch: &Batch, catalog: &Catalog) -> Option<Vec<Arc<LoaderSpec>>> {
    batch
        .loaders
        .iter()
        .map(|l| loader(l, catalog).map(Arc::new))
        .collect()
}

/// One loader.
pub(super) fn loader(loader: &Loader, catalog: &Catalog) -> Option<LoaderSpec> {
    let Some(recipe) = &loader.recipe else {
        return catalog.loaders.get(&loader.name).cloned();
    };
    // Asked for when the job was created; the configuration may have changed since.
    if !catalog.allow_sql_in_jobs {
        return None;
    }
    Some(LoaderSpec {
        name: loader.name.clone(),
        origin: recipe.origin.clone(),
        query: recipe.query.clone(),
        key: recipe.key_template.clone(),
        key_column: recipe.key_column.clone(),
        ttl: recipe.ttl,
        ttl_jitter_permille: u16::try_from(recipe.ttl_jitter_permille).unwrap_or(u16::MAX),
        batch_keys: recipe.batch_keys,
        max_value_bytes: VALUE_BYTES_DEFAULT,
    })
}

/// What a source reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Readable {
    /// Rows of a query.
    Sql { origin: OriginName, query: String },
    /// A file.
    File {
        path: std::path::PathBuf,
        format: Option<Format>,
    },
}

/// One source. `None` where this worker does not know or allow it (any more).
pub(super) fn source(source: &KeySource, catalog: &Catalog) -> Option<Readable> {
    match &source.from {
        From::Upload => None,
        From::Sql { origin, query } => catalog.allow_sql_in_jobs.then(|| Readable::Sql {
            origin: origin.clone(),
            query: query.clone(),
        }),
        From::File { path, format } => catalog.allow_files_in_jobs.then(|| Readable::File {
            path: path.into(),
            format: format.map(|format| match format {
                stoke_core::job::FileFormat::Csv => Format::Csv,
                stoke_core::job::FileFormat::Ndjson => Format::Ndjson,
            }),
        }),
        From::Named(name) => Some(match &catalog.sources.get(name)?.from {
            SourceFrom::Sql { origin, query } => Readable::Sql {
                origin: origin.clone(),
                query: query.clone(),
            },
            SourceFrom::File(path) => Readable::File {
                path: path.clone(),
                format: None,
            },
        }),
    }
}
