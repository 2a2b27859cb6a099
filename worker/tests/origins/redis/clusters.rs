//! From cluster to standalone and back, within one cluster, and while slots move.

use stoke_core::job::OnBadLine;
use stoke_core::slot::Slot;

use super::scanned::scan;
use super::*;

const KEYS: usize = 500;

fn keys() -> Vec<String> {
    (0..KEYS).map(|n| format!("old:{n}")).collect()
}

fn fill(cluster: &RedisCluster) {
    for key in keys() {
        let port = cluster.ports()[0];
        let set = ["-c", "SET", &key, &key, "PX", "3600000"];
        assert_eq!(cluster.cli(port, &set).unwrap().lines().last(), Some("OK"));
    }
}

fn at<'r>(cluster: &RedisCluster, words: &[&'r str]) -> String {
    let words: Vec<&'r str> = ["-c"].into_iter().chain(words.iter().copied()).collect();
    cluster.cli(cluster.ports()[0], &words).unwrap()
}

#[tokio::test]
async fn a_cluster_is_copied_to_a_standalone_redis_and_back_into_itself_under_other_names() {
    let (cluster, alone) = (RedisCluster::start(3).unwrap(), Redis::start().unwrap());
    fill(&cluster);
    let keys = keys();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let from = origin_at(&cluster.urls());
    let outcomes = copy(&from, &cache(&alone).await, How::Auto, &keys).await;
    assert_eq!(outcomes, vec![WriteOutcome::Written; KEYS]);
    assert_eq!(cli(&alone, "DBSIZE"), KEYS.to_string());
    assert_eq!(cli(&alone, "GET old:77"), "old:77");

    let renamed = |key: &str| key.replace("old:", "v2:");
    for how in [How::Dump, How::Typed] {
        // Within the cluster: most new names belong to other nodes than the old ones do.
        let loaded = read(&from, how, &keys).await;
        let items = items(&keys, &loaded, renamed);
        let into = cache_at(&cluster.urls()[2..]).await;
        let outcomes = write(&into, WriteMode::Overwrite, &items).await;
        assert_eq!(outcomes, vec![WriteOutcome::Written; KEYS], "{how:?}");
        for n in [0, 123, KEYS - 1] {
            let (old, new) = (format!("old:{n}"), format!("v2:{n}"));
            assert_eq!(at(&cluster, &["GET", &new]), old);
            let ends = [&old, &new].map(|key| at(&cluster, &["PEXPIRETIME", key]));
            assert_eq!(ends[0], ends[1], "{how:?}");
        }
    }
    let back = copy(
        &origin(&alone),
        &cache_at(&cluster.urls()).await,
        How::Dump,
        &keys,
    )
    .await;
    assert_eq!(back, vec![WriteOutcome::Kept; KEYS]);
}

/// Moves a slot with its keys from one node to another, up to where `until` says.
struct Move<'c> {
    cluster: &'c RedisCluster,
    slot: String,
    from: u16,
    to: u16,
}

impl<'c> Move<'c> {
    fn of(cluster: &'c RedisCluster, key: &str) -> Self {
        let slot = Slot::of(key.as_bytes()).0;
        let ports = cluster.ports();
        let owner = usize::from(slot) * ports.len() / 16_384;
        let (from, to) = (ports[owner], ports[(owner + 1) % ports.len()]);
        let slot = slot.to_string();
        Self {
            cluster,
            slot,
            from,
            to,
        }
    }

    fn id(&self, port: u16) -> String {
        self.cluster.cli(port, &["CLUSTER", "MYID"]).unwrap()
    }

    fn begin(&self) {
        let (source, target) = (self.id(self.from), self.id(self.to));
        self.set(self.to, &["IMPORTING", &source]);
        self.set(self.from, &["MIGRATING", &target]);
    }

    fn keys(&self) {
        let keys = self
            .cluster
            .cli(self.from, &["CLUSTER", "GETKEYSINSLOT", &self.slot, "1000"])
            .unwrap();
        let to = self.to.to_string();
        for key in keys.lines() {
            let migrate = ["MIGRATE", "127.0.0.1", &to, key, "0", "5000"];
            assert_eq!(self.cluster.cli(self.from, &migrate).unwrap(), "OK");
        }
    }

    fn end(&self) {
        let target = self.id(self.to);
        self.set(self.to, &["NODE", &target]);
        self.set(self.from, &["NODE", &target]);
    }

    fn set(&self, port: u16, words: &[&str]) {
        let words = [&["CLUSTER", "SETSLOT", &self.slot], words].concat();
        assert_eq!(self.cluster.cli(port, &words).unwrap(), "OK");
    }
}

#[tokio::test]
async fn keys_are_found_and_copied_wherever_their_slot_is_at_the_moment() {
    let (cluster, alone) = (RedisCluster::start(3).unwrap(), Redis::start().unwrap());
    fill(&cluster);
    let moved = Move::of(&cluster, "old:1");
    let from = origin_at(&cluster.urls());
    // It knows by now who owned what.
    read(&from, How::Dump, &["old:1"]).await;
    let into = cache(&alone).await;
    let copied = async |name: &str| {
        let loaded = read(&from, How::Dump, &["old:1"]).await;
        let items = items(&["old:1"], &loaded, |_| name.to_owned());
        assert_eq!(
            write(&into, WriteMode::Add, &items).await,
            [WriteOutcome::Written],
            "{name}"
        );
        assert_eq!(cli(&alone, &format!("GET {name}")), "old:1");
    };
    moved.begin();
    copied("begun").await;
    moved.keys();
    copied("asked").await;
    moved.end();
    copied("moved").await;
    let (found, _) = scan(&from, "old:{id}", "v2:{id}", OnBadLine::Fail)
        .await
        .unwrap();
    assert_eq!(found.len(), KEYS);
}

#[tokio::test]
async fn a_scan_with_a_slot_on_the_move_does_not_say_that_it_has_found_all() {
    let cluster = RedisCluster::start(3).unwrap();
    fill(&cluster);
    let moved = Move::of(&cluster, "old:1");
    moved.begin();
    let from = origin_at(&cluster.urls());
    let refused = scan(&from, "old:*", "{key}", OnBadLine::Fail)
        .await
        .unwrap_err();
    assert!(refused.contains("slots keep moving"), "{refused}");
    moved.keys();
    moved.end();
    cluster.wait_until_agreed().unwrap();
    let (found, _) = scan(&from, "old:*", "{key}", OnBadLine::Fail)
        .await
        .unwrap();
    assert_eq!(found.len(), KEYS);
}
