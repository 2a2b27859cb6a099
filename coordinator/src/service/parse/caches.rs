//! The caches that a job writes to.

use stoke_core::job::CACHES_MAX;
use stoke_core::names::CacheName;

use super::faults::Faults;
use crate::view::cache_field;

/// The caches that are written to: the first, and the others.
pub(super) fn caches(
    faults: &mut Faults,
    first: &str,
    also: &[String],
) -> Option<(CacheName, Vec<CacheName>)> {
    faults.at_most("spec.batch.also", also.len(), CACHES_MAX - 1);
    let mut named: Vec<CacheName> = Vec::new();
    let mut fine = true;
    let asked = std::iter::once(first).chain(also.iter().map(String::as_str));
    for (n, name) in asked.take(CACHES_MAX).enumerate() {
        let at = cache_field(n);
        match faults.name(&at, name) {
            Some(cache) if named.contains(&cache) => {
                faults.note(at, format!("{cache} comes twice"));
            }
            Some(cache) => named.push(cache),
            None => fine = false,
        }
    }
    let mut named = named.into_iter();
    let first = named.next().filter(|_| fine)?;
    Some((first, named.collect()))
}
