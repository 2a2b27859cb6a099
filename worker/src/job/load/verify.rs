//! Looking whether entries are in the cache as their loaders would have written them. Nothing is written.
//!
//! First the cache tells of all keys whether they are there, of what kind and for how long. Those that are not there, and where
//! values are compared all that are as they should be so far, are then loaded, under the origin's budget: who is in neither
//! is as it should be, too. What differs has failed, and its reason is the difference: never a value, only lengths.

use std::time::Duration;

use stoke_core::job::Mode;
use stoke_core::progress::Outcome;

use super::{Gave, Goer, Verdict, verdict_of};
use crate::cache::{Cache, CommandError, Standing};
use crate::job::entries::Task;
use crate::origin::Answer;

/// What is written: values are strings.
const KIND: &str = "string";
/// The difference that is met most.
const MISSING: &str = "it is not in the cache, though the origin has it";

/// How an entry is in the cache, beside its value.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Look {
    AsItShouldBe,
    Missing,
    Differs(String),
}

impl Goer {
    /// Asks the cache how entries are there. Once stopped, it gives nothing.
    pub(super) async fn look(&self, cache: &Cache, tasks: Vec<Task>, gave: &mut Gave) {
        let keys: Vec<&[u8]> = tasks.iter().map(|task| &task.key[..]).collect();
        let Ok(standings) = cache.look_as(&self.cache_permit(), &keys).await else {
            return;
        };
        for (task, standing) in tasks.into_iter().zip(standings) {
            let ttl_max = self
                .loader(&task)
                .map_or(Duration::ZERO, |loader| loader.ttl);
            match standing.map(|standing| judge(&standing, ttl_max)) {
                Ok(Look::AsItShouldBe) if self.mode == Mode::Verify => {
                    gave.verdicts.push((task, Verdict::Done(Outcome::Present)));
                }
                Ok(Look::AsItShouldBe | Look::Missing) => gave.missing.push(task),
                Ok(Look::Differs(how)) => gave.verdicts.push((task, Verdict::Failed(how))),
                Err(error) => gave.verdicts.push((task, not_looked_at(&error))),
            }
        }
    }

    /// Compares what the origin gave with what is in the cache.
    pub(super) async fn compare(&self, tasks: Vec<Task>, answers: Vec<Answer>, gave: &mut Gave) {
        if self.mode == Mode::Verify {
            // Only what is not in the cache came here.
            let pairs = tasks.into_iter().zip(answers);
            let verdicts = pairs.map(|(task, answer)| (task, weigh(&answer, b"")));
            gave.verdicts.extend(verdicts);
            return;
        }
        let Some(cache) = self.connected().await else {
            return;
        };
        let wanted = tasks.iter().zip(&answers);
        let peeks: Vec<(&[u8], usize)> = wanted
            .map(|(task, answer)| (&task.key[..], last_byte(answer)))
            .collect();
        let Ok(values) = cache.peek_as(&self.cache_permit(), &peeks).await else {
            return;
        };
        for ((task, answer), value) in tasks.into_iter().zip(answers).zip(values) {
            let verdict = match value {
                Ok(there) => weigh(&answer, &there),
                Err(error) => not_looked_at(&error),
            };
            gave.verdicts.push((task, verdict));
        }
    }
}

/// Judges an entry by all but its value, where its loader gives this time to live at most.
fn judge(standing: &Standing, ttl_max: Duration) -> Look {
    match standing {
        Standing::Missing => Look::Missing,
        Standing::Present { kind, .. } if kind != KIND => {
            Look::Differs(format!("it is of type {kind}, where {KIND} is written"))
        }
        Standing::Present { ttl: None, .. } => Look::Differs(format!(
            "it has no time to live, where the loader gives {ttl_max:?}"
        )),
        Standing::Present { ttl: Some(ttl), .. } if *ttl > ttl_max => Look::Differs(format!(
            "it lives for another {ttl:?}, where the loader gives {ttl_max:?} at most"
        )),
        Standing::Present { .. } => Look::AsItShouldBe,
    }
}

/// Up to which byte the cache's value is read: one more than it should have, so that a longer one is told from it whatever its
/// length is; any at all where it should not be there.
fn last_byte(answer: &Answer) -> usize {
    match answer {
        Answer::Row(value) => value.len(),
        Answer::Absent | Answer::Failed { .. } => 0,
    }
}

