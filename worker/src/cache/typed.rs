//! Reading keys by the commands of their types, in pieces, and no further than is allowed.
//!
//! All keys of a call go on side by side, from round to round: of what type, how much, piece by piece, until when. What is
//! changed while it is read may be read as it never was, as a list whose elements move; where its size tells that, it is to be read
//! again.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use redis::Value;

use super::command::Command;
use super::copy::{Content, Copied, Ends, until};
use super::error::{CommandError, FailureKind};
use super::{Cache, answer};
use crate::permit::{Permit, Stopped};

/// How many elements are asked for at a time.
pub(super) const PIECE: u64 = 500;
/// The most arguments that one command may have, less some: Redis takes 1,048,576, and breaks the connection for more.
const PARTS_MAX: u64 = 1_000_000;

/// The types that are read so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    String,
    Hash,
    List,
    Set,
    SortedSet,
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "string" => Self::String,
            "hash" => Self::Hash,
            "list" => Self::List,
            "set" => Self::Set,
            "zset" => Self::SortedSet,
            _ => return None,
        })
    }

    /// What asks how much there is of it: bytes of a string, else elements.
    pub(super) const fn size_command(self) -> &'static str {
        match self {
            Self::String => "STRLEN",
            Self::Hash => "HLEN",
            Self::List => "LLEN",
            Self::Set => "SCARD",
            Self::SortedSet => "ZCARD",
        }
    }
}

/// A key on the way.
struct Reading<'k> {
    key: &'k [u8],
    state: State,
    bytes: u64,
    /// Where the next piece begins: a cursor, or of a list the number of the element.
    from: u64,
    size: u64,
}

enum State {
    Type,
    Size(Kind),
    Pieces(Kind, Pieces),
    /// The size again, of a list, and the end.
    End(Kind, Pieces),
    Over(Result<Option<Copied>, CommandError>),
}

/// What has been gathered; SCAN's kin may give an element twice.
enum Pieces {
    String(Option<Bytes>),
    List(Vec<Bytes>),
    Set(HashSet<Bytes>),
    Pairs(HashMap<Bytes, Bytes>),
}

impl Pieces {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::String => Self::String(None),
            Kind::List => Self::List(Vec::new()),
            Kind::Set => Self::Set(HashSet::new()),
            Kind::Hash | Kind::SortedSet => Self::Pairs(HashMap::new()),
        }
    }

    /// What it comes to, in an order that depends on nothing but what it is; `None` where it is nothing.
    fn finish(self, kind: Kind) -> Option<Content> {
        let sorted = |mut pairs: Vec<(Bytes, Bytes)>| {
            pairs.sort_unstable();
            pairs
        };
        Some(match (self, kind) {
            (Self::String(value), _) => Content::String(value?),
            (Self::List(parts), _) if parts.is_empty() => return None,
            (Self::List(parts), _) => Content::List(parts),
            (Self::Set(members), _) if members.is_empty() => return None,
            (Self::Set(members), _) => {
                let mut members: Vec<Bytes> = members.into_iter().collect();
                members.sort_unstable();
                Content::Set(members)
            }
            (Self::Pairs(pairs), _) if pairs.is_empty() => return None,
            (Self::Pairs(pairs), Kind::SortedSet) => {
                let scored = pairs.into_iter().map(|(member, score)| (score, member));
                Content::SortedSet(sorted(scored.collect()))
            }
            (Self::Pairs(pairs), _) => Content::Hash(sorted(pairs.into_iter().collect())),
        })
    }
}

