//! The data part of a worker's configuration: which origins, caches, loaders and key sources it knows by name.
//!
//! In a [`Catalog`] every name resolves and every number is in its range: whoever makes one sees to that. Credentials live
//! here only, as [`SecretUrl`] and [`Password`], which never show them.
//!
//! Absent: reading configuration files (that is the binary's), connecting to anything, and the process part (listen
//! address, etcd endpoints).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use stoke_core::access_log::AccessLog;
pub use stoke_core::batch_keys::BATCH_KEYS_MAX;
use stoke_core::batch_keys::BatchKeys;
use stoke_core::job::{KeyColumns, OnBadLine, Priorities};
use stoke_core::names::{CacheName, LoaderName, OriginName, ProbeName, SourceName};
use stoke_core::pattern::Pattern;
use stoke_core::records::SourceTerms;
use stoke_core::scan::Scan;
use stoke_core::template::Template;
use stoke_core::usage::{Counter, HotKeys, Monitor, Series};
use stoke_core::value::ValueSpec;
pub use stoke_prometheus::{NotAServer, Server};

mod secret;

pub use secret::{NotAUrl, Password, SecretUrl};

use crate::cache::CacheError;
use crate::origin::rewrite::Dialect;

/// How long a statement may run where an origin does not say.
pub const STATEMENT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
/// How long a key source's query may run, its reader's pauses included, where an origin does not say.
pub const SOURCE_TIMEOUT_DEFAULT: Duration = Duration::from_secs(600);
/// What is asked where a canary is not configured.
pub const CANARY_DEFAULT: &str = "SELECT 1";
/// How often a probe is asked where it does not say.
pub const PROBE_INTERVAL_DEFAULT: Duration = Duration::from_secs(5);
/// The shortest interval of a probe: each takes a query of the budget.
pub const PROBE_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// By how much a replica may lag where an origin does not say.
pub const REPLICA_LAG_MAX_DEFAULT: Duration = Duration::from_secs(10);
/// The longest that can be asked for.
pub const REPLICA_LAG_MAX_MAX: Duration = Duration::from_secs(86_400);
/// How often replicas are asked for their lag where an origin does not say.
pub const REPLICA_LAG_INTERVAL_DEFAULT: Duration = Duration::from_secs(5);
/// The longest interval of a probe.
pub const PROBE_INTERVAL_MAX: Duration = Duration::from_secs(3600);
/// How much of a time to live is jitter where a loader does not say, in thousandths.
pub const TTL_JITTER_PERMILLE_DEFAULT: u16 = 100;
/// The largest jitter, in thousandths.
pub const TTL_JITTER_PERMILLE_MAX: u16 = 900;
/// The largest value in bytes where a loader does not say.
pub const VALUE_BYTES_DEFAULT: u64 = 16 << 20;
/// The largest value in bytes that any loader may have: what Redis takes.
pub const VALUE_BYTES_MAX: u64 = 512 << 20;
/// The shortest time to live.
pub const TTL_MIN: Duration = Duration::from_secs(1);
/// The longest time to live: ten years.
pub const TTL_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);

/// What a worker can read, load from and write to.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// The databases, by name.
    pub origins: BTreeMap<OriginName, OriginConfig>,
    /// Other Redis deployments that keys are copied from, by name: none of the databases'.
    pub redis_origins: BTreeMap<OriginName, RedisOrigin>,
    /// What is asked in PromQL which keys are used, by name: none of the others'.
    pub prometheus_origins: BTreeMap<OriginName, PrometheusOrigin>,
    /// The Redis deployments, by name.
    pub caches: BTreeMap<CacheName, CacheConfig>,
    /// The loaders that jobs may name.
    pub loaders: BTreeMap<LoaderName, LoaderSpec>,
    /// The key sources that jobs may name.
    pub sources: BTreeMap<SourceName, SourceConfig>,
    /// Whether a job may bring SQL of its own.
    pub allow_sql_in_jobs: bool,
    /// Whether a job may name a file on the worker's machine, or an object that this one can read.
    pub allow_files_in_jobs: bool,
}

