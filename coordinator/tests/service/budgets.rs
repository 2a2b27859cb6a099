//! `BudgetService`: what is asked for, what is promised, and what is held.

use stoke_core::ledger::{Ack, Cap, Ledger, Share};
use stoke_core::names::Resource;
use stoke_core::records::keys;
use stoke_proto::v1;
use tonic::{Code, Status, Streaming};

use super::cluster::{Cluster, Served, fault, impatient, settings, share, until, worker};

const SHOP: &str = "origin/shop";

fn shop() -> Resource {
    SHOP.parse().unwrap()
}

fn allowance(share: Share) -> v1::Allowance {
    v1::Allowance {
        qps_milli: share.rate_milli,
        burst: share.burst,
        in_flight: share.in_flight,
        rows: (share.rows != Share::ANY_ROWS).then_some(share.rows),
    }
}

async fn get(served: &Served, resource: &str) -> Result<v1::Budget, Status> {
    let request = v1::GetBudgetRequest {
        resource: resource.into(),
    };
    Ok(served
        .budgets
        .clone()
        .get_budget(request)
        .await?
        .into_inner()
        .budget
        .unwrap())
}

async fn set(
    served: &Served,
    resource: &str,
    target: Option<v1::Allowance>,
) -> Result<v1::Budget, Status> {
    let request = v1::SetBudgetRequest {
        resource: resource.into(),
        target,
        ..v1::SetBudgetRequest::default()
    };
    Ok(served
        .budgets
        .clone()
        .set_budget(request)
        .await?
        .into_inner()
        .budget
        .unwrap())
}

/// Waits until the leader has put the configured budget into the store.
async fn until_there(served: &Served) -> v1::Budget {
    until("the budget is there", async || get(served, SHOP).await.ok()).await
}

/// What a watch tells next that fits; each message before keeps to the promise.
async fn next_that(
    watch: &mut Streaming<v1::WatchBudgetResponse>,
    fits: impl Fn(&v1::Budget) -> bool,
) -> v1::Budget {
    loop {
        let budget = watch.message().await.unwrap().unwrap().budget.unwrap();
        let (reserved, ceiling) = (budget.reserved.unwrap(), budget.ceiling.unwrap());
        assert!(reserved.qps_milli <= ceiling.qps_milli, "B1: {budget:?}");
        if fits(&budget) {
            return budget;
        }
    }
}

#[tokio::test]
async fn the_configured_budgets_are_shown_and_listed() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let budget = until_there(&leader).await;
    let twenty = Some(allowance(share(20)));
    assert_eq!(
        (budget.resource.as_str(), budget.target, budget.ceiling),
        (SHOP, twenty, twenty)
    );
    assert_eq!(
        (budget.reserved, budget.shares.len()),
        (Some(allowance(Share::NONE)), 0)
    );
    let listed = leader
        .budgets
        .clone()
        .list_budgets(v1::ListBudgetsRequest {})
        .await
        .unwrap();
    assert_eq!(listed.into_inner().budgets, [budget]);
}

#[tokio::test]
async fn unknown_resources_are_not_found_and_nonsense_is_no_resource() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let target = || Some(allowance(share(1)));
    assert_eq!(
        get(&leader, "origin/elsewhere").await.unwrap_err().code(),
        Code::NotFound
    );
    assert_eq!(
        set(&leader, "cache/main", target())
            .await
            .unwrap_err()
            .code(),
        Code::NotFound
    );
    let request = v1::WatchBudgetRequest {
        resource: "cache/main".into(),
    };
    assert_eq!(
        leader
            .budgets
            .clone()
            .watch_budget(request)
            .await
            .unwrap_err()
            .code(),
        Code::NotFound
    );
    let nonsense = set(&leader, "shop", target()).await.unwrap_err();
    assert_eq!(fault(&nonsense), (Code::InvalidArgument, "resource".into()));
    until_there(&leader).await;
    let nothing = set(&leader, SHOP, None).await.unwrap_err();
    assert_eq!(fault(&nothing), (Code::InvalidArgument, "target".into()));
}

#[tokio::test]
async fn of_a_target_a_rate_is_taken_as_it_is_and_the_rest_where_it_is_said() {
    let (_cluster, leader) = Cluster::with_leader().await;
    until_there(&leader).await;
    let rate = |qps_milli| v1::Allowance {
        qps_milli,
        ..v1::Allowance::default()
    };
    let stopped = set(&leader, SHOP, Some(rate(0))).await.unwrap();
    let kept = v1::Allowance {
        qps_milli: 0,
        ..allowance(share(20))
    };
    assert_eq!(stopped.target, Some(kept));
    let raised = set(&leader, SHOP, Some(allowance(share(50))))
        .await
        .unwrap();
    let fifty = Some(allowance(share(50)));
    assert_eq!(
        (raised.target, raised.ceiling),
        (fifty, fifty),
        "a raise holds at once"
    );
}

