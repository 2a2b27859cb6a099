//! A client of a cluster: calls the coordinators it was told of, follows a standby's word to the leader, and calls again
//! where the outcome of a call is not known. Every call that the command line makes is idempotent, so that this is safe.

pub mod again;
pub mod refusal;
pub mod watch;

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::Duration;

use anyhow::{Context, anyhow};
use stoke_core::explain::explain;
use stoke_proto::v1;
use stoke_proto::v1::budget_service_client::BudgetServiceClient;
use stoke_proto::v1::cache_service_client::CacheServiceClient;
use stoke_proto::v1::fleet_service_client::FleetServiceClient;
use stoke_proto::v1::job_service_client::JobServiceClient;
use stoke_proto::{LEADER_METADATA, MESSAGE_BYTES_MAX};
use stoke_worker::link::Traced;
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};

use crate::exit::{Exit, Failure, OrExit};

/// How long a connection may take to come up.
const CONNECT_MAX: Duration = Duration::from_secs(2);
/// How long an answer may take; of a stream, its beginning.
const CALL_MAX: Duration = Duration::from_secs(10);
/// How often an open connection is probed, so that a coordinator that vanished is noticed.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
/// How long a probe may take.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(3);
/// For how long a call that may yet succeed is made again: an election takes a few seconds.
const PATIENCE: Patience = Patience {
    within: Duration::from_secs(10),
    every: Duration::from_millis(300),
};
/// How often a call is sent on to another coordinator, before nobody seems to lead.
const HOPS_MAX: usize = 4;
/// The largest page of jobs, in bytes: a hundred of the largest that a coordinator stores.
const PAGE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How long a call is made again, and how long is waited in between.
#[derive(Clone, Copy, Debug)]
struct Patience {
    within: Duration,
    every: Duration,
}

/// A cluster, by the addresses of its coordinators.
#[derive(Debug)]
pub struct Cluster {
    addresses: Vec<String>,
    /// Who led when it was last asked for.
    leader: Mutex<Option<String>>,
}

/// Why a call did not succeed, and whether it may if it is made again.
struct Attempt {
    failure: Failure,
    may_pass: bool,
}

impl Cluster {
    /// The cluster of these coordinators. An address without scheme is one of http.
    ///
    /// # Errors
    /// Where one is no address.
    pub fn new(addresses: &[String]) -> Result<Self, Failure> {
        // Looked for in all of them first: a password with a comma in it is two that are wrong.
        if addresses.iter().any(|address| address.contains('@')) {
            return Err(anyhow!(
                "--coordinator: an address has a user in it, but coordinators know none: write http://HOST:PORT"
            ))
            .or_exit(Exit::Usage);
        }
        let addresses: Vec<String> = addresses
            .iter()
            .map(|address| with_scheme(address))
            .collect();
        for address in &addresses {
            endpoint(address).or_exit(Exit::Usage)?;
        }
        if addresses.is_empty() {
            return Err(anyhow!("--coordinator: name a coordinator's address"))
                .or_exit(Exit::Usage);
        }
        Ok(Self {
            addresses,
            leader: Mutex::new(None),
        })
    }

    /// Calls whichever coordinator answers and, where that one does not lead and says who does, the leader.
    ///
    /// # Errors
    /// With the exit code for what went wrong.
    pub async fn call<T, F>(&self, send: impl Fn(Channel) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.call_within(Some(CALL_MAX), send).await
    }

    /// The same for a call that lasts as long as it has something to send.
    ///
    /// # Errors
    /// With the exit code for what went wrong.
    pub async fn call_at_length<T, F>(&self, send: impl Fn(Channel) -> F) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.call_within(None, send).await
    }

    async fn call_within<T, F>(
        &self,
        at_most: Option<Duration>,
        send: impl Fn(Channel) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let sent = AtomicBool::new(false);
        repeated(PATIENCE, || self.attempt(at_most, &send, &sent)).await
    }

    /// Calls once, through standbys to the leader. `sent` becomes true when somebody was called.
    async fn attempt<T, F>(
        &self,
        at_most: Option<Duration>,
        send: &impl Fn(Channel) -> F,
        sent: &AtomicBool,
    ) -> Result<T, Attempt>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut refused = None;
        for _ in 0..HOPS_MAX {
            let channel = match self.connect().await {
                Ok(channel) => channel,
                // An address where nobody has answered yet is likely wrong: that is said at once.
                Err(failure) => {
                    return Err(Attempt {
                        failure,
                        may_pass: sent.load(Ordering::Relaxed),
                    });
                }
            };
            sent.store(true, Ordering::Relaxed);
            let status = match in_time(at_most, send(channel)).await {
                Ok(answer) => return Ok(answer.into_inner()),
                Err(status) => status,
            };
            match leader(&status) {
                Some(leader) => {
                    self.remember(Some(leader));
                    refused = Some(status);
                }
                None => {
                    self.remember(None);
                    return Err(Attempt {
                        may_pass: may_pass(status.code()),
                        failure: refusal::failure(&status),
                    });
                }
            }
        }
        let why = refused.map_or(String::new(), |status| status.message().to_owned());
        Err(Attempt {
            failure: (
                Exit::Unreachable,
                anyhow!("the coordinators send one from one to the other: {why}"),
            ),
            may_pass: true,
        })
    }

    /// Connects to the leader, where one is known, else to whichever answers first.
    async fn connect(&self) -> Result<Channel, Failure> {
        let leader = self.remembered();
        let mut reasons = Vec::new();
        let others = self
            .addresses
            .iter()
            .filter(|address| Some(*address) != leader.as_ref());
        for address in leader.iter().chain(others) {
            match connect(address).await {
                Ok(channel) => return Ok(channel),
                Err(error) => reasons.push(format!("{address}: {error:#}")),
            }
        }
        Err(anyhow!(
            "no coordinator answers ({}): is --coordinator right?",
            reasons.join("; ")
        ))
        .or_exit(Exit::Unreachable)
    }

    fn remember(&self, leader: Option<String>) {
        *self.lock() = leader;
    }

    fn remembered(&self) -> Option<String> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.leader
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A request with a deadline that the coordinator knows of, too. For calls that have one answer: a stream may last.
pub fn unary<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_MAX);
    request
}

