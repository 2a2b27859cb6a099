//! Drives the commands of one call: to the nodes that own their slots, in flushes, until each has its outcome.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use redis::Value;
use tokio::time::Instant;

use super::addr::NodeAddr;
use super::answer::{Answer, classify};
use super::attempts::{Attempt, Attempts, Target};
use super::command::{Command, Keep};
use super::discovery::uncovered;
use super::error::{CacheError, CommandError, FailureKind};
use super::lookups::Found;
use super::node::{Measure, Node, Nodes};
use super::slot_map::SlotMap;
use super::topology::Topology;
use crate::permit::{Permit, Stopped, Unlimited};
use stoke_core::slot::Slot;

/// The most commands in one flush to a node.
pub const FLUSH_COMMANDS_MAX: usize = 500;

/// The most bytes in one flush to a node; a single command that is larger goes alone.
pub const FLUSH_BYTES_MAX: usize = 1024 * 1024;

/// How many keys are tried to find one of each node: enough for a node with a single slot.
const KEYS_TRIED_MAX: u32 = 200_000;

/// How many nodes one call writes to at the same time.
const NODES_AT_ONCE_MAX: usize = 64;

/// Attempts with what was answered to each.
type Answers = Vec<(Attempt, Answer)>;

/// Sends commands where they belong.
pub(crate) struct Router {
    nodes: Nodes,
    topology: Topology,
    patience: Duration,
}

impl Router {
    pub(crate) const fn new(nodes: Nodes, topology: Topology, patience: Duration) -> Self {
        Self {
            nodes,
            topology,
            patience,
        }
    }

    /// What its calls are measured with.
    pub(crate) fn metrics(&self) -> &Measure {
        &self.nodes.metrics
    }

    /// What of each node's hits and misses is our own.
    pub(crate) fn lookups(&self) -> Vec<(NodeAddr, (u64, u64))> {
        self.nodes.lookups()
    }

    /// Which node owns which slot, read anew.
    pub(crate) async fn fresh_map(&self) -> Arc<SlotMap> {
        self.topology
            .refresh(&self.nodes, &self.topology.map())
            .await;
        self.topology.map()
    }

    /// A node, by its address.
    pub(crate) fn node(&self, addr: &NodeAddr) -> Arc<Node> {
        self.nodes.get(addr)
    }

    /// The number of the database that is used.
    pub(crate) fn database(&self) -> u64 {
        self.nodes.database()
    }

    pub(crate) fn is_cluster(&self) -> bool {
        self.topology.is_cluster()
    }

    /// Whether each slot has an owner that serves: looks at the map, then asks every owner after a key of its own.
    pub(crate) async fn check(&self) -> Result<(), CacheError> {
        let map = self.topology.map();
        if map.uncovered().is_some() {
            let node = map.nodes().first().cloned();
            return Err(uncovered(
                &map,
                &node.unwrap_or_else(|| NodeAddr::new("?", 0)),
            ));
        }
        let keys = one_key_of_each(&map);
        let commands: Vec<_> = keys.iter().map(|key| Command::Probe { key }).collect();
        let answers = self.run(&Unlimited, &commands).await;
        let answers = answers.unwrap_or_else(|Stopped| unreachable!("Unlimited never stops"));
        match answers.into_iter().find_map(Result::err) {
            Some(error) => Err(CacheError::NotServing { source: error }),
            None => Ok(()),
        }
    }

    /// Sends one command to each node that owns slots, side by side, once and not again; `permit` is passed for each.
    ///
    /// # Errors
    /// [`Stopped`], once nothing is under way any more.
    pub(crate) async fn ask_each(
        &self,
        permit: &dyn Permit,
        command: &'static str,
    ) -> Result<Vec<(NodeAddr, Result<Value, CommandError>)>, Stopped> {
        self.topology.look(&self.nodes).await;
        let map = self.topology.map();
        self.ask_all(permit, &map, map.nodes(), command).await
    }

    /// As [`Router::ask_each`], but it asks their replicas, as the cluster names them now.
    ///
    /// # Errors
    /// [`Stopped`], once nothing is under way any more.
    pub(crate) async fn ask_each_replica(
        &self,
        permit: &dyn Permit,
        command: &'static str,
    ) -> Result<Vec<(NodeAddr, Result<Value, CommandError>)>, Stopped> {
        let map = self.fresh_map().await;
        self.ask_all(permit, &map, map.replicas(), command).await
    }