/// Judges an entry by what the origin has and the first bytes in the cache, up to [`last_byte`]; a key that is not there has
/// none, and no row is without any.
fn weigh(answer: &Answer, there: &[u8]) -> Verdict {
    match answer {
        Answer::Row(value) if there == &value[..] => Verdict::Done(Outcome::Present),
        Answer::Row(_) if there.is_empty() => Verdict::Failed(MISSING.into()),
        Answer::Row(value) => Verdict::Failed(difference(there, value)),
        Answer::Absent if there.is_empty() => Verdict::Done(Outcome::Absent),
        Answer::Absent => Verdict::Failed("it is in the cache, but not in the origin now".into()),
        Answer::Failed { reason } if there.is_empty() => {
            Verdict::Failed(format!("{MISSING}, in a row that cannot be used: {reason}"))
        }
        Answer::Failed { reason } => {
            Verdict::Failed(format!("its value cannot be compared: {reason}"))
        }
    }
}

fn difference(there: &[u8], value: &[u8]) -> String {
    let how = match there.len().cmp(&value.len()) {
        std::cmp::Ordering::Less => format!("{} bytes instead of {}", there.len(), value.len()),
        std::cmp::Ordering::Greater => format!("more than {} bytes", value.len()),
        std::cmp::Ordering::Equal => {
            let same = there.iter().zip(value).take_while(|(a, b)| a == b);
            let first = same.count() + 1;
            format!("of {} bytes, number {first} is the first", value.len())
        }
    };
    format!("its value differs from what the origin gives now: {how}")
}

fn not_looked_at(error: &CommandError) -> Verdict {
    let say = |reason| format!("it could not be looked at: {reason}");
    match verdict_of(error) {
        Verdict::Again(reason) => Verdict::Again(say(reason)),
        Verdict::Failed(reason) => Verdict::Failed(say(reason)),
        done @ Verdict::Done(_) => done,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        assert_eq!(judge(&Standing::Missing, HOUR), Look::Missing);
        for ttl in [Duration::ZERO, second, HOUR] {
            assert_eq!(
                judge(&present("string", Some(ttl)), HOUR),
                Look::AsItShouldBe
            );
        }
        for (standing, says) in [
            (present("hash", Some(second)), "type hash"),
            (present("list", None), "type list"),
            (present("string", None), "no time to live"),
            (present("string", Some(HOUR + second)), "another 3601s"),
        ] {
            let Look::Differs(how) = judge(&standing, HOUR) else {
                panic!("{standing:?}");
            };
            assert!(how.contains(says), "{how}");
        }
    }

    #[test]
    fn what_is_in_neither_or_the_same_in_both_is_as_it_should_be() {
        let row = Answer::Row("{\"id\":1}".into());
        assert_eq!(weigh(&row, b"{\"id\":1}"), Verdict::Done(Outcome::Present));
        assert_eq!(weigh(&Answer::Absent, b""), Verdict::Done(Outcome::Absent));
        assert_eq!(failed(weigh(&row, b"")), MISSING);
        assert!(failed(weigh(&Answer::Absent, b"x")).contains("not in the origin"));
        let bad = Answer::Failed {
            reason: "NaN has no form".into(),
        };
        assert!(failed(weigh(&bad, b"")).starts_with(MISSING));
        assert!(failed(weigh(&bad, b"x")).contains("cannot be compared: NaN"));
    }

    #[test]
    fn a_difference_tells_lengths_and_places_only() {
        for (there, says) in [
            (&b"secret"[..], "6 bytes instead of 8"),
            (b"{\"id\":2}", "of 8 bytes, number 7 is the first"),
            (b"{\"id\":1}9", "more than 8 bytes"),
        ] {
            let how = failed(weigh(&Answer::Row("{\"id\":1}".into()), there));
            assert!(how.ends_with(says), "{how}");
            assert!(!how.contains("secret"), "{how}");
        }
    }

    proptest! {
        /// However long the value in the cache is: what is read of it tells it from the origin's.
        #[test]
        fn no_other_value_passes(value in prop::collection::vec(0u8..3, 1..6), there in prop::collection::vec(0u8..3, 0..8)) {
            let row = Answer::Row(value.clone().into());
            let read = &there[..there.len().min(last_byte(&row) + 1)];
            prop_assert_eq!(weigh(&row, read) == Verdict::Done(Outcome::Present), value == there);
            let seen = &there[..there.len().min(last_byte(&Answer::Absent) + 1)];
            prop_assert_eq!(weigh(&Answer::Absent, seen) == Verdict::Done(Outcome::Absent), there.is_empty());
        }
    }
}
