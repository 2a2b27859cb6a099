//! The pace of rows: how many of a share's rows a second have come in, and when more may be asked for.
//!
//! What a query will bring is not known before. So as many rows as it asks for keys are paid before it is sent, and what
//! came is set against that: rows that did not come are given back, rows beyond are a debt that is worked off before anybody
//! pays again. A query whose rows are not expected (a key source's) pays a few at a time, before it reads them.
//!
//! What holds: in no second are more rows paid for than the share and one batch (the largest that has been asked for), whatever
//! the rate was changed to meanwhile; and what came until any instant is at most what was gained until then and one batch, but for
//! what queries brought beyond their keys, which comes off what follows. A batch larger than the share waits for several
//! seconds' gain, so it goes out in the end. It starts empty, gains nothing beyond a deadline, and keeps its level, debts
//! included, over a change of rate.
//!
//! Pure: time is an argument.

use std::time::Duration;

use stoke_core::ledger::Share;
use stoke_core::units::Moment;

use super::pace::Verdict;

/// How late a timer may fire without anything being lost, in thousandths of a second: tokio's has a grain of one.
const TIMER_SLACK_MILLIS: u64 = 2;
/// A row, in the unit of the level.
const ROW: i128 = 1_000_000_000;

/// The pace of one resource's rows.
#[derive(Debug)]
pub(super) struct RowPace {
    /// Rows a second; [`Share::ANY_ROWS`] limits nothing.
    rows: u64,
    deadline: Moment,
    advanced: Moment,
    /// What is saved, in billionths of a row; a debt where it is negative.
    level: i128,
    /// The largest batch that was asked for.
    batch: u64,
}

impl RowPace {
    /// One that lets nothing in yet.
    pub(super) fn new(now: Moment) -> Self {
        Self {
            rows: 0,
            deadline: now,
            advanced: now,
            level: 0,
            batch: 0,
        }
    }

    /// From `now` on so many rows a second, until the deadline.
    pub(super) fn set(&mut self, now: Moment, rows: u64, deadline: Moment) {
        self.advance(now);
        self.rows = rows;
        self.deadline = deadline;
        self.level = self.level.min(self.saved_max());
    }

    /// Whether so many rows can be paid now, or when at the present rate. Takes nothing.
    pub(super) fn look(&mut self, now: Moment, rows: u64) -> Verdict {
        self.batch = self.batch.max(rows);
        self.advance(now);
        let lacking = i128::from(rows) * ROW - self.level;
        if rows == 0 || self.is_unlimited() || lacking <= 0 {
            return Verdict::Taken;
        }
        match self.gain() {
            0 => Verdict::Never,
            gain => {
                let nanos = u64::try_from((lacking + gain - 1) / gain);
                Verdict::Wait(Duration::from_nanos(nanos.unwrap_or(u64::MAX)))
            }
        }
    }

    /// Pays for so many, after [`RowPace::look`].
    pub(super) fn pay(&mut self, rows: u64) {
        self.settle(0, rows);
    }

    /// Where so many were paid for, so many came.
    pub(super) fn settle(&mut self, paid: u64, came: u64) {
        if !self.is_unlimited() {
            let change = (i128::from(paid) - i128::from(came)) * ROW;
            self.level = self.level.saturating_add(change).min(self.saved_max());
        }
    }

    fn is_unlimited(&self) -> bool {
        self.rows == Share::ANY_ROWS
    }

    /// What is gained in a nanosecond: the share, less what may be saved to make up for timers that fire late.
    fn gain(&self) -> i128 {
        i128::from(self.rows - self.slack())
    }

    fn slack(&self) -> u64 {
        self.rows / 1000 * TIMER_SLACK_MILLIS
    }

    /// More is never saved: a batch, and what makes up for late timers.
    fn saved_max(&self) -> i128 {
        (i128::from(self.batch) + i128::from(self.slack())) * ROW
    }

