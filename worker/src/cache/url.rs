//! What a URL of a cache says: a node to begin with, or sentinels that know the master. Credentials enter here and never leave
//! in text.

use std::fmt;
use std::str::FromStr;

use redis::{ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo};

use super::addr::NodeAddr;

mod agree;
mod sentinels;

pub use self::agree::{UrlsDisagree, disagreements};
pub use self::sentinels::SentinelsUrl;

/// A text that is no URL of a cache. None of the texts repeats the URL: it may hold a password.
#[derive(Debug, thiserror::Error)]
pub enum NotACacheUrl {
    /// Another scheme, or none.
    #[error(
        "it does not begin with redis:// or redis+sentinel:// (for TLS: rediss:// or rediss+sentinel://)"
    )]
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
    /// Sentinels, and nothing that says which of their masters.
    #[error(
        "it names no master: write redis+sentinel://HOST:PORT/MASTER, as the sentinels call it (SENTINEL MASTERS)"
    )]
    NoMaster,
    /// What no sentinel calls a master.
    #[error(
        "its master has a name that no sentinel takes: such names are of letters, digits, '.', '-' and '_'"
    )]
    MasterName,
    /// A parameter of sentinels that is none, or is there twice.
    #[error(
        "it has a parameter that is none, or is there twice: there are sentinel_username and sentinel_password"
    )]
    Parameter,
    /// A user of the sentinels, and no password.
    #[error(
        "it has a sentinel_username but no sentinel_password: give both, or the password alone"
    )]
    NoSentinelPassword,
}

/// The URL of a cache. `Debug` and `Display` leave the credentials out.
#[derive(Clone)]
pub enum CacheUrl {
    /// A standalone server, or a node of a cluster.
    Node(NodeUrl),
    /// Sentinels, and the master that they watch.
    Sentinels(SentinelsUrl),
}

impl CacheUrl {
    /// From a text, and a password of the nodes that goes before one in the text (for passwords that are kept in files).
    ///
    /// # Errors
    /// [`NotACacheUrl`], which says what is wrong without repeating the text.
    pub fn parse(text: &str, password: Option<&str>) -> Result<Self, NotACacheUrl> {
        match SentinelsUrl::rest(text) {
            Some((rest, tls)) => SentinelsUrl::parse(rest, tls, password).map(Self::Sentinels),
            None => NodeUrl::parse(text, password).map(Self::Node),
        }
    }

    /// Whether it asks for TLS.
    #[must_use]
    pub const fn is_tls(&self) -> bool {
        match self {
            Self::Node(url) => url.tls,
            Self::Sentinels(url) => url.tls,
        }
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
        match self {
            Self::Node(url) => fmt::Display::fmt(url, f),
            Self::Sentinels(url) => fmt::Display::fmt(url, f),
        }
    }
}

impl fmt::Debug for CacheUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The URL of a Redis server: `redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`, or `rediss://` for TLS. `Debug` and
/// `Display` leave the credentials out.
#[derive(Clone)]
pub struct NodeUrl {
    pub(crate) addr: NodeAddr,
    pub(crate) settings: RedisConnectionInfo,
    pub(crate) tls: bool,
}

impl NodeUrl {
    fn parse(text: &str, password: Option<&str>) -> Result<Self, NotACacheUrl> {
        let without_tls = text.strip_prefix("redis://");
        let rest = without_tls.or_else(|| text.strip_prefix("rediss://"));
        let rest = rest.ok_or(NotACacheUrl::Scheme)?;
        refuse_misplaced(rest)?;
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

/// Refuses what a password that is not escaped leaves behind the host, or a `#`, in what follows a scheme's slashes.
fn refuse_misplaced(rest: &str) -> Result<(), NotACacheUrl> {
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
    Ok(())
}

/// What stands in place of credentials.
fn stars(settings: &RedisConnectionInfo) -> &'static str {
    if settings.password().is_some() {
        "***@"
    } else {
        ""
    }
}

impl fmt::Display for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "redis{}://{}{}/{}",
            if self.tls { "s" } else { "" },
            stars(&self.settings),
            self.addr,
            self.settings.db()
        )
    }
}

impl fmt::Debug for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(text: &str, password: Option<&str>) -> NodeUrl {
        match CacheUrl::parse(text, password).unwrap() {
            CacheUrl::Node(url) => url,
            CacheUrl::Sentinels(url) => panic!("{url}"),
        }
    }

    #[test]
    fn a_url_gives_address_and_credentials() {
        let url = node("redis://warm:s%23cret@cache.example:7001/3", None);
        assert_eq!(url.addr, NodeAddr::new("cache.example", 7001));
        assert_eq!(url.settings.username(), Some("warm"));
        assert_eq!(url.settings.password(), Some("s#cret"));
        assert_eq!(url.settings.db(), 3);
        let url = node("redis://[::1]", None);
        assert_eq!(url.addr, NodeAddr::new("::1", 6379));
    }

    #[test]
    fn a_password_from_elsewhere_goes_before_that_of_the_url() {
        for text in ["redis://warm@cache", "redis://warm:old@cache"] {
            let url = node(text, Some("new"));
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
}
