//! A job's loaders and sources as this worker carries them out: the job's own recipes, or the catalog's.

use std::sync::Arc;

use stoke_core::access_log::AccessLog;
use stoke_core::job::{Batch, FileFormat, From, KeySource, Loader, OnBadLine, Reported};
use stoke_core::names::OriginName;
use stoke_core::pattern::Pattern;
use stoke_core::usage::{Counter, HotKeys, Monitor, Series};

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
        value: recipe.value.clone(),
        scan: recipe.scan.clone(),
    })
}

/// What a source reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Readable {
    /// Rows of a query.
    Sql { origin: OriginName, query: String },
    /// The keys of a Redis.
    Keyspace {
        origin: OriginName,
        pattern: Pattern,
        count: u32,
    },
    /// Counts that an application keeps in a Redis.
    Counter(Counter),
    /// The keys of a Redis, by how often they are used.
    HotKeys(HotKeys),
    /// The keys that a Redis is asked for while it is watched.
    Monitor(Monitor),
    /// The series of a Prometheus.
    Prometheus(Series),
    /// A file.
    File {
        path: std::path::PathBuf,
        format: Option<Format>,
    },
    /// Keys in the job itself.
    Inline {
        content: String,
        format: Option<Format>,
    },
    /// What applications report.
    Reported(Reported),
    /// An access log.
    Log(AccessLog),
}

impl Readable {
    /// Whether it gives keys that a Redis has, whole, as a loader that copies takes them. (What an application counts can be parts
    /// of them.)
    pub(super) const fn gives_whole_keys(&self) -> bool {
        matches!(
            self,
            Self::Keyspace { .. } | Self::HotKeys(_) | Self::Monitor(_)
        )
    }
}

/// One source, and what is done with its bad lines: they are skipped where the job or the catalog says so. `None` where
/// this worker does not know or allow it (any more).
pub(super) fn source(source: &KeySource, catalog: &Catalog) -> Option<(Readable, OnBadLine)> {
    let of_job = source.on_bad_line;
    match &source.from {
        // A scan is cut into ranges: see `scan_cut`.
        From::Upload | From::Plan { .. } | From::Scan => None,
        From::Sql { origin, query } => catalog.allow_sql_in_jobs.then(|| {
            let (origin, query) = (origin.clone(), query.clone());
            (Readable::Sql { origin, query }, of_job)
        }),
        From::Keyspace {
            origin,
            pattern,
            count,
        } => catalog.allow_sql_in_jobs.then(|| {
            let (origin, pattern, count) = (origin.clone(), pattern.clone(), *count);
            let readable = Readable::Keyspace {
                origin,
                pattern,
                count,
            };
            (readable, of_job)
        }),
        From::Counter(counter) => {
            let counter = || (Readable::Counter((**counter).clone()), of_job);
            catalog.allow_sql_in_jobs.then(counter)
        }
        From::HotKeys(hot) => {
            let hot = || (Readable::HotKeys((**hot).clone()), of_job);
            catalog.allow_sql_in_jobs.then(hot)
        }
        From::Monitor(monitor) => {
            let monitor = || (Readable::Monitor((**monitor).clone()), of_job);
            catalog.allow_sql_in_jobs.then(monitor)
        }
        From::Prometheus(series) => {
            let series = || (Readable::Prometheus((**series).clone()), of_job);
            catalog.allow_sql_in_jobs.then(series)
        }
        From::File { path, format } => catalog.allow_files_in_jobs.then(|| {
            let (path, format) = (path.into(), format.map(self::format));
            (Readable::File { path, format }, of_job)
        }),
        From::Inline { content, format } => {
            let (content, format) = (content.clone(), format.map(self::format));
            Some((Readable::Inline { content, format }, of_job))
        }
        From::Reported(reported) => Some((Readable::Reported((**reported).clone()), of_job)),
        From::Log(log) => catalog
            .allow_files_in_jobs
            .then(|| (Readable::Log((**log).clone()), of_job)),
        From::Named(name) => {
            let config = catalog.sources.get(name)?;
            let readable = match &config.from {
                SourceFrom::Sql { origin, query } => Readable::Sql {
                    origin: origin.clone(),
                    query: query.clone(),
                },
                SourceFrom::Keyspace {
                    origin,
                    pattern,
                    count,
                } => Readable::Keyspace {
                    origin: origin.clone(),
                    pattern: pattern.clone(),
                    count: *count,
                },
                SourceFrom::Counter(counter) => Readable::Counter(counter.clone()),
                SourceFrom::HotKeys(hot) => Readable::HotKeys(hot.clone()),
                SourceFrom::Monitor(monitor) => Readable::Monitor(monitor.clone()),
                SourceFrom::Prometheus(series) => Readable::Prometheus(series.clone()),
                SourceFrom::File(path) => Readable::File {
                    path: path.clone(),
                    format: None,
                },
            };
            let on_bad_line = match of_job {
                OnBadLine::Skip => OnBadLine::Skip,
                OnBadLine::Fail => config.on_bad_line,
            };
            Some((readable, on_bad_line))
        }
    }
}

fn format(format: FileFormat) -> Format {
    match format {
        FileFormat::Csv => Format::Csv,
        FileFormat::Ndjson => Format::Ndjson,
        FileFormat::Parquet => Format::Parquet,
    }
}

#[cfg(test)]
mod tests {
    use stoke_core::job::Merge;

    use super::*;
    use crate::catalog::SourceConfig;

    #[test]
    fn bad_lines_of_a_named_source_are_skipped_where_the_job_or_the_catalog_says_so() {
        use OnBadLine::{Fail, Skip};
        for (job, catalog, expected) in [
            (Fail, Fail, Fail),
            (Fail, Skip, Skip),
            (Skip, Fail, Skip),
            (Skip, Skip, Skip),
        ] {
            let config = SourceConfig {
                name: "top".parse().unwrap(),
                from: SourceFrom::File("keys.csv".into()),
                loader: None,
                on_bad_line: catalog,
            };
            let catalog = Catalog {
                sources: [(config.name.clone(), config)].into(),
                ..Catalog::default()
            };
            let asked = KeySource {
                loader: 0,
                from: From::Named("top".parse().unwrap()),
                merge: Merge::Max,
                on_bad_line: job,
                weight: Default::default(),
            };
            assert_eq!(source(&asked, &catalog).unwrap().1, expected);
        }
    }
}
