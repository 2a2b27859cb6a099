//! Looking through all masters for keys, so that none is missed which is there all the time.
//!
//! SCAN promises that for one node. A key can also move from one that has not been looked through to one that has: so what each
//! node says of its slots is compared before and after, and those at which any came or went, or are on the move, are looked
//! through again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use stoke_core::pattern::Pattern;
use tokio::sync::mpsc;

use super::Engine;
use super::frequency::{Weighing, weigh};
use crate::cache::{CommandError, NodeAddr};
use crate::origin::OriginError;
use crate::origin::meter::Meter;
use crate::permit::Stopped;
use crate::source::{Found, Gathered, Rules, SourceRow, Whereabouts};

/// How often keys are looked for again where slots have moved meanwhile.
const LOOKS_MAX: u32 = 4;
/// How long until that.
const LOOK_AGAIN: Duration = Duration::from_millis(300);

/// How all nodes stand, each by its address.
type View = BTreeMap<NodeAddr, String>;

impl Engine {
    /// Sends the keys that match, as each master has them, and looks again at those at which slots came or went meanwhile.
    pub(super) async fn scan(
        &self,
        meter: &mut Meter<'_>,
        (pattern, count): (&Pattern, u32),
        weighing: Weighing,
        rules: &Rules,
        sink: &mpsc::Sender<Vec<SourceRow>>,
    ) -> Result<Gathered, OriginError> {
        let doing = || format!("scan for keys {:?}: {}", pattern.as_str(), self.doing);
        let found = Found::new(pattern, rules);
        let mut found = found.map_err(|fault| OriginError::permanent(doing(), fault))?;
        let mut before = self.view(meter).await?;
        let mut nodes: Vec<NodeAddr> = before.keys().cloned().collect();
        for _ in 0..LOOKS_MAX {
            let mut again = Vec::new();
            for node in nodes {
                match self
                    .scan_node(meter, (&node, weighing), (pattern, count), &mut found, sink)
                    .await?
                {
                    Ok(()) => {}
                    Err(error) if error.is_transient() => again.push(node),
                    Err(error) => return Err(self.failed(error)),
                }
            }
            let after = self.view(meter).await?;
            let has_changed = |(node, said): &(&NodeAddr, &String)| {
                before.get(*node) != Some(*said) || said.contains('[') || again.contains(*node)
            };
            nodes = after
                .iter()
                .filter(has_changed)
                .map(|(node, _)| node.clone())
                .collect();
            if nodes.is_empty() {
                let (last, gathered) = found.finish();
                send(sink, last).await?;
                return Ok(gathered);
            }
            tracing::info!(
                nodes = nodes.len(),
                "slots moved, or nodes changed, while keys were looked for: looking again"
            );
            before = after;
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Err(OriginError::transient(doing(), SlotsMove))
    }

    /// How all masters stand.
    async fn view(&self, meter: &Meter<'_>) -> Result<View, OriginError> {
        let cache = self.cache(meter).await?;
        let permit = meter.sharing();
        let mut view = View::new();
        for node in cache.masters().await {
            let said = cache.said_by(&permit, &node).await?;
            view.insert(node, said.map_err(|error| self.failed(error))?);
        }
        Ok(view)
    }

    /// Sends the keys of one master.
    async fn scan_node(
        &self,
        meter: &mut Meter<'_>,
        (node, weighing): (&NodeAddr, Weighing),
        (pattern, count): (&Pattern, u32),
        found: &mut Found<'_>,
        sink: &mpsc::Sender<Vec<SourceRow>>,
    ) -> Result<Result<(), CommandError>, OriginError> {
        let cache = Arc::clone(self.cache(meter).await?);
        let scale = match self.scale(meter, &cache, node, weighing).await? {
            Ok(scale) => scale,
            Err(error) => return Ok(Err(error)),
        };
        let glob = pattern.glob();
        let mut cursor = 0;
        loop {
            let scanning = cache
                .scan(&meter.sharing(), node, cursor, &glob, count)
                .await?;
            let scanned = match scanning {
                Ok(scanned) => scanned,
                Err(error) => return Ok(Err(error)),
            };
            let asked = scanned.keys.iter().map(|key| &key[..]);
            let asked: Vec<&[u8]> = asked.filter(|key| found.parts(key).is_some()).collect();
            let weighed = match weigh(&meter.sharing(), &cache, scale, &asked).await? {
                Ok(weighed) => weighed,
                Err(error) => return Ok(Err(error)),
            };
            for (key, priority) in asked.into_iter().zip(weighed) {
                let (Some(priority), Some(parts)) = (priority, found.parts(key)) else {
                    continue;
                };
                meter.count_row();
                let at = Whereabouts::Row(meter.rows());
                let chunk = found.row(at, (key, &parts), Ok(priority));
                let doing = || format!("scan for keys {:?}", pattern.as_str());
                let chunk = chunk.map_err(|fault| OriginError::permanent(doing(), fault))?;
                send(sink, chunk).await?;
            }
            cursor = scanned.cursor;
            if cursor == 0 {
                return Ok(Ok(()));
            }
        }
    }
}

/// While keys are looked for, slots move on and on.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "slots keep moving between its nodes, so keys could be missed: wait until the cluster is at rest (CLUSTER NODES shows slots on the move in brackets)"
)]
pub(super) struct SlotsMove;

pub(super) async fn send(
    sink: &mpsc::Sender<Vec<SourceRow>>,
    chunk: Option<Vec<SourceRow>>,
) -> Result<(), OriginError> {
    match chunk {
        Some(chunk) => Ok(sink.send(chunk).await.map_err(|_| Stopped)?),
        None => Ok(()),
    }
}
