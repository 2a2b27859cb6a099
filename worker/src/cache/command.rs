//! The commands that are sent: what they are about, how large they are, and what they look like to Redis.

use std::time::Duration;

use bytes::Bytes;
use redis::Cmd;
use stoke_core::slot::Slot;

use super::copy::{Copied, Ends};
use super::error::{CommandError, FailureKind};
use super::script;
use super::typed::{Kind, PIECE};
use crate::value::Value;

/// The largest key or value: Redis' own limit (`proto-max-bulk-len`, 512 MB by default). A larger one would break the
/// connection for all that share it, so it is not sent.
pub const VALUE_BYTES_MAX: usize = 512 * 1024 * 1024;

/// The longest TTL that is sent, some 285,000 years: beyond, Redis' clock would overflow and it would refuse.
const TTL_MS_MAX: u128 = 1 << 53;

/// About what a command takes beside key and value.
const OVERHEAD_BYTES: usize = 64;
/// About what a field of a hash takes beside its name and value.
const FIELD_OVERHEAD_BYTES: usize = 16;

/// What of a key a write keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Nothing: it is overwritten.
    Nothing,
    /// Whatever is there.
    All,
    /// What lives for longer than this, or for ever.
    Longer(Duration),
}

/// One command about one key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Command<'a> {
    /// How long does the key live?
    Probe { key: &'a [u8] },
    /// Is the key there? That is asked by its weight, for which Redis looks past what it counts and past what it evicts by.
    Weigh { key: &'a [u8] },
    /// Is the key there?
    Exists { key: &'a [u8] },
    /// What kind of value does the key have?
    Type { key: &'a [u8] },
    /// What are the first bytes of its value, up to and with this one?
    Peek { key: &'a [u8], last: usize },
    /// Write a string.
    Set {
        key: &'a [u8],
        value: &'a [u8],
        ttl: Duration,
        keep: Keep,
    },
    /// Write a hash, in place of whatever the key has.
    SetHash {
        key: &'a [u8],
        fields: &'a [(Bytes, Bytes)],
        ttl: Duration,
        keep: Keep,
    },
    /// Where the key still has this value, give it a new TTL, or delete it.
    Settle {
        key: &'a [u8],
        value: &'a Value,
        ttl: Option<Duration>,
    },
    /// How many fields has the hash?
    CountFields { key: &'a [u8] },
    /// How long is the value of its field?
    MeasureField { key: &'a [u8], field: &'a [u8] },
    /// What are the values of these fields?
    ReadFields {
        key: &'a [u8],
        fields: &'a [(Bytes, Bytes)],
    },
    /// Give a present key a new TTL.
    Expire { key: &'a [u8], ttl: Duration },
    /// What does the key have, as one text? About so long.
    Dump {
        key: &'a [u8],
        expected_bytes: usize,
    },
    /// When is the key gone?
    End { key: &'a [u8], ends: Ends },
    /// How much is there of it?
    Size { key: &'a [u8], kind: Kind },
    /// What is the next piece of it?
    Piece {
        key: &'a [u8],
        kind: Kind,
        from: u64,
    },
    /// Which members of a sorted set have these ranks, from the highest score on?
    Highest {
        key: &'a [u8],
        from: u64,
        count: u64,
    },
    /// What does the access counter of an LFU policy stand at?
    Frequency { key: &'a [u8] },
    /// Write what was copied, for no longer than this.
    Copy {
        key: &'a [u8],
        copied: &'a Copied,
        ttl_max: Duration,
        keep: Keep,
    },
}

impl<'a> Command<'a> {
    fn key(&self) -> &'a [u8] {
        match *self {
            Self::Probe { key }
            | Self::Weigh { key }
            | Self::Exists { key }
            | Self::Type { key }
            | Self::Peek { key, .. }
            | Self::Set { key, .. }
            | Self::SetHash { key, .. }
            | Self::Settle { key, .. }
            | Self::CountFields { key }
            | Self::MeasureField { key, .. }
            | Self::ReadFields { key, .. }
            | Self::Expire { key, .. }
            | Self::Dump { key, .. }
            | Self::End { key, .. }
            | Self::Size { key, .. }
            | Self::Piece { key, .. }
            | Self::Highest { key, .. }
            | Self::Frequency { key }
            | Self::Copy { key, .. } => key,
        }
    }

    fn value_length(&self) -> usize {
        match self {
            Self::Set { value, .. } => value.len(),
            Self::Probe { .. }
            | Self::Weigh { .. }
            | Self::Exists { .. }
            | Self::Type { .. }
            | Self::CountFields { .. }
            | Self::End { .. }
            | Self::Size { .. }
            | Self::Piece { .. }
            | Self::Highest { .. }
            | Self::Frequency { .. }
            | Self::Expire { .. } => 0,
            Self::Dump { expected_bytes, .. } => *expected_bytes,
            Self::Copy { copied, .. } => copied.wire_bytes(),
            Self::MeasureField { field, .. } => field.len(),
            // What these bring back takes as long as what they would bring there.
            Self::Peek { last, .. } => *last,
            Self::SetHash { fields, .. } | Self::ReadFields { fields, .. } => of_fields(fields),
            Self::Settle { value, .. } => match value {
                Value::String(value) => value.len(),
                Value::Hash(fields) => of_fields(fields),
                Value::Copied(copied) => copied.wire_bytes(),
            },
        }
    }

    /// The slot of its key.
    pub(crate) fn slot(&self) -> Slot {
        Slot::of(self.key())
    }

    /// About how many bytes it takes on the wire.
    pub(crate) fn size_bytes(&self) -> usize {
        self.key().len() + self.value_length() + OVERHEAD_BYTES
    }

    /// Why it must not be sent at all, if so.
    pub(crate) fn refusal(&self) -> Option<CommandError> {
        // The parts of a hash travel one by one.
        let longest = |fields: &[(Bytes, Bytes)]| {
            let parts = fields.iter().map(|(f, v)| f.len().max(v.len()));
            parts.max().unwrap_or(0)
        };
        let value_bytes = match self {
            Self::SetHash { fields, .. } => longest(fields),
            Self::Copy { copied, .. } => copied.longest_bytes(),
            Self::Dump { .. } => 0,
            Self::Settle {
                value: Value::Hash(fields),
                ..
            } => longest(fields),
            _ => self.value_length(),
        };
        too_large("key", self.key().len()).or_else(|| too_large("value", value_bytes))
    }

    /// As Redis wants it.
    pub(crate) fn encode(&self) -> Cmd {
        match *self {
            Self::Probe { key } => {
                let mut cmd = Cmd::with_capacity(2, self.size_bytes());
                cmd.arg("PTTL").arg(key);
                cmd
            }
            Self::Weigh { key } => {
                let mut cmd = Cmd::with_capacity(5, self.size_bytes());
                // Of a large value a single part is weighed: how much it is does not matter.
                cmd.arg("MEMORY").arg("USAGE").arg(key);
                cmd.arg("SAMPLES").arg(1);
                cmd
            }
            Self::Exists { key } => of_key("EXISTS", key),
            Self::Type { key } => {
                let mut cmd = Cmd::new();
                cmd.arg("TYPE").arg(key);
                cmd
            }
            Self::Peek { key, last } => {
                let mut cmd = Cmd::new();
                cmd.arg("GETRANGE").arg(key).arg(0).arg(last);
                cmd
            }
            Self::Set {
                key,
                value,
                ttl,
                keep,
            } => script::set(key, value, whole_ms(ttl), keep, self.size_bytes()),
            Self::SetHash {
                key,
                fields,
                ttl,
                keep,
            } => script::set_hash(key, fields, whole_ms(ttl), keep, self.size_bytes()),
            Self::Settle { key, value, ttl } => {
                script::settle(key, value, ttl.map(whole_ms), self.size_bytes())
            }
            Self::CountFields { key } => {
                let mut cmd = Cmd::new();
                cmd.arg("HLEN").arg(key);
                cmd
            }
            Self::MeasureField { key, field } => {
                let mut cmd = Cmd::new();
                cmd.arg("HSTRLEN").arg(key).arg(field);
                cmd
            }
            Self::ReadFields { key, fields } => {
                let mut cmd = Cmd::new();
                cmd.arg("HMGET").arg(key);
                for (field, _) in fields {
                    cmd.arg(&field[..]);
                }
                cmd
            }
            Self::Expire { key, ttl } => {
                let mut cmd = Cmd::new();
                cmd.arg("PEXPIRE").arg(key).arg(whole_ms(ttl));
                cmd
            }
            Self::Dump { key, .. } => of_key("DUMP", key),
            Self::End { key, ends } => match ends {
                Ends::Moments => of_key("PEXPIRETIME", key),
                Ends::Left => of_key("PTTL", key),
            },
            Self::Size { key, kind } => of_key(kind.size_command(), key),
            Self::Piece { key, kind, from } => piece(key, kind, from),
            Self::Highest { key, from, count } => {
                let mut cmd = of_key("ZREVRANGE", key);
                cmd.arg(from).arg(from + count - 1).arg("WITHSCORES");
                cmd
            }
            Self::Frequency { key } => {
                let mut cmd = Cmd::with_capacity(3, self.size_bytes());
                cmd.arg("OBJECT").arg("FREQ").arg(key);
                cmd
            }
            Self::Copy {
                key,
                copied,
                ttl_max,
                keep,
            } => copied.encode(key, ttl_max, keep, self.size_bytes()),
        }
    }
}

fn of_key(name: &str, key: &[u8]) -> Cmd {
    let mut cmd = Cmd::with_capacity(2, key.len() + OVERHEAD_BYTES);
    cmd.arg(name).arg(key);
    cmd
}

fn piece(key: &[u8], kind: Kind, from: u64) -> Cmd {
    let scan = |name| {
        let mut cmd = of_key(name, key);
        cmd.arg(from).arg("COUNT").arg(PIECE);
        cmd
    };
    match kind {
        Kind::String => of_key("GET", key),
        Kind::List => {
            let mut cmd = of_key("LRANGE", key);
            cmd.arg(from).arg(from + PIECE - 1);
            cmd
        }
        Kind::Hash => scan("HSCAN"),
        Kind::Set => scan("SSCAN"),
        Kind::SortedSet => scan("ZSCAN"),
    }
}

/// About what fields take on the wire.
fn of_fields(fields: &[(Bytes, Bytes)]) -> usize {
    let of = |(field, value): &(Bytes, Bytes)| field.len() + value.len() + FIELD_OVERHEAD_BYTES;
    fields.iter().map(of).sum()
}

/// That a key or value of so many bytes cannot be sent, if so. Looked at before the command is built.
fn too_large(what: &str, length_bytes: usize) -> Option<CommandError> {
    (length_bytes > VALUE_BYTES_MAX).then(|| {
        let reason = format!(
            "the {what} has {length_bytes} bytes, and Redis takes {VALUE_BYTES_MAX} at most"
        );
        CommandError::new(FailureKind::TooLarge, reason)
    })
}

/// In milliseconds, at least one: Redis refuses zero in SET, and deletes the key in PEXPIRE.
pub(super) fn whole_ms(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis().clamp(1, TTL_MS_MAX)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(command: Command<'_>) -> String {
        let packed = command.encode().get_packed_command();
        let text = String::from_utf8_lossy(&packed).into_owned();
        text.split("\r\n")
            .skip(2)
            .step_by(2)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn commands_are_what_redis_expects() {
        let (key, value, ttl) = (
            b"k".as_slice(),
            b"v".as_slice(),
            Duration::from_millis(1500),
        );
        let set = |keep| Command::Set {
            key,
            value,
            ttl,
            keep,
        };
        assert_eq!(packed(set(Keep::All)), "SET k v NX PX 1500");
        assert_eq!(packed(set(Keep::Nothing)), "SET k v PX 1500");
        let longer = packed(set(Keep::Longer(Duration::from_secs(10))));
        assert!(longer.starts_with("EVAL "), "{longer}");
        assert!(longer.ends_with(" 1 k 10001 1500 v"), "{longer}");
        assert_eq!(packed(Command::Probe { key }), "PTTL k");
        assert_eq!(packed(Command::Expire { key, ttl }), "PEXPIRE k 1500");
        assert_eq!(packed(Command::Type { key }), "TYPE k");
        assert_eq!(packed(Command::Frequency { key }), "OBJECT FREQ k");
        let highest = Command::Highest {
            key,
            from: 1000,
            count: 10,
        };
        assert_eq!(packed(highest), "ZREVRANGE k 1000 1009 WITHSCORES");
        assert_eq!(packed(Command::Peek { key, last: 9 }), "GETRANGE k 0 9");
        let fields = &[("a".into(), "1".into()), ("b".into(), "2".into())];
        let hash = |keep| {
            packed(Command::SetHash {
                key,
                fields,
                ttl,
                keep,
            })
        };
        for (keep, floor) in [
            (Keep::All, "0"),
            (Keep::Nothing, "-1"),
            (Keep::Longer(ttl), "1501"),
        ] {
            let said = hash(keep);
            let ends = format!(" 1 k {floor} 1500 a 1 b 2");
            assert!(said.starts_with("EVAL ") && said.ends_with(&ends), "{said}");
        }
        for (value, ends) in [
            (Value::from("v"), "v"),
            (Value::Hash(fields.to_vec()), "a 1 b 2"),
        ] {
            for (ttl, ms) in [(Some(ttl), "1500"), (None, "-1")] {
                let said = packed(Command::Settle {
                    key,
                    value: &value,
                    ttl,
                });
                assert!(said.ends_with(&format!(" 1 k {ms} {ends}")), "{said}");
            }
        }
        assert_eq!(packed(Command::CountFields { key }), "HLEN k");
        let measure = Command::MeasureField { key, field: b"a" };
        assert_eq!(packed(measure), "HSTRLEN k a");
        assert_eq!(packed(Command::ReadFields { key, fields }), "HMGET k a b");
    }

    #[test]
    fn a_ttl_is_never_one_that_redis_refuses_or_takes_for_a_deletion() {
        let expire = |ttl| packed(Command::Expire { key: b"k", ttl });
        assert_eq!(expire(Duration::ZERO), "PEXPIRE k 1");
        assert_eq!(expire(Duration::from_micros(1999)), "PEXPIRE k 1");
        assert_eq!(expire(Duration::MAX), "PEXPIRE k 9007199254740992");
    }

    #[test]
    fn what_is_too_large_for_redis_is_refused_with_its_size_and_the_limit() {
        // Zeroed pages that are only counted: nobody touches them, so they take no memory.
        let large = vec![0; VALUE_BYTES_MAX + 1];
        let (fits, k, ttl) = (&large[..VALUE_BYTES_MAX], &b"k"[..], Duration::ZERO);
        let set = |key, value| Command::Set {
            key,
            value,
            ttl,
            keep: Keep::Nothing,
        };
        for (what, command) in [
            ("value", set(k, &large)),
            ("key", set(&large, k)),
            ("key", Command::Probe { key: &large }),
            ("key", Command::Expire { key: &large, ttl }),
        ] {
            let refusal = command.refusal().unwrap();
            assert_eq!(refusal.kind, FailureKind::TooLarge);
            let said = format!("the {what} has 536870913 bytes, and Redis takes 536870912 at most");
            assert_eq!(refusal.reason, said);
        }
        for command in [
            set(fits, fits),
            Command::Probe { key: fits },
            Command::Expire { key: fits, ttl },
        ] {
            assert_eq!(command.refusal(), None);
        }
    }
}
