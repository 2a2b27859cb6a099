//! Where a cache is, and how patient to be with it.

use std::path::Path;
use std::time::Duration;

use redis::{Client, ClientTlsConfig, RedisConnectionInfo, TlsCertificates};

use super::error::CacheError;
use super::url::{CacheUrl, NodeUrl, SentinelsUrl, disagreements};
use crate::catalog::TlsFiles;

/// Where a cache is.
#[derive(Clone, Debug)]
pub enum Place {
    /// A standalone server, or one or more nodes of a cluster: the servers tell which. At least one. The nodes that a cluster
    /// names are entered with the credentials of the URL that told of them.
    Nodes(Vec<NodeUrl>),
    /// Where the sentinels say.
    Sentinels(SentinelsUrl),
}

impl Place {
    fn of(urls: Vec<CacheUrl>) -> Result<Self, CacheError> {
        if let Some((index, source)) = disagreements(&urls).into_iter().next() {
            return Err(CacheError::UrlsDisagree {
                position: index + 1,
                source,
            });
        }
        let mut nodes = Vec::new();
        let mut behind: Option<SentinelsUrl> = None;
        for url in urls {
            match (url, &mut behind) {
                (CacheUrl::Node(node), _) => nodes.push(node),
                (CacheUrl::Sentinels(url), None) => behind = Some(url),
                (CacheUrl::Sentinels(url), Some(all)) => {
                    let more = url.sentinels.into_iter();
                    let new: Vec<_> = more.filter(|one| !all.sentinels.contains(one)).collect();
                    all.sentinels.extend(new);
                }
            }
        }
        match behind {
            Some(url) => Ok(Self::Sentinels(url)),
            None if nodes.is_empty() => Err(CacheError::NoUrl),
            None => Ok(Self::Nodes(nodes)),
        }
    }
}

/// Where a cache is, and how long to wait for it.
#[derive(Clone, Debug)]
pub struct CacheConfig {
    /// Where it is.
    pub place: Place,
    /// For TLS, where the URLs ask for it: to nodes and sentinels alike.
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
    ///
    /// # Errors
    /// [`CacheError::NoUrl`], or [`CacheError::UrlsDisagree`] for the first that does not go with the others.
    pub fn new(urls: Vec<CacheUrl>) -> Result<Self, CacheError> {
        let tls = urls.iter().any(CacheUrl::is_tls);
        Ok(Self {
            place: Place::of(urls)?,
            tls: tls.then_some(TlsCertificates {
                client_tls: None,
                root_cert: None,
            }),
            timeout: Duration::from_secs(2),
            patience: Duration::from_secs(5),
        })
    }

    /// The defaults for these URLs, all with the one password where it is given (see [`CacheUrl::parse`]).
    ///
    /// # Errors
    /// [`CacheError::Url`] for the first text that is no URL of a cache; else as [`CacheConfig::new`].
    pub fn parse<T: AsRef<str>>(urls: &[T], password: Option<&str>) -> Result<Self, CacheError> {
        let parse = |(index, text): (usize, &T)| {
            let url = CacheUrl::parse(text.as_ref(), password);
            url.map_err(|source| CacheError::Url {
                position: index + 1,
                source,
            })
        };
        let urls = urls.iter().enumerate().map(parse);
        Self::new(urls.collect::<Result<_, _>>()?)
    }

    /// The same, with sentinels entered by this user and password, in place of what the URLs say.
    ///
    /// # Errors
    /// [`CacheError::NoSentinels`] where the URLs name none.
    pub fn with_sentinel_login(
        mut self,
        user: Option<&str>,
        password: &str,
    ) -> Result<Self, CacheError> {
        let Place::Sentinels(url) = &mut self.place else {
            return Err(CacheError::NoSentinels);
        };
        let mut login = RedisConnectionInfo::default().set_password(password);
        if let Some(user) = user {
            login = login.set_username(user);
        }
        url.login = login;
        Ok(self)
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

    fn sentinels(config: &CacheConfig) -> &SentinelsUrl {
        match &config.place {
            Place::Sentinels(url) => url,
            Place::Nodes(nodes) => panic!("{nodes:?}"),
        }
    }

    #[test]
    fn the_sentinels_of_several_urls_are_those_of_one_master_each_once() {
        let urls = [
            "redis+sentinel://a,b:1/main",
            "redis+sentinel://b:1/main",
            "redis+sentinel://c/main",
        ];
        let config = CacheConfig::parse(&urls, None).unwrap();
        let told = sentinels(&config).to_string();
        assert_eq!(told, "redis+sentinel://a:26379,b:1,c:26379/main/0");
        let urls = ["redis+sentinel://a/main", "redis+sentinel://b/other"];
        let error = CacheConfig::parse(&urls, None).unwrap_err();
        assert!(
            matches!(error, CacheError::UrlsDisagree { position: 2, .. }),
            "{error:?}"
        );
        let error = CacheConfig::parse::<&str>(&[], None).unwrap_err();
        assert!(matches!(error, CacheError::NoUrl), "{error:?}");
    }

    #[test]
    fn a_login_of_sentinels_needs_some_and_goes_before_that_of_the_url() {
        let with = "redis+sentinel://:data@a/main?sentinel_username=x&sentinel_password=y";
        for url in ["redis+sentinel://:data@a/main", with] {
            let config = CacheConfig::parse(&[url], None).unwrap();
            let config = config.with_sentinel_login(None, "s3cret").unwrap();
            let url = sentinels(&config);
            assert_eq!(
                (url.login.username(), url.login.password()),
                (None, Some("s3cret"))
            );
            assert_eq!(url.settings.password(), Some("data"));
            assert!(!format!("{config:?}").contains("s3cret"));
        }
        let config = CacheConfig::parse(&["redis://a"], None).unwrap();
        let error = config.with_sentinel_login(None, "s3cret").unwrap_err();
        assert!(matches!(error, CacheError::NoSentinels), "{error:?}");
    }

    #[test]
    fn tls_is_for_all_urls_or_none_and_its_files_are_not_for_nothing() {
        let url: CacheUrl = "rediss://:pw@cache:7001".parse().unwrap();
        assert!(url.is_tls());
        assert_eq!(url.to_string(), "rediss://***@cache:7001/0");
        let mixed = CacheConfig::parse(&["rediss://a", "redis://b"], None).unwrap_err();
        assert!(
            matches!(mixed, CacheError::UrlsDisagree { .. }),
            "{mixed:?}"
        );
        let files = TlsFiles {
            ca: Some("/no/such/ca.pem".into()),
            identity: None,
        };
        let without = CacheConfig::parse(&["redis://a"], None).unwrap();
        let error = without.with_tls(&files).unwrap_err();
        assert!(matches!(error, CacheError::TlsUnasked), "{error:?}");
        for url in ["rediss://a", "rediss+sentinel://a/main"] {
            let with = CacheConfig::parse(&[url], None).unwrap();
            let error = with.with_tls(&files).unwrap_err();
            assert!(error.to_string().contains("/no/such/ca.pem"), "{error}");
        }
    }

    #[test]
    fn credentials_are_in_no_text() {
        let secret = "s3cret";
        let config = CacheConfig::parse(&["redis://warm:s3cret@cache:7001/3"], None).unwrap();
        let shown = format!("{config:?}");
        assert!(shown.contains("redis://***@cache:7001/3"), "{shown}");
        assert!(!shown.contains(secret), "{shown}");
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
