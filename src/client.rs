//! A client of a cluster: calls the coordinators it was told of, and follows a standby's word to the leader.

use std::future::Future;

use anyhow::{Context, anyhow};
use stoke_proto::v1::job_service_client::JobServiceClient;
use stoke_proto::{LEADER_METADATA, MESSAGE_BYTES_MAX};
use stoke_worker::link::{Dial, connect_channel};
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::exit::{Exit, OrExit};

/// How often a call is sent on to another coordinator, before nobody seems to lead.
const HOPS_MAX: usize = 4;

/// The API of one coordinator.
pub type Jobs = JobServiceClient<Channel>;

/// Calls whichever of these coordinators answers and, where that one does not lead and says who does, the leader.
///
/// # Errors
/// With the exit code for what went wrong.
pub async fn call<T, F>(
    coordinators: &[String],
    send: impl Fn(Jobs) -> F,
) -> Result<T, (Exit, anyhow::Error)>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let mut addresses = coordinators.to_vec();
    let mut refused = None;
    for _ in 0..HOPS_MAX {
        let Some(jobs) = first_that_answers(&addresses).await else {
            break;
        };
        match send(jobs).await {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => match leader(&status) {
                Some(leader) => {
                    addresses = vec![leader];
                    refused = Some(status);
                }
                None => return Err((exit_of(&status), anyhow!("{}", status.message()))),
            },
        }
    }
    match refused {
        Some(status) => Err((Exit::Unreachable, anyhow!("{}", status.message()))),
        None => Err(anyhow!(
            "no coordinator answers at {}",
            addresses.join(", ")
        ))
        .or_exit(Exit::Unreachable),
    }
}

async fn first_that_answers(addresses: &[String]) -> Option<Jobs> {
    for address in addresses {
        if let Some(channel) = connect_channel(&Dial::Network, address).await {
            return Some(
                JobServiceClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX),
            );
        }
    }
    None
}

/// Where a coordinator that does not lead says the leader is.
fn leader(status: &Status) -> Option<String> {
    Some(
        status
            .metadata()
            .get(LEADER_METADATA)?
            .to_str()
            .ok()?
            .to_owned(),
    )
}

/// The exit code for a refusal.
pub fn exit_of(status: &Status) -> Exit {
    use tonic::Code::{DeadlineExceeded, Unavailable, Unknown};
    if matches!(status.code(), Unavailable | DeadlineExceeded | Unknown) {
        Exit::Unreachable
    } else {
        Exit::Usage
    }
}

/// The job that an answer must have.
///
/// # Errors
/// Where it has none.
pub fn job_of(
    job: Option<stoke_proto::v1::Job>,
) -> Result<stoke_proto::v1::Job, (Exit, anyhow::Error)> {
    job.context("the coordinator's answer has no job")
        .or_exit(Exit::Unreachable)
}
