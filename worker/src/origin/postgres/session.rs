//! One connection to PostgreSQL, set up by its start-up message alone: no statement is spent on it.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};

use crate::catalog::{OriginConfig, TlsFiles};
use crate::origin::error::{NoAnswer, OriginError};
use crate::origin::idle::Lease;
use crate::origin::meter::Meter;

/// What the sessions call themselves in `pg_stat_activity` and in the server's log.
const APPLICATION_NAME: &str = "stoke";
/// How long setting a connection up may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// How many different statements a connection may have prepared. It is closed when it reaches this: the driver would
/// begin to forget some, and prepare them again without a token.
pub(super) const STATEMENTS_MAX: usize = 256;
/// How often the server looks whether we are still there while it runs a query.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// What a URL may say behind its question mark, besides `options[…]`. The driver would log what it does not know, value
/// included.
const URL_PARAMETERS: [&str; 18] = [
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
    "statement-cache-capacity",
];

/// The parameter that says that a pooler is in between.
const POOLER: &str = "pooler";

/// How to open sessions. It shows nothing of itself: the driver's options show their password.
pub(super) struct Doors {
    options: PgConnectOptions,
    /// Host, port and database, without credentials.
    address: String,
    /// What opening one is called in errors: it names origin and address.
    doing: String,
    /// Whether a pooler is in between that lends connections for a transaction only.
    pooled: bool,
    /// Whether the server takes `client_connection_check_interval`: from version 14 on, where the system can tell.
    checks: AtomicBool,
}

/// A connection, and which queries it has prepared.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: PgConnection,
    /// Behind a pooler: those whose types the driver knows.
    pub(super) prepared: HashSet<Arc<str>>,
    /// The statement timeout, where a pooler is between us and the server and the session cannot have it.
    pub(super) pooled: Option<Duration>,
    _lease: Lease,
}

impl fmt::Debug for Doors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doors").finish_non_exhaustive()
    }
}

