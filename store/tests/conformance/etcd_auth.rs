//! etcd that asks for a password: every call goes on when its token has run out, and whoever lacks a permission hears so.

use std::time::Duration;

use stoke_core::explain::explain;
use stoke_harness::{Etcd, ServerDir};
use stoke_store::etcd::{EtcdConfig, EtcdStore, Password};
use stoke_store::{Keys, Op, Revision, Store, StoreError, Txn};
use tokio::time::{Instant, interval};

use crate::subject::{changes, config, put, put_on, soon};

const PASSWORD: &str = "s3cret";

/// An etcd that lets `stoke` in, with access to the prefix of `config`.
fn locked(options: &[&str]) -> (Etcd, EtcdConfig) {
    let etcd = Etcd::start_as(None, options).unwrap();
    let mut config = config(etcd.endpoint());
    etcd.admit("stoke", PASSWORD, "readwrite", &config.prefix)
        .unwrap();
    etcd.lock().unwrap();
    config.user = Some(("stoke".to_owned(), Password::new(PASSWORD)));
    (etcd, config)
}

/// Makes all tokens void, as the end of their time and a restart of etcd do.
fn forget_tokens(etcd: &Etcd) {
    etcd.ctl(&["auth", "disable"]).unwrap();
    etcd.ctl(&["auth", "enable"]).unwrap();
}

fn txn(op: Op) -> Txn {
    Txn {
        compares: vec![],
        ops: vec![op],
    }
}

/// The story: some releases of etcd-client sent no token with calls for leases, so that an etcd that looks at it refused
/// them, and no coordinator could lead, nor a worker be a member.
#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_call_logs_in_again_when_its_token_is_void() {
    let (etcd, config) = locked(&[]);
    let store = EtcdStore::connect(config).await.unwrap();
    forget_tokens(&etcd);
    let lease = store.grant_lease(Duration::from_secs(60)).await.unwrap();
    forget_tokens(&etcd);
    store.txn(txn(put_on(lease, "on-lease"))).await.unwrap();
    forget_tokens(&etcd);
    // The first opens a stream, the second uses it.
    store.keep_alive(lease).await.unwrap();
    forget_tokens(&etcd);
    store.keep_alive(lease).await.unwrap();
    forget_tokens(&etcd);
    let all = Keys::Prefix(String::new());
    let mut watch = store.watch(all.clone(), Revision(1)).await.unwrap();
    assert_eq!(changes(&mut *watch).await.len(), 1);
    forget_tokens(&etcd);
    let found = store.read(std::slice::from_ref(&all)).await.unwrap();
    assert_eq!(found.entries.len(), 1);
    forget_tokens(&etcd);
    store.revoke_lease(lease).await.unwrap();
    assert_eq!(
        changes(&mut *watch).await.len(),
        1,
        "a watch outlives its token"
    );
    assert!(store.read(&[all]).await.unwrap().entries.is_empty());
    let gone = store.keep_alive(lease).await.unwrap_err();
    assert!(matches!(gone, StoreError::LeaseGone), "{gone:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_kept_over_the_end_of_many_tokens_and_over_a_restart_of_etcd() {
    const TOKEN_TTL: Duration = Duration::from_secs(2);
    let dir = ServerDir::new("jwt").unwrap();
    let key = dir.path().join("key");
    std::fs::write(&key, "a key that signs tokens, of 32 bytes or more").unwrap();
    // These end when their time is over, be they used or not; etcd's simple ones live on while they are used.
    let token = format!(
        "--auth-token=jwt,priv-key={},sign-method=HS256,ttl={}s",
        key.display(),
        TOKEN_TTL.as_secs()
    );
    let (etcd, mut config) = locked(&[&token]);
    config.timeout = Duration::from_secs(5);
    let store = EtcdStore::connect(config).await.unwrap();
    let lease = store.grant_lease(Duration::from_secs(10)).await.unwrap();
    store.txn(txn(put_on(lease, "kept"))).await.unwrap();
    let kept = || Keys::One("kept".to_owned());
    let created = async || {
        let found = store.read(&[kept()]).await.unwrap();
        found.entries.first().map(|entry| entry.create_revision)
    };
    let first = created().await;
    let mut watch = store
        .watch(Keys::One("told".to_owned()), Revision(1))
        .await
        .unwrap();
    // Longer than the lease lasts without being kept alive.
    let until = Instant::now() + 6 * TOKEN_TTL;
    let mut every = interval(Duration::from_millis(500));
    while Instant::now() < until {
        every.tick().await;
        store.keep_alive(lease).await.unwrap();
        store.txn(txn(put("told", "1"))).await.unwrap();
        assert_eq!(changes(&mut *watch).await.len(), 1);
    }
    assert_eq!(created().await, first, "it was there all the time");
    etcd.restart().unwrap();
    soon(async { while store.keep_alive(lease).await.is_err() {} }).await;
    assert_eq!(created().await, first);
    store.revoke_lease(lease).await.unwrap();
    assert_eq!(created().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_may_not_read_or_write_all_of_the_prefix_is_told_at_once() {
    let (etcd, config) = locked(&[]);
    etcd.admit("reader", PASSWORD, "read", &config.prefix)
        .unwrap();
    etcd.admit("writer", PASSWORD, "write", &config.prefix)
        .unwrap();
    let elsewhere = format!("{}x", config.prefix);
    etcd.admit("elsewhere", PASSWORD, "readwrite", &elsewhere)
        .unwrap();
    EtcdStore::connect(config.clone()).await.unwrap();
    for (user, password, said) in [
        ("reader", PASSWORD, "lacks a permission"),
        ("writer", PASSWORD, "lacks a permission"),
        ("elsewhere", PASSWORD, "lacks a permission"),
        ("nobody", PASSWORD, "check both"),
        ("stoke", "wrong", "check both"),
    ] {
        let mut config = config.clone();
        config.user = Some((user.to_owned(), Password::new(password)));
        let error = EtcdStore::connect(config).await.unwrap_err();
        let text = explain(&error);
        assert!(
            matches!(error, StoreError::Rejected { .. }),
            "{user}: {text}"
        );
        assert!(text.contains(said), "{user}: {text}");
        assert!(!text.contains(PASSWORD), "{user}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_for_permission_writes_nothing() {
    let etcd = Etcd::start().unwrap();
    let config = config(etcd.endpoint());
    let store = EtcdStore::connect(config.clone()).await.unwrap();
    let before = store.read(&[]).await.unwrap().revision;
    EtcdStore::connect(config).await.unwrap();
    let after = store.read(&[Keys::Prefix(String::new())]).await.unwrap();
    assert_eq!(after.revision, before);
    assert!(after.entries.is_empty());
}
