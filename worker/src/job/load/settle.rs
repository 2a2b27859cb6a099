//! Fresh beats warm (DESIGN §7): where a loader names a version, what was written stays only if the row is still the one that it was
//! made of.
//!
//! The danger: we read a row, the application changes it and deletes its key, and we write what was. So a value is first written
//! for some seconds. Then the versions are read again: a change that is committed before that is seen, and one that is
//! committed later is followed by the application's own delete, which finds our value there. Where the version is the same, and
//! the value still ours, it gets its time to live; else it is deleted, if it is still ours, and the entry tried again.

use std::time::Duration;

use bytes::Bytes;
use stoke_core::names::Resource;

use super::write::Write;
use super::{Gave, Goer, Verdict, verdict_of};
use crate::cache::{Cache, Item, PROVISIONAL_TTL};
use crate::catalog::LoaderSpec;
use crate::job::entries::Task;
use crate::origin::{Answer, OriginError};
use crate::permit::Permit;

/// Why an entry is tried again whose row is another one now.
const CHANGED: &str = "its row was changed while its value was written";
/// Why one is whose value is not ours any more.
const NOT_OURS: &str =
    "its value was changed, or deleted, or has expired before it was known to be fresh";

impl Goer {
    /// Whether what is there with so much left to live may be a value that was never settled.
    pub(super) fn is_provisional(&self, task: &Task, left: Duration) -> bool {
        let loader = self.loader(task);
        left <= PROVISIONAL_TTL && loader.is_some_and(|loader| loader.value.versions.is_some())
    }

    /// Reads the versions of what has been written for now, and settles each.
    pub(super) async fn settle(
        &self,
        loader: &LoaderSpec,
        cache: &Cache,
        written: Vec<(Write, Item)>,
        gave: &mut Gave,
    ) {
        let versions = match self.versions_of(loader, &written, gave).await {
            Ok(versions) => versions,
            Err(verdict) => {
                // Nothing is settled: what was written is gone in some seconds.
                let failed = written.into_iter().map(|(write, _)| write.task);
                match verdict {
                    NoVersions::For(reason) => {
                        let verdict = Verdict::Failed(reason);
                        let failed = failed.map(|task| (task, verdict.clone()));
                        gave.verdicts.extend(failed);
                    }
                    NoVersions::Now(origin, error) => {
                        self.not_loaded(&origin, &error, failed, gave);
                    }
                }
                return;
            }
        };
        let permit = self.cache_permit();
        let Ok(_place) = permit.enter().await else {
            return;
        };
        let is_same = |write: &Write, version: &Version| match version {
            Version::Is(version) => *version == write.version,
            Version::Unknown(_) => false,
        };
        let (writes, items): (Vec<_>, Vec<_>) = written.into_iter().unzip();
        let items: Vec<Item> = items
            .into_iter()
            .zip(&writes)
            .map(|(item, write)| write.until_its_end(item))
            .collect();
        let stay = writes.iter().zip(&versions);
        let stay: Vec<bool> = stay
            .map(|(write, version)| is_same(write, version))
            .collect();
        let to_settle: Vec<(&Item, bool)> = items.iter().zip(stay.iter().copied()).collect();
        let Ok(settled) = cache.settle(&permit, &to_settle).await else {
            return;
        };
        let rest = items.iter().zip(versions).zip(settled);
        for (write, ((item, version), settled)) in writes.into_iter().zip(rest) {
            let verdict = match (version, settled) {
                (Version::Unknown(reason), _) => Verdict::Again(reason),
                (Version::Is(version), _) if version != write.version => {
                    Verdict::Again(CHANGED.into())
                }
                (_, Ok(true)) => {
                    gave.effort.cache_bytes += item.value.size_bytes() as u64;
                    Verdict::Done(write.written)
                }
                (_, Ok(false)) => Verdict::Again(NOT_OURS.into()),
                (_, Err(error)) => verdict_of(&error),
            };
            gave.verdicts.push((write.task, verdict));
        }
    }

    /// The versions that the rows have now, for each of what was written.
    async fn versions_of(
        &self,
        loader: &LoaderSpec,
        written: &[(Write, Item)],
        gave: &mut Gave,
    ) -> Result<Vec<Version>, NoVersions> {
        let name = loader.origin_of_versions().unwrap_or(&loader.origin);
        let resource = Resource::Origin(name.clone());
        let (Some(origin), Some(gate)) = (
            self.shared.origins.get(name),
            self.shared.gates.get(&resource),
        ) else {
            let reason = format!("this worker does not know the {resource}");
            return Err(NoVersions::For(reason));
        };
        let now = |error| NoVersions::Now(name.clone(), error);
        let again = origin.loader_of_versions(loader).map_err(now)?;
        let arguments = written.iter().map(|(write, _)| write.task.argument.clone());
        let keys: Vec<String> = arguments.collect();
        let permit = gate.permit(self.job.clone(), self.stop.clone());
        let permit = permit.with_priority(self.priority).impatient();
        let loaded = origin.load(&permit, &again, &keys).await;
        permit.answered();
        gave.effort.origin_queries += permit.taken();
        let loaded = loaded.map_err(now)?;
        gave.effort.origin_rows += loaded.rows;
        let version = |answer| match answer {
            Answer::Row(made) => Version::Is(made.version),
            Answer::Absent => Version::Is(None),
            Answer::Failed { reason } => Version::Unknown(reason),
        };
        Ok(loaded.answers.into_iter().map(version).collect())
    }
}

/// What is known of a row's version.
enum Version {
    /// It is this; `None`: there is no row.
    Is(Option<Bytes>),
    /// It could not be read.
    Unknown(String),
}

/// Why no versions could be read.
enum NoVersions {
    /// For this reason, which will stay.
    For(String),
    /// The origin of this name has not told them.
    Now(stoke_core::names::OriginName, OriginError),
}
