//! Runs in a file without a name, as blocks.
//!
//! A block is `length of the frame · length of its content (4 bytes each, little-endian) · one zstd frame with a
//! checksum`. No other process, and no later one, can open the file: so its format has no version, there is nothing to
//! tidy up after a crash, and nobody else can read the keys. It is gone with the last run that lies in it.

use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::PathBuf;
use std::sync::Arc;

use stoke_core::plan::{Blocks, Spill};
use tokio_util::sync::CancellationToken;

use super::memory::{Lease, Memory};
use crate::metrics::Metrics;

/// zstd's level: fast, and good enough for keys that resemble each other.
const ZSTD_LEVEL: i32 = 1;
/// The lengths before a frame.
const HEAD_BYTES: usize = 8;
/// More than a block's content has: twice the longest key and argument beyond what a block should have.
const CONTENT_BYTES_MAX: usize = <Disk as Spill>::BLOCK_BYTES + (1 << 20);

/// Why rows could not be spilled, or not be read again.
#[derive(Debug, thiserror::Error)]
pub enum SpillError {
    /// Nothing can be spilled to the folder.
    #[error("cannot write to the spill-dir {}: make it writable, or name another", .folder.display())]
    Folder {
        /// Which.
        folder: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The disk is full.
    #[error(
        "the disk of the spill-dir {} is full, with {} MiB of this plan on it: free some space (about twice what the sources' \
         keys take), or name a spill-dir on a larger disk",
        .folder.display(), .spilled >> 20
    )]
    Full {
        /// Where.
        folder: PathBuf,
        /// How many bytes of the source, or of what it was merged to, were spilled before.
        spilled: u64,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// What was spilled cannot be read again.
    #[error("cannot read what was spilled to {}", .folder.display())]
    Read {
        /// Where.
        folder: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// Nobody waits for the plan any more.
    #[error("ranking was stopped")]
    Stopped,
}

/// The folder that all runs are spilled to.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    metrics: Arc<Metrics>,
}

impl Folder {
    /// Makes it where it is not there, for nobody but this user, and sees whether files can be made in it.
    pub(super) fn open(path: PathBuf, metrics: Arc<Metrics>) -> Result<Self, SpillError> {
        let folder = Self { path, metrics };
        let mut builder = std::fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(&folder.path);
        made.map_err(|source| folder.unusable(source))?;
        folder.file()?;
        Ok(folder)
    }

    /// A file that only this process can open.
    fn file(&self) -> Result<File, SpillError> {
        tempfile::tempfile_in(&self.path).map_err(|source| self.unusable(source))
    }

    fn unusable(&self, source: io::Error) -> SpillError {
        let folder = self.path.clone();
        SpillError::Folder { folder, source }
    }

    fn unreadable(&self, source: io::Error) -> SpillError {
        let folder = self.path.clone();
        SpillError::Read { folder, source }
    }

    fn unwritable(&self, source: io::Error, spilled: u64) -> SpillError {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull, WriteZero};
        match source.kind() {
            StorageFull | QuotaExceeded | FileTooLarge | WriteZero => SpillError::Full {
                folder: self.path.clone(),
                spilled,
                source,
            },
            _ => self.unusable(source),
        }
    }
}

/// A file of runs.
#[derive(Debug)]
struct Runs {
    folder: Arc<Folder>,
    file: Option<File>,
}

impl Drop for Runs {
    fn drop(&mut self) {
        // To free the blocks of a large file takes time, which async threads do not have.
        let file = self.file.take();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn_blocking(move || drop(file));
        }
    }
}

impl Runs {
    fn read_exact_at(&self, bytes: &mut [u8], at: u64) -> Result<(), SpillError> {
        let file = self.file.as_ref().ok_or(SpillError::Stopped)?;
        let read = file.read_exact_at(bytes, at);
        read.map_err(|source| self.folder.unreadable(source))
    }
}

/// Where one source's rows, or a plan's, are spilled, and what they hold of memory.
pub struct Disk {
    folder: Arc<Folder>,
    lease: Lease,
    runs: Option<Arc<Runs>>,
    /// Where the present run begins, and where the file ends.
    begin: u64,
    end: u64,
    packer: Option<zstd::bulk::Compressor<'static>>,
    packed: Vec<u8>,
    stop: CancellationToken,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (lease, spilled) = (&self.lease, self.end);
        let mut told = f.debug_struct("Disk");
        told.field("lease", lease).field("spilled", &spilled);
        told.finish_non_exhaustive()
    }
}