impl Cache {
    /// What each of these keys has, by the commands of its type, with its end; `None` of a key that is not there. `permit` is
    /// passed before each flush, with the number of its commands.
    ///
    /// # Errors
    /// [`Stopped`] where the permit said so. A key fails that has more than `bytes_max`, or is of a type that has no such
    /// commands, or was changed meanwhile.
    pub async fn read_typed(
        &self,
        permit: &dyn Permit,
        keys: &[Bytes],
        ends: Ends,
        bytes_max: u64,
    ) -> Result<Vec<Result<Option<Copied>, CommandError>>, Stopped> {
        let reading = |key| Reading {
            key,
            state: State::Type,
            bytes: 0,
            from: 0,
            size: 0,
        };
        let mut readings: Vec<_> = keys.iter().map(|key| reading(&key[..])).collect();
        loop {
            let mut commands = Vec::with_capacity(readings.len());
            let mut asking = Vec::with_capacity(readings.len());
            for reading in &mut readings {
                let before = commands.len();
                commands.extend(reading.asks(ends));
                if commands.len() > before {
                    asking.push((reading, commands.len() - before));
                }
            }
            if commands.is_empty() {
                break;
            }
            let mut answers = self.router.run(permit, &commands).await?.into_iter();
            for (reading, count) in asking {
                let answers: Vec<_> = answers.by_ref().take(count).collect();
                let stepped = answers.into_iter().collect::<Result<Vec<_>, _>>();
                let stepped = stepped.and_then(|answers| reading.step(answers, ends, bytes_max));
                if let Err(error) = stepped {
                    reading.state = State::Over(Err(error));
                }
            }
        }
        let over = |reading: Reading<'_>| match reading.state {
            State::Over(result) => result,
            _ => unreachable!("whoever asks nothing more is at its end"),
        };
        Ok(readings.into_iter().map(over).collect())
    }
}

impl<'k> Reading<'k> {
    /// What is asked next; nothing at the end.
    fn asks(&self, ends: Ends) -> Vec<Command<'k>> {
        let key = self.key;
        match &self.state {
            State::Type => vec![Command::Type { key }],
            State::Size(kind) => vec![Command::Size { key, kind: *kind }],
            State::Pieces(kind, _) => {
                let (kind, from) = (*kind, self.from);
                vec![Command::Piece { key, kind, from }]
            }
            State::End(kind, _) => {
                vec![
                    Command::Size { key, kind: *kind },
                    Command::End { key, ends },
                ]
            }
            State::Over(_) => Vec::new(),
        }
    }

    /// Takes the answers to that.
    fn step(
        &mut self,
        answers: Vec<Value>,
        ends: Ends,
        bytes_max: u64,
    ) -> Result<(), CommandError> {
        let mut answers = answers.into_iter();
        let answer = answers.next().unwrap_or_default();
        self.state = match std::mem::replace(&mut self.state, State::Type) {
            State::Type => match answer {
                Value::SimpleString(name) if name == "none" => State::Over(Ok(None)),
                Value::SimpleString(name) => {
                    State::Size(Kind::of(&name).ok_or_else(|| no_commands(&name))?)
                }
                other => return Err(answer::strange(&other, "TYPE")),
            },
            State::Size(kind) => {
                self.size = answer::count(&answer)?;
                let parts = match kind {
                    Kind::Hash | Kind::SortedSet => self.size.saturating_mul(2),
                    Kind::List | Kind::Set => self.size,
                    Kind::String => 1,
                };
                if parts > PARTS_MAX {
                    let what = format!(
                        "{} elements are too many to be written by one command",
                        self.size
                    );
                    return Err(CommandError::new(FailureKind::TooLarge, what));
                }
                if kind == Kind::String && self.size > bytes_max {
                    return Err(too_large(bytes_max));
                }
                State::Pieces(kind, Pieces::new(kind))
            }
            State::Pieces(kind, pieces) => {
                let (pieces, is_last) = self.take(kind, pieces, answer)?;
                if self.bytes > bytes_max {
                    return Err(too_large(bytes_max));
                }
                if is_last {
                    State::End(kind, pieces)
                } else {
                    State::Pieces(kind, pieces)
                }
            }
            State::End(kind, pieces) => {
                let size = answer::count(&answer)?;
                let until = until(&answers.next().unwrap_or_default(), ends)?;
                match (until, pieces.finish(kind)) {
                    (None, _) => State::Over(Ok(None)),
                    (Some(_), None) => return Err(changed()),
                    (Some(_), Some(Content::List(parts))) if parts.len() as u64 != size => {
                        return Err(changed());
                    }
                    (Some(until), Some(content)) => {
                        State::Over(Ok(Some(Copied { content, until })))
                    }
                }
            }
            State::Over(result) => State::Over(result),
        };
        Ok(())
    }

    /// Adds a piece; whether it was the last.
    fn take(
        &mut self,
        kind: Kind,
        pieces: Pieces,
        answer: Value,
    ) -> Result<(Pieces, bool), CommandError> {
        let strange = |other: &Value| answer::strange(other, "GET, LRANGE, HSCAN, SSCAN or ZSCAN");
        match (pieces, kind) {
            (Pieces::String(_), _) => match answer {
                Value::BulkString(value) => {
                    self.bytes = value.len() as u64;
                    Ok((Pieces::String(Some(value.into())), true))
                }
                Value::Nil => Ok((Pieces::String(None), true)),
                other => Err(strange(&other)),
            },
            (Pieces::List(mut parts), _) => {
                let piece = texts(answer).ok_or_else(|| strange(&Value::Nil))?;
                let is_last = (piece.len() as u64) < PIECE;
                self.from += piece.len() as u64;
                self.bytes += piece.iter().map(|part| part.len() as u64).sum::<u64>();
                parts.extend(piece);
                if parts.len() as u64 > PARTS_MAX {
                    return Err(changed());
                }
                Ok((Pieces::List(parts), is_last))
            }
            (Pieces::Set(mut members), _) => {
                let (cursor, piece) = scanned(answer).ok_or_else(|| strange(&Value::Nil))?;
                self.from = cursor;
                for member in piece {
                    let bytes = member.len() as u64;
                    self.bytes += if members.insert(member) { bytes } else { 0 };
                }
                Ok((Pieces::Set(members), cursor == 0))
            }
            (Pieces::Pairs(mut pairs), _) => {
                let (cursor, piece) = scanned(answer).ok_or_else(|| strange(&Value::Nil))?;
                self.from = cursor;
                let mut piece = piece.into_iter();
                while let Some((name, value)) = piece.next().zip(piece.next()) {
                    let bytes = (name.len() + value.len()) as u64;
                    self.bytes += if pairs.insert(name, value).is_none() {
                        bytes
                    } else {
                        0
                    };
                }
                Ok((Pieces::Pairs(pairs), cursor == 0))
            }
        }
    }
}

