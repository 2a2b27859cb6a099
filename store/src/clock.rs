//! The monotonic clock behind a type of our own.
//!
//! `std::time::Instant` stands still while a Linux machine is suspended, so a grant would outlive its term there;
//! `CLOCK_BOOTTIME` goes on.

use std::fmt::Debug;

use stoke_core::units::Moment;

/// Tells the time, for deadlines and quarantines.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Now, never before what it told earlier.
    fn now(&self) -> Moment;
}

/// `CLOCK_BOOTTIME`: monotonic across suspension.
#[derive(Clone, Copy, Debug, Default)]
pub struct BootClock;

impl Clock for BootClock {
    fn now(&self) -> Moment {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(time.tv_nsec).unwrap_or(0);
        Moment::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }
}

/// tokio's clock, which tests can pause and advance.
#[derive(Clone, Copy, Debug)]
pub struct TokioClock {
    start: tokio::time::Instant,
}

impl TokioClock {
    /// A clock that starts now, one hour in.
    #[must_use]
    pub fn new() -> Self {
        Self {
            start: tokio::time::Instant::now(),
        }
    }
}

impl Default for TokioClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Moment {
        Moment::from_nanos(3_600_000_000_000) + self.start.elapsed()
    }
}