impl Disk {
    pub(super) fn new(folder: &Arc<Folder>, memory: &Arc<Memory>, stop: CancellationToken) -> Self {
        Self {
            folder: Arc::clone(folder),
            lease: Lease::of(memory),
            runs: None,
            begin: 0,
            end: 0,
            packer: None,
            packed: Vec::new(),
            stop,
        }
    }

    fn runs(&mut self) -> Result<Arc<Runs>, SpillError> {
        if let Some(runs) = &self.runs {
            return Ok(Arc::clone(runs));
        }
        let runs = Arc::new(Runs {
            file: Some(self.folder.file()?),
            folder: Arc::clone(&self.folder),
        });
        self.runs = Some(Arc::clone(&runs));
        Ok(runs)
    }

    /// Puts the frame of a block, behind its lengths, into `packed`.
    fn pack(&mut self, block: &[u8]) -> io::Result<()> {
        let packer = match &mut self.packer {
            Some(packer) => packer,
            none => {
                let mut packer = zstd::bulk::Compressor::new(ZSTD_LEVEL)?;
                packer.include_checksum(true)?;
                none.insert(packer)
            }
        };
        let bound = zstd::zstd_safe::compress_bound(block.len());
        self.packed.resize(HEAD_BYTES + bound, 0);
        let frame = packer.compress_to_buffer(block, &mut self.packed[HEAD_BYTES..])?;
        self.packed.truncate(HEAD_BYTES + frame);
        let length = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
        self.packed[..4].copy_from_slice(&length(frame));
        self.packed[4..HEAD_BYTES].copy_from_slice(&length(block.len()));
        Ok(())
    }
}

impl Spill for Disk {
    type Error = SpillError;
    type Run = StoredRun;
    const BLOCK_BYTES: usize = 256 << 10;

    fn may_hold(&mut self, bytes: usize) -> bool {
        self.lease.may_hold(bytes)
    }

    fn hold(&mut self, bytes: usize) {
        self.lease.hold(bytes);
    }

    fn begin(&mut self) -> Result<(), SpillError> {
        self.runs()?;
        self.begin = self.end;
        Ok(())
    }

    fn block(&mut self, block: &[u8]) -> Result<(), SpillError> {
        if self.stop.is_cancelled() {
            return Err(SpillError::Stopped);
        }
        let runs = self.runs()?;
        let file = runs.file.as_ref().ok_or(SpillError::Stopped)?;
        let packed = self.pack(block);
        let written = packed.and_then(|()| file.write_all_at(&self.packed, self.end));
        written.map_err(|source| self.folder.unwritable(source, self.end))?;
        self.end += self.packed.len() as u64;
        self.folder.metrics.spilled(self.packed.len());
        Ok(())
    }

    fn end(&mut self) -> Result<StoredRun, SpillError> {
        // The next run may be long in coming.
        (self.packer, self.packed) = (None, Vec::new());
        Ok(StoredRun {
            runs: self.runs()?,
            at: self.begin,
            end: self.end,
            unpacker: None,
            packed: Vec::new(),
        })
    }
}

/// A run that was spilled.
pub struct StoredRun {
    runs: Arc<Runs>,
    at: u64,
    end: u64,
    unpacker: Option<zstd::bulk::Decompressor<'static>>,
    packed: Vec<u8>,
}

impl std::fmt::Debug for StoredRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut told = f.debug_struct("StoredRun");
        told.field("at", &self.at).field("end", &self.end);
        told.finish_non_exhaustive()
    }
}

impl Blocks for StoredRun {
    type Error = SpillError;

