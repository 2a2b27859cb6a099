//! The cache's data plane: presence is probed, values are written and TTLs extended in pipelines, one connection per
//! Redis node, each command handled by its own answer.
//!
//! Invariants:
//! - A flush is sent only right after [`Permit::pass`] allowed it, and a call that was [`Stopped`] returns when all of
//!   its flushes have been answered or given up: nothing is sent behind the caller's back.
//! - One command's answer never decides another's: a node that is full, gone or moved costs only its own commands.
//! - In the modes add and refresh nothing that is present is overwritten, however often a command is sent again.
//! - Everything is bounded: attempts and time per call, commands and bytes per flush, nodes written at once.
//!
//! Absent here: places in flight ([`Permit::enter`] is the caller's, around a call), and what a failure means for its entry. The
//! redis crate's clients of clusters and sentinels are not used: they refuse pipelines across slots, repeat whole pipelines, and
//! do not find a master anew.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stoke_core::job::Mode;
use stoke_core::mutant::Mutant;
use stoke_core::slot::Slots;

use crate::metrics::CacheMetrics;
use crate::permit::{Look, Permit, Stopped, Unlimited};
use crate::value::Value;
use crate::vitals::Vitals;

mod addr;
mod answer;
mod attempts;
mod command;
mod config;
mod copy;
mod counters;
mod diagnosis;
mod discovery;
mod error;
mod hash;
mod info;
mod load;
mod login;
mod lookups;
mod measure;
mod node;
mod router;
mod scan;
mod script;
pub(crate) mod sentinels;
mod settle;
pub(crate) mod slot_map;
mod topology;
mod ttl;
mod typed;
mod url;

pub use self::addr::NodeAddr;
pub use self::command::VALUE_BYTES_MAX;
pub use self::config::{CacheConfig, Place};
pub use self::copy::{Content, Copied, Ends, Until};
pub use self::error::{CacheError, CommandError, FailureKind};
pub use self::hash::{HashFields, HashSize};
pub use self::info::NodeInfo;
pub use self::router::{FLUSH_BYTES_MAX, FLUSH_COMMANDS_MAX};
pub use self::settle::PROVISIONAL_TTL;
pub use self::ttl::jittered;
pub use self::url::{CacheUrl, NodeUrl, NotACacheUrl, SentinelsUrl, UrlsDisagree, disagreements};

pub(crate) use self::copy::{is_of_key, is_unknown_command};
pub(crate) use self::counters::{CounterKind, Lfu, WINDOW};
pub(crate) use self::load::Load;
pub(crate) use self::router::packed_sets;

use self::command::{Command, Keep};
use self::node::Measures;
use self::router::Router;

/// Whether a key is in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It is not.
    Missing,
    /// It is.
    Present {
        /// How long it has to live, in whole milliseconds; `None` where it never expires.
        ttl: Option<Duration>,
    },
}

/// How a key is in the cache, as far as can be told without its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is not.
    Missing,
    /// It is.
    Present {
        /// What kind of value it has, as Redis calls it: "string", "hash" …
        kind: String,
        /// How long it has to live, in whole milliseconds; `None` where it never expires.
        ttl: Option<Duration>,
    },
}

/// What a write does with a key that is present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMode {
    /// Keeps it (`SET NX`).
    Add,
    /// Keeps it, as [`WriteMode::Add`] does: the caller then gives it a new TTL with [`Cache::extend`].
    Refresh,
    /// Overwrites it.
    Overwrite,
}

impl WriteMode {
    /// How a job of this mode writes; `None`: it only looks.
    #[must_use]
    pub const fn of(mode: Mode) -> Option<Self> {
        match mode {
            Mode::Add => Some(Self::Add),
            Mode::Refresh => Some(Self::Refresh),
            Mode::Overwrite => Some(Self::Overwrite),
            Mode::Verify | Mode::VerifyValues => None,
        }
    }

    /// Whether a value is written only where there is none (W5).
    #[must_use]
    pub fn is_only_absent(self) -> bool {
        self != Self::Overwrite && !Mutant::WriteOver.is_on()
    }
}

