//! Reading what counts: an application's counters, member by member, and those that a node keeps itself to know what to evict.

use bytes::Bytes;
use redis::Value;
use stoke_core::slot::Slot;
use stoke_core::usage::lfu;

use super::answer::strange;
use super::command::Command;
use super::error::{CommandError, FailureKind};
use super::info::{field, text};
use super::scan::replied;
use super::typed::{Kind, scanned};
use super::{Cache, NodeAddr};
use crate::permit::{Permit, Stopped};

/// How many members of a sorted set one command reads by their ranks.
pub(crate) const WINDOW: u64 = 1000;

/// What is counted, and its count as the server writes it.
pub(crate) type Count = (Bytes, Bytes);

/// What kind of counter a key has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CounterKind {
    SortedSet,
    Hash,
}

/// How a node counts accesses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lfu {
    pub(crate) log_factor: u32,
}

impl Cache {
    /// The node that owns a key's slot, as the cluster says now.
    pub(crate) async fn owner(&self, key: &[u8]) -> Option<NodeAddr> {
        let map = self.router.fresh_map().await;
        map.owner(Slot::of(key)).cloned()
    }

    /// What kind of counter a key has.
    ///
    /// # Errors
    /// [`Stopped`] where the permit said so. Where it has none, that is the command's error.
    pub(crate) async fn counter_kind(
        &self,
        permit: &dyn Permit,
        key: &[u8],
    ) -> Result<Result<CounterKind, CommandError>, Stopped> {
        let reply = self.one(permit, Command::Type { key }).await?;
        Ok(reply.and_then(|reply| match reply {
            Value::SimpleString(kind) => kind_of(&kind),
            other => Err(strange(&other, "TYPE")),
        }))
    }

    /// Some of a counter's members, and where the next begin; 0: there are no more. What is there all the time comes once at least.
    ///
    /// # Errors
    /// As [`Cache::counter_kind`].
    pub(crate) async fn counts(
        &self,
        permit: &dyn Permit,
        (key, kind): (&[u8], CounterKind),
        from: u64,
    ) -> Result<Result<(u64, Vec<Count>), CommandError>, Stopped> {
        let kind = match kind {
            CounterKind::SortedSet => Kind::SortedSet,
            CounterKind::Hash => Kind::Hash,
        };
        let reply = self.one(permit, Command::Piece { key, kind, from }).await?;
        Ok(reply.and_then(|reply| {
            let (cursor, texts) = scanned(reply).ok_or_else(|| strange(&Value::Nil, "SCAN"))?;
            let mut texts = texts.into_iter();
            let pairs = std::iter::from_fn(|| texts.next().zip(texts.next()));
            Ok((cursor, pairs.collect()))
        }))
    }

    /// So many members of a sorted set from this rank on, the highest score being the first.
    ///
    /// # Errors
    /// As [`Cache::counter_kind`].
    pub(crate) async fn highest(
        &self,
        permit: &dyn Permit,
        key: &[u8],
        (from, count): (u64, u64),
    ) -> Result<Result<Vec<Count>, CommandError>, Stopped> {
        let command = Command::Highest { key, from, count };
        let reply = self.one(permit, command).await?;
        Ok(reply.and_then(|reply| scored(reply).ok_or_else(|| strange(&Value::Nil, "ZREVRANGE"))))
    }

    /// The access counter of each of these keys; `None` of one that is not there (any more).
    ///
    /// # Errors
    /// [`Stopped`] where the permit said so.
    pub(crate) async fn frequencies(
        &self,
        permit: &dyn Permit,
        keys: &[&[u8]],
    ) -> Result<Vec<Result<Option<u8>, CommandError>>, Stopped> {
        let commands: Vec<_> = keys.iter().map(|&key| Command::Frequency { key }).collect();
        let frequency = |answer: Result<Value, CommandError>| match answer? {
            Value::Nil => Ok(None),
            Value::Int(counter) => match u8::try_from(counter) {
                Ok(counter) => Ok(Some(counter)),
                Err(_) => Err(strange(&Value::Nil, "OBJECT FREQ")),
            },
            other => Err(strange(&other, "OBJECT FREQ")),
        };
        let answers = self.router.run(permit, &commands).await?;
        Ok(answers.into_iter().map(frequency).collect())
    }

