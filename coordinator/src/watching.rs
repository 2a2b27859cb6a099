//! Watching the hit rate of a cache interval by interval, whoever looks at its nodes.

use std::collections::BTreeMap;
use std::time::Duration;

use stoke_core::hit_rate::{Counters, Interval, Judge, Looks, Nodes, Warmth};
use stoke_proto::v1;
use tokio::time::MissedTickBehavior;

/// How long lies between two looks, at most: our own looks of a worker that leaves are lost from the last look on.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(1);
/// How many troubles are told of an interval.
const TROUBLES_MAX: usize = 10;

/// What a look at a cache has shown.
#[derive(Debug, Default)]
pub struct Look {
    /// What those of its nodes count that have answered, by their addresses.
    pub nodes: BTreeMap<String, Counters>,
    /// What was in the way.
    pub troubles: Vec<String>,
}

/// Who looks at a cache.
pub trait Looker {
    /// Looks at all of its nodes.
    fn look(&mut self) -> impl Future<Output = Look> + Send;
}

/// A cache that is watched, beside another one, perhaps, that it is compared with.
#[derive(Debug)]
pub struct Watching<L> {
    cache: Looked<L>,
    reference: Option<Looked<L>>,
    judge: Judge,
    /// Looks in an interval.
    looks: u32,
    next: tokio::time::Interval,
}

impl<L: Looker + Send> Watching<L> {
    /// Takes the first look, from which on nodes count; intervals are so long.
    pub async fn begin(cache: L, reference: Option<L>, interval: Duration, judge: Judge) -> Self {
        let looks = interval.as_millis().div_ceil(LOOK_EVERY_MAX.as_millis());
        let looks = u32::try_from(looks).unwrap_or(u32::MAX).max(1);
        let mut next = tokio::time::interval(interval / looks);
        next.set_missed_tick_behavior(MissedTickBehavior::Delay);
        next.tick().await;
        let mut watching = Self {
            cache: Looked::at(cache),
            reference: reference.map(Looked::at),
            judge,
            looks,
            next,
        };
        watching.look().await;
        watching
    }

    /// Waits for the end of the next interval, and says what it was like.
    pub async fn interval(&mut self) -> v1::WatchHitRateResponse {
        for _ in 0..self.looks {
            self.next.tick().await;
            self.look().await;
        }
        let mut troubles = std::mem::take(&mut self.cache.troubles);
        let of_other = |other: &mut Looked<L>| {
            troubles.append(&mut other.troubles);
            Interval::of_all(&other.nodes.take()).others()
        };
        let other = self.reference.as_mut().map(of_other);
        told(self.cache.nodes.take(), other, troubles, &mut self.judge)
    }

    /// Looks at both at the same time.
    async fn look(&mut self) {
        let other = async {
            if let Some(reference) = &mut self.reference {
                reference.look().await;
            }
        };
        tokio::join!(self.cache.look(), other);
    }
}

#[derive(Debug)]
struct Looked<L> {
    looker: L,
    nodes: Nodes,
    troubles: Vec<String>,
}

impl<L: Looker> Looked<L> {
    fn at(looker: L) -> Self {
        Self {
            looker,
            nodes: Nodes::default(),
            troubles: Vec::new(),
        }
    }

    async fn look(&mut self) {
        let Look { nodes, troubles } = self.looker.look().await;
        self.nodes.look(nodes);
        for trouble in troubles {
            if self.troubles.len() < TROUBLES_MAX && !self.troubles.contains(&trouble) {
                self.troubles.push(trouble);
            }
        }
    }
}

/// What is told of an interval of a cache's nodes, which is judged with those before it; `other` is what the reference has had.
fn told(
    nodes: BTreeMap<String, Interval>,
    other: Option<Looks>,
    troubles: Vec<String>,
    judge: &mut Judge,
) -> v1::WatchHitRateResponse {
    let all = Interval::of_all(&nodes);
    let (others, own) = (all.others(), all.own);
    judge.add(others, other);
    let warmth = match judge.warmth() {
        Warmth::Unknown => v1::Warmth::Unknown,
        Warmth::Cold => v1::Warmth::Cold,
        Warmth::Warm => v1::Warmth::Warm,
    };
    let of_node = |(node, interval): (String, Interval)| v1::NodeHits {
        node,
        hits: interval.others().hits,
        misses: interval.others().misses,
    };
    v1::WatchHitRateResponse {
        nodes: nodes.into_iter().map(of_node).collect(),
        hits: others.hits,
        misses: others.misses,
        own_hits: own.hits,
        own_misses: own.misses,
        warmth: warmth.into(),
        steady_state: judge.steady_state(),
        troubles,
    }
}

#[cfg(test)]
mod tests {
    use stoke_core::hit_rate::Steady;

    use super::*;

    /// A cache of one node, of which each look finds so many hits and misses more; every third look fails.
    #[derive(Debug)]
    struct Scripted {
        each: Looks,
        looks: u64,
    }

    impl Looker for Scripted {
        async fn look(&mut self) -> Look {
            self.looks += 1;
            if self.looks.is_multiple_of(3) {
                return Look {
                    troubles: vec!["it is away".into()],
                    ..Look::default()
                };
            }
            let counters = Counters {
                run_id: "r".into(),
                all: Looks {
                    hits: self.each.hits * self.looks,
                    misses: self.each.misses * self.looks,
                },
                own: BTreeMap::new(),
            };
            Look {
                nodes: [("n:1".to_owned(), counters)].into(),
                ..Look::default()
            }
        }
    }

    fn scripted(hits: u64, misses: u64) -> Scripted {
        Scripted {
            each: Looks { hits, misses },
            looks: 0,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_interval_has_what_was_counted_between_its_looks_whichever_failed() {
        let judge = Judge::new(Steady::Reference, 0.05);
        let (cache, reference) = (scripted(8000, 2000), scripted(9000, 1000));
        let three_seconds = Duration::from_secs(3);
        let mut watching = Watching::begin(cache, Some(reference), three_seconds, judge).await;
        let began = tokio::time::Instant::now();
        // Looks 2 to 4, of which the third failed: from the first to the fourth.
        let first = watching.interval().await;
        assert_eq!(
            (first.hits, first.misses, first.own_hits),
            (24_000, 6000, 0)
        );
        assert_eq!(
            first.troubles,
            ["it is away", "it is away"],
            "one of each cache"
        );
        assert_eq!(first.steady_state, Some(0.9));
        // Looks 5 to 7, of which the sixth failed.
        let second = watching.interval().await;
        assert_eq!((second.hits, second.misses), (24_000, 6000));
        assert_eq!(began.elapsed(), Duration::from_secs(6));
        assert_eq!(second.nodes[0].node, "n:1");
    }
}
