//! Keeping leases alive: one stream for each lease, opened by its first renewal and kept for the next.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use etcd_client::{Error, LeaseClient, LeaseKeepAliveStream, LeaseKeeper};

use crate::LeaseId;

/// How many leases have a stream kept; further ones open a stream for each renewal. A process has a handful.
const STREAMS_MAX: usize = 64;

/// The streams that no renewal uses at the moment.
#[derive(Default)]
pub(super) struct Keepers {
    idle: Mutex<HashMap<LeaseId, Stream>>,
}

struct Stream {
    asks: LeaseKeeper,
    answers: LeaseKeepAliveStream,
}

impl Keepers {
    /// Renews a lease. A stream goes back to the idle ones only after a good answer; when a renewal fails or is
    /// dropped half-way its stream goes with it, so no late answer is ever taken for another renewal's.
    pub(super) async fn renew(&self, mut leases: LeaseClient, lease: LeaseId) -> Result<(), Error> {
        let taken = self.idle().remove(&lease);
        let stream = match taken {
            Some(mut stream) => {
                stream.renew().await?;
                stream
            }
            None => {
                let (asks, answers) = leases.keep_alive(lease.0).await?;
                Stream { asks, answers }
            }
        };
        let mut idle = self.idle();
        if idle.len() < STREAMS_MAX {
            idle.insert(lease, stream);
        }
        Ok(())
    }

    /// Closes the stream of a lease that is to end.
    pub(super) fn forget(&self, lease: LeaseId) {
        self.idle().remove(&lease);
    }

    fn idle(&self) -> MutexGuard<'_, HashMap<LeaseId, Stream>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream {
    async fn renew(&mut self) -> Result<(), Error> {
        self.asks.keep_alive().await?;
        let Some(answer) = self.answers.message().await? else {
            return Err(Error::LeaseKeepAliveError(
                "the stream has ended".to_owned(),
            ));
        };
        if answer.ttl() > 0 {
            Ok(())
        } else {
            // The words that etcd-client uses when it is the first answer that says so.
            Err(Error::LeaseKeepAliveError("lease not found".to_owned()))
        }
    }
}
