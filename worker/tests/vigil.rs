//! A whole worker, over a store in memory and coordinators that only listen: it keeps the vigil that the store gives it, tells
//! whoever leads how its resources are, and lowers its own rate where it sees trouble.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::{Stream, StreamExt as _};
use stoke_core::ledger::{Cap, Share, Timing};
use stoke_core::names::Resource;
use stoke_core::records::{Leader, Peer, Vigil, keys};
use stoke_harness::{Postgres, Redis, wait_for};
use stoke_proto::v1::probe_reading::Outcome;
use stoke_proto::v1::worker_service_server::{WorkerService, WorkerServiceServer};
use stoke_proto::v1::{self, ResourceHealth};
use stoke_store::clock::BootClock;
use stoke_store::memory::MemoryStore;
use stoke_store::{Op, Store, Txn, record};
use stoke_worker::catalog::{
    CacheConfig, Catalog, OriginConfig, OriginVigil, ProbeConfig, SOURCE_TIMEOUT_DEFAULT,
    SecretUrl, TlsFiles,
};
use stoke_worker::link::Dial;
use stoke_worker::origin::rewrite::Dialect;
use stoke_worker::{Settings, Worker, metrics};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream, WatchStream};
use tonic::{Request, Response, Status, Streaming};

const AT_MOST: Duration = Duration::from_secs(60);

/// A coordinator that listens, and says whether it leads.
#[derive(Clone)]
struct Listener {
    leads: watch::Sender<bool>,
    last: Arc<Mutex<Option<v1::AttachRequest>>>,
    address: String,
}

impl Listener {
    async fn start(leads: bool) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = Self {
            leads: watch::channel(leads).0,
            last: Arc::default(),
            address: format!("http://{}", socket.local_addr().unwrap()),
        };
        let serving = tonic::transport::Server::builder()
            .add_service(WorkerServiceServer::new(listener.clone()))
            .serve_with_incoming(TcpListenerStream::new(socket));
        tokio::spawn(serving);
        listener
    }

    /// What was last told of a resource.
    fn health(&self, resource: &str) -> Result<ResourceHealth> {
        let last = self.last.lock().unwrap();
        let report = last.as_ref().context("nothing was told")?;
        let mut all = report.health.iter();
        let found = all.find(|health| health.resource == resource);
        found.cloned().context("nothing of that resource")
    }

    /// What a probe last gave.
    fn reading(&self, resource: &str, probe: &str) -> Result<Outcome> {
        let health = self.health(resource)?;
        let reading = health.probes.iter().find(|reading| reading.name == probe);
        let reading = reading.context("no reading of that probe")?;
        reading.outcome.clone().context("no outcome")
    }
}

type Entries = Pin<Box<dyn Stream<Item = Result<v1::StreamEntriesResponse, Status>> + Send>>;

#[tonic::async_trait]
impl WorkerService for Listener {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<v1::AttachResponse, Status>> + Send>>;
    type StreamEntriesStream = Entries;

    async fn attach(
        &self,
        call: Request<Streaming<v1::AttachRequest>>,
    ) -> Result<Response<Self::AttachStream>, Status> {
        let (mut reports, last) = (call.into_inner(), Arc::clone(&self.last));
        tokio::spawn(async move {
            while let Ok(Some(report)) = reports.message().await {
                *last.lock().unwrap() = Some(report);
            }
            *last.lock().unwrap() = None;
        });
        let leads = WatchStream::new(self.leads.subscribe());
        let hints = leads.map(|leads| {
            Ok(v1::AttachResponse {
                leads,
                ..v1::AttachResponse::default()
            })
        });
        Ok(Response::new(Box::pin(hints)))
    }

    async fn stream_entries(
        &self,
        _: Request<v1::StreamEntriesRequest>,
    ) -> Result<Response<Entries>, Status> {
        let (_, nothing) = mpsc::channel(1);
        Ok(Response::new(Box::pin(ReceiverStream::new(nothing))))
    }

