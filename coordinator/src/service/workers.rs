//! `WorkerService`: what workers ask of coordinators.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use stoke_core::estimate::DriftRecord;
use stoke_core::explain::explain;
use stoke_core::job::Work;
use stoke_core::names::{JobName, Resource, WorkerName};
use stoke_core::progress::Effort;
use stoke_core::records::{
    BAD_LINE_EXAMPLES_MAX, LoaderSample, LogReport, MonitorReport, PlanningTask, SourceReport, keys,
};
use stoke_core::slot::{NotASlotRange, Slots, slot_range};
use stoke_core::units::{BandId, Moment, PartitionId};
use stoke_proto::MESSAGE_BYTES_MAX;
use stoke_proto::v1::worker_service_server::WorkerService;
use stoke_proto::v1::{self, Segment};
use stoke_store::Keys;
use stoke_store::wake::Wakeups;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request as Call, Response, Status, Streaming};

use super::parse;
use super::refusal::{Refusal, invalid};
use crate::Shared;
use crate::guarded::Use;
use crate::intake::{Outcome, Sender, begin_source, retry_after};
use crate::plan_store::served_segments;
use crate::ranking::{Collected, RankingError};
use crate::view::{JobView, View};
use crate::wire;

mod health;
mod room;

/// How many bytes of segments one message carries, so that it stays well below the limit.
const SEGMENT_BYTES_PER_MESSAGE: usize = MESSAGE_BYTES_MAX / 4;
/// The longest example of a bad line, in characters: workers shorten them, with what is said about them, to fewer.
const EXAMPLE_CHARS_MAX: usize = 500;
/// How many messages of entries wait for a slow worker.
const STREAM_QUEUE: usize = 4;

/// What attached workers are told to look at when it changes.
const HINTED: [&str; 5] = [
    keys::CAPS,
    keys::RUNS,
    keys::READS,
    keys::ASSIGNMENTS,
    keys::VIGILS,
];

/// Serves workers.
#[derive(Debug)]
pub(crate) struct Workers {
    shared: Arc<Shared>,
    /// One for all who are attached, so that the store does not watch the same for each of them.
    wakeups: Wakeups,
    cancel: CancellationToken,
}

impl Workers {
    /// Serves, and watches the store for whoever will be attached, until `cancel` is cancelled or this is dropped.
    pub(crate) fn new(shared: Arc<Shared>, cancel: CancellationToken) -> Self {
        let watched = HINTED.map(|prefix| Keys::Prefix(prefix.to_owned()));
        let store = Arc::clone(&shared.store);
        Self {
            wakeups: Wakeups::spawn(store, watched.to_vec(), cancel.child_token()),
            shared,
            cancel,
        }
    }

    /// Takes what a task of planning gave from whoever was given it: of a source, its entries.
    async fn take_source(
        &self,
        mut parts: Streaming<v1::SendSourceRequest>,
    ) -> Result<(), Refusal> {
        use v1::send_source_request::Part;
        self.shared.fence().await?;
        let _open = self.shared.limits.sources.open()?;
        let Some(Part::Header(header)) = parts.message().await?.and_then(|message| message.part)
        else {
            return Err(invalid(
                "header",
                "the first message must say which task this is of",
            ));
        };
        let task = match header.task {
            Some(v1::source_header::Task::Source(source)) => PlanningTask::Source(source),
            Some(v1::source_header::Task::Prepare(_)) => PlanningTask::Prepare,
            Some(v1::source_header::Task::Sample(_)) => PlanningTask::Sample,
            None => return Err(invalid("header.task", "say which task this is of")),
        };
        let sender = Sender {
            job: parse::name("header.job", &header.job)?,
            task,
            attempt: header.attempt,
            worker: parse::name("header.worker", &header.worker)?,
        };
        let intake = &self.shared.intake;
        intake.awaits(&sender.job, task, sender.attempt)?;
        let Some(job) = View::read_job(&*self.shared.store, &sender.job).await? else {
            return Err(Refusal::NoSuchJob(sender.job.to_string()));
        };
        let Work::Batch(batch) = &job.record.value.spec.work;
        let mut rows = match task {
            PlanningTask::Source(n) => Some(begin_source(&job, n, &self.shared.ranking)),
            PlanningTask::Prepare | PlanningTask::Sample => None,
        };
        while let Some(message) = parts.message().await? {
            match message.part {
                Some(Part::Entries(columns)) if rows.is_some() => {
                    // Another task may have failed the attempt: nobody needs to read on then.
                    intake.awaits(&sender.job, task, sender.attempt)?;
                    rows = self.collect(&sender, rows, &columns).await?;
                }
                Some(Part::Verdict(verdict)) => {
                    let has = (batch.loaders.len(), job.planned());
                    return self.conclude_source(&sender, rows, verdict, has).await;
                }
                _ => {
                    return Err(invalid(
                        "part",
                        "only batches (of a key source) and the verdict may follow the header",
                    ));
                }
            }
        }
        Err(invalid(
            "verdict",
            "the last message must say how the task ended",
        ))
    }

