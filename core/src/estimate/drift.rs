//! How much less a plan catches of traffic to come than of the traffic that it was made of, told by that traffic's own history.
//!
//! Two things make it less. **Bursts**: a key that was asked for a thousand times in one minute stands high in the plan and may not be asked
//! for again. And **fading**: what is popular changes, so that a plan is worth less the older it is.
//!
//! Bursts are found by cross-validation. The history is cut into [`PARTS`] parts; for each, a plan is made of all the others, and it
//! is looked what its top gets of the part left out. Such plans are made of less than the whole, and are worse for that; so
//! what is lost is corrected by what they lose on the whole history beside the plan of all of it (Burman, "A comparative study of ordinary
//! cross-validation, v-fold cross-validation and the repeated learning-testing methods", Biometrika 76, 1989). Nothing is fitted: what
//! comes out is an average over what happened. Parts are long, so that most bursts lie in one of them: that is what
//! Good–Turing's estimate lacks, which takes each request for a draw of its own.
//!
//! Cross-validation looks to both sides of a part, and does not see fading. For that, a plan of each part alone is tried on every other.
//! Where what it gets falls with the time between them, and does so in less than one in a hundred of all orders in which the parts could have come
//! (an exact Mantel test: Mantel, "The detection of disease clustering and a generalized regression approach", Cancer Research 27,
//! 1967), popularity fades. So it must be whichever part is left out: one that is unlike the others, and stands at the beginning or the end, would
//! make a trend of what is none. Then the plan is expected to lose at the same rate over a time as long as the history, whose moments lie
//! further from those of the plan than the parts do from each other. Neighbours are left out of the test: bursts reach over the border.
//!
//! What traffic to come really is like is one draw of many: [`Drift::deviation`] says how the parts differed. Where most keys were asked for
//! only once, the correction for the plans' length goes too far: by five points where half of all requests are for new keys.

use serde::Serialize;

pub use record::DriftRecord;

use super::float;
use super::popularity::{TOPS, entries_of_top};

/// Into so many parts a history is cut: enough for plans of nearly all of it, few enough for each to be longer than bursts.
pub const PARTS: usize = 8;
/// Of fewer requests nothing is told.
const REQUESTS_MIN: u64 = 1000;
/// Fading is believed where chance would show as much in less than this share of cases.
const CHANCE_MAX: f64 = 0.01;
/// And only where as much as this is gone after as long as the history lasted: less is not worth telling.
const GONE_MIN: f64 = 0.02;
/// Parts that lie closer are not compared for fading.
const APART_MIN: usize = 2;
/// A hit rate below this counts as this, so that it has a logarithm.
const HIT_RATE_MIN: f64 = 1e-4;
/// The smallest part of a plan that is looked at.
const TOP_MIN: f64 = 1e-5;
/// Between it and the whole plan so many parts are looked at, beside [`TOPS`].
const TOPS_BETWEEN: i32 = 23;

/// Requests for a key, by part of the history.
type Parts = [u32; PARTS];

/// How traffic drifts away from what it was.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Drift {
    /// How many requests the history has.
    pub requests: u64,
    /// Of what part of the keys it was learned.
    pub sampled: f64,
    /// How popularity fades, where it does.
    pub fading: Option<Fading>,
    /// The tops that were looked at, in rising order.
    #[serde(skip)]
    looks: Vec<KeptOfTop>,
}

/// That popularity fades.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Fading {
    /// In what share of all orders of the parts it would look like as much, whichever of them is left out.
    pub chance: f64,
    /// What is left of hit rates after as long as the history lasted, on average over tops of all sizes.
    pub left: f64,
}

/// What is known of the top of a plan.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct KeptOfTop {
    /// Which part of it, from 0 to 1.
    pub top: f64,
    /// Its hit rate to come, for one of what it was made of.
    pub kept: f64,
    /// The standard deviation of its hit rate over the parts.
    pub deviation: f64,
}

impl Drift {
    /// What a history's parts say, of each key one; `None` where they say too little.
    pub(super) fn of(keys: &[Parts], requests: u64, sampled: f64) -> Option<Self> {
        if requests < REQUESTS_MIN {
            return None;
        }
        let tops = tops();
        let validated = Validated::of(keys, &tops)?;
        let alone = alone(keys, &tops)?;
        let (chance, fades) = fading(&alone, &tops);
        let over_all = fades.iter().sum::<f64>() / float(fades.len() as u64);
        let left = (over_all * float(PARTS as u64)).exp();
        let is_fading = chance < CHANCE_MAX && left <= 1.0 - GONE_MIN;
        let mut looks = Vec::new();
        let mut highest = 0.0_f64;
        for (n, &top) in tops.iter().enumerate() {
            let left = match is_fading {
                true => left_on_average(fades[n]),
                false => 1.0,
            };
            let (hits, learned) = (validated.hits[n], validated.learned[n]);
            // More of the plan never catches less.
            highest = highest.max(hits.clamp(0.0, learned) * left);
            looks.push(KeptOfTop {
                top,
                kept: (highest / learned).min(1.0),
                deviation: validated.deviations[n],
            });
        }
        let fading = is_fading.then_some(Fading { chance, left });
        Some(Self {
            requests,
            sampled,
            fading,
            looks,
        })
    }

