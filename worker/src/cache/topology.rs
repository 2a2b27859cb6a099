//! The slot map in use, and how it is read anew: by one call at a time, and not too often, however many commands were
//! answered with MOVED.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use redis::Pipeline;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::addr::NodeAddr;
use super::node::Nodes;
use super::slot_map::SlotMap;

/// The least time between two readings of the slot map. In between commands follow their redirections.
const REFRESH_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// How many nodes are asked for the slot map until one answers.
const ASKED_MAX: usize = 3;

/// The slot map, and the nodes that can be asked for a newer one.
pub(crate) struct Topology {
    map: RwLock<Arc<SlotMap>>,
    /// The nodes that the configuration names; none where the cache is no cluster and its map never changes.
    seeds: Vec<NodeAddr>,
    /// Held while the map is read anew.
    refreshing: Semaphore,
    /// When that was begun last.
    begun: Mutex<Option<Instant>>,
}

impl Topology {
    pub(crate) fn standalone(node: NodeAddr) -> Self {
        Self::new(SlotMap::standalone(node), Vec::new())
    }

    pub(crate) fn cluster(map: SlotMap, seeds: Vec<NodeAddr>) -> Self {
        Self::new(map, seeds)
    }

    fn new(map: SlotMap, seeds: Vec<NodeAddr>) -> Self {
        Self {
            map: RwLock::new(Arc::new(map)),
            seeds,
            refreshing: Semaphore::new(1),
            begun: Mutex::default(),
        }
    }

    pub(crate) fn is_cluster(&self) -> bool {
        !self.seeds.is_empty()
    }

    /// The map in use.
    pub(crate) fn map(&self) -> Arc<SlotMap> {
        Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the map anew, because `seen` proved wrong; does nothing where it is no longer in use, or was read only
    /// just now, or where no node answers.
    pub(crate) async fn refresh(&self, nodes: &Nodes, seen: &Arc<SlotMap>) {
        if !self.is_cluster() {
            return;
        }
        // It is never closed, so there is no error to look at.
        let _turn = self.refreshing.acquire().await;
        if !Arc::ptr_eq(seen, &self.map()) || !self.is_due() {
            return;
        }
        for addr in self.candidates(nodes, seen) {
            if let Some(map) = ask(nodes, &addr).await {
                tracing::debug!(node = %addr, owners = map.nodes().len(), "slot map read anew");
                nodes.retain(map.nodes());
                *self.map.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(map);
                return;
            }
        }
        tracing::warn!("no node of the cluster answers with its slot map");
    }

    /// Whether enough time has gone by; takes note of this reading.
    fn is_due(&self) -> bool {
        let now = Instant::now();
        let mut begun = self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let due = begun.is_none_or(|begun| now - begun >= REFRESH_INTERVAL_MIN);
        if due {
            *begun = Some(now);
        }
        due
    }

    /// Whom to ask, those first that are connected: what is dead is not.
    fn candidates(&self, nodes: &Nodes, seen: &SlotMap) -> Vec<NodeAddr> {
        let mut addrs: Vec<_> = seen.nodes().to_vec();
        addrs.extend(
            self.seeds
                .iter()
                .filter(|seed| !seen.nodes().contains(seed))
                .cloned(),
        );
        addrs.sort_by_key(|addr| !nodes.get(addr).is_connected());
        addrs.truncate(ASKED_MAX);
        addrs
    }
}

/// The slot map as the node at `addr` has it; `None` where it does not answer, or knows no owners.
async fn ask(nodes: &Nodes, addr: &NodeAddr) -> Option<SlotMap> {
    let node = nodes.get(addr);
    let connection = node.connection().await.ok()?;
    let answer = node
        .send(connection, &cluster_slots(), 0)
        .await
        .ok()?
        .pop()?;
    let map = SlotMap::parse(&answer, addr).ok()?;
    (!map.nodes().is_empty()).then_some(map)
}

/// The command that asks for the slot map.
pub(crate) fn cluster_slots() -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.cmd("CLUSTER").arg("SLOTS");
    pipeline
}
