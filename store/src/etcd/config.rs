//! Where etcd is, and as whom to use it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use etcd_client::{Certificate, Identity, TlsOptions};

use crate::StoreError;

/// How to reach etcd.
#[derive(Clone)]
pub struct EtcdConfig {
    /// Its members, as `http://HOST:PORT` or `HOST:PORT`, or all of them as `https://HOST:PORT`; at least one, and none
    /// with a password in it.
    pub endpoints: Vec<String>,
    /// What all of Stoke's keys begin with; it names the format's version. `/stoke/v1/` by default.
    pub prefix: String,
    /// The user and password, where etcd asks for them.
    pub user: Option<(String, Password)>,
    /// How long a call may take; 1 s by default.
    pub timeout: Duration,
    /// For TLS, where the endpoints are `https://`.
    pub tls: Tls,
}

/// What TLS takes beside the system's certificates: files in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// The authorities that etcd's certificate must come from, in place of the system's.
    pub ca: Option<PathBuf>,
    /// The certificate, and its key, that etcd is shown.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl EtcdConfig {
    /// The defaults, with these members.
    #[must_use]
    pub fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            prefix: "/stoke/v1/".to_owned(),
            user: None,
            timeout: Duration::from_secs(1),
            tls: Tls::default(),
        }
    }

    pub(super) fn check(&self) -> Result<(), StoreError> {
        let fault = if self.endpoints.is_empty() {
            ConfigFault::NoEndpoint
        } else if self.endpoints.iter().any(|endpoint| endpoint.contains('@')) {
            ConfigFault::UserInEndpoint
        } else if self.prefix.is_empty() {
            ConfigFault::NoPrefix
        } else if self.is_tls() && !self.endpoints.iter().all(|endpoint| is_https(endpoint)) {
            ConfigFault::MixedTls
        } else if !self.is_tls() && self.tls != Tls::default() {
            ConfigFault::TlsUnasked
        } else {
            return Ok(());
        };
        Err(rejected(fault))
    }

    fn is_tls(&self) -> bool {
        self.endpoints.iter().any(|endpoint| is_https(endpoint))
    }

    /// What TLS takes, with the files' contents; `None` where the endpoints do without.
    pub(super) async fn tls_options(&self) -> Result<Option<TlsOptions>, StoreError> {
        if !self.is_tls() {
            return Ok(None);
        }
        let mut options = TlsOptions::new();
        options = match &self.tls.ca {
            Some(ca) => options.ca_certificate(Certificate::from_pem(read(ca).await?)),
            None => options.with_enabled_roots(),
        };
        if let Some((certificate, key)) = &self.tls.identity {
            let identity = Identity::from_pem(read(certificate).await?, read(key).await?);
            options = options.identity(identity);
        }
        Ok(Some(options))
    }

    /// The members' addresses, for errors.
    pub(super) fn addresses(&self) -> String {
        self.endpoints.join(", ")
    }
}

fn is_https(endpoint: &str) -> bool {
    endpoint.starts_with("https://")
}

async fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    let content = tokio::fs::read(path).await;
    content.map_err(|source| {
        rejected(ConfigFault::File {
            path: path.to_owned(),
            source,
        })
    })
}

fn rejected(fault: ConfigFault) -> StoreError {
    StoreError::Rejected {
        doing: "reading the configuration of etcd",
        source: Box::new(fault),
    }
}

/// What is wrong with an [`EtcdConfig`]. The texts show none of it: it may hold a password.
#[derive(Debug, thiserror::Error)]
enum ConfigFault {
    #[error("there is no endpoint: give at least one, such as http://127.0.0.1:2379")]
    NoEndpoint,
    #[error("an endpoint has a user in it: give user and password on their own")]
    UserInEndpoint,
    #[error("the prefix is empty: give one, such as /stoke/v1/")]
    NoPrefix,
    #[error("some endpoints are https:// and others are not: write all of them as https://")]
    MixedTls,
    #[error("there are files for TLS, but the endpoints do without: write them as https://")]
    TlsUnasked,
    #[error("cannot read {}", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
}

impl fmt::Debug for EtcdConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whatever precedes an '@' may be a password; such a configuration is refused, but may be printed first.
        let hosts: Vec<&str> = self
            .endpoints
            .iter()
            .map(|endpoint| endpoint.rsplit('@').next().unwrap_or_default())
            .collect();
        f.debug_struct("EtcdConfig")
            .field("endpoints", &hosts)
            .field("prefix", &self.prefix)
            .field("user", &self.user)
            .field("timeout", &self.timeout)
            .finish()
    }
}

/// A password, which debug output does not show.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// The password that the text is.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Password {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_shows_no_password() {
        let mut config = EtcdConfig::new(vec!["http://root:hunter2@etcd:2379".to_owned()]);
        config.user = Some(("root".to_owned(), Password::new("hunter2")));
        let shown = format!("{config:?} {:?}", config.check());
        assert!(
            shown.contains("etcd:2379") && shown.contains("root"),
            "{shown}"
        );
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn a_configuration_without_members_or_prefix_is_refused() {
        assert!(EtcdConfig::new(vec![]).check().is_err());
        let mut config = EtcdConfig::new(vec!["127.0.0.1:2379".to_owned()]);
        assert!(config.check().is_ok());
        config.prefix.clear();
        assert!(config.check().is_err());
    }

    #[test]
    fn tls_is_for_all_members_or_none_and_its_files_are_not_for_nothing() {
        let of = |endpoints: &[&str]| {
            EtcdConfig::new(endpoints.iter().map(|&text| text.to_owned()).collect())
        };
        assert!(of(&["https://a:2379", "https://b:2379"]).check().is_ok());
        assert!(of(&["https://a:2379", "b:2379"]).check().is_err());
        let mut config = of(&["http://a:2379"]);
        config.tls.ca = Some("ca.pem".into());
        assert!(config.check().is_err());
    }
}
