//! Drawing requests from a plan: each entry is drawn in proportion to its priority.
//!
//! Systematic sampling: the priorities lie behind one another on a line, and every so many thousandths of a request along it one is
//! drawn, from a first place on that chance has chosen. So an entry is drawn as often as its priority is worth, rounded up or down;
//! one pass over the plan, in any order, is enough, and nothing is held. (Madow, "On the Theory of Systematic Sampling, II", 1949.)

use crate::units::Priority;

/// Draws requests, entry after entry.
#[derive(Clone, Debug)]
pub struct Draws {
    total: u128,
    count: u64,
    /// Where on the line the first is drawn, times `count`.
    first: u128,
    drawn: u64,
    /// How much of the line lies behind, in thousandths of a request.
    passed: u128,
}

impl Draws {
    /// So many requests (one at least) of a plan whose priorities add up to so much, in thousandths; `chance` is any number, and
    /// chooses the first place.
    #[must_use]
    pub const fn new(total_milli: u64, count: u32, chance: u64) -> Self {
        let total = total_milli as u128;
        let count = if count == 0 { 1 } else { count as u64 };
        Self {
            total,
            count,
            // Its share of the first step.
            first: if total == 0 {
                0
            } else {
                chance as u128 % total
            },
            drawn: 0,
            passed: 0,
        }
    }

    /// How many requests are drawn of the next entry.
    pub fn of(&mut self, priority: Priority) -> u64 {
        self.passed += u128::from(priority.as_milli());
        let before = self.drawn;
        while self.drawn < self.count && self.next() < self.passed * u128::from(self.count) {
            self.drawn += 1;
        }
        self.drawn - before
    }

    /// How many are left, which no entry was drawn for: those of entries that the plan has lost.
    #[must_use]
    pub const fn left(&self) -> u64 {
        if self.total == 0 {
            return 0;
        }
        self.count - self.drawn
    }

    /// Where on the line the next is drawn, times `count`.
    fn next(&self) -> u128 {
        self.first + u128::from(self.drawn) * self.total
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn drawn(priorities: &[u64], count: u32, chance: u64) -> Vec<u64> {
        let mut draws = Draws::new(priorities.iter().sum(), count, chance);
        let of = |milli: &u64| draws.of(Priority::from_milli(*milli));
        let drawn = priorities.iter().map(of).collect();
        assert_eq!(draws.left(), 0);
        drawn
    }

    #[test]
    fn each_entry_is_drawn_as_often_as_its_priority_is_worth() {
        assert_eq!(drawn(&[5000, 3000, 2000], 10, 0), [5, 3, 2]);
        assert_eq!(drawn(&[5000, 3000, 2000], 10, 9999), [5, 3, 2]);
        assert_eq!(drawn(&[1, 1, 1, 1], 2, 0), [1, 0, 1, 0]);
        assert_eq!(drawn(&[1, 1, 1, 1], 2, 3), [0, 1, 0, 1]);
        assert_eq!(drawn(&[0, 0], 5, 3), [0, 0]);
    }

    #[test]
    fn what_the_plan_has_lost_is_left() {
        let mut draws = Draws::new(10_000, 10, 0);
        assert_eq!(draws.of(Priority::from_milli(6000)), 6);
        assert_eq!(draws.left(), 4);
    }

    proptest! {
        #[test]
        fn all_are_drawn_and_none_by_more_than_its_share_rounded_up(
            priorities in prop::collection::vec(0u64..1_000_000, 1..100),
            count in 1u32..1000,
            chance: u64,
        ) {
            let total: u64 = priorities.iter().sum();
            prop_assume!(total > 0);
            let drawn = drawn(&priorities, count, chance);
            prop_assert_eq!(drawn.iter().sum::<u64>(), u64::from(count));
            for (drawn, priority) in drawn.iter().zip(&priorities) {
                let share = u128::from(*priority) * u128::from(count);
                let drawn = u128::from(*drawn) * u128::from(total);
                prop_assert!(drawn < share + u128::from(total) && drawn + u128::from(total) > share);
            }
        }
    }
}
