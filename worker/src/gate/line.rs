//! Who is next: those who wait for a token, or for a place in flight, in the order in which they are served.
//!
//! The highest priority first. Within one priority the jobs take turns: the one that was served longest ago is next.
//! Within a job whoever came first. Whoever has begun to take several tokens is served to the end before anybody else,
//! since what is sent at once must have been paid for just before.
//!
//! Invariants:
//! - Whoever is first and does not know it has been told: nobody waits for a token that nobody is about to take.
//! - Whoever goes, served or not, leaves nothing behind in the line.
//!
//! No clock, and no async but for telling: [`Gate`](super::Gate) drives it.

use std::collections::BTreeMap;
use std::sync::Arc;

use stoke_core::names::JobName;
use tokio::sync::Notify;

/// Of how many jobs it is remembered when they were served last. Beyond, those that wait are remembered only: whoever is
/// forgotten has its turn earlier.
const SERVED_MAX: usize = 256;

/// Whom a query is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// A job, which needs its permit beside the grant.
    Job(JobName),
    /// The vigil over the resource: it needs the grant alone, for it is there to see a resource recover while all jobs stand
    /// still.
    Vigil,
}

/// Whom a query is for, and how soon it is its turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) who: Who,
    /// The job's: higher goes first.
    pub(super) priority: u32,
}

/// Names one who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket(u64);

#[derive(Debug)]
struct Waiter {
    client: Client,
    told: Arc<Notify>,
}

/// The line.
#[derive(Debug, Default)]
pub(super) struct Line {
    waiters: BTreeMap<Ticket, Waiter>,
    tickets: u64,
    /// Who has begun, and not yet got all.
    begun: Option<Ticket>,
    /// When each job was served last, counted in servings.
    served: BTreeMap<Who, u64>,
    servings: u64,
}

impl Line {
    /// Enters the line. `Notify` is told whenever this one has become the first, or has ceased to be.
    pub(super) fn enter(&mut self, client: Client) -> (Ticket, Arc<Notify>) {
        let before = self.first();
        self.tickets += 1;
        let (ticket, told) = (Ticket(self.tickets), Arc::new(Notify::new()));
        let waiter = Waiter {
            client,
            told: Arc::clone(&told),
        };
        self.waiters.insert(ticket, waiter);
        self.tell_of_change(before);
        (ticket, told)
    }

    /// Whether it is this one's turn.
    pub(super) fn is_first(&self, ticket: Ticket) -> bool {
        self.first() == Some(ticket)
    }

    /// It has got its first token of several: it stays first until it leaves.
    pub(super) fn begin(&mut self, ticket: Ticket) {
        self.begun.get_or_insert(ticket);
    }

    /// It has got all: its job's next turn comes after the others'.
    pub(super) fn note_served(&mut self, ticket: Ticket) {
        let before = self.first();
        let Some(waiter) = self.waiters.get(&ticket) else {
            return;
        };
        self.servings += 1;
        self.served.insert(waiter.client.who.clone(), self.servings);
        if self.served.len() > SERVED_MAX {
            let waiters = &self.waiters;
            self.served
                .retain(|who, _| waiters.values().any(|waiter| waiter.client.who == *who));
        }
        self.tell_of_change(before);
    }

    /// It goes, served or not.
    pub(super) fn leave(&mut self, ticket: Ticket) {
        let before = self.first();
        self.waiters.remove(&ticket);
        if self.begun == Some(ticket) {
            self.begun = None;
        }
        self.tell_of_change(before);
    }

    /// Has everybody look again: what is allowed has changed.
    pub(super) fn tell_all(&self) {
        for waiter in self.waiters.values() {
            waiter.told.notify_one();
        }
    }

    fn first(&self) -> Option<Ticket> {
        let order = |(ticket, waiter): &(&Ticket, &Waiter)| {
            let served = self.served.get(&waiter.client.who).copied();
            (
                std::cmp::Reverse(waiter.client.priority),
                served.unwrap_or(0),
                **ticket,
            )
        };
        let next = || {
            self.waiters
                .iter()
                .min_by_key(order)
                .map(|(ticket, _)| *ticket)
        };
        self.begun.or_else(next)
    }

    fn tell_of_change(&self, before: Option<Ticket>) {
        let now = self.first();
        if now == before {
            return;
        }
        for waiter in [before, now]
            .into_iter()
            .flatten()
            .filter_map(|ticket| self.waiters.get(&ticket))
        {
            waiter.told.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(job: &str, priority: u32) -> Client {
        Client {
            who: Who::Job(job.parse().unwrap()),
            priority,
        }
    }

    /// Serves all who wait, one after another: whose turns they were.
    fn serve_all(line: &mut Line) -> String {
        let mut jobs = String::new();
        while let Some(first) = line.first() {
            if let Who::Job(job) = &line.waiters[&first].client.who {
                jobs.push_str(job.as_str());
            }
            line.note_served(first);
            line.leave(first);
        }
        jobs
    }

    #[test]
    fn the_highest_priority_is_served_first_whenever_it_came() {
        let mut line = Line::default();
        for (job, priority) in [("a", 1), ("b", 500), ("c", 0), ("d", 1000)] {
            line.enter(client(job, priority));
        }
        assert_eq!(serve_all(&mut line), "dbac");
    }

    #[test]
    fn jobs_of_one_priority_take_turns_however_many_queries_wait() {
        let mut line = Line::default();
        for job in ["a", "a", "a", "b", "b", "c"] {
            line.enter(client(job, 7));
        }
        assert_eq!(serve_all(&mut line), "abcaba");
    }

    #[test]
    fn whoever_has_begun_to_pay_is_not_overtaken() {
        let mut line = Line::default();
        let (low, _) = line.enter(client("low", 0));
        line.begin(low);
        let (high, _) = line.enter(client("high", 9));
        assert!(line.is_first(low));
        line.leave(low);
        assert!(line.is_first(high));
    }

    #[test]
    fn the_new_first_is_told_whatever_made_it_so() {
        let is_told = |told: &Notify| {
            use futures::FutureExt as _;
            told.notified().now_or_never().is_some()
        };
        let mut line = Line::default();
        let (low, low_told) = line.enter(client("low", 0));
        assert!(is_told(&low_told));
        let (high, high_told) = line.enter(client("high", 9));
        assert!(
            is_told(&high_told) && is_told(&low_told),
            "one came, one is overtaken"
        );
        line.leave(high);
        assert!(is_told(&low_told));
        line.leave(low);
        assert_eq!(line.first(), None);
        assert!(line.waiters.is_empty() && line.begun.is_none());
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut line = Line::default();
        for n in 0..2 * SERVED_MAX {
            let (ticket, _) = line.enter(client(&format!("j{n}"), 0));
            line.note_served(ticket);
            line.leave(ticket);
        }
        assert!(line.served.len() <= SERVED_MAX, "{}", line.served.len());
    }
}
