//! Watches whether the coordination store's history grows without end, and says so: from the start on, and again each day.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stoke_core::explain::explain;
use stoke_core::units::Moment;
use stoke_store::history::{History, Rule};

use crate::Shared;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// How often it is said at most.
const SAY_EVERY: Duration = Duration::from_secs(86_400);

/// Whether the store keeps what it should have forgotten: for whoever asks from outside.
pub(crate) type Grows = AtomicBool;

/// Looks as long as it is awaited.
pub(crate) async fn watch(shared: &Shared) -> Infallible {
    let mut history = History::new(Rule::default());
    let mut said: Option<Moment> = None;
    loop {
        let now = shared.clock.now();
        match history.look(now, &*shared.store).await {
            Ok(kept) => {
                shared.grows.store(kept.is_some(), Ordering::Relaxed);
                match kept {
                    None => said = None,
                    Some(kept) if said.is_none_or(|at| now.since(at) >= SAY_EVERY) => {
                        said = Some(now);
                        warn(kept.revisions);
                    }
                    Some(_) => {}
                }
            }
            // Whoever needs the store says so.
            Err(error) => {
                let error = explain(&error);
                tracing::debug!(
                    error,
                    "could not ask how far back the coordination store remembers"
                );
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn warn(revisions: u64) {
    tracing::warn!(
        revisions,
        "the coordination store keeps its whole history, and refuses all writes once it is full: start etcd with \
         --auto-compaction-retention=1h; `etcdctl compact REVISION` and `etcdctl defrag` give back what is used already"
    );
}
