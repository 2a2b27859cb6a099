//! How fast queries and rows may go: the grant, less what the worker's own brake takes off it.

use stoke_core::ledger::Share;
use stoke_core::units::Moment;

use super::pace::{Pace, Verdict};
use super::rows::RowPace;

/// All of a rate, in the unit of brakes: thousandths.
pub(super) const FULL_PERMILLE: u32 = 1000;

/// The paces of one resource.
#[derive(Debug)]
pub(super) struct Paces {
    queries: Pace,
    rows: RowPace,
    share: Share,
    deadline: Moment,
    brake_permille: u32,
}

impl Paces {
    /// Those of no grant.
    pub(super) fn new(now: Moment) -> Self {
        Self {
            queries: Pace::new(now),
            rows: RowPace::new(now),
            share: Share::NONE,
            deadline: now,
            brake_permille: FULL_PERMILLE,
        }
    }

    /// From `now` on this is granted, until the deadline.
    pub(super) fn grant(&mut self, now: Moment, share: Share, deadline: Moment) {
        self.share = share;
        self.deadline = deadline;
        self.keep(now);
    }

    /// From `now` on so many thousandths of what is granted are used; more than all of it is all of it.
    pub(super) fn brake(&mut self, now: Moment, permille: u32) {
        self.brake_permille = permille;
        self.keep(now);
    }

    pub(super) fn brake_permille(&self) -> u32 {
        self.brake_permille.min(FULL_PERMILLE)
    }

    /// Takes a token, where one is wanted, together with so many rows: both or nothing.
    pub(super) fn take(&mut self, now: Moment, token: bool, rows: u64) -> Verdict {
        let verdict = match self.rows.look(now, rows) {
            Verdict::Taken if token => self.queries.take(now),
            verdict => verdict,
        };
        if verdict == Verdict::Taken {
            self.rows.pay(rows);
        }
        verdict
    }

    /// Where so many rows were paid for, so many came.
    pub(super) fn settle(&mut self, paid: u64, came: u64) {
        self.rows.settle(paid, came);
    }

    fn keep(&mut self, now: Moment) {
        let share = braked(self.share, self.brake_permille);
        self.queries.set(now, share, self.deadline);
        self.rows.set(now, share.rows, self.deadline);
    }
}

/// What is left of a share: never more than it, and never nothing of something, for a rate of nothing would see no recovery.
fn braked(share: Share, permille: u32) -> Share {
    let permille = permille.min(FULL_PERMILLE);
    let part = |of: u64| {
        let part = u128::from(of) * u128::from(permille) / u128::from(FULL_PERMILLE);
        u64::try_from(part).unwrap_or(u64::MAX).max(of.min(1))
    };
    Share {
        rate_milli: part(share.rate_milli),
        rows: if share.rows == Share::ANY_ROWS {
            Share::ANY_ROWS
        } else {
            part(share.rows)
        },
        ..share
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_brake_only_ever_lowers_and_never_to_nothing(
            rate_milli in any::<u64>(), rows in any::<u64>(), permille in 0u32..5000,
        ) {
            let share = Share { rate_milli, burst: 3, in_flight: 4, rows };
            let braked = braked(share, permille);
            prop_assert!(braked.fits(share));
            prop_assert_eq!(braked.allows_queries(), share.allows_queries());
        }
    }

    #[test]
    fn a_share_that_is_halved_is_half_of_it_but_for_places() {
        let share = Share {
            rate_milli: 4000,
            burst: 2,
            in_flight: 8,
            rows: 100,
        };
        let half = Share {
            rate_milli: 2000,
            rows: 50,
            ..share
        };
        assert_eq!(braked(share, 500), half);
        assert_eq!(braked(share, FULL_PERMILLE), share);
    }
}
