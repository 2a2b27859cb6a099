//! What copying from another Redis asks for, and how it goes on where the cache does not take what DUMP gives.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use stoke_core::copy::{CopySpec, How};
use stoke_core::names::{CacheName, OriginName};

use super::entries::Task;
use crate::catalog::LoaderSpec;
use crate::origin::{Loaded, Origin, OriginError};
use crate::permit::Permit;

/// The caches that do not take what an origin's DUMP gives, as this worker has found.
#[derive(Debug, Default)]
pub(crate) struct Refusals(Mutex<BTreeSet<(OriginName, CacheName)>>);

impl Refusals {
    /// Takes note of one; whether it was not known.
    pub(super) fn note(&self, origin: &OriginName, cache: &CacheName) -> bool {
        let pair = (origin.clone(), cache.clone());
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(pair)
    }

    fn is_noted(&self, origin: &OriginName, cache: &CacheName) -> bool {
        let pair = (origin.clone(), cache.clone());
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&pair)
    }

    /// A loader as it is to copy into this cache: typed, where that takes nothing else.
    pub(super) fn heeded(&self, loader: &LoaderSpec, cache: &CacheName) -> Option<LoaderSpec> {
        let copy = loader.value.copy.as_ref()?;
        let is_noted = copy.how == How::Auto && self.is_noted(&loader.origin, cache);
        is_noted.then(|| typed(loader))
    }
}

/// The same, copying by the commands of the types.
pub(super) fn typed(loader: &LoaderSpec) -> LoaderSpec {
    let mut loader = loader.clone();
    if let Some(copy) = &mut loader.value.copy {
        copy.how = How::Typed;
    }
    loader
}

/// Asks the origin for these entries.
pub(super) async fn load(
    origin: &Origin,
    permit: &dyn Permit,
    loader: &LoaderSpec,
    tasks: &[Task],
) -> Result<Loaded, OriginError> {
    match &loader.value.copy {
        Some(copy) => {
            let keys: Vec<Bytes> = tasks.iter().map(|task| key_of(copy, task)).collect();
            origin.copy(permit, loader, &keys).await
        }
        None => {
            let keys: Vec<&str> = tasks.iter().map(|task| &*task.argument).collect();
            origin.load(permit, loader, &keys).await
        }
    }
}

/// The origin's key. One that is no text is told by none: it has the same name here.
fn key_of(copy: &CopySpec, task: &Task) -> Bytes {
    if task.argument.is_empty() {
        return task.key.clone();
    }
    let argument = task.argument.as_bytes();
    if copy.is_of_same_name() {
        return Bytes::copy_from_slice(argument);
    }
    let filled = copy
        .from
        .fill(|column| (column == "key").then_some(argument));
    filled.map_or_else(|_| task.key.clone(), Bytes::from)
}
