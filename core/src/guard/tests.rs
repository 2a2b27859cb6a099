//! Guards, case by case.

mod properties;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::reading::latency;
use super::*;
use crate::ledger::Share;
use crate::names::WorkerName;
use crate::records::Guards;
use crate::units::Moment;

/// How long a changed share takes to show, in these tests.
const SETTLE: u64 = 5;
/// What operators ask for, in these tests: 200 queries a second.
const ASKED: u64 = 200_000;

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

fn at(secs: u64) -> Moment {
    Moment::from_nanos((1000 + secs) * 1_000_000_000)
}

fn worker(name: &str) -> WorkerName {
    name.parse().unwrap()
}

fn above(trigger: f64, clear: f64) -> Threshold {
    Threshold::Above { trigger, clear }
}

fn p99() -> Signal {
    Signal::Latency {
        permille: 990,
        window: secs(10),
    }
}

fn lag() -> Signal {
    Signal::Probe { name: "lag".into() }
}

/// Bad above 200 ms, or 10 of a probe; good up to 160 ms, or 8.
fn spec(name: &str, signal: Signal, action: Action) -> GuardSpec {
    let threshold = match signal {
        Signal::Latency { .. } => above(0.2, 0.16),
        Signal::Errors { .. } => above(0.05, 0.04),
        Signal::Probe { .. } | Signal::Prometheus => above(10.0, 8.0),
    };
    GuardSpec {
        name: name.parse().unwrap(),
        signal,
        threshold,
        action,
        sustained: secs(3),
        calm: secs(10),
        stale_after: secs(15),
    }
}

const SLOW: Action = Action::Slow { brake: None };
const PAUSE: Action = Action::Pause { abort_after: None };

/// A resource with guards that is in use, and what its only worker tells of it.
struct Scene {
    now: u64,
    vitals: Vitals,
    warden: Warden,
    number: u64,
    asked: u64,
    said: Vec<String>,
}

impl Scene {
    fn new(guards: Vec<GuardSpec>) -> Self {
        Self::after(guards, None)
    }

    fn after(guards: Vec<GuardSpec>, before: Option<&Guards>) -> Self {
        let policy = Policy {
            floor_permille: 50,
            guards,
        };
        Self {
            now: 0,
            vitals: Vitals::new(["lag".to_owned()].into()),
            warden: Warden::new(&policy, secs(SETTLE), at(0), before),
            number: 0,
            asked: ASKED,
            said: Vec::new(),
        }
    }

    /// A second passes in which the worker tells this.
    fn second(&mut self, windows: Vec<Window>, probe: Option<Outcome>) {
        self.now += 1;
        self.number += 1;
        let probes = probe.map(|outcome| ProbeReading {
            name: "lag".into(),
            number: self.number,
            outcome,
        });
        let report = Report {
            windows,
            probes: probes.into_iter().collect(),
            brake_permille: 1000,
        };
        self.vitals.report(at(self.now), &worker("w1"), report);
        self.look(true);
    }

    fn look(&mut self, in_use: bool) {
        let expected: BTreeSet<WorkerName> = if in_use {
            [worker("w1")].into()
        } else {
            [].into()
        };
        let around = Around {
            asked_milli: self.asked,
            in_use,
            expected: &expected,
        };
        let said = self.warden.step(at(self.now), &self.vitals, around);
        self.said.extend(said.into_iter().map(|said| said.what));
    }

    /// So many seconds in which queries take so long, in milliseconds.
    fn queries(&mut self, seconds: u64, millis: u64) {
        for _ in 0..seconds {
            let window = Window {
                number: self.number + 1,
                latencies: vec![(millis * 1000, 100)],
                ..Window::default()
            };
            self.second(vec![window], None);
        }
    }

    fn probe(&mut self, seconds: u64, value: f64) {
        for _ in 0..seconds {
            self.second(Vec::new(), Some(Ok(value)));
        }
    }

    /// So many seconds in which nobody tells anything.
    fn silence(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += 1;
            self.look(true);
        }
    }

    fn target(&self) -> u64 {
        self.warden.target(asked(self.asked)).rate_milli
    }

    fn holds(&self) -> Vec<String> {
        let holds = self.warden.holds();
        holds.map(|(_, reason)| reason.to_owned()).collect()
    }

    fn aborts(&self) -> Vec<String> {
        let aborts = self.warden.aborts();
        aborts.map(|(_, reason)| reason.to_owned()).collect()
    }
}