    /// What share of its hit rate the top of a plan keeps, over a time as long as the history; `top` from 0 to 1.
    #[must_use]
    pub fn kept(&self, top: f64) -> f64 {
        self.between(top, |look| look.kept)
    }

    /// The standard deviation of its hit rate from one eighth of the history to another.
    #[must_use]
    pub fn deviation(&self, top: f64) -> f64 {
        self.between(top, |look| look.deviation)
    }

    /// What share of requests will come for keys that the plan does not have.
    #[must_use]
    pub fn unseen(&self) -> f64 {
        1.0 - self.kept(1.0)
    }

    /// Between two tops that were looked at, by the logarithm of their sizes.
    fn between(&self, top: f64, of: impl Fn(&KeptOfTop) -> f64) -> f64 {
        let at = self.looks.partition_point(|look| look.top < top);
        match (
            at.checked_sub(1).map(|n| &self.looks[n]),
            self.looks.get(at),
        ) {
            (Some(low), Some(high)) => {
                let part = (top / low.top).ln() / (high.top / low.top).ln();
                of(low) + (of(high) - of(low)) * part
            }
            (None, Some(one)) | (Some(one), None) => of(one),
            (None, None) => 1.0,
        }
    }
}

/// The parts of a plan that are looked at, in rising order.
fn tops() -> Vec<f64> {
    let between = |n: i32| TOP_MIN.powf(f64::from(TOPS_BETWEEN - n) / f64::from(TOPS_BETWEEN));
    let mut tops: Vec<f64> = (0..TOPS_BETWEEN).map(between).chain(TOPS).collect();
    tops.sort_unstable_by(f64::total_cmp);
    tops.dedup();
    tops
}

/// What cross-validation gives, for each top.
struct Validated {
    /// The hit rate of the plan of all, on what it was made of.
    learned: Vec<f64>,
    /// The hit rate that is to be expected of it on more of the same.
    hits: Vec<f64>,
    deviations: Vec<f64>,
}

impl Validated {
    fn of(keys: &[Parts], tops: &[f64]) -> Option<Self> {
        let whole = |key: &Parts| key.iter().map(|part| u64::from(*part)).sum::<u64>();
        let plan_of_all = Plan::by(keys, whole);
        let entries = plan_of_all.ranked.len();
        let learned = plan_of_all.hit_rates(tops, entries, whole)?;
        let mut others_on_whole = vec![0.0; tops.len()];
        let mut by_part = Vec::new();
        for part in 0..PARTS {
            let of_part = |key: &Parts| u64::from(key[part]);
            let plan = Plan::by(keys, |key| whole(key) - of_part(key));
            by_part.push(plan.hit_rates(tops, entries, of_part)?);
            let on_whole = plan.hit_rates(tops, entries, whole)?;
            for (sum, rate) in others_on_whole.iter_mut().zip(on_whole) {
                *sum += rate / float(PARTS as u64);
            }
        }
        let of_parts = |n: usize| by_part.iter().map(move |rates: &Vec<f64>| rates[n]);
        let mean = |n: usize| of_parts(n).sum::<f64>() / float(PARTS as u64);
        let hits = (0..tops.len()).map(|n| mean(n) + learned[n] - others_on_whole[n]);
        let deviation = |n: usize| {
            let squares = of_parts(n).map(|rate| (rate - mean(n)).powi(2));
            (squares.sum::<f64>() / float(PARTS as u64 - 1)).sqrt()
        };
        Some(Self {
            hits: hits.collect(),
            deviations: (0..tops.len()).map(deviation).collect(),
            learned,
        })
    }
}

/// A plan of some of the history: its keys by falling weight.
struct Plan<'a> {
    /// All keys of the history.
    keys: &'a [Parts],
    ranked: Vec<&'a Parts>,
}

impl<'a> Plan<'a> {
    /// Of the keys that have any weight; equals stay in their order.
    fn by(keys: &'a [Parts], weight: impl Fn(&Parts) -> u64) -> Self {
        let weighed = keys.iter().map(|key| (weight(key), key));
        let mut ranked: Vec<(u64, &Parts)> = weighed.filter(|(weight, _)| *weight > 0).collect();
        ranked.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
        Self {
            keys,
            ranked: ranked.into_iter().map(|(_, key)| key).collect(),
        }
    }

    /// What it gets of some requests with the tops of so many entries; `None` where there are no requests, or it has no keys.
    fn hit_rates(
        &self,
        tops: &[f64],
        entries: usize,
        requests: impl Fn(&Parts) -> u64,
    ) -> Option<Vec<f64>> {
        let all: u64 = self.keys.iter().map(&requests).sum();
        if all == 0 || self.ranked.is_empty() {
            return None;
        }
        let (mut taken, mut hits) = (0, 0);
        let rates = tops.iter().map(|top| {
            let wanted = entries_of_top(entries as u64, *top);
            let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
            let wanted = wanted.min(self.ranked.len());
            hits += self.ranked[taken..wanted]
                .iter()
                .map(|key| requests(key))
                .sum::<u64>();
            taken = wanted;
            float(hits) / float(all)
        });
        Some(rates.collect())
    }
}

