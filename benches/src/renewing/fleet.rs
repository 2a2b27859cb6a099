//! A fleet of workers as they are shipped, on a real etcd.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use stoke_coordinator::view::View;
use stoke_core::ledger::{Share, Timing};
use stoke_core::names::{OriginName, Resource};
use stoke_core::records::{Leader as LeaderRecord, keys};
use stoke_harness::EtcdCluster;
use stoke_store::clock::BootClock;
use stoke_store::observed::{Call, Observed, Observer};
use stoke_store::{Op, Store, Txn, record};
use stoke_worker::catalog::{
    Catalog, OriginConfig, OriginVigil, SOURCE_TIMEOUT_DEFAULT, STATEMENT_TIMEOUT_DEFAULT,
    SecretUrl, TlsFiles,
};
use stoke_worker::link::Dial;
use stoke_worker::origin::rewrite::Dialect;
use stoke_worker::{Settings, Worker};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::leader::Leader;
use super::load::connect;
use crate::machine::processor_time;

/// For how long at least a fleet is measured: several renewals of each.
pub(super) const MEASURED_FOR: Duration = Duration::from_secs(20);
/// How long it may take until all hold their shares.
const SETTLED_WITHIN: Duration = Duration::from_secs(180);
/// How long workers take to start: they are not all started at one instant.
const STARTS_APART: Duration = Duration::from_millis(2);
/// What each worker's part of each budget comes to.
const QPS_EACH: u64 = 10;

/// What was measured of a fleet.
#[derive(Debug, Default)]
pub(super) struct Measured {
    pub(super) lasted: Duration,
    /// How long those renewals took that were confirmed in time, in order.
    pub(super) renewals: Vec<Duration>,
    /// Renewals without an answer, or with a late one.
    pub(super) failed: usize,
    /// By how much etcd's revision grew.
    pub(super) revisions: u64,
    pub(super) etcd_cpu: Duration,
    pub(super) own_cpu: Duration,
}

/// The calls of all workers to the store, while they count.
#[derive(Default)]
struct Calls(Mutex<Option<Vec<Call>>>);

impl Calls {
    fn observer(self: &Arc<Self>) -> Observer {
        let calls = Arc::clone(self);
        Arc::new(move |call: Call| {
            // Once all have their leases and shares, renewals are the only transactions.
            if call.operation == "txn"
                && let Some(noted) = &mut *calls.0.lock().unwrap_or_else(PoisonError::into_inner)
            {
                noted.push(call);
            }
        })
    }

    fn count_from_here(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Vec::new());
    }

    fn take(&self) -> Vec<Call> {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.take().unwrap_or_default()
    }
}

/// Runs a fleet until all hold their shares, and then measures it.
pub(super) async fn measure(
    etcd: &EtcdCluster,
    workers: u32,
    resources: u32,
    timing: Timing,
) -> Result<Measured> {
    let store = connect(etcd).await?;
    let stop = CancellationToken::new();
    let calls = Arc::new(Calls::default());
    let names: Vec<OriginName> = (0..resources)
        .map(|n| format!("db{n}").parse())
        .collect::<Result<_, _>>()?;
    let targets: BTreeMap<Resource, Share> = names
        .iter()
        .map(|name| (Resource::Origin(name.clone()), target(workers)))
        .collect();
    let leader = Leader::new(connect(etcd).await?, targets, timing);
    let leading = tokio::spawn(leader.run(stop.clone()));
    let dial = ear(&*store, &stop).await?;
    let mut fleet = Vec::new();
    for n in 0..workers {
        let observed = Arc::new(Observed::new(connect(etcd).await?, calls.observer()));
        let settings = settings(n, &names, timing)?;
        fleet.push(Worker::start(
            settings,
            observed,
            Arc::new(BootClock),
            dial.clone(),
        )?);
        tokio::time::sleep(STARTS_APART).await;
    }
    settle(&*store, workers as usize * resources as usize).await?;

    let lasts = MEASURED_FOR.max(timing.renew_every * 2);
    let members: Vec<u32> = (0..etcd.endpoints().len()).map(|n| etcd.pid(n)).collect();
    let (from, begun) = (revision(&*store).await?, Instant::now());
    let cpu = (of_all(&members)?, processor_time(std::process::id())?);
    calls.count_from_here();
    tokio::time::sleep(lasts).await;
    let calls = calls.take();
    let lasted = begun.elapsed();
    let measured = Measured {
        lasted,
        revisions: revision(&*store).await? - from,
        etcd_cpu: of_all(&members)? - cpu.0,
        own_cpu: processor_time(std::process::id())? - cpu.1,
        ..of(&calls, timing.renew_deadline)
    };
    let mut stopping = JoinSet::new();
    fleet.into_iter().for_each(|worker| {
        stopping.spawn(worker.stop());
    });
    stopping.join_all().await;
    stop.cancel();
    leading.await.context("the leader panicked")?;
    Ok(measured)
}

