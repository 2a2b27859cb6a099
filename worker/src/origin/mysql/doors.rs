//! Getting into a MySQL or MariaDB: what the URL and the configuration say of it, and how a session is opened.
//!
//! Passwords are checked by `mysql_native_password`, `caching_sha2_password` or `sha256_password`. The last two need TLS
//! unless the server remembers the user: without it a password is sent under a key of the server's, which nobody vouches for.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _};

use super::session::{STATEMENTS_MAX, Session, settings};
use crate::catalog::{OriginConfig, TlsFiles};
use crate::origin::error::{NoAnswer, OriginError};
use crate::origin::idle::Lease;
use crate::origin::meter::Meter;

/// How long setting a connection up may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// What a URL may say behind its question mark. Character set and time zone are ours: values are read by them.
const URL_PARAMETERS: [&str; 9] = [
    "ssl-mode", "sslmode", "ssl-ca", "sslca", "ssl-cert", "sslcert", "ssl-key", "sslkey", "socket",
];

/// How to open sessions. It shows nothing of itself: the driver's options show their password.
pub(super) struct Doors {
    options: MySqlConnectOptions,
    /// Host, port and database, without credentials.
    address: String,
    /// What opening one is called in errors: it names origin and address.
    doing: String,
}

impl fmt::Debug for Doors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doors").finish_non_exhaustive()
    }
}