#[tokio::test]
async fn a_lower_target_holds_at_once_and_the_ceiling_follows_what_workers_confirm() {
    let (cluster, leader) = Cluster::with_leader().await;
    until_there(&leader).await;
    let cap = keys::cap(&shop(), &worker("w1"));
    let confirm = async |qps, sequence| {
        let ack = Ack {
            share: share(qps),
            sequence,
            lingering: false,
        };
        cluster.put(&keys::ack(&shop(), &worker("w1")), &ack).await;
    };
    cluster
        .put(
            &cap,
            &Cap {
                share: share(20),
                term_ms: 5000,
            },
        )
        .await;
    confirm(20, 1).await;

    let request = v1::WatchBudgetRequest {
        resource: SHOP.into(),
    };
    let mut watch = leader
        .budgets
        .clone()
        .watch_budget(request)
        .await
        .unwrap()
        .into_inner();
    next_that(&mut watch, |budget| {
        budget.reserved == Some(allowance(share(20)))
    })
    .await;
    let lowered = set(&leader, SHOP, Some(allowance(share(5)))).await.unwrap();
    let shown = (lowered.target, lowered.ceiling);
    assert_eq!(
        shown,
        (Some(allowance(share(5))), Some(allowance(share(20))))
    );

    // The cap falls at the leader's word, but what the worker has confirmed may still be in use.
    until("the cap is lowered", async || {
        cluster.read::<Cap>(&cap).await.is_none().then_some(())
    })
    .await;
    let held = get(&leader, SHOP).await.unwrap();
    assert_eq!(
        (held.reserved, held.ceiling),
        (Some(allowance(share(20))), Some(allowance(share(20))))
    );

    confirm(12, 2).await;
    next_that(&mut watch, |budget| {
        budget.ceiling == Some(allowance(share(12)))
    })
    .await;
    confirm(3, 3).await;
    let settled = next_that(&mut watch, |budget| {
        budget.ceiling == Some(allowance(share(5)))
    })
    .await;
    assert_eq!(settled.target, Some(allowance(share(5))));
}

#[tokio::test]
async fn what_an_operator_set_outlives_the_coordinator() {
    let (cluster, first) = Cluster::with_leader().await;
    until_there(&first).await;
    set(&first, SHOP, Some(allowance(share(7)))).await.unwrap();
    first.coordinator.stop().await;
    let second = cluster.start(settings("c2")).await.unwrap();
    second.until_it_leads().await;
    assert_eq!(until_there(&second).await.target, Some(allowance(share(7))));
}

#[tokio::test]
async fn budget_goes_to_the_owners_of_a_job_and_a_silent_one_loses_it() {
    let (cluster, leader) = Cluster::led_with(impatient(settings("c1"))).await;
    leader.running(&cluster, 10).await;
    let cap = keys::cap(&shop(), &worker("w1"));
    let given = until("the owner has a cap", async || {
        cluster.read::<Cap>(&cap).await
    })
    .await;
    assert_eq!(given.0.share, share(20));

    // It confirms once, and is never heard of again.
    let ack = Ack {
        share: share(20),
        sequence: 1,
        lingering: false,
    };
    cluster.put(&keys::ack(&shop(), &worker("w1")), &ack).await;
    cluster.delete(&keys::member(&worker("w1"))).await;
    until("nothing is reserved any more", async || {
        let reserved = get(&leader, SHOP).await.unwrap().reserved.unwrap();
        (reserved == allowance(Share::NONE)).then_some(())
    })
    .await;
    let (ledger, _) = cluster
        .read::<Ledger>(&keys::ledger(&shop()))
        .await
        .unwrap();
    assert_eq!((ledger.target, ledger.ceiling), (share(20), share(20)));
}

#[tokio::test]
async fn a_budget_beyond_what_files_may_say_is_refused_with_its_fields_and_not_kept() {
    let (_cluster, leader) = Cluster::with_leader().await;
    let before = until_there(&leader).await;
    let most = v1::Allowance {
        qps_milli: 1_000_000_000_000,
        burst: 1_000_000,
        in_flight: 100_000,
        rows: Some(1_000_000_000_000),
    };
    let beyond = v1::Allowance {
        qps_milli: most.qps_milli + 1,
        burst: u64::MAX,
        in_flight: most.in_flight + 1,
        rows: most.rows.map(|rows| rows + 1),
    };
    let refused = set(&leader, SHOP, Some(beyond)).await.unwrap_err();
    let fields = "target.qps_milli, target.burst, target.in_flight, target.rows";
    assert_eq!(fault(&refused), (Code::InvalidArgument, fields.into()));
    assert_eq!(get(&leader, SHOP).await.unwrap().target, before.target);
    let set = set(&leader, SHOP, Some(most)).await.unwrap();
    assert_eq!(set.target, Some(most));
}