/// A database and how to reach it.
#[derive(Clone, Debug)]
pub struct OriginConfig {
    /// Its name in jobs, budgets and metrics.
    pub name: OriginName,
    /// `postgres://…`, `mysql://…` (or `mariadb://…`) or `sqlite:path`.
    pub url: SecretUrl,
    /// Which SQL it speaks; follows from the URL's scheme.
    pub dialect: Dialect,
    /// After this long the database ends a loader's statement.
    pub statement_timeout: Duration,
    /// After this long the database ends a key source's query.
    pub source_timeout: Duration,
    /// For TLS, where the URL asks for it (`sslmode`, in MySQL `ssl-mode`).
    pub tls: TlsFiles,
    /// How it is looked after.
    pub vigil: OriginVigil,
    /// Its read replicas, where loads and key sources go to those. `url` is the primary then.
    pub replicas: Option<ReplicasConfig>,
}

/// The read replicas of a database: the one that lags least is asked.
#[derive(Clone, Debug)]
pub struct ReplicasConfig {
    /// At least one, of the origin's dialect, which is not SQLite.
    pub urls: Vec<SecretUrl>,
    /// Whether `url` of the origin is a primary; else it is the first replica once more, and nothing is asked of it.
    pub has_primary: bool,
    /// One that lags by more is not asked.
    pub lag_max: Duration,
    /// How often each worker asks each replica for its lag, from [`PROBE_INTERVAL_MIN`] to [`PROBE_INTERVAL_MAX`].
    pub lag_interval: Duration,
    /// Whether the primary is asked where no replica can be. Only where there is one.
    pub falls_back: bool,
}

/// What is asked of a database only to see how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginVigil {
    /// Sent once a second while all jobs stand still, to see how it is answered.
    pub canary: String,
    /// Queries whose numbers guards watch.
    pub probes: BTreeMap<ProbeName, ProbeConfig>,
}

impl Default for OriginVigil {
    fn default() -> Self {
        Self {
            canary: CANARY_DEFAULT.to_owned(),
            probes: BTreeMap::new(),
        }
    }
}

/// A query that gives a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeConfig {
    /// SQL that gives exactly one row with one number.
    pub query: String,
    /// How often it is asked, from [`PROBE_INTERVAL_MIN`] to [`PROBE_INTERVAL_MAX`]; one that takes longer has failed.
    pub interval: Duration,
}

/// What TLS takes beside the system's certificates: files in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The authorities that a server's certificate must come from: in place of the system's for caches, beside them for
    /// origins.
    pub ca: Option<PathBuf>,
    /// The certificate, and its key, that the server is shown.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A Redis deployment and how to reach it.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// Its name in jobs, budgets and metrics.
    pub name: CacheName,
    /// One or more `redis://` or `rediss://` URLs of nodes, or `redis+sentinel://` or `rediss+sentinel://` URLs of sentinels; at
    /// least one.
    pub urls: Vec<SecretUrl>,
    /// The content of `password-file`, for all nodes; it goes before a password in a URL.
    pub password: Option<Password>,
    /// How sentinels are entered; it goes before what URLs say of that.
    pub sentinel_login: Option<SentinelLogin>,
    /// For TLS, where the URLs ask for it (`rediss`).
    pub tls: TlsFiles,
}

impl CacheConfig {
    /// How it is entered.
    ///
    /// # Errors
    /// Where the URLs or the files cannot be used.
    pub(crate) fn entered(&self) -> Result<crate::cache::CacheConfig, CacheError> {
        let urls: Vec<&str> = self.urls.iter().map(SecretUrl::expose).collect();
        let password = self.password.as_ref().map(Password::expose);
        let parsed = crate::cache::CacheConfig::parse(&urls, password)?;
        let entered = match &self.sentinel_login {
            Some(login) => {
                parsed.with_sentinel_login(login.user.as_deref(), login.password.expose())?
            }
            None => parsed,
        };
        entered.with_tls(&self.tls)
    }
}

/// Another Redis that keys are copied from.
#[derive(Clone, Debug)]
pub struct RedisOrigin {
    /// Its name in jobs, budgets and metrics.
    pub name: OriginName,
    /// How it is reached.
    pub redis: CacheConfig,
    /// How long an answer is waited for.
    pub statement_timeout: Duration,
    /// How long all its keys may be looked through, the reader's pauses included.
    pub source_timeout: Duration,
}

/// A Prometheus whose series are key sources.
#[derive(Clone, Debug)]
pub struct PrometheusOrigin {
    /// Its name in jobs, budgets and metrics.
    pub name: OriginName,
    /// Where it is, and how it lets us in.
    pub server: Server,
    /// How long it may take to show that it answers.
    pub statement_timeout: Duration,
    /// How long a key source's query may take.
    pub source_timeout: Duration,
}

/// How sentinels are entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentinelLogin {
    /// None: the default user.
    pub user: Option<String>,
    /// Its password.
    pub password: Password,
}

