//! From the catalog as written to the catalog as it is used: everything is looked at, and all faults come together.

use std::io;
use std::ops::Range;
use std::path::Path;

use stoke_core::job::OnBadLine;
use stoke_core::template::Template;
use toml::Spanned;

use super::file::{CacheTable, LoaderTable, OriginTable, SourceTable};
use super::{
    BATCH_KEYS_DEFAULT, BATCH_KEYS_MAX, CacheConfig, Catalog, CatalogFile, Fault, Faults,
    LoaderSpec, OriginConfig, Password, SOURCE_TIMEOUT_DEFAULT, STATEMENT_TIMEOUT_DEFAULT,
    SecretUrl, SourceConfig, SourceFrom, TTL_MAX, TTL_MIN, TlsFiles, VALUE_BYTES_DEFAULT,
    VALUE_BYTES_MAX,
};
use crate::origin::rewrite::{Dialect, rewrite};

mod values;

/// What a configuration refers to outside itself.
pub struct Surroundings<'a> {
    /// The value of an environment variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The content of a file.
    pub read: &'a dyn Fn(&Path) -> io::Result<String>,
}

impl Surroundings<'static> {
    /// This process' environment and file system.
    #[must_use]
    pub fn of_process() -> Self {
        Self {
            variable: &|name| std::env::var(name).ok(),
            read: &|path| std::fs::read_to_string(path),
        }
    }
}

impl CatalogFile {
    /// Checks everything. `text` is the file that this was read from, for the lines of faults; empty where there is none.
    ///
    /// # Errors
    /// All faults, in the order of origins, caches, loaders, sources.
    pub fn check(&self, text: &str, around: &Surroundings<'_>) -> Result<Catalog, Faults> {
        let mut check = Check {
            text,
            around,
            faults: Vec::new(),
            catalog: Catalog::default(),
        };
        check.catalog.allow_sql_in_jobs = self.allow_sql_in_jobs;
        check.catalog.allow_files_in_jobs = self.allow_files_in_jobs;
        for (name, table) in &self.origins {
            check.origin(name, table);
        }
        for (name, table) in &self.caches {
            check.cache(name, table);
        }
        for (name, table) in &self.loaders {
            check.loader(name, table, self);
        }
        for (name, table) in &self.sources {
            check.source(name, table, self);
        }
        if check.faults.is_empty() {
            Ok(check.catalog)
        } else {
            Err(Faults(check.faults))
        }
    }
}

/// A check under way: what was found right, and what was found wrong.
struct Check<'a> {
    text: &'a str,
    around: &'a Surroundings<'a>,
    faults: Vec<Fault>,
    catalog: Catalog,
}

