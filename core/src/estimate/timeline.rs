//! The hit rate over time, from the moment on at which traffic meets an empty cache: cold, and with a warm-up beside it.
//!
//! Requests for each key come as a Poisson process, at its share of all. **Cold**: the first request of a key misses and fills it, so it is there
//! at time t with the probability 1 − e^(−λt). Values live for a time T: in the long run a key is there for λT ÷ (1 + λT) of its
//! requests, however times to live are spread (Jung, Berger and Balakrishnan, "Modeling TTL-based Internet caches", INFOCOM 2003); on the
//! way there it is taken for a chain of two states, filled at λ and ended at 1/T, which comes to the same. **Warmed**: keys are
//! written in the order of their ranks, so many a second; what has not had its turn yet fills as if it were cold.
//!
//! Each miss is a query. Where the database bears only so many a second, misses beyond that are not answered and fill nothing: the whole runs
//! slower by the share that is answered. While the warm-up runs, it takes its budget of what the database bears.
//!
//! Shares are those of the steps of a curve: inside a step all keys are alike. Requests for keys that are not in the plan always miss,
//! in both, so that they make no difference; and they take their part of what the database bears.

use serde::Serialize;

use super::curve::Curve;
use super::drift::Drift;
use super::float;

/// So many moments are looked at over all, closer together at the beginning, where most happens; and so many while the warm-up runs.
const MOMENTS: u32 = 150;
const MOMENTS_WARMING: u32 = 50;
/// A cold cache counts as warm when its hit rate has come so near to what it will be.
pub(crate) const WARM: f64 = 0.95;
/// Beyond that nobody looks: a month.
const TIME_MAX_S: f64 = 30.0 * 86_400.0;

/// What is known beside the plan.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Setting {
    /// Queries a second of the warm-up.
    pub qps: f64,
    /// Keys that each asks for.
    pub batch_keys: u32,
    /// Requests a second for the plan's keys and whatever else the cache is asked for.
    pub requests_per_second: Option<f64>,
    /// How much longer a miss takes than a hit, in seconds.
    pub miss_cost_s: Option<f64>,
    /// Queries a second that the database bears in all.
    pub capacity_qps: Option<f64>,
    /// How long values live, in seconds.
    pub ttl_s: Option<f64>,
}

impl Setting {
    /// Keys a second of the warm-up.
    pub(crate) fn keys_per_second(&self) -> f64 {
        self.qps * f64::from(self.batch_keys)
    }

    /// How many queries it takes to warm so many entries.
    #[must_use]
    pub fn queries(&self, entries: u64) -> u64 {
        entries.div_ceil(self.batch_keys.max(1).into())
    }

    /// How long that takes, in seconds.
    #[must_use]
    pub fn seconds(&self, entries: u64) -> f64 {
        float(self.queries(entries)) / self.qps
    }
}

/// A moment, and the hit rates at it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Moments {
    /// Seconds since traffic, and the warm-up, began.
    pub seconds: f64,
    /// The hit rate of a cache that is left alone.
    pub cold: f64,
    /// The hit rate with the warm-up.
    pub warmed: f64,
}

/// The hit rate over time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Timeline {
    /// Moments in their order, from 0 on.
    pub moments: Vec<Moments>,
    /// The hit rate that both come to.
    pub in_the_long_run: f64,
    /// When the cold one has come to 95 % of that; `None`: not within what is shown.
    pub cold_until_s: Option<f64>,
    /// When the warmed one has.
    pub warmed_until_s: Option<f64>,
    /// The misses of a cold cache that a warm-up beside the traffic spares, over what is shown.
    pub misses_spared: f64,
    /// Those that it spares where traffic waits until the warm-up is done.
    pub misses_spared_before: f64,
    /// The time that users wait less for them in all, in seconds.
    pub waiting_spared_s: Option<f64>,
    /// The same where traffic waits.
    pub waiting_spared_before_s: Option<f64>,
}

