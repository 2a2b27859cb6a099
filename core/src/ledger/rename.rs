//! Renaming what the ledger's types remember: the moments of clocks, and the revisions of the store.
//!
//! A model check needs it, since it would never see the same state twice otherwise: clocks and revisions only grow, but what
//! the types do depends on nothing but how long ago a moment is, and whether a revision still is a record's.

use super::{Allocator, Holder, Observed};
use crate::units::Moment;

impl Holder {
    /// The same, its clock's moments renamed, and its latest renewal's sequence number.
    #[must_use]
    pub fn renamed(mut self, moment: impl Fn(Moment) -> Moment, sequence: u64) -> Self {
        self.grant.deadline = moment(self.grant.deadline);
        for deadline in self.grant.permits.values_mut() {
            *deadline = moment(*deadline);
        }
        self.sequence = sequence;
        self
    }

    /// The sequence number of the latest renewal that it decided on.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }
}

impl Allocator {
    /// The same, its clock's moments renamed, and the revisions of the caps and acks that it last saw as `observed` says:
    /// to 1 where the record has the same revision there, to 0 where it has another.
    #[must_use]
    pub fn renamed(mut self, moment: impl Fn(Moment) -> Moment, observed: &Observed) -> Self {
        let rename = |seen: Option<u64>, now: Option<u64>| seen.map(|_| u64::from(seen == now));
        for (worker, silence) in &mut self.silences {
            silence.since = moment(silence.since);
            silence.cap = rename(silence.cap, observed.caps.get(worker).map(|(_, at)| *at));
            silence.ack = rename(silence.ack, observed.acks.get(worker).map(|(_, at)| *at));
        }
        self.rebalanced = self.rebalanced.map(moment);
        self
    }
}
