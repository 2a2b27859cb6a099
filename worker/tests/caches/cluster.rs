//! A Redis Cluster.

use std::collections::HashSet;

use stoke_harness::RedisCluster;
use stoke_worker::cache::{Cache, FailureKind, Item, WriteMode, WriteOutcome};
use stoke_worker::permit::{Stopped, Unlimited};

use crate::permits::Watching;
use crate::{PARTIAL, all, connect, connect_impatiently, failure, item, items, present};

/// How many errors of this kind the node has answered with.
fn errors(cluster: &RedisCluster, port: u16, code: &str) -> u64 {
    let stats = cluster.cli(port, &["INFO", "errorstats"]).unwrap();
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix(&format!("errorstat_{code}:count=")));
    line.map_or(0, |count| count.trim_end().parse().unwrap())
}

fn keys_on(cluster: &RedisCluster, port: u16) -> usize {
    cluster.cli(port, &["DBSIZE"]).unwrap().parse().unwrap()
}

/// Which of the items are the node's own: it held them when the whole cluster did. Leaves the cluster empty.
async fn owned_by(cluster: &RedisCluster, port: u16, cache: &Cache, items: &[Item]) -> Vec<bool> {
    let outcomes = cache
        .write(&Unlimited, WriteMode::Add, items)
        .await
        .unwrap();
    assert!(all(&outcomes, &WriteOutcome::Written), "{outcomes:?}");
    let keys = cluster.cli(port, &["KEYS", "*"]).unwrap();
    let keys: HashSet<&str> = keys.lines().collect();
    for port in cluster.ports() {
        cluster.cli(port, &["FLUSHALL"]).unwrap();
    }
    let owned: Vec<_> = items
        .iter()
        .map(|item| keys.contains(std::str::from_utf8(&item.key).unwrap()))
        .collect();
    assert!(owned.contains(&true) && owned.contains(&false));
    owned
}