/// Keys that are alike: how many requests a second each gets, what share all of them get, and when they have their turn.
#[derive(Clone, Copy, Debug)]
struct Group {
    rate: f64,
    share: f64,
    turn_s: f64,
}

impl Timeline {
    /// What comes of a plan; `None` where it is not known how many requests there are a second, or there are none.
    #[must_use]
    pub fn of(curve: &Curve, drift: Option<&Drift>, setting: &Setting) -> Option<Self> {
        let requests_per_second = setting.requests_per_second.filter(|rate| *rate > 0.0)?;
        let groups = groups(curve, drift, requests_per_second, setting)?;
        let run = Run {
            groups: &groups,
            requests_per_second,
            setting,
            all_s: setting.seconds(curve.entries()),
        };
        Some(run.timeline())
    }
}

fn groups(
    curve: &Curve,
    drift: Option<&Drift>,
    requests_per_second: f64,
    setting: &Setting,
) -> Option<Vec<Group>> {
    let entries = float(curve.entries());
    let (mut planned, mut before) = (0.0, 0.0);
    let groups = curve.steps().iter().map(|step| {
        planned += step.weight() / curve.requests();
        let top = float(step.end()) / entries;
        let expected = planned * drift.map_or(1.0, |drift| drift.kept(top));
        let share = (expected - before).max(0.0);
        before = before.max(expected);
        let middle = float(step.before) + float(step.ranks) / 2.0;
        Group {
            rate: share * requests_per_second / float(step.ranks),
            share,
            turn_s: middle / setting.keys_per_second(),
        }
    });
    (curve.requests() > 0.0).then(|| groups.collect())
}

struct Run<'a> {
    groups: &'a [Group],
    requests_per_second: f64,
    setting: &'a Setting,
    /// How long the warm-up takes.
    all_s: f64,
}

/// How a cache stands at a moment. Where the database cannot answer all misses, its own time runs slower than the clock.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    own_s: f64,
    hit_rate: f64,
}

