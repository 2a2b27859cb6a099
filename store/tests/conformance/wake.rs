//! Wake-ups: whoever reads after each of them misses nothing for good.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use stoke_store::memory::MemoryStore;
use stoke_store::wake::{Listener, Wakeups};
use stoke_store::{Keys, Store, Txn};
use tokio_util::sync::CancellationToken;

use crate::subject::{Subject, put, soon};

fn wakeups(subject: &Subject) -> Wakeups {
    let keys = vec![
        Keys::Prefix("cap/".to_owned()),
        Keys::One("leader".to_owned()),
    ];
    Wakeups::spawn(subject.store.clone(), keys, CancellationToken::new())
}

/// Reads after each wake-up, until it finds the value.
async fn until_read(subject: &Subject, wakeups: &mut Wakeups, key: &str, value: &str) {
    soon(async {
        loop {
            wakeups.changed().await;
            // A store that was just killed may take more than one attempt.
            let read = subject.store.read(&[Keys::One(key.to_owned())]).await;
            if read.is_ok_and(|found| found.entries.iter().any(|entry| entry.value == value)) {
                return;
            }
        }
    })
    .await;
}

async fn it_wakes_at_once_though_nothing_happens(subject: Subject) {
    soon(wakeups(&subject).changed()).await;
}

async fn it_wakes_for_a_change_under_any_of_its_keys(subject: Subject) {
    let mut wakeups = wakeups(&subject);
    for (round, key) in ["cap/w", "leader", "cap/v", "leader"]
        .into_iter()
        .enumerate()
    {
        let value = round.to_string();
        subject.put(key, &value).await;
        until_read(&subject, &mut wakeups, key, &value).await;
    }
}

async fn once_stopped_it_holds_nothing_of_the_store(subject: Subject) {
    let mut wakeups = wakeups(&subject);
    soon(wakeups.changed()).await;
    assert!(Arc::strong_count(&subject.store) > 1);
    soon(wakeups.stop()).await;
    assert_eq!(Arc::strong_count(&subject.store), 1);
}

on_all_stores!(shared:
    it_wakes_at_once_though_nothing_happens,
    it_wakes_for_a_change_under_any_of_its_keys,
    once_stopped_it_holds_nothing_of_the_store,
);

mod interrupted {
    use super::*;

    async fn it_goes_on_after_its_watches_ended_silently(subject: Subject) {
        let mut wakeups = wakeups(&subject);
        for round in 0..3 {
            let value = round.to_string();
            subject.put("cap/w", &format!("{value} before")).await;
            until_read(&subject, &mut wakeups, "cap/w", &format!("{value} before")).await;
            subject.interrupt().await;
            subject.put("cap/w", &value).await;
            until_read(&subject, &mut wakeups, "cap/w", &value).await;
        }
    }

    on_all_stores!(alone: it_goes_on_after_its_watches_ended_silently);
}

/// A store in memory and its wake-ups, which have caught up.
async fn quiet() -> (MemoryStore, Wakeups) {
    let store = MemoryStore::new();
    let keys = vec![Keys::Prefix("cap/".to_owned())];
    let mut wakeups = Wakeups::spawn(Arc::new(store.clone()), keys, CancellationToken::new());
    while is_woken(&mut wakeups).await {}
    (store, wakeups)
}

/// Whether there is a wake-up in the next hour of paused time, which passes only when nothing else can happen.
async fn is_woken(wakeups: &mut Wakeups) -> bool {
    tokio::time::timeout(Duration::from_secs(3600), wakeups.changed())
        .await
        .is_ok()
}

/// Writes without giving any other task a turn.
fn write(store: &MemoryStore, key: &str, times: usize) {
    for _ in 0..times {
        let txn = Txn {
            compares: vec![],
            ops: vec![put(key, "1")],
        };
        store
            .txn(txn)
            .now_or_never()
            .expect("memory does not wait")
            .unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn many_changes_are_one_wake_up() {
    let (store, mut wakeups) = quiet().await;
    write(&store, "cap/w", 100);
    assert!(is_woken(&mut wakeups).await);
    assert!(!is_woken(&mut wakeups).await);
}

#[tokio::test(start_paused = true)]
async fn each_that_listens_is_woken_at_once_however_late_it_comes_and_once_for_many_changes() {
    let (store, wakeups) = quiet().await;
    let mut listeners = Vec::new();
    for _ in 0..3 {
        let mut late = wakeups.listen();
        assert!(is_heard(&mut late).await, "it has not read yet");
        assert!(!is_heard(&mut late).await);
        listeners.push(late);
        write(&store, "cap/w", 100);
        for listener in &mut listeners {
            assert!(is_heard(listener).await);
            assert!(!is_heard(listener).await);
        }
    }
    // Once nobody watches any more, they wait.
    drop(wakeups);
    write(&store, "cap/w", 1);
    assert!(!is_heard(&mut listeners[0]).await);
}

/// As [`is_woken`].
async fn is_heard(listener: &mut Listener) -> bool {
    tokio::time::timeout(Duration::from_secs(3600), listener.changed())
        .await
        .is_ok()
}

#[tokio::test(start_paused = true)]
async fn changes_elsewhere_wake_nobody() {
    let (store, mut wakeups) = quiet().await;
    write(&store, "ack/w", 3);
    assert!(!is_woken(&mut wakeups).await);
}

#[tokio::test(start_paused = true)]
async fn after_a_compaction_it_wakes_and_goes_on() {
    let (store, mut wakeups) = quiet().await;
    // Nothing under its keys, so that only the compaction can wake it.
    write(&store, "ack/w", 5);
    store.compact(store.read(&[]).await.unwrap().revision);
    assert!(is_woken(&mut wakeups).await);
    write(&store, "cap/w", 1);
    assert!(is_woken(&mut wakeups).await);
    assert!(!is_woken(&mut wakeups).await);
}

#[tokio::test(start_paused = true)]
async fn after_a_silent_end_it_wakes_and_goes_on() {
    let (store, mut wakeups) = quiet().await;
    store.break_watches();
    assert!(is_woken(&mut wakeups).await);
    write(&store, "cap/w", 1);
    assert!(is_woken(&mut wakeups).await);
    assert!(!is_woken(&mut wakeups).await);
}

#[tokio::test(start_paused = true)]
async fn once_cancelled_it_wakes_no_more() {
    let store = MemoryStore::new();
    let cancel = CancellationToken::new();
    let keys = vec![Keys::Prefix("cap/".to_owned())];
    let mut wakeups = Wakeups::spawn(Arc::new(store.clone()), keys, cancel.clone());
    cancel.cancel();
    // What was under way may still arrive.
    while is_woken(&mut wakeups).await {}
    write(&store, "cap/w", 1);
    assert!(!is_woken(&mut wakeups).await);
}
