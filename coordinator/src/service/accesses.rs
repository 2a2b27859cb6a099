//! `AccessService`: what applications see being asked for.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use stoke_core::heavy_hitters::Hitter;
use stoke_core::names::FeedName;
use stoke_proto::MESSAGE_BYTES_MAX;
use stoke_proto::v1::access_service_server::AccessService;
use stoke_proto::v1::{self};
use tokio_util::sync::CancellationToken;
use tonic::{Request as Call, Response, Status, Streaming};

use super::parse;
use super::refusal::{Refusal, invalid};
use super::streams::{Answers, Sending, UNREAD_MAX, answer, deadline, deliver};
use crate::accesses::{FEEDS_MAX, Feed, Listed, TooManyFeeds, count, lock};
use crate::{Shared, wall_ms};

/// How many messages of a list wait for a slow caller.
const QUEUE: usize = 2;
/// How many bytes of keys one message carries, about: well below the limit.
const BYTES_PER_MESSAGE: usize = MESSAGE_BYTES_MAX / 4;

/// Serves reports.
#[derive(Debug)]
pub(crate) struct Accessed {
    shared: Arc<Shared>,
    cancel: CancellationToken,
}

impl Accessed {
    pub(crate) fn new(shared: Arc<Shared>, cancel: CancellationToken) -> Self {
        Self { shared, cancel }
    }

    /// Counts what comes, until it ends, or somebody else leads.
    async fn take(
        &self,
        mut reports: Streaming<v1::ReportAccessesRequest>,
    ) -> Result<v1::ReportAccessesResponse, Refusal> {
        self.shared.fence().await?;
        let _open = self.shared.limits.reports.open()?;
        let mut feed: Option<Feed> = None;
        let mut counted = v1::ReportAccessesResponse::default();
        loop {
            let report = tokio::select! {
                report = reports.message() => report?,
                () = self.cancel.cancelled() => return Err(Refusal::Stopping),
                refusal = self.shared.deposed() => return Err(refusal),
            };
            let Some(report) = report else {
                return Ok(counted);
            };
            if !report.feed.is_empty() {
                feed = Some(self.feed(&report.feed)?);
            }
            let Some(feed) = &feed else {
                return Err(invalid(
                    "feed",
                    "say in the first message what the accesses are of",
                ));
            };
            note(feed, report.accesses, &mut counted);
        }
    }

    fn feed(&self, name: &str) -> Result<Feed, Refusal> {
        let name: FeedName = parse::name("feed", name)?;
        self.shared
            .accesses
            .feed(&name, wall_ms())
            .map_err(|TooManyFeeds| {
                let names = self.shared.accesses.names();
                let names: Vec<String> = names.iter().map(ToString::to_string).collect();
                invalid(
                    "feed",
                    format!(
                        "there are {FEEDS_MAX} feeds already, and no more may be: {}",
                        names.join(", ")
                    ),
                )
            })
    }
}

/// Counts a message's accesses.
fn note(feed: &Feed, accesses: Vec<v1::Access>, counted: &mut v1::ReportAccessesResponse) {
    let now_ms = wall_ms();
    let mut feed = lock(feed);
    for access in accesses {
        let at_ms = access.when.map_or(now_ms, since_1970_ms);
        if count(&mut feed, &access.key, access.count, at_ms, now_ms) {
            counted.accesses += 1;
        } else {
            counted.refused += 1;
        }
    }
}

/// What is before 1970, or no time, is as old as can be.
fn since_1970_ms(when: prost_types::Timestamp) -> u64 {
    let since = SystemTime::try_from(when).ok();
    let since = since.and_then(|when| when.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

#[tonic::async_trait]
impl AccessService for Accessed {
    type ListAccessesStream = Answers<v1::ListAccessesResponse>;

    async fn report_accesses(
        &self,
        call: Call<Streaming<v1::ReportAccessesRequest>>,
    ) -> Result<Response<v1::ReportAccessesResponse>, Status> {
        Ok(Response::new(self.take(call.into_inner()).await?))
    }

    async fn list_accesses(
        &self,
        call: Call<v1::ListAccessesRequest>,
    ) -> Result<Response<Self::ListAccessesStream>, Status> {
        let until = deadline(call.metadata());
        let open = self.shared.limits.lists.open()?;
        let request = call.into_inner();
        let feed: FeedName = parse::name("feed", &request.feed)?;
        self.shared.fence().await?;
        let top = match request.top {
            0 => usize::MAX,
            top => usize::try_from(top).unwrap_or(usize::MAX),
        };
        let listed = self.shared.accesses.list(&feed, top, wall_ms());
        let listed = listed.ok_or_else(|| {
            Refusal::Precondition(format!(
                "nothing was reported to the feed {feed} since this coordinator leads"
            ))
        })?;
        let list = |send| async move { list(listed, &send).await };
        Ok(answer(QUEUE, open, until, &self.cancel, list))
    }
}

/// Sends a list; a message also where it is empty.
async fn list(listed: Listed, send: &Sending<v1::ListAccessesResponse>) -> Result<(), Refusal> {
    let mut rest = listed.hitters.into_iter().peekable();
    loop {
        let mut message = v1::ListAccessesResponse {
            keys: Vec::new(),
            total: listed.total,
            error_max: listed.error_max,
        };
        let mut bytes = 0;
        while let Some(Hitter { key, count, error }) = rest.next_if(|_| bytes < BYTES_PER_MESSAGE) {
            bytes += key.len() + 32;
            message.keys.push(v1::AccessedKey {
                key: key.into_vec().into(),
                count,
                error,
            });
        }
        if !deliver(send, message, UNREAD_MAX).await? || rest.peek().is_none() {
            return Ok(());
        }
    }
}
