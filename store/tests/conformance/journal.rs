//! What a store with a journal promises beside: what it has told anybody outlives the process, whatever cuts it short.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use proptest::prelude::*;
use stoke_store::memory::MemoryStore;
use stoke_store::memory::journal::log::{self, LogFault};
use stoke_store::memory::journal::{OpenError, Opened};
use stoke_store::{Compare, KeyValue, Keys, Op, Revision, Store, StoreError, Txn, WatchEvent};

use crate::subject::{changes, committed, delete, put, put_on};

/// All that a store holds, and its revision.
type Held = (Revision, BTreeMap<String, KeyValue>);

fn all() -> Keys {
    Keys::Prefix(String::new())
}

async fn held(store: &MemoryStore) -> Held {
    let snapshot = store.read(&[all()]).await.unwrap();
    let entries = snapshot.entries.into_iter();
    (
        snapshot.revision,
        entries.map(|entry| (entry.key.clone(), entry)).collect(),
    )
}

/// Opens a folder that this process had open a moment ago: what it last wrote may still be about to end.
async fn reopen(folder: &Path) -> (MemoryStore, Opened) {
    loop {
        match MemoryStore::open(folder) {
            Err(OpenError::InUse { .. }) => tokio::task::yield_now().await,
            opened => return opened.unwrap(),
        }
    }
}

async fn txn(store: &MemoryStore, ops: Vec<Op>) -> Revision {
    let compares = Vec::new();
    committed(store.txn(Txn { compares, ops }).await.unwrap())
}

#[tokio::test]
async fn a_store_goes_on_where_it_was_with_its_id_its_revisions_and_its_records() {
    let folder = tempfile::tempdir().unwrap();
    let (store, opened) = MemoryStore::open(folder.path()).unwrap();
    assert_eq!((opened.found, opened.cut_bytes), (false, 0));
    txn(&store, vec![put("a", "1"), put("b", "1")]).await;
    txn(&store, vec![put("a", "2"), delete("b")]).await;
    let (before, id) = (
        held(&store).await,
        store.read(&[]).await.unwrap().cluster_id,
    );
    drop(store);

    let (store, opened) = reopen(folder.path()).await;
    assert_eq!((opened.found, opened.cut_bytes), (true, 0));
    assert_eq!(held(&store).await, before);
    assert_eq!(store.read(&[]).await.unwrap().cluster_id, id);
    let at = txn(&store, vec![put("c", "1")]).await;
    assert_eq!(at, Revision(before.0.0 + 1));
    let mut watch = store.watch(all(), before.0).await.unwrap();
    assert_eq!(changes(&mut *watch).await.len(), 1);
    // What was missed is not known: read anew.
    let mut late = store.watch(all(), Revision(1)).await.unwrap();
    assert_eq!(late.next().await, Some(WatchEvent::Compacted));
}

#[tokio::test]
async fn what_was_on_leases_has_ended_with_the_process_and_all_else_has_not() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = MemoryStore::open(folder.path()).unwrap();
    let lease = store.grant_lease(Duration::from_secs(3600)).await.unwrap();
    txn(&store, vec![put("cap", "1"), put_on(lease, "leader")]).await;
    let (before, _) = held(&store).await;
    drop(store);

    let (store, _) = reopen(folder.path()).await;
    let (now, entries) = held(&store).await;
    assert_eq!(entries.into_keys().collect::<Vec<_>>(), ["cap"]);
    assert!(now > before, "its end is a revision of its own");
    let gone = store.keep_alive(lease).await;
    assert!(matches!(gone, Err(StoreError::LeaseGone)), "{gone:?}");
}

#[tokio::test]
async fn a_folder_is_one_process_own_and_its_owners_only() {
    let around = tempfile::tempdir().unwrap();
    let folder = around.path().join("a/b");
    let (store, _) = MemoryStore::open(&folder).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    assert_eq!(mode(&folder.join("store.log")), 0o600);
    let second = MemoryStore::open(&folder).unwrap_err();
    assert!(matches!(second, OpenError::InUse { .. }), "{second}");
    txn(&store, vec![put("a", "1")]).await;
    drop(store);

    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let (_store, _) = reopen(&folder).await;
    assert_eq!(mode(&folder), 0o700);
    // Its folder has other things in it, and stays as it is.
    let other = MemoryStore::open(around.path()).unwrap_err();
    assert!(matches!(other, OpenError::NotOurs { .. }), "{other}");
    assert_eq!(fs::read_dir(around.path()).unwrap().count(), 1);
}