/// What plans of one part alone get of another: by the plan's part, then by the other, then by top.
type Alone = Vec<Vec<Vec<f64>>>;

fn alone(keys: &[Parts], tops: &[f64]) -> Option<Alone> {
    let of = |part: usize| move |key: &Parts| u64::from(key[part]);
    let plans = (0..PARTS).map(|part| {
        let plan = Plan::by(keys, of(part));
        let entries = plan.ranked.len();
        let others = (0..PARTS).map(|other| plan.hit_rates(tops, entries, of(other)));
        others.collect::<Option<Vec<_>>>()
    });
    plans.collect()
}

/// In what share of all orders of the parts hit rates fall as fast with time, or faster, whichever part is left out; and how fast they
/// do: for each top the slope of the hit rate's logarithm over a part, 0 where it does not fall. Where one part alone makes more than half
/// of the slope over all tops, those of the others count.
fn fading(alone: &Alone, tops: &[f64]) -> (f64, Vec<f64>) {
    let logarithm = |rate: f64| rate.max(HIT_RATE_MIN).ln();
    let of_both = |n: usize, one: usize, other: usize| {
        (logarithm(alone[one][other][n]) + logarithm(alone[other][one][n])) / 2.0
    };
    let told: Vec<usize> = (0..tops.len())
        .filter(|n| TOPS.contains(&tops[*n]))
        .collect();
    let likeness = |one: usize, other: usize| told.iter().map(|n| of_both(*n, one, other)).sum();
    let steepness = |parts: &[usize]| slope(parts, parts, likeness);
    let all: Vec<usize> = (0..PARTS).collect();
    let (mut worst_chance, mut least) = (0.0_f64, all.clone());
    for out in &all {
        let rest: Vec<usize> = all.iter().copied().filter(|part| part != out).collect();
        worst_chance = worst_chance.max(chance(&rest, likeness));
        if steepness(&rest) > steepness(&least) {
            least = rest;
        }
    }
    let parts = match steepness(&least) > steepness(&all) / 2.0 {
        true => least,
        false => all,
    };
    let fade = |n| slope(&parts, &parts, |one, other| of_both(n, one, other)).min(0.0);
    (worst_chance, (0..tops.len()).map(fade).collect())
}

/// In what share of all orders of these parts likeness falls as fast with time as in theirs, or faster.
fn chance(parts: &[usize], of: impl Fn(usize, usize) -> f64) -> f64 {
    let likeness: Vec<Vec<f64>> = (0..PARTS)
        .map(|one| (0..PARTS).map(|other| of(one, other)).collect())
        .collect();
    let of = |one: usize, other: usize| likeness[one][other];
    let seen = slope(parts, parts, of);
    let (mut all, mut as_steep) = (0_u64, 0_u64);
    each_order(&mut parts.to_vec(), 0, &mut |order| {
        all += 1;
        // The order itself is one of them, whatever rounding does.
        as_steep += u64::from(slope(parts, order, of) <= seen + 1e-12);
    });
    float(as_steep) / float(all)
}

/// The slope of what pairs of parts have, over how far apart they lie; `order` says which of them lie at these `times`.
fn slope(times: &[usize], order: &[usize], of: impl Fn(usize, usize) -> f64) -> f64 {
    let pairs = || {
        let all = (0..times.len()).flat_map(|n| (n + 1..times.len()).map(move |later| (n, later)));
        all.filter(|(n, later)| times[*later] - times[*n] >= APART_MIN)
    };
    let apart = |(n, later): (usize, usize)| float((times[later] - times[n]) as u64);
    let mean = pairs().map(apart).sum::<f64>() / float(pairs().count() as u64);
    let (mut with, mut square) = (0.0, 0.0);
    for (n, later) in pairs() {
        let distance = apart((n, later)) - mean;
        with += distance * of(order[n], order[later]);
        square += distance * distance;
    }
    with / square
}

/// Calls `look` with every order of what stands from `fixed` on.
fn each_order(order: &mut [usize], fixed: usize, look: &mut impl FnMut(&[usize])) {
    if fixed == order.len() {
        look(order);
        return;
    }
    for next in fixed..order.len() {
        order.swap(fixed, next);
        each_order(order, fixed + 1, look);
        order.swap(fixed, next);
    }
}

/// What is left of a cross-validated hit rate over a time as long as the history, of what falls like this.
///
/// With x the fall over the history's length, a moment of the past and one of that time are alike by ((1 − e^−x) ÷ x)² on average, and
/// two moments of the past, between which cross-validation has looked, by 2 · (x − 1 + e^−x) ÷ x².
fn left_on_average(slope: f64) -> f64 {
    let x = -slope * float(PARTS as u64);
    // Below that the difference of ones says nothing: what is left is 1 − 2x/3.
    if x < 1e-4 {
        return 1.0 - 2.0 * x / 3.0;
    }
    let gone = -(-x).exp_m1();
    gone * gone / (2.0 * (x - gone))
}

mod record;
#[cfg(test)]
mod tests;
