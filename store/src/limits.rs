//! What a transaction and a read may hold, checked before anything is sent, so that both stores refuse the same.
//!
//! etcd has limits of its own; these lie within its defaults.

use std::collections::HashSet;
use std::time::Duration;

use crate::{Keys, Op, StoreError, TXN_OPS_MAX, Txn};

/// How many bytes the keys and values of a transaction may have together: etcd takes requests of up to 1.5 MiB by
/// default, and a store of small records has no need of that.
pub const TXN_BYTES_MAX: usize = 1024 * 1024;

/// What is wrong with a request.
#[derive(Debug, thiserror::Error)]
enum Excess {
    #[error("{0} operations or compares, where {TXN_OPS_MAX} are allowed")]
    Parts(usize),
    #[error("{0} ranges, where {TXN_OPS_MAX} are allowed")]
    Ranges(usize),
    #[error("{0} bytes, where {TXN_BYTES_MAX} are allowed")]
    Bytes(usize),
    #[error("an operation on the empty key")]
    NoKey,
    #[error("two operations on {0:?}")]
    Twice(String),
}

/// Refuses a transaction that is too large, or that names a key twice or not at all.
pub(crate) fn check_txn(txn: &Txn) -> Result<(), StoreError> {
    excess_of(txn).map_or(Ok(()), |excess| {
        Err(StoreError::Rejected {
            doing: "checking a transaction",
            source: Box::new(excess),
        })
    })
}

/// Refuses a read of too many ranges.
pub(crate) fn check_read(keys: &[Keys]) -> Result<(), StoreError> {
    if keys.len() <= TXN_OPS_MAX {
        return Ok(());
    }
    Err(StoreError::Rejected {
        doing: "checking a read",
        source: Box::new(Excess::Ranges(keys.len())),
    })
}

fn excess_of(txn: &Txn) -> Option<Excess> {
    let parts = txn.ops.len().max(txn.compares.len());
    if parts > TXN_OPS_MAX {
        return Some(Excess::Parts(parts));
    }
    let mut seen = HashSet::new();
    let mut bytes = 0;
    for op in &txn.ops {
        let (key, size) = match op {
            Op::Put { key, value, .. } => (key, value.len()),
            Op::Delete(key) => (key, 0),
        };
        if key.is_empty() {
            return Some(Excess::NoKey);
        }
        if !seen.insert(key) {
            return Some(Excess::Twice(key.clone()));
        }
        bytes += key.len() + size;
    }
    (bytes > TXN_BYTES_MAX).then_some(Excess::Bytes(bytes))
}

/// A lease's term as the stores have it: whole seconds, rounded up, at least one.
pub(crate) fn whole_seconds(ttl: Duration) -> Duration {
    let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
    Duration::from_secs(seconds.max(1))
}
