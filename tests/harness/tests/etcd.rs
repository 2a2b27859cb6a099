//! What [`Etcd`] and [`EtcdCluster`] promise.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::path::Path;

use stoke_harness::{Etcd, EtcdCluster};

#[test]
fn an_etcd_is_usable_and_gone_after_its_drop() {
    let etcd = Etcd::start().unwrap();
    assert_eq!(etcd.ctl(&["put", "a", "1"]).unwrap(), "OK");
    assert_eq!(etcd.ctl(&["get", "a", "--print-value-only"]).unwrap(), "1");

    let process = format!("/proc/{}", etcd.pid());
    assert!(Path::new(&process).exists());
    drop(etcd);
    assert!(!Path::new(&process).exists());
}

#[test]
fn what_is_in_etcd_outlives_a_kill() {
    let etcd = Etcd::start().unwrap();
    etcd.ctl(&["put", "a", "1"]).unwrap();
    let endpoint = etcd.endpoint();

    etcd.kill().unwrap();
    etcd.ctl(&["--command-timeout=500ms", "get", "a"])
        .unwrap_err();

    etcd.restart().unwrap();
    assert_eq!(etcd.endpoint(), endpoint);
    assert_eq!(etcd.ctl(&["get", "a", "--print-value-only"]).unwrap(), "1");
}

#[test]
fn a_stopped_etcd_answers_when_it_goes_on() {
    let etcd = Etcd::start().unwrap();
    etcd.stop().unwrap();
    etcd.ctl(&["--command-timeout=500ms", "get", "a"])
        .unwrap_err();
    etcd.cont().unwrap();
    assert_eq!(etcd.ctl(&["put", "a", "1"]).unwrap(), "OK");
}

#[test]
fn a_cluster_elects_another_leader_when_the_leader_is_killed() {
    let cluster = EtcdCluster::start(3).unwrap();
    assert_eq!(cluster.endpoints().len(), 3);
    let first = cluster.leader().unwrap();

    cluster.kill(first).unwrap();
    let second = cluster.leader().unwrap();
    assert_ne!(first, second);

    cluster.restart(first).unwrap();
    let listed = cluster.ctl(&["member", "list"]).unwrap();
    assert_eq!(listed.lines().count(), 3, "{listed}");
}
