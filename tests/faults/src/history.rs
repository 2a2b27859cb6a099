//! etcd's own history of Stoke's records: every change at every revision, and when it was seen.
//!
//! It is watched from the first revision on, past members that die and leaders that change: a watch that ends is begun anew
//! after the last revision that was seen, so nothing is left out. [`Recorder::finish`] proves that: replayed, the changes must
//! give exactly what etcd has in the end.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use etcd_client::{Client, ConnectOptions, EventType, GetOptions, WatchOptions};
use serde_json::Value;
use stoke_harness::wait_for;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::scene::{PATIENCE, PREFIX};

/// Workers renew every second: a watch that is silent for so long has died.
const SILENT_MAX: Duration = Duration::from_secs(3);
/// How long to let go by before a watch is begun anew.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// How long a connection may take.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// What one revision did to one key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Change {
    /// The revision; several changes may have the same.
    pub(crate) revision: i64,
    /// When it was seen, which is a little after it was so: milliseconds since 1970.
    pub(crate) seen_ms: u64,
    /// The key, without Stoke's prefix.
    pub(crate) key: String,
    /// What it was put to; `None` where it was deleted.
    pub(crate) value: Option<Value>,
}

/// Watches, in the background.
pub(crate) struct Recorder {
    runtime: Runtime,
    endpoints: Vec<String>,
    seen: Arc<Mutex<Vec<Change>>>,
    task: JoinHandle<()>,
}

impl Recorder {
    /// Begins with the first revision of this etcd.
    pub(crate) fn start(endpoints: Vec<String>) -> Result<Self> {
        let runtime = Runtime::new().context("starting the async runtime")?;
        let seen = Arc::default();
        let task = runtime.spawn(record(endpoints.clone(), Arc::clone(&seen)));
        Ok(Self {
            runtime,
            endpoints,
            seen,
            task,
        })
    }

    /// What was seen so far.
    pub(crate) fn so_far(&self) -> Vec<Change> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.clone()
    }

    /// The whole history up to now.
    ///
    /// # Errors
    /// etcd does not answer, or what was seen is not what it has.
    pub(crate) fn finish(self) -> Result<Vec<Change>> {
        let ask = || self.runtime.block_on(now(&self.endpoints));
        let (revision, there) = wait_for("etcd to say what it has", PATIENCE, ask)?;
        let last = || {
            let seen = self.so_far();
            let last = seen.last().map_or(0, |change| change.revision);
            ensure!(last >= revision, "seen {last} of {revision} revisions");
            Ok(seen)
        };
        let mut history = wait_for("the watch to come to the end", PATIENCE, last)?;
        self.task.abort();
        history.retain(|change| change.revision <= revision);
        ensure!(
            replayed(&history) == there,
            "the history that was seen does not lead to what etcd has at revision {revision}"
        );
        Ok(history)
    }
}

/// What the changes lead to.
fn replayed(history: &[Change]) -> BTreeMap<String, Value> {
    let mut records = BTreeMap::new();
    for change in history {
        match &change.value {
            Some(value) => records.insert(change.key.clone(), value.clone()),
            None => records.remove(&change.key),
        };
    }
    records
}

async fn connect(endpoints: &[String]) -> Result<Client, etcd_client::Error> {
    let options = ConnectOptions::new()
        .with_connect_timeout(CONNECT_MAX)
        .with_require_leader(true);
    Client::connect(endpoints, Some(options)).await
}

/// The revision, and all records.
async fn now(endpoints: &[String]) -> Result<(i64, BTreeMap<String, Value>)> {
    let mut client = connect(endpoints).await?;
    let prefix = GetOptions::new().with_prefix();
    let answer = timeout(CONNECT_MAX, client.get(PREFIX, Some(prefix))).await??;
    let revision = answer.header().context("an answer without a header")?;
    let records = answer
        .kvs()
        .iter()
        .map(|entry| (key(entry.key()), parsed(entry.value())));
    Ok((revision.revision(), records.collect()))
}

/// Watches for ever.
async fn record(endpoints: Vec<String>, seen: Arc<Mutex<Vec<Change>>>) {
    loop {
        // Whatever ends a watch, it is begun anew: what comes of that is checked in the end.
        let _ = watch(&endpoints, &seen).await;
        sleep(AGAIN_AFTER).await;
    }
}

async fn watch(endpoints: &[String], seen: &Mutex<Vec<Change>>) -> Result<()> {
    let last = {
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.last().map_or(0, |change| change.revision)
    };
    let options = WatchOptions::new()
        .with_prefix()
        .with_start_revision(last + 1);
    let mut client = connect(endpoints).await?;
    let mut stream = timeout(CONNECT_MAX, client.watch(PREFIX, Some(options))).await??;
    while let Some(answer) = timeout(SILENT_MAX, stream.message()).await?? {
        ensure!(!answer.canceled(), "{}", answer.cancel_reason());
        let seen_ms = now_ms();
        let changes = answer.events().iter().filter_map(|event| {
            let entry = event.kv()?;
            let put = event.event_type() == EventType::Put;
            Some(Change {
                revision: entry.mod_revision(),
                seen_ms,
                key: key(entry.key()),
                value: put.then(|| parsed(entry.value())),
            })
        });
        // One lock for all of a revision, so that nobody sees half of it.
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.extend(changes);
    }
    Ok(())
}

fn key(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.strip_prefix(PREFIX).unwrap_or(&text).to_owned()
}

/// A record; what is none counts as null, and the oracles find no share in it.
fn parsed(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or(Value::Null)
}

/// The present, as PostgreSQL's log tells it: milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(elapsed.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
