//! Pacing: governor on a clock of our own that advances with the granted rate.
//!
//! A token is a virtual second. At four queries a second the virtual clock runs four times as fast as the real one; with
//! no grant it stands. So one limiter keeps its level over every change of rate, and never refills by being renewed.
//!
//! A share of n queries a second means at most n in *any* second, as the database counts them. A bucket that holds b
//! tokens and gains r a second lets at most r + b out in a second. So some of the rate stays unused: for what the bucket
//! may hold beyond one token, to make up for whoever is woken late, and because on its way from the gate to the database's
//! own clock one query is delayed more than another.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use stoke_core::ledger::Share;
use stoke_core::units::Moment;

/// What stays unused of a rate, in percent: a query may reach the database so much of a second late, less
/// [`SLACK_MILLIS`], and still count with its own second.
const HEADROOM_PERCENT: u64 = 4;
/// How late somebody who waits for a token may be woken without anything being lost, in thousandths of a second. A timer has a
/// grain of one; a processor that others want, too, is theirs for a few.
const SLACK_MILLIS: u64 = 10;
/// A token in governor's cells: what is saved for a late timer is a fraction of a token, at five queries a second a twentieth.
const TOKEN_CELLS: u32 = 1000;
/// A cell in virtual time; a token is a virtual second.
const CELL: Duration = Duration::from_millis(1);
/// How far virtual time may come, in nanoseconds, and how far in one step: at 100,000 queries a second, half a day of real
/// time. Governor adds to it without looking.
const HORIZON_NANOS: u64 = u64::MAX / 4;

/// Virtual time: governor reads it, [`Pace`] advances it.
#[derive(Clone, Debug, Default)]
struct VirtualClock(Arc<AtomicU64>);

impl GovernorClock for VirtualClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.load(Ordering::Acquire))
    }
}

type Limiter = RateLimiter<NotKeyed, InMemoryState, VirtualClock, NoOpMiddleware<Nanos>>;

/// Whether a token was to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was taken.
    Taken,
    /// There will be one in this time, at the present rate.
    Wait(Duration),
    /// There will be none under the present grant.
    Never,
}

/// The pace of one resource's queries.
#[derive(Debug)]
pub(super) struct Pace {
    clock: VirtualClock,
    limiter: Limiter,
    shape: Shape,
    deadline: Moment,
    advanced: Moment,
}

/// How a share is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Shape {
    /// How much can be saved, in cells: one token, and what makes up for late timers.
    cells: u32,
    /// What is gained, in millionths of a token a second: the least share that there can be is a thousandth.
    sustained_micro: u64,
}

impl Shape {
    /// Saves a token, gains nothing.
    const STANDING: Self = Self {
        cells: TOKEN_CELLS,
        sustained_micro: 0,
    };

    fn of(share: Share) -> Self {
        // Saturating: a share comes out of the store, where an older version put whatever it was told.
        let usable_micro = share.rate_milli.saturating_mul(1000) / 100 * (100 - HEADROOM_PERCENT);
        let slack_micro = usable_micro / 1000 * SLACK_MILLIS;
        // Less than half a token is no query more than a burst of one.
        let burst_micro = share.burst.saturating_sub(1).saturating_mul(1_000_000);
        let slack_micro = slack_micro.min(burst_micro.saturating_add(500_000));
        let slack_cells = slack_micro / (1_000_000 / u64::from(TOKEN_CELLS));
        let slack_cells = u32::try_from(slack_cells).unwrap_or(u32::MAX);
        Self {
            cells: slack_cells.saturating_add(TOKEN_CELLS),
            sustained_micro: usable_micro,
        }
    }
}

/// A limiter that has nothing saved yet.
fn empty_limiter(clock: &VirtualClock, cells: u32) -> Limiter {
    let cells = NonZeroU32::new(cells).unwrap_or(NonZeroU32::MIN);
    let quota = Quota::with_period(CELL).unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN));
    let limiter = RateLimiter::direct_with_clock(quota.allow_burst(cells), clock.clone());
    // A new limiter is full: whoever has just begun has saved nothing.
    let _ = limiter.check_n(cells);
    limiter
}

