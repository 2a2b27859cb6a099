//! Ranking what key sources give, in bounded memory: the plans in the making of a coordinator share so many bytes, and what
//! does not fit is spilled to a folder on local disk.
//!
//! The order, and what a run is, is `core::plan`'s. Here is who may hold how much ([`memory`]), where runs are kept
//! ([`disk`]), and that neither sorting nor files keep async threads: whoever offers rows waits while those before are
//! spilled, so that a source is read no faster than its rows can be kept.

mod disk;
mod list;
mod memory;

pub use disk::{Disk, SpillError};
pub use list::List;

use std::path::PathBuf;
use std::sync::Arc;

use stoke_core::job::{Merge, Weight};
use stoke_core::plan::{Entry, RankError, Ranked, SourceRows, TooManyEntries};
use stoke_proto::v1::EntryBatch;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use self::disk::Folder;
use self::memory::Memory;
use crate::metrics::Metrics;
use crate::plan_store::{self, BadBatch, SOURCE_BYTES_MAX};

/// How many plans that were spilled are ranked at once. Each reads some 64 runs, with a block of each in memory.
const SPILLED_AT_ONCE_MAX: usize = 2;

/// What ranking may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RankingSettings {
    /// How many bytes of memory the rows of all plans in the making may take together. The first plan may have half of
    /// it, the next half of what is left.
    pub memory_bytes: usize,
    /// The folder where the rest is spilled. Nothing is left in it, however this process ends: the files have no names.
    pub spill_dir: PathBuf,
}

impl Default for RankingSettings {
    /// 256 MiB, and the system's folder for temporary files.
    fn default() -> Self {
        Self {
            memory_bytes: 256 << 20,
            spill_dir: std::env::temp_dir(),
        }
    }
}

/// Why what a source gave could not be kept, or a plan not be ranked.
#[derive(Debug, thiserror::Error)]
pub enum RankingError {
    /// A batch does not say what it should.
    #[error(transparent)]
    Batch(#[from] BadBatch),
    /// There are too many entries.
    #[error(transparent)]
    TooMany(#[from] TooManyEntries),
    /// A source's keys and arguments are too long.
    #[error(
        "the keys and arguments of a key source take more than {} GiB: lower their number, or split the job",
        SOURCE_BYTES_MAX >> 30
    )]
    TooLarge,
    /// Rows could not be spilled, or not be read again.
    #[error(transparent)]
    Spill(#[from] SpillError),
    /// What was read again is not what was spilled.
    #[error("what was spilled of a plan is damaged")]
    Damaged,
    /// This process ends.
    #[error("ranking was cut off")]
    CutOff(#[from] tokio::task::JoinError),
}

impl From<RankError<SpillError>> for RankingError {
    fn from(error: RankError<SpillError>) -> Self {
        match error {
            RankError::TooMany(error) => Self::TooMany(error),
            RankError::Spill(error) => Self::Spill(error),
            RankError::Damaged => Self::Damaged,
        }
    }
}

impl RankingError {
    /// Whether another attempt may succeed: a disk that is full, or gone, may have space again.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        match self {
            Self::Spill(_) | Self::Damaged | Self::CutOff(_) => true,
            Self::Batch(_) | Self::TooMany(_) | Self::TooLarge => false,
        }
    }
}

/// What ranks a coordinator's plans.
#[derive(Debug)]
pub struct Ranking {
    memory: Arc<Memory>,
    folder: Arc<Folder>,
    spilled: Semaphore,
}

impl Ranking {
    /// With these settings.
    ///
    /// # Errors
    /// Where nothing can be spilled to the folder.
    pub(crate) fn start(
        settings: &RankingSettings,
        metrics: Arc<Metrics>,
    ) -> Result<Self, SpillError> {
        Ok(Self {
            memory: Memory::new(settings.memory_bytes),
            folder: Arc::new(Folder::open(settings.spill_dir.clone(), metrics)?),
            spilled: Semaphore::new(SPILLED_AT_ONCE_MAX),
        })
    }

    /// Begins to collect the rows of a source of a job with so many loaders; `loader` is that of rows which name none.
    #[must_use]
    pub(crate) fn collect(&self, source: u32, merge: Merge, loaders: Loaders) -> Collected {
        let disk = Disk::new(&self.folder, &self.memory, CancellationToken::new());
        Collected {
            rows: SourceRows::new(source, merge, disk),
            loaders,
            weight: Weight::default(),
            bytes: 0,
        }
    }

