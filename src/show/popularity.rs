//! What is to be expected of warming a plan, by its priorities: for people a line, for scripts an object.

use serde::Serialize;
use stoke_coordinator::wire;
use stoke_proto::v1;

use super::number::percent;
use super::time;

/// The field `popularity` of a job's object.
#[derive(Debug, Serialize)]
pub struct PopularityReport {
    /// Null where there is no such law.
    zipf_exponent: Option<f64>,
    zipf_distance: Option<f64>,
    tops: Vec<TopReport>,
    /// Null where nobody knows.
    drift: Option<DriftReport>,
}

#[derive(Debug, Serialize)]
struct DriftReport {
    requests: u64,
    sampled: f64,
    fading: Option<FadingReport>,
    /// What share of requests is expected for keys that the plan lacks.
    unseen: f64,
}

#[derive(Debug, Serialize)]
struct FadingReport {
    chance: f64,
    left: f64,
}

#[derive(Debug, Serialize)]
struct TopReport {
    top: f64,
    entries: u64,
    hit_rate: f64,
    /// Null where it is not known how traffic drifts.
    expected_hit_rate: Option<f64>,
    /// Null where it is not known.
    origin_queries: Option<u64>,
    duration_seconds: Option<f64>,
}

impl PopularityReport {
    /// Of a job's plan.
    pub fn new(popularity: &v1::Popularity) -> Self {
        let top = |top: &v1::TopShare| TopReport {
            top: top.top,
            entries: top.entries,
            hit_rate: top.hit_rate,
            expected_hit_rate: top.expected_hit_rate,
            origin_queries: (top.origin_queries > 0).then_some(top.origin_queries),
            duration_seconds: top.duration.map(time::seconds),
        };
        Self {
            zipf_exponent: popularity.zipf_exponent,
            zipf_distance: popularity.zipf_distance,
            tops: popularity.tops.iter().map(top).collect(),
            drift: popularity.drift.as_ref().map(|drift| DriftReport {
                requests: drift.requests,
                sampled: drift.sampled,
                fading: drift.fading.map(|fading| FadingReport {
                    chance: fading.chance,
                    left: fading.left,
                }),
                unseen: unseen(drift),
            }),
        }
    }
}

/// What share of requests is expected for keys that the plan lacks.
fn unseen(drift: &v1::Drift) -> f64 {
    wire::drift(drift).unseen()
}

/// The tops that people are told of.
const TOLD: [f64; 4] = [0.001, 0.01, 0.1, 1.0];

/// As a line.
pub fn text(popularity: &v1::Popularity) -> String {
    let is_told = |top: &&v1::TopShare| TOLD.iter().any(|told| (told - top.top).abs() < 1e-9);
    let tops = popularity.tops.iter().filter(is_told).map(|top| {
        let of = match top.top {
            1.0 => "all".to_owned(),
            part => format!("the top {:.1} %", part * 100.0).replace(".0 %", " %"),
        };
        let lasts = match top.duration {
            Some(duration) => format!(" in {}", time::span(time::seconds(duration))),
            None => String::new(),
        };
        let hit_rate = top.expected_hit_rate.unwrap_or(top.hit_rate);
        format!("{} by {of}{lasts}", percent(hit_rate))
    });
    let tops: Vec<String> = tops.collect();
    let law = match (popularity.zipf_exponent, popularity.zipf_distance) {
        (Some(exponent), Some(distance)) => {
            format!(
                "; Zipf's exponent {exponent:.2}, within {}",
                percent(distance)
            )
        }
        _ => String::new(),
    };
    let drift = popularity.drift.as_ref().map_or(String::new(), |drift| {
        format!(
            "; {} will be for keys that the plan lacks, by the history of its sources",
            percent(unseen(drift))
        )
    });
    format!("hit rate {}{law}{drift}", tops.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;

    #[test]
    fn a_plan_is_told_by_what_its_tops_bring() {
        assert_eq!(
            text(&samples::popularity()),
            "hit rate 42.0 % by the top 0.1 % in 1.0 s, 61.0 % by the top 1 % in 2.0 s, 80.0 % by the top 10 %, 100.0 % by all in 3m 20s; \
             Zipf's exponent 0.98, within 1.2 %"
        );
        let lone = v1::Popularity {
            zipf_exponent: None,
            zipf_distance: None,
            ..samples::popularity()
        };
        assert!(text(&lone).ends_with("by all in 3m 20s"));
        let kept = |top, kept| v1::KeptOfTop {
            top,
            kept,
            deviation: 0.01,
        };
        let drift = v1::Drift {
            requests: 20_000,
            sampled: 1.0,
            fading: None,
            tops: vec![kept(0.001, 0.5), kept(1.0, 0.75)],
        };
        let mut drifting = samples::popularity();
        drifting.tops[0].expected_hit_rate = Some(0.21);
        drifting.drift = Some(drift);
        let told = text(&drifting);
        assert!(
            told.starts_with("hit rate 21.0 % by the top 0.1 % in 1.0 s, 61.0 %"),
            "{told}"
        );
        assert!(
            told.ends_with(
                "; 25.0 % will be for keys that the plan lacks, by the history of its sources"
            ),
            "{told}"
        );
        let json = crate::print::json(&PopularityReport::new(&drifting));
        assert!(
            json.ends_with(
                "\"drift\":{\"requests\":20000,\"sampled\":1.0,\"fading\":null,\"unseen\":0.25}}\n"
            ),
            "{json}"
        );
        let json = crate::print::json(&PopularityReport::new(&samples::popularity()));
        assert!(
            json.starts_with(
                "{\"zipf_exponent\":0.984,\"zipf_distance\":0.012,\"tops\":[{\"top\":0.001,\"entries\":100,\"hit_rate\":0.42,\
                 \"expected_hit_rate\":null,\"origin_queries\":1,\"duration_seconds\":1.0},"
            ),
            "{json}"
        );
        assert!(json.contains("\"duration_seconds\":null"), "{json}");
    }
}