#[tokio::test]
async fn a_disk_that_refuses_is_told_and_nothing_is_answered_from_there_on() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = MemoryStore::open(folder.path()).unwrap();
    let lease = store.grant_lease(Duration::from_secs(3600)).await.unwrap();
    let told = txn(&store, vec![put("a", "1"), put_on(lease, "leader")]).await;
    // The next rewriting of the file fails: where its new form should be, there is a folder.
    fs::create_dir(folder.path().join("store.log.new")).unwrap();
    let value = "x".repeat(1 << 20);
    let write = || {
        let op = Op::Put {
            key: "k".into(),
            value: value.clone().into_bytes()[..1_000_000].to_vec().into(),
            lease: None,
        };
        store.txn(Txn {
            compares: vec![],
            ops: vec![op],
        })
    };
    let refused = loop {
        if let Err(error) = write().await {
            break error;
        }
    };
    assert!(matches!(refused, StoreError::Unknown { .. }), "{refused}");
    assert!(store.read(&[]).await.is_err());
    let unknown = store.revoke_lease(lease).await;
    assert!(
        matches!(unknown, Err(StoreError::Unknown { .. })),
        "{unknown:?}"
    );
    let leader = Keys::One("leader".to_owned());
    let mut watch = store.watch(leader, told).await.unwrap();
    assert_eq!(watch.next().await, None, "who watches is told no more");
    let failed = store.failed().await.to_string();
    assert!(failed.contains("store.log"), "{failed}");
}

#[tokio::test]
async fn what_a_crash_left_of_a_rewriting_counts_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = MemoryStore::open(folder.path()).unwrap();
    txn(&store, vec![put("a", "1")]).await;
    txn(&store, vec![delete("a"), put("b", "2")]).await;
    let before = held(&store).await;
    drop(store);
    // Whole frames, and longer than what is written next: only a part of them would be replaced.
    let [log, new] = ["store.log", "store.log.new"].map(|name| folder.path().join(name));
    let old = fs::read(&log).unwrap();
    fs::write(&new, [old.as_slice(), b"and more"].concat().repeat(2)).unwrap();
    for _ in 0..2 {
        let (store, opened) = reopen(folder.path()).await;
        assert_eq!(opened.cut_bytes, 0);
        assert_eq!(held(&store).await, before);
        assert!(!new.exists());
    }
}

#[tokio::test]
async fn a_long_file_is_written_anew_and_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = MemoryStore::open(folder.path()).unwrap();
    let value = "x".repeat(1_000_000);
    txn(&store, vec![put("first", "1")]).await;
    for _ in 0..20 {
        txn(&store, vec![put("big", &value)]).await;
    }
    let length = fs::metadata(folder.path().join("store.log")).unwrap().len();
    assert!(length < 18_000_000, "{length}");
    let before = held(&store).await;
    drop(store);
    assert_eq!(held(&reopen(folder.path()).await.0).await, before);
}

/// A few transactions on few keys, some of which come to nothing.
fn transactions() -> impl Strategy<Value = Vec<Vec<(u8, Option<String>)>>> {
    let op = (0..5_u8, proptest::option::of("[a-z]{0,12}"));
    let ops = proptest::collection::vec(op, 1..4).prop_map(|mut ops| {
        ops.sort_by_key(|(key, _)| *key);
        ops.dedup_by_key(|(key, _)| *key);
        ops
    });
    proptest::collection::vec(ops, 1..12)
}

