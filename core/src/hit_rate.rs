//! Hit rates: what a sample says of one, what an interval has of hits and misses that are not our own, and when a cache is warm.

use std::collections::{BTreeMap, VecDeque};

/// Twice the standard error, nearly: 95 of 100 measurements lie within so many of them.
const Z: f64 = 1.96;

/// By how much a rate that was found as `hits` of so many independent requests may be off: half of Wilson's interval, which holds for
/// rates near 0 and 1, too. 0.5 where there are none. (Wilson, "Probable Inference, the Law of Succession, and Statistical Inference",
/// 1927.)
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a part of many")]
pub fn margin(hits: u64, requests: u64) -> f64 {
    if requests == 0 {
        return 0.5;
    }
    let (n, rate) = (requests as f64, rate(hits, requests));
    let spread = rate * (1.0 - rate) / n + Z * Z / (4.0 * n * n);
    Z / (1.0 + Z * Z / n) * spread.sqrt()
}

/// The part that `hits` are of all requests; 0 where there are none.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a part of many")]
pub fn rate(hits: u64, requests: u64) -> f64 {
    if requests == 0 {
        return 0.0;
    }
    hits as f64 / requests as f64
}

/// Looks for keys, by what they found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looks {
    /// How many found the key.
    pub hits: u64,
    /// How many did not.
    pub misses: u64,
}

impl Looks {
    /// All of them.
    #[must_use]
    pub const fn all(self) -> u64 {
        self.hits + self.misses
    }

    /// Together with others.
    #[must_use]
    pub const fn and(self, others: Self) -> Self {
        Self {
            hits: self.hits.saturating_add(others.hits),
            misses: self.misses.saturating_add(others.misses),
        }
    }

    /// Without others; none are less than none.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self {
            hits: self.hits.saturating_sub(others.hits),
            misses: self.misses.saturating_sub(others.misses),
        }
    }

    /// Those since `before`, as a counter tells that only grows, but where it began anew: then it tells those since.
    const fn since(self, before: Self) -> Self {
        if self.hits < before.hits || self.misses < before.misses {
            return self;
        }
        self.without(before)
    }
}

/// What a node's counters were at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Another one whenever the node was started anew.
    pub run_id: String,
    /// Everybody's looks since then.
    pub all: Looks,
    /// Those of our own processes, by their names, each since it began.
    pub own: BTreeMap<String, Looks>,
}

/// A node's looks of an interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interval {
    /// Everybody's.
    pub all: Looks,
    /// Our own. What of them a node had counted when it was asked is not known to the last one: only over an interval they are those.
    pub own: Looks,
}

impl Interval {
    /// Those of others.
    #[must_use]
    pub const fn others(self) -> Looks {
        self.all.without(self.own)
    }

    /// Together with another.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self {
            all: self.all.and(other.all),
            own: self.own.and(other.own),
        }
    }

    /// That of all nodes together.
    #[must_use]
    pub fn of_all(nodes: &BTreeMap<String, Self>) -> Self {
        nodes.values().copied().fold(Self::default(), Self::and)
    }
}

impl Counters {
    /// The looks since `before`; none where the node was started anew: it counts from now on, as a process of our own does that was not
    /// heard of before.
    #[must_use]
    pub fn since(&self, before: &Self) -> Interval {
        if self.run_id != before.run_id {
            return Interval::default();
        }
        let of_process = |(name, now): (&String, &Looks)| Some(now.since(*before.own.get(name)?));
        let own = self.own.iter().filter_map(of_process);
        let own = own.fold(Looks::default(), Looks::and);
        Interval {
            all: self.all.since(before.all),
            own,
        }
    }
}

/// The nodes of a cache, as they were when they were looked at last, and what they have had since an interval began.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    last: BTreeMap<String, Counters>,
    since: BTreeMap<String, Interval>,
}

impl Nodes {
    /// Takes note of what the nodes' counters are now, by their addresses. A node that was not seen before counts from now on.
    pub fn look(&mut self, now: BTreeMap<String, Counters>) {
        for (node, mut counters) in now {
            let had = self.since.entry(node.clone()).or_default();
            if let Some(last) = self.last.remove(&node) {
                *had = had.and(counters.since(&last));
                // Whoever was not heard of this time may be the next.
                for (process, looks) in last.own {
                    counters.own.entry(process).or_insert(looks);
                }
            }
            self.last.insert(node, counters);
        }
    }

