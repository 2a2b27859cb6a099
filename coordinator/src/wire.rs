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
    let versions = spec.versions.as_ref();
    let origin = versions.and_then(|versions| versions.origin.as_ref());
    Some(v1::ValueSpec {
        form: spec.form.to_string(),
        compression: compression.into(),
        negative,
        expiry_column: spec.expiry_column.clone().unwrap_or_default(),
        version_column: versions.map_or_else(String::new, |versions| versions.column.clone()),
        version_origin: origin.map_or_else(String::new, ToString::to_string),
    })
}
