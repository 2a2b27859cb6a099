use std::collections::{HashMap, HashSet};

use super::super::traffic::Traffic;
use super::super::{Curve, History, Popularity, key_hash};
use super::*;

/// What was expected of the tops of a plan, what its priorities alone say, and what it got.
struct Tried {
    drift: Drift,
    tops: Vec<(f64, f64, f64, f64)>,
}

impl std::fmt::Debug for Tried {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} of {}", self.drift.fading, self.drift.sampled)?;
        for (top, planned, expected, got) in &self.tops {
            write!(
                f,
                ", {top}: {planned:.4} planned, {expected:.4} expected, {got:.4} got"
            )?;
        }
        Ok(())
    }
}

impl Tried {
    /// The greatest difference between what was expected and what was got; and between what the plan says and what was got.
    fn errors(&self) -> (f64, f64) {
        let worst =
            |of: fn(&(f64, f64, f64, f64)) -> f64| self.tops.iter().map(of).fold(0.0_f64, f64::max);
        (
            worst(|top| (top.2 - top.3).abs()),
            worst(|top| (top.1 - top.3).abs()),
        )
    }
}

/// Plans the first half of the requests, and tries the plan on the other.
fn tried(requests: &[u64], counts_max: usize) -> Tried {
    let (past, future) = requests.split_at(requests.len() / 2);
    let mut history = History::of_at_most(counts_max);
    let mut counts: HashMap<u64, u64> = HashMap::new();
    for key in past {
        history.observe(key_hash(&key.to_be_bytes()));
        *counts.entry(*key).or_default() += 1;
    }
    let mut plan: Vec<(u64, u64)> = counts.into_iter().collect();
    plan.sort_unstable_by_key(|(key, count)| (std::cmp::Reverse(*count), *key));
    let mut curve = Curve::new();
    plan.iter().for_each(|(_, count)| curve.push(count * 1000));
    let drift = history.drift().unwrap();
    let popularity = Popularity::of(&curve, Some(&drift)).unwrap();
    let got = |entries: u64| {
        let top = plan.iter().take(usize::try_from(entries).unwrap());
        let top: HashSet<u64> = top.map(|(key, _)| *key).collect();
        let hits = future.iter().filter(|key| top.contains(key)).count();
        float(hits as u64) / float(future.len() as u64)
    };
    let tops = popularity.tops.iter().map(|top| {
        let expected = top.expected.unwrap();
        (top.top, top.as_planned, expected, got(top.entries))
    });
    Tried {
        tops: tops.collect(),
        drift,
    }
}

fn requests(traffic: Traffic, count: usize) -> Vec<u64> {
    traffic.take(count).collect()
}

const ALL: usize = usize::MAX;

#[test]
fn what_stays_as_it_is_is_expected_to_stay() {
    for (exponent, seed) in [(0.6, 1), (0.8, 2), (1.0, 3), (1.2, 4)] {
        let tried = tried(
            &requests(Traffic::zipf(20_000, exponent, seed), 400_000),
            ALL,
        );
        assert!(tried.errors().0 < 0.01, "{tried:?}");
        assert!(
            tried.drift.fading.is_none_or(|fading| fading.left > 0.97),
            "{tried:?}"
        );
    }
}

#[test]
fn a_plan_of_all_is_expected_to_be_better_than_those_of_seven_eighths() {
    // So many keys that a seventh of all requests is for ones that were not asked for before: each eighth more is felt.
    for seed in 1..4 {
        let tried = tried(&requests(Traffic::zipf(50_000, 0.7, seed), 200_000), ALL);
        assert!(tried.errors().0 < 0.02, "{tried:?}");
    }
}

#[test]
fn bursts_are_not_expected_again() {
    for seed in 1..4 {
        let traffic = Traffic::zipf(20_000, 0.9, seed).bursting(0.002, 300);
        let tried = tried(&requests(traffic, 400_000), ALL);
        let (of_expected, of_plan) = tried.errors();
        assert!(of_plan > 0.1, "the plan alone is wrong: {tried:?}");
        // More history would not help against keys that never come again, as the correction for its length takes for granted.
        assert!(of_expected < 0.05, "{tried:?}");
    }
}

