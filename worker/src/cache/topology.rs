//! Who owns what now, and how that is asked anew: by one call at a time, and not too often, however many commands failed.
//!
//! A standalone server's owner never changes. A cluster's nodes tell its slot map. Behind sentinels there is one owner, which
//! they name; they are asked now and then also while all goes well, as an old master that still lives takes writes for
//! seconds after another was promoted: all of them would be lost.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use redis::Pipeline;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::addr::NodeAddr;
use super::node::Nodes;
use super::sentinels::Sentinels;
use super::slot_map::SlotMap;

/// The least time between two readings. In between, commands follow their redirections, or wait.
const REFRESH_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// How often sentinels are asked while all goes well, and how long they are let alone after none of them led to a master: in
/// that case a call has waited for them in vain.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// How long a call may be kept waiting by such a look, and while it needs to know. The next time others are asked first.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
const FIND_WITHIN: Duration = Duration::from_secs(5);

/// How many nodes are asked for the slot map until one answers.
const ASKED_MAX: usize = 3;

/// What kind of a deployment it is, with whom to ask about it.
enum Kind {
    Standalone,
    /// With the nodes that the configuration names.
    Cluster(Vec<NodeAddr>),
    Sentinel(Box<Sentinels>),
}

/// The slot map, and whom to ask for a newer one.
pub(crate) struct Topology {
    kind: Kind,
    map: RwLock<Arc<SlotMap>>,
    /// Held while the map is read anew.
    refreshing: Semaphore,
    times: Mutex<Times>,
}

/// When there is to be asked again, at the earliest.
#[derive(Clone, Copy)]
struct Times {
    refresh: Instant,
    look: Instant,
}

impl Topology {
    pub(crate) fn standalone(node: NodeAddr) -> Self {
        Self::new(Kind::Standalone, SlotMap::of_one(node))
    }

    /// `seeds` are the nodes that the configuration names.
    pub(crate) fn cluster(map: SlotMap, seeds: Vec<NodeAddr>) -> Self {
        Self::new(Kind::Cluster(seeds), map)
    }

    pub(crate) fn sentinel(master: NodeAddr, sentinels: Sentinels) -> Self {
        Self::new(Kind::Sentinel(Box::new(sentinels)), SlotMap::of_one(master))
    }

    fn new(kind: Kind, map: SlotMap) -> Self {
        let now = Instant::now();
        Self {
            kind,
            map: RwLock::new(Arc::new(map)),
            refreshing: Semaphore::new(1),
            times: Mutex::new(Times {
                refresh: now,
                look: now,
            }),
        }
    }

    pub(crate) const fn is_cluster(&self) -> bool {
        matches!(self.kind, Kind::Cluster(_))
    }

