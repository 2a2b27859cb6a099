//! Connecting to a cache, and what is refused then.

use std::error::Error;

use stoke_harness::{Redis, RedisCluster};
use stoke_worker::cache::{Cache, CacheConfig, CacheError};

use crate::{PARTIAL, connect};

/// Everything that an error says, its causes included.
fn texts(error: &CacheError) -> String {
    let mut texts = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        texts += &format!(" {error} {error:?}");
        cause = error.source();
    }
    texts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_refused_without_being_repeated() {
    let redis = Redis::start_with(&[("requirepass", "right")]).unwrap();
    let port = redis.port();
    assert!(
        Cache::connect(CacheConfig::parse(&[redis.url()], None).unwrap())
            .await
            .is_ok()
    );
    for (url, password, reason) in [
        (
            format!("redis://:s3cret@127.0.0.1:{port}"),
            None,
            "WRONGPASS",
        ),
        (
            format!("redis://warm:s3cret@127.0.0.1:{port}"),
            None,
            "WRONGPASS",
        ),
        (
            format!("redis://127.0.0.1:{port}"),
            Some("s3cret"),
            "WRONGPASS",
        ),
        (format!("redis://127.0.0.1:{port}"), None, "NOAUTH"),
    ] {
        let config = CacheConfig::parse(&[url], password).unwrap();
        let error = Cache::connect(config).await.unwrap_err();
        assert!(matches!(error, CacheError::Denied { .. }), "{error:?}");
        let texts = texts(&error);
        assert!(texts.contains(reason), "{texts}");
        assert!(!texts.contains("s3cret"), "{texts}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_urls_are_only_for_clusters() {
    let redis = Redis::start().unwrap();
    let config = CacheConfig::parse(&[redis.url(), redis.url()], None).unwrap();
    let error = Cache::connect(config).await.unwrap_err();
    assert!(
        matches!(error, CacheError::SeveralStandalone { .. }),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_named() {
    let redis = Redis::start().unwrap();
    redis.kill().unwrap();
    let config = CacheConfig::parse(&[redis.url()], None).unwrap();
    let error = Cache::connect(config).await.unwrap_err();
    assert!(matches!(error, CacheError::Unreachable { .. }), "{error:?}");
    assert!(
        error
            .to_string()
            .contains(&format!("127.0.0.1:{}", redis.port())),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_any_owner_is_refused_and_one_that_lacks_some_is_told_of() {
    let cluster = RedisCluster::start_with(3, PARTIAL).unwrap();
    let port = cluster.ports()[0];
    cluster
        .cli(port, &["CLUSTER", "DELSLOTS", "5", "6", "100"])
        .unwrap();
    let error = connect(&cluster.urls()[..1]).await.check().await;
    let error = error.unwrap_err();
    let CacheError::Uncovered {
        count: 3,
        first: 5,
        last: 6,
        ..
    } = error
    else {
        panic!("{error:?}");
    };
    assert!(
        error
            .to_string()
            .contains("3 of 16384 slots uncovered, among them 5 to 6"),
        "{error}"
    );
    let alone = Redis::start_with(&[("cluster-enabled", "yes")]);
    let config = CacheConfig::parse(&[alone.as_ref().unwrap().url()], None).unwrap();
    let error = Cache::connect(config).await.unwrap_err();
    assert!(
        matches!(error, CacheError::Uncovered { count: 16384, .. }),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn any_url_that_answers_leads_to_the_cluster() {
    let cluster = RedisCluster::start_with(3, PARTIAL).unwrap();
    cluster.kill(cluster.ports()[0]).unwrap();
    let cache = connect(&cluster.urls()).await;
    assert!(cache.is_cluster());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_has_no_databases() {
    let cluster = RedisCluster::start(3).unwrap();
    let url = format!("{}/2", cluster.urls()[0]);
    let error = Cache::connect(CacheConfig::parse(&[url], None).unwrap())
        .await
        .unwrap_err();
    assert!(
        matches!(error, CacheError::NoDatabase { database: 2, .. }),
        "{error:?}"
    );
}
