//! The coordination store in etcd, 3.4 to 3.6.
//!
//! Each call has a deadline and, within it, repeats itself where that changes nothing: what was never sent, and what may
//! be done twice. A transaction is sent once: where its answer is missing, the caller hears
//! [`StoreError::Unknown`] and must read.
//!
//! Errors name the members' addresses and, where that is known, what to do: a full etcd (NOSPACE), a wrong password, TLS
//! that one side expects and the other does not speak. Left to others: for how long to go on without the store.

mod call;
mod config;
mod convert;
mod failure;
mod keeper;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{
    Client, ConnectOptions, Error, GetOptions, KvClient, LeaseClient, TxnOp, WatchClient,
};

use self::call::Calls;
pub use self::config::{EtcdConfig, Password, Tls};
use self::convert::Namespace;
use self::failure::{Call, UnusableAnswer};
use self::keeper::Keepers;
use self::watch::EtcdWatch;
use crate::limits::{check_read, check_txn, whole_seconds};
use crate::{Keys, LeaseId, Revision, Snapshot, Store, StoreError, Txn, TxnOutcome, Watch};

/// How long a connection with open streams may be silent before it is probed. etcd closes connections that are probed
/// more often than every 5 s, or at all while they are idle.
const PROBE_INTERVAL: Duration = Duration::from_secs(6);

/// How long a probe may go unanswered before the connection counts as broken.
const PROBE_TIMEOUT: Duration = Duration::from_secs(3);

/// The largest answer to a read, and the largest batch of changes, in bytes.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A coordination store in etcd. A clone uses the same connections.
#[derive(Clone)]
pub struct EtcdStore {
    names: Namespace,
    kv: KvClient,
    watches: WatchClient,
    leases: LeaseClient,
    keepers: Arc<Keepers>,
    calls: Calls,
}

impl EtcdStore {
    /// Connects, and makes sure that the store answers, and lets this user read and write Stoke's keys.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] where none answers within the deadline or TLS does not come about,
    /// [`StoreError::Rejected`] where the configuration or the password is wrong, or the user lacks a permission.
    pub async fn connect(config: EtcdConfig) -> Result<Self, StoreError> {
        config.check()?;
        let options = ConnectOptions::new()
            .with_connect_timeout(config.timeout)
            .with_keep_alive(PROBE_INTERVAL, PROBE_TIMEOUT)
            .with_keep_alive_while_idle(false)
            // A member that is cut off from the others says so, rather than keep its watches silent.
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        let options = match config.tls_options().await? {
            Some(tls) => options.with_tls(tls),
            None => options,
        };
        let at: Arc<str> = config.addresses().into();
        let options = match config.user {
            Some((name, password)) => options.with_user(name, password.reveal()),
            None => options,
        };
        let client = call::connect(&config.endpoints, options, config.timeout, &at).await?;
        let store = Self::over(client, config.prefix, config.timeout, at);
        store.ask_permission().await?;
        Ok(store)
    }

    /// Asks for all that this user must be allowed to do, so that a role that lacks it is told of at once, and not as
    /// something that fails again and again.
    async fn ask_permission(&self) -> Result<(), StoreError> {
        let asks = [
            (
                "reading below the prefix of Stoke's keys",
                etcd_client::Txn::new().and_then([self.names.count()]),
            ),
            (
                "asking whether its prefix may be written to",
                self.names.never(),
            ),
        ];
        for (doing, request) in asks {
            let asked = self.calls.call(doing, Call::Read, || {
                let (mut kv, request) = (self.kv.clone(), request.clone());
                async move {
                    match kv.txn(request).await {
                        // A full etcd is waited for, like one that is away.
                        Err(Error::GRpcStatus(status))
                            if status.code() == tonic::Code::ResourceExhausted =>
                        {
                            Ok(())
                        }
                        answer => answer.map(|_| ()),
                    }
                }
            });
            asked.await?;
        }
        Ok(())
    }