    /// The map in use.
    pub(crate) fn map(&self) -> Arc<SlotMap> {
        Arc::clone(&self.map.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the map anew, because `seen` proved wrong; does nothing where it is no longer in use, or was read only
    /// just now, or where nobody answers.
    pub(crate) async fn refresh(&self, nodes: &Nodes, seen: &Arc<SlotMap>) {
        if matches!(self.kind, Kind::Standalone) {
            return;
        }
        // It is never closed, so there is no error to look at.
        let _turn = self.refreshing.acquire().await;
        if !Arc::ptr_eq(seen, &self.map()) || Instant::now() < self.times().refresh {
            return;
        }
        let found = match &self.kind {
            Kind::Standalone => None,
            Kind::Cluster(seeds) => read_slots(nodes, seen, seeds).await,
            Kind::Sentinel(sentinels) => {
                let master = find(sentinels, nodes, None, FIND_WITHIN).await;
                master.map(SlotMap::of_one)
            }
        };
        // From its end on: whoever waited meanwhile need not ask the same again.
        self.note(LOOK_EVERY);
        if let Some(map) = found {
            self.adopt(nodes, map);
        }
    }

    /// Asks sentinels whether their master is another by now, where that is due; for at most [`LOOK_WITHIN`]. While one call
    /// asks, others go on with what is known.
    pub(crate) async fn look(&self, nodes: &Nodes) {
        let Kind::Sentinel(sentinels) = &self.kind else {
            return;
        };
        let is_due = || Instant::now() >= self.times().look;
        if !is_due() {
            return;
        }
        let Ok(_turn) = self.refreshing.try_acquire() else {
            return;
        };
        if !is_due() {
            return;
        }
        let map = self.map();
        let known = map.nodes().first();
        let Some(master) = find(sentinels, nodes, known, LOOK_WITHIN).await else {
            self.note(LOOK_AGAIN);
            return;
        };
        self.note(LOOK_EVERY);
        if known != Some(&master) {
            self.adopt(nodes, SlotMap::of_one(master));
        }
    }

    fn times(&self) -> Times {
        *self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note that somebody has just been asked, and when to look again.
    fn note(&self, look: Duration) {
        let now = Instant::now();
        *self.times.lock().unwrap_or_else(PoisonError::into_inner) = Times {
            refresh: now + REFRESH_INTERVAL_MIN,
            look: now + look,
        };
    }

    /// Uses this map from now on.
    fn adopt(&self, nodes: &Nodes, map: SlotMap) {
        let mut current = self.map.write().unwrap_or_else(PoisonError::into_inner);
        if let (Kind::Sentinel(_), [from], [to]) = (&self.kind, current.nodes(), map.nodes())
            && from != to
        {
            tracing::info!(%from, %to, "a cache has another master");
        }
        nodes.retain(&[map.nodes(), map.replicas()].concat());
        *current = Arc::new(map);
    }
}

/// The master, as [`Sentinels::find`] has it; `None` where it is not found in time.
async fn find(
    sentinels: &Sentinels,
    nodes: &Nodes,
    trusted: Option<&NodeAddr>,
    within: Duration,
) -> Option<NodeAddr> {
    match timeout(within, sentinels.find(nodes, trusted)).await {
        Ok(Ok(master)) => return Some(master),
        Ok(Err(error)) => tracing::warn!(%error, "sentinels do not lead to the master of a cache"),
        Err(_) => {
            sentinels.ask_first_last();
            tracing::warn!(
                ?within,
                "sentinels do not lead to the master of a cache in time"
            );
        }
    }
    None
}

/// The slot map as a node of the cluster has it.
async fn read_slots(nodes: &Nodes, seen: &SlotMap, seeds: &[NodeAddr]) -> Option<SlotMap> {
    for addr in candidates(nodes, seen, seeds) {
        if let Some(map) = ask(nodes, &addr).await {
            tracing::debug!(node = %addr, owners = map.nodes().len(), "slot map read anew");
            return Some(map);
        }
    }
    tracing::warn!("no node of the cluster answers with its slot map");
    None
}

/// Whom to ask, those first that are connected: what is dead is not.
fn candidates(nodes: &Nodes, seen: &SlotMap, seeds: &[NodeAddr]) -> Vec<NodeAddr> {
    let mut addrs: Vec<_> = seen.nodes().to_vec();
    let more = seeds.iter().filter(|seed| !seen.nodes().contains(seed));
    addrs.extend(more.cloned());
    addrs.sort_by_key(|addr| !nodes.get(addr).is_connected());
    addrs.truncate(ASKED_MAX);
    addrs
}

/// The slot map as the node at `addr` has it; `None` where it does not answer, or knows no owners.
async fn ask(nodes: &Nodes, addr: &NodeAddr) -> Option<SlotMap> {
    let answer = nodes.get(addr).ask(&cluster_slots()).await.ok()?;
    let map = SlotMap::parse(&answer, addr).ok()?;
    (!map.nodes().is_empty()).then_some(map)
}

/// The command that asks for the slot map.
pub(crate) fn cluster_slots() -> Pipeline {
    let mut pipeline = redis::pipe();
    pipeline.cmd("CLUSTER").arg("SLOTS");
    pipeline
}