impl Doors {
    pub(super) fn new(config: &OriginConfig) -> Result<Self, UrlError> {
        let (text, pooled) = without_pooler(config.url.expose())?;
        let text = text.as_str();
        if let Some((_, parameters)) = text.split_once('?') {
            for parameter in parameters.split('&') {
                let name = parameter.split('=').next().unwrap_or_default();
                if !URL_PARAMETERS.contains(&name)
                    && !name.to_ascii_lowercase().starts_with("options")
                {
                    return Err(UrlError::Parameter);
                }
            }
        }
        let options: PgConnectOptions = text.parse().map_err(UrlError::Form)?;
        let address = format!(
            "{}:{}/{}",
            options.get_host(),
            options.get_port(),
            options.get_database().unwrap_or_default()
        );
        let doing = format!("connect to origin {:?} at {address}", config.name.as_str());
        let mut options = with_tls(options, text, &config.tls)?
            .application_name(APPLICATION_NAME)
            .statement_cache_capacity(STATEMENTS_MAX)
            .disable_statement_logging();
        if pooled {
            // PgBouncer takes no setting that it cannot pass on with the next client.
            options = options.extra_float_digits(None);
        }
        Ok(Self {
            options,
            address,
            doing,
            pooled,
            checks: AtomicBool::new(true),
        })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Opens a connection in which the server ends a statement after `statement_timeout`.
    pub(super) async fn open(
        &self,
        meter: &mut Meter<'_>,
        statement_timeout: Duration,
        lease: Lease,
    ) -> Result<Session, OriginError> {
        let base = self.options.clone();
        let base = if self.pooled {
            base
        } else {
            base.options([
                (
                    "statement_timeout",
                    statement_timeout.as_millis().to_string(),
                ),
                // Nothing that fills a cache has to write: a query that tries is a mistake.
                ("default_transaction_read_only", "on".to_owned()),
            ])
        };
        loop {
            let checks = self.checks.load(Relaxed) && !self.pooled;
            let options = if checks {
                base.clone().options([(
                    "client_connection_check_interval",
                    CHECK_INTERVAL.as_millis(),
                )])
            } else {
                base.clone()
            };
            meter.pass(1).await?;
            match tokio::time::timeout(CONNECT_TIME_MAX, options.connect()).await {
                Ok(Ok(connection)) => {
                    meter.connected();
                    return Ok(Session {
                        connection,
                        prepared: HashSet::new(),
                        pooled: self.pooled.then_some(statement_timeout),
                        _lease: lease,
                    });
                }
                Ok(Err(error)) if checks && refuses_setting(&error) => {
                    self.checks.store(false, Relaxed)
                }
                Ok(Err(error)) => return Err(OriginError::no_entry(self.doing.clone(), error)),
                Err(_) => {
                    let late = NoAnswer(CONNECT_TIME_MAX);
                    return Err(OriginError::no_entry(self.doing.clone(), late));
                }
            }
        }
    }
}

/// A URL without what it says of a pooler, and whether that is one by transactions: the driver does not know the parameter.
fn without_pooler(url: &str) -> Result<(String, bool), UrlError> {
    let Some((before, parameters)) = url.split_once('?') else {
        return Ok((url.to_owned(), false));
    };
    let (poolers, others): (Vec<&str>, Vec<&str>) = parameters
        .split('&')
        .partition(|parameter| parameter.split('=').next() == Some(POOLER));
    if poolers.iter().any(|said| *said != "pooler=transaction") {
        return Err(UrlError::Pooler);
    }
    let mark = if others.is_empty() { "" } else { "?" };
    let url = format!("{before}{mark}{}", others.join("&"));
    Ok((url, !poolers.is_empty()))
}

/// The options with what the configuration says of TLS. Where it names an authority, the server's certificate is looked
/// at: fully where the URL has no `sslmode`, and as libpq does where that is `require`.
fn with_tls(
    mut options: PgConnectOptions,
    url: &str,
    files: &TlsFiles,
) -> Result<PgConnectOptions, UrlError> {
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
    let says = |names: &[&str]| {
        let mut said = parameters.split('&').filter_map(|p| p.split('=').next());
        said.any(|name| names.contains(&name))
    };
    let stated = says(&["sslmode", "ssl-mode"]) || std::env::var_os("PGSSLMODE").is_some();
    let has_authority = files.ca.is_some() || says(&["sslrootcert", "ssl-root-cert", "ssl-ca"]);
    let has_files = *files != TlsFiles::default();
    let mode = match options.get_ssl_mode() {
        PgSslMode::Allow => return Err(UrlError::Allow),
        PgSslMode::Disable if has_files => return Err(UrlError::TlsUnasked),
        PgSslMode::Prefer if stated && has_authority => return Err(UrlError::Prefer),
        PgSslMode::Prefer if has_authority => PgSslMode::VerifyFull,
        PgSslMode::Prefer if has_files && !stated => PgSslMode::Require,
        PgSslMode::Require if has_authority => PgSslMode::VerifyCa,
        mode => mode,
    };
    options = options.ssl_mode(mode);
    if let Some(ca) = &files.ca {
        options = options.ssl_root_cert(readable(ca)?);
    }
    if let Some((certificate, key)) = &files.identity {
        options = options
            .ssl_client_cert(readable(certificate)?)
            .ssl_client_key(readable(key)?);
    }
    Ok(options)
}

/// A file that can be opened: the driver would take it for a network that fails.
fn readable(path: &Path) -> Result<&Path, UrlError> {
    std::fs::File::open(path).map_err(|source| UrlError::File {
        path: path.to_owned(),
        source,
    })?;
    Ok(path)
}

/// Whether the server refused a setting of the start-up message: it does not know it, or not on this system.
fn refuses_setting(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("42704" | "22023"))
}

