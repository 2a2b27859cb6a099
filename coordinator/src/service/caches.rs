//! `CacheService`: caches, as those see them who use them.
//!
//! A node counts what it is asked for, and each worker what of that it has asked itself. All of them are asked at the same time, again
//! and again: what others have asked is the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use stoke_core::hit_rate::{Counters, Looks};
use stoke_core::names::{CacheName, WorkerName};
use stoke_proto::v1::cache_question::About;
use stoke_proto::v1::cache_service_server::CacheService;
use stoke_proto::v1::{self, CacheAnswer, LookupsQuestion};
use tokio_util::sync::CancellationToken;
use tonic::{Request as Call, Response, Status};

use super::parse::{self, Watched};
use super::refusal::Refusal;
use super::streams::{Answers, Sending, answer, deadline};
use crate::Shared;
use crate::questions::NoAnswer;
use crate::watching::{Look, Looker, Watching};

/// How many intervals wait for a slow caller.
const QUEUE: usize = 1;
/// How long after a node has counted a look whoever asked has its answer.
const HEARD_WITHIN: Duration = Duration::from_millis(100);
/// How many workers are asked for what nodes count, where the first cannot tell.
const ASKED_MAX: usize = 3;

/// Serves what is to be known of caches.
#[derive(Debug)]
pub(crate) struct Caches {
    shared: Arc<Shared>,
    cancel: CancellationToken,
}

impl Caches {
    pub(crate) fn new(shared: Arc<Shared>, cancel: CancellationToken) -> Self {
        Self { shared, cancel }
    }
}

#[tonic::async_trait]
impl CacheService for Caches {
    type WatchHitRateStream = Answers<v1::WatchHitRateResponse>;

    async fn watch_hit_rate(
        &self,
        call: Call<v1::WatchHitRateRequest>,
    ) -> Result<Response<Self::WatchHitRateStream>, Status> {
        let until = deadline(call.metadata());
        let open = self.shared.limits.watches.open()?;
        let watched = parse::watched(&call.into_inner())?;
        // Workers are attached to whoever leads: only there can they be asked.
        self.shared.fence().await?;
        let caches = [Some(&watched.cache), watched.reference.as_ref()];
        for cache in caches.into_iter().flatten() {
            let members = self.shared.members_with(cache).await;
            if members.map_err(Refusal::from)?.is_empty() {
                return Err(
                    Refusal::Precondition(format!("no worker knows the cache {cache}")).into(),
                );
            }
        }
        let shared = Arc::clone(&self.shared);
        let held = shared.calls.hold("/stoke.v1.CacheService/WatchHitRate");
        let watch = |send| async move {
            let _held = held;
            self::watch(&shared, watched, &send).await
        };
        Ok(answer(QUEUE, open, until, &self.cancel, watch))
    }
}

/// Sends interval after interval.
async fn watch(
    shared: &Arc<Shared>,
    watched: Watched,
    send: &Sending<v1::WatchHitRateResponse>,
) -> Result<(), Refusal> {
    let cache = Looked::at(watched.cache, shared);
    let reference = watched.reference.map(|cache| Looked::at(cache, shared));
    let watching = async {
        let mut watching = Watching::begin(cache, reference, watched.interval, watched.judge).await;
        loop {
            let told = watching.interval().await;
            if send.send(Ok(told)).await.is_err() {
                return Ok(());
            }
        }
    };
    tokio::select! {
        () = send.closed() => Ok(()),
        refusal = shared.deposed() => Err(refusal),
        ended = watching => ended,
    }
}

/// A cache whose nodes are looked at by the workers that know it.
struct Looked {
    shared: Arc<Shared>,
    cache: CacheName,
    /// Workers that know it, as far as was ever seen: one may be no member for a moment, and still look for keys.
    workers: BTreeSet<WorkerName>,
}

impl Looker for Looked {
    async fn look(&mut self) -> Look {
        let mut troubles = Vec::new();
        let nodes = match self.counters(&mut troubles).await {
            Ok(nodes) => nodes,
            Err(error) => {
                troubles.push(error.to_string());
                BTreeMap::new()
            }
        };
        Look { nodes, troubles }
    }
}

impl Looked {
    fn at(cache: CacheName, shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            cache,
            workers: BTreeSet::new(),
        }
    }

    /// What all nodes count, and what all workers say is theirs.
    async fn counters(
        &mut self,
        troubles: &mut Vec<String>,
    ) -> Result<BTreeMap<String, Counters>, NoAnswer> {
        let shared = Arc::clone(&self.shared);
        match shared.who_knows(&self.cache).await {
            Ok(workers) => self.workers.extend(workers),
            Err(error) if self.workers.is_empty() => return Err(error),
            Err(_) => {}
        }
        self.workers
            .retain(|worker| shared.questions.is_attached(worker));
        if self.workers.is_empty() {
            return Err(NoAnswer::Nobody(self.cache.clone()));
        }
        let workers: Vec<WorkerName> = self.workers.iter().cloned().collect();
        let mut nodes = self.of_nodes(&workers, troubles).await?;
        // What a node has counted, whoever asked hears of a moment later. Told the other way round, a look would be taken for somebody
        // else's in this interval, and be missing in none.
        tokio::time::sleep(HEARD_WITHIN).await;
        let (shared, cache) = (&shared, &self.cache);
        let asking = workers.iter().map(|worker| async move {
            let about = About::Lookups(LookupsQuestion { ask_nodes: false });
            (worker, shared.questions.ask(worker, cache, about).await)
        });
        let mut own: BTreeMap<String, BTreeMap<String, Looks>> = BTreeMap::new();
        let answers: Vec<(_, Result<CacheAnswer, NoAnswer>)> = join_all(asking).await;
        for (worker, answer) in answers {
            let told = match answer {
                Ok(answer) => answer.nodes,
                Err(error) => {
                    troubles.push(format!("what of it is Stoke's own is not known: {error}"));
                    continue;
                }
            };
            for told in told {
                let looks = Looks {
                    hits: told.own_hits,
                    misses: told.own_misses,
                };
                let of_node = own.entry(told.node).or_default();
                of_node.insert(worker.to_string(), looks);
            }
        }
        for (node, counters) in &mut nodes {
            counters.own = own.remove(node).unwrap_or_default();
        }
        Ok(nodes)
    }

    /// What all nodes count, as the first worker hears it that can ask them.
    async fn of_nodes(
        &self,
        workers: &[WorkerName],
        troubles: &mut Vec<String>,
    ) -> Result<BTreeMap<String, Counters>, NoAnswer> {
        let mut failed = NoAnswer::Nobody(self.cache.clone());
        for worker in workers.iter().take(ASKED_MAX) {
            let about = About::Lookups(LookupsQuestion { ask_nodes: true });
            let answer = match self.shared.questions.ask(worker, &self.cache, about).await {
                Ok(answer) => answer,
                Err(error) => {
                    failed = error;
                    continue;
                }
            };
            let mut nodes = BTreeMap::new();
            for told in answer.nodes {
                if !told.error.is_empty() {
                    troubles.push(told.error);
                } else if let Some(counts) = told.counts {
                    let counters = Counters {
                        run_id: counts.run_id,
                        all: Looks {
                            hits: counts.hits,
                            misses: counts.misses,
                        },
                        own: BTreeMap::new(),
                    };
                    nodes.insert(told.node, counters);
                }
            }
            return Ok(nodes);
        }
        Err(failed)
    }
}