    /// What each has had since the interval began; the next one begins. Looks of our own that a node had not counted yet when it was
    /// asked are those of the next.
    #[must_use]
    pub fn take(&mut self) -> BTreeMap<String, Interval> {
        let mut had = std::mem::take(&mut self.since);
        for (node, interval) in &mut had {
            let uncounted = interval.own.without(interval.all);
            interval.own = interval.own.without(uncounted);
            let next = Interval {
                all: Looks::default(),
                own: uncounted,
            };
            if uncounted != Looks::default() {
                self.since.insert(node.clone(), next);
            }
        }
        had
    }
}

/// What a cache's hit rate is compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Steady {
    /// With this one, as it was seen when the cache was warm.
    Known(f64),
    /// With that of another cache in the same interval, which serves the same requests and is warm.
    Reference,
    /// With itself: where it does not change any more.
    Unknown,
}

/// Whether a cache is warm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Warmth {
    /// Too little is known yet.
    Unknown,
    /// It is not.
    Cold,
    /// It is.
    Warm,
}

/// How many intervals in a row must be near to the steady state.
const NEAR_MIN: usize = 3;
/// Over how many intervals a hit rate must not change, to be a steady state itself.
const SETTLED_MIN: usize = 6;
/// Of the 15 pairs among them, so many rise where the hit rate does.
const HIGHER_OF_RISING: usize = 14;

/// Judges a cache, interval after interval, as "When is the Cache Warm?" (Zhang et al., HotCloud 2020) defines it: it is warm when its
/// interval hit ratio is, and stays, within ε of that of the same cache had it never been cold. Above it is as well.
#[derive(Clone, Debug)]
pub struct Judge {
    steady: Steady,
    epsilon: f64,
    /// The last intervals that say enough: their rates, and the steady states that they are compared with.
    last: VecDeque<(f64, Option<f64>)>,
}

impl Judge {
    /// With this steady state, and this ε: above 0, below 1.
    #[must_use]
    pub const fn new(steady: Steady, epsilon: f64) -> Self {
        Self {
            steady,
            epsilon,
            last: VecDeque::new(),
        }
    }

    /// Adds an interval; `reference` is the other cache's, where there is one. One with so few requests that its rate is not known
    /// within ε says nothing.
    pub fn add(&mut self, interval: Looks, reference: Option<Looks>) {
        let known = |looks: Looks| {
            let says = looks.all() > 0 && margin(looks.hits, looks.all()) <= self.epsilon;
            says.then(|| rate(looks.hits, looks.all()))
        };
        let Some(rate) = known(interval) else { return };
        let steady = match self.steady {
            Steady::Known(steady) => Some(steady),
            Steady::Unknown => None,
            Steady::Reference => match reference.and_then(known) {
                Some(steady) => Some(steady),
                None => return,
            },
        };
        self.last.push_back((rate, steady));
        if self.last.len() > SETTLED_MIN {
            self.last.pop_front();
        }
    }

    /// The steady state; `None` where it is not known yet.
    #[must_use]
    pub fn steady_state(&self) -> Option<f64> {
        match self.steady {
            Steady::Known(steady) => Some(steady),
            Steady::Reference => self.last.back()?.1,
            Steady::Unknown => {
                let rates = || self.last.iter().map(|(rate, _)| *rate);
                let (least, most) = (rates().reduce(f64::min)?, rates().reduce(f64::max)?);
                let has_settled = self.last.len() == SETTLED_MIN
                    && most - least <= self.epsilon
                    // What finds nothing at all is not warm, however steadily.
                    && most > 0.0
                    && !self.still_rises();
                has_settled.then_some(f64::midpoint(least, most))
            }
        }
    }

