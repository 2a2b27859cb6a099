//! Leases, and the keys that die with them.

use std::time::Duration;

use stoke_store::{Keys, LeaseId, StoreError, Txn};

use crate::subject::{Subject, brief, changes, put, put_on, soon};

/// The shortest term that etcd keeps to, in seconds.
const SHORT: u64 = 2;

async fn keys_die_with_their_lease_in_one_revision(subject: Subject) {
    let lease = subject.lease(SHORT).await;
    let start = subject
        .apply(vec![
            put_on(lease, "k/a"),
            put_on(lease, "k/b"),
            put("k/c", "1"),
        ])
        .await;
    let mut watch = subject.watch("k/", start).await;
    let told = changes(&mut *watch).await;
    let seen: Vec<_> = told.iter().map(brief).collect();
    let at = seen[0].2;
    assert!(at > start);
    assert_eq!(seen, [("k/a", false, at), ("k/b", false, at)]);
    let left = subject
        .store
        .read(&[Keys::Prefix("k/".to_owned())])
        .await
        .unwrap();
    assert_eq!(left.entries.len(), 1);
}

async fn a_lease_that_is_kept_alive_outlives_one_that_is_not(subject: Subject) {
    let (kept, left) = (subject.lease(SHORT).await, subject.lease(SHORT).await);
    subject
        .apply(vec![put_on(kept, "kept"), put_on(left, "left")])
        .await;
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    for _ in 0..3 {
        let gone = subject.until_gone("left");
        tokio::pin!(gone);
        loop {
            tokio::select! {
                () = &mut gone => break,
                _ = ticks.tick() => subject.store.keep_alive(kept).await.unwrap(),
            }
        }
        assert_eq!(subject.get("kept").await.unwrap().lease, Some(kept));
        let left = subject.lease(SHORT).await;
        subject.store.keep_alive(kept).await.unwrap();
        subject.apply(vec![put_on(left, "left")]).await;
    }
}

async fn keeping_a_lease_alive_that_has_ended_says_so(subject: Subject) {
    let lease = subject.lease(SHORT).await;
    subject.apply(vec![put_on(lease, "a")]).await;
    // Once, so that there is a stream, and the answer does not come from opening one.
    subject.store.keep_alive(lease).await.unwrap();
    subject.until_gone("a").await;
    for _ in 0..2 {
        let error = soon(subject.store.keep_alive(lease)).await.unwrap_err();
        assert!(matches!(error, StoreError::LeaseGone), "{error:?}");
    }
}

async fn a_lease_that_never_was_is_gone(subject: Subject) {
    let never = LeaseId(4711);
    let error = soon(subject.store.keep_alive(never)).await.unwrap_err();
    assert!(matches!(error, StoreError::LeaseGone), "{error:?}");
    subject.store.revoke_lease(never).await.unwrap();
}

async fn revoking_a_lease_deletes_its_keys_at_once_and_again_is_no_error(subject: Subject) {
    let lease = subject.lease(600).await;
    subject
        .apply(vec![put_on(lease, "a"), put_on(lease, "b")])
        .await;
    subject.store.revoke_lease(lease).await.unwrap();
    assert_eq!(subject.get("a").await, None);
    assert_eq!(subject.get("b").await, None);
    subject.store.revoke_lease(lease).await.unwrap();
}

async fn a_key_put_on_another_lease_dies_with_that_one_only(subject: Subject) {
    let (first, second) = (subject.lease(600).await, subject.lease(600).await);
    subject
        .apply(vec![put_on(first, "moved"), put_on(first, "freed")])
        .await;
    subject
        .apply(vec![put_on(second, "moved"), put("freed", "1")])
        .await;
    subject.store.revoke_lease(first).await.unwrap();
    assert_eq!(subject.get("moved").await.unwrap().lease, Some(second));
    assert_eq!(subject.get("freed").await.unwrap().lease, None);
    subject.store.revoke_lease(second).await.unwrap();
    assert_eq!(subject.get("moved").await, None);
    assert!(subject.get("freed").await.is_some());
}

async fn a_put_on_a_lease_that_is_gone_does_nothing_and_says_so(subject: Subject) {
    let lease = subject.lease(600).await;
    subject.store.revoke_lease(lease).await.unwrap();
    let txn = Txn {
        compares: vec![],
        ops: vec![put("free", "1"), put_on(lease, "leased")],
    };
    let error = subject.store.txn(txn).await.unwrap_err();
    assert!(matches!(error, StoreError::LeaseGone), "{error:?}");
    assert_eq!(subject.get("free").await, None);
}

on_all_stores!(shared:
    keys_die_with_their_lease_in_one_revision,
    a_lease_that_is_kept_alive_outlives_one_that_is_not,
    keeping_a_lease_alive_that_has_ended_says_so,
    a_lease_that_never_was_is_gone,
    revoking_a_lease_deletes_its_keys_at_once_and_again_is_no_error,
    a_key_put_on_another_lease_dies_with_that_one_only,
    a_put_on_a_lease_that_is_gone_does_nothing_and_says_so,
);
