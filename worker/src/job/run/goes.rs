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
