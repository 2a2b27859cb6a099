//! What a coordinator wants to know of a cache: answered beside all else, for whoever measures it.
//!
//! It changes nothing there, and takes no tokens: a cache's budget is one of writes. How much may be asked is bounded by whoever asks.

use std::sync::Arc;
use std::time::Duration;

use stoke_core::names::{CacheName, Resource};
use stoke_proto::v1::cache_question::About;
use stoke_proto::v1::{CacheAnswer, CacheQuestion, KeysQuestion, NodeCounts, NodeLookups};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::cache::{Cache, CommandError, Lookups, NodeInfo};
use crate::permit::{Stopped, Unlimited};
use crate::reach::cache_text;
use crate::worker::Shared;

/// How many questions are answered at one time; further ones are not.
const AT_ONCE_MAX: usize = 16;
/// How long an answer may take: whoever asks waits for a little longer.
const WITHIN: Duration = Duration::from_secs(10);
/// How many keys are asked after between two looks at the permit.
const KEYS_AT_ONCE: usize = 5000;

/// The questions at hand.
pub(super) struct Questions {
    shared: Arc<Shared>,
    open: JoinSet<()>,
    answers: mpsc::Sender<CacheAnswer>,
}

impl Questions {
    /// None yet, and where the answers will come.
    pub(super) fn new(shared: &Arc<Shared>) -> (Self, mpsc::Receiver<CacheAnswer>) {
        let (answers, come) = mpsc::channel(AT_ONCE_MAX);
        let questions = Self {
            shared: Arc::clone(shared),
            open: JoinSet::new(),
            answers,
        };
        (questions, come)
    }

    /// Begins to find out what is asked.
    pub(super) fn ask(&mut self, question: CacheQuestion) {
        while self.open.try_join_next().is_some() {}
        if self.open.len() >= AT_ONCE_MAX {
            tracing::debug!(number = question.number, "is asked too much at one time");
            return;
        }
        let (shared, answers) = (Arc::clone(&self.shared), self.answers.clone());
        self.open.spawn(async move {
            let number = question.number;
            let answering = tokio::time::timeout(WITHIN, answer(&shared, question));
            let answer = match answering.await {
                Ok(Ok(answer)) => answer,
                Ok(Err(error)) => failed(error),
                Err(_) => failed(format!(
                    "it does not answer within {} s: it is out of reach, or very slow",
                    WITHIN.as_secs()
                )),
            };
            // Nobody listens any more? The call is over.
            let _ = answers.send(CacheAnswer { number, ..answer }).await;
        });
    }
}

fn failed(error: String) -> CacheAnswer {
    CacheAnswer {
        error,
        ..CacheAnswer::default()
    }
}

async fn answer(shared: &Shared, question: CacheQuestion) -> Result<CacheAnswer, String> {
    let name: CacheName = question
        .cache
        .parse()
        .map_err(|error| format!("no cache: {error}"))?;
    let resource = Resource::Cache(name.clone());
    let unknown = || format!("this worker does not know the {resource}");
    let connected = shared.cache(&name).await.ok_or_else(unknown)?;
    let cache = connected.map_err(|error| cache_text(&name, &error))?;
    match question.about {
        Some(About::Keys(about)) => present(&cache, &about)
            .await
            .map_err(|error| format!("cache {name}: {error}")),
        Some(About::Lookups(about)) => Ok(CacheAnswer {
            nodes: match about.ask_nodes {
                true => of_nodes(&cache).await,
                false => own(&cache),
            },
            ..CacheAnswer::default()
        }),
        None => Err(
            "this worker does not know what is asked: it is older than the coordinator".to_owned(),
        ),
    }
}

/// Which of the keys are there; all of them, or an error.
async fn present(cache: &Cache, about: &KeysQuestion) -> Result<CacheAnswer, CommandError> {
    let mut answer = CacheAnswer::default();
    for keys in about.keys.chunks(KEYS_AT_ONCE) {
        let keys: Vec<&[u8]> = keys.iter().map(AsRef::as_ref).collect();
        let there = cache.weigh_as(&Unlimited, &keys).await;
        for is_there in there.unwrap_or_else(|Stopped| unreachable!("Unlimited never stops")) {
            answer.present.push(is_there?);
        }
    }
    Ok(answer)
}

/// What of the nodes' counts is our own.
fn own(cache: &Cache) -> Vec<NodeLookups> {
    let of_node = |(node, found): (String, Lookups)| NodeLookups {
        node,
        own_hits: found.hits,
        own_misses: found.misses,
        ..NodeLookups::default()
    };
    cache.lookups().into_iter().map(of_node).collect()
}

/// The nodes' counts, beside what of them is our own.
async fn of_nodes(cache: &Cache) -> Vec<NodeLookups> {
    let asked = cache.info_of_all(&Unlimited).await;
    let asked = asked.unwrap_or_else(|Stopped| unreachable!("Unlimited never stops"));
    let mut nodes = own(cache);
    for answer in asked {
        match answer {
            Ok(info) => note(&mut nodes, info),
            Err(error) => nodes.push(NodeLookups {
                error: error.to_string(),
                ..NodeLookups::default()
            }),
        }
    }
    nodes
}

fn note(nodes: &mut Vec<NodeLookups>, info: NodeInfo) {
    let counts = Some(NodeCounts {
        run_id: info.run_id,
        hits: info.keyspace_hits,
        misses: info.keyspace_misses,
    });
    match nodes.iter_mut().find(|known| known.node == info.address) {
        Some(known) => known.counts = counts,
        None => nodes.push(NodeLookups {
            node: info.address,
            counts,
            ..NodeLookups::default()
        }),
    }
}
