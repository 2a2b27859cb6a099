//! Showing jobs: lists, watches, failed entries.

use std::sync::Arc;
use std::time::Duration;

use stoke_core::records::keys;
use stoke_proto::v1;
use stoke_store::Keys;
use stoke_store::wake::Wakeups;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::super::describe;
use super::super::refusal::Refusal;
use super::Jobs;
use crate::Shared;
use crate::view::{JobView, View, ViewError};

/// How long at least between two messages of a watch.
const WATCH_APART: Duration = Duration::from_millis(100);
/// How many failed entries one message carries.
const FAILURES_PER_MESSAGE: usize = 500;
/// Jobs on a page where nothing is said.
const PAGE_DEFAULT: usize = 100;
/// Jobs on a page at most.
const PAGE_MAX: usize = 1000;

impl Jobs {
    pub(super) async fn list(
        &self,
        request: v1::ListJobsRequest,
    ) -> Result<v1::ListJobsResponse, Refusal> {
        let size = match usize::try_from(request.page_size).unwrap_or(usize::MAX) {
            0 => PAGE_DEFAULT,
            size => size.min(PAGE_MAX),
        };
        let states: Vec<v1::JobState> = request.states().collect();
        let view = View::read(&*self.shared.store).await?;
        let fits = |job: &&JobView| {
            let spec = &job.record.value.spec;
            (states.is_empty() || states.contains(&describe::state(job.life.value.state())))
                && request
                    .labels
                    .iter()
                    .all(|(key, value)| spec.labels.get(key) == Some(value))
                && (request.page_token.is_empty()
                    || job.name.as_str() < request.page_token.as_str())
        };
        let mut jobs: Vec<v1::Job> = view
            .jobs
            .values()
            .rev()
            .filter(fits)
            .take(size + 1)
            .map(|job| describe::job(job, &self.shared))
            .collect();
        let more = jobs.len() > size;
        jobs.truncate(size);
        let next_page_token = if more {
            jobs.last().map(|job| job.name.clone()).unwrap_or_default()
        } else {
            String::new()
        };
        Ok(v1::ListJobsResponse {
            jobs,
            next_page_token,
        })
    }
}

/// Sends the job whenever it has changed, until it is over or nobody listens.
pub(super) async fn watch(
    shared: &Shared,
    mut job: JobView,
    send: &mpsc::Sender<Result<v1::WatchJobResponse, Status>>,
) {
    let watched = vec![
        Keys::One(keys::job(&job.name)),
        Keys::One(keys::run(&job.name)),
        Keys::Prefix(keys::assignments(&job.name)),
        Keys::Prefix(keys::checkpoints(&job.name)),
    ];
    let stop = CancellationToken::new();
    let _stop_at_the_end = stop.clone().drop_guard();
    let mut wakeups = Wakeups::spawn(Arc::clone(&shared.store), watched, stop);
    let mut troubles = shared.troubles_told.subscribe();
    let mut shown = None;
    loop {
        let now = describe::job(&job, shared);
        if shown.as_ref() != Some(&now) {
            shown = Some(now.clone());
            if send
                .send(Ok(v1::WatchJobResponse { job: Some(now) }))
                .await
                .is_err()
            {
                return;
            }
        }
        if job.life.value.phase.is_over() {
            return;
        }
        tokio::select! {
            () = send.closed() => return,
            () = wakeups.changed() => {}
            // Its sender is `shared`'s: it does not end before this.
            _ = troubles.changed() => {}
        }
        tokio::time::sleep(WATCH_APART).await;
        match View::read_job(&*shared.store, &job.name).await {
            Ok(Some(read)) => job = read,
            Ok(None) => {
                let _ = send
                    .send(Err(Refusal::NoSuchJob(job.name.to_string()).into()))
                    .await;
                return;
            }
            // It may answer again: whoever watches waits for that, too.
            Err(ViewError::Store(_)) => {}
            Err(error) => {
                let _ = send.send(Err(Refusal::from(error).into())).await;
                return;
            }
        }
    }
}

pub(super) async fn list_failures(
    shared: &Shared,
    job: &JobView,
    send: &mpsc::Sender<Result<v1::ListFailuresResponse, Status>>,
) -> Result<(), Refusal> {
    for log in job.failures() {
        for chunk in 0..log.chunks {
            let failures = shared
                .plans
                .read_failures(&job.name, &log.log, chunk)
                .await?;
            for failures in failures.chunks(FAILURES_PER_MESSAGE) {
                if send
                    .send(Ok(v1::ListFailuresResponse {
                        failures: failures.to_vec(),
                    }))
                    .await
                    .is_err()
                {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}
