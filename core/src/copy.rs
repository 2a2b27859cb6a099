//! Copying the keys of another Redis, in place of making values of rows.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::template::Template;

/// The time to live of a loader that sets none: entries live as long as their keys in the origin do, be it for ever.
pub const TTL_OF_ORIGIN: Duration = Duration::MAX;

/// How many commands copying a key takes, where nothing of it is large: what it has, and how long it lives.
pub const COMMANDS_A_KEY: u32 = 2;

/// How keys are copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopySpec {
    /// The origin's key, by the entry's argument: a template whose only column is `key`.
    pub from: Template,
    /// What is read there, and written here.
    #[serde(default)]
    pub how: How,
}

/// What is read in the origin, and written to the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// As [`How::Dump`] until the cache refuses what it gives, then as [`How::Typed`].
    #[default]
    Auto,
    /// What DUMP gives, by RESTORE: every type, in the server's own format.
    Dump,
    /// Strings, hashes, lists, sets and sorted sets by the commands of their types, whatever the versions.
    Typed,
}

impl CopySpec {
    /// The origin's key has the name that the key source gives.
    ///
    /// # Panics
    /// Never: the template is one.
    #[must_use]
    pub fn of_same_name(how: How) -> Self {
        let from = Template::parse("{key}").unwrap_or_else(|_| unreachable!("a template"));
        Self { from, how }
    }

    /// Whether the origin's key is what the key source gives.
    #[must_use]
    pub fn is_of_same_name(&self) -> bool {
        self.from.as_str() == "{key}"
    }
}
