//! Asking workers about caches: the coordinator opens no connection to any, and some things are known only there.
//!
//! A question goes to a worker over the call that it is attached by, and its answer comes back with a report. Either may be lost, with
//! the call: so whoever asks waits for so long only, and asks again. Nothing is decided by it but what is shown.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stoke_core::names::{CacheName, WorkerName};
use stoke_core::records::{Member, keys};
use stoke_proto::v1::cache_question::About;
use stoke_proto::v1::{CacheAnswer, CacheQuestion};
use stoke_store::{Keys, StoreError, record};
use tokio::sync::{mpsc, oneshot};

use crate::Shared;

/// How many questions wait for a worker that is slow to read.
const WAITING_MAX: usize = 16;
/// How long an answer is waited for: workers give up a little earlier, and say why.
const WITHIN: Duration = Duration::from_secs(12);

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoAnswer {
    /// Nobody to ask.
    #[error("no worker that knows the cache {0} is attached to this coordinator")]
    Nobody(CacheName),
    /// It has too many questions already, or none of the call's messages are read.
    #[error("worker {0} has too much to answer already")]
    Busy(WorkerName),
    /// It did not answer.
    #[error("worker {0} has not answered")]
    Silent(WorkerName),
    /// It could not find it out.
    #[error("worker {worker}: {why}")]
    Failed {
        /// Who.
        worker: WorkerName,
        /// As it says.
        why: String,
    },
}

/// Who can be asked, and what was.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    next: AtomicU64,
    attached: Mutex<BTreeMap<WorkerName, (u64, mpsc::Sender<CacheQuestion>)>>,
    open: Mutex<BTreeMap<u64, oneshot::Sender<CacheAnswer>>>,
}

/// A question that is waited for, until this is dropped.
struct Open<'a> {
    questions: &'a Questions,
    number: u64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        lock(&self.questions.open).remove(&self.number);
    }
}

/// A worker that can be asked, until this is dropped.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    questions: &'a Questions,
    worker: WorkerName,
    call: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut attached = lock(&self.questions.attached);
        // It may have called anew meanwhile.
        if attached
            .get(&self.worker)
            .is_some_and(|(call, _)| *call == self.call)
        {
            attached.remove(&self.worker);
        }
    }
}

impl Questions {
    /// From now on this worker can be asked; what it is asked comes out of the receiver.
    pub(crate) fn attach(&self, worker: &WorkerName) -> (Asked<'_>, mpsc::Receiver<CacheQuestion>) {
        let (send, receive) = mpsc::channel(WAITING_MAX);
        let call = self.number();
        lock(&self.attached).insert(worker.clone(), (call, send));
        let asked = Asked {
            questions: self,
            worker: worker.clone(),
            call,
        };
        (asked, receive)
    }

    /// Takes what a worker has answered.
    pub(crate) fn answered(&self, answers: Vec<CacheAnswer>) {
        for answer in answers {
            // Nobody waits for it any more?
            if let Some(waiting) = lock(&self.open).remove(&answer.number) {
                let _ = waiting.send(answer);
            }
        }
    }

    /// Asks a worker.
    ///
    /// # Errors
    /// [`NoAnswer`].
    pub(crate) async fn ask(
        &self,
        worker: &WorkerName,
        cache: &CacheName,
        about: About,
    ) -> Result<CacheAnswer, NoAnswer> {
        let to = lock(&self.attached).get(worker).map(|(_, to)| to.clone());
        let to = to.ok_or_else(|| NoAnswer::Silent(worker.clone()))?;
        let number = self.number();
        let (waiting, answer) = oneshot::channel();
        lock(&self.open).insert(number, waiting);
        let _open = Open {
            questions: self,
            number,
        };
        let question = CacheQuestion {
            number,
            cache: cache.to_string(),
            about: Some(about),
        };
        to.try_send(question)
            .map_err(|_| NoAnswer::Busy(worker.clone()))?;
        let answer = tokio::time::timeout(WITHIN, answer).await;
        let Ok(Ok(answer)) = answer else {
            return Err(NoAnswer::Silent(worker.clone()));
        };
        match answer.error.as_str() {
            "" => Ok(answer),
            error => Err(NoAnswer::Failed {
                worker: worker.clone(),
                why: error.chars().take(ERROR_CHARS_MAX).collect(),
            }),
        }
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether this worker can be asked.
    pub(crate) fn is_attached(&self, worker: &WorkerName) -> bool {
        lock(&self.attached).contains_key(worker)
    }
}

/// The longest error that a worker tells, in characters.
const ERROR_CHARS_MAX: usize = 600;

impl Shared {
    /// The attached workers that know a cache, by name.
    ///
    /// # Errors
    /// Where there are none; where the store does not answer, that is not known.
    pub(crate) async fn who_knows(&self, cache: &CacheName) -> Result<Vec<WorkerName>, NoAnswer> {
        let mut workers = self.members_with(cache).await.unwrap_or_default();
        workers.retain(|worker| self.questions.is_attached(worker));
        match workers.is_empty() {
            true => Err(NoAnswer::Nobody(cache.clone())),
            false => Ok(workers),
        }
    }

