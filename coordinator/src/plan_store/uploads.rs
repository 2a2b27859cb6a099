//! Uploads: what a caller sent, kept until the job is planned. Length-delimited `EntryBatch`es, nothing else.

use bytes::{Bytes, BytesMut};
use object_store::path::Path;
use object_store::{ObjectStoreExt, WriteMultipart};
use prost::Message;
use stoke_core::names::JobName;
use stoke_proto::v1::EntryBatch;

use super::{PlanStore, PlanStoreError, failed};

/// Writes one upload; nothing is there before [`UploadWriter::finish`]. Dropped before, it leaves nothing behind.
#[derive(Debug)]
pub struct UploadWriter {
    store: PlanStore,
    object: String,
    write: Option<WriteMultipart>,
}

/// An upload that is stored, and that nothing names yet: dropped, it is removed, unless it is kept.
#[derive(Debug)]
pub struct StoredUpload {
    store: PlanStore,
    object: String,
    kept: bool,
}

impl PlanStore {
    /// Begins an upload. Each attempt has a name of its own.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn begin_upload(
        &self,
        job: &JobName,
        source: u32,
    ) -> Result<UploadWriter, PlanStoreError> {
        let object = format!("uploads/{job}/{source}-{:016x}", rand::random::<u64>());
        let upload = self
            .objects
            .put_multipart(&Path::from(object.clone()))
            .await
            .map_err(failed("storing an upload"))?;
        Ok(UploadWriter {
            store: self.clone(),
            object,
            write: Some(WriteMultipart::new(upload)),
        })
    }

    /// Reads an upload again.
    ///
    /// # Errors
    /// Where the store fails or the object is damaged.
    pub async fn read_upload(&self, object: &str) -> Result<Vec<EntryBatch>, PlanStoreError> {
        let mut bytes: Bytes = self.get(&Path::from(object), "reading an upload").await?;
        let mut batches = Vec::new();
        while !bytes.is_empty() {
            let batch = EntryBatch::decode_length_delimited(&mut bytes).map_err(|source| {
                PlanStoreError::Format {
                    object: object.to_owned(),
                    source: source.into(),
                }
            })?;
            batches.push(batch);
        }
        Ok(batches)
    }
}

impl UploadWriter {
    /// Adds a batch; waits while too much of it is still being written.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn write(&mut self, batch: &EntryBatch) -> Result<(), PlanStoreError> {
        const PARTS_IN_FLIGHT_MAX: usize = 4;
        let Some(write) = &mut self.write else {
            return Ok(());
        };
        write
            .wait_for_capacity(PARTS_IN_FLIGHT_MAX)
            .await
            .map_err(failed("storing an upload"))?;
        let mut bytes = BytesMut::new();
        batch
            .encode_length_delimited(&mut bytes)
            .unwrap_or_else(|_| unreachable!("a buffer grows as needed"));
        write.put(bytes.freeze());
        Ok(())
    }

    /// Makes the upload readable.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn finish(mut self) -> Result<StoredUpload, PlanStoreError> {
        if let Some(write) = self.write.take() {
            write.finish().await.map_err(failed("storing an upload"))?;
        }
        Ok(StoredUpload {
            store: self.store.clone(),
            object: self.object.clone(),
            kept: false,
        })
    }
}

impl Drop for UploadWriter {
    fn drop(&mut self) {
        if let Some(write) = self.write.take() {
            beside(async move { write.abort().await });
        }
    }
}

impl StoredUpload {
    /// Its name in the plan store.
    #[must_use]
    pub fn object(&self) -> &str {
        &self.object
    }

    /// Leaves it where it is: something names it now, or may.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for StoredUpload {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let (store, object) = (self.store.clone(), Path::from(self.object.clone()));
        beside(async move { store.objects.delete(&object).await });
    }
}

/// Tidies up without anybody who waits for it: what is left behind where that fails is only space.
fn beside<T>(tidy_up: impl Future<Output = object_store::Result<T>> + Send + 'static) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else {
        return;
    };
    runtime.spawn(async move {
        if let Err(error) = tidy_up.await {
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "left an upload behind"
            );
        }
    });
}