fn asked(rate_milli: u64) -> Share {
    Share {
        rate_milli,
        burst: 200,
        in_flight: 16,
        rows: 1000,
    }
}

#[test]
fn a_slow_guard_takes_a_part_once_a_settle_time_down_to_the_floor_and_gives_back_by_steps() {
    let mut scene = Scene::new(vec![spec("latency", p99(), SLOW)]);
    scene.queries(20, 50);
    assert_eq!(scene.target(), ASKED);
    scene.queries(4, 300);
    assert_eq!(scene.target(), ASKED * 7 / 10, "{:?}", scene.said);
    assert_eq!(
        scene.said.last().unwrap(),
        "slows to 140/s of 200/s: p99 300 ms over 10 s, above 200 ms"
    );
    // What came before the change showed is not judged again.
    scene.queries(SETTLE - 1, 300);
    assert_eq!(scene.target(), ASKED * 7 / 10);
    scene.queries(1, 300);
    assert_eq!(scene.target(), ASKED * 49 / 100);
    scene.queries(100, 300);
    assert_eq!(scene.target(), ASKED / 20, "the floor is left");
    let target = scene.warden.target(asked(ASKED));
    assert_eq!((target.burst, target.in_flight, target.rows), (200, 16, 50));

    scene.queries(11 + SETTLE, 50);
    let first = scene.target();
    assert!(first > ASKED / 20 && first <= ASKED / 20 * 4, "{first}");
    scene.queries(SETTLE, 50);
    assert_eq!(scene.target(), first + ASKED / 20, "a step a settle time");
    scene.queries(200, 50);
    assert_eq!(scene.target(), ASKED);
    assert_eq!(scene.warden.record(), Guards::default());
}

#[test]
fn what_came_before_a_lower_target_showed_lowers_it_no_further() {
    let mut scene = Scene::new(vec![spec("latency", p99(), SLOW)]);
    scene.queries(4, 300);
    let lowered = scene.target();
    assert!(lowered < ASKED);
    // It helps at once, though the window is bad for its whole length.
    for _ in 0..SETTLE * 2 {
        scene.queries(1, 50);
        assert!(scene.target() >= lowered, "{:?}", scene.said);
    }
}

#[test]
fn nothing_moves_between_the_thresholds() {
    let mut scene = Scene::new(vec![
        spec("latency", p99(), SLOW),
        spec("lag", lag(), PAUSE),
    ]);
    let both = |scene: &mut Scene, seconds: u64, millis: u64, lag: f64| {
        for _ in 0..seconds {
            let window = Window {
                number: scene.number + 1,
                latencies: vec![(millis * 1000, 100)],
                ..Window::default()
            };
            scene.second(vec![window], Some(Ok(lag)));
        }
    };
    both(&mut scene, 60, 180, 9.0);
    assert_eq!((scene.target(), scene.holds().len()), (ASKED, 0));
    both(&mut scene, 4, 300, 12.0);
    let slowed = scene.target();
    assert!(slowed < ASKED);
    assert_eq!(scene.holds(), ["probe lag 12, above 10"]);
    both(&mut scene, 11, 180, 9.0);
    let settled = scene.target();
    both(&mut scene, 300, 180, 9.0);
    assert_eq!((scene.target(), scene.holds().len()), (settled, 1));
    both(&mut scene, 40, 100, 7.0);
    assert!(scene.target() > settled);
    assert_eq!(scene.holds().len(), 0);
}

#[test]
fn a_guard_that_pauses_lets_go_once_it_has_been_clear_for_a_while_and_never_aborts() {
    let mut scene = Scene::new(vec![spec("lag", lag(), PAUSE)]);
    scene.probe(3, 11.0);
    assert_eq!(scene.holds().len(), 0, "not for long enough");
    scene.probe(1, 11.0);
    assert_eq!(scene.holds(), ["probe lag 11, above 10"]);
    scene.probe(3600, 50.0);
    assert_eq!((scene.holds().len(), scene.aborts().len()), (1, 0));
    scene.probe(10, 8.0);
    scene.probe(1, 9.0);
    scene.probe(10, 8.0);
    assert_eq!(scene.holds().len(), 1, "clear without a break");
    scene.probe(1, 8.0);
    assert_eq!(scene.holds().len(), 0, "{:?}", scene.said);
    assert_eq!(scene.said.last().unwrap(), "ends: probe lag 8");
}

