//! What can go wrong: with a cache as a whole when it is connected, and with a single command later.
//!
//! No text here carries credentials: nodes are named by address, and servers do not echo passwords.

use std::path::PathBuf;

use stoke_core::advice::with_advice;

use super::addr::NodeAddr;
use super::url::{NotACacheUrl, UrlsDisagree};

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a cache cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// The configuration lists no URL.
    #[error("the cache has no URL: give at least one, redis://HOST:PORT")]
    NoUrl,
    /// A URL is none.
    #[error("URL number {position} of the cache cannot be used")]
    Url {
        /// Which, from 1.
        position: usize,
        /// The cause.
        #[source]
        source: NotACacheUrl,
    },
    /// None of the URLs leads to a server that answers; the cause is that of the last one.
    #[error("the cache cannot be reached at {node}")]
    Unreachable {
        /// The last node tried.
        node: NodeAddr,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// No sentinel leads to the master.
    #[error("no sentinel leads to the master {master:?}: {}", listed(.said))]
    NoMaster {
        /// As the sentinels should call it.
        master: String,
        /// What came of asking each, in the order in which they were asked.
        said: Vec<(NodeAddr, String)>,
    },
    /// The server does not let us in, or not do what has to be done.
    #[error("the cache at {node} refuses us while {doing}: {reason}")]
    Denied {
        /// The node.
        node: NodeAddr,
        /// What was being done.
        doing: &'static str,
        /// What the server said.
        reason: String,
    },
    /// The server answers in a way that no Redis does.
    #[error("the cache at {node} gives an answer to {command} that cannot be understood")]
    Malformed {
        /// The node.
        node: NodeAddr,
        /// The command.
        command: &'static str,
    },
    /// A URL does not go with the first.
    #[error(
        "URL number {position} of the cache does not go with the first (write all of them alike)"
    )]
    UrlsDisagree {
        /// Which, from 1.
        position: usize,
        /// In what.
        #[source]
        source: UrlsDisagree,
    },
    /// Credentials of sentinels that nothing uses.
    #[error(
        "there is a password for sentinels, but the URLs name none: write them as redis+sentinel://"
    )]
    NoSentinels,
    /// Files for TLS that nothing uses.
    #[error("there are files for TLS, but the URLs do without: write them with rediss")]
    TlsUnasked,
    /// A file for TLS cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// The cause.
        #[source]
        source: Cause,
    },
    /// The files for TLS are not certificates and a key in PEM.
    #[error("ca-file, cert-file or key-file is no certificate or key in PEM")]
    TlsFiles {
        /// The cause.
        #[source]
        source: redis::RedisError,
    },
    /// Several URLs, and they are not nodes of a cluster.
    #[error("{node} is a standalone Redis: give its URL alone, or those of a cluster's nodes")]
    SeveralStandalone {
        /// The node.
        node: NodeAddr,
    },
    /// A URL names a database, and a cluster has only number 0.
    #[error("{node} belongs to a cluster, which has no database {database}")]
    NoDatabase {
        /// The node.
        node: NodeAddr,
        /// The number in the URL.
        database: i64,
    },
    /// It lets us in, but does not serve.
    #[error("the cache does not serve")]
    NotServing {
        /// Why.
        #[source]
        source: CommandError,
    },
    /// Keys of some slots could not be written.
    #[error(
        "the cluster at {node} leaves {count} of 16384 slots uncovered, among them {first} to {last}: give them to a \
         node (CLUSTER ADDSLOTS, redis-cli --cluster fix)"
    )]
    Uncovered {
        /// The node that was asked.
        node: NodeAddr,
        /// How many slots.
        count: usize,
        /// The first uncovered slot.
        first: u16,
        /// The last slot of the range that begins there.
        last: u16,
    },
}

impl CacheError {
    /// Whether it says that nothing could be reached, rather than that something is wrong with what was.
    #[must_use]
    pub const fn is_unreachable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::NoMaster { .. })
    }
}

/// What each sentinel said.
fn listed(said: &[(NodeAddr, String)]) -> String {
    let each = said
        .iter()
        .map(|(node, said)| format!("sentinel {node} {said}"));
    each.collect::<Vec<_>>().join("; ")
}

/// What kind of failure a command met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// The node is at `maxmemory` and evicts nothing (`OOM`). Sending again at once does not help: memory has to be found
    /// first, be it that keys expire, or that somebody looks after it.
    Memory,
    /// No permission (`NOAUTH`, `WRONGPASS`, `NOPERM`).
    Denied,
    /// The key has a value of another kind (`WRONGTYPE`).
    WrongType,
    /// It does not take what another server's DUMP gave, of whatever key.
    Payload,
    /// Refused for another reason that sending again does not mend (`MISCONF`, and whatever else is an error).
    Refused,
    /// Too large for Redis; never sent.
    TooLarge,
    /// The node lives but cannot serve the command now (`LOADING`, `CLUSTERDOWN`, `READONLY` …), and could not for as
    /// long as we tried.
    Unavailable,
    /// No connection, or no answer in time, for as long as we tried. The command may have been executed.
    Unreachable,
}

impl FailureKind {
    /// Whether the same command may well succeed later, without a change to the job or its data.
    #[must_use]
    pub const fn is_transient(self) -> bool {
        matches!(self, Self::Memory | Self::Unavailable | Self::Unreachable)
    }
}

/// Why a single command failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct CommandError {
    /// The kind.
    pub kind: FailureKind,
    /// What happened, for people: the server's words where it spoke.
    pub reason: String,
}

impl CommandError {
    pub(crate) fn new(kind: FailureKind, reason: impl Into<String>) -> Self {
        Self {
            kind,
            reason: reason.into(),
        }
    }

    /// With what the words call for, where that is known.
    pub(crate) fn advised(kind: FailureKind, reason: &str) -> Self {
        Self::new(kind, with_advice(reason))
    }

    /// As [`FailureKind::is_transient`].
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        self.kind.is_transient()
    }
}
