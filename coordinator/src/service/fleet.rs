//! `FleetService`: who is there, as the store says. Any coordinator answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use stoke_core::names::WorkerName;
use stoke_core::records::{Leader, Member, Peer, keys};
use stoke_proto::v1;
use stoke_proto::v1::fleet_service_server::FleetService;
use stoke_store::{KeyValue, Keys, record};
use tonic::{Request as Call, Response, Status};

use super::refusal::Refusal;
use crate::Shared;
use crate::view::View;

/// Serves the fleet.
#[derive(Debug)]
pub(crate) struct Fleet {
    shared: Arc<Shared>,
}

/// What a worker has to do, of all jobs under way.
#[derive(Clone, Copy, Debug, Default)]
struct Duties {
    partitions: u64,
    planning_tasks: u32,
}

impl Fleet {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    async fn workers(&self) -> Result<Vec<v1::Worker>, Refusal> {
        let view = View::read(&*self.shared.store).await?;
        let mut duties: BTreeMap<&WorkerName, Duties> = BTreeMap::new();
        for job in view.jobs.values() {
            for (worker, owner) in &job.owners {
                let partitions = owner.assignment.value.partitions.len();
                duties.entry(worker).or_default().partitions += partitions as u64;
            }
            for task in job.reads.values() {
                duties.entry(&task.value.worker).or_default().planning_tasks += 1;
            }
        }
        let describe = |(name, member): (&WorkerName, &Member)| {
            worker(name, member, duties.get(name).copied().unwrap_or_default())
        };
        Ok(view.members.iter().map(describe).collect())
    }

    async fn coordinators(&self) -> Result<Vec<v1::Coordinator>, Refusal> {
        let ranges = [
            Keys::One(keys::LEADER.to_owned()),
            Keys::Prefix(keys::PEERS.to_owned()),
        ];
        let found = self.shared.store.read(&ranges).await?;
        // One that cannot be read is another version's: whoever upgrades need not be stopped by it here.
        let leader = found
            .entries
            .iter()
            .find(|entry| entry.key == keys::LEADER)
            .and_then(|entry| record::decode::<Leader>(entry).ok());
        let peer = |entry: &KeyValue| {
            let name = entry.key.strip_prefix(keys::PEERS)?.to_owned();
            let peer: Peer = record::decode(entry).ok()?;
            Some(v1::Coordinator {
                leads: leader.as_ref().is_some_and(|leader| leader.name == name),
                name,
                address: peer.address,
            })
        };
        Ok(found.entries.iter().filter_map(peer).collect())
    }
}

fn worker(name: &WorkerName, member: &Member, duties: Duties) -> v1::Worker {
    fn names<T: ToString>(names: impl IntoIterator<Item = T>) -> Vec<String> {
        names.into_iter().map(|name| name.to_string()).collect()
    }
    v1::Worker {
        name: name.to_string(),
        zone: member.zone.clone(),
        weight: member.weight.get(),
        origins: names(&member.origins),
        caches: names(&member.caches),
        loaders: names(member.loaders.keys()),
        sources: names(member.sources.keys()),
        allows_sql_in_jobs: member.sql_in_jobs,
        allows_files_in_jobs: member.files_in_jobs,
        partitions: duties.partitions,
        planning_tasks: duties.planning_tasks,
    }
}

#[tonic::async_trait]
impl FleetService for Fleet {
    async fn list_workers(
        &self,
        _: Call<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, Status> {
        let workers = self.workers().await?;
        Ok(Response::new(v1::ListWorkersResponse { workers }))
    }

    async fn list_coordinators(
        &self,
        _: Call<v1::ListCoordinatorsRequest>,
    ) -> Result<Response<v1::ListCoordinatorsResponse>, Status> {
        let coordinators = self.coordinators().await?;
        Ok(Response::new(v1::ListCoordinatorsResponse { coordinators }))
    }
}
