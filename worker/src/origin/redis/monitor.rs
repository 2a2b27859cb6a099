//! Which keys a Redis is asked for: MONITOR on some of its masters, for a while.
//!
//! A node pays for it: it writes a line for each command that it is sent. So each is looked at before, and once a second while it is
//! watched, and is left at once where it computes more than it may, where lines pile up in it, or where it does not tell: what was seen
//! until then counts. Keys are counted as many as fit into a bound; beyond that the counts go out, and add up when the plan is ranked.
//! They are not scaled: of a Cluster each key is asked for at one node, so what a node that is not watched would show are other keys.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use rand::seq::SliceRandom;
use redis::Value;
use stoke_core::units::Priority;
use stoke_core::usage::Monitor;
use stoke_core::usage::monitor::{Line, watched};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout};

use super::Engine;
use super::scan::send;
use crate::cache::{Cache, CommandError, Load, NodeAddr};
use crate::origin::OriginError;
use crate::origin::meter::Meter;
use crate::permit::Stopped;
use crate::source::{Counter, Found, Gathered, Rules, SourceFault, SourceRow, Whereabouts};

/// How many bytes the counts may take.
const COUNTS_BYTES_MAX: usize = 64 << 20;
/// How much a node may have to hold for us: lines that we have not taken.
const BUFFER_BYTES_MAX: u64 = 16 << 20;
/// How often a node is looked at, and how long it may take to tell.
const LOOK: Duration = Duration::from_secs(1);

/// What watching came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Watched {
    /// The masters that there are.
    pub masters: usize,
    /// Those that were chosen, in no order.
    pub nodes: Vec<WatchedNode>,
}

/// What watching one node came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchedNode {
    /// Which.
    pub node: String,
    /// Whether watching it began: one that was busy before is left alone.
    pub begun: bool,
    /// Commands that it showed, and the bytes of their lines.
    pub lines: u64,
    /// The bytes of their lines.
    pub bytes: u64,
    /// Accesses to keys, of which each counts.
    pub accesses: u64,
    /// How busy it was before, in thousandths of a core.
    pub cpu_before_permille: u32,
    /// How busy it was at most, in any second.
    pub cpu_permille_max: u32,
    /// How much it held for us at most.
    pub buffer_bytes_max: u64,
    /// Why it was left before its time, where it was.
    pub stopped: Option<String>,
}

/// What all nodes' lines are counted in.
struct Counting<'a> {
    found: Found<'a>,
    counter: Counter,
    rows: u64,
}

impl Counting<'_> {
    /// Counts the keys of a line; gives the chunks of rows where they have become too many.
    fn take(
        &mut self,
        keys: &[impl AsRef<[u8]>],
        at: (u32, u64),
        accesses: &mut u64,
    ) -> Result<Vec<Vec<SourceRow>>, SourceFault> {
        for key in keys {
            let key = key.as_ref();
            if self.found.parts(key).is_some() {
                self.counter.add(key, 1.0, at);
                *accesses += 1;
            }
        }
        if self.counter.bytes() < COUNTS_BYTES_MAX {
            return Ok(Vec::new());
        }
        self.rows()
    }

    /// What was counted, as rows.
    fn rows(&mut self) -> Result<Vec<Vec<SourceRow>>, SourceFault> {
        let mut chunks = Vec::new();
        let mut counter = std::mem::take(&mut self.counter);
        for (key, counted) in counter.counts() {
            let Some(parts) = self.found.parts(key) else {
                continue;
            };
            self.rows += 1;
            let priority =
                Priority::from_requests(counted.count).map_err(|error| error.to_string());
            let at = Whereabouts::Row(self.rows);
            chunks.extend(self.found.row(at, (key, &parts), priority)?);
        }
        Ok(chunks)
    }
}

/// Watching some nodes.
struct Watching<'a> {
    cache: &'a Cache,
    monitor: &'a Monitor,
    database: u64,
    counting: Mutex<Counting<'a>>,
    sink: &'a mpsc::Sender<Vec<SourceRow>>,
    doing: &'a str,
}

