//! What [`Redis`], [`RedisCluster`] and [`RedisSentinel`] promise.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::path::Path;

use stoke_harness::{Redis, RedisCluster, RedisSentinel};

#[test]
fn a_redis_is_usable_loses_its_keys_by_a_kill_and_is_gone_after_its_drop() {
    let redis = Redis::start().unwrap();
    assert_eq!(redis.cli(&["SET", "a", "1"]).unwrap(), "OK");
    assert_eq!(redis.cli(&["GET", "a"]).unwrap(), "1");

    redis.kill().unwrap();
    redis.cli(&["PING"]).unwrap_err();
    redis.restart().unwrap();
    assert_eq!(redis.cli(&["DBSIZE"]).unwrap(), "0");

    let process = format!("/proc/{}", redis.pid());
    assert!(Path::new(&process).exists());
    drop(redis);
    assert!(!Path::new(&process).exists());
}

#[test]
fn a_password_is_asked_for_used_and_never_shown() {
    let redis =
        Redis::start_with(&[("requirepass", "horse-staple"), ("maxmemory", "64mb")]).unwrap();
    assert_eq!(
        redis.url(),
        format!("redis://:horse-staple@127.0.0.1:{}", redis.port())
    );
    assert_eq!(
        redis.cli(&["CONFIG", "GET", "maxmemory"]).unwrap(),
        "maxmemory\n67108864"
    );
    let stranger = std::process::Command::new("redis-cli")
        .args(["-p", &redis.port().to_string(), "PING"])
        .output()
        .unwrap();
    assert!(
        String::from_utf8(stranger.stdout)
            .unwrap()
            .contains("NOAUTH")
    );
    assert!(!format!("{redis:?}").contains("horse"));
}

#[test]
fn a_cluster_takes_keys_for_every_slot() {
    let cluster = RedisCluster::start(3).unwrap();
    let ports = cluster.ports();
    assert_eq!(ports.len(), 3);
    for number in 0..60 {
        let answer = cluster
            .cli(ports[0], &["-c", "SET", &format!("key-{number}"), "1"])
            .unwrap();
        assert_eq!(answer, "OK");
    }
    assert_eq!(cluster.key_count().unwrap(), 60);
    for port in ports {
        assert_ne!(cluster.cli(port, &["DBSIZE"]).unwrap(), "0");
    }
}

#[test]
fn a_cluster_is_complete_again_when_a_killed_node_is_back() {
    let cluster = RedisCluster::start_with(3, &[("requirepass", "horse-staple")]).unwrap();
    let [_, second, _] = cluster.ports()[..] else {
        panic!("not three nodes")
    };
    cluster.kill(second).unwrap();
    cluster.cli(second, &["PING"]).unwrap_err();
    cluster.restart(second).unwrap();
    let slots = cluster.cli(second, &["CLUSTER", "NODES"]).unwrap();
    let own = slots.lines().find(|line| line.contains("myself")).unwrap();
    assert!(own.ends_with("5461-10921"), "{own}");
}

#[test]
fn one_master_is_a_cluster_too() {
    let cluster = RedisCluster::start(1).unwrap();
    assert_eq!(
        cluster.cli(cluster.ports()[0], &["SET", "a", "1"]).unwrap(),
        "OK"
    );
}

#[test]
fn sentinels_promote_the_replica_of_a_master_that_is_killed_and_make_it_a_replica_when_it_is_back()
{
    let options = [("requirepass", "horse-staple")];
    let redis = RedisSentinel::start_with(&options, &[]).unwrap();
    assert!(redis.url().starts_with("redis+sentinel://:horse-staple@"));
    assert!(!format!("{redis:?}").contains("horse"));
    let (master, replica) = (redis.master().unwrap(), redis.replica().unwrap());
    assert_eq!(redis.cli(master, &["SET", "a", "1"]).unwrap(), "OK");
    redis.wait_until_replicated().unwrap();
    redis.kill(master).unwrap();
    redis.wait_until_master(replica).unwrap();
    assert_eq!(redis.cli(replica, &["GET", "a"]).unwrap(), "1");
    redis.restart(master).unwrap();
    redis.wait_until_replica(master).unwrap();
    assert_eq!(redis.cli(master, &["GET", "a"]).unwrap(), "1");
}
