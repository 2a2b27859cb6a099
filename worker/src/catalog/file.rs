//! The catalog as TOML has it: names and numbers not checked yet.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

/// The tables of a worker's configuration that concern data. Unknown settings in them are refused; unknown tables beside
/// them are for whoever reads the whole file to refuse.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct CatalogFile {
    /// `[origins.NAME]`.
    pub(super) origins: BTreeMap<Spanned<String>, OriginTable>,
    /// `[caches.NAME]`.
    pub(super) caches: BTreeMap<Spanned<String>, CacheTable>,
    /// `[loaders.NAME]`.
    pub(super) loaders: BTreeMap<Spanned<String>, LoaderTable>,
    /// `[sources.NAME]`.
    pub(super) sources: BTreeMap<Spanned<String>, SourceTable>,
    /// Whether a job may bring SQL of its own.
    pub(super) allow_sql_in_jobs: bool,
    /// Whether a job may name a file on the worker's machine.
    pub(super) allow_files_in_jobs: bool,
}

/// `[origins.NAME]`: a database.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct OriginTable {
    /// `postgres://…` or `sqlite:path`; `${NAME}` is replaced by that environment variable.
    pub(super) url: Option<Spanned<UrlText>>,
    /// A file whose content is the URL.
    pub(super) url_file: Option<Spanned<PathBuf>>,
    /// "5s", "500ms".
    pub(super) statement_timeout: Option<Spanned<String>>,
    /// "10m".
    pub(super) source_timeout: Option<Spanned<String>>,
}

/// `[caches.NAME]`: a Redis deployment.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct CacheTable {
    /// `redis://…`; `${NAME}` is replaced by that environment variable.
    pub(super) urls: Spanned<Vec<Spanned<UrlText>>>,
    /// A file whose content is the password.
    pub(super) password_file: Option<Spanned<PathBuf>>,
}

/// `[loaders.NAME]`: a query, and how its rows become cache entries.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct LoaderTable {
    pub(super) origin: Spanned<String>,
    pub(super) query: Spanned<String>,
    pub(super) key: Spanned<String>,
    pub(super) key_column: Option<Spanned<String>>,
    pub(super) ttl: Spanned<String>,
    pub(super) ttl_jitter: Option<Spanned<f64>>,
    pub(super) batch_keys: Option<Spanned<u32>>,
    pub(super) max_value_bytes: Option<Spanned<u64>>,
}

/// `[sources.NAME]`: a query of an origin, or a file.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) struct SourceTable {
    pub(super) origin: Option<Spanned<String>>,
    pub(super) query: Option<Spanned<String>>,
    pub(super) file: Option<Spanned<PathBuf>>,
    pub(super) loader: Option<Spanned<String>>,
}

/// A URL as written. It may hold a password, so it does not show itself.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct UrlText(pub(super) String);

impl std::fmt::Debug for UrlText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UrlText(***)")
    }
}
