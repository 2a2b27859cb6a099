//! Watches whether the coordination store's history grows without end, and says so: from the start on, and again each day.

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use stoke_core::explain::explain;
use stoke_core::units::Moment;
use stoke_store::history::{History, Kept, Rule};
use stoke_store::{Store, StoreError};

use crate::Shared;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// How often it is said at most.
const SAY_EVERY: Duration = Duration::from_secs(86_400);

/// Whether the store keeps what it should have forgotten: for whoever asks from outside.
pub(crate) type Grows = AtomicBool;

/// Looks as long as it is awaited.
pub(crate) async fn watch(shared: &Shared) -> Infallible {
    let mut looks = Looks::new(Rule::default());
    loop {
        let now = shared.clock.now();
        match looks.look(now, &*shared.store, &shared.grows).await {
            Ok(None) => {}
            Ok(Some(Kept { revisions })) => tracing::warn!(
                revisions,
                "the coordination store keeps its whole history, and refuses all writes once it is full: start etcd with \
                 --auto-compaction-retention=1h; `etcdctl compact REVISION` and `etcdctl defrag` give back what is used already"
            ),
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

/// Looks, and when it was last said what they showed.
#[derive(Debug)]
struct Looks {
    history: History,
    said: Option<Moment>,
}

impl Looks {
    fn new(rule: Rule) -> Self {
        Self {
            history: History::new(rule),
            said: None,
        }
    }

    /// What is to be said now.
    async fn look(
        &mut self,
        now: Moment,
        store: &dyn Store,
        grows: &Grows,
    ) -> Result<Option<Kept>, StoreError> {
        let kept = self.history.look(now, store).await?;
        grows.store(kept.is_some(), Ordering::Relaxed);
        if kept.is_none() {
            self.said = None;
        }
        let new = kept.filter(|_| self.said.is_none_or(|at| now.since(at) >= SAY_EVERY));
        if new.is_some() {
            self.said = Some(now);
        }
        Ok(new)
    }
}

#[cfg(test)]
mod tests {
    use stoke_store::memory::MemoryStore;
    use stoke_store::{Op, Revision, Txn};

    use super::*;

    async fn write(store: &MemoryStore, revisions: usize) {
        for _ in 0..revisions {
            let ops = vec![Op::Put {
                key: "ack".into(),
                value: bytes::Bytes::new(),
                lease: None,
            }];
            let compares = Vec::new();
            store.txn(Txn { compares, ops }).await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_history_that_grows_is_told_of_at_once_and_once_a_day_until_it_is_forgotten() {
        let store = MemoryStore::new();
        let grows = Grows::default();
        let mut looks = Looks::new(Rule {
            many: 10,
            ..Rule::default()
        });
        let at = |hours| Moment::default() + Duration::from_secs(3600) * hours;
        let mut look = async |hours| {
            let said = looks.look(at(hours), &store, &grows).await.unwrap();
            (said.is_some(), grows.load(Ordering::Relaxed))
        };
        assert_eq!(look(0).await, (false, false));
        write(&store, 20).await;
        assert_eq!(look(1).await, (true, true));
        assert_eq!(look(24).await, (false, true));
        assert_eq!(look(25).await, (true, true));
        store.compact(Revision(20));
        assert_eq!(look(26).await, (false, false));
        write(&store, 20).await;
        assert_eq!(look(27).await, (true, true));
    }
}
