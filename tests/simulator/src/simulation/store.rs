//! The store, with its own time, and what the checks read of it.

use std::collections::BTreeSet;
use std::time::Duration;

use stoke_core::ledger::{Ack, Cap, Ledger, Observed};
use stoke_core::names::{JobName, Resource, WorkerName};
use stoke_core::records::keys;
use stoke_store::memory::State;
use stoke_store::{
    Compare, KeyValue, Keys, LeaseId, Op, Revision, Snapshot, Txn, TxnOutcome, record,
};
use tokio::time::Instant;

use super::machine::Nanos;
use super::work::Records;

/// What a process asks of the store.
#[derive(Clone, Debug)]
pub(super) enum Request {
    Read(Vec<Keys>),
    Txn(Txn),
    /// Puts a key on a new lease; only where it is not there, if it is to be `vacant`.
    Take {
        key: String,
        value: bytes::Bytes,
        ttl: Duration,
        vacant: bool,
    },
    /// Lists failed entries: a coordinator's to do.
    List {
        job: JobName,
        log: String,
        chunk: u64,
        ranks: Vec<u64>,
    },
    /// A lease, and the key that must lie on it: a late request of ours may have put it on another one since, as
    /// `store::presence` looks for.
    KeepAlive(LeaseId, Option<String>),
}

/// What it answers.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Read(Snapshot),
    Txn(TxnOutcome),
    /// The key's revision and lease, where it could be taken.
    Taken(Option<(Revision, LeaseId)>),
    /// The failed entries are in the plan store.
    Listed,
    /// They are not, for they are no owner's.
    NotListed,
    /// Whether the lease was still there, and the key on it.
    Kept(bool),
    /// It said no, or could not be reached: nothing was done.
    Unreachable,
    /// Nothing is known.
    Unknown,
}

/// The store's process.
#[derive(Debug)]
pub(super) struct Store {
    state: State,
    start: Instant,
    resource: Resource,
    /// The budget's records as they stand.
    pub(super) records: Observed,
    /// Those of jobs.
    pub(super) work: Records,
    /// Whether they have changed since they were last checked.
    pub(super) is_unchecked: bool,
    /// What was put or deleted since the watches were last told.
    pub(super) changed: BTreeSet<String>,
    /// It refuses until then.
    pub(super) refuses_until: Nanos,
    /// Its answers are late until then.
    pub(super) slow_until: Nanos,
    /// It ends no leases until then, as after a change of its own leader.
    pub(super) leases_last_until: Nanos,
}

impl Store {
    pub(super) fn new(resource: Resource) -> Self {
        Self {
            state: State::new(1),
            start: Instant::now(),
            resource,
            records: Observed::default(),
            work: Records::default(),
            is_unchecked: false,
            changed: BTreeSet::new(),
            refuses_until: 0,
            slow_until: 0,
            leases_last_until: 0,
        }
    }

    /// Ends the leases whose time is over.
    pub(super) fn expire(&mut self, now: Nanos) {
        if now >= self.leases_last_until && self.state.expire(self.instant(now)) {
            self.changed.insert(keys::LEADER.to_owned());
        }
    }

    pub(super) fn instant(&self, now: Nanos) -> Instant {
        self.start + Duration::from_nanos(now)
    }

    pub(super) fn handle(&mut self, now: Nanos, request: Request) -> Answer {
        if now < self.refuses_until {
            return Answer::Unreachable;
        }
        match request {
            Request::Read(keys) => Answer::Read(self.state.read(&keys)),
            Request::Txn(txn) => Answer::Txn(self.txn(txn)),
            Request::Take {
                key,
                value,
                ttl,
                vacant,
            } => Answer::Taken(self.take(now, (key, value), ttl, vacant)),
            Request::List { .. } => Answer::Unreachable,
            Request::KeepAlive(lease, key) => {
                let instant = self.instant(now);
                let kept = self.state.keep_alive(instant, lease).is_ok();
                Answer::Kept(kept && key.is_none_or(|key| self.lease_of(&key) == Some(lease)))
            }
        }
    }

