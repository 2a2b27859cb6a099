//! Giving entries that are there a new time to live.
//!
//! What stands for an absent row is left as it is: it shall not live as long as a value does.

use std::time::Duration;

use bytes::Bytes;
use stoke_core::progress::Outcome;

use super::held::{Held, Wanted};
use super::target::{Column, Target};
use super::{Goer, Verdict, ttl, verdict_of};
use crate::cache::{CommandError, ExtendOutcome};
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

    /// Gives entries that a cache has, by their numbers and with what they have left there, a new time to live.
    pub(super) async fn refresh(
        &self,
        target: &Target,
        tasks: &[Task],
        present: Vec<(usize, Duration)>,
        column: &mut Column,
    ) -> Result<(), Stopped> {
        let stands_for_none = self.stand_for_none(target, tasks, &present).await?;
        let mut values = Vec::new();
        for ((n, _), stands) in present.into_iter().zip(stands_for_none) {
            match stands {
                Ok(false) => values.push(n),
                Ok(true) => column[n] = Some(Verdict::Done(Outcome::Present)),
                Err(error) => column[n] = Some(verdict_of(&error)),
            }
        }
        self.extend(target, tasks, &values, column).await
    }

    /// Which of them are what their loaders store for an absent row. Only those are looked at that may be.
    async fn stand_for_none(
        &self,
        target: &Target,
        tasks: &[Task],
        present: &[(usize, Duration)],
    ) -> Result<Vec<Result<bool, CommandError>>, Stopped> {
        let mut stand = vec![Ok(false); present.len()];
        let mut doubtful = Vec::new();
        for (place, (n, left)) in present.iter().enumerate() {
            let task = &tasks[*n];
            if let Some(spec) = self.loader(task).map(|loader| &loader.value)
                && let Some(negative) = &spec.negative
                && *left <= negative.ttl
                && let Some(value) = Value::negative(spec, negative)
            {
                doubtful.push((place, &task.key[..], value));
            }
        }
        let wanted = doubtful.iter().map(|(_, key, value)| Wanted {
            key,
            value: Some(value),
            compression: None,
        });
        let held = self.held(target, &wanted.collect::<Vec<_>>()).await?;
        for ((place, ..), held) in doubtful.iter().zip(held) {
            stand[*place] = held.map(|held| held == Held::Same);
        }
        Ok(stand)
    }

    /// Gives entries their loaders' time to live.
    async fn extend(
        &self,
        target: &Target,
        tasks: &[Task],
        present: &[usize],
        column: &mut Column,
    ) -> Result<(), Stopped> {
        if present.is_empty() {
            return Ok(());
        }
        let ttl = |task: &Task| {
            self.loader(task)
                .map_or(Duration::ZERO, |loader| ttl(loader, &task.key))
        };
        let items = present.iter().map(|n| &tasks[*n]);
        let items: Vec<(Bytes, Duration)> =
            items.map(|task| (task.key.clone(), ttl(task))).collect();
        let permit = self.permit_for(target);
        let _place = permit.enter().await?;
        let outcomes = target.cache.extend(&permit, &items).await?;
        for (n, outcome) in present.iter().zip(outcomes) {
            column[*n] = match outcome {
                ExtendOutcome::Extended => Some(Verdict::Done(Outcome::Present)),
                ExtendOutcome::Gone => None,
                ExtendOutcome::Failed(error) => Some(verdict_of(&error)),
            };
        }
        Ok(())
    }
}