/// The trace that this process was started in, as W3C's `traceparent`.
static TRACEPARENT: LazyLock<Option<MetadataValue<Ascii>>> =
    LazyLock::new(|| std::env::var("TRACEPARENT").ok()?.parse().ok());

/// A connection that says in each call which trace it belongs to, where the variable `TRACEPARENT` names one.
fn traced(channel: Channel) -> Traced {
    InterceptedService::new(channel, |mut request| {
        if let Some(traceparent) = &*TRACEPARENT {
            request
                .metadata_mut()
                .insert("traceparent", traceparent.clone());
        }
        Ok(request)
    })
}

/// The jobs of a coordinator.
pub fn jobs(channel: Channel) -> JobServiceClient<Traced> {
    JobServiceClient::new(traced(channel)).max_decoding_message_size(PAGE_BYTES_MAX)
}

/// The budgets of a coordinator.
pub fn budgets(channel: Channel) -> BudgetServiceClient<Traced> {
    BudgetServiceClient::new(traced(channel)).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

/// The fleet, as a coordinator sees it.
pub fn fleet(channel: Channel) -> FleetServiceClient<Traced> {
    FleetServiceClient::new(traced(channel)).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

/// The caches, as a coordinator's workers see them.
pub fn caches(channel: Channel) -> CacheServiceClient<Traced> {
    CacheServiceClient::new(traced(channel)).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

/// The job that an answer must have.
///
/// # Errors
/// Where it has none.
pub fn job_of(job: Option<v1::Job>) -> Result<v1::Job, Failure> {
    has(job, "job")
}

/// What an answer must have.
///
/// # Errors
/// Where it has not.
pub fn has<T>(part: Option<T>, what: &str) -> Result<T, Failure> {
    part.with_context(|| format!("the coordinator's answer has no {what}"))
        .or_exit(Exit::Unreachable)
}

/// Whether the same call may succeed later: nobody led, a connection broke, others were faster.
pub fn may_pass(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::Unknown
            | Code::Cancelled
            | Code::Aborted
            | Code::DeadlineExceeded
    )
}

/// How a stream has failed: whoever can begin it again, as [`may_pass`] says or with another leader, finds nobody.
pub fn broken(status: &Status) -> Failure {
    let (exit, error) = refusal::failure(status);
    let again = may_pass(status.code()) || leader(status).is_some();
    (if again { Exit::Unreachable } else { exit }, error)
}

/// Makes attempts until one succeeds, or none may any more.
async fn repeated<T, F>(patience: Patience, mut attempt: impl FnMut() -> F) -> Result<T, Failure>
where
    F: Future<Output = Result<T, Attempt>>,
{
    let begun = Instant::now();
    loop {
        match attempt().await {
            Ok(answer) => return Ok(answer),
            Err(attempt) if attempt.may_pass && begun.elapsed() < patience.within => {
                tokio::time::sleep(patience.every).await;
            }
            Err(attempt) => return Err(attempt.failure),
        }
    }
}

async fn in_time<T>(
    at_most: Option<Duration>,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let Some(at_most) = at_most else {
        return call.await;
    };
    let late = |_| {
        Err(Status::deadline_exceeded(format!(
            "no answer within {at_most:?}"
        )))
    };
    tokio::time::timeout(at_most, call)
        .await
        .unwrap_or_else(late)
}

fn with_scheme(address: &str) -> String {
    if address.contains("://") {
        address.to_owned()
    } else {
        format!("http://{address}")
    }
}

fn endpoint(address: &str) -> anyhow::Result<Endpoint> {
    let wrong = || format!("--coordinator: {address:?} is no address: write http://HOST:PORT");
    let endpoint = Endpoint::from_shared(address.to_owned()).with_context(wrong)?;
    let uri = endpoint.uri();
    let host = uri.host().unwrap_or_default();
    // What follows the host and is no port is let through by the parser.
    let ends = uri
        .authority()
        .is_some_and(|authority| authority.as_str().ends_with(host));
    anyhow::ensure!(
        uri.scheme_str() == Some("http") && !host.is_empty() && (ends || uri.port_u16().is_some()),
        wrong()
    );
    Ok(endpoint
        .connect_timeout(CONNECT_MAX)
        .http2_keep_alive_interval(KEEPALIVE_EVERY)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT))
}

async fn connect(address: &str) -> anyhow::Result<Channel> {
    let connected = endpoint(address)?.connect().await;
    // Its outermost word is "transport error" only.
    connected.map_err(|error| match std::error::Error::source(&error) {
        Some(cause) => anyhow!("{}", explain(cause)),
        None => error.into(),
    })
}

/// Where a coordinator that does not lead says the leader is.
fn leader(status: &Status) -> Option<String> {
    let leader = status.metadata().get(LEADER_METADATA)?.to_str().ok()?;
    Some(leader.to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn an_address_needs_no_scheme_but_must_be_one() {
        let cluster = Cluster::new(&["c1:7400".into(), "http://c2:7400".into()]).unwrap();
        assert_eq!(cluster.addresses, ["http://c1:7400", "http://c2:7400"]);
        assert!(Cluster::new(&["[::1]:7400".into(), "c1".into()]).is_ok());
        for wrong in ["", "ftp://x", "https://c1:7400", "c1:port", "a b"] {
            let (exit, error) = Cluster::new(&[wrong.to_owned()]).unwrap_err();
            assert_eq!(exit, Exit::Usage, "{wrong}");
            assert!(
                format!("{error:#}").contains("http://HOST:PORT"),
                "{error:#}"
            );
        }
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_repeated() {
        for wrong in [
            &["http://u:s3cret@c1:7400"][..],
            &["http://u:s3cret", "x@c1:7400"],
        ] {
            let wrong: Vec<String> = wrong.iter().map(|&text| text.to_owned()).collect();
            let (exit, error) = Cluster::new(&wrong).unwrap_err();
            let said = format!("{error:#}");
            assert_eq!(exit, Exit::Usage);
            assert!(
                said.contains("http://HOST:PORT") && !said.contains("s3cret"),
                "{said}"
            );
        }
    }

    #[tokio::test]
    async fn an_address_where_nobody_answers_is_said_at_once() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let cluster = Cluster::new(std::slice::from_ref(&address)).unwrap();
        let called = cluster.call(|channel| async move {
            jobs(channel)
                .get_job(unary(v1::GetJobRequest::default()))
                .await
        });
        let (exit, error) = called.await.unwrap_err();
        assert_eq!(exit, Exit::Unreachable);
        let error = format!("{error:#}");
        assert!(
            error.contains(&address) && error.contains("refused"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn an_answer_that_does_not_come_is_not_waited_for_for_ever() {
        let at_most = Some(Duration::from_millis(1));
        let status = in_time::<()>(at_most, std::future::pending()).await;
        let status = status.unwrap_err();
        assert_eq!(
            (status.code(), status.message()),
            (Code::DeadlineExceeded, "no answer within 1ms")
        );
    }

    #[tokio::test]
    async fn what_may_pass_is_tried_again_for_a_while_and_what_may_not_is_not() {
        let calls = AtomicUsize::new(0);
        let refused = |code: Code| {
            calls.fetch_add(1, Ordering::Relaxed);
            Attempt {
                failure: refusal::failure(&Status::new(code, "no")),
                may_pass: may_pass(code),
            }
        };
        let patience = |within_ms| Patience {
            within: Duration::from_millis(within_ms),
            every: Duration::from_millis(1),
        };
        let answered = repeated(patience(60_000), || async {
            match calls.load(Ordering::Relaxed) {
                0 => Err(refused(Code::Unavailable)),
                1 => Err(refused(Code::Unknown)),
                _ => Ok(7),
            }
        });
        assert_eq!(answered.await.unwrap(), 7);

        calls.store(0, Ordering::Relaxed);
        let never = || async { Err(refused(Code::NotFound)) };
        let answered = repeated::<(), _>(patience(60_000), never);
        assert_eq!(answered.await.unwrap_err().0, Exit::Usage);
        assert_eq!(calls.load(Ordering::Relaxed), 1);

        let never_yet = || async { Err(refused(Code::Unavailable)) };
        let answered = repeated::<(), _>(patience(20), never_yet);
        assert_eq!(answered.await.unwrap_err().0, Exit::Unreachable);
        assert!(calls.load(Ordering::Relaxed) > 2);
    }
}