    /// How a node counts accesses. One that does not tell its factor is taken to have the usual one.
    ///
    /// # Errors
    /// [`Stopped`] where the permit said so. Where it counts none, that is the command's error.
    pub(crate) async fn lfu(
        &self,
        permit: &dyn Permit,
        node: &NodeAddr,
    ) -> Result<Result<Lfu, CommandError>, Stopped> {
        let mut command = redis::cmd("INFO");
        command.arg("memory");
        let info = self.router.ask_one(permit, node, command).await?;
        let policy = replied(info, node).and_then(|info| {
            let info = text(info).unwrap_or_default();
            let policy = field(&info, "maxmemory_policy").map(str::to_owned);
            policy.ok_or_else(|| strange(&Value::Nil, "INFO"))
        });
        let policy = match policy {
            Ok(policy) => policy,
            Err(error) => return Ok(Err(error)),
        };
        if !policy.ends_with("-lfu") {
            return Ok(Err(no_lfu(node, &policy)));
        }
        let mut command = redis::cmd("CONFIG");
        command.arg("GET").arg("lfu-log-factor");
        let told = self.router.ask_one(permit, node, command).await?;
        let log_factor = match replied(told, node) {
            Ok(reply) => log_factor(reply),
            Err(error) if error.is_transient() => return Ok(Err(error)),
            // Hosted ones have no CONFIG, nor has every user.
            Err(_) => None,
        };
        let log_factor = log_factor.unwrap_or(lfu::LOG_FACTOR_DEFAULT);
        Ok(Ok(Lfu { log_factor }))
    }

    async fn one(
        &self,
        permit: &dyn Permit,
        command: Command<'_>,
    ) -> Result<Result<Value, CommandError>, Stopped> {
        let mut answers = self.router.run(permit, &[command]).await?;
        let none = || Err(strange(&Value::Nil, "a command"));
        Ok(answers.pop().unwrap_or_else(none))
    }
}

fn kind_of(kind: &str) -> Result<CounterKind, CommandError> {
    let no_counter = |what: String| {
        let reason = format!(
            "{what}: counters are a sorted set of keys with their scores, or a hash of keys with their numbers"
        );
        Err(CommandError::new(FailureKind::WrongType, reason))
    };
    match kind {
        "zset" => Ok(CounterKind::SortedSet),
        "hash" => Ok(CounterKind::Hash),
        "none" => no_counter("there is no such key".into()),
        other => no_counter(format!("it is a {other}")),
    }
}

fn no_lfu(node: &NodeAddr, policy: &str) -> CommandError {
    let reason = format!(
        "{node} evicts by the policy {policy}, and so does not count how often keys are used: CONFIG SET maxmemory-policy allkeys-lfu \
         on every node (and in their configuration), and let some traffic come before keys are ranked by it"
    );
    CommandError::new(FailureKind::Refused, reason)
}

/// Of a name and a value: in RESP3 a map, else an array.
fn log_factor(reply: Value) -> Option<u32> {
    let value = match reply {
        Value::Map(pairs) => pairs.into_iter().next()?.1,
        Value::Array(values) => values.into_iter().nth(1)?,
        _ => return None,
    };
    text(value)?.parse().ok()
}

/// Members with their scores: one after another, or, in RESP3, in pairs.
fn scored(reply: Value) -> Option<Vec<Count>> {
    let Value::Array(values) = reply else {
        return None;
    };
    let mut pairs = Vec::with_capacity(values.len());
    let mut values = values.into_iter();
    while let Some(value) = values.next() {
        let (member, score) = match value {
            Value::Array(pair) => <[Value; 2]>::try_from(pair).ok()?.into(),
            member => (member, values.next()?),
        };
        pairs.push((bytes_of(member)?, bytes_of(score)?));
    }
    Some(pairs)
}

fn bytes_of(value: Value) -> Option<Bytes> {
    match value {
        Value::BulkString(bytes) => Some(bytes.into()),
        Value::Double(number) => Some(number.to_string().into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn scores_are_read_in_both_protocols() {
        let flat = Value::Array(vec![bulk("a"), bulk("1.5"), bulk("b"), bulk("inf")]);
        let pair = |member, score| Value::Array(vec![bulk(member), Value::Double(score)]);
        let paired = Value::Array(vec![pair("a", 1.5), pair("b", f64::INFINITY)]);
        let expected: Vec<Count> = vec![("a".into(), "1.5".into()), ("b".into(), "inf".into())];
        assert_eq!(scored(flat), Some(expected.clone()));
        assert_eq!(scored(paired), Some(expected));
        assert_eq!(scored(Value::Array(vec![bulk("a")])), None);
        assert_eq!(scored(Value::Okay), None);
    }

    #[test]
    fn what_is_no_counter_says_what_would_be() {
        assert_eq!(kind_of("zset"), Ok(CounterKind::SortedSet));
        assert_eq!(kind_of("hash"), Ok(CounterKind::Hash));
        let error = kind_of("string").unwrap_err();
        assert!(
            error
                .reason
                .starts_with("it is a string: counters are a sorted set"),
            "{error}"
        );
        assert!(!error.is_transient());
        assert!(
            kind_of("none")
                .unwrap_err()
                .reason
                .starts_with("there is no such key")
        );
    }

    #[test]
    fn the_factor_is_told_in_both_protocols() {
        let (name, value) = (bulk("lfu-log-factor"), bulk("7"));
        let map = Value::Map(vec![(name.clone(), value.clone())]);
        assert_eq!(log_factor(map), Some(7));
        assert_eq!(log_factor(Value::Array(vec![name, value])), Some(7));
        assert_eq!(log_factor(Value::Array(Vec::new())), None);
    }
}
