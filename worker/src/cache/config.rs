//! Where a cache is, and how patient to be with it. Credentials enter here and never leave in text.

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use redis::{
    Client, ClientTlsConfig, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo,
    TlsCertificates,
};

use super::addr::NodeAddr;
use super::error::CacheError;
use crate::catalog::TlsFiles;

/// A text that is no URL of a Redis server. None of the texts repeats the URL: it may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum NotACacheUrl {
    /// Another scheme, or none.
    #[error("it does not begin with redis:// (or rediss://, for TLS)")]
    Scheme,
    /// An `@` where none can be: the password has a character that must be escaped.
    #[error("it has an @ after the host: write the password's special characters as %XX")]
    Unescaped,
    /// A `#`, which means nothing in such a URL.
    #[error("it has a # behind the host: remove it (a password's is written %23)")]
    Fragment,
    /// A user, and no password.
    #[error("it has a user but no password: a password alone is written redis://:PASSWORD@HOST")]
    NoPassword,
    /// It cannot be parsed.
    #[error("it is malformed")]
    Malformed(#[source] redis::RedisError),
}

/// The URL of a Redis server: `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`, or `rediss://` for TLS. `Debug` and
/// `Display` leave the credentials out.
#[derive(Clone)]
pub struct CacheUrl {
    pub(crate) addr: NodeAddr,
    pub(crate) settings: RedisConnectionInfo,
    pub(crate) tls: bool,
}

impl CacheUrl {
    /// From a text, and a password that goes before one in the text (for passwords that are kept in files).
    ///
    /// # Errors
    /// [`NotACacheUrl`], which says what is wrong without repeating the text.
    pub fn parse(text: &str, password: Option<&str>) -> Result<Self, NotACacheUrl> {
        let without_tls = text.strip_prefix("redis://");
        let rest = without_tls.or_else(|| text.strip_prefix("rediss://"));
        let rest = rest.ok_or(NotACacheUrl::Scheme)?;
        // "redis://pa#ss@host" parses as a host "pa", which would then be shown as the node's name.
        let tail = rest
            .split_once(['/', '?', '#'])
            .map_or("", |(_, tail)| tail);
        if tail.contains('@') {
            return Err(NotACacheUrl::Unescaped);
        }
        // What the driver would take for "do not look at the certificate".
        if rest.contains('#') {
            return Err(NotACacheUrl::Fragment);
        }
        let info = text
            .into_connection_info()
            .map_err(NotACacheUrl::Malformed)?;
        let mut settings = info.redis_settings().clone();
        if let Some(password) = password {
            settings = settings.set_password(password);
        }
        if settings.username().is_some() && settings.password().is_none() {
            return Err(NotACacheUrl::NoPassword);
        }
        let (ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. }) =
            info.addr()
        else {
            return Err(NotACacheUrl::Scheme);
        };
        Ok(Self {
            addr: NodeAddr::new(host, *port),
            settings,
            tls: without_tls.is_none(),
        })
    }
}

impl FromStr for CacheUrl {
    type Err = NotACacheUrl;

    fn from_str(text: &str) -> Result<Self, NotACacheUrl> {
        Self::parse(text, None)
    }
}

impl fmt::Display for CacheUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let credentials = if self.settings.password().is_some() {
            "***@"
        } else {
            ""
        };
        write!(
            f,
            "redis{}://{credentials}{}/{}",
            if self.tls { "s" } else { "" },
            self.addr,
            self.settings.db()
        )
    }
}

impl fmt::Debug for CacheUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Where a cache is, and how long to wait for it.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// One URL of a standalone server, or those of one or more nodes of a cluster. The nodes that a cluster names
    /// are entered with the credentials of the URL that told of them.
    pub urls: Vec<CacheUrl>,
    /// For TLS, where the URLs are `rediss://`: all of them, or none. The nodes that a cluster names are entered with TLS
    /// as the URLs are.
    pub tls: Option<TlsCertificates>,
    /// How long to wait for a connection, and for the answers to a flush (a flush of more than a few megabytes gets
    /// more). 2 s by default.
    pub timeout: Duration,
    /// For how long a call sends a command again that met a passing fault, counted from the call's beginning. 5 s by
    /// default.
    pub patience: Duration,
}

impl CacheConfig {
    /// The defaults for these URLs; for TLS, with the system's authorities and no certificate of our own.
    #[must_use]
    pub fn new(urls: Vec<CacheUrl>) -> Self {
        let tls = urls.iter().any(|url| url.tls).then_some(TlsCertificates {
            client_tls: None,
            root_cert: None,
        });
        Self {
            urls,
            tls,
            timeout: Duration::from_secs(2),
            patience: Duration::from_secs(5),
        }
    }

    /// The defaults for these URLs, all with the one password where it is given (see [`CacheUrl::parse`]).
    ///
    /// # Errors
    /// [`CacheError::Url`] for the first text that is no URL of a Redis server.
    pub fn parse<T: AsRef<str>>(urls: &[T], password: Option<&str>) -> Result<Self, CacheError> {
        let parse = |(index, text): (usize, &T)| {
            let url = CacheUrl::parse(text.as_ref(), password);
            url.map_err(|source| CacheError::Url {
                position: index + 1,
                source,
            })
        };
        let urls = urls
            .iter()
            .enumerate()
            .map(parse)
            .collect::<Result<Vec<CacheUrl>, _>>()?;
        if urls.iter().any(|url| url.tls != urls[0].tls) {
            return Err(CacheError::MixedTls);
        }
        Ok(Self::new(urls))
    }

