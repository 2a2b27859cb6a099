//! The coordination store: small records that all processes of a cluster agree on.
//!
//! One trait, [`Store`], with two implementations of the same semantics: [`etcd`] (3.4 to 3.6) and [`memory`]. It
//! knows keys, revisions, transactions, watches and leases, and nothing of what the records mean.
//!
//! Absent here: plans (they go to the plan store), and decisions. `etcd-client` is named nowhere else.
#![cfg_attr(
    test,
    allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")
)]

use std::time::Duration;

use bytes::Bytes;

mod backoff;
pub mod clock;
pub mod continuity;
pub mod election;
pub mod etcd;
pub mod history;
pub mod ledger;
mod limits;
pub mod memory;
pub mod observed;
pub mod presence;
pub mod record;
pub mod wake;

pub use limits::TXN_BYTES_MAX;

/// A count of the store's changes. Each committed transaction that writes takes the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// A lease's number in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

/// A key with its value, as some revision of the store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The key, without the store's prefix.
    pub key: String,
    /// The value.
    pub value: Bytes,
    /// When the key came to be; it changes when a key is deleted and put again.
    pub create_revision: Revision,
    /// When the key was last put.
    pub mod_revision: Revision,
    /// The lease that the key dies with.
    pub lease: Option<LeaseId>,
}

/// Which keys to read or watch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Keys {
    /// One key.
    One(String),
    /// All keys that begin so.
    Prefix(String),
    /// Of the keys that begin so, the first `limit` that come after one: for what there may be thousands of. Watched, it
    /// is as [`Keys::Prefix`].
    Page {
        /// What they begin with; not empty.
        prefix: String,
        /// The key after which they begin, the prefix included; empty: with the first.
        after: String,
        /// How many at most; at least 1.
        limit: usize,
    },
}

/// Some keys, all as they stood at one revision.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The store's revision at which this was read.
    pub revision: Revision,
    /// Identifies the store's data: another id is another (or a restored) store.
    pub cluster_id: u64,
    /// In the order of keys; a key that two ranges cover comes once.
    pub entries: Vec<KeyValue>,
}

/// What must hold for a transaction to be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compare {
    /// The key was last put at this revision.
    ModRevision(String, Revision),
    /// The key came to be at this revision.
    CreateRevision(String, Revision),
    /// The key is not there.
    Absent(String),
}

/// What a transaction does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Puts a value, dying with the lease where there is one.
    Put {
        /// The key, without the store's prefix.
        key: String,
        /// The value.
        value: Bytes,
        /// The lease that the key shall die with.
        lease: Option<LeaseId>,
    },
    /// Deletes a key; no error where it is not there.
    Delete(String),
}

/// Compares and, where all of them hold, operations: at once or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All must hold.
    pub compares: Vec<Compare>,
    /// At most [`TXN_OPS_MAX`]; no key twice.
    pub ops: Vec<Op>,
}

/// How many operations (and as many compares) a transaction may have: etcd's default limit.
pub const TXN_OPS_MAX: usize = 128;

/// What became of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TxnOutcome {
    /// All compares held and all operations are done, at this revision.
    Committed(Revision),
    /// A compare did not hold: nothing was done.
    Refused,
}

/// A change that a watch tells of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key was put.
    Put(KeyValue),
    /// The key was deleted, or its lease ended.
    Delete {
        /// The key, without the store's prefix.
        key: String,
        /// When.
        mod_revision: Revision,
    },
}

/// What a watch yields next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchEvent {
    /// Changes of one or several revisions, in order, none of them split.
    Changes(Vec<Change>),
    /// The revision to go on from is gone: read anew, then watch from there. The watch has ended.
    Compacted,
}

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing was done: the store could not be reached, or refused before it began.
    #[error("the coordination store cannot be reached while {doing}")]
    Unreachable {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It may or may not have been done: no answer came in time, or the connection broke.
    #[error("the coordination store gave no answer while {doing}")]
    Unknown {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The lease is not there any more.
    #[error("the lease is gone")]
    LeaseGone,
    /// The store said no for a reason that trying again does not mend: no space, no permission, too large a value.
    #[error("the coordination store refuses while {doing}")]
    Rejected {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// The changes to some keys, from a revision on.
#[async_trait::async_trait]
pub trait Watch: Send {
    /// Waits for what comes next; `None` when the watch has ended without a word (watch anew from the last revision
    /// seen). Safe to cancel: nothing is lost between two calls.
    async fn next(&mut self) -> Option<WatchEvent>;
}

/// The coordination store.
#[async_trait::async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads all of `keys` at one revision, linearizably: it sees whatever was committed before the call. At most
    /// [`TXN_OPS_MAX`] ranges; with none, it tells the revision only.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] where the store does not answer within its deadline.
    async fn read(&self, keys: &[Keys]) -> Result<Snapshot, StoreError>;

    /// Applies a transaction.
    ///
    /// # Errors
    /// [`StoreError::Unknown`] where it may or may not have been applied.
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError>;

    /// Whether the store still keeps what stood at this revision, which is not above the present one. A store that never
    /// forgets grows until it is full.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`].
    async fn remembers(&self, revision: Revision) -> Result<bool, StoreError>;

    /// Watches keys for what changed *after* `since`.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`].
    async fn watch(&self, keys: Keys, since: Revision) -> Result<Box<dyn Watch>, StoreError>;

    /// Makes a lease that ends `ttl` (whole seconds, at least 1) after it was last kept alive.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`].
    async fn grant_lease(&self, ttl: Duration) -> Result<LeaseId, StoreError>;

    /// Keeps a lease alive for another of its terms.
    ///
    /// # Errors
    /// [`StoreError::LeaseGone`] where it has ended.
    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError>;

    /// Ends a lease, and the keys that die with it. No error where it has ended already.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] or [`StoreError::Unknown`].
    async fn revoke_lease(&self, lease: LeaseId) -> Result<(), StoreError>;
}