/// Looks for keys, by what they found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lookups {
    /// How many found the key.
    pub hits: u64,
    /// How many did not.
    pub misses: u64,
}

/// One value to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The key: any bytes, at most [`VALUE_BYTES_MAX`].
    pub key: Bytes,
    /// The value: a string, or each part of a hash, has at most [`VALUE_BYTES_MAX`].
    pub value: Value,
    /// How long it shall live; rounded down to milliseconds, at least one.
    pub ttl: Duration,
}

/// What became of one write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The value is there because we wrote it.
    Written,
    /// The key was there when we came. Where a connection broke before its answer came and the command was sent again,
    /// this can be our own value of the attempt before.
    Kept,
    /// The value was not written, or (where the kind is [`FailureKind::Unreachable`]) perhaps it was.
    Failed(CommandError),
}

/// What became of one new TTL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExtendOutcome {
    /// The key lives for the TTL that was asked for, from now.
    Extended,
    /// The key is not there.
    Gone,
    /// As [`WriteOutcome::Failed`].
    Failed(CommandError),
}

fn info_of(
    (node, answer): (NodeAddr, Result<redis::Value, CommandError>),
) -> Result<NodeInfo, CommandError> {
    answer.and_then(|answer| NodeInfo::parse(answer, &node))
}

/// A node that owns no slots, or is none of the cache's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{node} owns no slots; those that do are {}", owners.join(", "))]
pub struct NotAnOwner {
    node: String,
    owners: Vec<String>,
}

/// A connected cache: a standalone Redis, a master behind sentinels, or a Redis Cluster. Shared by reference; all calls may run at the same time.
pub struct Cache {
    router: Router,
}

impl Cache {
    /// Connects to the first of the configured URLs that answers, finds out whether it is a cluster, and reads its
    /// slot map. The other nodes are connected to when they are first needed. The user needs the commands `INFO`,
    /// `CLUSTER SLOTS`, `SET`, `PTTL` and `PEXPIRE`; to verify, `TYPE` and `GETRANGE`, too. To write hashes it needs `EVAL`, and
    /// within `PTTL`, `DEL`, `HSET` and `PEXPIRE`; what is copied `RESTORE`, or typed `EVAL` and within the commands of its
    /// types; to settle values by their versions `EVAL`, and within `TYPE`, `GET`, `HLEN` and
    /// `HGET`, too; to compare them `HLEN`, `HSTRLEN` and `HMGET`.
    ///
    /// Where the URLs name sentinels, connects to the master that the first of them names whose answer holds: the node there
    /// is a master. A user of the sentinels' own needs `SENTINEL GET-MASTER-ADDR-BY-NAME` there.
    ///
    /// A cluster that leaves some slots uncovered is connected to: keys of these slots fail, each on its own.
    ///
    /// # Errors
    /// Where no URL leads to a server that lets us in, where no sentinel leads to the master ([`CacheError::NoMaster`] says what
    /// each answered), where no node of the cluster owns anything, or where the URLs cannot be meant (several for a standalone server, a database number for a cluster).
    pub async fn connect(config: CacheConfig) -> Result<Self, CacheError> {
        let router = discovery::discover(config).await?;
        Ok(Self { router })
    }

    /// From now on its calls are measured, and tell how it is.
    pub(crate) fn measure(&self, metrics: CacheMetrics, vitals: Option<Arc<Vitals>>) {
        // The first counts: a cache has one worker.
        let _ = self.router.metrics().set(Measures { metrics, vitals });
    }

    /// Looks whether the whole cache serves: every slot has an owner, and every owner answers for a key.
    ///
    /// # Errors
    /// [`CacheError::Uncovered`], or [`CacheError::NotServing`] with what an owner answered for as long as it was tried.
    pub async fn check(&self) -> Result<(), CacheError> {
        self.router.check().await
    }