    async fn ask_all(
        &self,
        permit: &dyn Permit,
        map: &Arc<SlotMap>,
        nodes: &[NodeAddr],
        command: &'static str,
    ) -> Result<Vec<(NodeAddr, Result<Value, CommandError>)>, Stopped> {
        let asking = nodes.iter().map(|addr| async move {
            let answer = ask(permit, &self.nodes.get(addr), redis::cmd(command)).await?;
            Ok((addr.clone(), answer))
        });
        let asking: Vec<_> = asking.collect();
        let asked = futures::stream::iter(asking).buffer_unordered(NODES_AT_ONCE_MAX);
        let answers: Vec<Result<_, Stopped>> = asked.collect().await;
        let answers = answers.into_iter().collect::<Result<Vec<_>, _>>()?;
        let is_gone = |answer: &Result<Value, CommandError>| matches!(answer, Err(error) if error.is_transient());
        if answers.iter().any(|(_, answer)| is_gone(answer)) {
            // It may have been replaced.
            self.topology.refresh(&self.nodes, map).await;
        }
        Ok(answers)
    }

    /// Sends one node a command, once and not again; `permit` is passed for it.
    ///
    /// # Errors
    /// [`Stopped`].
    pub(crate) async fn ask_one(
        &self,
        permit: &dyn Permit,
        node: &NodeAddr,
        command: redis::Cmd,
    ) -> Result<Result<Value, CommandError>, Stopped> {
        ask(permit, &self.nodes.get(node), command).await
    }