#[test]
fn what_fades_is_expected_to_fade_on() {
    for seed in 1..4 {
        for renewed_after in [400_000, 800_000] {
            let traffic = Traffic::zipf(5000, 0.9, seed).renewed_after(renewed_after);
            let tried = tried(&requests(traffic, 400_000), ALL);
            let (of_expected, of_plan) = tried.errors();
            assert!(tried.drift.fading.is_some(), "{tried:?}");
            assert!(of_plan > 0.08, "the plan alone is wrong: {tried:?}");
            assert!(of_expected < 0.06, "{renewed_after}: {tried:?}");
        }
    }
}

#[test]
fn one_part_that_is_unlike_the_others_is_no_fading() {
    // What plans of an eighth got of the others, in thousandths, on a trace whose first eighth was the exception: from the third on hit
    // rates do not fall with time, nor did they in the time to come.
    let got: [[u32; PARTS]; PARTS] = [
        [706, 546, 387, 356, 173, 268, 173, 152],
        [546, 558, 455, 393, 334, 350, 292, 327],
        [387, 455, 528, 435, 398, 376, 402, 368],
        [356, 393, 435, 570, 392, 374, 370, 358],
        [173, 334, 398, 392, 576, 419, 388, 416],
        [268, 350, 376, 374, 419, 575, 378, 369],
        [173, 292, 402, 370, 388, 378, 541, 378],
        [152, 327, 368, 358, 416, 369, 378, 582],
    ];
    let rate = |one: usize, other: usize| f64::from(got[one][other]) / 1000.0;
    let (chance_without_one, _) = fading(&alone_of(rate), &[0.1]);
    assert!(chance_without_one > CHANCE_MAX, "{chance_without_one}");
    let all: Vec<usize> = (0..PARTS).collect();
    let chance_of_all = chance(&all, |one, other| rate(one, other).ln());
    assert!(
        chance_of_all < CHANCE_MAX,
        "all eight show a trend, {chance_of_all}"
    );
    // Where the others fade, but by little, it makes that no more.
    let fading_by_little = |one: usize, other: usize| match one.min(other) {
        0 => rate(one, other),
        _ => 0.3 * (-0.005 * float(one.abs_diff(other) as u64)).exp(),
    };
    let (_, fades) = fading(&alone_of(fading_by_little), &[0.1]);
    assert!((fades[0] + 0.005).abs() < 1e-6, "{fades:?}");
}

/// Plans of one part that get so much of another, with their only top.
fn alone_of(rate: impl Fn(usize, usize) -> f64) -> Alone {
    let of = |one: usize| (0..PARTS).map(|other| vec![rate(one, other)]).collect();
    (0..PARTS).map(of).collect()
}

#[test]
fn a_sample_of_keys_tells_about_as_much() {
    for seed in 1..4 {
        let traffic = Traffic::zipf(20_000, 0.9, seed).bursting(0.002, 300);
        let requests = requests(traffic, 400_000);
        let (all, some) = (tried(&requests, ALL), tried(&requests, 60_000));
        assert!(some.drift.sampled <= 0.5, "{some:?}");
        for (all, some) in all.tops.iter().zip(&some.tops) {
            assert!((all.2 - some.2).abs() < 0.05, "{all:?} {some:?}");
        }
    }
}

#[test]
fn a_part_without_requests_says_nothing() {
    let keys = vec![[100, 100, 100, 100, 0, 100, 100, 500]; 10];
    assert_eq!(Drift::of(&keys, 11_000, 1.0), None);
}

#[test]
fn what_is_expected_grows_with_the_plan_and_is_a_share() {
    for seed in 0..20 {
        let traffic = Traffic::zipf(300, 0.7, seed)
            .renewed_after(3000)
            .bursting(0.01, 50);
        let tried = tried(&requests(traffic, 4000), ALL);
        assert!(
            tried.tops.is_sorted_by(|one, next| one.2 <= next.2 + 1e-12),
            "{tried:?}"
        );
        assert!(
            tried
                .tops
                .iter()
                .all(|top| (0.0..=top.1 + 1e-12).contains(&top.2)),
            "{tried:?}"
        );
        assert!((0.0..=1.0).contains(&tried.drift.unseen()));
    }
}

#[test]
fn all_orders_are_looked_at_once() {
    let mut seen = HashSet::new();
    each_order(&mut [0, 1, 2, 3], 0, &mut |order| {
        assert!(seen.insert(order.to_vec()));
    });
    assert_eq!(seen.len(), 24);
}
