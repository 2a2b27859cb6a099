//! `stoke warm --state DIR`: the stores of the embedded mode in a folder, so that a run which was killed goes on.
//!
//! In the folder are the coordination store (`store.log`, see `stoke_store::memory::journal`), the plan store (`plans/`),
//! and, in the former, what the command line asked for. A run goes on only with what it was asked for; one that is over
//! is cleared away. What was granted and reserved is never cleared away: a process that has just ended may have left
//! queries at the origin, so its grants are taken back as any dead worker's are, when they are certainly over.
//!
//! Absent: secrets. URLs are kept without users and passwords.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use stoke_coordinator::plan_store::PlanStore;
use stoke_core::job::{Life, Phase};
use stoke_core::names::JobName;
use stoke_core::records::{Request, keys};
use stoke_store::memory::MemoryStore;
use stoke_store::{Keys, Op, Store, TXN_OPS_MAX, Txn, record};

use crate::exit::{Exit, Failure, OrExit};
use crate::print::say;

/// The id of the request that makes the one job of a run.
pub const REQUEST_ID: &str = "warm";
/// The record of what was asked for.
const ASKED: &str = "asked";
/// The plan store's folder.
const PLANS: &str = "plans";
/// What belongs to jobs. Not among it: what is reserved of budgets.
const OF_JOBS: [&str; 6] = [
    keys::READS,
    keys::ASSIGNMENTS,
    keys::CHECKPOINTS,
    keys::PAST,
    keys::RUNS,
    keys::JOBS,
];

/// What a command line asks for, by flag, as it is told to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    flags: BTreeMap<String, String>,
}

impl Asked {
    /// These flags, without their dashes.
    pub fn new(flags: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            flags: flags.into_iter().collect(),
        }
    }

    /// How this differs from what was asked before, flag by flag.
    fn differences(&self, before: &Self) -> Vec<String> {
        let flags: std::collections::BTreeSet<&String> =
            self.flags.keys().chain(before.flags.keys()).collect();
        let of = |asked: &Self, flag| match asked.flags.get(flag) {
            Some(value) => format!("{value:?}"),
            None => "not given".to_owned(),
        };
        let differs = flags
            .into_iter()
            .filter(|flag| self.flags.get(*flag) != before.flags.get(*flag));
        differs
            .map(|flag| {
                format!(
                    "--{flag} was {}, and is {}",
                    of(before, flag),
                    of(self, flag)
                )
            })
            .collect()
    }
}

/// The stores of the embedded mode.
#[derive(Debug)]
pub struct State {
    /// The coordination store.
    pub store: MemoryStore,
    /// The plan store.
    pub plans: PlanStore,
    /// The job that an earlier process left.
    pub unfinished: Option<JobName>,
}

impl State {
    /// Stores that end with this process.
    pub fn in_memory() -> Self {
        Self {
            store: MemoryStore::new(),
            plans: PlanStore::in_memory(),
            unfinished: None,
        }
    }

    /// Those of a folder, which is made where it is not there.
    ///
    /// # Errors
    /// Where another process uses it, it cannot be used, or it has an unfinished job that was asked for otherwise.
    pub async fn in_folder(folder: &Path, asked: &Asked) -> Result<Self, Failure> {
        let (store, opened) = MemoryStore::open(folder)
            .context("--state")
            .or_exit(Exit::Usage)?;
        if opened.cut_bytes > 0 {
            say(format!(
                "cut off the last {} bytes of {}: they had not been written to their end, and nothing counted on them",
                opened.cut_bytes,
                folder.join("store.log").display()
            ));
        }
        let unfinished = unfinished(&store).await.or_exit(Exit::Usage)?;
        if unfinished.is_some() {
            check_same(&store, asked, folder).await?;
        } else {
            clear(&store, &folder.join(PLANS))
                .await
                .with_context(|| format!("--state: cannot clear {}", folder.display()))
                .or_exit(Exit::Unreachable)?;
            put(&store, asked).await.or_exit(Exit::Unreachable)?;
        }
        let plans = PlanStore::in_directory(&folder.join(PLANS))
            .context("--state")
            .or_exit(Exit::Unreachable)?;
        Ok(Self {
            store,
            plans,
            unfinished,
        })
    }
}

/// The job that an earlier process left, unless it is over or was to be.
async fn unfinished(store: &MemoryStore) -> anyhow::Result<Option<JobName>> {
    let Some(request) = find::<Request>(store, keys::request(REQUEST_ID)).await? else {
        return Ok(None);
    };
    let life = find::<Life>(store, keys::run(&request.job)).await?;
    let goes_on = life.is_some_and(|life| !life.phase.is_over() && life.phase != Phase::Aborting);
    Ok(goes_on.then_some(request.job))
}

async fn check_same(store: &MemoryStore, asked: &Asked, folder: &Path) -> Result<(), Failure> {
    let before = find::<Asked>(store, ASKED.to_owned())
        .await
        .or_exit(Exit::Usage)?;
    let differences = match before {
        Some(before) => asked.differences(&before),
        None => vec!["it does not say what it was asked for".to_owned()],
    };
    if differences.is_empty() {
        return Ok(());
    }
    Err(anyhow::anyhow!(
        "--state: {} has an unfinished run that was asked for otherwise: {}; start it again as it was, or begin anew with \
         another folder (or after deleting this one)",
        folder.display(),
        differences.join("; ")
    ))
    .or_exit(Exit::Usage)
}

async fn find<T: serde::de::DeserializeOwned>(
    store: &MemoryStore,
    key: String,
) -> anyhow::Result<Option<T>> {
    let found = store.read(&[Keys::One(key)]).await?;
    Ok(found.entries.first().map(record::decode).transpose()?)
}