    fn advance(&mut self, now: Moment) {
        let counted = now.min(self.deadline).since(self.advanced).as_nanos();
        self.advanced = self.advanced.max(now);
        if !self.is_unlimited() {
            let counted = i128::try_from(counted).unwrap_or(i128::MAX);
            let gained = counted.saturating_mul(self.gain());
            self.level = self.level.saturating_add(gained).min(self.saved_max());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    fn pace(rows: u64) -> RowPace {
        let mut pace = RowPace::new(at(0));
        pace.set(at(0), rows, at(1_000_000));
        pace
    }

    /// When so many can be paid at the earliest, in milliseconds; pays.
    fn pay(pace: &mut RowPace, now: u64, rows: u64) -> u64 {
        let when = match pace.look(at(now), rows) {
            Verdict::Taken => now,
            Verdict::Wait(time) => {
                now + u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap()
            }
            Verdict::Never => panic!("never"),
        };
        assert_eq!(pace.look(at(when), rows), Verdict::Taken);
        pace.pay(rows);
        when
    }

    #[test]
    fn it_starts_empty_and_a_batch_larger_than_the_share_goes_out_in_the_end() {
        let mut pace = pace(10);
        assert_eq!(pay(&mut pace, 0, 500), 50_000);
        assert_eq!(pay(&mut pace, 50_000, 500), 100_000);
    }

    #[test]
    fn rows_that_did_not_come_are_given_back_and_rows_beyond_are_worked_off() {
        let mut pace = pace(100);
        assert_eq!(pay(&mut pace, 0, 100), 1000);
        pace.settle(100, 10);
        assert_eq!(pay(&mut pace, 1000, 100), 1100, "90 are there");
        pace.settle(100, 300);
        assert_eq!(pay(&mut pace, 1100, 100), 4100, "200 are owed");
    }

    #[test]
    fn its_level_is_kept_over_a_change_of_rate_be_it_saved_or_owed() {
        let mut pace = pace(100);
        assert_eq!(pace.look(at(0), 100), Verdict::Wait(Duration::from_secs(1)));
        pace.set(at(500), 10, at(1_000_000));
        assert_eq!(pay(&mut pace, 500, 100), 5500, "50 of 100 were there");
        pace.settle(100, 110);
        pace.set(at(5500), 20, at(1_000_000));
        assert_eq!(pay(&mut pace, 5500, 10), 6500, "10 owed, 10 to pay");
    }

    #[test]
    fn nothing_is_gained_beyond_the_deadline_and_a_renewal_refills_nothing() {
        let mut pace = RowPace::new(at(0));
        pace.set(at(0), 100, at(1000));
        pace.look(at(0), 200);
        pace.set(at(5000), 100, at(9000));
        assert_eq!(pay(&mut pace, 5000, 200), 6000);
    }

    #[test]
    fn where_rows_are_not_limited_nothing_waits() {
        let mut pace = pace(Share::ANY_ROWS);
        assert_eq!(pay(&mut pace, 0, u64::MAX), 0);
        assert_eq!(pay(&mut pace, 0, 10_000), 0);
        pace.set(at(5), 0, at(1_000_000));
        assert_eq!(pace.look(at(10), 1), Verdict::Never);
    }

    proptest! {
        /// However batches, rates and answers come: no second's payments are above the highest share of that second but for
        /// one batch.
        #[test]
        fn no_seconds_rows_are_above_the_share_but_for_one_batch(
            steps in prop::collection::vec((0u64..800, 1u64..200, 0u64..200, prop::option::of(1u64..2000)), 1..80),
        ) {
            let mut pace = pace(500);
            let (mut now, mut paid, mut rates) = (0, Vec::new(), vec![(0, 500)]);
            for (wait, batch, less, rate) in steps {
                now += wait;
                if let Some(rate) = rate {
                    pace.set(at(now), rate, at(1_000_000_000));
                    rates.push((now, rate));
                }
                now = pay(&mut pace, now, batch);
                let came = batch.saturating_sub(less);
                pace.settle(batch, came);
                paid.push((now, came));
            }
            for (n, (first, _)) in paid.iter().enumerate() {
                let within: u64 = paid[n..].iter().take_while(|(at, _)| at < &(first + 1000)).map(|(_, rows)| rows).sum();
                let in_force = |(i, (from, _)): &(usize, &(u64, u64))| {
                    let until = rates.get(i + 1).map_or(u64::MAX, |(next, _)| *next);
                    *from < first + 1000 && until >= *first
                };
                let share = rates.iter().enumerate().filter(in_force).map(|(_, (_, rate))| *rate).max().unwrap();
                // Rounding to milliseconds is the test's.
                prop_assert!(within <= share + 200 + share / 1000 + 1, "{within} of {share} in the second from {first}");
            }
        }
    }
}
