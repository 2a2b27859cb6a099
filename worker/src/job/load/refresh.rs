//! Giving entries that are there a new time to live.
//!
//! What stands for an absent row is left as it is: it shall not live as long as a value does.

use std::time::Duration;

use bytes::Bytes;
use stoke_core::progress::Outcome;

use super::held::{Held, Wanted};
use super::{Gave, Goer, Verdict, ttl, verdict_of};
use crate::cache::{Cache, CommandError, ExtendOutcome};
use crate::job::entries::Task;
use crate::permit::{Permit, Stopped};
use crate::value::Value;

impl Goer {
    /// Whether a new time to live is longer than what an entry has left. One that the application keeps for longer, or
    /// for ever, is left as it is.
    /// Neither is lengthened what its row may give an end before that, nor what has its end from another Redis.
    pub(super) fn would_lengthen(&self, task: &Task, left: Duration) -> bool {
        self.loader(task).is_some_and(|loader| {
            !loader.copies()
                && loader.value.expiry_column.is_none()
                && left < ttl(loader, &task.key)
        })
    }

    /// Gives entries that are there, with what they have left, a new time to live.
    pub(super) async fn refresh(
        &self,
        cache: &Cache,
        present: Vec<(Task, Duration)>,
        gave: &mut Gave,
    ) {
        let Ok(stands_for_none) = self.stand_for_none(cache, &present).await else {
            return;
        };
        let mut values = Vec::new();
        for ((task, _), stands) in present.into_iter().zip(stands_for_none) {
            match stands {
                Ok(false) => values.push(task),
                Ok(true) => gave.verdicts.push((task, Verdict::Done(Outcome::Present))),
                Err(error) => gave.verdicts.push((task, verdict_of(&error))),
            }
        }
        self.extend(cache, values, gave).await;
    }

    /// Which of them are what their loaders store for an absent row. Only those are looked at that may be.
    async fn stand_for_none(
        &self,
        cache: &Cache,
        present: &[(Task, Duration)],
    ) -> Result<Vec<Result<bool, CommandError>>, Stopped> {
        let mut stand = vec![Ok(false); present.len()];
        let mut doubtful = Vec::new();
        for (n, (task, left)) in present.iter().enumerate() {
            if let Some(spec) = self.loader(task).map(|loader| &loader.value)
                && let Some(negative) = &spec.negative
                && *left <= negative.ttl
                && let Some(value) = Value::negative(spec, negative)
            {
                doubtful.push((n, &task.key[..], value));
            }
        }
        let wanted = doubtful.iter().map(|(_, key, value)| Wanted {
            key,
            value: Some(value),
            compression: None,
        });
        let held = self.held(cache, &wanted.collect::<Vec<_>>()).await?;
        for ((n, ..), held) in doubtful.iter().zip(held) {
            stand[*n] = held.map(|held| held == Held::Same);
        }
        Ok(stand)
    }

    /// Gives entries their loaders' time to live.
    async fn extend(&self, cache: &Cache, present: Vec<Task>, gave: &mut Gave) {
        if present.is_empty() {
            return;
        }
        let ttl = |task: &Task| {
            self.loader(task)
                .map_or(Duration::ZERO, |loader| ttl(loader, &task.key))
        };
        let items: Vec<(Bytes, Duration)> = present
            .iter()
            .map(|task| (task.key.clone(), ttl(task)))
            .collect();
        let permit = self.cache_permit();
        let Ok(_place) = permit.enter().await else {
            return;
        };
        let Ok(outcomes) = cache.extend(&permit, &items).await else {
            return;
        };
        for (task, outcome) in present.into_iter().zip(outcomes) {
            match outcome {
                ExtendOutcome::Extended => {
                    gave.verdicts.push((task, Verdict::Done(Outcome::Present)))
                }
                ExtendOutcome::Gone => gave.missing.push(task),
                ExtendOutcome::Failed(error) => gave.verdicts.push((task, verdict_of(&error))),
            }
        }
    }
}