    fn next_block(&mut self, block: &mut Vec<u8>) -> Result<bool, SpillError> {
        if self.at == self.end {
            return Ok(false);
        }
        let mut lengths = [0; HEAD_BYTES];
        self.runs.read_exact_at(&mut lengths, self.at)?;
        let length =
            |four: [u8; 4]| usize::try_from(u32::from_le_bytes(four)).unwrap_or(usize::MAX);
        let [a, b, c, d, e, f, g, h] = lengths;
        let (frame, content) = (length([a, b, c, d]), length([e, f, g, h]));
        let damaged = |what: &str| {
            let source = io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
            self.runs.folder.unreadable(source)
        };
        let after = self.at + (HEAD_BYTES + frame) as u64;
        if after > self.end || content > CONTENT_BYTES_MAX {
            return Err(damaged("a block's length is damaged"));
        }
        self.packed.resize(frame, 0);
        let at = self.at + HEAD_BYTES as u64;
        self.runs.read_exact_at(&mut self.packed, at)?;
        let unpacker = match &mut self.unpacker {
            Some(unpacker) => unpacker,
            none => {
                let unpacker = zstd::bulk::Decompressor::new();
                none.insert(unpacker.map_err(|source| self.runs.folder.unreadable(source))?)
            }
        };
        block.clear();
        block.reserve(content);
        let unpacked = unpacker.decompress_to_buffer(&self.packed, block);
        // Its checksum says what it was.
        if unpacked.map_err(|source| self.runs.folder.unreadable(source))? != content {
            return Err(damaged("a block has another length than was written"));
        }
        self.at = after;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics;

    fn disk(folder: &std::path::Path) -> Disk {
        let metrics = Arc::new(Metrics::new(&metrics::none()));
        let folder = Arc::new(Folder::open(folder.to_owned(), metrics).unwrap());
        Disk::new(&folder, &Memory::new(1000), CancellationToken::new())
    }

    fn written(disk: &mut Disk, blocks: &[&[u8]]) -> StoredRun {
        disk.begin().unwrap();
        blocks.iter().for_each(|block| disk.block(block).unwrap());
        disk.end().unwrap()
    }

    fn read(mut run: StoredRun) -> Result<Vec<Vec<u8>>, SpillError> {
        let (mut blocks, mut block) = (Vec::new(), Vec::new());
        while run.next_block(&mut block)? {
            blocks.push(block.clone());
        }
        Ok(blocks)
    }

    #[test]
    fn runs_of_one_file_are_read_as_they_were_written_and_the_folder_stays_empty() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = disk(folder.path());
        let large = vec![7; 300_000];
        let (one, other) = (
            written(&mut disk, &[b"a", &large, b"b"]),
            written(&mut disk, &[b"c"]),
        );
        drop(disk);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(read(other).unwrap(), [b"c".to_vec()]);
        assert_eq!(read(one).unwrap(), [b"a".to_vec(), large, b"b".to_vec()]);
    }

    #[test]
    fn what_is_read_again_is_what_was_written_or_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = disk(folder.path());
        let length = written(&mut disk, &[b"some keys of people"]).end;
        let mut told = 0;
        for at in 0..length {
            let run = written(&mut disk, &[b"some keys of people"]);
            let file = run.runs.file.as_ref().unwrap();
            let mut byte = [0];
            file.read_exact_at(&mut byte, run.at + at).unwrap();
            file.write_all_at(&[byte[0] ^ 0x10], run.at + at).unwrap();
            match read(run) {
                Err(SpillError::Read { .. }) => told += 1,
                // zstd has a bit that means nothing.
                Ok(blocks) => assert_eq!(blocks, [b"some keys of people".to_vec()], "byte {at}"),
                Err(error) => panic!("byte {at}: {error}"),
            }
        }
        assert!(told >= length - 1, "{told} of {length}");
    }

    #[test]
    fn a_full_disk_is_told_with_its_folder_and_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = disk(folder.path());
        let full = File::options().write(true).open("/dev/full").unwrap();
        disk.runs = Some(Arc::new(Runs {
            folder: Arc::clone(&disk.folder),
            file: Some(full),
        }));
        disk.end = 5 << 20;
        disk.begin().unwrap();
        let error = disk.block(b"keys").unwrap_err();
        let text = error.to_string();
        for told in [
            "is full",
            "5 MiB",
            "free some space",
            &*folder.path().to_string_lossy(),
        ] {
            assert!(text.contains(told), "{text}");
        }
    }

    #[test]
    fn a_folder_is_made_for_this_user_alone_and_one_that_cannot_be_made_is_named() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let spill = folder.path().join("spill");
        drop(disk(&spill));
        let mode = std::fs::metadata(&spill).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        let metrics = Arc::new(Metrics::new(&metrics::none()));
        let error = Folder::open(file.join("spill"), metrics).unwrap_err();
        assert!(
            error.to_string().contains("/file/spill: make it writable"),
            "{error}"
        );
    }

    #[test]
    fn whoever_is_not_waited_for_stops_writing() {
        let folder = tempfile::tempdir().unwrap();
        let mut disk = disk(folder.path());
        disk.begin().unwrap();
        disk.block(b"a").unwrap();
        disk.stop.cancel();
        assert!(matches!(disk.block(b"b"), Err(SpillError::Stopped)));
    }
}
