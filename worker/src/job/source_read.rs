//! Reading one key source: rows become entries (the loader's template makes their cache keys) and go up to the leader.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use stoke_core::job::Work;
use stoke_core::names::JobName;
use stoke_core::names::Resource;
use stoke_core::records::{Job, keys};
use stoke_proto::v1::send_source_request::Part;
use stoke_proto::v1::{EntryBatch, SendSourceRequest, SourceHeader, SourceVerdict, source_header};
use stoke_store::{Compare, Op, Revision, Txn};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::recipe::{self, Readable};
use crate::catalog::LoaderSpec;
use crate::permit::Permit;
use crate::source::SourceRow;
use crate::worker::Shared;
use stoke_core::explain::explain;

/// How long until a source that could not be sent is read again, while it is still this worker's.
const READ_AGAIN: Duration = Duration::from_secs(1);
/// How many chunks of rows wait between reading and sending.
const CHUNKS_MAX: usize = 4;

/// A source that the store gives to this worker to read.
#[derive(Clone, Debug)]
pub(crate) struct AssignedRead {
    pub(crate) source: u32,
    pub(crate) attempt: u64,
    /// The record's mod revision.
    pub(crate) revision: u64,
}

/// A source being read. Dropped, it stops at once.
#[derive(Debug)]
pub(crate) struct SourceRead {
    attempt: u64,
    _task: AbortOnDropHandle<()>,
}

impl SourceRead {
    /// Starts to read.
    pub(crate) fn start(
        shared: Arc<Shared>,
        job: JobName,
        record: Job,
        read: AssignedRead,
    ) -> Self {
        let attempt = read.attempt;
        let task = tokio::spawn(async move {
            while let Err(error) = send(&shared, &job, &record, &read).await {
                tracing::warn!(%job, source = read.source, error, "could not send a key source");
                tokio::time::sleep(READ_AGAIN).await;
            }
        });
        Self {
            attempt,
            _task: AbortOnDropHandle::new(task),
        }
    }

    /// The job's attempt at planning that this is for.
    pub(crate) fn attempt(&self) -> u64 {
        self.attempt
    }

    /// Confirms that this worker does not read a source of an aborted job any more, by deleting its record.
    pub(crate) fn confirm_stopped(shared: &Arc<Shared>, job: &JobName, read: &AssignedRead) {
        let key = keys::read(job, read.source);
        let compares = vec![Compare::ModRevision(key.clone(), Revision(read.revision))];
        let txn = Txn {
            compares,
            ops: vec![Op::Delete(key)],
        };
        let store = Arc::clone(&shared.store);
        tokio::spawn(async move {
            // Not done: the next beat tries again, and in the end time confirms it.
            if let Err(error) = store.txn(txn).await {
                tracing::debug!(error = explain(&error), "could not confirm a stop");
            }
        });
    }
}

/// How reading ended.
#[derive(Debug, Default)]
struct Ending {
    error: Option<(String, bool)>,
    queries: u64,
    rows: u64,
}

/// Reads the source and sends it, with the verdict.
async fn send(
    shared: &Arc<Shared>,
    job: &JobName,
    record: &Job,
    read: &AssignedRead,
) -> Result<(), String> {
    let mut leader = shared
        .link
        .leader()
        .await
        .map_err(|error| explain(&error))?;
    let (parts, receive) = mpsc::channel::<SendSourceRequest>(CHUNKS_MAX);
    let header = SourceHeader {
        job: job.to_string(),
        task: Some(source_header::Task::Source(read.source)),
        attempt: read.attempt,
        worker: shared.name.to_string(),
    };
    let reading = async {
        let send = |part| parts.send(SendSourceRequest { part: Some(part) });
        if send(Part::Header(header)).await.is_err() {
            return;
        }
        let ending = read_all(shared, job, record, read, &parts).await;
        let (error, transient) = ending.error.unwrap_or_default();
        let verdict = SourceVerdict {
            error,
            transient,
            origin_queries: ending.queries,
            origin_rows: ending.rows,
            ..SourceVerdict::default()
        };
        // Whoever does not listen any more says why in its answer.
        let _ = send(Part::Verdict(verdict)).await;
        drop(parts);
    };
    let ((), answer) = tokio::join!(reading, leader.send_source(ReceiverStream::new(receive)));
    answer
        .map(|_| ())
        .map_err(|status| status.message().to_owned())
}

