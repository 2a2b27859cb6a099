//! The servers that are not Stoke's: started together, as each takes a second or three.

use std::thread;

use anyhow::{Context, Result, anyhow};
use stoke_harness::{Etcd, Postgres, RedisCluster};

/// Nodes of the Redis Cluster.
pub(crate) const REDIS_NODES: usize = 3;

/// How the workers' statements are named in PostgreSQL's log.
pub(crate) const STOKE_APPLICATION: &str = "stoke";

/// The running servers. Each ends when it is dropped, unless servers are kept.
pub(crate) struct Servers {
    pub(crate) etcd: Etcd,
    pub(crate) postgres: Postgres,
    pub(crate) redis: RedisCluster,
}

impl Servers {
    /// Starts all of them and waits until they are usable.
    pub(crate) fn start() -> Result<Self> {
        thread::scope(|scope| {
            let etcd = scope.spawn(Etcd::start);
            let redis = scope.spawn(|| RedisCluster::start(REDIS_NODES));
            let postgres = Postgres::start().context("starting PostgreSQL")?;
            Ok(Self {
                etcd: joined(etcd.join()).context("starting etcd")?,
                postgres,
                redis: joined(redis.join()).context("starting the Redis Cluster")?,
            })
        })
    }
}

fn joined<T>(outcome: thread::Result<Result<T>>) -> Result<T> {
    outcome.map_err(|_| anyhow!("the thread that started it panicked"))?
}
