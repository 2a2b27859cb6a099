//! Uploads: what a caller sent, kept until the job is planned. Length-delimited `EntryBatch`es, nothing else.

use bytes::{Bytes, BytesMut};
use object_store::path::Path;
use object_store::{ObjectStoreExt, WriteMultipart};
use prost::Message;
use stoke_core::names::JobName;
use stoke_proto::v1::EntryBatch;

use super::{PlanStore, PlanStoreError, failed};

/// Writes one upload; nothing is there before [`UploadWriter::finish`].
#[derive(Debug)]
pub struct UploadWriter {
    object: String,
    write: WriteMultipart,
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
            object,
            write: WriteMultipart::new(upload),
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
        self.write
            .wait_for_capacity(PARTS_IN_FLIGHT_MAX)
            .await
            .map_err(failed("storing an upload"))?;
        let mut bytes = BytesMut::new();
        batch
            .encode_length_delimited(&mut bytes)
            .unwrap_or_else(|_| unreachable!("a buffer grows as needed"));
        self.write.put(bytes.freeze());
        Ok(())
    }

    /// Makes the upload readable, and says under which name.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn finish(self) -> Result<String, PlanStoreError> {
        self.write
            .finish()
            .await
            .map_err(failed("storing an upload"))?;
        Ok(self.object)
    }

    /// Gives the upload up.
    pub async fn abandon(self) {
        // What is left behind is only space.
        let _ = self.write.abort().await;
    }
}