    /// Adds a batch to a source's rows, waiting while there is no room for it. What cannot be kept fails the attempt.
    async fn collect(
        &self,
        sender: &Sender,
        rows: Option<Collected>,
        columns: &v1::EntryBatch,
    ) -> Result<Option<Collected>, Refusal> {
        let Some(rows) = rows else { return Ok(None) };
        match rows.add(columns).await {
            Ok(rows) => Ok(Some(rows)),
            // The worker's own, who is told: what is wrong with it counts nowhere.
            Err(RankingError::Batch(error)) => Err(invalid("entries", error.to_string())),
            Err(error) => Err(self.fail_for(sender, error).await),
        }
    }

    /// Fails the attempt, for its rows cannot be kept.
    async fn fail_for(&self, sender: &Sender, error: RankingError) -> Refusal {
        let (reason, transient) = (explain(&error), error.is_transient());
        tracing::warn!(job = %sender.job, task = %sender.task, reason, "cannot keep what a key source gives");
        if transient {
            tokio::time::sleep(retry_after(sender.attempt)).await;
        }
        let (job, attempt, told) = (&sender.job, sender.attempt, reason.clone());
        // What it has cost is in the verdict, which will not be heard.
        let spent = Effort::default();
        (self.shared.intake).fail(job, attempt, told, transient, spent);
        if transient {
            Refusal::Unkept(error)
        } else {
            invalid("entries", reason)
        }
    }

    async fn conclude_source(
        &self,
        sender: &Sender,
        rows: Option<Collected>,
        verdict: v1::SourceVerdict,
        (loaders, planned): (usize, u64),
    ) -> Result<(), Refusal> {
        let intake = &self.shared.intake;
        let effort = Effort {
            origin_queries: verdict.origin_queries,
            origin_rows: verdict.origin_rows,
            cache_bytes: 0,
        };
        if !verdict.error.is_empty() {
            let reason = match sender.task {
                PlanningTask::Source(n) => format!("key source {n}: {}", verdict.error),
                PlanningTask::Prepare | PlanningTask::Sample => verdict.error,
            };
            tracing::warn!(job = %sender.job, worker = %sender.worker, task = %sender.task, reason, "a task of planning failed");
            if verdict.transient {
                tokio::time::sleep(retry_after(sender.attempt)).await;
            }
            let transient = verdict.transient;
            intake.fail(&sender.job, sender.attempt, reason, transient, effort);
            return Ok(());
        }
        let outcome = match (sender.task, rows) {
            (PlanningTask::Sample, _) => {
                let samples = samples(verdict.samples, loaders)?;
                let room = verdict.room.map(|told| room::room(told, &samples, planned));
                let room = room.transpose()?;
                Outcome::Sampled { samples, room }
            }
            (PlanningTask::Source(_), Some(rows)) => {
                let report = report(rows.rows(), &verdict);
                match rows.complete().await {
                    Ok(rows) => Outcome::Read {
                        rows: Box::new(rows),
                        report,
                    },
                    Err(error) => return Err(self.fail_for(sender, error).await),
                }
            }
            _ => Outcome::Prepared {
                slots: slots(&verdict.slots)?,
                room: verdict.room.map(|told| room::limited(&told)),
            },
        };
        intake.accept(&sender.job, sender.task, sender.attempt, outcome, effort)?;
        Ok(())
    }

