//! Key sources that read a Redis.

use stoke_core::job::From;
use stoke_core::usage::{Counter, HotKeys};
use stoke_proto::v1;

/// A source that reads a Redis, as it was asked for; `None` of any other.
#[must_use]
pub fn redis_key_source(from: &From) -> Option<v1::key_source::From> {
    Some(match from {
        From::Keyspace {
            origin,
            pattern,
            count,
        } => v1::key_source::From::Keyspace(v1::KeyspaceSource {
            origin: origin.to_string(),
            r#match: pattern.to_string(),
            count: *count,
        }),
        From::Counter(asked) => v1::key_source::From::Counter(counter(asked)),
        From::HotKeys(asked) => v1::key_source::From::HotKeys(hot_keys(asked)),
        _ => return None,
    })
}

fn counter(counter: &Counter) -> v1::CounterSource {
    v1::CounterSource {
        origin: counter.origin.to_string(),
        key: counter.key.clone(),
        r#match: counter.pattern.to_string(),
        limit: counter.limit.unwrap_or_default(),
    }
}

fn hot_keys(hot: &HotKeys) -> v1::HotKeysSource {
    v1::HotKeysSource {
        origin: hot.origin.to_string(),
        r#match: hot.pattern.to_string(),
        count: hot.count,
        frequency_min: hot.frequency_min.into(),
    }
}
