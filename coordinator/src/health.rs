//! Whether a coordinator is fit to serve, and if not, why: for whoever asks from outside. It decides nothing.
//!
//! A standby asks the store too: it keeps its own record alive there.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use stoke_core::units::Moment;
use stoke_store::clock::Clock;
use stoke_store::observed::Call;

/// An answer of the store's that is older than so many terms of the leader's lease tells nothing of now: each
/// coordinator asks it three times a term.
const STALE_TERMS: u32 = 2;

/// How a coordinator stands.
#[derive(Debug)]
pub struct Health {
    clock: Arc<dyn Clock>,
    stale_after: Duration,
    serving: AtomicBool,
    /// When the store was last asked, and how that ended where it gave no answer.
    asked: Mutex<Option<(Moment, Option<Call>)>>,
}

impl Health {
    pub(crate) fn new(clock: Arc<dyn Clock>, leader_ttl: Duration) -> Self {
        Self {
            clock,
            stale_after: leader_ttl * STALE_TERMS,
            serving: AtomicBool::new(false),
            asked: Mutex::new(None),
        }
    }

    pub(crate) fn set_serving(&self, serving: bool) {
        self.serving.store(serving, Ordering::Release);
    }

    pub(crate) fn store_called(&self, call: Call) {
        let unanswered = (!call.was_answered()).then_some(call);
        let asked = Some((self.clock.now(), unanswered));
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = asked;
    }

    /// Whether the coordinator serves gRPC, and the store answered when it was last asked.
    ///
    /// # Errors
    /// Why it is not fit, for people.
    pub fn check(&self) -> Result<(), String> {
        if !self.serving.load(Ordering::Acquire) {
            return Err("the coordinator does not serve gRPC (yet, or any more)".into());
        }
        match *self.asked.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Err("the coordination store has not been asked yet".into()),
            Some((_, Some(call))) => Err(format!(
                "the coordination store gave no answer to the last {} ({})",
                call.operation, call.result
            )),
            Some((at, None)) if self.clock.now().since(at) > self.stale_after => Err(format!(
                "the coordination store has not answered for longer than {:?}",
                self.stale_after
            )),
            Some((_, None)) => Ok(()),
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

    fn call(result: &'static str) -> Call {
        Call {
            operation: "read",
            took: Duration::ZERO,
            result,
        }
    }

    #[test]
    fn a_coordinator_is_fit_while_it_serves_and_the_store_answers() {
        let clock = Arc::new(At(Mutex::new(Moment::default())));
        let health = Health::new(clock.clone(), Duration::from_secs(5));
        let reason = |health: &Health| health.check().unwrap_err();
        health.store_called(call("ok"));
        assert!(reason(&health).contains("gRPC"));
        health.set_serving(true);
        assert_eq!(health.check(), Ok(()));
        health.store_called(call("unknown"));
        assert!(reason(&health).contains("no answer to the last read"));
        // A refusal is an answer.
        health.store_called(call("rejected"));
        assert_eq!(health.check(), Ok(()));
        let later = *clock.0.lock().unwrap() + Duration::from_secs(11);
        *clock.0.lock().unwrap() = later;
        assert!(reason(&health).contains("longer than"));
    }
}
