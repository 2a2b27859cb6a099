//! Showing jobs: lists, watches, failed entries.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use stoke_core::names::JobName;
use stoke_core::records::keys;
use stoke_proto::{MESSAGE_BYTES_MAX, v1};
use stoke_store::Keys;
use stoke_store::wake::Wakeups;
use tokio_util::sync::CancellationToken;

use super::super::parse::Filter;
use super::super::refusal::Refusal;
use super::super::streams::{Sending, UNREAD_MAX, deliver};
use super::super::{describe, parse};
use super::Jobs;
use crate::Shared;
use crate::view::{JobView, View, ViewError};

/// How long at least between two messages of a watch.
const WATCH_APART: Duration = Duration::from_millis(100);
/// How many failed entries one message carries.
const FAILURES_PER_MESSAGE: usize = 500;
/// How many bytes of them.
const FAILURE_BYTES_PER_MESSAGE: usize = MESSAGE_BYTES_MAX / 4;
/// How many bytes of jobs a page has at most, so that it fits into a message with all else.
const PAGE_BYTES_MAX: usize = MESSAGE_BYTES_MAX / 2;
/// How many jobs that are over are read at once.
const PAST_PER_READ: usize = 100;
/// How many of them are looked at for one page.
const LOOKED_AT_MAX: usize = 2000;

impl Jobs {
    /// A page of jobs. It is shorter than asked for where that would take too large a message, or where many jobs had to
    /// be looked at to find those that are asked for: the token says whether there is more.
    pub(super) async fn list(
        &self,
        request: v1::ListJobsRequest,
    ) -> Result<v1::ListJobsResponse, Refusal> {
        let filter = parse::filter(&request)?;
        let mut answer = v1::ListJobsResponse::default();
        let (mut bytes, mut looked_at) = (0, 0);
        let mut after = filter.after.clone();
        loop {
            let page = View::read_jobs(&*self.shared.store, after.as_ref(), PAST_PER_READ).await?;
            for job in page.jobs.iter().filter(|job| fits(job, &filter)) {
                let job = describe::job(job, &self.shared);
                bytes += job.encoded_len();
                let full = answer.jobs.len() == filter.size || bytes > PAGE_BYTES_MAX;
                if full && let Some(last) = answer.jobs.last() {
                    answer.next_page_token = last.name.clone();
                    return Ok(answer);
                }
                answer.jobs.push(job);
            }
            looked_at += PAST_PER_READ;
            match page.next {
                None => return Ok(answer),
                Some(next) if looked_at >= LOOKED_AT_MAX => {
                    answer.next_page_token = next.to_string();
                    return Ok(answer);
                }
                next => after = next,
            }
        }
    }
}

fn fits(job: &JobView, filter: &Filter) -> bool {
    let labels = &job.record.value.spec.labels;
    let state = describe::state(job.life.value.state());
    (filter.states.is_empty() || filter.states.contains(&state))
        && filter
            .labels
            .iter()
            .all(|(key, value)| labels.get(key) == Some(value))
}

/// The records that say how a job stands.
pub(super) fn records(job: &JobName) -> Vec<Keys> {
    vec![
        Keys::One(keys::job(job)),
        Keys::One(keys::run(job)),
        Keys::Prefix(keys::assignments(job)),
        Keys::Prefix(keys::checkpoints(job)),
    ]
}

/// Sends the job whenever it has changed, until it is over or nobody listens.
pub(super) async fn watch(
    shared: &Shared,
    mut job: JobView,
    send: &Sending<v1::WatchJobResponse>,
) -> Result<(), Refusal> {
    let mut watched = records(&job.name);
    watched.push(Keys::Prefix(keys::GUARDS.to_owned()));
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
                return Ok(());
            }
        }
        if job.life.value.phase.is_over() {
            return Ok(());
        }
        let only_troubles = tokio::select! {
            () = send.closed() => return Ok(()),
            () = wakeups.changed() => false,
            // Its sender is `shared`'s: it does not end before this.
            _ = troubles.changed() => true,
        };
        tokio::time::sleep(WATCH_APART).await;
        // They are in memory: the store has nothing new, and must not be asked whenever any job is in trouble.
        if only_troubles {
            continue;
        }
        match View::read_job(&*shared.store, &job.name).await {
            Ok(Some(read)) => job = read,
            Ok(None) => return Err(Refusal::NoSuchJob(job.name.to_string())),
            // It may answer again: whoever watches waits for that, too.
            Err(ViewError::Store(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends the failed entries that checkpoints count.
pub(super) async fn list_failures(
    shared: &Shared,
    job: &JobView,
    send: &Sending<v1::ListFailuresResponse>,
) -> Result<(), Refusal> {
    for log in job.failures() {
        for chunk in 0..log.chunks {
            let mut rest = shared
                .plans
                .read_failures(&job.name, &log.log, chunk)
                .await?;
            while !rest.is_empty() {
                let mut bytes = 0;
                let fit = rest
                    .iter()
                    .take(FAILURES_PER_MESSAGE)
                    .take_while(|failure| {
                        bytes += failure.encoded_len();
                        bytes <= FAILURE_BYTES_PER_MESSAGE
                    });
                let count = fit.count().max(1);
                let failures = rest.drain(..count).collect();
                let message = v1::ListFailuresResponse { failures };
                if !deliver(send, message, UNREAD_MAX).await? {
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}
