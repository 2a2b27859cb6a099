//! Uploads: entries that the caller sends, all or nothing, and once: the same that come again change nothing.

mod digest;

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
use crate::ranking::RankingError;
use crate::view::JobView;
use crate::{Shared, plan_store};
use digest::EntriesDigest;

/// How long an upload may send nothing: it keeps its place among the few that may be open.
const IDLE_MAX: Duration = Duration::from_secs(60);

impl Jobs {
    /// Stores an upload; one that was stored before is read and compared, and answered as the first.
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
        let target = Target::of(&job, header.source)?;
        if let Some(before) = job.record.value.uploads.get(&header.source) {
            // Whatever became of the job since: the caller may have lost the answer.
            if before.digest.is_empty() {
                return Err(differs(&job, header.source, before));
            }
            let received = receive(&mut parts, None, target).await?;
            return received.same_as(&job, header.source, before);
        }
        check_awaits_upload(&job)?;
        let mut writer = self
            .shared
            .plans
            .begin_upload(&job.name, header.source)
            .await?;
        // Cut off up to here (a refusal, a deadline, a caller that is gone), the writer leaves nothing behind.
        let received = receive(&mut parts, Some(&mut writer), target).await?;
        // tonic tells a stream that was cut off by its caller as one that ended well. But hyper drops this call as soon as
        // it waits for anything then: so it waits once, before it does what cannot be taken back.
        tokio::task::yield_now().await;
        // From here on it is all or nothing, whoever still waits: what the job's record names must stay.
        let committing = commit(Arc::clone(&self.shared), header, writer, received);
        let committed = tokio::spawn(committing).await;
        committed.unwrap_or(Err(Refusal::Stopping))
    }
}

/// What a source of a job takes uploads as.
#[derive(Clone, Copy, Debug)]
struct Target {
    /// How many loaders its entries may name.
    loaders: usize,
    /// The one of entries that name none.
    loader: u32,
}

impl Target {
    fn of(job: &JobView, source: u32) -> Result<Self, Refusal> {
        let Work::Batch(batch) = &job.record.value.spec.work;
        let found = usize::try_from(source)
            .ok()
            .and_then(|n| batch.sources.get(n))
            .filter(|source| source.from == KeysFrom::Upload);
        let found = found.ok_or_else(|| {
            invalid(
                "header.source",
                format!("source {source} of the job is no upload"),
            )
        })?;
        Ok(Self {
            loaders: batch.loaders.len(),
            loader: found.loader,
        })
    }
}

/// An upload that was received to its end.
#[derive(Debug)]
struct Received {
    entries: u64,
    digest: String,
}

impl Received {
    /// How many entries it has, where they are those of the upload before.
    fn same_as(
        &self,
        job: &JobView,
        source: u32,
        before: &records::Upload,
    ) -> Result<u64, Refusal> {
        if self.digest == before.digest {
            Ok(before.entries)
        } else {
            Err(differs(job, source, before))
        }
    }
}

fn differs(job: &JobView, source: u32, before: &records::Upload) -> Refusal {
    Refusal::UploadDiffers {
        job: job.name.clone(),
        source_index: source,
        is_known: !before.digest.is_empty(),
    }
}

/// Makes an upload that was received to its end the job's, and says how many entries it has.
async fn commit(
    shared: Arc<Shared>,
    header: v1::UploadHeader,
    writer: plan_store::UploadWriter,
    received: Received,
) -> Result<u64, Refusal> {
    let stored = writer.finish().await?;
    for _ in 0..COMMIT_ATTEMPTS_MAX {
        let job = read(&shared, &header.job).await?;
        let mut record = job.record.value.clone();
        if let Some(before) = record.uploads.get(&header.source) {
            // Another was faster, with the same entries or others. What was stored here is removed, unless this is it.
            let same = received.same_as(&job, header.source, before);
            if before.object == stored.object() {
                stored.keep();
            }
            return same;
        }
        check_awaits_upload(&job)?;
        let upload = records::Upload {
            object: stored.object().to_owned(),
            entries: received.entries,
            digest: received.digest.clone(),
        };
        record.uploads.insert(header.source, upload);
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
                shared.metrics.uploaded(received.entries);
                return Ok(received.entries);
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

/// Checks that a job waits for uploads.
fn check_awaits_upload(job: &JobView) -> Result<(), Refusal> {
    if job.life.value.phase == Phase::Pending {
        return Ok(());
    }
    Err(IllegalMove {
        from: job.life.value.state(),
        verb: "take uploads",
    }
    .into())
}

/// Reads all batches of an upload, each checked, and stores them where a writer is given.
async fn receive(
    parts: &mut Streaming<v1::UploadEntriesRequest>,
    mut writer: Option<&mut plan_store::UploadWriter>,
    target: Target,
) -> Result<Received, Refusal> {
    use v1::upload_entries_request::Part;
    let mut digest = EntriesDigest::new(target.loader);
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
        plan_store::check(&batch, target.loaders)
            .map_err(|error| invalid("entries", format!("{error} (after {stored} entries)")))?;
        for (n, milli) in batch.priorities.iter().enumerate() {
            // Its parts and their sum, here, where the caller hears of it, and not when the plan is made.
            let sum = priority_milli.checked_add(*milli);
            priority_milli = sum
                .filter(|_| *milli <= Priority::REQUESTS_MAX * 1000)
                .ok_or_else(|| no_priority(n, *milli, stored))?;
        }
        stored += batch.keys.len() as u64;
        bytes += plan_store::bytes_of(&batch) as u64;
        if stored > ENTRIES_MAX {
            return Err(invalid("entries", TooManyEntries.to_string()));
        }
        if bytes > plan_store::SOURCE_BYTES_MAX {
            return Err(invalid("entries", RankingError::TooLarge.to_string()));
        }
        digest.add(&batch);
        if let Some(writer) = &mut writer {
            writer.write(&batch).await?;
        }
    }
    Ok(Received {
        entries: stored,
        digest: digest.finish(),
    })
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
