//! The folder of a journal: made, locked, read and written anew.
//!
//! Only its owner can look into it. What is in it: `lock`, held for as long as a process uses it; `store.log`; while that
//! is written anew, `store.log.new`, which counts for nothing before it has the other's name.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::log::{self, Contents, LogFault};
use super::{Journal, Writer};
use crate::memory::state::State;

const LOG: &str = "store.log";
const NEW_LOG: &str = "store.log.new";
const LOCK: &str = "lock";

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file system refuses.
    #[error("cannot {doing} {}", .path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Something else is in it.
    #[error(
        "{} holds {found:?} and no store: name an empty folder, or one that is not there yet",
        .path.display()
    )]
    NotOurs {
        /// The folder.
        path: PathBuf,
        /// One of the files in it.
        found: String,
    },
    /// Another process uses it.
    #[error(
        "another process uses {}: wait for its end, or name another folder",
        .path.display()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The log cannot be read.
    #[error(
        "cannot read {}: {fault}; put back a copy of it, or begin anew with another folder",
        .path.display()
    )]
    Log {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: LogFault,
    },
}

/// What was found in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// There was a store in it.
    pub found: bool,
    /// How many bytes of an interrupted write were cut off its log.
    pub cut_bytes: usize,
}

pub(super) fn log_path(folder: &Path) -> PathBuf {
    folder.join(LOG)
}

/// Opens a folder, or makes one; what is on leases in it has ended.
pub(in crate::memory) fn open(folder: &Path) -> Result<(State, Journal, Opened), OpenError> {
    make(folder)?;
    let lock = lock(folder)?;
    let path = log_path(folder);
    let failed = |doing, path: &Path| {
        let path = path.to_owned();
        move |source| OpenError::Io {
            doing,
            path,
            source,
        }
    };
    let (state, opened) = match fs::read(&path) {
        Ok(bytes) => {
            let log = log::read(&bytes).map_err(|fault| OpenError::Log {
                path: path.clone(),
                fault,
            })?;
            let opened = Opened {
                found: true,
                cut_bytes: bytes.len() - log.whole_bytes,
            };
            (State::restored(log.contents), opened)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let opened = Opened {
                found: false,
                cut_bytes: 0,
            };
            (State::new(rand::random()), opened)
        }
        Err(error) => return Err(failed("read", &path)(error)),
    };
    let writer = write_anew(folder, &state.contents()).map_err(failed("write", &path))?;
    let journal = Journal::new(folder.to_owned(), lock, writer, state.revision());
    Ok((state, journal, opened))
}

/// Makes the folder where there is none. One that holds other things is left alone.
fn make(folder: &Path) -> Result<(), OpenError> {
    let failed = |doing| {
        move |source| OpenError::Io {
            doing,
            path: folder.to_owned(),
            source,
        }
    };
    let owners = 0o700;
    let mut builder = DirBuilder::new();
    builder
        .recursive(true)
        .mode(owners)
        .create(folder)
        .map_err(failed("make the folder"))?;
    let names = fs::read_dir(folder)
        .and_then(|files| {
            files
                .map(|file| Ok(file?.file_name().to_string_lossy().into_owned()))
                .collect::<io::Result<Vec<String>>>()
        })
        .map_err(failed("read the folder"))?;
    let is_ours = |name: &String| [LOG, LOCK].contains(&name.as_str());
    if let Some(found) = names.first()
        && !names.iter().any(is_ours)
    {
        return Err(OpenError::NotOurs {
            path: folder.to_owned(),
            found: found.clone(),
        });
    }
    fs::set_permissions(folder, Permissions::from_mode(owners))
        .map_err(failed("close to others the folder"))
}

/// The kernel takes the lock back when the process ends, however it does.
fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join(LOCK);
    let failed = |source| OpenError::Io {
        doing: "lock",
        path: path.clone(),
        source,
    };
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse {
            path: folder.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Writes a log of only this, in place of the one before: at every instant one of the two is there, whole.
pub(super) fn write_anew(folder: &Path, contents: &Contents) -> io::Result<Writer> {
    let frame = log::snapshot(contents).ok_or(io::ErrorKind::FileTooLarge)?;
    let (beside, place) = (folder.join(NEW_LOG), log_path(folder));
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(true).write(true).mode(0o600);
    let mut file = options.open(&beside)?;
    file.write_all(&frame)?;
    file.sync_all()?;
    fs::rename(&beside, &place)?;
    // The name, too, must be on the disk.
    File::open(folder)?.sync_all()?;
    Ok(Writer {
        file,
        bytes: frame.len(),
        snapshot_bytes: frame.len(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_log_that_cannot_be_synced_does_not_take_the_place_of_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(log_path(folder.path()), b"the one before").unwrap();
        // It takes all that is written, and knows no sync.
        symlink("/dev/null", folder.path().join(NEW_LOG)).unwrap();
        let refused = write_anew(folder.path(), &Contents::default()).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        let kept = fs::read(log_path(folder.path())).unwrap();
        assert_eq!(kept, b"the one before");
    }
}
