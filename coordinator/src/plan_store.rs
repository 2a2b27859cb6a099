//! The plan store: plans, uploads and lists of failures, in an `object_store` (a directory by default).
//!
//! Plans never go to the coordination store. What is here is written once under a name of its own and read by any
//! coordinator; which of it counts, the coordination store says.

mod band_file;
mod batch;
mod failures;
mod plans;
mod sweep;
mod uploads;

pub(crate) use band_file::served_segments;
pub(crate) use band_file::unpack;
pub use band_file::{BandFileError, read_segments};
pub use batch::{BadBatch, BatchRow, SOURCE_BYTES_MAX, bytes_of, check, rows, rows_to_batch};
pub use plans::WriteError;
pub(crate) use sweep::{Removed, Stored};
pub use uploads::{StoredUpload, UploadReader, UploadWriter};

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use crate::metrics::{self, Metrics};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

/// Why the plan store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum PlanStoreError {
    /// The object store failed.
    #[error("the plan store failed while {doing}")]
    Object {
        /// What was being done.
        doing: &'static str,
        /// The cause.
        #[source]
        source: object_store::Error,
    },
    /// What is stored cannot be read.
    #[error("{object} in the plan store cannot be read")]
    Format {
        /// Which object.
        object: String,
        /// The cause.
        #[source]
        source: BandFileError,
    },
    /// The plan's priorities add up to more than can be counted.
    #[error("the priorities of the plan add up to more than 1.8e16 requests: scale them down")]
    TooMuchPriority,
}

impl PlanStoreError {
    /// Whether what was to be read is not there.
    pub(crate) const fn is_gone(&self) -> bool {
        matches!(
            self,
            Self::Object {
                source: object_store::Error::NotFound { .. },
                ..
            }
        )
    }
}

pub(crate) fn failed(doing: &'static str) -> impl FnOnce(object_store::Error) -> PlanStoreError {
    move |source| PlanStoreError::Object { doing, source }
}

/// The plan store.
#[derive(Clone, Debug)]
pub struct PlanStore {
    objects: Arc<dyn ObjectStore>,
    /// Where it is a directory: files that were never completed lie there, and are no objects.
    directory: Option<PathBuf>,
    metrics: Arc<Metrics>,
}

impl PlanStore {
    /// In these objects.
    #[must_use]
    pub fn new(objects: Arc<dyn ObjectStore>) -> Self {
        let metrics = Arc::new(Metrics::new(&metrics::none()));
        Self {
            objects,
            directory: None,
            metrics,
        }
    }

    /// The same, measured.
    pub(crate) fn measured(mut self, metrics: Arc<Metrics>) -> Self {
        self.metrics = metrics;
        self
    }

    /// In memory, for one process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::new(Arc::new(object_store::memory::InMemory::new()))
    }

    /// In a directory, which is made where it is not there.
    ///
    /// # Errors
    /// Where it cannot be made or used.
    pub fn in_directory(path: &std::path::Path) -> Result<Self, PlanStoreError> {
        std::fs::create_dir_all(path).map_err(|source| PlanStoreError::Object {
            doing: "making its directory",
            source: object_store::Error::Generic {
                store: "directory",
                source: Box::new(source),
            },
        })?;
        let objects = object_store::local::LocalFileSystem::new_with_prefix(path)
            .map_err(failed("opening its directory"))?
            .with_automatic_cleanup(true)
            // What the coordination store names must be there after a power failure, too.
            .with_fsync(true);
        let mut store = Self::new(Arc::new(objects));
        store.directory = Some(path.to_owned());
        Ok(store)
    }

    /// The store's own id, made when there is none: two coordinators with the same id share one plan store.
    ///
    /// # Errors
    /// Where it can be neither read nor made.
    pub async fn id(&self) -> Result<String, PlanStoreError> {
        let path = Path::from("id");
        let fresh = format!("{:016x}", rand::random::<u64>());
        let create = PutOptions::from(PutMode::Create);
        match self
            .objects
            .put_opts(&path, PutPayload::from(fresh.clone()), create)
            .await
        {
            Ok(_) => return Ok(fresh),
            Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(failed("making its id")(error)),
        }
        let stored = self
            .objects
            .get(&path)
            .await
            .map_err(failed("reading its id"))?;
        let bytes = stored.bytes().await.map_err(failed("reading its id"))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn put(
        &self,
        path: Path,
        bytes: Vec<u8>,
        doing: &'static str,
    ) -> Result<(), PlanStoreError> {
        let size = bytes.len();
        let putting = self.objects.put(&path, PutPayload::from(bytes));
        self.timed("put", putting).await.map_err(failed(doing))?;
        self.metrics.plan_store_written(size);
        Ok(())
    }

    async fn get(&self, path: &Path, doing: &'static str) -> Result<bytes::Bytes, PlanStoreError> {
        let getting = async { self.objects.get(path).await?.bytes().await };
        self.timed("get", getting).await.map_err(failed(doing))
    }

    /// Does this, and tells how long it took.
    async fn timed<T>(
        &self,
        operation: &'static str,
        doing: impl Future<Output = object_store::Result<T>>,
    ) -> object_store::Result<T> {
        let begun = Instant::now();
        let done = doing.await;
        let took = begun.elapsed();
        self.metrics
            .plan_store_called(operation, done.is_ok(), took);
        done
    }
}
