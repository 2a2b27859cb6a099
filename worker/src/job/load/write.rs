//! Writing what the origin gave.

use stoke_core::progress::Outcome;

use super::{Gave, Goer, Verdict, ttl, verdict_of};
use crate::cache::{Item, WriteMode, WriteOutcome};
use crate::catalog::LoaderSpec;
use crate::job::entries::Task;
use crate::origin::Answer;
use crate::permit::Permit;
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
        let Some(cache) = self.connected().await else {
            return;
        };
        let permit = self.cache_permit();
        let Ok(_place) = permit.enter().await else {
            return;
        };
        let Ok(outcomes) = cache.write(&permit, mode, &items).await else {
            return;
        };
        for ((write, item), outcome) in writes.into_iter().zip(&items).zip(outcomes) {
            let verdict = match outcome {
                WriteOutcome::Written => {
                    gave.effort.cache_bytes += item.value.size_bytes() as u64;
                    Verdict::Done(write.written)
                }
                WriteOutcome::Kept => Verdict::Done(Outcome::Present),
                WriteOutcome::Failed(error) => verdict_of(&error),
            };
            gave.verdicts.push((write.task, verdict));
        }
    }
}

/// A task that something is written for, and what it has come to once it is.
struct Write {
    task: Task,
    written: Outcome,
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
        let (value, ttl, written) = match (answer, &negative) {
            (Answer::Row(value), _) => match packer.pack(value, spec.compression) {
                Ok(value) => (value, ttl(loader, &task.key), Outcome::Warmed),
                Err(error) => {
                    let reason = format!("its value cannot be compressed: {error}");
                    gave.verdicts.push((task, Verdict::Again(reason)));
                    continue;
                }
            },
            (Answer::Absent, Some((value, ttl))) => (value.clone(), *ttl, Outcome::Absent),
            (Answer::Absent, None) => {
                gave.verdicts.push((task, Verdict::Done(Outcome::Absent)));
                continue;
            }
            (Answer::Failed { reason }, _) => {
                gave.verdicts.push((task, Verdict::Failed(reason)));
                continue;
            }
        };
        let key = task.key.clone();
        items.push(Item { key, value, ttl });
        writes.push(Write { task, written });
    }
    (writes, items)
}