/// The file that these leave, and what the store told after each of them, with the file's length by then.
async fn written(
    folder: &Path,
    all: &[Vec<(u8, Option<String>)>],
) -> (Vec<u8>, Vec<(usize, Held)>) {
    let (store, _) = MemoryStore::open(folder).unwrap();
    let path = folder.join("store.log");
    let mut told = vec![(fs::read(&path).unwrap().len(), held(&store).await)];
    for ops in all {
        let op = |(key, value): &(u8, Option<String>)| match value {
            Some(value) => put(&format!("k{key}"), value),
            None => delete(&format!("k{key}")),
        };
        let compares = vec![Compare::Absent("never".into())];
        let ops = ops.iter().map(op).collect();
        store.txn(Txn { compares, ops }).await.unwrap();
        let bytes = fs::read(&path).unwrap();
        told.push((bytes.len(), held(&store).await));
    }
    (fs::read(&path).unwrap(), told)
}

fn run<T>(what: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(what)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_file_cut_at_any_byte_holds_all_that_was_told_before_and_nothing_else(all in transactions()) {
        let folder = tempfile::tempdir().unwrap();
        let (bytes, told) = run(written(folder.path(), &all));
        for cut in 0..=bytes.len() {
            let read = log::read(&bytes[..cut]);
            let Some((whole, (revision, entries))) = told.iter().rev().find(|(length, _)| *length <= cut) else {
                // The first record has its name only when it is whole: no crash cuts it.
                prop_assert!(read.is_err());
                continue;
            };
            let read = read.unwrap();
            prop_assert_eq!(read.whole_bytes, *whole);
            prop_assert_eq!((&read.contents.revision, &read.contents.entries), (revision, entries));
        }
        // The same through the door, where the tail is cut off for good.
        let cut = bytes.len() - 1;
        fs::write(folder.path().join("store.log"), &bytes[..cut]).unwrap();
        let told = told.iter().rev().find(|(length, _)| *length <= cut);
        if let Some((whole, expected)) = told {
            let (now, opened, again) = run(async {
                let (store, opened) = reopen(folder.path()).await;
                let now = held(&store).await;
                drop(store);
                (now, opened, reopen(folder.path()).await.1)
            });
            prop_assert_eq!(&now, expected);
            prop_assert_eq!(opened.cut_bytes, cut - whole);
            prop_assert_eq!(again.cut_bytes, 0);
        }
    }

    #[test]
    fn a_byte_changed_before_the_last_record_is_told_with_its_place(
        all in transactions(),
        at in any::<prop::sample::Index>(),
        change in 1..=255_u8,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let (mut bytes, told) = run(written(folder.path(), &all));
        let mut ends: Vec<usize> = told.into_iter().map(|(length, _)| length).collect();
        ends.dedup();
        prop_assume!(ends.len() > 1);
        let last = ends[ends.len() - 2];
        let at = at.index(last);
        bytes[at] ^= change;
        let begins = ends.iter().rev().find(|end| **end <= at).copied().unwrap_or(0);
        match log::read(&bytes).unwrap_err() {
            LogFault::NotALog => prop_assert!(at < 4),
            LogFault::Damaged { at, .. } => prop_assert_eq!(at, begins),
            newer @ LogFault::Newer { .. } => prop_assert!(false, "{newer}"),
        }
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_file_is_said_with_its_name_the_place_and_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let transactions: Vec<_> = (0..3).map(|n| vec![(n, Some("v".to_owned()))]).collect();
    let (mut bytes, told) = written(folder.path(), &transactions).await;
    let second = told[1].0;
    bytes[second + 25] ^= 1;
    let path = folder.path().join("store.log");
    let open = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        loop {
            match MemoryStore::open(folder.path()) {
                Err(OpenError::InUse { .. }) => std::thread::yield_now(),
                opened => break opened.unwrap_err().to_string(),
            }
        }
    };
    let said = open(&bytes);
    let expected = format!(
        "cannot read {}: it is damaged at byte {second}: the record there is not whole, but one behind it is; put back a \
         copy of it, or begin anew with another folder",
        path.display()
    );
    assert_eq!(said, expected);
    assert_eq!(fs::read(&path).unwrap(), bytes, "it is left as it was");
    let said = open(b"something else");
    assert!(said.contains("it is no log of a store"), "{said}");
}
