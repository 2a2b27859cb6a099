//! Key sources that read a Redis.

use std::time::Duration;

use stoke_core::job::From;
use stoke_core::usage::{Counter, HotKeys, Monitor};
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
        From::Monitor(asked) => v1::key_source::From::Monitor(monitor(asked)),
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

fn monitor(monitor: &Monitor) -> v1::MonitorSource {
    let duration = Duration::from_millis(monitor.duration_ms);
    v1::MonitorSource {
        origin: monitor.origin.to_string(),
        r#match: monitor.pattern.to_string(),
        duration: prost_types::Duration::try_from(duration).ok(),
        nodes_permille: monitor.nodes_permille,
        cpu_max_permille: monitor.cpu_max_permille,
        commands: monitor.commands.clone(),
    }
}
