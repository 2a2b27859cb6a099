//! What holds of guards, whatever the signals do.

use proptest::prelude::*;

use super::*;

/// What a second brings.
#[derive(Clone, Debug)]
enum Second {
    Queries {
        micros: u64,
        count: u64,
        errors: u64,
        overdue: u64,
    },
    Probe(Result<i32, ()>),
    Nothing,
    Idle,
    Ask(u64),
}

fn second() -> impl Strategy<Value = Second> {
    prop_oneof![
        4 => (0..500_000u64, 0..50u64, 0..5u64, 0..3u64).prop_map(|(micros, count, errors, overdue)| {
            Second::Queries { micros, count, errors, overdue }
        }),
        4 => prop_oneof![Just(Err(())), (0..20).prop_map(Ok)].prop_map(Second::Probe),
        1 => Just(Second::Nothing),
        1 => Just(Second::Idle),
        1 => (0..400_000u64).prop_map(Second::Ask),
    ]
}

/// Each second holds for a while.
fn seconds() -> impl Strategy<Value = Vec<Second>> {
    let run = (second(), 1..25usize).prop_map(|(second, count)| vec![second; count]);
    proptest::collection::vec(run, 1..25).prop_map(|runs| runs.concat())
}

impl Scene {
    fn live(&mut self, second: &Second) {
        match second {
            Second::Queries {
                micros,
                count,
                errors,
                overdue,
            } => {
                let window = Window {
                    number: self.number + 1,
                    latencies: vec![(*micros, *count)],
                    errors: *errors,
                    overdue: *overdue,
                    oldest_micros: micros * 2,
                };
                self.second(vec![window], None);
            }
            Second::Probe(outcome) => {
                let outcome = outcome.map(f64::from).map_err(|()| "it failed".to_owned());
                self.second(Vec::new(), Some(outcome));
            }
            Second::Nothing => self.silence(1),
            Second::Idle => {
                self.now += 1;
                self.look(false);
            }
            Second::Ask(asked) => {
                self.asked = *asked;
                self.silence(1);
            }
        }
    }

    fn verdicts(&self) -> Vec<(Action, Verdict)> {
        let of = |shown: Shown<'_>| {
            (
                shown.spec.action,
                shown.reading.judged(shown.spec.threshold),
            )
        };
        self.warden.shown().map(of).collect()
    }
}

fn all_kinds() -> Vec<GuardSpec> {
    vec![
        spec("latency", p99(), SLOW),
        spec("lag-slow", lag(), SLOW),
        spec("errors", Signal::Errors { window: secs(5) }, PAUSE),
        spec("lag-pause", lag(), PAUSE),
    ]
}

proptest! {
    // Each lives through minutes.
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_target_is_within_floor_and_asked_and_a_bad_signal_never_raises_it(seconds in seconds()) {
        let mut scene = Scene::new(all_kinds());
        for second in &seconds {
            let (before, adaptive) = (scene.target(), scene.warden.record().adaptive_milli);
            let asked_before = scene.asked;
            scene.live(second);
            let target = scene.target();
            prop_assert!(target <= scene.asked);
            prop_assert!(target >= (scene.asked / 20).min(scene.asked));
            let bad = scene.verdicts().iter().any(|(action, verdict)| {
                matches!(action, Action::Slow { .. }) && *verdict == Verdict::Bad
            });
            if bad && asked_before == scene.asked {
                prop_assert!(target <= before);
            }
            let not_clear = scene.verdicts().iter().any(|(action, verdict)| {
                matches!(action, Action::Slow { .. }) && *verdict != Verdict::Clear
            });
            if not_clear && adaptive.is_some() {
                let now = scene.warden.record().adaptive_milli;
                prop_assert!(now <= adaptive && now.is_some(), "{now:?} after {adaptive:?}");
            }
        }
    }

    #[test]
    fn a_pause_never_aborts_and_always_ends(seconds in seconds()) {
        let mut scene = Scene::new(all_kinds());
        for second in &seconds {
            scene.live(second);
            prop_assert_eq!(scene.aborts().len(), 0);
        }
        // Canaries and the probe are fine from here on.
        for _ in 0..(15 + 10 + 10) {
            let window = Window {
                number: scene.number + 1,
                latencies: vec![(1000, 1)],
                ..Window::default()
            };
            scene.second(vec![window], Some(Ok(1.0)));
        }
        prop_assert_eq!(scene.holds().len(), 0);
    }

    #[test]
    fn no_abort_without_bad_data_that_came_after_the_first_look(seconds in seconds()) {
        let mut scene = Scene::new(vec![spec("lag", lag(), Action::Abort)]);
        let (mut looked_at, mut bad_since) = (None, None);
        for second in &seconds {
            let said = scene.said.len();
            scene.live(second);
            if scene.said[said..].iter().any(|said| said.starts_with("looks once more")) {
                (looked_at, bad_since) = (Some(scene.now), None);
            } else if let Second::Probe(outcome) = second {
                let is_bad = outcome.is_err() || outcome.is_ok_and(|value| value > 10);
                bad_since = is_bad.then_some(scene.now);
            }
            if !scene.aborts().is_empty() {
                let looked_at = looked_at.unwrap();
                let silent = scene.now > looked_at + 15;
                prop_assert!(silent || bad_since.is_some_and(|at| at > looked_at), "{:?}", scene.said);
                break;
            }
        }
    }

}

proptest! {
    #[test]
    fn histograms_merge_in_any_order_and_windows_count_once(
        windows in proptest::collection::vec((0..3usize, 1..5_000_000u64, 1..1000u64), 1..30),
        order in any::<u64>(),
        permille in 1..=1000u32,
    ) {
        let tell = |order: &[usize], twice: bool| {
            let mut vitals = Vitals::new(BTreeSet::new());
            for nth in order {
                let (who, micros, count) = windows[*nth];
                let window = Window {
                    number: *nth as u64,
                    latencies: vec![(micros, count)],
                    ..Window::default()
                };
                let report = Report { windows: vec![window], ..Report::default() };
                let worker = worker(&format!("w{who}"));
                vitals.report(at(1), &worker, report.clone());
                // As workers do: some are told of more often than others.
                for _ in 0..if twice { *nth } else { 0 } {
                    vitals.report(at(1), &worker, report.clone());
                }
            }
            latency(&vitals, Moment::default(), permille)
        };
        let in_order: Vec<usize> = (0..windows.len()).collect();
        let mut shuffled = in_order.clone();
        shuffled.sort_by_key(|nth| (*nth as u64).wrapping_add(1).wrapping_mul(order | 1).rotate_left(17));
        let once = tell(&in_order, false);
        prop_assert_eq!(once, tell(&shuffled, false));
        prop_assert_eq!(once, tell(&in_order, true));
        // Exactly the percentile, to three digits.
        let mut all: Vec<(u64, u64)> = windows.iter().map(|(_, micros, count)| (*micros, *count)).collect();
        all.sort_unstable();
        let total: u64 = all.iter().map(|(_, count)| count).sum();
        let rank = (total * u64::from(permille)).div_ceil(1000).max(1);
        let mut seen = 0;
        let exact = all.iter().find(|(_, count)| { seen += count; seen >= rank }).unwrap().0 as f64 / 1e6;
        let found = once.unwrap();
        prop_assert!((found - exact).abs() <= exact * 0.001 + 1e-6, "{} is not {}", found, exact);
    }
}
