//! What callers hear while a real etcd is stopped, dead, or closed to them.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use stoke_harness::Etcd;
use stoke_store::etcd::{EtcdConfig, EtcdStore, Password};
use stoke_store::{Keys, Revision, Store, StoreError, Txn};

use crate::subject::{config, put, soon, start_etcd};

fn put_a() -> Txn {
    Txn {
        compares: vec![],
        ops: vec![put("a", "1")],
    }
}

async fn impatient(etcd: &Etcd) -> EtcdStore {
    let mut config = config(etcd.endpoint());
    config.timeout = Duration::from_secs(1);
    EtcdStore::connect(config).await.unwrap()
}

/// The error with all of its causes.
fn in_full(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[tokio::test]
async fn while_etcd_is_stopped_a_transaction_is_unknown_and_a_read_unreachable() {
    let etcd = start_etcd().await;
    let store = impatient(&etcd).await;
    etcd.stop().unwrap();
    let written = store.txn(put_a()).await.unwrap_err();
    let read = store.read(&[]).await.unwrap_err();
    let granted = store.grant_lease(Duration::from_secs(5)).await.unwrap_err();
    etcd.cont().unwrap();
    assert!(matches!(written, StoreError::Unknown { .. }), "{written:?}");
    assert!(matches!(read, StoreError::Unreachable { .. }), "{read:?}");
    assert!(
        matches!(granted, StoreError::Unreachable { .. }),
        "{granted:?}"
    );
    let (text, place) = (
        in_full(&read),
        format!("records: etcd at {}: it does not", etcd.endpoint()),
    );
    assert!(
        text.starts_with("the coordination store cannot be reached while reading ")
            && text.contains(&place)
            && text.ends_with(": no answer within 1s"),
        "{text}"
    );
}

#[tokio::test]
async fn a_transaction_that_was_never_sent_is_not_unknown() {
    let etcd = start_etcd().await;
    let store = impatient(&etcd).await;
    etcd.kill().unwrap();
    // The first may still be written to the connection that is breaking; then there is none to write to.
    let _ = store.read(&[]).await;
    let written = store.txn(put_a()).await.unwrap_err();
    assert!(
        matches!(written, StoreError::Unreachable { .. }),
        "{written:?}"
    );
}

#[tokio::test]
async fn a_call_rides_out_a_restart_within_its_deadline() {
    let etcd = Arc::new(start_etcd().await);
    let store = EtcdStore::connect(config(etcd.endpoint())).await.unwrap();
    store.txn(put_a()).await.unwrap();
    etcd.kill().unwrap();
    let restarted = tokio::task::spawn_blocking({
        let etcd = etcd.clone();
        move || etcd.restart()
    });
    let found = store.read(&[Keys::One("a".to_owned())]).await.unwrap();
    assert_eq!(found.entries.len(), 1);
    restarted.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_watch_ends_when_its_connection_falls_silent() {
    let etcd = start_etcd().await;
    let store = impatient(&etcd).await;
    let everything = Keys::Prefix(String::new());
    let mut watch = store.watch(everything, Revision(1)).await.unwrap();
    // The connection stays open, and nothing comes over it any more.
    etcd.stop().unwrap();
    assert_eq!(soon(watch.next()).await, None);
    etcd.cont().unwrap();
}

#[tokio::test]
async fn an_etcd_that_is_not_there_is_unreachable() {
    let nowhere = format!("http://127.0.0.1:{}", stoke_harness::free_port().unwrap());
    let error = EtcdStore::connect(EtcdConfig::new(vec![nowhere]))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error:?}");
}

#[tokio::test]
async fn one_dead_member_of_two_endpoints_is_no_failure() {
    let etcd = start_etcd().await;
    let mut config = config(etcd.endpoint());
    let dead = format!("http://127.0.0.1:{}", stoke_harness::free_port().unwrap());
    config.endpoints.push(dead);
    let store = EtcdStore::connect(config).await.unwrap();
    for _ in 0..50 {
        store.txn(put_a()).await.unwrap();
    }
}

#[tokio::test]
async fn only_the_right_password_opens_a_locked_etcd_also_when_tokens_run_out() {
    let etcd = start_etcd().await;
    for args in [
        "user add root:hunter2",
        "role add root",
        "user grant-role root root",
        "auth enable",
    ] {
        etcd.ctl(&args.split(' ').collect::<Vec<_>>()).unwrap();
    }
    let as_root = |password: &str| {
        let mut config = config(etcd.endpoint());
        config.user = Some(("root".to_owned(), Password::new(password)));
        config
    };
    for config in [config(etcd.endpoint()), as_root("hunter3")] {
        let error = EtcdStore::connect(config).await.unwrap_err();
        assert!(matches!(error, StoreError::Rejected { .. }), "{error:?}");
        let shown = format!("{error:?} {}", in_full(&error));
        assert!(!shown.contains("hunter"), "{shown}");
    }
    let store = EtcdStore::connect(as_root("hunter2")).await.unwrap();
    store.txn(put_a()).await.unwrap();
    let key = || Keys::One("a".to_owned());
    forget_tokens(&etcd);
    assert_eq!(store.read(&[key()]).await.unwrap().entries.len(), 1);
    forget_tokens(&etcd);
    store.watch(key(), Revision(1)).await.unwrap();
}

/// What the end of their time (five minutes) does to tokens as well.
fn forget_tokens(etcd: &Etcd) {
    for what in ["disable", "enable"] {
        etcd.ctl(&["--user", "root:hunter2", "auth", what]).unwrap();
    }
}
