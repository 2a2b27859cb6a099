//! Fresh beats warm (DESIGN §7): where a loader names a version, what was written stays only if the row is still the one that it was
//! made of.
//!
//! The danger: we read a row, the application changes it and deletes its key, and we write what was. So a value is first written
//! for some seconds. Then the versions are read again: a change that is committed before that is seen, and one that is
//! committed later is followed by the application's own delete, which finds our value there. Where the version is the same, and
//! the value still ours, it gets its time to live; else it is deleted, if it is still ours, and the entry tried again.

use std::time::Duration;

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
        let fresh = match self.look_again(loader, &written, gave).await {
            Ok(fresh) => fresh,
            Err(error) => {
                // Nothing is settled: what was written is gone in some seconds.
                let origin = loader.origin_of_versions().unwrap_or(&loader.origin);
                let tasks = written.into_iter().map(|(write, _)| write.task);
                return self.not_loaded(origin, &error, tasks, gave);
            }
        };
        let permit = self.cache_permit();
        let Ok(_place) = permit.enter().await else {
            return;
        };
        let of_now = |(write, item): (Write, Item)| {
            let item = write.until_its_end(item);
            (write, item)
        };
        let written: Vec<(Write, Item)> = written.into_iter().map(of_now).collect();
        let items = written.iter().map(|(_, item)| item);
        let to_settle = items.zip(fresh.iter().map(Result::is_ok));
        let Ok(settled) = cache.settle(&permit, &to_settle.collect::<Vec<_>>()).await else {
            return;
        };
        for (((write, item), fresh), settled) in written.into_iter().zip(fresh).zip(settled) {
            let verdict = match (fresh, settled) {
                (Err(why), _) => Verdict::Again(why),
                (Ok(()), Ok(true)) => {
                    gave.effort.cache_bytes += item.value.size_bytes() as u64;
                    Verdict::Done(write.written)
                }
                (Ok(()), Ok(false)) => Verdict::Again(NOT_OURS.into()),
                (Ok(()), Err(error)) => verdict_of(&error),
            };
            gave.verdicts.push((write.task, verdict));
        }
    }

    /// Reads again which versions the rows have: for each of what was written, whether it is fresh, or why not.
    async fn look_again(
        &self,
        loader: &LoaderSpec,
        written: &[(Write, Item)],
        gave: &mut Gave,
    ) -> Result<Vec<Result<(), String>>, OriginError> {
        let name = loader.origin_of_versions().unwrap_or(&loader.origin);
        let resource = Resource::Origin(name.clone());
        let (Some(origin), Some(gate)) = (
            self.shared.origins.get(name),
            self.shared.gates.get(&resource),
        ) else {
            return Err(OriginError::unknown(&resource));
        };
        let again = origin.loader_of_versions(loader)?;
        let arguments = written.iter().map(|(write, _)| write.task.argument.clone());
        let keys: Vec<String> = arguments.collect();
        let permit = gate.permit(self.job.clone(), self.stop.clone());
        let permit = permit.with_priority(self.priority).impatient();
        let loaded = origin.load(&permit, &again, &keys).await;
        permit.answered();
        gave.effort.origin_queries += permit.taken();
        let loaded = loaded?;
        gave.effort.origin_rows += loaded.rows;
        let answers = written.iter().zip(loaded.answers);
        Ok(answers
            .map(|((write, _), answer)| is_fresh(write, answer))
            .collect())
    }
}

/// Whether what the origin has now is what was written, or why not.
fn is_fresh(write: &Write, answer: Answer) -> Result<(), String> {
    let version = match answer {
        Answer::Row(made) => made.version,
        Answer::Absent => None,
        Answer::Failed { reason } | Answer::Again { reason } => return Err(reason),
    };
    if version == write.version {
        Ok(())
    } else {
        Err(CHANGED.into())
    }
}
