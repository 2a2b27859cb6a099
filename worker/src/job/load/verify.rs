//! Looking whether entries are in each cache as their loaders would have written them. Nothing is written.
//!
//! First each cache tells of all keys whether they are there, of what kind and for how long. Those that are not there, and where
//! values are compared all that are as they should be so far, are then loaded, under the origin's budget: who is in neither
//! is as it should be, too. What differs has failed, and its reason is the difference: never a value, only lengths.

use std::time::Duration;

use stoke_core::copy::TTL_OF_ORIGIN;
use stoke_core::job::Mode;
use stoke_core::progress::Outcome;

use super::held::{Held, Wanted};
use super::target::{Column, Target};
use super::write::left_until;
use super::{Gave, Goer, Verdict, verdict_of};
use crate::cache::{CommandError, Standing};
use crate::catalog::LoaderSpec;
use crate::job::entries::Task;
use crate::origin::Answer;
use crate::permit::Stopped;
use crate::value::Value;

/// The difference that is met most.
pub(super) const MISSING: &str = "it is not in the cache, though the origin has it";

/// How an entry is in the cache, beside its value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Look {
    AsItShouldBe,
    Missing,
    Differs(String),
}

impl Goer {
    /// Asks a cache how entries are there. What is as it should be so far is lacking as well, where values are compared.
    pub(super) async fn look(&self, target: &Target, tasks: &[Task]) -> Result<Column, Stopped> {
        let keys: Vec<&[u8]> = tasks.iter().map(|task| &task.key[..]).collect();
        let permit = self.permit_for(target);
        let standings = target.cache.look_as(&permit, &keys).await?;
        let found = |(task, standing): (&Task, Result<Standing, CommandError>)| {
            let loader = self.loader(task);
            let kind = loader.map_or(Some(""), |loader| Value::kind_of(&loader.value));
            let ttl_max = loader.map_or(Duration::ZERO, |loader| ttl_max(loader));
            match standing.map(|standing| judge(&standing, kind, ttl_max)) {
                Ok(Look::AsItShouldBe) if self.mode == Mode::Verify => {
                    Some(Verdict::Done(Outcome::Present))
                }
                Ok(Look::AsItShouldBe | Look::Missing) => None,
                Ok(Look::Differs(how)) => Some(Verdict::Failed(how)),
                Err(error) => Some(not_looked_at(&error)),
            }
        };
        Ok(tasks.iter().zip(standings).map(found).collect())
    }

    /// Compares what the origin gave for a batch of one loader with what is in each cache.
    pub(super) async fn compare(
        &self,
        loader: &LoaderSpec,
        tasks: Vec<Task>,
        answers: Vec<Answer>,
        gave: &mut Gave,
    ) {
        if self.mode == Mode::Verify {
            // What came here is lacking somewhere, and elsewhere as it should be.
            let found = |place: usize| {
                let one = |(task, answer): (&Task, &Answer)| {
                    Some(if task.lacking.at(place) {
                        weigh(answer, Held::Nothing)
                    } else {
                        Verdict::Done(Outcome::Present)
                    })
                };
                tasks.iter().zip(&answers).map(one).collect()
            };
            let columns = (0..self.caches.len()).map(found).collect();
            return self.join(tasks, columns, gave);
        }
        if loader.copies() {
            return self.compare_copies(loader, tasks, answers, gave).await;
        }
        let Some(targets) = self.connected().await else {
            return;
        };
        let negative = &loader.value.negative;
        let negative = negative
            .as_ref()
            .and_then(|negative| Value::negative(&loader.value, negative));
        let wanted = tasks.iter().zip(&answers).map(|(task, answer)| {
            let (value, compression) = match answer {
                Answer::Row(made) => (Some(&made.value), loader.value.compression),
                Answer::Absent => (negative.as_ref(), None),
                Answer::Failed { .. } | Answer::Again { .. } => (None, None),
            };
            Wanted {
                key: &task.key,
                value,
                compression,
            }
        });
        let wanted: Vec<_> = wanted.collect();
        let Ok(held) = Self::with_each(&targets, |target| self.held(target, &wanted)).await else {
            return;
        };
        let weighed = |held: Vec<Result<Held, CommandError>>| -> Column {
            let verdict = |(answer, held): (&Answer, Result<Held, CommandError>)| {
                Some(match held {
                    Ok(held) => weigh(answer, held),
                    Err(error) => not_looked_at(&error),
                })
            };
            answers.iter().zip(held).map(verdict).collect()
        };
        let columns = held.into_iter().map(weighed).collect();
        self.join(tasks, columns, gave);
    }
}

/// The longest that one of a loader's entries may live.
fn ttl_max(loader: &LoaderSpec) -> Duration {
    let negative = loader.value.negative.as_ref();
    negative.map_or(loader.ttl, |negative| negative.ttl.max(loader.ttl))
}

