//! A key that is there for as long as its owner lives.

use std::time::Duration;

use bytes::Bytes;
use stoke_store::KeyValue;
use stoke_store::presence::Presence;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::subject::{Subject, delete, put_on, soon};

const TTL: Duration = Duration::from_secs(2);

struct Member {
    presence: Presence,
    value: watch::Sender<Bytes>,
    cancel: CancellationToken,
}

fn join(subject: &Subject) -> Member {
    let (value, values) = watch::channel(Bytes::from_static(b"first"));
    let cancel = CancellationToken::new();
    Member {
        presence: Presence::spawn(subject.store.clone(), "member/w", values, TTL, &cancel),
        value,
        cancel,
    }
}

async fn until_present(subject: &Subject, value: &'static [u8]) -> KeyValue {
    let wanted = |entry: &Option<KeyValue>| {
        entry
            .as_ref()
            .is_some_and(|entry| entry.value == value && entry.lease.is_some())
    };
    subject.until("member/w", wanted).await.unwrap()
}

async fn a_member_is_present_on_a_lease_past_its_first_term(subject: Subject) {
    let member = join(&subject);
    let entry = until_present(&subject, b"first").await;
    let other = subject.lease(TTL.as_secs()).await;
    subject.apply(vec![put_on(other, "measure")]).await;
    subject.until_gone("measure").await;
    assert_eq!(subject.get("member/w").await, Some(entry));
    soon(member.presence.stop()).await;
}

async fn a_new_value_is_put_on_the_same_lease(subject: Subject) {
    let member = join(&subject);
    let first = until_present(&subject, b"first").await;
    member.value.send(Bytes::from_static(b"second")).unwrap();
    let second = until_present(&subject, b"second").await;
    assert_eq!(
        (second.lease, second.create_revision),
        (first.lease, first.create_revision)
    );
    soon(member.presence.stop()).await;
}

async fn a_key_that_was_deleted_comes_back(subject: Subject) {
    let member = join(&subject);
    until_present(&subject, b"first").await;
    subject.apply(vec![delete("member/w")]).await;
    until_present(&subject, b"first").await;
    soon(member.presence.stop()).await;
}

async fn a_key_that_was_put_by_another_is_put_right(subject: Subject) {
    let member = join(&subject);
    until_present(&subject, b"first").await;
    // Once with another value, and once only without the lease.
    for value in ["forged", "first"] {
        subject.put("member/w", value).await;
        until_present(&subject, b"first").await;
    }
    soon(member.presence.stop()).await;
}

async fn a_lease_that_was_lost_is_replaced(subject: Subject) {
    let member = join(&subject);
    let lease = until_present(&subject, b"first").await.lease;
    subject.store.revoke_lease(lease.unwrap()).await.unwrap();
    let again = until_present(&subject, b"first").await;
    assert_ne!(again.lease, lease);
    soon(member.presence.stop()).await;
}

async fn a_member_that_stops_is_gone_at_once(subject: Subject) {
    let member = join(&subject);
    until_present(&subject, b"first").await;
    soon(member.presence.stop()).await;
    assert_eq!(subject.get("member/w").await, None);
}

async fn a_member_that_is_cancelled_is_gone_once_it_has_stopped(subject: Subject) {
    let member = join(&subject);
    until_present(&subject, b"first").await;
    member.cancel.cancel();
    subject.until_gone("member/w").await;
    soon(member.presence.stop()).await;
}

on_all_stores!(shared:
    a_member_is_present_on_a_lease_past_its_first_term,
    a_new_value_is_put_on_the_same_lease,
    a_key_that_was_deleted_comes_back,
    a_key_that_was_put_by_another_is_put_right,
    a_lease_that_was_lost_is_replaced,
    a_member_that_stops_is_gone_at_once,
    a_member_that_is_cancelled_is_gone_once_it_has_stopped,
);
