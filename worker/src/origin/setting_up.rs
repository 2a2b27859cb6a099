//! How many loads set up a connection or a query.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Counts them.
#[derive(Debug, Default)]
pub(super) struct SettingUps(AtomicUsize);

/// One of them, as long as it is kept.
pub(super) struct SettingUp<'a>(&'a AtomicUsize);

impl SettingUps {
    pub(super) fn begin(&self) -> SettingUp<'_> {
        self.0.fetch_add(1, Relaxed);
        SettingUp(&self.0)
    }

    pub(super) fn any(&self) -> bool {
        self.0.load(Relaxed) > 0
    }
}

impl Drop for SettingUp<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
