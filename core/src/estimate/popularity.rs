//! How popular a plan's keys are: small, and known from its priorities alone.

use serde::{Deserialize, Serialize};

use super::curve::Curve;
use super::drift::Drift;
use super::float;
use super::zipf::Zipf;

/// The parts of a plan of which the hit rate is told, from its top.
pub const TOPS: [f64; 6] = [0.001, 0.01, 0.05, 0.1, 0.25, 1.0];

/// What a plan's priorities say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Popularity {
    /// How many entries it has.
    pub entries: u64,
    /// How many requests are expected for them.
    pub requests: f64,
    /// Zipf's law, where one can be fitted.
    pub zipf: Option<Zipf>,
    /// The hit rate with only the top of the plan in the cache.
    pub tops: Vec<TopShare>,
}

/// What the top of a plan is worth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct TopShare {
    /// Which part of the plan, from 0 to 1.
    pub top: f64,
    /// How many entries these are.
    pub entries: u64,
    /// The hit rate, were requests to come like the priorities say.
    pub as_planned: f64,
    /// The hit rate to expect, where it is known how traffic drifts away from what it was.
    pub expected: Option<f64>,
}

impl Popularity {
    /// What a curve says; `None` where no requests are expected for any key.
    #[must_use]
    pub fn of(curve: &Curve, drift: Option<&Drift>) -> Option<Self> {
        let top = |top: f64| {
            let entries = entries_of_top(curve.entries(), top);
            let as_planned = curve.share(entries)?;
            let expected = drift.map(|drift| drift.kept(top) * as_planned);
            Some(TopShare {
                top,
                entries,
                as_planned,
                expected,
            })
        };
        Some(Self {
            entries: curve.entries(),
            requests: curve.requests(),
            zipf: Zipf::of(curve),
            tops: TOPS.into_iter().map(top).collect::<Option<_>>()?,
        })
    }
}

/// How many entries this part of so many are, from the top: one at least.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a part of a count"
)]
pub fn entries_of_top(entries: u64, top: f64) -> u64 {
    ((float(entries) * top).round() as u64).clamp(1, entries.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_has_the_share_of_its_ranks() {
        let mut curve = Curve::new();
        for rank in 0..1000 {
            curve.push(if rank < 10 { 90_000 } else { 1000 });
        }
        let popularity = Popularity::of(&curve, None).unwrap();
        let one_percent = popularity.tops[1];
        assert_eq!((one_percent.entries, one_percent.expected), (10, None));
        assert!((one_percent.as_planned - 900.0 / 1890.0).abs() < 1e-9);
        assert_eq!(popularity.tops[5].as_planned, 1.0);
        assert!(popularity.tops.is_sorted_by_key(|top| top.entries));
    }

    #[test]
    fn a_top_has_one_entry_at_least_and_all_at_most() {
        for (entries, top, expected) in [
            (1, 0.001, 1),
            (49, 0.01, 1),
            (1000, 0.01, 10),
            (3, 1.0, 3),
            (0, 0.5, 1),
        ] {
            assert_eq!(entries_of_top(entries, top), expected, "{entries} {top}");
        }
    }

    #[test]
    fn without_requests_there_is_no_popularity() {
        assert_eq!(Popularity::of(&Curve::new(), None), None);
        let mut zeros = Curve::new();
        zeros.push(0);
        assert_eq!(Popularity::of(&zeros, None), None);
    }
}
