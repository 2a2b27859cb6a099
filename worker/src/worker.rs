//! A worker as a whole: its presence, its heart, its link to the coordinators.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::metrics::Meter;
use stoke_core::expiry;
use stoke_core::ledger::Timing;
use stoke_core::names::{CacheName, Resource, WorkerName};
use stoke_core::records::{Member, keys};
use stoke_core::ring::Weight;
use stoke_store::clock::Clock;
use stoke_store::observed::{Observed, Observer};
use stoke_store::presence::Presence;
use stoke_store::record::RecordError;
use stoke_store::{Store, record};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::attach;
use crate::cache::{Cache, CacheConfig, CacheError};
use crate::catalog::{Catalog, LoaderSpec};
use crate::gate::{Gate, Untouched};
use crate::health::Health;
use crate::heart::{Heart, Unfinished};
use crate::job::Refusals;
use crate::link::{Dial, Link};
use crate::metrics::{self, CacheMetrics, Metrics, OriginMetrics};
use crate::origin::{OriginError, Origins};
use crate::trouble::Troubles;
use crate::vitals::Vitals;

/// A worker's settings, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What it is called; the incarnation is added to it.
    pub name: String,
    /// How much work it takes beside others.
    pub weight: Weight,
    /// Where it stands.
    pub zone: String,
    /// How long others take it for alive after it was last heard of.
    pub member_ttl: Duration,
    /// The protocol's times: the coordinators' must be the same.
    pub timing: Timing,
    /// Of which resources nobody had a share yet: where the store began with this process, and all of its workers say so.
    pub untouched: Option<Untouched>,
    /// What it can read, load from and write to.
    pub catalog: Catalog,
    /// What its metrics are made with: [`metrics::none`] where nobody asks for them.
    pub meter: Meter,
}

/// Why a worker did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An origin's configuration.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// A cache's configuration.
    #[error("cache {cache}")]
    Cache {
        /// Which.
        cache: CacheName,
        /// What is wrong.
        #[source]
        source: CacheError,
    },
    /// Its name.
    #[error(transparent)]
    Name(#[from] stoke_core::names::NotAName),
    /// The heart has stopped by a fault of its own.
    #[error("the worker's heart has stopped")]
    Heart(#[from] tokio::task::JoinError),
    /// A record cannot be read: it may be newer than this program, which then must not go on.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// What all parts of one worker share.
pub(crate) struct Shared {
    pub(crate) name: WorkerName,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) timing: Timing,
    pub(crate) catalog: Catalog,
    pub(crate) origins: Origins,
    pub(crate) caches: Caches,
    pub(crate) gates: BTreeMap<Resource, Arc<Gate>>,
    /// How each resource is, as far as this worker's queries show.
    pub(crate) vitals: BTreeMap<Resource, Arc<Vitals>>,
    pub(crate) link: Link,
    /// What keeps it from going on, for whoever looks.
    pub(crate) troubles: Troubles,
    /// Which caches do not take what DUMP gives.
    pub(crate) refusals: Refusals,
    /// Told whenever the heart should look at the store at once.
    pub(crate) look: Notify,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) health: Arc<Health>,
}

impl Shared {
    /// The connected cache of this name; `None` where the catalog has none.
    pub(crate) async fn cache(&self, name: &CacheName) -> Option<Result<Arc<Cache>, CacheError>> {
        let vitals = self.vitals.get(&Resource::Cache(name.clone()));
        self.caches.connect(name, &self.metrics, vitals).await
    }
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The caches of a catalog: each is connected to when it is first needed, so that a worker starts while one is down.
#[derive(Debug, Default)]
pub(crate) struct Caches(BTreeMap<CacheName, (CacheConfig, tokio::sync::OnceCell<Arc<Cache>>)>);

impl Caches {
    pub(crate) fn new(catalog: &Catalog) -> Result<Self, StartError> {
        let open = |(name, config): (&CacheName, &crate::catalog::CacheConfig)| {
            let config = config.entered();
            let config = config.map_err(|source| StartError::Cache {
                cache: name.clone(),
                source,
            })?;
            Ok((name.clone(), (config, tokio::sync::OnceCell::new())))
        };
        Ok(Self(
            catalog
                .caches
                .iter()
                .map(open)
                .collect::<Result<_, StartError>>()?,
        ))
    }

