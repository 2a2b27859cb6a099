//! What a node says of itself, out of its `INFO`.

use redis::Value;

use super::addr::NodeAddr;
use super::answer::{Answer, classify};
use super::error::{CommandError, FailureKind};

/// What a node says of its memory, and of how it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its address, as HOST:PORT.
    pub address: String,
    /// Another one whenever it was started anew.
    pub run_id: String,
    /// What it uses.
    pub used_memory_bytes: u64,
    /// What it may use; 0 where nothing limits it.
    pub maxmemory_bytes: u64,
    /// How many keys it has evicted since it was started, or since somebody reset that.
    pub evicted_keys: u64,
    /// How often a key that was to be read was there since it was started, or since somebody reset that; our own looks included.
    pub keyspace_hits: u64,
    /// How often it was not.
    pub keyspace_misses: u64,
}

impl NodeInfo {
    /// From the node's answer.
    pub(super) fn parse(answer: Value, node: &NodeAddr) -> Result<Self, CommandError> {
        let malformed = |what: &str| {
            let reason = format!("{node}: its INFO has no {what}");
            CommandError::new(FailureKind::Refused, reason)
        };
        let text = match classify(answer, node) {
            Answer::Reply(reply) => text(reply).ok_or_else(|| malformed("text"))?,
            Answer::Moved(_) | Answer::Ask(_) => return Err(malformed("text")),
            Answer::Later(error) | Answer::Demoted(error) | Answer::Failed(error) => {
                return Err(error);
            }
        };
        let number = |name: &str| {
            let value = field(&text, name).and_then(|value| value.parse().ok());
            value.ok_or_else(|| malformed(name))
        };
        let run_id = field(&text, "run_id").ok_or_else(|| malformed("run_id"))?;
        Ok(Self {
            address: node.to_string(),
            run_id: run_id.to_owned(),
            used_memory_bytes: number("used_memory")?,
            maxmemory_bytes: number("maxmemory")?,
            evicted_keys: number("evicted_keys")?,
            keyspace_hits: number("keyspace_hits")?,
            keyspace_misses: number("keyspace_misses")?,
        })
    }
}

/// The text that is the reply to an `INFO`; `None` where it is none.
pub(super) fn text(reply: Value) -> Option<String> {
    match reply {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Some(text),
        _ => None,
    }
}

/// What an `INFO` says of `name`.
pub(super) fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = info.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(key, _)| *key == name);
    found.map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<NodeInfo, CommandError> {
        let answer = Value::BulkString(text.as_bytes().to_vec());
        NodeInfo::parse(answer, &NodeAddr::new("h", 1))
    }

    #[test]
    fn what_is_asked_for_is_found_among_the_rest() {
        let text = "# Server\r\nredis_version:7.2.1\r\nrun_id:ab12\r\n# Memory\r\nused_memory:1000\r\nused_memory_peak:2000\r\n\
                    maxmemory:0\r\nmaxmemory_human:0B\r\n# Stats\r\nevicted_keys:7\r\nkeyspace_hits:8\r\nkeyspace_misses:9\r\n";
        let info = parse(text).unwrap();
        assert_eq!(
            (info.address.as_str(), info.run_id.as_str()),
            ("h:1", "ab12")
        );
        assert_eq!(
            (
                info.used_memory_bytes,
                info.maxmemory_bytes,
                info.evicted_keys
            ),
            (1000, 0, 7)
        );
        assert_eq!((info.keyspace_hits, info.keyspace_misses), (8, 9));
        let error = parse("run_id:ab12\r\nused_memory:x\r\n").unwrap_err();
        assert_eq!(error.reason, "h:1: its INFO has no used_memory");
    }
}
