//! What watches tell, in which order and from where on.

use futures::FutureExt;
use stoke_store::{Change, Keys, Revision, Watch};

use crate::subject::{Subject, brief, changes, delete, put, put_on};

/// All changes up to the one at `last`, and that no revision comes in two parts.
async fn changes_until(watch: &mut dyn Watch, last: Revision) -> Vec<Change> {
    let mut all: Vec<Change> = Vec::new();
    while all.last().is_none_or(|change| brief(change).2 < last) {
        let part = changes(watch).await;
        if let (Some(before), Some(first)) = (all.last(), part.first()) {
            assert!(
                brief(before).2 < brief(first).2,
                "a revision came in two parts"
            );
        }
        all.extend(part);
    }
    all
}

async fn changes_come_in_order_with_a_transactions_together(subject: Subject) {
    let start = subject.put("k/a", "0").await;
    let mut watch = subject.watch("k/", start).await;
    let first = subject.apply(vec![put("k/a", "1"), put("k/b", "1")]).await;
    let second = subject.apply(vec![delete("k/a"), put("k/c", "1")]).await;
    let third = subject.put("k/b", "2").await;
    let all = changes_until(&mut *watch, third).await;
    let seen: Vec<_> = all.iter().map(brief).collect();
    assert_eq!(
        seen,
        [
            ("k/a", true, first),
            ("k/b", true, first),
            ("k/a", false, second),
            ("k/c", true, second),
            ("k/b", true, third),
        ]
    );
}

async fn a_put_is_told_with_all_of_its_entry(subject: Subject) {
    let start = subject.put("k/a", "0").await;
    let lease = subject.lease(60).await;
    let mut watch = subject.watch("k/", start).await;
    subject.apply(vec![put_on(lease, "k/a")]).await;
    let told = changes(&mut *watch).await;
    assert_eq!(told, [Change::Put(subject.get("k/a").await.unwrap())]);
}

async fn a_watch_begins_right_after_the_revision_it_names(subject: Subject) {
    let mut revisions = Vec::new();
    for value in 0..6 {
        revisions.push(subject.put("k/a", &value.to_string()).await);
    }
    let mut watch = subject.watch("k/", revisions[2]).await;
    let seen: Vec<Revision> = changes_until(&mut *watch, revisions[5])
        .await
        .iter()
        .map(|change| brief(change).2)
        .collect();
    assert_eq!(seen, revisions[3..]);
}

async fn a_watch_of_what_is_to_come_waits_for_it(subject: Subject) {
    let now = subject.put("k/a", "0").await;
    let mut watch = subject.watch("k/", now).await;
    assert!(watch.next().now_or_never().is_none());
    let next = subject.put("k/a", "1").await;
    assert_eq!(brief(&changes(&mut *watch).await[0]), ("k/a", true, next));
}

async fn a_watch_tells_of_its_own_keys_only(subject: Subject) {
    let start = subject.put("k", "0").await;
    let one = Keys::One("k".to_owned());
    let mut one = subject.store.watch(one, start).await.unwrap();
    let mut under = subject.watch("k/", start).await;
    let last = subject
        .apply(vec![put("k", "1"), put("k/a", "1"), put("l", "1")])
        .await;
    assert_eq!(
        changes(&mut *one)
            .await
            .iter()
            .map(brief)
            .collect::<Vec<_>>(),
        [("k", true, last)]
    );
    assert_eq!(
        changes(&mut *under)
            .await
            .iter()
            .map(brief)
            .collect::<Vec<_>>(),
        [("k/a", true, last)]
    );
}

async fn a_cancelled_wait_loses_nothing(subject: Subject) {
    let mut last = subject.put("k/a", "0").await;
    let mut expected = Vec::new();
    let mut watch = subject.watch("k/", last).await;
    for value in 0..20 {
        let _ = watch
            .next()
            .now_or_never()
            .map(|event| panic!("{event:?} before it happened"));
        last = subject.put("k/a", &value.to_string()).await;
        expected.push(last);
        let mut seen = Vec::new();
        while seen.is_empty() {
            // Cancelled at whatever point a task switch finds it at.
            tokio::select! {
                biased;
                told = changes(&mut *watch) => seen = told,
                () = tokio::task::yield_now() => {}
            }
        }
        assert_eq!(brief(&seen[0]).2, last);
    }
}

on_all_stores!(shared:
    changes_come_in_order_with_a_transactions_together,
    a_put_is_told_with_all_of_its_entry,
    a_watch_begins_right_after_the_revision_it_names,
    a_watch_of_what_is_to_come_waits_for_it,
    a_watch_tells_of_its_own_keys_only,
    a_cancelled_wait_loses_nothing,
);
