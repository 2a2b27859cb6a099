//! Uploads: entries that the caller sends, all or nothing.

use stoke_core::job::{From as KeysFrom, IllegalMove, Phase, Work};
use stoke_core::plan::{ENTRIES_MAX, TooManyEntries};
use stoke_core::records::{self, keys};
use stoke_proto::v1;
use stoke_store::{Compare, Op, Revision, Txn, record};
use tonic::Streaming;

use super::super::COMMIT_ATTEMPTS_MAX;
use super::super::refusal::{Refusal, invalid};
use super::Jobs;
use crate::plan_store;
use crate::view::JobView;

impl Jobs {
    pub(super) async fn upload(
        &self,
        mut parts: Streaming<v1::UploadEntriesRequest>,
    ) -> Result<u64, Refusal> {
        use v1::upload_entries_request::Part;
        self.shared.fence().await?;
        let Some(Part::Header(header)) = parts.message().await?.and_then(|message| message.part)
        else {
            return Err(invalid(
                "header",
                "the first message must say which job and source this is for",
            ));
        };
        let job = self.read(&header.job).await?;
        let loaders = check_awaits_upload(&job, header.source)?;
        let mut writer = self
            .shared
            .plans
            .begin_upload(&job.name, header.source)
            .await?;
        let entries = match receive(&mut parts, &mut writer, loaders).await {
            Ok(entries) => entries,
            Err(refusal) => {
                writer.abandon().await;
                return Err(refusal);
            }
        };
        let object = writer.finish().await?;
        for _ in 0..COMMIT_ATTEMPTS_MAX {
            let job = self.read(&header.job).await?;
            check_awaits_upload(&job, header.source)?;
            let mut record = job.record.value.clone();
            record.uploads.insert(
                header.source,
                records::Upload {
                    object: object.clone(),
                    entries,
                },
            );
            let (key, run) = (keys::job(&job.name), keys::run(&job.name));
            let txn = Txn {
                compares: vec![
                    Compare::ModRevision(key.clone(), Revision(job.record.revision)),
                    Compare::ModRevision(run, Revision(job.life.revision)),
                ],
                ops: vec![Op::Put {
                    key,
                    value: record::encode(&record),
                    lease: None,
                }],
            };
            if self.shared.commit(txn).await? {
                return Ok(entries);
            }
        }
        Err(Refusal::Contended)
    }
}

/// Checks that a job waits for this upload, and says how many loaders its entries may name.
fn check_awaits_upload(job: &JobView, source: u32) -> Result<usize, Refusal> {
    let Work::Batch(batch) = &job.record.value.spec.work;
    let found = usize::try_from(source)
        .ok()
        .and_then(|n| batch.sources.get(n));
    if found.is_none_or(|source| source.from != KeysFrom::Upload) {
        return Err(invalid(
            "header.source",
            format!("source {source} of the job is no upload"),
        ));
    }
    if job.life.value.phase != Phase::Pending {
        return Err(IllegalMove {
            from: job.life.value.state(),
            verb: "take uploads",
        }
        .into());
    }
    if job.record.value.uploads.contains_key(&source) {
        return Err(Refusal::Precondition(format!(
            "source {source} of the job was uploaded already"
        )));
    }
    Ok(batch.loaders.len())
}

/// Stores all batches of an upload, each checked before.
async fn receive(
    parts: &mut Streaming<v1::UploadEntriesRequest>,
    writer: &mut plan_store::UploadWriter,
    loaders: usize,
) -> Result<u64, Refusal> {
    use v1::upload_entries_request::Part;
    let mut stored = 0;
    let mut bytes = 0;
    while let Some(message) = parts.message().await? {
        let Some(Part::Entries(batch)) = message.part else {
            return Err(invalid(
                "part",
                "only batches of entries may follow the header",
            ));
        };
        let checked = plan_store::entries(batch.clone(), loaders)
            .map_err(|error| invalid("entries", format!("{error} (after {stored} entries)")))?;
        stored += checked.len() as u64;
        bytes += plan_store::bytes_of(&batch);
        if stored > ENTRIES_MAX as u64 || bytes > plan_store::SOURCE_BYTES_MAX {
            return Err(invalid("entries", TooManyEntries.to_string()));
        }
        writer.write(&batch).await?;
    }
    Ok(stored)
}
