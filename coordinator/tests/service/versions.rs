//! Workers of a newer format: they are left out, and what depends on their records is met as `view` says.

use stoke_core::ledger::{Ack, Cap};
use stoke_core::records::{Assignment, keys};
use stoke_proto::v1::JobState;

use super::cluster::{
    Cluster, all, assert_precondition, impatient, job_name, outcomes, settings, share, spec, until,
    uploaded, warmed, worker,
};

const NEWER: &str = r#"{"v":2,"what":"nobody here knows"}"#;

#[tokio::test]
async fn a_worker_of_a_newer_format_is_left_out_and_named_where_it_is_missed() {
    let (cluster, leader) = Cluster::with_leader().await;
    cluster
        .put_bytes(&keys::member(&worker("w9")), NEWER.into())
        .await;
    let job = leader.running(&cluster, 10).await.name;
    cluster.checkpoint(&job, "w1", warmed(10), |_| ()).await;
    leader.until_it_is(&job, JobState::Succeeded).await;

    cluster.delete(&keys::member(&worker("w1"))).await;
    assert_precondition(
        leader.create(spec(vec![uploaded()])).await,
        "worker w9 speaks a newer format: upgrade the coordinators first",
    );
}

#[tokio::test]
async fn a_newer_checkpoint_leaves_its_job_as_it_is_and_no_other() {
    let (cluster, leader) = Cluster::led_with(impatient(settings("c1"))).await;
    let job = leader.running(&cluster, 10).await.name;
    let key = keys::checkpoint(&job_name(&job), &worker("w1"));
    cluster.put_bytes(&key, NEWER.into()).await;
    let before = cluster.assignment(&job, "w1").await.unwrap();
    // Its owner goes, another comes: nothing of it may move, for what is done is not known.
    cluster.delete(&keys::member(&worker("w1"))).await;
    cluster.join("w2").await;
    let other = leader.create(spec(vec![uploaded()])).await.unwrap().name;
    let parts = vec![
        super::cluster::header(&other, 0),
        stoke_proto::v1::upload_entries_request::Part::Entries(super::cluster::batch(0..10)),
    ];
    leader.upload(parts).await.unwrap();
    cluster.until_it_owns_all(&other, "w2").await;
    cluster.checkpoint(&other, "w2", warmed(10), |_| ()).await;
    leader.until_it_is(&other, JobState::Succeeded).await;

    let prefix = keys::assignments(&job_name(&job));
    let owners = all::<Assignment>(&cluster, &prefix).await;
    assert_eq!(owners.into_keys().collect::<Vec<_>>(), ["w1"]);
    assert_eq!(cluster.assignment(&job, "w1").await.unwrap(), before);
    let shown = leader.get(&job).await;
    assert_eq!(shown.state(), JobState::Running);
    assert!(shown.reason.contains("upgrade"), "{}", shown.reason);

    // Read by who knows it (here: written anew), it goes on where it was.
    cluster.checkpoint(&job, "w1", warmed(4), |_| ()).await;
    let moved = cluster.until_it_owns_all(&job, "w2").await;
    assert_eq!(moved.tally(), warmed(4));
    assert_eq!(outcomes(&leader.get(&job).await).warmed, 4);
}

/// B1 counts what every worker may be using: where one's word cannot be read, nothing may be given.
#[tokio::test]
async fn a_newer_ack_freezes_its_resources_budget_and_no_other() {
    let mut settings = impatient(settings("c1"));
    let cache = "cache/main".parse().unwrap();
    settings.budgets.insert(cache, share(50));
    let cluster = Cluster::new();
    let (shop, main) = (
        "origin/shop".parse().unwrap(),
        "cache/main".parse().unwrap(),
    );
    let ack = keys::ack(&shop, &worker("w9"));
    cluster.put_bytes(&ack, NEWER.into()).await;
    cluster.join("w1").await;
    let leader = cluster.start(settings).await.unwrap();
    leader.until_it_leads().await;
    assert_precondition(
        leader.create(spec(vec![uploaded()])).await,
        "the budget of origin/shop cannot be shared out",
    );
    until("the other budget has its ledger", async || {
        cluster
            .read::<stoke_core::ledger::Ledger>(&keys::ledger(&main))
            .await
    })
    .await;
    let ledgers = all::<stoke_core::ledger::Ledger>(&cluster, keys::LEDGERS).await;
    assert_eq!(ledgers.into_keys().collect::<Vec<_>>(), ["cache/main"]);

    // Once it can be read, or is gone, all goes its way.
    cluster.delete(&ack).await;
    let job = until("it is accepted", async || {
        leader.create(spec(vec![uploaded()])).await.ok()
    })
    .await;
    let parts = vec![
        super::cluster::header(&job.name, 0),
        stoke_proto::v1::upload_entries_request::Part::Entries(super::cluster::batch(0..10)),
    ];
    leader.upload(parts).await.unwrap();
    let cap = keys::cap(&shop, &worker("w1"));
    until("a grant is given", async || cluster.read::<Cap>(&cap).await).await;
    assert!(all::<Ack>(&cluster, keys::ACKS).await.is_empty());
}
