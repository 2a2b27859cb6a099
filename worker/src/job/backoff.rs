//! How long until an entry that failed is tried again: longer and longer, and not all at once.

use std::time::Duration;

/// After the first attempt, at most: this, doubled with each further one.
pub(super) const FIRST_AFTER: Duration = Duration::from_millis(500);
/// The longest.
const AFTER_MAX: Duration = Duration::from_secs(30);

/// How long until an entry is tried again that was tried so often. `random`, from 0 to 1, takes up to a half of it away, so that
/// what failed together does not come back together.
#[must_use]
pub fn after(attempts: u32, random: f64) -> Duration {
    let doubled = FIRST_AFTER.saturating_mul(2u32.saturating_pow(attempts.saturating_sub(1)));
    doubled.min(AFTER_MAX).mul_f64(1.0 - random / 2.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_doubles_with_each_attempt_up_to_a_bound() {
        let seconds = [1, 2, 3, 4, 6, 7, 100, u32::MAX].map(|n| after(n, 0.0).as_secs_f64());
        assert_eq!(seconds, [0.5, 1.0, 2.0, 4.0, 16.0, 30.0, 30.0, 30.0]);
    }

    proptest! {
        #[test]
        fn it_is_spread_over_the_later_half(attempts: u32, low in 0.0..0.4, high in 0.6..1.0) {
            let (all, least) = (after(attempts, 0.0), after(attempts, 1.0));
            prop_assert_eq!(least, all / 2);
            prop_assert!(after(attempts, high) < after(attempts, low));
            prop_assert!(after(attempts, low) <= all && least <= after(attempts, high));
        }
    }
}
