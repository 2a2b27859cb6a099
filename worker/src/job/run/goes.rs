//! What a run has in flight: each go is a task of its own, so that one which encodes rows keeps no other from its token, its
//! answer, or a second core.

use std::future::Future;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::Kind;
use crate::job::load::Gave;

/// Goes in flight, which end with it.
#[derive(Debug, Default)]
pub(in crate::job) struct Goes(FuturesUnordered<AbortOnDropHandle<(Kind, Gave)>>);

impl Goes {
    /// Begins one.
    pub(super) fn begin(&self, kind: Kind, going: impl Future<Output = Gave> + Send + 'static) {
        let going = async move { (kind, going.await) };
        let task = tokio::spawn(going.in_current_span());
        self.0.push(AbortOnDropHandle::new(task));
    }

    /// What the next one gave that ends; `None`: nothing is in flight.
    pub(super) async fn next(&mut self) -> Option<(Kind, Gave)> {
        match self.0.next().await? {
            Ok(gave) => Some(gave),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Nobody aborts one but the runtime when it ends, and us with it.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// Has these in flight, too.
    pub(super) fn join(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_go_that_keeps_its_thread_keeps_no_other_from_going_on() {
        let (told, waits) = mpsc::channel();
        let mut goes = Goes::default();
        goes.begin(Kind::Load, async move {
            waits.recv_timeout(PATIENCE).unwrap();
            Gave::default()
        });
        goes.begin(Kind::Probe, async move {
            told.send(()).unwrap();
            Gave::default()
        });
        let mut ended = Vec::new();
        while let Some((kind, _)) = goes.next().await {
            ended.push(kind);
        }
        assert_eq!(ended.len(), 2, "{ended:?}");
    }

    #[tokio::test]
    async fn what_is_dropped_ends() {
        let (alive, ended) = tokio::sync::oneshot::channel::<()>();
        let goes = Goes::default();
        goes.begin(Kind::Load, async move {
            let _alive = alive;
            std::future::pending().await
        });
        drop(goes);
        let ended = tokio::time::timeout(PATIENCE, ended).await;
        assert!(ended.unwrap().is_err(), "nobody told it anything");
    }

    #[tokio::test]
    #[should_panic(expected = "a mistake of ours")]
    async fn a_panic_is_not_lost() {
        let mut goes = Goes::default();
        goes.begin(Kind::Load, async { panic!("a mistake of ours") });
        goes.next().await;
    }
}