impl Doors {
    pub(super) fn new(config: &OriginConfig) -> Result<Self, UrlError> {
        let text = config.url.expose();
        if let Some((_, parameters)) = text.split_once('?') {
            for parameter in parameters.split('&') {
                let name = parameter.split('=').next().unwrap_or_default();
                if !URL_PARAMETERS.contains(&name) {
                    return Err(UrlError::Parameter);
                }
            }
        }
        let options: MySqlConnectOptions = text.parse().map_err(UrlError::Form)?;
        // An IPv6 address has brackets in a URL only.
        let host = options.get_host().trim_matches(['[', ']']).to_owned();
        let at = match options.get_socket() {
            Some(socket) => socket.display().to_string(),
            None => format!("{host}:{}", options.get_port()),
        };
        let address = format!("{at}/{}", options.get_database().unwrap_or_default());
        let doing = format!("connect to origin {:?} at {address}", config.name.as_str());
        let options = with_tls(options.host(&host), text, &config.tls)?
            .statement_cache_capacity(STATEMENTS_MAX)
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .timezone(None)
            .set_names(false)
            .disable_statement_logging();
        Ok(Self {
            options,
            address,
            doing,
        })
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Opens a connection, and sends nothing on it.
    pub(super) async fn enter(
        &self,
        meter: &mut Meter<'_>,
    ) -> Result<MySqlConnection, OriginError> {
        meter.pass(1).await?;
        match tokio::time::timeout(CONNECT_TIME_MAX, self.options.connect()).await {
            Ok(Ok(connection)) => {
                meter.connected();
                Ok(connection)
            }
            Ok(Err(error)) => Err(self.no_entry(error)),
            Err(_) => Err(self.late()),
        }
    }

    /// Opens a connection in which the server ends a statement after `statement_timeout`.
    pub(super) async fn open(
        &self,
        meter: &mut Meter<'_>,
        statement_timeout: Duration,
        lease: Lease,
    ) -> Result<Session, OriginError> {
        let mut connection = self.enter(meter).await?;
        meter.pass(1).await?;
        let set = sqlx::raw_sql(AssertSqlSafe(settings(statement_timeout)));
        match tokio::time::timeout(CONNECT_TIME_MAX, connection.execute(set)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(self.no_entry(error)),
            Err(_) => return Err(self.late()),
        }
        meter.connected();
        Ok(Session {
            connection,
            prepared: HashSet::new(),
            _lease: lease,
        })
    }

    fn late(&self) -> OriginError {
        OriginError::no_entry(self.doing.clone(), NoAnswer(CONNECT_TIME_MAX))
    }

    fn no_entry(&self, error: sqlx::Error) -> OriginError {
        /// A syntax error: of a statement that is ours.
        const TOO_OLD: &str = "42000";
        let doing = self.doing.clone();
        let code = error.as_database_error().and_then(|error| error.code());
        match &error {
            sqlx::Error::Protocol(words) if words.contains("unknown authentication plugin") => {
                OriginError::shut_out(doing, Unusable::Plugin(error))
            }
            sqlx::Error::Database(said)
                if code.as_deref() == Some(TOO_OLD) && said.message().contains("syntax") =>
            {
                OriginError::shut_out(doing, Unusable::Version(error))
            }
            _ => OriginError::no_entry(doing, error),
        }
    }
}

/// A server that we cannot work with.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error(
        "the server checks this user's password in a way that is not known here: let it be mysql_native_password or caching_sha2_password"
    )]
    Plugin(#[source] sqlx::Error),
    #[error("the server is too old: MySQL 5.7.20 or MariaDB 10.1.1 is the first that can be used")]
    Version(#[source] sqlx::Error),
}

/// The options with what the configuration says of TLS. Where it names an authority, the server's certificate is looked
/// at: fully where the URL has no `ssl-mode`, and all but its name where that is `required`.
fn with_tls(
    mut options: MySqlConnectOptions,
    url: &str,
    files: &TlsFiles,
) -> Result<MySqlConnectOptions, UrlError> {
    let parameters = url.split_once('?').map_or("", |(_, parameters)| parameters);
    let says = |names: &[&str]| {
        let mut said = parameters.split('&').filter_map(|p| p.split('=').next());
        said.any(|name| names.contains(&name))
    };
    let stated = says(&["ssl-mode", "sslmode"]);
    let has_authority = files.ca.is_some() || says(&["ssl-ca", "sslca"]);
    let has_files = *files != TlsFiles::default();
    let mode = match options.get_ssl_mode() {
        MySqlSslMode::Disabled if has_files => return Err(UrlError::TlsUnasked),
        MySqlSslMode::Preferred if stated && has_authority => return Err(UrlError::Preferred),
        MySqlSslMode::Preferred if has_authority => MySqlSslMode::VerifyIdentity,
        MySqlSslMode::Preferred if has_files && !stated => MySqlSslMode::Required,
        MySqlSslMode::Required if has_authority => MySqlSslMode::VerifyCa,
        mode => mode,
    };
    options = options.ssl_mode(mode);
    if let Some(ca) = &files.ca {
        options = options.ssl_ca(readable(ca)?);
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

/// Why a URL is of no use. It shows nothing of the URL: a password with a '?' in it looks like a parameter.
#[derive(Debug, thiserror::Error)]
pub(super) enum UrlError {
    #[error(
        "the URL has a parameter that means nothing here: {} are known; a '?' that is part of a password is written %3F",
        URL_PARAMETERS.join(", ")
    )]
    Parameter,
    #[error("the URL is malformed: write it as mysql://user:password@host:port/database")]
    Form(#[source] sqlx::Error),
    #[error(
        "ssl-mode=preferred looks at no certificate and goes without TLS where the server has none, but an authority is \
         given: write ssl-mode=verify_identity"
    )]
    Preferred,
    #[error(
        "there are files for TLS, but ssl-mode=disabled: write ssl-mode=verify_identity, or remove the files"
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

    fn doors(url: &str) -> Result<Doors, UrlError> {
        Doors::new(&OriginConfig {
            name: "shop".parse().unwrap(),
            url: crate::catalog::SecretUrl::new(url).unwrap(),
            dialect: crate::origin::rewrite::Dialect::MySql,
            statement_timeout: Duration::from_secs(5),
            source_timeout: Duration::from_secs(5),
            tls: TlsFiles::default(),
            vigil: crate::catalog::OriginVigil::default(),
            replicas: None,
        })
    }

    #[test]
    fn a_url_names_where_it_leads_and_nothing_of_the_credentials() {
        for (url, at) in [
            ("mysql://u:hunter2@db/shop", "at db:3306/shop"),
            ("mariadb://u:hunter2@db:3307/shop", "at db:3307/shop"),
            ("mysql://u:hunter2@[::1]:3307/shop", "at ::1:3307/shop"),
            (
                "mysql://u:hunter2@db/shop?socket=/run/my.sock",
                "at /run/my.sock/shop",
            ),
        ] {
            let doors = doors(url).unwrap();
            assert!(doors.doing.ends_with(at), "{}", doors.doing);
            assert!(!format!("{doors:?}{}", doors.doing).contains("hunter2"));
        }
        for url in [
            "mysql://u:hun?ter2@h/d",
            "mysql://u@h/d?charset=latin1",
            "mysql://u@h/d?timezone=%2B01:00",
        ] {
            let error = doors(url).err().unwrap().to_string();
            assert!(error.contains("%3F") && !error.contains("ter2"), "{error}");
        }
        assert!(matches!(doors("mysql://u@h:x/d"), Err(UrlError::Form(_))));
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
        let missing = TlsFiles {
            ca: Some("/no/such/ca.pem".into()),
            identity: None,
        };
        let mode = |parameters: &str, files: &TlsFiles| {
            let url = format!("mysql://u@h/d{parameters}");
            with_tls(url.parse().unwrap(), &url, files).map(|options| options.get_ssl_mode())
        };
        let of = |parameters: &str, files: &TlsFiles| format!("{:?}", mode(parameters, files));
        assert_eq!(of("", &none), "Ok(Preferred)");
        assert_eq!(of("?ssl-mode=REQUIRED", &none), "Ok(Required)");
        assert_eq!(of("", &authority), "Ok(VerifyIdentity)");
        assert_eq!(of("?ssl-mode=required", &authority), "Ok(VerifyCa)");
        assert_eq!(of("?ssl-mode=verify_ca", &authority), "Ok(VerifyCa)");
        assert_eq!(of("", &identity), "Ok(Required)");
        for (parameters, files, said) in [
            ("?ssl-mode=preferred", &authority, "ssl-mode=preferred"),
            ("?ssl-mode=disabled", &authority, "ssl-mode=disabled"),
            ("", &missing, "/no/such/ca.pem"),
        ] {
            let error = mode(parameters, files).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