impl Run<'_> {
    fn timeline(&self) -> Timeline {
        let stays = self.groups.iter();
        let stays = stays.map(|group| group.share * self.stays(group));
        let in_the_long_run = stays.sum::<f64>().min(1.0);
        let end = self.end(in_the_long_run);
        let mut moments = Vec::new();
        let (mut cold, mut warmed, mut before) = (
            Standing::default(),
            Standing::default(),
            Standing::default(),
        );
        before.hit_rate = self.hit_rate(0.0, &|_| Some(0.0));
        let mut turns = Turns::of(self.groups.len());
        let (mut spared, mut spared_before) = (0.0, 0.0);
        let mut last_s = 0.0;
        for seconds in self.times(end) {
            let step = seconds - last_s;
            let (cold_was, warmed_was, before_was) = (cold, warmed, before);
            cold.own_s += step * self.answered(cold_was.hit_rate, 0.0);
            cold.hit_rate = self.hit_rate(cold.own_s, &|_| None);
            let warming = if last_s < self.all_s {
                self.setting.qps
            } else {
                0.0
            };
            warmed.own_s += step * self.answered(warmed_was.hit_rate, warming);
            turns.pass(self.groups, seconds, warmed.own_s);
            warmed.hit_rate = self.hit_rate(warmed.own_s, &|group| turns.0[group]);
            before.own_s += step * self.answered(before_was.hit_rate, 0.0);
            before.hit_rate = self.hit_rate(before.own_s, &|_| Some(0.0));
            let area = |one: (Standing, Standing)| {
                let higher = f64::midpoint(one.0.hit_rate, one.1.hit_rate);
                (higher - f64::midpoint(cold_was.hit_rate, cold.hit_rate)) * step
            };
            spared += area((warmed_was, warmed));
            spared_before += area((before_was, before));
            last_s = seconds;
            moments.push(Moments {
                seconds,
                cold: cold.hit_rate,
                warmed: warmed.hit_rate,
            });
        }
        let reached = |of: fn(&Moments) -> f64| {
            let wanted = WARM * in_the_long_run;
            moments
                .iter()
                .find(|at| of(at) >= wanted)
                .map(|at| at.seconds)
        };
        let misses = |area: f64| area.max(0.0) * self.requests_per_second;
        let waiting = |area| self.setting.miss_cost_s.map(|cost| misses(area) * cost);
        Timeline {
            in_the_long_run,
            cold_until_s: reached(|at| at.cold),
            warmed_until_s: reached(|at| at.warmed),
            misses_spared: misses(spared),
            misses_spared_before: misses(spared_before),
            waiting_spared_s: waiting(spared),
            waiting_spared_before_s: waiting(spared_before),
            moments,
        }
    }

    /// Until when it is looked: until a cold cache is warm and the warm-up is done, and a little longer.
    fn end(&self, in_the_long_run: f64) -> f64 {
        let mut end = self.all_s.clamp(1e-3, TIME_MAX_S);
        while end < TIME_MAX_S {
            let mut cold = Standing::default();
            let step = end / 50.0;
            for _ in 0..50 {
                cold.own_s += step * self.answered(cold.hit_rate, 0.0);
                cold.hit_rate = self.hit_rate(cold.own_s, &|_| None);
            }
            if cold.hit_rate >= WARM * in_the_long_run {
                break;
            }
            end *= 1.5;
        }
        (end * 1.1).min(TIME_MAX_S)
    }

    /// The moments that are looked at, until this one.
    fn times(&self, end: f64) -> Vec<f64> {
        let part = |n: u32, of: u32| f64::from(n) / f64::from(of);
        let over_all = (0..=MOMENTS).map(|n| end * part(n, MOMENTS).powi(2));
        let warming = (1..=MOMENTS_WARMING).map(|n| self.all_s * part(n, MOMENTS_WARMING));
        let mut times: Vec<f64> = over_all.chain(warming.filter(|at| *at < end)).collect();
        times.sort_unstable_by(f64::total_cmp);
        times
    }

    /// What share of misses is answered.
    fn answered(&self, hit_rate: f64, warming_qps: f64) -> f64 {
        let misses = self.requests_per_second * (1.0 - hit_rate);
        let capacity = self
            .setting
            .capacity_qps
            .map(|capacity| (capacity - warming_qps).max(0.0));
        match capacity {
            Some(capacity) if capacity < misses => capacity / misses,
            _ => 1.0,
        }
    }

    /// The hit rate at a cache's own time; `turn` says when, by that time, a group of keys was written.
    fn hit_rate(&self, own_s: f64, turn: &dyn Fn(usize) -> Option<f64>) -> f64 {
        let ends = self.setting.ttl_s.map_or(0.0, |ttl| 1.0 / ttl);
        let of = |(n, group): (usize, &Group)| {
            let stays = self.stays(group);
            let both = group.rate + ends;
            let is_there = match turn(n) {
                None => -stays * (-both * own_s).exp_m1(),
                Some(turn) => stays + (1.0 - stays) * (-both * (own_s - turn).max(0.0)).exp(),
            };
            group.share * is_there
        };
        let hit_rate: f64 = self.groups.iter().enumerate().map(of).sum();
        hit_rate.min(1.0)
    }

    /// For what share of its requests a key is there in the long run.
    fn stays(&self, group: &Group) -> f64 {
        match self.setting.ttl_s {
            _ if group.rate <= 0.0 => 0.0,
            None => 1.0,
            Some(ttl) => group.rate * ttl / (1.0 + group.rate * ttl),
        }
    }
}

/// When groups of keys had their turn, by the cache's own time.
struct Turns(Vec<Option<f64>>);

impl Turns {
    fn of(groups: usize) -> Self {
        Self(vec![None; groups])
    }

    /// Time has passed: what has had its turn by now is written.
    fn pass(&mut self, groups: &[Group], seconds: f64, own_s: f64) {
        for (turn, group) in self.0.iter_mut().zip(groups) {
            if group.turn_s <= seconds {
                turn.get_or_insert(own_s);
            }
        }
    }
}

#[cfg(test)]
mod tests;
