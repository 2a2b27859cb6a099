//! What callers and the coordinator both put into messages.

mod drift;
mod redis;

pub use drift::{drift, drift_message};
pub use redis::redis_key_source;

use stoke_core::access_log::AccessLog;
use stoke_core::copy::{How, TTL_OF_ORIGIN};
use stoke_core::job::Recipe;
use stoke_core::value::{Compression, ValueSpec};
use stoke_proto::v1;

/// What the coordinator makes of an access log of a job with these loaders.
///
/// # Errors
/// What it says of the faults of one.
pub fn access_log(log: v1::AccessLogSource, loaders: &[String]) -> Result<AccessLog, String> {
    crate::service::access_log(log, loaders)
}

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

/// What a loader copies; `None` where its recipe is another.
#[must_use]
pub fn copy_loader(recipe: &Recipe) -> Option<v1::CopyLoader> {
    let copy = recipe.value.copy.as_ref()?;
    let how = match copy.how {
        How::Auto => v1::CopyHow::Auto,
        How::Dump => v1::CopyHow::Dump,
        How::Typed => v1::CopyHow::Typed,
    };
    let ttl = Some(recipe.ttl).filter(|ttl| *ttl != TTL_OF_ORIGIN);
    Some(v1::CopyLoader {
        origin: recipe.origin.to_string(),
        from: copy.from.to_string(),
        key_template: recipe.key_template.to_string(),
        how: how.into(),
        ttl: ttl.and_then(|ttl| prost_types::Duration::try_from(ttl).ok()),
        ttl_jitter_permille: recipe.ttl_jitter_permille,
        batch_keys: recipe.batch_keys.into(),
    })
}
