use proptest::prelude::*;

use super::*;

fn curve(weights: impl IntoIterator<Item = u64>) -> Curve {
    let mut curve = Curve::new();
    weights
        .into_iter()
        .for_each(|weight| curve.push(weight * 1000));
    curve
}

fn setting() -> Setting {
    Setting {
        qps: 10.0,
        batch_keys: 100,
        requests_per_second: Some(1000.0),
        miss_cost_s: Some(0.02),
        capacity_qps: None,
        ttl_s: None,
    }
}

fn timeline(curve: &Curve, setting: &Setting) -> Timeline {
    Timeline::of(curve, None, setting).unwrap()
}

#[test]
fn batches_are_counted() {
    let setting = setting();
    for (entries, queries, seconds) in [(0, 0, 0.0), (1, 1, 0.1), (100, 1, 0.1), (101, 2, 0.2)] {
        assert_eq!(setting.queries(entries), queries, "{entries}");
        assert!(
            (setting.seconds(entries) - seconds).abs() < 1e-9,
            "{entries}"
        );
    }
}

#[test]
fn keys_that_are_alike_fill_as_one_exponential() {
    // 1000 keys, a request a second for each.
    let timeline = timeline(&curve([1; 1000]), &setting());
    for at in &timeline.moments {
        let expected = 1.0 - (-at.seconds).exp();
        assert!((at.cold - expected).abs() < 1e-9, "{at:?}");
    }
    assert!((timeline.in_the_long_run - 1.0).abs() < 1e-9);
    let until = timeline.cold_until_s.unwrap();
    assert!((until - 20.0_f64.ln()).abs() < 0.1, "{until}");
    // The area above the curve is a second: each key misses once.
    let before = timeline.misses_spared_before;
    assert!((before - 950.0).abs() < 60.0, "{before}");
    assert!((timeline.waiting_spared_before_s.unwrap() - before * 0.02).abs() < 1e-6);
    // The warm-up takes a second, too. Of what is asked for until then, ∫ (1 − t) e^−t dt = 1/e misses all the same.
    let left = before - timeline.misses_spared;
    assert!((left - 1000.0 / std::f64::consts::E).abs() < 20.0, "{left}");
}

#[test]
fn values_that_end_are_missed_again() {
    let setting = Setting {
        ttl_s: Some(1.0),
        ..setting()
    };
    let timeline = timeline(&curve([1; 1000]), &setting);
    assert!((timeline.in_the_long_run - 0.5).abs() < 1e-9);
    let last = timeline.moments.last().unwrap();
    assert!(
        (last.cold - 0.5).abs() < 0.03 && (last.warmed - 0.5).abs() < 0.1,
        "{last:?}"
    );
}

#[test]
fn a_database_that_bears_little_keeps_a_cache_cold_for_long() {
    let curve = curve([1; 1000]);
    let free = timeline(&curve, &setting());
    let bound = timeline(
        &curve,
        &Setting {
            capacity_qps: Some(20.0),
            ..setting()
        },
    );
    // 1000 keys at 20 a second.
    let until = bound.cold_until_s.unwrap();
    assert!((45.0..60.0).contains(&until), "{until}");
    assert!(bound.misses_spared > free.misses_spared * 10.0);
}

#[test]
fn a_database_that_bears_nothing_stays_cold() {
    let bound = Setting {
        capacity_qps: Some(0.0),
        ..setting()
    };
    let timeline = timeline(&curve([1; 1000]), &bound);
    assert_eq!(timeline.cold_until_s, None);
    assert_eq!(timeline.moments.last().unwrap().cold, 0.0);
    assert!(timeline.warmed_until_s.is_some());
}

#[test]
fn without_requests_there_is_no_time() {
    for requests_per_second in [None, Some(0.0)] {
        let setting = Setting {
            requests_per_second,
            ..setting()
        };
        assert_eq!(Timeline::of(&curve([1]), None, &setting), None);
    }
    assert_eq!(Timeline::of(&Curve::new(), None, &setting()), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]

    #[test]
    fn hit_rates_are_shares_and_a_cold_cache_never_gets_colder(
        weights in prop::collection::vec(0u64..100_000, 1..300),
        qps in 0.001..1e6_f64,
        batch_keys in 1u32..10_000,
        requests_per_second in 0.001..1e9_f64,
        capacity_qps in prop::option::of(0.0..1e6_f64),
        ttl_s in prop::option::of(1.0..1e8_f64),
    ) {
        let mut weights = weights;
        weights.sort_unstable_by(|a, b| b.cmp(a));
        let setting = Setting {
            qps,
            batch_keys,
            requests_per_second: Some(requests_per_second),
            miss_cost_s: Some(0.01),
            capacity_qps,
            ttl_s,
        };
        let curve = curve(weights);
        prop_assume!(curve.requests() > 0.0);
        let timeline = Timeline::of(&curve, None, &setting).unwrap();
        let within = -1e-9..=1.0 + 1e-9;
        for at in &timeline.moments {
            prop_assert!(within.contains(&at.cold) && within.contains(&at.warmed), "{:?}", at);
        }
        prop_assert!(timeline.moments.is_sorted_by(|one, next| one.cold <= next.cold + 1e-9));
        prop_assert!(timeline.moments.is_sorted_by(|one, next| one.seconds <= next.seconds));
        prop_assert!(timeline.misses_spared.is_finite() && timeline.misses_spared >= 0.0);
        prop_assert!(timeline.misses_spared_before.is_finite());
    }
}
