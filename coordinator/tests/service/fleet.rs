//! `FleetService`: who is there.

use stoke_proto::v1;

use super::cluster::{Cluster, named, settings, spec, until};

#[tokio::test]
async fn workers_are_listed_with_what_they_can_and_have_to_do_by_any_coordinator() {
    let (cluster, leader) = Cluster::with_leader().await;
    let standby = cluster.start(settings("c2")).await.unwrap();
    leader.running(&cluster, 10).await;
    leader.create(spec(vec![named()])).await.unwrap();
    let worker = until("the worker has both to do", async || {
        let request = v1::ListWorkersRequest {};
        let listed = standby.fleet.clone().list_workers(request).await.unwrap();
        let [worker] = listed.into_inner().workers.try_into().ok()?;
        let worker: v1::Worker = worker;
        (worker.planning_tasks > 0).then_some(worker)
    })
    .await;
    assert_eq!((worker.name.as_str(), worker.partitions), ("w1", 256));
    assert_eq!(worker.origins, ["shop"]);
    assert_eq!(worker.caches, ["main"]);
    assert_eq!(worker.loaders, ["product"]);
    assert_eq!(worker.sources, ["top"]);
    assert!(!worker.allows_sql_in_jobs && !worker.allows_files_in_jobs);
    assert_eq!(worker.weight, 100);
}

#[tokio::test]
async fn coordinators_are_listed_and_one_of_them_leads() {
    let (cluster, leader) = Cluster::with_leader().await;
    let standby = cluster.start(settings("c2")).await.unwrap();
    let found = until("both are there", async || {
        let request = v1::ListCoordinatorsRequest {};
        let listed = standby.fleet.clone().list_coordinators(request).await;
        let found = listed.unwrap().into_inner().coordinators;
        (found.len() == 2).then_some(found)
    })
    .await;
    let expected = [
        ("c1", &leader.address, true),
        ("c2", &standby.address, false),
    ];
    for (found, (name, address, leads)) in found.iter().zip(expected) {
        assert_eq!((found.name.as_str(), found.leads), (name, leads));
        assert_eq!(&found.address, address);
    }
}