    async fn stream(
        &self,
        request: v1::StreamEntriesRequest,
    ) -> Result<ReceiverStream<Result<v1::StreamEntriesResponse, Status>>, Refusal> {
        let permit = self.shared.limits.streams.open()?;
        let name: JobName = parse::name("job", &request.job)?;
        let Some(job) = View::read_job(&*self.shared.store, &name).await? else {
            return Err(Refusal::NoSuchJob(request.job));
        };
        let Some(plan) = job
            .record
            .value
            .plan
            .filter(|plan| plan.name == request.plan)
        else {
            return Err(Refusal::Precondition("this is not the job's plan".into()));
        };
        let start = |start: &v1::PartitionStart| {
            let partition = u16::try_from(start.partition)
                .ok()
                .filter(|p| *p < plan.partitioning.count());
            partition.map(|partition| (PartitionId(partition), BandId(start.band)))
        };
        let starts: Option<BTreeMap<PartitionId, BandId>> =
            request.partitions.iter().map(start).collect();
        let starts = starts.ok_or_else(|| {
            invalid(
                "partitions",
                "names a partition that the plan does not have",
            )
        })?;
        let (send, receive) = mpsc::channel(STREAM_QUEUE);
        let (shared, cancel) = (Arc::clone(&self.shared), self.cancel.clone());
        let open = self
            .shared
            .calls
            .hold("/stoke.v1.WorkerService/StreamEntries");
        tokio::spawn(async move {
            let _open = (open, permit);
            let first = starts.values().min().copied().unwrap_or_default();
            let streaming = async {
                for band in (first.0..plan.bands).map(BandId) {
                    match served_segments(&shared.plans, &plan, band, &starts).await {
                        Ok(segments) => send_band(band, segments, &send).await?,
                        Err(error) => {
                            return send
                                .send(Err(Refusal::from(error).into()))
                                .await
                                .map_err(|_| Gone);
                        }
                    }
                }
                Ok(())
            };
            // Whoever is gone, or told to stop, needs no answer.
            let _ = cancel.run_until_cancelled(streaming).await;
        });
        Ok(ReceiverStream::new(receive))
    }
}

/// What there is to say of a source: as many examples, and as long, as a record may hold.
fn report(entries: u64, verdict: &v1::SourceVerdict) -> SourceReport {
    let examples = verdict
        .bad_line_examples
        .iter()
        .take(BAD_LINE_EXAMPLES_MAX)
        .map(|example| example.chars().take(EXAMPLE_CHARS_MAX).collect())
        .collect();
    SourceReport {
        entries,
        bad_lines: verdict.bad_lines,
        rows_estimated: verdict.rows_estimated,
        bad_line_examples: examples,
        log: verdict.log.as_ref().map(|log| LogReport {
            lines: log.lines,
            filtered: log.filtered,
            unmatched: log.unmatched,
            unmatched_example: log
                .unmatched_example
                .chars()
                .take(EXAMPLE_CHARS_MAX)
                .collect(),
            drift: (log.drift.as_ref()).map(|told| DriftRecord::from(&wire::drift(told))),
        }),
        monitor: verdict.monitor.as_ref().map(watched),
    }
}

/// What watching a Redis came to.
fn watched(seen: &v1::MonitorReport) -> MonitorReport {
    let stopped = seen.stopped.iter().take(BAD_LINE_EXAMPLES_MAX);
    MonitorReport {
        nodes: seen.nodes,
        masters: seen.masters,
        lines: seen.lines,
        bytes: seen.bytes,
        accesses: seen.accesses,
        cpu_before_permille: seen.cpu_before_permille,
        cpu_permille_max: seen.cpu_permille_max,
        buffer_bytes_max: seen.buffer_bytes_max,
        stopped: stopped
            .map(|why| why.chars().take(EXAMPLE_CHARS_MAX).collect())
            .collect(),
    }
}

/// The slots that a worker tells of, checked.
fn slots(told: &[v1::SlotRange]) -> Result<Slots, Refusal> {
    let range = |range: &v1::SlotRange| slot_range(range.first.into(), range.last.into());
    let slots: Result<Slots, NotASlotRange> = told.iter().map(range).collect();
    slots.map_err(|error| invalid("verdict.slots", error.to_string()))
}

