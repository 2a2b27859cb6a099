//! What a node's answer to one command means: done, elsewhere, later, or never.

use std::time::Duration;

use bytes::Bytes;
use redis::{ServerError, Value};

use super::addr::NodeAddr;
use super::error::{CommandError, FailureKind};
use super::{ExtendOutcome, Presence, Standing, WriteOutcome};

/// What is to be done about an answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// Nothing: this is the command's reply.
    Reply(Value),
    /// Send it to this node, which owns the slot now.
    Moved(NodeAddr),
    /// Send it, this once and behind `ASKING`, to this node, which is about to own the slot.
    Ask(NodeAddr),
    /// Send it again after a while, to whoever owns the slot then.
    Later(CommandError),
    /// The same, and the node takes no writes any more: what its connection leads to may no longer be what its name does.
    Demoted(CommandError),
    /// Give up.
    Failed(CommandError),
}

impl Answer {
    /// For a command that got no answer because of `error`.
    pub(crate) fn none(error: CommandError) -> Self {
        if error.is_transient() {
            Self::Later(error)
        } else {
            Self::Failed(error)
        }
    }
}

/// What Redis says where a script's key is (no longer) here, but the slot is.
const NON_LOCAL: &str = "attempted to access a non local key";

/// What `asked` meant by its answer to a command.
pub(crate) fn classify(value: Value, asked: &NodeAddr) -> Answer {
    let Value::ServerError(error) = &value else {
        return Answer::Reply(value);
    };
    let because = |kind| CommandError::advised(kind, &format!("{asked}: {}", words(error)));
    match error.code() {
        "MOVED" => redirection(error, asked).map_or_else(
            || Answer::Failed(because(FailureKind::Refused)),
            Answer::Moved,
        ),
        "ASK" => redirection(error, asked).map_or_else(
            || Answer::Failed(because(FailureKind::Refused)),
            Answer::Ask,
        ),
        "TRYAGAIN" | "LOADING" | "CLUSTERDOWN" | "MASTERDOWN" | "NOREPLICAS" | "BUSY" => {
            Answer::Later(because(FailureKind::Unavailable))
        }
        "READONLY" => Answer::Demoted(because(FailureKind::Unavailable)),
        // RESTORE's way to say that something is there, which SET NX says so.
        "BUSYKEY" => Answer::Reply(Value::Nil),
        "OOM" => Answer::Failed(because(FailureKind::Memory)),
        "NOAUTH" | "WRONGPASS" | "NOPERM" => Answer::Failed(because(FailureKind::Denied)),
        // A script has deleted a key of a slot that is moving, and must write it at the slot's next owner.
        "ERR"
            if error
                .details()
                .is_some_and(|words| words.contains(NON_LOCAL)) =>
        {
            Answer::Later(because(FailureKind::Unavailable))
        }
        "WRONGTYPE" => Answer::Failed(because(FailureKind::WrongType)),
        _ => Answer::Failed(because(FailureKind::Refused)),
    }
}

/// The node in `SLOT HOST:PORT`.
fn redirection(error: &ServerError, asked: &NodeAddr) -> Option<NodeAddr> {
    let (_slot, target) = error.details()?.split_once(' ')?;
    NodeAddr::redirected(target, asked)
}

/// An error as the server wrote it.
pub(crate) fn words(error: &ServerError) -> String {
    match error.details() {
        Some(details) => format!("{} {details}", error.code()),
        None => error.code().to_owned(),
    }
}

/// The reply to SET, and of the script that writes a hash: OK, or nil where what was there is kept.
pub(crate) fn written(reply: &Value) -> WriteOutcome {
    match reply {
        Value::Okay => WriteOutcome::Written,
        Value::Nil => WriteOutcome::Kept,
        _ => WriteOutcome::Failed(strange(reply, "SET")),
    }
}

/// The reply to PEXPIRE: whether there was such a key.
pub(crate) fn extended(reply: &Value) -> ExtendOutcome {
    match reply {
        Value::Int(1) => ExtendOutcome::Extended,
        Value::Int(0) => ExtendOutcome::Gone,
        _ => ExtendOutcome::Failed(strange(reply, "PEXPIRE")),
    }
}

/// The reply of the script that settles a value: whether the key still had it.
pub(crate) fn settled(reply: &Value) -> Result<bool, CommandError> {
    match reply {
        Value::Int(0) => Ok(false),
        Value::Int(1) => Ok(true),
        _ => Err(strange(reply, "EVAL")),
    }
}

