//! Processes that run until they are told to stop: coordinators and workers.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use stoke_coordinator::Coordinator;
use stoke_coordinator::plan_store::PlanStore;
use stoke_store::Store;
use stoke_store::clock::BootClock;
use stoke_store::etcd::{EtcdConfig, EtcdStore};
use stoke_worker::link::Dial;
use stoke_worker::{Unfinished, Worker};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::server::TcpIncoming;

use crate::Outcome;
use crate::args::ProcessArgs;
use crate::config::{CoordinatorConfig, WorkerConfig};
use crate::exit::{Exit, OrExit};
use crate::http;
use crate::print;
use crate::telemetry::{self, Telemetry};

/// Runs a coordinator until SIGTERM or Ctrl-C.
pub async fn coordinator(args: &ProcessArgs) -> Outcome {
    let mut config = CoordinatorConfig::read(args.file()).or_exit(Exit::Usage)?;
    if args.only_checks() {
        return valid(args);
    }
    let name = &config.settings.name;
    let telemetry = telemetry::start_process(&config.telemetry, "coordinator", name);
    let telemetry = telemetry.or_exit(Exit::Usage)?;
    config.settings.meter = telemetry.meter.clone();
    let store = connect(config.etcd).await?;
    let plans = PlanStore::in_directory(&config.plan_store).or_exit(Exit::Unreachable)?;
    let listener = tokio::net::TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {}", config.listen))
        .or_exit(Exit::Unreachable)?;
    tracing::info!(address = config.settings.address, "listens");
    // Small answers must not wait for more to send.
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let started =
        Coordinator::start(config.settings, store, plans, Arc::new(BootClock), incoming).await;
    let mut coordinator = started.or_exit(Exit::Unreachable)?;
    let health = coordinator.health();
    let ready: http::Ready = Arc::new(move || health.check());
    let _http = http(config.http_listen, telemetry, ready).await?;
    tokio::select! {
        ended = coordinator.ended() => ended.or_exit(Exit::Unreachable)?,
        () = told_to_stop() => tracing::info!("stopping"),
    }
    coordinator.stop().await;
    Ok(Exit::Succeeded)
}

/// Runs a worker until SIGTERM or Ctrl-C. It then hands over what it has; told once more, it leaves at once.
pub async fn worker(args: &ProcessArgs) -> Outcome {
    let mut config = WorkerConfig::read(args.file()).or_exit(Exit::Usage)?;
    if args.only_checks() {
        return valid(args);
    }
    let name = &config.settings.name;
    let telemetry = telemetry::start_process(&config.telemetry, "worker", name);
    let telemetry = telemetry.or_exit(Exit::Usage)?;
    config.settings.meter = telemetry.meter.clone();
    let store = connect(config.etcd).await?;
    let started = Worker::start(config.settings, store, Arc::new(BootClock), Dial::Network);
    let mut worker = started.or_exit(Exit::Usage)?;
    let health = worker.health();
    let ready: http::Ready = Arc::new(move || health.check());
    let _http = http(config.http_listen, telemetry, ready).await?;
    let mut told = ToldToStop::listen().or_exit(Exit::Usage)?;
    tokio::select! {
        ended = worker.ended() => ended.or_exit(Exit::Unreachable)?,
        () = told.again() => tracing::info!("stopping"),
    }
    tokio::select! {
        unfinished = worker.stop() => left(&unfinished),
        () = told.again() => {
            tracing::warn!("told to stop once more: leaves at once, without handing over");
            Ok(Exit::Interrupted)
        }
    }
}

/// How a worker ends that has taken its leave.
fn left(unfinished: &[Unfinished]) -> Outcome {
    if unfinished.is_empty() {
        return Ok(Exit::Succeeded);
    }
    let said: Vec<String> = unfinished.iter().map(ToString::to_string).collect();
    Err(anyhow::anyhow!(
        "left in time, but not cleanly: {}",
        said.join("; ")
    ))
    .or_exit(Exit::Unreachable)
}

/// Says that there is nothing wrong with a configuration.
fn valid(args: &ProcessArgs) -> Outcome {
    let said = print::data(format!("{} is valid\n", args.file().display()));
    said.map(|_| Exit::Succeeded)
}

/// Serves health and metrics, where the configuration says so, until what it gives is dropped.
async fn http(
    listen: Option<SocketAddr>,
    telemetry: Telemetry,
    ready: http::Ready,
) -> Result<Option<AbortOnDropHandle<()>>, (Exit, anyhow::Error)> {
    let Some(listen) = listen else {
        return Ok(None);
    };
    let serving = http::serve(listen, telemetry.registry, ready).await;
    serving.map(Some).or_exit(Exit::Unreachable)
}

async fn connect(config: EtcdConfig) -> Result<Arc<dyn Store>, (Exit, anyhow::Error)> {
    let store = EtcdStore::connect(config)
        .await
        .or_exit(Exit::Unreachable)?;
    Ok(Arc::new(store))
}

/// Waits for SIGTERM or Ctrl-C.
async fn told_to_stop() {
    match ToldToStop::listen() {
        Ok(mut told) => told.again().await,
        Err(_) => std::future::pending().await,
    }
}

/// SIGTERM and Ctrl-C, each time.
struct ToldToStop {
    terminated: Signal,
    interrupted: Signal,
}

impl ToldToStop {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminated: signal(SignalKind::terminate())?,
            interrupted: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next.
    async fn again(&mut self) {
        tokio::select! {
            _ = self.terminated.recv() => {}
            _ = self.interrupted.recv() => {}
        }
    }
}
