//! Copying keys from one Redis to another: what DUMP gives goes in by RESTORE, and each key keeps its end.
//!
//! Invariants:
//! - Nothing that has an end is written without one: an end that has come is written as one that comes at once. (RESTORE takes a
//!   time to live of 0 for none.)
//! - A key's end is read after its value, so that a key that expires, or is replaced by a short-lived one, between the two is
//!   absent, or lives for short, and not for ever.
//!
//! An end is copied as the moment that it is where Redis tells that (PEXPIRETIME, from 7.0 on): then it is the same there as here,
//! to the millisecond, as far as both clocks are. Else it is what was left when that was read, counted on by our clock.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use redis::{Cmd, Value};

use super::command::{Command, Keep, whole_ms};
use super::error::{CommandError, FailureKind};
use super::{Cache, answer, script};
use crate::permit::{Permit, Stopped};

/// About what a number or a word takes in a command.
const PART_OVERHEAD_BYTES: usize = 16;

/// What was read of a key in another Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// What it has.
    pub content: Content,
    /// When it is gone.
    pub until: Until,
}

/// What a key has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// What DUMP gives.
    Dump(Bytes),
    /// A string.
    String(Bytes),
    /// Fields and their values, each field once.
    Hash(Vec<(Bytes, Bytes)>),
    /// Elements in their order.
    List(Vec<Bytes>),
    /// Members, each once.
    Set(Vec<Bytes>),
    /// Scores, as Redis writes them, and members, each once.
    SortedSet(Vec<(Bytes, Bytes)>),
}

/// When a key is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Not by itself.
    Never,
    /// At this moment, by the clock of the Redis that has it: milliseconds since 1970.
    At(u64),
    /// At about this moment, by our own clock.
    Here(Instant),
}

/// How the ends of keys are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// As moments: by PEXPIRETIME, which Redis knows from 7.0 on.
    Moments,
    /// As what is left: by PTTL.
    Left,
}

/// When a copy is to be gone, as its command says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Never,
    At(u64),
    In(u64),
}

impl Content {
    /// How many bytes it has.
    pub(crate) fn size_bytes(&self) -> usize {
        let pairs = |pairs: &[(Bytes, Bytes)]| pairs.iter().map(|(a, b)| a.len() + b.len()).sum();
        match self {
            Self::Dump(bytes) | Self::String(bytes) => bytes.len(),
            Self::Hash(fields) => pairs(fields),
            Self::SortedSet(members) => pairs(members),
            Self::List(parts) | Self::Set(parts) => parts.iter().map(Bytes::len).sum(),
        }
    }

    /// The longest of its parts: they travel one by one.
    fn longest_bytes(&self) -> usize {
        let longest = |parts: &[(Bytes, Bytes)]| {
            let parts = parts.iter().map(|(a, b)| a.len().max(b.len()));
            parts.max().unwrap_or(0)
        };
        match self {
            Self::Dump(bytes) | Self::String(bytes) => bytes.len(),
            Self::Hash(pairs) | Self::SortedSet(pairs) => longest(pairs),
            Self::List(parts) | Self::Set(parts) => parts.iter().map(Bytes::len).max().unwrap_or(0),
        }
    }

    fn parts(&self) -> usize {
        match self {
            Self::Dump(_) | Self::String(_) => 1,
            Self::Hash(pairs) | Self::SortedSet(pairs) => 2 * pairs.len(),
            Self::List(parts) | Self::Set(parts) => parts.len(),
        }
    }
}

impl Copied {
    pub(super) fn longest_bytes(&self) -> usize {
        self.content.longest_bytes()
    }

    /// About how many bytes it takes on the wire, beside its key.
    pub(super) fn wire_bytes(&self) -> usize {
        self.content.size_bytes() + self.content.parts() * PART_OVERHEAD_BYTES
    }

    /// When the copy is to be gone that is written now and lives for so long at most.
    fn end(&self, ttl_max: Duration) -> End {
        let is_limited = ttl_max < Duration::MAX;
        match self.until {
            Until::Never if is_limited => End::In(whole_ms(ttl_max)),
            Until::Never => End::Never,
            Until::At(at) => {
                let latest = since_1970_ms().saturating_add(whole_ms(ttl_max));
                if is_limited && latest < at {
                    End::In(whole_ms(ttl_max))
                } else {
                    End::At(at.max(1))
                }
            }
            Until::Here(at) => {
                let left = at.saturating_duration_since(Instant::now());
                End::In(whole_ms(left.min(ttl_max)))
            }
        }
    }

    /// Whether a script writes what lives for so long at most.
    pub(super) fn is_written_by_script(&self, ttl_max: Duration) -> bool {
        match &self.content {
            Content::Dump(_) => false,
            Content::String(_) => matches!(self.end(ttl_max), End::At(_)),
            Content::Hash(_) | Content::List(_) | Content::Set(_) | Content::SortedSet(_) => true,
        }
    }