    /// The slots that each of these nodes owns, as the cluster says now; all, where it is the standalone server or the master
    /// that the sentinels name now.
    ///
    /// # Errors
    /// Which of them owns none, and who does.
    pub async fn slots_of<'n>(
        &self,
        nodes: impl IntoIterator<Item = &'n String>,
    ) -> Result<Slots, NotAnOwner> {
        let map = self.router.fresh_map().await;
        let mut slots = Slots::default();
        for node in nodes {
            let found = map.nodes().iter().find(|owner| owner.to_string() == *node);
            let found = found.ok_or_else(|| NotAnOwner {
                node: node.clone(),
                owners: map.nodes().iter().map(ToString::to_string).collect(),
            })?;
            slots.extend(map.slots_of(found));
        }
        Ok(slots)
    }

    /// The nodes that own slots, as HOST:PORT, and which, as the cluster says now.
    pub async fn owners(&self) -> Vec<(String, Slots)> {
        let map = self.router.fresh_map().await;
        let owner = |node: &NodeAddr| (node.to_string(), map.slots_of(node).collect());
        map.nodes().iter().map(owner).collect()
    }

    /// The number of the database that is used.
    pub(crate) fn database(&self) -> u64 {
        self.router.database()
    }

    /// Whether this is a Redis Cluster.
    #[must_use]
    pub fn is_cluster(&self) -> bool {
        self.router.is_cluster()
    }

    /// Asks which of the keys are present, and for how long. One result for each key, in their order. Takes no tokens:
    /// a cache's budget is one of writes.
    pub async fn probe(&self, keys: &[&[u8]]) -> Vec<Result<Presence, CommandError>> {
        let commands: Vec<_> = keys.iter().map(|&key| Command::Probe { key }).collect();
        let answers = self.router.run(&Unlimited, &commands).await;
        let answers = answers.unwrap_or_else(|Stopped| unreachable!("Unlimited never stops"));
        answers
            .into_iter()
            .map(|answer| answer.and_then(|reply| answer::presence(&reply)))
            .collect()
    }

    /// As [`Cache::probe`], for a job: `permit` is looked at before each flush to a node, and gives no tokens.
    ///
    /// # Errors
    /// [`Stopped`] where the permit said so.
    pub async fn probe_as(
        &self,
        permit: &dyn Permit,
        keys: &[&[u8]],
    ) -> Result<Vec<Result<Presence, CommandError>>, Stopped> {
        let commands: Vec<_> = keys.iter().map(|&key| Command::Probe { key }).collect();
        let answers = self.router.run(&Look(permit), &commands).await?;
        let presence = |answer: Result<redis::Value, CommandError>| {
            answer.and_then(|reply| answer::presence(&reply))
        };
        let answers: Vec<_> = answers.into_iter().map(presence).collect();
        measure::probed(self.router.metrics(), &answers);
        Ok(answers)
    }

    /// As [`Cache::probe_as`], and also asks of what kind the values are. Neither `PTTL` nor `TYPE` counts as a use of the
    /// key, so that what is evicted first stays the same.
    ///
    /// # Errors
    /// [`Stopped`] where the permit said so.
    pub async fn look_as(
        &self,
        permit: &dyn Permit,
        keys: &[&[u8]],
    ) -> Result<Vec<Result<Standing, CommandError>>, Stopped> {
        let both = |&key| [Command::Probe { key }, Command::Type { key }];
        let commands: Vec<_> = keys.iter().flat_map(both).collect();
        let mut answers = self.router.run(&Look(permit), &commands).await?.into_iter();
        let pairs = std::iter::from_fn(|| answers.next().zip(answers.next()));
        let standing = |(ttl, kind): (Result<redis::Value, _>, Result<redis::Value, _>)| {
            answer::standing(&ttl?, kind?)
        };
        let answers: Vec<_> = pairs.map(standing).collect();
        measure::looked(self.router.metrics(), &answers);
        Ok(answers)
    }

    /// Asks which of the keys are there, as little seen as Redis allows it: by `MEMORY USAGE`, which counts neither as a use of the
    /// key (so that what is evicted first stays the same) nor among the node's hits and misses; where the user may not ask that,
    /// by `EXISTS`, which counts among them. A key whose time is over counts as there until Redis has removed it. As
    /// [`Cache::probe_as`].
    ///
    /// # Errors
    /// [`Stopped`] where the permit said so.
    pub async fn weigh_as(
        &self,
        permit: &dyn Permit,
        keys: &[&[u8]],
    ) -> Result<Vec<Result<bool, CommandError>>, Stopped> {
        let weigh = |&key| Command::Weigh { key };
        let commands: Vec<_> = keys.iter().map(weigh).collect();
        let mut answers = self.router.run(&Look(permit), &commands).await?;
        let may_not = |answer: &Result<redis::Value, CommandError>| matches!(answer, Err(error) if error.kind == FailureKind::Denied || is_unknown_command(error));
        let asked_again: Vec<usize> = (0..keys.len()).filter(|n| may_not(&answers[*n])).collect();
        if !asked_again.is_empty() {
            let exists = |n: &usize| Command::Exists { key: keys[*n] };
            let commands: Vec<_> = asked_again.iter().map(exists).collect();
            let second = self.router.run(&Look(permit), &commands).await?;
            for (n, answer) in asked_again.into_iter().zip(second) {
                answers[n] = answer;
            }
        }
        let is_there = |answer: Result<redis::Value, CommandError>| {
            answer.map(|reply| matches!(reply, redis::Value::Int(1..)))
        };
        Ok(answers.into_iter().map(is_there).collect())
    }

    /// What of each node's hits and misses is our own, by its address as HOST:PORT, since this cache was connected to or the node
    /// joined it.
    #[must_use]
    pub fn lookups(&self) -> Vec<(String, Lookups)> {
        let of_node =
            |(node, (hits, misses)): (NodeAddr, _)| (node.to_string(), Lookups { hits, misses });
        self.router.lookups().into_iter().map(of_node).collect()
    }

    /// Reads the first bytes of strings: of each key up to and with the byte of this number, from 0. A key that is not there
    /// has none. As [`Cache::probe_as`]; it counts as a use of the key where the server does not know `CLIENT NO-TOUCH`
    /// (before Redis 7.2).
    ///
    /// # Errors
    /// [`Stopped`] where the permit said so.
    pub async fn peek_as(
        &self,
        permit: &dyn Permit,
        keys: &[(&[u8], usize)],
    ) -> Result<Vec<Result<Bytes, CommandError>>, Stopped> {
        let peek = |&(key, last)| Command::Peek { key, last };
        let commands: Vec<_> = keys.iter().map(peek).collect();
        let answers = self.router.run(&Look(permit), &commands).await?;
        let bytes = |answer: Result<redis::Value, _>| answer.and_then(answer::bytes);
        Ok(answers.into_iter().map(bytes).collect())
    }

    /// Writes the items, the nodes side by side. One outcome for each item, in their order. `permit` is passed before
    /// each flush to a node, with the number of its writes, and again for those that have to be sent again.
    ///
    /// # Errors
    /// [`Stopped`] where the permit said so: some of the items may have been written.
    pub async fn write(
        &self,
        permit: &dyn Permit,
        mode: WriteMode,
        items: &[Item],
    ) -> Result<Vec<WriteOutcome>, Stopped> {
        let keep = if mode.is_only_absent() {
            Keep::All
        } else {
            Keep::Nothing
        };
        self.write_keeping(permit, keep, items).await
    }

    async fn write_keeping(
        &self,
        permit: &dyn Permit,
        keep: Keep,
        items: &[Item],
    ) -> Result<Vec<WriteOutcome>, Stopped> {
        let commands: Vec<_> = items.iter().map(|item| item.command(keep)).collect();
        let answers = self.router.run(permit, &commands).await?;
        let outcome = |answer: Result<redis::Value, CommandError>| match answer {
            Ok(reply) => answer::written(&reply),
            Err(error) => WriteOutcome::Failed(error),
        };
        let mut outcomes: Vec<_> = answers.into_iter().map(outcome).collect();
        for (outcome, item) in outcomes.iter_mut().zip(items) {
            if let (WriteOutcome::Failed(error), Value::Copied(copied)) = (outcome, &item.value)
                && matches!(copied.content, Content::Dump(_))
                && copy::is_payload_refusal(error)
            {
                error.kind = FailureKind::Payload;
            }
        }
        measure::written(self.router.metrics(), items, &outcomes);
        Ok(outcomes)
    }

    /// Asks each node that owns slots how it is, by one `INFO` for which `permit` is passed; the nodes side by side.
    ///
    /// # Errors
    /// [`Stopped`] where the permit said so.
    pub async fn info(
        &self,
        permit: &dyn Permit,
    ) -> Result<Vec<Result<NodeInfo, CommandError>>, Stopped> {
        let answers = self.router.ask_each(permit, "INFO").await?;
        Ok(answers.into_iter().map(info_of).collect())
    }

    /// As [`Cache::info`], and asks also the replicas that the cluster names, of whom some serve reads. (Of a standalone server's, and of
    /// those behind sentinels, nobody tells.)
    ///
    /// # Errors
    /// [`Stopped`] where the permit said so.
    pub async fn info_of_all(
        &self,
        permit: &dyn Permit,
    ) -> Result<Vec<Result<NodeInfo, CommandError>>, Stopped> {
        let mut all = self.info(permit).await?;
        let replicas = self.router.ask_each_replica(permit, "INFO").await?;
        all.extend(replicas.into_iter().map(info_of));
        Ok(all)
    }

    /// Sends each node that owns slots a `PING`, for which `permit` is passed, only to see how it is answered.
    ///
    /// # Errors
    /// [`Stopped`] where the permit said so.
    pub async fn ping(&self, permit: &dyn Permit) -> Result<(), Stopped> {
        self.router.ask_each(permit, "PING").await.map(drop)
    }

    /// Gives keys that are present a new TTL, whether it is longer or shorter than what they have (a key without
    /// expiry gets one: [`Cache::probe`] tells). One outcome for each key, in their order; `permit` as in [`Cache::write`].
    ///
    /// # Errors
    /// [`Stopped`] where the permit said so: some of the TTLs may have been set.
    pub async fn extend(
        &self,
        permit: &dyn Permit,
        items: &[(Bytes, Duration)],
    ) -> Result<Vec<ExtendOutcome>, Stopped> {
        let commands: Vec<_> = items
            .iter()
            .map(|(key, ttl)| Command::Expire { key, ttl: *ttl })
            .collect();
        let answers = self.router.run(permit, &commands).await?;
        let outcome = |answer: Result<redis::Value, CommandError>| match answer {
            Ok(reply) => answer::extended(&reply),
            Err(error) => ExtendOutcome::Failed(error),
        };
        let outcomes: Vec<_> = answers.into_iter().map(outcome).collect();
        measure::extended(self.router.metrics(), &outcomes);
        Ok(outcomes)
    }
}

impl Item {
    /// What writes it.
    fn command(&self, keep: Keep) -> Command<'_> {
        let (key, ttl) = (&self.key[..], self.ttl);
        match &self.value {
            Value::String(value) => Command::Set {
                key,
                value,
                ttl,
                keep,
            },
            Value::Hash(fields) => Command::SetHash {
                key,
                fields,
                ttl,
                keep,
            },
            Value::Copied(copied) => Command::Copy {
                key,
                copied,
                ttl_max: ttl,
                keep,
            },
        }
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("cluster", &self.is_cluster())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn w5_only_a_job_that_overwrites_writes_over_what_is_there() {
        let writes = |mode| WriteMode::of(mode).map(WriteMode::is_only_absent);
        let modes = [Mode::Add, Mode::Refresh, Mode::Overwrite];
        assert_eq!(modes.map(writes), [Some(true), Some(true), Some(false)]);
        assert_eq!([Mode::Verify, Mode::VerifyValues].map(writes), [None, None]);
    }
}