    /// The members that know a cache, by name, attached or not: after a change of leader it takes them a moment.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub(crate) async fn members_with(
        &self,
        cache: &CacheName,
    ) -> Result<Vec<WorkerName>, StoreError> {
        let members = [Keys::Prefix(keys::MEMBERS.to_owned())];
        let found = self.store.read(&members).await?;
        let knows = |entry| {
            let name: &str = entry_name(entry)?;
            let member: Member = record::decode(entry).ok()?;
            let worker: WorkerName = name.parse().ok()?;
            member.caches.contains(cache).then_some(worker)
        };
        Ok(found.entries.iter().filter_map(knows).collect())
    }
}

fn entry_name(entry: &stoke_store::KeyValue) -> Option<&str> {
    entry.key.strip_prefix(keys::MEMBERS)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Whole at every instant, so a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
        text.parse().unwrap()
    }

    fn about() -> About {
        About::Lookups(stoke_proto::v1::LookupsQuestion { ask_nodes: true })
    }

    fn answer(number: u64, error: &str) -> CacheAnswer {
        CacheAnswer {
            number,
            error: error.to_owned(),
            ..CacheAnswer::default()
        }
    }

    #[tokio::test]
    async fn an_answer_goes_to_whoever_has_asked_and_others_to_nobody() {
        let questions = Questions::default();
        let (worker, cache) = (name("w1"), name("main"));
        let (_asked, mut come) = questions.attach(&worker);
        let asking = questions.ask(&worker, &cache, about());
        let answering = async {
            let question = come.recv().await.unwrap();
            assert_eq!(
                (question.cache.as_str(), question.about),
                ("main", Some(about()))
            );
            questions.answered(vec![answer(999, ""), answer(question.number, "")]);
            questions.answered(vec![answer(question.number, "again")]);
        };
        let (answered, ()) = tokio::join!(asking, answering);
        assert!(answered.is_ok());
        let asking = questions.ask(&worker, &cache, about());
        let failing = async {
            let question = come.recv().await.unwrap();
            questions.answered(vec![answer(question.number, "no grant")]);
        };
        let (failed, ()) = tokio::join!(asking, failing);
        assert_eq!(failed.unwrap_err().to_string(), "worker w1: no grant");
        assert!(lock(&questions.open).is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_is_gone_or_silent_is_not_waited_for_without_end() {
        let questions = Questions::default();
        let (worker, cache) = (name("w1"), name("main"));
        let silent = Err(NoAnswer::Silent(name("w1")));
        assert_eq!(questions.ask(&worker, &cache, about()).await, silent);
        let (first, _) = questions.attach(&worker);
        let (_second, _come) = questions.attach(&worker);
        drop(first);
        assert!(questions.is_attached(&worker), "it has called anew");
        assert_eq!(questions.ask(&worker, &cache, about()).await, silent);
        assert!(lock(&questions.open).is_empty());
        for _ in 1..WAITING_MAX {
            // What is read by nobody fills the queue.
            let _ =
                tokio::time::timeout(Duration::ZERO, questions.ask(&worker, &cache, about())).await;
        }
        let busy = Err(NoAnswer::Busy(name("w1")));
        assert_eq!(questions.ask(&worker, &cache, about()).await, busy);
    }
}
