//! The worker's standing call to a coordinator: reports up, hints down. Nothing depends on either.

use std::sync::Arc;
use std::time::Duration;

use stoke_proto::v1::{AttachRequest, ResourceUse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::worker::Shared;

/// How often a worker reports.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// How long it waits before it calls again.
const CALL_AGAIN: Duration = Duration::from_secs(1);

/// Calls whichever coordinator answers, again and again, until `cancel` is cancelled.
pub(crate) async fn stay(shared: Arc<Shared>, cancel: CancellationToken) {
    let calling = async {
        loop {
            call(&shared).await;
            tokio::time::sleep(CALL_AGAIN).await;
        }
    };
    let _: Option<()> = cancel.run_until_cancelled(calling).await;
}

/// One call, until it breaks.
async fn call(shared: &Shared) {
    let Ok(mut client) = shared.link.any().await else {
        return;
    };
    let (reports, receive) = mpsc::channel(1);
    let Ok(answer) = client.attach(ReceiverStream::new(receive)).await else {
        return;
    };
    let mut hints = answer.into_inner();
    let mut next = tokio::time::interval(REPORT_EVERY);
    loop {
        tokio::select! {
            _ = next.tick() => {
                // A coordinator that is slow to read gets the next report instead.
                if let Err(mpsc::error::TrySendError::Closed(_)) = reports.try_send(report(shared)) {
                    return;
                }
            }
            hint = hints.message() => match hint {
                Ok(Some(hint)) if hint.wake => shared.look.notify_one(),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            }
        }
    }
}

fn report(shared: &Shared) -> AttachRequest {
    let uses = shared.gates.values().map(|gate| ResourceUse {
        resource: gate.resource().to_string(),
        queries: gate.queries(),
        in_flight: gate.in_flight() as u64,
    });
    AttachRequest {
        worker: shared.name.to_string(),
        uses: uses.collect(),
        troubles: shared.troubles.report(),
        health: Vec::new(),
    }
}
