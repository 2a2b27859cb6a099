//! Whether warming is worth it, and what speaks against it.

use serde::Serialize;

use super::curve::Curve;
use super::drift::Drift;
use super::float;
use super::popularity::entries_of_top;
use super::timeline::{Setting, Timeline};

/// A pattern is flat where the first tenth of the keys gets less than this: less than twice its share.
const FLAT_BELOW: f64 = 0.2;
/// Within so many seconds a cold cache that is warm by itself is left alone.
const SECONDS: f64 = 30.0;
/// Keys are user-specific where this share of requests is for such ones.
const USER_SPECIFIC: f64 = 0.5;
/// What has room, or time, is too little where it has less than this share of the whole plan's hit rate.
const TOO_LITTLE: f64 = 0.5;

/// What is known beside plan and setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Facts {
    /// What the plan takes in the cache, in bytes.
    pub plan_bytes: Option<f64>,
    /// What the cache has free.
    pub cache_free_bytes: Option<f64>,
    /// What share of requests is for keys of one user each.
    pub user_specific: Option<f64>,
}

/// What speaks against warming.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum Reason {
    /// No key is much more popular than another: the first to be warmed are worth no more than the last.
    FlatPattern {
        /// What share of requests the first tenth of the plan gets.
        top_tenth: f64,
    },
    /// The database bears all requests as misses.
    DatabaseBearsIt {
        /// Queries a second that a cold cache sends it at first.
        misses_per_second: f64,
        /// Queries a second that it bears.
        capacity_qps: f64,
    },
    /// A cold cache is warm by itself within seconds.
    ResolvesInSeconds {
        /// Within so many.
        seconds: f64,
    },
    /// Most requests are for keys of one user each: who comes next is not known.
    UserSpecificKeys {
        /// What share of requests is.
        share: f64,
    },
    /// What is written first ends before most of the plan is written.
    LongerThanTtl {
        /// How long the warm-up takes.
        seconds: f64,
        /// How long values live.
        ttl_s: f64,
        /// What share of the plan's hit rate is written in that time.
        share_in_time: f64,
    },
    /// The cache has no room for most of the plan's hit rate.
    CacheTooSmall {
        /// How many of the plan's entries it has room for.
        entries: u64,
        /// What share of the plan's hit rate these are.
        share_in_cache: f64,
    },
}

/// What is advised.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "verdict", content = "reasons", rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing that is known speaks against it.
    Warm,
    /// It costs more than it brings.
    Overkill(Vec<Reason>),
}

impl Verdict {
    /// What follows from all that is known.
    #[must_use]
    pub fn of(
        curve: &Curve,
        drift: Option<&Drift>,
        timeline: Option<&Timeline>,
        setting: &Setting,
        facts: &Facts,
    ) -> Self {
        let reasons = [
            flat(curve),
            database_bears_it(setting),
            resolves_in_seconds(timeline),
            user_specific(facts),
            longer_than_ttl(curve, drift, setting),
            cache_too_small(curve, drift, facts),
        ];
        let reasons: Vec<Reason> = reasons.into_iter().flatten().collect();
        match reasons.is_empty() {
            true => Self::Warm,
            false => Self::Overkill(reasons),
        }
    }
}

fn flat(curve: &Curve) -> Option<Reason> {
    // A tenth of a handful is more than a tenth.
    if curve.entries() < 10 {
        return None;
    }
    let top_tenth = curve.share(entries_of_top(curve.entries(), 0.1))?;
    (top_tenth < FLAT_BELOW).then_some(Reason::FlatPattern { top_tenth })
}

fn database_bears_it(setting: &Setting) -> Option<Reason> {
    let (misses_per_second, capacity_qps) = (setting.requests_per_second?, setting.capacity_qps?);
    (misses_per_second <= capacity_qps).then_some(Reason::DatabaseBearsIt {
        misses_per_second,
        capacity_qps,
    })
}

