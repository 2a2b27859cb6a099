//! A coordinator as a whole: it stands for election, and serves.

use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use stoke_core::records::{Leader, Peer, PlanStoreId, keys};
use stoke_proto::v1::access_service_server::AccessServiceServer;
use stoke_proto::v1::budget_service_server::BudgetServiceServer;
use stoke_proto::v1::cache_service_server::CacheServiceServer;
use stoke_proto::v1::fleet_service_server::FleetServiceServer;
use stoke_proto::v1::job_service_server::JobServiceServer;
use stoke_proto::v1::worker_service_server::WorkerServiceServer;
use stoke_proto::{FILE_DESCRIPTOR_SET, MESSAGE_BYTES_MAX};
use stoke_store::clock::Clock;
use stoke_store::election::Election;
use stoke_store::observed::{Observed, Observer};
use stoke_store::presence::Presence;
use stoke_store::record::RecordError;
use stoke_store::{Compare, Keys, Op, Store, StoreError, Txn, record};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;
use tracing::Instrument;

use crate::accesses::Accesses;
use crate::calls::Calls;
use crate::guarded;
use crate::health::Health;
use crate::history;
use crate::intake::Intake;
use crate::lead::{Ended, Lead};
use crate::metrics::{self, Metrics};
use crate::plan_store::{PlanStore, PlanStoreError};
use crate::questions::Questions;
use crate::ranking::{Ranking, SpillError};
use crate::service::{Accessed, Budgets, Caches, Fleet, Jobs, Limits, Measurements, Workers};
use crate::sightings::{Sightings, keep_looking};
use crate::view::ViewError;
use crate::{Leading, Settings, Shared};
use stoke_core::explain::explain;

/// How often an idle connection is probed, so that a caller that vanished is noticed.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(20);
/// How long a probe may take.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// How many calls one connection may have open at a time; a client's library keeps further ones back. Workers have few:
/// a stream for each of up to 100 jobs.
const CALLS_PER_CONNECTION_MAX: u32 = 1024;
/// How many bytes of metadata a call may bring.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// How long open calls may take to end once the coordinator is told to stop.
const DRAIN_MAX: Duration = Duration::from_secs(3);

