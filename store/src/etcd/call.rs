//! One call to etcd: its deadline, and its repetitions within it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, ConnectOptions, Error};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::debug;

use super::failure::{At, Call, Failure, Late};
use crate::StoreError;

/// The pause before the first repetition; each further one doubles it, up to the deadline.
const REPEAT_PAUSE: Duration = Duration::from_millis(20);

/// Makes calls with one deadline for each.
#[derive(Clone)]
pub(super) struct Calls {
    client: Client,
    timeout: Duration,
    /// The members' addresses, for errors.
    at: Arc<str>,
}

/// Makes a client, logging in where a user is given.
pub(super) async fn connect(
    endpoints: &[String],
    options: ConnectOptions,
    time: Duration,
    at: &Arc<str>,
) -> Result<Client, StoreError> {
    const DOING: &str = "connecting to etcd";
    match timeout(time, Client::connect(endpoints, Some(options))).await {
        Ok(Ok(client)) => Ok(client),
        Ok(Err(error)) => Err(Failure::of(&error).told(Call::Read, DOING, At::etcd(at, error))),
        Err(_) => Err(Failure::Unclear.told(Call::Read, DOING, At::etcd(at, Late(time)))),
    }
}

impl Calls {
    pub(super) fn new(client: Client, timeout: Duration, at: Arc<str>) -> Self {
        Self {
            client,
            timeout,
            at,
        }
    }

    /// Makes a call, again and again where that is safe, until it succeeds, fails for good, or its time is over.
    pub(super) async fn call<T, Answer>(
        &self,
        doing: &'static str,
        call: Call,
        mut attempt: impl FnMut() -> Answer + Send,
    ) -> Result<T, StoreError>
    where
        Answer: Future<Output = Result<T, Error>> + Send,
    {
        let deadline = Instant::now() + self.timeout;
        let mut pause = REPEAT_PAUSE;
        let mut last: Option<Error> = None;
        loop {
            let error = match timeout_at(deadline, attempt()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                // Why the attempts before failed says more than that the last one took too long.
                Err(_) => {
                    let at = match last {
                        Some(error) => At::etcd(&self.at, error),
                        None => At::etcd(&self.at, Late(self.timeout)),
                    };
                    return Err(Failure::Unclear.told(call, doing, at));
                }
            };
            let failure = Failure::of(&error);
            if !failure.may_repeat(call) || Instant::now() + pause >= deadline {
                return Err(failure.told(call, doing, At::etcd(&self.at, error)));
            }
            debug!(doing, %error, "calling etcd again");
            if failure == Failure::StaleToken {
                self.log_in_again(deadline).await;
            }
            last = Some(error);
            sleep(pause).await;
            pause *= 2;
        }
    }

    /// Where this fails, the repeated call does, and says why.
    async fn log_in_again(&self, deadline: Instant) {
        match timeout_at(deadline, self.client.refresh_token()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "logging in to etcd failed"),
            Err(_) => debug!("logging in to etcd took too long"),
        }
    }
}
