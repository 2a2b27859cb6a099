//! A sample of the shop's traffic, and how much of it the cache could answer.
//!
//! Requests are drawn in proportion to the views of *all* products, not only of those that are warmed. Each asks
//! EXISTS of the node that owns its key, so that measuring neither loads a value nor counts as a hit or a miss.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use rand::SeedableRng;
use rand::distr::Distribution;
use rand::distr::weighted::WeightedIndex;
use rand::rngs::StdRng;
use redis::{Client, Connection, FromRedisValue, Value};
use stoke_core::slot::Slot;
use stoke_harness::RedisCluster;

/// How many requests are drawn: a hit rate of 94 % is then known to ± 0.2 points (one standard deviation).
pub(crate) const REQUESTS: u32 = 20_000;

/// Every run draws the same.
const SEED: u64 = 20_260_101;

/// Keys asked for in one pipeline.
const PIPELINE: usize = 1000;

/// Drawn requests.
pub(crate) struct Traffic {
    /// How often each product is asked for.
    requests: BTreeMap<usize, u32>,
}

impl Traffic {
    /// Draws [`REQUESTS`] requests by the views of each product, of product 1 first.
    pub(crate) fn sample(views: &[u64]) -> Result<Self> {
        let by_views = WeightedIndex::new(views).context("drawing requests")?;
        let mut rng = StdRng::seed_from_u64(SEED);
        let mut requests = BTreeMap::new();
        for _ in 0..REQUESTS {
            *requests.entry(by_views.sample(&mut rng) + 1).or_default() += 1;
        }
        Ok(Self { requests })
    }

    /// The share of requests whose key the cluster has: 0 to 1.
    pub(crate) fn hit_rate(&self, redis: &RedisCluster) -> Result<f64> {
        let mut nodes = connect(redis)?;
        let mut by_node = vec![Vec::new(); nodes.len()];
        for (product, requests) in &self.requests {
            let key = key_of(*product);
            let slot = Slot::of(key.as_bytes());
            let owner = nodes.iter().position(|node| node.owns(slot));
            let owner = owner.with_context(|| format!("no node owns slot {}", slot.0))?;
            by_node[owner].push((key, *requests));
        }
        let mut hits = 0;
        for (node, asked) in nodes.iter_mut().zip(by_node) {
            for asked in asked.chunks(PIPELINE) {
                hits += node.hits(asked)?;
            }
        }
        Ok(f64::from(hits) / f64::from(REQUESTS))
    }
}

/// The cache key of a product: as the workers' loader makes it.
pub(crate) fn key_of(product: usize) -> String {
    format!("product:{product}")
}

/// One node of the cluster.
struct Node {
    connection: Connection,
    /// The first and the last slot of each range that it owns.
    slots: Vec<(u16, u16)>,
}

impl Node {
    fn owns(&self, slot: Slot) -> bool {
        let owned = |(first, last): &(u16, u16)| (*first..=*last).contains(&slot.0);
        self.slots.iter().any(owned)
    }

    /// How many of the requests for these keys find theirs here.
    fn hits(&mut self, asked: &[(String, u32)]) -> Result<u32> {
        let mut pipeline = redis::pipe();
        for (key, _) in asked {
            pipeline.cmd("EXISTS").arg(key);
        }
        let found: Vec<bool> = pipeline
            .query(&mut self.connection)
            .context("asking Redis which keys exist")?;
        ensure!(found.len() == asked.len(), "Redis left keys unanswered");
        let hits = asked.iter().zip(found).filter(|(_, found)| *found);
        Ok(hits.map(|((_, requests), _)| requests).sum())
    }
}

/// Connects to every node and reads which slots it owns.
fn connect(redis: &RedisCluster) -> Result<Vec<Node>> {
    let mut nodes = Vec::new();
    for (url, port) in redis.urls().into_iter().zip(redis.ports()) {
        let client = Client::open(url).context("reading a node's URL")?;
        let mut connection = client.get_connection().context("connecting to Redis")?;
        let ranges: Vec<Vec<Value>> = redis::cmd("CLUSTER")
            .arg("SLOTS")
            .query(&mut connection)
            .context("asking Redis for its slots")?;
        let mut slots = Vec::new();
        for range in ranges {
            // First slot, last slot, then the nodes that serve them, the master first: its address, its port …
            let [first, last, master, ..] = &range[..] else {
                anyhow::bail!("CLUSTER SLOTS answered {range:?}")
            };
            let master = Vec::<Value>::from_redis_value_ref(master)?;
            if number(master.get(1))? == port {
                slots.push((number(Some(first))?, number(Some(last))?));
            }
        }
        nodes.push(Node { connection, slots });
    }
    Ok(nodes)
}

fn number(value: Option<&Value>) -> Result<u16> {
    let value = value.context("CLUSTER SLOTS left a number out")?;
    u16::from_redis_value_ref(value).context("reading a number of CLUSTER SLOTS")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

    use super::*;

    #[test]
    fn the_hit_rate_is_the_share_of_requests_whose_key_exists() {
        let redis = RedisCluster::start(3).unwrap();
        let views = [8000, 0, 1500, 500];
        let traffic = Traffic::sample(&views).unwrap();
        assert_eq!(traffic.hit_rate(&redis).unwrap(), 0.0);

        let port = redis.ports()[0];
        redis.cli(port, &["-c", "SET", &key_of(1), "x"]).unwrap();
        let first = traffic.hit_rate(&redis).unwrap();
        assert!((0.78..0.82).contains(&first), "{first}");

        for product in [2, 3, 4] {
            let key = key_of(product);
            redis.cli(port, &["-c", "SET", &key, "x"]).unwrap();
        }
        assert_eq!(traffic.hit_rate(&redis).unwrap(), 1.0);
    }

    #[test]
    fn every_run_draws_the_same_requests() {
        let views: Vec<u64> = (1..1000).collect();
        let one = Traffic::sample(&views).unwrap();
        let other = Traffic::sample(&views).unwrap();
        assert_eq!(one.requests, other.requests);
        assert_eq!(one.requests.values().sum::<u32>(), REQUESTS);
    }
}
