//! Stoke's records in etcd's words, and back. All of Stoke's keys begin with one prefix there, which nobody above sees.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use etcd_client::{
    CompareOp, Event, EventType, GetOptions, PutOptions, TxnOp, TxnOpResponse, WatchOptions,
};
use tracing::warn;

use crate::{Change, Compare, KeyValue, Keys, LeaseId, Op, Revision, Txn};

/// The prefix of all keys, put before and taken off.
#[derive(Clone, Debug)]
pub(super) struct Namespace {
    prefix: Arc<str>,
}

/// etcd counts in signed numbers, none of them negative.
pub(super) fn revision(number: i64) -> Revision {
    Revision(u64::try_from(number).unwrap_or(0))
}

fn number(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

/// The least key that is greater than all that begin with `prefix`: prefixes end in ASCII.
fn end_of(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

impl Namespace {
    pub(super) fn new(prefix: String) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }

    /// The key as etcd has it.
    pub(super) fn full(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// The key as Stoke has it; none for one that Stoke cannot have written.
    fn short(&self, key: &[u8]) -> Option<String> {
        let short = std::str::from_utf8(key).ok()?.strip_prefix(&*self.prefix)?;
        Some(short.to_owned())
    }

    /// Counts all of Stoke's keys: for whoever may not read them all, etcd refuses it.
    pub(super) fn count(&self) -> TxnOp {
        let options = GetOptions::new().with_prefix().with_count_only();
        TxnOp::get(self.full(""), Some(options))
    }

    /// What etcd refuses to whoever may not write below the prefix, and what does nothing for all others: no key came to
    /// be before the first revision.
    pub(super) fn never(&self) -> etcd_client::Txn {
        let impossible = etcd_client::Compare::create_revision(self.full(""), CompareOp::Less, 0);
        etcd_client::Txn::new()
            .when([impossible])
            .and_then([TxnOp::put(self.full(""), "", None)])
    }

    /// A look at no key of Stoke's, as it stood at a revision; etcd has none below 1, and takes 0 for the present one.
    pub(super) fn glance(&self, revision: Revision) -> (String, GetOptions) {
        let revision = number(revision).max(1);
        let options = GetOptions::new().with_revision(revision);
        (self.full(""), options.with_count_only())
    }

    pub(super) fn get(&self, keys: &Keys) -> TxnOp {
        match keys {
            Keys::One(key) => TxnOp::get(self.full(key), None),
            Keys::Prefix(prefix) => {
                TxnOp::get(self.full(prefix), Some(GetOptions::new().with_prefix()))
            }
            Keys::Page {
                prefix,
                after,
                limit,
            } => {
                let first = if after.is_empty() {
                    self.full(prefix)
                } else {
                    // The least key that is greater.
                    format!("{}\0", self.full(after))
                };
                let options = GetOptions::new()
                    .with_range(end_of(&self.full(prefix)))
                    .with_limit(i64::try_from(*limit).unwrap_or(i64::MAX));
                TxnOp::get(first, Some(options))
            }
        }
    }

    /// What several gets found, each key once.
    pub(super) fn entries(&self, answers: Vec<TxnOpResponse>) -> Vec<KeyValue> {
        let mut entries = BTreeMap::new();
        for answer in answers {
            if let TxnOpResponse::Get(mut got) = answer {
                let found = got.take_kvs().into_iter().filter_map(|kv| self.entry(kv));
                entries.extend(found.map(|entry| (entry.key.clone(), entry)));
            }
        }
        entries.into_values().collect()
    }

    fn entry(&self, kv: etcd_client::KeyValue) -> Option<KeyValue> {
        let (create_revision, mod_revision) =
            (revision(kv.create_revision()), revision(kv.mod_revision()));
        let lease = (kv.lease() != 0).then(|| LeaseId(kv.lease()));
        let (key, value) = kv.into_key_value();
        let Some(key) = self.short(&key) else {
            warn!(key = %String::from_utf8_lossy(&key), "passing over a key that is not stoke's");
            return None;
        };
        Some(KeyValue {
            key,
            value: Bytes::from(value),
            create_revision,
            mod_revision,
            lease,
        })
    }

    pub(super) fn txn(&self, txn: Txn) -> etcd_client::Txn {
        let compares: Vec<_> = txn
            .compares
            .iter()
            .map(|compare| self.compare(compare))
            .collect();
        let ops: Vec<_> = txn.ops.into_iter().map(|op| self.op(op)).collect();
        etcd_client::Txn::new().when(compares).and_then(ops)
    }

    fn compare(&self, compare: &Compare) -> etcd_client::Compare {
        match compare {
            Compare::ModRevision(key, revision) => etcd_client::Compare::mod_revision(
                self.full(key),
                CompareOp::Equal,
                number(*revision),
            ),
            Compare::CreateRevision(key, revision) => etcd_client::Compare::create_revision(
                self.full(key),
                CompareOp::Equal,
                number(*revision),
            ),
            Compare::Absent(key) => {
                etcd_client::Compare::create_revision(self.full(key), CompareOp::Equal, 0)
            }
        }
    }

    fn op(&self, op: Op) -> TxnOp {
        match op {
            Op::Put { key, value, lease } => {
                let options = lease.map(|lease| PutOptions::new().with_lease(lease.0));
                TxnOp::put(self.full(&key), value, options)
            }
            Op::Delete(key) => TxnOp::delete(self.full(&key), None),
        }
    }

    /// Neither fragments nor progress are asked for: a revision then comes whole, and each message tells something.
    pub(super) fn watch_options(&self, keys: &Keys, since: Revision) -> WatchOptions {
        let options = WatchOptions::new().with_start_revision(number(since).saturating_add(1));
        match keys {
            Keys::One(_) => options,
            Keys::Prefix(_) | Keys::Page { .. } => options.with_prefix(),
        }
    }

    pub(super) fn change(&self, event: &Event) -> Option<Change> {
        let entry = self.entry(event.kv()?.clone())?;
        Some(match event.event_type() {
            EventType::Put => Change::Put(entry),
            EventType::Delete => Change::Delete {
                key: entry.key,
                mod_revision: entry.mod_revision,
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_stripped_of_the_prefix_and_nothing_else_is_stokes() {
        let names = Namespace::new("/stoke/v1/".to_owned());
        assert_eq!(names.full("leader"), "/stoke/v1/leader");
        assert_eq!(
            names.short(b"/stoke/v1/cap/r/w"),
            Some("cap/r/w".to_owned())
        );
        assert_eq!(names.short(b"/other/leader"), None);
        assert_eq!(names.short(b"/stoke/v1/\xff"), None);
    }
}
