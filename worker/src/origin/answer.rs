//! What a load gives: an answer for each key.

use std::time::SystemTime;

use bytes::Bytes;

use crate::value::Value;

/// What became of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// What was made of its row, or rows.
    Row(Made),
    /// There is no row for this key.
    Absent,
    /// This key or its row cannot be used, and another attempt will not help.
    Failed {
        /// What is wrong, for people.
        reason: String,
    },
    /// Nothing is known of this key yet, and another attempt may tell.
    Again {
        /// What is wrong, for people.
        reason: String,
    },
}

/// What was made of a key's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The value, in the form that the loader asks for.
    pub value: Value,
    /// When it must be gone, where the loader names a column for that.
    pub expires_at: Option<SystemTime>,
    /// The rows' versions, where the loader names a column for them: the same for the same rows, in whatever order they come.
    pub version: Option<Bytes>,
}

impl From<Value> for Made {
    fn from(value: Value) -> Self {
        Self {
            value,
            expires_at: None,
            version: None,
        }
    }
}

/// What a load gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// One for each key, in the order of the keys.
    pub answers: Vec<Answer>,
    /// Rows received.
    pub rows: u64,
    /// Tokens taken: at least as many as statements sent, connection set-up included.
    pub queries: u64,
    /// Rows for keys that were not asked for. They are left out. Where there are any, a key without a row has failed,
    /// rather than being absent: its row may be among them, under a key that is written in another way.
    pub unasked: u64,
}

impl Loaded {
    /// The bytes of all values.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let of = |answer: &Answer| match answer {
            Answer::Row(made) => made.value.size_bytes() as u64,
            Answer::Absent | Answer::Failed { .. } | Answer::Again { .. } => 0,
        };
        self.answers.iter().map(of).sum()
    }
}