#[tokio::test(flavor = "multi_thread")]
async fn every_key_goes_straight_to_its_node() {
    let cluster = RedisCluster::start_with(3, &[("requirepass", "right")]).unwrap();
    // One URL is enough: the other nodes are found, and entered with the same password.
    let cache = connect(&cluster.urls()[1..2]).await;
    assert!(cache.is_cluster());
    let mut all_items = items("plain", 3000);
    all_items.extend(items("{tag}", 200));
    all_items.extend((0..200).map(|n| item(format!("{{user:{n}}}.cart"), "v")));
    all_items
        .extend(["{}", "{}x", "}{", "{open", "a{b}{c}", "{{b}}", ""].map(|key| item(key, "v")));
    all_items.extend((0..=255).map(|byte| item(vec![byte, b'{', byte, 0, b'}', byte], "v")));
    let permit = Watching::new(|_| Ok(()));
    let outcomes = cache
        .write(&permit, WriteMode::Add, &all_items)
        .await
        .unwrap();
    assert!(all(&outcomes, &WriteOutcome::Written));
    let passed: u32 = permit.passes().iter().sum();
    assert_eq!(usize::try_from(passed).unwrap(), all_items.len());
    assert_eq!(
        cluster.key_count().unwrap(),
        u64::try_from(all_items.len()).unwrap()
    );
    assert_eq!(present(&cache, &all_items).await, all_items.len());
    for port in cluster.ports() {
        assert!(keys_on(&cluster, port) > 900, "each node has its share");
        assert_eq!(
            errors(&cluster, port, "MOVED"),
            0,
            "no key was sent to a node that does not own it"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_the_writes_to_all_nodes() {
    let cluster = RedisCluster::start(3).unwrap();
    let cache = connect(&cluster.urls()).await;
    let permit = Watching::new(|before| if before < 4 { Ok(()) } else { Err(Stopped) });
    let many = items("many", 12_000);
    assert_eq!(
        cache.write(&permit, WriteMode::Add, &many).await,
        Err(Stopped)
    );
    assert_eq!(
        cluster.key_count().unwrap(),
        4 * 500,
        "what had passed is written, and nothing else"
    );
}

/// The ids of the cluster's nodes, in the order of their ports.
fn ids(cluster: &RedisCluster) -> Vec<String> {
    cluster
        .ports()
        .iter()
        .map(|&port| cluster.cli(port, &["CLUSTER", "MYID"]).unwrap())
        .collect()
}

/// A slot on its way from one node to another.
pub(crate) struct Migration<'a> {
    cluster: &'a RedisCluster,
    slot: String,
    from: u16,
    to: u16,
    to_id: String,
}

impl<'a> Migration<'a> {
    /// Begins to move the slot of `key` from its owner to another node.
    pub(crate) fn begin(cluster: &'a RedisCluster, key: &str) -> Self {
        let ports = cluster.ports();
        let slot = cluster.cli(ports[0], &["CLUSTER", "KEYSLOT", key]).unwrap();
        let from = slot.parse::<usize>().unwrap() * ports.len() / 16_384;
        let to = (from + 1) % ports.len();
        let ids = ids(cluster);
        let (from_id, to_id) = (ids[from].clone(), ids[to].clone());
        let migration = Self {
            cluster,
            slot,
            from: ports[from],
            to: ports[to],
            to_id,
        };
        migration.set_slot(migration.to, "IMPORTING", &from_id);
        migration.set_slot(migration.from, "MIGRATING", &migration.to_id);
        migration
    }

    /// Moves the keys, then the slot.
    pub(crate) fn finish(&self) {
        let keys = self
            .cluster
            .cli(
                self.from,
                &["CLUSTER", "GETKEYSINSLOT", &self.slot, "10000"],
            )
            .unwrap();
        let port = self.to.to_string();
        let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "10000", "KEYS"];
        migrate.extend(keys.lines());
        assert_eq!(self.cluster.cli(self.from, &migrate).unwrap(), "OK");
        self.set_slot(self.to, "NODE", &self.to_id);
        self.set_slot(self.from, "NODE", &self.to_id);
        for port in self.cluster.ports() {
            self.set_slot(port, "NODE", &self.to_id);
        }
    }

    fn set_slot(&self, port: u16, state: &str, id: &str) {
        let answer = self
            .cluster
            .cli(port, &["CLUSTER", "SETSLOT", &self.slot, state, id])
            .unwrap();
        assert_eq!(answer, "OK");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_during_the_writing_loses_nothing() {
    let cluster = RedisCluster::start(3).unwrap();
    let cache = connect(&cluster.urls()).await;
    let moving = items("{moving}", 300);
    let elsewhere = items("elsewhere", 300);
    let count = |outcomes: &[WriteOutcome], wanted: &WriteOutcome| {
        outcomes.iter().filter(|o| *o == wanted).count()
    };

    let outcomes = cache
        .write(&Unlimited, WriteMode::Add, &moving[..100])
        .await
        .unwrap();
    assert!(all(&outcomes, &WriteOutcome::Written));
    let migration = Migration::begin(&cluster, "{moving}");

    // The first hundred are where they were; of the others the owner says ASK.
    let outcomes = cache
        .write(&Unlimited, WriteMode::Add, &moving[..200])
        .await
        .unwrap();
    assert!(all(&outcomes[..100], &WriteOutcome::Kept), "{outcomes:?}");
    assert!(
        all(&outcomes[100..], &WriteOutcome::Written),
        "{outcomes:?}"
    );
    assert!(errors(&cluster, migration.from, "ASK") >= 100);
    assert_eq!(present(&cache, &moving).await, 200);

    // The migration ends right before the flushes are sent: the old owner says MOVED.
    let both = [moving.clone(), elsewhere.clone()].concat();
    let permit = Watching::new(|before| {
        if before == 0 {
            migration.finish();
        }
        Ok(())
    });
    let outcomes = cache.write(&permit, WriteMode::Add, &both).await.unwrap();
    assert_eq!(count(&outcomes, &WriteOutcome::Kept), 200, "{outcomes:?}");
    assert_eq!(
        count(&outcomes, &WriteOutcome::Written),
        400,
        "{outcomes:?}"
    );
    assert_eq!(present(&cache, &both).await, 600);
    assert_eq!(cluster.key_count().unwrap(), 600);
    let left = cluster
        .cli(
            migration.from,
            &["CLUSTER", "COUNTKEYSINSLOT", &migration.slot],
        )
        .unwrap();
    let moved = cluster
        .cli(
            migration.to,
            &["CLUSTER", "COUNTKEYSINSLOT", &migration.slot],
        )
        .unwrap();
    assert_eq!((left.as_str(), moved.as_str()), ("0", "300"));

    // The slot map was read anew: nobody is asked in vain any more.
    let before = errors(&cluster, migration.from, "MOVED");
    assert!(before > 0, "the old owner had to say MOVED");
    cache
        .write(&Unlimited, WriteMode::Overwrite, &moving)
        .await
        .unwrap();
    assert_eq!(errors(&cluster, migration.from, "MOVED"), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_node_fails_its_own_commands_only() {
    let cluster = RedisCluster::start(3).unwrap();
    let cache = connect(&cluster.urls()).await;
    let full = cluster.ports()[0];
    let some = items("some", 600);
    let owned = owned_by(&cluster, full, &cache, &some).await;
    cluster
        .cli(full, &["CONFIG", "SET", "maxmemory", "1"])
        .unwrap();
    let outcomes = cache
        .write(&Unlimited, WriteMode::Add, &some)
        .await
        .unwrap();
    for (outcome, on_full) in outcomes.iter().zip(owned) {
        if on_full {
            let error = failure(outcome).unwrap();
            assert_eq!(error.kind, FailureKind::Memory);
            assert!(error.is_transient(), "keys expire");
            assert!(error.reason.contains("maxmemory"), "{}", error.reason);
        } else {
            assert_eq!(*outcome, WriteOutcome::Written);
        }
    }
    assert_eq!(keys_on(&cluster, full), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_fails_its_own_commands_until_it_is_back() {
    let cluster = RedisCluster::start_with(3, PARTIAL).unwrap();
    let cache = connect_impatiently(&cluster.urls()).await;
    let some = items("some", 600);
    let dead = cluster.ports()[2];
    // This also leaves an open connection to the node that dies.
    let owned = owned_by(&cluster, dead, &cache, &some).await;
    cluster.kill(dead).unwrap();
    let outcomes = cache
        .write(&Unlimited, WriteMode::Add, &some)
        .await
        .unwrap();
    for (outcome, on_dead) in outcomes.iter().zip(owned) {
        if on_dead {
            let error = failure(outcome).unwrap();
            assert!(error.is_transient(), "{error:?}");
        } else {
            assert_eq!(*outcome, WriteOutcome::Written);
        }
    }
    cluster.restart(dead).unwrap();
    cache
        .write(&Unlimited, WriteMode::Add, &some)
        .await
        .unwrap();
    assert_eq!(present(&cache, &some).await, 600);
}