impl Check<'_> {
    fn origin(&mut self, name: &Spanned<String>, table: &OriginTable) {
        let at = format!("origins.{}", name.as_ref());
        let parsed_name = self.parsed(&at, name);
        let url = self.origin_url(&at, name, table).and_then(|(url, span)| {
            let dialect = match url.scheme() {
                "postgres" | "postgresql" => Dialect::Postgres,
                "sqlite" => Dialect::Sqlite,
                other => {
                    let what = format!("no database is reached by {other}:");
                    self.fault(
                        &at,
                        &span,
                        what,
                        "begin the URL with postgres:// or sqlite:",
                    );
                    return None;
                }
            };
            Some((url, dialect))
        });
        let statement_timeout = self.timeout(
            &format!("{at}.statement-timeout"),
            table.statement_timeout.as_ref(),
        );
        let source_timeout = self.timeout(
            &format!("{at}.source-timeout"),
            table.source_timeout.as_ref(),
        );
        let (Some(name), Some((url, dialect))) = (parsed_name, url) else {
            return;
        };
        let origin = OriginConfig {
            name: Clone::clone(&name),
            url,
            dialect,
            statement_timeout: statement_timeout.unwrap_or(STATEMENT_TIMEOUT_DEFAULT),
            source_timeout: source_timeout.unwrap_or(SOURCE_TIMEOUT_DEFAULT),
            tls: TlsFiles::default(),
        };
        self.catalog.origins.insert(name, origin);
    }

    fn origin_url(
        &mut self,
        at: &str,
        name: &Spanned<String>,
        table: &OriginTable,
    ) -> Option<(SecretUrl, Range<usize>)> {
        match (&table.url, &table.url_file) {
            (Some(url), None) => Some((self.url(&format!("{at}.url"), url)?, url.span())),
            (None, Some(file)) => {
                let at = format!("{at}.url-file");
                let content = self.file(&at, file)?;
                let url = SecretUrl::new(&content);
                let url = self.or_fault(
                    &at,
                    &file.span(),
                    url,
                    "put one URL into the file, and nothing else",
                )?;
                Some((url, file.span()))
            }
            (Some(_), Some(file)) => {
                self.fault(
                    at,
                    &file.span(),
                    "both url and url-file are given",
                    "keep one of them",
                );
                None
            }
            (None, None) => {
                self.fault(at, &name.span(), "no url is given", "add url or url-file");
                None
            }
        }
    }

    fn cache(&mut self, name: &Spanned<String>, table: &CacheTable) {
        let at = format!("caches.{}", name.as_ref());
        let parsed_name = self.parsed(&at, name);
        if table.urls.as_ref().is_empty() {
            self.fault(
                &format!("{at}.urls"),
                &table.urls.span(),
                "the list is empty",
                "name at least one node",
            );
        }
        let mut urls = Vec::new();
        for text in table.urls.as_ref() {
            let at = format!("{at}.urls");
            let Some(url) = self.url(&at, text) else {
                continue;
            };
            if matches!(url.scheme(), "redis" | "rediss") {
                urls.push(url);
            } else {
                let what = format!("no cache is reached by {}:", url.scheme());
                self.fault(
                    &at,
                    &text.span(),
                    what,
                    "begin the URL with redis:// or rediss://",
                );
            }
        }
        let password = table
            .password_file
            .as_ref()
            .and_then(|file| self.file(&format!("{at}.password-file"), file))
            .map(|content| Password::new(content.trim_end_matches(['\r', '\n']).to_owned()));
        let Some(name) = parsed_name else { return };
        self.catalog.caches.insert(
            Clone::clone(&name),
            CacheConfig {
                name,
                urls,
                password,
                tls: TlsFiles::default(),
            },
        );
    }

    fn loader(&mut self, name: &Spanned<String>, table: &LoaderTable, file: &CatalogFile) {
        let at = format!("loaders.{}", name.as_ref());
        let parsed_name = self.parsed(&at, name);
        let origin = self.known(
            &format!("{at}.origin"),
            &table.origin,
            "origin",
            file.origins.keys(),
        );
        if let Some(dialect) = origin
            .as_ref()
            .and_then(|name| Some(self.catalog.origins.get(name)?.dialect))
        {
            let rewritten = rewrite(table.query.as_ref(), dialect);
            let remedy = "see the loader's reference for what a query may look like";
            self.or_fault(
                &format!("{at}.query"),
                &table.query.span(),
                rewritten,
                remedy,
            );
        }
        let key = Template::parse(table.key.as_ref());
        let remedy = "write text with {column}s, as \"product:{key}\"";
        let key = self.or_fault(&format!("{at}.key"), &table.key.span(), key, remedy);
        let ttl = self.duration(&format!("{at}.ttl"), &table.ttl, TTL_MIN..=TTL_MAX);
        let jitter = self.jitter(&format!("{at}.ttl-jitter"), table.ttl_jitter.as_ref());
        let batch_keys = self.number(
            &format!("{at}.batch-keys"),
            table
                .batch_keys
                .as_ref()
                .map(|n| (u64::from(*n.as_ref()), n.span())),
            u64::from(BATCH_KEYS_DEFAULT)..=u64::from(BATCH_KEYS_MAX),
        );
        let max_value_bytes = self.number(
            &format!("{at}.max-value-bytes"),
            table
                .max_value_bytes
                .as_ref()
                .map(|n| (*n.as_ref(), n.span())),
            VALUE_BYTES_DEFAULT..=VALUE_BYTES_MAX,
        );
        let (Some(name), Some(origin), Some(key), Some(ttl)) = (parsed_name, origin, key, ttl)
        else {
            return;
        };
        let loader = LoaderSpec {
            name: Clone::clone(&name),
            origin,
            query: table.query.as_ref().clone(),
            key,
            key_column: table
                .key_column
                .as_ref()
                .map(|column| column.as_ref().clone()),
            ttl,
            ttl_jitter_permille: jitter,
            batch_keys: u32::try_from(batch_keys).unwrap_or(BATCH_KEYS_DEFAULT),
            max_value_bytes,
        };
        self.catalog.loaders.insert(name, loader);
    }

    fn source(&mut self, name: &Spanned<String>, table: &SourceTable, file: &CatalogFile) {
        let at = format!("sources.{}", name.as_ref());
        let parsed_name = self.parsed(&at, name);
        let loader = table.loader.as_ref().and_then(|loader| {
            self.known(
                &format!("{at}.loader"),
                loader,
                "loader",
                file.loaders.keys(),
            )
        });
        let from = match (&table.origin, &table.query, &table.file) {
            (Some(origin), Some(query), None) => self
                .known(
                    &format!("{at}.origin"),
                    origin,
                    "origin",
                    file.origins.keys(),
                )
                .map(|origin| SourceFrom::Sql {
                    origin,
                    query: query.as_ref().clone(),
                }),
            (None, None, Some(path)) => Some(SourceFrom::File(path.as_ref().clone())),
            _ => {
                let remedy = "give origin and query, or file";
                self.fault(&at, &name.span(), "it is not clear what is read", remedy);
                None
            }
        };
        let (Some(name), Some(from)) = (parsed_name, from) else {
            return;
        };
        self.catalog.sources.insert(
            Clone::clone(&name),
            SourceConfig {
                name,
                from,
                loader,
                on_bad_line: OnBadLine::Fail,
            },
        );
    }
}

#[cfg(test)]
mod tests;