/// Removes what earlier runs have left: first the request, without which nothing of it counts.
async fn clear(store: &MemoryStore, plans: &Path) -> anyhow::Result<()> {
    let mut wanted = vec![Keys::One(keys::request(REQUEST_ID))];
    delete_all(store, &wanted).await?;
    wanted.clear();
    wanted.extend(OF_JOBS.map(|prefix| Keys::Prefix(prefix.to_owned())));
    delete_all(store, &wanted).await?;
    let files = match std::fs::read_dir(plans) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        files => files?,
    };
    for file in files {
        let file = file?;
        // What is a file is the plan store's id, by which the coordination store knows it.
        if file.file_type()?.is_dir() {
            std::fs::remove_dir_all(file.path())?;
        }
    }
    Ok(())
}

async fn delete_all(store: &MemoryStore, keys: &[Keys]) -> anyhow::Result<()> {
    let found = store.read(keys).await?.entries;
    for some in found.chunks(TXN_OPS_MAX) {
        let ops = some.iter().map(|entry| Op::Delete(entry.key.clone()));
        let txn = Txn {
            compares: Vec::new(),
            ops: ops.collect(),
        };
        store.txn(txn).await?;
    }
    Ok(())
}

async fn put(store: &MemoryStore, asked: &Asked) -> anyhow::Result<()> {
    let op = Op::Put {
        key: ASKED.to_owned(),
        value: record::encode(asked),
        lease: None,
    };
    let txn = Txn {
        compares: Vec::new(),
        ops: vec![op],
    };
    store.txn(txn).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(flags: &[(&str, &str)]) -> Asked {
        Asked::new(
            flags
                .iter()
                .map(|(flag, value)| ((*flag).into(), (*value).into())),
        )
    }

    #[test]
    fn what_differs_is_told_by_flag() {
        let before = asked(&[("ttl", "5m"), ("mode", "add"), ("rank", "SELECT 1")]);
        assert_eq!(before.differences(&before), [""; 0]);
        let now = asked(&[("ttl", "1h"), ("mode", "add"), ("keys", "k.csv")]);
        assert_eq!(
            now.differences(&before),
            [
                "--keys was not given, and is \"k.csv\"",
                "--rank was \"SELECT 1\", and is not given",
                "--ttl was \"5m\", and is \"1h\"",
            ]
        );
    }

    async fn put_record<T: Serialize>(store: &MemoryStore, key: String, value: &T) {
        let op = Op::Put {
            key,
            value: record::encode(value),
            lease: None,
        };
        let txn = Txn {
            compares: Vec::new(),
            ops: vec![op],
        };
        store.txn(txn).await.unwrap();
    }

    /// A folder whose run came into this phase before its process ended.
    async fn left(folder: &Path, phase: Phase) -> JobName {
        let state = open(folder, &asked(&[("ttl", "5m")])).await.unwrap();
        let job: JobName = "1795423882384-f53387".parse().unwrap();
        let life = Life {
            phase,
            ..Life::new()
        };
        put_record(&state.store, keys::run(&job), &life).await;
        let request = Request {
            job: job.clone(),
            asked: String::new(),
        };
        put_record(&state.store, keys::request(REQUEST_ID), &request).await;
        put_record(&state.store, "cap/origin/shop/w1.ab".into(), &request).await;
        std::fs::create_dir_all(folder.join(PLANS).join("plans/j")).unwrap();
        state.plans.id().await.unwrap();
        job
    }

    /// Opens a folder that this process had open a moment ago.
    async fn open(folder: &Path, asked: &Asked) -> Result<State, Failure> {
        loop {
            match State::in_folder(folder, asked).await {
                Err((_, error)) if format!("{error:#}").contains("another process") => {
                    tokio::task::yield_now().await;
                }
                opened => return opened,
            }
        }
    }

    #[tokio::test]
    async fn an_unfinished_run_goes_on_when_it_is_asked_for_again_and_only_then() {
        for phase in [Phase::Pending, Phase::Planning, Phase::Running] {
            let folder = tempfile::tempdir().unwrap();
            let job = left(folder.path(), phase).await;
            let other = open(folder.path(), &asked(&[("ttl", "1h")]))
                .await
                .unwrap_err();
            let said = format!("{:#}", other.1);
            assert_eq!(other.0, Exit::Usage);
            assert!(
                said.contains("--ttl was \"5m\", and is \"1h\"; start it again"),
                "{said}"
            );
            let again = open(folder.path(), &asked(&[("ttl", "5m")])).await.unwrap();
            assert_eq!(again.unfinished, Some(job), "{phase:?}");
        }
    }

    #[tokio::test]
    async fn a_run_that_is_over_is_cleared_away_but_not_what_it_had_reserved() {
        for phase in [
            Phase::Aborting,
            Phase::Aborted,
            Phase::Succeeded,
            Phase::Failed,
        ] {
            let folder = tempfile::tempdir().unwrap();
            left(folder.path(), phase).await;
            let id = std::fs::read(folder.path().join("plans/id")).unwrap();
            let anew = open(folder.path(), &asked(&[("ttl", "1h")])).await.unwrap();
            assert_eq!(anew.unfinished, None, "{phase:?}");
            let all = anew
                .store
                .read(&[Keys::Prefix(String::new())])
                .await
                .unwrap();
            let keys: Vec<&str> = all.entries.iter().map(|entry| entry.key.as_str()).collect();
            assert_eq!(keys, [ASKED, "cap/origin/shop/w1.ab"], "{phase:?}");
            assert!(!folder.path().join("plans/plans").exists());
            assert_eq!(std::fs::read(folder.path().join("plans/id")).unwrap(), id);
        }
    }
}
