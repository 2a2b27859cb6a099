//! `BudgetService`: budgets as callers see and set them.

use std::sync::Arc;
use std::time::Duration;

use stoke_core::ledger::{Expiry, Ledger, Observed, Share};
use stoke_core::names::Resource;
use stoke_core::records::{Guards, keys};
use stoke_proto::v1::budget_service_server::BudgetService;
use stoke_proto::v1::{self};
use stoke_store::wake::Wakeups;
use stoke_store::{Compare, Keys, Op, Revision, Txn, record};
use tokio_util::sync::CancellationToken;
use tonic::{Request as Call, Response, Status};

use super::refusal::Refusal;
use super::streams::{Answers, Sending, answer, deadline};
use super::{COMMIT_ATTEMPTS_MAX, describe, parse};
use crate::Shared;
use crate::view::View;

/// How long at least between two messages of a watch.
const WATCH_APART: Duration = Duration::from_millis(200);

/// How long at most until a watch looks again.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// Serves budgets.
#[derive(Debug)]
pub(crate) struct Budgets {
    shared: Arc<Shared>,
    cancel: CancellationToken,
}

impl Budgets {
    pub(crate) fn new(shared: Arc<Shared>, cancel: CancellationToken) -> Self {
        Self { shared, cancel }
    }

    async fn read(&self, resource: &str) -> Result<(Resource, Seen), Refusal> {
        let resource: Resource = parse::name("resource", resource)?;
        let seen = see(&self.shared, &resource).await?;
        Ok((resource, seen))
    }

    async fn set(&self, request: v1::SetBudgetRequest) -> Result<v1::Budget, Refusal> {
        self.shared.fence().await?;
        for _ in 0..COMMIT_ATTEMPTS_MAX {
            let (resource, mut seen) = self.read(&request.resource).await?;
            let Some((ledger, revision)) = seen.observed.ledger else {
                return Err(Refusal::NoSuchBudget(request.resource));
            };
            let asked = parse::target(&request, ledger.asked)?;
            let lasts_ms = parse::lasts(request.lasts)?;
            // What guards hold down stays down: the leader raises it where they leave more of what is asked now.
            let held_down = ledger.target.rate_milli < ledger.asked.rate_milli;
            let target = if held_down {
                Share {
                    rate_milli: asked.rate_milli.min(ledger.target.rate_milli),
                    rows: asked.rows.min(ledger.target.rows),
                    ..asked
                }
            } else {
                asked
            };
            // The ceiling follows when what is reserved fits under it: the leader sees to that.
            let changed = Ledger {
                asked,
                target,
                ceiling: target.max(ledger.ceiling),
                configured: ledger.configured,
                expiry: lasts_ms.map(|left_ms| Expiry {
                    then: ledger.expiry.map_or(ledger.asked, |expiry| expiry.then),
                    left_ms,
                    set_at: revision,
                }),
            };
            let key = keys::ledger(&resource);
            let txn = Txn {
                compares: vec![Compare::ModRevision(key.clone(), Revision(revision))],
                ops: vec![Op::Put {
                    key,
                    value: record::encode(&changed),
                    lease: None,
                }],
            };
            if self.shared.commit(txn).await? {
                seen.observed.ledger = Some((changed, revision));
                tracing::info!(%resource, qps_milli = asked.rate_milli, lasts_ms, "set a budget");
                return Ok(describe::budget(&resource, &seen, &self.shared));
            }
        }
        Err(Refusal::Contended)
    }
}

/// What the store says of a resource's budget.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) observed: Observed,
    pub(super) guards: Guards,
}

async fn see(shared: &Shared, resource: &Resource) -> Result<Seen, Refusal> {
    let mut fleet = View::read_fleet(&*shared.store).await?;
    let observed = fleet
        .resources
        .remove(resource)
        .ok_or_else(|| Refusal::NoSuchBudget(resource.to_string()))?;
    let guards = fleet.guards.remove(resource);
    Ok(Seen {
        observed,
        guards: guards.map(|guards| guards.value).unwrap_or_default(),
    })
}

#[tonic::async_trait]
impl BudgetService for Budgets {
    type WatchBudgetStream = Answers<v1::WatchBudgetResponse>;

    async fn get_budget(
        &self,
        call: Call<v1::GetBudgetRequest>,
    ) -> Result<Response<v1::GetBudgetResponse>, Status> {
        let (resource, seen) = self.read(&call.into_inner().resource).await?;
        let budget = describe::budget(&resource, &seen, &self.shared);
        Ok(Response::new(v1::GetBudgetResponse {
            budget: Some(budget),
        }))
    }

    async fn list_budgets(
        &self,
        _: Call<v1::ListBudgetsRequest>,
    ) -> Result<Response<v1::ListBudgetsResponse>, Status> {
        let mut fleet = View::read_fleet(&*self.shared.store)
            .await
            .map_err(Refusal::from)?;
        let budget = |(resource, observed): (Resource, Observed)| {
            let guards = fleet.guards.remove(&resource).map(|guards| guards.value);
            let seen = Seen {
                observed,
                guards: guards.unwrap_or_default(),
            };
            describe::budget(&resource, &seen, &self.shared)
        };
        let budgets = fleet.resources.into_iter().map(budget).collect();
        Ok(Response::new(v1::ListBudgetsResponse { budgets }))
    }

    async fn set_budget(
        &self,
        call: Call<v1::SetBudgetRequest>,
    ) -> Result<Response<v1::SetBudgetResponse>, Status> {
        let budget = self.set(call.into_inner()).await?;
        Ok(Response::new(v1::SetBudgetResponse {
            budget: Some(budget),
        }))
    }

    async fn watch_budget(
        &self,
        call: Call<v1::WatchBudgetRequest>,
    ) -> Result<Response<Self::WatchBudgetStream>, Status> {
        let until = deadline(call.metadata());
        let open = self.shared.limits.watches.open()?;
        let (resource, _) = self.read(&call.into_inner().resource).await?;
        let shared = Arc::clone(&self.shared);
        let held = shared.calls.hold("/stoke.v1.BudgetService/WatchBudget");
        let watch = |send| async move {
            let _held = held;
            watch(&shared, &resource, &send).await
        };
        Ok(answer(1, open, until, &self.cancel, watch))
    }
}

/// Sends the budget whenever it has changed, until nobody listens.
async fn watch(
    shared: &Shared,
    resource: &Resource,
    send: &Sending<v1::WatchBudgetResponse>,
) -> Result<(), Refusal> {
    let watched = vec![
        Keys::One(keys::ledger(resource)),
        Keys::Prefix(format!("{}{resource}/", keys::CAPS)),
        Keys::Prefix(format!("{}{resource}/", keys::ACKS)),
        Keys::One(keys::guards(resource)),
    ];
    let stop = CancellationToken::new();
    let _stop_at_the_end = stop.clone().drop_guard();
    let mut wakeups = Wakeups::spawn(Arc::clone(&shared.store), watched, stop);
    let mut shown = None;
    loop {
        tokio::select! {
            () = send.closed() => return Ok(()),
            () = wakeups.changed() => {}
            // What is used and what guards see is not in the store.
            () = tokio::time::sleep(WATCH_EVERY) => {}
        }
        let seen = see(shared, resource).await?;
        let now = describe::budget(resource, &seen, shared);
        if shown.as_ref() != Some(&now) {
            shown = Some(now.clone());
            let message = v1::WatchBudgetResponse { budget: Some(now) };
            if send.send(Ok(message)).await.is_err() {
                return Ok(());
            }
        }
        tokio::time::sleep(WATCH_APART).await;
    }
}