    /// The connected cache of this name; `None` where the catalog has none.
    pub(crate) async fn connect(
        &self,
        name: &CacheName,
        metrics: &Arc<Metrics>,
        vitals: Option<&Arc<Vitals>>,
    ) -> Option<Result<Arc<Cache>, CacheError>> {
        let (config, cell) = self.0.get(name)?;
        let connected = cell.get_or_try_init(|| async {
            let cache = Cache::connect(config.clone()).await?;
            let metrics = CacheMetrics::new(Arc::clone(metrics), name.as_str());
            cache.measure(metrics, vitals.cloned());
            Ok(Arc::new(cache))
        });
        let connected: Result<_, CacheError> = connected.await.cloned();
        if let (Err(error), Some(vitals)) = (&connected, vitals)
            && error.is_unreachable()
        {
            vitals.found_ill();
        }
        Some(connected)
    }
}

/// A worker that runs.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    cancel: CancellationToken,
    beating: JoinHandle<Result<Vec<Unfinished>, RecordError>>,
    attached: JoinHandle<()>,
    /// Looks after the resources' vital signs.
    attending: JoinSet<()>,
}

impl Worker {
    /// Starts a worker.
    ///
    /// # Errors
    /// Where its configuration cannot be used.
    pub fn start(
        settings: Settings,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        dial: Dial,
    ) -> Result<Self, StartError> {
        let name: WorkerName =
            format!("{}.{:08x}", settings.name, rand::random::<u32>()).parse()?;
        let span = tracing::info_span!("worker", worker = %name);
        let metrics = Arc::new(Metrics::new(&settings.meter));
        let measured = Arc::clone(&metrics);
        let observer: Observer = Arc::new(move |call| measured.store_called(call));
        let store: Arc<dyn Store> = Arc::new(Observed::new(store, observer));
        let health = Arc::new(Health::new(Arc::clone(&clock), settings.timing.term));
        let catalog = settings.catalog;
        let origins = Origins::new(&catalog)?;
        let member = member(&catalog, &origins, settings.weight, settings.zone);
        let caches = Caches::new(&catalog)?;
        let resources = origins.iter().map(|origin| origin.name().clone());
        let resources = resources.map(Resource::Origin);
        let resources = resources.chain(catalog.caches.keys().cloned().map(Resource::Cache));
        let gates: BTreeMap<Resource, Arc<Gate>> = resources
            .map(|resource| {
                let untouched = settings.untouched.clone();
                let gate = Gate::with(untouched, resource.clone(), Arc::clone(&clock));
                (resource, gate)
            })
            .collect();
        gates.keys().for_each(|r| metrics.begin_resource(r));
        let vitals: BTreeMap<Resource, Arc<Vitals>> = gates
            .iter()
            .map(|(resource, gate)| {
                let vitals = Vitals::new(Arc::clone(gate), Arc::clone(&clock));
                (resource.clone(), vitals)
            })
            .collect();
        for origin in origins.iter() {
            let name = origin.name().clone();
            origin.measure(
                OriginMetrics::new(Arc::clone(&metrics), name.as_str()),
                vitals.get(&Resource::Origin(name)).cloned(),
            );
        }
        metrics::gates(&settings.meter, gates.values().cloned().collect());
        metrics::replicas(&settings.meter, origins.iter().cloned().collect());
        metrics::health(&settings.meter, &health);
        let shared = Arc::new(Shared {
            name: name.clone(),
            store: Arc::clone(&store),
            clock,
            timing: settings.timing,
            origins,
            caches,
            catalog,
            gates,
            vitals,
            link: Link::new(Arc::clone(&store), dial),
            troubles: Troubles::default(),
            refusals: Refusals::default(),
            look: Notify::new(),
            metrics,
            health,
        });
        let cancel = CancellationToken::new();
        // Whatever the worker's tasks log says whose it is.
        let (_, value) = watch::channel(record::encode(&member));
        let presence = span.in_scope(|| {
            // It stays a member until it has taken its leave: before that, nobody may take its partitions.
            let stays = CancellationToken::new();
            let key = keys::member(&name);
            Presence::spawn(store, &key, value, settings.member_ttl, &stays)
        });
        let beating = Heart::new(Arc::clone(&shared)).beat(cancel.clone(), presence);
        let beating = tokio::spawn(beating.instrument(span.clone()));
        let attached = attach::stay(Arc::clone(&shared), cancel.clone());
        let attached = tokio::spawn(attached.instrument(span.clone()));
        let mut attending = JoinSet::new();
        for vitals in shared.vitals.values() {
            let (vitals, cancel) = (Arc::clone(vitals), cancel.clone());
            let attend = async move {
                // Never over by itself.
                let _: Option<()> = cancel.run_until_cancelled(vitals.attend()).await;
            };
            attending.spawn(attend.instrument(span.clone()));
        }
        let _entered = span.entered();
        tracing::info!("works");
        Ok(Self {
            shared,
            cancel,
            beating,
            attached,
            attending,
        })
    }