    /// Waits until these may be ranked; they may be, while what this returns is kept.
    pub(crate) async fn turn(&self, sources: &[Collected]) -> Option<SemaphorePermit<'_>> {
        if sources.iter().any(|source| source.rows.is_spilled()) {
            self.spilled.acquire().await.ok()
        } else {
            None
        }
    }

    /// Ranks what the sources gave. Dropped, it stops.
    ///
    /// # Errors
    /// Where that cannot be done.
    pub async fn rank(&self, sources: Vec<Collected>) -> Result<Ranked<Disk>, RankingError> {
        let stop = CancellationToken::new();
        let disk = Disk::new(&self.folder, &self.memory, stop.clone());
        let stopped_if_dropped = stop.drop_guard();
        let rows = sources.into_iter().map(|source| source.rows).collect();
        let ranked = tokio::task::spawn_blocking(move || Ranked::of(rows, disk)).await??;
        // What remains to be read ends with whoever reads it.
        stopped_if_dropped.disarm();
        Ok(ranked)
    }
}

/// The loaders that rows may name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Loaders {
    /// How many the job has.
    pub(crate) count: usize,
    /// The source's own, which rows have that name none.
    pub(crate) default: u32,
}

/// What came of a source so far.
#[derive(Debug)]
pub struct Collected {
    rows: SourceRows<Disk>,
    loaders: Loaders,
    weight: Weight,
    bytes: u64,
}

impl Collected {
    /// The same, with this weight beside other sources.
    pub(crate) fn weighted(self, weight: Weight) -> Self {
        Self { weight, ..self }
    }

    /// How many rows there are.
    pub(crate) const fn rows(&self) -> u64 {
        self.rows.rows()
    }

    /// Adds a batch; waits while what memory has no room for is spilled.
    ///
    /// # Errors
    /// Where the batch is wrong or one too many, or nothing can be spilled.
    pub(crate) async fn add(mut self, batch: &EntryBatch) -> Result<Self, RankingError> {
        let rows = plan_store::rows(batch, self.loaders.count)?;
        let bytes = plan_store::bytes_of(batch);
        self = self.make_room(batch.keys.len(), bytes).await?;
        for row in rows {
            let loader = row.loader.unwrap_or(self.loaders.default);
            let priority = self.weight.of(row.priority);
            self.rows.offer(row.key, row.argument, loader, priority)?;
        }
        Ok(self)
    }

    /// Adds entries whose loaders are the job's; waits as [`Collected::add`] does.
    ///
    /// # Errors
    /// Where they are one too many, or nothing can be spilled.
    pub async fn add_entries(mut self, entries: &[Entry]) -> Result<Self, RankingError> {
        let bytes_of = |entry: &Entry| entry.key.len() + entry.argument.len();
        let bytes = entries.iter().map(bytes_of).sum();
        self = self.make_room(entries.len(), bytes).await?;
        for entry in entries {
            let priority = self.weight.of(entry.priority);
            self.rows
                .offer(&entry.key, &entry.argument, entry.loader, priority)?;
        }
        Ok(self)
    }

    /// Makes room for so many more rows, whose keys and arguments have so many bytes.
    async fn make_room(mut self, rows: usize, bytes: usize) -> Result<Self, RankingError> {
        self.bytes += bytes as u64;
        if self.bytes > SOURCE_BYTES_MAX {
            return Err(RankingError::TooLarge);
        }
        if !self.rows.make_room(rows, bytes) {
            self = self.spill().await?;
            self.rows.make_room(rows, bytes);
        }
        Ok(self)
    }

    /// All is there. What was spilled in part is spilled as a whole: others need the memory more, while it waits for the
    /// other sources.
    ///
    /// # Errors
    /// Where it cannot be spilled.
    pub async fn complete(self) -> Result<Self, RankingError> {
        if self.rows.is_spilled() {
            self.spill().await
        } else {
            Ok(self)
        }
    }

    async fn spill(mut self) -> Result<Self, RankingError> {
        let spilling = tokio::task::spawn_blocking(move || {
            self.rows.spill()?;
            Ok::<_, RankError<SpillError>>(self)
        });
        Ok(spilling.await??)
    }
}

#[cfg(test)]
mod tests;