impl Pace {
    /// One that lets nothing out yet.
    pub(super) fn new(now: Moment) -> Self {
        let clock = VirtualClock::default();
        let limiter = empty_limiter(&clock, TOKEN_CELLS);
        Self {
            clock,
            limiter,
            shape: Shape::STANDING,
            deadline: now,
            advanced: now,
        }
    }

    /// From `now` on the share is this, until the deadline.
    pub(super) fn set(&mut self, now: Moment, share: Share, deadline: Moment) {
        self.advance(now);
        let shape = if share.allows_queries() {
            Shape::of(share)
        } else {
            Shape {
                sustained_micro: 0,
                ..self.shape
            }
        };
        if shape.cells != self.shape.cells {
            self.resize(shape.cells);
        }
        self.shape = shape;
        self.deadline = deadline;
    }

    /// What governor can save is for its life: another one takes over, with what this one has saved.
    fn resize(&mut self, cells: u32) {
        let full = NonZeroU32::new(self.shape.cells).unwrap_or(NonZeroU32::MIN);
        let lacking = match self.limiter.check_n(full) {
            Ok(Err(not_until)) => not_until.wait_time_from(self.clock.now()),
            Ok(Ok(())) | Err(_) => Duration::ZERO,
        };
        let saved = (CELL * self.shape.cells).saturating_sub(lacking);
        self.limiter = empty_limiter(&self.clock, cells);
        // An empty one gains it with virtual time, and no more than it can save.
        self.pass_time(saved);
    }

    /// Takes a token, or says how long to wait for one.
    pub(super) fn take(&mut self, now: Moment) -> Verdict {
        self.advance(now);
        let token = NonZeroU32::new(TOKEN_CELLS).unwrap_or(NonZeroU32::MIN);
        match self.limiter.check_n(token) {
            Ok(Ok(())) => Verdict::Taken,
            Err(_) => Verdict::Never,
            Ok(Err(_)) if self.shape.sustained_micro == 0 => Verdict::Never,
            Ok(Err(not_until)) => {
                let virtual_wait = not_until.wait_time_from(self.clock.now()).as_nanos();
                let wait = virtual_wait * 1_000_000 / u128::from(self.shape.sustained_micro);
                Verdict::Wait(Duration::from_nanos(
                    u64::try_from(wait).unwrap_or(u64::MAX),
                ))
            }
        }
    }

    /// Lets virtual time follow: at the sustained rate, and not beyond the deadline.
    fn advance(&mut self, now: Moment) {
        let counted = now.min(self.deadline).since(self.advanced).as_nanos();
        self.advanced = self.advanced.max(now);
        let virtual_nanos =
            counted.saturating_mul(u128::from(self.shape.sustained_micro)) / 1_000_000;
        self.pass_time(Duration::from_nanos(
            u64::try_from(virtual_nanos).unwrap_or(u64::MAX),
        ));
    }

