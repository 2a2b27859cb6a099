//! History that is gone, and watches that end.

use stoke_store::memory::HISTORY_REVISIONS_MAX;
use stoke_store::{Revision, WatchEvent};

use crate::subject::{Subject, brief, changes, soon};

async fn five_puts(subject: &Subject) -> Vec<Revision> {
    let mut revisions = Vec::new();
    for value in 0..5 {
        revisions.push(subject.put("k/a", &value.to_string()).await);
    }
    revisions
}

async fn a_watch_from_before_a_compaction_is_told_and_ends(subject: Subject) {
    let revisions = five_puts(&subject).await;
    subject.compact(revisions[4]).await;
    let mut watch = subject.watch("k/", revisions[0]).await;
    assert_eq!(soon(watch.next()).await, Some(WatchEvent::Compacted));
    assert_eq!(soon(watch.next()).await, None);
}

async fn a_watch_from_a_compaction_on_misses_nothing(subject: Subject) {
    let revisions = five_puts(&subject).await;
    subject.compact(revisions[3]).await;
    let mut watch = subject.watch("k/", revisions[3]).await;
    assert_eq!(
        brief(&changes(&mut *watch).await[0]),
        ("k/a", true, revisions[4])
    );
}

async fn a_watch_that_is_up_to_date_does_not_mind_a_compaction(subject: Subject) {
    let revisions = five_puts(&subject).await;
    let mut watch = subject.watch("k/", revisions[3]).await;
    changes(&mut *watch).await;
    subject.compact(revisions[4]).await;
    let next = subject.put("k/a", "5").await;
    assert_eq!(brief(&changes(&mut *watch).await[0]), ("k/a", true, next));
}

async fn an_interrupted_watch_ends_without_a_word_and_can_be_resumed(subject: Subject) {
    let revisions = five_puts(&subject).await;
    let mut watch = subject.watch("k/", revisions[4]).await;
    subject.interrupt().await;
    assert_eq!(soon(watch.next()).await, None);
    assert_eq!(soon(watch.next()).await, None);
    let next = subject.put("k/a", "5").await;
    let mut watch = subject.watch("k/", revisions[4]).await;
    assert_eq!(brief(&changes(&mut *watch).await[0]), ("k/a", true, next));
}

async fn what_came_before_a_compaction_is_remembered_no_more(subject: Subject) {
    let revisions = five_puts(&subject).await;
    let remembers = |at: Revision| subject.store.remembers(at);
    assert!(remembers(Revision(1)).await.unwrap());
    subject.compact(revisions[2]).await;
    for (revision, remembered) in [
        (Revision(1), false),
        (revisions[1], false),
        (revisions[2], true),
        (revisions[4], true),
    ] {
        assert_eq!(
            remembers(revision).await.unwrap(),
            remembered,
            "{revision:?}"
        );
    }
}

on_all_stores!(alone:
    what_came_before_a_compaction_is_remembered_no_more,
    a_watch_from_before_a_compaction_is_told_and_ends,
    a_watch_from_a_compaction_on_misses_nothing,
    a_watch_that_is_up_to_date_does_not_mind_a_compaction,
    an_interrupted_watch_ends_without_a_word_and_can_be_resumed,
);

#[tokio::test]
async fn in_memory_a_watch_that_falls_behind_the_history_is_told() {
    let subject = Subject::memory();
    let start = subject.put("k/a", "0").await;
    let mut slow = subject.watch("k/", start).await;
    for _ in 0..=HISTORY_REVISIONS_MAX {
        subject.put("k/a", "1").await;
    }
    assert_eq!(slow.next().await, Some(WatchEvent::Compacted));
}
