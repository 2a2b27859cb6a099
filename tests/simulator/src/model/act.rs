//! What can happen, and what it does.

use stoke_core::ledger::{Allocator, Change, Division, LedgerTxn, Renewal};

use super::canonical::FRESH;
use super::scope::{Scope, TICK};
use super::state::{Coordinator, Message, NOW, State, Worker, worker_name};

/// One thing that happens; numbers are places in the state's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A coordinator reads, decides and sends.
    Look(usize),
    /// A coordinator wins the election, and begins anew.
    Elect(usize),
    /// A worker reads, slows down and sends a renewal.
    Beat(usize),
    /// A worker crashes and comes back under another name.
    Crash(usize),
    /// A message arrives; `again`: it will once more.
    Arrive {
        /// Which.
        nth: usize,
        /// Whether it stays under way.
        again: bool,
    },
    /// A message is lost.
    Lose(usize),
    /// Time goes on, but not on the clock of the worker that is `slow`.
    Tick {
        /// Which worker.
        slow: Option<usize>,
    },
    /// The target is halved, or doubled.
    Retarget,
    /// The nth worker that was ever started has work now, or none any more.
    Claim(usize),
    /// A worker sends a query.
    Send(usize),
    /// A query's answer reaches its worker.
    Return(usize),
}

/// Everything that can happen next.
pub(super) fn possible(scope: &Scope, state: &State, actions: &mut Vec<Action>) {
    let has_room = state.messages.len() < scope.messages;
    let left = &state.left;
    for (nth, coordinator) in state.coordinators.iter().enumerate() {
        if coordinator.is_some() && has_room {
            actions.push(Action::Look(nth));
        }
        if left.elections > 0 {
            actions.push(Action::Elect(nth));
        }
    }
    for (nth, worker) in state.workers.iter().enumerate() {
        if has_room {
            actions.push(Action::Beat(nth));
        }
        if left.crashes > 0 {
            actions.push(Action::Crash(nth));
        }
        if left.slow_ticks > 0 {
            actions.push(Action::Tick { slow: Some(nth) });
        }
        let awaited = worker.queries.len();
        let granted = worker.holder.grant().at(NOW);
        if awaited < scope.queries && granted.allows_queries() && awaited < in_flight(granted) {
            actions.push(Action::Send(nth));
        }
        if awaited > 0 {
            actions.push(Action::Return(nth));
        }
    }
    for nth in 0..state.messages.len() {
        actions.push(Action::Arrive { nth, again: false });
        actions.push(Action::Lose(nth));
        if left.repeats > 0 && has_room {
            actions.push(Action::Arrive { nth, again: true });
        }
    }
    actions.push(Action::Tick { slow: None });
    if left.retargets > 0 {
        actions.push(Action::Retarget);
    }
    if left.claims > 0 {
        let started = 2 + usize::from(scope.crashes - left.crashes);
        actions.extend((0..started).map(Action::Claim));
    }
}

fn in_flight(share: stoke_core::ledger::Share) -> usize {
    usize::try_from(share.in_flight).unwrap_or(usize::MAX)
}

/// Does it.
pub(super) fn act(scope: &Scope, state: &mut State, action: Action) {
    match action {
        Action::Look(nth) => look(scope, state, nth),
        Action::Elect(nth) => elect(state, nth),
        Action::Beat(nth) => beat(state, nth),
        Action::Crash(nth) => crash(scope, state, nth),
        Action::Arrive { nth, again } => {
            let message = if again {
                state.left.repeats -= 1;
                state.messages[nth].clone()
            } else {
                state.messages.remove(nth)
            };
            arrive(scope, state, message);
        }
        Action::Lose(nth) => drop(state.messages.remove(nth)),
        Action::Tick { slow } => tick(state, slow),
        Action::Retarget => {
            state.left.retargets -= 1;
            state.target = if state.target == Scope::ALL {
                Scope::HALF
            } else {
                Scope::ALL
            };
        }
        Action::Claim(nth) => {
            state.left.claims -= 1;
            let name = worker_name(nth);
            if !state.claims.remove(&name) {
                state.claims.insert(name);
            }
        }
        Action::Send(nth) => {
            let lasts = Scope::TIMING.statement_timeout.as_secs() / TICK.as_secs();
            let lasts = u8::try_from(lasts).unwrap_or(u8::MAX);
            state.workers[nth].queries.push(lasts);
        }
        // The one that was sent first.
        Action::Return(nth) => drop(state.workers[nth].queries.remove(0)),
    }
}