    /// Whether hit rates rise, if slowly: of two intervals the later one is nearly always higher. Of six that say nothing, one order
    /// in a hundred looks like that (Mann, "Nonparametric tests against trend", Econometrica 13, 1945).
    fn still_rises(&self) -> bool {
        let rates = || self.last.iter().map(|(rate, _)| *rate).enumerate();
        let higher = rates().map(|(n, rate)| {
            let later = rates().skip(n + 1);
            later.filter(|(_, later)| *later > rate).count()
        });
        let higher: usize = higher.sum();
        higher >= HIGHER_OF_RISING
    }

    /// Whether it is warm by now.
    #[must_use]
    pub fn warmth(&self) -> Warmth {
        let own = self.steady_state();
        let is_near = |(rate, steady): &(f64, Option<f64>)| {
            steady
                .or(own)
                .is_some_and(|steady| *rate >= steady - self.epsilon)
        };
        let near = self
            .last
            .iter()
            .rev()
            .take_while(|one| is_near(one))
            .count();
        let known = self.last.len();
        match self.steady {
            Steady::Unknown if known < SETTLED_MIN => Warmth::Unknown,
            _ if near >= NEAR_MIN => Warmth::Warm,
            // Those that there are may yet become enough.
            _ if near == known && known < NEAR_MIN => Warmth::Unknown,
            _ => Warmth::Cold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(hits: u64, misses: u64) -> Looks {
        Looks { hits, misses }
    }

    fn counters(run_id: &str, all: Looks, own: &[(&str, Looks)]) -> Counters {
        let own = own.iter().map(|(name, looks)| ((*name).to_owned(), *looks));
        Counters {
            run_id: run_id.to_owned(),
            all,
            own: own.collect(),
        }
    }

    #[test]
    fn a_margin_is_that_of_wilsons_interval() {
        // As the formula gives them by hand.
        for (hits, requests, expected) in [
            (90, 100, 0.0597),
            (9000, 10_000, 0.00588),
            (0, 100, 0.0185),
            (100, 100, 0.0185),
        ] {
            let margin = margin(hits, requests);
            assert!(
                (margin - expected).abs() < 0.0005,
                "{hits} of {requests}: {margin}"
            );
        }
        assert!((margin(0, 0) - 0.5).abs() < f64::EPSILON);
    }

    #[test]
    fn our_own_looks_do_not_count_and_counters_may_begin_anew() {
        let before = counters("a", looks(100, 50), &[("w1", looks(10, 40))]);
        let now = counters(
            "a",
            looks(190, 95),
            &[("w1", looks(20, 70)), ("w2", looks(5, 5))],
        );
        let interval = now.since(&before);
        assert_eq!(
            (interval.others(), interval.own),
            (looks(80, 15), looks(10, 30)),
            "w2 counts from now on"
        );
        // A reset of the node's counters: those since it.
        let reset = counters("a", looks(7, 3), &[("w1", looks(10, 40))]);
        assert_eq!(reset.since(&before).others(), looks(7, 3));
        // Ours are told a moment later than the node's, or it has lost some.
        let late = counters("a", looks(105, 50), &[("w1", looks(20, 40))]);
        let early = late.since(&before);
        assert_eq!(early.others(), looks(0, 0));
        // What the node tells of them later makes up for it.
        let then = counters("a", looks(120, 50), &[("w1", looks(20, 40))]);
        assert_eq!(early.and(then.since(&late)).others(), looks(10, 0));
        let restarted = counters("b", looks(500, 500), &[]);
        assert_eq!(restarted.since(&before), Interval::default());
    }

    #[test]
    fn an_interval_has_what_its_looks_have_seen_and_a_node_counts_from_the_first_on() {
        let mut nodes = Nodes::default();
        let at = |node: &str, hits| (node.to_owned(), counters("a", looks(hits, 0), &[]));
        nodes.look([at("n1", 100)].into());
        nodes.look([at("n1", 110), at("n2", 500)].into());
        nodes.look([at("n1", 115), at("n2", 501)].into());
        let had = nodes.take();
        assert_eq!((had["n1"].all, had["n2"].all), (looks(15, 0), looks(1, 0)));
        assert_eq!(Interval::of_all(&had).others(), looks(16, 0));
        nodes.look([at("n1", 120)].into());
        assert_eq!(nodes.take()["n1"].all, looks(5, 0));
        // One of ours that was not heard of for a while is not taken for a new one; a new one counts from the first time on.
        let mut ours = |hits, own: &[(&str, Looks)]| {
            let now = counters("a", looks(hits, 0), own);
            nodes.look([("n1".to_owned(), now)].into());
        };
        ours(120, &[("w1", looks(1000, 0))]);
        ours(130, &[("w1", looks(1004, 0))]);
        ours(130, &[]);
        ours(135, &[("w1", looks(1006, 0))]);
        let had = nodes.take()["n1"];
        assert_eq!((had.all, had.own), (looks(15, 0), looks(6, 0)));
        // Ours are told before the node's.
        let mut ours = |hits, own| {
            let now = counters("a", looks(hits, 0), &[("w1", looks(own, 0))]);
            nodes.look([("n1".to_owned(), now)].into());
            nodes.take()["n1"].others()
        };
        assert_eq!(ours(140, 1018), looks(0, 0));
        assert_eq!(
            ours(155, 1018),
            looks(8, 0),
            "15 of the node's, 7 of them ours"
        );
    }

    fn warmth(judge: &mut Judge, rates: &[u64]) -> Vec<Warmth> {
        let add = |percent: &u64| {
            let interval = looks(percent * 1000, (100 - percent) * 1000);
            judge.add(interval, Some(looks(95_000, 5_000)));
            judge.warmth()
        };
        rates.iter().map(add).collect()
    }

    #[test]
    fn a_cache_is_warm_when_its_hit_rate_is_and_stays_near_the_steady_state() {
        use Warmth::{Cold, Unknown, Warm};
        for steady in [Steady::Known(0.95), Steady::Reference] {
            let mut judge = Judge::new(steady, 0.02);
            let seen = warmth(&mut judge, &[50, 93, 94, 96, 90, 99, 94, 95]);
            assert_eq!(
                seen,
                [Cold, Cold, Cold, Warm, Cold, Cold, Cold, Warm],
                "{steady:?}"
            );
            assert_eq!(judge.steady_state(), Some(0.95));
        }
        let mut judge = Judge::new(Steady::Known(0.95), 0.02);
        assert_eq!(warmth(&mut judge, &[95, 95, 95]), [Unknown, Unknown, Warm]);
    }

    #[test]
    fn without_a_steady_state_a_cache_is_warm_where_its_hit_rate_has_settled() {
        use Warmth::{Cold, Unknown, Warm};
        let mut judge = Judge::new(Steady::Unknown, 0.02);
        let seen = warmth(&mut judge, &[10, 30, 50, 70, 85, 90, 91, 90, 91, 91, 90]);
        assert_eq!(seen[..5], [Unknown; 5]);
        assert_eq!(seen[5..], [Cold, Cold, Cold, Cold, Cold, Warm]);
        assert_eq!(judge.steady_state(), Some(0.905));
    }

    #[test]
    fn what_finds_nothing_or_still_rises_has_not_settled() {
        let mut judge = Judge::new(Steady::Unknown, 0.02);
        let seen = warmth(&mut judge, &[0; 8]);
        assert_eq!((seen[7], judge.steady_state()), (Warmth::Cold, None));
        // It rises by a thousandth of all requests in each interval.
        let mut judge = Judge::new(Steady::Unknown, 0.02);
        for n in 0..20 {
            judge.add(looks(20_000 + n * 100, 80_000 - n * 100), None);
            assert_ne!(judge.warmth(), Warmth::Warm, "{n}");
        }
        for _ in 0..6 {
            judge.add(looks(22_000, 78_000), None);
        }
        assert_eq!(judge.warmth(), Warmth::Warm);
    }

    #[test]
    fn an_interval_with_few_requests_says_nothing() {
        let mut judge = Judge::new(Steady::Known(0.9), 0.02);
        for _ in 0..10 {
            judge.add(looks(9, 1), None);
            judge.add(looks(0, 0), None);
        }
        assert_eq!(judge.warmth(), Warmth::Unknown);
        let mut judge = Judge::new(Steady::Reference, 0.02);
        judge.add(looks(90_000, 10_000), None);
        assert_eq!(
            (judge.warmth(), judge.steady_state()),
            (Warmth::Unknown, None)
        );
    }
}
