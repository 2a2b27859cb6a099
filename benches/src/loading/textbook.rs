//! The loop that textbooks have, as a program of its own: for each key one query, one SET, ten at a time.
//!
//! Written well: all is prepared once, each of the ten has its own connection to the database, and they share one to each node
//! of the cache, so that what they send at one time goes together.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use anyhow::{Context, Result};
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;

use super::cache::{TTL, node_of};

/// What this program is called with to be the loop.
pub(crate) const TEXTBOOK: &str = "textbook";

/// How many keys are loaded at one time.
const AT_A_TIME: usize = 10;

/// The command that runs it.
pub(super) fn command(origin: &str, limit: u64, nodes: &[String]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args([TEXTBOOK, origin, &limit.to_string()])
        .args(nodes);
    Ok(command)
}

/// Is the loop.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let [origin, limit, nodes @ ..] = arguments else {
        anyhow::bail!("say which origin, how many keys, and the cache's nodes");
    };
    let runtime = tokio::runtime::Runtime::new().context("starting tokio")?;
    runtime.block_on(load(origin, limit.parse()?, nodes))
}

async fn load(origin: &str, limit: i64, nodes: &[String]) -> Result<()> {
    let mut first = PgConnection::connect(origin).await?;
    let ids =
        sqlx::query_scalar("SELECT id FROM products ORDER BY views DESC LIMIT $1").bind(limit);
    let ids: Arc<Vec<i64>> = Arc::new(ids.fetch_all(&mut first).await?);
    let mut cache = Vec::new();
    for node in nodes {
        cache.push(
            redis::Client::open(node.as_str())?
                .get_multiplexed_async_connection()
                .await?,
        );
    }
    let next = Arc::new(AtomicUsize::new(0));
    let mut loops = JoinSet::new();
    for _ in 0..AT_A_TIME {
        let (ids, next, mut cache) = (Arc::clone(&ids), Arc::clone(&next), cache.clone());
        let mut origin = PgConnection::connect(origin).await?;
        loops.spawn(async move {
            while let Some(id) = ids.get(next.fetch_add(1, Relaxed)) {
                let value =
                    sqlx::query_scalar("SELECT row_to_json(p)::text FROM products p WHERE id = $1")
                        .bind(id);
                let value: String = value.fetch_one(&mut origin).await?;
                let key = format!("product:{id}");
                let node = node_of(&key, cache.len());
                let mut set = redis::cmd("SET");
                set.arg(&key).arg(value).arg("EX").arg(TTL.as_secs());
                set.exec_async(&mut cache[node]).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = loops.join_next().await {
        ended??;
    }
    Ok(())
}