async fn read_all(
    shared: &Arc<Shared>,
    job: &JobName,
    record: &Job,
    read: &AssignedRead,
    parts: &mpsc::Sender<SendSourceRequest>,
) -> Ending {
    let permanent = |text: &str| Ending {
        error: Some((text.to_owned(), false)),
        ..Ending::default()
    };
    let Work::Batch(batch) = &record.spec.work;
    let Some(source) = usize::try_from(read.source)
        .ok()
        .and_then(|n| batch.sources.get(n))
    else {
        return permanent("the job has no such source");
    };
    let loader = usize::try_from(source.loader)
        .ok()
        .and_then(|n| batch.loaders.get(n));
    let Some(spec) = loader.and_then(|loader| recipe::loader(loader, &shared.catalog)) else {
        return permanent("this worker does not know the source's loader");
    };
    let Some(readable) = recipe::source(source, &shared.catalog) else {
        return permanent("this worker does not know this source, or does not allow it in jobs");
    };
    let (sink, mut chunks) = mpsc::channel::<Vec<SourceRow>>(CHUNKS_MAX);
    // When it ends early, `chunks` closes, and reading ends with it.
    let forwarding = async move {
        while let Some(rows) = chunks.recv().await {
            let part = Part::Entries(batch_of(&rows, &spec, source.loader)?);
            if parts
                .send(SendSourceRequest { part: Some(part) })
                .await
                .is_err()
            {
                return Err("the leader does not take it any more".to_owned());
            }
        }
        Ok(())
    };
    let (mut ending, forwarded) = tokio::join!(rows(shared, job, readable, sink), forwarding);
    if let Err(error) = forwarded {
        ending.error = Some((error, false));
    }
    ending
}

/// Reads all rows into the sink.
async fn rows(
    shared: &Arc<Shared>,
    job: &JobName,
    readable: Readable,
    sink: mpsc::Sender<Vec<SourceRow>>,
) -> Ending {
    match readable {
        Readable::Sql { origin, query } => {
            let resource = Resource::Origin(origin.clone());
            let (Some(origin), Some(gate)) =
                (shared.origins.get(&origin), shared.gates.get(&resource))
            else {
                let error = Some((format!("this worker does not know the {resource}"), false));
                return Ending {
                    error,
                    ..Ending::default()
                };
            };
            let permit = gate.permit(job.clone(), CancellationToken::new());
            let read = origin.rank(&permit as &dyn Permit, &query, sink).await;
            let (rows, error) = match read {
                Ok(rows) => (rows, None),
                Err(error) => (0, Some((error.explain(), error.is_transient()))),
            };
            Ending {
                error,
                queries: permit.taken(),
                rows,
            }
        }
        Readable::File { path, format } => {
            match crate::source::file::read(&path, format, sink).await {
                Ok(_) => Ending::default(),
                Err(error) => Ending {
                    error: Some((explain(&error), false)),
                    ..Ending::default()
                },
            }
        }
    }
}

/// Rows as entries in columns.
fn batch_of(rows: &[SourceRow], spec: &LoaderSpec, loader: u32) -> Result<EntryBatch, String> {
    let mut batch = EntryBatch::default();
    for row in rows {
        let key = spec.key.fill(|column| row.get(column).map(str::as_bytes));
        let key =
            key.map_err(|missing| format!("the key template of loader {}: {missing}", spec.name))?;
        batch.keys.push(Bytes::from(key));
        batch.priorities.push(row.priority.as_milli());
        batch.loaders.push(loader);
        batch.arguments.push(row.key().to_owned());
    }
    Ok(batch)
}
