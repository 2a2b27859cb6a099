//! A master behind Sentinel.

use std::sync::Arc;
use std::time::{Duration, Instant};

use stoke_harness::{Authority, Redis, RedisSentinel, ServerTls};
use stoke_worker::cache::{Cache, CacheConfig, CacheError, WriteMode, WriteOutcome};
use stoke_worker::catalog::TlsFiles;
use stoke_worker::permit::Unlimited;

use crate::permits::Watching;
use crate::{all, connect, explained, items, present};

/// How long a fail-over, and what follows from it, may take at most.
const PATIENCE: Duration = Duration::from_secs(60);

async fn refused(config: CacheConfig) -> String {
    explained(&Cache::connect(config).await.unwrap_err())
}

fn config(url: &str) -> CacheConfig {
    CacheConfig::parse(&[url], None).unwrap()
}

fn keys_on(redis: &RedisSentinel, port: u16) -> usize {
    redis.cli(port, &["DBSIZE"]).unwrap().parse().unwrap()
}

/// Writes all of the items, as often as it takes.
async fn write_all(cache: &Cache, prefix: &str, count: usize) {
    let items = items(prefix, count);
    let begun = Instant::now();
    loop {
        let outcomes = cache
            .write(&Unlimited, WriteMode::Add, &items)
            .await
            .unwrap();
        let failed = outcomes.iter().find_map(crate::failure);
        let Some(error) = failed else { return };
        assert!(error.is_transient(), "{error:?}");
        assert!(begun.elapsed() < PATIENCE, "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_is_found_entered_and_asked_all_that_a_cache_is_asked() {
    let redis = RedisSentinel::start_with(&[("requirepass", "s3cret")], &[]).unwrap();
    let cache = connect(&[format!("{}/2", redis.url())]).await;
    assert!(!cache.is_cluster());
    cache.check().await.unwrap();
    cache.ping(&Unlimited).await.unwrap();
    let some = items("some", 600);
    let outcomes = cache
        .write(&Unlimited, WriteMode::Add, &some)
        .await
        .unwrap();
    assert!(all(&outcomes, &WriteOutcome::Written), "{outcomes:?}");
    assert_eq!(present(&cache, &some).await, 600);
    let master = redis.master().unwrap();
    let there = redis.cli(master, &["-n", "2", "DBSIZE"]).unwrap();
    assert_eq!(there, "600", "in the database of the URL");

    let info = cache.info(&Unlimited).await.unwrap();
    let addresses: Vec<_> = info
        .iter()
        .map(|node| &node.as_ref().unwrap().address)
        .collect();
    let master = format!("127.0.0.1:{master}");
    assert_eq!(addresses, [&master]);
    let slots = cache.slots_of([&master]).await.unwrap();
    assert_eq!(slots, cache.slots_of([&master, &master]).await.unwrap());
    let replica = format!("127.0.0.1:{}", redis.replica().unwrap());
    let error = cache.slots_of([&replica]).await.unwrap_err().to_string();
    assert!(error.contains(&master), "{error}");

    let url = redis.url().replace("s3cret", "wr0ng");
    let error = refused(config(&url)).await;
    assert!(
        error.contains("WRONGPASS") && error.contains(&master),
        "{error}"
    );
    assert!(!error.contains("wr0ng"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_of_writes_goes_on_over_a_fail_over_and_nothing_of_it_is_missing() {
    let redis = Arc::new(RedisSentinel::start().unwrap());
    let cache = connect(&[redis.url()]).await;
    let old = redis.master().unwrap();
    let handing_over = tokio::task::spawn_blocking({
        let redis = Arc::clone(&redis);
        move || redis.hand_over().unwrap()
    });
    let mut written = 0;
    // On, until some was written after the fail-over.
    loop {
        let is_over = handing_over.is_finished();
        write_all(&cache, &format!("batch-{written}"), 200).await;
        written += 1;
        if is_over {
            break;
        }
    }
    let new = handing_over.await.unwrap();
    assert_ne!(old, new);
    assert_eq!(keys_on(&redis, new), written * 200);
    // The old one has not refused for ever: it follows the new one.
    redis.wait_until_replica(old).unwrap();
    write_all(&cache, "afterwards", 200).await;
    assert_eq!(keys_on(&redis, new), (written + 1) * 200);
    cache.check().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_master_is_replaced_by_its_replica_also_when_it_comes_back() {
    let redis = RedisSentinel::start().unwrap();
    let cache = connect(&[redis.url()]).await;
    let (old, new) = (redis.master().unwrap(), redis.replica().unwrap());
    write_all(&cache, "before", 600).await;
    redis.wait_until_replicated().unwrap();
    redis.kill(old).unwrap();
    write_all(&cache, "after", 600).await;
    assert_eq!(redis.master().unwrap(), new);
    assert_eq!(keys_on(&redis, new), 1200);

    redis.restart(old).unwrap();
    write_all(&cache, "back", 600).await;
    redis.wait_until_replica(old).unwrap();
    write_all(&cache, "replica", 600).await;
    assert_eq!(keys_on(&redis, new), 2400);
    assert_eq!(present(&cache, &items("back", 600)).await, 600);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_replica_is_noticed_while_the_old_master_still_serves() {
    let redis = RedisSentinel::start().unwrap();
    let cache = connect(&[redis.url()]).await;
    let old = redis.master().unwrap();
    write_all(&cache, "before", 10).await;
    let new = redis.fail_over().unwrap();
    // Nobody tells the old master: it goes on as one.
    redis.forget_replicas().unwrap();
    let begun = Instant::now();
    let mut batch = 0;
    while keys_on(&redis, new) == 10 {
        assert!(begun.elapsed() < PATIENCE, "it is never written to");
        batch += 1;
        write_all(&cache, &format!("batch-{batch}"), 10).await;
    }
    let info = redis.cli(old, &["INFO", "replication"]).unwrap();
    assert!(info.contains("role:master"), "{info}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_that_is_demoted_under_our_hands_is_left_for_the_one_that_the_sentinels_name() {
    let redis = RedisSentinel::start().unwrap();
    let cache = connect(&[redis.url()]).await;
    let some = items("some", 100);
    // Right before the flush is sent, so that the connection is open and leads to what is a replica then.
    let permit = Watching::new(|before| {
        if before == 0 {
            let old = redis.master().unwrap();
            let new = redis.fail_over().unwrap().to_string();
            redis.forget_replicas().unwrap();
            let told = redis.cli(old, &["REPLICAOF", "127.0.0.1", &new]).unwrap();
            assert_eq!(told, "OK");
        }
        Ok(())
    });
    let outcomes = cache.write(&permit, WriteMode::Add, &some).await.unwrap();
    assert!(all(&outcomes, &WriteOutcome::Written), "{outcomes:?}");
    assert_eq!(keys_on(&redis, redis.master().unwrap()), 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_of_sentinels_serves_while_one_of_them_does() {
    let redis = RedisSentinel::start().unwrap();
    let sentinels = redis.sentinel_ports();
    redis.kill(sentinels[0]).unwrap();
    redis.stop(sentinels[1]).unwrap();
    let cache = connect(&[redis.url()]).await;
    write_all(&cache, "one", 100).await;
    redis.kill(sentinels[2]).unwrap();
    // Nobody can say where it is, and it is where it was.
    write_all(&cache, "none", 100).await;
    let begun = Instant::now();
    let mut batches = 0;
    // For longer than they are let alone.
    while begun.elapsed() < Duration::from_secs(1) {
        batches += 1;
        write_all(&cache, &format!("later-{batches}"), 100).await;
    }
    assert_eq!(keys_on(&redis, redis.ports()[0]), 200 + batches * 100);

    let error = Cache::connect(config(&redis.url())).await.unwrap_err();
    assert!(matches!(error, CacheError::NoMaster { .. }), "{error:?}");
    let said = explained(&error);
    for port in sentinels {
        assert!(
            said.contains(&format!("sentinel 127.0.0.1:{port} ")),
            "{said}"
        );
    }
    assert!(said.contains("nobody listens"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_sentinels_say_in_place_of_a_master_is_told_with_who_said_it() {
    let redis = RedisSentinel::start().unwrap();
    let error = refused(config(&redis.url_for("other"))).await;
    for port in redis.sentinel_ports() {
        let said = format!("sentinel 127.0.0.1:{port} knows no master of this name");
        assert!(error.contains(&said), "{error}");
    }
    assert!(error.contains("\"other\""), "{error}");

    // The port of a node in place of a sentinel's.
    let node = redis.master().unwrap();
    let error = refused(config(&format!("redis+sentinel://127.0.0.1:{node}/main"))).await;
    assert!(error.contains("unknown command"), "{error}");

    // A master that is dead, and no replica yet to take its place.
    redis.kill(node).unwrap();
    let error = refused(config(&redis.url())).await;
    let named = format!("names 127.0.0.1:{node}: ");
    assert!(
        error.contains(&named) && error.contains("nobody listens"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_with_a_password_get_theirs_and_never_that_of_the_nodes() {
    let (nodes, sentinels) = (
        [("requirepass", "data-s3cret")],
        [("requirepass", "watch-s3cret")],
    );
    let redis = RedisSentinel::start_with(&nodes, &sentinels).unwrap();
    let error = refused(config(&redis.url())).await;
    assert!(error.contains("NOAUTH"), "{error}");
    let with = |password| {
        config(&redis.url())
            .with_sentinel_login(None, password)
            .unwrap()
    };
    let error = refused(with("wr0ng-s3cret")).await;
    assert!(
        error.contains("WRONGPASS") && !error.contains("s3cret"),
        "{error}"
    );
    let cache = Cache::connect(with("watch-s3cret")).await.unwrap();
    write_all(&cache, "some", 100).await;
    let url = format!("{}?sentinel_password=watch-s3cret", redis.url());
    Cache::connect(config(&url))
        .await
        .unwrap()
        .check()
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sentinels_and_master_are_reached_over_tls() {
    let authority = Authority::new().unwrap();
    let identity = authority.for_this_machine().unwrap();
    let tls = ServerTls {
        authority: &authority,
        identity: &identity,
        demands_certificate: true,
    };
    let redis = RedisSentinel::start_with_tls(tls, &[("requirepass", "right")]).unwrap();
    let ours = authority.for_client("warm").unwrap();
    let files = TlsFiles {
        ca: Some(authority.certificate()),
        identity: Some((ours.certificate, ours.key)),
    };
    assert!(redis.url().starts_with("rediss+sentinel://"));
    let cache = Cache::connect(config(&redis.url()).with_tls(&files).unwrap());
    let cache = cache.await.unwrap();
    write_all(&cache, "some", 600).await;
    let new = redis.hand_over().unwrap();
    write_all(&cache, "more", 600).await;
    assert_eq!(keys_on(&redis, new), 1200);

    let strangers = TlsFiles {
        ca: Some(authority.certificate()),
        identity: None,
    };
    let error = refused(config(&redis.url()).with_tls(&strangers).unwrap()).await;
    assert!(error.contains("certificate"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_the_sentinels_call_the_master_is_not_connected_to() {
    let redis = RedisSentinel::start().unwrap();
    let master = redis.master().unwrap();
    let another = Redis::start().unwrap();
    let port = another.port().to_string();
    let told = redis
        .cli(master, &["REPLICAOF", "127.0.0.1", &port])
        .unwrap();
    assert_eq!(told, "OK");
    let error = refused(config(&redis.url())).await;
    let named = format!("names 127.0.0.1:{master}: it is a replica now");
    assert!(error.contains(&named), "{error}");
}