fn resolves_in_seconds(timeline: Option<&Timeline>) -> Option<Reason> {
    let seconds = timeline?.cold_until_s?;
    (seconds <= SECONDS).then_some(Reason::ResolvesInSeconds { seconds })
}

fn user_specific(facts: &Facts) -> Option<Reason> {
    let share = facts.user_specific?;
    (share >= USER_SPECIFIC).then_some(Reason::UserSpecificKeys { share })
}

fn longer_than_ttl(curve: &Curve, drift: Option<&Drift>, setting: &Setting) -> Option<Reason> {
    let ttl_s = setting.ttl_s?;
    let seconds = setting.seconds(curve.entries());
    let in_time = whole(ttl_s * setting.keys_per_second());
    let share_in_time = part_of_hits(curve, drift, in_time)?;
    (seconds > ttl_s && share_in_time < TOO_LITTLE).then_some(Reason::LongerThanTtl {
        seconds,
        ttl_s,
        share_in_time,
    })
}

fn cache_too_small(curve: &Curve, drift: Option<&Drift>, facts: &Facts) -> Option<Reason> {
    let entries = facts.fits(curve.entries())?;
    let share_in_cache = part_of_hits(curve, drift, entries)?;
    (share_in_cache < TOO_LITTLE).then_some(Reason::CacheTooSmall {
        entries,
        share_in_cache,
    })
}

impl Facts {
    /// How many of so many entries the cache has room for; `None` where that is not known.
    #[must_use]
    pub fn fits(&self, entries: u64) -> Option<u64> {
        let (plan, free) = (self.plan_bytes?, self.cache_free_bytes?);
        if plan <= free {
            return Some(entries);
        }
        Some(whole(float(entries) * free / plan).min(entries))
    }
}

