//! Zipf's law, fitted to a plan: the key of rank r gets a share of requests in proportion to r^−s.
//!
//! The exponent s is that of greatest likelihood. Of n ranks with weights f the log-likelihood is −s · Σ f ln r − Σ f · ln H(n, s),
//! where H(n, s) = Σ r^−s is a generalized harmonic number: so Σ f and Σ f ln r are all that has to be known of a plan, and it is
//! concave in s. How good the fit is the Kolmogorov–Smirnov distance says: the greatest difference between what the first ranks get
//! and what they should (as Clauset, Shalizi and Newman propose for power laws, "Power-law distributions in empirical data", SIAM
//! Review 51, 2009). Ranks are those of the very requests that are fitted, so that a list without any pattern has a small exponent
//! rather than none (Piantadosi, "Zipf's word frequency law in natural language", 2014, section 2).
//!
//! H(n, s) is summed up to a bound and continued by Euler–Maclaurin's formula: two terms leave less than 10⁻⁹ of it.

use serde::{Deserialize, Serialize};

use super::curve::Curve;
use super::float;

/// Exponents are looked for up to this: beyond, the first key gets all there is.
const EXPONENT_MAX: f64 = 20.0;
/// An exponent is found to this: likelihoods that lie closer do not differ in a float.
const EXPONENT_STEP: f64 = 1e-7;
/// So many terms of a sum are added one by one.
const SUMMED: u64 = 128;

/// The law.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Zipf {
    /// s; 0: all keys alike.
    pub exponent: f64,
    /// How far it is from the truth, at most, as a share of all requests: 0 is the truth.
    pub distance: f64,
}

impl Zipf {
    /// The law that fits best; `None` where there are less than two ranks, or no requests.
    #[must_use]
    pub fn of(curve: &Curve) -> Option<Self> {
        if curve.entries() < 2 {
            return None;
        }
        let exponent = exponent(curve.entries(), curve.mean_log_rank()?);
        let all = harmonic(curve.entries(), exponent);
        let (mut sum, mut distance) = (0.0, 0.0_f64);
        for step in curve.steps() {
            sum += step.weight() / curve.requests();
            let law = harmonic(step.end(), exponent) / all;
            distance = distance.max((sum - law).abs());
        }
        Some(Self { exponent, distance })
    }
}

/// Where −s·m − ln H(n, s) is greatest: it is concave, so a third is cut off where it cannot be (golden section).
fn exponent(entries: u64, mean_log_rank: f64) -> f64 {
    const GOLDEN: f64 = 0.618_033_988_749_894_9;
    let likelihood = |s: f64| -s * mean_log_rank - harmonic(entries, s).ln();
    let (mut low, mut high) = (0.0, EXPONENT_MAX);
    let mut inner = (high - GOLDEN * (high - low), low + GOLDEN * (high - low));
    let mut values = (likelihood(inner.0), likelihood(inner.1));
    while high - low > EXPONENT_STEP {
        if values.0 >= values.1 {
            high = inner.1;
            inner = (high - GOLDEN * (high - low), inner.0);
            values = (likelihood(inner.0), values.0);
        } else {
            low = inner.0;
            inner = (inner.1, low + GOLDEN * (high - low));
            values = (values.1, likelihood(inner.1));
        }
    }
    let found = f64::midpoint(low, high);
    // Half of a float's digits are left of a place where a function hardly changes.
    if found < 10.0 * EXPONENT_STEP {
        0.0
    } else {
        found
    }
}

/// H(n, s) = Σ r^−s for r from 1 to n.
fn harmonic(n: u64, s: f64) -> f64 {
    let summed = n.min(SUMMED);
    let head: f64 = (1..=summed).map(|rank| float(rank).powf(-s)).sum();
    if n <= SUMMED {
        return head;
    }
    let (from, to) = (float(summed), float(n));
    // ∫ x^−s dx, which is a logarithm where s is 1, and steady there.
    let (power, logarithm) = (1.0 - s, (to / from).ln());
    let integral = if (power * logarithm).abs() < 1e-8 {
        from.powf(power) * logarithm
    } else {
        from.powf(power) * (power * logarithm).exp_m1() / power
    };
    let term = |x: f64| x.powf(-s);
    let slope = |x: f64| -s * x.powf(-s - 1.0);
    head + integral + (term(to) - term(from)) / 2.0 + (slope(to) - slope(from)) / 12.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Requests for n keys by the law, in thousandths.
    fn by_law(n: u64, s: f64) -> Curve {
        let mut curve = Curve::new();
        for rank in 1..=n {
            let weight = 1e12 * float(rank).powf(-s);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "within 10¹²"
            )]
            curve.push(weight.round() as u64);
        }
        curve
    }

    #[test]
    fn harmonic_numbers_are_those_of_the_sum() {
        for s in [0.0, 0.5, 0.999_999_999, 1.0, 1.5, 3.0] {
            for n in [1, 2, 127, 128, 129, 1000, 100_000] {
                let sum: f64 = (1..=n).map(|rank| float(rank).powf(-s)).sum();
                let found = harmonic(n, s);
                assert!((found / sum - 1.0).abs() < 1e-8, "{n} {s}: {found} {sum}");
            }
        }
    }

    #[test]
    fn exponents_are_found_again() {
        for s in [0.2, 0.6, 0.8, 1.0, 1.2, 2.0] {
            for n in [10, 1000, 50_000] {
                let zipf = Zipf::of(&by_law(n, s)).unwrap();
                assert!((zipf.exponent - s).abs() < 1e-3, "{s} {n}: {zipf:?}");
                assert!(zipf.distance < 1e-3, "{s} {n}: {zipf:?}");
            }
        }
    }

    #[test]
    fn a_flat_list_has_no_exponent_and_fits() {
        let zipf = Zipf::of(&by_law(10_000, 0.0)).unwrap();
        assert_eq!(zipf.exponent, 0.0);
        assert!(zipf.distance < 1e-9, "{zipf:?}");
    }

    #[test]
    fn a_list_by_no_such_law_is_far_from_it() {
        // A thousand keys get nearly all there is, nine thousand nearly nothing, and each alike.
        let mut curve = Curve::new();
        (0..1000).for_each(|_| curve.push(1_000_000));
        (0..9000).for_each(|_| curve.push(1000));
        assert!(Zipf::of(&curve).unwrap().distance > 0.2);
    }

    #[test]
    fn one_key_and_no_requests_have_no_law() {
        assert_eq!(Zipf::of(&by_law(1, 1.0)), None);
        assert_eq!(Zipf::of(&Curve::new()), None);
        let mut zeros = Curve::new();
        (0..10).for_each(|_| zeros.push(0));
        assert_eq!(Zipf::of(&zeros), None);
    }

    proptest! {
        #[test]
        fn any_list_has_an_exponent_within_bounds(
            weights in prop::collection::vec(0u64..=1_000_000_000_000_000, 2..2000),
        ) {
            let mut curve = Curve::new();
            let mut weights = weights;
            weights.sort_unstable_by(|a, b| b.cmp(a));
            weights.iter().for_each(|weight| curve.push(*weight));
            if let Some(zipf) = Zipf::of(&curve) {
                prop_assert!((0.0..=EXPONENT_MAX).contains(&zipf.exponent));
                prop_assert!((0.0..=1.0).contains(&zipf.distance));
            }
        }
    }
}
