//! What is copied from another Redis, and which of its keys.

use stoke_core::copy::{CopySpec, How, TTL_OF_ORIGIN};
use stoke_core::job::{From, KeyColumns, Recipe, SCAN_COUNT_DEFAULT, SCAN_COUNT_MAX};
use stoke_core::names::OriginName;
use stoke_core::value::ValueSpec;
use stoke_proto::v1;

use super::faults::Faults;
use super::{BATCH_KEYS_MAX, TTL_JITTER_PERMILLE_MAX, ttl};

pub(super) fn recipe(faults: &mut Faults, at: &str, copy: &v1::CopyLoader) -> Option<Recipe> {
    let origin: Option<OriginName> = faults.name(&format!("{at}.origin"), &copy.origin);
    let how = match faults.one_of(&format!("{at}.how"), copy.how) {
        Some(v1::CopyHow::Unspecified | v1::CopyHow::Auto) => Some(How::Auto),
        Some(v1::CopyHow::Dump) => Some(How::Dump),
        Some(v1::CopyHow::Typed) => Some(How::Typed),
        None => None,
    };
    let from = match copy.from.as_str() {
        "" => Some(CopySpec::of_same_name(How::Auto).from),
        from => faults.keep(&format!("{at}.from"), from.parse()),
    };
    let key_template = faults.keep(&format!("{at}.key_template"), copy.key_template.parse());
    let ttl = match copy.ttl {
        Some(_) => ttl(faults, &format!("{at}.ttl"), copy.ttl),
        None => Some(TTL_OF_ORIGIN),
    };
    let jitter = copy.ttl_jitter_permille;
    faults.at_most(
        &format!("{at}.ttl_jitter_permille"),
        jitter,
        TTL_JITTER_PERMILLE_MAX,
    );
    faults.at_most(&format!("{at}.batch_keys"), copy.batch_keys, BATCH_KEYS_MAX);
    let value = ValueSpec {
        copy: Some(CopySpec {
            from: from?,
            how: how?,
        }),
        ..ValueSpec::default()
    };
    faults.keep(&format!("{at}.from"), value.check())?;
    Some(Recipe {
        origin: origin?,
        query: String::new(),
        key_template: key_template?,
        key_column: KeyColumns::default(),
        ttl: ttl?,
        ttl_jitter_permille: jitter,
        batch_keys: copy.batch_keys.into(),
        value,
        scan: None,
    })
}

pub(super) fn scan(faults: &mut Faults, at: &str, scan: &v1::KeyspaceSource) -> Option<From> {
    let origin = faults.name(&format!("{at}.origin"), &scan.origin);
    let pattern = faults.keep(&format!("{at}.match"), scan.r#match.parse());
    faults.at_most(&format!("{at}.count"), scan.count, SCAN_COUNT_MAX);
    Some(From::Keyspace {
        origin: origin?,
        pattern: pattern?,
        count: match scan.count {
            0 => SCAN_COUNT_DEFAULT,
            given => given,
        },
    })
}
