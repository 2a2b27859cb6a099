//! How many keys one query of a loader asks for.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The most keys in one query.
pub const BATCH_KEYS_MAX: u32 = 10_000;

/// How many keys one query asks for. In records and on the wire it is a number, 0 being [`BatchKeys::Auto`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "u32", into = "u32")]
pub enum BatchKeys {
    /// As many as its queries' latency and the grant let seem right, about [`BatchKeys::AUTO`].
    #[default]
    Auto,
    /// So many, as far as there are as many.
    Exactly(NonZeroU32),
}

impl BatchKeys {
    /// With how many a loader begins that finds out itself.
    pub const AUTO: u32 = 500;
    /// The fewest that such a loader asks for.
    pub const AUTO_MIN: u32 = 62;
    /// The most that such a loader asks for.
    pub const AUTO_MAX: u32 = 4_000;

    /// How many are to be expected.
    #[must_use]
    pub const fn expected(self) -> u32 {
        match self {
            Self::Auto => Self::AUTO,
            Self::Exactly(number) => number.get(),
        }
    }

    /// How many it can be at most.
    #[must_use]
    pub const fn most(self) -> u32 {
        match self {
            Self::Auto => Self::AUTO_MAX,
            Self::Exactly(number) => number.get(),
        }
    }
}

impl From<u32> for BatchKeys {
    fn from(number: u32) -> Self {
        NonZeroU32::new(number).map_or(Self::Auto, Self::Exactly)
    }
}

impl From<BatchKeys> for u32 {
    fn from(keys: BatchKeys) -> Self {
        match keys {
            BatchKeys::Auto => 0,
            BatchKeys::Exactly(number) => number.get(),
        }
    }
}

/// No number of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write a number from 1 to {BATCH_KEYS_MAX}, or auto")]
pub struct NotBatchKeys;

impl FromStr for BatchKeys {
    type Err = NotBatchKeys;

    fn from_str(text: &str) -> Result<Self, NotBatchKeys> {
        match text.parse() {
            _ if text == "auto" => Ok(Self::Auto),
            Ok(number @ 1..=BATCH_KEYS_MAX) => Ok(Self::from(number)),
            _ => Err(NotBatchKeys),
        }
    }
}

impl fmt::Display for BatchKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Exactly(number) => number.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_auto_are_read_as_they_are_written() {
        for text in ["auto", "1", "500", "10000"] {
            assert_eq!(text.parse::<BatchKeys>().unwrap().to_string(), text);
        }
        for text in ["", "0", "10001", "-1", "many", "Auto"] {
            assert_eq!(text.parse::<BatchKeys>(), Err(NotBatchKeys), "{text:?}");
        }
    }

    #[test]
    fn records_have_a_number() {
        for (keys, json) in [(BatchKeys::Auto, "0"), (BatchKeys::from(500), "500")] {
            assert_eq!(serde_json::to_string(&keys).unwrap(), json);
            assert_eq!(serde_json::from_str::<BatchKeys>(json).unwrap(), keys);
        }
    }
}
