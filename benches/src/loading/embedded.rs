//! `stoke warm`: coordinator and workers in one process.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::Result;

use super::cache::Cache;
use super::origin::{LOAD, Origin, ranking};
use super::process::{Running, Took};

/// What is asked of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// How many keys.
    pub(super) keys: u64,
    pub(super) workers: u32,
    /// Queries a second.
    pub(super) qps: u32,
    pub(super) in_flight: u32,
    pub(super) batch_keys: u32,
}

impl Asked {
    /// What binds nobody: queries of a thousand keys as those who write a loop of their own would send, and more of them a
    /// second than any machine answers.
    pub(super) const fn as_fast_as_it_can(keys: u64) -> Self {
        Self {
            keys,
            workers: 1,
            qps: super::QPS_UNBOUND,
            in_flight: super::IN_FLIGHT,
            batch_keys: super::BATCH_KEYS,
        }
    }
}

/// Has it scan the whole table by these columns.
pub(super) fn scan(stoke: &Path, origin: &Origin, cache: &Cache, by: &str) -> Result<Took> {
    let mut command = warm(stoke, origin, cache);
    command
        .args(["--query", "SELECT * FROM products", "--scan-by", by])
        .args(["--key", "product:{id}", "--workers", "1"])
        .args(["--qps", &format!("{}/s", super::QPS_UNBOUND)])
        .args(["--in-flight", &super::IN_FLIGHT.to_string()]);
    Running::start([command])?.wait()
}

/// Runs it to its end.
pub(super) fn run(stoke: &Path, origin: &Origin, cache: &Cache, asked: Asked) -> Result<Took> {
    let mut command = warm(stoke, origin, cache);
    command
        .args(["--rank", &ranking(asked.keys)])
        .args(["--load", LOAD])
        .args(["--key", "product:{key}"])
        .args(["--workers", &asked.workers.to_string()])
        .args(["--qps", &format!("{}/s", asked.qps)])
        .args(["--in-flight", &asked.in_flight.to_string()])
        .args(["--batch-keys", &asked.batch_keys.to_string()]);
    Running::start([command])?.wait()
}

/// What is said in either case.
fn warm(stoke: &Path, origin: &Origin, cache: &Cache) -> Command {
    let mut command = Command::new(stoke);
    command
        .arg("warm")
        .args(["--origin", &origin.url()])
        .args(["--cache", &cache.urls().join(",")])
        .args(["--ttl", "1day", "--ttl-jitter", "0"])
        .args(["--output", "json"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command
}
