//! Key sources that tell how much keys are used: counters that an application keeps in a Redis, those that a Redis keeps itself to
//! know what it may evict, and series of a Prometheus.

use serde::{Deserialize, Serialize};

use crate::names::OriginName;
use crate::pattern::Pattern;

pub mod lfu;
pub mod monitor;

pub use monitor::Monitor;

/// The longest name of a counter, in bytes: a job's record holds it.
pub const COUNTER_KEY_BYTES_MAX: usize = 1024;

/// Counts that an application keeps in a Redis: the members of a sorted set with their scores, or the fields of a hash with their
/// numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counter {
    /// Where: a Redis.
    pub origin: OriginName,
    /// The key of the sorted set, or of the hash; from 1 to [`COUNTER_KEY_BYTES_MAX`] bytes.
    pub key: String,
    /// Which members (fields) count, and what of them is a column.
    pub pattern: Pattern,
    /// So many of the highest scores, at least one; all, in no order, where there is none. Of a sorted set only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// The keys of a Redis that evicts what is used least frequently, by what it counts for that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HotKeys {
    /// Where: a Redis.
    pub origin: OriginName,
    /// Which keys, and what of them is a column.
    pub pattern: Pattern,
    /// How much one SCAN looks through, from 1 to [`SCAN_COUNT_MAX`](crate::job::SCAN_COUNT_MAX).
    pub count: u32,
    /// Keys whose counter stands lower are left out.
    #[serde(default)]
    pub frequency_min: u8,
}

/// What a Prometheus answers to an instant query: each series is a row, of its labels and its number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// Where: a Prometheus.
    pub origin: OriginName,
    /// In PromQL.
    pub query: String,
    /// The label that is the key, where it is not the only one, nor called `key`; at most [`LABEL_BYTES_MAX`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_label: Option<String>,
}

/// The longest name of a label, in bytes.
pub const LABEL_BYTES_MAX: usize = 1024;
