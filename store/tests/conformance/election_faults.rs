//! Elections while answers get lost.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stoke_store::clock::TokioClock;
use stoke_store::election::{Election, Leadership, current};
use stoke_store::{Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::flaky::{Flaky, Loss};
use crate::subject::soon;

async fn lead(store: &Arc<Flaky>) -> Leadership {
    let ttl = Duration::from_secs(3);
    let election = Election::new(store.clone(), "leader", Bytes::new(), ttl)
        .with_clock(Arc::new(TokioClock::new()));
    soon(election.win(&CancellationToken::new())).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_put_the_key_leads_though_the_answer_was_lost() {
    let store = Arc::new(Flaky::default());
    store.lose(Loss::Answer);
    let leadership = lead(&store).await;
    let (epoch, _) = current(&*store, "leader").await.unwrap().unwrap();
    assert_eq!(leadership.epoch, epoch);
    // The first transaction of this store is what made it leader: there was no second.
    assert_eq!(epoch.0, store.read(&[]).await.unwrap().revision.0);
    assert_eq!(epoch.0, 2);
}

#[tokio::test(start_paused = true)]
async fn who_did_not_put_the_key_tries_again() {
    let store = Arc::new(Flaky::default());
    store.lose(Loss::Request);
    let leadership = lead(&store).await;
    let (epoch, _) = current(&*store, "leader").await.unwrap().unwrap();
    assert_eq!(leadership.epoch, epoch);
}

#[tokio::test(start_paused = true)]
async fn a_transaction_that_arrives_late_makes_nobody_the_leader() {
    let store = Arc::new(Flaky::default());
    store.lose(Loss::Delayed);
    let leadership = lead(&store).await;
    leadership.resign().await;
    // The key is vacant now: only the lease can stop it.
    let error = store.deliver().await.unwrap_err();
    assert!(matches!(error, StoreError::LeaseGone), "{error:?}");
    assert_eq!(current(&*store, "leader").await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn leadership_is_lost_when_the_store_was_not_heard_for_a_term() {
    let store = Arc::new(Flaky::default());
    let mut leadership = lead(&store).await;
    store.mute_renewals();
    soon(leadership.lost()).await;
    // The key still stands, so it was the leader's own clock that told.
    let (epoch, _) = current(&*store, "leader").await.unwrap().unwrap();
    assert_eq!(leadership.epoch, epoch);
}
