//! One connection to PostgreSQL, set up by its start-up message alone: no statement is spent on it.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::{PgConnectOptions, PgConnection};

use crate::catalog::SecretUrl;
use crate::origin::error::{NoAnswer, OriginError};
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

/// How to open sessions. It shows nothing of itself: the driver's options show their password.
pub(super) struct Doors {
    options: PgConnectOptions,
    /// Whether the server takes `client_connection_check_interval`: from version 14 on, where the system can tell.
    checks: AtomicBool,
}

/// A connection, and which queries it has prepared.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: PgConnection,
    pub(super) prepared: HashSet<Arc<str>>,
}

impl fmt::Debug for Doors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doors").finish_non_exhaustive()
    }
}

impl Doors {
    pub(super) fn new(url: &SecretUrl) -> Result<Self, UrlError> {
        let text = url.expose();
        if let Some((_, parameters)) = text.split_once('?') {
            for parameter in parameters.split('&') {
                let name = parameter.split('=').next().unwrap_or_default();
                if !URL_PARAMETERS.contains(&name)
                    && !name.to_ascii_lowercase().starts_with("options")
                {
                    return Err(UrlError::Parameter(name.chars().take(80).collect()));
                }
            }
        }
        let options: PgConnectOptions = text.parse().map_err(UrlError::Form)?;
        let options = options
            .application_name(APPLICATION_NAME)
            .statement_cache_capacity(STATEMENTS_MAX)
            .disable_statement_logging();
        Ok(Self {
            options,
            checks: AtomicBool::new(true),
        })
    }

    /// Opens a connection in which the server ends a statement after `statement_timeout`.
    pub(super) async fn open(
        &self,
        meter: &mut Meter<'_>,
        statement_timeout: Duration,
    ) -> Result<Session, OriginError> {
        const DOING: &str = "connect to the database";
        let base = self.options.clone().options([
            (
                "statement_timeout",
                statement_timeout.as_millis().to_string(),
            ),
            // Nothing that fills a cache has to write: a query that tries is a mistake.
            ("default_transaction_read_only", "on".to_owned()),
        ]);
        loop {
            let checks = self.checks.load(Relaxed);
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
                    return Ok(Session {
                        connection,
                        prepared: HashSet::new(),
                    });
                }
                Ok(Err(error)) if checks && refuses_setting(&error) => {
                    self.checks.store(false, Relaxed)
                }
                Ok(Err(error)) => return Err(OriginError::from_driver(DOING, error)),
                Err(_) => return Err(OriginError::transient(DOING, NoAnswer(CONNECT_TIME_MAX))),
            }
        }
    }
}

/// Whether the server refused a setting of the start-up message: it does not know it, or not on this system.
fn refuses_setting(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    matches!(code.as_deref(), Some("42704" | "22023"))
}

/// Why a URL is of no use. It shows nothing of the URL but a parameter's name.
#[derive(Debug, thiserror::Error)]
pub(super) enum UrlError {
    #[error("the URL has the parameter {0:?}, which means nothing here: remove it")]
    Parameter(String),
    #[error("the URL is malformed: write it as postgres://user:password@host:port/database")]
    Form(#[source] sqlx::Error),
}
