//! What nodes say of themselves, and what asking them costs.

use stoke_harness::{Redis, RedisCluster};
use stoke_worker::cache::FailureKind;
use stoke_worker::permit::{Stopped, Unlimited};

use crate::permits::Watching;
use crate::{connect, connect_impatiently};

#[tokio::test]
async fn a_node_tells_its_memory_its_limit_and_its_evictions() {
    let redis =
        Redis::start_with(&[("maxmemory", "4mb"), ("maxmemory-policy", "allkeys-random")]).unwrap();
    let cache = connect(&[redis.url()]).await;
    let before = cache.info(&Unlimited).await.unwrap().remove(0).unwrap();
    assert_eq!(before.maxmemory_bytes, 4 << 20);
    assert!(
        before.used_memory_bytes > 0 && before.evicted_keys == 0,
        "{before:?}"
    );
    let fill = "for i = 1, 20000 do redis.call('SET', 'k' .. i, string.rep('x', 500)) end";
    redis.cli(&["EVAL", fill, "0"]).unwrap();
    // Keys are evicted before a command, and a script is one.
    redis.cli(&["SET", "one", "more"]).unwrap();
    let after = cache.info(&Unlimited).await.unwrap().remove(0).unwrap();
    assert!(after.evicted_keys > 0, "{after:?}");
    assert_eq!(
        (&after.run_id, &after.address),
        (&before.run_id, &before.address)
    );
    redis.restart().unwrap();
    // The first call finds its connection broken.
    let _ = cache.info(&Unlimited).await;
    let anew = cache.info(&Unlimited).await.unwrap().remove(0).unwrap();
    assert!(
        anew.run_id != after.run_id && anew.evicted_keys == 0,
        "{anew:?}"
    );
}

#[tokio::test]
async fn each_node_of_a_cluster_is_asked_once_for_a_token_each() {
    let cluster = RedisCluster::start(3).unwrap();
    let cache = connect(&cluster.urls()).await;
    let permit = Watching::new(|_| Ok(()));
    let nodes = cache.info(&permit).await.unwrap();
    let mut ids: Vec<String> = nodes.into_iter().map(|node| node.unwrap().run_id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((ids.len(), permit.passes()), (3, vec![1, 1, 1]));
    let permit = Watching::new(|_| Ok(()));
    cache.ping(&permit).await.unwrap();
    assert_eq!(permit.passes(), [1, 1, 1]);
    let stopped = Watching::new(|_| Err(Stopped));
    assert_eq!(cache.info(&stopped).await.unwrap_err(), Stopped);
}

#[tokio::test]
async fn a_node_that_is_gone_is_said_to_be_so() {
    let redis = Redis::start().unwrap();
    let cache = connect_impatiently(&[redis.url()]).await;
    redis.kill().unwrap();
    let _ = cache.info(&Unlimited).await;
    let error = cache.info(&Unlimited).await.unwrap().remove(0).unwrap_err();
    assert_eq!(error.kind, FailureKind::Unreachable, "{error}");
    assert!(error.reason.contains(&redis.port().to_string()), "{error}");
}