    /// What writes it.
    pub(super) fn encode(
        &self,
        key: &[u8],
        ttl_max: Duration,
        keep: Keep,
        size_bytes: usize,
    ) -> Cmd {
        let end = self.end(ttl_max);
        let mut cmd = Cmd::with_capacity(7, size_bytes);
        match (&self.content, end) {
            (Content::Dump(payload), _) => {
                let time = match end {
                    End::Never => 0,
                    End::At(ms) | End::In(ms) => ms,
                };
                cmd.arg("RESTORE").arg(key).arg(time).arg(&payload[..]);
                if keep == Keep::Nothing {
                    cmd.arg("REPLACE");
                }
                if matches!(end, End::At(_)) {
                    cmd.arg("ABSTTL");
                }
            }
            (Content::String(value), End::Never | End::In(_)) => {
                cmd.arg("SET").arg(key).arg(&value[..]);
                if keep == Keep::All {
                    cmd.arg("NX");
                }
                if let End::In(ms) = end {
                    cmd.arg("PX").arg(ms);
                }
            }
            (content, _) => {
                let expiry = match end {
                    End::Never => None,
                    End::At(ms) => Some(("PEXPIREAT", ms)),
                    End::In(ms) => Some(("PEXPIRE", ms)),
                };
                let command = match content {
                    Content::Hash(_) => "HSET",
                    Content::List(_) => "RPUSH",
                    Content::Set(_) => "SADD",
                    Content::SortedSet(_) => "ZADD",
                    Content::Dump(_) | Content::String(_) => "SET",
                };
                script::begin_write(&mut cmd, key, keep, expiry, command);
                match content {
                    Content::Dump(part) | Content::String(part) => {
                        cmd.arg(&part[..]);
                    }
                    Content::List(parts) | Content::Set(parts) => {
                        for part in parts {
                            cmd.arg(&part[..]);
                        }
                    }
                    Content::Hash(pairs) | Content::SortedSet(pairs) => {
                        for (first, second) in pairs {
                            cmd.arg(&first[..]).arg(&second[..]);
                        }
                    }
                }
            }
        }
        cmd
    }
}

fn since_1970_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, whole_ms)
}

/// Whether the server's words mean that it does not take what another server's DUMP gave, whichever key it is of: it is older, or
/// has no such command.
pub(super) fn is_payload_refusal(error: &CommandError) -> bool {
    const SIGNS: [&str; 4] = [
        "DUMP payload version or checksum are wrong",
        "Bad data format",
        "unknown command",
        // It does not know ABSTTL, and so is older than whoever gave a moment.
        "syntax error",
    ];
    error.kind == FailureKind::Refused && SIGNS.iter().any(|sign| error.reason.contains(sign))
}

/// Whether the server's words mean that the user may not have this key, whatever may be done with others.
pub(crate) fn is_of_key(error: &CommandError) -> bool {
    error.kind == FailureKind::Denied && !error.reason.contains("command")
}

/// Whether the server's words mean that it has no such command.
pub(crate) fn is_unknown_command(error: &CommandError) -> bool {
    error.kind == FailureKind::Refused && error.reason.contains("unknown command")
}

/// When a key is gone, by the reply to what asks after its end; `None` where it is gone already.
pub(super) fn until(reply: &Value, ends: Ends) -> Result<Option<Until>, CommandError> {
    match (reply, ends) {
        (Value::Int(-2), _) => Ok(None),
        (Value::Int(-1), _) => Ok(Some(Until::Never)),
        (Value::Int(ms @ 0..), Ends::Moments) => Ok(Some(Until::At(ms.unsigned_abs()))),
        (Value::Int(ms @ 0..), Ends::Left) => {
            let left = Duration::from_millis(ms.unsigned_abs());
            // So far away that no clock of ours tells: no server has a key for so long.
            let at = Instant::now().checked_add(left);
            Ok(Some(at.map_or(Until::Never, Until::Here)))
        }
        _ => Err(answer::strange(reply, "PEXPIRETIME or PTTL")),
    }
}