#[test]
fn a_guard_that_pauses_aborts_after_a_while_and_a_second_look_where_it_was_told_to() {
    let action = Action::Pause {
        abort_after: Some(secs(60)),
    };
    let mut scene = Scene::new(vec![spec("lag", lag(), action)]);
    scene.probe(4, 11.0);
    scene.probe(60, 11.0);
    assert_eq!((scene.holds().len(), scene.aborts().len()), (1, 0));
    scene.probe(1, 11.0);
    assert_eq!(scene.aborts(), ["probe lag 11, above 10"]);
    // Nobody uses the resource any more; whoever comes next is held, not aborted.
    scene.look(false);
    assert_eq!((scene.holds().len(), scene.aborts().len()), (1, 0));
}

#[test]
fn an_abort_comes_after_a_second_look_on_what_came_since() {
    let mut scene = Scene::new(vec![spec("latency", p99(), Action::Abort)]);
    scene.queries(4, 300);
    assert_eq!(scene.aborts().len(), 0);
    scene.queries(10, 300);
    assert_eq!(scene.aborts().len(), 0, "looks once more, for its window");
    scene.queries(1, 300);
    assert_eq!(scene.aborts(), ["p99 300 ms over 10 s, above 200 ms"]);
    // What it did to jobs is done: the next one is not aborted for it.
    scene.look(false);
    assert_eq!(scene.aborts().len(), 0);

    let mut scene = Scene::new(vec![spec("latency", p99(), Action::Abort)]);
    scene.queries(4, 300);
    // The whole window is bad until the end, for what came first; not what came since.
    scene.queries(60, 50);
    assert_eq!(scene.aborts().len(), 0, "{:?}", scene.said);
}

/// A leader died between an abort and the next look, or the guard was told to abort only when it was started again.
#[test]
fn a_new_leader_looks_once_more_before_it_aborts_for_what_was_bad_before() {
    let left = Guards {
        adaptive_milli: None,
        acting: BTreeMap::from([("latency".parse().unwrap(), "p99 300 ms".into())]),
    };
    let aborts = || vec![spec("latency", p99(), Action::Abort)];
    let mut scene = Scene::after(aborts(), Some(&left));
    scene.queries(60, 50);
    assert_eq!(scene.aborts().len(), 0, "{:?}", scene.said);
    let mut scene = Scene::after(aborts(), Some(&left));
    scene.queries(30, 300);
    assert_eq!(scene.aborts().len(), 1, "{:?}", scene.said);
}

#[test]
fn a_second_look_ends_where_nobody_asks_and_whoever_asks_again_is_judged_anew() {
    let mut scene = Scene::new(vec![spec("latency", p99(), Action::Abort)]);
    scene.queries(4, 300);
    for _ in 0..60 {
        scene.second(Vec::new(), None);
    }
    scene.queries(3, 300);
    assert_eq!(scene.aborts().len(), 0, "{:?}", scene.said);
}

/// At less than a canary in a window's time, most looks find nothing.
#[test]
fn a_guard_that_pauses_lets_go_though_canaries_are_further_apart_than_its_window() {
    let mut scene = Scene::new(vec![spec("latency", p99(), PAUSE)]);
    scene.queries(4, 300);
    assert_eq!(scene.holds().len(), 1);
    for _ in 0..4 {
        for _ in 0..14 {
            scene.second(Vec::new(), None);
        }
        scene.queries(1, 50);
    }
    assert_eq!(scene.holds().len(), 0, "{:?}", scene.said);
}

#[test]
fn one_bad_reading_of_a_probe_is_not_looked_at_twice() {
    let mut scene = Scene::new(vec![spec("lag", lag(), Action::Abort)]);
    scene.probe(1, 11.0);
    scene.silence(14);
    assert_eq!(scene.aborts().len(), 0);
    // The same reading, told again.
    scene.now += 1;
    let again = Report {
        probes: vec![ProbeReading {
            name: "lag".into(),
            number: scene.number,
            outcome: Ok(11.0),
        }],
        ..Report::default()
    };
    scene.vitals.report(at(scene.now), &worker("w1"), again);
    scene.look(true);
    assert_eq!(scene.aborts().len(), 0);
    scene.probe(1, 11.0);
    assert_eq!(scene.aborts().len(), 1);
}

