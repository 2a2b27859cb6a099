//! Drift as records and messages have it: in whole numbers; and of several sources together.

use serde::{Deserialize, Serialize};

use super::{Drift, Fading, KeptOfTop, tops};

/// The most tops of a record.
const TOPS_MAX: usize = 40;

/// How the traffic of a key source drifts, as a record has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftRecord {
    /// How many requests its history has.
    pub requests: u64,
    /// Of what part of the keys it was learned, in millionths.
    pub sampled_ppm: u32,
    /// Where popularity fades: in what share of all orders it would look like as much, and what is left after as long as the history
    /// lasted; in millionths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fading_ppm: Option<(u32, u32)>,
    /// In rising order: a part of a plan, in billionths; what share of its hit rate it keeps, and the standard deviation of that hit
    /// rate, in millionths.
    pub tops: Vec<(u32, u32, u32)>,
}

const MILLION: u32 = 1_000_000;
const BILLION: u32 = 1_000_000_000;

/// A share as a whole number of parts of one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "from 0 to 1; saturates"
)]
fn parts(share: f64, of_one: u32) -> u32 {
    (share * f64::from(of_one)).round() as u32
}

/// The nearest share to what may be none.
const fn a_share(number: f64) -> f64 {
    if number.is_nan() {
        0.0
    } else {
        number.clamp(0.0, 1.0)
    }
}

fn share(parts: u32, of_one: u32) -> f64 {
    f64::from(parts) / f64::from(of_one)
}

impl From<&Drift> for DriftRecord {
    fn from(drift: &Drift) -> Self {
        let fading = drift.fading.map(|fading| {
            let ppm = |share| parts(share, MILLION);
            (ppm(fading.chance), ppm(fading.left))
        });
        let top = |of: &KeptOfTop| {
            let ppm = |share| parts(share, MILLION);
            (parts(of.top, BILLION), ppm(of.kept), ppm(of.deviation))
        };
        Self {
            requests: drift.requests,
            sampled_ppm: parts(drift.sampled, MILLION),
            fading_ppm: fading,
            tops: drift.told().iter().map(top).collect(),
        }
    }
}

impl From<&DriftRecord> for Drift {
    fn from(record: &DriftRecord) -> Self {
        let fading = record.fading_ppm.map(|(chance, left)| Fading {
            chance: share(chance, MILLION),
            left: share(left, MILLION),
        });
        let tops = record.tops.iter().map(|(top, kept, deviation)| KeptOfTop {
            top: share(*top, BILLION),
            kept: share(*kept, MILLION),
            deviation: share(*deviation, MILLION),
        });
        Self::of_told(
            record.requests,
            share(record.sampled_ppm, MILLION),
            fading,
            tops,
        )
    }
}

impl Drift {
    /// What is known of tops, in rising order.
    #[must_use]
    pub fn told(&self) -> &[KeptOfTop] {
        &self.looks
    }

    /// From what is told of it: of tops that are none nothing is taken, and of too many the first; other shares are brought to the
    /// nearest that is one.
    #[must_use]
    pub fn of_told(
        requests: u64,
        sampled: f64,
        fading: Option<Fading>,
        tops: impl IntoIterator<Item = KeptOfTop>,
    ) -> Self {
        let is_one = |of: &KeptOfTop| of.top > 0.0 && of.top <= 1.0;
        let mut looks: Vec<KeptOfTop> = (tops.into_iter().filter(is_one))
            .map(|of| KeptOfTop {
                top: of.top,
                kept: a_share(of.kept),
                deviation: a_share(of.deviation),
            })
            .take(TOPS_MAX)
            .collect();
        looks.sort_unstable_by(|one, other| one.top.total_cmp(&other.top));
        looks.dedup_by(|one, other| one.top.total_cmp(&other.top).is_eq());
        Self {
            requests,
            sampled: a_share(sampled),
            fading: fading.map(|fading| Fading {
                chance: a_share(fading.chance),
                left: a_share(fading.left),
            }),
            looks,
        }
    }