fn too_large(bytes_max: u64) -> CommandError {
    let reason =
        format!("it has more than {bytes_max} bytes: raise max-value-bytes, or leave it out");
    CommandError::new(FailureKind::TooLarge, reason)
}

fn no_commands(kind: &str) -> CommandError {
    let reason = format!(
        "it is of type {kind}, which only DUMP and RESTORE copy: both servers must be of versions that go together, and copy = \"dump\" or \"auto\""
    );
    CommandError::new(FailureKind::Refused, reason)
}

fn changed() -> CommandError {
    CommandError::new(FailureKind::Unavailable, "it was changed while it was read")
}

/// An array of texts.
fn texts(value: Value) -> Option<Vec<Bytes>> {
    let text = |value| match value {
        Value::BulkString(bytes) => Some(Bytes::from(bytes)),
        _ => None,
    };
    match value {
        Value::Array(values) => values.into_iter().map(text).collect(),
        _ => None,
    }
}

/// A reply of SCAN or its kin: the next cursor, and what was found.
pub(super) fn scanned(reply: Value) -> Option<(u64, Vec<Bytes>)> {
    let Value::Array(parts) = reply else {
        return None;
    };
    let [Value::BulkString(cursor), found] = <[Value; 2]>::try_from(parts).ok()? else {
        return None;
    };
    let cursor = std::str::from_utf8(&cursor).ok()?.parse().ok()?;
    Some((cursor, texts(found)?))
}