    fn pass_time(&mut self, virtual_time: Duration) {
        if self.clock.0.load(Ordering::Acquire) > HORIZON_NANOS {
            // Time begins anew before it overflows. What is saved is lost: a token or little more.
            self.clock.0.store(0, Ordering::Release);
            self.limiter = empty_limiter(&self.clock, self.shape.cells);
        }
        let step = u64::try_from(virtual_time.as_nanos()).unwrap_or(u64::MAX);
        self.clock
            .0
            .fetch_add(step.min(HORIZON_NANOS), Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As an operator of an older version could set it, at which sums and products overflow.
    #[test]
    fn a_share_of_any_size_lets_queries_out_for_days() {
        for rate_milli in [10, 100_000_000, 1_000_000_000_000, u64::MAX] {
            let share = Share {
                rate_milli,
                burst: u64::MAX,
                in_flight: u64::MAX,
                rows: Share::ANY_ROWS,
            };
            let at = |seconds: u64| Moment::from_nanos(seconds * 1_000_000_000);
            let mut pace = Pace::new(at(0));
            for day in 0..10u64 {
                let now = at(day * 86_400);
                pace.set(now, share, at((day + 2) * 86_400));
                // What is lost where time begins anew is had again at once.
                let _ = pace.take(now);
                assert_eq!(
                    pace.take(at(day * 86_400 + 2000)),
                    Verdict::Taken,
                    "{rate_milli}"
                );
            }
        }
    }

    fn share(rate_milli: u64) -> Share {
        Share {
            rate_milli,
            burst: 10,
            in_flight: 1,
            rows: Share::ANY_ROWS,
        }
    }

    /// The heart renews, and the brake is moved, many times while a token is gained: each with another rate, and so with
    /// another amount that can be saved. None of what was gained is lost, and none is won.
    #[test]
    fn the_level_is_kept_over_any_number_of_changes_of_rate() {
        let at = |millis: u64| Moment::from_nanos(millis * 1_000_000);
        let mut pace = Pace::new(at(0));
        let mut taken = 0.0;
        for millis in 0..60_000 {
            let rate = if millis % 2 == 0 { 8_000 } else { 12_000 };
            pace.set(at(millis), share(rate), at(1_000_000));
            while pace.take(at(millis)) == Verdict::Taken {
                taken += 1.0;
            }
        }
        let expected = 60.0 * 10.0 * 0.96;
        assert!(
            (expected * 0.99..=expected).contains(&taken),
            "{taken} of {expected}"
        );
    }

    /// However late each is taken, and whatever was saved before.
    #[test]
    fn no_second_sees_more_than_the_share_whoever_is_late() {
        for rate in [1, 2, 7, 25, 60, 200, 999] {
            let micros = |micros: u64| Moment::from_nanos(micros * 1000);
            let mut pace = Pace::new(micros(0));
            let of_rate = Share {
                burst: rate,
                ..share(rate * 1000)
            };
            pace.set(micros(0), of_rate, Moment::from_nanos(u64::MAX));
            let (mut now, mut taken) = (0, Vec::new());
            for n in 0..rate * 20 {
                // From punctual to far too late.
                now += [0, 3, 12_000, 700, 0, 0, 2_500_000 / rate][n as usize % 7];
                while let Verdict::Wait(time) = pace.take(micros(now)) {
                    now += u64::try_from(time.as_nanos().div_ceil(1000)).unwrap();
                }
                taken.push(now);
            }
            for (n, first) in taken.iter().enumerate() {
                let within = taken[n..].iter().take_while(|at| **at < first + 1_000_000);
                let within = within.count() as u64;
                assert!(
                    within <= rate,
                    "{within} of {rate} in the second from {first}"
                );
            }
        }
    }

    #[test]
    fn the_least_share_lets_queries_out() {
        let mut pace = Pace::new(Moment::from_nanos(0));
        let later = |seconds: u64| Moment::from_nanos(seconds * 1_000_000_000);
        pace.set(later(0), share(1), later(10_000));
        assert!(matches!(pace.take(later(1000)), Verdict::Wait(_)));
        assert_eq!(pace.take(later(1042)), Verdict::Taken);
    }

    /// At five queries a second, what is saved for late timers was once rounded to nothing.
    #[test]
    fn being_woken_ten_milliseconds_late_leaves_95_percent_of_a_rate_to_use_however_low_it_is() {
        const LATE: Duration = Duration::from_millis(SLACK_MILLIS);
        for rate in [1, 3, 5, 10, 50, 200] {
            let share = Share {
                rate_milli: rate * 1000,
                burst: rate,
                in_flight: 1,
                rows: Share::ANY_ROWS,
            };
            let mut pace = Pace::new(Moment::from_nanos(0));
            let deadline = Moment::from_nanos(u64::MAX);
            pace.set(Moment::from_nanos(0), share, deadline);
            let (mut now, mut taken) = (Moment::from_nanos(0), 0);
            while taken < rate * 100 {
                match pace.take(now) {
                    Verdict::Taken => taken += 1,
                    Verdict::Wait(time) => now = now + time + LATE,
                    Verdict::Never => panic!("{rate} a second"),
                }
            }
            let took = now.since(Moment::from_nanos(0));
            assert!(
                took < Duration::from_secs(100) * 100 / 95,
                "{rate} a second: {took:?}"
            );
        }
    }
}
