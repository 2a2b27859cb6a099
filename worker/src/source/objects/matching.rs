//! The objects whose names a pattern matches.

use std::collections::BTreeSet;
use std::io;

use glob::{MatchOptions, Pattern};
use object_store::path::Path;
use object_store::{Error, ObjectStore};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use stoke_core::place::ObjectUrl;
use tokio::runtime::Handle;

use super::{listed, store, wait};
use crate::source::Sink;

/// What a pattern has and a name has not.
const WILDCARDS: [char; 3] = ['*', '?', '['];
/// How many objects one pattern may find: their names are all held, to be read in their order.
const FOUND_MAX: usize = 100_000;
/// What would be something else in a URL than part of a key, or of a pattern.
const NOT_OF_KEYS: &AsciiSet = &CONTROLS
    .add(b'%')
    .add(b'?')
    .add(b'#')
    .add(b'*')
    .add(b'[')
    .add(b']');
/// `*` stops at `/`, as it does among files.
const OPTIONS: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: false,
};

/// The URLs of the objects that a pattern finds, in the order of their names; its own where it has no wildcard. Within a blocking
/// task of a runtime only.
pub(in crate::source) fn matching(url: &ObjectUrl<'_>, sink: &Sink) -> io::Result<Vec<String>> {
    let (scheme, authority) = (url.scheme, url.authority);
    let Some(wildcard) = url.key.find(WILDCARDS) else {
        return Ok(vec![format!("{scheme}://{authority}/{}", url.key)]);
    };
    if url.is_of_server() {
        let what = "servers do not list their files: name each, or the store by s3:, gs: or az:";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let folder = url.key[..wildcard]
        .rfind('/')
        .map_or("", |at| &url.key[..at]);
    let (store, _) = store(url)?;
    let found = found(folder, url.key, &*store);
    let found = wait(&Handle::current(), sink, async { Ok(found.await) })??;
    let name = |key: &String| {
        let key = utf8_percent_encode(key, NOT_OF_KEYS);
        format!("{scheme}://{authority}/{key}")
    };
    Ok(found.iter().map(name).collect())
}

/// The keys that a pattern's are, of those in a folder.
pub(super) async fn found(
    folder: &str,
    pattern: &str,
    store: &dyn ObjectStore,
) -> io::Result<BTreeSet<String>> {
    let invalid = |what: String| io::Error::new(io::ErrorKind::InvalidInput, what);
    let decoded = percent_decode_str(pattern).decode_utf8_lossy();
    let pattern = Pattern::new(&decoded)
        .map_err(|error| invalid(format!("it is no pattern of objects: {error}")))?;
    let folder = Path::from_url_path(folder).map_err(|error| invalid(error.to_string()))?;
    let mut found = BTreeSet::new();
    let each = |key: Path| {
        if pattern.matches_with(key.as_ref(), OPTIONS) {
            found.insert(key.as_ref().to_owned());
        }
        if found.len() > FOUND_MAX {
            let source = format!("it finds more than {FOUND_MAX} objects: narrow it").into();
            return Err(Error::Generic {
                store: "pattern",
                source,
            });
        }
        Ok(())
    };
    listed(store, Some(&folder), each)
        .await
        .map_err(super::failed)?;
    Ok(found)
}
