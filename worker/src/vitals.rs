//! A resource's vital signs, as this worker's own queries show them: windows for the leader, and a brake of our own.
//!
//! Whoever sends a query says so ([`Vitals::sent`]) and says how it was answered; one that is dropped was not. Every second
//! becomes a window, of which the last few are reported again and again: the leader merges them and decides. What cannot wait for
//! that is decided here: see [`brake`].
//!
//! Left to others: which queries count, and what an error says of the resource ([`OriginError::is_ill`] and the cache's
//! answers); the rate itself, which is the gate's.
//!
//! [`OriginError::is_ill`]: crate::origin::OriginError

mod brake;
mod readings;
mod windows;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use stoke_core::records::Vigil;
use stoke_core::units::Moment;
use stoke_proto::v1::ResourceHealth;
use stoke_store::clock::Clock;
use tokio::sync::Notify;

use crate::gate::Gate;
use brake::{Brake, Change, Limits};
pub(crate) use readings::Outcome;
use readings::Readings;
use windows::{QueryId, Windows};

/// How often it is looked how long queries have been on their way, and whether a brake may be eased: what is seen is acted
/// upon within twice that.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// The vital signs of one resource.
#[derive(Debug)]
pub(crate) struct Vitals {
    gate: Arc<Gate>,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Told when there is something to look at.
    stirred: Notify,
}

#[derive(Debug)]
struct State {
    windows: Windows,
    brake: Brake,
    limits: Limits,
    readings: Readings,
}

impl Vitals {
    pub(crate) fn new(gate: Arc<Gate>, clock: Arc<dyn Clock>) -> Arc<Self> {
        let now = clock.now();
        Arc::new(Self {
            gate,
            clock,
            state: Mutex::new(State {
                windows: Windows::new(now),
                brake: Brake::new(now),
                limits: Limits::default(),
                readings: Readings::default(),
            }),
            stirred: Notify::new(),
        })
    }

    /// A query leaves, or whatever else shows by its answer how the resource is.
    pub(crate) fn sent(self: &Arc<Self>) -> OnItsWay {
        let sent = self.clock.now();
        let id = self.state().windows.sent(sent);
        self.stirred.notify_one();
        OnItsWay {
            vitals: Arc::clone(self),
            query: Some((id, sent)),
        }
    }

    /// The resource was found ill before a query could leave.
    pub(crate) fn found_ill(self: &Arc<Self>) {
        self.sent().answered(true);
    }

    /// What its vigil watches for, from now on; nothing, where there is none.
    pub(crate) fn watch_for(&self, vigil: Option<&Vigil>) {
        self.state().limits = vigil.map(Limits::from).unwrap_or_default();
    }

    /// Which vigil is kept, for [`probed`](Self::probed).
    pub(crate) fn vigil(&self) -> u64 {
        self.state().readings.vigil()
    }

    /// Notes what a probe of this vigil gave, unless it was given up meanwhile.
    pub(crate) fn probed(&self, vigil: u64, name: &str, outcome: Outcome) {
        self.state().readings.note(vigil, name, outcome);
    }

    /// Forgets what probes gave: another worker keeps the vigil.
    pub(crate) fn forget_probes(&self) {
        self.state().readings.forget();
    }

    /// All of it, for the leader.
    pub(crate) fn report(&self) -> ResourceHealth {
        let now = self.clock.now();
        let mut state = self.state();
        ResourceHealth {
            resource: self.gate.resource().to_string(),
            windows: state.windows.ended(now),
            probes: state.readings.report(),
            brake_permille: state.brake.permille(),
        }
    }

    /// Looks after the brake, until dropped. Where nothing is on its way and nothing is braked, it sleeps.
    pub(crate) async fn attend(&self) {
        loop {
            let idle = {
                let state = self.state();
                state.windows.oldest().is_none() && !state.brake.is_on()
            };
            if idle {
                self.stirred.notified().await;
            }
            tokio::time::sleep(LOOK_EVERY).await;
            self.look();
        }
    }

    fn look(&self) {
        let now = self.clock.now();
        let mut state = self.state();
        state.look(now);
        self.act(state, now);
    }

    fn answered(&self, query: QueryId, sent: Moment, ill: bool) {
        let now = self.clock.now();
        let mut state = self.state();
        state.windows.answered(query, now, ill);
        state.brake.answered(now, now.since(sent), ill);
        state.look(now);
        self.act(state, now);
    }

    /// Obeys the brake, where it has changed, and tells of its beginning and its end.
    fn act(&self, mut state: MutexGuard<'_, State>, now: Moment) {
        let Some(change) = state.brake.take_change() else {
            return;
        };
        let permille = state.brake.permille();
        // Under the lock, so that of two changes the later one stays.
        self.gate.brake(permille);
        let braked = state.brake.on_for(now);
        drop(state);
        let resource = self.gate.resource();
        match change {
            Change::Begun(trouble) => tracing::warn!(
                %resource, %trouble, permille,
                "the resource is in trouble: this worker lowers its own rate"
            ),
            Change::Moved => tracing::debug!(%resource, permille, "moved the brake"),
            Change::Ended => tracing::info!(
                %resource, seconds = braked.as_secs(),
                "the resource has recovered: this worker uses all of its share again"
            ),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whole at every instant, so a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn look(&mut self, now: Moment) {
        let oldest = self.windows.oldest().map(|sent| now.since(sent));
        self.brake.look(now, oldest, &self.limits);
    }
}

/// A query on its way. Dropped, it was not answered: nothing is known of how long it would have taken.
#[derive(Debug)]
pub(crate) struct OnItsWay {
    vitals: Arc<Vitals>,
    query: Option<(QueryId, Moment)>,
}

impl OnItsWay {
    /// It was answered; `ill`: in a way that speaks of the resource's health.
    pub(crate) fn answered(mut self, ill: bool) {
        if let Some((id, sent)) = self.query.take() {
            self.vitals.answered(id, sent, ill);
        }
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        if let Some((id, _)) = self.query.take() {
            let now = self.vitals.clock.now();
            self.vitals.state().windows.dropped(id, now);
        }
    }
}

#[cfg(test)]
mod tests;
