//! The caches that a job warms: `cache`, or `caches`.

use std::collections::BTreeMap;

use stoke_core::job::CACHES_MAX;
use stoke_core::names::CacheName;

use crate::config::{Item, Table};

const ADD: &str =
    "cache = \"NAME\", a cache of the workers' configuration, or caches = [\"NAME\", \"NAME\"]";
const REMEDY: &str = "write names, as [\"eu\", \"us\"]";

/// The first, and the others.
pub(super) fn caches(file: &Table<'_>) -> Option<(String, Vec<String>)> {
    let Some(list) = file.optional("caches") else {
        let cache: CacheName = file.required("cache", ADD)?.name()?;
        return Some((cache.to_string(), Vec::new()));
    };
    if let Some(one) = file.optional("cache") {
        list.fault(
            format!("it cannot stand beside {}", one.named()),
            "name all of them in caches",
        );
        return None;
    }
    let items = list.filled_list(REMEDY)?;
    if items.len() > CACHES_MAX {
        list.fault("there are too many", format!("name at most {CACHES_MAX}"));
        return None;
    }
    let mut seen: BTreeMap<CacheName, &Item<'_>> = BTreeMap::new();
    let mut names = Vec::new();
    for item in &items {
        let Some(name) = item.name::<CacheName>() else {
            continue;
        };
        match seen.get(&name) {
            Some(first) => {
                let what = format!("the cache comes twice, see {}", first.named());
                item.fault(what, "name it once");
            }
            None => {
                names.push(name.to_string());
                seen.insert(name, item);
            }
        }
    }
    if names.len() < items.len() {
        return None;
    }
    if names.len() > 1
        && let Some(nodes) = file.optional("nodes")
    {
        nodes.fault(
            "nodes are those of one cache, and several are named",
            "name one cache, or slots, which are the same in all",
        );
        return None;
    }
    let mut names = names.into_iter();
    Some((names.next()?, names.collect()))
}
