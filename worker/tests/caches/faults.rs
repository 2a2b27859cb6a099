//! Caches that are there and do not do what is asked: what is said, and that the others' entries are none the worse.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use stoke_core::slot::Slot;
use stoke_harness::{Redis, RedisCluster};
use stoke_worker::cache::{Cache, CacheConfig, CacheError, FailureKind, WriteMode, WriteOutcome};
use stoke_worker::permit::Unlimited;

use crate::{PARTIAL, all, connect, connect_impatiently, explained, failure, items, present};

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_uncovered_slots_fail_with_their_slot_and_all_others_are_written() {
    let cluster = RedisCluster::start_with(3, PARTIAL).unwrap();
    let some = items("some", 600);
    let lost: Vec<u16> = (0..10).map(|n| Slot::of(&some[n].key).0).collect();
    for port in cluster.ports() {
        for slot in &lost {
            // Where it is known by now that the slot has no owner, this changes nothing.
            cluster
                .cli(port, &["CLUSTER", "DELSLOTS", &slot.to_string()])
                .unwrap();
        }
    }
    let cache = connect_impatiently(&cluster.urls()).await;
    let error = cache.check().await.unwrap_err();
    assert!(matches!(error, CacheError::Uncovered { .. }), "{error:?}");
    assert!(error.to_string().contains("ADDSLOTS"), "{error}");
    let outcomes = cache
        .write(&Unlimited, WriteMode::Add, &some)
        .await
        .unwrap();
    for (item, outcome) in some.iter().zip(&outcomes) {
        let slot = Slot::of(&item.key).0;
        if lost.contains(&slot) {
            let error = failure(outcome).unwrap();
            assert!(error.is_transient(), "{error:?}");
            assert!(
                error.reason.contains(&format!("slot {slot}:"))
                    && error.reason.contains("ADDSLOTS"),
                "{error}"
            );
        } else {
            assert_eq!(*outcome, WriteOutcome::Written, "{slot}");
        }
    }

    // Once somebody has them they are written, though no other answer says that the slot map is old.
    let owner = cluster.ports()[0];
    let owner = cluster.cli(owner, &["CLUSTER", "MYID"]).unwrap();
    for port in cluster.ports() {
        for slot in &lost {
            let slot = slot.to_string();
            let told = cluster.cli(port, &["CLUSTER", "SETSLOT", &slot, "NODE", &owner]);
            assert_eq!(told.unwrap(), "OK");
        }
    }
    cluster.wait_until_agreed().unwrap();
    let outcomes = cache
        .write(&Unlimited, WriteMode::Add, &some[..10])
        .await
        .unwrap();
    assert!(all(&outcomes, &WriteOutcome::Written), "{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_that_wants_all_slots_covered_and_is_not_says_that_it_is_down() {
    let cluster = RedisCluster::start(3).unwrap();
    let cache = connect_impatiently(&cluster.urls()).await;
    cache.check().await.unwrap();
    cluster.kill(cluster.ports()[2]).unwrap();
    let some = items("some", 100);
    stoke_harness::wait_for(
        "the cluster to be down",
        std::time::Duration::from_secs(60),
        || {
            let info = cluster.cli(cluster.ports()[0], &["CLUSTER", "INFO"])?;
            anyhow::ensure!(info.contains("cluster_state:fail"), "{info}");
            Ok(())
        },
    )
    .unwrap();
    let outcomes = cache
        .write(&Unlimited, WriteMode::Add, &some)
        .await
        .unwrap();
    for outcome in &outcomes {
        let error = failure(outcome).unwrap();
        assert!(error.is_transient(), "{error:?}");
    }
    let said = outcomes
        .iter()
        .filter_map(failure)
        .any(|error| error.reason.contains("CLUSTERDOWN"));
    assert!(said, "{outcomes:?}");
    assert!(matches!(
        cache.check().await,
        Err(CacheError::NotServing { .. })
    ));
    cluster.restart(cluster.ports()[2]).unwrap();
    cache
        .write(&Unlimited, WriteMode::Add, &some)
        .await
        .unwrap();
    assert_eq!(present(&cache, &some).await, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_still_loads_is_tried_again_until_it_serves() {
    let redis = Redis::start_with(&[
        ("key-load-delay", "2000"),
        // Else it would answer nobody before it has loaded as many bytes.
        ("loading-process-events-interval-bytes", "1024"),
    ])
    .unwrap();
    let fill = "for i = 1, 2000 do redis.call('SET', 'old:' .. i, i) end";
    redis.cli(&["EVAL", fill, "0"]).unwrap();
    redis.cli(&["SAVE"]).unwrap();
    // Two milliseconds for each key: four seconds of loading.
    redis.restart_without_waiting().unwrap();
    let loading = || {
        let answer = redis.cli(&["PING"])?;
        anyhow::ensure!(answer.contains("LOADING"), "{answer}");
        Ok(())
    };
    stoke_harness::wait_for("it to load", std::time::Duration::from_secs(60), loading).unwrap();
    let mut config = CacheConfig::parse(&[redis.url()], None).unwrap();
    config.patience = std::time::Duration::from_millis(200);
    let hasty = Cache::connect(config).await.unwrap();
    let few = items("few", 10);
    let outcomes = hasty.write(&Unlimited, WriteMode::Add, &few).await.unwrap();
    let error = failure(&outcomes[0]).unwrap();
    assert_eq!(error.kind, FailureKind::Unavailable);
    assert!(
        error.reason.contains("LOADING") && error.reason.contains("wait until"),
        "{error}"
    );
    let error = explained(&hasty.check().await.unwrap_err());
    assert!(error.contains("LOADING"), "{error}");

    let mut config = CacheConfig::parse(&[redis.url()], None).unwrap();
    config.patience = std::time::Duration::from_secs(60);
    let patient = Cache::connect(config).await.unwrap();
    // Ten attempts are made at most in one call: what is not written by then is tried again by the caller.
    while present(&patient, &few).await < 10 {
        patient
            .write(&Unlimited, WriteMode::Add, &few)
            .await
            .unwrap();
    }
    assert_eq!(redis.cli(&["DBSIZE"]).unwrap(), "2010");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_server_and_a_replica_call_for_is_said() {
    let redis = Redis::start().unwrap();
    let cache = connect_impatiently(&[redis.url()]).await;
    redis.cli(&["CONFIG", "SET", "maxmemory", "1"]).unwrap();
    let outcomes = cache
        .write(&Unlimited, WriteMode::Add, &items("few", 2))
        .await
        .unwrap();
    let error = failure(&outcomes[0]).unwrap();
    assert_eq!(error.kind, FailureKind::Memory);
    assert!(
        error.reason.contains("OOM") && error.reason.contains("maxmemory-policy"),
        "{error}"
    );
    redis.cli(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    redis.cli(&["REPLICAOF", "127.0.0.1", "1"]).unwrap();
    let outcomes = cache
        .write(&Unlimited, WriteMode::Add, &items("few", 2))
        .await
        .unwrap();
    let error = failure(&outcomes[0]).unwrap();
    assert!(
        error.reason.contains("READONLY") && error.reason.contains("primary"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_redis_is_told_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = client.read(&mut [0; 1024]);
            let _ = client.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        }
    });
    let config = CacheConfig::parse(&[format!("redis://:s3cret@127.0.0.1:{port}")], None).unwrap();
    let error = explained(&Cache::connect(config).await.unwrap_err());
    assert!(
        error.contains("no Redis: check the port") && error.contains(&port.to_string()),
        "{error}"
    );
    assert!(!error.contains("s3cret"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_nowhere_and_a_port_that_nobody_listens_on_are_told_apart() {
    let nobody = stoke_harness::free_port().unwrap();
    for (url, said) in [
        ("redis://no-such-host.invalid:6379".to_owned(), "DNS"),
        (format!("redis://127.0.0.1:{nobody}"), "nobody listens"),
    ] {
        let config = CacheConfig::parse(&[&url], None).unwrap();
        let error = explained(&Cache::connect(config).await.unwrap_err());
        assert!(error.contains(said), "{url}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_permission_is_said_by_the_look_at_the_cache() {
    let redis = Redis::start().unwrap();
    redis
        .cli(&[
            "ACL", "SETUSER", "warm", "on", ">s3cret", "~*", "+info", "+auth", "+client",
        ])
        .unwrap();
    let cache = connect(&[format!("redis://warm:s3cret@127.0.0.1:{}", redis.port())]).await;
    let error = explained(&cache.check().await.unwrap_err());
    assert!(
        error.contains("NOPERM") && error.contains("grant it"),
        "{error}"
    );
    assert!(!error.contains("s3cret"), "{error}");
}