fn of(calls: &[Call], deadline: Duration) -> Measured {
    let is_good = |call: &&Call| call.result == "ok" && call.took <= deadline;
    let mut renewals: Vec<Duration> = calls.iter().filter(is_good).map(|call| call.took).collect();
    renewals.sort_unstable();
    Measured {
        failed: calls.len() - renewals.len(),
        renewals,
        ..Measured::default()
    }
}

fn of_all(processes: &[u32]) -> Result<Duration> {
    processes.iter().map(|pid| processor_time(*pid)).sum()
}

async fn revision(store: &dyn Store) -> Result<u64> {
    Ok(store.read(&[]).await?.revision.0)
}

/// A budget of which each worker gets the same.
fn target(workers: u32) -> Share {
    let workers = u64::from(workers);
    Share {
        rate_milli: workers * QPS_EACH * 1000,
        burst: workers * QPS_EACH,
        in_flight: workers * 2,
        rows: Share::ANY_ROWS,
    }
}

/// Waits until all have confirmed a share.
async fn settle(store: &dyn Store, shares: usize) -> Result<()> {
    let (begun, mut held) = (Instant::now(), 0);
    loop {
        // While thousands join, etcd may be too busy to give them all in time.
        if let Ok(view) = View::read(store).await {
            let acks = view.resources.values().flat_map(|of| of.acks.values());
            held = acks.filter(|(ack, _)| ack.share.allows_queries()).count();
        }
        if held == shares {
            return Ok(());
        }
        ensure!(
            begun.elapsed() < SETTLED_WITHIN,
            "only {held} of {shares} shares are held after {SETTLED_WITHIN:?}"
        );
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// A coordinator that workers can call, and that says nothing: so none of them looks for another.
async fn ear(store: &dyn Store, stop: &CancellationToken) -> Result<Dial> {
    const CALLERS_MAX: usize = 10_000;
    let leader = LeaderRecord {
        name: "bench".to_owned(),
        address: "http://in.process".to_owned(),
    };
    let put = Op::Put {
        key: keys::LEADER.to_owned(),
        value: record::encode(&leader),
        lease: None,
    };
    let (compares, ops) = (vec![], vec![put]);
    store.txn(Txn { compares, ops }).await?;
    let (doorstep, mut callers) = mpsc::channel(16);
    let stop = stop.clone();
    tokio::spawn(async move {
        let mut held = VecDeque::new();
        let holding = async {
            while let Some(caller) = callers.recv().await {
                held.push_back(caller);
                if held.len() > CALLERS_MAX {
                    held.pop_front();
                }
            }
        };
        let _: Option<()> = stop.run_until_cancelled(holding).await;
    });
    Ok(Dial::InProcess(doorstep))
}

fn settings(n: u32, origins: &[OriginName], timing: Timing) -> Result<Settings> {
    let origin = |name: &OriginName| -> Result<OriginConfig> {
        Ok(OriginConfig {
            name: name.clone(),
            // Nothing is ever asked of it.
            url: SecretUrl::new("postgres://127.0.0.1:1/none")?,
            dialect: Dialect::Postgres,
            statement_timeout: STATEMENT_TIMEOUT_DEFAULT,
            source_timeout: SOURCE_TIMEOUT_DEFAULT,
            tls: TlsFiles::default(),
            vigil: OriginVigil::default(),
            replicas: None,
        })
    };
    let origins = origins
        .iter()
        .map(|name| Ok((name.clone(), origin(name)?)))
        .collect::<Result<BTreeMap<_, _>>>()?;
    Ok(Settings {
        name: format!("w{n}"),
        weight: stoke_core::ring::Weight::default(),
        zone: String::new(),
        member_ttl: Duration::from_secs(10),
        untouched: None,
        timing,
        catalog: Catalog {
            origins,
            ..Catalog::default()
        },
        meter: stoke_worker::metrics::none(),
    })
}
