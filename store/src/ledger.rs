//! The ledger's transactions, as the store's.

use stoke_core::ledger::{Expect, LedgerTxn, Put};
use stoke_core::names::Resource;
use stoke_core::records::keys;

use crate::{Compare, Op, Revision, Txn, record};

/// The transaction on a resource's records. `leader` is what shows that whoever commits it leads.
///
/// # Panics
/// Where it expects a leader and there is no `leader`: workers commit nothing of that kind.
#[must_use]
pub fn txn(resource: &Resource, txn: &LedgerTxn, leader: Option<&Compare>) -> Txn {
    Txn {
        compares: txn
            .expects
            .iter()
            .map(|expect| compare(resource, expect, leader))
            .collect(),
        ops: txn.puts.iter().map(|put| op(resource, put)).collect(),
    }
}

fn compare(resource: &Resource, expect: &Expect, leader: Option<&Compare>) -> Compare {
    let at = |key: String, revision: Option<u64>| match revision {
        Some(revision) => Compare::ModRevision(key, Revision(revision)),
        None => Compare::Absent(key),
    };
    match expect {
        #[expect(clippy::expect_used, reason = "our own mistake, whatever the data")]
        Expect::Leader => leader
            .cloned()
            .expect("B1: only a leader commits what expects one"),
        Expect::Ledger(revision) => at(keys::ledger(resource), *revision),
        Expect::Cap(worker, revision) => at(keys::cap(resource, worker), *revision),
        Expect::Ack(worker, revision) => at(keys::ack(resource, worker), *revision),
        Expect::Run(job, revision) => at(keys::run(job), Some(*revision)),
    }
}

fn op(resource: &Resource, put: &Put) -> Op {
    fn put_or_delete<T: serde::Serialize>(key: String, record: Option<&T>) -> Op {
        match record {
            Some(record) => Op::Put {
                key,
                value: record::encode(record),
                lease: None,
            },
            None => Op::Delete(key),
        }
    }
    match put {
        Put::Ledger(ledger) => put_or_delete(keys::ledger(resource), Some(ledger)),
        Put::Cap(worker, cap) => put_or_delete(keys::cap(resource, worker), cap.as_ref()),
        Put::Ack(worker, ack) => put_or_delete(keys::ack(resource, worker), ack.as_ref()),
    }
}