    /// How the traffic of several sources drifts, of which a plan has so many requests each; `None` where there are none.
    ///
    /// As if the top of the plan had its requests from each source as the whole plan has: where one has the hottest keys and another keeps
    /// more of its hit rate, it is between the two.
    #[must_use]
    pub fn together(sources: &[(f64, Drift)]) -> Option<Self> {
        let all: f64 = sources.iter().map(|(requests, _)| requests).sum();
        if all.is_nan() || all <= 0.0 {
            return None;
        }
        let mean = |of: &dyn Fn(&Drift) -> f64| {
            let weighted = sources.iter().map(|(weight, drift)| weight * of(drift));
            weighted.sum::<f64>() / all
        };
        let fading = sources.iter().filter_map(|(_, drift)| drift.fading);
        let chance = fading.map(|fading| fading.chance).reduce(f64::max);
        let left = mean(&|drift| drift.fading.map_or(1.0, |fading| fading.left));
        let look = |top: f64| KeptOfTop {
            top,
            kept: mean(&|drift| drift.kept(top)),
            deviation: mean(&|drift| drift.deviation(top)),
        };
        Some(Self {
            requests: (sources.iter())
                .fold(0, |sum, (_, drift)| drift.requests.saturating_add(sum)),
            sampled: mean(&|drift| drift.sampled),
            fading: chance.map(|chance| Fading { chance, left }),
            looks: tops().into_iter().map(look).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::traffic::Traffic;
    use super::super::super::{History, key_hash};
    use super::*;

    fn drift(seed: u64, renewed_after: u64) -> Drift {
        let mut history = History::default();
        let traffic = Traffic::zipf(5000, 0.9, seed).renewed_after(renewed_after);
        for key in traffic.take(200_000) {
            history.observe(key_hash(&key.to_be_bytes()));
        }
        history.drift().unwrap()
    }

    #[test]
    fn a_record_has_what_is_told_of_tops() {
        let drift = drift(1, 200_000);
        assert!(
            drift.fading.is_some() && drift.kept(0.01) < 0.95,
            "{drift:?}"
        );
        let record = DriftRecord::from(&drift);
        let text = serde_json::to_string(&record).unwrap();
        assert!(text.len() < 1000, "it is a part of a record: {text}");
        let read: DriftRecord = serde_json::from_str(&text).unwrap();
        assert_eq!(read, record);
        let again = Drift::from(&read);
        assert_eq!(again.requests, 200_000);
        for top in tops() {
            assert!((again.kept(top) - drift.kept(top)).abs() < 1e-6, "{top}");
            let (one, other) = (again.deviation(top), drift.deviation(top));
            assert!((one - other).abs() < 1e-6, "{top}");
        }
        // And so between them.
        for top in [3e-3, 7e-3, 0.015, 0.04, 0.35, 0.7] {
            let (one, other) = (again.kept(top), drift.kept(top));
            assert!((one - other).abs() < 1e-4, "{top}: {one} {other}");
        }
        assert_eq!(DriftRecord::from(&again), record);
    }

    #[test]
    fn what_somebody_tells_is_brought_into_its_ranges() {
        let told = |top, kept| KeptOfTop {
            top,
            kept,
            deviation: f64::NAN,
        };
        let odd = [
            told(0.0, 0.5),
            told(0.5, 7.0),
            told(f64::NAN, 0.5),
            told(2.0, 0.5),
            told(0.1, -1.0),
        ];
        let many = (1..100).map(|n| told(f64::from(n) / 1e3, 0.5));
        let fading = Fading {
            chance: f64::INFINITY,
            left: f64::NAN,
        };
        let drift = Drift::of_told(5, -3.0, Some(fading), odd.into_iter().chain(many));
        assert_eq!((drift.sampled, drift.looks.len()), (0.0, TOPS_MAX));
        assert_eq!(
            drift.fading.map(|fading| (fading.chance, fading.left)),
            Some((1.0, 0.0))
        );
        assert_eq!(
            (drift.kept(0.1), drift.kept(1.0), drift.deviation(0.5)),
            (0.0, 1.0, 0.0)
        );
        let none = Drift::of_told(0, 1.0, None, []);
        assert_eq!(none.kept(0.1), 1.0);
    }

    #[test]
    fn sources_drift_together_by_their_requests() {
        let (fades, stays) = (drift(1, 200_000), drift(2, u64::MAX));
        let alone = Drift::together(&[(5.0, fades.clone())]).unwrap();
        assert!((alone.kept(0.01) - fades.kept(0.01)).abs() < 1e-9);
        let both = Drift::together(&[(30.0, fades.clone()), (10.0, stays.clone())]).unwrap();
        let expected = fades.kept(0.1) * 0.75 + stays.kept(0.1) * 0.25;
        assert!((both.kept(0.1) - expected).abs() < 1e-9);
        assert_eq!(both.requests, 400_000);
        let most = Drift::of_told(u64::MAX, 1.0, None, []);
        let together = Drift::together(&[(1.0, most.clone()), (1.0, most)]).unwrap();
        assert_eq!(together.requests, u64::MAX);
        assert_eq!(Drift::together(&[]), None);
        assert_eq!(Drift::together(&[(0.0, fades)]), None);
    }
}