impl Cache {
    /// What each of these keys has, by DUMP, with its end; `None` of a key that is not there. `permit` is passed before each
    /// flush, with the number of its commands. `expected_bytes`: about what a key's DUMP takes.
    ///
    /// # Errors
    /// [`Stopped`] where the permit said so.
    pub async fn dump(
        &self,
        permit: &dyn Permit,
        keys: &[Bytes],
        ends: Ends,
        expected_bytes: usize,
    ) -> Result<Vec<Result<Option<Copied>, CommandError>>, Stopped> {
        let both = |key| {
            [
                Command::Dump {
                    key,
                    expected_bytes,
                },
                Command::End { key, ends },
            ]
        };
        let commands: Vec<_> = keys.iter().flat_map(|key| both(&key[..])).collect();
        let mut answers = self.router.run(permit, &commands).await?.into_iter();
        let pairs = std::iter::from_fn(|| answers.next().zip(answers.next()));
        let copied =
            |(payload, end): (Result<Value, CommandError>, Result<Value, CommandError>)| {
                let (payload, end) = match (payload, end) {
                    // What is said of the command tells more than that this key is not allowed.
                    (Err(error), Err(of_end)) if is_of_key(&error) => return Err(of_end),
                    (payload, end) => (payload?, end?),
                };
                let until = until(&end, ends)?;
                let payload = match payload {
                    Value::BulkString(bytes) => Bytes::from(bytes),
                    Value::Nil => return Ok(None),
                    other => return Err(answer::strange(&other, "DUMP")),
                };
                Ok(until.map(|until| Copied {
                    content: Content::Dump(payload),
                    until,
                }))
            };
        Ok(pairs.map(copied).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(content: Content, until: Until, ttl_max: Duration, keep: Keep) -> String {
        let copied = Copied { content, until };
        let packed = copied.encode(b"k", ttl_max, keep, 0).get_packed_command();
        let text = String::from_utf8_lossy(&packed).into_owned();
        let parts = text.split("\r\n").skip(2).step_by(2);
        parts.collect::<Vec<_>>().join(" ")
    }

    fn dump() -> Content {
        Content::Dump("p".into())
    }

    const LONG_AGO: Until = Until::At(1_000);
    const FAR: u64 = 9_000_000_000_000;
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_copy_ends_when_its_key_does_and_no_later_than_it_may() {
        let restore = |until, ttl_max| packed(dump(), until, ttl_max, Keep::All);
        assert_eq!(restore(Until::Never, Duration::MAX), "RESTORE k 0 p");
        assert_eq!(restore(Until::Never, SECOND), "RESTORE k 1000 p");
        let far = format!("RESTORE k {FAR} p ABSTTL");
        assert_eq!(restore(Until::At(FAR), Duration::MAX), far);
        assert_eq!(restore(Until::At(FAR), SECOND), "RESTORE k 1000 p");
        let replace = packed(dump(), Until::At(FAR), Duration::MAX, Keep::Nothing);
        assert_eq!(replace, format!("RESTORE k {FAR} p REPLACE ABSTTL"));
    }

    #[test]
    fn what_is_over_is_never_written_for_ever() {
        for until in [LONG_AGO, Until::At(0), Until::Here(Instant::now())] {
            for ttl_max in [Duration::MAX, SECOND] {
                let said = packed(dump(), until, ttl_max, Keep::Nothing);
                assert!(!said.starts_with("RESTORE k 0 "), "{said}");
            }
            let string = Content::String("v".into());
            let said = packed(string, until, Duration::MAX, Keep::Nothing);
            assert!(
                said.contains(" PX 1") || said.contains(" PEXPIREAT "),
                "{said}"
            );
        }
        let left = |ms| until(&Value::Int(ms), Ends::Left);
        assert!(matches!(left(0), Ok(Some(Until::Here(_)))));
        assert_eq!(left(-2), Ok(None));
        assert_eq!(until(&Value::Int(-2), Ends::Moments), Ok(None));
        assert_eq!(
            until(&Value::Int(-1), Ends::Moments),
            Ok(Some(Until::Never))
        );
        assert!(until(&Value::Nil, Ends::Moments).is_err());
    }

    #[test]
    fn every_type_has_its_command() {
        let pair = || vec![("a".into(), "1".into())];
        let parts = || vec!["x".into(), "y".into()];
        for (content, ends) in [
            (Content::Hash(pair()), "HSET a 1"),
            (Content::SortedSet(pair()), "ZADD a 1"),
            (Content::List(parts()), "RPUSH x y"),
            (Content::Set(parts()), "SADD x y"),
            (Content::String("v".into()), "SET v"),
        ] {
            let said = packed(content, Until::At(FAR), Duration::MAX, Keep::All);
            let ends = format!(" 1 k 0 PEXPIREAT {FAR} {ends}");
            assert!(said.starts_with("EVAL ") && said.ends_with(&ends), "{said}");
        }
        let set = packed(Content::String("v".into()), Until::Never, SECOND, Keep::All);
        assert_eq!(set, "SET k v NX PX 1000");
        let list = packed(
            Content::List(parts()),
            Until::Never,
            Duration::MAX,
            Keep::Nothing,
        );
        assert!(list.ends_with(" 1 k -1 - 0 RPUSH x y"), "{list}");
    }

    #[test]
    fn a_refusal_of_the_payload_is_told_from_others() {
        let error = |kind, reason: &str| CommandError::new(kind, reason);
        for (kind, reason, expected) in [
            (
                FailureKind::Refused,
                "a:1: ERR DUMP payload version or checksum are wrong",
                true,
            ),
            (
                FailureKind::Refused,
                "a:1: ERR unknown command 'RESTORE'",
                true,
            ),
            (
                FailureKind::Refused,
                "a:1: MISCONF Redis is configured",
                false,
            ),
            (FailureKind::Denied, "a:1: NOPERM unknown command", false),
        ] {
            assert_eq!(
                is_payload_refusal(&error(kind, reason)),
                expected,
                "{reason}"
            );
        }
    }
}
