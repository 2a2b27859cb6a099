//! Fresh beats warm (DESIGN §7): where a loader names a version, what was written stays only if the row is still the one that it was
//! made of.
//!
//! The danger: we read a row, the application changes it and deletes its key, and we write what was. So a value is first written
//! for some seconds. Then the versions are read again: a change that is committed before that is seen, and one that is
//! committed later is followed by the application's own delete, which finds our value there. Where the version is the same, and
//! the value still ours, it gets its time to live; else it is deleted, if it is still ours, and the entry tried again.

use std::collections::BTreeMap;
use std::time::Duration;

use stoke_core::names::Resource;

use super::target::{Column, Target};
use super::write::Write;
use super::{Gave, Goer, Verdict, verdict_of};
use crate::cache::{CommandError, Item, PROVISIONAL_TTL};
use crate::catalog::LoaderSpec;
use crate::job::entries::Task;
use crate::origin::{Answer, OriginError};
use crate::permit::{Permit, Stopped};

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

    /// Reads the versions of what has been written for now (in `columns`: what is lacking), and settles it in each cache. The
    /// versions are read once, after all caches were written.
    pub(super) async fn settle(
        &self,
        loader: &LoaderSpec,
        targets: &[Target],
        (writes, items): (Vec<Write>, Vec<Item>),
        mut columns: Vec<Column>,
        gave: &mut Gave,
    ) {
        let is_for_now = |n: &usize| columns.iter().any(|column| column[*n].is_none());
        let for_now: Vec<usize> = (0..writes.len()).filter(is_for_now).collect();
        let looked = for_now.iter().map(|n| &writes[*n]).collect::<Vec<_>>();
        let looked = self.look_again(loader, &looked, gave).await;
        let fresh = match looked {
            Ok(fresh) => fresh,
            Err(error) => {
                // Nothing is settled: what was written is gone in some seconds.
                let origin = loader.origin_of_versions().unwrap_or(&loader.origin);
                let verdict = self.without(origin, &error, gave);
                let known = gave.missing.len();
                self.join(writes.into_iter().map(|write| write.task), columns, gave);
                if let Some(verdict) = verdict {
                    let unsettled = gave.missing.drain(known..);
                    let verdicts = unsettled.map(|task| (task, verdict.clone()));
                    gave.verdicts.extend(verdicts);
                }
                return;
            }
        };
        let of_now = |(write, item): (&Write, Item)| write.until_its_end(item);
        let items: Vec<Item> = writes.iter().zip(items).map(of_now).collect();
        let fresh: BTreeMap<usize, Result<(), String>> = for_now.into_iter().zip(fresh).collect();
        let settling = Self::with_each(targets, |target| {
            self.settle_at(target, &columns[target.place], &items, &fresh)
        });
        let Ok(settled) = settling.await else {
            return;
        };
        for (column, settled) in columns.iter_mut().zip(settled) {
            for (n, settled) in settled {
                let verdict = match (&fresh[&n], settled) {
                    (Err(why), _) => Verdict::Again(why.clone()),
                    (Ok(()), Ok(true)) => {
                        gave.effort.cache_bytes += items[n].value.size_bytes() as u64;
                        Verdict::Done(writes[n].written)
                    }
                    (Ok(()), Ok(false)) => Verdict::Again(NOT_OURS.into()),
                    (Ok(()), Err(error)) => verdict_of(&error),
                };
                column[n] = Some(verdict);
            }
        }
        self.join(writes.into_iter().map(|write| write.task), columns, gave);
    }

    /// Settles what was written to a cache for now, by whether it is fresh: its numbers, and whether the cache still had it.
    async fn settle_at(
        &self,
        target: &Target,
        column: &Column,
        items: &[Item],
        fresh: &BTreeMap<usize, Result<(), String>>,
    ) -> Result<Vec<(usize, Result<bool, CommandError>)>, Stopped> {
        let for_now = fresh.iter().filter(|(n, _)| column[**n].is_none());
        let (numbers, to_settle): (Vec<usize>, Vec<(&Item, bool)>) = for_now
            .map(|(n, fresh)| (*n, (&items[*n], fresh.is_ok())))
            .unzip();
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        let permit = self.permit_for(target);
        let _place = permit.enter().await?;
        let settled = target.cache.settle(&permit, &to_settle).await?;
        Ok(numbers.into_iter().zip(settled).collect())
    }

    /// Reads again which versions the rows have: for each of what was written, whether it is fresh, or why not.
    async fn look_again(
        &self,
        loader: &LoaderSpec,
        written: &[&Write],
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
        let arguments = written.iter().map(|write| &*write.task.argument);
        let keys: Vec<&str> = arguments.collect();
        let permit = gate.permit(self.job.clone(), self.stop.clone());
        let permit = permit.with_priority(self.priority).impatient();
        let loaded = origin.load_versions(&permit, &again, &keys).await;
        permit.answered();
        gave.effort.origin_queries += permit.taken();
        let loaded = loaded?;
        gave.effort.origin_rows += loaded.rows;
        let answers = written.iter().zip(loaded.answers);
        Ok(answers
            .map(|(write, answer)| is_fresh(write, answer))
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
