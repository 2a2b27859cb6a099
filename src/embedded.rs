//! The embedded mode: a coordinator and workers in this process over the in-memory store, through the same code as a
//! cluster's. Their connections are pipes in memory: no port is opened. What the stores hold may outlive the process
//! (`state`); what an earlier process was granted is taken back as any dead worker's is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use stoke_coordinator::plan_store::PlanStore;
use stoke_coordinator::ranking::RankingSettings;
use stoke_coordinator::{AccessSettings, Coordinator, Retention, Settings};
use stoke_core::ledger::{Share, Timing};
use stoke_core::names::Resource;
use stoke_store::Store;
use stoke_store::clock::{BootClock, Clock};
use stoke_store::memory::MemoryStore;
use stoke_worker::Worker;
use stoke_worker::catalog::Catalog;
use stoke_worker::gate::Untouched;
use stoke_worker::link::{Dial, connect_channel};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;

use stoke_proto::v1::job_service_client::JobServiceClient;
use stoke_worker::link::Traced;

/// The address of the coordinator in this process; only a name.
const ADDRESS: &str = "http://in.process";
/// How long leader and members may be silent: they share one process, so it hardly matters.
const TTL: Duration = Duration::from_secs(5);

/// A cluster in this process.
#[derive(Debug)]
pub struct Embedded {
    coordinator: Coordinator,
    workers: Vec<Worker>,
    /// Its API.
    pub jobs: JobServiceClient<Traced>,
}

impl Embedded {
    /// Starts a coordinator with these budgets, and so many workers with this catalog, over these stores.
    pub async fn start(
        budgets: BTreeMap<Resource, Share>,
        catalog: &Catalog,
        workers: u32,
        (store, plans): (MemoryStore, PlanStore),
    ) -> anyhow::Result<Self> {
        let untouched = (!store.outlives_the_process()).then(Untouched::default);
        let store: Arc<dyn Store> = Arc::new(store);
        let clock: Arc<dyn Clock> = Arc::new(BootClock);
        let (doorstep, callers) = mpsc::channel(16);
        let dial = Dial::InProcess(doorstep);
        let settings = Settings {
            name: "embedded".into(),
            address: ADDRESS.into(),
            budgets,
            // Nobody else uses what a single process is pointed at for an afternoon.
            guards: BTreeMap::new(),
            timing: Timing::default(),
            retention: Retention::default(),
            leader_ttl: TTL,
            accesses: AccessSettings::default(),
            ranking: RankingSettings::default(),
            // One process, one job: its report says all.
            meter: stoke_coordinator::metrics::none(),
        };
        let incoming = ReceiverStream::new(callers).map(Ok::<_, std::io::Error>);
        let coordinator = Coordinator::start(
            settings,
            Arc::clone(&store),
            plans,
            Arc::clone(&clock),
            incoming,
        )
        .await?;
        let worker = |n| {
            let settings = stoke_worker::Settings {
                name: format!("w{n}"),
                weight: stoke_core::ring::Weight::default(),
                zone: String::new(),
                member_ttl: TTL,
                timing: Timing::default(),
                untouched: untouched.clone(),
                catalog: catalog.clone(),
                meter: stoke_worker::metrics::none(),
            };
            Worker::start(
                settings,
                Arc::clone(&store),
                Arc::clone(&clock),
                dial.clone(),
            )
        };
        let workers = (1..=workers).map(worker).collect::<Result<_, _>>()?;
        let channel = connect_channel(&dial, ADDRESS)
            .await
            .context("the coordinator in this process does not answer")?;
        let jobs = crate::client::jobs(channel);
        Ok(Self {
            coordinator,
            workers,
            jobs,
        })
    }

    /// Stops all of it.
    pub async fn stop(self) {
        for worker in self.workers {
            worker.stop().await;
        }
        self.coordinator.stop().await;
    }
}
