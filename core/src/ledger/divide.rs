//! How a target is divided among the workers that have demand.

use super::Share;

/// How many of `workers` can have a share at all: each needs at least one query in flight and a burst of one. The
/// rest stand by.
#[must_use]
pub fn sharers(target: Share, workers: usize) -> usize {
    let most = target.in_flight.min(target.burst);
    workers.min(usize::try_from(most).unwrap_or(usize::MAX))
}

/// Divides a target evenly among `workers`, the first [`sharers`] of which get something.
///
/// From one query a second and worker on, rates are whole queries a second: a rate of n lets at most ⌈n⌉ queries
/// out in any second, so that only whole numbers add up to no more than the target in every second. In each dimension
/// the parts add up to the target at most; what an even division leaves over goes to the first.
#[must_use]
pub fn divide(target: Share, workers: usize) -> Vec<Share> {
    let sharers = sharers(target, workers);
    let Some(last) = sharers.checked_sub(1) else {
        return vec![Share::NONE; workers];
    };
    let n = sharers as u64;
    let rates = |nth: u64| {
        let whole = target.rate_milli / 1000;
        if whole >= n {
            let fraction = if nth == n - 1 {
                target.rate_milli % 1000
            } else {
                0
            };
            part(whole, n, nth) * 1000 + fraction
        } else {
            part(target.rate_milli, n, nth)
        }
    };
    let share = |nth: u64| Share {
        rate_milli: rates(nth),
        burst: part(target.burst, n, nth),
        in_flight: part(target.in_flight, n, nth),
    };
    let mut shares: Vec<Share> = (0..=last as u64).map(share).collect();
    shares.resize(workers, Share::NONE);
    shares
}

/// The `nth` of `n` nearly equal parts of `whole`.
const fn part(whole: u64, n: u64, nth: u64) -> u64 {
    whole / n + if nth < whole % n { 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn share(rate_milli: u64, burst: u64, in_flight: u64) -> Share {
        Share {
            rate_milli,
            burst,
            in_flight,
        }
    }

    #[test]
    fn whole_queries_a_second_where_there_is_one_for_each() {
        let rates: Vec<u64> = divide(share(10_000, 3, 16), 3)
            .iter()
            .map(|s| s.rate_milli)
            .collect();
        assert_eq!(rates, [4000, 3000, 3000]);
        let rates: Vec<u64> = divide(share(1000, 4, 16), 4)
            .iter()
            .map(|s| s.rate_milli)
            .collect();
        assert_eq!(rates, [250; 4]);
    }

    #[test]
    fn workers_that_could_have_nothing_in_flight_stand_by() {
        let shares = divide(share(100_000, 200, 16), 200);
        assert_eq!(shares.iter().filter(|s| s.allows_queries()).count(), 16);
        assert!(shares[16..].iter().all(|s| *s == Share::NONE));
    }

    proptest! {
        #[test]
        fn parts_never_add_up_to_more_than_the_whole_and_lose_nothing(
            rate in 0u64..2_000_000, burst in 0u64..300, in_flight in 0u64..300, workers in 1usize..=200,
        ) {
            let target = share(rate, burst, in_flight);
            let shares = divide(target, workers);
            let sum: Share = shares.iter().copied().sum();
            prop_assert!(sum.fits(target));
            if sharers(target, workers) > 0 {
                prop_assert_eq!(sum, target);
            }
            // No second sees more queries than the target allows, where the target is one a second and worker or more.
            if rate >= 1000 * workers as u64 {
                let most: u64 = shares.iter().map(|s| s.rate_milli.div_ceil(1000)).sum();
                prop_assert!(most <= rate.div_ceil(1000));
            }
        }
    }
}