/// Why a URL is of no use. It shows nothing of the URL: a password with a '?' in it looks like a parameter.
#[derive(Debug, thiserror::Error)]
pub(super) enum UrlError {
    #[error(
        "the URL's pooler is one by transactions, or is not named: write pooler=transaction, or remove it"
    )]
    Pooler,
    #[error(
        "the URL has a parameter that means nothing here: {} and pooler are known; a '?' that is part of a password is written %3F",
        URL_PARAMETERS.join(", ")
    )]
    Parameter,
    #[error("the URL is malformed: write it as postgres://user:password@host:port/database")]
    Form(#[source] sqlx::Error),
    #[error("sslmode=allow is not supported: write prefer or require for TLS, or disable")]
    Allow,
    #[error(
        "sslmode=prefer looks at no certificate and goes without TLS where the server has none, but an authority is \
         given: write sslmode=verify-full"
    )]
    Prefer,
    #[error(
        "there are files for TLS, but sslmode=disable: write sslmode=verify-full, or remove the files"
    )]
    TlsUnasked,
    #[error("cannot read {}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(parameters: &str, files: &TlsFiles) -> Result<PgSslMode, UrlError> {
        let url = format!("postgres://u@h/d{parameters}");
        with_tls(url.parse().unwrap(), &url, files).map(|options| options.get_ssl_mode())
    }

    #[test]
    fn a_password_with_a_question_mark_is_not_shown_as_a_parameter() {
        let config = OriginConfig {
            name: "shop".parse().unwrap(),
            url: crate::catalog::SecretUrl::new("postgres://u:hun?ter2@h/d").unwrap(),
            dialect: crate::origin::rewrite::Dialect::Postgres,
            statement_timeout: Duration::from_secs(5),
            source_timeout: Duration::from_secs(5),
            tls: TlsFiles::default(),
            vigil: crate::catalog::OriginVigil::default(),
            replicas: None,
        };
        let error = Doors::new(&config).err().unwrap().to_string();
        assert!(error.contains("%3F") && !error.contains("ter2"), "{error}");
    }

    #[test]
    fn a_pooler_is_said_by_a_parameter_that_the_driver_never_sees() {
        for (url, left, pooled) in [
            ("postgres://h/d", "postgres://h/d", false),
            ("postgres://h/d?pooler=transaction", "postgres://h/d", true),
            (
                "postgres://h/d?sslmode=disable&pooler=transaction&port=1",
                "postgres://h/d?sslmode=disable&port=1",
                true,
            ),
        ] {
            let found = without_pooler(url).unwrap();
            assert_eq!(found, (left.to_owned(), pooled));
        }
        let error = without_pooler("postgres://h/d?pooler=session").unwrap_err();
        assert!(error.to_string().contains("pooler=transaction"), "{error}");
    }

    #[test]
    fn an_authority_means_that_the_servers_certificate_is_looked_at() {
        let file: PathBuf = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").into();
        let none = TlsFiles::default();
        let authority = TlsFiles {
            ca: Some(file.clone()),
            identity: None,
        };
        let identity = TlsFiles {
            ca: None,
            identity: Some((file.clone(), file)),
        };
        let of = |parameters: &str, files: &TlsFiles| format!("{:?}", mode(parameters, files));
        assert_eq!(of("", &none), "Ok(Prefer)");
        assert_eq!(of("?sslmode=require", &none), "Ok(Require)");
        assert_eq!(of("", &authority), "Ok(VerifyFull)");
        assert_eq!(of("?sslmode=require", &authority), "Ok(VerifyCa)");
        assert_eq!(of("?sslmode=verify-ca", &authority), "Ok(VerifyCa)");
        assert_eq!(of("", &identity), "Ok(Require)");
        assert!(matches!(
            mode("?sslmode=prefer", &authority),
            Err(UrlError::Prefer)
        ));
        assert!(matches!(
            mode("?sslmode=disable", &authority),
            Err(UrlError::TlsUnasked)
        ));
        assert!(matches!(
            mode("?sslmode=allow", &none),
            Err(UrlError::Allow)
        ));
        let missing = TlsFiles {
            ca: Some("/no/such/ca.pem".into()),
            identity: None,
        };
        let error = mode("", &missing).unwrap_err();
        assert!(error.to_string().contains("/no/such/ca.pem"), "{error}");
    }
}
