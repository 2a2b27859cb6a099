//! What callers see: the gRPC services, and the parsing of what they say.
//!
//! Messages become checked types here, and no prost type is seen below.

mod accesses;
mod budgets;
mod caches;
mod describe;
mod fleet;
mod jobs;
mod limits;
mod parse;
mod refusal;
mod streams;
mod workers;

pub(crate) use accesses::Accessed;
pub(crate) use budgets::Budgets;
pub(crate) use caches::Caches;
pub(crate) use fleet::Fleet;
pub(crate) use jobs::{Jobs, Measurements};
pub(crate) use limits::Limits;
pub(crate) use workers::Workers;

use stoke_core::access_log::AccessLog;
use stoke_core::job::Spec;
use stoke_core::records::{Leader, keys};
use stoke_proto::v1;
use stoke_store::{Compare, Keys, Txn, TxnOutcome, record};

use crate::Shared;
use crate::view::Members;
use refusal::Refusal;

/// How often a mutation is decided anew when a record it read changed before it was committed.
const COMMIT_ATTEMPTS_MAX: usize = 16;

/// A job's spec, checked; what is answered where it is wrong.
pub(crate) fn job_spec(spec: v1::JobSpec) -> Result<Spec, tonic::Status> {
    let request = v1::CreateJobRequest {
        request_id: String::new(),
        spec: Some(spec),
    };
    Ok(parse::create(request, &Members::new())?)
}

/// An access log, checked; what is answered where it is wrong.
pub(crate) fn access_log(
    log: v1::AccessLogSource,
    loaders: &[String],
) -> Result<AccessLog, String> {
    parse::access_log(log, loaders).map_err(|refusal| refusal.to_string())
}

impl Shared {
    /// This leader's fence.
    ///
    /// # Errors
    /// Where this coordinator does not lead: with the leader's address, where there is one.
    pub(crate) async fn fence(&self) -> Result<Compare, Refusal> {
        let leading = self.leading.borrow().0.clone();
        match leading {
            Some((_, compare)) => Ok(compare),
            None => Err(Refusal::NotLeader {
                leader: self.leader_address().await,
            }),
        }
    }

    /// Waits until somebody else leads, or nobody: whoever needs the workers that are attached here begins again there.
    pub(crate) async fn deposed(&self) -> Refusal {
        let mut leading = self.leading.subscribe();
        loop {
            if let Err(refusal) = self.fence().await {
                return refusal;
            }
            // Its sender lives as long as we do.
            let _ = leading.changed().await;
        }
    }

    async fn leader_address(&self) -> Option<String> {
        let found = self
            .store
            .read(&[Keys::One(keys::LEADER.to_owned())])
            .await
            .ok()?;
        let leader: Leader = record::decode(found.entries.first()?).ok()?;
        Some(leader.address)
    }

    /// Commits a mutation under the leader's fence. `false`: something it compares has changed; decide anew.
    ///
    /// # Errors
    /// Where the store does not answer, or another coordinator leads by now.
    pub(crate) async fn commit(&self, mut txn: Txn) -> Result<bool, Refusal> {
        let fence = self.fence().await?;
        txn.compares.push(fence.clone());
        if matches!(self.store.txn(txn).await?, TxnOutcome::Committed(_)) {
            return Ok(true);
        }
        // Refused by the fence alone, it will be so again: somebody else leads, or nobody.
        let still_leads = Txn {
            compares: vec![fence],
            ops: Vec::new(),
        };
        match self.store.txn(still_leads).await? {
            TxnOutcome::Committed(_) => Ok(false),
            TxnOutcome::Refused => Err(Refusal::NotLeader {
                leader: self.leader_address().await,
            }),
        }
    }
}