    async fn send_source(
        &self,
        _: Request<Streaming<v1::SendSourceRequest>>,
    ) -> Result<Response<v1::SendSourceResponse>, Status> {
        Err(Status::unimplemented("only listens"))
    }

    async fn record_failures(
        &self,
        _: Request<v1::RecordFailuresRequest>,
    ) -> Result<Response<v1::RecordFailuresResponse>, Status> {
        Err(Status::unimplemented("only listens"))
    }
}

async fn put<T: serde::Serialize>(store: &MemoryStore, key: String, value: &T) {
    let op = Op::Put {
        key,
        value: record::encode(value),
        lease: None,
    };
    store
        .txn(Txn {
            compares: vec![],
            ops: vec![op],
        })
        .await
        .unwrap();
}

async fn lead(store: &MemoryStore, leader: &Listener) {
    let record = Leader {
        name: "c".into(),
        address: leader.address.clone(),
    };
    put(store, keys::LEADER.to_owned(), &record).await;
}

/// A worker with these, which has a share of the origin's budget.
async fn worker(store: &MemoryStore, catalog: Catalog) -> Worker {
    let settings = Settings {
        name: "w".into(),
        weight: stoke_core::ring::Weight::default(),
        zone: String::new(),
        member_ttl: Duration::from_secs(5),
        untouched: None,
        timing: Timing::default(),
        catalog,
        meter: metrics::none(),
    };
    let shared: Arc<dyn Store> = Arc::new(store.clone());
    let worker = Worker::start(settings, shared, Arc::new(BootClock), Dial::Network).unwrap();
    let share = Share {
        rate_milli: 50_000,
        burst: 5,
        in_flight: 4,
        rows: Share::ANY_ROWS,
    };
    let cap = Cap {
        share,
        term_ms: 60_000,
    };
    put(store, keys::cap(&shop(), worker.name()), &cap).await;
    worker
}

fn shop() -> Resource {
    "origin/shop".parse().unwrap()
}

fn origin(server: &Postgres, probes: &[(&str, &str)]) -> OriginConfig {
    let probe = |(name, query): &(&str, &str)| {
        let config = ProbeConfig {
            query: (*query).to_owned(),
            interval: Duration::from_millis(500),
        };
        (name.parse().unwrap(), config)
    };
    OriginConfig {
        name: "shop".parse().unwrap(),
        url: SecretUrl::new(&server.url("postgres")).unwrap(),
        dialect: Dialect::Postgres,
        statement_timeout: Duration::from_secs(5),
        source_timeout: SOURCE_TIMEOUT_DEFAULT,
        tls: TlsFiles::default(),
        vigil: OriginVigil {
            canary: "SELECT 1 FROM pause, pg_sleep(pause.seconds)".to_owned(),
            probes: probes.iter().map(probe).collect(),
        },
        replicas: None,
    }
}

fn catalog(origin: OriginConfig) -> Catalog {
    Catalog {
        origins: BTreeMap::from([(origin.name.clone(), origin)]),
        ..Catalog::default()
    }
}

fn vigil(worker: &Worker, canaries: bool) -> Vigil {
    Vigil {
        keeper: worker.name().clone(),
        canaries,
        latency_max_micros: Some(400_000),
        errors_max_permille: None,
    }
}

