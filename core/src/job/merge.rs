//! How the priorities of several key sources, and of several rows, become those of keys.

use serde::{Deserialize, Serialize};

use crate::units::Priority;

/// How the priorities of a key that comes more than once are merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Merge {
    /// The highest counts.
    #[default]
    Max,
    /// They add up.
    Sum,
}

/// What the priorities of a key source's rows are, of which a key may have several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priorities {
    /// As whoever ranked the keys sees them: the highest counts, unless a job says otherwise.
    #[default]
    Ranks,
    /// Numbers of things: they add up, unless a job says otherwise.
    Numbers,
    /// Counts, each of a part of what a key was asked for: they add up.
    Counts,
}

impl Priorities {
    /// How they merge where a job does not say.
    #[must_use]
    pub const fn merge(self) -> Merge {
        match self {
            Self::Ranks => Merge::Max,
            Self::Numbers | Self::Counts => Merge::Sum,
        }
    }

    /// Whether they are ranks, as those of most sources.
    #[must_use]
    pub fn are_ranks(&self) -> bool {
        *self == Self::default()
    }
}

/// What a source's priorities are multiplied by: from a thousandth to a million, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Weight(u64);

impl Default for Weight {
    /// 1.
    fn default() -> Self {
        Self(1000)
    }
}

/// A number that is no weight.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{0} is no weight: give one from 0.001 to 1000000")]
pub struct NotAWeight(pub f64);

impl Weight {
    /// The least, and the greatest.
    pub const RANGE: std::ops::RangeInclusive<f64> = 0.001..=1_000_000.0;

    /// From a number, rounded to thousandths.
    ///
    /// # Errors
    /// Where it is out of [`Weight::RANGE`].
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked"
    )]
    pub fn new(weight: f64) -> Result<Self, NotAWeight> {
        match Self::RANGE.contains(&weight) {
            true => Ok(Self((weight * 1000.0).round() as u64)),
            false => Err(NotAWeight(weight)),
        }
    }

    /// As a number.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "at most a billion")]
    pub fn as_number(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// A priority with this weight, rounded to thousandths: what counts at all still counts one of them.
    #[must_use]
    pub fn of(self, priority: Priority) -> Priority {
        let milli = u128::from(priority.as_milli());
        let weighted = (milli * u128::from(self.0) + 500) / 1000;
        let weighted = u64::try_from(weighted).unwrap_or(u64::MAX);
        Priority::from_milli(weighted.max(u64::from(milli > 0)))
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    pub(super) fn is_one(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_multiplies_priorities_and_makes_nothing_of_none_of_them() {
        let of = |weight, milli| {
            let weight = Weight::new(weight).unwrap();
            weight.of(Priority::from_milli(milli)).as_milli()
        };
        for (weight, milli, weighted) in [
            (1.0, 2500, 2500),
            (2.5, 1000, 2500),
            (0.001, 1000, 1),
            (0.001, 400, 1),
            (0.5, 0, 0),
            (1e6, u64::MAX, Priority::REQUESTS_MAX * 1000),
        ] {
            assert_eq!(of(weight, milli), weighted, "{weight} of {milli}");
        }
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY, 0.0001, 1e7] {
            assert!(Weight::new(wrong).is_err(), "{wrong}");
        }
    }
}
