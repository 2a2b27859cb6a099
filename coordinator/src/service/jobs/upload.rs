//! Uploads: entries that the caller sends, all or nothing.

use std::sync::Arc;
use std::time::Duration;

use stoke_core::job::{From as KeysFrom, IllegalMove, Phase, Work};
use stoke_core::plan::{ENTRIES_MAX, TooManyEntries};
use stoke_core::records::{self, keys};
use stoke_core::units::Priority;
use stoke_proto::v1;
use stoke_store::{Compare, Op, Revision, StoreError, Txn, record};
use tonic::Streaming;

use super::super::COMMIT_ATTEMPTS_MAX;
use super::super::refusal::{Refusal, invalid};
use super::{Jobs, read};
use crate::view::JobView;
use crate::{Shared, plan_store};

/// How long an upload may send nothing: it keeps its place among the few that may be open.
const IDLE_MAX: Duration = Duration::from_secs(60);

impl Jobs {
    pub(super) async fn upload(
        &self,
        mut parts: Streaming<v1::UploadEntriesRequest>,
    ) -> Result<u64, Refusal> {
        use v1::upload_entries_request::Part;
        self.shared.fence().await?;
        let _open = self.shared.limits.uploads.open()?;
        let Some(Part::Header(header)) = next(&mut parts).await?.and_then(|message| message.part)
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
        // Cut off up to here (a refusal, a deadline, a caller that is gone), the writer leaves nothing behind.
        let entries = receive(&mut parts, &mut writer, loaders).await?;
        // tonic tells a stream that was cut off by its caller as one that ended well. But hyper drops this call as soon as
        // it waits for anything then: so it waits once, before it does what cannot be taken back.
        tokio::task::yield_now().await;
        // From here on it is all or nothing, whoever still waits: what the job's record names must stay.
        let committing = commit(Arc::clone(&self.shared), header, writer, entries);
        let committed = tokio::spawn(committing).await;
        committed.unwrap_or(Err(Refusal::Stopping))?;
        Ok(entries)
    }
}

/// Makes an upload that was received to its end the job's.
async fn commit(
    shared: Arc<Shared>,
    header: v1::UploadHeader,
    writer: plan_store::UploadWriter,
    entries: u64,
) -> Result<(), Refusal> {
    let stored = writer.finish().await?;
    for _ in 0..COMMIT_ATTEMPTS_MAX {
        let job = read(&shared, &header.job).await?;
        check_awaits_upload(&job, header.source)?;
        let mut record = job.record.value.clone();
        let object = stored.object().to_owned();
        record
            .uploads
            .insert(header.source, records::Upload { object, entries });
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
        match shared.commit(txn).await {
            Ok(true) => {
                stored.keep();
                return Ok(());
            }
            Ok(false) => {}
            Err(refusal) => {
                // The record may name it.
                if matches!(refusal, Refusal::Store(StoreError::Unknown { .. })) {
                    stored.keep();
                }
                return Err(refusal);
            }
        }
    }
    Err(Refusal::Contended)
}

/// The next message, from a caller that may not be silent for ever.
async fn next(
    parts: &mut Streaming<v1::UploadEntriesRequest>,
) -> Result<Option<v1::UploadEntriesRequest>, Refusal> {
    match tokio::time::timeout(IDLE_MAX, parts.message()).await {
        Ok(message) => Ok(message?),
        Err(_) => Err(Refusal::Stalled(IDLE_MAX)),
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
    let mut priority_milli = 0u64;
    while let Some(message) = next(parts).await? {
        let Some(Part::Entries(batch)) = message.part else {
            return Err(invalid(
                "part",
                "only batches of entries may follow the header",
            ));
        };
        let checked = plan_store::entries(batch.clone(), loaders)
            .map_err(|error| invalid("entries", format!("{error} (after {stored} entries)")))?;
        for (n, milli) in batch.priorities.iter().enumerate() {
            // Its parts and their sum, here, where the caller hears of it, and not when the plan is made.
            let sum = priority_milli.checked_add(*milli);
            priority_milli = sum
                .filter(|_| *milli <= Priority::REQUESTS_MAX * 1000)
                .ok_or_else(|| no_priority(n, *milli, stored))?;
        }
        stored += checked.len() as u64;
        bytes += plan_store::bytes_of(&batch);
        if stored > ENTRIES_MAX as u64 || bytes > plan_store::SOURCE_BYTES_MAX {
            return Err(invalid("entries", TooManyEntries.to_string()));
        }
        writer.write(&batch).await?;
    }
    Ok(stored)
}

fn no_priority(n: usize, milli: u64, stored: u64) -> Refusal {
    invalid(
        format!("entries.priorities[{n}]"),
        format!(
            "{milli} is too much (after {stored} entries): thousandths of 0 to {} requests, in all less than 1.8e19",
            Priority::REQUESTS_MAX
        ),
    )
}
