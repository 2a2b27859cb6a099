//! What the one-liner reads of a live Redis, as a key source.

use stoke_proto::v1;

use super::{KEYS, ORIGIN};
use crate::args::WarmArgs;

/// The source that the flags describe; `None` where they describe none.
pub(super) fn source(args: &WarmArgs) -> Option<v1::key_source::From> {
    let origin = args.keys_from.as_ref().map_or(ORIGIN, |_| KEYS);
    let pattern = args.pattern.as_ref().map(ToString::to_string);
    if let Some(key) = &args.counter {
        return Some(v1::key_source::From::Counter(v1::CounterSource {
            origin: origin.into(),
            key: key.clone(),
            r#match: pattern.unwrap_or_default(),
            limit: args.counter_limit.unwrap_or_default(),
        }));
    }
    if args.hot_keys {
        return Some(v1::key_source::From::HotKeys(v1::HotKeysSource {
            origin: origin.into(),
            r#match: pattern.unwrap_or_default(),
            count: args.match_count,
            frequency_min: args.frequency_min.into(),
        }));
    }
    if let Some(duration) = args.monitor {
        return Some(v1::key_source::From::Monitor(v1::MonitorSource {
            origin: origin.into(),
            r#match: pattern.unwrap_or_default(),
            duration: prost_types::Duration::try_from(duration).ok(),
            ..v1::MonitorSource::default()
        }));
    }
    Some(v1::key_source::From::Keyspace(v1::KeyspaceSource {
        origin: origin.into(),
        r#match: pattern?,
        count: args.match_count,
    }))
}
