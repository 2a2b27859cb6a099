//! Those who ask for jobs and stop them, and the application beside them.

use rand::Rng;
use stoke_core::job::{Hold, Life, Phase};
use stoke_core::records::keys;
use stoke_store::{Op, Txn, record};

use super::outside::Value;
use crate::simulation::machine::{MS, SECOND};
use crate::simulation::world::{Event, World};

/// Who holds what an operator pauses.
pub(super) const OPERATOR: &str = "operator";
/// How long the application leaves the cache alone, at most.
const IDLE_MAX: u64 = 2 * SECOND;

impl World {
    /// A job is created, and so acknowledged.
    pub(in crate::simulation) fn create(&mut self, nth: usize) {
        let job = &self.jobs[nth];
        let put = |key, value| Op::Put {
            key,
            value,
            lease: None,
        };
        let ops = vec![
            put(keys::job(&job.name), record::encode(&job.record())),
            put(keys::run(&job.name), record::encode(&Life::new())),
        ];
        self.store.txn(Txn {
            compares: Vec::new(),
            ops,
        });
    }

    /// Pauses a job that is not over, resumes one that is paused, or aborts it.
    pub(in crate::simulation) fn operate(&mut self, nth: usize) {
        let aborts = self.rng.random_bool(0.3);
        let held = self.jobs[nth].seen.is_held;
        self.change_life(nth, |life| match (aborts, held) {
            (true, _) => life.become_phase(Phase::Aborting, "told to").is_ok(),
            (false, true) => life.release(OPERATOR).is_ok(),
            (false, false) => {
                let hold = Hold {
                    holder: OPERATOR.into(),
                    reason: String::new(),
                };
                life.hold(hold).is_ok()
            }
        });
    }

    /// Nobody holds anything any more.
    pub(in crate::simulation) fn resume_all(&mut self) {
        for nth in 0..self.jobs.len() {
            self.change_life(nth, |life| life.release(OPERATOR).is_ok());
        }
    }

    /// Puts a job's life as it is now, changed: nothing comes between.
    fn change_life(&mut self, nth: usize, change: impl FnOnce(&mut Life) -> bool) {
        let name = self.jobs[nth].name.clone();
        let Some(mut life) = self.store.work.lives.get(&name).cloned() else {
            return;
        };
        if !change(&mut life) {
            return;
        }
        let seen = &mut self.jobs[nth].seen;
        seen.is_aborted |= life.phase == Phase::Aborting;
        seen.is_held = life.holds.iter().any(|hold| hold.holder == OPERATOR);
        self.put_job(nth, &life);
    }

    /// The application writes a key, or deletes one.
    pub(in crate::simulation) fn apply(&mut self) {
        let job = self.rng.random_range(0..self.jobs.len());
        let rank = self.rng.random_range(0..self.jobs[job].entries.len());
        let key = self.jobs[job].entries[rank].key.clone();
        if self.rng.random_bool(0.5) {
            self.cache.set(&key, Value::Fresh, false);
        } else {
            self.cache.delete(&key);
        }
        let idle = self.rng.random_range(MS..IDLE_MAX);
        self.after(idle, Event::Application);
    }
}
