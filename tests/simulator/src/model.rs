//! The model check: two workers, two coordinators and a store, in every order that a scope allows.
//!
//! A state is one resource's records, what each process remembers, and the messages under way. Time goes in ticks, and
//! moments and revisions are named by what they mean now (`canonical`), so that a scope's states are finitely many, however
//! long it runs.
//!
//! Absent: jobs' permits (B4) and progress (B5), which the simulation shows.

mod act;
mod canonical;
mod check;
mod scope;
mod state;

pub use act::Action;
pub use check::{Checked, check};
pub use scope::{LARGE, SMALL, Scope};
pub use state::State;

use stateright::{Model, Property};
use stoke_core::ledger::Share;

use state::NOW;

impl Model for Scope {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        act::possible(self, state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        #[cfg(feature = "mutants")]
        stoke_core::mutant::Mutant::on_this_thread(self.mutant);
        let mut next = last.clone();
        act::act(self, &mut next, action);
        next.canonicalise();
        (next != *last).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("B1: what is reserved fits the ceiling", |_, state| {
                b1(state)
            }),
            Property::always(
                "B2: nobody uses more than is reserved for it",
                |_, state| b2(state),
            ),
            Property::always("B3: what all use fits the ceiling", |_, state| b3(state)),
        ]
    }
}

fn b1(state: &State) -> bool {
    match state.records.ledger {
        Some((ledger, _)) => state.records.reserved_total().fits(ledger.ceiling),
        None => state.records.workers().is_empty(),
    }
}

fn b2(state: &State) -> bool {
    state.workers.iter().all(|worker| {
        let used = worker.holder.grant().at(NOW);
        let reserved = state.records.reserved(&worker.name);
        used.fits(reserved) && worker.running() <= reserved.in_flight
    })
}

fn b3(state: &State) -> bool {
    let used: Share = state
        .workers
        .iter()
        .map(|worker| worker.holder.grant().at(NOW))
        .sum();
    let running: u64 = state.workers.iter().map(|worker| worker.running()).sum();
    let ceiling = state
        .records
        .ledger
        .map_or(Share::NONE, |(ledger, _)| ledger.ceiling);
    used.fits(ceiling) && running + state.orphans.len() as u64 <= ceiling.in_flight
}
