//! At most one leads, and another leads after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use stoke_core::units::Epoch;
use stoke_store::clock::TokioClock;
use stoke_store::election::{Election, Leadership, current};
use stoke_store::{Compare, Revision, TxnOutcome};
use tokio_util::sync::CancellationToken;

use crate::subject::{Subject, delete, put, soon};

const TTL: Duration = Duration::from_secs(2);

fn candidate(subject: &Subject, name: &str) -> Election {
    let value = Bytes::copy_from_slice(name.as_bytes());
    Election::new(subject.store.clone(), "leader", value, TTL)
        .with_clock(Arc::new(TokioClock::new()))
}

async fn lead(subject: &Subject, name: &str) -> Leadership {
    let won = soon(async {
        candidate(subject, name)
            .win(&CancellationToken::new())
            .await
    })
    .await;
    won.expect("nobody cancels")
}

async fn of_several_candidates_one_leads_at_a_time_and_each_in_its_turn(subject: Subject) {
    const CANDIDATES: usize = 5;
    let leading = Arc::new(AtomicUsize::new(0));
    let terms = (0..CANDIDATES).map(|number| {
        let (candidate, leading) = (candidate(&subject, &number.to_string()), leading.clone());
        async move {
            let leadership = candidate.win(&CancellationToken::new()).await.unwrap();
            assert_eq!(leading.fetch_add(1, Ordering::SeqCst), 0, "two lead");
            // The others have every chance to win now.
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
            leading.fetch_sub(1, Ordering::SeqCst);
            let epoch = leadership.epoch;
            leadership.resign().await;
            epoch
        }
    });
    let mut epochs: Vec<Epoch> = soon(futures::future::join_all(terms)).await;
    epochs.sort_unstable();
    epochs.dedup();
    assert_eq!(epochs.len(), CANDIDATES);
}

async fn the_epoch_is_the_create_revision_of_the_leaders_key(subject: Subject) {
    assert_eq!(current(&*subject.store, "leader").await.unwrap(), None);
    let leadership = lead(&subject, "one").await;
    let entry = subject.get("leader").await.unwrap();
    assert_eq!(entry.create_revision, Revision(leadership.epoch.0));
    assert_eq!(
        current(&*subject.store, "leader").await.unwrap(),
        Some((leadership.epoch, Bytes::from_static(b"one")))
    );
}

async fn a_later_leader_has_a_later_epoch_and_fences_the_earlier(subject: Subject) {
    let first = lead(&subject, "first").await;
    let (epoch, fence) = (first.epoch, first.compare());
    assert_ne!(
        subject
            .commit(vec![fence.clone()], vec![put("a", "1")])
            .await,
        TxnOutcome::Refused
    );
    first.resign().await;
    let second = lead(&subject, "second").await;
    assert!(second.epoch > epoch);
    assert_eq!(
        subject.commit(vec![fence], vec![put("a", "2")]).await,
        TxnOutcome::Refused
    );
    assert_ne!(
        subject
            .commit(vec![second.compare()], vec![put("a", "3")])
            .await,
        TxnOutcome::Refused
    );
}

async fn a_leader_that_vanishes_is_succeeded_when_its_lease_lapses(subject: Subject) {
    let first = lead(&subject, "first").await;
    let epoch = first.epoch;
    drop(first);
    assert!(lead(&subject, "second").await.epoch > epoch);
}

async fn a_leader_leads_on_past_the_first_term_of_its_lease(subject: Subject) {
    let mut leadership = lead(&subject, "one").await;
    // A lease that nobody keeps alive measures the time, by the store's own clock.
    for _ in 0..3 {
        let other = subject.lease(TTL.as_secs()).await;
        subject
            .apply(vec![crate::subject::put_on(other, "measure")])
            .await;
        tokio::select! {
            () = leadership.lost() => panic!("lost"),
            () = subject.until_gone("measure") => {}
        }
    }
    let held = Compare::CreateRevision("leader".to_owned(), Revision(leadership.epoch.0));
    assert_eq!(leadership.compare(), held);
    assert_ne!(
        subject.commit(vec![held], vec![put("a", "1")]).await,
        TxnOutcome::Refused
    );
}

async fn leadership_is_lost_with_the_key(subject: Subject) {
    let mut leadership = lead(&subject, "one").await;
    subject.apply(vec![delete("leader")]).await;
    soon(leadership.lost()).await;
}

async fn leadership_is_lost_to_a_key_of_another_create_revision(subject: Subject) {
    let mut leadership = lead(&subject, "one").await;
    let lease = subject.get("leader").await.unwrap().lease.unwrap();
    subject.apply(vec![delete("leader")]).await;
    // On the same lease, so that only the create revision tells.
    subject
        .apply(vec![crate::subject::put_on(lease, "leader")])
        .await;
    soon(leadership.lost()).await;
}

async fn leadership_is_lost_with_the_lease(subject: Subject) {
    let mut leadership = lead(&subject, "one").await;
    let lease = subject.get("leader").await.unwrap().lease.unwrap();
    subject.store.revoke_lease(lease).await.unwrap();
    soon(leadership.lost()).await;
}

async fn a_candidate_that_is_cancelled_leaves_the_leader_alone(subject: Subject) {
    let leadership = lead(&subject, "one").await;
    let cancel = CancellationToken::new();
    let other = candidate(&subject, "two");
    let won = async { soon(other.win(&cancel)).await };
    let cancelled = async {
        tokio::task::yield_now().await;
        cancel.cancel();
    };
    let (won, ()) = futures::join!(won, cancelled);
    assert!(won.is_none());
    let (epoch, _) = current(&*subject.store, "leader").await.unwrap().unwrap();
    assert_eq!(epoch, leadership.epoch);
}

on_all_stores!(shared:
    of_several_candidates_one_leads_at_a_time_and_each_in_its_turn,
    the_epoch_is_the_create_revision_of_the_leaders_key,
    a_later_leader_has_a_later_epoch_and_fences_the_earlier,
    a_leader_that_vanishes_is_succeeded_when_its_lease_lapses,
    a_leader_leads_on_past_the_first_term_of_its_lease,
    leadership_is_lost_with_the_key,
    leadership_is_lost_to_a_key_of_another_create_revision,
    leadership_is_lost_with_the_lease,
    a_candidate_that_is_cancelled_leaves_the_leader_alone,
);
