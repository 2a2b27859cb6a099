//! Comparing what was copied with what another Redis has now: by what the keys have, not by how a server keeps it.

use bytes::Bytes;
use stoke_core::copy::How;
use stoke_core::names::CacheName;
use stoke_core::progress::Outcome;

use super::target::{Column, Target};
use super::{Gave, Goer, Verdict, verdict_of};
use crate::cache::{CommandError, Content, Copied, Ends, FailureKind};
use crate::catalog::LoaderSpec;
use crate::job::entries::Task;
use crate::origin::Answer;
use crate::permit::{Look, Stopped};
use crate::value::Value;

impl Goer {
    /// Whether what could not be written, for it is what DUMP gives, is to be copied by its type instead, as all of this origin
    /// from now on.
    pub(super) fn is_to_be_typed(
        &self,
        loader: &LoaderSpec,
        cache: &CacheName,
        error: &CommandError,
    ) -> bool {
        let how = loader.value.copy.as_ref().map(|copy| copy.how);
        if error.kind != FailureKind::Payload || how != Some(How::Auto) {
            return false;
        }
        let origin = &loader.origin;
        if self.shared.refusals.note(origin, cache) {
            tracing::warn!(%origin, %cache, error = %error, "the cache does not take what DUMP gives: copying by type from now on");
        }
        true
    }

    /// Compares what keys have in each cache with what they have there, both read by the commands of their types.
    pub(super) async fn compare_copies(
        &self,
        loader: &LoaderSpec,
        tasks: Vec<Task>,
        answers: Vec<Answer>,
        gave: &mut Gave,
    ) {
        let Some(targets) = self.connected().await else {
            return;
        };
        let keys: Vec<Bytes> = tasks.iter().map(|task| task.key.clone()).collect();
        let held = Self::with_each(&targets, |target| self.copies_in(target, loader, &keys)).await;
        let Ok(held) = held else {
            return;
        };
        let judged = |held: Vec<Result<Option<Copied>, CommandError>>| -> Column {
            let verdict = |(answer, held): (&Answer, Result<Option<Copied>, CommandError>)| {
                Some(match held {
                    Ok(held) => judge(answer, held.as_ref().map(|copied| &copied.content)),
                    Err(error) => verdict_of(&error),
                })
            };
            answers.iter().zip(held).map(verdict).collect()
        };
        let columns = held.into_iter().map(judged).collect();
        self.join(tasks, columns, gave);
    }

    /// What keys have in a cache. How long they live is not compared, and every Redis knows PTTL.
    async fn copies_in(
        &self,
        target: &Target,
        loader: &LoaderSpec,
        keys: &[Bytes],
    ) -> Result<Vec<Result<Option<Copied>, CommandError>>, Stopped> {
        let permit = self.permit_for(target);
        let (look, bytes_max) = (Look(&permit), loader.max_value_bytes);
        let held = target
            .cache
            .read_typed(&look, keys, Ends::Left, bytes_max)
            .await?;
        Ok(held)
    }
}

fn judge(answer: &Answer, held: Option<&Content>) -> Verdict {
    let there = match answer {
        Answer::Row(made) => match &made.value {
            Value::Copied(copied) => Some(&copied.content),
            Value::String(_) | Value::Hash(_) => None,
        },
        Answer::Absent => None,
        Answer::Again { reason } => return Verdict::Again(reason.clone()),
        Answer::Failed { reason } => {
            return Verdict::Failed(format!("its value cannot be compared: {reason}"));
        }
    };
    match (there, held) {
        (None, None) => Verdict::Done(Outcome::Absent),
        (Some(_), None) => Verdict::Failed(super::verify::MISSING.into()),
        (None, Some(_)) => Verdict::Failed("it is in the cache, but not in the origin now".into()),
        (Some(there), Some(here)) if there == here => Verdict::Done(Outcome::Present),
        (Some(there), Some(here)) => Verdict::Failed(format!(
            "its value differs from what the origin has now: {} here, {} there",
            told(here),
            told(there)
        )),
    }
}

/// What it is and how much, and nothing of it.
fn told(content: &Content) -> String {
    let (kind, count) = match content {
        Content::Dump(_) => ("value", 1),
        Content::String(_) => ("string", 1),
        Content::Hash(fields) => ("hash", fields.len()),
        Content::List(parts) => ("list", parts.len()),
        Content::Set(members) => ("set", members.len()),
        Content::SortedSet(members) => ("sorted set", members.len()),
    };
    let bytes = content.size_bytes();
    match content {
        Content::Dump(_) | Content::String(_) => format!("a {kind} of {bytes} bytes"),
        _ => format!("a {kind} of {count} elements and {bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Until;

    fn row(content: Content) -> Answer {
        let until = Until::Never;
        Answer::Row(Value::Copied(Box::new(Copied { content, until })).into())
    }

    #[test]
    fn copies_are_judged_by_what_they_have() {
        let string = |text: &'static str| Content::String(text.into());
        let list = Content::List(vec!["a".into(), "b".into()]);
        let failed = |answer: &Answer, held: Option<&Content>| match judge(answer, held) {
            Verdict::Failed(reason) => reason,
            other => panic!("{other:?}"),
        };
        let done = Verdict::Done(Outcome::Present);
        assert_eq!(judge(&row(string("v")), Some(&string("v"))), done);
        let absent = Verdict::Done(Outcome::Absent);
        assert_eq!(judge(&Answer::Absent, None), absent);
        let how = failed(&row(string("secret")), Some(&list));
        assert!(
            how.contains("a list of 2 elements and 2 bytes here, a string of 6 bytes there"),
            "{how}"
        );
        assert!(!how.contains("secret"));
        assert!(failed(&row(string("v")), None).contains("not in the cache"));
        assert!(failed(&Answer::Absent, Some(&list)).contains("not in the origin"));
    }
}