#[test]
fn a_signal_that_fails_or_is_stale_is_bad_with_that_as_its_reason() {
    let mut scene = Scene::new(vec![spec("lag", lag(), PAUSE)]);
    for _ in 0..5 {
        scene.second(Vec::new(), Some(Err("it returned no row".into())));
    }
    assert_eq!(scene.holds(), ["probe lag: it returned no row"]);

    let mut scene = Scene::new(vec![spec("lag", lag(), PAUSE)]);
    scene.probe(1, 1.0);
    scene.silence(15);
    assert_eq!(scene.holds().len(), 0);
    scene.silence(4);
    assert_eq!(scene.holds(), ["probe lag: no reading for 15 s"]);

    let mut scene = Scene::new(vec![spec("lag", lag(), PAUSE)]);
    scene.probe(5, f64::NAN);
    assert_eq!(scene.holds(), ["probe lag: it is no number"]);
}

#[test]
fn a_worker_that_has_a_share_and_tells_nothing_is_a_missing_signal_but_one_without_queries_is_none()
{
    let mut scene = Scene::new(vec![spec("latency", p99(), SLOW)]);
    for _ in 0..100 {
        scene.second(Vec::new(), None);
    }
    assert_eq!(scene.target(), ASKED, "no demand: {:?}", scene.said);
    scene.silence(15);
    assert_eq!(scene.target(), ASKED);
    scene.silence(4);
    assert_eq!(scene.target(), ASKED * 7 / 10);
    scene.silence(SETTLE - 1);
    assert_eq!(scene.target(), ASKED * 7 / 10, "once a settle time");
    scene.silence(1);
    assert_eq!(scene.target(), ASKED * 49 / 100);
    let said = scene.said.last().unwrap();
    assert!(
        said.ends_with("p99: no report of worker w1 for 15 s"),
        "{said}"
    );
}

#[test]
fn a_leader_that_has_just_begun_waits_for_news_and_goes_on_from_what_the_last_one_left() {
    let left = Guards {
        adaptive_milli: Some(70_000),
        acting: BTreeMap::from([("lag".parse().unwrap(), "probe lag 12, above 10".into())]),
    };
    let guards = vec![spec("latency", p99(), SLOW), spec("lag", lag(), PAUSE)];
    let mut scene = Scene::after(guards, Some(&left));
    assert_eq!((scene.target(), scene.holds().len()), (70_000, 1));
    scene.silence(14);
    assert_eq!((scene.target(), scene.holds().len()), (70_000, 1));
    assert_eq!(scene.warden.record(), left, "nothing to write");
    let other = Scene::after(vec![spec("errors", lag(), PAUSE)], Some(&left));
    assert_eq!(
        (other.target(), other.holds().len()),
        (ASKED, 0),
        "what is not configured any more holds nothing"
    );
}

#[test]
fn what_operators_ask_for_meanwhile_counts_only_below_what_guards_leave() {
    let mut scene = Scene::new(vec![spec("latency", p99(), SLOW)]);
    scene.queries(4, 300);
    assert_eq!(scene.target(), 140_000);
    for (asked, target) in [(1_000_000, 140_000), (100_000, 100_000), (0, 0)] {
        scene.asked = asked;
        assert_eq!(scene.target(), target);
    }
    scene.asked = 10_000_000;
    assert_eq!(
        scene.target(),
        500_000,
        "the floor is a part of what is asked"
    );
}

#[test]
fn a_database_that_answers_nothing_is_seen_by_what_is_overdue() {
    let mut scene = Scene::new(vec![spec("latency", p99(), PAUSE)]);
    scene.queries(5, 20);
    for second in 1..=5 {
        let window = Window {
            number: scene.number + 1,
            overdue: 16,
            oldest_micros: second * 1_000_000,
            ..Window::default()
        };
        scene.second(vec![window], None);
    }
    assert_eq!(scene.holds().len(), 1, "{:?}", scene.warden.shown().next());
}

