//! The address of a Redis node.

use std::fmt;

/// Where a node listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeAddr {
    host: String,
    port: u16,
}

impl NodeAddr {
    /// From a host name or address (an IPv6 address without brackets) and a port.
    #[must_use]
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        Self {
            host: host.into(),
            port,
        }
    }

    /// The host name or address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// From the `HOST:PORT` of a redirection that `asked` gave. A host that is empty or `?` means: the one you asked.
    pub(crate) fn redirected(text: &str, asked: &Self) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = if matches!(host, "" | "?") {
            &asked.host
        } else {
            host
        };
        Some(Self::new(host, port.parse().ok()?))
    }
}

impl fmt::Display for NodeAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirections_name_a_node() {
        let asked = NodeAddr::new("seed.example", 7000);
        let to = |text| NodeAddr::redirected(text, &asked).map(|addr| addr.to_string());
        assert_eq!(to("10.0.0.1:7001").as_deref(), Some("10.0.0.1:7001"));
        assert_eq!(to("fd00::1:7001").as_deref(), Some("[fd00::1]:7001"));
        assert_eq!(to(":7001").as_deref(), Some("seed.example:7001"));
        assert_eq!(to("?:7001").as_deref(), Some("seed.example:7001"));
        assert_eq!(to("10.0.0.1"), None);
        assert_eq!(to("10.0.0.1:x"), None);
    }
}
