//! What of a node's hits and misses is our own.
//!
//! Redis counts each look for a key that is to be read (`keyspace_hits`, `keyspace_misses`), whoever looks, and whatever for: our
//! probes by `PTTL` as well as an application's `GET`. Looks of commands that write are not counted, nor is `MEMORY USAGE`. So that
//! the application's hit rate can be told, what ours add is counted here, by what each command looks for and what it was answered.
//! It is exact but for answers that do not tell: a string that is empty counts as missing, and so does a key that a script has
//! written over, or whose value was found to be another when it was to be settled.

use std::sync::atomic::{AtomicU64, Ordering};

use redis::Value;

use super::command::{Command, Keep};

/// Looks of one node, since we know it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    hits: AtomicU64,
    misses: AtomicU64,
}

impl Tally {
    /// How many found something, and how many nothing.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (
            self.hits.load(Ordering::Relaxed),
            self.misses.load(Ordering::Relaxed),
        )
    }

    /// Counts the looks of a flush's commands.
    pub(crate) fn count(&self, found: &Found) {
        self.hits.fetch_add(found.hits, Ordering::Relaxed);
        self.misses.fetch_add(found.misses, Ordering::Relaxed);
    }
}

/// What the looks of some commands have found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    hits: u64,
    misses: u64,
}

impl Found {
    /// Adds those of a command that was answered so.
    pub(crate) fn add(&mut self, command: &Command<'_>, reply: &Value) {
        let looks = looks(command);
        if looks == 0 {
            return;
        }
        match is_there(command, reply) {
            true => self.hits += looks,
            // Where there is nothing, nothing more is asked.
            false => self.misses += 1,
        }
    }
}

/// How often a command looks for a key that is there.
fn looks(command: &Command<'_>) -> u64 {
    match command {
        Command::Probe { .. }
        | Command::Type { .. }
        | Command::Exists { .. }
        | Command::Peek { .. }
        | Command::CountFields { .. }
        | Command::MeasureField { .. }
        | Command::ReadFields { .. }
        | Command::Dump { .. }
        | Command::End { .. }
        | Command::Size { .. }
        | Command::Piece { .. }
        | Command::Highest { .. }
        | Command::Frequency { .. } => 1,
        // Their scripts begin with a PTTL.
        Command::Set {
            keep: Keep::Longer(_),
            ..
        }
        | Command::SetHash { .. } => 1,
        Command::Copy {
            copied, ttl_max, ..
        } => u64::from(copied.is_written_by_script(*ttl_max)),
        Command::Settle { value, .. } => match value {
            crate::value::Value::Hash(fields) => 2 + fields.len() as u64,
            crate::value::Value::String(_) | crate::value::Value::Copied(_) => 2,
        },
        Command::Weigh { .. } | Command::Set { .. } | Command::Expire { .. } => 0,
    }
}

/// Whether the answer is that of a key that was there.
fn is_there(command: &Command<'_>, reply: &Value) -> bool {
    match (command, reply) {
        // PTTL and its kin.
        (Command::Probe { .. } | Command::End { .. }, Value::Int(left)) => *left != -2,
        (Command::Type { .. }, Value::SimpleString(kind)) => kind != "none",
        // What was kept was there; what was written over may have been, and mostly was not.
        (Command::Set { .. } | Command::SetHash { .. } | Command::Copy { .. }, reply) => {
            *reply == Value::Nil
        }
        // A counter that has fallen to nothing is there.
        (Command::Frequency { .. }, Value::Int(_)) => true,
        (_, Value::Int(number)) => *number > 0,
        (_, Value::BulkString(bytes)) => !bytes.is_empty(),
        (_, Value::Array(values)) => values.iter().any(|value| *value != Value::Nil),
        (_, reply) => *reply != Value::Nil,
    }
}