    /// The same, with these files for TLS.
    ///
    /// # Errors
    /// Where a file cannot be read or is not what it should be, and where there are files but the URLs do without TLS.
    pub fn with_tls(mut self, files: &TlsFiles) -> Result<Self, CacheError> {
        if *files == TlsFiles::default() {
            return Ok(self);
        }
        if self.tls.is_none() {
            return Err(CacheError::TlsUnasked);
        }
        let root_cert = files.ca.as_deref().map(read).transpose()?;
        let client_tls = match &files.identity {
            Some((certificate, key)) => Some(ClientTlsConfig {
                client_cert: read(certificate)?,
                client_key: read(key)?,
            }),
            None => None,
        };
        let certificates = TlsCertificates {
            client_tls,
            root_cert,
        };
        // Nothing is connected: only the files are looked through.
        Client::build_with_tls("rediss://localhost", certificates.clone())
            .map_err(|source| CacheError::TlsFiles { source })?;
        self.tls = Some(certificates);
        Ok(self)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CacheError> {
    std::fs::read(path).map_err(|source| CacheError::File {
        path: path.to_owned(),
        source: source.into(),
    })
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use super::*;

    #[test]
    fn a_url_gives_address_and_credentials() {
        let url: CacheUrl = "redis://warm:s%23cret@cache.example:7001/3"
            .parse()
            .unwrap();
        assert_eq!(url.addr, NodeAddr::new("cache.example", 7001));
        assert_eq!(url.settings.username(), Some("warm"));
        assert_eq!(url.settings.password(), Some("s#cret"));
        assert_eq!(url.settings.db(), 3);
        let url: CacheUrl = "redis://[::1]".parse().unwrap();
        assert_eq!(url.addr, NodeAddr::new("::1", 6379));
    }

    #[test]
    fn a_password_from_elsewhere_goes_before_that_of_the_url() {
        for text in ["redis://warm@cache", "redis://warm:old@cache"] {
            let url = CacheUrl::parse(text, Some("new")).unwrap();
            assert_eq!(url.settings.username(), Some("warm"));
            assert_eq!(url.settings.password(), Some("new"));
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let refused = |text: &str| text.parse::<CacheUrl>().unwrap_err();
        assert!(matches!(refused("http://cache"), NotACacheUrl::Scheme));
        assert!(matches!(refused("cache:6379"), NotACacheUrl::Scheme));
        assert!(matches!(
            refused("rediss://cache#insecure"),
            NotACacheUrl::Fragment
        ));
        assert!(matches!(
            refused("redis://s3cret@cache"),
            NotACacheUrl::NoPassword
        ));
        assert!(matches!(
            refused("redis://pa#s3cret@cache"),
            NotACacheUrl::Unescaped
        ));
        assert!(matches!(
            refused("redis://:pa/s3cret@cache"),
            NotACacheUrl::Unescaped
        ));
        assert!(matches!(refused("redis://"), NotACacheUrl::Malformed(_)));
        assert!(matches!(
            refused("redis://cache/x"),
            NotACacheUrl::Malformed(_)
        ));
    }

    #[test]
    fn tls_is_for_all_urls_or_none_and_its_files_are_not_for_nothing() {
        let url: CacheUrl = "rediss://:pw@cache:7001".parse().unwrap();
        assert!(url.tls);
        assert_eq!(url.to_string(), "rediss://***@cache:7001/0");
        let mixed = CacheConfig::parse(&["rediss://a", "redis://b"], None).unwrap_err();
        assert!(matches!(mixed, CacheError::MixedTls), "{mixed:?}");
        let files = TlsFiles {
            ca: Some("/no/such/ca.pem".into()),
            identity: None,
        };
        let without = CacheConfig::parse(&["redis://a"], None).unwrap();
        let error = without.with_tls(&files).unwrap_err();
        assert!(matches!(error, CacheError::TlsUnasked), "{error:?}");
        let with = CacheConfig::parse(&["rediss://a"], None).unwrap();
        let error = with.with_tls(&files).unwrap_err();
        assert!(error.to_string().contains("/no/such/ca.pem"), "{error}");
    }

    #[test]
    fn credentials_are_in_no_text() {
        let secret = "s3cret";
        let config = CacheConfig::parse(&["redis://warm:s3cret@cache:7001/3"], None).unwrap();
        assert_eq!(config.urls[0].to_string(), "redis://***@cache:7001/3");
        assert!(!format!("{config:?}").contains(secret));
        for text in [
            "redis://s3cret@cache",
            "redis://:pa#s3cret@cache",
            "redis://:s3cret@cache:port",
            "redis://:s3cret@",
            "redis://:s3cret@cache/s3cret",
        ] {
            let error = CacheConfig::parse(&[text], None).unwrap_err();
            let mut texts = format!("{error:?} {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                texts += &format!(" {error:?} {error}");
                cause = error.source();
            }
            assert!(!texts.contains(secret), "{text}: {texts}");
        }
    }
}
