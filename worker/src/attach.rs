//! The worker's standing call to a coordinator: reports up, hints down. Nothing depends on either.

mod questions;

use std::sync::Arc;
use std::time::Duration;

use stoke_proto::v1::{AttachRequest, CacheAnswer, ResourceUse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use self::questions::Questions;
use crate::link::Found;
use crate::worker::Shared;

/// How often a worker reports.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// How long it waits before it calls again.
const CALL_AGAIN: Duration = Duration::from_secs(1);
/// How often it looks for a leader while it is attached to a coordinator that does not lead.
const LOOK_FOR_LEADER: Duration = Duration::from_secs(2);

/// Calls whichever coordinator answers, the leader first, again and again, until `cancel` is cancelled.
pub(crate) async fn stay(shared: Arc<Shared>, cancel: CancellationToken) {
    let calling = async {
        let mut leader = None;
        loop {
            let found = match leader.take() {
                Some(found) => Some(found),
                None => shared.link.nearest().await.ok(),
            };
            if let Some(found) = found {
                leader = call(&shared, found).await;
            }
            if leader.is_none() {
                tokio::time::sleep(CALL_AGAIN).await;
            }
        }
    };
    let _: Option<()> = cancel.run_until_cancelled(calling).await;
}

/// One call, until it breaks, or until there is a leader elsewhere, which is given back: only whoever leads does anything
/// with what is told of health.
async fn call(
    shared: &Arc<Shared>,
    Found {
        address,
        mut client,
    }: Found,
) -> Option<Found> {
    let (reports, receive) = mpsc::channel(1);
    let answer = client.attach(ReceiverStream::new(receive)).await.ok()?;
    let mut hints = answer.into_inner();
    let (mut questions, mut found) = Questions::new(shared);
    let mut answers = Vec::new();
    let mut next = tokio::time::interval(REPORT_EVERY);
    let mut leads = true;
    let looking = async {
        loop {
            tokio::time::sleep(LOOK_FOR_LEADER).await;
            if let Some(found) = shared.link.leader_other_than(&address).await {
                return found;
            }
        }
    };
    tokio::pin!(looking);
    loop {
        tokio::select! {
            _ = next.tick() => if !tell(shared, &reports, &mut answers) {
                return None;
            },
            // Its sender is in `questions`.
            Some(answer) = found.recv() => {
                answers.push(answer);
                if !tell(shared, &reports, &mut answers) {
                    return None;
                }
            }
            hint = hints.message() => match hint {
                Ok(Some(hint)) => {
                    leads = hint.leads;
                    if hint.wake {
                        shared.look.notify_one();
                    }
                    hint.questions.into_iter().for_each(|question| questions.ask(question));
                }
                Ok(None) | Err(_) => return None,
            },
            found = &mut looking, if !leads => {
                tracing::debug!(from = %address, to = %found.address, "attaches to the leader");
                return Some(found);
            }
        }
    }
}

/// Reports, with the answers that were not told yet; `false`: nobody reads any more. A coordinator that is slow to read gets the next
/// report instead.
fn tell(
    shared: &Shared,
    reports: &mpsc::Sender<AttachRequest>,
    answers: &mut Vec<CacheAnswer>,
) -> bool {
    match reports.try_reserve() {
        Ok(slot) => {
            slot.send(AttachRequest {
                answers: std::mem::take(answers),
                ..report(shared)
            });
            true
        }
        Err(mpsc::error::TrySendError::Full(())) => true,
        Err(mpsc::error::TrySendError::Closed(())) => false,
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
        health: shared
            .vitals
            .values()
            .map(|vitals| vitals.report())
            .collect(),
        answers: Vec::new(),
    }
}