/// Why a coordinator did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The coordination store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record cannot be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The plan store.
    #[error(transparent)]
    Plans(#[from] PlanStoreError),
    /// The cluster uses another plan store.
    #[error(
        "this plan store has the id {here}, but the cluster uses the one with the id {cluster}: give all coordinators the same plan-store"
    )]
    OtherPlanStore {
        /// The configured one's.
        here: String,
        /// The cluster's.
        cluster: String,
    },
    /// The plan store is another cluster's, which would take this one's plans for garbage.
    #[error(
        "another cluster uses this plan store: give each cluster a plan-store of its own; where that other cluster is no more, delete the object \"cluster\" in it"
    )]
    ForeignPlanStore,
    /// Plans cannot be ranked.
    #[error(transparent)]
    Spill(#[from] SpillError),
    /// gRPC.
    #[error("cannot serve gRPC")]
    Serve(#[from] tonic::transport::Error),
    /// Reflection.
    #[error("the descriptors of the API are damaged")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// A coordinator that runs.
#[derive(Debug)]
pub struct Coordinator {
    cancel: CancellationToken,
    leading: JoinHandle<Result<(), StartError>>,
    serving: JoinHandle<Result<(), tonic::transport::Error>>,
    presence: Presence,
    health: Arc<Health>,
}

impl Coordinator {
    /// Starts a coordinator that serves whoever comes in by `incoming`.
    ///
    /// # Errors
    /// Where a store cannot be reached, or the cluster uses another plan store.
    pub async fn start<I, C, E>(
        settings: Settings,
        store: Arc<dyn Store>,
        plans: PlanStore,
        clock: Arc<dyn Clock>,
        incoming: I,
    ) -> Result<Self, StartError>
    where
        I: Stream<Item = Result<C, E>> + Send + 'static,
        C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
        E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
    {
        let span = tracing::info_span!("coordinator", coordinator = settings.name);
        let metrics = Arc::new(Metrics::new(&settings.meter));
        let health = Arc::new(Health::new(Arc::clone(&clock), settings.leader_ttl));
        let store = observed(store, &metrics, &health);
        let plans = plans.measured(Arc::clone(&metrics));
        check_plan_store(&*store, &plans).await?;
        let ranking = Ranking::start(&settings.ranking, Arc::clone(&metrics))?;
        let cancel = CancellationToken::new();
        let (leading, _) = watch::channel(Leading::default());
        let calls = Calls::new(FILE_DESCRIPTOR_SET, Arc::clone(&metrics), span.clone());
        let calls = Arc::new(calls);
        let board = Arc::default();
        let grows = Arc::default();
        metrics::observe(
            &settings.meter,
            &board,
            &leading.subscribe(),
            &health,
            &grows,
            &calls,
        );
        let sightings = Sightings::new(clock.now(), settings.timing.quarantine);
        let shared = Arc::new(Shared {
            store,
            plans,
            clock,
            intake: Intake::default(),
            ranking,
            limits: Limits::default(),
            leading,
            sightings: std::sync::Mutex::new(sightings),
            uses: std::sync::Mutex::default(),
            creating: tokio::sync::Mutex::default(),
            vitals: std::sync::Mutex::new(guarded::vitals(&settings.guards)),
            guarded: std::sync::Mutex::default(),
            troubles: std::sync::Mutex::default(),
            troubles_told: watch::channel(()).0,
            questions: Questions::default(),
            measurements: Measurements::default(),
            accesses: Accesses::new(settings.accesses.clone()),
            grows,
            metrics,
            calls,
            board,
            settings,
        });
        let serving = span.in_scope(|| serve(&shared, &cancel, &health, incoming))?;
        let peer = Peer {
            address: shared.settings.address.clone(),
        };
        let (_, value) = watch::channel(record::encode(&peer));
        // Whatever its tasks log says whose it is.
        let entered = span.clone().entered();
        let presence = Presence::spawn(
            Arc::clone(&shared.store),
            &keys::peer(&shared.settings.name),
            value,
            shared.settings.leader_ttl,
            &cancel,
        );
        drop(entered);
        let cancel_leading = cancel.clone();
        let leading = async move {
            tokio::select! {
                ended = lead(&shared, cancel_leading) => ended,
                never = history::watch(&shared) => match never {},
            }
        };
        let leading = tokio::spawn(leading.instrument(span));
        Ok(Self {
            cancel,
            leading,
            serving,
            presence,
            health,
        })
    }

    /// Whether it is fit to serve, for whoever asks from outside.
    #[must_use]
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    /// Waits until the coordinator ends by itself, which it does only where it cannot go on.
    ///
    /// # Errors
    /// Why it could not.
    pub async fn ended(&mut self) -> Result<(), StartError> {
        tokio::select! {
            ended = &mut self.leading => ended.unwrap_or(Ok(())),
            ended = &mut self.serving => Ok(ended.unwrap_or(Ok(()))?),
        }
    }

    /// Resigns where it leads, ends open calls, and waits for the end of both.
    pub async fn stop(self) {
        self.cancel.cancel();
        self.presence.stop().await;
        if !self.leading.is_finished() {
            let _ = self.leading.await;
        }
        if !self.serving.is_finished() {
            let _ = tokio::time::timeout(DRAIN_MAX, self.serving).await;
        }
    }
}

/// The store, whose calls are measured.
fn observed(store: Arc<dyn Store>, metrics: &Arc<Metrics>, health: &Arc<Health>) -> Arc<dyn Store> {
    let (metrics, health) = (Arc::clone(metrics), Arc::clone(health));
    let observer: Observer = Arc::new(move |call| {
        metrics.store_called(call);
        health.store_called(call);
    });
    Arc::new(Observed::new(store, observer))
}

/// Makes sure that this plan store is the cluster's, or becomes it.
async fn check_plan_store(store: &dyn Store, plans: &PlanStore) -> Result<(), StartError> {
    let here = plans.id().await?;
    let key = keys::PLAN_STORE.to_owned();
    let value = record::encode(&PlanStoreId {
        id: here.clone(),
        cluster: fresh_id(),
    });
    let claim = Txn {
        compares: vec![Compare::Absent(key.clone())],
        ops: vec![Op::Put {
            key: key.clone(),
            value,
            lease: None,
        }],
    };
    // Whatever became of it shows in the read.
    let _ = store.txn(claim).await;
    let found = store.read(&[Keys::One(key)]).await?;
    let cluster: Option<PlanStoreId> = found.entries.first().map(record::decode).transpose()?;
    match cluster {
        Some(cluster) if cluster.id != here => Err(StartError::OtherPlanStore {
            here,
            cluster: cluster.id,
        }),
        // Older versions told clusters not apart; the leader makes good for that.
        Some(own) if !own.cluster.is_empty() && !plans.belongs_to(&own.cluster).await? => {
            Err(StartError::ForeignPlanStore)
        }
        _ => Ok(()),
    }
}

/// A text that nobody else has.
pub(crate) fn fresh_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}

fn serve<I, C, E>(
    shared: &Arc<Shared>,
    cancel: &CancellationToken,
    health: &Arc<Health>,
    incoming: I,
) -> Result<JoinHandle<Result<(), tonic::transport::Error>>, StartError>
where
    I: Stream<Item = Result<C, E>> + Send + 'static,
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    E: Into<Box<dyn std::error::Error + Send + Sync>> + Send + 'static,
{
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .build_v1()?;
    // What Python's client still asks for.
    let reflection_v1alpha = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .build_v1alpha()?;
    let (reporter, health_service) = tonic_health::server::health_reporter();
    let jobs = JobServiceServer::new(Jobs::new(Arc::clone(shared), cancel.clone()));
    let budgets = BudgetServiceServer::new(Budgets::new(Arc::clone(shared), cancel.clone()));
    let fleet = FleetServiceServer::new(Fleet::new(Arc::clone(shared)));
    let caches = CacheServiceServer::new(Caches::new(Arc::clone(shared), cancel.clone()));
    let accesses = AccessServiceServer::new(Accessed::new(Arc::clone(shared), cancel.clone()));
    let workers = WorkerServiceServer::new(Workers::new(Arc::clone(shared), cancel.clone()));
    let calls = &shared.calls;
    let router = tonic::transport::Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .tcp_nodelay(true)
        .max_concurrent_streams(CALLS_PER_CONNECTION_MAX)
        .http2_max_header_list_size(HEADER_BYTES_MAX)
        .add_service(calls.around(jobs.max_decoding_message_size(MESSAGE_BYTES_MAX)))
        .add_service(calls.around(budgets.max_decoding_message_size(MESSAGE_BYTES_MAX)))
        .add_service(calls.around(fleet.max_decoding_message_size(MESSAGE_BYTES_MAX)))
        .add_service(calls.around(caches.max_decoding_message_size(MESSAGE_BYTES_MAX)))
        .add_service(calls.around(accesses.max_decoding_message_size(MESSAGE_BYTES_MAX)))
        .add_service(calls.around(workers.max_decoding_message_size(MESSAGE_BYTES_MAX)))
        .add_service(health_service)
        .add_service(reflection)
        .add_service(reflection_v1alpha);
    let (stop, health) = (cancel.clone(), Arc::clone(health));
    Ok(tokio::spawn(async move {
        reporter.set_serving::<JobServiceServer<Jobs>>().await;
        reporter.set_serving::<BudgetServiceServer<Budgets>>().await;
        reporter.set_serving::<FleetServiceServer<Fleet>>().await;
        reporter.set_serving::<CacheServiceServer<Caches>>().await;
        reporter
            .set_serving::<AccessServiceServer<Accessed>>()
            .await;
        reporter.set_serving::<WorkerServiceServer<Workers>>().await;
        health.set_serving(true);
        let served = router
            .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
            .await;
        health.set_serving(false);
        served
    }))
}

/// Stands for election again and again, and leads whenever it wins.
async fn lead(shared: &Arc<Shared>, cancel: CancellationToken) -> Result<(), StartError> {
    let settings = &shared.settings;
    let leader = Leader {
        name: settings.name.clone(),
        address: settings.address.clone(),
    };
    let election = Election::new(
        Arc::clone(&shared.store),
        keys::LEADER,
        record::encode(&leader),
        settings.leader_ttl,
    )
    .with_clock(Arc::clone(&shared.clock));
    loop {
        let won = tokio::select! {
            won = election.win(&cancel) => won,
            never = keep_looking(shared) => match never {},
        };
        let Some(leadership) = won else { break };
        tracing::info!(epoch = leadership.epoch.0, "leads");
        let fence = (leadership.epoch, leadership.compare());
        shared.leading.send_replace(Leading(Some(fence)));
        let ended = Lead::new(Arc::clone(shared), leadership).run(&cancel).await;
        shared.leading.send_replace(Leading(None));
        shared.accesses.forget();
        match ended {
            Ok(Ended::Stopped) => break,
            Ok(Ended::Lost) => tracing::warn!("leads no more"),
            Err(ViewError::Record(error)) => {
                tracing::error!(error = explain(&error), "cannot go on");
                return Err(error.into());
            }
            Err(ViewError::Store(error)) => return Err(error.into()),
        }
    }
    Ok(())
}