fn look(scope: &Scope, state: &mut State, nth: usize) {
    let (wanted, claims) = (state.wanted(), state.demand());
    let Some(Coordinator { leads, allocator }) = &mut state.coordinators[nth] else {
        return;
    };
    for change in allocator.step(NOW, &state.records, &wanted, &claims) {
        let message = match change {
            Change::Divide(division) => {
                let expected = division.expected;
                part(scope, *leads, division, 0, expected)
            }
            Change::Reclaim(reclaim) => Some(Message::Change {
                leads: *leads,
                txn: reclaim.txn(state.records.ledger),
                more: None,
            }),
        };
        state.messages.extend(message);
    }
}

/// The nth of the transactions that a division takes, where it takes so many.
fn part(
    scope: &Scope,
    leads: bool,
    division: Division,
    nth: usize,
    expected: Option<u64>,
) -> Option<Message> {
    let mut parts = division.parts_of(scope.caps_per_txn).skip(nth);
    let txn = division.txn(parts.next()?, expected, term_ms());
    let more = parts.next().is_some();
    Some(Message::Change {
        leads,
        txn,
        more: more.then(|| (division.clone(), nth + 1)),
    })
}

fn term_ms() -> u64 {
    u64::try_from(Scope::TIMING.term.as_millis()).unwrap_or(u64::MAX)
}

fn elect(state: &mut State, nth: usize) {
    state.left.elections -= 1;
    for coordinator in state.coordinators.iter_mut().flatten() {
        coordinator.leads = false;
    }
    for message in &mut state.messages {
        if let Message::Change { leads, .. } = message {
            *leads = false;
        }
    }
    state.coordinators[nth] = Some(Coordinator {
        leads: true,
        allocator: Allocator::new(Scope::TIMING),
    });
}

fn beat(state: &mut State, nth: usize) {
    let reading = state.reading(&state.workers[nth]);
    let worker = &mut state.workers[nth];
    if let Some(renewal) = worker.holder.read(NOW, &reading) {
        let worker = worker.name.clone();
        state.messages.push(Message::Renewal { worker, renewal });
    }
}

fn crash(scope: &Scope, state: &mut State, nth: usize) {
    state.left.crashes -= 1;
    let next = worker_name(1 + usize::from(scope.crashes - state.left.crashes));
    state.claims.insert(next.clone());
    let crashed = std::mem::replace(&mut state.workers[nth], Worker::new(next));
    state
        .orphans
        .extend(crashed.queries.into_iter().filter(|left| *left > 0));
    state.messages.retain(
        |message| !matches!(message, Message::Answer { worker, .. } if *worker == crashed.name),
    );
}

fn arrive(scope: &Scope, state: &mut State, message: Message) {
    match message {
        Message::Change { leads, txn, more } => {
            if commit(state, &txn, leads)
                && let Some((division, nth)) = more
            {
                let next = part(scope, leads, division, nth, Some(FRESH));
                state.messages.extend(next);
            }
        }
        Message::Renewal { worker, renewal } => {
            if commit(state, &renewal.txn(&worker), false)
                && state.workers.iter().any(|alive| alive.name == worker)
            {
                state.messages.push(Message::Answer { worker, renewal });
            }
        }
        Message::Answer { worker, renewal } => answer(state, &worker, renewal),
    }
}

fn commit(state: &mut State, txn: &LedgerTxn, leads: bool) -> bool {
    txn.commit(&mut state.records, leads, FRESH)
}

fn answer(state: &mut State, name: &stoke_core::names::WorkerName, renewal: Renewal) {
    let mut workers = state.workers.iter_mut();
    if let Some(worker) = workers.find(|worker| worker.name == *name) {
        worker.holder.committed(renewal, NOW);
    }
}

fn tick(state: &mut State, slow: Option<usize>) {
    state.left.slow_ticks -= u8::from(slow.is_some());
    let slow = slow.map(|nth| state.workers[nth].name.clone());
    state.age(slow.as_ref());
    let older = |left: &mut u8| *left = left.saturating_sub(1);
    for worker in &mut state.workers {
        worker.queries.iter_mut().for_each(older);
    }
    state.orphans.iter_mut().for_each(older);
    state.orphans.retain(|left| *left > 0);
}