/// What the loaders gave for a sample, checked: at most one of each.
fn samples(told: Vec<v1::LoaderSample>, loaders: usize) -> Result<Vec<LoaderSample>, Refusal> {
    let mut samples = BTreeMap::new();
    for sample in told {
        let known = usize::try_from(sample.loader).is_ok_and(|loader| loader < loaders);
        if !known || sample.batch_keys == 0 || sample.found > sample.entries {
            return Err(invalid("verdict.samples", "does not fit the job's loaders"));
        }
        let checked = LoaderSample {
            loader: sample.loader,
            origin: parse::name("verdict.samples.origin", &sample.origin)?,
            batch_keys: sample.batch_keys,
            entries: sample.entries,
            found: sample.found,
            bytes: sample.bytes,
            memory_bytes: sample.memory_bytes,
        };
        samples.insert(sample.loader, checked);
    }
    Ok(samples.into_values().collect())
}

/// Nobody listens to a stream any more.
struct Gone;

/// Sends a band's segments in messages of bounded size.
async fn send_band(
    band: BandId,
    segments: Vec<Segment>,
    send: &mpsc::Sender<Result<v1::StreamEntriesResponse, Status>>,
) -> Result<(), Gone> {
    let mut message = v1::StreamEntriesResponse {
        band: band.0,
        ..Default::default()
    };
    let mut bytes = 0;
    for segment in segments {
        if bytes > 0 && bytes + segment.body.len() > SEGMENT_BYTES_PER_MESSAGE {
            let full = std::mem::replace(
                &mut message,
                v1::StreamEntriesResponse {
                    band: band.0,
                    ..Default::default()
                },
            );
            send.send(Ok(full)).await.map_err(|_| Gone)?;
            bytes = 0;
        }
        bytes += segment.body.len();
        message.segments.push(segment);
    }
    message.band_complete = true;
    send.send(Ok(message)).await.map_err(|_| Gone)
}

#[tonic::async_trait]
impl WorkerService for Workers {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<v1::AttachResponse, Status>> + Send>>;
    type StreamEntriesStream = ReceiverStream<Result<v1::StreamEntriesResponse, Status>>;

    async fn attach(
        &self,
        call: Call<Streaming<v1::AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let permit = self.shared.limits.attached.open()?;
        let mut reports = call.into_inner();
        let (send, receive) = mpsc::channel(1);
        let (shared, cancel) = (Arc::clone(&self.shared), self.cancel.clone());
        let open = self.shared.calls.hold("/stoke.v1.WorkerService/Attach");
        let mut wakeups = self.wakeups.listen();
        tokio::spawn(async move {
            let _open = (open, permit);
            let mut attached: Option<WorkerName> = None;
            // What the worker is to find out, once it is known which one it is.
            let (mut asked, mut questions) = (None, None);
            let mut told = Vec::new();
            // What has not been told yet: at first, to look at once, and whether this coordinator leads.
            let (mut wake, mut untold) = (true, true);
            let mut leading = shared.leading.subscribe();
            loop {
                tokio::select! {
                    () = cancel.cancelled() => break,
                    () = wakeups.changed() => (wake, untold) = (true, true),
                    // The sender lives as long as we do.
                    _ = leading.changed() => untold = true,
                    // A worker that is slow to read is told how things stand when it does.
                    slot = send.reserve(), if untold => {
                        let Ok(slot) = slot else { break };
                        let leads = leading.borrow_and_update().0.is_some();
                        let questions = std::mem::take(&mut told);
                        slot.send(Ok(v1::AttachResponse { wake, leads, questions }));
                        (wake, untold) = (false, false);
                    }
                    Some(question) = next_of(&mut questions), if told.is_empty() => {
                        told.push(question);
                        untold = true;
                    }
                    report = reports.message() => match report {
                        Ok(Some(report)) => match note(&shared, report, attached.as_ref()) {
                            Some(worker) => {
                                if asked.is_none() {
                                    let (known, come) = shared.questions.attach(&worker);
                                    (asked, questions) = (Some(known), Some(come));
                                }
                                attached = Some(worker);
                            }
                            None => break,
                        },
                        Ok(None) | Err(_) => break,
                    }
                }
            }
            if let Some(worker) = attached {
                keep_troubles(&shared, &worker, BTreeMap::new());
                shared
                    .uses
                    .lock()
                    .unwrap_or_else(std::sync::PoisonError::into_inner)
                    .remove(&worker);
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receive))))
    }

    async fn stream_entries(
        &self,
        call: Call<v1::StreamEntriesRequest>,
    ) -> Result<Response<Self::StreamEntriesStream>, Status> {
        Ok(Response::new(self.stream(call.into_inner()).await?))
    }

    async fn send_source(
        &self,
        call: Call<Streaming<v1::SendSourceRequest>>,
    ) -> Result<Response<v1::SendSourceResponse>, Status> {
        self.take_source(call.into_inner()).await?;
        Ok(Response::new(v1::SendSourceResponse {}))
    }

    async fn record_failures(
        &self,
        call: Call<v1::RecordFailuresRequest>,
    ) -> Result<Response<v1::RecordFailuresResponse>, Status> {
        let request = call.into_inner();
        let job: JobName = parse::name("job", &request.job)?;
        // The name of a list is part of an object's name.
        let _: WorkerName = parse::name("log", &request.log)?;
        let known = View::read_job(&*self.shared.store, &job)
            .await
            .map_err(Refusal::from)?;
        let Some(known) = known else {
            return Err(Refusal::NoSuchJob(request.job).into());
        };
        if !is_an_owners(&request.log, &known) {
            return Err(Refusal::NotAnOwner.into());
        }
        let stored = self
            .shared
            .plans
            .write_failures(&job, &request.log, request.chunk, request.failures)
            .await;
        stored.map_err(Refusal::from)?;
        Ok(Response::new(v1::RecordFailuresResponse {}))
    }
}

