//! A job's loaders and sources as this worker carries them out: the job's own recipes, or the catalog's.

use std::sync::Arc;

use stoke_core::access_log::AccessLog;
use stoke_core::job::{Batch, FileFormat, From, KeySource, Loader, OnBadLine, Reported};
use stoke_core::names::{LoaderName, OriginName};
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

/// One source of a job, and what is done with its bad lines: they are skipped where the job or the catalog says so. `None` where
/// this worker does not know or allow it (any more), or the job lacks loaders that it has keys of.
pub(super) fn source(
    source: &KeySource,
    batch: &Batch,
    catalog: &Catalog,
) -> Option<(Readable, OnBadLine)> {
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
                SourceFrom::Log(log) => {
                    Readable::Log(for_job(log, &config.loaders, source, batch)?)
                }
            };
            let on_bad_line = match of_job {
                OnBadLine::Skip => OnBadLine::Skip,
                OnBadLine::Fail => config.on_bad_line,
            };
            Some((readable, on_bad_line))
        }
    }
}

/// A log of the catalog, with the loaders of its patterns by their places among the job's: where it has keys of several, by their names,
/// else the one that the job says. `None` where the job was created for another configuration.
fn for_job(
    log: &AccessLog,
    loaders: &[LoaderName],
    source: &KeySource,
    batch: &Batch,
) -> Option<AccessLog> {
    let place = |name: &LoaderName| {
        let place = (batch.loaders.iter()).position(|loader| loader.name == *name)?;
        let place = u32::try_from(place).ok()?;
        source.several.contains(&place).then_some(place)
    };
    let places: Vec<u32> = match (loaders, source.several.as_slice()) {
        ([] | [_], []) => vec![source.loader],
        (several, _) => several.iter().map(place).collect::<Option<_>>()?,
    };
    let mut log = log.clone();
    for rule in &mut log.urls {
        let own = usize::try_from(rule.loader).ok()?;
        rule.loader = *places.get(own)?;
    }
    Some(log)
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
    use stoke_core::access_log::{Fields, Filter, Lines, UrlRule};
    use stoke_core::job::{Fit, Merge, Mode, Section};

    use super::*;
    use crate::catalog::SourceConfig;

    fn batch(loaders: &[&str]) -> Batch {
        let loader = |name: &&str| Loader {
            name: name.parse().unwrap(),
            recipe: None,
        };
        Batch {
            sources: Vec::new(),
            loaders: loaders.iter().map(loader).collect(),
            cache: "main".parse().unwrap(),
            also: Vec::new(),
            mode: Mode::Add,
            allowed_failures: 0,
            attempts_max: 1,
            section: Section::default(),
            fit: Fit::default(),
        }
    }

    fn named(loader: u32, on_bad_line: OnBadLine) -> KeySource {
        KeySource {
            loader,
            from: From::Named("top".parse().unwrap()),
            several: Vec::new(),
            merge: Merge::Max,
            on_bad_line,
            weight: Default::default(),
        }
    }

    fn catalog(from: SourceFrom, loaders: &[&str], on_bad_line: OnBadLine) -> Catalog {
        let config = SourceConfig {
            name: "top".parse().unwrap(),
            from,
            loaders: loaders.iter().map(|name| name.parse().unwrap()).collect(),
            on_bad_line,
        };
        Catalog {
            sources: [(config.name.clone(), config)].into(),
            ..Catalog::default()
        }
    }

    #[test]
    fn bad_lines_of_a_named_source_are_skipped_where_the_job_or_the_catalog_says_so() {
        use OnBadLine::{Fail, Skip};
        for (job, configured, expected) in [
            (Fail, Fail, Fail),
            (Fail, Skip, Skip),
            (Skip, Fail, Skip),
            (Skip, Skip, Skip),
        ] {
            let catalog = catalog(SourceFrom::File("keys.csv".into()), &[], configured);
            let read = source(&named(0, job), &batch(&["product"]), &catalog);
            assert_eq!(read.unwrap().1, expected);
        }
    }

    #[test]
    fn the_patterns_of_a_named_log_find_their_loaders_among_the_jobs() {
        let rule = |pattern: &str, loader| UrlRule {
            pattern: pattern.parse().unwrap(),
            loader,
        };
        let log = AccessLog {
            paths: vec!["access.log".into()],
            lines: Lines::Auto,
            fields: Fields::default(),
            urls: vec![rule("/p/{id}", 0), rule("/u/{id}", 1), rule("/q/{id}", 0)],
            filter: Filter::default(),
            half_life_s: None,
        };
        let places = |loaders: &[&str], said, several: &[u32], of_job: &[&str]| {
            let mut log = log.clone();
            if loaders.len() < 2 {
                log.urls.iter_mut().for_each(|rule| rule.loader = 0);
            }
            let catalog = catalog(SourceFrom::Log(Box::new(log)), loaders, OnBadLine::Skip);
            let named = KeySource {
                several: several.to_vec(),
                ..named(said, OnBadLine::Fail)
            };
            let read = source(&named, &batch(of_job), &catalog);
            let (readable, on_bad_line) = read?;
            assert_eq!(on_bad_line, OnBadLine::Skip);
            let Readable::Log(log) = readable else {
                panic!("it is a log");
            };
            Some(
                log.urls
                    .iter()
                    .map(|rule| rule.loader)
                    .collect::<Vec<u32>>(),
            )
        };
        let several = ["product", "user"];
        // The job's order is another, and it has more.
        let of_job = ["page", "user", "product"];
        assert_eq!(places(&several, 1, &[1, 2], &of_job), Some(vec![2, 1, 2]));
        // Of one loader, the job says which.
        let found = places(&["product"], 1, &[], &["page", "new"]);
        assert_eq!(found, Some(vec![1; 3]));
        assert_eq!(places(&[], 0, &[], &["page"]), Some(vec![0; 3]));
        // The job was created for another configuration than this worker has.
        assert_eq!(places(&several, 2, &[], &of_job), None);
        assert_eq!(places(&several, 0, &[0, 2], &of_job), None);
        assert_eq!(places(&["page"], 1, &[1, 2], &of_job), None);
        assert_eq!(places(&[], 1, &[1, 2], &of_job), None);
    }
}
