//! The store that a claim is made of, and short words for what claims do to it.

use std::future::Future;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use stoke_harness::Etcd;
use stoke_store::etcd::{EtcdConfig, EtcdStore};
use stoke_store::memory::MemoryStore;
use stoke_store::{
    Change, Compare, KeyValue, Keys, LeaseId, Op, Revision, Store, Txn, TxnOutcome, Watch,
    WatchEvent,
};

/// How long a claim waits for what must happen. Never waited for where the claim is true.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a call may take here: the machine that runs the tests is busy.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

pub(crate) struct Subject {
    pub(crate) store: Arc<dyn Store>,
    server: Server,
}

enum Server {
    Memory(MemoryStore),
    Journal {
        store: MemoryStore,
        /// What it lies in, for as long as it is used.
        _folder: tempfile::TempDir,
    },
    Shared,
    Alone(Arc<Etcd>),
}

impl Subject {
    pub(crate) fn memory() -> Self {
        let store = MemoryStore::new();
        Self {
            store: Arc::new(store.clone()),
            server: Server::Memory(store),
        }
    }

    pub(crate) fn journal() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = MemoryStore::open(folder.path()).unwrap();
        Self {
            store: Arc::new(store.clone()),
            server: Server::Journal {
                store,
                _folder: folder,
            },
        }
    }

    /// The etcd that all such claims share; it ends with the process.
    pub(crate) async fn shared() -> Self {
        static SHARED: OnceLock<Etcd> = OnceLock::new();
        let endpoint = tokio::task::spawn_blocking(|| {
            SHARED.get_or_init(|| Etcd::start().unwrap()).endpoint()
        });
        Self {
            store: Arc::new(connect(endpoint.await.unwrap()).await),
            server: Server::Shared,
        }
    }

    pub(crate) async fn alone() -> Self {
        let etcd = Arc::new(start_etcd().await);
        Self {
            store: Arc::new(connect(etcd.endpoint()).await),
            server: Server::Alone(etcd),
        }
    }

    pub(crate) async fn compact(&self, revision: Revision) {
        match &self.server {
            Server::Memory(store) | Server::Journal { store, .. } => store.compact(revision),
            Server::Shared => panic!("others use this etcd"),
            Server::Alone(etcd) => {
                let etcd = etcd.clone();
                let compact = move || etcd.ctl(&["compact", &revision.0.to_string()]);
                tokio::task::spawn_blocking(compact).await.unwrap().unwrap();
            }
        }
    }

    /// Ends all watches without a word; where it is etcd's, by killing and restarting it.
    pub(crate) async fn interrupt(&self) {
        match &self.server {
            Server::Memory(store) | Server::Journal { store, .. } => store.break_watches(),
            Server::Shared => panic!("others use this etcd"),
            Server::Alone(etcd) => {
                let etcd = etcd.clone();
                tokio::task::spawn_blocking(move || etcd.restart())
                    .await
                    .unwrap()
                    .unwrap();
            }
        }
    }

    pub(crate) async fn commit(&self, compares: Vec<Compare>, ops: Vec<Op>) -> TxnOutcome {
        self.store.txn(Txn { compares, ops }).await.unwrap()
    }

    /// Does the operations, in one transaction.
    pub(crate) async fn apply(&self, ops: Vec<Op>) -> Revision {
        committed(self.commit(vec![], ops).await)
    }

    pub(crate) async fn put(&self, key: &str, value: &str) -> Revision {
        self.apply(vec![put(key, value)]).await
    }

    pub(crate) async fn get(&self, key: &str) -> Option<KeyValue> {
        let snapshot = self.store.read(&[Keys::One(key.to_owned())]).await.unwrap();
        snapshot.entries.into_iter().next()
    }

    pub(crate) async fn watch(&self, prefix: &str, since: Revision) -> Box<dyn Watch> {
        self.store
            .watch(Keys::Prefix(prefix.to_owned()), since)
            .await
            .unwrap()
    }

    pub(crate) async fn lease(&self, seconds: u64) -> LeaseId {
        self.store
            .grant_lease(Duration::from_secs(seconds))
            .await
            .unwrap()
    }

    /// Waits until the key is not there.
    pub(crate) async fn until_gone(&self, key: &str) {
        self.until(key, |entry| entry.is_none()).await;
    }

    /// Waits until the key's entry is as wanted.
    pub(crate) async fn until(
        &self,
        key: &str,
        wanted: impl Fn(&Option<KeyValue>) -> bool,
    ) -> Option<KeyValue> {
        let keys = Keys::One(key.to_owned());
        soon(async {
            loop {
                let snapshot = self.store.read(std::slice::from_ref(&keys)).await.unwrap();
                let entry = snapshot.entries.into_iter().next();
                if wanted(&entry) {
                    return entry;
                }
                let mut watch = self
                    .store
                    .watch(keys.clone(), snapshot.revision)
                    .await
                    .unwrap();
                watch.next().await;
            }
        })
        .await
    }
}

pub(crate) async fn start_etcd() -> Etcd {
    tokio::task::spawn_blocking(Etcd::start)
        .await
        .unwrap()
        .unwrap()
}

/// A connection under a prefix that no other has.
pub(crate) async fn connect(endpoint: String) -> EtcdStore {
    EtcdStore::connect(config(endpoint)).await.unwrap()
}

pub(crate) fn config(endpoint: String) -> EtcdConfig {
    static CLAIMS: AtomicU32 = AtomicU32::new(0);
    let mut config = EtcdConfig::new(vec![endpoint]);
    config.prefix = format!("/claim-{}/", CLAIMS.fetch_add(1, Ordering::Relaxed));
    config.timeout = CALL_TIMEOUT;
    config
}

/// What `happens` gives; it is a failure if it never does.
pub(crate) async fn soon<T>(happens: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, happens)
        .await
        .expect("it never happened")
}

pub(crate) fn put(key: &str, value: &str) -> Op {
    Op::Put {
        key: key.to_owned(),
        value: Bytes::copy_from_slice(value.as_bytes()),
        lease: None,
    }
}

pub(crate) fn put_on(lease: LeaseId, key: &str) -> Op {
    Op::Put {
        key: key.to_owned(),
        value: Bytes::new(),
        lease: Some(lease),
    }
}

pub(crate) fn delete(key: &str) -> Op {
    Op::Delete(key.to_owned())
}

pub(crate) fn committed(outcome: TxnOutcome) -> Revision {
    match outcome {
        TxnOutcome::Committed(revision) => revision,
        TxnOutcome::Refused => panic!("refused"),
    }
}

/// What the watch yields next, which must be changes.
pub(crate) async fn changes(watch: &mut dyn Watch) -> Vec<Change> {
    match soon(watch.next()).await {
        Some(WatchEvent::Changes(changes)) => changes,
        other => panic!("{other:?} instead of changes"),
    }
}

/// A change in short: its key, whether the key was put, and when.
pub(crate) fn brief(change: &Change) -> (&str, bool, Revision) {
    match change {
        Change::Put(entry) => (&entry.key, true, entry.mod_revision),
        Change::Delete { key, mod_revision } => (key, false, *mod_revision),
    }
}