fn database() -> Postgres {
    let server = Postgres::start().unwrap();
    let tables = "CREATE TABLE lag (seconds float8); INSERT INTO lag VALUES (1.5);
                  CREATE TABLE pause AS SELECT 0::float8 AS seconds";
    server.psql("postgres", tables).unwrap();
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keeper_of_a_vigil_probes_and_whoever_is_not_does_not() {
    let (server, store, leader) = (database(), MemoryStore::new(), Listener::start(true).await);
    lead(&store, &leader).await;
    let probes = [
        ("lag", "SELECT seconds FROM lag"),
        ("slow", "SELECT 1 FROM pg_sleep(30)"),
    ];
    let worker = worker(&store, catalog(origin(&server, &probes))).await;
    put(&store, keys::vigil(&shop()), &vigil(&worker, false)).await;
    let read = |wanted: Outcome| {
        wait_for("a reading", AT_MOST, || {
            let found = leader.reading("origin/shop", "lag")?;
            ensure!(found == wanted, "{found:?}");
            Ok(())
        })
    };
    read(Outcome::Value(1.5)).unwrap();
    server
        .psql("postgres", "UPDATE lag SET seconds = 30")
        .unwrap();
    read(Outcome::Value(30.0)).unwrap();
    server.psql("postgres", "DELETE FROM lag").unwrap();
    let no_row = wait_for("an error", AT_MOST, || {
        match leader.reading("origin/shop", "lag")? {
            Outcome::Error(why) => Ok(why),
            Outcome::Value(value) => anyhow::bail!("{value}"),
        }
    });
    assert!(no_row.unwrap().contains("gave no row"));
    let slow = leader.reading("origin/shop", "slow").unwrap();
    assert!(
        matches!(&slow, Outcome::Error(why) if why.contains("slower than its interval of 500ms")),
        "{slow:?}"
    );
    // It is another's from now on.
    let others = Vigil {
        keeper: "another.0".parse().unwrap(),
        ..vigil(&worker, false)
    };
    put(&store, keys::vigil(&shop()), &others).await;
    wait_for("the readings to go", AT_MOST, || {
        let health = leader.health("origin/shop")?;
        ensure!(health.probes.is_empty(), "{:?}", health.probes);
        Ok(())
    })
    .unwrap();
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn canaries_show_how_the_origin_is_and_a_slow_one_moves_the_brake() {
    let (server, store, leader) = (database(), MemoryStore::new(), Listener::start(true).await);
    lead(&store, &leader).await;
    let worker = worker(&store, catalog(origin(&server, &[]))).await;
    put(&store, keys::vigil(&shop()), &vigil(&worker, true)).await;
    let until = |what: &str, is_so: &dyn Fn(&ResourceHealth) -> bool| {
        wait_for(what, AT_MOST, || {
            let health = leader.health("origin/shop")?;
            ensure!(is_so(&health), "{health:?}");
            Ok(())
        })
        .unwrap();
    };
    until("canaries", &|health| {
        let answered = health.windows.iter().filter(|w| !w.latencies.is_empty());
        answered.count() >= 3 && health.windows.len() <= 5
    });
    server
        .psql("postgres", "UPDATE pause SET seconds = 3")
        .unwrap();
    until("the brake", &|health| health.brake_permille < 1000);
    until("an overdue canary", &|health| {
        health
            .windows
            .iter()
            .any(|w| w.overdue == 1 && w.oldest_micros > 900_000)
    });
    server
        .psql("postgres", "UPDATE pause SET seconds = 0")
        .unwrap();
    until("the rate to grow back", &|health| {
        health.brake_permille == 1000
    });
    server
        .psql("postgres", "ALTER TABLE pause RENAME TO paused")
        .unwrap();
    until(
        "the query's own errors, which say nothing of health",
        &|health| health.windows.iter().all(|w| w.errors == 0),
    );
    put(&store, keys::vigil(&shop()), &vigil(&worker, false)).await;
    until("the canaries to end", &|health| {
        health.windows.iter().all(|w| w.latencies.is_empty())
    });
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_is_cut_off_from_its_grant_holds_no_connection() {
    let (server, store, leader) = (database(), MemoryStore::new(), Listener::start(true).await);
    lead(&store, &leader).await;
    let worker = worker(&store, catalog(origin(&server, &[]))).await;
    put(&store, keys::vigil(&shop()), &vigil(&worker, true)).await;
    let open = |wanted: &str| {
        wait_for("connections", AT_MOST, || {
            let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stoke'";
            let found = server.psql("postgres", count)?;
            ensure!(found.trim() == wanted, "{found}");
            Ok(())
        })
        .unwrap();
    };
    wait_for(
        "canaries that have given their connection back",
        AT_MOST,
        || {
            let health = leader.health("origin/shop")?;
            let answered = health.windows.iter().filter(|w| !w.latencies.is_empty());
            ensure!(answered.count() >= 2, "{health:?}");
            Ok(())
        },
    )
    .unwrap();
    open("1");
    // Nobody uses it any more.
    put(&store, keys::vigil(&shop()), &vigil(&worker, false)).await;
    wait_for("the canaries to end", AT_MOST, || {
        let health = leader.health("origin/shop")?;
        ensure!(
            health.windows.iter().all(|w| w.latencies.is_empty()),
            "{health:?}"
        );
        Ok(())
    })
    .unwrap();
    open("1");
    let gone = Txn {
        compares: vec![],
        ops: vec![Op::Delete(keys::cap(&shop(), worker.name()))],
    };
    store.txn(gone).await.unwrap();
    open("0");
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keeper_of_a_caches_vigil_tells_its_memory_and_its_evictions() {
    let redis = Redis::start_with(&[("maxmemory", "100mb")]).unwrap();
    let (store, leader) = (MemoryStore::new(), Listener::start(true).await);
    lead(&store, &leader).await;
    let name: stoke_core::names::CacheName = "main".parse().unwrap();
    let cache = CacheConfig {
        name: name.clone(),
        urls: vec![SecretUrl::new(&redis.url()).unwrap()],
        password: None,
        sentinel_login: None,
        tls: TlsFiles::default(),
    };
    let catalog = Catalog {
        caches: BTreeMap::from([(name, cache)]),
        ..Catalog::default()
    };
    let worker = worker(&store, catalog).await;
    let resource: Resource = "cache/main".parse().unwrap();
    put(&store, keys::vigil(&resource), &vigil(&worker, true)).await;
    wait_for("its memory", AT_MOST, || {
        let found = leader.reading("cache/main", "memory")?;
        ensure!(
            matches!(found, Outcome::Value(share) if share > 0.0 && share < 0.5),
            "{found:?}"
        );
        let found = leader.reading("cache/main", "evictions")?;
        ensure!(found == Outcome::Value(0.0), "{found:?}");
        let health = leader.health("cache/main")?;
        let pinged = health.windows.iter().filter(|w| !w.latencies.is_empty());
        ensure!(pinged.count() >= 3, "{health:?}");
        Ok(())
    })
    .unwrap();
    redis.cli(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    wait_for("what to do", AT_MOST, || {
        let found = leader.reading("cache/main", "memory")?;
        ensure!(
            matches!(&found, Outcome::Error(why) if why.contains("CONFIG SET maxmemory")),
            "{found:?}"
        );
        Ok(())
    })
    .unwrap();
    redis.kill().unwrap();
    wait_for("errors that speak of its health", AT_MOST, || {
        let health = leader.health("cache/main")?;
        ensure!(health.windows.iter().any(|w| w.errors > 0), "{health:?}");
        let found = leader.reading("cache/main", "evictions")?;
        ensure!(matches!(&found, Outcome::Error(_)), "{found:?}");
        Ok(())
    })
    .unwrap();
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_move_to_whoever_leads() {
    let (server, store) = (database(), MemoryStore::new());
    let (first, second) = (Listener::start(true).await, Listener::start(false).await);
    for listener in [&first, &second] {
        let peer = Peer {
            address: listener.address.clone(),
        };
        put(
            &store,
            keys::peer(&listener.address.replace([':', '/'], "-")),
            &peer,
        )
        .await;
    }
    lead(&store, &first).await;
    let worker = worker(&store, catalog(origin(&server, &[]))).await;
    let told = |listener: &Listener| {
        wait_for("a report", AT_MOST, || listener.health("origin/shop")).unwrap();
    };
    told(&first);
    assert!(second.last.lock().unwrap().is_none());
    // It hears of the change from the first, which still answers.
    lead(&store, &second).await;
    second.leads.send_replace(true);
    first.leads.send_replace(false);
    told(&second);
    wait_for("the first to be left", AT_MOST, || {
        ensure!(first.last.lock().unwrap().is_none(), "still told");
        Ok(())
    })
    .unwrap();
    worker.stop().await;
}