/// Judges an entry by all but its value, where its loader writes values of this kind (`None`: of any) and gives them this time to
/// live at most.
fn judge(standing: &Standing, kind: Option<&str>, ttl_max: Duration) -> Look {
    match (standing, kind) {
        (Standing::Missing, _) => Look::Missing,
        (Standing::Present { kind: other, .. }, Some(kind)) if other != kind => {
            Look::Differs(format!("it is of type {other}, where {kind} is written"))
        }
        (Standing::Present { ttl: None, .. }, _) if ttl_max < TTL_OF_ORIGIN => Look::Differs(
            format!("it has no time to live, where the loader gives {ttl_max:?}"),
        ),
        (Standing::Present { ttl: Some(ttl), .. }, _) if *ttl > ttl_max => Look::Differs(format!(
            "it lives for another {ttl:?}, where the loader gives {ttl_max:?} at most"
        )),
        (Standing::Present { .. }, _) => Look::AsItShouldBe,
    }
}

/// Judges an entry by what the origin has and what the cache holds, compared with that.
fn weigh(answer: &Answer, held: Held) -> Verdict {
    match (answer, held) {
        // It is over, and would not be written.
        (Answer::Row(made), Held::Nothing)
            if made.expires_at.is_some_and(|at| left_until(at).is_zero()) =>
        {
            Verdict::Done(Outcome::Skipped)
        }
        (Answer::Row(_), Held::Same) => Verdict::Done(Outcome::Present),
        (Answer::Row(_), Held::Nothing) => Verdict::Failed(MISSING.into()),
        (Answer::Row(_), Held::Other(how)) => Verdict::Failed(format!(
            "its value differs from what the origin gives now: {how}"
        )),
        // What is the same is what its loader stores for an absent row.
        (Answer::Absent, Held::Nothing | Held::Same) => Verdict::Done(Outcome::Absent),
        (Answer::Absent, Held::Other(_)) => {
            Verdict::Failed("it is in the cache, but not in the origin now".into())
        }
        (Answer::Again { reason }, _) => Verdict::Again(reason.clone()),
        (Answer::Failed { reason }, Held::Nothing) => {
            Verdict::Failed(format!("{MISSING}, in a row that cannot be used: {reason}"))
        }
        (Answer::Failed { reason }, _) => {
            Verdict::Failed(format!("its value cannot be compared: {reason}"))
        }
    }
}

fn not_looked_at(error: &CommandError) -> Verdict {
    let say = |reason| format!("it could not be looked at: {reason}");
    match verdict_of(error) {
        Verdict::Again(reason) => Verdict::Again(say(reason)),
        Verdict::Failed(reason) => Verdict::Failed(say(reason)),
        other @ (Verdict::Done(_) | Verdict::Read { .. }) => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn failed(verdict: Verdict) -> String {
        match verdict {
            Verdict::Failed(reason) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn kind_and_time_to_live_must_be_as_they_are_written() {
        let present = |kind: &str, ttl| Standing::Present {
            kind: kind.into(),
            ttl,
        };
        let second = Duration::from_secs(1);
        assert_eq!(
            judge(&Standing::Missing, Some("string"), HOUR),
            Look::Missing
        );
        for ttl in [Duration::ZERO, second, HOUR] {
            assert_eq!(
                judge(&present("string", Some(ttl)), Some("string"), HOUR),
                Look::AsItShouldBe
            );
        }
        for (standing, says) in [
            (present("hash", Some(second)), "type hash"),
            (present("list", None), "type list"),
            (present("string", None), "no time to live"),
            (present("string", Some(HOUR + second)), "another 3601s"),
        ] {
            let Look::Differs(how) = judge(&standing, Some("string"), HOUR) else {
                panic!("{standing:?}");
            };
            assert!(how.contains(says), "{how}");
        }
    }

    #[test]
    fn a_hash_is_looked_for_where_hashes_are_written() {
        let present = |kind: &str| Standing::Present {
            kind: kind.into(),
            ttl: Some(HOUR),
        };
        let look = judge(&present("hash"), Some("hash"), HOUR);
        assert_eq!(look, Look::AsItShouldBe);
        let look = judge(&present("string"), Some("hash"), HOUR);
        assert!(matches!(look, Look::Differs(how) if how.contains("where hash is written")));
    }

    #[test]
    fn what_is_in_neither_or_the_same_in_both_is_as_it_should_be() {
        let row = Answer::Row(Value::from("{\"id\":1}").into());
        let other = || Held::Other("6 bytes instead of 8".into());
        assert_eq!(weigh(&row, Held::Same), Verdict::Done(Outcome::Present));
        let absent = Verdict::Done(Outcome::Absent);
        assert_eq!(weigh(&Answer::Absent, Held::Nothing), absent);
        assert_eq!(weigh(&Answer::Absent, Held::Same), absent);
        assert_eq!(failed(weigh(&row, Held::Nothing)), MISSING);
        assert!(failed(weigh(&row, other())).ends_with(": 6 bytes instead of 8"));
        assert!(failed(weigh(&Answer::Absent, other())).contains("not in the origin"));
        let bad = Answer::Failed {
            reason: "NaN has no form".into(),
        };
        assert!(failed(weigh(&bad, Held::Nothing)).starts_with(MISSING));
        assert!(failed(weigh(&bad, other())).contains("cannot be compared: NaN"));
    }
}
