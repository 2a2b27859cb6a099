//! Units as types: a bare number in Stoke has its unit in its name, all others are one of these.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A reading of this machine's monotonic clock: nanoseconds since an arbitrary start. It goes on while the machine is
/// suspended, and means nothing on another machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// The moment that lies `nanos` nanoseconds after the clock's start.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's start.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to here; zero where `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Moment {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// How many requests an entry is expected to get, in thousandths of a request: 0 to 10¹² requests.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Priority(u64);

/// A number that is no priority.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{0} is not a priority: it must be a number from 0 to {max}", max = Priority::REQUESTS_MAX)]
pub struct NotAPriority(pub f64);

impl Priority {
    /// The largest priority, in requests.
    pub const REQUESTS_MAX: u64 = 1_000_000_000_000;
    /// One request: what an entry without a stated priority has.
    pub const ONE: Self = Self(1000);

    /// From thousandths of a request; larger values than the maximum become the maximum.
    #[must_use]
    pub const fn from_milli(milli: u64) -> Self {
        let max = Self::REQUESTS_MAX * 1000;
        Self(if milli > max { max } else { milli })
    }

    /// From requests, rounded to thousandths.
    ///
    /// # Errors
    /// Where `requests` is negative, not a number, or above [`Priority::REQUESTS_MAX`].
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "checked"
    )]
    pub fn from_requests(requests: f64) -> Result<Self, NotAPriority> {
        if (0.0..=Self::REQUESTS_MAX as f64).contains(&requests) {
            Ok(Self((requests * 1000.0).round() as u64))
        } else {
            Err(NotAPriority(requests))
        }
    }

    /// Thousandths of a request.
    #[must_use]
    pub const fn as_milli(self) -> u64 {
        self.0
    }

    /// The sum, at most the maximum.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self::from_milli(self.0.saturating_add(other.0))
    }
}

/// An entry's place in its plan, from 0: the most requested first.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Rank(pub u64);

/// A run of [`BandId::RANKS`] consecutive ranks of a plan, from 0: the plan's unit of storage and of order.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct BandId(pub u32);

impl BandId {
    /// How many ranks a full band holds.
    pub const RANKS: u64 = 131_072;
}

/// A partition of a plan: a contiguous range of hash slots, the unit of ownership.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct PartitionId(pub u16);

/// What fences a coordinator's writes: the create revision of the leader key that its campaign won.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Epoch(pub u64);

impl fmt::Display for Rank {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for BandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn priorities_are_numbers_from_zero_to_the_maximum() {
        assert_eq!(Priority::from_requests(1.5), Ok(Priority::from_milli(1500)));
        assert_eq!(Priority::from_requests(0.0), Ok(Priority::default()));
        assert_eq!(Priority::from_requests(-1.0), Err(NotAPriority(-1.0)));
        assert!(Priority::from_requests(f64::NAN).is_err());
        assert!(Priority::from_requests(1e13).is_err());
    }

    #[test]
    fn time_between_moments_is_never_negative() {
        let early = Moment::from_nanos(5);
        let late = early + Duration::from_nanos(7);
        assert_eq!(late.since(early), Duration::from_nanos(7));
        assert_eq!(early.since(late), Duration::ZERO);
    }
}