impl Engine {
    /// Sends the keys that some masters are asked for while they are watched.
    pub(super) async fn monitor(
        &self,
        meter: &mut Meter<'_>,
        monitor: &Monitor,
        rules: &Rules,
        sink: &mpsc::Sender<Vec<SourceRow>>,
    ) -> Result<(Gathered, Watched), OriginError> {
        let doing = format!("watch what is asked for: {}", self.doing);
        let found = Found::new(&monitor.pattern, rules);
        let found = found.map_err(|fault| OriginError::permanent(&doing, fault))?;
        let cache = Arc::clone(self.cache(meter).await?);
        let mut nodes = cache.masters().await;
        let masters = nodes.len();
        // Which is left to chance, so that none is always the one that pays.
        nodes.shuffle(&mut rand::rng());
        nodes.truncate(watched(masters, monitor.nodes_permille));
        let watching = Watching {
            cache: &cache,
            monitor,
            database: cache.database(),
            counting: Mutex::new(Counting {
                found,
                counter: Counter::default(),
                rows: 0,
            }),
            sink,
            doing: &doing,
        };
        let shared: &Meter<'_> = meter;
        let each = (0..)
            .zip(&nodes)
            .map(|(n, node)| watching.node(shared, n, node));
        let nodes = futures::future::try_join_all(each).await?;
        let mut counting = watching
            .counting
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let chunks = counting
            .rows()
            .map_err(|fault| OriginError::permanent(&doing, fault))?;
        for chunk in chunks {
            send(sink, Some(chunk)).await?;
        }
        let (last, gathered) = counting.found.finish();
        send(sink, last).await?;
        for _ in 0..counting.rows {
            meter.count_row();
        }
        for left in nodes.iter().filter(|node| node.stopped.is_some()) {
            tracing::warn!(
                node = left.node,
                why = left.stopped,
                "stopped watching a node before its time"
            );
        }
        Ok((gathered, Watched { masters, nodes }))
    }
}

impl Watching<'_> {
    /// Watches one node to its end.
    async fn node(
        &self,
        meter: &Meter<'_>,
        n: u32,
        node: &NodeAddr,
    ) -> Result<WatchedNode, OriginError> {
        let permit = meter.sharing();
        let mut seen = WatchedNode {
            node: node.to_string(),
            ..WatchedNode::default()
        };
        let failed = |error: CommandError| match error.is_transient() {
            true => OriginError::transient(self.doing, error),
            false => OriginError::permanent(self.doing, error),
        };
        let mut last = self.cache.load(&permit, node).await?.map_err(failed)?;
        let mut looked = Instant::now();
        sleep(LOOK).await;
        let load = self.cache.load(&permit, node).await?.map_err(failed)?;
        seen.cpu_before_permille = busy(&last, &load, looked.elapsed());
        (last, looked) = (load, Instant::now());
        if seen.cpu_before_permille > self.monitor.cpu_max_permille {
            let permille = seen.cpu_before_permille;
            seen.stopped = Some(format!(
                "{node} was not watched: it was busy already, by {}",
                core(permille)
            ));
            return Ok(seen);
        }
        let monitor = self.cache.monitor(&permit, node).await?.map_err(failed)?;
        seen.begun = true;
        let end = Instant::now() + Duration::from_millis(self.monitor.duration_ms);
        let mut end = std::pin::pin!(sleep_until(end));
        let mut lines = monitor.into_on_message::<Value>();
        let mut looks = interval_at(Instant::now() + LOOK, LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ours = Ours {
            clients: last.ours.clone(),
            is_script: false,
        };
        // Rows that are not taken yet: no line is read meanwhile, but the node is looked at.
        let mut chunks: VecDeque<Vec<SourceRow>> = VecDeque::new();
        seen.stopped = loop {
            tokio::select! {
                biased;
                () = &mut end => break None,
                _ = looks.tick() => {
                    let load = match self.look(meter, node).await? {
                        Ok(load) => load,
                        Err(why) => break Some(why),
                    };
                    seen.note(&last, &load, looked.elapsed());
                    let permille = busy(&last, &load, looked.elapsed());
                    if let Some(why) = self.suffers(node, &seen, &load, permille) {
                        break Some(why);
                    }
                    ours.clients.extend(load.ours.iter().cloned());
                    (last, looked) = (load, Instant::now());
                }
                room = self.sink.reserve(), if !chunks.is_empty() => {
                    let room = room.map_err(|_| Stopped)?;
                    if let Some(chunk) = chunks.pop_front() {
                        room.send(chunk);
                    }
                }
                line = lines.next(), if chunks.is_empty() => match line {
                    Some(Value::SimpleString(line)) => {
                        chunks.extend(self.line(&mut seen, n, &line, &mut ours)?);
                    }
                    Some(_) => {}
                    None => break Some(format!("{node} closed the connection")),
                },
            }
        };
        // Before anything else is waited for, it is left.
        drop(lines);
        for chunk in chunks {
            send(self.sink, Some(chunk)).await?;
        }
        Ok(seen)
    }

    /// How a node is while it is watched; or why that cannot be told, be it that no tokens are left to ask.
    async fn look(
        &self,
        meter: &Meter<'_>,
        node: &NodeAddr,
    ) -> Result<Result<Load, String>, OriginError> {
        match timeout(LOOK, self.cache.load(&meter.sharing(), node)).await {
            Ok(load) => {
                Ok(load?.map_err(|error| format!("it cannot be told how busy it is: {error}")))
            }
            Err(_) => Ok(Err(format!(
                "{node} did not say how busy it is within {LOOK:?}"
            ))),
        }
    }

    /// Why a node is to be left alone.
    fn suffers(
        &self,
        node: &NodeAddr,
        seen: &WatchedNode,
        load: &Load,
        permille: u32,
    ) -> Option<String> {
        if permille > self.monitor.cpu_max_permille {
            let (now, before) = (core(permille), core(seen.cpu_before_permille));
            return Some(format!("{node} was busy by {now} (before: {before})"));
        }
        let held = load.buffer_bytes;
        (held > BUFFER_BYTES_MAX)
            .then(|| format!("{node} held {held} bytes of lines that it could not send"))
    }

    /// Counts a line; gives the chunks of rows where there are too many keys to hold.
    fn line(
        &self,
        seen: &mut WatchedNode,
        n: u32,
        line: &str,
        ours: &mut Ours,
    ) -> Result<Vec<Vec<SourceRow>>, OriginError> {
        seen.lines += 1;
        seen.bytes += line.len() as u64;
        let Some(line) = Line::parse(line) else {
            return Ok(Vec::new());
        };
        if ours.sent(line.client) || line.database != self.database {
            return Ok(Vec::new());
        }
        let keys = line.keys(&self.monitor.commands);
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let mut counting = self.counting.lock().unwrap_or_else(PoisonError::into_inner);
        let chunks = counting.take(&keys, (n, seen.lines), &mut seen.accesses);
        chunks.map_err(|fault| OriginError::permanent(self.doing, fault))
    }
}

