//! Finds out what a cache is. Of nodes, the first whose server answers tells whether it is a cluster, and who owns what; sentinels
//! tell who is the master.

use redis::{Pipeline, RedisConnectionInfo, Value};
use stoke_core::advice::with_advice;

use super::addr::NodeAddr;
use super::answer::words;
use super::config::{CacheConfig, Place};
use super::error::{CacheError, CommandError, FailureKind};
use super::info;
use super::node::{Entry, Node, Nodes};
use super::router::Router;
use super::sentinels::Sentinels;
use super::slot_map::{SlotMap, Uncovered};
use super::topology::{Topology, cluster_slots};
use super::url::{NodeUrl, SentinelsUrl};

/// Connects to the cache that `config` means.
pub(super) async fn discover(config: CacheConfig) -> Result<Router, CacheError> {
    match &config.place {
        Place::Nodes(urls) => discover_among(&config, urls).await,
        Place::Sentinels(url) => discover_behind(&config, url).await,
    }
}

async fn discover_behind(config: &CacheConfig, url: &SentinelsUrl) -> Result<Router, CacheError> {
    let of_sentinels = entry(config, &url.login);
    let sentinels = Sentinels::new(url.master.clone(), url.sentinels.clone(), of_sentinels);
    let nodes = Nodes::new(Entry {
        only_master: true,
        ..entry(config, &url.settings)
    });
    let master = sentinels.find(&nodes, None).await?;
    let topology = Topology::sentinel(master, sentinels);
    Ok(Router::new(nodes, topology, config.patience))
}

async fn discover_among(config: &CacheConfig, urls: &[NodeUrl]) -> Result<Router, CacheError> {
    let mut last = CacheError::NoUrl;
    for url in urls {
        match discover_at(config, urls, url).await {
            Ok(topology) => {
                let nodes = Nodes::new(entry(config, &url.settings));
                return Ok(Router::new(nodes, topology, config.patience));
            }
            // Another node may answer. Whatever else is wrong is wrong with the cache as a whole.
            Err(error @ CacheError::Unreachable { .. }) => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

async fn discover_at(
    config: &CacheConfig,
    urls: &[NodeUrl],
    url: &NodeUrl,
) -> Result<Topology, CacheError> {
    let addr = &url.addr;
    let database = url.settings.db();
    // A cluster refuses SELECT, so this first look is at number 0.
    let settings = url.settings.clone().set_db(0);
    let node = Node::new(addr.clone(), entry(config, &settings));
    if !is_cluster(&node).await? {
        if urls.len() > 1 {
            return Err(CacheError::SeveralStandalone { node: addr.clone() });
        }
        let node = Node::new(addr.clone(), entry(config, &url.settings));
        node.connection()
            .await
            .map_err(|error| no_answer(addr, "connecting", error))?;
        return Ok(Topology::standalone(addr.clone()));
    }
    if database != 0 {
        return Err(CacheError::NoDatabase {
            node: addr.clone(),
            database,
        });
    }
    let answer = ask(&node, &cluster_slots(), "reading its slot map").await?;
    let map = SlotMap::parse(&answer, addr).map_err(|_| CacheError::Malformed {
        node: addr.clone(),
        command: "CLUSTER SLOTS",
    })?;
    // What some slots lack costs their keys only, but where there is nobody at all to write to.
    if map.nodes().is_empty() {
        return Err(uncovered(&map, addr));
    }
    let seeds = urls.iter().map(|url| url.addr.clone()).collect();
    Ok(Topology::cluster(map, seeds))
}

/// That slots have no owner.
pub(super) fn uncovered(map: &SlotMap, node: &NodeAddr) -> CacheError {
    let gap = map.uncovered().unwrap_or(Uncovered {
        count: 0,
        first: 0,
        last: 0,
    });
    CacheError::Uncovered {
        node: node.clone(),
        count: gap.count,
        first: gap.first,
        last: gap.last,
    }
}

fn entry(config: &CacheConfig, settings: &RedisConnectionInfo) -> Entry {
    Entry {
        settings: settings.clone(),
        only_master: false,
        tls: config.tls.clone(),
        timeout: config.timeout,
    }
}

async fn is_cluster(node: &Node) -> Result<bool, CacheError> {
    let mut pipeline = redis::pipe();
    pipeline.cmd("INFO").arg("cluster");
    let answer = ask(node, &pipeline, "asking whether it is a cluster").await?;
    let info = info::text(answer).ok_or_else(|| CacheError::Malformed {
        node: node.addr().clone(),
        command: "INFO",
    })?;
    Ok(info::field(&info, "cluster_enabled") == Some("1"))
}

/// Sends one command and gives its reply.
async fn ask(node: &Node, pipeline: &Pipeline, doing: &'static str) -> Result<Value, CacheError> {
    let addr = node.addr();
    let connection = node.connection().await;
    let connection = connection.map_err(|error| no_answer(addr, "connecting", error))?;
    let answers = node.send(connection, pipeline, 0).await;
    match answers
        .map_err(|error| no_answer(addr, doing, error))?
        .pop()
    {
        Some(Value::ServerError(error)) => Err(CacheError::Denied {
            node: addr.clone(),
            doing,
            reason: with_advice(&words(&error)),
        }),
        Some(reply) => Ok(reply),
        None => Err(CacheError::Malformed {
            node: addr.clone(),
            command: doing,
        }),
    }
}

fn no_answer(node: &NodeAddr, doing: &'static str, mut error: CommandError) -> CacheError {
    let node = node.clone();
    // The error names it, and so does what it becomes.
    if let Some(rest) = error.reason.strip_prefix(&format!("{node}: ")) {
        error.reason = rest.to_owned();
    }
    match error.kind {
        FailureKind::Denied | FailureKind::Refused => CacheError::Denied {
            node,
            doing,
            reason: error.reason,
        },
        _ => CacheError::Unreachable {
            node,
            source: error.into(),
        },
    }
}