    fn over(client: Client, prefix: String, timeout: Duration, at: Arc<str>) -> Self {
        Self {
            names: Namespace::new(prefix),
            kv: client
                .kv_client()
                .max_decoding_message_size(ANSWER_BYTES_MAX),
            watches: client
                .watch_client()
                .max_decoding_message_size(ANSWER_BYTES_MAX),
            leases: client.lease_client(),
            keepers: Arc::default(),
            calls: Calls::new(client, timeout, at),
        }
    }
}

impl fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EtcdStore")
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn read(&self, keys: &[Keys]) -> Result<Snapshot, StoreError> {
        const DOING: &str = "reading records";
        check_read(keys)?;
        let mut gets: Vec<TxnOp> = keys.iter().map(|keys| self.names.get(keys)).collect();
        if gets.is_empty() {
            // etcd answers a transaction without operations from what the member has, which may be old.
            let count = GetOptions::new().with_count_only();
            gets.push(TxnOp::get(self.names.full(""), Some(count)));
        }
        let request = etcd_client::Txn::new().and_then(gets);
        let answer = self
            .calls
            .call(DOING, Call::Read, || {
                let (mut kv, request) = (self.kv.clone(), request.clone());
                async move { kv.txn(request).await }
            })
            .await?;
        let header = answer
            .header()
            .ok_or_else(|| UnusableAnswer.during(DOING))?;
        Ok(Snapshot {
            revision: convert::revision(header.revision()),
            cluster_id: header.cluster_id(),
            entries: self.names.entries(answer.op_responses()),
        })
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        const DOING: &str = "applying a transaction";
        check_txn(&txn)?;
        let request = self.names.txn(txn);
        let answer = self
            .calls
            .call(DOING, Call::Write, || {
                let (mut kv, request) = (self.kv.clone(), request.clone());
                async move { kv.txn(request).await }
            })
            .await?;
        if !answer.succeeded() {
            return Ok(TxnOutcome::Refused);
        }
        let header = answer
            .header()
            .ok_or_else(|| UnusableAnswer.unknown(DOING))?;
        Ok(TxnOutcome::Committed(convert::revision(header.revision())))
    }

    async fn remembers(&self, revision: Revision) -> Result<bool, StoreError> {
        let (key, options) = self.names.glance(revision);
        self.calls
            .call("asking how far back it remembers", Call::Read, || {
                let (mut kv, key, options) = (self.kv.clone(), key.clone(), options.clone());
                async move {
                    match kv.get(key, Some(options)).await {
                        Ok(_) => Ok(true),
                        Err(error) if failure::is_compacted(&error) => Ok(false),
                        Err(error) => Err(error),
                    }
                }
            })
            .await
    }

    async fn watch(&self, keys: Keys, since: Revision) -> Result<Box<dyn Watch>, StoreError> {
        let options = self.names.watch_options(&keys, since);
        let key = self.names.full(keys_text(&keys));
        let stream = self
            .calls
            .call("beginning a watch", Call::Read, || {
                let (mut watches, key, options) =
                    (self.watches.clone(), key.clone(), options.clone());
                async move { EtcdWatch::begin(watches.watch(key, Some(options)).await?).await }
            })
            .await?;
        Ok(Box::new(stream.naming(self.names.clone())))
    }

    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let seconds = i64::try_from(whole_seconds(ttl).as_secs()).unwrap_or(i64::MAX);
        let lease = self
            .calls
            .call("making a lease", Call::Grant, || {
                let mut leases = self.leases.clone();
                async move { leases.grant(seconds, None).await }
            })
            .await?;
        Ok(LeaseId(lease.id()))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.calls
            .call("keeping a lease alive", Call::Renewal, || {
                self.keepers.renew(self.leases.clone(), lease)
            })
            .await
    }

    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.keepers.forget(lease);
        let revoked = self
            .calls
            .call("ending a lease", Call::Renewal, || {
                let mut leases = self.leases.clone();
                async move { leases.revoke(lease.0).await }
            })
            .await;
        match revoked {
            Ok(_) | Err(StoreError::LeaseGone) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn keys_text(keys: &Keys) -> &str {
    let (Keys::One(text) | Keys::Prefix(text) | Keys::Page { prefix: text, .. }) = keys;
    text
}