/// Who of a node's clients is Stoke.
#[derive(Debug, Default)]
struct Ours {
    /// By their addresses.
    clients: HashSet<String>,
    /// Whether the script that ran last was.
    is_script: bool,
}

impl Ours {
    /// What a script's commands have in the place of an address; they follow the one that runs it.
    const SCRIPT: &str = "lua";

    /// Whether Stoke has sent a line of this client, which follows all lines before.
    fn sent(&mut self, client: &str) -> bool {
        if client != Self::SCRIPT {
            self.is_script = self.clients.contains(client);
        }
        self.is_script
    }
}

impl WatchedNode {
    fn note(&mut self, last: &Load, load: &Load, time: Duration) {
        self.cpu_permille_max = self.cpu_permille_max.max(busy(last, load, time));
        self.buffer_bytes_max = self.buffer_bytes_max.max(load.buffer_bytes);
    }
}

/// How busy a node was between two looks, in thousandths of a core.
fn busy(last: &Load, load: &Load, time: Duration) -> u32 {
    let cpu = load.cpu.saturating_sub(last.cpu);
    let permille = cpu.as_micros().saturating_mul(1000) / time.as_micros().max(1);
    u32::try_from(permille).unwrap_or(u32::MAX)
}

fn core(permille: u32) -> String {
    format!("{}.{:02} of a core", permille / 1000, permille % 1000 / 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_asks_is_asked_by_whoever_runs_it() {
        let mut ours = Ours {
            clients: ["10.0.0.1:5000".to_owned()].into(),
            is_script: false,
        };
        let lines = [
            ("lua", false),
            ("10.0.0.1:5000", true),
            ("lua", true),
            ("lua", true),
            ("10.0.0.2:5000", false),
            ("lua", false),
            ("10.0.0.1:5000", true),
        ];
        for (client, is_ours) in lines {
            assert_eq!(ours.sent(client), is_ours, "{client}");
        }
    }
}
