//! The caches that are loaded, and what came to be in them, as they say themselves.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use redis::Connection;
use stoke_core::slot::Slot;
use stoke_harness::{Redis, RedisCluster};

use super::origin::Origin;

/// How long all entries live: everybody writes them so, and what is left of it says when one was written.
pub(super) const TTL: Duration = Duration::from_secs(86_400);

/// How many keys are asked about at one time: Redis answers so many within a millisecond.
const ASKED_AT_ONCE: u64 = 1_000;

/// How many values are compared with the origin's.
pub(super) const COMPARED: u64 = 500;

/// A standalone Redis, or a cluster.
pub(super) enum Cache {
    Standalone(Box<Redis>),
    Cluster(RedisCluster),
}

/// How many nodes the cluster has.
const NODES: usize = 3;

/// When each key was written, in milliseconds since the epoch: by rank.
pub(super) struct Written(pub(super) Vec<u64>);

impl Cache {
    pub(super) fn standalone() -> Result<Self> {
        Ok(Self::Standalone(Box::new(Redis::start()?)))
    }

    pub(super) fn cluster() -> Result<Self> {
        Ok(Self::Cluster(RedisCluster::start(NODES)?))
    }

    /// How clients reach its nodes, in the order of their slots.
    pub(super) fn urls(&self) -> Vec<String> {
        match self {
            Self::Standalone(redis) => vec![redis.url()],
            Self::Cluster(cluster) => cluster.urls(),
        }
    }

    /// The ports of its nodes.
    pub(super) fn ports(&self) -> Vec<u16> {
        match self {
            Self::Standalone(redis) => vec![redis.port()],
            Self::Cluster(cluster) => cluster.ports(),
        }
    }

    /// Forgets everything.
    pub(super) fn empty(&self) -> Result<()> {
        for mut node in self.connect()? {
            redis::cmd("FLUSHALL").arg("SYNC").exec(&mut node)?;
        }
        Ok(())
    }

    /// How much time of the processors its nodes say to have had.
    pub(super) fn cpu(&self) -> Result<Duration> {
        let mut seconds = 0.0;
        for mut node in self.connect()? {
            let info: String = redis::cmd("INFO").arg("cpu").query(&mut node)?;
            let mut values = info.lines().filter_map(|line| {
                let (name, value) = line.split_once(':')?;
                ["used_cpu_sys", "used_cpu_user"]
                    .contains(&name)
                    .then(|| value.trim().parse::<f64>())
            });
            seconds += values.try_fold(0.0, |sum, value| {
                Ok::<_, std::num::ParseFloatError>(sum + value?)
            })?;
        }
        Ok(Duration::from_secs_f64(seconds))
    }

    /// Looks that it has the first `count` ranks of the origin and nothing else, that values are the origin's, and when each
    /// was written.
    pub(super) fn check(&self, origin: &Origin, count: u64) -> Result<Written> {
        let mut nodes = self.connect()?;
        let mut found = 0;
        for node in &mut nodes {
            found += redis::cmd("DBSIZE").query::<u64>(node)?;
        }
        ensure!(
            found == count,
            "{found} keys are in the cache, and should be {count}"
        );
        self.compare(&mut nodes, origin, count)?;
        let mut moments = vec![0; usize::try_from(count)?];
        for first in (0..count).step_by(usize::try_from(ASKED_AT_ONCE)?) {
            let ranks = first..count.min(first + ASKED_AT_ONCE);
            for (node, own) in by_node(origin, ranks, nodes.len()).into_iter().enumerate() {
                let mut asked = redis::pipe();
                for (_, key) in &own {
                    asked.cmd("PTTL").arg(key);
                }
                let left: Vec<i64> = asked.query(&mut nodes[node])?;
                let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
                for ((rank, key), left) in own.iter().zip(left) {
                    let Ok(left) = u64::try_from(left) else {
                        bail!("{key}, of rank {rank}, is not there, or lives for ever");
                    };
                    let written = now.as_millis() + u128::from(left) - TTL.as_millis();
                    moments[usize::try_from(*rank)?] = u64::try_from(written)?;
                }
            }
        }
        Ok(Written(moments))
    }

    fn compare(&self, nodes: &mut [Connection], origin: &Origin, count: u64) -> Result<()> {
        let step = usize::try_from((count / COMPARED).max(1))?;
        let ranks: Vec<u64> = (0..count).step_by(step).collect();
        for (rank, wanted) in ranks.iter().zip(origin.values(&ranks)?) {
            let key = origin.key(*rank);
            let node = node_of(&key, nodes.len());
            let found: Vec<u8> = redis::cmd("GET").arg(&key).query(&mut nodes[node])?;
            let found: serde_json::Value = serde_json::from_slice(&found)
                .with_context(|| format!("reading the value of {key}"))?;
            ensure!(
                found == wanted,
                "the value of {key} is {found}, and should be {wanted}"
            );
        }
        Ok(())
    }

    fn connect(&self) -> Result<Vec<Connection>> {
        let urls = self.urls();
        let connect = |url: &String| Ok(redis::Client::open(url.as_str())?.get_connection()?);
        urls.iter().map(connect).collect()
    }
}

impl Written {
    /// From the first to the last.
    pub(super) fn lasted(&self) -> Duration {
        let (first, last) = (self.0.iter().min(), self.0.iter().max());
        let millis = first.zip(last).map(|(first, last)| last - first);
        Duration::from_millis(millis.unwrap_or_default())
    }
}

/// The node that owns a key, of so many with an equal run of slots each.
pub(super) fn node_of(key: &str, nodes: usize) -> usize {
    let slot = usize::from(Slot::of(key.as_bytes()).0);
    // The run of node n begins with slot n × 16,384 ÷ nodes, rounded down.
    ((slot + 1) * nodes - 1) / usize::from(Slot::COUNT)
}

/// Each node's keys, with their ranks.
fn by_node(origin: &Origin, ranks: std::ops::Range<u64>, nodes: usize) -> Vec<Vec<(u64, String)>> {
    let mut by_node = vec![Vec::new(); nodes];
    for rank in ranks {
        let key = origin.key(rank);
        by_node[node_of(&key, nodes)].push((rank, key));
    }
    by_node
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_looked_for_where_the_cluster_has_them() {
        let cluster = RedisCluster::start(NODES).unwrap();
        // A wrong rule shows where the nodes' runs of slots meet.
        for slot in [0, 5_460, 5_461, 10_921, 10_922, 16_383] {
            let mut keys = (0..).map(|n| format!("product:{n}"));
            let key = keys
                .find(|key| Slot::of(key.as_bytes()) == Slot(slot))
                .unwrap();
            let port = cluster.ports()[node_of(&key, NODES)];
            let said = cluster.cli(port, &["SET", &key, "v"]).unwrap();
            assert_eq!(said, "OK", "{key}, of slot {slot}");
        }
    }

    #[test]
    fn it_lasted_from_the_first_to_the_last() {
        assert_eq!(
            Written(vec![30, 10, 25]).lasted(),
            Duration::from_millis(20)
        );
        assert_eq!(Written(vec![]).lasted(), Duration::ZERO);
    }
}