/// The reply to PTTL: milliseconds, or -1 without expiry, or -2 without a key.
pub(crate) fn presence(reply: &Value) -> Result<Presence, CommandError> {
    match reply {
        Value::Int(-2) => Ok(Presence::Missing),
        Value::Int(-1) => Ok(Presence::Present { ttl: None }),
        Value::Int(ms @ 0..) => Ok(Presence::Present {
            ttl: Some(Duration::from_millis(ms.unsigned_abs())),
        }),
        _ => Err(strange(reply, "PTTL")),
    }
}

/// The replies to PTTL and TYPE. The key may have come or gone between the two.
pub(crate) fn standing(ttl: &Value, kind: Value) -> Result<Standing, CommandError> {
    let kind = match kind {
        Value::SimpleString(kind) => kind,
        other => return Err(strange(&other, "TYPE")),
    };
    Ok(match presence(ttl)? {
        Presence::Present { ttl } if kind != "none" => Standing::Present { kind, ttl },
        _ => Standing::Missing,
    })
}

/// The reply to GETRANGE: bytes, none of a key that is not there.
pub(crate) fn bytes(reply: Value) -> Result<Bytes, CommandError> {
    match reply {
        Value::BulkString(bytes) => Ok(bytes.into()),
        other => Err(strange(&other, "GETRANGE")),
    }
}

/// The reply to HLEN, HSTRLEN and their like: how many.
pub(crate) fn count(reply: &Value) -> Result<u64, CommandError> {
    match reply {
        Value::Int(count @ 0..) => Ok(count.unsigned_abs()),
        _ => Err(strange(reply, "a command that counts")),
    }
}

/// The reply to HMGET: a value for each field, or nil.
pub(crate) fn values(reply: Value) -> Result<Vec<Option<Bytes>>, CommandError> {
    let value = |value| match value {
        Value::BulkString(bytes) => Ok(Some(bytes.into())),
        Value::Nil => Ok(None),
        other => Err(strange(&other, "HMGET")),
    };
    match reply {
        Value::Array(values) => values.into_iter().map(value).collect(),
        other => Err(strange(&other, "HMGET")),
    }
}