    /// Sends all commands, those of a node in their order, and gives the reply to each or why there is none. `permit`
    /// is passed before each flush.
    ///
    /// # Errors
    /// [`Stopped`], once nothing is under way any more.
    pub(crate) async fn run(
        &self,
        permit: &dyn Permit,
        commands: &[Command<'_>],
    ) -> Result<Vec<Result<Value, CommandError>>, Stopped> {
        let begun = Instant::now();
        let mut attempts = Attempts::new(commands.len(), |index| commands[index].refusal());
        let mut is_first = true;
        while !attempts.is_done() {
            self.topology.look(&self.nodes).await;
            let map = self.topology.map();
            let round = attempts.next_round();
            if !std::mem::take(&mut is_first)
                && let Some(measures) = self.metrics().get()
            {
                measures.metrics.retried(round.len() as u64);
            }
            for (attempt, answer) in self.round(permit, commands, round, &map).await? {
                attempts.record(attempt, answer);
            }
            let between = attempts.between();
            if between.refresh {
                self.topology.refresh(&self.nodes, &map).await;
            }
            if let Some(wait) = between.wait {
                if begun.elapsed() + wait > self.patience {
                    break;
                }
                // Workers that met the same fault must not come back all at once.
                tokio::time::sleep(wait.mul_f64(rand::random_range(0.5..=1.0))).await;
            }
        }
        let mut outcomes = attempts.finish(|| {
            let reason = format!("the cluster did not settle within {:?}", self.patience);
            CommandError::new(FailureKind::Unavailable, reason)
        });
        if self.is_cluster() {
            for (outcome, command) in outcomes.iter_mut().zip(commands) {
                name_slot(outcome, command);
            }
        }
        Ok(outcomes)
    }

    /// Makes one attempt each, the nodes side by side.
    async fn round(
        &self,
        permit: &dyn Permit,
        commands: &[Command<'_>],
        round: Vec<Attempt>,
        map: &SlotMap,
    ) -> Result<Answers, Stopped> {
        let (by_node, homeless) = by_node(commands, round, map);
        let nobody = |attempt| (attempt, Answer::Later(owned_by_nobody()));
        let mut answers: Answers = homeless.into_iter().map(nobody).collect();
        let sendings: Vec<_> = by_node
            .into_iter()
            .map(|(addr, attempts)| send_all(permit, self.nodes.get(&addr), commands, attempts))
            .collect();
        // All of them, also when one was stopped: its siblings stop at their own next flush, and only then is
        // nothing under way.
        let sent: Vec<Result<Answers, Stopped>> = futures::stream::iter(sendings)
            .buffer_unordered(NODES_AT_ONCE_MAX)
            .collect()
            .await;
        for of_node in sent {
            answers.extend(of_node?);
        }
        Ok(answers)
    }
}

/// Sends a node one command.
async fn ask(
    permit: &dyn Permit,
    node: &Node,
    command: redis::Cmd,
) -> Result<Result<Value, CommandError>, Stopped> {
    let connection = match node.connection().await {
        Ok(connection) => connection,
        Err(error) => return Ok(Err(error)),
    };
    let mut pipeline = redis::pipe();
    pipeline.add_command(command);
    permit.pass(1).await?;
    let answers = node.send(connection, &pipeline, 0).await;
    Ok(answers.map(|mut answers| answers.remove(0)))
}

/// Says of which slot it is that nobody serves it.
fn name_slot(outcome: &mut Result<Value, CommandError>, command: &Command<'_>) {
    if let Err(error) = outcome
        && error.kind == FailureKind::Unavailable
    {
        error.reason = format!("slot {}: {}", command.slot().0, error.reason);
    }
}

/// A key for each node that owns slots, which nobody has: it is only asked after.
fn one_key_of_each(map: &SlotMap) -> Vec<Vec<u8>> {
    let mut found: BTreeMap<NodeAddr, Vec<u8>> = BTreeMap::new();
    for number in 0..KEYS_TRIED_MAX {
        let key = format!("stoke:reach:{number}").into_bytes();
        if let Some(owner) = map.owner(Slot::of(&key)) {
            found.entry(owner.clone()).or_insert(key);
        }
        if found.len() == map.nodes().len() {
            break;
        }
    }
    found.into_values().collect()
}

/// The attempts by the node that each goes to, those of a node in their order; and those whose slot nobody owns.
fn by_node(
    commands: &[Command<'_>],
    round: Vec<Attempt>,
    map: &SlotMap,
) -> (Vec<(NodeAddr, Vec<Attempt>)>, Vec<Attempt>) {
    let own = |addr: &NodeAddr| (addr.clone(), Vec::new());
    // The owners first, as the map counts them.
    let mut by_node: Vec<_> = map.nodes().iter().map(own).collect();
    let mut homeless = Vec::new();
    for attempt in round {
        let place = match &attempt.target {
            Target::Owner => map.owner_index(commands[attempt.index].slot()),
            Target::Node(addr) | Target::Ask(addr) => {
                let known = by_node.iter().position(|(node, _)| node == addr);
                Some(known.unwrap_or_else(|| {
                    by_node.push(own(addr));
                    by_node.len() - 1
                }))
            }
        };
        match place {
            Some(place) => by_node[place].1.push(attempt),
            None => homeless.push(attempt),
        }
    }
    by_node.retain(|(_, attempts)| !attempts.is_empty());
    (by_node, homeless)
}

fn owned_by_nobody() -> CommandError {
    let reason = "no node of the cluster owns it: give it to one (CLUSTER ADDSLOTS, redis-cli --cluster fix)";
    CommandError::new(FailureKind::Unavailable, reason)
}

/// Sends one node's attempts, flush after flush. When one got no answer the rest is not tried.
async fn send_all(
    permit: &dyn Permit,
    node: Arc<Node>,
    commands: &[Command<'_>],
    attempts: Vec<Attempt>,
) -> Result<Answers, Stopped> {
    let mut answers = Answers::with_capacity(attempts.len());
    let mut lost: Option<CommandError> = None;
    let most = usize::try_from(permit.at_once()).unwrap_or(usize::MAX);
    for flush in flushes(attempts, most, |attempt| {
        commands[attempt.index].size_bytes()
    }) {
        let answered = match &lost {
            None => send_one(permit, &node, commands, &flush).await?,
            Some(error) => Err(error.clone()),
        };
        match answered {
            Ok(of_flush) => answers.extend(flush.into_iter().zip(of_flush)),
            Err(error) => {
                let none = |attempt| (attempt, Answer::none(error.clone()));
                answers.extend(flush.into_iter().map(none));
                lost = Some(error);
            }
        }
    }
    Ok(answers)
}

/// The bytes of a flush that writes these keys and values, for [`doors`](crate::doors).
pub(crate) fn packed_sets(entries: &[(&[u8], &[u8])], ttl: Duration) -> Vec<u8> {
    let set = |&(key, value)| Command::Set {
        key,
        value,
        ttl,
        keep: Keep::All,
    };
    let commands: Vec<Command<'_>> = entries.iter().map(set).collect();
    let flush = Attempts::new(commands.len(), |_| None).next_round();
    packed(&commands, &flush).0.get_packed_pipeline()
}

/// A flush as it is sent, and about how many bytes it has.
fn packed(commands: &[Command<'_>], flush: &[Attempt]) -> (redis::Pipeline, usize) {
    let mut pipeline = redis::Pipeline::with_capacity(flush.len());
    let mut bytes = 0;
    for attempt in flush {
        if matches!(attempt.target, Target::Ask(_)) {
            pipeline.cmd("ASKING");
        }
        let command = &commands[attempt.index];
        pipeline.add_command(command.encode());
        bytes += command.size_bytes();
    }
    (pipeline, bytes)
}

/// Sends one flush. The connection comes before the permit, so that nothing is waited for between it and the sending.
async fn send_one(
    permit: &dyn Permit,
    node: &Node,
    commands: &[Command<'_>],
    flush: &[Attempt],
) -> Result<Result<Vec<Answer>, CommandError>, Stopped> {
    let connection = match node.connection().await {
        Ok(connection) => connection,
        Err(error) => return Ok(Err(error)),
    };
    let (pipeline, bytes) = packed(commands, flush);
    permit
        .pass(u32::try_from(flush.len()).unwrap_or(u32::MAX))
        .await?;
    let values = match node.send(connection.clone(), &pipeline, bytes).await {
        Ok(values) => values,
        Err(error) => return Ok(Err(error)),
    };
    let mut values = values.into_iter();
    let mut answers = Vec::with_capacity(flush.len());
    let mut found = Found::default();
    for attempt in flush {
        if matches!(attempt.target, Target::Ask(_)) {
            values.next();
        }
        let value = values
            .next()
            .unwrap_or_else(|| unreachable!("Node::send counts the answers"));
        let answer = classify(value, node.addr());
        if let Answer::Reply(reply) = &answer {
            found.add(&commands[attempt.index], reply);
        }
        answers.push(answer);
    }
    node.lookups().count(&found);
    if answers
        .iter()
        .any(|answer| matches!(answer, Answer::Demoted(_)))
    {
        // The name may lead to the node's successor by now.
        node.discard(&connection);
    }
    Ok(Ok(answers))
}

/// Cuts what goes to a node into flushes of at most so many, in order.
fn flushes<T>(items: Vec<T>, most: usize, size_bytes: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let most = most.clamp(1, FLUSH_COMMANDS_MAX);
    let mut flushes = Vec::new();
    let mut flush = Vec::new();
    let mut bytes = 0;
    for item in items {
        let size = size_bytes(&item);
        if flush.len() == most || (!flush.is_empty() && bytes + size > FLUSH_BYTES_MAX) {
            flushes.push(std::mem::take(&mut flush));
            bytes = 0;
        }
        bytes += size;
        flush.push(item);
    }
    if !flush.is_empty() {
        flushes.push(flush);
    }
    flushes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_command_above_the_limit_goes_alone() {
        let sizes = vec![10, FLUSH_BYTES_MAX + 1, 10, 10];
        let cut = flushes(sizes, usize::MAX, |&size| size);
        assert_eq!(cut, [vec![10], vec![FLUSH_BYTES_MAX + 1], vec![10, 10]]);
    }

    proptest! {
        #[test]
        fn flushes_keep_all_in_order_and_within_the_limits(
            sizes in proptest::collection::vec(1_usize..20_000, 0..2000),
            most in 0_usize..1000,
        ) {
            let cut = flushes(sizes.clone(), most, |&size| size);
            for flush in &cut {
                prop_assert!((1..=FLUSH_COMMANDS_MAX.min(most.max(1))).contains(&flush.len()));
                prop_assert!(flush.iter().sum::<usize>() <= FLUSH_BYTES_MAX);
            }
            prop_assert_eq!(cut.concat(), sizes);
        }
    }
}