/// Whether a list of failed entries is of an owner of the job's partitions: its name ends with the revision of the
/// assignment that it was made under. What is made under an older one counts for nothing, and takes no space.
fn is_an_owners(log: &str, job: &JobView) -> bool {
    let assignment = log
        .rsplit_once('-')
        .and_then(|(_, n)| n.parse::<u64>().ok());
    let mut owners = job.owners.values();
    owners.any(|owner| Some(owner.assignment.revision) == assignment)
}

/// How many resources one worker's report may name.
const USES_MAX: usize = 64;
/// How many jobs one worker's report may tell troubles of.
const TROUBLES_MAX: usize = 100;
/// The longest text of a trouble, in characters.
const TROUBLE_TEXT_MAX: usize = 600;

/// Keeps what a worker says is in its way, in place of what it said before, and tells those who watch.
fn keep_troubles(shared: &Shared, worker: &WorkerName, troubles: BTreeMap<JobName, String>) {
    let changed = {
        let mut all = shared
            .troubles
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = if troubles.is_empty() {
            all.remove(worker).unwrap_or_default()
        } else {
            all.insert(worker.clone(), troubles.clone())
                .unwrap_or_default()
        };
        before != troubles
    };
    if changed {
        shared.troubles_told.send_replace(());
    }
}

/// The next question, where there may be any.
async fn next_of(
    questions: &mut Option<mpsc::Receiver<v1::CacheQuestion>>,
) -> Option<v1::CacheQuestion> {
    match questions {
        Some(questions) => questions.recv().await,
        None => std::future::pending().await,
    }
}

/// Keeps a worker's report, for display. `None` where it is no worker's, or another's than the reports before.
fn note(
    shared: &Shared,
    report: v1::AttachRequest,
    attached: Option<&WorkerName>,
) -> Option<WorkerName> {
    let worker: WorkerName = report.worker.parse().ok()?;
    if attached.is_some_and(|attached| *attached != worker) {
        return None;
    }
    let trouble = |told: v1::JobTrouble| {
        let text = told.what.chars().take(TROUBLE_TEXT_MAX).collect();
        Some((told.job.parse::<JobName>().ok()?, text))
    };
    let troubles = report.troubles.into_iter().take(TROUBLES_MAX);
    keep_troubles(shared, &worker, troubles.filter_map(trouble).collect());
    let now = shared.clock.now();
    health::note(shared, &worker, report.health, now);
    keep_uses(shared, &worker, report.uses, now);
    shared.questions.answered(report.answers);
    Some(worker)
}

/// Keeps what a worker says it has sent, beside what that makes a second.
fn keep_uses(shared: &Shared, worker: &WorkerName, uses: Vec<v1::ResourceUse>, now: Moment) {
    let mut all = shared
        .uses
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let before = all.remove(worker).unwrap_or_default();
    let of = |used: v1::ResourceUse| {
        let resource: Resource = used.resource.parse().ok()?;
        let used = Use::after(before.get(&resource).copied(), used.queries, now);
        Some((resource, used))
    };
    let uses = uses.into_iter().take(USES_MAX).filter_map(of).collect();
    all.insert(worker.clone(), uses);
}
