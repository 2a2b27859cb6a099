//! Resources of which nobody has had a share yet.
//!
//! Whoever gets one need not wait until a second has passed in which others may have sent: there were none. Only workers of one
//! process can know that, where the store began with it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use stoke_core::names::Resource;

/// What all workers of a process know. At first, all resources are untouched.
#[derive(Clone, Debug, Default)]
pub struct Untouched(Arc<Mutex<BTreeSet<Resource>>>);

impl Untouched {
    /// Whether nobody had a share of the resource before; from now on somebody has.
    pub(super) fn touch(&self, resource: &Resource) -> bool {
        let mut touched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        touched.insert(resource.clone())
    }
}
