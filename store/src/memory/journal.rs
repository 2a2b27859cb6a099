//! The journal of a store in memory: whatever it holds outlives the process, in a file of a folder.
//!
//! Each change is appended and synced before anybody is told of it: who writes, who reads and who watches waits for that.
//! Changes that come while others are being synced go to the disk together, in one frame. At the start, and whenever the
//! file has grown long, all is written anew as a snapshot, beside the old file and then in its place.
//!
//! Once the disk has refused anything, nothing is told any more: what is on it then is not known, and a sync that failed
//! must not be tried again (the kernel may have dropped what it could not write).
//!
//! Keys on leases are kept too, for their revisions' sake; they end when the file is opened: the lock of the folder
//! proves that the process which held the leases is over.

mod body;
mod folder;
pub mod log;

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::Shared;
use super::state::State;
use crate::{Revision, StoreError};

pub(super) use self::folder::open;
pub use self::folder::{OpenError, Opened};

/// A file that has grown to so many bytes is written anew …
const COMPACT_BYTES: usize = 16 << 20;
/// … where it has so many times the bytes of what it was last written anew with.
const COMPACT_GROWTH: usize = 4;

/// Why the journal cannot be written any more.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot write {}: nothing goes on without it; mend this (is the disk full?) and start again with the same folder",
    .path.display()
)]
pub struct JournalError {
    /// The file.
    pub path: PathBuf,
    /// Why.
    #[source]
    pub source: std::io::Error,
}

/// How far the file has come.
#[derive(Clone, Debug)]
struct Durable {
    /// All changes up to this revision are on the disk.
    through: Revision,
    failed: Option<Arc<JournalError>>,
}

/// Changes that wait for the disk.
#[derive(Debug)]
struct Pending {
    body: Vec<u8>,
    /// The last revision in it, or in the file.
    through: Revision,
    /// A task is writing, and will look here again.
    is_served: bool,
}

/// The file, as its writer knows it.
#[derive(Debug)]
struct Writer {
    file: File,
    bytes: usize,
    /// How many bytes it was written anew with.
    snapshot_bytes: usize,
}

#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    pending: Mutex<Pending>,
    /// Of the one task that writes.
    writer: Mutex<Writer>,
    durable: watch::Sender<Durable>,
    runtime: Handle,
    /// Held for as long as the folder is this process'.
    _lock: File,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Journal {
    fn new(folder: PathBuf, lock: File, writer: Writer, through: Revision) -> Self {
        Self {
            folder,
            pending: Mutex::new(Pending {
                body: Vec::new(),
                through,
                is_served: false,
            }),
            writer: Mutex::new(writer),
            durable: watch::Sender::new(Durable {
                through,
                failed: None,
            }),
            runtime: Handle::current(),
            _lock: lock,
        }
    }

    /// Takes what has changed in the state since it was last asked. The caller holds the state, so that changes come in
    /// order.
    pub(super) fn note(&self, shared: &Arc<Shared>, state: &State) {
        let mut pending = locked(&self.pending);
        for (revision, changes) in state.history_after(pending.through) {
            log::push(&mut pending.body, revision, changes);
            pending.through = revision;
        }
        if !pending.body.is_empty() && !std::mem::replace(&mut pending.is_served, true) {
            let shared = Arc::clone(shared);
            self.runtime.spawn_blocking(move || {
                if let Some(journal) = &shared.journal {
                    journal.serve(&shared);
                }
            });
        }
    }

    /// Waits until all up to this revision is on the disk.
    pub(super) async fn durable(&self, revision: Revision) -> Result<(), Arc<JournalError>> {
        let mut durable = self.durable.subscribe();
        // The sender is ours, so this ends with an answer only.
        let reached = durable
            .wait_for(|durable| durable.failed.is_some() || durable.through >= revision)
            .await;
        match reached.map(|durable| durable.failed.clone()) {
            Ok(Some(failed)) => Err(failed),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    /// Waits until the journal cannot be written any more.
    pub(super) async fn failed(&self) -> Arc<JournalError> {
        let mut durable = self.durable.subscribe();
        let failed = durable.wait_for(|durable| durable.failed.is_some()).await;
        let failed = failed.ok().and_then(|durable| durable.failed.clone());
        match failed {
            Some(failed) => failed,
            None => std::future::pending().await,
        }
    }

    /// Writes until nothing waits any more.
    fn serve(&self, shared: &Shared) {
        let mut writer = locked(&self.writer);
        loop {
            let is_long = writer.bytes >= COMPACT_BYTES
                && writer.bytes / COMPACT_GROWTH >= writer.snapshot_bytes;
            let written = if is_long {
                let (contents, through) = {
                    let state = locked(&shared.state);
                    let mut pending = locked(&self.pending);
                    pending.body.clear();
                    // All that has changed was noted while the state was held.
                    (state.contents(), pending.through)
                };
                folder::write_anew(&self.folder, &contents).map(|anew| {
                    *writer = anew;
                    through
                })
            } else {
                let (body, through) = {
                    let mut pending = locked(&self.pending);
                    if pending.body.is_empty() {
                        pending.is_served = false;
                        return;
                    }
                    (std::mem::take(&mut pending.body), pending.through)
                };
                writer.append(&body).map(|()| through)
            };
            match written {
                Ok(through) => self
                    .durable
                    .send_modify(|durable| durable.through = through),
                Err(source) => {
                    let failed = JournalError {
                        path: folder::log_path(&self.folder),
                        source,
                    };
                    // Nobody serves any more: `is_served` stays.
                    self.durable
                        .send_modify(|durable| durable.failed = Some(Arc::new(failed)));
                    return;
                }
            }
        }
    }
}

impl Writer {
    fn append(&mut self, body: &[u8]) -> std::io::Result<()> {
        let frame = log::changes(body).ok_or(std::io::ErrorKind::FileTooLarge)?;
        self.file.write_all(&frame)?;
        self.file.sync_data()?;
        self.bytes += frame.len();
        Ok(())
    }
}

/// What a caller is told whose call cannot be answered for the disk's sake.
pub(super) fn unknown(doing: &'static str) -> impl FnOnce(Arc<JournalError>) -> StoreError {
    move |failed| StoreError::Unknown {
        doing,
        source: Box::new(failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_disk_does_not_take_is_an_error_and_counts_nowhere() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let mut writer = Writer {
            file: full,
            bytes: 7,
            snapshot_bytes: 7,
        };
        let refused = writer.append(b"something").unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::StorageFull);
        assert_eq!(writer.bytes, 7);
    }

    #[test]
    fn what_was_written_and_cannot_be_synced_is_an_error_too() {
        // It takes all that is written, and knows no sync.
        let mut writer = Writer {
            file: File::options().write(true).open("/dev/null").unwrap(),
            bytes: 7,
            snapshot_bytes: 7,
        };
        let refused = writer.append(b"something").unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::InvalidInput);
        assert_eq!(writer.bytes, 7);
    }
}