    /// Applies a transaction that names no lease.
    pub(super) fn txn(&mut self, txn: Txn) -> TxnOutcome {
        let ops = txn.ops.clone();
        #[expect(clippy::expect_used, reason = "no lease is named")]
        let outcome = self.state.txn(txn).expect("a transaction without leases");
        if let TxnOutcome::Committed(revision) = outcome {
            for op in ops {
                self.note(op, revision);
            }
        }
        outcome
    }

    fn take(
        &mut self,
        now: Nanos,
        (key, value): (String, bytes::Bytes),
        ttl: Duration,
        vacant: bool,
    ) -> Option<(Revision, LeaseId)> {
        let instant = self.instant(now);
        let lease = self.state.grant(instant, ttl);
        let txn = Txn {
            compares: vacant
                .then(|| Compare::Absent(key.clone()))
                .into_iter()
                .collect(),
            ops: vec![Op::Put {
                key: key.clone(),
                value,
                lease: Some(lease),
            }],
        };
        match self.state.txn(txn) {
            Ok(TxnOutcome::Committed(revision)) => {
                self.changed.insert(key);
                Some((revision, lease))
            }
            _ => {
                self.state.revoke(lease);
                None
            }
        }
    }

    fn lease_of(&self, key: &str) -> Option<LeaseId> {
        let found = self.state.read(&[Keys::One(key.to_owned())]);
        found.entries.first().and_then(|entry| entry.lease)
    }

    /// Ends the lease of a key, whenever it was last kept alive; whether there was one.
    pub(super) fn end_lease_of(&mut self, key: &str) -> bool {
        let lease = self.lease_of(key);
        self.changed.insert(key.to_owned());
        if let Some(lease) = lease {
            self.state.revoke(lease);
        }
        lease.is_some()
    }

    /// What a read of the budget's records shows.
    pub(super) fn observed(&self, snapshot: &Snapshot) -> Observed {
        let mut observed = Observed::default();
        for entry in &snapshot.entries {
            note(&self.resource, &mut observed, entry);
        }
        observed
    }

    fn note(&mut self, op: Op, revision: Revision) {
        self.is_unchecked = true;
        let (Op::Put { key, .. } | Op::Delete(key)) = &op;
        self.changed.insert(key.clone());
        self.work.note(&op, revision);
        match op {
            Op::Put { key, value, .. } => {
                let entry = KeyValue {
                    key,
                    value,
                    create_revision: revision,
                    mod_revision: revision,
                    lease: None,
                };
                note(&self.resource, &mut self.records, &entry);
            }
            Op::Delete(key) => {
                if let Some(worker) = worker_of(&key, keys::CAPS) {
                    self.records.caps.remove(&worker);
                } else if let Some(worker) = worker_of(&key, keys::ACKS) {
                    self.records.acks.remove(&worker);
                }
            }
        }
    }
}

fn note(resource: &Resource, observed: &mut Observed, entry: &KeyValue) {
    let revision = entry.mod_revision.0;
    if entry.key == keys::ledger(resource) {
        observed.ledger = Some((decode::<Ledger>(entry), revision));
    } else if let Some(worker) = worker_of(&entry.key, keys::CAPS) {
        let cap: Cap = decode(entry);
        observed.caps.insert(worker, (cap, revision));
    } else if let Some(worker) = worker_of(&entry.key, keys::ACKS) {
        let ack: Ack = decode(entry);
        observed.acks.insert(worker, (ack, revision));
    }
}

fn worker_of(key: &str, prefix: &str) -> Option<WorkerName> {
    let (_, worker) = keys::resource_and_worker(key.strip_prefix(prefix)?)?;
    Some(worker)
}

/// A record of ours.
pub(super) fn decode<T: serde::de::DeserializeOwned>(entry: &KeyValue) -> T {
    #[expect(clippy::expect_used, reason = "the shipped code wrote it")]
    record::decode(entry).expect("a record that this program wrote")
}
