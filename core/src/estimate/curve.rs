//! The curve of a plan: how many requests its first ranks get, in bounded memory however many ranks there are.
//!
//! Ranks come in their order, one weight each. The first thousand are kept one by one; from there on a step covers a sixty-fourth of
//! the ranks before it, so that a plan of a billion entries takes two thousand steps. Inside a step all ranks count alike.

use super::float;

/// So many ranks are kept one by one.
const EXACT: u64 = 1024;
/// From there on a step has this part of the ranks before it.
const STEP_PART: u64 = 64;

/// Ranks that follow each other, and their weight together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Step {
    /// How many ranks lie before it.
    pub(crate) before: u64,
    /// How many it has.
    pub(crate) ranks: u64,
    /// What they weigh together, in thousandths.
    weight: u128,
}

impl Step {
    /// What they weigh together.
    pub(crate) fn weight(&self) -> f64 {
        thousandths(self.weight)
    }

    /// The first rank behind it.
    pub(crate) const fn end(&self) -> u64 {
        self.before + self.ranks
    }
}

/// The weights of a plan's ranks, summed up.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curve {
    steps: Vec<Step>,
    entries: u64,
    /// A sum of a billion priorities of 10¹⁵ each is beyond 64 bits.
    weight: u128,
    /// Σ weight · ln rank, ranks from 1.
    log_moment: f64,
    /// How many entries have a weight of exactly one.
    once: u64,
    /// Whether all weights are whole numbers: counts, as it seems.
    is_of_counts: bool,
}

impl Curve {
    /// Of no ranks yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            is_of_counts: true,
            ..Self::default()
        }
    }

    /// Adds the next rank, with its weight in thousandths of a request.
    pub fn push(&mut self, weight_milli: u64) {
        match self.steps.last_mut() {
            Some(last) if last.ranks < size_behind(last.before) => {
                last.ranks += 1;
                last.weight += u128::from(weight_milli);
            }
            _ => self.steps.push(Step {
                before: self.entries,
                ranks: 1,
                weight: weight_milli.into(),
            }),
        }
        self.entries += 1;
        self.weight += u128::from(weight_milli);
        self.log_moment += thousandths(weight_milli.into()) * float(self.entries).ln();
        self.once += u64::from(weight_milli == 1000);
        self.is_of_counts &= weight_milli.is_multiple_of(1000);
    }

    /// How many ranks there are.
    #[must_use]
    pub const fn entries(&self) -> u64 {
        self.entries
    }

    /// What all weigh together, in requests.
    #[must_use]
    pub fn requests(&self) -> f64 {
        thousandths(self.weight)
    }

    /// The mean of ln rank over requests; `None` where there are none.
    pub(crate) fn mean_log_rank(&self) -> Option<f64> {
        (self.weight > 0).then(|| self.log_moment / self.requests())
    }

    /// What share of all the first so many ranks have, from 0 to 1; `None` where nothing weighs anything.
    #[must_use]
    pub fn share(&self, ranks: u64) -> Option<f64> {
        if self.weight == 0 {
            return None;
        }
        if ranks >= self.entries {
            return Some(1.0);
        }
        let mut sum = 0.0;
        for step in self.steps.iter().take_while(|step| step.before < ranks) {
            let taken = float((ranks - step.before).min(step.ranks)) / float(step.ranks);
            sum += step.weight() * taken;
        }
        Some((sum / self.requests()).clamp(0.0, 1.0))
    }

    /// Its steps, in the order of ranks.
    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// What share of requests comes for keys that were never asked for, by Good and Turing's estimate (Good, "The population
    /// frequencies of species", 1953): the share of requests whose keys were asked for once. Where requests for a key come in bursts
    /// it is too low. `None` where weights are no counts.
    #[must_use]
    pub fn unseen(&self) -> Option<f64> {
        let counts = self.is_of_counts && self.weight > 0;
        counts.then(|| float(self.once) / self.requests())
    }
}

/// How many ranks the step has that begins behind so many.
const fn size_behind(ranks: u64) -> u64 {
    if ranks < EXACT { 1 } else { ranks / STEP_PART }
}

#[expect(clippy::cast_precision_loss, reason = "shares, not counts")]
fn thousandths(weight: u128) -> f64 {
    weight as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn curve(weights: impl IntoIterator<Item = u64>) -> Curve {
        let mut curve = Curve::new();
        weights.into_iter().for_each(|weight| curve.push(weight));
        curve
    }

    #[test]
    fn the_first_ranks_have_their_share() {
        let curve = curve([5000, 3000, 1000, 1000]);
        for (ranks, share) in [(0, 0.0), (1, 0.5), (2, 0.8), (3, 0.9), (4, 1.0), (9, 1.0)] {
            assert_eq!(curve.share(ranks), Some(share), "{ranks}");
        }
        assert_eq!(curve.unseen(), Some(0.2));
        assert_eq!((curve.entries(), curve.requests()), (4, 10.0));
    }

    #[test]
    fn nothing_has_no_shares() {
        assert_eq!(curve([]).share(1), None);
        assert_eq!(curve([0, 0]).share(1), None);
        assert_eq!(curve([0, 0]).unseen(), None);
        assert_eq!(
            curve([500, 1000]).unseen(),
            None,
            "half a request is no count"
        );
    }

    #[test]
    fn sums_do_not_overflow() {
        let curve = curve(std::iter::repeat_n(u64::MAX, 3000));
        assert_eq!(curve.share(3000), Some(1.0));
        assert!((curve.share(1500).unwrap() - 0.5).abs() < 1e-9);
    }

    #[test]
    fn millions_of_ranks_take_few_steps() {
        let curve = curve((0..2_000_000).map(|rank| 1_000_000_000 / (rank + 1)));
        assert!(
            curve.steps().len() < 1024 + 64 * 9,
            "{}",
            curve.steps().len()
        );
        let steps = curve.steps();
        assert!(steps.windows(2).all(|pair| pair[0].end() == pair[1].before));
        assert_eq!(steps.last().map(Step::end), Some(2_000_000));
    }

    proptest! {
        #[test]
        fn shares_grow_with_ranks_and_are_near_the_exact_ones(
            weights in prop::collection::vec(0u64..1_000_000, 1..6000),
        ) {
            let mut weights = weights;
            weights.sort_unstable_by(|a, b| b.cmp(a));
            let curve = curve(weights.iter().copied());
            let all: u64 = weights.iter().sum();
            prop_assume!(all > 0);
            let mut last = 0.0;
            let mut sum = 0;
            for (ranks, weight) in (1..).zip(&weights) {
                sum += weight;
                let share = curve.share(ranks).unwrap();
                prop_assert!(share >= last - 1e-12);
                prop_assert!((share - float(sum) / float(all)).abs() < 1e-3);
                last = share;
            }
        }
    }
}