/// A recipe: one batched query, and how its rows become cache entries.
#[derive(Clone, Debug)]
pub struct LoaderSpec {
    /// Its name in jobs and in lists of failures.
    pub name: LoaderName,
    /// The origin that it asks.
    pub origin: OriginName,
    /// SQL with `:keys` where a batch of keys belongs, or `:key` for one query a key; empty where keys are copied.
    pub query: String,
    /// The cache key.
    pub key: Template,
    /// The columns that say which key a row answers; without them, those left of `IN (:keys)`.
    pub key_column: KeyColumns,
    /// From [`TTL_MIN`] to [`TTL_MAX`]; or, where keys are copied, [`TTL_OF_ORIGIN`](stoke_core::copy::TTL_OF_ORIGIN).
    pub ttl: Duration,
    /// The time to live is shortened by up to this share of it, in thousandths; at most [`TTL_JITTER_PERMILLE_MAX`].
    pub ttl_jitter_permille: u16,
    /// Keys in one query, at most [`BATCH_KEYS_MAX`].
    pub batch_keys: BatchKeys,
    /// A larger value, before it is compressed, fails its entry; from 1 to [`VALUE_BYTES_MAX`].
    pub max_value_bytes: u64,
    /// How its values are made.
    pub value: ValueSpec,
    /// Where it needs no keys: how it reads all rows of its query. Its key is of the row's columns then.
    pub scan: Option<Scan>,
}

impl LoaderSpec {
    /// Whether it copies the keys of another Redis.
    #[must_use]
    pub const fn copies(&self) -> bool {
        self.value.copy.is_some()
    }

    /// The origin that is asked for the versions of its rows, where it names a column for them.
    #[must_use]
    pub fn origin_of_versions(&self) -> Option<&OriginName> {
        let versions = self.value.versions.as_ref()?;
        Some(versions.origin.as_ref().unwrap_or(&self.origin))
    }
}

/// Where a ranked list of keys comes from.
#[derive(Clone, Debug)]
pub struct SourceConfig {
    /// Its name in jobs.
    pub name: SourceName,
    /// What is read.
    pub from: SourceFrom,
    /// The loader of its keys where a job does not say; where there are several, which only a log has, the job has to have them all.
    pub loaders: Vec<LoaderName>,
    /// What is done with lines (rows) that are no entries, where a job does not say that they are skipped.
    pub on_bad_line: OnBadLine,
}

impl SourceConfig {
    /// What a job that names it takes from here.
    #[must_use]
    pub fn terms(&self) -> SourceTerms {
        SourceTerms {
            loaders: self.loaders.clone(),
            priorities: self.from.priorities(),
        }
    }
}

/// What a key source reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceFrom {
    /// The rows of a query.
    Sql {
        /// The origin that is asked.
        origin: OriginName,
        /// SQL that gives a column `key`.
        query: String,
    },
    /// The keys of a Redis.
    Keyspace {
        /// The origin that is asked.
        origin: OriginName,
        /// Which keys.
        pattern: Pattern,
        /// How much one SCAN looks through, from 1 to [`SCAN_COUNT_MAX`](stoke_core::job::SCAN_COUNT_MAX).
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
    /// A key file: a path on the worker's machine, or the URL of an object; `-` is its standard input.
    File(PathBuf),
    /// An access log. The loaders of its patterns are places among the source's own.
    Log(Box<AccessLog>),
}

impl SourceFrom {
    /// What its priorities are.
    #[must_use]
    pub const fn priorities(&self) -> Priorities {
        match self {
            Self::Log(_) | Self::Monitor(_) => Priorities::Counts,
            Self::Prometheus(_) => Priorities::Numbers,
            Self::Sql { .. }
            | Self::Keyspace { .. }
            | Self::Counter(_)
            | Self::HotKeys(_)
            | Self::File(_) => Priorities::Ranks,
        }
    }

    /// The origin that is asked, where one is.
    #[must_use]
    pub const fn origin(&self) -> Option<&OriginName> {
        match self {
            Self::Sql { origin, .. } | Self::Keyspace { origin, .. } => Some(origin),
            Self::Counter(counter) => Some(&counter.origin),
            Self::HotKeys(hot) => Some(&hot.origin),
            Self::Monitor(monitor) => Some(&monitor.origin),
            Self::Prometheus(series) => Some(&series.origin),
            Self::File(_) | Self::Log(_) => None,
        }
    }
}