/// What share of the whole plan's hit rate its first entries have.
fn part_of_hits(curve: &Curve, drift: Option<&Drift>, entries: u64) -> Option<f64> {
    let entries = entries.min(curve.entries());
    let top = float(entries) / float(curve.entries());
    let kept = |top| drift.map_or(1.0, |drift| drift.kept(top));
    let whole = kept(1.0);
    // Where nothing is kept of the whole, nothing is of a part.
    let part = if whole > 0.0 { kept(top) / whole } else { 1.0 };
    Some((curve.share(entries)? * part).min(1.0))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "saturates, and is not negative"
)]
const fn whole(number: f64) -> u64 {
    number as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(weights: impl IntoIterator<Item = u64>) -> Curve {
        let mut curve = Curve::new();
        weights.into_iter().for_each(|weight| curve.push(weight));
        curve
    }

    /// Requests for ten thousand keys, by Zipf's law.
    fn popular() -> Curve {
        curve((1..=10_000).map(|rank| 10_000_000 / rank))
    }

    /// A case in which nothing speaks against it.
    fn setting() -> Setting {
        Setting {
            qps: 10.0,
            batch_keys: 100,
            requests_per_second: Some(1000.0),
            miss_cost_s: Some(0.02),
            capacity_qps: Some(50.0),
            ttl_s: Some(3600.0),
        }
    }

    fn facts() -> Facts {
        Facts {
            plan_bytes: Some(1e7),
            cache_free_bytes: Some(1e9),
            user_specific: Some(0.1),
        }
    }

    fn reasons(curve: &Curve, setting: &Setting, facts: &Facts) -> Vec<Reason> {
        let timeline = Timeline::of(curve, None, setting);
        match Verdict::of(curve, None, timeline.as_ref(), setting, facts) {
            Verdict::Warm => Vec::new(),
            Verdict::Overkill(reasons) => reasons,
        }
    }

    #[test]
    fn what_nothing_speaks_against_is_warmed() {
        assert_eq!(reasons(&popular(), &setting(), &facts()), []);
    }

    #[test]
    fn what_is_not_known_speaks_against_nothing() {
        let unknown = Setting {
            requests_per_second: None,
            miss_cost_s: None,
            capacity_qps: None,
            ttl_s: None,
            ..setting()
        };
        assert_eq!(reasons(&popular(), &unknown, &Facts::default()), []);
    }

    #[test]
    fn a_flat_pattern() {
        let flat = reasons(&curve([1000; 10_000]), &setting(), &facts());
        assert!(
            matches!(flat[..], [Reason::FlatPattern { top_tenth }] if (top_tenth - 0.1).abs() < 1e-9),
            "{flat:?}"
        );
    }

    #[test]
    fn a_database_that_bears_it() {
        let strong = Setting {
            capacity_qps: Some(1000.0),
            ..setting()
        };
        let borne = reasons(&popular(), &strong, &facts());
        assert_eq!(
            borne,
            [Reason::DatabaseBearsIt {
                misses_per_second: 1000.0,
                capacity_qps: 1000.0
            }]
        );
        let weaker = Setting {
            capacity_qps: Some(999.0),
            ..setting()
        };
        assert_eq!(reasons(&popular(), &weaker, &facts()), []);
    }

    #[test]
    fn a_cold_cache_that_is_warm_in_seconds() {
        let busy = Setting {
            requests_per_second: Some(1e6),
            capacity_qps: Some(900_000.0),
            ..setting()
        };
        let resolved = reasons(&popular(), &busy, &facts());
        assert!(
            matches!(resolved[..], [Reason::ResolvesInSeconds { seconds }] if seconds < 1.0),
            "{resolved:?}"
        );
    }

    #[test]
    fn keys_of_users() {
        let of_users = Facts {
            user_specific: Some(0.5),
            ..facts()
        };
        assert_eq!(
            reasons(&popular(), &setting(), &of_users),
            [Reason::UserSpecificKeys { share: 0.5 }]
        );
    }

    #[test]
    fn a_warm_up_that_takes_longer_than_values_live() {
        // 10,000 keys at ten a second, of which each lives for a second.
        let slow = Setting {
            batch_keys: 1,
            ttl_s: Some(1.0),
            ..setting()
        };
        let longer = reasons(&popular(), &slow, &facts());
        let told = longer.iter().any(|reason| {
            matches!(reason, Reason::LongerThanTtl { seconds, ttl_s, share_in_time }
                if *seconds == 1000.0 && *ttl_s == 1.0 && *share_in_time < 0.4)
        });
        assert!(told, "{longer:?}");
        // In five minutes most of what is asked for is written, be it a third of the keys.
        let in_time = Setting {
            ttl_s: Some(300.0),
            ..slow
        };
        assert_eq!(reasons(&popular(), &in_time, &facts()), []);
    }

    #[test]
    fn a_cache_without_room() {
        let small = Facts {
            cache_free_bytes: Some(1e5),
            ..facts()
        };
        let too_small = reasons(&popular(), &setting(), &small);
        // A hundredth of the keys gets half of the requests, just about.
        assert_eq!(small.fits(10_000), Some(100));
        let smaller = Facts {
            cache_free_bytes: Some(1e4),
            ..facts()
        };
        assert_eq!(too_small, []);
        let too_small = reasons(&popular(), &setting(), &smaller);
        assert!(
            matches!(too_small[..], [Reason::CacheTooSmall { entries: 10, share_in_cache }] if share_in_cache < 0.4),
            "{too_small:?}"
        );
    }

    #[test]
    fn all_that_speaks_against_it_is_told() {
        let setting = Setting {
            capacity_qps: Some(1e9),
            ttl_s: Some(1.0),
            ..setting()
        };
        let facts = Facts {
            cache_free_bytes: Some(0.0),
            user_specific: Some(1.0),
            ..facts()
        };
        let all = reasons(&curve([1000; 10_000]), &setting, &facts);
        assert!(all.len() >= 5, "{all:?}");
    }
}
