//! What an estimate says: lines and a table for people, an object for scripts.

use serde::Serialize;
use stoke_core::estimate::{Drift, Facts, Popularity, Setting, Timeline, TopShare, Verdict, Zipf};

mod text;

pub(super) use text::shown;

/// All that was read, and all that follows from it.
#[derive(Debug)]
pub struct Estimate {
    /// Where the plan is from.
    pub about: About,
    /// What its priorities say.
    pub popularity: Popularity,
    /// What share of requests is for keys that it lacks, by its counts alone.
    pub unseen: Option<f64>,
    /// How many requests its history has, where there is one.
    pub history_requests: Option<u64>,
    /// How traffic drifts, where its history says so.
    pub drift: Option<Drift>,
    /// How it fared later.
    pub tried: Option<Tried>,
    /// What is known beside it.
    pub setting: Setting,
    /// The same, of the cache and of users.
    pub facts: Facts,
    /// The hit rate over time, where it is known how many requests come.
    pub timeline: Option<Timeline>,
    /// What is advised.
    pub verdict: Verdict,
}

/// Where a plan is from.
#[derive(Debug, Serialize)]
pub struct About {
    /// What it is.
    pub source: Source,
    /// The file's, files' or job's name.
    pub name: String,
    /// How many lines were left out, as they are no entries.
    pub bad_lines: u64,
    /// The first of them.
    pub bad_line_examples: Vec<String>,
    /// What there was in a log.
    pub log: Option<LogLines>,
}

/// What a plan was made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A list of keys.
    List,
    /// An access log.
    Log,
    /// A job.
    Job,
}

/// What there was in a log.
#[derive(Debug, Serialize)]
pub struct LogLines {
    /// Lines.
    pub lines: u64,
    /// Accesses that do not count.
    pub filtered: u64,
    /// Accesses that ask for no key.
    pub unmatched: u64,
    /// The first of them.
    pub unmatched_example: Option<String>,
}

/// How a plan fared with what was asked for later.
#[derive(Debug)]
pub struct Tried {
    /// How many requests these are.
    pub requests: f64,
    /// Whether that is known of a sample of keys.
    pub is_sample: bool,
    /// By the tops of the plan.
    pub hit_rates: Vec<f64>,
}

/// The object.
#[derive(Debug, Serialize)]
pub struct Report<'a> {
    #[serde(flatten)]
    verdict: &'a Verdict,
    plan: &'a About,
    entries: u64,
    requests: f64,
    zipf: Option<Zipf>,
    tops: Vec<Top>,
    drift: Option<DriftReport<'a>>,
    /// By Good–Turing, of counts; null where priorities are none.
    unseen_by_counts: Option<f64>,
    later: Option<Later>,
    setting: &'a Setting,
    plan_bytes: Option<f64>,
    cache_free_bytes: Option<f64>,
    cache_fits_entries: Option<u64>,
    user_specific: Option<f64>,
    timeline: Option<&'a Timeline>,
    left_out: Vec<LeftOut>,
}

#[derive(Debug, Serialize)]
struct DriftReport<'a> {
    #[serde(flatten)]
    drift: &'a Drift,
    unseen: f64,
}

#[derive(Debug, Serialize)]
struct Top {
    #[serde(flatten)]
    share: TopShare,
    /// How the expected hit rate differs from one eighth of the history to another: a standard deviation.
    deviation: Option<f64>,
    /// In what was asked for later.
    replayed: Option<f64>,
    queries: u64,
    seconds: f64,
}

#[derive(Debug, Serialize)]
struct Later {
    requests: f64,
    is_sample: bool,
}

/// What is not said, and what it would need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// What.
    pub what: &'static str,
    /// The flags that say it.
    pub needs: &'static str,
}

impl<'a> Report<'a> {
    /// Of an estimate.
    pub fn of(estimate: &'a Estimate) -> Self {
        let replayed = |n: usize| Some(*estimate.tried.as_ref()?.hit_rates.get(n)?);
        let tops = estimate.popularity.tops.iter().enumerate();
        let top = |(n, share): (usize, &TopShare)| Top {
            share: *share,
            deviation: estimate
                .drift
                .as_ref()
                .map(|drift| drift.deviation(share.top)),
            replayed: replayed(n),
            queries: estimate.setting.queries(share.entries),
            seconds: estimate.setting.seconds(share.entries),
        };
        Self {
            verdict: &estimate.verdict,
            plan: &estimate.about,
            entries: estimate.popularity.entries,
            requests: estimate.popularity.requests,
            zipf: estimate.popularity.zipf,
            tops: tops.map(top).collect(),
            drift: estimate.drift.as_ref().map(|drift| DriftReport {
                drift,
                unseen: drift.unseen(),
            }),
            unseen_by_counts: estimate.unseen,
            later: estimate.tried.as_ref().map(|tried| Later {
                requests: tried.requests,
                is_sample: tried.is_sample,
            }),
            setting: &estimate.setting,
            plan_bytes: estimate.facts.plan_bytes,
            cache_free_bytes: estimate.facts.cache_free_bytes,
            cache_fits_entries: estimate.facts.fits(estimate.popularity.entries),
            user_specific: estimate.facts.user_specific,
            timeline: estimate.timeline.as_ref(),
            left_out: left_out(estimate),
        }
    }
}

fn left_out(estimate: &Estimate) -> Vec<LeftOut> {
    let Estimate { setting, facts, .. } = estimate;
    let too_short = estimate.drift.is_none() && estimate.history_requests.is_some();
    let without_history = estimate.drift.is_none() && !too_short && estimate.tried.is_none();
    let missing = [
        (
            too_short,
            "how traffic drifts",
            "the log has too few accesses, or its parts differ too much",
        ),
        (without_history, "how traffic drifts", "--log, or --later"),
        (
            setting.requests_per_second.is_none(),
            "the hit rate over time",
            "--requests-per-second, or --period",
        ),
        (
            setting.miss_cost_s.is_none(),
            "the waiting that users are spared",
            "--miss-cost",
        ),
        (
            setting.capacity_qps.is_none(),
            "whether the database bears a cold cache",
            "--capacity",
        ),
        (
            setting.ttl_s.is_none(),
            "what ends before it is asked for again",
            "--ttl",
        ),
        (
            facts.plan_bytes.is_none(),
            "what it takes in the cache",
            "--value-bytes",
        ),
        (
            facts.cache_free_bytes.is_none(),
            "whether the cache has room",
            "--cache-free",
        ),
        (
            facts.user_specific.is_none(),
            "whose keys they are",
            "--user-keys",
        ),
    ];
    let missing = missing.into_iter().filter(|(is_missing, _, _)| *is_missing);
    missing
        .map(|(_, what, needs)| LeftOut { what, needs })
        .collect()
}

#[cfg(test)]
mod tests;
