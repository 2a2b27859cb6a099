//! Whether a worker is fit to work, and if not, why: what its heart has seen last, for whoever asks from outside.
//!
//! It decides nothing: what may be sent, grants and permits decide.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stoke_core::units::Moment;
use stoke_store::clock::Clock;

/// A beat that is older than so many terms tells nothing of now.
const STALE_TERMS: u32 = 2;

/// How the last beat went.
#[derive(Clone, Debug)]
enum Beat {
    /// There was none yet.
    None,
    /// It read the store and renewed what there was to renew.
    Done { at: Moment, is_member: bool },
    /// It did not, for this reason.
    Failed(String),
}

/// How a worker stands. Shared between its heart and whoever asks.
#[derive(Debug)]
pub struct Health {
    clock: Arc<dyn Clock>,
    stale_after: Duration,
    beat: Mutex<Beat>,
    jobs: AtomicUsize,
}

impl Health {
    pub(crate) fn new(clock: Arc<dyn Clock>, term: Duration) -> Self {
        Self {
            clock,
            stale_after: term * STALE_TERMS,
            beat: Mutex::new(Beat::None),
            jobs: AtomicUsize::new(0),
        }
    }

    pub(crate) fn beat_done(&self, is_member: bool) {
        let at = self.clock.now();
        self.set(Beat::Done { at, is_member });
    }

    pub(crate) fn beat_failed(&self, reason: String) {
        self.set(Beat::Failed(reason));
    }

    fn set(&self, beat: Beat) {
        *self.beat.lock().unwrap_or_else(PoisonError::into_inner) = beat;
    }

    pub(crate) fn set_jobs(&self, jobs: usize) {
        self.jobs.store(jobs, Ordering::Relaxed);
    }

    /// Of how many jobs the worker owns partitions.
    #[must_use]
    pub fn jobs(&self) -> usize {
        self.jobs.load(Ordering::Relaxed)
    }

    /// Whether the worker is a member, and its last beat worked.
    ///
    /// # Errors
    /// Why it is not fit, for people.
    pub fn check(&self) -> Result<(), String> {
        let beat = self
            .beat
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match beat {
            Beat::None => Err("the worker has not read the coordination store yet".into()),
            Beat::Failed(reason) => Err(format!("the last renewal failed: {reason}")),
            Beat::Done { at, .. } if self.clock.now().since(at) > self.stale_after => Err(format!(
                "the last renewal was longer ago than {:?}",
                self.stale_after
            )),
            Beat::Done {
                is_member: false, ..
            } => Err("the worker is not a member (yet): it tries on".into()),
            Beat::Done { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct At(Mutex<Moment>);

    impl Clock for At {
        fn now(&self) -> Moment {
            *self.0.lock().unwrap()
        }
    }

    #[test]
    fn a_worker_is_fit_while_it_is_a_member_and_its_last_beat_worked_and_is_fresh() {
        let clock = Arc::new(At(Mutex::new(Moment::default())));
        let health = Health::new(clock.clone(), Duration::from_secs(5));
        let reason = |health: &Health| health.check().unwrap_err();
        assert!(reason(&health).contains("not read"));
        health.beat_done(false);
        assert!(reason(&health).contains("not a member"));
        health.beat_done(true);
        assert_eq!(health.check(), Ok(()));
        health.beat_failed("no answer".into());
        assert!(reason(&health).contains("no answer"));
        health.beat_done(true);
        let later = *clock.0.lock().unwrap() + Duration::from_secs(11);
        *clock.0.lock().unwrap() = later;
        assert!(reason(&health).contains("longer ago"));
    }
}