#[test]
fn errors_are_a_part_of_what_was_answered_and_all_where_nothing_was() {
    let signal = Signal::Errors { window: secs(10) };
    let mut scene = Scene::new(vec![spec("errors", signal, PAUSE)]);
    let window = |number, answered, errors| Window {
        number,
        latencies: vec![(1000, answered)],
        errors,
        ..Window::default()
    };
    for _ in 0..20 {
        let number = scene.number + 1;
        scene.second(vec![window(number, 100, 4)], None);
    }
    assert_eq!(scene.holds().len(), 0);
    for _ in 0..20 {
        let number = scene.number + 1;
        scene.second(vec![window(number, 0, 3)], None);
    }
    assert_eq!(scene.holds().len(), 1);
    let told = scene.said.iter().find(|said| said.starts_with("begins"));
    assert!(told.unwrap().contains("% over 10 s, above 5 %"), "{told:?}");
}

#[test]
fn the_strictest_guard_that_slows_is_what_workers_brake_by() {
    let brake = |name: &str, signal, brake| spec(name, signal, Action::Slow { brake: Some(brake) });
    let policy = Policy {
        floor_permille: 50,
        guards: vec![
            brake("a", p99(), 0.4),
            brake("b", p99(), 0.3),
            brake("c", Signal::Errors { window: secs(10) }, 0.1),
            spec("d", p99(), PAUSE),
        ],
    };
    let limits = Warden::new(&policy, secs(SETTLE), at(0), None).limits();
    assert_eq!(limits.latency_max, Some(Duration::from_millis(300)));
    assert_eq!(limits.errors_max, Some(0.1));
}

#[test]
fn absurd_reports_neither_panic_nor_grow() {
    let mut vitals = Vitals::new(BTreeSet::new());
    let most = Window {
        number: u64::MAX,
        latencies: (0..10_000)
            .map(|nth| (nth * nth * 1000, u64::MAX))
            .collect(),
        errors: u64::MAX,
        overdue: u64::MAX,
        oldest_micros: u64::MAX,
    };
    for n in 0..200 {
        let windows = (0..100).map(|k| Window {
            number: u64::MAX - n * 100 - k,
            ..most.clone()
        });
        let report = Report {
            windows: windows.collect(),
            probes: vec![ProbeReading {
                name: format!("unknown{n}"),
                number: n,
                outcome: Err("x".repeat(10_000)),
            }],
            brake_permille: u32::MAX,
        };
        vitals.report(at(n), &worker("w1"), report);
    }
    let kept: usize = vitals.windows(Moment::default()).map(Iterator::count).sum();
    assert!(kept <= 64, "{kept}");
    assert!(latency(&vitals, Moment::default(), 990).unwrap() >= 3600.0);
    assert_eq!(vitals.brake_permille(&worker("w1")), Some(1000));
    assert!(vitals.probe("unknown1").is_none());
}

/// An origin that slows down as it is loaded: twice as slow at half of what it bears, and so on.
fn origin_millis(load_milli: u64, bears_milli: u64) -> u64 {
    let free = 1.0 - load_milli as f64 / bears_milli as f64;
    if free <= 0.01 {
        2000
    } else {
        (20.0 / free) as u64
    }
}

#[test]
fn the_target_finds_what_an_origin_bears_and_stays_there() {
    // 200 ms at nine tenths of what it bears.
    for bears in [60_000, 120_000, 180_000, 220_000] {
        let mut scene = Scene::new(vec![spec("latency", p99(), SLOW)]);
        let mut sums = (0, 0);
        for second in 0..1200 {
            // Workers use what they were granted a term ago, about.
            let load = scene.target();
            scene.queries(1, origin_millis(load, bears));
            if second >= 300 {
                sums = (sums.0 + load, sums.1 + 1);
                assert!(load <= bears * 115 / 100, "{load} of {bears}");
            }
        }
        let mean = sums.0 / sums.1;
        assert!(mean >= bears * 6 / 10, "{mean} of {bears}");
        assert!(mean <= bears * 95 / 100, "{mean} of {bears}");
    }
    let mut scene = Scene::new(vec![spec("latency", p99(), SLOW)]);
    for _ in 0..100 {
        let load = scene.target();
        scene.queries(1, origin_millis(load, 400_000));
    }
    assert_eq!(scene.target(), ASKED, "an origin that bears it gets it");
}