    /// Its name, with the incarnation.
    #[must_use]
    pub fn name(&self) -> &WorkerName {
        &self.shared.name
    }

    /// Whether it is fit to work, for whoever asks from outside.
    #[must_use]
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.shared.health)
    }

    /// Waits until the worker ends by itself, which it does only where it cannot go on.
    ///
    /// # Errors
    /// Why it could not.
    pub async fn ended(&mut self) -> Result<(), StartError> {
        (&mut self.beating).await??;
        Ok(())
    }

    /// Stops: begins nothing more, brings what is in flight to its end, writes the last checkpoints, gives its grants back,
    /// and takes its leave, within seconds. Gives what of that it could not do.
    pub async fn stop(self) -> Vec<Unfinished> {
        let has_ended = self.beating.is_finished();
        self.cancel.cancel();
        let unfinished = match self.beating {
            beating if !has_ended => beating.await.ok().and_then(Result::ok),
            // It has said why.
            _ => None,
        };
        let _ = self.attached.await;
        self.attending.join_all().await;
        unfinished.unwrap_or_default()
    }
}

/// What the worker tells of itself: names, never secrets.
fn member(catalog: &Catalog, origins: &Origins, weight: Weight, zone: String) -> Member {
    // A query that cannot be used is told of when a job wants it.
    let batch_keys = |loader: &LoaderSpec| {
        let keys = origins.get(&loader.origin)?.batch_keys(loader).ok()?;
        Some(keys.expected())
    };
    Member {
        weight,
        zone,
        origins: origins.iter().map(|origin| origin.name().clone()).collect(),
        caches: catalog.caches.keys().cloned().collect(),
        loaders: catalog
            .loaders
            .iter()
            .map(|(name, loader)| (name.clone(), loader.origin.clone()))
            .collect(),
        batch_keys: catalog
            .loaders
            .iter()
            .filter_map(|(name, loader)| Some((name.clone(), batch_keys(loader)?)))
            .collect(),
        copies: catalog
            .loaders
            .iter()
            .filter(|(_, loader)| loader.copies())
            .map(|(name, _)| name.clone())
            .collect(),
        version_origins: catalog
            .loaders
            .iter()
            .filter_map(|(name, loader)| Some((name.clone(), loader.origin_of_versions()?.clone())))
            .collect(),
        lives_ms: catalog
            .loaders
            .iter()
            .map(|(name, loader)| (name.clone(), lives_ms(loader)))
            .collect(),
        scans: catalog
            .loaders
            .iter()
            .filter(|(_, loader)| loader.scan.is_some())
            .map(|(name, _)| name.clone())
            .collect(),
        sources: catalog
            .sources
            .iter()
            .map(|(name, source)| (name.clone(), source.from.origin().cloned()))
            .collect(),
        source_terms: catalog
            .sources
            .iter()
            .map(|(name, source)| (name.clone(), source.terms()))
            .filter(|(_, terms)| !terms.are_usual())
            .collect(),
        several_caches: true,
        usage_sources: true,
        sql_in_jobs: catalog.allow_sql_in_jobs,
        files_in_jobs: catalog.allow_files_in_jobs,
    }
}

/// How long its entries live at least.
fn lives_ms(loader: &LoaderSpec) -> u64 {
    let shortest = expiry::shortest(loader.ttl, loader.ttl_jitter_permille.into());
    u64::try_from(shortest.as_millis()).unwrap_or(u64::MAX)
}
