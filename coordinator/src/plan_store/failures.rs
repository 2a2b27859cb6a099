//! Lists of failed entries: chunks that workers send before the checkpoints that count them.

use object_store::path::Path;
use prost::Message;
use stoke_core::names::JobName;
use stoke_proto::v1::{FailedEntry, FailureChunk};

use super::{BandFileError, PlanStore, PlanStoreError};

/// The format that this program writes, and the newest that it reads.
const FORMAT: u32 = 1;

fn name(job: &JobName, log: &str, chunk: u64) -> String {
    format!("failures/{job}/{log}/{chunk:08}")
}

impl PlanStore {
    /// Stores a chunk; the same chunk again replaces it.
    ///
    /// # Errors
    /// Where the store fails.
    pub async fn write_failures(
        &self,
        job: &JobName,
        log: &str,
        chunk: u64,
        failures: Vec<FailedEntry>,
    ) -> Result<(), PlanStoreError> {
        let bytes = FailureChunk {
            format: FORMAT,
            failures,
        }
        .encode_to_vec();
        self.put(
            Path::from(name(job, log, chunk)),
            bytes,
            "storing failed entries",
        )
        .await
    }

    /// Reads a chunk.
    ///
    /// # Errors
    /// Where the store fails, or the chunk is damaged or newer than this program.
    pub async fn read_failures(
        &self,
        job: &JobName,
        log: &str,
        chunk: u64,
    ) -> Result<Vec<FailedEntry>, PlanStoreError> {
        let object = name(job, log, chunk);
        let bytes = self
            .get(&Path::from(object.clone()), "reading failed entries")
            .await?;
        let format = |source| PlanStoreError::Format { object, source };
        match FailureChunk::decode(bytes) {
            Err(source) => Err(format(source.into())),
            Ok(chunk) if chunk.format > FORMAT => Err(format(BandFileError::Newer(chunk.format))),
            Ok(chunk) => Ok(chunk.failures),
        }
    }
}