/// For a reply that no Redis gives. It may be data, so it is not shown.
pub(super) fn strange(_reply: &Value, command: &str) -> CommandError {
    let reason = format!("the reply to {command} is not one that Redis gives");
    CommandError::new(FailureKind::Refused, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> NodeAddr {
        NodeAddr::new("10.0.0.1", 7001)
    }

    fn on(wire: &str) -> Answer {
        classify(redis::parse_redis_value(wire.as_bytes()).unwrap(), &asked())
    }

    #[test]
    fn replies_are_replies() {
        assert_eq!(on("+OK\r\n"), Answer::Reply(Value::Okay));
        assert_eq!(on("$-1\r\n"), Answer::Reply(Value::Nil));
        assert_eq!(on(":5\r\n"), Answer::Reply(Value::Int(5)));
    }

    #[test]
    fn redirections_name_the_node_to_go_to() {
        let there = NodeAddr::new("10.0.0.2", 7002);
        assert_eq!(
            on("-MOVED 3999 10.0.0.2:7002\r\n"),
            Answer::Moved(there.clone())
        );
        assert_eq!(on("-ASK 3999 10.0.0.2:7002\r\n"), Answer::Ask(there));
        let beside = NodeAddr::new("10.0.0.1", 7002);
        assert_eq!(on("-MOVED 3999 :7002\r\n"), Answer::Moved(beside.clone()));
        assert_eq!(on("-ASK 3999 ?:7002\r\n"), Answer::Ask(beside));
        assert!(matches!(on("-MOVED\r\n"), Answer::Failed(_)));
        assert!(matches!(on("-ASK 3999 nowhere\r\n"), Answer::Failed(_)));
    }

    #[test]
    fn passing_faults_are_for_later() {
        for wire in [
            "-TRYAGAIN Multiple keys request during rehashing of slot\r\n",
            "-LOADING Redis is loading the dataset in memory\r\n",
            "-CLUSTERDOWN The cluster is down\r\n",
            "-ERR Script attempted to access a non local key in a cluster node script: 07f, on @user_script:1.\r\n",
            "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.\r\n",
            "-NOREPLICAS Not enough good replicas to write.\r\n",
            "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.\r\n",
        ] {
            let Answer::Later(error) = on(wire) else {
                panic!("{wire}");
            };
            assert_eq!(error.kind, FailureKind::Unavailable);
            assert!(error.is_transient());
        }
        let Answer::Demoted(error) =
            on("-READONLY You can't write against a read only replica.\r\n")
        else {
            panic!("a read-only node");
        };
        assert!(error.is_transient());
    }

    #[test]
    fn other_errors_fail_the_command_and_keep_the_servers_words() {
        for (wire, kind) in [
            (
                "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
                FailureKind::Memory,
            ),
            ("-NOAUTH Authentication required.\r\n", FailureKind::Denied),
            (
                "-WRONGPASS invalid username-password pair or user is disabled.\r\n",
                FailureKind::Denied,
            ),
            (
                "-NOPERM this user has no permissions\r\n",
                FailureKind::Denied,
            ),
            (
                "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n",
                FailureKind::WrongType,
            ),
            (
                "-MISCONF Redis is configured to save RDB snapshots\r\n",
                FailureKind::Refused,
            ),
            (
                "-ERR invalid expire time in 'set' command\r\n",
                FailureKind::Refused,
            ),
            ("-ODD\r\n", FailureKind::Refused),
        ] {
            let Answer::Failed(error) = on(wire) else {
                panic!("{wire}");
            };
            assert_eq!(error.kind, kind, "{wire}");
            // Memory may be freed.
            let transient = kind == FailureKind::Memory;
            assert_eq!(error.is_transient(), transient, "{wire}");
            let said = format!("10.0.0.1:7001: {}", wire[1..].trim_end());
            assert!(error.reason.starts_with(&said), "{}", error.reason);
        }
    }

    #[test]
    fn replies_become_outcomes() {
        assert_eq!(written(&Value::Okay), WriteOutcome::Written);
        assert_eq!(written(&Value::Nil), WriteOutcome::Kept);
        assert!(matches!(written(&Value::Int(1)), WriteOutcome::Failed(_)));
        assert_eq!(extended(&Value::Int(1)), ExtendOutcome::Extended);
        assert_eq!(extended(&Value::Int(0)), ExtendOutcome::Gone);
        assert!(matches!(extended(&Value::Okay), ExtendOutcome::Failed(_)));
        let ttl = |ms| Presence::Present {
            ttl: Some(Duration::from_millis(ms)),
        };
        assert_eq!(presence(&Value::Int(-2)), Ok(Presence::Missing));
        assert_eq!(
            presence(&Value::Int(-1)),
            Ok(Presence::Present { ttl: None })
        );
        assert_eq!(presence(&Value::Int(0)), Ok(ttl(0)));
        assert_eq!(presence(&Value::Int(250)), Ok(ttl(250)));
        let kind = |kind: &str| Value::SimpleString(kind.into());
        let of_kind = |name: &str, ttl| Standing::Present {
            kind: name.into(),
            ttl,
        };
        for (ttl, name, expected) in [
            (-2, "none", Standing::Missing),
            (-2, "string", Standing::Missing),
            (7, "none", Standing::Missing),
            (-1, "hash", of_kind("hash", None)),
            (
                7,
                "string",
                of_kind("string", Some(Duration::from_millis(7))),
            ),
        ] {
            assert_eq!(standing(&Value::Int(ttl), kind(name)), Ok(expected));
        }
        assert!(standing(&Value::Int(7), Value::Okay).is_err());
        assert_eq!(bytes(Value::BulkString(b"v".into())), Ok("v".into()));
        assert!(bytes(Value::Okay).is_err());
        assert_eq!(settled(&Value::Int(1)), Ok(true));
        assert_eq!(settled(&Value::Int(0)), Ok(false));
        assert!(settled(&Value::Nil).is_err());
        assert_eq!(count(&Value::Int(3)), Ok(3));
        assert!(count(&Value::Int(-1)).is_err());
        let two = vec![Value::BulkString(b"v".into()), Value::Nil];
        assert_eq!(values(Value::Array(two)), Ok(vec![Some("v".into()), None]));
        assert!(values(Value::Array(vec![Value::Okay])).is_err());
        assert!(values(Value::Nil).is_err());
        assert!(presence(&Value::Int(-3)).is_err());
        assert!(presence(&Value::Nil).is_err());
    }
}
