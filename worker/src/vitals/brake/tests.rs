//! The brake, by table and by property.

use super::*;
use proptest::prelude::*;

const LIMITS: Limits = Limits {
    latency_max: Some(Duration::from_millis(500)),
    ill_max_permille: Some(100),
};

fn at(millis: u64) -> Moment {
    Moment::from_nanos((3_600_000 + millis) * 1_000_000)
}

const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Looks every 50 ms from `from` to `to`, with a query on its way since `sent`.
fn look(brake: &mut Brake, from: u64, to: u64, sent: Option<u64>) {
    for now in (from..to).step_by(50) {
        brake.look(at(now), sent.map(|sent| millis(now - sent)), &LIMITS);
    }
}

#[test]
fn it_halves_at_once_when_a_query_took_too_long() {
    let mut brake = Brake::new(at(0));
    brake.answered(at(1000), millis(500), false);
    brake.look(at(1000), None, &LIMITS);
    assert_eq!((brake.permille(), brake.take_change()), (1000, None));
    brake.answered(at(1001), millis(501), false);
    brake.look(at(1001), None, &LIMITS);
    let trouble = Trouble::Slow {
        took: millis(501),
        max: millis(500),
    };
    assert_eq!(brake.permille(), 500);
    assert_eq!(brake.take_change(), Some(Change::Begun(trouble)));
    assert_eq!(brake.take_change(), None, "told once");
}

#[test]
fn one_slow_answer_halves_it_once() {
    let mut brake = Brake::new(at(0));
    brake.answered(at(0), millis(900), false);
    look(&mut brake, 0, 1000, None);
    assert_eq!(brake.permille(), 500);
    look(&mut brake, 1000, 1050, None);
    assert_eq!(brake.permille(), 562);
}

#[test]
fn it_halves_while_a_query_is_on_its_way_once_a_second_and_not_below_a_sixteenth() {
    let mut brake = Brake::new(at(0));
    let mut seen = Vec::new();
    for now in (0..8000).step_by(50) {
        brake.look(at(now), Some(millis(now)), &LIMITS);
        if brake.take_change().is_some() {
            seen.push((now, brake.permille()));
        }
    }
    assert_eq!(seen, [(550, 500), (1550, 250), (2550, 125), (3550, 62)]);
}

#[test]
fn it_grows_by_a_sixteenth_a_second_once_there_is_no_trouble() {
    let mut brake = Brake::new(at(0));
    look(&mut brake, 0, 2000, Some(0));
    assert_eq!(brake.permille(), 250);
    brake.take_change();
    let mut seen = Vec::new();
    for now in (2000..20_000).step_by(50) {
        brake.look(at(now), None, &LIMITS);
        if let Some(change) = brake.take_change() {
            seen.push((now, brake.permille(), change));
        }
    }
    assert_eq!(seen.len(), 12);
    assert_eq!(seen[0], (2950, 312, Change::Moved));
    assert_eq!(seen[1], (3950, 375, Change::Moved));
    assert_eq!(seen[11], (13_950, 1000, Change::Ended));
    assert_eq!(brake.on_for(at(13_950)), millis(13_400));
}

#[test]
fn it_halves_when_too_many_of_the_last_seconds_queries_met_an_illness() {
    let mut brake = Brake::new(at(0));
    for n in 0..19 {
        brake.answered(at(n * 50), millis(5), n == 3 || n == 7);
    }
    brake.look(at(950), None, &LIMITS);
    assert_eq!(brake.permille(), 500, "2 of 19 are more than a tenth");
    let mut brake = Brake::new(at(0));
    for n in 0..20 {
        brake.answered(at(n * 50), millis(5), n == 0 || n == 1);
    }
    brake.look(at(950), None, &LIMITS);
    assert_eq!(brake.permille(), 1000, "2 of 20 are a tenth");
    for n in 20..40 {
        brake.answered(at(n * 50), millis(5), n == 22);
        brake.look(at(n * 50), None, &LIMITS);
    }
    assert_eq!(brake.permille(), 1000, "older ones count no more");
}

#[test]
fn where_a_vigil_says_nothing_there_is_no_trouble() {
    let mut brake = Brake::new(at(0));
    for n in 0..100 {
        brake.answered(at(n * 50), millis(60_000), true);
        brake.look(at(n * 50), Some(millis(60_000)), &Limits::default());
    }
    assert!(!brake.is_on() && brake.take_change().is_none());
}

#[test]
fn a_vigil_that_ends_lets_the_rate_grow_back() {
    let mut brake = Brake::new(at(0));
    look(&mut brake, 0, 600, Some(0));
    assert_eq!(brake.permille(), 500);
    for now in (600..20_000).step_by(50) {
        brake.look(at(now), Some(millis(now)), &Limits::default());
    }
    assert!(!brake.is_on());
}

proptest! {
    /// Whatever happens: from a sixteenth to all of it, halved once a second at most, grown by a sixteenth a second at most,
    /// and never grown while there is trouble.
    #[test]
    fn it_stays_within_its_bounds_and_moves_step_by_step(
        steps in prop::collection::vec((0u64..400, 0u64..1000, any::<bool>(), prop::option::of(0u64..1000)), 1..300),
    ) {
        let mut brake = Brake::new(at(0));
        let (mut now, mut halved, mut grown) = (0u64, None, None);
        for (wait, took, ill, oldest) in steps {
            now += wait;
            let before = brake.parts;
            brake.answered(at(now), millis(took), ill);
            brake.look(at(now), oldest.map(millis), &LIMITS);
            let slow = took > 500 || oldest.is_some_and(|oldest| oldest > 500);
            prop_assert!((1..=PARTS).contains(&brake.parts));
            if brake.parts < before {
                prop_assert_eq!(brake.parts, before / 2);
                prop_assert!(halved.is_none_or(|halved| now - halved >= 1000));
                halved = Some(now);
            }
            if brake.parts > before {
                prop_assert!(!slow);
                prop_assert_eq!(brake.parts, before + 1);
                prop_assert!(grown.is_none_or(|grown| now - grown >= 1000));
                grown = Some(now);
            }
            if slow && before == PARTS && halved.is_none_or(|halved| now - halved >= 1000) {
                prop_assert!(brake.is_on(), "trouble at {now}, and nothing was done");
            }
        }
    }
}
