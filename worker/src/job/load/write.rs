//! Writing what the origin gave to each cache that lacks it.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use stoke_core::progress::Outcome;

use super::target::{Column, Target};
use super::{Gave, Goer, Verdict, ttl, verdict_of};
use crate::cache::{Item, WriteMode, WriteOutcome};
use crate::catalog::LoaderSpec;
use crate::job::entries::Task;
use crate::origin::{Answer, Made};
use crate::permit::{Permit, Stopped};
use crate::value::{Packer, Value};

impl Goer {
    /// Writes what the origin gave for a batch of one loader, or compares it where the job only looks.
    pub(super) async fn write(
        &self,
        loader: &LoaderSpec,
        tasks: Vec<Task>,
        answers: Vec<Answer>,
        gave: &mut Gave,
    ) {
        let Some(mode) = WriteMode::of(self.mode) else {
            return self.compare(loader, tasks, answers, gave).await;
        };
        let (writes, items) = to_write(loader, tasks, answers, gave);
        if items.is_empty() {
            return;
        }
        let Some(targets) = self.connected().await else {
            return;
        };
        let for_now = loader.value.versions.is_some();
        let writing = Self::with_each(&targets, |target| {
            self.write_to(target, mode, for_now, &writes, &items)
        });
        let Ok(outcomes) = writing.await else {
            return;
        };
        let mut columns = Vec::with_capacity(targets.len());
        for (target, of_cache) in targets.iter().zip(outcomes) {
            let mut column = Column::with_capacity(writes.len());
            for ((write, item), outcome) in writes.iter().zip(&items).zip(of_cache) {
                column.push(match outcome {
                    // It is there, but not to stay.
                    WriteOutcome::Written if for_now => None,
                    WriteOutcome::Written => {
                        gave.effort.cache_bytes += item.value.size_bytes() as u64;
                        Some(Verdict::Done(write.written))
                    }
                    WriteOutcome::Kept => Some(Verdict::Done(Outcome::Present)),
                    WriteOutcome::Failed(error)
                        if self.is_to_be_typed(loader, target.name(), &error) =>
                    {
                        None
                    }
                    WriteOutcome::Failed(error) => Some(verdict_of(&error)),
                });
            }
            columns.push(column);
        }
        if for_now && columns.iter().flatten().any(Option::is_none) {
            self.settle(loader, &targets, (writes, items), columns, gave)
                .await;
        } else {
            let tasks = writes.into_iter().map(|write| write.task);
            self.join(tasks, columns, gave);
        }
    }

    /// Writes to a cache what it lacks. What it has counts as kept, and costs no write.
    async fn write_to(
        &self,
        target: &Target,
        mode: WriteMode,
        for_now: bool,
        writes: &[Write],
        items: &[Item],
    ) -> Result<Vec<WriteOutcome>, Stopped> {
        let lacks = |write: &Write| write.task.lacking.at(target.place);
        let lacking = if writes.iter().all(lacks) {
            Cow::Borrowed(items)
        } else {
            let lacking = writes.iter().zip(items).filter(|(write, _)| lacks(write));
            lacking.map(|(_, item)| item.clone()).collect()
        };
        let mut written = if lacking.is_empty() {
            Vec::new()
        } else {
            let permit = self.permit_for(target);
            let _place = permit.enter().await?;
            if for_now {
                target.cache.write_for_now(&permit, mode, &lacking).await?
            } else {
                target.cache.write(&permit, mode, &lacking).await?
            }
        }
        .into_iter();
        let outcome = |write: &Write| {
            let written = lacks(write).then(|| written.next()).flatten();
            written.unwrap_or(WriteOutcome::Kept)
        };
        Ok(writes.iter().map(outcome).collect())
    }
}

/// A task that something is written for.
pub(super) struct Write {
    pub(super) task: Task,
    /// What it has come to once it is written.
    pub(super) written: Outcome,
    /// The version of the rows that the value was made of; `None`: there was none.
    pub(super) version: Option<Bytes>,
    /// When the value must be gone.
    expires_at: Option<SystemTime>,
}

impl Write {
    /// The item, which lives no longer than until the value must be gone.
    pub(super) fn until_its_end(&self, item: Item) -> Item {
        let left = self.expires_at.map(left_until);
        Item {
            ttl: left.map_or(item.ttl, |left| left.min(item.ttl)),
            ..item
        }
    }
}

/// How long it is until then; nothing where that is over.
pub(super) fn left_until(time: SystemTime) -> Duration {
    let left = time.duration_since(SystemTime::now());
    left.unwrap_or(Duration::ZERO)
}

/// What is to be written for a batch, each with its item; the others have their verdicts.
fn to_write(
    loader: &LoaderSpec,
    tasks: Vec<Task>,
    answers: Vec<Answer>,
    gave: &mut Gave,
) -> (Vec<Write>, Vec<Item>) {
    let spec = &loader.value;
    let negative = spec.negative.as_ref();
    let negative = negative.and_then(|negative| {
        let value = Value::negative(spec, negative)?;
        Some((value, negative.ttl))
    });
    let mut packer = Packer::default();
    let (mut writes, mut items) = (Vec::new(), Vec::new());
    for (task, answer) in tasks.into_iter().zip(answers) {
        let (made, ttl, written) = match (answer, &negative) {
            (Answer::Row(made), _)
                if made.expires_at.is_some_and(|at| left_until(at).is_zero()) =>
            {
                gave.verdicts.push((task, Verdict::Done(Outcome::Skipped)));
                continue;
            }
            (Answer::Row(made), _) => (made, ttl(loader, &task.key), Outcome::Warmed),
            (Answer::Absent, Some((value, ttl))) => {
                (Made::from(value.clone()), *ttl, Outcome::Absent)
            }
            (Answer::Absent, None) => {
                gave.verdicts.push((task, Verdict::Done(Outcome::Absent)));
                continue;
            }
            (Answer::Failed { reason }, _) => {
                gave.verdicts.push((task, Verdict::Failed(reason)));
                continue;
            }
            (Answer::Again { reason }, _) => {
                gave.verdicts.push((task, Verdict::Again(reason)));
                continue;
            }
        };
        let compression = spec.compression.filter(|_| written == Outcome::Warmed);
        let value = match packer.pack(made.value, compression) {
            Ok(value) => value,
            Err(error) => {
                let reason = format!("its value cannot be compressed: {error}");
                gave.verdicts.push((task, Verdict::Again(reason)));
                continue;
            }
        };
        let key = task.key.clone();
        let write = Write {
            task,
            written,
            version: made.version,
            expires_at: made.expires_at,
        };
        items.push(write.until_its_end(Item { key, value, ttl }));
        writes.push(write);
    }
    (writes, items)
}
