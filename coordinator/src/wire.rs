//! What callers and the coordinator both put into messages.

use stoke_core::value::{Compression, ValueSpec};
use stoke_proto::v1;

/// How a loader's values are made; `None` where nothing is said of it.
#[must_use]
pub fn value_spec(spec: &ValueSpec) -> Option<v1::ValueSpec> {
    if spec.is_default() {
        return None;
    }
    let compression = match spec.compression {
        None => v1::Compression::None,
        Some(Compression::Zstd) => v1::Compression::Zstd,
    };
    let negative = spec.negative.as_ref().map(|negative| v1::NegativeValue {
        value: negative.value.clone(),
        ttl: prost_types::Duration::try_from(negative.ttl).ok(),
    });
    Some(v1::ValueSpec {
        form: spec.form.to_string(),
        compression: compression.into(),
        negative,
    })
}
