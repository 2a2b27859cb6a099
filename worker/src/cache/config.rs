//! Where a cache is, and how patient to be with it. Credentials enter here and never leave in text.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};

use super::addr::NodeAddr;
use super::error::CacheError;

/// A text that is no URL of a Redis server. None of the texts repeats the URL: it may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum NotACacheUrl {
    /// Another scheme, or none.
    #[error("it does not begin with redis://")]
    Scheme,
    /// TLS is not built in.
    #[error("it asks for TLS (rediss://), which is not supported")]
    Tls,
    /// An `@` where none can be: the password has a character that must be escaped.
    #[error("it has an @ after the host: write the password's special characters as %XX")]
    Unescaped,
    /// A user, and no password.
    #[error("it has a user but no password: a password alone is written redis://:PASSWORD@HOST")]
    NoPassword,
    /// It cannot be parsed.
    #[error("it is malformed")]
    Malformed(#[source] redis::RedisError),
}

/// The URL of a Redis server: `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`. `Debug` and `Display` leave the
/// credentials out.
#[derive(Clone)]
pub struct CacheUrl {
    pub(crate) addr: NodeAddr,
    pub(crate) settings: RedisConnectionInfo,
}

impl CacheUrl {
    /// From a text, and a password that goes before one in the text (for passwords that are kept in files).
    ///
    /// # Errors
    /// [`NotACacheUrl`], which says what is wrong without repeating the text.
    pub fn parse(text: &str, password: Option<&str>) -> Result<Self, NotACacheUrl> {
        if text.starts_with("rediss://") {
            return Err(NotACacheUrl::Tls);
        }
        let rest = text.strip_prefix("redis://").ok_or(NotACacheUrl::Scheme)?;
        // "redis://pa#ss@host" parses as a host "pa", which would then be shown as the node's name.
        let tail = rest
            .split_once(['/', '?', '#'])
            .map_or("", |(_, tail)| tail);
        if tail.contains('@') {
            return Err(NotACacheUrl::Unescaped);
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
        let ConnectionAddr::Tcp(host, port) = info.addr() else {
            return Err(NotACacheUrl::Scheme);
        };
        Ok(Self {
            addr: NodeAddr::new(host, *port),
            settings,
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
            "redis://{credentials}{}/{}",
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
    /// How long to wait for a connection, and for the answers to a flush (a flush of more than a few megabytes gets
    /// more). 2 s by default.
    pub timeout: Duration,
    /// For how long a call sends a command again that met a passing fault, counted from the call's beginning. 5 s by
    /// default.
    pub patience: Duration,
}

impl CacheConfig {
    /// The defaults for these URLs.
    #[must_use]
    pub const fn new(urls: Vec<CacheUrl>) -> Self {
        Self {
            urls,
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
            .collect::<Result<_, _>>()?;
        Ok(Self::new(urls))
    }
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
        assert!(matches!(refused("rediss://cache"), NotACacheUrl::Tls));
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
