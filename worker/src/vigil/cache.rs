//! A cache's own probes, by one `INFO` to each node every few seconds: how full its fullest node is, and how many keys it
//! evicts. And its canaries: a `PING` to each node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stoke_core::names::{CacheName, Resource};
use stoke_core::units::Moment;

use crate::cache::{Cache, NodeInfo};
use crate::permit::{Permit as _, Stopped};
use crate::reach::cache_text;
use crate::vitals::Outcome;
use crate::worker::Shared;

/// How often the nodes are asked.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// What the readings are called.
const MEMORY: &str = "memory";
const EVICTIONS: &str = "evictions";

/// Looks at the cache again and again.
pub(super) async fn probe(shared: Arc<Shared>, name: CacheName, vigil: u64) {
    let resource = Resource::Cache(name.clone());
    let Some(vitals) = shared.vitals.get(&resource).map(Arc::clone) else {
        return;
    };
    let mut next = tokio::time::interval(LOOK_EVERY);
    next.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut evictions = Evictions::default();
    loop {
        next.tick().await;
        let looked = tokio::time::timeout(LOOK_EVERY, look(&shared, &name)).await;
        let looked = looked.unwrap_or_else(|_| {
            let time = humantime::format_duration(LOOK_EVERY);
            Err(format!("the nodes' INFO is not there within {time}: either the cache is out of reach, or its budget leaves no command for it"))
        });
        match looked {
            Ok(nodes) => {
                vitals.probed(vigil, MEMORY, memory(&nodes));
                if let Some(rate) = evictions.rate(shared.clock.now(), &nodes) {
                    vitals.probed(vigil, EVICTIONS, Ok(rate));
                }
            }
            Err(why) => {
                tracing::warn!(%resource, why, "a cache's probes gave no number");
                vitals.probed(vigil, MEMORY, Err(why.clone()));
                vitals.probed(vigil, EVICTIONS, Err(why));
            }
        }
    }
}

/// One canary to each node; what comes of it is seen where all answers are.
pub(super) async fn ping(shared: &Shared, name: &CacheName) {
    let Some(gate) = shared.gates.get(&Resource::Cache(name.clone())) else {
        return;
    };
    let permit = gate.vigil();
    let (Ok(_place), Some(Ok(cache))) = (permit.enter().await, shared.cache(name).await) else {
        return;
    };
    // Stopped: there is no grant.
    let _ = cache.ping(&permit).await;
}

/// What each node says, or why one does not.
async fn look(shared: &Shared, name: &CacheName) -> Result<Vec<NodeInfo>, String> {
    let resource = Resource::Cache(name.clone());
    let connected = shared.cache(name).await;
    let cache: Arc<Cache> = match connected {
        Some(Ok(cache)) => cache,
        Some(Err(error)) => return Err(cache_text(name, &error)),
        None => return Err(format!("this worker does not know the {resource}")),
    };
    let gate = shared.gates.get(&resource);
    let gate = gate.ok_or_else(|| format!("this worker does not know the {resource}"))?;
    let permit = gate.vigil();
    let no_share = |Stopped| {
        format!(
            "this worker has no share of the budget of {resource} in force: nothing is asked without one"
        )
    };
    let _place = permit.enter().await.map_err(no_share)?;
    let nodes = cache.info(&permit).await.map_err(no_share)?;
    let nodes = nodes.into_iter().collect::<Result<Vec<_>, _>>();
    nodes.map_err(|error| error.to_string())
}

/// How much of its memory the fullest node uses: 1 is all of it.
#[expect(
    clippy::cast_precision_loss,
    reason = "bytes, of which a share is told"
)]
fn memory(nodes: &[NodeInfo]) -> Outcome {
    let limited = nodes.iter().filter(|node| node.maxmemory_bytes > 0);
    let shares = limited.map(|node| node.used_memory_bytes as f64 / node.maxmemory_bytes as f64);
    shares.reduce(f64::max).ok_or_else(|| {
        "no node of the cache has a maxmemory, so there is nothing to compare its memory with: set one (CONFIG SET maxmemory), \
         or remove the guard on memory"
            .to_owned()
    })
}

/// How many keys are evicted a second, from two looks at counters that begin anew whenever a node does.
#[derive(Debug, Default)]
struct Evictions {
    before: Option<(Moment, BTreeMap<String, NodeInfo>)>,
}

impl Evictions {
    /// Keys a second, over all nodes, since the last look; `None` where there was none. A node that has come, or was
    /// started anew, counts from the next look on.
    #[expect(clippy::cast_precision_loss, reason = "a number of keys")]
    fn rate(&mut self, now: Moment, nodes: &[NodeInfo]) -> Option<f64> {
        let by_address = nodes
            .iter()
            .map(|node| (node.address.clone(), node.clone()));
        let (then, before) = self.before.replace((now, by_address.collect()))?;
        let evicted: u64 = nodes
            .iter()
            .filter_map(|node| {
                let before = before.get(&node.address)?;
                let same = before.run_id == node.run_id;
                // Below what it was: somebody has reset it.
                let since = node.evicted_keys.checked_sub(before.evicted_keys);
                same.then(|| since.unwrap_or(node.evicted_keys))
            })
            .sum();
        Some(evicted as f64 / now.since(then).as_secs_f64().max(f64::EPSILON))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(address: &str, run_id: &str, evicted_keys: u64) -> NodeInfo {
        NodeInfo {
            address: address.to_owned(),
            run_id: run_id.to_owned(),
            used_memory_bytes: 50,
            maxmemory_bytes: 100,
            evicted_keys,
            keyspace_hits: 0,
            keyspace_misses: 0,
        }
    }

    fn at(seconds: u64) -> Moment {
        Moment::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn the_fullest_node_is_told_of_and_one_without_a_limit_is_not() {
        let full = NodeInfo {
            used_memory_bytes: 90,
            ..node("b", "2", 0)
        };
        let unlimited = NodeInfo {
            maxmemory_bytes: 0,
            ..node("c", "3", 0)
        };
        let all = [node("a", "1", 0), full, unlimited.clone()];
        assert_eq!(memory(&all), Ok(0.9));
        assert!(memory(&[unlimited]).unwrap_err().contains("maxmemory"));
    }

    #[test]
    fn evictions_are_a_rate_over_all_nodes_and_never_negative() {
        let mut evictions = Evictions::default();
        let first = [node("a", "1", 100), node("b", "2", 1000)];
        assert_eq!(evictions.rate(at(0), &first), None);
        let more = [node("a", "1", 150), node("b", "2", 1050)];
        assert_eq!(evictions.rate(at(5), &more), Some(20.0));
        let restarted = [node("a", "9", 5), node("b", "2", 1100)];
        assert_eq!(evictions.rate(at(10), &restarted), Some(10.0), "only b");
        let reset = [node("a", "9", 5), node("b", "2", 50)];
        assert_eq!(
            evictions.rate(at(15), &reset),
            Some(10.0),
            "b since its reset"
        );
        let joined = [node("a", "9", 5), node("b", "2", 50), node("c", "3", 9999)];
        assert_eq!(evictions.rate(at(20), &joined), Some(0.0));
    }
}
