//! Uploads: what a caller sent, kept until the job is planned. Length-delimited `EntryBatch`es, nothing else.

use std::ops::Range;

use bytes::{Buf, BytesMut};
use object_store::path::Path;
use object_store::{ObjectStoreExt, WriteMultipart};
use prost::Message;
use stoke_core::names::JobName;
use stoke_proto::MESSAGE_BYTES_MAX;
use stoke_proto::v1::EntryBatch;

use super::{BandFileError, PlanStore, PlanStoreError, failed};

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

    /// Reads an upload again, piece by piece.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn read_upload(&self, object: &str) -> Result<UploadReader, PlanStoreError> {
        let path = Path::from(object);
        let looking = self.objects.head(&path);
        let found = self.timed("get", looking).await.map_err(failed(READING))?;
        Ok(UploadReader {
            store: self.clone(),
            path,
            unread: 0..found.size,
            read: BytesMut::new(),
        })
    }
}

const READING: &str = "reading an upload";

/// Reads an upload.
#[derive(Debug)]
pub struct UploadReader {
    store: PlanStore,
    path: Path,
    /// What was not read yet.
    unread: Range<u64>,
    /// What was read, and belongs to the next batches.
    read: BytesMut,
}

impl UploadReader {
    /// How many bytes are read at once.
    const PIECE_BYTES: u64 = 8 << 20;

    /// The next batch; `None` at the end.
    ///
    /// # Errors
    /// Where the store fails or the object is damaged.
    pub async fn next(&mut self) -> Result<Option<EntryBatch>, PlanStoreError> {
        loop {
            if let Some(batch) = take_batch(&mut self.read).map_err(|error| self.damaged(error))? {
                return Ok(Some(batch));
            }
            if self.unread.is_empty() {
                let ends_well = self.read.is_empty();
                return ends_well
                    .then_some(None)
                    .ok_or_else(|| self.damaged(BandFileError::Truncated));
            }
            let piece =
                self.unread.start..self.unread.end.min(self.unread.start + Self::PIECE_BYTES);
            let getting = self.store.objects.get_range(&self.path, piece.clone());
            let bytes = self
                .store
                .timed("get", getting)
                .await
                .map_err(failed(READING))?;
            self.unread.start = piece.end;
            self.read.extend_from_slice(&bytes);
        }
    }

    fn damaged(&self, source: BandFileError) -> PlanStoreError {
        PlanStoreError::Format {
            object: self.path.to_string(),
            source,
        }
    }
}

/// Takes the first batch; `None` where it is not there to its end.
fn take_batch(read: &mut BytesMut) -> Result<Option<EntryBatch>, BandFileError> {
    /// A length of 64 bits in groups of seven.
    const LENGTH_BYTES_MAX: usize = 10;
    let mut rest = &read[..];
    let Ok(length) = prost::decode_length_delimiter(&mut rest) else {
        // Cut off, or nonsense.
        let is_cut = read.len() < LENGTH_BYTES_MAX;
        return is_cut.then_some(None).ok_or(BandFileError::Truncated);
    };
    if length > MESSAGE_BYTES_MAX {
        return Err(BandFileError::Truncated);
    }
    if rest.len() < length {
        return Ok(None);
    }
    read.advance(read.len() - rest.len());
    Ok(Some(EntryBatch::decode(read.split_to(length).freeze())?))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(keys: std::ops::Range<usize>) -> EntryBatch {
        let key = |n: usize| format!("product:{n}:{}", "x".repeat(n % 300));
        EntryBatch {
            keys: keys.clone().map(|n| key(n).into()).collect(),
            arguments: keys.map(|n| n.to_string()).collect(),
            ..EntryBatch::default()
        }
    }

    /// Batches lie across the pieces that it is read in.
    #[tokio::test]
    async fn an_upload_of_several_pieces_is_read_as_it_was_written() {
        let store = PlanStore::in_memory();
        let mut writer = store.begin_upload(&"j".parse().unwrap(), 0).await.unwrap();
        let batches: Vec<EntryBatch> = (0..12).map(|n| batch(n * 7000..(n + 1) * 7000)).collect();
        for batch in &batches {
            writer.write(batch).await.unwrap();
        }
        let stored = writer.finish().await.unwrap();
        let mut reader = store.read_upload(stored.object()).await.unwrap();
        assert!(reader.unread.end > UploadReader::PIECE_BYTES);
        for batch in batches {
            assert!(reader.next().await.unwrap() == Some(batch));
        }
        assert_eq!(reader.next().await.unwrap(), None);
    }

    #[tokio::test]
    async fn an_upload_that_is_cut_off_or_nonsense_is_an_error() {
        let store = PlanStore::in_memory();
        let whole = batch(0..3).encode_length_delimited_to_vec();
        let cut = whole[..whole.len() - 1].to_vec();
        let beyond = [0xff; 12].to_vec();
        for bytes in [cut, beyond, vec![0xff, 0xff, 0xff, 0x7f], vec![0x80]] {
            let path = Path::from("uploads/j/0-1");
            store.put(path, bytes, "testing").await.unwrap();
            let mut reader = store.read_upload("uploads/j/0-1").await.unwrap();
            let error = reader.next().await.unwrap_err();
            assert!(matches!(error, PlanStoreError::Format { .. }), "{error}");
        }
    }
}
